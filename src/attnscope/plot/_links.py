"""`links`: the strongest weights as lines from queries to keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D

from attnscope.errors import SchemaError, counted
from attnscope.marks import number, signed_number
from attnscope.plot._canvas import axes_or_new, colours_of, head_line, is_dark
from attnscope.plot._cell_marks import hatch
from attnscope.plot._checks import Weights, labelled
from attnscope.plot._guest import guest
from attnscope.plot._heatmap import margin
from attnscope.plot._panels import Head, Panels, Sample, panels_of
from attnscope.plot._scale import Scale, scaled
from attnscope.plot._ticks import name_positions
from attnscope.plot._typesetting import LONGEST, plain_text, wrapped

THICKEST = 4.0
"""Width in points of a line at the end of the scale; half the weight is half as wide."""
_INK = 0.72
"""Where on the ramp the colour of the lines lies."""
_EDGE = 0.035
"""Width of the strips that mark padding, as part of the picture's."""


@guest
def links(
    weights: Weights,
    *,
    sample: Sample = None,
    head: Head | None = None,
    most: int = 40,
    maximum: float | None = None,
    partial: bool = False,
    trim: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Which query looks at which key: a line for each of the strongest weights, queries left and keys right.

    The width and opacity of a line are proportional to its weight; the key below the picture shows three widths.
    Weights of 0, masked cells and NaN have no line. Of relevance, orange lines are above 0, and blue, broken ones
    below. The picture says how many weights were left out, and how much of the attention the drawn lines carry. Hatched
    strips: padding.

    Args:
        weights: A site's scores, ``maps[site]`` in full or selected; maps of a single site; or a plain array
            ``(query, key)`` or ``(sample, head, query, key)``. There have to be queries.
        sample: Number of the sample; default: the first. ``mean``: over all samples, without padding.
        head: Number of the head; ``mean`` or ``max`` over the heads; default: their mean.
        most: The largest number of lines to draw.
        maximum: The weight of the widest line; default: the largest, rounded up.
        partial: Whether the keys are a selection, so that rows may sum to less than 1.
        trim: Whether to leave out padding at the ends where nothing is drawn; the picture then says how much.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: y counts queries; x is 0 at the queries and 1 at the keys.

    Raises:
        SchemaError: The weights are not attention, there are no queries, or `most` is less than 1.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = links(np.array([[0.8, 0.2], [0.5, 0.5]]), most=1, ax=Figure().add_subplot())
        >>> ax.collections[0].get_linewidths().tolist()
        [4.0]
    """
    if most < 1:
        raise SchemaError(f"most={most} was given, but at least one line is needed. Write most=40.")
    panels = panels_of(labelled(weights), sample=sample, partial=partial, trim=trim).one(head)
    if not panels.rows.name.startswith("query"):
        quantity = panels.quantity
        what = "The weights have" if quantity.noun == "attention" else f"The {quantity.noun} has"
        raise SchemaError(
            f"{what} no queries, only {len(panels.columns)} keys, but lines run from queries to keys. Colour the keys "
            f"by their {quantity.one}: ats.plot.tokens({'weights' if quantity.noun == 'attention' else quantity.noun})."
        )
    _, scale = scaled(panels.values, panels.masked, maximum=maximum, quantity=panels.quantity)
    left = None if ax is not None else 0.5 + margin(panels.rows)
    ax = axes_or_new(ax, *_figure_size(panels))
    places, values, remark = _strongest(panels, most)
    _draw_lines(ax, panels, places, values, scale)
    cuts = _two_sides(ax, panels)
    _width_key(ax, scale)
    missing = int((np.isnan(panels.values) & ~panels.masked).sum())
    remarks = [
        panels.left_out,
        f"{counted(missing, panels.quantity.one)} {'is NaN and has' if missing == 1 else 'are NaN and have'} no line"
        if missing
        else "",
        "hatched: padding" if not (panels.rows.valid.all() and panels.columns.valid.all()) else "",
        f"names cut to {LONGEST} letters" if cuts else "",
    ]
    head_line(ax, panels.title, [panels.subtitle, remark, *remarks], left)
    return ax


def _figure_size(panels: Panels) -> tuple[float, float]:
    high = 0.2 * max(len(panels.rows), len(panels.columns))
    return 3.6 + margin(panels.rows) + margin(panels.columns), min(9.0, max(1.4, high) + 1.2)


def _strongest(panels: Panels, most: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows and columns of the strongest weights, the weakest of them first; their weights; what was left out."""
    quantity = panels.quantity
    seen = np.where(panels.masked[0], 0.0, np.nan_to_num(panels.values[0]))
    size = np.abs(seen)
    count = int((size > 0).sum())
    order = np.argsort(-size, axis=None, kind="stable")[: min(most, count)][::-1]
    places = np.stack(np.unravel_index(order, seen.shape), axis=-1)
    values = seen.ravel()[order]
    beside = "other than 0" if quantity.signed else "above 0"
    if not count:
        return places, values, f"no {quantity.one} {beside}"
    if len(values) == count:
        every = f"all {count:,} {quantity.several}" if count > 1 else f"the only {quantity.one}"
        return places, values, f"{every} {beside}"
    carry = "it carries" if len(values) == 1 else "they carry"
    share = _percent(np.abs(values).sum() / size.sum())
    whole = f"the {'absolute ' if quantity.signed else ''}{quantity.noun}"
    return places, values, f"the strongest {len(values):,} of {count:,} {quantity.several}; {carry} {share} of {whole}"


def _percent(share: float) -> str:
    """A share of less than all, which never reads as all or as none."""
    return "over 99%" if share > 0.99 else "under 1%" if share < 0.01 else f"{share:.0%}"


def _draw_lines(ax: Axes, panels: Panels, places: np.ndarray, values: np.ndarray, scale: Scale) -> None:
    rows, columns = len(panels.rows), len(panels.columns)
    shares = np.clip(values / scale.maximum, -1, 1)
    ends = [[(0.0, row), (1.0, _beside(column, columns, rows))] for row, column in places]
    lines = LineCollection(
        ends,
        linewidths=THICKEST * np.abs(shares),
        colors=[_ink(ax, scale, share) for share in shares],
        linestyles=[_style(share) for share in shares],
        capstyle="round",
        gid="links",
    )
    ax.set(xlim=(-_EDGE, 1 + _EDGE), ylim=(rows - 0.5, -0.5), xticks=[])
    ax.add_collection(lines, autolim=False)


def _beside(column: float, columns: int, rows: int) -> float:
    """Where a key stands, counted in queries."""
    return (column + 0.5) / columns * rows - 0.5


def _style(share: float) -> Literal["-"] | tuple[float, Sequence[float]]:
    """Lines below 0 are broken, so that both sides can be told without colours."""
    return "-" if share >= 0 else (0, (2.5, 1.5))


def _ink(ax: Axes, scale: Scale, share: float) -> tuple[float, float, float, float]:
    """The colour of a line, which of signed values is that of its side of 0."""
    place = (1.0 if share > 0 else 0.0) if scale.signed else _INK
    red, green, blue, _ = to_rgba(colours_of(scale, is_dark(ax))(place))
    return red, green, blue, 0.15 + 0.85 * abs(float(share))


def _two_sides(ax: Axes, panels: Panels) -> bool:
    """Queries on the left, keys on the right, padding hatched."""
    keys = ax.twinx()
    keys.set_ylim(len(panels.columns) - 0.5, -0.5)
    cuts = []
    for axes, side, place in ((ax, panels.rows, -_EDGE), (keys, panels.columns, 1.0)):
        axes.set_frame_on(False)
        axes.grid(False)
        cuts.append(name_positions(axes.yaxis, side))
        axes.tick_params(length=0)
        _strip(axes, ~side.valid, place)
    ax.set_zorder(keys.get_zorder() + 1)
    return any(cuts)


def _strip(ax: Axes, padding: np.ndarray, left: float) -> None:
    hatch(ax, padding[:, None], (1, _EDGE), (left + 0.5, 0))


def _width_key(ax: Axes, scale: Scale) -> None:
    """Three widths, and their weights; of signed values on both sides of 0."""
    shares = (-1.0, -0.5, 0.5, 1.0) if scale.signed else (1.0, 0.5, 0.1)
    lines = [
        Line2D(
            [],
            [],
            color=_ink(ax, scale, share),
            linewidth=THICKEST * abs(share),
            linestyle=_style(share),
            label=text,
        )
        for share, text in (
            (share, (signed_number if scale.signed else number)(share * scale.maximum)) for share in shares
        )
    ]
    legend = ax.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(lines),
        frameon=False,
        handlelength=1.6,
        columnspacing=1.2,
        fontsize="small",
        title=wrapped([scale.label], 72 * 3.2, 9),
        title_fontsize="small",
    )
    plain_text(legend.get_title())
