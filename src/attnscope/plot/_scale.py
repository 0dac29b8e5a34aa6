"""From weights to a colour bar: scales that are stated, and large maps made small enough to see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from attnscope.errors import SchemaError
from attnscope.marks import readable, rounded_up
from attnscope.quantities import ATTENTION, Quantity

Normalize = Literal["max", "row", "rank", "log"]
DECADES = 4
"""How many powers of ten a logarithmic scale goes down."""


@dataclass(frozen=True)
class Scale:
    """What the ends of the colours mean.

    Attributes:
        maximum: The upper end; the lower end is 0, or of a signed scale as far below 0.
        label: What is written along the colour bar.
        logarithmic: Whether colours go by powers of ten; the lower end then means 0 and everything up to `floor`.
        signed: Whether it has two sides of 0.
    """

    maximum: float
    label: str
    logarithmic: bool = False
    signed: bool = False

    @property
    def floor(self) -> float:
        """Where a logarithmic scale begins."""
        return float(f"{self.maximum / 10**DECADES:.12g}")

    @property
    def ticks(self) -> dict[float, str]:
        """The values that are written on the colour bar."""
        if self.logarithmic:
            ends = [float(f"{self.maximum / 10**power:.12g}") for power in range(DECADES, -1, -1)]
            return {end: f"≤ {end:g}" if end == ends[0] else f"{end:g}" for end in ends}
        if self.signed:
            return {-self.maximum: readable(f"{-self.maximum:g}"), 0.0: "0", self.maximum: f"+{self.maximum:g}"}
        return {share * self.maximum: f"{share * self.maximum:g}" for share in (0.0, 0.5, 1.0)}

    def tip(self, values: np.ndarray, masked: np.ndarray | bool = False) -> str:
        """At which end values lie beyond the scale, with the colour of its end: the bar has a tip there."""
        seen = np.where(masked, 0.0, values)
        end = self.maximum * (1 + 1e-9)
        above = np.nanmax(seen, initial=0.0) > end
        below = self.signed and np.nanmin(seen, initial=0.0) < -end
        return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[
            bool(below), bool(above)
        ]


def scaled(
    values: np.ndarray,
    masked: np.ndarray,
    *,
    normalize: Normalize | None = None,
    maximum: float | None = None,
    quantity: Quantity = ATTENTION,
) -> tuple[np.ndarray, Scale]:
    """Values as they are drawn, and the scale that all panels share.

    Args:
        values: dims ``(panel, row, column)``; NaN stays NaN.
        masked: Same dims.
        normalize: None: the weights as they are. ``max``: as shares of the panel's largest. ``row``: as shares of the
            row's largest. ``rank``: the share of the panel's open cells that have no more weight; 0 stays 0.
            ``log``: as they are, with colours by powers of ten. Of signed values, ``max`` and ``row`` are shares of the
            one farthest from 0, and the other two have no meaning.
        maximum: Upper end of the scale; None for the value farthest from 0, rounded up.
        quantity: What a value is.

    Raises:
        SchemaError: There is no such `normalize`, or none for these values; or `maximum` is not a positive number.
    """
    if normalize not in (None, *get_args(Normalize)):
        raise SchemaError(
            f"normalize={normalize!r} was given, but None (the weights as they are), 'max', 'row', 'rank' or 'log' is "
            "needed. Leave it out, or write normalize='max'."
        )
    if quantity.signed and normalize in ("rank", "log"):
        raise SchemaError(
            f"normalize={normalize!r} was given for {quantity.noun}, which has two sides of 0, but ranks and powers of "
            "ten have one. Leave it out, or write normalize='max'."
        )
    if normalize in ("max", "row", "rank"):
        if maximum is not None:
            raise SchemaError(
                f"maximum={maximum!r} was given with normalize={normalize!r}, whose scale always ends at 1. Leave one "
                "of them out."
            )
        return _normalised(values, masked, normalize), Scale(1.0, _label(quantity, normalize), signed=quantity.signed)
    end = _maximum(np.abs(values) if quantity.signed else values, masked, maximum)
    return values, Scale(end, _label(quantity, normalize), normalize == "log", quantity.signed)


def _label(quantity: Quantity, normalize: Normalize | None) -> str:
    """What is written along the bar."""
    if normalize in ("max", "row"):
        farthest = "farthest from 0" if quantity.signed else "largest"
        return f"{quantity.name} / {farthest} of the {'map' if normalize == 'max' else 'row'}"
    if normalize == "rank":
        return f"rank of the {quantity.name}: share of cells with no more"
    return f"{quantity.name}, logarithmic" if normalize == "log" else quantity.name


def _maximum(values: np.ndarray, masked: np.ndarray, maximum: float | None) -> float:
    if maximum is None:
        return rounded_up(float(np.nanmax(np.where(masked, 0.0, values), initial=0.0)))
    if not (math.isfinite(maximum) and maximum > 0):
        raise SchemaError(
            f"maximum={maximum!r} was given, but a colour scale from 0 has to end above it. Write maximum=1."
        )
    return float(maximum)


def _normalised(values: np.ndarray, masked: np.ndarray, normalize: str) -> np.ndarray:
    seen = np.where(masked | np.isnan(values), 0.0, values)
    if normalize == "rank":
        ranks = np.stack([_ranks(panel, hidden) for panel, hidden in zip(values, masked, strict=True)])
        return np.asarray(np.where(np.isnan(values), np.nan, ranks))
    largest = np.abs(seen).max(axis=-1 if normalize == "row" else (-2, -1), keepdims=True)
    return np.asarray(values / np.where(largest > 0, largest, 1.0))


def _ranks(values: np.ndarray, masked: np.ndarray) -> np.ndarray:
    among = np.sort(values[~masked & ~np.isnan(values)])
    ranks = np.searchsorted(among, values, side="right") / max(1, among.size)
    return np.asarray(np.where(values == 0, 0.0, ranks))


def pooled(
    values: np.ndarray, masked: np.ndarray, most: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """A map made small enough to draw: each cell is the one farthest from 0 of a block, so that thin lines stay.

    Args:
        values: dims ``(row, column)``.
        masked: Same dims; left out, unless a whole block is.
        most: Most rows and columns of the result.

    Returns:
        The values (NaN where a block holds one that is not masked), which blocks are masked, and the size of a block.
    """
    high, wide = (math.ceil(size / limit) for size, limit in zip(values.shape, most, strict=True))
    if high == wide == 1:
        return values, masked, (1, 1)
    starts = [np.arange(0, size, step) for size, step in zip(values.shape, (high, wide), strict=True)]

    def of_blocks(function: np.ufunc, array: np.ndarray) -> np.ndarray:
        return np.asarray(function.reduceat(function.reduceat(array, starts[0], axis=0), starts[1], axis=1))

    hidden = of_blocks(np.logical_and, masked)
    largest = of_blocks(np.maximum, np.where(masked, -np.inf, values))
    least = of_blocks(np.minimum, np.where(masked, np.inf, values))
    farthest = np.where(largest >= -least, largest, least)
    farthest = np.where(np.isnan(largest) | np.isnan(least), np.nan, farthest)
    return np.where(hidden, 0.0, farthest), hidden, (high, wide)


def blocks_in_words(shape: tuple[int, ...], block: tuple[int, int], what: str = "largest") -> str:
    """What a picture drawn in blocks says about them; empty where it is not."""
    if block == (1, 1):
        return ""
    return f"{shape[-2]:,} x {shape[-1]:,}: each cell is the {what} of {block[0]} x {block[1]}"
