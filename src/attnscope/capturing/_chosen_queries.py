"""The rows of a few queries in full, such as the class token's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keras import ops

from attnscope.capturing._summaries import Summary
from attnscope.errors import InputError
from attnscope.interception import Block, Layout
from attnscope.schema import CHOSEN_QUERY, ROWS
from attnscope.tensors import Tensor, Tree


class Rows(Summary):
    """The scores of chosen queries in full.

    Result dims: the site's with ``chosen_query``, in the order given, in place of its queries. At a site that pools
    there is one row, which has the number 0.

    Args:
        queries: Positions of queries, from 0; -1 is the last.

    Raises:
        InputError: These are not whole numbers, or a site has no such query.
    """

    missing = {ROWS: 0.0}  # noqa: RUF012
    by_head = True

    def __init__(self, queries: Sequence[int] = (0,)) -> None:
        positions = [queries] if isinstance(queries, int) else list(queries)
        if not positions or any(isinstance(one, bool) or not isinstance(one, int) for one in positions):
            raise InputError(f"queries is {queries!r}, but the positions of one or more queries are needed: Rows([0]).")
        self.queries = tuple(positions)

    @property
    def sizes(self) -> Mapping[str, int]:  # type: ignore[override]
        """How many queries were chosen."""
        return {CHOSEN_QUERY: len(self.queries)}

    def sizes_at(self, sizes: Mapping[str, int]) -> Mapping[str, int]:
        """The same at every site."""
        return self.sizes

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """The chosen queries in place of all."""
        kept = [dim for dim in dims if not dim.startswith("query")]
        place = next(number for number, dim in enumerate(kept) if dim.startswith("key"))
        return (*kept[:place], CHOSEN_QUERY, *kept[place:])

    def init(self, layout: Layout) -> Tree:
        """Empty rows."""
        queries = self._count(layout)
        if not all(-queries <= one < queries for one in self.queries):
            raise InputError(
                f"The rows of the queries {list(self.queries)} are asked for, but a site has {queries} of them, with "
                f"the positions 0 to {queries - 1}. Choose others, or other sites: Rows([0]), sites='encoder*'."
            )
        lead = [size for dim, size in self._sizes(layout).items() if not dim.startswith(("query", "key"))]
        keys = [size for dim, size in self._sizes(layout).items() if dim.startswith("key")]
        return ops.zeros((*lead, len(self.queries), *keys), "float32")

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """Takes the chosen queries that are in the block."""
        shape = tuple(int(size) for size in carry.shape)
        place = len(shape) - 1 - block.layout.num_keys
        lead = len(block.row_shape) - len(block.layout.query_dims)
        length = 1
        for size in block.row_shape[lead:]:
            length *= int(size)
        queries = self._count(block.layout)
        wanted = ops.convert_to_tensor([one % queries for one in self.queries], "int32") - block.start
        rows = block.of_queries(ops.clip(wanted, 0, length - 1))
        rows = ops.cast(ops.reshape(rows, shape), "float32")
        inside = ops.logical_and(wanted >= 0, wanted < length)
        inside = ops.reshape(inside, [len(self.queries) if axis == place else 1 for axis in range(len(shape))])
        return ops.where(inside, rows, carry), []

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The rows."""
        return {ROWS: carry}

    @staticmethod
    def _sizes(layout: Layout) -> dict[str, int]:
        return dict(zip(layout.dims, layout.shape, strict=True))

    def _count(self, layout: Layout) -> int:
        count = 1
        for dim in layout.query_dims:
            count *= self._sizes(layout)[dim]
        return count
