"""Relevance of samples and positions, as the pictures of tables need it: numbers, names, and what adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.errors import LabelError, SchemaError, counted
from attnscope.marks import readable
from attnscope.plot._checks import Weights, check, labelled, require_keys
from attnscope.plot._panels import sample_number, sample_titles
from attnscope.position_kinds import Counted, counted_along
from attnscope.quantities import Quantity, quantity_of
from attnscope.schema import KEY, SAMPLE, SAMPLE_ID, key_dims, size_along

Values: TypeAlias = ArrayLike | None
"""What the model was given: one value per position, of one sample or of all."""


@dataclass(frozen=True)
class Samples:
    """What a method gives to the positions of some samples.

    Attributes:
        values: dims ``(sample, position)``, float64; NaN at padding.
        positions: What the positions are.
        names: dims ``(sample, position)``: what each position is called.
        titles: What each sample is called; empty for a single one without a name.
        base: dims ``(sample,)``: the target's number where nothing is there; None where the values need not add up.
        answer: dims ``(sample,)``: the target's number; None as `base`.
        array: Where all of it comes from.
    """

    values: np.ndarray
    positions: Counted
    names: np.ndarray
    titles: list[str]
    base: np.ndarray | None
    answer: np.ndarray | None
    array: xr.DataArray

    @property
    def shared_names(self) -> list[str]:
        """Names of the positions, the same in all samples.

        Raises:
            LabelError: They differ between the samples.
        """
        if (self.names != self.names[0]).any():
            raise LabelError(
                "The names of the positions differ between the samples, but this picture puts the same position of all "
                "samples into one row. Draw one sample, ats.plot.bars(relevance, sample=0); or number the positions: "
                "relevance.drop_vars('key_label')."
            )
        return [str(name) for name in self.names[0]]

    @property
    def ids(self) -> list[str] | None:
        """What the samples are called in the array; None where nothing says it."""
        known = self.array.coords.get(SAMPLE_ID)
        return None if known is None or known.dims not in ((), (SAMPLE,)) else list(map(str, np.ravel(known.values)))

    @property
    def labels(self) -> list[str] | None:
        """What the positions are called in the array, if the same in all samples; None where nothing says it."""
        known = _laid(self.array, "label", key_dims(self.array.dims), (self.values.shape[0], self.values.shape[1]))
        return None if known is None or (known != known[0]).any() else list(map(str, known[0]))

    @property
    def broken(self) -> np.ndarray:
        """Where a value that is no padding is NaN, dims ``(sample, position)``."""
        shape = (self.values.shape[0], self.values.shape[1])
        valid = _laid(self.array, "valid", key_dims(self.array.dims), shape)
        nan = np.isnan(self.array.values).reshape(shape)
        return np.asarray(nan if valid is None else nan & valid.astype(bool))

    @property
    def standard_error(self) -> np.ndarray | None:
        """Of each value, dims ``(sample, position)``; None where the array says none."""
        known = self.array.coords.get("standard_error")
        if known is None or set(known.dims) != set(self.array.dims):
            return None
        return np.asarray(known.transpose(*self.array.dims).values, dtype=np.float64).reshape(self.values.shape)

    @property
    def quantity(self) -> Quantity:
        """What the values are, of all samples together."""
        return quantity_of(self.array)

    def part(self, drawn: int) -> str:
        """How many of the positions are drawn; empty where all are."""
        every = self.values.shape[1]
        return f"{drawn} of {self.positions.some(every)}" if drawn < every else ""

    def number(self, sample: int | str | None) -> int:
        """The number of a sample, which may be given by its id; None for the first."""
        if sample is None or SAMPLE not in self.array.dims:
            return 0
        return sample_number(self.array, sample)

    def at(self, number: int) -> xr.DataArray:
        """One sample of the array."""
        return self.array.isel({SAMPLE: number}) if SAMPLE in self.array.dims else self.array

    def quantity_at(self, number: int) -> Quantity:
        """What the values of one sample are: its own target is named."""
        return quantity_of(self.at(number))


def samples_of(weights: Weights, labels: Sequence[str] | None = None) -> Samples:
    """Relevance as samples and positions.

    Args:
        weights: dims ``(key,)`` or ``(sample, key)``; keys may lie on several dims.
        labels: Names of the positions of all samples; None for the ``key_label`` coordinate, else numbers.

    Raises:
        SchemaError: There are other dims, or the values are neither attention nor relevance.
        LabelError: There is not one label per position.
    """
    array = labelled(weights, {1: (KEY,), 2: (SAMPLE, KEY)})
    require_keys(array)
    array = array.compute()
    check(array, partial=True)
    keys = key_dims(array.dims)
    others = [str(dim) for dim in array.dims if dim not in (SAMPLE, *keys)]
    if others:
        raise SchemaError(
            f"The array has the dims {tuple(map(str, array.dims))}, but this picture has only samples and keys. Select "
            f"one of {others[0]!r}: relevance.isel({others[0]}=0)."
        )
    order = [dim for dim in (SAMPLE, *keys) if dim in array.dims]
    array = array.transpose(*order)
    shape = (array.sizes.get(SAMPLE, 1), size_along(array, keys))
    valid = _laid(array, "valid", keys, shape)
    values = array.values.astype(np.float64).reshape(shape)
    values = values if valid is None else np.where(valid.astype(bool) | (values != 0), values, np.nan)
    return Samples(
        values,
        counted_along(array, keys),
        _names(array, labels, keys, shape),
        sample_titles(array),
        _of_samples(array, "base", shape[0]),
        _of_samples(array, "answer", shape[0]),
        array,
    )


def _laid(array: xr.DataArray, kind: str, keys: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray | None:
    """A coordinate of the positions, dims ``(sample, position)``."""
    known = next((array.coords[name] for name in (f"{keys[0]}_{kind}", f"{KEY}_{kind}") if name in array.coords), None)
    if known is None:
        return None
    missing = {dim: array.sizes[dim] for dim in array.dims if dim not in known.dims}
    return np.asarray(known.expand_dims(missing).transpose(*array.dims).values).reshape(shape)


def _names(
    array: xr.DataArray, labels: Sequence[str] | None, keys: tuple[str, ...], shape: tuple[int, int]
) -> np.ndarray:
    known = _laid(array, "label", keys, shape) if labels is None else np.asarray(list(labels), dtype=str)
    if known is None:
        known = np.array(counted_along(array, keys).names)
    if labels is not None and known.shape != shape[1:]:
        raise LabelError(
            f"{counted(len(known), 'label')} given for {counted(shape[1], 'position')}. Give one per position: "
            "labels=[...]."
        )
    return np.broadcast_to(known.astype(str), shape)


def _of_samples(array: xr.DataArray, name: str, count: int) -> np.ndarray | None:
    """A number of each sample; None where there is none."""
    known = array.coords.get(name)
    if known is None or known.dims not in ((), (SAMPLE,)):
        return None
    return np.broadcast_to(np.asarray(known.values, dtype=np.float64), (count,))


def nan_remark(broken: np.ndarray, one: str, several: str) -> str:
    """How many values are NaN, and what that means for one or for several; empty where none is."""
    count = int(broken.sum())
    return (
        f"{counted(count, 'value')} {f'is NaN and {one}' if count == 1 else f'are NaN and {several}'}" if count else ""
    )


def said(value: object) -> str:
    """An input's value, to four digits."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))
    return readable(f"{value:.4g}") if number else str(value)
