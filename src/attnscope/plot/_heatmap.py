"""`heatmap`: one map, every cell on the colour of its weight."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.colors import Normalize as Norm
from matplotlib.image import AxesImage

from attnscope.plot._canvas import (
    add_bar,
    axes_or_new,
    colours_of,
    frame,
    head_line,
    is_dark,
    norm_of,
)
from attnscope.plot._cell_marks import cross_out, dash_below, hatch
from attnscope.plot._checks import Weights, labelled
from attnscope.plot._guest import guest
from attnscope.plot._panels import Head, Panels, Sample, Side, panels_of
from attnscope.plot._scale import Normalize, blocks_in_words, pooled, scaled
from attnscope.plot._ticks import name_positions
from attnscope.plot._typesetting import LONGEST, room_of, written
from attnscope.quantities import remarks_on

MOST_CELLS = 512
"""A map with more rows or columns than this is drawn in blocks."""
SQUARE_UP_TO = 6
"""Maps whose sides differ by more than this factor have cells that are not square."""


@guest
def heatmap(
    weights: Weights,
    *,
    sample: Sample = None,
    head: Head | None = None,
    normalize: Normalize | None = None,
    maximum: float | None = None,
    partial: bool = False,
    trim: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """One map: queries down, keys across.

    Every cell has the colour of its weight, from pale at 0 (dark on dark pages) to the end that the colour bar shows.
    Relevance has a scale that is symmetric around 0: orange speaks for the target, blue against it, the colour of the
    page is 0; its rows are the samples. Hatched: masked, which means padding and, in causal maps, later positions; see
    `docs/pictures.md`. Red with a cross: NaN. A map of more than 512 rows or columns is drawn in blocks, each in the
    colour of the value farthest from 0, and the picture says so. The title says which sample and heads it shows.

    Args:
        weights: A site's scores, ``maps[site]`` in full or selected; maps of a single site; or a plain array
            ``(query, key)`` or ``(sample, head, query, key)``. Sites without queries have their heads as rows. Or what
            `ats.attribute` returns.
        sample: Number of the sample; default: the first, or of relevance all of them. ``mean``: over all samples,
            without padding.
        head: Number of the head; ``mean`` or ``max`` over the heads; default: their mean (where the heads are the
            rows: all of them).
        normalize: None: the weights as they are. ``max``, ``row``: as shares of the largest weight of the map, or of
            each row. ``rank``: the share of cells that have no more weight. ``log``: colours by powers of ten.
        maximum: End of the colour scale, which starts at 0 (of relevance: as far on the other side of it); default: the
            value farthest from 0, rounded up.
        partial: Whether the keys are a selection, so that rows may sum to less than 1.
        trim: Whether to leave out padding at the ends where nothing is drawn; the picture then says how much.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: x counts keys and y queries, so that ``ax.plot(key, query, "o")`` marks a cell.

    Raises:
        SchemaError: The weights are neither attention nor relevance, or not a single map.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = heatmap(np.full((2, 4), 0.25), ax=Figure().add_subplot())
        >>> ax.images[0].get_array().shape, ax.get_ylabel()
        ((2, 4), 'query position')
    """
    array = labelled(weights)
    panels = panels_of(array, sample=sample, partial=partial, trim=trim, over_samples=True)
    panels = panels if panels.rows.name in ("head", "sample") and head is None else panels.one(head)
    values, scale = scaled(panels.values, panels.masked, normalize=normalize, maximum=maximum, quantity=panels.quantity)
    left = None if ax is not None else 0.5 + margin(panels.rows)
    ax = axes_or_new(ax, *figure_size(panels.rows, panels.columns, panels.title))
    image, remarks = draw_map(ax, values[0], panels, colours_of(scale, is_dark(ax)), norm_of(scale))
    add_bar(ax, image, scale.label, scale.ticks, extend=scale.tip(values, panels.masked))
    head_line(ax, panels.title, [panels.subtitle, *remarks_on(array), *remarks, *_rows_in_words(panels, partial)], left)
    return ax


def _rows_in_words(panels: Panels, partial: bool) -> list[str]:
    if not partial or panels.quantity.signed:
        return []
    sums = np.nansum(panels.values[0], axis=-1)
    return [f"some of the keys only: rows sum to {sums.min():.3g} to {sums.max():.3g}"]


def draw_map(
    ax: Axes,
    values: np.ndarray,
    panels: Panels,
    colours: Colormap,
    norm: Norm,
    *,
    ticks: bool = True,
    block_of: str = "largest",
) -> tuple[AxesImage, list[str]]:
    """Draws the cells of a map, its marks and its ticks.

    Args:
        ax: Where to draw.
        values: dims ``(row, column)``, as they are drawn.
        panels: Where they come from; the first panel says what is masked.
        colours: The ramp.
        norm: How values become places on it.
        ticks: Whether to name the positions.
        block_of: What the remarks call the value that is drawn for a block of cells.

    Returns:
        The cells, and the remarks on them.
    """
    nothing = np.isnan(values)
    drawn, hidden, block = pooled(values, panels.masked[0], (MOST_CELLS, MOST_CELLS))
    missing = np.isnan(drawn) & ~hidden
    image = draw_cells(ax, drawn, hidden | missing, block, values.shape, colours, norm)
    hatch(ax, hidden, block)
    cross_out(ax, missing, block)
    dash_below(ax, drawn, hidden | missing, colours, norm)
    cuts = []
    if ticks:
        cuts = [name_positions(axis, side) for axis, side in ((ax.xaxis, panels.columns), (ax.yaxis, panels.rows))]
    else:
        ax.set(xticks=[], yticks=[])
    return image, [
        panels.left_out,
        blocks_in_words(values.shape, block, block_of),
        "hatched: masked" if hidden.any() else "",
        "red: NaN" if (nothing & ~panels.masked[0]).any() else "",
        f"names cut to {LONGEST} letters" if any(cuts) else "",
    ]


def draw_cells(
    ax: Axes,
    values: np.ndarray,
    left_open: np.ndarray,
    block: tuple[int, int],
    shape: tuple[int, ...],
    colours: Colormap,
    norm: Norm,
) -> AxesImage:
    """Draws cells as a picture whose x counts columns and whose y counts rows, the first row on top.

    Args:
        ax: Where to draw.
        values: dims ``(row, column)``.
        left_open: Same dims: cells that other marks are drawn in.
        block: How many positions a cell is high and wide.
        shape: Numbers of positions.
        colours: The ramp.
        norm: How values become places on it.
    """
    rows, columns = values.shape
    extent = (-0.5, columns * block[1] - 0.5, rows * block[0] - 0.5, -0.5)
    long = max(shape) > SQUARE_UP_TO * min(shape)
    image = ax.imshow(
        np.ma.masked_array(values, left_open),
        cmap=colours,
        norm=norm,
        interpolation="nearest",
        aspect="auto" if long else "equal",
        origin="upper",
        extent=extent,
    )
    ax.set(xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    ax.grid(False)
    frame(ax)
    return image


def figure_size(rows: Side, columns: Side, title: str) -> tuple[float, float]:
    """Inches that a map needs so that up to about 40 names fit along each side, and the title above."""
    wide, high = (min(5.6, max(1.5, 0.19 * len(side))) for side in (columns, rows))
    if len(columns) > SQUARE_UP_TO * len(rows):
        wide, high = 6.0, max(0.9, min(high, 1.5))
    elif len(rows) > SQUARE_UP_TO * len(columns):
        wide, high = max(0.9, min(wide, 1.5)), 6.0
    left = 0.5 + margin(rows)
    return max(3.4, wide + 0.8 + left, min(6.4, left + 0.5 + 0.1 * len(title))), high + 0.9 + margin(columns)


def margin(side: Side) -> float:
    """Inches that the names along a side need."""
    longest = max(map(room_of, written(side.labels)[0]), default=0) if side.named else 3
    return 0.075 * longest
