"""How many samples can be tested within a given time."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from attnscope.errors import InputError

PILOT = 4
"""Samples in the first pilot run; no fewer are ever tested."""
LARGER_PILOT = 32
"""Samples in the pilot run that is measured, where there is time for as many."""
SHARE_OF_PILOT = 0.25
"""The share of the time left that it may take."""
RESERVE = 0.1
"""The share of the time left that is not planned for, as no two samples take equally long."""
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class TimeLimit:
    """The time that a piece of work may take.

    Attributes:
        seconds: How long it may take.
        started: When it started, by `time.monotonic`.
        words: The limit as text, such as ``5 min``.
    """

    seconds: float
    started: float
    words: str

    @property
    def left(self) -> float:
        """Seconds that are left, 0 or more."""
        return max(0.0, self.started + self.seconds - time.monotonic())

    def seconds_each(self, total: int, work: Callable[[int], object]) -> float:
        """Seconds that are to be planned for each sample.

        Args:
            total: How many samples there are.
            work: The work on as many samples, from the first on. It is done on few of them, up to three times.
        """
        each = _measured(PILOT, total, work)
        if self.left > PILOT * each:  # the first run also compiles
            each = _measured(PILOT, total, work)
        larger = min(LARGER_PILOT, total, int(SHARE_OF_PILOT * self.left / each))
        if larger >= 2 * PILOT:
            each = _measured(larger, total, work)
        return each / (1 - RESERVE)

    def plan(self, total: int, each: float) -> Plan:
        """How many of the samples the time that is left allows, `PILOT` at least.

        Args:
            total: How many samples there are.
            each: Seconds for each.
        """
        return Plan(int(min(total, max(PILOT, self.left / each))), each, time.monotonic() - self.started)


@dataclass(frozen=True)
class Plan:
    """How many samples are tested, and how long others would take.

    Attributes:
        samples: How many.
        each: Seconds that are planned for each sample.
        before: Seconds that have passed.
    """

    samples: int
    each: float
    before: float

    def seconds_for(self, samples: int) -> float:
        """About how long as many samples take."""
        return self.before + samples * self.each


@dataclass(frozen=True)
class Limited:
    """The time limit that a card was made within.

    Attributes:
        time: The limit as text, such as ``30 s``.
        enough: About how long it takes to test as many samples as any verdict needs, as text.
    """

    time: str
    enough: str


def _measured(samples: int, total: int, work: Callable[[int], object]) -> float:
    started = time.monotonic()
    work(samples)
    return (time.monotonic() - started) / min(samples, total)


def time_limit(budget: str | float, started: float) -> TimeLimit:
    """The limit that a user's ``budget=`` sets.

    Args:
        budget: Seconds, or text such as ``"5 min"``.
        started: When the work started, by `time.monotonic`.

    Raises:
        InputError: The budget is not a time.
    """
    words = budget if isinstance(budget, str) else f"{budget:g} s"
    return TimeLimit(seconds_of(budget), started, words)


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
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|h)\s*", budget) if isinstance(budget, str) else None
    if match is None or not float(match[1]):
        raise InputError(
            f"The budget is {budget!r}, but a number of seconds or a time such as '5 min' is needed: budget='5 min'."
        )
    return float(match[1]) * _SECONDS[match[2]]


def in_words(seconds: float) -> str:
    """A time as text that `seconds_of` takes, rounded up.

    Example:
        >>> in_words(7.2), in_words(41), in_words(100), in_words(4000)
        ('10 s', '50 s', '2 min', '67 min')
    """
    return f"{10 * math.ceil(seconds / 10)} s" if seconds <= 60 else f"{math.ceil(seconds / 60)} min"
