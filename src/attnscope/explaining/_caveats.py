"""What a reader has to know of relevance: what it is measured from, and how exact it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from attnscope.errors import in_a_row
from attnscope.marks import number, shown
from attnscope.quantities import LEFT_OVER


def is_exact(relevance: xr.DataArray) -> bool:
    """Whether relevance that adds up does so for every sample, but for `LEFT_OVER` of the way."""
    return not _left_over(relevance).any()


def caveats(relevance: xr.DataArray, ids: Sequence[str]) -> list[str]:
    """What relevance is measured from and how exact it is, as sentences; none where there is nothing to say.

    Args:
        relevance: What `ats.attribute` returns.
        ids: What its samples are called.
    """
    method = str(relevance.attrs["method"])
    notes = []
    if "baseline" in relevance.attrs:
        notes.append(
            f"By {method}, relevance is measured from a baseline that stands for nothing: "
            f"{relevance.attrs['baseline']}."
        )
    left_over = _left_over(relevance)
    if left_over.any():
        names = [shown(name) for name, is_left in zip(ids, left_over, strict=True) if is_left]
        points = f" with {relevance.attrs['steps']} points on the path" if "steps" in relevance.attrs else ""
        notes.append(
            f"The relevance of {in_a_row(names)} by {method} does not add up{points}: each value may be off by as much "
            "as what is left over."
        )
    if "standard_error" in relevance.coords:
        error = float(np.nanmax(relevance["standard_error"].values, initial=0.0))
        if error > 0:
            notes.append(
                f"By {method}, relevance is estimated from random orders: its standard error is up to {number(error)}."
            )
    return notes


def _left_over(relevance: xr.DataArray) -> np.ndarray:
    """Of which samples more is left over than rounding explains, dims ``(sample,)``; of none where nothing adds up."""
    if "completeness_gap" not in relevance.coords:
        return np.zeros(relevance.shape[0], bool)
    way = np.abs(relevance["answer"].values - relevance["base"].values)
    return np.asarray(np.abs(relevance["completeness_gap"].values) > LEFT_OVER * np.maximum(way, np.median(way)))
