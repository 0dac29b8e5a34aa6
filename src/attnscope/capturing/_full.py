"""The scores themselves: of all queries, or of a few such as the class token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

from keras import ops

from attnscope.capturing._summaries import Summary
from attnscope.errors import InputError
from attnscope.interception import Block, Layout
from attnscope.schema import CHOSEN_QUERY, ROWS, SCORES, Site
from attnscope.tensors import Tensor, Tree

DTYPES = ("float16", "float32")


class Full(Summary):
    """The scores themselves, with the dims of the site: what `capture` keeps by default.

    Args:
        rows: Positions of queries, from 0; -1 is the last. Their scores alone are kept, as ``rows``, with
            ``chosen_query`` in place of the site's queries, in the order given, and the matrix of all queries by all
            keys is never built. At a site that pools there is one row, which has the number 0. None for all queries.
        dtype: What the scores are kept in: ``float32``, or ``float16`` (off by 0.00025 at most, in half of the
            memory). None for float32, and for float64 where the model computes in it. How whole maps are kept in a
            store is said by the ``codes`` of `capture` instead.

    Raises:
        InputError: `rows` are not whole numbers, or a site has no such query; there is no such dtype.
    """

    def __init__(self, *, rows: Sequence[int] | int | None = None, dtype: str | None = None) -> None:
        if dtype is not None and dtype not in DTYPES:
            raise InputError(f"dtype is {dtype!r}, but one of {', '.join(DTYPES)} is needed: Full(dtype='float16').")
        self.rows = None if rows is None else _positions("rows", rows, "Full(rows=[0])")
        self.dtype = dtype

    @property
    def missing(self) -> Mapping[str, float]:  # type: ignore[override]
        """0 for a score that is not there."""
        return {SCORES if self.rows is None else ROWS: 0.0}

    @property
    def needs_all(self) -> bool:  # type: ignore[override]
        """Where all rows are kept."""
        return self.rows is None

    @property
    def by_head(self) -> bool:  # type: ignore[override]
        """Where blocks are read."""
        return self.rows is not None

    @property
    def sizes(self) -> Mapping[str, int]:  # type: ignore[override]
        """How many queries were chosen."""
        return {} if self.rows is None else {CHOSEN_QUERY: len(self.rows)}

    def sizes_at(self, sizes: Mapping[str, int]) -> Mapping[str, int]:
        """The same at every site."""
        return self.sizes

    def check(self, site: Site) -> None:
        """The chosen queries are to be there."""
        sizes = zip(site.dims, site.shape, strict=True)
        queries = math.prod(size for dim, size in sizes if dim.startswith("query"))
        for row in self.rows or ():
            if not -queries <= row < queries:
                raise InputError(
                    f"The rows of the queries {list(self.rows or ())} are asked for, but the site {site.name!r} has "
                    f"{queries} of them, so {row} is none. Choose from 0 to {queries - 1}, or from -{queries} to -1 "
                    f"counted from the end, or other sites: {self._example}, sites='encoder*'."
                )

    @property
    def _example(self) -> str:
        return "Full(rows=[0])"

    def dims(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """All of them, or the chosen queries in place of all."""
        if self.rows is None:
            return dims
        kept = [dim for dim in dims if not dim.startswith("query")]
        place = next(number for number, dim in enumerate(kept) if dim.startswith("key"))
        return (*kept[:place], CHOSEN_QUERY, *kept[place:])

    def init(self, layout: Layout) -> Tree:
        """Empty rows; nothing where all are kept."""
        if self.rows is None:
            return []
        lead = [size for dim, size in _sizes(layout).items() if not dim.startswith(("query", "key"))]
        keys = [size for dim, size in _sizes(layout).items() if dim.startswith("key")]
        return ops.zeros((*lead, len(self.rows), *keys), "float32")

    def update(self, carry: Tree, block: Block) -> tuple[Tree, Tree]:
        """The one block there is, or the chosen queries that are in this one."""
        if self.rows is None:
            return carry, block.scores
        shape = tuple(int(size) for size in carry.shape)
        place = len(shape) - 1 - block.layout.num_keys
        lead = len(block.row_shape) - len(block.layout.query_dims)
        length, queries = (
            math.prod(int(size) for size in sizes) for sizes in (block.row_shape[lead:], _queries(block))
        )
        wanted = ops.convert_to_tensor([one % queries for one in self.rows], "int32") - block.start
        rows = block.of_queries(ops.clip(wanted, 0, length - 1))
        rows = ops.cast(ops.reshape(rows, shape), "float32")
        inside = ops.logical_and(wanted >= 0, wanted < length)
        inside = ops.reshape(inside, [len(self.rows) if axis == place else 1 for axis in range(len(shape))])
        return ops.where(inside, rows, carry), []

    def finish(self, carry: Tree, per_query: Tree) -> dict[str, Tensor]:
        """The scores."""
        ((name, _),) = self.missing.items()
        scores = per_query if self.rows is None else carry
        return {name: scores if self.dtype is None else ops.cast(scores, self.dtype)}


def keeps_maps(summary: Summary) -> bool:
    """Whether it is the scores of all queries."""
    return isinstance(summary, Full) and summary.rows is None


def dtype_of(summary: Summary) -> str | None:
    """The dtype that was asked for, of scores; None where none was."""
    return summary.dtype if isinstance(summary, Full) else None


class Rows(Full):
    """The scores of chosen queries in full, such as the class token's: ``Full(rows=queries)``.

    Args:
        queries: Positions of queries, from 0; -1 is the last.
        dtype: As in `Full`.

    Raises:
        InputError: These are not whole numbers, or a site has no such query.
    """

    def __init__(self, queries: Sequence[int] | int = (0,), *, dtype: str | None = None) -> None:
        super().__init__(rows=_positions("queries", queries, "Rows([0])"), dtype=dtype)

    @property
    def _example(self) -> str:
        return "Rows([0])"


def _positions(name: str, given: Sequence[int] | int, example: str) -> tuple[int, ...]:
    """Positions of one or more queries.

    Raises:
        InputError: They are not.
    """
    positions: list[object] = (
        [given] if isinstance(given, Integral) else [*given] if isinstance(given, Iterable) else []
    )
    if not positions or any(isinstance(one, bool) or not isinstance(one, Integral) for one in positions):
        raise InputError(f"{name} is {given!r}, but the positions of one or more queries are needed: {example}.")
    return tuple(int(one) for one in positions if isinstance(one, Integral))


def _sizes(layout: Layout) -> dict[str, int]:
    return dict(zip(layout.dims, layout.shape, strict=True))


def _queries(block: Block) -> list[int]:
    """Sizes of all query dims of a block's call."""
    return [size for dim, size in _sizes(block.layout).items() if dim.startswith("query")]
