"""Padding that no sample of a batch needs is cut off, in models for which the length of the inputs does not matter.

Texts are padded to a common length, but most are shorter, and deleting tokens makes them shorter still: half of what a
model computes for them can be padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import numpy as np
from keras import tree

from attnscope.attribution._positions import Positions, rows_of
from attnscope.attribution._subject import Subject
from attnscope.tensors import Tree

SHORTEST_STEP, MOST_LENGTHS = 16, 8
"""Lengths are rounded up to multiples of 16 or more, so that a model is compiled for at most 8 of them."""
SAME = 1e-4
"""Answers count as the same if they differ by at most this share of the largest, which rounding explains."""


class Trimming:
    """Scores inputs after cutting them to as many positions as they really have.

    It cuts only if every input that has positions may be of any length and no output has positions, and only once the
    model has given the same answers for cut inputs as for the same inputs whole.

    Args:
        model: The model.
        inputs: Its inputs, in arrays.
        positions: The positions of the inputs.
    """

    def __init__(self, model: keras.Model, inputs: Tree, positions: Positions) -> None:
        self._positions = positions
        self._leaves = _long_leaves(model, inputs, positions)
        self._checked = False

    def __call__(self, subject: Subject, inputs: Tree, extras: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target's numbers, dims ``(sample,)``, float64.

        Args:
            subject: The model and the target.
            inputs: Inputs of the model, in arrays.
            extras: The target's extras for these samples.
        """
        if not self._leaves:
            return subject.numbers(inputs, extras)
        answers = np.empty(len(tree.flatten(inputs)[0]))
        for rows, length in self._groups(inputs):
            uncut, extras_of_rows = rows_of(inputs, rows), {name: array[rows] for name, array in extras.items()}
            answers[rows] = subject.numbers(self._cut(uncut, length), extras_of_rows)
            if length < self._positions.count and not self._checked:
                whole = subject.numbers(uncut, extras_of_rows)
                self._checked = True
                if not np.allclose(answers[rows], whole, rtol=0, atol=SAME * np.abs(whole).max()):
                    self._leaves = []
                    return subject.numbers(inputs, extras)
        return answers

    def _groups(self, inputs: Tree) -> Iterator[tuple[np.ndarray, int]]:
        """Groups of samples of about the same length: their numbers, and that length."""
        valid = self._positions.valid_of(inputs)
        count = valid.shape[1]
        step = max(SHORTEST_STEP, -(-count // MOST_LENGTHS))
        ends = np.where(valid.any(1), count - valid[:, ::-1].argmax(1), 1)
        lengths = np.minimum(-(-ends // step) * step, count)
        for length in np.unique(lengths):
            yield np.flatnonzero(lengths == length), int(length)

    def _cut(self, inputs: Tree, length: int) -> Tree:
        """The inputs without what stands after the first `length` positions."""
        leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
        for place in self._leaves:
            leaves[place] = leaves[place][:, :length]
        return tree.pack_sequence_as(inputs, leaves)


def _long_leaves(model: keras.Model, inputs: Tree, positions: Positions) -> list[int]:
    """Numbers of the inputs that have positions; none if one of them has a fixed length, or an output has positions."""
    declared, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    sequence = positions.kind in ("tokens", "steps") and len(positions.shape) == 1 and positions.follows
    if not sequence or declared is None or outputs is None:
        return []
    leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
    shapes, output_shapes = ([tuple(tensor.shape) for tensor in tensors] for tensors in (declared, outputs))
    long = [number for number, leaf in enumerate(leaves) if leaf.ndim > 1 and leaf.shape[1] == positions.count]
    any_length = len(shapes) == len(leaves) and all(shapes[number][1] is None for number in long)
    fixed_outputs = all(None not in shape[1:] for shape in output_shapes)
    return long if any_length and fixed_outputs else []
