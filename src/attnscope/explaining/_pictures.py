"""Pictures of an explanation: one sample by its kind, and all samples in a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attnscope import plot
from attnscope.colours import as_rgb
from attnscope.marks import shown
from attnscope.schema import SAMPLE

if TYPE_CHECKING:
    from attnscope.explaining._explanation import Explanation
    from attnscope.plot import Axes, Place


def draw(explanation: Explanation, sample: int, ax: Place) -> Axes:
    """Draws one sample: a text as its tokens, a picture under its relevance, a series over time, all else as bars.

    Args:
        explanation: With a method that is drawn.
        sample: Its place among the samples.
        ax: Axes, an empty figure, or None for a new one of pyplot's.

    Returns:
        The axes.
    """
    relevance, one = (array.isel({SAMPLE: sample}) for array in (explanation.relevance, explanation.table))
    if explanation.kind == "tokens":
        return plot.tokens(relevance).draw(ax)
    if explanation.kind == "steps":
        return plot.series(relevance, ax=ax)
    if explanation.kind == "patches":
        return plot.image(as_rgb(one["picture"].values), relevance, grid=one.attrs["grid"], ax=ax)
    return plot.bars(relevance, one["value"].values.ravel() if "value" in one else None, ax=ax)


def write(explanation: Explanation, path: Path) -> None:
    """Draws all samples into a file, in their order; see `attnscope.plot`."""
    pictures = [partial(draw, explanation, sample) for sample in range(len(explanation))]
    title = shown(f"What {explanation.target} depends on")
    plot.drawing_module("_sheets", "explanation.save").write(pictures, path, title)
