"""A site of any rank as maps of rows and columns, and a description of what was selected and averaged for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr

from attnscope.errors import SchemaError
from attnscope.labels import SINK
from attnscope.marks import as_said, readable, sample_title
from attnscope.masking import closed_cells
from attnscope.plot._checks import check, require_keys
from attnscope.position_kinds import UNKNOWN, Counted, counted_along, singular
from attnscope.quantities import Quantity, is_relevance, quantity_of
from attnscope.schema import HEAD, KEY, SAMPLE, SAMPLE_ID, SHORT_NAME, key_dims, query_dims, size_along

Sample = int | str | None
"""Number of a sample, its id, or ``mean``; None for the first."""
Head = int | Literal["mean", "max"]


@dataclass(frozen=True)
class Side:
    """The positions along one side of a picture.

    Attributes:
        name: ``query``, ``key``, ``head`` or what else is counted; empty where there is nothing to name.
        labels: What each position is called; its number where nothing else is known.
        named: Whether these are names, and not only numbers.
        valid: dims ``(position,)``, False on padding.
        positions: What queries or keys are: tokens, features; None of anything else.
        alone: Whether there are no queries that keys have to be told from, as in relevance of an input.
    """

    name: str
    labels: tuple[str, ...]
    named: bool
    valid: np.ndarray
    positions: Counted | None = None
    alone: bool = False

    @property
    def title(self) -> str:
        """What is written along the side."""
        if self.positions is None:
            return self.name
        if self.alone:
            return self.positions.axis
        if self.positions.units != UNKNOWN:
            return f"{self.name}: {self.positions.axis}"
        return self.name if self.named and len(self.positions.sizes) == 1 else f"{self.name} position"

    @property
    def one(self) -> str:
        """What one of its positions is called in front of its number."""
        return singular(self.positions.units) if self.positions is not None and self.alone else self.name

    def some(self, count: int) -> str:
        """How many of its positions, in words."""
        if self.positions is not None and self.alone:
            return self.positions.some(count)
        return f"{count} {_PLURAL.get(self.name, self.name) if count != 1 else self.name}"

    def part(self, kept: slice) -> Side:
        """Some of the positions, one after the other."""
        return replace(self, labels=self.labels[kept], valid=self.valid[kept])

    def __len__(self) -> int:
        return len(self.labels)


_PLURAL = {"query": "queries", "key": "keys", "sample": "samples"}


def kept_of(padding: np.ndarray) -> slice:
    """The positions from the first to the last that is not padding; all of them where there is nothing else."""
    real = np.flatnonzero(~padding)
    return slice(int(real[0]), int(real[-1]) + 1) if real.size else slice(0, len(padding))


@dataclass(frozen=True)
class Panels:
    """The maps of one site: one per head, or a single one whose rows are the heads.

    Attributes:
        values: dims ``(panel, row, column)``, float64.
        masked: Same dims, see `attnscope.masking`.
        names: Names of the panels, such as ``head 0``; one empty name for a single panel.
        rows: What the rows are.
        columns: What the columns are.
        site: What the site is called; empty if that is not known.
        selection: What was selected and averaged, in words.
        quantity: What the values are.
        left_out: What a picture says about padding that it does not show; empty where it shows all.
    """

    values: np.ndarray
    masked: np.ndarray
    names: tuple[str, ...]
    rows: Side
    columns: Side
    site: str
    selection: tuple[str, ...]
    quantity: Quantity
    left_out: str = ""

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
        chosen = (*self.selection, selection)
        return replace(self, values=values, masked=masked, names=("",), rows=side, selection=chosen)

    def _with(self, values: np.ndarray, masked: np.ndarray, selection: str) -> Panels:
        chosen = (*self.selection, selection)
        return replace(self, values=values[None], masked=masked[None], names=(selection,), selection=chosen)

    def trimmed(self) -> Panels:
        """These maps without the padding at the ends of their sides, as long as nothing is drawn there."""
        rows = kept_of(~self.rows.valid & self.masked.all((0, 2)))
        columns = kept_of(~self.columns.valid & self.masked.all((0, 1)))
        lost = [
            (side, len(side) - (kept.stop - kept.start)) for side, kept in ((self.rows, rows), (self.columns, columns))
        ]
        if not any(count for _, count in lost):
            return self
        counted = ", ".join(side.some(count) for side, count in lost if count)
        return replace(
            self,
            values=self.values[:, rows, columns],
            masked=self.masked[:, rows, columns],
            rows=self.rows.part(rows),
            columns=self.columns.part(columns),
            left_out=f"padding left out: {counted}",
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


def panels_of(
    array: xr.DataArray, *, sample: Sample = None, partial: bool = False, trim: bool = False, over_samples: bool = False
) -> Panels:
    """The maps of one sample, or of the mean over all samples.

    Args:
        array: A site's scores, what its keys receive, or relevance; with or without samples, heads and queries.
        sample: Number of the sample, None for the first; or ``mean``, which leaves out queries that are padding.
        partial: Whether the keys are a selection, so that rows may sum to less than 1.
        trim: Whether to leave out the padding at the ends.
        over_samples: Whether, with no `sample` given, relevance becomes one map whose rows are the samples.

    Raises:
        SchemaError: There is no such sample, there are other dims, or the values are not weights.
    """
    require_keys(array)
    _refuse_others(array)
    if over_samples and sample is None and is_relevance(array) and array.sizes.get(SAMPLE, 1) > 1:
        rows_of_samples = _samples_as_rows(array, partial)
        return rows_of_samples.trimmed() if trim else rows_of_samples
    chosen, selection = _sample_of(array, sample, partial)
    chosen = chosen.squeeze([dim for dim in chosen.dims if dim not in _known(chosen)], drop=True)
    queries, keys = query_dims(chosen.dims), key_dims(chosen.dims)
    heads = [HEAD] if HEAD in chosen.dims else []
    sizes = (chosen.sizes.get(HEAD, 1), size_along(chosen, queries), size_along(chosen, keys))
    values = chosen.transpose(*heads, *queries, *keys).values.astype(np.float64).reshape(sizes)
    alone = is_relevance(array) and not queries
    rows, columns = side_of(chosen, queries, "query"), side_of(chosen, keys, KEY, alone=alone)
    masked = closed_cells(values, rows.valid, columns.valid)
    names = _head_names(chosen)
    if not queries and heads:
        rows = Side(HEAD, tuple(name.removeprefix("head ") for name in names), True, np.ones(len(names), bool))
        values, masked, names = values.reshape(1, *sizes[::2]), masked.reshape(1, *sizes[::2]), ("",)
    selection = (*selection, *chosen_before(array))
    site = site_of(array)
    panels = Panels(values, masked, names, rows, columns, site, selection, quantity_of(chosen))
    return panels.trimmed() if trim else panels


def site_of(array: xr.DataArray) -> str:
    """What the site of an array is called; empty where that is not known."""
    return str(array.attrs.get(SHORT_NAME, array.attrs.get("site", "")))


def _samples_as_rows(array: xr.DataArray, partial: bool) -> Panels:
    """Relevance of all samples as one map: a row for each."""
    loaded = array.compute()
    quantity = check(loaded, partial=partial)
    keys = key_dims(loaded.dims)
    loaded = loaded.squeeze([dim for dim in loaded.dims if dim not in (SAMPLE, *keys)], drop=True)
    values = loaded.transpose(SAMPLE, *keys).values.astype(np.float64).reshape(1, loaded.sizes[SAMPLE], -1)
    valid = next((loaded.coords[name] for name in (f"{keys[0]}_valid", "key_valid") if name in loaded.coords), None)
    known = xr.ones_like(loaded, dtype=bool) if valid is None else valid.broadcast_like(loaded)
    masked = ~known.transpose(SAMPLE, *keys).values.astype(bool).reshape(values.shape) & (values == 0)
    shared = loaded.isel({SAMPLE: 0}, drop=True).drop_vars([n for n in loaded.coords if n != "target"], errors="ignore")
    columns = side_of(shared.assign_coords(_shared_coordinates(loaded) | _unsampled(loaded)), keys, KEY, alone=True)
    names = sample_names(loaded)
    rows = Side(SAMPLE, names, sample_ids(loaded) is not None, np.ones(len(names), bool))
    return Panels(values, masked, ("",), rows, columns, "", chosen_before(array), quantity)


def _unsampled(array: xr.DataArray) -> dict[str, xr.DataArray]:
    return {str(name): coordinate for name, coordinate in array.coords.items() if SAMPLE not in coordinate.dims}


def sample_titles(array: xr.DataArray) -> list[str]:
    """What stands above each sample: its id or number, and what the model says of it, where the array knows.

    Where it does not: what is explained of the sample, if that differs between them.
    """
    count, ids = array.sizes.get(SAMPLE, 1), sample_ids(array)
    names = (
        list(map(sample_title, ids)) if ids else [f"sample {name}" if count > 1 else "" for name in sample_names(array)]
    )
    if _DECISION in array.coords:
        return [": ".join(filter(None, pair)) for pair in zip(names, _decisions(array), strict=True)]
    targets = array.coords.get("sample_target")
    if targets is None or targets.size != count:
        return names
    explained = map(str, np.atleast_1d(targets.values))
    return [", ".join(filter(None, pair)) for pair in zip(names, explained, strict=True)]


_DECISION = "decision"
"""The coordinate of what the model says of each sample, which relevance of an explanation has."""


def _decisions(array: xr.DataArray) -> list[str]:
    decisions = [str(word) for word in np.atleast_1d(array.coords[_DECISION].values).tolist()]
    said = [f"the model says {readable(word)}" for word in decisions]
    if "truth" not in array.coords:
        return said
    truth = np.atleast_1d(array.coords["truth"].values).tolist()
    right = [f" (truth: {as_said(str(word), like=one)})" for word, one in zip(truth, decisions, strict=True)]
    return [words + (word if known != "" else "") for words, word, known in zip(said, right, truth, strict=True)]


def sample_ids(array: xr.DataArray) -> tuple[str, ...] | None:
    """What the samples are called; None where they only have numbers."""
    for name in (SAMPLE_ID, SAMPLE):
        known = array.coords.get(name)
        if known is not None and known.size == array.sizes.get(SAMPLE, 1) and (name == SAMPLE_ID or _are_words(known)):
            return tuple(str(one) for one in np.atleast_1d(known.values).tolist())
    return None


def _are_words(coordinate: xr.DataArray) -> bool:
    return coordinate.dtype.kind not in "iufb"


def sample_names(array: xr.DataArray) -> tuple[str, ...]:
    """What each sample is called: its id where it has one, else its number."""
    numbers = array.coords[SAMPLE].values if SAMPLE in array.coords else np.arange(array.sizes.get(SAMPLE, 1))
    return sample_ids(array) or tuple(str(number) for number in np.atleast_1d(numbers).tolist())


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
    chosen, selection = chosen_sample(array, sample)
    chosen = chosen.compute()
    check(chosen, partial=partial)
    return chosen, selection


def chosen_sample(array: xr.DataArray, sample: int | str | None) -> tuple[xr.DataArray, tuple[str, ...]]:
    """One sample of an array that has several, and which it is, in words.

    Args:
        array: With a dim ``sample``.
        sample: Its number, or its id where the dim has a coordinate; None for the first.

    Raises:
        SchemaError: There is no such sample.
    """
    size, number = array.sizes[SAMPLE], 0 if sample is None else sample_number(array, sample)
    chosen, ids = array.isel({SAMPLE: number}), sample_ids(array)
    if _DECISION in array.coords:
        return chosen, (sample_titles(array)[number],)
    if ids:
        return chosen, (f"sample {ids[number]}" + (f", {number} of {size}" if size > 1 else ""),)
    return chosen, (f"sample {number} of {size}",) if size > 1 else ()


def sample_number(array: xr.DataArray, sample: int | str) -> int:
    """The number of a sample, from 0, which may be given by its id.

    Raises:
        SchemaError: There is no such sample.
    """
    size = array.sizes[SAMPLE]
    if isinstance(sample, str):
        names = sample_ids(array) or ()
        if sample not in names:
            called = ", ".join(map(repr, names[:8])) + (" and so on" if size > 8 else "")
            some = (
                f"the samples are called {called}. Give one of these, or its"
                if names
                else "no sample has a name. Give its"
            )
            raise SchemaError(f"Sample {sample!r} was asked for, but {some} number: sample=0.")
        return names.index(sample)
    if not -size <= sample < size:
        raise SchemaError(
            f"Sample {sample} was asked for, but there are {size} samples: 0 to {size - 1}. Give one of these: "
            "sample=0."
        )
    return int(sample) % size


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
    sample = SAMPLE_ID if SAMPLE_ID in array.coords else SAMPLE
    decided = _DECISION in array.coords and array.coords[_DECISION].ndim == 0
    selection = sample_titles(array) if decided else []
    for name in (*([] if decided else [sample]), HEAD, "query_label", "key_label"):
        if name in array.coords and array.coords[name].ndim == 0:
            kind = name.removesuffix("_label").removesuffix("_id")
            selection.append(f"{kind}{':' if name.endswith('_label') else ''} {array.coords[name].item()}")
    return tuple(selection)


def side_of(array: xr.DataArray, dims: tuple[str, ...], name: str, *, alone: bool = False) -> Side:
    """The positions of some query or key dims of an array without samples.

    Args:
        array: Labelled scores.
        dims: All of its dims of one kind; several are numbered row by row; none gives one nameless position.
        name: ``query`` or ``key``.
        alone: Whether there are no queries that keys have to be told from.
    """
    if not dims:
        return Side("", ("",), False, np.ones(1, bool))
    size, counted = size_along(array, dims), counted_along(array, dims)
    label = f"{dims[0]}_label"
    named = len(dims) == 1 and label in array.coords and array.coords[label].dims == dims
    if named:
        labels = [str(one) for one in array.coords[label].values]
    else:
        sinks = int(array.attrs.get("sinks", 0)) if name == KEY else 0
        labels = counted.numbers[: size - sinks] + [SINK] * min(sinks, size)
    several = len(counted.sizes) > 1 and not named
    positions = counted if several else Counted((counted.units,), (size,))
    known = positions if query_dims(dims) or key_dims(dims) else None
    return Side(name, tuple(labels), named or several, _valid(array, dims, name, size), known, alone)


def _valid(array: xr.DataArray, dims: tuple[str, ...], name: str, size: int) -> np.ndarray:
    coordinate = next((n for n in (f"{dims[0]}_valid", f"{name}_valid") if n in array.coords), None)
    if coordinate is None or not set(array.coords[coordinate].dims) <= set(array.dims):
        return np.ones(size, bool)
    valid = array.coords[coordinate].astype(bool)
    others = [dim for dim in valid.dims if dim not in dims]
    valid = valid.any(others) if others else valid
    wide = valid.broadcast_like(array.isel({dim: 0 for dim in array.dims if dim not in dims}, drop=True))
    return np.asarray(wide.transpose(*dims).values, bool).reshape(size)
