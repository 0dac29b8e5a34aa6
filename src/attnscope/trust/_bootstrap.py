"""Intervals for the mean of a difference between two methods on the same samples, by resampling the samples."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from attnscope.errors import InputError
from attnscope.trust._interval import Interval, paired_differences

Kind = Literal["bca", "percentile"]
CHUNK_CELLS = 4_000_000
"""About how many drawn sample numbers are held in memory at a time."""


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike = 0.0,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    kind: Kind = "bca",
) -> Interval:
    """An interval for the mean of ``first - second`` over samples, by resampling the samples.

    Both numbers of a sample are drawn together, so that whatever makes a sample easy or hard for both cancels out. All
    trailing dims use the same draws. The samples have to be independent of each other; several sentences of one
    document are not.

    With few samples it covers the true mean less often than `level` says: with 10 of them, in about 90% of all cases
    instead of 95%, and less often where differences are skewed; `paired_interval` holds better. Where all differences
    are equal there is nothing to draw, and both ends are the mean.

    Args:
        first: Measures of a method, dims ``(sample, ...)``.
        second: Measures of the baseline on the same samples, same shape; or a number.
        level: Share of intervals that should contain the true mean, between 0 and 1 (exclusive).
        resamples: How often the samples are resampled.
        seed: The same seed gives the same interval.
        kind: ``bca``, bias-corrected and accelerated, which adapts to skewed differences; or ``percentile``, the plain
            quantiles of the resampled means.

    Raises:
        InputError: There are no samples, the shapes differ, a number is NaN or infinite, or an option has no meaning.

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 13.3 (percentile) and 14.3 (BCa).

    Example:
        >>> gain = paired_bootstrap([1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0])
        >>> float(gain.mean), bool(gain.low > 0.2), bool(gain.high < 2.8)
        (1.5, True, True)
    """
    differences = paired_differences(first, second, "paired_bootstrap")
    if not 0 < level < 1 or kind not in ("bca", "percentile") or resamples < 1:
        raise InputError(
            f"level={level}, resamples={resamples} and kind={kind!r} were given, but a level between 0 and 1, at "
            "least one resample and the kind 'bca' or 'percentile' are needed: level=0.95, resamples=10_000, "
            "kind='bca'."
        )
    samples, dims = len(differences), differences.shape[1:]
    flat = differences.reshape(samples, -1)
    centre = flat.mean(0)
    if samples < 2:
        low = high = np.full(centre.shape, np.nan)
    else:
        means = np.concatenate(list(_resampled_means(flat, resamples, seed)))
        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        shares = _accelerated(flat, centre, means, tails) if kind == "bca" else np.tile(tails, (len(centre), 1))
        ends = [np.quantile(means[:, column], share) for column, share in enumerate(shares)]
        low, high = np.array(ends).reshape(-1, 2).T
        equal = (flat == flat[0]).all(0)
        low, high = np.where(equal, flat[0], low), np.where(equal, flat[0], high)
        centre = np.where(equal, flat[0], centre)
    return Interval(centre.reshape(dims), low.reshape(dims), high.reshape(dims), level, samples, resamples, kind)


def _resampled_means(flat: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Means of samples drawn with replacement, dims ``(resample, column)``, some resamples at a time."""
    rng = np.random.default_rng(seed)
    samples = len(flat)
    step = max(1, CHUNK_CELLS // samples)
    for start in range(0, resamples, step):
        counts = rng.multinomial(samples, np.full(samples, 1 / samples), size=min(step, resamples - start))
        yield counts @ flat / samples


def _accelerated(flat: np.ndarray, centre: np.ndarray, means: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Which quantiles of the resampled means are the ends, dims ``(column, end)``."""
    normal = NormalDist()
    # half of the draws that equal the mean count as below it, as means of whole numbers often do
    below = ((means < centre).mean(0) + (means <= centre).mean(0)) / 2
    away = flat - centre
    squares = (away**2).sum(0)
    # the jackknife's acceleration; of a mean it is the skewness of the sample divided by 6 times the root of its size
    acceleration = np.where(squares > 0, (away**3).sum(0) / (6 * np.maximum(squares, np.finfo(float).tiny) ** 1.5), 0.0)
    shares = np.empty((len(centre), 2))
    for column in range(len(centre)):
        if not 0 < below[column] < 1:
            shares[column] = tails
            continue
        bias = normal.inv_cdf(below[column])
        for end, tail in enumerate(tails):
            shifted = bias + normal.inv_cdf(tail)
            shares[column, end] = normal.cdf(bias + shifted / (1 - acceleration[column] * shifted))
    return shares
