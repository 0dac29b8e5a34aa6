"""The verdict on a method, by a rule that is written down and that the card repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attnscope.trust._bootstrap import Interval

Word = Literal["explains", "descriptive only", "misleading here"]
CHANGES = 0.7
"""A method follows the parameters if, with all of them shuffled, its ranks correlate with what they were by less."""
OPERATORS = 2
"""Under how many ways of removing a method has to win."""
BASELINES = ("random", "position")

RULE = (
    f"A method explains if what it names first counts more for the answer than what chance names, and more than what "
    f"is known from the position alone, both with intervals above 0 under {OPERATORS} ways of removing, and if its "
    f"ranks change when the model's parameters are shuffled (mean rank correlation below {CHANGES}). It is misleading "
    "here if under any way of removing it does worse than chance (interval below 0), or if it beats chance under none. "
    "All else is descriptive only: it shows something of the model, and not why it decides."
)

LIMITS = (
    "What stands in the place of what is removed changes the answer: nothing here is about other ways of removing.",
    "The samples are those that were given; for others the verdict may be another.",
    "That a method explains these answers says nothing about whether the model is right, or fair.",
    "With fewer than 30 samples the intervals are too narrow, and the position baseline is noisy.",
)


@dataclass(frozen=True)
class Verdict:
    """What is to be made of a method on these samples.

    Attributes:
        word: ``explains``, ``descriptive only`` or ``misleading here``.
        reasons: What led to it, as sentences.
    """

    word: Word
    reasons: tuple[str, ...]


def verdict_of(gains: Mapping[str, Mapping[str, Interval]], correlation: float) -> Verdict:
    """The verdict, see `RULE`.

    Args:
        gains: By way of removing and by baseline (``random``, ``position``): the interval of the gain in
            comprehensiveness over that baseline.
        correlation: Mean rank correlation of the method's answers with those for the model with all parameters
            shuffled, within -1 to 1; NaN where it ranks nothing there, which counts as a change.

    Example:
        >>> sure = Interval(np.array(0.2), np.array(0.1), np.array(0.3), 0.95, 50, 1000, "bca")
        >>> both = {"random": sure, "position": sure}
        >>> verdict_of({"delete": both, "mask_token": both}, correlation=0.1).word
        'explains'
        >>> verdict_of({"delete": both, "mask_token": both}, correlation=0.99).word
        'descriptive only'
    """
    reasons = [_compared(baseline, {name: found[baseline] for name, found in gains.items()}) for baseline in BASELINES]
    follows = bool(np.isnan(correlation) or correlation < CHANGES)
    reasons.append(
        f"{'changes' if follows else 'answers the same'} when all parameters are shuffled"
        + ("" if np.isnan(correlation) else f" (rank correlation {correlation:.2f})")
    )
    won = {baseline: sum(_above(found[baseline]) for found in gains.values()) for baseline in BASELINES}
    if any(_below(found["random"]) for found in gains.values()) or won["random"] == 0:
        return Verdict("misleading here", tuple(reasons))
    if min(won.values()) >= OPERATORS and follows:
        return Verdict("explains", tuple(reasons))
    return Verdict("descriptive only", tuple(reasons))


def _above(found: Interval) -> bool:
    return bool(found.low > 0)


def _below(found: Interval) -> bool:
    return bool(found.high < 0)


def _compared(baseline: str, found: Mapping[str, Interval]) -> str:
    words = {
        "better than": [name for name, interval in found.items() if _above(interval)],
        "worse than": [name for name, interval in found.items() if _below(interval)],
        "no different from": [name for name, i in found.items() if not _above(i) and not _below(i)],
    }
    return "; ".join(f"{word} {baseline} under {' and '.join(names)}" for word, names in words.items() if names)
