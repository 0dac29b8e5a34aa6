"""What a report draws: means over the samples, read a few samples at a time, so that maps opened from disk are never
loaded whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attnscope.schema import ENTROPY, HEAD, RECEIVED, SAMPLE, SCORES, key_dims, query_dims, size_along

CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Axis:
    """The positions along one side of a picture.

    Attributes:
        name: ``query``, ``key`` or ``head``; empty for the one row of a site without heads.
        labels: What each position is called; its number where nothing else is known.
        named: Whether these are names, and not only numbers.
    """

    name: str
    labels: tuple[str, ...]
    named: bool


@dataclass(frozen=True)
class MeanMaps:
    """The mean of one variable of a site over its samples.

    Attributes:
        variable: ``scores``, ``received`` or ``entropy``.
        panels: One heading per picture: the heads, or one empty heading.
        rows: What the rows are.
        columns: What the columns are.
        values: dims ``(panel, row, column)``, float64; NaN where `nans` or `masked` say so.
        masked: Same dims: no sample has anything there but an exact 0, or the query is padding in all of
            them. An entropy of 0 is a value like any other.
        nans: Same dims: how many samples have NaN there.
        over: What the mean was taken over, in words.
    """

    variable: str
    panels: tuple[str, ...]
    rows: Axis
    columns: Axis
    values: np.ndarray
    masked: np.ndarray
    nans: np.ndarray
    over: str


def mean_maps(dataset: xr.Dataset, variable: str) -> MeanMaps:
    """Means over the samples (and over steps or windows, where a site has any) of one variable.

    A sample counts only for the queries that are not padding in it. Weight on padded keys is kept, so that the reader
    can see it.

    Args:
        dataset: A site, as `AttentionMaps.dataset` gives it.
        variable: One of its variables.
    """
    total = count = nans = None
    used: xr.DataArray | None = None
    for part, valid in _parts(dataset, variable):
        counted = xr.broadcast(valid, part)[0].transpose(*part.dims)
        others = _averaged(part)
        sums = (
            part.fillna(0.0).where(counted, 0.0).sum(others),
            (counted & part.notnull()).sum(others),
            (counted & part.isnull()).sum(others),
            (counted if variable == ENTROPY else (part != 0) & counted).any(others),
        )
        total = sums[0] if total is None else total + sums[0]
        count = sums[1] if count is None else count + sums[1]
        nans = sums[2] if nans is None else nans + sums[2]
        used = sums[3] if used is None else used | sums[3]
    assert total is not None and count is not None and nans is not None and used is not None
    return _arranged(dataset, variable, total / count.where((count > 0) & (nans == 0)), ~used, nans)


def _parts(dataset: xr.Dataset, variable: str) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    """Some samples at a time: the variable in float64, and which of its cells count."""
    samples = dataset.sizes[SAMPLE]
    step = max(1, int(samples * CHUNK_BYTES // max(1, dataset[variable].nbytes)))
    for start in range(0, samples, step):
        part = dataset[variable].isel({SAMPLE: slice(start, start + step)}).load().astype(np.float64)
        yield part.reset_coords(drop=True), _valid(dataset, part, slice(start, start + step))


def _valid(dataset: xr.Dataset, part: xr.DataArray, chosen: slice) -> xr.DataArray:
    queries = query_dims(dataset["query_valid"].dims) if "query_valid" in dataset.coords else ()
    if not queries:
        return xr.ones_like(part, dtype=bool).reset_coords(drop=True)
    valid = dataset["query_valid"].isel({SAMPLE: chosen}).load().reset_coords(drop=True)
    gone = [dim for dim in queries if dim not in part.dims]
    return valid.any(gone) if gone else valid


def _averaged(part: xr.DataArray) -> list[str]:
    keep = {HEAD, *query_dims(part.dims), *key_dims(part.dims)}
    return [str(dim) for dim in part.dims if dim not in keep]


def _arranged(
    dataset: xr.Dataset, variable: str, mean: xr.DataArray, masked: xr.DataArray, nans: xr.DataArray
) -> MeanMaps:
    queries, keys = query_dims(mean.dims), key_dims(mean.dims)
    heads = mean.sizes.get(HEAD, 1)
    order = [*([HEAD] if HEAD in mean.dims else []), *queries, *keys]
    sizes = (heads, size_along(mean, queries), size_along(mean, keys))
    arrays = [array.transpose(*order).values.reshape(sizes) for array in (mean, masked & (nans == 0), nans)]
    both = bool(queries and keys)
    if not both:  # one line per head: the heads are the rows of a single picture
        arrays = [array.reshape(1, heads, -1) for array in arrays]
    numbers = tuple(str(number) for number in range(heads))
    lines = Axis("head", numbers, False) if HEAD in mean.dims else Axis("", ("",), False)
    rows = _axis(dataset, queries, "query") if both else lines
    columns = _axis(dataset, keys or queries, "key" if keys else "query")
    panels = tuple(f"head {n}" for n in numbers) if both and HEAD in mean.dims else ("",)
    values = np.where(arrays[1], np.nan, arrays[0])
    return MeanMaps(variable, panels, rows, columns, values, arrays[1], arrays[2], _over(dataset[variable]))


def _axis(dataset: xr.Dataset, dims: tuple[str, ...], name: str) -> Axis:
    label = f"{dims[0]}_label"
    if len(dims) == 1 and label in dataset.coords and dataset[label].ndim == 1:
        return Axis(name, tuple(map(str, dataset[label].values)), True)
    sizes = [dataset.sizes[dim] for dim in dims]
    return Axis(name, tuple(", ".join(map(str, place)) for place in np.ndindex(*sizes)), len(dims) > 1)


def _over(array: xr.DataArray) -> str:
    sizes = {dim: array.sizes[dim] for dim in _averaged(array)}
    words = [f"{size} {dim}{'s' if size != 1 else ''}" for dim, size in sizes.items()]
    return " and ".join(words)


def received(dataset: xr.Dataset, samples: slice | None = None) -> xr.DataArray | None:
    """Attention that each key receives: the mean over heads, valid queries and all other dims except samples.

    Args:
        dataset: A site.
        samples: Which samples to read; None for all.

    Returns:
        dims ``(sample, key)``, float64, keys numbered row by row where there are several dims of them; NaN
        where no query of a sample is valid. None where only the entropy was captured.
    """
    dataset = dataset if samples is None else dataset.isel({SAMPLE: samples})
    variable = next((name for name in (SCORES, RECEIVED) if name in dataset), None)
    if variable is None:
        return None
    rows = []
    for part, valid in _parts(dataset, variable):
        others = [dim for dim in part.dims if dim != SAMPLE and dim not in key_dims(part.dims)]
        counted = xr.broadcast(valid, part)[0]
        mean = part.where(counted).mean(others, skipna=True) if others else part
        broken = (part.isnull() & counted).any(others) if others else part.isnull()
        rows.append(mean.where(~broken).transpose(SAMPLE, *key_dims(part.dims)).values)
    whole = np.concatenate(rows)
    return xr.DataArray(whole.reshape(len(whole), -1), dims=(SAMPLE, "key"))


def received_per_group(dataset: xr.Dataset, groups: Sequence[str]) -> xr.DataArray | None:
    """Mean attention that each key receives over the samples of each group.

    Args:
        dataset: A site.
        groups: The group of every sample.

    Returns:
        dims ``(group, key)``, the groups in the order in which they first occur; samples without a valid
        query are left out. None where only the entropy was captured.
    """
    every = received(dataset)
    if every is None:
        return None
    names = list(dict.fromkeys(groups))
    of_group = np.asarray(groups, dtype=str)
    means = [every.isel({SAMPLE: of_group == name}).mean(SAMPLE, skipna=True) for name in names]
    return xr.concat(means, dim=xr.Variable("group", names))
