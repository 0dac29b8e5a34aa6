"""What a method has to beat: chance, and knowing where a position is without having read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnscope.attribution._occlusion import occlusion
from attnscope.attribution._removal import removable_of
from attnscope.attribution._removal_scores import Versions
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError


def random(subject: Subject, *, seed: int = 0) -> np.ndarray:
    """Relevance by chance: every order of positions is as likely as every other.

    Class-agnostic; it knows nothing. It costs no pass.

    Args:
        subject: Whose positions.
        seed: The same seed gives the same numbers.

    Returns:
        dims ``(sample, position)``, float64, even within 0 to 1; 0 at padding.
    """
    drawn = np.random.default_rng([seed, 7]).random(subject.positions.valid.shape)
    return np.where(subject.positions.valid, drawn, 0.0)


def position(
    subject: Subject,
    *,
    profile: Any = None,
    removal: Any = None,
    kept: Any = None,
    seed: int = 0,
    versions: Versions | None = None,
) -> np.ndarray:
    """The relevance that can be known from where a position is, without having read what stands there.

    By default r_ij = mean over the *other* samples k of f(x_k) - f(x_k without j): the mean drop at the same position
    (counted from the start; of features: the same feature), measured by the removal with which methods are judged.

    Why this, and not "the first tokens first" or the mean of the method itself: a method that ranks no better than this
    has shown nothing about *this* sample, however well it does against chance, as a fixed list would have done. So the
    fixed list has to be a good one. This one is made of the very drops that are measured afterwards, from all samples
    but the one that is judged (whose own drops would be an explanation of it). A mean of the method's own relevance
    would be a weak list for a weak method, and so the easier to beat the worse the method is.

    The list is a mean over few samples where there are few, and then a noisy one that is easier to beat.
    A position at which no other sample has anything to remove takes the value of the nearest one that has, the earlier
    one where two are as near.

    It costs what `occlusion` costs; with a common `versions` the two cost as much as one. Class-specific, unless a
    profile is given.

    Args:
        subject: Whose positions.
        profile: A list of one number per position to use instead; or ``earlier`` or ``later``: the first or the last
            positions first, at no cost.
        removal: What "removed" means; see `occlusion`.
        kept: Positions that are never removed; see `kept_of`.
        seed: Of what the removal draws.
        versions: Answers to go on with, in place of `removal`, `kept` and `seed`.

    Returns:
        dims ``(sample, position)``, float64, in the unit of the target; 0 at padding and at what is kept.

    Raises:
        InputError: There is one sample and no profile is given, or the profile has another length.
    """
    if profile is not None:
        return np.where(removable_of(subject, kept), _given(profile, subject), 0.0)
    if subject.samples < 2:
        raise InputError(
            "The position baseline is the mean over other samples, but there is one sample. Give more, or a list of "
            "one number per position: profile='earlier'."
        )
    asked = Versions(subject, removal, kept=kept, seed=seed) if versions is None else versions
    drops, able = occlusion(subject, versions=asked), asked.removable
    totals, counts = np.where(able, drops, 0.0).sum(0), able.sum(0)
    others = counts - able
    means = np.where(others > 0, (totals - np.where(able, drops, 0.0)) / np.maximum(others, 1), 0.0)
    filled = np.stack([_nearest(row, known) for row, known in zip(means, others > 0, strict=True)])
    return np.where(able, filled, 0.0)


def _given(profile: Any, subject: Subject) -> np.ndarray:
    count = subject.positions.count
    if isinstance(profile, str) and profile in ("earlier", "later"):
        return np.arange(count, dtype=np.float64) * (-1 if profile == "earlier" else 1)
    numbers = np.asarray(profile, dtype=object)
    if isinstance(profile, str) or numbers.shape != (count,):
        raise InputError(
            f"The profile is {profile!r}, but 'earlier', 'later' or {count} numbers are needed: profile='earlier'."
        )
    return numbers.astype(np.float64)


def _nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unknown values filled with the nearest known one, 0 where none is."""
    places = np.flatnonzero(known)
    if not len(places):
        return np.zeros_like(values)
    distances = np.abs(np.arange(len(values))[:, None] - places)
    return np.asarray(values[places[distances.argmin(1)]])
