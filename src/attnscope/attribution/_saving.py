"""Relevance written to a file: for spreadsheets, for programs, or as it is."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attnscope.errors import RELEVANCE, SchemaError, WouldOverwriteError, free_path
from attnscope.plain_values import cell, plain
from attnscope.position_kinds import counted_along
from attnscope.schema import SAMPLE, SAMPLE_ID, key_dims
from attnscope.stores import HOLDS, attributes_of_store, new_store, write_groups

WITHOUT_CHECKSUMS = "attnscope_relevance"
"""Attribute of the root of a store of relevance that an earlier version wrote."""


def save(relevance: xr.DataArray, path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes relevance as ``.csv``, ``.json`` or ``.zarr``, with the ids of samples and the names of positions.

    A ``.csv`` has one line per sample and one column per position where all samples share their names; else one line
    per position, padding left out. Text that a spreadsheet would run as a formula gets an apostrophe in front. JSON and
    Zarr hold every text as it is; in JSON padding is null.

    Args:
        relevance: As `attribute` returns it.
        path: Where to write.
        overwrite: Whether existing relevance may be replaced.

    Returns:
        The path.

    Raises:
        InputError: The path has another suffix.
        SchemaError: It is not relevance: samples or positions are missing.
        WouldOverwriteError: `path` exists, and `overwrite` is False; or it is a store of something else.
    """
    fix = f"save(relevance, {str(path)!r}, overwrite=True)"
    path = free_path(path, fix, overwrite=overwrite, suffixes=RELEVANCE)
    if SAMPLE not in relevance.dims or not key_dims(relevance.dims):
        raise SchemaError(
            f"The array has the dimensions {tuple(map(str, relevance.dims))}, but relevance of samples and positions "
            "is needed: ats.attribute(model, inputs, target=1)."
        )
    kind = path.suffix.lower()
    if kind == ".zarr":
        _check_store(path)
        with new_store(path) as folder:
            write_groups(folder, {"": relevance.to_dataset(name="relevance")}, {HOLDS: "relevance"})
    else:
        text = _as_csv(relevance) if kind == ".csv" else json.dumps(_as_dict(relevance), indent=1)
        path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    return path


def _check_store(path: Path) -> None:
    """Checks that nothing but relevance is replaced."""
    attributes = attributes_of_store(path)
    if path.exists() and attributes.get(HOLDS) != "relevance" and WITHOUT_CHECKSUMS not in attributes:
        raise WouldOverwriteError(
            f"{str(path)!r} already exists and holds no relevance, so it is not replaced. Give another path."
        )


def _as_csv(relevance: xr.DataArray) -> str:
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    shared = len(key_dims(relevance.dims)) == 1 and len(_names(relevance).shape) == 1
    lines.writerows(_one_line_each(relevance) if shared else _one_line_per_position(relevance))
    return text.getvalue()


def _one_line_each(relevance: xr.DataArray) -> Iterator[list[str]]:
    """A line per sample, and of several targets per target."""
    of_samples = _of_samples(relevance)
    targets, arrays = _by_target(relevance)
    yield [*map(cell, of_samples), *(["target"] if targets else []), *map(cell, _names(relevance))]
    for number in range(relevance.sizes[SAMPLE]):
        own = [cell(column[number]) for column in of_samples.values()]
        for target, array in zip(targets or [""], arrays, strict=True):
            valid = _valid(array)[number]
            numbers = np.where(valid, array.values[number], np.nan)
            yield [*own, *([cell(target)] if targets else []), *map(cell, numbers)]


def _one_line_per_position(relevance: xr.DataArray) -> Iterator[list[str]]:
    """A line per position that is no padding."""
    of_samples, dims = _of_samples(relevance), key_dims(relevance.dims)
    targets, arrays = _by_target(relevance)
    places = ["position"] if len(dims) == 1 else [f"position_{axis}" for axis in range(len(dims))]
    yield [*map(cell, of_samples), *(["target"] if targets else []), *places, "name", "relevance"]
    for number in range(relevance.sizes[SAMPLE]):
        own = [cell(column[number]) for column in of_samples.values()]
        for target, array in zip(targets or [""], arrays, strict=True):
            names = _names(array.isel({SAMPLE: number}))
            for place in map(tuple, np.argwhere(_valid(array)[number])):
                before = [*own, *([cell(target)] if targets else []), *(str(axis) for axis in place)]
                yield [*before, cell(names[place]), cell(array.values[number][place])]


def _by_target(relevance: xr.DataArray) -> tuple[list[str], list[xr.DataArray]]:
    """The words of each target, none of a single one; and the relevance for each, samples first."""
    order = (SAMPLE, *key_dims(relevance.dims))
    if "target" not in relevance.dims:
        return [], [relevance.transpose(*order)]
    targets = [str(words) for words in relevance["target"].values]
    return targets, [relevance.isel(target=number).transpose(*order) for number in range(len(targets))]


def _of_samples(relevance: xr.DataArray) -> dict[str, list[Any]]:
    """What is known of each sample: its id or number first."""
    known = {
        str(name): list(_of_model(array, relevance.attrs) if name in ("base", "answer") else array.values)
        for name, array in relevance.coords.items()
        if array.dims == (SAMPLE,)
    }
    first = {SAMPLE_ID: known.pop(SAMPLE_ID)} if SAMPLE_ID in known else {SAMPLE: range(relevance.sizes[SAMPLE])}
    return {**{name: list(values) for name, values in first.items()}, **known}


def _of_model(numbers: xr.DataArray, attrs: Mapping[Any, Any]) -> np.ndarray:
    """Numbers that a model gave, in the type that it gave them in: they have no more digits than that."""
    return np.asarray(numbers.values, dtype=attrs.get("dtype", numbers.dtype))


def _names(relevance: xr.DataArray) -> np.ndarray:
    """Names of positions, dims ``(position,)`` or with the samples in front.

    Where they have none, the rows and columns of patches, and the numbers of all else.
    """
    dims = key_dims(relevance.dims)
    if "key_label" in relevance.coords:
        names = relevance["key_label"]
        own = [dim for dim in (SAMPLE, *dims) if dim in names.dims]
        return np.asarray(names.transpose(*own).values, dtype=str)
    counted = counted_along(relevance, dims)
    if len(dims) == 1:
        return np.asarray(counted.names if counted.are_patches else counted.numbers)
    return np.full([relevance.sizes[dim] for dim in dims], "")


def _valid(array: xr.DataArray) -> np.ndarray:
    """Which positions are no padding, dims ``(sample, position)``."""
    dims = key_dims(array.dims)
    if "key_valid" not in array.coords:
        return np.ones([array.sizes[dim] for dim in (SAMPLE, *dims)], bool)
    return np.asarray(array["key_valid"].broadcast_like(array).transpose(SAMPLE, *dims).values, bool)


def _as_dict(relevance: xr.DataArray) -> dict[str, Any]:
    """Everything as plain values."""
    targets, arrays = _by_target(relevance)
    values = [np.where(_valid(array), array.values, np.nan) for array in arrays]
    return {
        "attrs": plain(relevance.attrs),
        **({"targets": targets} if targets else {}),
        "samples": plain(_of_samples(relevance)),
        "names": _names(relevance).tolist(),
        "relevance": plain(values if targets else values[0]),
    }
