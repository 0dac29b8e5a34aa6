"""What the page of an evidence card reads, as types, so that pages need not know the room that computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from attnscope.findings import Findings


@dataclass(frozen=True)
class CardRules:
    """The rule behind the verdicts, in words and numbers that the page repeats.

    Attributes:
        rule: The rule of the verdicts, as a paragraph.
        limits: What the card cannot tell, as sentences.
        baselines: Names of what methods are compared with.
        unchanged_from: Rank correlation from which a method's relevance counts as unchanged.
        margin: The gain that counts as none, as a share of what the most important single position is worth.
    """

    rule: str
    limits: Sequence[str]
    baselines: Sequence[str]
    unchanged_from: float
    margin: float


class IntervalData(Protocol):
    """A mean with the ends of its interval, each a single number; NaN where an end is unknown."""

    @property
    def mean(self) -> np.ndarray: ...
    @property
    def low(self) -> np.ndarray: ...
    @property
    def high(self) -> np.ndarray: ...


class VerdictData(Protocol):
    """The verdict in a word, the reasons for it, and how many samples would give one where these cannot tell."""

    @property
    def word(self) -> str: ...
    @property
    def reasons(self) -> Sequence[str]: ...
    @property
    def needed(self) -> int | None: ...


class MethodData(Protocol):
    """What was found about one method or baseline; a baseline has no verdict."""

    @property
    def name(self) -> str: ...
    @property
    def class_specific(self) -> bool | None: ...
    @property
    def means(self) -> Mapping[str, Mapping[str, float]]: ...
    @property
    def gains(self) -> Mapping[str, Mapping[str, IntervalData]]: ...
    @property
    def randomised(self) -> Mapping[str, float]: ...
    @property
    def independent(self) -> Mapping[str, float]: ...
    @property
    def sensitivity(self) -> float | None: ...
    @property
    def verdict(self) -> VerdictData | None: ...


class AttentionChangeData(Protocol):
    """How far the answer moves when attention is changed."""

    @property
    def samples(self) -> int: ...
    @property
    def spread(self) -> float: ...
    @property
    def permuted(self) -> float: ...
    @property
    def permutations(self) -> int: ...
    @property
    def uniform(self) -> float: ...
    @property
    def distance(self) -> float | None: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def site(self) -> str | None: ...


class CardData(Protocol):
    """All that one card shows."""

    @property
    def summary(self) -> Sequence[str]: ...
    @property
    def model(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def samples(self) -> int: ...
    @property
    def given(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def judged(self) -> Mapping[str, MethodData]: ...
    @property
    def margins(self) -> Mapping[str, float]: ...
    @property
    def moved(self) -> AttentionChangeData | None: ...
    @property
    def stability(self) -> Mapping[str, float]: ...
    @property
    def retrained(self) -> Mapping[str, float] | None: ...
    @property
    def findings(self) -> Findings: ...
    @property
    def passes(self) -> int: ...
    @property
    def gradient_passes(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def backend(self) -> str: ...
    @property
    def removals(self) -> Sequence[str]: ...
