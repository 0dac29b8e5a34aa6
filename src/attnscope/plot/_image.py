"""`image`: attention to the patches of a picture, drawn over the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.colors import Normalize as Norm
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from attnscope.errors import LabelError, SchemaError
from attnscope.labels import patch_grid
from attnscope.marks import number
from attnscope.plot._canvas import (
    add_bar,
    axes_or_new,
    colour_map,
    cross_out,
    hatch,
    head_line,
    is_dark,
    nan_colour,
    norm_of,
)
from attnscope.plot._checks import Weights, labelled
from attnscope.plot._heatmap import extend
from attnscope.plot._panels import Head, Panels, Sample, Side, panels_of
from attnscope.plot._scale import Normalize, scaled
from attnscope.plot._typesetting import plain_text, written
from attnscope.tensors import Tensor

OPACITY = 0.62
"""Of the colours over the picture. The bar has the colours as they look over the picture's mean grey."""
LAYOUTS = {1: ("key",), 2: ("query", "key"), 4: ("sample", "head", "query", "key")}
MOST_SPECIAL = 12


@dataclass(frozen=True)
class _PatchWeights:
    """Weights of the patches, dims ``(row, column)``, and of the tokens that are not patches."""

    weights: np.ndarray
    masked: np.ndarray
    special: np.ndarray
    names: tuple[str, ...]


def image(
    picture: ArrayLike | Tensor,
    weights: Weights,
    *,
    grid: tuple[int, int] | None = None,
    sample: Sample = None,
    head: Head | None = None,
    normalize: Normalize | None = None,
    maximum: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The picture in grey, each patch in the colour of its weight, without any blurring.

    Tokens that are not patches (CLS, registers, sinks) have their own squares beside the picture, with their weights
    as numbers; the title says what share of the attention they take, and what share the patches have. If one has more
    weight than the strongest patch, the colour bar has a tip. Hatched: masked. Red with a cross: NaN.

    Args:
        picture: ``(height, width)``, grey; or ``(height, width, 1 | 3 | 4)``; integers to 255, or floats from 0 to 1.
        weights: A site's scores, averaged over the queries: the attention that each patch receives. To see what one
            query looks at, select it first: ``maps[site].isel(query=0)``. Or a plain array ``(key,)``.
        grid: Rows and columns of the patches. Default: taken from labels made with `attnscope.labels.patches`, or the
            sizes of ``key_0`` and ``key_1``. If given, all tokens before the patches are special tokens.
        sample: Number of the sample; default: the first. ``mean``: over all samples, without padding.
        head: Number of the head; ``mean`` or ``max`` over the heads; default: their mean.
        normalize: None: the weights as they are. ``max``, ``row``: as shares of the largest weight. ``rank``: the share
            of patches that have no more weight. ``log``: colours by powers of ten.
        maximum: End of the colour scale; default: the largest weight of a patch, rounded up.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: x and y count pixels of the picture.

    Raises:
        SchemaError: `picture` is not a picture, or `weights` are not attention.
        LabelError: The grid is not known, or does not fit.

    Example:
        >>> from matplotlib.figure import Figure
        >>> even = np.full(5, 0.2)
        >>> ax = image(np.zeros((8, 8)), even, grid=(2, 2), ax=Figure().add_subplot())
        >>> ax.images[1].get_array().shape
        (2, 2)
    """
    grey = grey_picture(picture)
    array = labelled(weights, LAYOUTS)
    panels = _over_queries(panels_of(array, sample=sample, partial=True).one("mean" if head is None else head))
    patches = _arranged(panels, array, grid)
    values, scale = scaled(
        np.concatenate([patches.weights.ravel(), patches.special])[None, None],
        np.concatenate([patches.masked.ravel(), np.ones(len(patches.special), bool)])[None, None],
        normalize=normalize,
        maximum=maximum,
        unit=panels.unit,
    )
    cells, special = np.split(values.ravel(), [patches.weights.size])
    ax = axes_or_new(ax, *_figure_size(grey, patches))
    grey = _quiet(grey, is_dark(ax))
    mixed = _over_grey(colour_map(is_dark(ax)), float(grey.mean()))
    shown = ax.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=_extent(grey))
    shown.set_gid("picture")
    _draw_patches(ax, cells.reshape(patches.weights.shape), patches, grey, norm_of(scale))
    _draw_special(ax, special, patches, grey, mixed, norm_of(scale))
    tip = extend(values, np.zeros(values.shape, bool), scale.maximum)
    add_bar(ax, ScalarMappable(norm_of(scale), mixed), scale.label, scale.ticks, extend=tip)
    head_line(ax, panels.title, [panels.subtitle, *_in_words(patches, panels)], None)
    return ax


def grey_picture(picture: ArrayLike | Tensor) -> np.ndarray:
    """A picture as lightness, dims ``(height, width)``, 0 to 1.

    Raises:
        SchemaError: It has other axes, or values outside of what pixels have.
    """
    pixels = np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4):
        fix = "Its channels come first; move them to the end: np.moveaxis(picture, 0, -1)."
    else:
        fix = "To draw one of several pictures, select it: pictures[0]."
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))) or 0 in pixels.shape:
        raise SchemaError(
            f"The picture has shape {pixels.shape}, but (height, width) or (height, width, channels) with 1, 3 or "
            f"4 channels is needed. {fix}"
        )
    whole = pixels.dtype.kind in "uib"
    values = pixels.astype(np.float64) / (255 if whole and pixels.dtype != bool else 1)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1 + 1e-6:
        extent = f"{number(float(np.nanmin(pixels.astype(float))))} to {number(float(np.nanmax(pixels.astype(float))))}"
        raise SchemaError(
            f"The picture is {pixels.dtype} from {extent}, but floats have to lie between 0 and 1, and integers "
            "between 0 and 255. Undo the model's preprocessing: picture / 255, or picture * std + mean."
        )
    if pixels.ndim == 2:
        return values
    return np.asarray(values[..., 0] if pixels.shape[2] < 3 else values[..., :3] @ (0.2126, 0.7152, 0.0722))


def _over_queries(panels: Panels) -> Panels:
    """The mean over the queries that are not padding and attend to something."""
    rows = panels.rows.valid & ~(panels.values[0] == 0).all(axis=-1)
    if len(panels.rows) == 1:
        return panels
    attending = panels.values[0][rows] if rows.any() else panels.values[0]
    side = Side("", ("",), False, np.ones(1, bool))
    masked = panels.masked[0][rows].all(axis=0) if rows.any() else panels.masked[0].all(axis=0)
    selection = (*panels.selection, f"mean of {len(attending)} queries")
    return Panels(
        attending.mean(axis=0)[None, None],
        masked[None, None],
        ("",),
        side,
        panels.columns,
        panels.site,
        selection,
        "attention received",
    )


def _arranged(panels: Panels, array: xr.DataArray, grid: tuple[int, int] | None) -> _PatchWeights:
    rows, columns, first = _grid(panels.columns.labels, array, grid)
    values, masked = panels.values[0, 0], panels.masked[0, 0]
    inside = np.zeros(len(values), bool)
    inside[first : first + rows * columns] = True
    names = tuple(label for label, patch in zip(_names(panels.columns), inside, strict=True) if not patch)
    shape = (rows, columns)
    return _PatchWeights(values[inside].reshape(shape), masked[inside].reshape(shape), values[~inside], names)


def _names(side: Side) -> tuple[str, ...]:
    return side.labels if side.named else tuple(f"token {label}" for label in side.labels)


def _grid(labels: tuple[str, ...], array: xr.DataArray, grid: tuple[int, int] | None) -> tuple[int, int, int]:
    """Rows, columns and the position of the first patch."""
    sinks = int(array.attrs.get("sinks", 0))
    before = len(labels) - sinks
    if grid is not None:
        rows, columns = grid
        if rows < 1 or columns < 1 or rows * columns > before:
            raise LabelError(
                f"grid={grid!r} has {rows * columns} patches, but the weights have {before} keys. {_suggested(before)}"
            )
        return rows, columns, before - rows * columns
    sizes = [size for dim, size in array.sizes.items() if str(dim).startswith("key_")]
    if len(sizes) == 2:
        return sizes[0], sizes[1], 0
    labelled_grid = patch_grid(labels)
    if labelled_grid is None:
        raise LabelError(
            f"The weights have {len(labels)} keys, but neither labels nor dims say how many rows and columns of "
            f"patches they are. {_suggested(before)}"
        )
    return labelled_grid


def _suggested(keys: int) -> str:
    for special in (0, 1, 2, 4, 5, 8):
        side = math.isqrt(max(0, keys - special))
        if side > 1 and side * side + special == keys:
            beside = (
                f", which leaves {special} special token{'s' if special > 1 else ''} before them" if special else ""
            )
            return f"Write, for example, grid=({side}, {side}){beside}."
    return "Write grid=(rows, columns)."


def _figure_size(grey: np.ndarray, patches: _PatchWeights) -> tuple[float, float]:
    high, wide = grey.shape
    scale = min(4.4 / wide, 4.4 / high)
    beside = 1.4 if len(patches.special) else 0.0
    return max(3.6, wide * scale + beside + 1.1), max(2.2, high * scale + 0.8)


def _extent(grey: np.ndarray) -> tuple[float, float, float, float]:
    return (-0.5, grey.shape[1] - 0.5, grey.shape[0] - 0.5, -0.5)


def _quiet(grey: np.ndarray, dark: bool) -> np.ndarray:
    """The picture faded towards the page, so that its own light and dark are not mistaken for weights."""
    return 0.7 * grey if dark else 0.3 + 0.7 * grey


def _over_grey(colours: Colormap, grey: float) -> Colormap:
    """The ramp as it looks over one grey."""
    table = colours(np.arange(colours.N))
    table[:, :3] = OPACITY * table[:, :3] + (1 - OPACITY) * grey
    return ListedColormap(table, name="attnscope weights over a picture").with_extremes(bad=(0, 0, 0, 0))


def _draw_patches(ax: Axes, values: np.ndarray, patches: _PatchWeights, grey: np.ndarray, norm: Norm) -> None:
    missing = np.isnan(values) & ~patches.masked
    overlay = ax.imshow(
        np.ma.masked_array(values, missing | patches.masked),
        cmap=colour_map(is_dark(ax)),
        norm=norm,
        alpha=OPACITY,
        interpolation="nearest",
        extent=_extent(grey),
    )
    overlay.set_gid("patches")
    cell = (grey.shape[0] / values.shape[0], grey.shape[1] / values.shape[1])
    hatch(ax, patches.masked, cell)
    cross_out(ax, missing, cell)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, grey.shape[1] - 0.5), ylim=(grey.shape[0] - 0.5, -0.5), aspect="equal")
    ax.grid(False)
    ax.set_frame_on(False)


def _draw_special(
    ax: Axes, values: np.ndarray, patches: _PatchWeights, grey: np.ndarray, colours: Colormap, norm: Norm
) -> None:
    """A column of squares right of the picture, each with its name and weight."""
    count = min(len(values), MOST_SPECIAL)
    if not count:
        return
    high, wide = grey.shape
    side = min(high / 10, 0.8 * high / count)
    left = wide - 0.5 + 0.5 * side
    names, fonts = written(patches.names, 12)
    for place in range(count):
        top = -0.5 + place * 1.25 * side
        value, weight = values[place], patches.special[place]
        colour = nan_colour(ax) if np.isnan(value) else colours(norm(value))
        ax.add_patch(
            Rectangle((left, top), side, side, facecolor=colour, edgecolor="none", clip_on=False, gid="special")
        )
        text = f"{names[place]}  {number(float(weight))}"
        words = ax.text(left + 1.3 * side, top + side / 2, text, va="center", fontsize="small", fontfamily=fonts)
        plain_text(words)
    if len(values) > count:
        rest = f"and {len(values) - count} more"
        ax.text(left, -0.5 + count * 1.25 * side + side / 2, rest, va="center", fontsize="small")


def _in_words(patches: _PatchWeights, panels: Panels) -> list[str]:
    rows, columns = patches.weights.shape
    remarks = [f"{rows} x {columns} patches"]
    if len(patches.special):
        inside, outside = float(np.nansum(patches.weights)), float(np.nansum(patches.special))
        tokens = "1 token" if len(patches.special) == 1 else f"{len(patches.special)} tokens"
        remarks.append(f"the patches have {inside:.0%} of the attention, {tokens} outside the picture {outside:.0%}")
    if patches.masked.any():
        remarks.append("hatched: masked")
    if np.isnan(panels.values).any():
        remarks.append("red: NaN")
    return remarks
