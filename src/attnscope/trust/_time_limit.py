"""How many samples can be tested within a given time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from attnscope.errors import InputError

PILOT = 4
"""Samples in a pilot run, which measures how long each takes; no fewer are ever tested."""
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

    def samples(self, total: int, pilot: Callable[[], object]) -> int:
        """How many of the samples the time that is left allows, `PILOT` at least.

        Args:
            total: How many samples there are.
            pilot: The work on the first `PILOT` samples. It is run twice, as the first run also compiles, which
                happens only once.
        """
        pilot()
        pilot_started = time.monotonic()
        pilot()
        each = (time.monotonic() - pilot_started) / min(PILOT, total)
        left = max(0.0, self.seconds - (time.monotonic() - self.started))
        return int(min(total, max(PILOT, left / each)))


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
