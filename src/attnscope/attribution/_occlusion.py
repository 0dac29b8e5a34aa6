"""Occlusion: what the model's number loses when one position is removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnscope.attribution._removal_scores import Versions
from attnscope.attribution._subject import Subject


def occlusion(
    subject: Subject,
    *,
    removal: Any = None,
    kept: Any = None,
    seed: int = 0,
    versions: Versions | None = None,
) -> np.ndarray:
    """The drop of the target when one position is removed: r_i = f(x) - f(x without i).

    Class-specific. Positive is what speaks for the target, negative what speaks against it. Two positions that say the
    same cover for each other: either alone may be removed without a loss, and both get 0.

    It costs one forward pass for each sample and one for each of its removable positions (times the draws of the
    removal), and no gradients.

    Args:
        subject: The model, its samples and the target.
        removal: What "removed" means: an object such as ``mask_token(103)``, a name, or None for the subject's default;
            see `default_removals`.
        kept: Positions that are never removed; see `kept_of`.
        seed: Of what the removal draws.
        versions: Answers to go on with, in place of `removal`, `kept` and `seed`.

    Returns:
        dims ``(sample, position)``, float64, in the unit of the target. 0 at padding, at what is kept, and where the
        removal lets no position go (deleting the only token).

    Raises:
        InputError: The removal does not serve the positions, or the model says NaN.

    Source:
        Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2; for text Li, Monroe
        and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure".
    """
    asked = Versions(subject, removal, kept=kept, seed=seed) if versions is None else versions
    able = asked.removable & (asked.most > 0)[:, None]
    rows, places = np.nonzero(able)
    removed = np.zeros((len(rows), able.shape[1]), bool)
    removed[np.arange(len(rows)), places] = True
    original = asked.original()
    values = np.zeros(able.shape)
    if len(rows):
        values[rows, places] = original[rows] - asked(rows, removed)
    return values
