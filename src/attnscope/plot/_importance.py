"""`importance`: how far each position's relevance is from 0, over all samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from attnscope.errors import SchemaError
from attnscope.plot._canvas import axes_or_new, colour_map, head_line, is_dark, label_lines
from attnscope.plot._checks import Weights
from attnscope.plot._guest import guest, points_of
from attnscope.plot._samples import Samples, nan_remark, samples_of
from attnscope.plot._ticks import number_ticks
from attnscope.plot._typesetting import LONGEST, plain_text, written
from attnscope.quantities import remarks_on


@guest
def importance(
    weights: Weights,
    *,
    level: float = 0.95,
    most: int = 20,
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The mean absolute relevance of each position over the samples, with an interval, the largest on top.

    The line at the end of a bar is the interval that, in a share `level` of all cases, holds the mean over all samples
    that these could have been; it assumes that the samples were drawn independently of each other, and by Student's t
    allows for how few they are. It is approximate, as sizes are skewed: where relevance is normal, intervals of 95%
    held the mean in 92% of simulations with 5 samples, and in 95% with 50; where sizes are log-normal in 82% and 90%. A
    single sample has no interval, which is said. Padding and NaN do not count; how many values are NaN is said.

    It says how much a position matters to the relevance that was computed, not in which direction (`beeswarm` does),
    and not whether that relevance is faithful to the model (`ats.evidence` does).

    Args:
        weights: What `ats.attribute` returns, dims ``(sample, key)``; positions are the same in all samples.
        level: Of the interval, between 0 and 1 (exclusive).
        most: How many bars there are.
        labels: Names of the positions; default: the ``key_label`` coordinate, else
            what they are and their numbers: ``step 3``; patches by row and column.
        ax: Where to draw; default: on a new pyplot figure.

    Returns:
        The axes: x is the mean absolute relevance, in the target's unit, and y counts rows, the first on top.

    Raises:
        SchemaError: The values are neither attention nor relevance, or an option has no meaning.
        LabelError: There is not one label per position, or the positions' names differ between samples.

    Source:
        Student 1908, "The Probable Error of a Mean".

    Example:
        >>> import xarray as xr
        >>> from matplotlib.figure import Figure
        >>> relevance = xr.DataArray([[0.5, -2.0], [0.25, 1.0]], dims=("sample", "key"), name="relevance")
        >>> ax = importance(relevance, labels=["age", "height"], ax=Figure().add_subplot())
        >>> [(float(bar.get_width()), label.get_text()) for bar, label in zip(ax.patches, ax.get_yticklabels())]
        [(1.5, 'height'), (0.375, 'age')]
    """
    if most < 1 or not 0 < level < 1:
        raise SchemaError(
            f"most={most} and level={level} were given, but at least one bar and a level between 0 and 1 are needed. "
            "Write most=20, level=0.95."
        )
    samples = samples_of(weights, labels)
    names, quantity = samples.shared_names, samples.quantity
    means = mean_size(samples.values)
    rows = strongest(means, most)
    half = _half_interval(np.abs(samples.values[:, rows]), level)
    ax = axes_or_new(ax, 6.4, 1.2 + 0.26 * len(rows))
    colour = colour_map(is_dark(ax))(0.62)
    ax.barh(range(len(rows)), np.nan_to_num(means[rows]), height=0.68, color=colour, gid="mean")
    ink = ax.xaxis.label.get_color()
    for row, (position, wide) in enumerate(zip(rows, half, strict=True)):
        if np.isfinite(wide):
            ends = [max(0.0, means[position] - wide), means[position] + wide]
            ax.plot(ends, [row, row], color=ink, linewidth=1.2, solid_capstyle="butt", gid="interval")
    ax.set_xlim(left=0)
    name_rows(ax, [names[position] for position in rows])
    said = f"mean distance from 0: {quantity.name}" if quantity.signed else f"mean {quantity.name}"
    words, fonts = written([said], None)
    plain_text(ax.set_xlabel(label_lines(ax, words), loc="right", fontsize="small")).set_fontfamily(fonts)
    head_line(ax, "", [*_remarks(samples, rows, level, half), *remarks_on(samples.array)])
    return ax


def _remarks(samples: Samples, rows: list[int], level: float, half: np.ndarray) -> list[str]:
    count = len(samples.values)
    known = np.isfinite(half).any()
    return [
        f"{count:,} sample{'s' if count > 1 else ''}",
        samples.part(len(rows)),
        nan_remark(samples.broken, "does not count", "do not count"),
        f"line: {100 * level:g}% interval of the mean, approximate" if known else "no interval: it needs two samples",
    ]


def mean_size(values: np.ndarray) -> np.ndarray:
    """The mean distance from 0 over the samples that have a value, dims ``(position,)``; NaN where none has."""
    counts = np.isfinite(values).sum(0)
    sums = np.nansum(np.abs(values), axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def strongest(sizes: np.ndarray, most: int) -> list[int]:
    """Positions in order of their size, the largest first; those without one are left out."""
    order = np.argsort(-np.nan_to_num(sizes, nan=-np.inf), kind="stable")
    known = [int(position) for position in order if np.isfinite(sizes[position])]
    if not known:
        raise SchemaError("All values are NaN or padding, so there is nothing to draw. Give one number at least.")
    return known[:most]


def _half_interval(sizes: np.ndarray, level: float) -> np.ndarray:
    """Half the width of the interval of each mean, dims ``(position,)``; NaN with fewer than two samples."""
    half = np.full(sizes.shape[1], np.nan)
    for position, column in enumerate(sizes.T):
        known = column[np.isfinite(column)]
        if len(known) > 1:
            largest = known.max() or 1.0  # squares of what is very large have no number
            error = (known / largest).std(ddof=1) / np.sqrt(len(known))
            half[position] = student(level, len(known) - 1) * error * largest
    return half


def student(level: float, freedom: int) -> float:
    """How many standard errors to both sides of 0 hold the share `level` of Student's t.

    With ``t = sqrt(freedom) tan(angle)`` its density is ``cos(angle)^(freedom - 1)`` between 0 and a right angle.

    Example:
        >>> round(student(0.95, 4), 3)
        2.776
    """
    angles = np.linspace(0.0, np.pi / 2, 20_001)
    heights = np.cos(angles) ** (freedom - 1)
    shares = np.concatenate([[0.0], np.cumsum((heights[1:] + heights[:-1]) / 2)])
    return float(np.sqrt(freedom) * np.tan(np.interp(level, shares / shares[-1], angles)))


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Names on the left, the first on top."""
    texts, fonts = written(names, LONGEST)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(range(len(names)), texts, fontsize=points_of("small"), fontfamily=fonts)
    for label in ax.get_yticklabels():
        plain_text(label)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=points_of("small"))
    number_ticks(ax.xaxis)
    ax.spines[["top", "right", "left"]].set_visible(False)
