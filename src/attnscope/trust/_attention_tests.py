"""How far a model's answer moves when its attention changes: the three counterfactual tests together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from attnscope.attribution import Subject, trimming_of
from attnscope.capturing import captured
from attnscope.maps import AttentionMaps
from attnscope.schema import SCORES
from attnscope.trust._card import Moved
from attnscope.trust._counterfactual import adversarial_distance, change_when_permuted, change_when_uniform

TOLERANCE = 0.05
"""By how much of the answers' standard deviation an answer may change while its attention is made to differ."""
CANDIDATES, STEPS = 4, 5
"""Permutations that attention is moved towards, and how often the interval towards each is halved."""


def attention_tests(subject: Subject, maps: AttentionMaps, *, spread: float, permutations: int, seed: int) -> Moved:
    """Attention permuted, made uniform, and made as different as the answer allows.

    Args:
        subject: The model, its samples and the target.
        maps: The model's attention; its sites are the ones that are changed.
        spread: Standard deviation of the answer over all samples.
        permutations: How many permutations are drawn.
        seed: Seed of the draws.
    """
    parts = trimming_of(subject).parts(subject, permutations)
    passes_before = subject.network.passes.forward
    sites = list(maps)
    last_site = next((name for name in reversed(sites) if SCORES in maps.dataset(name)), None)
    tolerance = TOLERANCE * spread or 1e-6
    permuted, uniform, distances = [], [], []
    for number, (_, part) in enumerate(parts):
        network, target = part.in_batches(), part.target
        permuted.append(
            change_when_permuted(network, target, sites=sites, permutations=permutations, seed=seed + number)
        )
        uniform.append(change_when_uniform(network, target, sites=sites))
        if last_site is not None:
            own = captured(part.in_batches(), sites=last_site, progress=False)
            distances.append(
                adversarial_distance(
                    network, target, own, last_site,
                    tolerance=tolerance, candidates=CANDIDATES, steps=STEPS, seed=seed + number,
                )
            )  # fmt: skip
    return Moved(
        samples=subject.samples,
        spread=spread,
        permuted=_median(permuted),
        permutations=permutations,
        uniform=_median(uniform),
        distance=_median(distances) if distances else None,
        tolerance=tolerance,
        site=last_site,
        passes=subject.network.passes.forward - passes_before,
        short_name="" if last_site is None else maps.short_names[last_site],
    )


def _median(parts: Sequence[xr.DataArray]) -> float:
    """The median over the samples of all parts."""
    return float(np.median(np.concatenate(parts)))
