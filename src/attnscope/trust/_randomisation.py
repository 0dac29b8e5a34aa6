"""Does a method notice when the model's weights mean nothing any more? The sanity checks of Adebayo et al."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import keras
import numpy as np
import xarray as xr

from attnscope.errors import InputError

Order = Literal["cascading", "independent", "both"]
MOST_BLOCKS = 8
"""Blocks of layers that are randomised one after the other; models with more have theirs put together."""


def randomisation(
    model: keras.Model,
    relevance: Callable[[], np.ndarray],
    valid: np.ndarray,
    *,
    order: Order = "cascading",
    blocks: int = MOST_BLOCKS,
    seed: int = 0,
) -> xr.DataArray:
    """How alike a method's answers stay while the model's weights are randomised, from the output down.

    The weights of a layer are shuffled among themselves, which keeps their distribution and destroys what they have
    learned. Afterwards the model is what it was, whatever happens; while this runs, no other thread should use it.

    Args:
        model: The model.
        relevance: Gives the method's relevance for the model as it is then, dims ``(sample, position)``; or that of
            several methods, one behind the other, dims ``(relevance, sample, position)``.
        valid: dims ``(sample, position)``, False on padding.
        order: ``cascading``: the last block, then the last two, and so on to all. ``independent``: one block at a time.
            ``both``: the first, and behind it the second but for its first stage, which is the same.
        blocks: Most blocks to part the layers into.
        seed: Of the shuffling.

    Returns:
        dims ``(stage, sample)`` or ``(stage, relevance, sample)``, float64: Spearman's rank correlation of the answers
        with those of the model as it was, over the valid positions, within -1 to 1. NaN where either ranks nothing (all
        equal, or one position).
        The coordinate ``stage`` names the blocks, the first being the one next to the output; ``order`` says which of
        the two a stage belongs to.

    Raises:
        InputError: The model has no weights.

    Source:
        Adebayo et al. 2018, "Sanity Checks for Saliency Maps", sections 3.1 and 3.2 (there weights are
        initialised anew).
    """
    parts = _parted(weighted_blocks(model), blocks)
    if not parts:
        raise InputError(f"The model {model.name!r} has no weights, so there is nothing to randomise.")
    stages = _stages_of(parts, order)
    before = relevance()
    found = []
    for _, _, layers in stages:
        with randomised(layers, seed):
            found.append(rank_correlation(before, relevance(), valid))
    coords = {"stage": [name for name, _, _ in stages], "order": ("stage", [kind for _, kind, _ in stages])}
    dims = ("stage", "sample") if found[0].ndim == 1 else ("stage", "relevance", "sample")
    return xr.DataArray(np.array(found), dims=dims, coords=coords)


def _stages_of(parts: list[list[keras.Layer]], order: Order) -> list[tuple[str, str, list[keras.Layer]]]:
    """Name, order and layers of each stage."""
    names = [_named(part) for part in parts]
    cascading = [
        (
            names[0] if not last else f"and {names[last]}",
            "cascading",
            [layer for part in parts[: last + 1] for layer in part],
        )
        for last in range(len(parts))
    ]
    alone = [(f"{name} alone", "independent", part) for name, part in zip(names, parts, strict=True)]
    return {"cascading": cascading, "independent": alone, "both": cascading + alone[1:]}[order]


@contextmanager
def randomised(layers: Sequence[keras.Layer], seed: int) -> Iterator[None]:
    """The layers with their weights shuffled, each among themselves; as they were afterwards, whatever happens."""
    generator = np.random.default_rng(seed)
    variables = {id(v): v for layer in layers for v in layer.variables if "float" in str(v.dtype) and v.shape}
    before = [(variable, np.array(keras.ops.convert_to_numpy(variable.value))) for variable in variables.values()]
    try:
        for variable, values in before:
            variable.assign(generator.permutation(values.ravel()).reshape(values.shape))
        yield
    finally:
        for variable, values in before:
            variable.assign(values)


def weighted_blocks(model: keras.Model) -> list[keras.Layer]:
    """The layers with weights, from the output down; models within a model are opened."""
    found: list[keras.Layer] = []
    for layer in getattr(model, "layers", []):
        inner = weighted_blocks(layer) if isinstance(layer, keras.Model) else []
        if inner:
            found += reversed(inner)
        elif layer.weights:
            found.append(layer)
    return list(reversed(found)) or ([model] if model.weights else [])


def _parted(layers: Sequence[keras.Layer], most: int) -> list[list[keras.Layer]]:
    """The layer next to the output by itself, and the others in parts of about one size."""
    if len(layers) <= most:
        return [[layer] for layer in layers]
    rest = np.array_split(np.arange(1, len(layers)), max(1, most - 1))
    return [[layers[0]], *([layers[place] for place in part] for part in rest)]


def _named(part: Sequence[keras.Layer]) -> str:
    return part[0].name if len(part) == 1 else f"{part[0].name} to {part[-1].name}"


def rank_correlation(first: np.ndarray, second: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each sample's valid positions, ties sharing their mean rank.

    Args:
        first: dims ``(..., sample, position)``.
        second: Likewise.
        valid: dims ``(sample, position)``, bool.

    Returns:
        dims ``(..., sample)``, within -1 to 1; NaN where one of them ranks nothing.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]]), np.ones((1, 3), bool)).tolist()
        [0.5]
    """
    found = np.full(first.shape[:-1], np.nan)
    for place in np.ndindex(found.shape):
        real = valid[place[-1]]
        ranks = [_ranks(array[place][real]) for array in (first, second)]
        centred = [rank - rank.mean() for rank in ranks if rank.size]
        if len(centred) == 2:
            size = np.sqrt(np.square(centred[0]).sum() * np.square(centred[1]).sum())
            if size > 0:
                found[place] = (centred[0] * centred[1]).sum() / size
    return found


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[inverse])
