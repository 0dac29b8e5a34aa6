"""What to keep of each site: the whole map, or a summary that never needs the whole map at once.

A summary reads the scores one block of queries at a time: `init` makes what is carried from block to block, `update`
takes a block, and `finish` makes the result; `merge` makes one carry of two. Where attention is computed in tiles only
the blocks ever exist: the matrix of all queries by all keys is never built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from keras import ops, tree

from attnscope.errors import InputError
from attnscope.interception import Block, Layout
from attnscope.schema import ENTROPY, RANK, RECEIVED, TOP_KEYS, TOP_SCORES, Site
from attnscope.tensors import Tensor, Tree


class Summary(ABC):
    """What is kept of a site.

    Attributes:
        missing: Names of the variables that it makes, and what fills each where a batch of shorter samples has no
            position.
        sizes: Sizes of dims that the site's scores do not have.
        needs_all: Whether it needs the whole matrix, so that blocks would save nothing.
        by_head: Whether each head of each sample is summarised for itself, with dims that keep both. Such a summary is
            given some heads of some samples at a time, with dims ``(sample, head, query, key)``, in tiles that fit in
            the cache, which is several times faster.
    """

    missing: Mapping[str, float]
    sizes: Mapping[str, int] = {}
    needs_all = False
    by_head = False

    def check(self, site: Site) -> None:  # noqa: B027
        """Raises an `InputError` where it says nothing about a site; by default it suits every site."""

    def sizes_at(self, sizes: Mapping[str, int]) -> Mapping[str, int]:
        """Sizes of those dims that the scores do not have, where these have `sizes`; never more than the keys."""
        keys = math.prod(size for dim, size in sizes.items() if dim.startswith("key"))
        return {dim: min(size, keys) for dim, size in self.sizes.items()}

    @abstractmethod
    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """Dims of each of its variables, of a site whose scores have `dims`."""

    @abstractmethod
    def init(self, layout: Layout) -> Tree:
        """What is carried from block to block, before the first: a structure of tensors."""

    @abstractmethod
    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """Takes a block of queries.

        Returns:
            The next carry, and a structure of tensors that hold one value per query of the block, the queries on
            the last axis.
        """

    def merge(self, first: Tree, second: Tree) -> Tree:
        """One carry of two, where different queries of the same site were read apart: on several machines, say.

        What was carried from block to block is added, as is right for sums and counts that `init` begins with 0. A
        summary that carries anything else (a maximum, for example) says how two are put together.

        Args:
            first: What reading some queries has made of ``init()``.
            second: What reading others has made of it.

        Returns:
            What reading all of them in one go would have made, up to rounding.
        """
        return tree.map_structure(ops.add, first, second)

    @abstractmethod
    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The variables, from the last carry and all blocks' values joined along the queries."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if value is not None)
        return f"{type(self).__name__}({settings})"


class PerQuery(Summary):
    """A summary of one value per query: a subclass names its variable and says the values of a block.

    Result dims: the site's without its keys.

    Attributes:
        variable: Name of the variable. Where a batch of shorter samples has no such query, its value is NaN.
    """

    variable: ClassVar[str]
    by_head = True

    @property
    def missing(self) -> Mapping[str, float]:  # type: ignore[override]
        """NaN for a value that is not there."""
        return {self.variable: float("nan")}

    @abstractmethod
    def values(self, block: Block) -> Tensor:
        """The values of a block of queries: dims as ``block.row_shape``."""

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All but the keys."""
        return tuple(dim for dim in dims if not dim.startswith("key"))

    def init(self, layout: Layout) -> Tree:
        """Nothing is carried."""
        return []

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """One value per query."""
        return carry, self.values(block)

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The values of all queries."""
        return {self.variable: per_query}


class Received(Summary):
    """The attention that each key receives: the mean of its column over the valid queries.

    Result dims: the site's without its queries, within ``[0, 1]``, summing to 1 over the keys. NaN if no query is
    valid. At a site that pools, it is the scores themselves.
    """

    missing = {RECEIVED: float("nan")}  # noqa: RUF012
    by_head = True

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All but the queries."""
        return tuple(dim for dim in dims if not dim.startswith("query"))

    def init(self, layout: Layout) -> Tree:
        """Sums per key, and how many queries were summed."""
        sizes = dict(zip(layout.dims, layout.shape, strict=True))
        shape = tuple(sizes[dim] for dim in self.dims(layout.dims))
        return [ops.zeros(shape, "float32"), ops.zeros(shape[: len(shape) - layout.num_keys], "float32")]

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """Adds the block's valid rows."""
        weights, queries = block.weights, len(block.layout.query_dims)
        axes = tuple(range(len(weights.shape) - queries, len(weights.shape)))
        count = ops.sum(weights, axis=axes) if axes else weights
        return [carry[0] + block.column_sums(), carry[1] + count], []

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """Sum over count."""
        total, count = carry
        count = ops.reshape(count, (*count.shape, *[1] * (len(total.shape) - len(count.shape))))
        return {RECEIVED: ops.where(count > 0, total / ops.maximum(count, 1.0), float("nan"))}


class Entropy(PerQuery):
    """Shannon entropy of each query's attention over the keys, in bits.

    Result dims: the site's without its keys, within ``[0, log2(keys)]``. NaN where a query attends to nothing.

    Source:
        Shannon 1948, section 6.
    """

    variable = ENTROPY

    def values(self, block: Block) -> Tensor:
        """Those of the block."""
        return block.entropy()


class TopK(Summary):
    """The strongest keys of each query, in descending order: their weights and their positions.

    Result dims: the site's with ``rank`` (of size `k`, or as many as there are keys) in place of its keys.
    ``top_scores`` are the weights, ``top_keys`` the positions of their keys (int32; -1 where the weight is 0, and where
    a batch of shorter samples has no position). If keys have two dims, they are numbered row by row.

    Of keys with equal scores it is not defined which comes first, nor, at the last rank, which is left out: it may
    differ between backends, devices and lengths. The scores are the same in any case.

    Args:
        k: Number of keys, at least 1.

    Raises:
        InputError: `k` is not a whole number of at least 1.
    """

    missing = {TOP_SCORES: 0.0, TOP_KEYS: -1}  # noqa: RUF012
    by_head = True

    def __init__(self, k: int = 16) -> None:
        self.k = whole_number("k", k, "keys", "TopK(16)")

    @property
    def sizes(self) -> Mapping[str, int]:  # type: ignore[override]
        """The size of ``rank``."""
        return {RANK: self.k}

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """``rank`` in place of the keys."""
        return (*(dim for dim in dims if not dim.startswith("key")), RANK)

    def init(self, layout: Layout) -> Tree:
        """Nothing is carried."""
        return []

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """Per rank the weight and the key of each query."""
        weights, keys = block.strongest(self.k)
        keys = ops.where(ops.equal(weights, 0), -1, keys)
        return carry, [ops.moveaxis(weights, -1, 0), ops.moveaxis(keys, -1, 0)]

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """All ranks, after the queries."""
        weights, keys = per_query
        return {TOP_SCORES: ops.moveaxis(weights, 0, -1), TOP_KEYS: ops.moveaxis(keys, 0, -1)}


def whole_number(name: str, value: int, unit: str, example: str) -> int:
    """A setting that is a whole number of at least 1.

    Raises:
        InputError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}, but a whole number of {unit} is needed: {example}.")
    return value


def key_count(layout: Layout) -> int:
    """How many keys there are, all axes of them together."""
    return math.prod(layout.shape[len(layout.shape) - layout.num_keys :])
