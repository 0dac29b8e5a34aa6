"""Intervals for the mean of a difference between two methods on the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from attnscope.errors import InputError

LEAST_SKEWNESS = 1e-6
"""With less, the correction for it is smaller than rounding."""


@dataclass(frozen=True)
class Interval:
    """A mean, and how far other samples might have moved it.

    Attributes:
        mean: Mean of the differences, in their dims without the samples.
        low: Lower end; NaN with fewer than two samples.
        high: Upper end; NaN with fewer than two samples.
        level: Share of such intervals that should hold the true mean.
        samples: How many samples there were.
        resamples: How often they were resampled; 0 where the ends follow from a formula.
        kind: How the ends were computed.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    samples: int
    resamples: int
    kind: str


def paired_interval(first: ArrayLike, second: ArrayLike = 0.0, *, level: float = 0.95) -> Interval:
    """An interval for the mean of ``first - second`` over samples, which reaches further where differences are skewed.

    Student's interval misses the true mean too often on the side of the longer tail. Hall's transformation moves the
    ends by the skewness of the sample; an estimate that is itself uncertain, so each end is the one of the two that
    lies further out. It draws nothing, and so the same differences give the same interval.

    The samples have to be independent of each other; several sentences of one document are not. How often it holds the
    true mean is measured by ``benchmarks/interval_coverage.py``; nothing can be said of rare large differences that
    are not among the samples. Where all differences are equal, both ends are the mean.

    Args:
        first: Measures of a method, dims ``(sample, ...)``.
        second: Measures of the baseline on the same samples, same shape; or a number.
        level: Share of intervals that should contain the true mean, between 0 and 1 (exclusive).

    Raises:
        InputError: There are no samples, the shapes differ, a number is NaN or infinite, or the level has no meaning.

    Source:
        Hall 1992, "On the Removal of Skewness by Transformation", section 2 (the cubic transformation), with Student's
        quantiles in place of the normal ones.

    Example:
        >>> gain = paired_interval([1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 1.0, 1.0, 1.0, 1.0])
        >>> float(gain.mean), round(float(gain.low), 2), round(float(gain.high), 2)
        (2.0, 0.04, 3.96)
    """
    differences = paired_differences(first, second, "paired_interval")
    if not 0 < level < 1:
        raise InputError(f"level={level} was given, but a level between 0 and 1 is needed: level=0.95.")
    samples = len(differences)
    centre = differences.mean(0)
    equal = (differences == differences[0]).all(0)
    centre = np.where(equal, differences[0], centre)
    if samples < 2:
        low = high = np.full(centre.shape, np.nan)
    else:
        spread = np.where(equal, 0.0, differences.std(0, ddof=1))
        reach = student_quantile((1 + level) / 2, samples - 1) / math.sqrt(samples)
        skewness = _skewness(differences, centre, equal)
        low = centre - spread * np.maximum(reach, _inverse_of_hall(reach, skewness, samples))
        high = centre - spread * np.minimum(-reach, _inverse_of_hall(-reach, skewness, samples))
    return Interval(centre, low, high, level, samples, 0, "student, adjusted for skewness")


def paired_differences(first: ArrayLike, second: ArrayLike, function: str) -> np.ndarray:
    """``first - second``, checked: a finite number per sample.

    Args:
        first: Measures of a method, dims ``(sample, ...)``.
        second: Measures of the baseline, same shape; or a number.
        function: Name of the public function that was called, for errors.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim == 0 or not len(one) or other.shape not in ((), one.shape):
        raise InputError(
            f"The measures have shapes {one.shape} and {other.shape}, but both need one number per sample, for the "
            f"same samples: {function}(method, baseline)."
        )
    differences = np.asarray(one - other)
    if not np.isfinite(differences).all():
        bad = np.flatnonzero(~np.isfinite(differences.reshape(len(one), -1)).all(1))
        raise InputError(
            f"The differences of {len(bad)} samples are NaN or infinite, the first that of sample {int(bad[0])}. "
            "Leave these samples out of both: method[finite], baseline[finite]."
        )
    return differences


@lru_cache(maxsize=4096)
def student_quantile(share: float, freedom: int) -> float:
    """The quantile of Student's t.

    Args:
        share: Which quantile, at least 1/2 and below 1.
        freedom: Degrees of freedom, at least 1.

    Source:
        Abramowitz and Stegun 1964, 26.7.3 and 26.7.4: for whole degrees of freedom, the share of |t| below a bound is a
        finite sum. It is inverted by bisection over the angle whose tangent is t over the root of `freedom`.

    Example:
        >>> round(student_quantile(0.975, 4), 3), round(student_quantile(0.975, 99), 3)
        (2.776, 1.984)
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        below = _share_within(angle, freedom) < 2 * share - 1
        low, high = (angle, high) if below else (low, angle)
    return math.tan((low + high) / 2) * math.sqrt(freedom)


def _share_within(angle: float, freedom: int) -> float:
    """The share of |t| below tan(angle) x root of freedom."""
    odd = freedom % 2
    steps = np.arange(2 + odd, freedom, 2)
    terms = np.cumprod(np.concatenate([[1.0], (steps - 1) / steps * math.cos(angle) ** 2]))
    if not odd:
        return math.sin(angle) * float(terms.sum())
    tail = math.sin(angle) * math.cos(angle) * float(terms.sum()) if freedom > 1 else 0.0
    return 2 / math.pi * (angle + tail)


def _skewness(differences: np.ndarray, centre: np.ndarray, equal: np.ndarray) -> np.ndarray:
    """The skewness of each column, corrected for the number of samples; 0 where it is not known."""
    samples = len(differences)
    if samples < 3:
        return np.zeros(centre.shape)
    away = differences - centre
    variance = np.where(equal, 1.0, (away**2).mean(0))
    skewness = np.where(equal, 0.0, (away**3).mean(0) / variance**1.5)
    return np.asarray(skewness * math.sqrt(samples * (samples - 1)) / (samples - 2))


def _inverse_of_hall(value: float, skewness: np.ndarray, samples: int) -> np.ndarray:
    """The W with W + skewness W^2 / 3 + skewness^2 W^3 / 27 + skewness / (6 samples) = value."""
    unskewed = np.abs(skewness) < LEAST_SKEWNESS
    skew = np.where(unskewed, 1.0, skewness)
    roots = 3 / skew * (np.cbrt(1 + skew * (value - skew / (6 * samples))) - 1)
    return np.where(unskewed, value, roots)
