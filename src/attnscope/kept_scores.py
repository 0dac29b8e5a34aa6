"""Scores that were not kept as they were computed: the strongest alone, or in fewer bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from attnscope.schema import CODED, MEANINGS, RANK, SCORES, TOP_KEYS, TOP_SCORES, UNITS, WORST_ERROR, key_dims

IN_PART = "known_in_part"
"""Attribute of scores of which only the strongest are known."""
_Key: TypeAlias = tuple[Any, ...]


def with_scores(dataset: xr.Dataset) -> xr.Dataset:
    """A site with scores where they are known in part.

    Args:
        dataset: Of one site.

    Returns:
        The same if it has scores, or if it lacks the strongest too. Else with ``scores`` as its first variable, which
        are computed when they are read: 0 for every key that is not among the strongest; NaN where those are.
    """
    if SCORES in dataset or TOP_SCORES not in dataset or TOP_KEYS not in dataset:
        return dataset
    strongest, positions = dataset[TOP_SCORES].variable, dataset[TOP_KEYS].variable
    known = dict(zip(json.loads(dataset.attrs["dims"]), json.loads(dataset.attrs["shape"]), strict=True))
    keys = {dim: int(dataset.sizes.get(dim, known[dim])) for dim in key_dims(tuple(known))}
    places = (*(str(dim) for dim in strongest.dims if dim != RANK), *keys)
    lazily = indexing.LazilyIndexedArray(_OfStrongest(strongest, positions, tuple(keys.values())))
    scores = xr.Variable(places, lazily, {"units": UNITS[SCORES], "long_name": MEANINGS[SCORES], IN_PART: True})
    others = {str(name): dataset[name] for name in dataset.data_vars}
    return dataset.drop_vars(list(others)).assign({SCORES: scores, **others})


class _OfStrongest(BackendArray):
    """Scores of which the strongest are known; the keys are the last axes."""

    def __init__(self, strongest: xr.Variable, positions: xr.Variable, keys: tuple[int, ...]) -> None:
        self._order = (*(dim for dim in strongest.dims if dim != RANK), RANK)
        self._strongest, self._positions, self._keys = strongest, positions, keys
        self.shape = (*(strongest.sizes[dim] for dim in self._order[:-1]), *keys)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        read: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return read

    def _read(self, key: _Key) -> np.ndarray:
        rows = dict(zip(self._order[:-1], key, strict=False))
        strongest, positions = (
            each.isel(rows).transpose(..., RANK).values for each in (self._strongest, self._positions)
        )
        count = math.prod(self._keys)
        scores = np.zeros((*strongest.shape[:-1], count + 1), self.dtype)  # the last is for ranks without a key
        np.put_along_axis(scores, np.where(positions < 0, count, positions).astype(int), strongest, axis=-1)
        scores[np.isnan(strongest).all(-1)] = np.nan
        whole = scores[..., :count].reshape(*strongest.shape[:-1], *self._keys)
        return np.asarray(whole[(..., *key[len(self._order) - 1 :])])


def kept_in_words(datasets: Sequence[xr.Dataset]) -> Iterator[str]:
    """What a reader of drawn scores needs to know of how they were kept.

    Args:
        datasets: Sites, as they were captured.
    """
    said: dict[str, int] = {}
    for dataset in datasets:
        for sentence in _kept(dataset):
            said[sentence] = said.get(sentence, 0) + 1
    for sentence, count in said.items():
        where = "" if count == len(datasets) else f"At {count} of {len(datasets)} sites: "
        yield where + (sentence[0].lower() + sentence[1:] if where else sentence)


def _kept(dataset: xr.Dataset) -> Iterator[str]:
    scores = dataset.get(SCORES)
    if scores is not None and WORST_ERROR in scores.attrs:
        codes, error = scores.attrs[CODED], scores.attrs[WORST_ERROR]
        yield f"Scores come from a store that keeps them as {codes}: off by {error} at most."
    if scores is None and TOP_SCORES in dataset:
        strongest = dataset.sizes[RANK]
        which = "strongest score" if strongest == 1 else f"{strongest} strongest scores"
        yield f"Only the {which} of each query were captured: all others are drawn as 0."
