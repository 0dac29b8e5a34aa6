"""A small picture of each map: means and maxima over squares of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from keras import ops

from attnscope.capturing._summaries import Summary, key_count, whole_number
from attnscope.interception import Block, Layout, pooled
from attnscope.schema import THUMBNAIL_KEY, THUMBNAIL_MAX, THUMBNAIL_MEAN, THUMBNAIL_QUERY
from attnscope.tensors import Tensor, Tree


class Thumbnail(Summary):
    """Each head's map pooled to at most `size` x `size` bins: the mean and the largest score of each.

    A bin holds ``ceil(queries / size)`` neighbouring queries by ``ceil(keys / size)`` neighbouring keys, the last
    perhaps fewer. Queries that are not valid are left out; keys that are padding count, with their scores. Several
    axes of queries or keys are numbered row by row.

    Result dims: the site's with ``thumbnail_query`` and ``thumbnail_key`` in place of queries and keys; NaN where a bin
    has no valid query.

    Args:
        size: Bins along each axis, at least 1.

    Raises:
        InputError: `size` is not a whole number of at least 1.
    """

    missing = {THUMBNAIL_MEAN: float("nan"), THUMBNAIL_MAX: float("nan")}  # noqa: RUF012
    by_head = True

    def __init__(self, size: int = 64) -> None:
        self.size = whole_number("size", size, "bins", "Thumbnail(64)")

    @property
    def sizes(self) -> Mapping[str, int]:  # type: ignore[override]
        """The most bins that there can be."""
        return {THUMBNAIL_QUERY: self.size, THUMBNAIL_KEY: self.size}

    def sizes_at(self, sizes: Mapping[str, int]) -> Mapping[str, int]:
        """Bins of so many queries and keys."""
        queries = math.prod(size for dim, size in sizes.items() if dim.startswith("query"))
        keys = math.prod(size for dim, size in sizes.items() if dim.startswith("key"))
        return {THUMBNAIL_QUERY: self._bins(queries), THUMBNAIL_KEY: self._bins(keys)}

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """Bins in place of queries and keys."""
        return (*(dim for dim in dims if not dim.startswith(("query", "key"))), THUMBNAIL_QUERY, THUMBNAIL_KEY)

    def init(self, layout: Layout) -> Tree:
        """Nothing is carried."""
        return []

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """Each query's scores pooled over the keys; the bins come first."""
        keys = key_count(block.layout)
        width = self._width(keys)
        sums, most = block.pooled(width)
        bins = self._bins(keys)
        sizes = [float(min(width, keys - number * width)) for number in range(bins)]
        means = ops.divide(sums, ops.convert_to_tensor(sizes, sums.dtype))
        arrays = [self._queries_last(ops.moveaxis(array, -1, 0), block, 1) for array in (means, most)]
        if block.query_valid is None:
            return carry, arrays
        valid = ops.broadcast_to(block.query_valid, block.row_shape)
        return carry, [*arrays, self._queries_last(valid, block, 0)]

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """Pooled over the queries too."""
        means, most, *valid = per_query
        width = self._width(int(means.shape[-1]))
        counts = pooled(ops.cast(valid[0], means.dtype) if valid else ops.ones(means.shape[1:], means.dtype), width)[0]
        if valid:
            means, most = (ops.where(valid[0], array, ops.zeros_like(array)) for array in (means, most))
        mean = ops.divide(pooled(means, width)[0], ops.maximum(counts, 1.0))
        largest = pooled(most, width)[1]
        mean, largest = (ops.where(counts > 0, array, float("nan")) for array in (mean, largest))
        return {THUMBNAIL_MEAN: ops.moveaxis(mean, 0, -1), THUMBNAIL_MAX: ops.moveaxis(largest, 0, -1)}

    def _width(self, positions: int) -> int:
        return math.ceil(positions / self.size)

    def _bins(self, positions: int) -> int:
        return math.ceil(positions / self._width(positions))

    @staticmethod
    def _queries_last(array: Tensor, block: Block, before: int) -> Tensor:
        """All queries of a block on one axis, the last."""
        shape = tuple(int(size) for size in array.shape)
        kept = before + len(block.row_shape) - len(block.layout.query_dims)
        return ops.reshape(array, (*shape[:kept], math.prod(shape[kept:])))
