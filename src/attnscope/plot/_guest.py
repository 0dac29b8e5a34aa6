"""Pictures in axes of the user's: letters that suit their size, and nothing outside their part of a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import SubplotSpec
from matplotlib.transforms import Bbox

_WIDE, _HIGH = 4.0, 3.0
"""Inches of a part of a figure from which on letters have the size that the user's settings say."""
_SMALLEST = 7.2
"""Points below which letters are not made smaller; those of names and remarks are five sixths of it."""
_GAP = 0.05
"""Inches between a picture and the end of its part of the figure."""
_LEAST = 0.25
"""How much of their width and height axes keep at least."""

Wanted = ParamSpec("Wanted")
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class _Place:
    """Where a picture is a guest.

    Attributes:
        others: Axes of the same figure that are none of the picture's.
        part: The part of the figure that is the picture's, from 0 to 1.
    """

    others: frozenset[Axes]
    part: Bbox


_PLACE: ContextVar[_Place | None] = ContextVar("the place of a picture in a figure of the user's", default=None)


def guest(draw: Callable[Wanted, Drawn]) -> Callable[Wanted, Drawn]:
    """Lets a function that draws on ``ax=`` adapt to axes of the user's; see `as_guest`."""

    @wraps(draw)
    def adapted(*args: Wanted.args, **options: Wanted.kwargs) -> Drawn:
        given = np.atleast_1d(np.asarray(options.get("ax"), dtype=object)).flat
        axes = [one for one in given if isinstance(one, Axes)]
        if not axes:
            return draw(*args, **options)
        with as_guest(axes):
            return draw(*args, **options)

    return adapted


@contextmanager
def as_guest(axes: Sequence[Axes]) -> Iterator[None]:
    """Within it, what is drawn on axes of the user's adapts to them.

    In small axes letters become smaller, down to 6 points. Where the figure has no layout, which would make the room,
    the axes become smaller until names, bar and title lie within their part of the figure.
    """
    others = frozenset(figure_of(axes[0]).axes) - set(axes)
    mark = _PLACE.set(_Place(others, Bbox.union([_part_of(ax) for ax in axes])))
    try:
        with rc_context({"font.size": min(map(_letters, axes))}):
            for ax in axes:
                _set_letters(ax)
            yield
    finally:
        _PLACE.reset(mark)


def right_end(ax: Axes) -> float:
    """Where the part of the figure that belongs to axes ends, in pixels of the figure."""
    place, figure = _PLACE.get(), figure_of(ax)
    part = place.part.x1 if place else 1.0
    return float(figure.bbox.x0 + part * figure.bbox.width)


def make_room(ax: Axes, *, upwards: bool = False) -> None:
    """Makes axes of the user's smaller until all that was drawn with them lies within their part of the figure.

    Where a layout makes the room, and in axes that stand outside a grid of axes, nothing is changed.

    Args:
        ax: The axes, with all that was drawn beside them.
        upwards: Whether to make room above them alone, for a title.
    """
    place, figure = _PLACE.get(), figure_of(ax)
    if place is None or figure.figure.get_layout_engine() is not None or ax.get_subplotspec() is None:
        return
    group = [one for one in figure.axes if one not in place.others]
    gap = _GAP / _inches(figure)
    for _ in range(3):
        places = [one.get_position(original=True) for one in group]
        held, seen = Bbox.union(places), _seen(group)
        low = np.maximum(place.part.p0 + gap - seen.p0, 0)
        high = np.minimum(place.part.p1 - gap - seen.p1, 0)
        if upwards:
            low, high = np.zeros(2), high * np.array((0, 1))
        if not low.any() and not high.any():
            return
        shrunk = np.minimum(1.0, (1 - _LEAST) * np.array(held.size) / np.maximum(low - high, 1e-9))
        ends = held.p0 + low * shrunk, held.p1 + high * shrunk
        for one, before in zip(group, places, strict=True):
            corners = ends[0] + (before.get_points() - held.p0) / np.array(held.size) * (ends[1] - ends[0])
            one.set_position(Bbox(corners))
            one.set_in_layout(True)  # which Matplotlib unsets; then a file would be cut to the other axes


def _letters(ax: Axes) -> float:
    """Points of the letters that suit axes: the user's, or fewer."""
    size = float(rcParams["font.size"])
    wide, high = np.array(_part_of(ax).size) * _inches(figure_of(ax))
    return min(size, max(_SMALLEST, size * float(min(wide / _WIDE, high / _HIGH))))


def _set_letters(ax: Axes) -> None:
    """Ticks and labels that are there already, in letters no larger than the settings say."""
    for axis, size in ((ax.xaxis, rcParams["xtick.labelsize"]), (ax.yaxis, rcParams["ytick.labelsize"])):
        there = float(axis.get_major_ticks(1)[0].label1.get_fontsize())
        axis.set_tick_params(labelsize=min(there, points_of(size)))
        axis.label.set_fontsize(min(float(axis.label.get_fontsize()), points_of(rcParams["axes.labelsize"])))


def points_of(size: float | str) -> float:
    """A size of letters in points; one such as ``small`` as the settings say it now, which later may say another."""
    return float(FontProperties(size=size).get_size_in_points())


def figure_of(ax: Axes) -> Figure | SubFigure:
    """The figure that axes are in."""
    figure = ax.figure
    assert figure is not None
    return figure


def _seen(group: Sequence[Axes]) -> Bbox:
    """What axes and all that belongs to them cover, as parts of the figure; remarks, which no layout counts, too."""
    boxes = []
    for ax in group:
        ax.apply_aspect()
        boxes += [ax.get_tightbbox(), *(note.get_window_extent() for note in ax.texts if note.get_gid() == "remarks")]
    return Bbox.union([box for box in boxes if box is not None]).transformed(
        figure_of(group[0]).transSubfigure.inverted()
    )


def _inches(figure: Figure | SubFigure) -> np.ndarray:
    """Width and height of a figure."""
    return np.array(figure.bbox.size) / figure.get_dpi()


def _part_of(ax: Axes) -> Bbox:
    """The part of the figure that belongs to axes: half of the space to their neighbours, all of it to the ends."""
    spec = ax.get_subplotspec()
    if spec is None:
        return ax.get_position(original=True)
    whole, outer = Bbox.unit(), spec.get_topmost_subplotspec()
    return _cell(spec, figure_of(ax), whole if outer is spec else _cell(outer, figure_of(ax), whole))


def _cell(spec: SubplotSpec, figure: Figure | SubFigure, outer: Bbox) -> Bbox:
    bottoms, tops, lefts, rights = spec.get_gridspec().get_grid_positions(figure)  # type: ignore[arg-type]  # it takes both
    rows, columns = spec.rowspan, spec.colspan
    left = outer.x0 if columns.start == 0 else (rights[columns.start - 1] + lefts[columns.start]) / 2
    right = outer.x1 if columns.stop == len(lefts) else (rights[columns.stop - 1] + lefts[columns.stop]) / 2
    top = outer.y1 if rows.start == 0 else (bottoms[rows.start - 1] + tops[rows.start]) / 2
    bottom = outer.y0 if rows.stop == len(tops) else (bottoms[rows.stop - 1] + tops[rows.stop]) / 2
    return Bbox([[left, bottom], [right, top]])
