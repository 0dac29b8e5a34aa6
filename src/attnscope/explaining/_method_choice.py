"""Which method may be drawn: the best that the evidence card lets through."""

from __future__ import annotations

from dataclasses import dataclass

from attnscope.attribution import CHANGES_OF_ANSWER, method_of
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
    def signed(self) -> bool:
        """Whether the method tells what raises the answer from what lowers it; if not, it is never negative."""
        return method_of(self.name).signed

    @property
    def in_words(self) -> str:
        """The verdict as a picture says it: ``the card: explains``, ``not tested on this model``."""
        if self.verdict == UNTESTED:
            return f"{UNTESTED} on this model"
        why = f": {'; '.join(self.reasons)}" if self.reasons and self.verdict != EXPLAINS else ""
        return f"the card: {self.verdict}{why}"


def choices(card: EvidenceCard | None, asked: str) -> list[MethodChoice]:
    """The method to draw, and those of which one may be laid beside it, the best first; none where none may be drawn.

    Args:
        card: What was found about each method; None where nothing was tested.
        asked: The name of a method, which is drawn whatever the card says of it; or ``auto`` for the one that explains
            with the widest margin, or else the best that is descriptive, or else none. Of methods that the card's
            margin does not tell apart, the one that says by how much the answer changes.

    Raises:
        MethodError: There is no such method.
    """
    if asked != "auto":
        method_of(asked)
    allowed = [] if card is None else [choice for word in (EXPLAINS, DESCRIPTIVE) for choice in _of_word(card, word)]
    if asked != "auto":
        allowed = [choice_of(card, asked), *(choice for choice in allowed if choice.name != asked)]
    return [*allowed[:1], *(choice for choice in allowed[1:] if choice.verdict == EXPLAINS)]


def choice_of(card: EvidenceCard | None, name: str) -> MethodChoice:
    """A method with what a card says of it."""
    judged = None if card is None else card.judged.get(name)
    if judged is None or judged.verdict is None:
        return MethodChoice(name, UNTESTED, ())
    return MethodChoice(name, judged.verdict.word, tuple(judged.verdict.reasons))


def _of_word(card: EvidenceCard, word: str) -> list[MethodChoice]:
    """The methods of a verdict, the best first.

    That is the one whose gain over random is certain by the widest margin. Those that come as close to it as what
    counts as no gain are as good; of these the ones come first whose numbers are changes of the answer.
    """
    names = [name for name, said in card.verdicts.items() if said == word]
    certain = {name: _certain(card, name) for name in names}
    least = max(certain.values(), default=0.0) - min(card.margins.values(), default=0.0)
    ranked = sorted(names, key=lambda name: (certain[name] < least, name not in CHANGES_OF_ANSWER, -certain[name]))
    return [choice_of(card, name) for name in ranked]


def _certain(card: EvidenceCard, name: str) -> float:
    """The lower end of the gain over random, under the kind of removal where it is least."""
    return min(float(gains["random"].low) for gains in card.judged[name].gains.values())
