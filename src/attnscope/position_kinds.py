"""What lies along an axis of an input: tokens, features of a table, steps of a series, patches of a picture..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from attnscope.labels import patches
from attnscope.schema import KEY, axes_of_inputs, known_positions

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


def singular(kind: str) -> str:
    """What one of such positions is called: ``patch``, ``feature``, ``step``."""
    return "patch" if kind == "patches" else kind.removesuffix("s")


@dataclass(frozen=True)
class Counted:
    """Positions that have no names: what they are, and how they are counted.

    Attributes:
        kinds: What lies along each axis that they are counted by: ``("steps",)``, ``("sentences", "tokens")``; of
            patches ``("patches", "patches")``, their rows and columns.
        sizes: How many along each.
    """

    kinds: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def are_patches(self) -> bool:
        """Whether they lie in rows and columns."""
        return self.kinds == ("patches", "patches")

    @property
    def units(self) -> str:
        """What they are called: ``features``, ``patches``; ``positions`` where that is not known."""
        return self.kinds[-1] if UNKNOWN not in self.kinds else UNKNOWN

    def some(self, count: int) -> str:
        """How many of them, in words: ``1 patch``, ``1,024 features``."""
        return f"{count:,} {self.units if count != 1 else singular(self.units)}"

    @property
    def axis(self) -> str:
        """What is written along an axis that counts them.

        Example:
            >>> Counted(("patches", "patches"), (2, 3)).axis, Counted(("sentences", "tokens"), (2, 3)).axis
            ('patches (row, column)', 'tokens (sentence, token)')
        """
        if len(set(self.kinds)) == len(self.kinds) == 1:
            return self.units
        parts = ("row", "column") if self.are_patches else tuple(map(singular, self.kinds))
        return f"{self.units} ({', '.join(parts)})" if len(set(parts)) == len(parts) else self.units

    @property
    def numbers(self) -> list[str]:
        """The number of each, where what they are stands beside it: ``3``, or ``0, 3``."""
        return [", ".join(map(str, place)) for place in np.ndindex(*self.sizes)]

    @property
    def names(self) -> list[str]:
        """What each is called where it stands alone.

        Example:
            >>> Counted(("steps",), (2,)).names, Counted(("patches", "patches"), (1, 2)).names
            (['step 0', 'step 1'], ['row 0, column 0', 'row 0, column 1'])
        """
        if self.are_patches:
            return patches(self.sizes[0], self.sizes[1])
        called = list(map(singular, self.kinds))
        return [
            ", ".join(f"{kind} {number}" for kind, number in zip(called, place, strict=True))
            for place in np.ndindex(*self.sizes)
        ]


def counted_along(array: xr.DataArray, dims: Sequence[str]) -> Counted:
    """What lies along some dims of an array, as far as its attrs say it.

    Args:
        array: Maps of a site, or relevance.
        dims: All of its dims for queries, or all for keys. Several are counted row by row.
    """
    grid = tuple(int(size) for size in np.ravel(array.attrs.get("grid", ())))
    if tuple(dims) == (KEY,) and len(grid) == 2 and grid[0] * grid[1] == array.sizes[KEY]:
        return Counted(("patches", "patches"), grid)
    kinds = known_positions({str(name): value for name, value in array.attrs.items()})
    return Counted(tuple(kinds.get(dim, UNKNOWN) for dim in dims), tuple(array.sizes[dim] for dim in dims))


def names_along(array: xr.DataArray, dims: Sequence[str]) -> list[str]:
    """What positions of one sample are called: their labels, else what they are and their numbers.

    Args:
        array: Its coordinate ``key_label`` and its attrs are read.
        dims: All of its dims for keys.
    """
    labels = array.coords.get(f"{KEY}_label")
    if labels is None:
        return counted_along(array, dims).names
    return [str(label) for label in labels.values.ravel()]
