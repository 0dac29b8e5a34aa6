"""Pictures of an explanation: one sample by its kind, and all samples in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from attnscope import plot
from attnscope.colours import as_rgb
from attnscope.marks import shown

if TYPE_CHECKING:
    from attnscope.plot import Axes, Place


def draw(kind: str, sample: xr.Dataset, relevance: xr.DataArray, ax: Place) -> Axes:
    """Draws one sample: a text as its tokens, a picture under its relevance, a series over time, all else as bars.

    Args:
        kind: What its positions are; see `Explanation`.
        sample: Its row of the explanation's table.
        relevance: Its relevance by the method that is drawn.
        ax: Axes, an empty figure, or None for a new one of pyplot's.

    Returns:
        The axes.
    """
    if kind == "tokens":
        return plot.tokens(relevance).draw(ax)
    if kind == "steps":
        return plot.series(relevance, ax=ax)
    if kind == "patches":
        return plot.image(as_rgb(sample["picture"].values), relevance, grid=sample.attrs["grid"], ax=ax)
    return plot.bars(relevance, sample["value"].values.ravel() if "value" in sample else None, ax=ax)


def write(pictures: Sequence[Callable[[Place], Axes]], path: Path, target: str) -> None:
    """Draws samples into a file, in their order; see `attnscope.plot`.

    Args:
        pictures: Each draws one sample.
        path: Where to write.
        target: What is explained.
    """
    title = shown(f"What {target} depends on")
    plot.drawing_module("_sheets", "explanation.save").write(pictures, path, title)
