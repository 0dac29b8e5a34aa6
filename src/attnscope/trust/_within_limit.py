"""An experiment within a time limit: on as many samples as it allows, and without what no verdict needs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from attnscope.trust._comparison import compared
from attnscope.trust._experiment import REPEATED_SAMPLES, Experiment
from attnscope.trust._repeats import SHUFFLED_RUNS, Repeats, attention, sensitivities, shuffled
from attnscope.trust._time_limit import Plan, TimeLimit
from attnscope.trust._verdict import LEAST_SAMPLES

SAMPLES_FIRST = 2 * LEAST_SAMPLES
"""Where time is short, as many samples come before the tests that no verdict needs."""


@dataclass(frozen=True)
class Planned:
    """An experiment, and what a time limit made of it.

    Attributes:
        experiment: What is tested, on the samples that are left.
        repeats: What repeating the methods showed, where it is known already.
        plan: How many samples the limit left; None where there is none.
    """

    experiment: Experiment
    repeats: Repeats | None = None
    plan: Plan | None = None


def within(limit: TimeLimit, whole: Experiment) -> Planned:
    """An experiment on as many of its samples, drawn at random, as a time limit allows.

    What takes as long however many samples there are is done at once; pilot runs measure what each sample takes.

    Args:
        limit: The time limit.
        whole: The experiment on all samples.
    """
    total = whole.subject.samples
    drawn = whole.rows(np.random.default_rng(whole.seed).permutation(total))
    drawn = replace(drawn, repeated_samples=_affordable_repeats(drawn, limit))
    correlations, seen = shuffled(drawn), attention(drawn.first(SAMPLES_FIRST))
    each = limit.seconds_each(total, lambda count: compared(drawn.first(count)))
    is_short = limit.plan(total, each).samples < min(total, SAMPLES_FIRST)
    sensitive = dict.fromkeys(drawn.methods) if is_short else sensitivities(drawn)
    repeats = Repeats(correlations, sensitive, seen, _cuts(drawn, is_short))
    plan = limit.plan(total, each)
    return Planned(drawn.first(plan.samples), repeats, plan)


def _cuts(experiment: Experiment, is_short: bool) -> tuple[str, ...]:
    """What was left out for lack of time, besides samples.

    Args:
        experiment: What is tested.
        is_short: Whether there was no time for what no verdict needs.
    """
    shuffled = f"Parameters were shuffled for {experiment.repeated_samples} samples in place of {REPEATED_SAMPLES}"
    perturbed = "Whether relevance is stable when the input is perturbed a little was not tested"
    return (
        *([shuffled] if experiment.repeated_samples < REPEATED_SAMPLES else []),
        *([perturbed] if is_short and experiment.moves else []),
    )


def _affordable_repeats(experiment: Experiment, limit: TimeLimit) -> int:
    """On how many samples methods may be repeated, so that at least half of the time is left for the others."""
    few = experiment.few
    few.relevances()  # compiles
    started = time.monotonic()
    few.relevances()
    seconds = SHUFFLED_RUNS * (time.monotonic() - started)
    return max(2, min(REPEATED_SAMPLES, int(REPEATED_SAMPLES * limit.left / 2 / seconds)))
