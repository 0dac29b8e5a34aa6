"""How far a head looks, in tokens or in patches of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from attnscope.analysis._arguments import of_one_array
from attnscope.analysis._validity import (
    counting_queries,
    described,
    keys_of,
    labels_of,
    named,
    real_keys,
    require_one_sequence,
    rows_of,
    with_coords,
)
from attnscope.errors import InputError, LabelError, SchemaError
from attnscope.labels import patch_grid
from attnscope.schema import KEY, QUERY, query_dims


@of_one_array
def mean_distance(
    scores: xr.DataArray,
    *,
    grid: tuple[int, int] | Literal["labels"] | None = None,
    leave_out: Sequence[str] = (),
    renormalise: bool = True,
) -> xr.DataArray:
    """How far each query looks on average: ``sum_k a[q, k] * d(q, k) / sum_k a[q, k]``; class-agnostic.

    Both sums leave out keys that have no position: padding, learned sinks, tokens in `leave_out`, and, over a grid, the
    class and register tokens. A sink among the tokens counts at its position; to leave it out, name it.

    Args:
        scores: Self-attention after the softmax, dims ``(..., query, key)``; or over two axes at once (``query_0,
            query_1, key_0, key_1``), in which case the distance is Euclidean without a `grid`.
        grid: None for the distance in tokens, ``abs(q - k)``. Rows and columns of patches, row by row, for the
            Euclidean distance in patches; tokens before them (the class token) have no position. ``"labels"`` reads
            the grid from labels made by `attnscope.labels.patches`.
        leave_out: Names of tokens to leave out as queries and as keys.
        renormalise: Whether to divide by the weight on the keys that have a position. False is what most code for
            vision transformers does: weight on the class token then counts as distance 0, and makes heads seem to look
            nearer.

    Returns:
        The dims of `scores` without the keys, float64, in tokens or patches, within 0 to the largest distance. NaN at
        padding, at queries that have no position or attend to nothing that has one, and where a row contains NaN.

    Raises:
        SchemaError: It is not self-attention.
        InputError: The grid has more patches than there are positions.
        LabelError: Names or a grid should be read from the labels, but there are none.

    Source:
        In patches: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 4.5 and appendix D.7; in tokens:
        Vig and Belinkov 2019, "Analyzing the Structure of Attention in a Transformer Language Model".

    Example:
        >>> row = xr.DataArray(np.eye(4)[[1, 1, 1, 1]], dims=("query", "key"))
        >>> mean_distance(row).values.tolist()
        [1.0, 0.0, 1.0, 2.0]
        >>> mean_distance(row, grid=(2, 2)).values.round(3).tolist()
        [1.0, 0.0, 1.414, 1.0]
    """
    if len(query_dims(scores.dims)) > 1:
        distances, positioned = _between_cells(scores)
    else:
        require_one_sequence(scores, "a distance between positions")
        distances, positioned = _between_positions(scores, grid)
    keys = real_keys(scores) & positioned
    queries = counting_queries(scores) & _of_queries(positioned, scores)
    if leave_out:
        keys, queries = keys & ~named(scores, KEY, leave_out), queries & ~named(scores, QUERY, leave_out)
    rows = rows_of(scores)
    weights = rows.where(keys, 0.0).where(rows.notnull())
    dims = keys_of(scores)
    total = weights.sum(dims, skipna=False)
    far = (weights * distances).sum(dims, skipna=False)
    mean = (far / total.where(total > 0) if renormalise else far.where(total > 0)).where(queries)
    unit = "tokens" if grid is None and len(dims) == 1 else "patches"
    order = [dim for dim in scores.dims if dim in mean.dims]
    meaning = "mean distance of what a query attends to"
    return described(with_coords(mean.transpose(*order), scores), "distance", unit, meaning)


def _of_queries(of_keys: xr.DataArray, scores: xr.DataArray) -> xr.DataArray:
    """A statement about the keys, made about the queries; learned sinks, the last keys, are not queries."""
    pairs = dict(zip(keys_of(scores), query_dims(scores.dims), strict=True))
    return of_keys.isel({key: slice(scores.sizes[query]) for key, query in pairs.items()}).rename(pairs)


def _between_positions(
    scores: xr.DataArray, grid: tuple[int, int] | Literal["labels"] | None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Distances with dims ``(query, key)``, and which keys have a position."""
    queries, width = scores.sizes[QUERY], scores.sizes[KEY]
    if grid is None:
        apart = np.abs(np.arange(queries)[:, None] - np.arange(width)).astype(float)
        return xr.DataArray(apart, dims=(QUERY, KEY)), xr.DataArray(np.ones(width, bool), dims=KEY)
    rows, columns, first = _grid_of_labels(scores) if grid == "labels" else (*grid, queries - grid[0] * grid[1])
    if first < 0:
        raise InputError(
            f"A grid of {rows} x {columns} has {rows * columns} patches, but there are only {queries} positions. Give "
            "the rows and columns of the patches: mean_distance(scores, grid=(14, 14))."
        )
    number = np.arange(width) - first
    in_grid = (number >= 0) & (number < rows * columns)
    row, column = np.divmod(np.where(in_grid, number, 0), columns)
    apart = np.hypot(row[:queries, None] - row, column[:queries, None] - column)
    return xr.DataArray(apart, dims=(QUERY, KEY)), xr.DataArray(in_grid, dims=KEY)


def _grid_of_labels(scores: xr.DataArray) -> tuple[int, int, int]:
    labels = labels_of(scores, QUERY)
    grid = (
        None if labels is None else patch_grid([str(name) for name in labels.values.reshape(-1, labels.shape[-1])[0]])
    )
    if grid is None:
        raise LabelError(
            "The labels of the positions describe no grid of patches, but grid='labels' needs one. Make such labels: "
            "labels=ats.labels.patches(14, 14, prefix=['[CLS]']); or give the grid: grid=(14, 14)."
        )
    return grid


def _between_cells(scores: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Euclidean distances if queries and keys have several dims; and True for every key, as each has a position."""
    squares: xr.DataArray | float = 0.0
    for query, key in zip(query_dims(scores.dims), keys_of(scores), strict=True):
        if scores.sizes[query] != scores.sizes[key]:
            raise SchemaError(
                f"Scores have dimensions {tuple(map(str, scores.dims))} with shape {scores.shape}, but a distance "
                f"needs as many queries as keys along each axis, and {query!r} has {scores.sizes[query]}, whereas "
                f"{key!r} has {scores.sizes[key]}. Choose self-attention: maps['encoder_0/mha']."
            )
        apart = np.arange(scores.sizes[query])[:, None] - np.arange(scores.sizes[key])
        squares = squares + xr.DataArray(apart.astype(float) ** 2, dims=(query, key))
    assert isinstance(squares, xr.DataArray)
    keys = keys_of(scores)
    return xr.apply_ufunc(np.sqrt, squares), xr.DataArray(np.ones([scores.sizes[key] for key in keys], bool), dims=keys)
