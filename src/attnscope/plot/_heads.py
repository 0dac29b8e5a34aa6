"""`heads`: all heads of a site side by side, or all sites and heads of a model as thumbnails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.colors import Normalize as Norm
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from attnscope.errors import SchemaError
from attnscope.maps import AttentionMaps
from attnscope.plot._canvas import (
    add_bar,
    axes_or_new,
    colours_of,
    head_line,
    is_dark,
    new_figure,
    norm_of,
    title_over,
)
from attnscope.plot._cell_marks import cross_out, hatch
from attnscope.plot._checks import Weights, is_maps, labelled
from attnscope.plot._guest import figure_of, guest
from attnscope.plot._heatmap import SQUARE_UP_TO, draw_map, margin
from attnscope.plot._panels import Panels, Sample, Side, panels_of
from attnscope.plot._scale import Normalize, pooled, scaled
from attnscope.plot._ticks import name_positions
from attnscope.plot._typesetting import cut_front, plain_text
from attnscope.tensors import Tensor

LONGEST_SITE = 40
"""Longer names of sites are cut in front."""
TILE = 32
"""A thumbnail with more rows or columns than this is drawn in blocks."""
_GAP = 0.05
"""Space at each side of a thumbnail, as part of its place."""
LAYOUTS = {2: ("query", "key"), 3: ("head", "query", "key"), 4: ("sample", "head", "query", "key")}


@overload
def heads(
    weights: AttentionMaps,
    *,
    sample: Sample = ...,
    normalize: Normalize | None = ...,
    maximum: float | None = ...,
    partial: bool = ...,
    trim: bool = ...,
    ax: Axes | None = ...,
) -> Axes: ...
@overload
def heads(
    weights: xr.DataArray | ArrayLike | Tensor,
    *,
    sample: Sample = ...,
    normalize: Normalize | None = ...,
    maximum: float | None = ...,
    partial: bool = ...,
    trim: bool = ...,
    ax: Axes | Sequence[Axes] | np.ndarray | None = ...,
) -> np.ndarray: ...
@guest
def heads(
    weights: Weights,
    *,
    sample: Sample = None,
    normalize: Normalize | None = None,
    maximum: float | None = None,
    partial: bool = False,
    trim: bool = True,
    ax: Any = None,
) -> Axes | np.ndarray:
    """Every head of a site, or of a whole model, on one colour scale.

    For a site, each head is a map like `heatmap`'s, queries down and keys across. For a model, each row is a
    site and each column a head; thumbnails have at most 32 by 32 cells, and larger maps are drawn in blocks, each in
    the colour of its largest weight. Hatched: masked. Red: NaN.

    Args:
        weights: One site, ``maps[site]`` or a plain array ``(head, query, key)`` or ``(sample, head, query, key)``; or
            all sites, ``maps``.
        sample: Number of the sample; default: the first. ``mean``: over all samples, without padding.
        normalize: None: the weights as they are. ``max``, ``row``: as shares of the largest weight of the head, or of
            each row. ``rank``: the share of the head's cells that have no more weight. ``log``: colours by powers of
            ten.
        maximum: End of the colour scale that all heads share; default: the largest weight, rounded up.
        partial: Whether the keys are a selection, so that rows may sum to less than 1.
        trim: Whether to leave out padding at the ends where nothing is drawn; the picture then says how much.
        ax: Where to draw: for a model, one axes; for a site, as many as it has heads, as returned by
            ``plt.subplots(...)[1]``. Default: on a new pyplot figure.

    Returns:
        For a model, the axes: x counts heads and y sites. For a site, an array with the axes of each head, row by row;
        the last row may end with empty ones.

    Raises:
        SchemaError: The weights are not attention, or there are too few axes.

    Example:
        >>> from matplotlib.figure import Figure
        >>> axes = heads(np.full((2, 3, 5), 0.2), ax=Figure().subplots(1, 2))
        >>> [head.get_title() for head in axes.flat]
        ['head 0', 'head 1']
    """
    if is_maps(weights):
        return _of_model(weights, sample, normalize, maximum, ax, partial=partial, trim=trim)
    panels = by_head(panels_of(labelled(weights, LAYOUTS), sample=sample, partial=partial, trim=trim))
    values, scale = scaled(panels.values, panels.masked, normalize=normalize, maximum=maximum, quantity=panels.quantity)
    axes = _axes_for(panels, ax)
    used = list(axes.flat)[: len(panels.names)]
    colours, norm = colours_of(scale, is_dark(used[0])), norm_of(scale)
    images, remarks = _draw_heads(axes, panels, values, colours, norm, ax is not None)
    add_bar(list(axes.flat), images[0], scale.label, scale.ticks, extend=scale.tip(values, panels.masked))
    remarks = [panels.subtitle, *remarks]
    if ax is None:
        title_over(figure_of(used[0]), panels.title, remarks)
    else:
        head_line(used[0], "", [panels.title, *remarks])
    return axes


def by_head(panels: Panels) -> Panels:
    """Maps of a site that pools: one row per head, which here are panels of their own."""
    if panels.rows.name != "head":
        return panels
    side = Side("", ("",), False, np.ones(1, bool))
    names = tuple(f"head {label}" for label in panels.rows.labels)
    values, masked = (np.moveaxis(array, 1, 0) for array in (panels.values, panels.masked))
    return replace(panels, values=values, masked=masked, names=names, rows=side)


def _axes_for(panels: Panels, ax: Axes | Sequence[Axes] | np.ndarray | None) -> np.ndarray:
    count = len(panels.names)
    axes = _new_axes(panels) if ax is None else np.atleast_1d(np.asarray(ax, dtype=object))
    if axes.size < count:
        raise SchemaError(
            f"{axes.size} axes were given for {count} heads. Pass one for each: plt.subplots(1, {count})[1]."
        )
    for spare in list(axes.flat)[count:]:
        spare.set_axis_off()
    return np.asarray(axes)


def _new_axes(panels: Panels) -> np.ndarray:
    count = len(panels.names)
    rows, columns = len(panels.rows), len(panels.columns)
    across = min(count, max(1, round(math.sqrt(1.4 * count))))
    if columns > SQUARE_UP_TO * rows:
        across = min(count, 2)
    down = math.ceil(count / across)
    side = {1: 4.6, 2: 3.6}.get(across, min(2.6, max(0.75, 9 / across)))
    wide, high = (max(0.5, side * min(1, 1.6 * size / max(rows, columns))) for size in (columns, rows))
    figure = new_figure(
        max(3.6, across * (wide + 0.1) + 1.2 + margin(panels.rows)),
        down * (high + 0.3) + 0.9 + margin(panels.columns),
    )
    for side_label, write in ((panels.columns, figure.supxlabel), (panels.rows, figure.supylabel)):
        plain_text(write(side_label.title, fontsize="medium"))
    return np.asarray(figure.subplots(down, across, squeeze=False))


def _draw_heads(
    axes: np.ndarray, panels: Panels, values: np.ndarray, colours: Colormap, norm: Norm, label: bool
) -> tuple[list[AxesImage], list[str]]:
    images, all_remarks = [], []
    wide = axes.shape[-1]
    count = len(panels.names)
    for place, (axis, name) in enumerate(zip(axes.flat, panels.names, strict=False)):
        one = replace(panels, values=panels.values[[place]], masked=panels.masked[[place]], names=(name,))
        image, remarks = draw_map(axis, values[place], one, colours, norm, ticks=False)
        lowest, leftmost = place + wide >= count, place % wide == 0
        remarks += _outer_ticks(axis, panels, lowest=lowest, leftmost=leftmost, label=label)
        plain_text(axis.set_title(name, fontsize="small"))
        images.append(image)
        all_remarks += remarks
    return images, list(dict.fromkeys(all_remarks))


def _outer_ticks(ax: Axes, panels: Panels, *, lowest: bool, leftmost: bool, label: bool) -> list[str]:
    cuts = []
    if lowest:
        cuts.append(name_positions(ax.xaxis, panels.columns, label=label))
    if leftmost:
        cuts.append(name_positions(ax.yaxis, panels.rows, label=label))
    return ["long names are cut"] if any(cuts) else []


def _of_model(
    maps: Mapping[str, xr.DataArray],
    sample: Sample,
    normalize: Normalize | None,
    maximum: float | None,
    ax: Axes | None,
    *,
    partial: bool,
    trim: bool,
) -> Axes:
    if not maps:
        raise SchemaError(
            "The maps have no sites, so there is nothing to draw. Capture some: ats.capture(model, inputs)."
        )
    sites = {name: by_head(panels_of(maps[name], sample=sample, partial=partial, trim=trim)) for name in maps}
    drawn = [
        scaled(site.values, site.masked, normalize=normalize, maximum=maximum, quantity=site.quantity)
        for site in sites.values()
    ]
    scale = max((scale for _, scale in drawn), key=lambda scale: scale.maximum)
    first = next(iter(sites.values()))
    selection = [part for part in first.selection if not part.startswith("head")]
    ax = axes_or_new(ax, *mosaic_size(list(sites.values())))
    image, remarks = mosaic(ax, sites, [values for values, _ in drawn], colours_of(scale, is_dark(ax)), norm_of(scale))
    pairs = zip(drawn, sites.values(), strict=True)
    every = np.concatenate([np.where(site.masked, 0.0, values).ravel() for (values, _), site in pairs])
    add_bar(ax, image, scale.label, scale.ticks, extend=scale.tip(every))
    head_line(ax, f"{len(sites)} sites and their heads" if len(sites) > 1 else first.site, [*selection, *remarks])
    return ax


def mosaic_size(sites: Sequence[Panels]) -> tuple[float, float]:
    """Inches that the thumbnails of some sites need."""
    widest = max(len(site.names) for site in sites)
    side = min(0.8, max(0.3, 8 / widest))
    longest = max(min(len(site.site), LONGEST_SITE) for site in sites)
    return max(3.8, widest * side + 1.4 + 0.075 * longest), max(2.0, len(sites) * side + 1.2)


def mosaic(
    ax: Axes, sites: Mapping[str, Panels], values: Sequence[np.ndarray], colours: Colormap, norm: Norm
) -> tuple[AxesImage, list[str]]:
    """Thumbnails: a row for each site, a column for each head.

    Args:
        ax: Where; x counts heads, y counts sites.
        sites: The maps of each site.
        values: For each site what is drawn of it, dims ``(head, row, column)``.
        colours: The ramp.
        norm: How values become places on it.

    Returns:
        The thumbnails of the first site, and the remarks on all.
    """
    widest = max(len(site.names) for site in sites.values())
    _empty_mosaic(ax, [site.site or name for name, site in sites.items()], widest)
    tiles_remarks = ["padding left out"] if any(site.left_out for site in sites.values()) else []
    image = None
    for row, (site, drawn) in enumerate(zip(sites.values(), values, strict=True)):
        for column, (panel, hidden) in enumerate(zip(drawn, site.masked, strict=True)):
            tile, tile_remarks = _tile(ax, panel, hidden, (column, row), colours, norm)
            image = image or tile
            tiles_remarks += tile_remarks
    assert image is not None
    remarks = ["queries down, keys across", *dict.fromkeys(tiles_remarks)]
    return image, remarks


def _empty_mosaic(ax: Axes, names: Sequence[str], widest: int) -> None:
    ax.set(xlim=(-0.5, widest - 0.5), ylim=(len(names) - 0.5, -0.5), aspect="equal")
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    every = np.ones(widest, bool)
    numbers = tuple(map(str, range(widest)))
    name_positions(ax.xaxis, Side("head", numbers, False, every))
    labels = tuple(cut_front(name, LONGEST_SITE) for name in names)
    name_positions(ax.yaxis, Side("", labels, True, every), longest=LONGEST_SITE)
    ax.tick_params(length=0)


def _tile(
    ax: Axes, values: np.ndarray, masked: np.ndarray, place: tuple[int, int], colours: Colormap, norm: Norm
) -> tuple[AxesImage, list[str]]:
    small, hidden, block = pooled(values, masked, (TILE, TILE))
    missing = np.isnan(small) & ~hidden
    side = 1 - 2 * _GAP
    left, top = place[0] - 0.5 + _GAP, place[1] - 0.5 + _GAP
    image = ax.imshow(
        np.ma.masked_array(small, hidden | missing),
        cmap=colours,
        norm=norm,
        interpolation="nearest",
        aspect=ax.get_aspect(),
        extent=(left, left + side, top + side, top),
    )
    cell = (side / small.shape[0], side / small.shape[1])
    for mark, cells in ((hatch, hidden), (cross_out, missing)):
        mark(ax, cells, cell, (left + 0.5, top + 0.5))
    _outlined(ax, left, top, side)
    return image, [
        "large maps in blocks, each the largest of its cells" if block != (1, 1) else "",
        "hatched: masked" if hidden.any() else "",
        "red: NaN" if missing.any() else "",
    ]


def _outlined(ax: Axes, left: float, top: float, side: float) -> None:
    colour = ax.spines["left"].get_edgecolor()
    ax.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=colour, linewidth=0.3))
