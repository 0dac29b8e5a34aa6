"""Scores as a store holds them, made where the model runs: fewer bytes leave it, and its own threads do the work."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from attnscope.capturing._summaries import Full, Summary
from attnscope.interception import Block, Layout
from attnscope.stores import BYTES, EXACT, FEWEST_STEPS, HALF, MOST_STEPS, SCALE
from attnscope.tensors import Tensor, Tree


def coded(summaries: Sequence[Summary], codes: str) -> list[Summary]:
    """The same summaries, with whole maps as they are stored.

    Args:
        summaries: What to keep of each site.
        codes: How scores are stored.
    """
    stored: list[Summary] = [] if codes == EXACT else [Codes(codes)]
    stored += [Scale()] if codes == BYTES else []
    whole = [[summary] if codes == EXACT or type(summary) is not Full else stored for summary in summaries]
    return [summary for several in whole for summary in several]


class Codes(Full):
    """The scores in half precision, or as square roots of one byte, in steps that differ from query to query.

    Args:
        codes: ``float16`` or ``uint8``.
    """

    def __init__(self, codes: str) -> None:
        self.codes = codes

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """The one block there is."""
        if not _is_float(block.scores):
            return carry, block.scores
        if self.codes == HALF:
            return carry, ops.cast(block.scores, "float16")
        scores = ops.cast(block.scores, "float32")
        largest, steps = _steps(scores, block.layout)
        there = ops.greater(largest, 0)
        per_score = ops.where(there, ops.square(steps) / ops.where(there, largest, 1.0), 0.0)
        return carry, ops.cast(ops.round(ops.sqrt(ops.multiply(scores, per_score))), "uint8")


class Scale(Summary):
    """By what the squares of a query's codes are multiplied; NaN where the scores are no numbers, or below 0."""

    missing = {SCALE: float("nan")}  # noqa: RUF012
    needs_all = True

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All but the keys."""
        return tuple(dim for dim in dims if not dim.startswith("key"))

    def init(self, layout: Layout) -> Tree:
        """Nothing is carried."""
        return []

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """One value per query."""
        scores, keys = ops.cast(block.scores, "float32"), _key_axes(block.layout)
        largest, steps = _steps(scores, block.layout)
        scale = ops.where(ops.less(ops.min(scores, keys, keepdims=True), 0), float("nan"), largest / ops.square(steps))
        return carry, ops.squeeze(scale, keys)

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The values of all queries."""
        return {SCALE: per_query}


def _steps(scores: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The largest score of each query, and the steps from 0 to it; the keys have the size 1."""
    largest = ops.max(scores, _key_axes(layout), keepdims=True)
    return largest, ops.ceil(ops.clip(largest * MOST_STEPS, FEWEST_STEPS, MOST_STEPS))


def _key_axes(layout: Layout) -> tuple[int, ...]:
    return tuple(range(-layout.num_keys, 0))


def _is_float(scores: Tensor) -> bool:
    return "float" in str(scores.dtype)
