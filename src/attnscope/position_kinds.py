"""What lies along an axis of an input: tokens, features of a table, steps of a series, patches of a picture..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attnscope.schema import axes_of_inputs

UNKNOWN = "positions"
"""What positions are called of which nothing is known."""


@dataclass(frozen=True)
class InputContent:
    """What an input holds.

    Attributes:
        rank: Number of its axes, with the samples.
        holds: ``numbers``; or of whole numbers ``tokens`` or ``codes`` of a table's columns. Empty where it is not
            known which of the two they are.
    """

    rank: int
    holds: Literal["tokens", "codes", "numbers", ""]

    def along(self, axis: int) -> str:
        """What lies along one of its axes; empty where it is not known.

        Example:
            >>> [InputContent(3, holds).along(axis) for holds in ("tokens", "numbers") for axis in (1, 2)]
            ['sentences', 'tokens', 'steps', 'features']
        """
        if axis == self.rank - 1:
            return "tokens" if self.holds == "tokens" else "features" if self.holds else ""
        if self.rank == 3:
            return {"tokens": "sentences", "numbers": "steps"}.get(self.holds, "")
        return "patches" if self.rank == 4 and self.holds == "numbers" else ""

    @property
    def in_windows(self) -> str:
        """What windows of it are: patches of a picture, spans of anything else."""
        return "patches" if self.rank >= 4 else "spans"


def kind_of_positions(lineage: str, inputs: Mapping[str, InputContent]) -> str:
    """What positions are called: ``tokens``, ``sentences``, ``features``, ``steps``, ``patches`` or ``spans``.

    Args:
        lineage: Where they come from, in words.
        inputs: What each input holds, by its name.

    Returns:
        Their name; empty where they come from no input, or from several that hold different things.

    Example:
        >>> lineage = "positions made by the model, then axis 1 of input 'x'"
        >>> kind_of_positions(lineage, {"x": InputContent(2, "numbers")})
        'features'
    """
    kinds = set()
    for what, name in axes_of_inputs(lineage):
        content = inputs.get(name)
        if content is None:
            return ""
        if what == "patches":
            kinds.add(content.in_windows)
        else:
            axes = [int(number) for number in what.replace(",", " ").split() if number.isdigit()]
            along = {content.along(axis) for axis in axes}
            kinds |= {"tokens"} if along == {"sentences", "tokens"} else along
    return kinds.pop() if len(kinds) == 1 else ""
