"""The verdict on a method, by a written rule that every card repeats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from attnscope.errors import in_a_row
from attnscope.marks import readable
from attnscope.trust._interval import Interval
from attnscope.trust._time_limit import Limited

Word = Literal["explains", "descriptive only", "misleading here", "cannot tell"]
WORDS: tuple[Word, ...] = get_args(Word)
Relation = Literal["better than", "worse than", "no better than", "not told apart from"]
Gains = Mapping[str, Mapping[str, Interval]]
"""By removal and by baseline: the interval of the gain in comprehensiveness."""

LEAST_SAMPLES = 30
"""With fewer, too little is known of how gains are spread: see ``benchmarks/interval_coverage.py``."""
ERRORS = 0.05
"""The intervals of all kinds of removal together miss their means at most this often, on either side half as often."""
CHANGES = 0.7
"""A method depends on the parameters if shuffling all of them brings its rank correlation with itself below this."""
MARGIN = 0.25
"""A gain that is certainly below this share of what the most important single position is worth is none."""
BASELINES = ("random", "position")
MOST_SAMPLES = 100_000
"""More are not looked for."""
FOR_FOUR_IN_FIVE = 1.4
"""How much wider intervals are taken to be when samples are planned, so that a claim is likely and not a toss-up:
(2.24 + 0.84) / 2.24, from the normal quantiles of 97.5% intervals and of 80%."""

RULE = (
    "Each comparison with a baseline is an interval for the mean gain, which allows for gains rarer than the samples. "
    "A method explains if it is better than a random order and better than what position alone would rank first "
    "(intervals above 0), under every kind of removal, and if its ranking changes when the model's parameters are "
    f"shuffled (mean rank correlation below {CHANGES}). It is misleading here if it is worse than random under any "
    "kind (interval below 0), or no better under every kind (intervals not above 0 that end below the margin). It is "
    "descriptive only if it is better than random under some kind, not worse under any (intervals above minus the "
    "margin), and known not to explain: its ranking does not change, or under some kind it is no better than random "
    f"or position. Otherwise these samples cannot tell; with fewer than {LEAST_SAMPLES} different samples, they never "
    f"can. The margin is {MARGIN:.0%} of how far removing the most important single position moves the answer. Samples "
    "of which fewer than two positions may be removed are left out, as all orders of these are one."
)

LIMITS = (
    "What replaces the removed positions affects the answer: nothing here applies to other kinds of removal.",
    "The verdicts apply to the samples that were given; on other samples they may differ.",
    "That a method explains these answers says nothing about whether the model is right or fair.",
    "Larger gains than any method showed here for any sample are allowed for only where the target is a probability.",
)


@dataclass(frozen=True)
class Verdict:
    """How faithful a method is on these samples.

    Attributes:
        word: ``explains``, ``descriptive only``, ``misleading here`` or ``cannot tell``.
        reasons: Why, as clauses of a sentence.
        needed: Where these samples cannot tell: about how many would, with a chance of four in five, if their gains are
            like these. None for other verdicts, and where over 100,000 would be needed.
        testable: Whether samples like these can tell at all, however many there are.
    """

    word: Word
    reasons: tuple[str, ...]
    needed: int | None = None
    testable: bool = True


def verdict_of(gains: Gains, correlation: float | None, margins: Mapping[str, float], *, share: float = 1.0) -> Verdict:
    """The verdict by `RULE`.

    Args:
        gains: By removal and by baseline (``random``, ``position``): the interval of the gain in comprehensiveness over
            that baseline.
        correlation: Mean rank correlation of the method's relevance with that for the model with all parameters
            shuffled, within -1 to 1; NaN where nothing is ranked there, which counts as a change; None where nothing is
            ranked before, which says nothing.
        margins: By removal: the gain that counts as none, 0 or more; NaN where no gain can be said to be none.
        share: Which share of the samples the gains are of, above 0.

    Example:
        >>> import numpy as np
        >>> sure = Interval(np.array(0.2), np.array(0.1), np.array(0.3), 0.975, 50, 0, "")
        >>> both, margins = {"random": sure, "position": sure}, {"delete": 0.05, "mask_token": 0.05}
        >>> verdict_of({"delete": both, "mask_token": both}, 0.1, margins).word
        'explains'
        >>> verdict_of({"delete": both, "mask_token": both}, 0.99, margins).word
        'descriptive only'
    """
    changes = None if correlation is None else math.isnan(correlation) or correlation < CHANGES
    word = _word(gains, margins, changes=changes)
    reasons = [_comparison(baseline, gains, margins) for baseline in BASELINES]
    reasons.append(_when_shuffled(correlation, changes=changes))
    needed = _needed(gains, margins, changes=changes) if word == "cannot tell" else None
    return Verdict(word, tuple(reasons), None if needed is None else _two_digits(needed / share))


def _when_shuffled(correlation: float | None, *, changes: bool | None) -> str:
    if correlation is None:
        return "it ranks nothing on the samples for which it was computed again with all parameters shuffled"
    said = "" if math.isnan(correlation) else f" (rank correlation {readable(f'{correlation:z.2f}')})"
    return f"its ranking {'changes' if changes else 'stays much the same'} when all parameters are shuffled{said}"


def _word(gains: Gains, margins: Mapping[str, float], *, changes: bool | None) -> Word:
    """The verdict in a word; docs/evidence.md has it as a table. Where `changes` is None, it is not known."""
    over_random, over_position = (_relations(baseline, gains, margins) for baseline in BASELINES)
    both = [*over_random, *over_position]
    not_worse = all(gain["random"].low >= -margins[removal] for removal, gain in gains.items())
    does_not_explain = changes is False or any(relation in ("worse than", "no better than") for relation in both)
    if _samples(gains) < LEAST_SAMPLES:
        return "cannot tell"
    if "worse than" in over_random or set(over_random) == {"no better than"}:
        return "misleading here"
    if set(both) == {"better than"} and changes:
        return "explains"
    if "better than" in over_random and not_worse and does_not_explain:
        return "descriptive only"
    return "cannot tell"


def _relations(baseline: str, gains: Gains, margins: Mapping[str, float]) -> list[Relation]:
    """What a method's intervals say about it and a baseline, by removal."""
    return [_relation(gain[baseline], margins[removal]) for removal, gain in gains.items()]


def _relation(interval: Interval, margin: float) -> Relation:
    if interval.high < 0:
        return "worse than"
    if interval.low > 0:
        return "better than"
    return "no better than" if interval.high <= margin else "not told apart from"


def _comparison(baseline: str, gains: Gains, margins: Mapping[str, float]) -> str:
    """Under which removals a method is better than a baseline, worse, no better, or neither."""
    relations: dict[Relation, list[str]] = {}
    for removal, relation in zip(gains, _relations(baseline, gains, margins), strict=True):
        relations.setdefault(relation, []).append(removal)
    return "; ".join(f"{relation} {baseline} under {' and '.join(names)}" for relation, names in relations.items())


def _needed(gains: Gains, margins: Mapping[str, float], *, changes: bool | None) -> int | None:
    """The fewest samples, to two digits, that would be likely to give a verdict if their gains are like these."""
    count = float(LEAST_SAMPLES)
    while count <= MOST_SAMPLES:
        samples = _two_digits(count)
        planned = {
            removal: {baseline: _planned(interval, samples) for baseline, interval in gain.items()}
            for removal, gain in gains.items()
        }
        if _word(planned, margins, changes=changes) != "cannot tell":
            return samples
        count *= 1.08
    return None


def _planned(interval: Interval, samples: int) -> Interval:
    """The interval that so many samples would be likely to stay within, around the same mean.

    What the samples show of their spread narrows with the root of their number alone. Student's quantile would narrow
    it further, but that of a few samples stands for how little is known of their spread, and more samples may turn out
    to have a larger one. What is allowed for rarer gains narrows faster: with the share of samples that something may
    have which none of them shows.
    """
    wider = FOR_FOUR_IN_FIVE * math.sqrt(interval.samples / samples)
    rarer = _unseen_share(samples, interval.level) / _unseen_share(interval.samples, interval.level)
    low, high = interval.observed or (interval.low, interval.high)
    return replace(
        interval,
        low=interval.mean - wider * (interval.mean - low) - rarer * (low - interval.low),
        high=interval.mean + wider * (high - interval.mean) + rarer * (interval.high - high),
        samples=samples,
    )


def _unseen_share(samples: int, level: float) -> float:
    """The largest share of samples that none of so many shows, but for a chance of half of what the level leaves."""
    return float(1 - ((1 - level) / 2) ** (1 / samples))


def _two_digits(count: float) -> int:
    """The next whole number that has two digits and then zeros."""
    unit = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / unit) * unit


def _samples(gains: Gains) -> int:
    return min(interval.samples for gain in gains.values() for interval in gain.values())


def in_short(
    verdicts: Mapping[str, Verdict], samples: int, given: int | None = None, limit: Limited | None = None
) -> tuple[str, str]:
    """Two sentences: which methods may be used for this model, and what is wrong with the others.

    Args:
        verdicts: By method.
        samples: How many samples were tested.
        given: How many there were; None for no more.
        limit: The time limit; None where there was none.
    """
    named = {word: [name for name, verdict in verdicts.items() if verdict.word == word] for word in WORDS}
    unknown = [name for name in named["cannot tell"] if verdicts[name].testable]
    hopeless = [name for name in named["cannot tell"] if not verdicts[name].testable]
    enough = _enough([verdicts[name].needed for name in unknown]) if unknown else ""
    if samples < LEAST_SAMPLES:
        few, time = f"{samples} samples are too few", ""
        if limit is not None and given is not None and given >= LEAST_SAMPLES:
            few = f"In {limit.time} only {samples} of {given} samples could be tested, too few"
            time = f"Testing {LEAST_SAMPLES} takes about {limit.enough}"
        every = f"every {'other ' if hopeless else ''}method"
        then = f"if more samples are like these, a verdict on {every} takes {enough}" if unknown else ""
        never = f"more samples like these cannot tell about {in_a_row(hopeless, 'or')}" if hopeless else ""
        return (
            f"{few} to tell whether any method explains this model's answers: at least {LEAST_SAMPLES} are needed.",
            _sentence((time, then, never)),
        )
    first = (
        f"To explain this model's answers on samples like these, use {in_a_row(named['explains'], 'or')}."
        if named["explains"]
        else "No method that was tested is known to explain this model's answers."
    )
    unfit = [
        f"{in_a_row(named[word], 'or')} ({word})" for word in ("misleading here", "descriptive only") if named[word]
    ]
    parts = [
        *([f"do not use {', nor '.join(unfit)}"] if unfit else []),
        *(
            [f"{samples} samples are too few to judge {in_a_row(unknown, 'or')}: that takes {enough}"]
            if unknown
            else []
        ),
        *([f"no number of samples like these can tell about {in_a_row(hopeless, 'or')}"] if hopeless else []),
    ]
    return first, _sentence(parts or ("every method that was tested may be used",))


def _sentence(clauses: Iterable[str]) -> str:
    """Clauses, of which some may be empty, as one sentence."""
    sentence = "; ".join(filter(None, clauses))
    return f"{sentence[0].upper()}{sentence[1:]}."


def _enough(needed: Sequence[int | None]) -> str:
    """How many samples would do, for the easiest and the hardest of several methods."""
    known = [count for count in needed if count is not None]
    least = f"{min(known):,}" if known else ""
    most = f"{max(known):,}" if len(known) == len(needed) else f"over {MOST_SAMPLES:,}"
    if known and least != most:
        return f"about {least} to {most}, depending on the method"
    return f"about {most}" if known else most
