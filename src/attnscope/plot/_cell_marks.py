"""Marks over cells that no colour says alone: hatching for masked ones, crosses for NaN, dashes for those below 0."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from attnscope.colours import NEARLY_0, palette
from attnscope.plot._canvas import BELOW, ink_on, is_dark, masked_style, nan_colour
from attnscope.plot._guest import figure_of

MOST_CROSSES = 2500
"""If more cells than this are NaN, they are only red; if more are below 0, they have no dash."""
_SMALLEST = 4.0
"""Points of a cell from which on it has a dash."""


def hatch(
    ax: Axes, cells: np.ndarray, block: tuple[float, float] = (1, 1), start: tuple[float, float] = (0, 0)
) -> None:
    """Hatches masked cells.

    Args:
        ax: Axes whose x counts columns and whose y counts rows.
        cells: dims ``(row, column)``, bool.
        block: How many positions a cell is high and wide.
        start: Column and row of the first cell.
    """
    if cells.any():
        ax.add_patch(PathPatch(_outline(cells, block, start), gid="masked", **masked_style(ax)))


def cross_out(
    ax: Axes, cells: np.ndarray, block: tuple[float, float] = (1, 1), start: tuple[float, float] = (0, 0)
) -> None:
    """Marks cells that are NaN: red, with a cross.

    Args:
        ax: Axes whose x counts columns and whose y counts rows.
        cells: dims ``(row, column)``, bool.
        block: How many positions a cell is high and wide.
        start: Column and row of the first cell.
    """
    if not cells.any():
        return
    ax.add_patch(PathPatch(_outline(cells, block, start), facecolor=nan_colour(ax), linewidth=0, gid="nan"))
    places = np.argwhere(cells)
    if len(places) <= MOST_CROSSES:
        near, far = 0.25, 0.75
        corners = [((near, near), (far, far)), ((near, far), (far, near))]
        lines = [
            [((column + x) * block[1] - 0.5 + start[0], (row + y) * block[0] - 0.5 + start[1]) for x, y in line]
            for row, column in places
            for line in corners
        ]
        ax.add_collection(
            LineCollection(lines, colors=palette(dark=is_dark(ax))["on-nan"], linewidths=0.8, gid="nan crosses"),
            autolim=False,
        )


def dash_below(ax: Axes, values: np.ndarray, left_open: np.ndarray, colours: Colormap, norm: Normalize) -> None:
    """Dashes in the cells below 0 of a scale around 0, so that both sides can be told where all is grey.

    Cells that are nearly 0, or too small on the page, have none.

    Args:
        ax: Axes that the cells fill, the first row on top.
        values: dims ``(row, column)``.
        left_open: Same dims: cells that other marks are drawn in.
        colours: The ramp.
        norm: How values become places on it.
    """
    least = norm.vmin or 0.0
    if least >= 0 or norm.vmax != -least:
        return
    places = np.argwhere(~left_open & (np.nan_to_num(values) < NEARLY_0 * least))
    left, right, bottom, top = *ax.get_xlim(), *ax.get_ylim()
    wide, high = (right - left) / values.shape[1], (top - bottom) / values.shape[0]
    box, dots = ax.get_window_extent(), figure_of(ax).get_dpi() / 72
    size = min(box.width / values.shape[1], box.height / values.shape[0]) / dots
    if not len(places) or len(places) > MOST_CROSSES or size < _SMALLEST:
        return
    half = 0.5 * min(0.5, 6.0 * dots * values.shape[1] / box.width) * wide
    middles = [(left + (column + 0.5) * wide, top - (row + 0.5) * high) for row, column in places]
    lines = [[(x - half, y), (x + half, y)] for x, y in middles]
    inks = [ink_on(colours(norm(values[row, column]))) for row, column in places]
    ax.add_collection(LineCollection(lines, colors=inks, linewidths=min(1.1, 0.14 * size), gid=BELOW), autolim=False)


def _outline(cells: np.ndarray, block: tuple[float, float], start: tuple[float, float]) -> Path:
    """One path around all runs of cells in the rows; runs that repeat in the rows below become one rectangle."""
    high, wide = block
    open_runs: dict[tuple[int, int], int] = {}
    rectangles = []
    for row in range(len(cells) + 1):
        runs = _runs(cells[row]) if row < len(cells) else []
        for run in [run for run in open_runs if run not in runs]:
            rectangles.append((open_runs.pop(run), row, *run))
        for run in runs:
            open_runs.setdefault(run, row)
    vertices = [
        corner
        for top, bottom, left, right in rectangles
        for corner in _corners(left * wide, right * wide, top * high, bottom * high)
    ]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rectangles)
    return Path(np.array(vertices) - 0.5 + start, codes)


def _corners(left: float, right: float, top: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def _runs(row: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]
