"""How far a model's answer moves when its attention does: the three tests of `counterfactual`, put together."""

from __future__ import annotations

import numpy as np

from attnscope.attribution import Subject
from attnscope.maps import AttentionMaps
from attnscope.schema import SCORES
from attnscope.trust._card import Moved
from attnscope.trust._counterfactual import adversarial_test, permutation_test, uniform_test

TOLERANCE = 0.05
"""Share of the answers' standard deviation by which the answer may change while attention is made to differ."""
CANDIDATES, STEPS = 4, 5
"""Permutations that attention is moved towards, and how often the way to each is halved."""


def moved(subject: Subject, maps: AttentionMaps, *, spread: float, permutations: int, seed: int) -> Moved:
    """Attention permuted, made uniform, and made as different as the answer lets it be.

    Args:
        subject: The model, its samples and the target.
        maps: The model's attention on these samples; its sites are the ones that are changed.
        spread: Standard deviation of the answer over all samples.
        permutations: How many.
        seed: Of the draws.
    """
    model, given, target, size = subject.model, subject.inputs, subject.target, subject.batch_size
    sites = list(maps)
    permuted = permutation_test(
        model, given, target, sites=sites, permutations=permutations, seed=seed, batch_size=size
    )
    even = uniform_test(model, given, target, sites=sites, batch_size=size)
    tolerance = TOLERANCE * spread or 1e-6
    last = next((name for name in reversed(sites) if SCORES in maps.dataset(name)), None)
    found = None
    if last is not None:
        found = adversarial_test(
            model,
            given,
            target,
            maps,
            last,
            tolerance=tolerance,
            candidates=CANDIDATES,
            steps=STEPS,
            seed=seed,
            batch_size=size,
        )
    return Moved(
        samples=subject.samples,
        spread=spread,
        permuted=float(np.median(permuted)),
        permutations=permutations,
        uniform=float(np.median(even)),
        distance=None if found is None else float(np.median(found)),
        tolerance=tolerance,
        site=last,
        passes=sum(array.attrs["passes"] for array in (permuted, even, found) if array is not None),
    )
