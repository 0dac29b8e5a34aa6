"""The pictures of a report: maps of cells, and bars.

Each function returns a piece of HTML. Cells are SVG, with their exact values as tooltips; larger maps are PNGs in data
URIs. Nothing needs a script.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnscope import colours
from attnscope.marks import exact, isolated, number, plain, rounded_up, shown
from attnscope.pages._means import Axis, MeanMaps

MOST_POSITIONS = 64
"""A map with more rows or columns than this is drawn as blocks of cells."""
LONGEST_LABEL = 24
"""Longer labels are cut in the picture; the tooltip shows them in full."""
_LETTER = 5.7


@dataclass(frozen=True)
class Bars:
    """Values of several groups, side by side for each label.

    Attributes:
        groups: Names of the groups.
        labels: Names of the rows.
        values: dims ``(label, group)``; NaN where there is none.
        caption: What the values are.
    """

    groups: Sequence[str]
    labels: Sequence[str]
    values: np.ndarray
    caption: str


def largest_drawn(means: MeanMaps) -> float:
    """The largest value in a site's pictures: of a cell, or of a block of cells; 0 where there is none."""
    drawn = [
        blocks(values, masked, nans)[0]
        for values, masked, nans in zip(means.values, means.masked, means.nans, strict=True)
    ]
    return float(np.nanmax(drawn, initial=0.0))


def maps_of_cells(means: MeanMaps, maximum: float, *, tooltips: bool = True) -> str:
    """One picture per panel, all on the scale from 0 to `maximum`.

    Cell colour: the mean, by the colour bar. Hatched: masked. A red cross: NaN. Rows are queries (or heads),
    columns are keys. Above 64 positions, or without `tooltips`, the picture is a PNG, where masked cells are grey and
    NaN is red.

    Args:
        means: What to draw.
        maximum: End of the scale, above 0.
        tooltips: Whether each cell is an element with a tooltip.
    """
    large = max(means.values.shape[1:]) > MOST_POSITIONS
    return "".join(
        _figure(
            means,
            panel,
            _pixels(means, panel, maximum) if large or not tooltips else _cells(means, panel, maximum),
        )
        for panel in range(len(means.panels))
    )


def _figure(means: MeanMaps, panel: int, picture: str) -> str:
    heading = f"<figcaption>{html.escape(means.panels[panel])}</figcaption>" if means.panels[panel] else ""
    return f"<figure class=map>{heading}<div class=wide tabindex=0>{picture}</div></figure>"


def _cells(means: MeanMaps, panel: int, maximum: float) -> str:
    rows, columns = means.values.shape[1:]
    side = 24 if max(rows, columns) <= 14 else 13 if max(rows, columns) <= 40 else 9
    left, top = _space(means.rows, side), _space(means.columns, side)
    width, height = left + columns * side + 1, top + rows * side + 1
    drawn = [
        _cell(means, panel, row, column, maximum, f'x="{left + column * side}" y="{top + row * side}"', side)
        for row in range(rows)
        for column in range(columns)
    ]
    crosses = [
        _cross(left + column * side, top + row * side, side) for row, column in np.argwhere(means.nans[panel] > 0)
    ]
    return (
        f'<svg class=cells width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(_title(means, panel))}">{_side_labels(means.rows, side, left, top)}'
        f'{_top_labels(means.columns, side, left, top)}<g shape-rendering="crispEdges">{"".join(drawn)}</g>'
        f'{"".join(crosses)}<rect class=frame x="{left - 0.5}" y="{top - 0.5}" width="{columns * side + 1}" '
        f'height="{rows * side + 1}"/></svg>'
    )


def _title(means: MeanMaps, panel: int) -> str:
    name = means.panels[panel] or "all heads"
    return f"{means.variable}, {name}: {means.rows.name or 'mean'} by {means.columns.name}"


def _cell(means: MeanMaps, panel: int, row: int, column: int, maximum: float, place: str, side: int) -> str:
    value, missing = float(means.values[panel, row, column]), int(means.nans[panel, row, column])
    if missing:
        mark, text = "nan", f"NaN in {missing} of the values"
    elif means.masked[panel, row, column]:
        mark, text = "masked", "masked: 0 in every sample"
    else:
        mark, text = f"v{int(colours.levels(np.array(value), maximum))}", exact(value)
    sides = ((means.rows, row), (means.columns, column))
    where = ", ".join(f"{axis.name} {plain(axis.labels[at])}" for axis, at in sides if axis.name)
    return f'<rect class={mark} {place} width="{side}" height="{side}"><title>{where}: {text}</title></rect>'


def _cross(x: float, y: float, side: int) -> str:
    a, b = 0.25 * side, 0.75 * side
    return f'<path class=cross d="M{x + a} {y + a}L{x + b} {y + b}M{x + b} {y + a}L{x + a} {y + b}"/>'


def _space(axis: Axis, side: int) -> int:
    """Pixels that the labels and the name of an axis need."""
    if not axis.named:
        return {"": 4, "head": 30}.get(axis.name, 38)
    longest = max((min(len(shown(label)), LONGEST_LABEL) for label in axis.labels), default=0)
    return 24 + int(_LETTER * longest) if side >= 11 else 38


def _ticks(axis: Axis, side: int) -> list[tuple[int, str]]:
    """Which positions are written out: all names that fit, or round numbers."""
    if axis.named and side >= 11:
        return [(place, _cut(label)) for place, label in enumerate(axis.labels)]
    size = len(axis.labels)
    step = next(step for step in (1, 2, 5, 10, 20) if size / step <= 24 or step == 20)
    return [(place, axis.labels[place] if not axis.named else str(place)) for place in range(0, size, step)]


def _cut(label: str) -> str:
    text = shown(label)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def _side_labels(axis: Axis, side: int, left: int, top: int) -> str:
    middle = top + len(axis.labels) * side / 2
    texts = [
        f'<text x="{left - 6}" y="{top + (place + 0.5) * side:g}" dy=".35em" text-anchor="end">'
        f"{html.escape(text)}</text>"
        for place, text in _ticks(axis, side)
    ]
    turn = f"translate(10 {middle:g}) rotate(-90)"
    return f'<text class=axis transform="{turn}" text-anchor="middle">{axis.name}</text>' + "".join(texts)


def _top_labels(axis: Axis, side: int, left: int, top: int) -> str:
    middle = left + len(axis.labels) * side / 2
    upright = not axis.named or all(len(text) <= 2 for _, text in _ticks(axis, side))
    turn = "" if upright else " rotate(-90)"
    anchor = "middle" if upright else "start"
    texts = [
        f'<text transform="translate({left + (place + 0.5) * side:g} {top - 6}){turn}" '
        f'{"" if upright else "dy=.35em "}text-anchor="{anchor}">{html.escape(text)}</text>'
        for place, text in _ticks(axis, side)
    ]
    return f'<text class=axis x="{middle:g}" y="10" text-anchor="middle">{axis.name}</text>' + "".join(texts)


def _pixels(means: MeanMaps, panel: int, maximum: float) -> str:
    values, masked, (high, wide) = blocks(means.values[panel], means.masked[panel], means.nans[panel])
    zoom = max(2, round(416 / max(values.shape)))
    size = f"width={values.shape[1] * zoom} height={values.shape[0] * zoom}"
    light, dark = (colours.png(values, masked, maximum, dark=dark) for dark in (False, True))
    pooled = f"one dot is the mean of {high} by {wide} cells" if high * wide > 1 else "one dot is one cell"
    rows, columns = means.values.shape[1:]
    return (
        f"<picture><source media='screen and (prefers-color-scheme:dark)' srcset='{dark}'>"
        f"<img class=pixels {size} src='{light}' alt='{html.escape(_title(means, panel))}'></picture>"
        f"<p class=small>{rows} {means.rows.name} positions down, {columns} {means.columns.name} positions "
        f"across; {pooled}</p>"
    )


def blocks(values: np.ndarray, masked: np.ndarray, nans: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """A map of at most 64 by 64: each cell the mean of a block, masked cells left out.

    Returns:
        The means (NaN where a block holds one), which blocks are masked altogether, and the size of a block.
    """
    high, wide = (math.ceil(size / MOST_POSITIONS) for size in values.shape)
    starts = [np.arange(0, size, step) for size, step in zip(values.shape, (high, wide), strict=True)]

    def summed(array: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(array, starts[0], axis=0), starts[1], axis=1)

    count = summed((~masked).astype(float))
    total = summed(np.where(masked | (nans > 0), 0.0, values))
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.where(summed((nans > 0).astype(float)) > 0, np.nan, means), count == 0, (high, wide)


def strongest(means: MeanMaps, panel: int, most: int = 5) -> list[str]:
    """The largest cells of a picture in words, for readers who cannot see or hover."""
    flat = np.where(np.isnan(means.values[panel]), -1.0, means.values[panel]).ravel()
    order = np.argsort(-flat, kind="stable")[:most]
    places = [divmod(int(place), means.values.shape[2]) for place in order if flat[place] >= 0]
    starts = [isolated(label) + " → " if means.rows.name else "" for label in means.rows.labels]
    return [
        f"{starts[row]}{isolated(means.columns.labels[column])} "
        f"<b>{number(float(means.values[panel, row, column]))}</b>"
        for row, column in places
    ]


def bar_list(bars: Bars) -> str:
    """For each label a bar per group, on one scale from 0, with its value beside it."""
    maximum = rounded_up(float(np.nanmax(bars.values, initial=0.0)))
    swatches = "".join(
        f"<span><i class='swatch g{place % 6}'></i>{isolated(group)}</span>" for place, group in enumerate(bars.groups)
    )
    rows = "".join(
        f"<div class=label>{isolated(label)}</div><div>{_bars(values, bars.groups, maximum)}</div>"
        for label, values in zip(bars.labels, bars.values, strict=True)
    )
    return (
        f"<figure class=bars><figcaption>{html.escape(bars.caption)}</figcaption><div class=groups>{swatches}"
        f"<span class=small>full width: {maximum:g}</span></div><div class=rows>{rows}</div></figure>"
    )


def _bars(values: np.ndarray, groups: Sequence[str], maximum: float) -> str:
    return "".join(
        f'<div class=bar title="{plain(group)}: {exact(float(value))}"><i class="g{place % 6}" '
        f'style="width:{100 * np.nan_to_num(value) / maximum:.2f}%"></i>'
        f"<span>{number(float(value))}</span></div>"
        for place, (group, value) in enumerate(zip(groups, values, strict=True))
    )
