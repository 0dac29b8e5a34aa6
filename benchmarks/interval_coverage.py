"""How often intervals for a mean gain miss it, and how often harmless methods are called misleading.

First table: of 95% intervals, the share (%) that lies wholly above the true mean, and the share that lies wholly below
it; each should be at most 2.5. The gains are drawn from distributions that gains resemble, most of them skewed;
mirrored ones give the same shares the other way round. A share of 2.5% has a standard error of 0.17% with 8,000 trials.

Second table: the same at the level that a card with two kinds of removal uses, 97.5%, for the interval that it uses.

Third table: the share (%) of harmless methods that the rule of the verdicts calls misleading. Under the first kind of
removal their true gain over random is exactly the margin, under the second exactly 0, which is the hardest case. The
gains of a sample under both kinds are independent, or the same in four of five samples: the larger share is shown. The
bounds of the gains are known (the range of the distribution, cut at its 1 - 1e-4 quantile where it has no end), as they
are of probabilities; or only seen: the largest among the gains of eight methods, as for other targets.

Run: ``python benchmarks/interval_coverage.py [--trials 8000]``; prints the tables, in about half an hour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from attnscope.trust import Interval, paired_interval
from attnscope.trust._interval import student_quantile
from attnscope.trust._verdict import ERRORS, LEAST_SAMPLES, _word

SIZES = (5, 10, 20, 30, 50, 100)
RESAMPLES = 1999
CHUNK = 1000
RAREST = 1e-4
METHODS = 8
"""Methods on a card, whose gains show how large gains may be."""
Ends = tuple[np.ndarray, np.ndarray]


class Gains(NamedTuple):
    """A distribution that gains are drawn from, and its mean."""

    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    mean: float

    @property
    def cut(self) -> Gains:
        """The same without the rarest gains, so that it has ends."""
        drawn = self.draw(np.random.default_rng(0), (1_000_000,))
        least, greatest = np.quantile(drawn, [RAREST, 1 - RAREST])
        return Gains(
            lambda rng, size: self.draw(rng, size).clip(least, greatest), float(drawn.clip(least, greatest).mean())
        )


GAINS = {
    "normal": Gains(lambda rng, size: rng.normal(size=size), 0.0),
    "Student's t, 3 degrees of freedom": Gains(lambda rng, size: rng.standard_t(3, size=size), 0.0),
    "exponential": Gains(lambda rng, size: rng.exponential(size=size), 1.0),
    "chi-squared, 1 degree of freedom": Gains(lambda rng, size: rng.chisquare(1, size=size), 1.0),
    "lognormal, sigma 0.6": Gains(lambda rng, size: rng.lognormal(0, 0.6, size=size), float(np.exp(0.18))),
    "lognormal, sigma 1": Gains(lambda rng, size: rng.lognormal(size=size), float(np.exp(0.5))),
    "0 in four of five, else exponential": Gains(
        lambda rng, size: rng.exponential(size=size) * (rng.random(size) < 0.2), 0.2
    ),
    "0 in nine of ten, else 1": Gains(lambda rng, size: (rng.random(size) < 0.1).astype(float), 0.1),
}


def intervals(gains: np.ndarray, rng: np.random.Generator) -> dict[str, Ends]:
    """95% intervals for the mean of each column, dims ``(sample, trial)``, by each method."""
    count, tail = len(gains), 0.025
    mean, error = gains.mean(0), gains.std(0, ddof=1) / np.sqrt(count)
    means, studentised = _resampled(gains, rng)
    first = round(tail * (RESAMPLES + 1)) - 1
    last = RESAMPLES - 1 - first
    reach = student_quantile(1 - tail, count - 1) * error
    johnson = np.where(error > 0, _third_moment(gains) / (6 * count * np.where(error > 0, error**2 * count, 1.0)), 0.0)
    boot_low = np.where(error > 0, mean - studentised[last] * np.where(error > 0, error, 1.0), mean)
    boot_high = np.where(error > 0, mean - studentised[first] * np.where(error > 0, error, 1.0), mean)
    ends: dict[str, Ends] = {
        "percentile": (means[first], means[last]),
        "BCa": _bca(gains, means, tail),
        "Student": (mean - reach, mean + reach),
        "Johnson": (mean + johnson - reach, mean + johnson + reach),
        "bootstrap-t": (boot_low, boot_high),
    }
    ends["Student or BCa"] = _wider(ends["Student"], ends["BCa"])
    ends["Student or bootstrap-t"] = _wider(ends["Student"], ends["bootstrap-t"])
    ours = paired_interval(gains)
    ends["Student or Hall (used)"] = (ours.low, ours.high)
    return ends


def _wider(one: Ends, other: Ends) -> Ends:
    return np.minimum(one[0], other[0]), np.maximum(one[1], other[1])


def _third_moment(gains: np.ndarray) -> np.ndarray:
    """Its unbiased estimate."""
    count = len(gains)
    return np.asarray(((gains - gains.mean(0)) ** 3).sum(0) * count / ((count - 1) * (count - 2)))


def _resampled(gains: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sorted means of resamples, and sorted (mean of the resample - mean) / its standard error.

    The second is infinite where a resample has no spread.
    """
    count = len(gains)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
    means = draws @ gains / count
    variance = np.maximum(draws @ gains**2 / count - means**2, 0) * count / (count - 1)
    away, largest = means - gains.mean(0), np.abs(gains).max(0)
    flat = variance <= (1e-8 * largest) ** 2
    endless = np.where(np.abs(away) <= 1e-9 * largest, 0.0, np.where(away > 0, np.inf, -np.inf))
    studentised = np.where(flat, endless, away / np.sqrt(np.where(flat, 1.0, variance) / count))
    return np.sort(means, axis=0), np.sort(studentised, axis=0)


def _bca(gains: np.ndarray, means: np.ndarray, tail: float) -> Ends:
    """Bias-corrected and accelerated, as `paired_bootstrap` has it."""
    normal = NormalDist()
    away, tiny = gains - gains.mean(0), 1e-9 * np.abs(gains).max(0)
    below = ((means < gains.mean(0) - tiny).mean(0) + (means <= gains.mean(0) + tiny).mean(0)) / 2
    bias = np.array([normal.inv_cdf(min(max(share, 1e-9), 1 - 1e-9)) for share in below])
    squares = (away**2).sum(0)
    speed = np.where(squares > 0, (away**3).sum(0) / (6 * np.where(squares > 0, squares, 1.0) ** 1.5), 0.0)
    ends = []
    for share in (tail, 1 - tail):
        moved = bias + normal.inv_cdf(share)
        shares = [normal.cdf(value) for value in bias + moved / (1 - speed * moved)]
        places = np.round(np.array(shares) * (RESAMPLES - 1)).astype(int)
        ends.append(np.take_along_axis(means, places[None], axis=0)[0])
    return ends[0], ends[1]


def misses(gains: Gains, samples: int, trials: int) -> dict[str, tuple[float, float]]:
    """By method: the share (%) of intervals above the true mean, and of those below it."""
    rng = np.random.default_rng([samples, trials])
    counts: dict[str, np.ndarray] = {}
    for _ in range(trials // CHUNK):
        drawn = gains.draw(rng, (samples, CHUNK))
        for name, ends in intervals(drawn, rng).items():
            counts[name] = counts.get(name, 0) + _missed(ends, gains.mean)
    return {name: tuple(100 * count / (trials // CHUNK * CHUNK)) for name, count in counts.items()}


def _missed(ends: Ends, truth: float) -> np.ndarray:
    """How many intervals lie above the truth, and how many below."""
    low, high = ends
    return np.array([(low > truth + 1e-12).sum(), (high < truth - 1e-12).sum()])


def called_misleading(gains: Gains, samples: int, trials: int, shared: float, *, known: bool) -> float:
    """The share (%) of harmless methods that are called misleading.

    Args:
        gains: What the gains are drawn from, but for their mean.
        samples: How many samples there are.
        trials: How many methods.
        shared: Of how many samples the gains under both kinds of removal are drawn as one.
        known: Whether it is known how large gains can be; else it is seen.
    """
    rng = np.random.default_rng([samples, trials, round(100 * shared)])
    many = gains.draw(rng, (200_000,)) - gains.mean
    margin = float(np.std(many)) / 4  # so that 30 samples cannot tell, and several hundred can
    first, second = (gains.draw(rng, (samples, trials)) - gains.mean for _ in range(2))
    second = np.where(rng.random((samples, trials)) < shared, first, second)
    if known:
        widest: float | np.ndarray = float(np.abs(many).max()) + margin
    else:
        own = np.maximum(np.abs(first + margin).max(0), np.abs(second).max(0))
        others = [np.abs(gains.draw(rng, (samples, trials)) - gains.mean).max(0) for _ in range(METHODS - 1)]
        widest = np.maximum(own, np.max(others, axis=0))
    over_random = [
        paired_interval(drawn, level=1 - ERRORS / 2, bounds=(-widest, widest)) for drawn in (margin + first, second)
    ]
    misleading = 0
    for trial in range(trials):
        one, two = (_single(interval, trial) for interval in over_random)
        both = {"mean": {"random": one, "position": one}, "zero": {"random": two, "position": two}}
        misleading += _word(both, dict.fromkeys(both, margin), changes=True) == "misleading here"
    return 100 * misleading / trials


def _single(interval: Interval, trial: int) -> Interval:
    return Interval(
        *(np.asarray(ends[trial]) for ends in (interval.mean, interval.low, interval.high)),
        interval.level,
        interval.samples,
        interval.resamples,
        interval.kind,
    )


def row(name: str, cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join([name, *cells])} |"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8000)
    trials = parser.parse_args().trials
    for name, gains in GAINS.items():
        shares = [misses(gains, samples, trials) for samples in SIZES]
        print(row(name, [f"{samples}" for samples in SIZES]), row("---", ["---"] * len(SIZES)), sep="\n")
        for method in shares[0]:
            print(row(method, ["{:.1f} / {:.1f}".format(*share[method]) for share in shares]), flush=True)
        print()
    print(row("97.5%, used", [f"{samples}" for samples in SIZES]), row("---", ["---"] * len(SIZES)), sep="\n")
    for name, gains in GAINS.items():
        rng = np.random.default_rng(trials)
        cells = []
        for samples in SIZES:
            interval = paired_interval(gains.draw(rng, (samples, 2 * trials)), level=1 - ERRORS / 2)
            missed = 100 * _missed((interval.low, interval.high), gains.mean) / (2 * trials)
            cells.append("{:.1f} / {:.1f}".format(*missed))
        print(row(name, cells), flush=True)
    sizes = (LEAST_SAMPLES, 100, 300)
    mirrored = {f"{name}, mirrored": Gains(lambda r, s, g=g: -g.draw(r, s), -g.mean) for name, g in GAINS.items()}
    for known in (True, False):
        title = f"called misleading, largest gain {'known' if known else 'seen'}"
        print("\n" + row(title, [f"{samples}" for samples in sizes]), row("---", ["---"] * len(sizes)), sep="\n")
        for name, drawn in {**GAINS, **mirrored}.items():
            gains = drawn.cut if known else drawn
            worst = [
                max(called_misleading(gains, samples, trials // 8, shared, known=known) for shared in (0.0, 0.8))
                for samples in sizes
            ]
            print(row(name, [f"{share:.1f}" for share in worst]), flush=True)


if __name__ == "__main__":
    main()
