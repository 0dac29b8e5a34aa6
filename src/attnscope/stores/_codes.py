"""Scores in fewer bytes, with a stated error."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from attnscope.errors import InputError
from attnscope.schema import CODED, SCORES, WORST_ERROR, key_dims

EXACT, HALF, BYTES = "exact", "float16", "uint8"
CODES = (HALF, BYTES, EXACT)
"""How scores may be stored."""
WORST_ERRORS = {HALF: 2.5e-4, BYTES: 4e-3}
"""How far a stored score is at most from the captured one."""
SCALE = f"{SCORES}_scale"
"""For each query, by what the squares of its codes are multiplied."""
UNFIT = -1.0
"""The scale of a query whose scores one byte cannot keep with the stated error; no store has it."""
LARGEST = 1.02
"""The largest score that one byte keeps with the stated error."""
FEWEST_STEPS, MOST_STEPS = 60, 255
"""Steps from 0 to the largest score of a row: as many as the stated error needs, and for rows of small scores more."""
_MEANING = f"{SCORES} = {SCORES} ** 2 * {SCALE}"
_Key: TypeAlias = tuple[Any, ...]


def check_codes(codes: str) -> None:
    """Checks that scores can be stored so.

    Raises:
        InputError: They cannot.
    """
    if codes not in CODES:
        raise InputError(f"codes is {codes!r}, but scores are stored as one of {', '.join(map(repr, CODES))}.")


def coded_scores(dataset: xr.Dataset, codes: str) -> xr.Dataset:
    """A dataset whose scores take fewer bytes.

    Args:
        dataset: Of one site.
        codes: ``float16``; ``uint8``, which is the square root of each score in steps that differ from row to row, with
            their squares beside them; or ``exact``.

    Raises:
        InputError: Some scores would be off by more than the stated error.
    """
    if codes == EXACT or SCORES not in dataset or dataset[SCORES].dtype.kind != "f":
        return dataset
    scores = dataset[SCORES]
    if codes == HALF and scores.dtype == np.float16:
        return dataset  # nothing is lost
    if codes == HALF:
        return marked(dataset.assign({SCORES: (scores.dims, scores.values.astype(np.float16), scores.attrs)}), codes)
    keys = key_dims(scores.dims)
    fits = ((scores >= 0) & (scores <= LARGEST)).all(dim=keys) | scores.isnull().all(dim=keys)
    largest = scores.max(keys, skipna=False).astype(np.float32)
    if not fits.all():
        raise InputError(_unfit(dataset, codes))
    steps = np.ceil(np.clip(np.nan_to_num(largest.values) * MOST_STEPS, FEWEST_STEPS, MOST_STEPS))
    scale = (largest.values / np.square(steps)).astype(np.float32)
    per_step = np.expand_dims(np.where(scale > 0, scale, 1), _key_axes(scores.dims))
    codes_of_scores = np.rint(np.sqrt(np.nan_to_num(scores.values) / per_step)).astype(np.uint8)
    return marked(
        dataset.assign({SCORES: (scores.dims, codes_of_scores, scores.attrs), SCALE: (largest.dims, scale)}), codes
    )


def marked(dataset: xr.Dataset, codes: str) -> xr.Dataset:
    """A dataset that says how its scores, which are coded already, are to be read.

    Args:
        dataset: Of one site. Where it did not run, its scores may be NaN, and so is their scale.
        codes: As `coded_scores` takes it.

    Raises:
        InputError: Some scores are off by more than the stated error.
    """
    if codes == EXACT or SCORES not in dataset:
        return dataset
    scores = dataset[SCORES]
    attributes = {**scores.attrs, CODED: codes, WORST_ERROR: WORST_ERRORS[codes]}
    if codes == HALF:
        halves = scores.values.astype(np.float16, copy=False)
        if _beyond_one(halves):
            raise InputError(_unfit(dataset, codes))
        return dataset.assign({SCORES: (scores.dims, halves, attributes)})
    if (dataset[SCALE].values == UNFIT).any():
        raise InputError(_unfit(dataset, codes))
    values = scores.values if scores.dtype == np.uint8 else np.nan_to_num(scores.values).astype(np.uint8)
    meaning = {"units": "1", "long_name": "by what the squares of a query's codes are multiplied"}
    return dataset.assign(
        {
            SCORES: (scores.dims, values, {**attributes, "decoding": _MEANING}),
            SCALE: (dataset[SCALE].dims, dataset[SCALE].values, meaning),
        }
    )


def _beyond_one(halves: np.ndarray) -> bool:
    """Whether some numbers of half precision are below -1, above 1 or infinite; NaN is neither.

    From 0 to 1 they are ordered as the whole numbers of the same bits are, which are compared much faster.
    """
    if halves.view(np.uint16).max(initial=0) <= _ONE:
        return False
    return bool((np.abs(halves.astype(np.float32)) > 1).any())


_ONE = int(np.float16(1).view(np.uint16))


def _unfit(dataset: xr.Dataset, codes: str) -> str:
    lowest = 0 if codes == BYTES else -1
    return (
        f"Some scores at {dataset.attrs.get('site', '')!r} are below {lowest}, above 1 or not finite, but "
        f"codes={codes!r} keeps its stated error, {WORST_ERRORS[codes]}, only from {lowest} to 1. Store them as they "
        "are: codes='exact'."
    )


def decoded_scores(dataset: xr.Dataset) -> xr.Dataset:
    """The same with scores as numbers again, computed when they are read."""
    codes = dataset[SCORES].attrs.get(CODED) if SCORES in dataset else None
    if codes not in WORST_ERRORS:
        return dataset
    stored = dataset[SCORES].variable
    scale = dataset[SCALE].variable if codes == BYTES else None
    attributes = {name: value for name, value in stored.attrs.items() if name != "decoding"}
    lazily = xr.Variable(stored.dims, indexing.LazilyIndexedArray(_Decoded(stored, scale)), attributes)
    return dataset.drop_vars([SCALE] if codes == BYTES else []).assign({SCORES: lazily})


class _Decoded(BackendArray):
    """Scores that are decoded as they are read."""

    def __init__(self, stored: xr.Variable, scale: xr.Variable | None) -> None:
        self._stored, self._scale = stored, scale
        self.shape, self.dtype = stored.shape, np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        read: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return read

    def _read(self, key: _Key) -> np.ndarray:
        values = self._stored[key].values.astype(np.float32)
        if self._scale is None:
            return values
        axes = _key_axes(self._stored.dims)
        scale = self._scale[tuple(part for axis, part in enumerate(key) if axis not in axes)].values
        left = [axis for axis, part in enumerate(key) if not isinstance(part, (int, np.integer))]
        scale = np.expand_dims(scale, tuple(place for place, axis in enumerate(left) if axis in axes))
        return np.asarray(np.square(values) * scale, np.float32)


def _key_axes(dims: tuple[Any, ...]) -> tuple[int, ...]:
    keys = key_dims(dims)
    return tuple(axis for axis, dim in enumerate(dims) if dim in keys)
