"""A chart of means with their intervals, a row for each method, as wide as there is room."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attnscope.marks import isolated, number, readable

ROW = 44
"""Height of a row, in pixels."""
TICKS = 5
"""The axis has at most this many steps."""
FAR = 10.0
"""Lines that go on further than this, counted in the largest mean or in four margins, end in an arrow."""


class Ends(NamedTuple):
    """An interval and its mean; NaN where an end is unknown."""

    low: float
    mean: float
    high: float


class Row(NamedTuple):
    """What is drawn for one method.

    Attributes:
        name: Its name.
        note: What stands between its name and its intervals, as HTML.
        intervals: By what the method is compared with: drawn one below the other.
    """

    name: str
    note: str
    intervals: Mapping[str, Ends]


def interval_chart(rows: Sequence[Row], margin: float) -> str:
    """Rows of means (dots) with their intervals (lines) on one axis, with 0 as a line.

    Each kind of comparison has its colour, ``vs0`` and on; its dots are filled or hollow in turn. All means are within
    the axis; a line that goes on far beyond them ends in an arrow, and a sentence below says how far such lines reach.

    Args:
        rows: What to draw.
        margin: From minus this to this is shaded.
    """
    ends = [end for row in rows for interval in row.intervals.values() for end in interval if math.isfinite(end)]
    means = [abs(interval.mean) for row in rows for interval in row.intervals.values() if math.isfinite(interval.mean)]
    limit = FAR * max([4 * margin, *means])
    left, right = min([0.0, -margin, *ends]), max([0.0, margin, *ends])
    beyond = [end for end in (left, right) if abs(end) > limit]
    left, right = max(left, -limit), min(right, limit)
    room = 0.04 * (right - left) or 1.0
    axis = _Axis(left - room, right + room)
    drawn = "".join(
        f"<div class=who>{isolated(row.name)}</div><div>{row.note}</div><svg height={ROW} role=img "
        f'aria-label="{html.escape(_in_words(row), quote=True)}">{_ground(axis, margin)}{_marks(row, axis)}</svg>'
        for row in rows
    )
    numbers = "".join(f"<text x={axis.at(tick)} y=14>{readable(f'{tick:g}')}</text>" for tick in axis.ticks())
    return (
        f"<div class=chart>{drawn}<div class=who></div><svg class=axis height=20 aria-hidden=true>{numbers}</svg></div>"
        f"{_reaches(beyond)}"
    )


def _reaches(beyond: Sequence[float]) -> str:
    """How far the lines reach that end in an arrow."""
    if not beyond:
        return ""
    ends = " and ".join(readable(f"{end:.2g}" if abs(end) < 100 else f"{end:.0f}") for end in beyond)
    return f"<p class=beyond>Lines with an arrow go on outside of the chart, as far as {ends}.</p>"


class _Axis(NamedTuple):
    left: float
    right: float

    def at(self, value: float) -> str:
        """Where a value lies, as a share of the width."""
        return f"{100 * (value - self.left) / (self.right - self.left):.2f}%"

    def crossed(self, low: float, high: float) -> list[tuple[float, int]]:
        """The ends of the axis beyond which an interval goes on, each with its direction."""
        return [(self.left, -1)] * (low < self.left) + [(self.right, 1)] * (high > self.right)

    def ticks(self) -> list[float]:
        """Round numbers that the axis has room for; 0 is one of them."""
        least = (self.right - self.left) / TICKS
        power = 10.0 ** math.floor(math.log10(least))
        step = next(step * power for step in (1, 2, 5, 10) if step * power >= least)
        first, last = math.ceil(self.left / step), math.floor(self.right / step)
        return [float(f"{place * step:.6g}") for place in range(first, last + 1)]


def _ground(axis: _Axis, margin: float) -> str:
    """The shade and the line at 0; those of rows below each other join."""
    width = 100 * 2 * margin / (axis.right - axis.left)
    return (
        f"<rect class=none x={axis.at(-margin)} width={width:.2f}% y=0 height={ROW} />"
        f"<line class=zero x1={axis.at(0)} x2={axis.at(0)} y1=0 y2={ROW} />"
    )


def _marks(row: Row, axis: _Axis) -> str:
    drawn = []
    step = ROW / (len(row.intervals) + 1)
    for place, (low, mean, high) in enumerate(row.intervals.values()):
        y = f"{step * (place + 1):g}"
        if math.isfinite(low) and math.isfinite(high):
            start, end = max(low, axis.left), min(high, axis.right)
            drawn.append(f"<line class=vs{place} x1={axis.at(start)} x2={axis.at(end)} y1={y} y2={y} />")
            drawn += [_arrow(place, axis.at(edge), y, side) for edge, side in axis.crossed(low, high)]
        drawn.append(f"<circle class=vs{place} cx={axis.at(mean)} cy={y} r=4 />")
    return "".join(drawn)


def _arrow(place: int, x: str, y: str, side: int) -> str:
    """The head of a line that goes on; in an `svg` of its own, because a path knows no shares of the width."""
    path = f"M{-8 * side} -5L0 0L{-8 * side} 5"
    return f"<svg x={x} y={y} width=1 height=1><path class=vs{place} d='{path}' /></svg>"


def _in_words(row: Row) -> str:
    return f"{row.name}: " + ", ".join(
        f"over {compared} {number(mean)} ({number(low)} to {number(high)})"
        for compared, (low, mean, high) in row.intervals.items()
    )
