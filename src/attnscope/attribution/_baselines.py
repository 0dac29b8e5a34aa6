"""Baselines that a method has to beat: a random order, and what the position alone tells, without its content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from attnscope.attribution._occlusion import drops
from attnscope.attribution._removal import Kept, Removal, removable_of
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError

Profile = Literal["earlier", "later"] | Sequence[float] | np.ndarray
"""One number per position, or which positions come first."""


def random(subject: Subject, *, seed: int = 0) -> np.ndarray:
    """Random relevance: every order of the positions is equally likely.

    Class-agnostic; it knows nothing. It costs no pass.

    Args:
        subject: The samples whose positions are ranked.
        seed: The same seed gives the same numbers.

    Returns:
        dims ``(sample, position)``, float64, uniform within 0 to 1; 0 at padding.
    """
    drawn = np.random.default_rng([seed, 7]).random(subject.positions.valid.shape)
    return np.where(subject.positions.valid, drawn, 0.0)


def position(
    subject: Subject,
    *,
    profile: Profile | None = None,
    removal: Removal | str | None = None,
    kept: Kept = None,
    seed: int = 0,
    samples: np.ndarray | None = None,
    removal_scores: RemovalScores | None = None,
) -> np.ndarray:
    """The relevance that can be known from where a position is, without reading what is there.

    By default r_ij = mean over the *other* samples k of f(x_k) - f(x_k without j): the mean drop at the same position
    (counted from the start; for features: the same feature), measured by the removal that methods are tested with.

    Why this, and not "the first tokens first" or the mean of the method's own relevance: a method that ranks no better
    than a fixed list has shown nothing about *this* sample, however clearly it beats a random order. So the fixed list
    has to be a good one. This one is made of the very drops that are measured afterwards, over all samples but the one
    that is tested (its own drops would be an explanation of it). A mean of the method's own relevance would be a weak
    list for a weak method, so the worse the method, the easier it would be to beat.

    With few samples the list is a mean over few, and so a noisy one that is easier to beat. A position at which no
    other sample has anything to remove takes the value of the nearest one that has, of two equally near the earlier.

    It costs what `occlusion` costs; with the same `removal_scores` the two together cost as much as one.
    Class-specific, unless a profile is given.

    Args:
        subject: The model, its samples and the target.
        profile: A list of one number per position to use instead; or ``earlier`` or ``later``, which rank the first or
            the last positions first, at no cost.
        removal: What "removed" means: an object such as ``mask_token(103)``, a name, or None for the first of
            `default_removals`.
        kept: Positions that are never removed: dims ``(sample, position)`` or ``(position,)``, bool, or a list of token
            numbers; None for the start and end tokens of a KerasHub task's tokenizer.
        seed: Seed of the removal's draws.
        samples: Numbers of the samples that the list is measured on, at least 2; None for all.
        removal_scores: Scores to use and add to, in place of `removal`, `kept` and `seed`.

    Returns:
        dims ``(sample, position)``, float64, in the unit of the target; 0 at padding and at what is kept.

    Raises:
        InputError: There is only one sample and no profile is given, or the profile has another length.
    """
    if profile is not None:
        return np.where(removable_of(subject, kept), _numbers_of(profile, subject), 0.0)
    if subject.samples < 2:
        raise InputError(
            "The position baseline is the mean over other samples, but there is only one sample. Give more, or one "
            "number per position: profile='earlier'."
        )
    if removal_scores is None:
        removal_scores = RemovalScores(subject, removal, kept=kept, seed=seed)
    able = removal_scores.removable
    measured = able if samples is None else able & np.isin(np.arange(len(able)), samples)[:, None]
    own = np.where(measured, drops(removal_scores, samples), 0.0)
    others = measured.sum(0) - measured
    means = np.where(others > 0, (own.sum(0) - own) / np.maximum(others, 1), 0.0)
    filled = np.stack([_nearest(row, known) for row, known in zip(means, others > 0, strict=True)])
    return np.where(able, filled, 0.0)


def _numbers_of(profile: Profile, subject: Subject) -> np.ndarray:
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
    """Unknown values replaced by the nearest known one; 0 where none is known."""
    places = np.flatnonzero(known)
    if not len(places):
        return np.zeros_like(values)
    distances = np.abs(np.arange(len(values))[:, None] - places)
    return np.asarray(values[places[distances.argmin(1)]])
