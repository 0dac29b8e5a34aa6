"""Padding that no sample of a batch needs is cut off, in models for which the length of the inputs does not matter.

Texts are padded to a common length, but most are shorter, and deleting tokens makes them shorter still: most of what a
model computes for them can be padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from keras import tree

from attnscope.attribution._compilation_cache import CompilationCache
from attnscope.attribution._positions import rows_of
from attnscope.attribution._subject import Subject
from attnscope.running import compiles
from attnscope.schema import SAMPLE
from attnscope.tensors import Tree

SHORTEST_STEP, MOST_LENGTHS = 16, 8
"""Where the model is compiled for each length, lengths are rounded up to multiples of 16 or more, so that there are at
most 8 of them."""
WORTH, WORTH_COMPILING = 3_000, 20_000
"""Samples are run with longer ones as long as their padding is fewer positions than this, over all passes: preparing
them by themselves, and most of all compiling for their length, would take longer."""
WORTH_OF_A_BATCH = 150
"""The same for a batch more of a model that is not compiled: what calling each of its layers takes, in positions."""
SAME = 1e-4
"""Answers count as the same if they differ by at most this share of the largest, which rounding explains."""


class Trimming:
    """Cuts inputs to as many positions as they really have.

    It cuts only if every input that has positions may be of any length and no output has positions, and only once the
    model has given the same answers for cut inputs as for the same inputs whole.

    Args:
        subject: The model, its inputs and their positions.
    """

    def __init__(self, subject: Subject) -> None:
        self._leaves = _long_leaves(subject)
        self._checked = False

    def numbers(self, subject: Subject, inputs: Tree, extras: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target's numbers for inputs, each of which is cut, dims ``(sample,)``, float64.

        Args:
            subject: The model and the target.
            inputs: Inputs of the model, in arrays.
            extras: The target's extras for these samples.
        """
        if not self._leaves:
            return subject.numbers(inputs, extras)
        answers = np.empty(len(tree.flatten(inputs)[0]))
        for rows, length in _groups(subject.positions.valid_of(inputs), 0 if compiles() else WORTH_OF_A_BATCH):
            uncut, extras_of_rows = rows_of(inputs, rows), {name: array[rows] for name, array in extras.items()}
            together = subject.batch_size if compiles() else self._together(subject, length)
            answers[rows] = subject.numbers(self._cut(uncut, length), extras_of_rows, batch_size=together)
            if length < subject.positions.count and not self._checked:
                self._check(answers[rows], subject.numbers(uncut, extras_of_rows))
                if not self._leaves:
                    return subject.numbers(inputs, extras)
        return answers

    def parts(self, subject: Subject, passes: int = 1) -> list[tuple[np.ndarray, Subject]]:
        """A subject's samples in groups of about one length, each cut to it: the numbers of the samples, and these.

        Args:
            subject: The model and its samples. Where nothing is cut, it is the only part itself.
            passes: About how often each sample will be run.
        """
        whole = [(np.arange(subject.samples), subject)]
        if not self._leaves:
            return whole
        worth = (WORTH_COMPILING if compiles() else WORTH) / passes
        groups = list(_groups(subject.positions.valid, worth))
        if groups[0][1] == subject.positions.count:
            return whole
        parts = [(rows, self._shorter(subject.rows(rows), length)) for rows, length in groups]
        if not self._checked:
            rows, shortest = parts[0]
            self._check(shortest.numbers(), subject.rows(rows).numbers())
        return parts if self._leaves else whole

    @staticmethod
    def _together(subject: Subject, length: int) -> int:
        """How many samples of a length run at a time: half as many positions as a batch of whole ones has."""
        return max(subject.batch_size, subject.batch_size * subject.positions.count // (2 * length))

    def _check(self, cut: np.ndarray, whole: np.ndarray) -> None:
        """Cuts no more where the model's answers are others for cut inputs."""
        self._checked = True
        if not np.allclose(cut, whole, rtol=0, atol=SAME * np.abs(whole).max()):
            self._leaves = []

    def _cut(self, inputs: Tree, length: int) -> Tree:
        """The inputs without what stands after the first `length` positions."""
        leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
        for place in self._leaves:
            leaves[place] = leaves[place][:, :length]
        return tree.pack_sequence_as(inputs, leaves)

    def _shorter(self, subject: Subject, length: int) -> Subject:
        """A subject without what stands after the first `length` positions; what is traced for it is of that length."""
        return replace(
            subject,
            inputs=self._cut(subject.inputs, length),
            positions=replace(subject.positions, valid=subject.positions.valid[:, :length]),
            labels=None if subject.labels is None else subject.labels[..., :length],
            cache=subject.cache.once(("cut to", length), CompilationCache),
        )


def trimming_of(subject: Subject) -> Trimming:
    """What cuts the inputs of a subject's model; made once."""
    trimming: Trimming = subject.cache.once(("trimming", subject.positions.leaf), lambda: Trimming(subject))
    return trimming


def joined_parts(subject: Subject, parts: Sequence[tuple[np.ndarray, xr.DataArray]]) -> xr.DataArray:
    """The relevance of groups of samples as that of all of them.

    Args:
        subject: All samples.
        parts: The numbers of the samples, and their relevance, which may have fewer positions.

    Returns:
        As `Subject.relevance` makes it, with the coordinates by sample and the attrs that a part has beside.
    """
    first = parts[0][1]
    values = np.zeros(subject.positions.valid.shape)
    for rows, relevance in parts:
        values[rows, : relevance.shape[1]] = relevance.values
    joined = subject.relevance(values, first.attrs["method"]).assign_attrs(first.attrs)
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    of_samples = {
        name: (SAMPLE, np.concatenate([relevance[name].values for _, relevance in parts])[order])
        for name, coordinate in first.coords.items()
        if name not in joined.coords and coordinate.dims == (SAMPLE,)
    }
    return joined.assign_coords(of_samples)


def _groups(valid: np.ndarray, worth: float = 0) -> Iterator[tuple[np.ndarray, int]]:
    """Groups of samples of about the same length: their numbers, and that length; the shortest ones first.

    Args:
        valid: Which positions are not padding, dims ``(sample, position)``, bool.
        worth: How many positions of padding in a group cost less than another group.
    """
    count = valid.shape[1]
    step = max(SHORTEST_STEP, -(-count // MOST_LENGTHS)) if compiles() else 1
    ends = np.where(valid.any(1), count - valid[:, ::-1].argmax(1), 1)
    lengths = np.minimum(-(-ends // step) * step, count)
    known, sizes = np.unique(lengths, return_counts=True)
    shortest, padding = 0, 0
    for place, length in enumerate(known):
        longer = known[place + 1] if place + 1 < len(known) else None
        padding += 0 if longer is None else int(sizes[shortest : place + 1].sum() * (longer - length))
        if longer is None or padding > worth:
            yield np.flatnonzero((known[shortest] <= lengths) & (lengths <= length)), int(length)
            shortest, padding = place + 1, 0


def _long_leaves(subject: Subject) -> list[int]:
    """Numbers of the inputs that have positions; none if one of them has a fixed length, or an output has positions."""
    positions = subject.positions
    declared, outputs = (getattr(subject.model, name, None) for name in ("inputs", "outputs"))
    sequence = positions.kind in ("tokens", "steps") and len(positions.shape) == 1 and positions.follows
    if not sequence or declared is None or outputs is None:
        return []
    leaves = [np.asarray(leaf) for leaf in tree.flatten(subject.inputs)]
    shapes, output_shapes = ([tuple(tensor.shape) for tensor in tensors] for tensors in (declared, outputs))
    long = [number for number, leaf in enumerate(leaves) if leaf.ndim > 1 and leaf.shape[1] == positions.count]
    any_length = len(shapes) == len(leaves) and all(shapes[number][1] is None for number in long)
    fixed_outputs = all(None not in shape[1:] for shape in output_shapes)
    return long if any_length and fixed_outputs else []
