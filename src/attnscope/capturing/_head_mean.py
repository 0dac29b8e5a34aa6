"""One map per site: the mean over its heads."""

from __future__ import annotations

from keras import ops

from attnscope.capturing._summaries import Summary
from attnscope.interception import Block, Layout
from attnscope.schema import HEAD, HEAD_MEAN
from attnscope.tensors import Tensor, Tree


class HeadMean(Summary):
    """The mean of all heads: one map of all queries by all keys instead of one per head.

    Result dims: the site's without ``head``. It takes memory of the size of one map, and no more than that in between.
    """

    missing = {HEAD_MEAN: 0.0}  # noqa: RUF012

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All but the heads."""
        return tuple(dim for dim in dims if dim != HEAD)

    def init(self, layout: Layout) -> Tree:
        """Nothing is carried."""
        return []

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """The mean of the block: as it is where the block is the whole, else with the queries last."""
        scores = block.scores
        if HEAD in block.layout.dims:
            scores = ops.mean(scores, axis=block.layout.dims.index(HEAD))
        if tuple(block.scores.shape) == block.layout.shape:
            return carry, {"whole": scores}
        return carry, {"blocks": ops.swapaxes(scores, -1, -2)}

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The map."""
        whole = per_query.get("whole")
        return {HEAD_MEAN: ops.swapaxes(per_query["blocks"], -1, -2) if whole is None else whole}
