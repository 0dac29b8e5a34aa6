"""How different heads are, as distributions over the keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from attnscope.analysis._rollout import scores_of, with_heads
from attnscope.analysis._validity import counting_queries, keys_of, rows_of
from attnscope.errors import SchemaError
from attnscope.findings import sample_chunks
from attnscope.maps import AttentionMaps
from attnscope.schema import HEAD, SAMPLE, query_dims, require_content, require_maps

CHUNK_BYTES = 4 * 2**20
"""How much of a site's scores is looked at in one go."""
OTHER = "head_other"


def head_distance(maps: AttentionMaps | xr.DataArray, sites: Sequence[str] | None = None) -> xr.DataArray:
    """The Jensen-Shannon divergence between every two heads, mean over the queries of all samples; class-agnostic.

    ``JS(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2`` with the entropy H in **bits**. It is 0 for two heads that
    distribute their attention in the same way, and 1 for two that never look at the same key. It is not a metric, but
    its square root is. Masked keys add nothing; weight on padding and on sinks counts like any other, so two heads that
    rest on the same sink are close to each other.

    Args:
        maps: Scores of one site, dims ``(..., head, query, key)``; or maps, whose heads are compared across sites. Runs
            opened from disk are read a few samples at a time.
        sites: Names of the sites, if maps are given; None for all. They must have the same samples, queries and keys.

    Returns:
        dims ``(head, head_other)``, float64, within 0 to 1, symmetric, 0 on the diagonal; the attribute `queries` says
        over how many rows the mean is taken. For maps, heads are numbered consecutively, and the coordinates
        ``head_site`` and ``head_number`` (and ``head_other_site``, ``head_other_number``) say which they are. A query
        that is padding, or for which some head attends to nothing, is left out; NaN if no query remains, and for a head
        whose rows contain NaN.

    Raises:
        SchemaError: There are no heads, or the sites differ in samples, queries or keys.

    Source:
        Clark et al. 2019, "What Does BERT Look At?", section 6; the divergence: Lin 1991.

    Example:
        >>> two = xr.DataArray([[[1.0, 0.0]], [[0.5, 0.5]]], dims=("head", "query", "key"))
        >>> round(head_distance(two).sel(head=0, head_other=1).item(), 4)
        0.3113
    """
    arrays = _arrays(maps, sites)
    for array in arrays.values():
        require_content(array)
    total: np.ndarray | float = 0.0
    rows = 0
    for parts in _together(list(arrays.values())):
        weights, counting = _stacked(parts)
        total = total + _summed(weights[:, counting])
        rows += int(counting.sum())
    count = sum(array.sizes[HEAD] for array in arrays.values())
    mean = np.asarray(total) / rows if rows else np.full((count, count), np.nan)
    return _named(mean, arrays, isinstance(maps, xr.DataArray), rows)


def _arrays(maps: AttentionMaps | xr.DataArray, sites: Sequence[str] | None) -> dict[str, xr.DataArray]:
    if isinstance(maps, xr.DataArray):
        if HEAD not in maps.dims:
            raise SchemaError(
                f"Scores have dimensions {tuple(map(str, maps.dims))} with shape {maps.shape}, but 'head' is needed to "
                "compare heads. Give all heads of a site: head_distance(maps['encoder_0/mha'])."
            )
        return {"": maps if SAMPLE in maps.dims else maps.expand_dims(SAMPLE)}
    require_maps(maps, "head_distance")
    arrays = {name: with_heads(scores_of(maps, name)) for name in (maps if sites is None else sites)}
    sizes = {name: {str(d): size for d, size in array.sizes.items() if d != HEAD} for name, array in arrays.items()}
    first = next(iter(sizes), None)
    for name, own in sizes.items():
        if first is not None and own != sizes[first]:
            raise SchemaError(
                f"{name!r} has the sizes {own}, and {first!r} has {sizes[first]}, but heads are compared row by row. "
                "Name sites of the same size: head_distance(maps, sites=[...])."
            )
    if not arrays:
        raise SchemaError("There are no sites to compare. Name some: head_distance(maps, sites=[...]).")
    return arrays


def _together(arrays: list[xr.DataArray]) -> Iterator[list[xr.DataArray]]:
    """The same few samples of every array."""
    largest = max(arrays, key=lambda array: array.nbytes)
    size = max(1, CHUNK_BYTES // len(arrays))
    for start, stop in sample_chunks(largest.to_dataset(name="scores"), size):
        yield [array.isel({SAMPLE: slice(start, stop)}).load() for array in arrays]


def _stacked(parts: list[xr.DataArray]) -> tuple[np.ndarray, np.ndarray]:
    """All heads' rows, dims ``(head, row, key)``, and which rows count, dims ``(row,)``."""
    weights, counting = [], []
    for part in parts:
        keys, queries = keys_of(part), query_dims(part.dims)
        others = [dim for dim in part.dims if dim not in (HEAD, *queries, *keys)]
        rows = rows_of(part).transpose(HEAD, *others, *queries, *keys)
        width = int(np.prod([part.sizes[key] for key in keys]))
        weights.append(rows.values.reshape(part.sizes[HEAD], -1, width))
        counting.append(counting_queries(part).transpose(HEAD, *others, *queries).values.reshape(part.sizes[HEAD], -1))
    return np.concatenate(weights), np.asarray(np.concatenate(counting).all(0))


def _summed(weights: np.ndarray) -> np.ndarray:
    """Divergences summed over the rows: dims ``(head, head)`` from ``(head, row, key)``."""
    entropies = _entropy(weights)
    heads = len(weights)
    sums = np.zeros((heads, heads))
    for one in range(heads):
        sums[one, one] = 0.0 if np.isfinite(weights[one]).all() else np.nan
        for other in range(one + 1, heads):
            bits = _entropy((weights[one] + weights[other]) / 2) - (entropies[one] + entropies[other]) / 2
            sums[one, other] = sums[other, one] = np.clip(bits, 0.0, 1.0).sum()
    return sums


def _entropy(weights: np.ndarray) -> np.ndarray:
    """In bits, over the last axis; NaN propagates."""
    logs = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    return -np.asarray((weights * logs).sum(-1))


def _named(mean: np.ndarray, arrays: dict[str, xr.DataArray], single: bool, rows: int) -> xr.DataArray:
    attrs = {"units": "bit", "long_name": "Jensen-Shannon divergence between heads", "queries": rows}
    numbers = [
        array.coords[HEAD].values if HEAD in array.coords else range(array.sizes[HEAD]) for array in arrays.values()
    ]
    coords: dict[str, tuple[str, list[object]] | list[object]] = {}
    for dim in (HEAD, OTHER):
        coords[dim] = [int(n) for n in numbers[0]] if single else list(range(len(mean)))
        if not single:
            coords[f"{dim}_site"] = (dim, [name for name, own in zip(arrays, numbers, strict=True) for _ in own])
            coords[f"{dim}_number"] = (dim, [int(n) for own in numbers for n in own])
    return xr.DataArray(mean, dims=(HEAD, OTHER), coords=coords, name="head_distance", attrs=attrs)
