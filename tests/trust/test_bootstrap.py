"""Bootstrap intervals: coverage by simulation, closed forms for two samples, and what is drawn together."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from attnscope.errors import InputError
from attnscope.trust import paired_bootstrap

TRIALS = 2000


def covered(differences, truth, kind):
    """Share of the intervals that hold the true mean; every column is a trial of its own."""
    found = paired_bootstrap(differences, resamples=4000, kind=kind)
    return np.mean((found.low <= truth) & (truth <= found.high))


def allowed(share):
    """Four standard deviations of a count of trials, and what 4,000 draws, the same for all, may move both ends by."""
    return 4 * math.sqrt(share * (1 - share) / TRIALS) + 4 * math.sqrt(2 * 0.025 * 0.975 / 4000)


@pytest.mark.parametrize("kind", ["bca", "percentile"])
def test_intervals_of_100_samples_hold_the_true_mean_as_often_as_they_say(rng, kind):
    share = covered(rng.normal(0.3, 2.0, (100, TRIALS)), 0.3, kind)
    # the bootstrap's own spread is short by the root of (n - 1) / n, and its quantiles are normal and not Student's
    expected = math.erf(1.96 * math.sqrt(99 / 100) / math.sqrt(2))
    assert abs(share - expected) < allowed(0.95)


def test_of_skewed_differences_bca_holds_the_mean_more_often_than_quantiles_do():
    differences = np.random.default_rng(3).lognormal(0.0, 1.0, (40, TRIALS))
    shares = {kind: covered(differences, math.exp(0.5), kind) for kind in ("bca", "percentile")}
    assert shares["bca"] > shares["percentile"]
    assert 0.87 < shares["bca"] < 0.95  # a lognormal of 40 samples is hard for every interval


def test_ten_samples_are_covered_in_about_nine_of_ten_cases(rng):
    share = covered(rng.normal(size=(10, TRIALS)), 0.0, "percentile")
    assert abs(share - 0.90) < allowed(0.90) + 0.01


def test_the_quantiles_are_those_of_all_means_that_can_be_drawn():
    """Of two samples the drawn mean is the lower, the middle or the upper, with shares 1/4, 1/2, 1/4."""
    found = paired_bootstrap([1.0, 5.0], level=0.6, kind="percentile", resamples=4000)
    assert (found.low, found.mean, found.high) == (1.0, 3.0, 5.0)
    inner = paired_bootstrap([1.0, 5.0], level=0.4, kind="percentile", resamples=4000)
    assert (inner.low, inner.high) == (3.0, 3.0)


def test_bca_without_bias_and_skew_is_the_percentile_interval_but_for_chance():
    differences = np.concatenate([np.linspace(-1, 1, 41), [0.0]])
    plain, better = (paired_bootstrap(differences, kind=kind, resamples=40_000) for kind in ("percentile", "bca"))
    assert abs(plain.low - better.low) < 0.01
    assert abs(plain.high - better.high) < 0.01
    assert abs(plain.high - 1.96 * differences.std() / math.sqrt(42)) < 0.01


def test_bca_is_its_formula_over_all_samples_that_can_be_drawn():
    """Efron and Tibshirani, section 14.3: bias from the share of means below, acceleration from leaving one out."""
    sample = np.array([0.1, 0.2, 0.35, 0.5, 1.1, 4.0])
    means = np.array([np.mean(drawn) for drawn in itertools.product(sample, repeat=6)])
    normal = NormalDist()
    bias = normal.inv_cdf(np.mean(means < sample.mean() - 1e-12) + np.mean(np.abs(means - sample.mean()) < 1e-12) / 2)
    left_out = np.array([np.delete(sample, place).mean() for place in range(6)])
    away = left_out.mean() - left_out
    speed = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    ends = []
    for tail in (0.1, 0.9):
        moved = bias + normal.inv_cdf(tail)
        ends.append(np.quantile(means, normal.cdf(bias + moved / (1 - speed * moved))))
    found = paired_bootstrap(sample, level=0.8, resamples=200_000)
    np.testing.assert_allclose([found.low, found.high], ends, atol=0.02)
    assert bias > 0.05  # without it the ends would lie elsewhere
    assert np.abs(np.array(ends) - np.quantile(means, (0.1, 0.9))).min() > 0.05


def test_bca_leans_to_the_longer_tail(rng):
    differences = rng.lognormal(size=50)
    plain, better = (paired_bootstrap(differences, kind=kind) for kind in ("percentile", "bca"))
    assert better.low > plain.low
    assert better.high > plain.high


def test_what_makes_samples_hard_for_both_cancels_out(rng):
    hard = rng.normal(0, 100, 80)
    better = rng.normal(0.5, 1.0, 80)
    paired = paired_bootstrap(hard + better, hard)
    np.testing.assert_allclose([paired.low, paired.high], [0.5, 0.5], atol=0.6)
    assert paired.low > 0
    alone = paired_bootstrap(hard + better)
    assert alone.high - alone.low > 20


def test_all_columns_are_drawn_alike(rng):
    differences = rng.normal(size=(30, 3, 2))
    whole = paired_bootstrap(differences, resamples=500, seed=2)
    assert whole.mean.shape == whole.low.shape == whole.high.shape == (3, 2)
    np.testing.assert_allclose(whole.mean, differences.mean(0))
    for place in np.ndindex(3, 2):
        single = paired_bootstrap(differences[(slice(None), *place)], resamples=500, seed=2)
        np.testing.assert_allclose([single.low, single.high], [whole.low[place], whole.high[place]], rtol=1e-12)


def test_the_seed_decides():
    differences = np.random.default_rng(0).normal(size=20)
    first, second, third = (paired_bootstrap(differences, seed=seed) for seed in (1, 1, 2))
    assert (first.low, first.high) == (second.low, second.high)
    assert (first.low, first.high) != (third.low, third.high)


def test_alike_differences_are_one_point_and_one_sample_has_no_interval():
    for kind in ("bca", "percentile"):
        same = paired_bootstrap(np.full(7, 0.1), kind=kind)
        assert (same.mean, same.low, same.high) == (0.1, 0.1, 0.1)
    one = paired_bootstrap([3.0])
    assert one.mean == 3.0
    assert np.isnan(one.low)
    assert np.isnan(one.high)
    assert not one.low > 0


def test_errors_say_what_is_needed():
    cases = [
        (
            lambda: paired_bootstrap(np.zeros(3), np.zeros(4)),
            "The measures have shapes (3,) and (4,), but both need one number per sample, for the same "
            "samples: paired_bootstrap(method, baseline).",
        ),
        (
            lambda: paired_bootstrap([]),
            "The measures have shapes (0,) and (), but both need one number per sample, for the same "
            "samples: paired_bootstrap(method, baseline).",
        ),
        (
            lambda: paired_bootstrap([1.0, np.nan, 2.0, np.inf]),
            "The differences of 2 samples are NaN or infinite, the first that of sample 1. Leave these samples out of "
            "both: method[finite], baseline[finite].",
        ),
        (
            lambda: paired_bootstrap([1.0, 2.0], level=1.0),
            "level=1.0, resamples=10000 and kind='bca' were given, but a level between 0 and 1, at least one resample "
            "and the kind 'bca' or 'percentile' are needed: level=0.95, resamples=10_000, kind='bca'.",
        ),
    ]
    for call, message in cases:
        with pytest.raises(InputError) as raised:
            call()
        assert str(raised.value) == message
