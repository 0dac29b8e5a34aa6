"""Intervals for the mean of a difference between two methods on the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from attnscope.errors import InputError

WEIGHINGS = 10_000
"""How often the samples are weighted at random, for ends that allow for rare differences."""
LEAST_WEIGHINGS = 2000
MOST_WEIGHTS = 10_000_000
"""Of very many samples there are fewer weighings, so that all weights take 80 MB; one more matters less there."""
LEAST_SKEWNESS = 1e-6
"""With less, the correction for it is smaller than rounding."""


@dataclass(frozen=True)
class Interval:
    """A mean, and how far other samples might have moved it.

    Attributes:
        mean: Mean of the differences, in their dims without the samples.
        low: Lower end; NaN with one sample, unless it is known how large a difference can be.
        high: Upper end; likewise.
        level: Share of such intervals that should hold the true mean.
        samples: How many samples there were.
        resamples: How often they were resampled or weighted anew; 0 where the ends follow from a formula.
        kind: How the ends were computed.
        bounds: The least and the greatest difference that is possible, in the dims of the mean; None where that is not
            known.
        observed: The lower and the upper end by what the samples show alone, which the bounds may have moved outwards;
            None where there are no bounds.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    samples: int
    resamples: int
    kind: str
    bounds: tuple[np.ndarray, np.ndarray] | None = None
    observed: tuple[np.ndarray, np.ndarray] | None = None


def paired_interval(
    first: ArrayLike, second: ArrayLike = 0.0, *, level: float = 0.95, bounds: tuple[ArrayLike, ArrayLike] | None = None
) -> Interval:
    """An interval for the mean of ``first - second`` over samples, which allows for what the samples may not show.

    Student's interval misses the true mean too often on the side of the longer tail. Hall's transformation moves the
    ends by the skewness of the sample, an estimate that is itself uncertain. Neither knows of large differences so rare
    that none is among the samples. Where it is known how large a difference can be, the upper end is also that of
    Gaffke: the mean with one more difference at the upper bound, under random weights of all of them (each set of
    weights as likely as any other); the lower end likewise. No distribution within the bounds is known whose mean it
    misses more often than it says, however few the samples. Each end is the one that lies furthest out.

    The samples have to be independent of each other; several sentences of one document are not. How often the true mean
    is missed is measured by ``benchmarks/interval_coverage.py``. Where all differences are equal and no bounds are
    given, both ends are the mean.

    Args:
        first: Measures of a method, dims ``(sample, ...)``.
        second: Measures of the baseline on the same samples, same shape; or a number.
        level: Share of intervals that should contain the true mean, between 0 and 1 (exclusive).
        bounds: The least and the greatest difference that is possible, for any sample: ``(-1.0, 1.0)`` for the
            difference of two probabilities; each a number, or an array of the dims without the samples. None: not
            known, and nothing is said of differences rarer than the samples.

    Raises:
        InputError: There are no samples, the shapes differ, a number is NaN or infinite, the level has no meaning, or a
            difference lies outside of the bounds.

    Source:
        Hall 1992, "On the Removal of Skewness by Transformation", section 2 (the cubic transformation), with Student's
        quantiles in place of the normal ones. Gaffke 2005, "Three test statistics for a nonparametric one-sided
        hypothesis on the mean of a nonnegative variable"; Learned-Miller and Thomas 2020, "A New Confidence Interval
        for the Mean of a Bounded Random Variable" (the same interval: tighter than Anderson's, and its level, which no
        experiment has contradicted, is not proved).

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
    if bounds is None:
        return Interval(centre, low, high, level, samples, 0, "student, adjusted for skewness")
    least, greatest = _checked_bounds(bounds, differences)
    observed = low, high
    low = np.fmin(low, -_upper_end(-differences, -least, level))
    high = np.fmax(high, _upper_end(differences, greatest, level))
    weighings = _weighings(samples).shape[1]
    kind = "student, adjusted for skewness and for rare differences"
    return Interval(centre, low, high, level, samples, weighings, kind, (least, greatest), observed)


def _checked_bounds(bounds: tuple[ArrayLike, ArrayLike], differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        least, greatest = (np.broadcast_to(np.asarray(bound, np.float64), differences.shape[1:]) for bound in bounds)
    except ValueError as error:
        raise InputError(
            f"The bounds are {bounds!r}, but two are needed, the least and the greatest difference that is possible, "
            f"each a number or an array of shape {differences.shape[1:]}: bounds=(-1.0, 1.0)."
        ) from error
    if not ((least <= differences) & (differences <= greatest)).all():
        raise InputError(
            f"The bounds are {bounds!r}, but the differences reach from {differences.min():.6g} to "
            f"{differences.max():.6g}, and all have to lie within: bounds=(-1.0, 1.0) for differences of probabilities."
        )
    return least, greatest


def _upper_end(differences: np.ndarray, greatest: np.ndarray, level: float) -> np.ndarray:
    """Gaffke's upper end for the mean of each column, dims of a sample."""
    weights = _weighings(len(differences))
    flat = differences.reshape(len(differences), -1)
    means = flat.T @ weights[:-1] + greatest.reshape(-1, 1) * weights[-1]
    return np.asarray(np.quantile(means, (1 + level) / 2, axis=1)).reshape(differences.shape[1:])


@lru_cache(maxsize=1)
def _weighings(samples: int) -> np.ndarray:
    """Random weights of the samples and of one more, dims ``(sample, weighing)``; each column sums to 1."""
    count = max(LEAST_WEIGHINGS, min(WEIGHINGS, MOST_WEIGHTS // (samples + 1)))
    drawn = np.random.default_rng(0).standard_exponential((samples + 1, count))
    return np.asarray(drawn / drawn.sum(0))


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
