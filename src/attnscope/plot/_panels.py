"""A site of any rank as maps of rows and columns, and a description of what was selected and averaged for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from attnscope.errors import SchemaError
from attnscope.labels import SINK
from attnscope.masking import closed_cells
from attnscope.plot._checks import check, require_keys
from attnscope.schema import HEAD, KEY, RECEIVED, SAMPLE, key_dims, query_dims, size_along

Sample = int | Literal["mean"] | None
Head = int | Literal["mean", "max"]


@dataclass(frozen=True)
class Side:
    """The positions along one side of a picture.

    Attributes:
        name: ``query``, ``key``, ``head`` or what else is counted; empty where there is nothing to name.
        labels: What each position is called; its number where nothing else is known.
        named: Whether these are names, and not only numbers.
        valid: dims ``(position,)``, False on padding.
    """

    name: str
    labels: tuple[str, ...]
    named: bool
    valid: np.ndarray

    @property
    def title(self) -> str:
        """What is written along the side."""
        return self.name if self.named or self.name not in ("query", "key") else f"{self.name} position"

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Panels:
    """The maps of one site: one per head, or a single one whose rows are the heads.

    Attributes:
        values: dims ``(panel, row, column)``, float64.
        masked: Same dims, see `attnscope.masking`.
        names: Names of the panels, such as ``head 0``; one empty name for a single panel.
        rows: What the rows are.
        columns: What the columns are.
        site: Name of the site; empty if it is not known.
        selection: What was selected and averaged, in words.
        unit: What the values are.
    """

    values: np.ndarray
    masked: np.ndarray
    names: tuple[str, ...]
    rows: Side
    columns: Side
    site: str
    selection: tuple[str, ...]
    unit: str

    def one(self, head: Head | None) -> Panels:
        """A single map out of these.

        Args:
            head: Number of a head; or ``mean`` or ``max`` over the heads; None for the mean, if there are several.

        Raises:
            SchemaError: There is no such head.
        """
        if self.rows.name == HEAD and head is not None:
            return self._row(head)
        if len(self.names) == 1 and (head in (None, "mean", "max") or self.names[0] == f"head {head}"):
            return self
        if isinstance(head, int):
            place = _place(head, self.names)
            return self._with(self.values[place], self.masked[place], self.names[place])
        reduced = self.values.max(0) if head == "max" else self.values.mean(0)
        how = "largest" if head == "max" else "mean"
        return self._with(reduced, np.asarray(self.masked.all(0)), f"{how} of {len(self.names)} heads")

    def _row(self, head: Head) -> Panels:
        names = tuple(f"head {label}" for label in self.rows.labels)
        side = Side("", ("",), False, np.ones(1, bool))
        if isinstance(head, int):
            place = _place(head, names)
            values, masked, selection = self.values[:, [place]], self.masked[:, [place]], names[place]
        else:
            values = getattr(self.values, head)(1, keepdims=True)
            masked = np.asarray(self.masked.all(1, keepdims=True))
            selection = f"{'largest' if head == 'max' else 'mean'} of {len(names)} heads"
        return Panels(values, masked, ("",), side, self.columns, self.site, (*self.selection, selection), self.unit)

    def _with(self, values: np.ndarray, masked: np.ndarray, selection: str) -> Panels:
        return Panels(
            values[None],
            masked[None],
            (selection,),
            self.rows,
            self.columns,
            self.site,
            (*self.selection, selection),
            self.unit,
        )

    @property
    def title(self) -> str:
        """The site, and what was chosen of it."""
        return self.site or (", ".join(self.selection))

    @property
    def subtitle(self) -> str:
        """What was chosen, where the title has the site."""
        return ", ".join(self.selection) if self.site else ""


def _place(head: int, names: tuple[str, ...]) -> int:
    if f"head {head}" in names:
        return names.index(f"head {head}")
    have = f"{names[0]} to {names[-1]}" if len(names) > 1 else (names[0] or "a map without heads")
    raise SchemaError(
        f"Head {head} was asked for, but there is {have}. Give the number of one, head=0, or write head='mean'."
    )


def panels_of(array: xr.DataArray, *, sample: Sample = None, partial: bool = False) -> Panels:
    """The maps of one sample, or of the mean over all samples.

    Args:
        array: A site's scores, or what its keys receive; with or without samples, heads and queries.
        sample: Number of the sample, None for the first; or ``mean``, which leaves out queries that are padding.
        partial: Whether the keys are a selection, so that rows may sum to less than 1.

    Raises:
        SchemaError: There is no such sample, there are other dims, or the values are not weights.
    """
    require_keys(array)
    _refuse_others(array)
    chosen, selection = _sample_of(array, sample, partial)
    chosen = chosen.squeeze([dim for dim in chosen.dims if dim not in _known(chosen)], drop=True)
    queries, keys = query_dims(chosen.dims), key_dims(chosen.dims)
    heads = [HEAD] if HEAD in chosen.dims else []
    sizes = (chosen.sizes.get(HEAD, 1), size_along(chosen, queries), size_along(chosen, keys))
    values = chosen.transpose(*heads, *queries, *keys).values.astype(np.float64).reshape(sizes)
    rows, columns = side_of(chosen, queries, "query"), side_of(chosen, keys, KEY)
    masked = closed_cells(values, rows.valid, columns.valid)
    names = _head_names(chosen)
    unit = "attention received" if array.name == RECEIVED else "attention"
    if not queries and heads:
        rows = Side(HEAD, tuple(name.removeprefix("head ") for name in names), True, np.ones(len(names), bool))
        values, masked, names = values.reshape(1, *sizes[::2]), masked.reshape(1, *sizes[::2]), ("",)
    selection = (*selection, *chosen_before(array))
    return Panels(values, masked, names, rows, columns, str(array.attrs.get("site", "")), selection, unit)


def _known(array: xr.DataArray) -> tuple[str, ...]:
    return (SAMPLE, HEAD, *query_dims(array.dims), *key_dims(array.dims))


def _refuse_others(array: xr.DataArray) -> None:
    others = [str(dim) for dim in array.dims if dim not in _known(array) and array.sizes[dim] > 1]
    if others:
        raise SchemaError(
            f"The weights have the dims {tuple(map(str, array.dims))} with shape {array.shape}, but a picture has only "
            f"samples, heads, queries and keys. Select one of {others[0]!r}: weights.isel({others[0]}=0); or average: "
            f"weights.mean({others[0]!r})."
        )


def _sample_of(array: xr.DataArray, sample: Sample, partial: bool) -> tuple[xr.DataArray, tuple[str, ...]]:
    if SAMPLE not in array.dims:
        if sample is not None:
            raise SchemaError(
                f"sample={sample!r} was asked for, but the weights have the dims {tuple(map(str, array.dims))}, "
                "without samples. Leave it out."
            )
        loaded = array.compute()
        check(loaded, partial=partial)
        return loaded, ()
    size = array.sizes[SAMPLE]
    if sample == "mean":
        loaded = array.compute()
        check(loaded, partial=partial)
        return mean_over_samples(loaded), (f"mean of {size} samples",)
    number = 0 if sample is None else int(sample)
    if not -size <= number < size:
        raise SchemaError(
            f"Sample {number} was asked for, but there are {size} samples: 0 to {size - 1}. Give one of these, or "
            "write sample='mean'."
        )
    chosen = array.isel({SAMPLE: number}).compute()
    check(chosen, partial=partial)
    return chosen, (f"sample {number % size} of {size}",) if size > 1 else ()


def mean_over_samples(array: xr.DataArray) -> xr.DataArray:
    """The mean over the samples, each counting only for the queries that are not padding in it.

    Validity says what is real in any sample; labels are kept where all samples have the same. NaN where a valid
    query has NaN in any sample.
    """
    valid = _query_validity(array)
    counted = array if valid is None else array.where(valid)
    mean = counted.mean(SAMPLE, skipna=True)
    broken = (array.isnull() if valid is None else array.isnull() & valid).any(SAMPLE)
    mean = mean.fillna(0.0).where(~broken)
    return mean.assign_coords(_shared_coordinates(array)).assign_attrs(array.attrs)


def _query_validity(array: xr.DataArray) -> xr.DataArray | None:
    names = [f"{dim}_valid" for dim in query_dims(array.dims)]
    present = [name for name in (*names, "query_valid") if name in array.coords]
    valid = array.coords[present[0]] if present else None
    return valid if valid is not None and set(valid.dims) <= set(array.dims) else None


def _shared_coordinates(array: xr.DataArray) -> dict[str, xr.DataArray]:
    shared = {}
    for name, coordinate in array.coords.items():
        if SAMPLE not in coordinate.dims or name == SAMPLE:
            continue
        if str(name).endswith("_valid"):
            shared[str(name)] = coordinate.any(SAMPLE)
        elif str(name).endswith("_label") and bool((coordinate == coordinate.isel({SAMPLE: 0})).all()):
            shared[str(name)] = coordinate.isel({SAMPLE: 0}, drop=True)
    return shared


def _head_names(array: xr.DataArray) -> tuple[str, ...]:
    if HEAD not in array.dims:
        return ("",)
    numbers = array.coords[HEAD].values if HEAD in array.coords else np.arange(array.sizes[HEAD])
    return tuple(f"head {number}" for number in numbers.tolist())


def chosen_before(array: xr.DataArray) -> tuple[str, ...]:
    """What the user selected with xarray before, which leaves coordinates without dims behind."""
    selection = []
    for name in (SAMPLE, HEAD, "query_label", "key_label"):
        if name in array.coords and array.coords[name].ndim == 0:
            kind = name.removesuffix("_label")
            selection.append(f"{kind}{':' if name.endswith('_label') else ''} {array.coords[name].item()}")
    return tuple(selection)


def side_of(array: xr.DataArray, dims: tuple[str, ...], name: str) -> Side:
    """The positions of some query or key dims of an array without samples.

    Args:
        array: Labelled scores.
        dims: All of its dims of one kind; several are numbered row by row; none gives one nameless position.
        name: ``query`` or ``key``.
    """
    if not dims:
        return Side("", ("",), False, np.ones(1, bool))
    size = size_along(array, dims)
    label = f"{dims[0]}_label"
    named = len(dims) == 1 and label in array.coords and array.coords[label].dims == dims
    if named:
        labels = [str(one) for one in array.coords[label].values]
    else:
        sizes = [array.sizes[dim] for dim in dims]
        labels = [", ".join(map(str, place)) for place in np.ndindex(*sizes)]
        sinks = int(array.attrs.get("sinks", 0)) if name == KEY else 0
        labels = labels[: size - sinks] + [SINK] * min(sinks, size)
    return Side(
        name if len(dims) == 1 else f"{name}: {', '.join(dims)}",
        tuple(labels),
        named or len(dims) > 1,
        _valid(array, dims, name, size),
    )


def _valid(array: xr.DataArray, dims: tuple[str, ...], name: str, size: int) -> np.ndarray:
    coordinate = next((n for n in (f"{dims[0]}_valid", f"{name}_valid") if n in array.coords), None)
    if coordinate is None or not set(array.coords[coordinate].dims) <= set(array.dims):
        return np.ones(size, bool)
    valid = array.coords[coordinate].astype(bool)
    others = [dim for dim in valid.dims if dim not in dims]
    valid = valid.any(others) if others else valid
    wide = valid.broadcast_like(array.isel({dim: 0 for dim in array.dims if dim not in dims}, drop=True))
    return np.asarray(wide.transpose(*dims).values, bool).reshape(size)
