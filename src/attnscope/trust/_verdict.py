"""The verdict on a method, by a written rule that every card repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnscope.trust._bootstrap import Interval

Word = Literal["explains", "descriptive only", "misleading here"]
CHANGES = 0.7
"""A method depends on the parameters if shuffling all of them brings its rank correlation with itself below this."""
REMOVALS_WON = 2
"""Under how many kinds of removal, at least, a method has to beat both baselines."""
BASELINES = ("random", "position")

RULE = (
    "A method explains if the answer depends more on what it ranks first than on what a random order ranks first, and "
    "more than on what position alone would rank first, both with intervals above 0 under at least "
    f"{REMOVALS_WON} kinds of removal, and if its ranking changes when the model's parameters are shuffled (mean rank "
    f"correlation below {CHANGES}). It is misleading here if it does worse than random under any kind of removal "
    "(interval below 0), or better than random under none. Otherwise it is descriptive only: it shows something about "
    "the model, but not why it decides."
)

LIMITS = (
    "What replaces the removed positions affects the answer: nothing here applies to other kinds of removal.",
    "The verdicts apply to the samples that were given; on other samples they may differ.",
    "That a method explains these answers says nothing about whether the model is right or fair.",
    "With fewer than 30 samples, the intervals are too narrow, and the position baseline is noisy.",
)


@dataclass(frozen=True)
class Verdict:
    """How faithful a method is on these samples.

    Attributes:
        word: ``explains``, ``descriptive only`` or ``misleading here``.
        reasons: Why, as clauses of a sentence.
    """

    word: Word
    reasons: tuple[str, ...]


def verdict_of(gains: Mapping[str, Mapping[str, Interval]], correlation: float) -> Verdict:
    """The verdict by `RULE`.

    Args:
        gains: By removal and by baseline (``random``, ``position``): the interval of the gain in comprehensiveness over
            that baseline.
        correlation: Mean rank correlation of the method's relevance with that for the model with all parameters
            shuffled, within -1 to 1; NaN where nothing is ranked there, which counts as a change.

    Example:
        >>> sure = Interval(np.array(0.2), np.array(0.1), np.array(0.3), 0.95, 50, 1000, "bca")
        >>> both = {"random": sure, "position": sure}
        >>> verdict_of({"delete": both, "mask_token": both}, correlation=0.1).word
        'explains'
        >>> verdict_of({"delete": both, "mask_token": both}, correlation=0.99).word
        'descriptive only'
    """
    over = {baseline: {removal: gain[baseline] for removal, gain in gains.items()} for baseline in BASELINES}
    reasons = [_comparison(baseline, intervals) for baseline, intervals in over.items()]
    changes = bool(np.isnan(correlation) or correlation < CHANGES)
    reasons.append(
        f"its ranking {'changes' if changes else 'stays much the same'} when all parameters are shuffled"
        + ("" if np.isnan(correlation) else f" (rank correlation {correlation:.2f})")
    )
    wins = {baseline: sum(map(_above, intervals.values())) for baseline, intervals in over.items()}
    if any(map(_below, over["random"].values())) or wins["random"] == 0:
        return Verdict("misleading here", tuple(reasons))
    if min(wins.values()) >= REMOVALS_WON and changes:
        return Verdict("explains", tuple(reasons))
    return Verdict("descriptive only", tuple(reasons))


def _above(interval: Interval) -> bool:
    return bool(interval.low > 0)


def _below(interval: Interval) -> bool:
    return bool(interval.high < 0)


def _comparison(baseline: str, intervals: Mapping[str, Interval]) -> str:
    """Under which removals a method is better than a baseline, worse, or neither."""
    removals = {
        "better than": [name for name, interval in intervals.items() if _above(interval)],
        "worse than": [name for name, interval in intervals.items() if _below(interval)],
        "no different from": [name for name, i in intervals.items() if not _above(i) and not _below(i)],
    }
    return "; ".join(f"{word} {baseline} under {' and '.join(names)}" for word, names in removals.items() if names)
