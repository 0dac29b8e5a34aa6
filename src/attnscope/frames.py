"""Data frames of pandas and Polars as tables; neither library is loaded for it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnscope.errors import InputError
from attnscope.tables import Column, Table, check_ids, is_missing, listed


def is_frame(inputs: object) -> bool:
    """Whether something is a data frame of pandas or Polars, or a pandas series of texts."""
    return _is_pandas(inputs) or _is_polars(inputs)


def _is_pandas(inputs: object) -> bool:
    pandas = sys.modules.get("pandas")  # xarray has loaded it, if it is there
    if pandas is None or not isinstance(inputs, (pandas.DataFrame, pandas.Series)):
        return False
    return isinstance(inputs, pandas.DataFrame) or not pandas.api.types.is_numeric_dtype(inputs.dtype)


def _is_polars(inputs: object) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(inputs, polars.DataFrame)


@dataclass(frozen=True)
class NamedCells:
    """What a table, a data frame or a series holds, as it is, and what its rows and columns are called.

    Attributes:
        cells: dims ``(row, column)``; of a series ``(column,)``.
        columns: Names of the columns; None where they have none.
        ids: Names of the rows; of a series its own name; None where they have none.
        what: What messages call it: ``the DataFrame``.
    """

    cells: np.ndarray
    columns: list[str] | None
    ids: list[str] | None
    what: str


def named_cells(inputs: Any) -> NamedCells | None:
    """The cells of inputs and their names; None if they are neither a table, a data frame nor a pandas series."""
    pandas = sys.modules.get("pandas")
    if isinstance(inputs, Table):
        cells = np.stack([column.raw.astype(object) for column in inputs.columns], axis=1)
        ids = None if inputs.ids is None else list(map(str, inputs.ids.tolist()))
        return NamedCells(cells, inputs.names if inputs.has_names else None, ids, inputs.what)
    if _is_polars(inputs):
        return NamedCells(np.asarray(inputs), list(inputs.columns), None, "the Polars DataFrame")
    if pandas is None or not isinstance(inputs, (pandas.DataFrame, pandas.Series)):
        return None
    index = [_named(one) for one in inputs.index]
    if inputs.ndim == 1:
        return NamedCells(
            np.asarray(inputs), index, None if inputs.name is None else [_named(inputs.name)], "the Series"
        )
    return NamedCells(np.asarray(inputs), [_named(one) for one in inputs.columns], index, "the DataFrame")


def in_order(values: Any, ids: Sequence[str] | None, what: str) -> Any:
    """One value for each sample, in the order of the samples.

    A pandas series whose index names the samples, and does not only number them, is put in their order; all else is
    taken to be in it.

    Args:
        values: What was given.
        ids: What the samples are called; None where nothing names them.
        what: What messages call the values.

    Raises:
        InputError: The index lacks a sample, or has one more than once.
    """
    pandas = sys.modules.get("pandas")
    if ids is None or pandas is None or not isinstance(values, pandas.Series):
        return values
    index = list(values.index)
    if index == list(range(len(index))):
        return values
    places: dict[str, int] = {_named(name): place for place, name in enumerate(index)}
    missing = [name for name in ids if name not in places]
    if missing or len(places) < len(index):
        wrong = f"no value for {listed(missing)}" if missing else "some sample more than once"
        raise InputError(
            f"{what} is a Series whose index has {wrong}, but it needs each sample once, by the ids of the inputs. "
            f"Take it from the same frame, or give values in the samples' order: {what}.to_numpy()."
        )
    return values.iloc[[places[name] for name in ids]]


def table_of(inputs: object) -> Table | None:
    """Inputs as a table; None if they are neither a table nor a data frame.

    Raises:
        InputError: The index has an id more than once, or the frame has no row.
    """
    if isinstance(inputs, Table):
        return inputs
    return table_of_frame(inputs) if is_frame(inputs) else None


def table_of_frame(frame: Any, what: str = "") -> Table:
    """A data frame of pandas or Polars as a table.

    The index of a pandas frame becomes the ids, unless it only numbers the rows from 0.

    Args:
        frame: The frame; or a series of texts.
        what: What messages call it.

    Raises:
        InputError: The index has an id more than once, or the frame has no row.
    """
    if _is_polars(frame):
        return _of_columns(frame, list(frame.columns), what or "the Polars DataFrame")
    whole = frame.to_frame() if frame.ndim == 1 else frame
    what = what or ("the Series" if frame.ndim == 1 else "the DataFrame")
    table = _of_columns(whole, range(whole.shape[1]), what)
    index = whole.index
    if list(index) == list(range(len(index))):
        return table
    ids = np.asarray(index)
    if ids.dtype.kind not in "iu":
        ids = np.asarray([_named(one) for one in index], dtype=str)
    try:
        check_ids(ids, f"The index of {what}", lambda row: f"row {row}")
    except InputError as error:
        raise InputError(f"{error} If the index only numbers the rows: frame.reset_index(drop=True).") from None
    names = [name for name in index.names if name is not None]
    return replace(table, ids=ids, id_name=_named(names))


def _of_columns(frame: Any, keys: Iterable[Any], what: str) -> Table:
    """A table of a frame's columns, each under a name or, in pandas, at a place."""
    by_place = hasattr(frame, "iloc")
    names = [_named(name) for name in frame.columns]
    series = [frame.iloc[:, key] if by_place else frame.get_column(key) for key in keys]
    if not len(frame):
        raise InputError(f"{what[0].upper() + what[1:]} has no row, but one per sample is needed.")
    columns = tuple(_column_of(name, one) for name, one in zip(names, series, strict=True))
    return Table(columns, what, len(frame), kind="pandas" if by_place else "polars")


def _named(name: Any) -> str:
    """A name as text; of several levels, behind each other."""
    return " / ".join(map(str, name)) if isinstance(name, (tuple, list)) else str(name)


def _column_of(name: str, series: Any) -> Column:
    """A column of a frame."""
    dtype = str(series.dtype)
    kind = dtype.lower()
    if kind.startswith(("category", "categorical", "enum")):
        return _of_no_numbers(name, series, "categories")
    if kind.startswith(("date", "time", "period", "interval", "duration")):
        return _of_no_numbers(name, series, f"dates or times ({dtype})")
    raw = _plain(series)
    if raw.dtype.kind in "biuf":
        return Column(name, raw, raw.astype("float64"), np.array([], int))
    numbers, odd = np.full(len(raw), np.nan), []
    for row, cell in enumerate(raw.tolist()):
        if not isinstance(cell, str) and is_missing(cell):
            continue
        if isinstance(cell, (str, bytes)) or not _is_number(cell):
            odd.append(row)
        else:
            numbers[row] = float(cell)
    why = _text_of_number(raw[odd[0]]) if odd else ""
    return Column(name, raw, numbers, np.asarray(odd, dtype=int), why=why)


def _of_no_numbers(name: str, series: Any, holds: str) -> Column:
    raw = _plain(series)
    return Column(name, raw, np.full(len(raw), np.nan), np.arange(len(raw)), holds)


def _plain(series: Any) -> np.ndarray:
    """The cells of a column of a frame as an array; missing numbers are NaN."""
    kind = str(series.dtype)
    if kind[:1] in "IUFb" and kind[:3] in ("Int", "UIn", "Flo", "boo") and hasattr(series, "isna"):
        values = series.to_numpy(dtype="float64", na_value=np.nan)  # pandas' own numbers, which may be missing
    else:
        values = series.to_numpy()
    return np.asarray(values)


def _is_number(cell: object) -> bool:
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _text_of_number(cell: object) -> str:
    return "a number that is written as text" if isinstance(cell, str) and _is_number(cell) else ""
