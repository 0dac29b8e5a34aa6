"""Which method may be drawn: the best that the evidence card lets through."""

from __future__ import annotations

from dataclasses import dataclass

from attnscope.attribution import method_of
from attnscope.trust import EvidenceCard

EXPLAINS, DESCRIPTIVE, UNTESTED = "explains", "descriptive only", "not tested"


@dataclass(frozen=True)
class MethodChoice:
    """A method with the verdict on it.

    Attributes:
        name: Of the method.
        verdict: The card's word, or ``not tested``.
        reasons: Why, as clauses of a sentence.
    """

    name: str
    verdict: str
    reasons: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """The verdict as a picture says it: ``the card: explains``, ``not tested on this model``."""
        if self.verdict == UNTESTED:
            return f"{UNTESTED} on this model"
        why = f": {'; '.join(self.reasons)}" if self.reasons and self.verdict != EXPLAINS else ""
        return f"the card: {self.verdict}{why}"


def choices(card: EvidenceCard | None, asked: str) -> list[MethodChoice]:
    """The method to draw and the one to lay beside it: none, one or both.

    Args:
        card: What was found about each method; None where nothing was tested.
        asked: The name of a method, which is drawn whatever the card says of it; or ``auto`` for the one that explains
            with the widest margin, or else the best that is descriptive, or else none.

    Raises:
        MethodError: There is no such method.
    """
    if asked != "auto":
        method_of(asked)
    allowed = [] if card is None else [choice for word in (EXPLAINS, DESCRIPTIVE) for choice in _of_word(card, word)]
    if asked == "auto":
        return _two_kinds(allowed)
    return _two_kinds([choice_of(card, asked), *(choice for choice in allowed if choice.name != asked)])


def choice_of(card: EvidenceCard | None, name: str) -> MethodChoice:
    """A method with what a card says of it."""
    judged = None if card is None else card.judged.get(name)
    if judged is None or judged.verdict is None:
        return MethodChoice(name, UNTESTED, ())
    return MethodChoice(name, judged.verdict.word, tuple(judged.verdict.reasons))


def _of_word(card: EvidenceCard, word: str) -> list[MethodChoice]:
    """The methods of a verdict, the one whose gain over random is certain by the widest margin first."""
    names = [name for name, said in card.verdicts.items() if said == word]
    return [choice_of(card, name) for name in sorted(names, key=lambda name: -_margin(card, name))]


def _margin(card: EvidenceCard, name: str) -> float:
    return min(float(gains["random"].low) for gains in card.judged[name].gains.values())


def _two_kinds(ranked: list[MethodChoice]) -> list[MethodChoice]:
    """The first, and the next that has the same verdict or a better one, to see where they disagree."""
    return [ranked[0], *(other for other in ranked[1:2] if other.verdict == EXPLAINS)] if ranked else []
