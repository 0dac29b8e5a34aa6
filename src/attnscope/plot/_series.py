"""`series`: attention along an axis of time, as lines or as a strip of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from attnscope.colours import palette
from attnscope.errors import LabelError, SchemaError, counted
from attnscope.marks import readable, rounded_up
from attnscope.plot._canvas import (
    Place,
    add_bar,
    axes_or_new,
    colours_of,
    head_line,
    is_dark,
    masked_style,
    nan_colour,
    norm_of,
    settle,
)
from attnscope.plot._checks import Weights, check, labelled, require_keys
from attnscope.plot._guest import figure_of, guest, points_of
from attnscope.plot._heatmap import draw_map, margin
from attnscope.plot._panels import Panels, Side, chosen_before, kept_of, side_of, site_of
from attnscope.plot._scale import scaled
from attnscope.plot._ticks import NumberFormatter, name_positions, standing_names
from attnscope.plot._typesetting import plain_text, wrapped, written
from attnscope.position_kinds import UNKNOWN
from attnscope.quantities import Quantity, is_relevance, remarks_on
from attnscope.schema import HEAD, KEY, SAMPLE, key_dims, query_dims

MOST_LINES, MOST_BANDS = 6, 3
"""Drawn unless others are asked for; of more bands nobody could tell which is whose."""
LAYOUTS = {1: (KEY,), 2: ("query", KEY), 4: (SAMPLE, HEAD, "query", KEY)}
_BAND = 0.16
_WIDTH, _BESIDE = 6.4, 1.4
"""Inches of a new figure, and about how many of them lie beside the axes."""
_STYLES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
"""Lines differ in these too, so that they can be told apart without colours."""
_GROUPS = 8
"""How many colours without an order there are."""


@dataclass(frozen=True)
class _Courses:
    """What is drawn over time.

    Attributes:
        values: dims ``(sample, line, time)``; NaN where a sample has none.
        broken: dims ``(line, time)``: NaN in a sample that should have a weight.
        absent: dims ``(time,)``: no sample has this step.
        lines: What the lines are.
        time: What the steps are.
        selection: What was averaged, in words.
        quantity: What the values are.
        left_out: What is said about steps that are not drawn; empty where all are.
    """

    values: np.ndarray
    broken: np.ndarray
    absent: np.ndarray
    lines: Side
    time: Side
    selection: tuple[str, ...]
    quantity: Quantity
    left_out: str = ""

    def part(self, kept: slice) -> _Courses:
        """Some of the steps, one after the other."""
        lost = len(self.time) - (kept.stop - kept.start)
        return replace(
            self,
            values=self.values[..., kept],
            broken=self.broken[:, kept],
            absent=self.absent[kept],
            time=self.time.part(kept),
            left_out=f"padding left out: {lost} step{'s' if lost > 1 else ''}" if lost else "",
        )

    @property
    def mean(self) -> np.ndarray:
        """Over the samples that have the step, dims ``(line, time)``."""
        return np.where(self.broken, np.nan, _over_samples(np.mean, self.values))


@guest
def series(
    weights: Weights,
    *,
    time: str = KEY,
    times: Sequence[object] | np.ndarray | None = None,
    lines: Sequence[int | str] | None = None,
    names: Sequence[str] | None = None,
    percentiles: tuple[float, float] = (10, 90),
    strip: bool = False,
    trim: bool = True,
    ax: Place = None,
) -> Axes:
    """Attention or relevance over time: a line for each query, such as each horizon of a forecast, along the steps.

    A line is the mean over heads and over the samples that have the step; the band around it, edged in the line's
    colour, runs from one percentile of the samples to the other. Lines differ in colour and in their dashes. Thin and
    dashed: what every step would get if attention were even; of relevance, a thin line at 0. Red cross on the axis:
    NaN. Hatched: steps that are padding in all samples. As a strip, every line becomes a row of cells, with the colours
    and marks of `heatmap`.

    Args:
        weights: A site's scores, with or without samples, heads and queries; or a plain array ``(key,)``,
            ``(query, key)`` or ``(sample, head, query, key)``. Or what `ats.attribute` returns, where a line is a
            target.
        time: The dim that is time: ``key``; or ``query`` or ``step``, where the keys are features.
        times: When each step is: numbers or dates, or words, which name the steps. Default: the step's label, or its
            number.
        lines: Numbers or names of the queries (or features, or targets) to draw. Default: all of up to six; of more the
            first, the last and three between them; with bands only three.
        names: What the lines are called, one name for each of them, such as ``["in 1 h", "in 2 h"]``. Default: the
            labels of the dim, or its numbers.
        percentiles: Where the band starts and ends, from 0 to 100.
        strip: Whether to draw cells.
        trim: Whether to leave out steps at both ends that are padding in all samples; the picture then says how many.
        ax: Where to draw: axes, or an empty figure, which becomes as large as needed; default: on a new pyplot figure.

    Returns:
        The axes: x is time.

    Raises:
        SchemaError: The weights are neither attention nor relevance, or they have no such dim or line.
        LabelError: There is not one time per step, or one name per line.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = series(np.array([0.1, 0.2, 0.7]), times=[2019, 2020, 2021], ax=Figure().add_subplot())
        >>> ax.lines[0].get_xdata().tolist(), [float(end) for end in ax.get_ylim()]
        ([2019, 2020, 2021], [0.0, 0.8])
    """
    array = labelled(weights, LAYOUTS)
    courses = _named(_courses(array, time), names)
    when = None if times is None else _times(times, len(courses.time))
    if when is not None and all(isinstance(one, str) for one in when.tolist()):
        courses, when = replace(courses, time=_dated(when)), None
    if trim:
        kept = kept_of(courses.absent)
        courses, when = courses.part(kept), None if when is None else when[kept]
    chosen = _chosen(lines, courses, strip)
    site = site_of(array)
    left = None if isinstance(ax, Axes) else 0.7 + (margin(courses.lines) if strip else 0.0)
    if strip:
        ax, remarks = _draw_strip(ax, courses, chosen, when)
    else:
        ax, remarks = _draw_lines(ax, courses, chosen, when, percentiles)
    part = len(chosen) < len(courses.lines)
    some = f"{len(chosen)} of {courses.lines.some(len(courses.lines))}" if part else ""
    head_line(
        ax,
        site or ", ".join(courses.selection),
        [*(courses.selection if site else ()), *remarks_on(array), some, courses.left_out, _share(courses), *remarks],
        left,
    )
    return ax


def _share(courses: _Courses) -> str:
    """How much of the attention the steps have, where that is not all."""
    sums = courses.mean.sum(axis=-1)
    sums = sums[np.isfinite(sums)]
    if (
        courses.quantity.signed
        or courses.quantity.noun != "attention"
        or courses.time.name != KEY
        or not sums.size
        or np.allclose(sums, 1, atol=0.02)
        or courses.absent.any()
    ):
        return ""
    low, high = f"{sums.min():.0%}", f"{sums.max():.0%}"
    return f"the steps have {low if low == high else f'{low} to {high}'} of the attention"


def _courses(array: xr.DataArray, time: str) -> _Courses:
    require_keys(array)
    array = array.compute()
    quantity = check(array, partial=True)
    if time not in array.dims:
        dims = [str(dim) for dim in array.dims if dim not in (SAMPLE, HEAD)]
        raise SchemaError(
            f"time={time!r} was asked for, but the weights have the dims {tuple(map(str, array.dims))}. Name one of "
            f"them: time={dims[-1]!r}."
        )
    rest = [str(dim) for dim in array.dims if dim not in (SAMPLE, HEAD, time)]
    long = [dim for dim in rest if array.sizes[dim] > 1]
    if len(long) > 1:
        raise SchemaError(
            f"Besides {time!r}, the weights have the dims {tuple(long)}, but lines can only show one. Average the "
            f"other: weights.mean({long[0]!r})."
        )
    along = long[:1] or [dim for dim in rest if dim in (*query_dims(rest), *key_dims(rest))][:1]
    valid = _validity(array)
    values = array.where(valid).astype(np.float64)
    if HEAD in array.dims:
        values, valid = values.mean(HEAD, skipna=False), valid.any(HEAD)
    flat, real = (_ordered(one, along, time) for one in (values, valid))
    broken = np.asarray((np.isnan(flat) & real).any(axis=0))
    return _Courses(
        flat,
        broken,
        np.asarray(~real.any(axis=(0, 1))),
        _side(array, along),
        _side(array, [time]),
        _averaged(array),
        quantity,
    )


def _named(courses: _Courses, names: Sequence[str] | None) -> _Courses:
    if names is None:
        return courses
    if isinstance(names, str) or len(names) != len(courses.lines):
        raise LabelError(
            f"{counted(len(names), 'name')} given, but the lines are {len(courses.lines)}. Give one per line: "
            "names=[...]."
        )
    return replace(courses, lines=replace(courses.lines, labels=tuple(map(str, names)), named=True))


def _validity(array: xr.DataArray) -> xr.DataArray:
    """Which weights count: those of real queries, to real keys or in spite of padding."""
    valid = xr.ones_like(array, dtype=bool)
    for dim in (*query_dims(array.dims), *key_dims(array.dims)):
        name = f"{dim}_valid"
        if name in array.coords and set(array.coords[name].dims) <= set(array.dims):
            meant = array.coords[name] if dim in query_dims([dim]) else array.coords[name] | (array != 0)
            valid = valid & meant
    return valid.transpose(*array.dims)


def _ordered(array: xr.DataArray, line: Sequence[str], time: str) -> np.ndarray:
    """The values of an array, dims ``(sample, line, time)``."""
    wide = array.reset_coords(drop=True)
    wide = wide.squeeze([dim for dim in wide.dims if dim not in (SAMPLE, time, *line)], drop=True)
    order = [dim for dim in (SAMPLE, *line) if dim in wide.dims]
    values = wide.transpose(*order, time).values
    return np.asarray(values.reshape(wide.sizes.get(SAMPLE, 1), wide.sizes[line[0]] if line else 1, -1))


def _side(array: xr.DataArray, dims: Sequence[str]) -> Side:
    """What is counted along a dim; names that differ between samples are left out."""
    if not dims:
        return Side("", ("",), False, np.ones(1, bool))
    dim = dims[0]
    first = array.isel({other: 0 for other in array.dims if other != dim}, drop=True)
    label = array.coords.get(f"{dim}_label")
    if label is not None and SAMPLE in label.dims and not bool((label == label.isel({SAMPLE: 0})).all()):
        first = first.drop_vars(f"{dim}_label", errors="ignore")
    side = side_of(first, (dim,), dim, alone=is_relevance(array) and not query_dims(array.dims))
    if dim == "target" and dim in array.coords:
        side = replace(side, labels=tuple(map(str, array.coords[dim].values)), named=True)
    return replace(side, valid=np.ones(len(side), bool))


def _averaged(array: xr.DataArray) -> tuple[str, ...]:
    sizes = {dim: array.sizes[dim] for dim in (SAMPLE, HEAD) if array.sizes.get(dim, 1) > 1}
    return (*(f"mean of {size} {dim}s" for dim, size in sizes.items()), *chosen_before(array))


def _times(times: Sequence[object] | np.ndarray, steps: int) -> np.ndarray:
    when = np.asarray(times)
    if when.shape != (steps,):
        raise LabelError(
            f"The times have shape {when.shape}, but there are {steps} steps. Give one per step: times=[...]."
        )
    if steps > 1 and not isinstance(when.tolist()[0], str) and (when == when[0]).all():
        raise LabelError(
            f"The times of all {steps} steps are {readable(str(when[0]))}, but steps lie one after the other. Give the "
            "time of each, times=[...], or leave them out, which numbers the steps."
        )
    return when


def _chosen(lines: Sequence[int | str] | None, courses: _Courses, strip: bool) -> list[int]:
    """The numbers of the lines that are drawn."""
    count = len(courses.lines)
    if lines is None:
        most = MOST_BANDS if len(courses.values) > 1 else MOST_LINES
        if strip or count <= most:
            return list(range(count))
        return [int(number) for number in np.linspace(0, count - 1, min(most, MOST_LINES - 1)).round()]
    called = {label: number for number, label in reversed(list(enumerate(courses.lines.labels)))}
    numbers = [called.get(line, -1) if isinstance(line, str) else int(line) for line in lines]
    if not numbers or not all(0 <= number < count for number in numbers):
        example = f", or by their names: lines=[{courses.lines.labels[0]!r}]" if courses.lines.named else ""
        raise SchemaError(
            f"lines={list(lines)} was given, but lines are numbered from 0 to {count - 1}. Write lines=[0]{example}."
        )
    return numbers


def _over_samples(function: Callable[..., ArrayLike], values: np.ndarray, *arguments: float) -> np.ndarray:
    """A statistic over the samples that have a value; NaN where none has."""
    result = np.full(values.shape[1:], np.nan)
    full = ~np.isnan(values).any(axis=0)
    result[full] = function(values[:, full], *arguments, axis=0)
    for line, step in np.argwhere(~full & ~np.isnan(values).all(axis=0)):
        column = values[:, line, step]
        result[line, step] = function(column[~np.isnan(column)], *arguments, axis=0)
    return result


def _draw_lines(
    ax: Place, courses: _Courses, chosen: list[int], when: np.ndarray | None, percentiles: tuple[float, float]
) -> tuple[Axes, list[str]]:
    steps, share = len(courses.time), _share_of_names(ax)
    ax = axes_or_new(ax, _WIDTH, 3.2 + (standing_names(courses.time, _WIDTH - _BESIDE) if when is None else 0.0))
    places = np.arange(steps) if when is None else when
    mean, tokens = courses.mean, palette(dark=is_dark(ax))
    samples = len(courses.values)
    ends = [_over_samples(np.percentile, courses.values, end) for end in percentiles] if samples > 1 else []
    names, fonts = written(_line_names(courses), 24)
    for number, line in enumerate(chosen):
        colour = tokens[f"group-{number % _GROUPS}"]
        if ends:
            band = [np.where(courses.broken[line], np.nan, end[line]) for end in ends]
            filled = ax.fill_between(places, band[0], band[1], color=colour, alpha=_BAND, linewidth=0)
            filled.set_gid("percentiles")
            for edge in band:
                ax.plot(places, edge, color=colour, linewidth=0.5, alpha=0.7, gid="edge")
        marker = "o" if steps == 1 else None
        ax.plot(
            places,
            mean[line],
            color=colour,
            linestyle=_STYLES[number % len(_STYLES)],
            linewidth=1.7,
            label=names[line],
            gid="mean",
            marker=marker,
        )
    _level(ax, courses)
    every = np.concatenate([np.nan_to_num(part[chosen]).ravel() for part in (mean, *ends)])
    low = -rounded_up(-float(every.min())) if every.min() < 0 else 0.0
    ax.set_ylim(low, rounded_up(float(every.max())) if every.max() > 0 or not low else 0.0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.yaxis.set_major_formatter(NumberFormatter())
    _time_axis(ax, courses, when, share)
    _label_upright(ax, courses.quantity.name)
    _marks(ax, courses, chosen, places)
    _legend(ax, fonts)
    remarks = [f"band: {percentiles[0]:g}th to {percentiles[1]:g}th percentile of the samples"] if ends else []
    remarks += ["hatched: masked"] if courses.absent.any() else []
    return ax, [*remarks, *(["red cross: NaN"] if courses.broken[chosen].any() else [])]


def _share_of_names(place: Place) -> float:
    """How much of the height of the user's axes names may take; a figure becomes as high as they need."""
    return 0.3 if isinstance(place, Axes) else math.inf


def _label_upright(ax: Axes, words: str) -> None:
    """Names the y axis in lines as long as the axes are high; a longer one hangs down from their top."""
    texts, fonts = written([words], None)
    settle(ax)
    box, dots = ax.get_window_extent(), figure_of(ax).get_dpi()
    label = plain_text(ax.set_ylabel(wrapped(texts, box.height * 72 / dots, float(ax.yaxis.label.get_fontsize()))))
    label.set_fontfamily(fonts)
    if label.get_window_extent().height > box.height:
        ax.set_ylabel(label.get_text(), loc="top")


def _line_names(courses: _Courses) -> list[str]:
    side = courses.lines
    return [label if side.named else f"{side.one} {label}".strip() or courses.quantity.noun for label in side.labels]


def _level(ax: Axes, courses: _Courses) -> None:
    """What there is to compare with: of relevance 0, of attention what each step would have if it were even."""
    colour = ax.xaxis.label.get_color()
    if courses.quantity.signed:
        ax.axhline(0, color=colour, linewidth=0.8, alpha=0.6, gid="zero")
        return
    mean = courses.mean
    if courses.time.name == KEY and not (mean == 0).any() and np.allclose(np.nansum(mean, axis=-1), 1, atol=0.02):
        ax.axhline(1 / len(courses.time), color=colour, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6, label="even")


def _time_axis(ax: Axes, courses: _Courses, when: np.ndarray | None, share: float) -> None:
    if when is not None:
        plain_text(ax.set_xlabel("time"))
        ax.tick_params(labelsize=points_of("small"))
        ax.margins(x=0.01)
        if when.dtype.kind == "M":
            dates = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
            ax.xaxis.set_major_locator(dates)
            ax.xaxis.set_major_formatter(ConciseDateFormatter(dates))  # type: ignore[no-untyped-call]
        elif when.dtype.kind in "iuf":
            if (when == np.rint(when)).all():
                ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
            ax.xaxis.set_major_formatter(NumberFormatter())
        return
    ax.set_xlim(-0.5, len(courses.time) - 0.5)
    name_positions(ax.xaxis, courses.time, share=share)
    plain_text(ax.set_xlabel(_time_title(courses.time)))


def _time_title(time: Side) -> str:
    """What is written along the axis of time: steps, unless they are known to be something else."""
    if time.positions is None or time.positions.units in (UNKNOWN, "steps"):
        return "time step"
    return time.positions.axis


def _marks(ax: Axes, courses: _Courses, chosen: list[int], places: np.ndarray) -> None:
    numbers = np.arange(len(places))
    for step in np.flatnonzero(courses.absent):
        near, far = (_between(places, numbers, step + shift) for shift in (-0.5, 0.5))
        ax.axvspan(near, far, gid="masked", zorder=0.5, **masked_style(ax))
    broken = np.flatnonzero(courses.broken[chosen].any(axis=0))
    if broken.size:
        ax.plot(
            places[broken],
            np.zeros(broken.size),
            "x",
            color=nan_colour(ax),
            markersize=7,
            markeredgewidth=2,
            clip_on=False,
            gid="nan",
            label="NaN",
        )


def _between(places: np.ndarray, numbers: np.ndarray, step: float) -> Any:
    """Where a fraction of a step lies on the axis of times."""
    low = int(np.clip(np.floor(step), 0, max(0, len(places) - 2)))
    width = places[low + 1] - places[low] if len(places) > 1 else 1
    return places[low] + width * (step - low)


def _legend(ax: Axes, fonts: list[str]) -> None:
    if len(ax.get_legend_handles_labels()[1]) < 2:
        return
    legend = ax.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, prop={"size": "small", "family": fonts}
    )
    for text in legend.get_texts():
        plain_text(text)


def _dated(when: np.ndarray) -> Side:
    """Times as names of steps."""
    numbers = when.dtype.kind in "iuf"
    labels = [readable(f"{one:g}") if numbers else str(one) for one in when]
    return Side("time", tuple(labels), not numbers, np.ones(len(labels), bool))


def _draw_strip(ax: Place, courses: _Courses, chosen: list[int], when: np.ndarray | None) -> tuple[Axes, list[str]]:
    time = courses.time if when is None else _dated(when)
    names = tuple(courses.lines.labels[line] for line in chosen)
    rows = replace(courses.lines, labels=names, valid=np.ones(len(chosen), bool))
    mean = courses.mean[chosen]
    masked = np.broadcast_to(courses.absent, mean.shape) | (np.isnan(mean) & ~courses.broken[chosen])
    share = _share_of_names(ax)
    standing = standing_names(time, _WIDTH - _BESIDE)
    ax = axes_or_new(ax, _WIDTH + margin(rows), min(7.0, max(1.2, 0.22 * len(rows)) + 1.2) + standing)
    values, scale = scaled(mean[None], masked[None], quantity=courses.quantity)
    panels = Panels(values, masked[None], ("",), rows, time, "", (), courses.quantity)
    image, remarks = draw_map(ax, values[0], panels, colours_of(scale, is_dark(ax)), norm_of(scale))
    ax.set_aspect("auto")
    if when is None:
        name_positions(ax.xaxis, time, share=share)
        plain_text(ax.set_xlabel(_time_title(time)))
    elif when is not None and when.dtype.kind in "iu" and (np.diff(when) == 1).all():
        name_positions(ax.xaxis, time, origin=int(when[0]))
    add_bar(ax, image, scale.label, scale.ticks)
    return ax, remarks
