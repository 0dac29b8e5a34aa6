"""From weights to a colour bar: scales that are stated, and large maps made small enough to see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from attnscope.errors import SchemaError
from attnscope.marks import rounded_up

Normalize = Literal["max", "row", "rank", "log"]
DECADES = 4
"""How many powers of ten a logarithmic scale goes down."""


@dataclass(frozen=True)
class Scale:
    """What the ends of the colours mean.

    Attributes:
        maximum: The upper end; the lower end is 0.
        label: What is written along the colour bar.
        logarithmic: Whether colours go by powers of ten; the lower end then means 0 and everything up to `floor`.
    """

    maximum: float
    label: str
    logarithmic: bool = False

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
        return {share * self.maximum: f"{share * self.maximum:g}" for share in (0.0, 0.5, 1.0)}


def scaled(
    values: np.ndarray,
    masked: np.ndarray,
    *,
    normalize: Normalize | None = None,
    maximum: float | None = None,
    unit: str = "attention",
) -> tuple[np.ndarray, Scale]:
    """Weights as they are drawn, and the scale that all panels share.

    Args:
        values: dims ``(panel, row, column)``; NaN stays NaN.
        masked: Same dims.
        normalize: None: the weights as they are. ``max``: as shares of the panel's largest. ``row``: as shares of the
            row's largest. ``rank``: the share of the panel's open cells that have no more weight; 0 stays 0.
            ``log``: as they are, with colours by powers of ten.
        maximum: Upper end of the scale; None for the largest weight, rounded up.
        unit: What a value is.

    Raises:
        SchemaError: There is no such `normalize`, or `maximum` is not a positive number.
    """
    if normalize not in (None, *get_args(Normalize)):
        raise SchemaError(
            f"normalize={normalize!r} was given, but None (the weights as they are), 'max', 'row', 'rank' or 'log' is "
            "needed. Leave it out, or write normalize='max'."
        )
    if normalize in ("max", "row", "rank"):
        if maximum is not None:
            raise SchemaError(
                f"maximum={maximum!r} was given with normalize={normalize!r}, whose scale always ends at 1. Leave one "
                "of them out."
            )
        return _normalised(values, masked, normalize), Scale(1.0, _ENDS[normalize].format(unit=unit))
    end = _maximum(values, masked, maximum)
    label = unit if normalize is None else f"{unit}, logarithmic"
    return values, Scale(end, label, normalize == "log")


_ENDS = {
    "max": "{unit} / largest of the map",
    "row": "{unit} / largest of the row",
    "rank": "rank of the {unit}: share of cells with no more",
}


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
    largest = seen.max(axis=-1 if normalize == "row" else (-2, -1), keepdims=True)
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
