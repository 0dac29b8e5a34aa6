"""Padding that no sample of a batch needs is cut off, in models for which the length of the inputs does not matter.

Texts are padded to a common length, but most are shorter, and deleting tokens makes them shorter still: most of what a
model computes for them can be padding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
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
SAME, ROUNDED = 1e-4, 5e-7
"""Numbers count as the same if they differ by at most the first share of how far they are spread, and the second of the
largest of them: rounding explains that."""


class Trimming:
    """Cuts inputs to as many positions as they really have.

    It cuts only if every input that has positions may be of any length and no output has positions; only what is
    padding, and zeros in the other inputs; and only as long as the model gives the same answers for cut inputs as for
    the same inputs whole. That is asked of all samples, of the first and the last of each new length, and again of some
    whenever anything is computed, because weights change.

    Args:
        subject: The model, its inputs and their positions.
        cuts: Whether it cuts at all.
    """

    def __init__(self, subject: Subject, *, cuts: bool = True) -> None:
        self._leaves = _long_leaves(subject) if cuts else []
        self._lengths: set[int] = set()
        self._asked = False
        self._same: dict[Hashable, bool] = {}

    def numbers(self, subject: Subject, inputs: Tree, extras: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target's numbers for inputs, each of which is cut, dims ``(sample,)``, float64.

        Args:
            subject: The model and the target.
            inputs: Inputs of the model, in arrays.
            extras: The target's extras for these samples.
        """

        def of_rows(rows: np.ndarray, length: int) -> np.ndarray:
            cut = self._cut(rows_of(inputs, rows), length)
            together = subject.batch_size if compiles() else self._together(subject, length)
            return subject.numbers(cut, {name: array[rows] for name, array in extras.items()}, batch_size=together)

        groups = self._groups(subject, inputs, 0 if compiles() else WORTH_OF_A_BATCH)
        if not groups:
            return subject.numbers(inputs, extras)
        answers = np.empty(len(tree.flatten(inputs)[0]))
        try:
            for rows, length in groups:
                answers[rows] = of_rows(rows, length)
        except Exception:  # the model cannot be as short; an error of another kind comes again
            whole = subject.numbers(inputs, extras)
            self._leaves = []
            return whole
        new = [rows for number, (rows, length) in enumerate(groups) if not number or length not in self._lengths]
        some = np.unique([row for rows in new for row in (rows[0], rows[-1])])
        if not _alike(answers[some], of_rows(some, subject.positions.count), answers):
            self._leaves = []
            return subject.numbers(inputs, extras)
        self._lengths.update(length for _, length in groups)
        return answers

    def relevance(
        self,
        subject: Subject,
        compute: Callable[[Subject], xr.DataArray],
        *,
        key: Hashable,
        passes: int,
        by_target: bool,
    ) -> xr.DataArray:
        """The relevance of a subject's positions, computed for samples of about one length at a time.

        Args:
            subject: The model, its samples and the target.
            compute: Computes the relevance of each sample by itself.
            key: What is computed, for later calls.
            passes: About how often each sample is run.
            by_target: Whether it follows from the target at the samples. If not, the relevance of one of the shortest
                and one of the longest samples is also compared with that of the whole sample.
        """
        parts = self.parts(subject, passes)
        if parts[0][1] is subject or not self._same.get(key, True):
            return compute(subject)
        try:
            joined = _joined(subject, [(rows, compute(part)) for rows, part in parts])
        except Exception:  # likewise
            whole = compute(subject)
            self._leaves = []
            return whole
        if not by_target and key not in self._same:
            first = np.unique([parts[0][0][0], parts[-1][0][0]])
            self._same[key] = _same_relevance(joined.isel({SAMPLE: first}), compute(subject.rows(first)))
            return joined if self._same[key] else compute(subject)
        return joined

    def parts(self, subject: Subject, passes: int = 1) -> list[tuple[np.ndarray, Subject]]:
        """A subject's samples in groups of about one length, each cut to it: the numbers of the samples, and these.

        Args:
            subject: The model and its samples. Where nothing is cut, it is the only part itself.
            passes: About how often each sample will be run.
        """
        worth = (WORTH_COMPILING if compiles() else WORTH) / passes
        parts = [
            (rows, self._shorter(subject.rows(rows), length))
            for rows, length in self._groups(subject, subject.inputs, worth)
        ]
        if parts and self._answers_alike(subject, parts):
            return parts
        return [(np.arange(subject.samples), subject)]

    def together(self, subject: Subject) -> Subject:
        """A subject's samples cut to the longest of them, and no further whatever is computed of them.

        For few samples that are run over and over: what is cut is asked once, not whenever anything is computed.

        Args:
            subject: The model, as it is now, and its samples.
        """
        groups = self._groups(subject, subject.inputs, np.inf)
        if not groups:
            return subject
        [(rows, length)] = groups
        shorter = self._shorter(subject.rows(rows), length)
        if not self._answers_alike(subject, [(rows, shorter)]):
            return subject
        shorter = replace(shorter, cache=shorter.cache.once("together", CompilationCache))
        shorter.cache.once(_key(shorter), lambda: Trimming(shorter, cuts=False))
        return shorter

    @staticmethod
    def _together(subject: Subject, length: int) -> int:
        """How many samples of a length run at a time: half as many positions as a batch of whole ones has."""
        return max(subject.batch_size, subject.batch_size * subject.positions.count // (2 * length))

    def _answers_alike(self, subject: Subject, parts: Sequence[tuple[np.ndarray, Subject]]) -> bool:
        """Whether the model says the same of parts as of whole samples; if not, nothing is cut any more."""
        shortened = [(rows, part) for rows, part in parts if part.positions.count < subject.positions.count]
        asked = [(rows[:1], part.rows(slice(0, 1))) for rows, part in shortened] if self._asked else shortened
        rows = np.concatenate([rows for rows, _ in asked])
        try:
            cut = np.concatenate([part.numbers() for _, part in asked])
        except Exception:  # likewise
            self._leaves = []
            return False
        uncut = subject.rows(rows).numbers() if self._asked else subject.numbers()[rows]
        self._asked = True
        self._leaves = self._leaves if _alike(cut, uncut, uncut) else []
        return bool(self._leaves)

    def _groups(self, subject: Subject, inputs: Tree, worth: float) -> list[tuple[np.ndarray, int]]:
        """Samples by length, as `_by_length` gives them; none where nothing is cut."""
        if not self._leaves:
            return []
        count = subject.positions.count
        groups = list(_by_length(self._ends(subject, inputs), count, worth))
        return groups if groups[0][1] < count else []

    def _ends(self, subject: Subject, inputs: Tree) -> np.ndarray:
        """Behind which position there is nothing but padding in any input, dims ``(sample,)``, at least 1."""
        leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
        holds = subject.positions.valid_of(inputs)
        for place in self._leaves:
            fill = leaves[place][:, -1:] if place == subject.positions.leaf else 0
            holds |= (leaves[place] != fill).reshape(*holds.shape, -1).any(-1)
        return np.where(holds.any(1), holds.shape[1] - holds[:, ::-1].argmax(1), 1)

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
    """What cuts the inputs of a subject's model, for its target; made once."""
    trimming: Trimming = subject.cache.once(_key(subject), lambda: Trimming(subject))
    return trimming


def _key(subject: Subject) -> Hashable:
    return ("trimming", subject.positions.leaf, subject.target.read)


def _joined(subject: Subject, parts: Sequence[tuple[np.ndarray, xr.DataArray]]) -> xr.DataArray:
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


def _same_relevance(cut: xr.DataArray, whole: xr.DataArray) -> bool:
    """Whether two relevances of the same samples are the same, with all numbers of their samples."""
    numbers = [name for name, coordinate in whole.coords.items() if coordinate.dtype.kind == "f"]
    pairs = [(cut, whole), *((cut[name], whole[name]) for name in numbers if name in cut.coords)]
    return all(_alike(one.values, other.values, other.values) for one, other in pairs)


def _alike(some: np.ndarray, others: np.ndarray, everything: np.ndarray) -> bool:
    """Whether numbers are the same but for rounding.

    Args:
        some: The numbers.
        others: What they are compared with, same shape.
        everything: How far such numbers are spread.
    """
    tolerance = SAME * np.ptp(everything) + ROUNDED * np.abs(everything).max()
    return np.allclose(some, others, rtol=0, atol=tolerance)


def _by_length(ends: np.ndarray, count: int, worth: float) -> Iterator[tuple[np.ndarray, int]]:
    """Groups of samples of about the same length: their numbers, and that length; the shortest ones first.

    Args:
        ends: How many positions each sample needs, dims ``(sample,)``.
        count: How many positions there are.
        worth: How many positions of padding in a group cost less than another group.
    """
    step = max(SHORTEST_STEP, -(-count // MOST_LENGTHS)) if compiles() else 1
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
