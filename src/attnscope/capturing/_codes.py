"""Scores as a store holds them, made where the model runs: fewer bytes leave it, and its own threads do the work."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from attnscope.capturing._full import Full, keeps_maps
from attnscope.capturing._summaries import PerQuery, Summary
from attnscope.interception import Block, Layout, Tile
from attnscope.running import compiles
from attnscope.schema import SCORES
from attnscope.stores import BYTES, EXACT, FEWEST_STEPS, HALF, LARGEST, MOST_STEPS, SCALE, UNFIT
from attnscope.tensors import Tensor, Tree


def coded(summaries: Sequence[Summary], codes: str) -> list[Summary]:
    """The same summaries, with whole maps as they are stored.

    Args:
        summaries: What to keep of each site.
        codes: How scores are stored.
    """
    stored: list[Summary] = [] if codes == EXACT else [Codes(codes)]
    stored += [Scale()] if codes == BYTES else []
    whole = [[summary] if codes == EXACT or not keeps_maps(summary) else stored for summary in summaries]
    return [summary for several in whole for summary in several]


class Codes(Full):
    """The scores in half precision, or as square roots of one byte, in steps that differ from query to query.

    Args:
        codes: ``float16`` or ``uint8``.
    """

    def __init__(self, codes: str) -> None:
        super().__init__()
        self.codes = codes

    @property
    def by_head(self) -> bool:  # type: ignore[override]
        """Each head has codes of its own."""
        return True

    @property
    def needs_all(self) -> bool:  # type: ignore[override]
        """Where all of a run is compiled; elsewhere roots are taken of a tile while it is in the cache."""
        return compiles() or self.codes == HALF

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """Carries the blocks so far."""
        if isinstance(block, Tile):
            coded = self._coded_tile(block)
            repeated = 0 if block.fresh is None else int(ops.sum(ops.cast(ops.logical_not(block.fresh), "int32")))
            return [*carry, coded[..., repeated:, :]], []
        return [self._coded(block)], []

    def merge(self, first: Tree, second: Tree) -> Tree:
        """The blocks of both."""
        return [*first, *second]

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The blocks, one behind the other along the queries."""
        return {SCORES: carry[0] if len(carry) == 1 else ops.concatenate(carry, axis=-2)}

    def _coded(self, block: Block) -> Tensor:
        if "float" not in str(block.scores.dtype):
            return block.scores
        if self.codes == HALF:
            return ops.cast(block.scores, "float16")
        scores = ops.cast(block.scores, "float32")
        largest = ops.max(scores, _key_axes(block.layout), keepdims=True)
        there = ops.greater(largest, 0)
        per_score = ops.where(there, ops.square(_steps(largest)) / ops.where(there, largest, 1.0), 0.0)
        return _rounded_roots(ops.multiply(scores, per_score))

    def _coded_tile(self, tile: Tile) -> Tensor:
        """From the exponentials, of which the largest of each query is 1."""
        largest = ops.cast(tile.share, "float32")
        squares = ops.where(ops.greater(largest, 0), ops.square(_steps(largest)), 0.0)
        return _rounded_roots(ops.multiply(ops.cast(tile.made_of.powers, "float32"), squares[..., None]))


class Scale(PerQuery):
    """By what the squares of a query's codes are multiplied; NaN where no score is a number.

    Where codes would be off by more than is stated, it is `UNFIT`, with which nothing is stored.
    """

    variable = SCALE

    def values(self, block: Block) -> Tensor:
        """Those of the block."""
        if isinstance(block, Tile):
            largest = ops.cast(block.share, "float32")
            return largest / ops.square(_steps(largest))
        scores, keys = ops.cast(block.scores, "float32"), _key_axes(block.layout)
        is_number = ops.equal(scores, scores)
        lowest = ops.min(ops.where(is_number, scores, UNFIT), keys)
        largest = ops.max(ops.where(is_number, scores, float("-inf")), keys)
        fits = ops.logical_and(ops.greater_equal(lowest, 0), ops.less_equal(largest, LARGEST))
        no_number = ops.logical_and(ops.equal(lowest, UNFIT), ops.equal(largest, float("-inf")))
        scale = largest / ops.square(_steps(largest))
        return ops.where(fits, scale, ops.where(no_number, float("nan"), UNFIT))


def _steps(largest: Tensor) -> Tensor:
    """The steps from 0 to the largest score of a query."""
    return ops.ceil(ops.clip(largest * MOST_STEPS, FEWEST_STEPS, MOST_STEPS))


def _rounded_roots(squares: Tensor) -> Tensor:
    return ops.cast(ops.round(ops.sqrt(squares)), "uint8")


def _key_axes(layout: Layout) -> tuple[int, ...]:
    return tuple(range(-layout.num_keys, 0))
