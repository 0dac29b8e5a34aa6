"""Padding that no sample of a batch needs is not computed, where the model does not care how long its inputs are.

Texts are padded to one length and most are shorter, and what is deleted makes them shorter still: half of what a model
computes for them can be padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.attribution._positions import Positions, rows_of
from attnscope.attribution._scoring import Scorer
from attnscope.attribution._targets import Target

SHORTEST_STEP, MOST_LENGTHS = 16, 8
"""Lengths are rounded up to multiples of 16 or more, so that a model is compiled for 8 at the most."""
SAME = 1e-4
"""Answers differ by rounding: by this share of the largest of them at the most, or they are not the same."""


class Trimming:
    """A model asked about inputs that are cut to as many positions as they have.

    It cuts only where every input that has positions may be of any length, where no output has them, and once it has
    seen the model give the same answers for inputs cut as for the same inputs whole.

    Args:
        model: The model.
        inputs: Its inputs, in arrays.
        positions: What the positions are.
    """

    def __init__(self, model: keras.Model, inputs: Any, positions: Positions) -> None:
        self._positions = positions
        self._leaves = _long_leaves(model, inputs, positions)
        self._checked = False

    def __call__(self, scorer: Scorer, inputs: Any, target: Target, extras: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target's numbers, float64, dims ``(sample,)``; see `Scorer`."""
        if not self._leaves:
            return scorer(inputs, target, extras)
        answers = np.empty(len(tree.flatten(inputs)[0]))
        for rows, length in self._groups(inputs):
            given, of_rows = rows_of(inputs, rows), {name: array[rows] for name, array in extras.items()}
            answers[rows] = scorer(self._cut(given, length), target, of_rows)
            if length < self._positions.count and not self._checked:
                whole = scorer(given, target, of_rows)
                self._checked = True
                if not np.allclose(answers[rows], whole, rtol=0, atol=SAME * np.abs(whole).max()):
                    self._leaves = []
                    return scorer(inputs, target, extras)
        return answers

    def _groups(self, inputs: Any) -> Iterator[tuple[np.ndarray, int]]:
        """Numbers of the samples of about one length, and that length."""
        valid = self._positions.valid_of(inputs)
        count = valid.shape[1]
        step = max(SHORTEST_STEP, -(-count // MOST_LENGTHS))
        ends = np.where(valid.any(1), count - valid[:, ::-1].argmax(1), 1)
        lengths = np.minimum(-(-ends // step) * step, count)
        for length in np.unique(lengths):
            yield np.flatnonzero(lengths == length), int(length)

    def _cut(self, inputs: Any, length: int) -> Any:
        leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
        for place in self._leaves:
            leaves[place] = leaves[place][:, :length]
        return tree.pack_sequence_as(inputs, leaves)


def _long_leaves(model: keras.Model, inputs: Any, positions: Positions) -> list[int]:
    """Numbers of the inputs that have positions; none where one of them, or an output, is of a fixed length."""
    known, given = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if positions.kind not in ("tokens", "steps") or known is None or given is None:
        return []
    leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
    shapes, ends = ([tuple(tensor.shape) for tensor in tensors] for tensors in (known, given))
    long = [place for place, leaf in enumerate(leaves) if leaf.ndim > 1 and leaf.shape[1] == positions.count]
    any_length = len(shapes) == len(leaves) and all(shapes[place][1] is None for place in long)
    fixed_outputs = all(None not in shape[1:] for shape in ends)
    return long if any_length and fixed_outputs else []
