"""How many samples a time allows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np

from attnscope.attribution import Subject
from attnscope.errors import InputError

PILOT = 4
"""Samples that a first run takes, to learn how long each takes."""
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


def within_budget(
    subject: Subject, budget: str | float | None, began: float, run: Callable[[Subject], object], seed: int
) -> tuple[Subject, list[str]]:
    """As many of the samples, drawn at random, as a budget allows, and what is to be said of it.

    Args:
        subject: All samples.
        budget: See `seconds_of`; None for all samples.
        began: When the time began, by `time.monotonic`.
        run: What is to be done. It is run twice on a few samples: the first time it compiles, which is paid once.
        seed: Of the drawing.

    Raises:
        InputError: The budget is no time.
    """
    if budget is None:
        return subject, []
    seconds = seconds_of(budget)
    few = subject.rows(slice(0, PILOT))
    run(few)
    start = time.monotonic()
    run(few)
    each = (time.monotonic() - start) / few.samples
    left = max(0.0, seconds - (time.monotonic() - began))
    count = int(min(subject.samples, max(PILOT, left / each)))
    if count >= subject.samples:
        return subject, []
    rows = np.sort(np.random.default_rng(seed).permutation(subject.samples)[:count])
    within = budget if isinstance(budget, str) else f"{budget:g} s"
    return subject.rows(rows), [f"{count} of {subject.samples} samples were drawn, to stay within {within}."]


def seconds_of(budget: str | float) -> float:
    """Seconds from a number of them, or from text such as ``"5 min"``.

    Raises:
        InputError: It is neither.

    Example:
        >>> seconds_of("5 min"), seconds_of("1.5 h"), seconds_of(20)
        (300.0, 5400.0, 20.0)
    """
    if isinstance(budget, (int, float)) and not isinstance(budget, bool) and budget > 0:
        return float(budget)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|h)\s*", budget) if isinstance(budget, str) else None
    if found is None or not float(found[1]):
        raise InputError(f"The budget is {budget!r}, but seconds or a time such as '5 min' is needed: budget='5 min'.")
    return float(found[1]) * _SECONDS[found[2]]
