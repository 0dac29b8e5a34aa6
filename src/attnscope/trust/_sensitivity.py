"""How far a relevance changes when the input is perturbed a little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.attribution import Subject
from attnscope.errors import InputError
from attnscope.schema import SAMPLE


def max_sensitivity(
    subject: Subject,
    explain: Callable[[Subject], ArrayLike],
    *,
    radius: float = 0.02,
    draws: int = 10,
    relative: bool = True,
    seed: int = 0,
) -> xr.DataArray:
    """How far the relevance changes at most when the input is perturbed a little.

    max over draws of ||r(x + d) - r(x)||, each number of d drawn uniformly within `radius` standard deviations in
    either direction; Euclidean over positions. The standard deviation is that of the same feature, entry of a vector,
    or channel over the subject's samples and all valid positions. Lower is more stable, which is not the same as more
    faithful: a relevance that is the same for all inputs has 0.

    A maximum over draws is a lower bound of the true maximum within the radius. It costs `draws` + 1 times what
    `explain` costs. Numbers at padding are not perturbed. Tokens cannot be perturbed a little, so they raise an error.

    Args:
        subject: The model and samples, with features, steps or patches.
        explain: Returns the relevance of a subject, dims ``(sample, position)``.
        radius: In standard deviations; a number that never varies is perturbed by up to `radius` itself.
        draws: Number of draws.
        relative: Whether to divide by ||r(x)||, so that methods with different units can be compared. NaN where that
            is 0.
        seed: Seed of the draws.

    Returns:
        dims ``(sample,)``, float64, 0 or more.

    Raises:
        InputError: The positions are whole numbers, or an option has no meaning.

    Source:
        Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations" (SENS_MAX); the
        division by the norm is an addition.
    """
    values = subject.positions.of(subject.inputs)
    if values.dtype.kind != "f":
        raise InputError(
            f"max_sensitivity moves the inputs a little, but these {subject.positions.kind} are whole numbers. Use "
            "infidelity(versions, relevance) instead, or explain a model that takes embeddings."
        )
    if not radius > 0 or isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise InputError(
            f"radius={radius} and draws={draws} were given, but both must be above 0: radius=0.02, draws=10."
        )
    reach = radius * _spread(subject, values)
    rng = np.random.default_rng([seed, 13])
    start = _relevance(explain, subject)
    furthest = np.zeros(subject.samples)
    for _ in range(draws):
        shifted = (values + rng.uniform(-1, 1, values.shape) * reach).astype(values.dtype)
        inputs = subject.positions.changed(subject.inputs, _constant(shifted))
        distance = np.linalg.norm(_relevance(explain, replace(subject, inputs=inputs)) - start, axis=1)
        furthest = np.maximum(furthest, distance)
    if relative:
        norm = np.linalg.norm(start, axis=1)
        furthest = np.divide(furthest, norm, out=np.full(len(norm), np.nan), where=norm > 0)
    attrs = {"target": subject.target.words, "radius": radius, "draws": draws, "relative": relative, "seed": seed}
    return xr.DataArray(
        furthest,
        dims=(SAMPLE,),
        name="max_sensitivity",
        attrs={**attrs, "higher_is_better": False, "units": "1" if relative else "relevance"},
    )


def _constant(array: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda _: array


def _spread(subject: Subject, values: np.ndarray) -> np.ndarray:
    """Standard deviation of each number among those of its kind, 0 at padding, broadcastable to the inputs."""
    positions = subject.positions
    if positions.kind == "features":
        return _never_0(values.astype(np.float64).std(0))[None]
    if positions.kind == "patches":
        return _never_0(values.astype(np.float64).std((0, 1, 2)))
    steps = values[positions.valid].astype(np.float64)
    return np.asarray(_never_0(steps.std(0)) * positions.valid[..., None])


def _never_0(spread: np.ndarray) -> np.ndarray:
    return np.where(spread > 0, spread, 1.0)


def _relevance(explain: Callable[[Subject], ArrayLike], subject: Subject) -> np.ndarray:
    relevance = np.asarray(explain(subject), dtype=np.float64)
    if relevance.shape != subject.positions.valid.shape:
        raise InputError(
            f"The function returned relevance of shape {relevance.shape}, but one number per sample and position is "
            f"needed, shape {subject.positions.valid.shape}: max_sensitivity(subject, occlusion)."
        )
    return np.where(subject.positions.valid, relevance, 0.0)
