"""Occlusion: how much the target drops when one position is removed."""

from __future__ import annotations

import numpy as np

from attnscope.attribution._removal import Kept, Removal
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import Subject


def occlusion(
    subject: Subject,
    *,
    removal: Removal | str | None = None,
    kept: Kept = None,
    seed: int = 0,
    removal_scores: RemovalScores | None = None,
) -> np.ndarray:
    """The drop of the target when one position is removed: r_i = f(x) - f(x without i).

    Class-specific. Positive is what speaks for the target, negative what speaks against it. Two positions that say the
    same cover for each other: either one can be removed without a drop, and both get 0.

    It costs one forward pass for each sample and one for each of its removable positions (times the draws of the
    removal), and no gradients.

    Args:
        subject: The model, its samples and the target.
        removal: What "removed" means: an object such as ``mask_token(103)``, a name, or None for the first of
            `default_removals`.
        kept: Positions that are never removed: dims ``(sample, position)`` or ``(position,)``, bool, or a list of token
            numbers; None for the start and end tokens of a KerasHub task's tokenizer.
        seed: Seed of the removal's draws.
        removal_scores: Scores to use and add to, in place of `removal`, `kept` and `seed`.

    Returns:
        dims ``(sample, position)``, float64, in the unit of the target. 0 at padding, at what is kept, and where the
        removal cannot remove a position (deleting the only token).

    Raises:
        InputError: The removal does not suit the positions, or the target is infinite or NaN.

    Source:
        Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2; for text Li, Monroe
        and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure".
    """
    if removal_scores is None:
        removal_scores = RemovalScores(subject, removal, kept=kept, seed=seed)
    return drops(removal_scores)


def drops(removal_scores: RemovalScores, samples: np.ndarray | None = None) -> np.ndarray:
    """How much the target drops when one position is removed: `occlusion`, of some of the samples.

    Args:
        removal_scores: The model, its samples and the removal.
        samples: Numbers of the samples; None for all.

    Returns:
        dims ``(sample, position)``, float64, in the unit of the target; 0 for the samples that were not asked for too.
    """
    able = removal_scores.removable & (removal_scores.most > 0)[:, None]
    if samples is not None:
        able &= np.isin(np.arange(len(able)), samples)[:, None]
    rows, places = np.nonzero(able)
    removed = np.zeros((len(rows), able.shape[1]), bool)
    removed[np.arange(len(rows)), places] = True
    original = removal_scores.original()
    values = np.zeros(able.shape)
    if len(rows):
        values[rows, places] = original[rows] - removal_scores(rows, removed)
    return values
