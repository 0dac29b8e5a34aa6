"""`bars`: what each position of one sample adds, from the base value to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.font_manager import FontProperties, font_scalings

from attnscope.colours import palette
from attnscope.errors import SchemaError
from attnscope.marks import number, signed_number
from attnscope.plot._canvas import (
    Place,
    axes_or_new,
    colour_map,
    difference_map,
    head_line,
    is_dark,
    label_lines,
    settle,
)
from attnscope.plot._checks import Weights
from attnscope.plot._guest import figure_of, guest, points_of
from attnscope.plot._input_values import values_of
from attnscope.plot._samples import Samples, Values, nan_remark, said, samples_of
from attnscope.plot._ticks import number_ticks
from attnscope.plot._typesetting import plain_text, width_of, written
from attnscope.quantities import Quantity, remarks_on

LONGEST_NAME, LONGEST_VALUE = 32, 14
MATERIAL = 0.005
"""Part of the change from base to answer from which a residual has a bar of its own; it is always said."""


@dataclass(frozen=True)
class _Bar:
    """A bar.

    Attributes:
        name: What it stands for.
        value: How long it is.
        start: Where it starts.
        kind: ``value``, ``others``, ``residual``; or ``end`` or ``range``, which are no bars.
        words: What stands at its end in place of its number.
        error: Standard error of its length; 0 where none is known.
    """

    name: str
    value: float
    start: float
    kind: str = "value"
    words: str = ""
    error: float = 0.0

    @property
    def reached(self) -> float:
        """Where it ends."""
        return self.start if self.kind == "end" else self.start + self.value

    @property
    def extent(self) -> tuple[float, float]:
        """From where to where it reaches, with its standard error."""
        ends = (self.start, self.reached, self.reached - self.error, self.reached + self.error)
        return min(ends), max(ends)


@guest
def bars(
    weights: Weights,
    inputs: Values = None,
    *,
    sample: int | str | None = None,
    most: int = 12,
    labels: Sequence[str] | None = None,
    ax: Place = None,
) -> Axes:
    """What each position of one sample adds: names, values and signed bars, the longest first.

    Where the method adds up (integrated gradients, Shapley values), each bar starts where the one above it ends, from
    the base value, the model's answer where nothing is there, to its answer for this sample. What is left between the
    sum and the answer is the residual: it is said below the title, and has a bar of its own (hatched) where it is more
    than 0.5% of the way. Of other methods the bars start at 0, and the picture says that they need not add up. Orange:
    the position raises the target; blue: it lowers it. Positions beyond `most` share a row: their sum as a grey bar,
    or, where sums mean nothing, how far from 0 they are at most. NaN is left out, and said; so is padding. Thin
    lines, where values are estimates (Shapley values): one standard error to both sides of a bar's end.

    Args:
        weights: What `ats.attribute` returns, dims ``(sample, key)`` or ``(key,)``; or attention that keys receive.
        inputs: What the model was given: one value per position, of this sample or of all; a table or a data frame,
            whose columns are found by the names of the positions and its rows by the ids of the samples, wherever both
            have them, whatever their order. They stand beside the names. Default: none.
        sample: Number or id of the sample; default: the first.
        most: How many positions have a bar of their own.
        labels: Names of the positions; default: the ``key_label`` coordinate, else
            what they are and their numbers: ``step 3``; patches by row and column.
        ax: Where to draw: axes, or an empty figure, which becomes as large as needed; default: on a new pyplot figure.

    Returns:
        The axes: x counts the target's unit, and y rows, the first on top.

    Raises:
        SchemaError: The values are neither attention nor relevance, or there is no such sample.
        LabelError: There is not one label per position.
        InputError: There is not one input per position, or a data frame has no such column or row.

    Example:
        >>> import xarray as xr
        >>> from matplotlib.figure import Figure
        >>> relevance = xr.DataArray([0.5, -0.25], dims="key", name="relevance", coords={"base": 1.0, "answer": 1.25})
        >>> ax = bars(relevance, [63, 1.7], labels=["age", "height"], ax=Figure().add_subplot())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['base', 'age = 63', 'height = 1.7', 'answer']
    """
    if most < 1:
        raise SchemaError(f"most={most} was given, but at least one bar is needed. Write most=12.")
    samples = samples_of(weights, labels)
    place = samples.number(sample)
    given = values_of(inputs, samples, place)
    quantity = samples.quantity_at(place)
    sums = quantity.noun == "attention" or (samples.base is not None and samples.answer is not None)
    rows = _rows(samples, place, None if given is None else given[0], most, sums=sums)
    ax = axes_or_new(ax, 6.4, 1.1 + 0.26 * len(rows))
    _draw(ax, rows, quantity)
    head_line(ax, samples.titles[place], [*remarks_on(samples.at(place)), *_remarks(samples, place, quantity)])
    _write_numbers(ax, rows)
    return ax


def _rows(samples: Samples, place: int, given: np.ndarray | None, most: int, *, sums: bool) -> list[_Bar]:
    """The bars from top to bottom, with the base before them and the answer behind.

    Args:
        samples: The values and their names.
        place: Number of the sample.
        given: What the model was given there.
        most: How many positions have a bar of their own.
        sums: Whether a sum of values means something.
    """
    values, names = samples.values[place], samples.names[place]
    real = np.flatnonzero(np.isfinite(values))
    order = real[np.argsort(-np.abs(values[real]), kind="stable")]
    kept = order if len(order) <= most + 1 else order[:most]
    adds_up = samples.base is not None and samples.answer is not None
    reached = float(samples.base[place]) if samples.base is not None and adds_up else 0.0
    rows = [_Bar("base", reached, reached, "end")] if adds_up else []
    called, _ = written([str(names[position]) for position in kept], LONGEST_NAME)
    if given is not None:
        values_said, _ = written([said(given[position]) for position in kept], LONGEST_VALUE)
        called = [f"{name} = {value}" for name, value in zip(called, values_said, strict=True)]
    errors = np.zeros_like(values) if samples.standard_error is None else np.nan_to_num(samples.standard_error[place])
    for position, name in zip(kept, called, strict=True):
        rows.append(_Bar(name, float(values[position]), reached, error=float(errors[position])))
        reached += float(values[position]) if adds_up else 0.0
    rest = order[len(kept) :]
    if len(rest) and not sums:
        farthest = number(float(np.abs(values[rest]).max()))
        rows.append(_Bar(f"the other {len(rest)}", 0.0, 0.0, "range", f"within \N{PLUS-MINUS SIGN}{farthest}"))
    elif len(rest):
        whole = float(values[rest].sum())
        rows.append(_Bar(f"the other {len(rest)} together", whole, reached, "others"))
        reached += whole if adds_up else 0.0
    if samples.answer is not None and adds_up:
        end = float(samples.answer[place])
        if abs(_residual(samples, place)) > MATERIAL * _way(samples, place):
            rows.append(_Bar("residual", end - reached, reached, "residual"))
        rows.append(_Bar("answer", end, end, "end"))
    return rows


def _residual(samples: Samples, place: int) -> float:
    """What the sum lacks to lead from the base to the answer."""
    assert samples.answer is not None and samples.base is not None
    return float(samples.answer[place] - samples.base[place] - np.nansum(samples.values[place]))


def _way(samples: Samples, place: int) -> float:
    """How far it is from base to answer; of values that cancel out, how far the bars lead."""
    assert samples.answer is not None and samples.base is not None
    apart = abs(float(samples.answer[place] - samples.base[place]))
    return max(apart, float(np.nanmax(np.abs(samples.values[place]), initial=0.0)), 1e-300)


def _draw(ax: Axes, rows: list[_Bar], quantity: Quantity) -> None:
    dark = is_dark(ax)
    tokens, ends = palette(dark=dark), difference_map(dark)
    for row, bar in enumerate(rows):
        if bar.kind == "end":
            ax.plot([bar.value], [row], "D", color=ax.xaxis.label.get_color(), markersize=4.5, gid="end")
        if bar.kind in ("end", "range"):
            continue
        side = ends(1.0 if bar.value >= 0 else 0.0) if quantity.signed else colour_map(dark)(0.72)
        colour = {"value": side, "others": tokens["edge"], "residual": "none"}[bar.kind]
        (drawn,) = ax.barh(row, bar.value, left=bar.start, height=0.68, color=colour, gid=bar.kind)
        if bar.error:
            ends_of_error = [bar.reached - bar.error, bar.reached + bar.error]
            ax.plot(ends_of_error, [row, row], color=ax.xaxis.label.get_color(), linewidth=0.9, gid="error")
        if bar.kind == "residual":
            drawn.set(edgecolor=tokens["edge"], hatch="/////")
    joints = [[(bar.reached, row), (bar.reached, row + 1)] for row, bar in enumerate(rows[:-1])]
    if rows and rows[0].kind == "end":
        ax.add_collection(LineCollection(joints, colors=tokens["edge"], linewidths=0.7, zorder=0.5, gid="joints"))
    else:
        ax.axvline(0, color=ax.xaxis.label.get_color(), linewidth=0.8)
    texts, fonts = written([bar.name for bar in rows], None)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_yticks(range(len(rows)), texts, fontsize=points_of("small"), fontfamily=fonts)
    for label in ax.get_yticklabels():
        plain_text(label)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=points_of("small"))
    number_ticks(ax.xaxis)
    ax.spines[["top", "right", "left"]].set_visible(False)
    words, label_fonts = written([quantity.name], None)
    plain_text(ax.set_xlabel(label_lines(ax, words), loc="right", fontsize="small")).set_fontfamily(label_fonts)


def _write_numbers(ax: Axes, rows: list[_Bar]) -> None:
    """The number of each bar at its end, with room for it within the axes."""
    if not rows:
        return
    settle(ax)
    size = float(font_scalings["small"] * rcParams["font.size"])
    font = FontProperties(family=rcParams["font.family"], size=size)
    texts = [bar.words or (number(bar.value) if bar.kind == "end" else signed_number(bar.value)) for bar in rows]
    lows, highs = zip(*(bar.extent for bar in rows), strict=True)
    dots = ax.get_window_extent().width * 72 / figure_of(ax).get_dpi()
    room = (max(width_of(text, font) for text in texts) + 12) / max(dots, 1.0)
    low, high = min(lows), max(highs)
    whole = (high - low or max(abs(high), 1.0)) / max(0.2, 1 - 2 * room)
    ax.set_xlim(low - room * whole, high + room * whole)
    for row, (bar, text) in enumerate(zip(rows, texts, strict=True)):
        left = bar.value < 0 and bar.kind != "end"
        place = bar.reached - bar.error if left else bar.reached + bar.error
        note = ax.annotate(
            text,
            (place, row),
            (-4 if left else 6 if bar.kind == "end" else 4, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
            fontsize="small",
            gid="number",
        )
        note.set_in_layout(False)
        plain_text(note)


def _error_remark(samples: Samples, place: int) -> str:
    """How uncertain the values are because they were sampled; empty where they were not."""
    if samples.standard_error is None:
        return ""
    errors = samples.standard_error[place][np.isfinite(samples.values[place])]
    if not np.isfinite(errors).any():
        return "standard error not known" if errors.size else ""
    if not np.nanmax(errors):
        return "standard error 0"
    return f"thin line: one standard error to both sides, {number(float(np.nanmax(errors)))} at most"


def _remarks(samples: Samples, place: int, quantity: Quantity) -> list[str]:
    broken = nan_remark(samples.broken[place], "has no bar", "have no bar")
    remarks = [broken, _error_remark(samples, place)]
    if not broken and not np.isfinite(samples.values[place]).any():
        remarks = ["there is nothing but padding"]
    if not quantity.signed:
        return remarks
    if samples.base is None or samples.answer is None:
        return ["the bars need not add up to the answer", *remarks]
    total = float(np.nansum(samples.values[place]))
    change = float(samples.answer[place] - samples.base[place])
    residual = signed_number(_residual(samples, place), 2)
    sums = f"sum of the bars {signed_number(total, 4)}, answer minus base {signed_number(change, 4)}"
    return [f"{sums}, residual {residual}", *remarks]
