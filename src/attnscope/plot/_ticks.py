"""Ticks of axes: of positions always at whole numbers, with names; few enough that none overlaps another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import Formatter, Locator, MaxNLocator

from attnscope.marks import readable
from attnscope.plot._guest import points_of
from attnscope.plot._panels import Side
from attnscope.plot._typesetting import LONGEST, plain_text, room_of, written

MOST_TICKS = 128
_LINE, _LETTER = 1.25, 0.62
"""Height of a line and width of a letter, as parts of the size of the letters."""

_SMALL = 1e-4
"""Smaller numbers are written with powers of ten, as they are in `marks.number`."""


class PositionLocator(Locator):
    """Ticks at whole numbers, as many as there is room for when the picture is drawn.

    Args:
        size: Number of positions.
        points: What one tick label needs along the axis.
        origin: What the first position counts as, so that steps fall on round numbers.
    """

    def __init__(self, size: int, points: float, origin: int = 0) -> None:
        self.size = size
        self.points = points
        self.origin = origin

    def __call__(self) -> list[float]:
        """The ticks of the part of the axis that is in view; their labels are made plain text."""
        axis = cast(Axis, self.axis)
        low, high = sorted(axis.get_view_interval())
        places = self.tick_values(low, high)
        for tick in axis.get_major_ticks(len(places)):
            plain_text(tick.label1)
            plain_text(tick.label2)
        return places

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks between two places."""
        fitting = min(MOST_TICKS, max(1.0, _length(cast(Axis, self.axis)) / self.points))
        step = _round_step((vmax - vmin) / fitting)
        first, last = max(0, math.ceil(vmin)), min(self.size - 1, math.floor(vmax))
        return list(range(math.ceil((first + self.origin) / step) * step - self.origin, last + 1, step))


class NumberLocator(MaxNLocator):
    """Ticks at round numbers along an x axis, so few that the numbers do not overlap, however many digits they have."""

    def __init__(self) -> None:
        super().__init__(nbins=9, steps=[1, 2, 2.5, 5, 10])

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks between two numbers."""
        axis = cast(Axis, self.axis)
        size = float(axis.get_major_ticks(1)[0].label1.get_fontsize())
        for most in range(9, 0, -1):
            self.set_params(nbins=most)
            ticks = np.asarray(super().tick_values(vmin, vmax))
            widest = max(map(len, axis.get_major_formatter().format_ticks(list(ticks))))
            apart = _length(axis) * float(np.diff(ticks).min(initial=vmax - vmin)) / (vmax - vmin)
            if apart >= (widest * _LETTER + 0.6) * size:
                break
        return list(map(float, ticks))


class NumberFormatter(Formatter):
    """Each tick written in full, with the digits that tell them apart: no factor stands elsewhere on the axis."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """A number with the digits that the ticks need."""
        return self.format_ticks([*self.locs, x])[-1]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """All ticks, with decimals or, where that is far shorter, with powers of ten."""
        self.set_locs(list(values))
        largest = max(map(abs, values), default=0.0) or 1.0
        apart = np.diff(np.unique(np.asarray(values, dtype=float)))
        least = 1e-4 * float(apart.min(initial=largest))
        plain, powers = (_fewest_digits(values, kind, least) for kind in "fe")
        if largest >= _SMALL and max(map(len, plain), default=0) <= max(map(len, powers), default=0) + 1:
            return list(map(readable, plain))
        return [readable(word) if value else "0" for word, value in zip(powers, values, strict=True)]


def _fewest_digits(values: Sequence[float], kind: str, least: float) -> list[str]:
    """Numbers with as few decimals, the same for all, as keep them closer than `least` to what they are."""
    for digits in range(18):
        words = [f"{value + 0.0:.{digits}{kind}}" for value in values]
        if all(abs(float(word) - value) <= least for word, value in zip(words, values, strict=True)):
            return words
    return [f"{value:.17{kind}}" for value in values]


def number_ticks(axis: Axis) -> None:
    """Round numbers along an x axis that do not overlap, each written in full."""
    axis.set_major_locator(NumberLocator())
    axis.set_major_formatter(NumberFormatter())


def _round_step(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50..."""
    if least <= 1:
        return 1
    power = 10 ** math.floor(math.log10(least))
    return int(next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9)))


class PositionFormatter(Formatter):
    """The name of a position; nothing between two of them."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The name at a place."""
        place = round(x)
        return self.labels[place] if abs(x - place) < 1e-6 and 0 <= place < len(self.labels) else ""


def standing_names(side: Side, inches: float) -> float:
    """How many inches names need below an axis of a width if they do not lie side by side; 0 if they do."""
    if not side.named or not any(side.labels):
        return 0.0
    size = points_of("small") / 72
    widest = max(map(room_of, written(side.labels)[0])) * _LETTER * size + 0.5 * size
    return widest if widest > max(inches / len(side), 2 * size) else 0.0


def name_positions(
    axis: Axis, side: Side, *, longest: int = LONGEST, label: bool = True, origin: int = 0, share: float = math.inf
) -> bool:
    """Names the ticks of an axis, and the axis itself.

    Args:
        axis: Its x or y axis, whose limits are set.
        side: What is counted along it.
        longest: Longer names are cut.
        label: Whether to write the axis' own name.
        origin: What the first position counts as.
        share: Of an x axis, how much of the height of the axes names may take; longer ones lie, as many as fit.

    Returns:
        Whether a name was cut.
    """
    if not any(side.labels):
        axis.set_ticks([])
        return False
    texts, fonts = written(side.labels, longest)
    axis.set_tick_params(labelsize=points_of("small"), length=0 if len(texts) <= 64 else 2, labelfontfamily=fonts)
    size = float(axis.get_major_ticks(1)[0].label1.get_fontsize())
    widest = max(map(len, texts), default=1) * _LETTER * size + 0.5 * size
    room = (_LINE if side.named else 2 * _LINE) * size
    if isinstance(axis, XAxis):
        lying = widest <= max(_cell_points(axis), 2 * size) or not side.named
        if not lying and widest > share * _length(axis.axes.yaxis):
            lying = True
            axis.set_tick_params(pad=0.9 * size)  # the first may reach below the lowest number of the y axis
        axis.set_tick_params(labelrotation=0 if lying else 90)
        room = max(widest, 2 * size) if lying else room
    axis.set_major_locator(PositionLocator(len(texts), room, origin))
    axis.set_major_formatter(PositionFormatter(texts))
    if label:
        plain_text(axis.set_label_text(side.title))
    return longest >= LONGEST and any(room_of(text) > longest for text in written(side.labels, None)[0])


def _cell_points(axis: Axis) -> float:
    low, high = sorted(axis.get_view_interval())
    return _length(axis) / max(1.0, high - low)


def _length(axis: Axis) -> float:
    """Of an axis, in points."""
    box = axis.axes.get_window_extent()
    return float(box.width if isinstance(axis, XAxis) else box.height) * 72 / axis.axes.figure.get_dpi()
