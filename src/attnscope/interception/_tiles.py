"""A fused call read in tiles: some queries of some heads of some samples at a time, so few that they fit in the cache.

The matrix of all queries by all keys never exists. A tile of one head keeps its keys at hand while the queries pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
from keras import ops, tree

from attnscope.backends import current
from attnscope.interception._blocks import Block, Exponentials, Reduction, Tile
from attnscope.interception._layout import Layout
from attnscope.interception._loops import joined, without_repeats
from attnscope.interception._padding import MASKED_LOGIT
from attnscope.tensors import Tensor, Tree

if TYPE_CHECKING:
    from attnscope.interception._calls import FusedCall

_MOST_QUERIES = 128
_NO_LOGIT = -1e30


@dataclass(frozen=True)
class Tiling:
    """How many samples (with folded windows), heads and queries make a tile.

    Attributes:
        lead: Samples; 1 where not all heads are in a tile.
        heads: Heads.
        queries: Queries.
    """

    lead: int
    heads: int
    queries: int

    @classmethod
    def fitting(cls, sizes: tuple[int, int, int, int], groups: int, cells: int) -> Tiling:
        """Tiles of about `cells` cells.

        Args:
            sizes: Samples, heads, queries and keys.
            groups: Heads that share their keys: a tile has these together, or some of them.
            cells: Queries times keys times heads times samples.
        """
        lead, heads, queries, keys = sizes
        length = _even(queries, max(1, min(_MOST_QUERIES, cells // keys)))
        maps = max(1, cells // (length * keys))
        together = [n for n in range(1, heads + 1) if heads % n == 0 and (n % groups == 0 or groups % n == 0)]
        taken = max(n for n in together if n <= maps)
        return cls(min(lead, max(1, maps // heads)) if taken == heads else 1, taken, length)

    @classmethod
    def of_all_heads(cls, sizes: tuple[int, int, int, int], cells: int) -> Tiling:
        """Blocks of about `cells` cells with all heads of all samples."""
        lead, heads, queries, keys = sizes
        return cls(lead, heads, _even(queries, max(1, cells // (lead * heads * keys))))


def _even(queries: int, most: int) -> int:
    """Queries per block, a multiple of 16 where there are several blocks, which are about equally long."""
    even = math.ceil(queries / math.ceil(queries / most))
    return min(queries, -(-even // 16) * 16)


@dataclass(frozen=True)
class Tiles:
    """Reads a fused call tile by tile.

    Attributes:
        call: The call.
        tiling: Size of a tile.
        reductions: What reads it.
        keep_context: Whether to compute the context too.
    """

    call: FusedCall
    tiling: Tiling
    reductions: Sequence[Reduction]
    keep_context: bool

    @property
    def plain(self) -> bool:
        """Whether the blocks have the call's own layout, since they hold all heads of all samples."""
        return not self.reductions[0].by_head

    def read(self) -> tuple[dict[str, Tensor], Tensor | None]:
        """The variables of all reductions, and the context, dims batch, query, head and channel."""
        run = self._over_heads if self.plain else current().optimised(self._over_heads)
        variables, context = run()
        return self._in_layout(variables), context[0] if context else None

    def _over_heads(self) -> tuple[Tree, Tree]:
        """All variables, canonical dims, and a list that holds the context if it is kept."""
        lead, heads, _, _ = self.call.sizes
        counts = math.ceil(lead / self.tiling.lead), heads // self.tiling.heads
        if counts == (1, 1):
            variables, context = self._over_queries(0, 0)
            return variables, [ops.transpose(context[0], (0, 2, 1, 3))] if context else []

        def step(carry: Tree, number: Tensor) -> tuple[Tree, Tree]:
            first = number // counts[1] * self.tiling.lead
            if lead % self.tiling.lead:
                first = _least(first, lead - self.tiling.lead)
            return carry, self._over_queries(first, number % counts[1] * self.tiling.heads)

        _, (variables, context) = current().scan(step, [], counts[0] * counts[1], 1)
        variables, context = tree.map_structure(lambda array: self._together(array, counts), (variables, context))
        return variables, [ops.transpose(array, (0, 2, 1, 3)) for array in context]

    def _together(self, stacked: Tensor, counts: tuple[int, int]) -> Tensor:
        """From ``(tile, sample, head, ...)`` to ``(sample, head, ...)``; the last samples may be in two tiles."""
        lead, heads, _, _ = self.call.sizes
        rest = tuple(stacked.shape)[3:]
        if counts[1] > 1:
            return ops.reshape(stacked, (lead, heads, *rest))
        flat = ops.reshape(stacked, (counts[0] * self.tiling.lead, heads, *rest))
        return flat if flat.shape[0] == lead else without_repeats(flat, 0, self.tiling.lead, lead)

    def _over_queries(self, lead: Tensor, head: Tensor) -> tuple[Tree, Tree]:
        """The variables of some heads of some samples, and a list that holds their context if it is kept."""
        tile = _Heads.of(self, lead, head)
        size, queries = self.tiling.queries, self.call.sizes[2]
        layout = self.call.layout if self.plain else tile.layout
        carry = [reduction.init(layout) for reduction in self.reductions]
        count = math.ceil(queries / size)

        def step(carry: Tree, start: Tensor) -> tuple[Tree, Tree]:
            block, context = tile.block(start)
            updated = [each.update(carried, block) for each, carried in zip(self.reductions, carry, strict=True)]
            return [carried for carried, _ in updated], ([values for _, values in updated], context)

        if count == 1:
            carry, (per_query, context) = step(carry, 0)
        else:
            carry, (per_query, context) = current().scan(step, carry, count, size)
            per_query = tree.map_structure(lambda array: joined(array, queries, axis=-1), per_query)
            context = [joined(array, queries, axis=-2) for array in context]
        variables: dict[str, Tensor] = {}
        for reduction, carried, values in zip(self.reductions, carry, per_query, strict=True):
            variables.update(reduction.finish(carried, values))
        return variables, context

    def _in_layout(self, variables: dict[str, Tensor]) -> dict[str, Tensor]:
        """Variables with the dims that their reduction says."""
        if self.plain:
            return variables
        return {
            name: self._arranged(variables[name], reduction)
            for reduction in self.reductions
            for name in reduction.missing
        }

    def _arranged(self, array: Tensor, reduction: Reduction) -> Tensor:
        layout = self.call.layout
        rest = [dim for dim in reduction.dims(CANONICAL) if dim not in ("sample", "head")]
        parts = tuple(((dim, int(size)),) for dim, size in zip(rest, array.shape[2:], strict=True))
        return Layout((*layout.axes[:2], *parts), reduction.dims(layout.dims)).arrange(array)


CANONICAL = ("sample", "head", "query", "key")


@dataclass(frozen=True)
class _Heads:
    """Some heads of some samples: their keys, ready to be met by blocks of queries."""

    tiles: Tiles
    query: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor
    bias: Tensor
    padding: Tensor

    @classmethod
    def of(cls, tiles: Tiles, lead: Tensor, head: Tensor) -> _Heads:
        call = tiles.call
        query, key, value, padding = call.query, call.key, call.value, call.query_padding()
        wide = keras.backend.result_type(query.dtype, "float32")
        groups = query.shape[2] // key.shape[2]
        samples, heads = tiles.tiling.lead, tiles.tiling.heads
        shared = max(1, heads // groups)

        def some(tensor: Tensor, first: Tensor, count: int) -> Tensor:
            return part(part(tensor, 0, lead, samples), 2, first, count)

        def limits(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else part(part(rank_4(tensor), 0, lead, samples), 1, head, heads)

        own = ops.transpose(ops.cast(some(query, head, heads), wide), (0, 2, 1, 3))
        keys = some(key, head // groups if groups > 1 else head, shared)
        kept = some(value, head // groups if groups > 1 else head, shared) if tiles.keep_context else None
        return cls(
            tiles,
            current().packed(ops.multiply(own, ops.cast(call.scale, wide))),
            ops.swapaxes(current().packed(ops.transpose(ops.cast(keys, wide), (0, 2, 1, 3))), 2, 3),
            None if kept is None else ops.transpose(kept, (0, 2, 1, 3)),
            limits(None if call.mask is None else ops.cast(call.mask, "bool")),
            limits(call.bias),
            None if padding is None else limits(padding[..., None]),
        )

    @property
    def layout(self) -> Layout:
        """Sample, head, query, key, with the sizes of these heads."""
        samples, heads, queries, _ = self.query.shape
        sizes = (int(samples), int(heads), int(queries), int(self.keys.shape[-1]))
        return Layout(tuple(((dim, size),) for dim, size in zip(CANONICAL, sizes, strict=True)), CANONICAL)

    def block(self, first: Tensor) -> tuple[Block, list[Tensor]]:
        """A block of queries from the `first` on, and a list that holds their context if it is kept.

        The last block begins early enough to be as long as the others; what it repeats does not count.
        """
        call, size = self.tiles.call, self.tiles.tiling.queries
        start = first if call.sizes[2] % size == 0 else _least(first, call.sizes[2] - size)
        mask, bias, padding = (_part_of(each, start, size) for each in (self.mask, self.bias, self.padding))
        allowed, attends = _cells(mask, bias, start if call.is_causal else None, (size, int(self.keys.shape[-1])))
        shifted, powers = current().exponentials(self._logits(start, bias, allowed))
        if bias is not None:  # 0 times -inf would be NaN
            shifted = ops.maximum(shifted, ops.cast(_NO_LOGIT, shifted.dtype))
        tile = Tile(
            Exponentials(shifted, powers, current().row_sums(powers), attends),
            both(attends, None if padding is None else padding[..., 0]),
            start,
            self.layout,
            None if start is first else ops.arange(size, dtype="int32") + start >= first,
        )
        return self._plain(tile) if self.tiles.plain else tile, self._context(tile)

    def _plain(self, tile: Tile) -> Block:
        """As the call's own layout has it."""
        layout = self.tiles.call.layout
        valid = both(tile.query_valid, tile.fresh)
        if valid is not None:
            valid = layout.arrange(ops.broadcast_to(valid, tile.row_shape), axes=(0, 1, 2))
        return Block(layout.arrange(tile.rows), valid, tile.start, layout)

    def _logits(self, start: Tensor, bias: Tensor, allowed: Tensor) -> Tensor:
        query = part(self.query, 2, start, self.tiles.tiling.queries)
        samples, heads, size, _ = query.shape
        logits = ops.matmul(_stacked(query, self.keys.shape[1]), self.keys)
        logits = ops.reshape(logits, (samples, heads, size, self.keys.shape[-1]))
        cap = self.tiles.call.soft_cap
        if cap is not None:
            logits = ops.divide(logits, 1.0 + ops.abs(logits) / cap)
        if bias is not None:
            logits = ops.add(logits, ops.cast(bias, logits.dtype))
        return logits if allowed is None else ops.where(allowed, logits, ops.cast(_NO_LOGIT, logits.dtype))

    def _context(self, tile: Tile) -> list[Tensor]:
        """The weighted values; a row that may attend to nothing has the model's own: uniform weights, or 0."""
        if self.values is None:
            return []
        samples, heads, size = tile.row_shape
        weighted = ops.matmul(
            _stacked(tile.made_of.powers, self.keys.shape[1]), ops.cast(self.values, tile.made_of.total.dtype)
        )
        context = ops.reshape(weighted, (samples, heads, size, self.values.shape[-1]))
        if self.tiles.call.by_softmax:
            return [ops.cast(ops.multiply(context, tile.share[..., None]), self.values.dtype)]
        return [ops.cast(ops.divide(context, tile.made_of.total[..., None]), self.values.dtype)]


def _stacked(tensor: Tensor, shared: int) -> Tensor:
    """From ``(sample, head, position, channel)``, the heads that share their keys behind each other."""
    samples, heads, positions, last = tensor.shape
    if heads == shared:
        return tensor
    return ops.reshape(tensor, (samples, shared, heads // shared * positions, last))


def _cells(
    mask: Tensor | None, bias: Tensor | None, start: Tensor | None, shape: tuple[int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Which cells mask and causal rule leave, and which queries are left any by these and the bias; None where all are.

    Args:
        mask: Of rank 4, or None.
        bias: Of rank 4, or None.
        start: Number of the first query where the causal rule holds, else None. It leaves every query the first key.
        shape: Queries and keys.
    """
    causal = None
    if start is not None:
        rows, keys = (ops.arange(size, dtype="int32") for size in shape)
        causal = (keys[None, :] <= (rows + start)[:, None])[None, None]
    allowed = both(mask, causal)
    if mask is None and bias is None:
        return allowed, None
    cells = allowed if bias is None else both(allowed, ops.greater(bias, MASKED_LOGIT))
    return allowed, ops.any(cells, axis=-1)


def both(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """What both say, where None says nothing."""
    if first is None or second is None:
        return second if first is None else first
    return ops.logical_and(first, second)


def rank_4(tensor: Tensor) -> Tensor:
    """Missing leading axes added: ``(T, S)`` and ``(N, T, S)`` broadcast from the right."""
    return ops.reshape(tensor, (*[1] * (4 - len(tensor.shape)), *tensor.shape))


def part(tensor: Tensor, axis: int, start: Tensor, size: int) -> Tensor:
    """`size` positions from `start` on; the tensor itself where it has no others or is the same at all of them."""
    if tensor.shape[axis] in (1, size):
        return tensor
    if isinstance(start, int):
        return tensor[(*[slice(None)] * axis, slice(start, start + size))]
    shape = [int(length) for length in tensor.shape]
    starts = [start if number == axis else 0 for number in range(len(shape))]
    return ops.slice(tensor, starts, [size if number == axis else length for number, length in enumerate(shape)])


def _part_of(tensor: Tensor | None, start: Tensor, size: int) -> Tensor | None:
    return None if tensor is None else part(tensor, 2, start, size)


def _least(first: Tensor, second: int) -> Tensor:
    return min(first, second) if isinstance(first, int) else ops.minimum(first, second)
