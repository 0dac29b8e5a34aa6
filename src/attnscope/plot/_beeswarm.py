"""`beeswarm`: what each position adds in many samples, a dot for each."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize

from attnscope.colours import palette
from attnscope.errors import SchemaError
from attnscope.plot._canvas import add_bar, axes_or_new, colour_map, difference_map, head_line, is_dark, label_lines
from attnscope.plot._checks import Weights
from attnscope.plot._guest import guest
from attnscope.plot._importance import mean_size, name_rows, strongest
from attnscope.plot._input_values import values_of
from attnscope.plot._samples import Values, nan_remark, samples_of
from attnscope.plot._typesetting import plain_text, written
from attnscope.quantities import remarks_on

_SPREAD = 0.38
"""How far dots go from the middle of their row."""


@guest
def beeswarm(
    weights: Weights,
    inputs: Values = None,
    *,
    most: int = 12,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """What each position adds in all samples: a row for each position, a dot for each sample.

    Rows are in order of their mean distance from 0, the largest on top. Dots lie side by side where they would cover
    each other. With `inputs` their colour says how large the value was, from the row's lowest, pale, to its highest, so
    that one sees whether large values raise the target or lower it; grey: missing, or no number. Without them, orange
    raises the target and blue lowers it. Padding and NaN have no dot; how many values are NaN is said.

    Args:
        weights: What `ats.attribute` returns, dims ``(sample, key)``; positions are the same in all samples.
        inputs: What the model was given, dims ``(sample, key)``: a table or a data frame, whose columns and
            rows are found by their names as in `bars`. Default: none.
        most: How many rows there are.
        labels: Names of the positions; default: the ``key_label`` coordinate, else
            what they are and their numbers: ``step 3``; patches by row and column.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: x is the relevance, in the target's unit, and y counts rows, the first on top.

    Raises:
        SchemaError: The values are neither attention nor relevance.
        LabelError: There is not one label per position, or the positions' names differ between samples.
        InputError: There is not one input per sample and position, or a data frame has no such column or row.

    Example:
        >>> import xarray as xr
        >>> from matplotlib.figure import Figure
        >>> relevance = xr.DataArray([[0.5, -2.0], [0.25, 1.0]], dims=("sample", "key"), name="relevance")
        >>> ax = beeswarm(relevance, labels=["age", "height"], ax=Figure().add_subplot())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['height', 'age']
    """
    if most < 1:
        raise SchemaError(f"most={most} was given, but at least one row is needed. Write most=12.")
    samples = samples_of(weights, labels)
    names, quantity = samples.shared_names, samples.quantity
    given = values_of(inputs, samples)
    rows = strongest(mean_size(samples.values), most)
    ax = axes_or_new(ax, 6.4, 1.2 + 0.34 * len(rows))
    dark = is_dark(ax)
    tokens = palette(dark=dark)
    ax.axvline(0, color=ax.xaxis.label.get_color(), linewidth=0.8, zorder=0.5)
    shares = None if given is None else np.stack([_shares(given[:, position]) for position in rows], axis=1)
    farthest = float(np.nanmax(np.abs(samples.values[:, rows]), initial=0.0)) or 1.0
    for row, position in enumerate(rows):
        values = samples.values[:, position]
        real = np.isfinite(values)
        ax.plot(
            [-farthest, farthest], [row, row], color=tokens["line"], linewidth=0.6, zorder=0.3, scalex=False, gid="row"
        )
        if shares is None:
            colours = difference_map(dark)((values[real] > 0).astype(float))
        else:
            own = shares[real, row]
            colours = np.where(np.isnan(own)[:, None], _grey(tokens), _values_map(dark)(np.nan_to_num(own)))
        dots = ax.scatter(
            values[real], row + _offsets(values[real], farthest), c=colours, s=13, linewidths=0, zorder=2, gid="dots"
        )
        dots.set_clip_on(False)
    ax.set_xlim(-1.06 * farthest if (samples.values[:, rows] < 0).any() else -0.06 * farthest, 1.06 * farthest)
    name_rows(ax, [names[position] for position in rows])
    words, fonts = written([quantity.name], None)
    plain_text(ax.set_xlabel(label_lines(ax, words), loc="right", fontsize="small")).set_fontfamily(fonts)
    if shares is not None and not np.isnan(shares).all():
        mappable = ScalarMappable(Normalize(0, 1), _values_map(dark))
        add_bar(ax, mappable, "value of the input", {0.0: "lowest", 1.0: "highest"})
    count = f"{len(samples.values):,} sample{'s' if len(samples.values) > 1 else ''}"
    grey = "grey: the input is no number" if shares is not None and np.isnan(shares).any() else ""
    broken = nan_remark(samples.broken, "has no dot", "have no dot")
    head_line(ax, "", [count, samples.part(len(rows)), broken, grey, *remarks_on(samples.array)])
    return ax


def _values_map(dark: bool) -> ListedColormap:
    """The part of the ramp whose dots can be seen on the page: from a contrast of 3 on."""
    return ListedColormap(colour_map(dark)(np.linspace(0.44, 1.0, 256)), name="attnscope values")


def _grey(tokens: dict[str, str]) -> tuple[float, ...]:
    red, green, blue = bytes.fromhex(tokens["edge"].removeprefix("#"))
    return red / 255, green / 255, blue / 255, 1.0


def _shares(values: np.ndarray) -> np.ndarray:
    """Where each value lies between the row's lowest and highest, by rank; NaN where it is no number."""
    numbers = np.array([float(value) if isinstance(value, Real) else np.nan for value in values.tolist()])
    among = np.unique(numbers[np.isfinite(numbers)])
    if len(among) < 2:
        return np.where(np.isfinite(numbers), 0.5, np.nan)
    ranks = np.searchsorted(among, numbers) / (len(among) - 1)
    return np.where(np.isfinite(numbers), np.clip(ranks, 0, 1), np.nan)


def _offsets(values: np.ndarray, farthest: float) -> np.ndarray:
    """How far from the middle of its row each dot lies: those at one place alternate to both sides."""
    places = np.round(values / farthest * 45).astype(int)
    turn = np.zeros(len(values))
    for place in np.unique(places):
        here = np.flatnonzero(places == place)
        turn[here] = (np.arange(len(here)) + 1) // 2 * np.where(np.arange(len(here)) % 2, 1, -1)
    most = np.abs(turn).max(initial=0.0)
    return turn * min(0.12, _SPREAD / most if most else 0.12)
