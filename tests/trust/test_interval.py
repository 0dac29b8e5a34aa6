"""Intervals that allow for skewed gains: Student's quantiles, Hall's transformation, and how often both hold."""

import math

import numpy as np
import pytest

from attnscope.errors import InputError
from attnscope.trust import paired_interval
from attnscope.trust._interval import student_quantile

TRIALS = 4000
FEWER_TRIALS = 800
"""Of intervals that weight the samples at random."""


@pytest.mark.parametrize(
    ("share", "freedom", "quantile"),
    [  # Abramowitz and Stegun, table 26.10
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 5, 2.571),
        (0.995, 10, 3.169),
        (0.975, 29, 2.045),
        (0.9975, 30, 3.030),
        (0.975, 120, 1.980),
        (0.975, 100_000, 1.960),
        (0.5, 7, 0.0),
    ],
)
def test_quantiles_are_those_of_the_printed_table(share, freedom, quantile):
    assert abs(student_quantile(share, freedom) - quantile) < 6e-4


def test_quantiles_of_one_and_two_degrees_of_freedom_have_closed_forms():
    for share in (0.6, 0.9, 0.9875):
        assert student_quantile(share, 1) == pytest.approx(math.tan(math.pi * (share - 0.5)))
        expected = (2 * share - 1) * math.sqrt(2 / (4 * share * (1 - share)))
        assert student_quantile(share, 2) == pytest.approx(expected)


def transformed(w, skewness, samples):
    return w + skewness * w**2 / 3 + skewness**2 * w**3 / 27 + skewness / (6 * samples)


def test_each_end_is_students_or_halls_whichever_lies_further_out():
    """Hall 1992: T(W) of W = (mean - truth) / spread is nearly Student's; here the ends are found by trying many."""
    sample = np.array([0.1, 0.2, 0.35, 0.5, 1.1, 4.0])
    n, mean, spread = 6, sample.mean(), sample.std(ddof=1)
    moments = [sum((x - mean) ** power for x in sample) / n for power in (2, 3)]
    skewness = math.sqrt(n * (n - 1)) / (n - 2) * moments[1] / moments[0] ** 1.5
    reach = 2.571 / math.sqrt(n)
    tried = np.linspace(-9, 9, 200_001)
    roots = [tried[np.argmin(np.abs(transformed(tried, skewness, n) - end))] for end in (reach, -reach)]
    found = paired_interval(sample)
    assert found.low == pytest.approx(mean - spread * max(reach, roots[0]), abs=1e-3)
    assert found.high == pytest.approx(mean - spread * min(-reach, roots[1]), abs=1e-3)
    assert found.low == pytest.approx(mean - spread * reach, abs=1e-3)  # Student's
    assert found.high > mean + 1.5 * spread * reach  # Hall's
    mirrored = paired_interval(-sample)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("level", [0.95, 0.975])
@pytest.mark.parametrize("samples", [30, 100])
def test_from_30_samples_neither_tail_misses_much_more_often_than_it_says(samples, level):
    """Normal gains exactly, exponential ones nearly: Student's interval alone misses 6.7% of these at 30 samples."""
    rng, tail = np.random.default_rng(samples), (1 - level) / 2
    for gains, truth, slack in (
        (rng.normal(size=(samples, TRIALS)), 0.0, 0.0),
        (rng.exponential(size=(samples, TRIALS)), 1.0, 0.012),
        (-rng.exponential(size=(samples, TRIALS)), -1.0, 0.012),
    ):
        found = paired_interval(gains, level=level)
        allowed = tail + slack + 3 * math.sqrt(tail * (1 - tail) / TRIALS)
        assert (found.low > truth).mean() < allowed
        assert (found.high < truth).mean() < allowed


@pytest.mark.parametrize("samples", [5, 30])
def test_with_bounds_rare_gains_are_missed_as_often_as_it_says_from_five_samples_on(samples):
    """Gains of 1 in one of ten or of fifty samples, else 0; and skewed ones: without bounds, most intervals miss."""
    rng, tail = np.random.default_rng(samples), 0.025
    for gains, truth in (
        ((rng.random((samples, FEWER_TRIALS)) < 0.1).astype(float), 0.1),
        ((rng.random((samples, FEWER_TRIALS)) < 0.02).astype(float), 0.02),
        (rng.beta(0.1, 1.9, size=(samples, FEWER_TRIALS)), 0.05),
    ):
        bounded = paired_interval(gains, bounds=(-1.0, 1.0))
        allowed = tail + 3 * math.sqrt(tail * (1 - tail) / FEWER_TRIALS)
        assert (bounded.high < truth).mean() < allowed
        assert (bounded.low > truth).mean() < allowed
        mirrored = paired_interval(-gains, bounds=(-1.0, 1.0))
        assert (mirrored.low > -truth).mean() < allowed
        if truth == 0.02:
            assert (paired_interval(gains).high < truth).mean() > 4 * tail


def test_with_bounds_alike_differences_leave_room_for_those_that_were_not_seen():
    """The weight of one difference among n + 1 is at most w with a chance of 1 - (1 - w)^n."""
    for samples in (1, 2, 30):
        found = paired_interval(np.full(samples, 0.2), bounds=(-1.0, 1.0))
        weight = 1 - 0.025 ** (1 / samples)
        assert found.high == pytest.approx(0.2 + 0.8 * weight, abs=0.01)
        assert found.low == pytest.approx(0.2 - 1.2 * weight, abs=0.01)
        assert found.mean == 0.2


def test_bounds_may_differ_between_columns_and_never_narrow_an_interval():
    gains = np.random.default_rng(0).exponential(size=(40, 2))
    whole, plain = paired_interval(gains, bounds=([-9.0, -99.0], [9.0, 99.0])), paired_interval(gains)
    assert (whole.low <= plain.low).all()
    assert (whole.high >= plain.high).all()
    assert whole.high[1] - plain.high[1] > 1 > whole.high[0] - plain.high[0]
    assert plain.bounds is None
    assert [bound.tolist() for bound in whole.bounds] == [[-9.0, -99.0], [9.0, 99.0]]
    for column, widest in enumerate((9.0, 99.0)):
        single = paired_interval(gains[:, column], bounds=(-widest, widest))
        assert (single.low, single.high) == pytest.approx((whole.low[column], whole.high[column]))


def test_dims_after_the_samples_are_kept_and_each_is_its_own():
    gains = np.random.default_rng(0).exponential(size=(7, 3, 2))
    whole = paired_interval(gains, 0.5, level=0.9)
    assert whole.mean.shape == whole.low.shape == whole.high.shape == (3, 2)
    assert (whole.samples, whole.resamples, whole.level) == (7, 0, 0.9)
    for place in np.ndindex(3, 2):
        single = paired_interval(gains[(slice(None), *place)], np.full(7, 0.5), level=0.9)
        assert (single.low, single.high) == (whole.low[place], whole.high[place])


def test_alike_differences_are_one_point_and_one_sample_has_no_interval():
    same = paired_interval(np.full(7, 0.1))
    assert (same.mean, same.low, same.high) == (0.1, 0.1, 0.1)
    two = paired_interval([1.0, 3.0])
    assert (two.low, two.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
    one = paired_interval([3.0])
    assert one.mean == 3.0
    assert np.isnan([one.low, one.high]).all()


def test_errors_say_what_is_needed():
    cases = [
        (
            lambda: paired_interval(np.zeros(3), np.zeros(4)),
            "The measures have shapes (3,) and (4,), but both need one number per sample, for the same samples: "
            "paired_interval(method, baseline).",
        ),
        (
            lambda: paired_interval([1.0, np.nan]),
            "The differences of 1 samples are NaN or infinite, the first that of sample 1. Leave these samples out of "
            "both: method[finite], baseline[finite].",
        ),
        (
            lambda: paired_interval([1.0, 2.0], level=1.0),
            "level=1.0 was given, but a level between 0 and 1 is needed: level=0.95.",
        ),
        (
            lambda: paired_interval([0.5, 2.0], bounds=(-1.0, 1.0)),
            "The bounds are (-1.0, 1.0), but the differences reach from 0.5 to 2, and all have to lie within: "
            "bounds=(-1.0, 1.0) for differences of probabilities.",
        ),
        (
            lambda: paired_interval([0.5, 2.0], bounds=(-1.0,)),
            "The bounds are (-1.0,), but two are needed, the least and the greatest difference that is possible, "
            "each a number or an array of shape (): bounds=(-1.0, 1.0).",
        ),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as raised:
            call()
        assert str(raised.value) == message
