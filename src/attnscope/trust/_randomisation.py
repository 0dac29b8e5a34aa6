"""Whether a method's relevance changes when the model's parameters are shuffled: the sanity checks of Adebayo et al."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import xarray as xr

from attnscope.errors import InputError

Order = Literal["cascading", "independent", "both"]
MOST_BLOCKS = 8
"""The most blocks of layers that are shuffled one after the other; the layers of larger models are grouped."""


def randomisation(
    model: keras.Model,
    relevance: Callable[[], np.ndarray],
    valid: np.ndarray,
    *,
    before: np.ndarray | None = None,
    order: Order = "cascading",
    blocks: int = MOST_BLOCKS,
    draws: int = 1,
    seed: int = 0,
) -> xr.DataArray:
    """How similar a method's relevance stays while the model's parameters are shuffled, from the output down.

    The values of each parameter are shuffled among themselves, which keeps their distribution and destroys what the
    model has learned. The model is restored afterwards, even after an error; while this runs, no other thread should
    use it.

    Args:
        model: The model.
        relevance: Returns the method's relevance for the model in its current state, dims ``(sample, position)``; or
            that of several methods, dims ``(relevance, sample, position)``.
        valid: dims ``(sample, position)``, False on padding.
        before: The relevance for the model as it is, where it is known already; same dims as `relevance` returns.
        order: ``cascading``: the last block, then the last two, and so on to all. ``independent``: one block at a time.
            ``both``: the cascading stages, then the independent ones without the first, which is the same.
        blocks: The number of blocks that layers are grouped into, at most.
        draws: How often everything is shuffled, in the cascading stage that shuffles all blocks; the mean is returned.
            A single draw can happen to be much like the original, most of all of few parameters.
        seed: Seed of the shuffling.

    Returns:
        dims ``(stage, sample)`` or ``(stage, relevance, sample)``, float64: Spearman's rank correlation of the
        relevance with that for the unchanged model, over the valid positions, within -1 to 1. NaN where either ranks
        nothing (all equal, or one position).
        The coordinate ``stage`` names the blocks, starting with the one next to the output; ``order`` says whether a
        stage is cascading or independent.

    Raises:
        InputError: The model has no weights.

    Source:
        Adebayo et al. 2018, "Sanity Checks for Saliency Maps", sections 3.1 and 3.2 (where weights are
        reinitialised).
    """
    groups = _groups(weighted_blocks(model), blocks)
    if not groups:
        raise InputError(f"The model {model.name!r} has no weights, so there is nothing to randomise.")
    stages = _stages_of(groups, order)
    before = relevance() if before is None else before
    count = sum(map(len, groups))
    correlations = []
    for stage in stages:
        drawn = []
        for number in range(draws if len(stage.layers) == count else 1):
            with randomised(stage.layers, seed + number):
                drawn.append(rank_correlation(before, relevance(), valid))
        correlations.append(mean_of_known(np.array(drawn)))
    coords = {"stage": [stage.name for stage in stages], "order": ("stage", [stage.order for stage in stages])}
    dims = ("stage", "sample") if correlations[0].ndim == 1 else ("stage", "relevance", "sample")
    return xr.DataArray(np.array(correlations), dims=dims, coords=coords)


def mean_of_known(drawn: np.ndarray) -> np.ndarray:
    """The mean over the first axis of what is not NaN; NaN where everything is."""
    known = ~np.isnan(drawn)
    counts = known.sum(0)
    return np.where(counts > 0, np.where(known, drawn, 0.0).sum(0) / np.maximum(counts, 1), np.nan)


@dataclass(frozen=True)
class _Stage:
    """Layers that are shuffled together, and which order the stage belongs to."""

    name: str
    order: str
    layers: list[keras.Layer]


def _stages_of(groups: list[list[keras.Layer]], order: Order) -> list[_Stage]:
    names = [_name_of(group) for group in groups]
    cascading = [
        _Stage(
            names[0] if not last else f"and {names[last]}",
            "cascading",
            [layer for group in groups[: last + 1] for layer in group],
        )
        for last in range(len(groups))
    ]
    independent = [_Stage(f"{name} alone", "independent", group) for name, group in zip(names, groups, strict=True)]
    return {"cascading": cascading, "independent": independent, "both": cascading + independent[1:]}[order]


@contextmanager
def randomised(layers: Sequence[keras.Layer], seed: int) -> Iterator[None]:
    """The layers with the values of each variable shuffled; restored afterwards, even after an error."""
    generator = np.random.default_rng(seed)
    variables = {id(v): v for layer in layers for v in layer.variables if "float" in str(v.dtype) and v.shape}
    originals = [(variable, np.array(keras.ops.convert_to_numpy(variable.value))) for variable in variables.values()]
    try:
        for variable, values in originals:
            variable.assign(generator.permutation(values.ravel()).reshape(values.shape))
        yield
    finally:
        for variable, values in originals:
            variable.assign(values)


def weighted_blocks(model: keras.Model) -> list[keras.Layer]:
    """The layers with weights, from the output down; of models within a model, their layers."""
    blocks: list[keras.Layer] = []
    for layer in getattr(model, "layers", []):
        inner = weighted_blocks(layer) if isinstance(layer, keras.Model) else []
        if inner:
            blocks += reversed(inner)
        elif layer.weights:
            blocks.append(layer)
    return list(reversed(blocks)) or ([model] if model.weights else [])


def _groups(layers: Sequence[keras.Layer], most: int) -> list[list[keras.Layer]]:
    """The layer next to the output by itself, and the others in groups of about the same size."""
    if len(layers) <= most:
        return [[layer] for layer in layers]
    rest = np.array_split(np.arange(1, len(layers)), max(1, most - 1))
    return [[layers[0]], *([layers[number] for number in group] for group in rest)]


def _name_of(group: Sequence[keras.Layer]) -> str:
    return group[0].name if len(group) == 1 else f"{group[0].name} to {group[-1].name}"


def rank_correlation(first: np.ndarray, second: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over each sample's valid positions, ties sharing their mean rank.

    Args:
        first: One relevance, dims ``(..., sample, position)``.
        second: The other one, same shape.
        valid: dims ``(sample, position)``, bool.

    Returns:
        dims ``(..., sample)``, within -1 to 1; NaN where one of them ranks nothing.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]]), np.ones((1, 3), bool)).tolist()
        [0.5]
    """
    correlations = np.full(first.shape[:-1], np.nan)
    for index in np.ndindex(correlations.shape):
        real = valid[index[-1]]
        ranks = [_ranks(array[index][real]) for array in (first, second)]
        centred = [rank - rank.mean() for rank in ranks if rank.size]
        if len(centred) == 2:
            size = np.sqrt(np.square(centred[0]).sum() * np.square(centred[1]).sum())
            if size > 0:
                correlations[index] = (centred[0] * centred[1]).sum() / size
    return correlations


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[inverse])
