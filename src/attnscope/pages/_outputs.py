"""What a model said about its samples, in words: numbers, or the classes that they decide for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import xarray as xr

from attnscope.errors import InputError
from attnscope.marks import number, numbers
from attnscope.schema import LOGIT, PROBABILITY, SAMPLE

Outputs: TypeAlias = xr.DataArray | dict[str, xr.DataArray] | None
"""What a model returned: of several outputs, each by its name."""


def outputs_in_words(outputs: Outputs, classes: Sequence[str] | None, samples: int) -> list[str]:
    """The outputs for the first samples, of several each by its name.

    Args:
        outputs: What the model returned.
        classes: What the classes of the output that has as many columns are called; None where nothing says it.
        samples: How many samples.

    Returns:
        For each sample the class that it gets, with its number; or what `marks.numbers` says.

    Raises:
        InputError: No output has as many columns as there are classes.
    """
    arrays = dict(_named(outputs))
    called = list(classes or ())
    decided = _of_classes(arrays, called) if called else {}
    words = []
    for name, array in arrays.items():
        rows = np.asarray(array.isel({SAMPLE: slice(samples)}).values)
        if name in decided:
            column, certain = _decisions(decided[name], _unit(array))
            each = [
                "NaN" if np.isnan(sure) else f"{called[at]} ({number(sure)})"
                for at, sure in zip(column, certain, strict=True)
            ][:samples]
        else:
            each = list(map(numbers, rows))
        words.append([f"{name}: {word}" if name else word for word in each])
    return ["; ".join(row) for row in zip(*words, strict=True)]


def class_counts(outputs: Outputs, classes: Sequence[str]) -> str:
    """How many samples get each class, the most frequent first: ``benign 98, malignant 59``."""
    parts = []
    arrays = dict(_named(outputs))
    for name, columns in _of_classes(arrays, classes).items():
        column, certain = _decisions(columns, _unit(arrays[name]))
        counts = np.bincount(column[~np.isnan(certain)], minlength=len(classes))
        order = np.argsort(-counts, kind="stable")
        unknown = int(np.isnan(certain).sum())
        said = [f"{classes[place]} {counts[place]:,}" for place in order if counts[place]]
        words = ", ".join([*said, *([f"NaN {unknown:,}"] if unknown else [])])
        parts.append(f"{name}: {words}" if name else words)
    return "; ".join(parts)


def _named(outputs: Outputs) -> Iterator[tuple[str, xr.DataArray]]:
    named = outputs if isinstance(outputs, dict) else {} if outputs is None else {"": outputs}
    return ((name, array) for name, array in named.items() if SAMPLE in array.dims)


def _of_classes(arrays: dict[str, xr.DataArray], classes: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs that the classes can be of, dims ``(sample, class)``; a single column decides between two."""
    columns = {
        name: np.asarray(array.values, dtype="float64").reshape(array.sizes[SAMPLE], -1)
        for name, array in arrays.items()
        if array.ndim <= 2 and array.dims[0] == SAMPLE
    }
    fitting = {
        name: values
        for name, values in columns.items()
        if values.shape[1] == len(classes) or (values.shape[1], len(classes)) == (1, 2)
    }
    if not fitting:
        shapes = ", ".join(str(array.shape) for array in arrays.values()) or "none"
        raise InputError(
            f"{len(classes)} classes were named, but the outputs have the shapes {shapes}. Name one class for each "
            "column, or two for a single one: classes=['no', 'yes']."
        )
    return fitting


def _unit(array: xr.DataArray) -> str:
    """``probability`` or ``logit``; empty where nothing says it."""
    return str(array.attrs.get("units", ""))


def _decisions(columns: np.ndarray, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """The number of the class that each sample gets, and how strongly; NaN where any number is, and it gets none.

    A single column of which nothing says what it is counts as probabilities where all are within 0 to 1.
    """
    if columns.shape[1] > 1:
        return columns.argmax(1), columns.max(1)
    values = columns[:, 0]
    known = values[~np.isnan(values)]
    if unit == PROBABILITY or (unit != LOGIT and ((known >= 0) & (known <= 1)).all()):
        second = values > 0.5
        return second.astype(int), np.where(second, values, 1 - values)
    second = values > 0
    return second.astype(int), np.abs(values)
