"""`metrics`: a statistic of every head of every layer, such as its entropy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from attnscope.errors import SchemaError
from attnscope.marks import number, rounded_up
from attnscope.plot._canvas import (
    add_bar,
    axes_or_new,
    colour_map,
    colours_of,
    head_line,
    ink_on,
    is_dark,
    nan_colour,
    norm_of,
)
from attnscope.plot._cell_marks import cross_out
from attnscope.plot._guest import guest
from attnscope.plot._panels import Side, site_of
from attnscope.plot._scale import Scale
from attnscope.plot._ticks import NumberFormatter, name_positions
from attnscope.plot._typesetting import cut_front, plain_text
from attnscope.schema import HEAD, RECEIVED, SAMPLE, SCORES, key_dims, query_dims
from attnscope.site_names import short_names

MOST_NUMBERS = 200
"""With more cells than this the numbers in them are left out."""
LONGEST_SITE = 40
_LAYERS = ("site", "layer")

Statistic: TypeAlias = xr.DataArray | Mapping[str, xr.DataArray | ArrayLike] | ArrayLike
"""A labelled array; one value per head for each layer, by its name; or a plain array ``(layer, head)``."""


@dataclass(frozen=True)
class _Table:
    """A value for each head of each layer.

    Attributes:
        values: dims ``(layer, head)``, float64.
        there: Same dims, False where a layer has no such head.
        layers: Their names.
        kind: ``site`` or ``layer``.
        heads: Numbers of the heads; none where the statistic is one of whole layers.
        what: Name and unit of the statistic.
        short: The same for the colour bar.
        selection: What was averaged, in words.
    """

    values: np.ndarray
    there: np.ndarray
    layers: Side
    heads: Side
    what: str
    short: str
    selection: str


@guest
def metrics(
    statistic: Statistic,
    *,
    maximum: float | None = None,
    lines: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Any statistic over layers and heads: entropy, distance, importance.

    A row is a layer, a column a head; the colour and the number in a cell are the value. The scale runs from 0 to a
    stated maximum; if there are negative values, it is symmetric around 0 (blue below, orange above). No cell: the
    layer has no such head. Red with a cross: NaN. As lines, each dot is a head, and the line is their mean.

    Args:
        statistic: dims ``("site" or "layer", "head")``, in either order, or without heads; where layers have different
            numbers of heads, a coordinate ``num_heads`` along the layers tells which cells exist. Or captured
            statistics, ``maps.select("entropy")``, of which the mean over samples and valid queries is taken. Or a
            dict from the layer's name to one value per head.
        maximum: End of the scale; default: the largest absolute value, rounded up.
        lines: Whether to draw lines over the layers instead of cells.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: x counts heads and y layers; as lines, x counts layers.

    Raises:
        SchemaError: There are other dims, infinite values, or whole maps instead of a statistic of them.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = metrics({"first": [1.5, 0.5], "second": [2.0]}, ax=Figure().add_subplot())
        >>> [text.get_text() for text in ax.texts]
        ['1.50', '0.500', '2.00', 'no cell: no such head']
    """
    table = _table(statistic)
    if np.isinf(table.values).any():
        raise SchemaError(
            f"{int(np.isinf(table.values).sum())} of the {table.values.size} values are infinite, and no scale reaches "
            "that far. Leave them out: statistic.where(np.isfinite(statistic))."
        )
    signed = bool(np.nanmin(table.values, initial=0.0) < 0)
    end = rounded_up(float(np.nanmax(np.abs(table.values), initial=0.0))) if maximum is None else float(maximum)
    if not end > 0:
        raise SchemaError(f"maximum={maximum!r} was given, but a scale from 0 has to end above it. Write maximum=1.")
    draw = _draw_lines if lines else _draw_cells
    ax, remarks = draw(ax, table, end, signed)
    missing = (np.isnan(table.values) & table.there).any()
    head_line(
        ax,
        "" if lines and table.what == table.short else table.what,
        [table.selection, *remarks, "red: NaN" if missing else ""],
    )
    return ax


def _table(statistic: Statistic) -> _Table:
    if isinstance(statistic, xr.Dataset):
        names = list(statistic.data_vars)
        raise SchemaError(
            f"A dataset of {len(names)} statistics was given, but a picture shows one. Choose one: "
            f"statistics[{names[0]!r}]."
            if names
            else "The dataset holds no statistic. Give an array: metrics(array)."
        )
    if isinstance(statistic, Mapping):
        return _of_layers(statistic)
    if not isinstance(statistic, xr.DataArray):
        values = np.asarray(statistic, dtype=np.float64)
        if values.ndim not in (1, 2):
            raise SchemaError(
                f"The statistic has shape {values.shape}, but (layer, head) is needed. Average the rest, or name the "
                "axes: xr.DataArray(values, dims=('layer', 'head'))."
            )
        statistic = xr.DataArray(values, dims=("layer", HEAD)[: values.ndim])
    return _of_array(statistic)


def _of_array(array: xr.DataArray) -> _Table:
    layer = next((dim for dim in _LAYERS if dim in array.dims), None)
    others = [str(dim) for dim in array.dims if dim not in (layer, HEAD)]
    if others or not array.ndim:
        fix = f"Average the rest: statistic.mean({others!r})." if others else "Give one value per layer and head."
        raise SchemaError(
            f"The statistic has the dims {tuple(map(str, array.dims))}, but ('site', 'head') or ('layer', 'head') is "
            f"needed. {fix}"
        )
    wide = array if layer else array.expand_dims("layer")
    layer = layer or "layer"
    has_heads = HEAD in wide.dims
    wide = wide if has_heads else wide.expand_dims(HEAD)
    wide = wide.transpose(layer, HEAD)
    there = np.ones(wide.shape, bool)
    if "num_heads" in wide.coords and wide.coords["num_heads"].dims == (layer,):
        there = np.arange(wide.shape[1]) < wide.coords["num_heads"].values[:, None]
    names = _names(wide, layer)
    heads = wide.coords[HEAD].values if HEAD in wide.coords else np.arange(wide.shape[1])
    return _Table(
        np.where(there, wide.values.astype(np.float64), np.nan),
        there,
        _counted(layer, names, layer in array.dims and layer in wide.coords),
        _counted(HEAD if has_heads else "", [str(one) for one in heads.tolist()] if has_heads else [""], False),
        *_what(array),
        "",
    )


def _names(array: xr.DataArray, layer: str) -> list[str]:
    name = next((n for n in (layer, f"{layer}_site", f"{layer}_label") if n in array.coords), None)
    names = [str(one) for one in (array.coords[name].values if name else np.arange(array.sizes[layer])).tolist()]
    return [short_names(names)[one] for one in names] if layer == "site" else names


def _counted(name: str, labels: list[str], named: bool) -> Side:
    return Side(name, tuple(labels), named, np.ones(len(labels), bool))


def _what(array: xr.DataArray) -> tuple[str, str]:
    """What the statistic is, at length and in short, with its unit."""
    short = str(array.name or "statistic")
    unit = str(array.attrs.get("units", "1"))
    unit = "" if unit in ("1", "") else f" ({unit})"
    return f"{array.attrs.get('long_name', short)}{unit}", f"{short}{unit}"


def _of_layers(layers: Mapping[str, xr.DataArray | ArrayLike]) -> _Table:
    """One row per layer, whatever number of heads each has."""
    if not layers:
        raise SchemaError("The statistics have no layers, so there is nothing to draw. Give one value per head.")
    rows = {name: _per_head(name, value) for name, value in layers.items()}
    most = max(len(row) for row in rows.values())
    there = np.array([np.arange(most) < len(row) for row in rows.values()])
    values = np.full(there.shape, np.nan)
    values[there] = np.concatenate(list(rows.values()))
    first = next(iter(layers.values()))
    heads = any(not isinstance(one, xr.DataArray) or HEAD in one.dims for one in layers.values())
    return _Table(
        values,
        there,
        _counted("site", [_called(name, layers[name]) for name in rows], True),
        _counted(HEAD if heads else "", [str(head) for head in range(most)] if heads else [""], False),
        *(_what(first) if isinstance(first, xr.DataArray) else ("statistic", "statistic")),
        _averaged(first),
    )


def _called(name: str, layer: xr.DataArray | ArrayLike) -> str:
    return site_of(layer) or name if isinstance(layer, xr.DataArray) else name


def _averaged(array: xr.DataArray | ArrayLike) -> str:
    samples = array.sizes.get(SAMPLE, 1) if isinstance(array, xr.DataArray) else 1
    parts = [f"{samples} samples"] if samples > 1 else []
    parts += ["valid queries"] if isinstance(array, xr.DataArray) and query_dims(array.dims) else []
    return f"mean of {' and '.join(parts)}" if parts else ""


def _per_head(name: str, value: xr.DataArray | ArrayLike) -> np.ndarray:
    """One value per head: the mean over samples and over the queries that are not padding."""
    if not isinstance(value, xr.DataArray):
        return np.atleast_1d(np.asarray(value, dtype=np.float64))
    if key_dims(value.dims) or value.name in (SCORES, RECEIVED):
        raise SchemaError(
            f"{name!r} holds {value.name or 'weights'} with the dims {tuple(map(str, value.dims))}, but a statistic of "
            "each head is needed. Capture one and select it: maps.select('entropy'); or draw the maps: "
            "ats.plot.heads(maps)."
        )
    array = value.compute().astype(np.float64)
    queries = query_dims(array.dims)
    valid = next((array.coords[n] for n in (f"{q}_valid" for q in queries) if n in array.coords), None)
    rest = [dim for dim in array.dims if dim != HEAD]
    if valid is not None:
        broken = (array.isnull() & valid).any(rest)
        array = array.where(valid).mean(rest).where(~broken)
    elif rest:
        array = array.mean(rest, skipna=False)
    return np.atleast_1d(array.values)


def _draw_cells(ax: Axes | None, table: _Table, end: float, signed: bool) -> tuple[Axes, list[str]]:
    rows, columns = table.values.shape
    side = min(0.52, max(0.3, 8 / columns))
    longest = max(min(len(name), LONGEST_SITE) for name in table.layers.labels)
    wide, high = min(9.6, columns * side), min(8.0, rows * 0.72 * side)
    ax = axes_or_new(ax, max(3.4, wide + 1.5 + 0.075 * longest), max(1.8, high + 1.2))
    scale = Scale(end, table.short, signed=signed)
    missing = np.isnan(table.values) & table.there
    image: AxesImage = ax.imshow(
        np.ma.masked_array(table.values, np.isnan(table.values)),
        cmap=colours_of(scale, is_dark(ax)),
        norm=norm_of(scale),
        interpolation="nearest",
        aspect="auto" if rows > 40 or columns > 40 else 0.72,
    )
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    cross_out(ax, missing)
    _name_layers(ax.yaxis, table.layers)
    name_positions(ax.xaxis, table.heads)
    ax.tick_params(length=0)
    if rows * columns <= MOST_NUMBERS:
        _numbers(ax, table, image)
    add_bar(ax, image, scale.label, scale.ticks, extend=scale.tip(table.values))
    return ax, [] if table.there.all() else ["no cell: no such head"]


def _name_layers(axis: Axis, side: Side) -> None:
    labels = tuple(cut_front(label, LONGEST_SITE) for label in side.labels)
    name_positions(axis, Side(side.name, labels, side.named, side.valid), longest=LONGEST_SITE)


def _numbers(ax: Axes, table: _Table, image: AxesImage) -> None:
    for row, column in np.argwhere(~np.isnan(table.values)):
        value = float(table.values[row, column])
        ink = ink_on(image.to_rgba(np.array(value)))
        text = ax.text(column, row, number(value), ha="center", va="center", fontsize="x-small", color=ink)
        plain_text(text)


def _draw_lines(ax: Axes | None, table: _Table, end: float, signed: bool) -> tuple[Axes, list[str]]:
    layers, heads = table.values.shape
    ax = axes_or_new(ax, min(8.0, max(3.6, 0.45 * layers + 1.2)), 3.2)
    colours = colour_map(is_dark(ax))
    for layer, row in enumerate(table.values):
        values = row[~np.isnan(row)]
        ax.plot(np.full(len(values), layer), values, "o", color=colours(0.45), markersize=3.5, alpha=0.7, gid="heads")
    mean = np.array(
        [np.mean(row[there]) if there.any() else np.nan for row, there in zip(table.values, table.there, strict=True)]
    )
    ax.plot(np.arange(layers), mean, color=colours(0.8), linewidth=1.6, gid="mean")
    ax.set(xlim=(-0.5, layers - 0.5), ylim=(-end if signed else 0, end))
    ax.yaxis.set_major_formatter(NumberFormatter())
    ax.spines[["top", "right"]].set_visible(False)
    _name_layers(ax.xaxis, table.layers)
    plain_text(ax.set_ylabel(table.short))
    broken = np.flatnonzero(np.isnan(mean))
    if broken.size:
        ax.plot(
            broken,
            np.full(broken.size, ax.get_ylim()[0]),
            "x",
            color=nan_colour(ax),
            markeredgewidth=2,
            clip_on=False,
            gid="nan",
        )
    return ax, ["dots: heads; line: their mean"] if heads > 1 else []
