"""What to keep of each site: the whole map, or a summary that never needs the whole map at once.

A summary reads the scores a block of queries at a time: `init` makes what is carried from block to block, `update`
takes a block, `finish` makes the result. At a fused call the blocks are all there ever is: the matrix of all queries
by all keys is not built.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from keras import ops

from attnscope.interception.batches import merged
from attnscope.interception.calls import Block
from attnscope.interception.layout import Layout
from attnscope.schema import ENTROPY, RECEIVED, SCORES

_TINY = 1e-37


class Summary(ABC):
    """What is kept of a site.

    Attributes:
        variable: Name of the result among the variables of a site.
        needs_all: Whether it needs the whole matrix, so that blocks would save nothing.
        missing: What stands where a batch of shorter samples has no position.
    """

    variable: str
    needs_all = False
    missing = float("nan")

    @abstractmethod
    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """Dims of the result, of a site whose scores have `dims`."""

    @abstractmethod
    def init(self, layout: Layout) -> Any:
        """What is carried from block to block, before the first: a structure of tensors."""

    @abstractmethod
    def update(self, carry: Any, block: Block) -> tuple[Any, Any]:
        """Takes a block of queries.

        Returns:
            The next carry, and a structure of tensors that hold one value per query of the block, the queries on
            the last axis.
        """

    @abstractmethod
    def finish(self, carry: Any, per_query: Any) -> Any:
        """The result, from the last carry and all blocks' values joined along the queries."""

    def merge(self, parts: list[np.ndarray]) -> np.ndarray:
        """Results of successive batches, samples first, as one; `missing` fills up shorter samples."""
        return merged(parts, self.missing)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Full(Summary):
    """The scores themselves, dims as the site's: what `capture` keeps unless told otherwise."""

    variable = SCORES
    needs_all = True
    missing = 0.0

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All of them."""
        return dims

    def init(self, layout: Layout) -> Any:
        """Nothing is carried."""
        return []

    def update(self, carry: Any, block: Block) -> tuple[Any, Any]:
        """The one block there is."""
        return carry, block.scores

    def finish(self, carry: Any, per_query: Any) -> Any:
        """The scores."""
        return per_query


class Received(Summary):
    """Attention that each key receives: the mean of its column over the valid queries.

    Result dims: the site's without its queries, within ``[0, 1]``, summing to 1 over the keys. NaN where no query
    is valid. At a site that pools it is the scores themselves.
    """

    variable = RECEIVED

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All but the queries."""
        return tuple(dim for dim in dims if not dim.startswith("query"))

    def init(self, layout: Layout) -> Any:
        """Sums per key, and how many queries were summed."""
        sizes = dict(zip(layout.dims, layout.shape, strict=True))
        shape = tuple(sizes[dim] for dim in self.dims(layout.dims))
        return [ops.zeros(shape, "float32"), ops.zeros(shape[: len(shape) - layout.num_keys], "float32")]

    def update(self, carry: Any, block: Block) -> tuple[Any, Any]:
        """Adds the block's valid rows."""
        keys, queries = block.layout.num_keys, len(block.layout.query_dims)
        scores = ops.cast(block.scores, "float32")
        row_shape = tuple(scores.shape)[: len(scores.shape) - keys]
        valid = ops.ones(row_shape, "float32")
        if block.query_valid is not None:
            valid = ops.multiply(valid, ops.cast(block.query_valid, "float32"))
            weight = ops.reshape(valid, (*row_shape, *[1] * keys))
            scores = ops.where(ops.greater(weight, 0), scores, ops.zeros_like(scores))
        axes = tuple(range(len(row_shape) - queries, len(row_shape)))
        if not axes:
            return [carry[0] + scores, carry[1] + valid], []
        return [carry[0] + ops.sum(scores, axis=axes), carry[1] + ops.sum(valid, axis=axes)], []

    def finish(self, carry: Any, per_query: Any) -> Any:
        """Sum over count."""
        total, count = carry
        count = ops.reshape(count, (*count.shape, *[1] * (len(total.shape) - len(count.shape))))
        return ops.where(count > 0, total / ops.maximum(count, 1.0), float("nan"))


class Entropy(Summary):
    """Shannon entropy of each query's attention over the keys, in bits.

    Result dims: the site's without its keys, within ``[0, log2(keys)]``. NaN where a query attends to nothing.

    Source:
        Shannon 1948, section 6.
    """

    variable = ENTROPY

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All but the keys."""
        return tuple(dim for dim in dims if not dim.startswith("key"))

    def init(self, layout: Layout) -> Any:
        """Nothing is carried."""
        return []

    def update(self, carry: Any, block: Block) -> tuple[Any, Any]:
        """One value per query."""
        scores = ops.cast(block.scores, "float32")
        keys = tuple(range(-block.layout.num_keys, 0))
        bits = ops.multiply(scores, ops.log2(ops.maximum(scores, _TINY)))
        entropy = ops.abs(ops.sum(bits, axis=keys))
        if block.query_valid is None:
            return carry, entropy
        empty = ops.equal(ops.sum(scores, axis=keys), 0.0)
        return carry, ops.where(empty, float("nan"), entropy)

    def finish(self, carry: Any, per_query: Any) -> Any:
        """The values of all queries."""
        return per_query
