"""How far a model's answer moves when its attention changes: the three counterfactual tests together."""

from __future__ import annotations

import numpy as np

from attnscope.attribution import Subject
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
        maps: The model's attention on these samples; its sites are the ones that are changed.
        spread: Standard deviation of the answer over all samples.
        permutations: How many permutations are drawn.
        seed: Seed of the draws.
    """
    network, target, sites = subject.in_batches(), subject.target, list(maps)
    passes_before = network.passes.forward
    permuted = change_when_permuted(network, target, sites=sites, permutations=permutations, seed=seed)
    uniform = change_when_uniform(network, target, sites=sites)
    tolerance = TOLERANCE * spread or 1e-6
    last_site = next((name for name in reversed(sites) if SCORES in maps.dataset(name)), None)
    distance = None
    if last_site is not None:
        distance = adversarial_distance(
            network, target, maps, last_site, tolerance=tolerance, candidates=CANDIDATES, steps=STEPS, seed=seed
        )
    return Moved(
        samples=subject.samples,
        spread=spread,
        permuted=float(np.median(permuted)),
        permutations=permutations,
        uniform=float(np.median(uniform)),
        distance=None if distance is None else float(np.median(distance)),
        tolerance=tolerance,
        site=last_site,
        passes=network.passes.forward - passes_before,
    )
