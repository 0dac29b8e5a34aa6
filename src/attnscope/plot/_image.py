"""`image`: attention to the patches of a picture, drawn over the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import xarray as xr
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.colors import Normalize as Norm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, font_scalings
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from attnscope.colours import ramp, rgb, softened
from attnscope.errors import SchemaError
from attnscope.marks import number, signed_number
from attnscope.plot._canvas import (
    Place,
    add_bar,
    axes_or_new,
    head_line,
    nan_colour,
    new_figure,
    norm_of,
    settle,
    title_over,
)
from attnscope.plot._cell_marks import cross_out, dash_below, hatch
from attnscope.plot._checks import Weights, labelled
from attnscope.plot._guest import figure_of, guest
from attnscope.plot._panels import Head, Sample, sample_number, sample_titles
from attnscope.plot._patch_weights import Pictured, pictured
from attnscope.plot._scale import Normalize, Scale, scaled
from attnscope.plot._typesetting import cut, plain_text, width_of, written
from attnscope.quantities import is_relevance, quantity_of, remarks_on
from attnscope.schema import SAMPLE
from attnscope.tensors import Tensor

DARKEST = 0.7
"""How far the picture is darkened where it has no attention: what is there can still be recognised."""
TINT = 0.8
"""Opacity of the colour over the patch that is farthest from 0; a patch of 0 has none."""
SIDES = ("group-0", "group-1")
"""Colours over what is below 0 and above it: as on pages, of one lightness on any grey."""
LAYOUTS = {1: ("key",), 2: ("query", "key"), 4: ("sample", "head", "query", "key")}
MOST_SPECIAL, MOST_IMAGES = 12, 36


@overload
def image(
    picture: ArrayLike | Tensor,
    weights: Weights,
    *,
    images: None = ...,
    grid: tuple[int, int] | None = ...,
    sample: Sample = ...,
    head: Head | None = ...,
    normalize: Normalize | None = ...,
    maximum: float | None = ...,
    ax: Place = ...,
) -> Axes: ...
@overload
def image(
    picture: ArrayLike | Tensor,
    weights: Weights,
    *,
    images: Sequence[int | str],
    grid: tuple[int, int] | None = ...,
    sample: Sample = ...,
    head: Head | None = ...,
    normalize: Normalize | None = ...,
    maximum: float | None = ...,
    ax: Sequence[Axes] | np.ndarray | None = ...,
) -> np.ndarray: ...
@guest
def image(
    picture: ArrayLike | Tensor,
    weights: Weights,
    *,
    images: Sequence[int | str] | None = None,
    grid: tuple[int, int] | None = None,
    sample: Sample = None,
    head: Head | None = None,
    normalize: Normalize | None = None,
    maximum: float | None = None,
    ax: Any = None,
) -> Axes | np.ndarray:
    """The picture under its weights, without any blurring; it stays recognisable.

    Attention darkens a picture in colours where it is small, as in the viewer: what is looked at keeps its own colours.
    A grey picture, whose own darkness would be taken for little attention, is coloured instead: the more attention, the
    less is seen through the colour. Relevance colours every picture: orange speaks for the target, blue, with a dash,
    against it; a patch of 0 has no colour. Under colours a picture is a soft grey, without black and white, on which
    they do not show. The bar has the colours over the picture's mean grey.

    Tokens that are not patches (CLS, registers, sinks) have their own squares beside the picture, with their weights
    as numbers; the title says what share of the attention they take, and what share the patches have. If one has more
    weight than the strongest patch, the colour bar has a tip. Hatched: masked. Red with a cross: NaN.

    The picture may have another size than the one that the model saw, such as a photo before it was resized. Where a
    patch is no whole number of its pixels, the picture says so, and that a crop would shift the patches.

    Args:
        picture: ``(height, width)``, grey; or ``(height, width, 1 | 3 | 4)``; integers to 255, or floats from 0 to 1.
            With `images`, all pictures, one for each sample.
        weights: A site's scores, averaged over the queries: the attention that each patch receives. To see what one
            query looks at, select it first: ``maps[site].isel(query=0)``. Or what `ats.attribute` returns. Or a plain
            array ``(key,)``.
        images: Numbers or ids of samples, for a gallery of them on one scale; default: one picture.
        grid: Rows and columns of the patches. Default: taken from labels made with `attnscope.labels.patches`, the
            sizes of ``key_0`` and ``key_1``, or the grid that `ats.attribute` was given. If given, all tokens before
            the patches are special tokens; it has to be the grid that the weights say, where they do.
        sample: Number or id of the sample; default: the first. ``mean``: over all samples, without padding.
        head: Number of the head; ``mean`` or ``max`` over the heads; default: their mean.
        normalize: None: the weights as they are. ``max``, ``row``: as shares of the largest weight. ``rank``: the share
            of patches that have no more weight. ``log``: colours by powers of ten.
        maximum: End of the colour scale; default: the value of a patch that is farthest from 0, rounded up.
        ax: Where to draw: axes, or an empty figure, which becomes as large as needed; for a gallery as many axes as it
            has pictures. Default: on a new pyplot figure.

    Returns:
        The axes: x and y count pixels of the picture. Of a gallery an array of axes, row by row; the last row may end
        with empty ones.

    Raises:
        SchemaError: `picture` is not a picture, or `weights` are neither attention nor relevance.
        LabelError: The grid is not known, or does not fit.

    Example:
        >>> from matplotlib.figure import Figure
        >>> even = np.full(5, 0.2)
        >>> ax = image(np.zeros((8, 8)), even, grid=(2, 2), ax=Figure().add_subplot())
        >>> ax.images[1].get_array().shape
        (2, 2)
    """
    array = labelled(weights, LAYOUTS)
    if images is not None:
        return _gallery(picture, array, images, sample, ax, grid=grid, head=head, normalize=normalize, maximum=maximum)
    shown = pictured(picture, array, grid=grid, sample=sample, head=head)
    (values,), scale = _scaled([shown], normalize, maximum)
    axes: Axes = axes_or_new(ax, *_figure_size(shown))
    mixed = _draw(axes, shown, values, scale, shown.needs_colour)
    add_bar(axes, ScalarMappable(norm_of(scale), mixed), scale.label, scale.ticks, extend=scale.tip(values))
    head_line(axes, shown.panels.title, [shown.panels.subtitle, *remarks_on(array), *_in_words(shown)], None)
    _draw_special(axes, values[shown.patches.weights.size :], shown, mixed, norm_of(scale), _room([shown]))
    return axes


def _scaled(
    several: Sequence[Pictured], normalize: Normalize | None, maximum: float | None
) -> tuple[list[np.ndarray], Scale]:
    """The values of each picture's patches and special tokens as they are drawn, and the scale they share."""
    drawn = []
    for shown in several:
        patches = shown.patches
        values = np.concatenate([patches.weights.ravel(), patches.special])[None, None]
        masked = np.concatenate([patches.masked.ravel(), np.ones(len(patches.special), bool)])[None, None]
        drawn.append(scaled(values, masked, normalize=normalize, maximum=maximum, quantity=shown.panels.quantity))
    scale = max((scale for _, scale in drawn), key=lambda scale: scale.maximum)
    return [values.ravel() for values, _ in drawn], scale


def _draw(ax: Axes, shown: Pictured, values: np.ndarray, scale: Scale, in_colour: bool) -> Colormap:
    """Draws a picture and its patches; returns the colours as they look over the picture's mean grey."""
    pixels = np.repeat(softened(shown.lightness)[..., None], 3, axis=-1) if in_colour else shown.pixels
    picture = ax.imshow(pixels, vmin=0, vmax=1, interpolation="nearest", extent=_extent(pixels))
    picture.set_gid("picture")
    over = _overlay(scale, in_colour)
    cells = values[: shown.patches.weights.size].reshape(shown.patches.weights.shape)
    mixed = _over_grey(over, float(pixels.mean() if in_colour else shown.lightness.mean()))
    _draw_patches(ax, cells, shown, over, mixed, norm_of(scale))
    return mixed


def _gallery(
    pictures: ArrayLike | Tensor,
    array: xr.DataArray,
    images: Sequence[int | str],
    sample: Sample,
    ax: Sequence[Axes] | np.ndarray | None,
    *,
    grid: tuple[int, int] | None,
    head: Head | None,
    normalize: Normalize | None,
    maximum: float | None,
) -> np.ndarray:
    """Several pictures and their weights on one scale."""
    if SAMPLE not in array.dims or sample is not None or not 0 < len(images) <= MOST_IMAGES:
        raise SchemaError(
            f"images={list(images)!r} was given with the dims {tuple(map(str, array.dims))} and sample={sample!r}, but "
            f"a gallery shows 1 to {MOST_IMAGES} samples out of several. Write images=[0, 1] without sample=, or "
            "select one picture: image(pictures[0], weights, sample=0)."
        )
    several = np.asarray(pictures.detach().cpu() if hasattr(pictures, "detach") else pictures)
    if several.ndim not in (3, 4) or len(several) != array.sizes[SAMPLE]:
        raise SchemaError(
            f"The pictures have shape {several.shape}, but there are {array.sizes[SAMPLE]} samples, and one picture "
            "for each is needed: (sample, height, width) or (sample, height, width, channels)."
        )
    numbers = [sample_number(array, one) for one in images]
    names = sample_titles(array)
    all_shown = [pictured(several[one], array, grid=grid, sample=one, head=head) for one in numbers]
    if is_relevance(array):  # the samples may differ in what is explained, and the bar says what holds for all of them
        quantity = quantity_of(array)
        all_shown = [replace(one, panels=replace(one.panels, quantity=quantity)) for one in all_shown]
    drawn, scale = _scaled(all_shown, normalize, maximum)
    axes = _gallery_axes(all_shown, ax)
    mixed, in_colour = [], all(shown.needs_colour for shown in all_shown)
    for axis, shown, values in zip(axes.flat, all_shown, drawn, strict=False):
        mixed.append(_draw(axis, shown, values, scale, in_colour))
    patches = np.concatenate(drawn)
    add_bar(
        list(axes.flat), ScalarMappable(norm_of(scale), mixed[0]), scale.label, scale.ticks, extend=scale.tip(patches)
    )
    selection = [
        part for part in all_shown[0].panels.selection if part != names[numbers[0]] and not part.startswith("sample")
    ]
    remarks = [
        *selection,
        *remarks_on(array),
        *dict.fromkeys(part for shown in all_shown for part in _in_words(shown, short=True)),
    ]
    if ax is None:
        title_over(figure_of(axes.flat[0]), all_shown[0].panels.site, remarks)
    else:
        head_line(axes.flat[0], "", [all_shown[0].panels.site, *remarks])
    settle(axes.flat[0])
    room = _room(all_shown)
    for axis, shown, values, one in zip(axes.flat, all_shown, drawn, numbers, strict=False):
        _draw_special(axis, values[shown.patches.weights.size :], shown, mixed[0], norm_of(scale), room)
        _title_within(axis, names[one] or f"sample {one}")
    if ax is None:
        _close_gaps(axes, list(axes.flat)[: len(all_shown)])
    return axes


def _close_gaps(axes: np.ndarray, drawn: Sequence[Axes]) -> None:
    """Makes a figure as much lower as its pictures are lower than the room that they were given."""
    figure = figure_of(drawn[0])
    for _ in range(3):  # the layout shares out anew what is left
        settle(drawn[0])
        spare = min(_room_above_and_below(axis) for axis in drawn)
        if isinstance(figure, Figure):
            figure.set_figheight(float(figure.get_figheight() * (1 - len(axes) * spare)))


def _room_above_and_below(ax: Axes) -> float:
    """How much higher the place of some axes is than what is drawn there, as a share of the figure's height."""
    given = ax.get_position(original=True).height
    ax.apply_aspect()
    return float(given - ax.get_position().height)


def _gallery_axes(several: Sequence[Pictured], ax: Sequence[Axes] | np.ndarray | None) -> np.ndarray:
    count = len(several)
    if ax is None:
        high, wide = several[0].pixels.shape[:2]
        across = min(count, max(1, round(math.sqrt(1.6 * count * high / wide))))
        down = math.ceil(count / across)
        side = min(2.6, 8.0 / across)
        beside = 0.9 if len(several[0].patches.special) else 0.0
        figure = new_figure(
            max(3.6, across * (side + beside) + 1.2), max(2.2, down * (side * high / wide + 0.35) + 0.7)
        )
        axes = np.asarray(figure.subplots(down, across, squeeze=False))
    else:
        axes = np.atleast_1d(np.asarray(ax, dtype=object))
        if axes.size < count:
            raise SchemaError(
                f"{axes.size} axes were given for {count} pictures. Pass one for each: plt.subplots(1, {count})[1]."
            )
    for spare in list(axes.flat)[count:]:
        spare.set_axis_off()
    return axes


def _title_within(ax: Axes, name: str) -> None:
    """The name of a picture above it, cut to the width of its panel."""
    texts, fonts = written([name], None)
    wide = float(ax.get_window_extent().width) * 72 / figure_of(ax).get_dpi()
    heading = plain_text(ax.set_title(cut(texts[0], max(4, int(wide / 5.4))), loc="left", fontsize="small"))
    heading.set_fontfamily(fonts)


def _figure_size(shown: Pictured) -> tuple[float, float]:
    high, wide = shown.pixels.shape[:2]
    scale = min(4.4 / wide, 4.4 / high)
    beside = 1.4 if len(shown.patches.special) else 0.0
    return max(3.6, wide * scale + beside + 1.1), max(2.2, high * scale + 0.8)


def _extent(pixels: np.ndarray) -> tuple[float, float, float, float]:
    return (-0.5, pixels.shape[1] - 0.5, pixels.shape[0] - 0.5, -0.5)


_COLOUR = 150
"""Level of the ramp that grey pictures have their attention in."""


def _overlay(scale: Scale, in_colour: bool) -> Colormap:
    """What lies over the picture: black that gives way to attention, or a colour that grows with it."""
    share = np.linspace(-1 if scale.signed else 0, 1, 256)
    table = np.zeros((256, 4))
    if scale.signed:
        low, high = np.array([rgb(name, dark=False) for name in SIDES]) / 255
        table[:, :3] = np.where(share[:, None] < 0, low, high)
        table[:, 3] = TINT * np.abs(share)
    elif in_colour:
        table[:, :3] = ramp()[_COLOUR] / 255
        table[:, 3] = TINT * share
    else:
        table[:, 3] = DARKEST * (1 - share)
    return ListedColormap(table, name="attnscope over a picture").with_extremes(bad=(0, 0, 0, 0))


def _over_grey(colours: Colormap, grey: float) -> Colormap:
    """The overlay as it looks over one grey."""
    table = colours(np.arange(colours.N))
    table[:, :3] = table[:, 3:] * table[:, :3] + (1 - table[:, 3:]) * grey
    table[:, 3] = 1
    return ListedColormap(table, name="attnscope over grey").with_extremes(bad=(0, 0, 0, 0))


def _draw_patches(
    ax: Axes, values: np.ndarray, shown: Pictured, colours: Colormap, over_grey: Colormap, norm: Norm
) -> None:
    patches, (high, wide) = shown.patches, shown.pixels.shape[:2]
    missing = np.isnan(values) & ~patches.masked
    overlay = ax.imshow(
        np.ma.masked_array(values, missing | patches.masked),
        cmap=colours,
        norm=norm,
        interpolation="nearest",
        extent=_extent(shown.pixels),
    )
    overlay.set_gid("patches")
    cell = (high / values.shape[0], wide / values.shape[1])
    hatch(ax, patches.masked, cell)
    cross_out(ax, missing, cell)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5), aspect="equal")
    dash_below(ax, values, missing | patches.masked, over_grey, norm)
    ax.grid(False)
    ax.set_frame_on(False)


def _special_texts(shown: Pictured) -> tuple[list[str], list[str]]:
    """What stands beside a picture about its tokens that are not patches, and the fonts for it."""
    special = shown.patches.special[:MOST_SPECIAL]
    names, fonts = written(shown.patches.names[:MOST_SPECIAL], 12)
    said = signed_number if shown.panels.quantity.signed else number
    texts = [f"{name}  {said(float(value))}" for name, value in zip(names, special, strict=True)]
    more = len(shown.patches.special) - len(special)
    return [*texts, *([f"and {more} more"] if more else [])], fonts


def _small() -> float:
    """Size of small letters, in points."""
    return float(font_scalings["small"] * rcParams["font.size"])


def _room(several: Sequence[Pictured]) -> float:
    """Points that the tokens that are not patches need beside each picture."""
    written_beside = [(text, fonts) for texts, fonts in map(_special_texts, several) for text in texts]
    widths = [width_of(text, FontProperties(family=fonts, size=_small())) for text, fonts in written_beside]
    return max(widths, default=0.0) + 2.4 * _small()


def _draw_special(ax: Axes, values: np.ndarray, shown: Pictured, colours: Colormap, norm: Norm, points: float) -> None:
    """A column of squares right of the picture, each with its name and weight, all within the axes."""
    if not len(values):
        return
    texts, fonts = _special_texts(shown)
    count, (high, wide), size = min(len(values), MOST_SPECIAL), shown.pixels.shape[:2], _small()
    room, dot = _room_beside(ax, (high, wide), points)
    side = min(0.8 * high / len(texts), 1.3 * size * dot)
    left = wide - 0.5 + 0.5 * size * dot
    for place, text in enumerate(texts):
        top = -0.5 + place * 1.25 * side
        beside = left
        if place < count:
            colour = nan_colour(ax) if np.isnan(values[place]) else colours(norm(values[place]))
            ax.add_patch(
                Rectangle((left, top), side, side, facecolor=colour, edgecolor="0.5", linewidth=0.4, gid="special")
            )
            beside = left + 1.3 * side
        words = ax.text(beside, top + side / 2, text, va="center", fontsize="small", fontfamily=fonts)
        words.set_in_layout(False)
        plain_text(words)
    ax.set_xlim(-0.5, wide - 0.5 + room)


def _room_beside(ax: Axes, picture: tuple[int, int], points: float) -> tuple[float, float]:
    """Pixels of the picture that a width beside it takes once both are in the axes, and pixels per point."""
    box, dots = ax.get_position(original=True), figure_of(ax).get_dpi() / 72
    whole = figure_of(ax).bbox
    across, down = box.width * whole.width / dots, box.height * whole.height / dots
    dot = max(picture[0] / down, picture[1] / max(0.3 * across, across - points))
    return points * dot, dot


def _in_words(shown: Pictured, *, short: bool = False) -> list[str]:
    """Remarks on the patches; short ones where there are several pictures."""
    patches, quantity = shown.patches, shown.panels.quantity
    rows, columns = patches.weights.shape
    remarks = [f"{rows} x {columns} patches"]
    high, wide = shown.pixels.shape[0] / rows, shown.pixels.shape[1] / columns
    if not (high.is_integer() and wide.is_integer()):  # a model may resize its pictures, or crop them
        remarks.append(f"a patch is {high:.4g} x {wide:.4g} pixels: drawn as if the picture had only been resized")
    if len(patches.special) and not short:
        inside, outside = float(np.nansum(patches.weights)), float(np.nansum(patches.special))
        tokens = "1 token" if len(patches.special) == 1 else f"{len(patches.special)} tokens"
        if quantity.signed:
            sums = f"{signed_number(inside)}, {tokens} outside the picture to {signed_number(outside)}"
            remarks.append(f"the patches sum to {sums}")
        else:
            remarks.append(
                f"the patches have {inside:.0%} of the attention, {tokens} outside the picture {outside:.0%}"
            )
    if patches.masked.any():
        remarks.append("hatched: masked")
    if np.isnan(shown.panels.values).any():
        remarks.append("red: NaN")
    return remarks
