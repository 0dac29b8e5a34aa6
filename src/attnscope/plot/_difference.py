"""`difference`: where one map has more attention than another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from attnscope.errors import LabelError, SchemaError
from attnscope.plot._canvas import add_bar, axes_or_new, colours_of, head_line, is_dark, norm_of
from attnscope.plot._checks import Weights, is_maps, labelled
from attnscope.plot._guest import guest
from attnscope.plot._heads import by_head, mosaic, mosaic_size
from attnscope.plot._heatmap import draw_map, figure_size, margin
from attnscope.plot._panels import Head, Panels, Sample, Side, panels_of
from attnscope.plot._scale import scaled


@guest
def difference(
    first: Weights,
    second: Weights,
    *,
    sample: Sample = None,
    head: Head | None = None,
    maximum: float | None = None,
    partial: bool = False,
    trim: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The first map minus the second: of two heads, two samples or two models.

    Orange: the first has more. Blue: the second has more. The colour of the page: no difference. The scale is
    symmetric around 0, and the colour bar shows its ends. Hatched: masked in either map. Red with a cross: NaN in
    either map. Maps of all sites are drawn as thumbnails, as `heads` draws them.

    Args:
        first: A site's scores, ``maps[site]`` in full or selected; maps of a single site; or a plain array
            ``(query, key)`` or ``(sample, head, query, key)``. Or the maps of all sites of a model.
        second: The same kind of weights for the same positions; sites are matched by name.
        sample: Number of the sample; default: the first. ``mean``: over all samples, without padding.
        head: Number of the head; ``mean`` or ``max`` over the heads; default: their mean. Maps of all
            sites are compared head by head.
        maximum: End of the scale on both sides; default: the largest difference, rounded up.
        partial: Whether the keys are a selection, so that rows may sum to less than 1.
        trim: Whether to leave out padding at the ends that is masked in both; the picture then says how much.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: of one map, x counts keys and y queries; of a model, x counts heads and y sites.

    Raises:
        SchemaError: The weights are not attention, or differ in shape or sites.
        LabelError: The positions are named differently in the two.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = difference(np.array([[0.75, 0.25]]), np.array([[0.5, 0.5]]), ax=Figure().add_subplot())
        >>> ax.images[0].get_array().tolist(), ax.images[0].get_clim()
        ([[0.25, -0.25]], (-0.25, 0.25))
    """
    if is_maps(first) and is_maps(second) and max(len(first), len(second)) > 1:
        return _of_models(first, second, sample, maximum, ax, partial=partial, trim=trim)
    pair = [panels_of(labelled(one), sample=sample, partial=partial) for one in (first, second)]
    a, b = (one if one.rows.name == "head" and head is None else one.one(head) for one in pair)
    both = _compared(a, b).trimmed() if trim else _compared(a, b)
    _, scale = scaled(both.values, both.masked, maximum=maximum, quantity=both.quantity)
    title, shared = _titled(a, b)
    left = None if ax is not None else 0.5 + margin(both.rows)
    ax = axes_or_new(ax, *figure_size(both.rows, both.columns, title))
    image, remarks = draw_map(
        ax, both.values[0], both, colours_of(scale, is_dark(ax)), norm_of(scale), block_of="largest difference"
    )
    add_bar(ax, image, scale.label, scale.ticks, extend=scale.tip(both.values, both.masked))
    head_line(ax, title, [*shared, *remarks], left)
    return ax


def _compared(a: Panels, b: Panels) -> Panels:
    """The first minus the second; what is masked or NaN in either is so in the result."""
    where = f" at {a.site!r}" if a.site else ""
    if a.values.shape != b.values.shape:
        raise SchemaError(
            f"The first{where} has {_sizes(a)}, the second {_sizes(b)}, but only maps of one size can be compared. "
            "Select the positions that both have: weights.isel(query=slice(0, 8), key=slice(0, 8)), with partial=True."
        )
    for left, right in ((a.rows, b.rows), (a.columns, b.columns)):
        _same_names(left, right)
    return replace(
        a,
        values=a.values - b.values,
        masked=a.masked | b.masked,
        rows=replace(a.rows, valid=a.rows.valid & b.rows.valid),
        columns=replace(a.columns, valid=a.columns.valid & b.columns.valid),
        quantity=a.quantity.compared(),
    )


def _sizes(panels: Panels) -> str:
    heads = f"{len(panels.names)} heads of " if len(panels.names) > 1 else ""
    return f"{heads}{len(panels.rows)} x {len(panels.columns)} cells"


def _same_names(left: Side, right: Side) -> None:
    if not (left.named and right.named) or left.labels == right.labels:
        return
    place = next(n for n, (one, other) in enumerate(zip(left.labels, right.labels, strict=True)) if one != other)
    raise LabelError(
        f"{left.name.capitalize()} {place} is {left.labels[place]!r} in the first and {right.labels[place]!r} in the "
        "second, but only maps of the same positions can be compared. If they are the same, drop the names of one: "
        f"second.drop_vars('{left.name}_label')."
    )


def _titled(a: Panels, b: Panels) -> tuple[str, list[str]]:
    """What differs between the two, as a title; and what they share."""
    left, right = ((one.site, *one.selection) for one in (a, b))
    own = [
        ", ".join(part for part in mine if part and part not in other) for mine, other in ((left, right), (right, left))
    ]
    title = f"{own[0]} minus {own[1]}" if all(own) else "first minus second"
    return title, [part for part in left if part and part in right]


def _of_models(
    first: Mapping[str, xr.DataArray],
    second: Mapping[str, xr.DataArray],
    sample: Sample,
    maximum: float | None,
    ax: Axes | None,
    *,
    partial: bool,
    trim: bool,
) -> Axes:
    if set(first) != set(second):
        only = sorted(set(first) ^ set(second))
        raise SchemaError(
            f"The two have different sites: {', '.join(map(repr, only[:4]))} {'is' if len(only) == 1 else 'are'} only "
            "in one of them. Compare sites that both have, one by one: ats.plot.difference(first[site], second[site])."
        )
    sites = {}
    for name in first:
        a, b = (by_head(panels_of(maps[name], sample=sample, partial=partial)) for maps in (first, second))
        sites[name] = _compared(a, b).trimmed() if trim else _compared(a, b)
    first_site = next(iter(sites.values()))
    every = np.concatenate([np.where(site.masked, 0.0, site.values).ravel() for site in sites.values()])[None, None]
    _, scale = scaled(every, np.zeros(every.shape, bool), maximum=maximum, quantity=first_site.quantity)
    ax = axes_or_new(ax, *mosaic_size(list(sites.values())))
    image, remarks = mosaic(
        ax, sites, [site.values for site in sites.values()], colours_of(scale, is_dark(ax)), norm_of(scale)
    )
    add_bar(ax, image, scale.label, scale.ticks, extend=scale.tip(every))
    shared = [part for part in first_site.selection if not part.startswith("head")]
    head_line(ax, "first minus second", [*shared, *remarks])
    return ax
