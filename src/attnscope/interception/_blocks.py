"""A block of scores, and what a summary can ask of it.

What is asked for often has a plain form, which reads the scores, and a fast one for a tile of a fused call, which reads
``exp(logit - maximum)`` and its sum instead, so that the scores themselves are never written down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from keras import ops

from attnscope.backends import current
from attnscope.interception._layout import Layout
from attnscope.tensors import Tensor, Tree

_TINY = 1e-37
_GROUPS, _LONG = 32, 4096
"""From this many keys on the strongest are looked for in two steps, first among the maxima of groups of this size."""


@dataclass(frozen=True)
class Block:
    """The scores of some queries.

    Attributes:
        scores: dims ``(..., query, key)`` with only this block's queries; masked cells and rows are 0.
        query_valid: Whether a query counts, same dims without ``key`` (bool); None where all do.
        start: Number of the first query.
        layout: Names of the dims.
    """

    scores: Tensor
    query_valid: Tensor
    start: Tensor
    layout: Layout

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Sizes of the dims without the keys."""
        shape = tuple(self.scores.shape)
        return shape[: len(shape) - self.layout.num_keys]

    @cached_property
    def rows(self) -> Tensor:
        """The scores in float32 or wider, the keys on one axis."""
        shape = tuple(self.scores.shape)
        keys = math.prod(shape[len(self.row_shape) :])
        scores = self.scores if "float64" in str(self.scores.dtype) else ops.cast(self.scores, "float32")
        return ops.reshape(scores, (*self.row_shape, keys))

    @property
    def weights(self) -> Tensor:
        """1 for each query that counts, 0 for the others, dims without the keys, float32."""
        ones = ops.ones(self.row_shape, "float32")
        return ones if self.query_valid is None else ops.multiply(ones, ops.cast(self.query_valid, "float32"))

    def column_sums(self) -> Tensor:
        """What each key receives from the queries that count, dims without the queries, float32."""
        scores, keys = ops.cast(self.scores, "float32"), self.layout.num_keys
        if self.query_valid is not None:
            weight = ops.reshape(self.weights, (*self.row_shape, *[1] * keys))
            scores = ops.where(ops.greater(weight, 0), scores, ops.zeros_like(scores))
        queries = len(self.layout.query_dims)
        axes = tuple(range(len(self.row_shape) - queries, len(self.row_shape)))
        return ops.sum(scores, axis=axes) if axes else scores

    def entropy(self) -> Tensor:
        """Shannon entropy of each query, in bits, float32; NaN where it attends to nothing."""
        scores = ops.cast(self.rows, "float32")
        bits = ops.abs(current().row_products(scores, ops.log2(ops.maximum(scores, _TINY))))
        if self.query_valid is None:
            return bits
        return ops.where(ops.equal(ops.sum(scores, axis=-1), 0.0), float("nan"), bits)

    def strongest(self, count: int) -> tuple[Tensor, Tensor]:
        """The strongest scores of each query, in descending order, and the numbers of their keys (int32)."""
        return strongest(self.rows, count)

    def pooled(self, width: int) -> tuple[Tensor, Tensor]:
        """Sum and maximum of the scores over each `width` neighbouring keys, the last perhaps fewer."""
        return pooled(self.rows, width)

    def mean_of(self, values: Tensor) -> Tensor:
        """The mean of `values` that each query attends to, float32.

        Args:
            values: dims ``(query, key)``, of this block's queries.
        """
        return ops.sum(ops.multiply(ops.cast(self.rows, "float32"), values), axis=-1)

    def of_queries(self, places: Tensor) -> Tensor:
        """The rows at some places of the block, which are on the last axis but one; several query axes are one."""
        lead = len(self.row_shape) - len(self.layout.query_dims)
        queries = math.prod(int(size) for size in self.row_shape[lead:])
        rows = ops.reshape(self.rows, (*self.row_shape[:lead], queries, self.rows.shape[-1]))
        return ops.take(rows, places, axis=-2)


@dataclass(frozen=True)
class Exponentials:
    """What a softmax of some queries is made of, dims sample, head, query, key.

    Attributes:
        shifted: Logits minus the largest of their row.
        powers: ``exp`` of these; 0 at masked cells.
        total: Their sum, dims without ``key``.
        attends: Whether a query attends to something, broadcastable to `total`; None where all do.
    """

    shifted: Tensor
    powers: Tensor
    total: Tensor
    attends: Tensor


class Tile(Block):
    """The scores of some queries of some heads of some samples at a fused call, dims sample, head, query, key.

    Attributes:
        made_of: What its scores are made of; they are computed where they are asked for.
        fresh: Whether a query is in no block before this one, dims ``(query,)``; None where all are.
    """

    made_of: Exponentials
    fresh: Tensor

    def __init__(
        self, made_of: Exponentials, query_valid: Tensor, start: Tensor, layout: Layout, fresh: Tensor
    ) -> None:
        valid = {"query_valid": query_valid, "start": start, "layout": layout}
        vars(self).update(valid, made_of=made_of, fresh=fresh)

    @property
    def scores(self) -> Tensor:
        """The scores themselves."""
        return self.rows

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Sizes of sample, head and query."""
        return tuple(self.made_of.total.shape)

    @cached_property
    def share(self) -> Tensor:
        """What an exponential is multiplied by to be a score; 0 for a query that attends to nothing."""
        share = ops.divide(1.0, self.made_of.total)
        return (
            share if self.made_of.attends is None else ops.where(self.made_of.attends, share, ops.multiply(share, 0.0))
        )

    @cached_property
    def rows(self) -> Tensor:
        """The scores themselves."""
        return ops.multiply(self.made_of.powers, self.share[..., None])

    @property
    def weights(self) -> Tensor:
        """1 for each query that counts, 0 for the others."""
        weights = super().weights
        return weights if self.fresh is None else ops.multiply(weights, ops.cast(self.fresh, "float32"))

    def column_sums(self) -> Tensor:
        """A product of vector and matrix."""
        exponentials, share = self.made_of.powers, self.share
        if self.query_valid is not None:  # what padding holds may be NaN
            exponentials = ops.where(self.query_valid[..., None], exponentials, 0.0)
            share = ops.where(self.query_valid, share, 0.0)
        if self.fresh is not None:
            share = ops.where(self.fresh, share, 0.0)
        return ops.cast(ops.matmul(share[..., None, :], exponentials)[..., 0, :], "float32")

    def entropy(self) -> Tensor:
        """``log(total) - sum(exponential * shifted) / total``, whose terms do not cancel."""
        energy = current().row_products(self.made_of.powers, self.made_of.shifted)
        bits = ops.cast(ops.abs(current().bits(self.made_of.total, energy)), "float32")
        return bits if self.made_of.attends is None else ops.where(self.made_of.attends, bits, float("nan"))

    def strongest(self, count: int) -> tuple[Tensor, Tensor]:
        """Those of the strongest exponentials."""
        exponentials, keys = strongest(self.made_of.powers, count)
        return ops.multiply(exponentials, self.share[..., None]), keys

    def pooled(self, width: int) -> tuple[Tensor, Tensor]:
        """Exponentials pooled, then made scores."""
        sums, most = pooled(self.made_of.powers, width)
        return ops.multiply(sums, self.share[..., None]), ops.multiply(most, self.share[..., None])

    def mean_of(self, values: Tensor) -> Tensor:
        """The sum over the keys, then made a mean."""
        return ops.cast(ops.multiply(current().row_products(self.made_of.powers, values), self.share), "float32")

    def of_queries(self, places: Tensor) -> Tensor:
        """Of these alone scores are made."""
        exponentials = ops.take(self.made_of.powers, places, axis=-2)
        return ops.multiply(exponentials, ops.take(self.share, places, axis=-1)[..., None])


class Reduction(Protocol):
    """What reads the scores of a call block by block; see `attnscope.capturing.Summary`."""

    @property
    def by_head(self) -> bool:
        """Whether each head of each sample is read for itself."""

    @property
    def missing(self) -> Mapping[str, float]:
        """Names of its variables, and what stands for a missing value."""

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """Dims of each of its variables."""

    def init(self, layout: Layout) -> Tree:
        """The first carry."""

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """The next carry, and values of each query."""

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The variables."""


def strongest(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values along the last axis, in descending order, and their places (int32).

    Where the axis is long, first among the maxima of groups that lie interleaved; the largest values lie in the groups
    of the largest maxima. Which of two equal values comes first is not defined.
    """
    *lead, keys = (int(size) for size in rows.shape)
    groups = keys // _GROUPS
    if keys < _LONG or keys % _GROUPS or count > groups // 4:
        values, places = ops.top_k(rows, min(count, keys))
        return values, ops.cast(places, "int32")
    grouped = ops.reshape(rows, (*lead, _GROUPS, groups))
    _, chosen = ops.top_k(ops.max(grouped, axis=-2), count)
    chosen = ops.cast(chosen, "int32")
    spread = ops.broadcast_to(chosen[..., None, :], (*lead, _GROUPS, count))
    candidates = ops.reshape(ops.take_along_axis(grouped, spread, axis=-1), (*lead, _GROUPS * count))
    values, places = ops.top_k(candidates, count)
    places = ops.cast(places, "int32")
    column = ops.take_along_axis(chosen, ops.mod(places, count), axis=-1)
    return values, ops.add(ops.multiply(ops.floor_divide(places, count), groups), column)


def pooled(rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Sum and maximum over each `width` neighbours on the last axis, the last perhaps fewer."""
    *lead, keys = (int(size) for size in rows.shape)
    even = keys - keys % width
    parts = [ops.reshape(rows[..., :even], (*lead, even // width, width))] if even else []
    if even < keys:
        parts.append(rows[..., None, even:])
    sums, most = [ops.sum(part, axis=-1) for part in parts], [ops.max(part, axis=-1) for part in parts]
    if len(parts) == 1:
        return sums[0], most[0]
    return ops.concatenate(sums, axis=-1), ops.concatenate(most, axis=-1)
