"""Shapley values: over all sets of positions where there are few, else by sampling orders of removal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import factorial
from typing import Protocol

import numpy as np

from attnscope.attribution._removal import Kept, Removal
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError

GROUP_CELLS = 16_000_000
"""About how many cells the removals that are made at a time have."""


@dataclass(frozen=True)
class ShapleyEstimate:
    """Shapley values, and how uncertain they are because orders are sampled.

    Attributes:
        values: dims ``(sample, position)``, in the unit of the target.
        standard_error: dims ``(sample, position)``: of the mean over pairs of orders; NaN with a single pair, 0 where
            the values are exact.
        everything: f(x) - f(all removed), which the values of a sample sum to, dims ``(sample,)``.
        answer: f(x), dims ``(sample,)``.
        permutations: Number of orders per sample.
    """

    values: np.ndarray
    standard_error: np.ndarray
    everything: np.ndarray
    answer: np.ndarray
    permutations: int


def shapley_estimate(
    subject: Subject,
    *,
    permutations: int = 16,
    removal: Removal | str | None = None,
    kept: Kept = None,
    seed: int = 0,
    removal_scores: RemovalScores | None = None,
) -> ShapleyEstimate:
    """The mean drop when a position is removed, over random orders in which all positions are removed one by one.

    r_i = mean over orders of f(what is there before i is removed) - f(what is there after). Class-specific. The values
    of a sample sum to f(x) - f(all removed), exactly, for any number of orders. Every order is paired with its reverse
    (antithetic sampling), which makes the means steadier.

    It costs, per sample with n removable positions, at most ``2 + permutations * (n - 1)`` forward passes (times the
    draws of the removal): a version that occurs twice is scored once. Where all ``2**n`` sets cost no more than that,
    the mean is over all orders, and exact.

    Args:
        subject: The model, its samples and the target.
        permutations: Number of orders per sample, even: half of them are drawn, the others are their reverses.
        removal: What "removed" means: an object such as ``mask_token(103)``, a name, or None for the first of
            `default_removals`.
        kept: Positions that are never removed: dims ``(sample, position)`` or ``(position,)``, bool, or a list of token
            numbers; None for the start and end tokens of a KerasHub task's tokenizer.
        seed: Seed of the orders, and of the removal's draws.
        removal_scores: Scores to use and add to, in place of `removal` and `kept`.

    Raises:
        InputError: `permutations` is not a positive even number, or the removal cannot remove all positions (deleting).

    Source:
        Castro, Gomez and Tejada 2009, "Polynomial calculation of the Shapley value based on sampling"; Lundberg and Lee
        2017, "A Unified Approach to Interpreting Model Predictions"; antithetic pairs: Mitchell, Cooper, Frank and
        Holmes 2022, "Sampling Permutations for Shapley Value Estimation".
    """
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 2 or permutations % 2:
        raise InputError(
            f"permutations is {permutations!r}, but orders come in pairs, so an even number of at least 2 is needed: "
            "permutations=16."
        )
    if removal_scores is None:
        removal_scores = RemovalScores(subject, removal, kept=kept, seed=seed)
    removable, counts = removal_scores.removable, removal_scores.counts
    values, errors = np.zeros(removable.shape), np.zeros(removable.shape)
    everything, answer = np.zeros(subject.samples), np.zeros(subject.samples)
    plans = [_plan(int(count), permutations, seed, row) for row, count in enumerate(counts)]
    for samples in _groups(plans, removable.shape[1]):
        masks = [_placed(plans[row].removed(), removable[row]) for row in samples]
        lengths = [len(mask) for mask in masks]
        together = removal_scores(np.repeat(samples, lengths), np.concatenate(masks))
        for row, answers in zip(samples, np.split(together, np.cumsum(lengths)[:-1]), strict=True):
            answer[row], everything[row] = answers[0], answers[0] - answers[-1]
            places = np.flatnonzero(removable[row])
            values[row, places], errors[row, places] = plans[row].means(answers)
    return ShapleyEstimate(values, errors, everything, answer, permutations)


class _Plan(Protocol):
    """Which versions of a sample are scored.

    Attributes:
        versions: How many there are.
    """

    versions: int

    def removed(self) -> np.ndarray:
        """Which removable positions each lacks, dims ``(version, place)``, bool: the first none, the last all."""

    def means(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean drop for each position over orders of removal, and its standard error, from the answers."""


def _plan(count: int, permutations: int, seed: int, row: int) -> _Plan:
    """All sets of a sample's removable positions where that costs no more than orders do."""
    if 2**count <= 2 + permutations * max(count - 1, 0):
        return _AllSets(count)
    return _Orders(_orders(count, permutations, seed, row))


class _AllSets:
    """Every set of positions is removed.

    Args:
        count: How many positions there are.
    """

    def __init__(self, count: int) -> None:
        self._count, self.versions = count, 2**count

    def removed(self) -> np.ndarray:
        """Which positions each version lacks: the binary digits of its number."""
        digits = np.arange(self.versions)[:, None] >> np.arange(self._count)
        return np.asarray(digits & 1 == 1)

    def means(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean drop over all orders, by the share of orders in which a set comes first; the error is 0."""
        count, removed = self._count, self.removed()
        sizes, values = removed.sum(1), np.zeros(count)
        for place in range(count):
            before = np.flatnonzero(~removed[:, place])
            share = [
                factorial(size) * factorial(count - size - 1) / factorial(count) for size in sizes[before].tolist()
            ]
            values[place] = np.dot(share, answers[before] - answers[before + 2**place])
        return values, np.zeros(count)


class _Orders:
    """Positions are removed one by one, in orders of which each second one reverses the one before.

    Args:
        order: dims ``(permutation, place)``.
    """

    def __init__(self, order: np.ndarray) -> None:
        self._order, self.versions = order, len(order) * (order.shape[1] + 1)

    def removed(self) -> np.ndarray:
        """Which positions each version lacks: for every order none, its first, its first two, ... all."""
        when = np.argsort(self._order, axis=1)
        gone = when[:, None, :] < np.arange(when.shape[1] + 1)[:, None]
        return gone.reshape(self.versions, when.shape[1])

    def means(self, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean drop over the orders, and its standard error over pairs of them."""
        permutations, count = self._order.shape
        by_order = answers.reshape(permutations, count + 1)
        drops = np.empty((permutations, count))
        np.put_along_axis(drops, self._order, by_order[:, :-1] - by_order[:, 1:], axis=1)
        pairs = drops.reshape(permutations // 2, 2, count).mean(1)
        spread = pairs.std(0, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.full(count, np.nan)
        return pairs.mean(0), spread


def _placed(removed: np.ndarray, removable: np.ndarray) -> np.ndarray:
    """Versions of a sample over all of its positions, dims ``(version, position)``, bool."""
    mask = np.zeros((len(removed), len(removable)), bool)
    mask[:, removable] = removed
    return mask


def _groups(plans: list[_Plan], width: int) -> Iterator[list[int]]:
    """Numbers of samples whose versions are run together."""
    group: list[int] = []
    cells = 0
    for row, plan in enumerate(plans):
        cost = plan.versions * width
        if group and cells + cost > GROUP_CELLS:
            yield group
            group, cells = [], 0
        group.append(row)
        cells += cost
    if group:
        yield group


def _orders(count: int, permutations: int, seed: int, row: int) -> np.ndarray:
    """Orders of a sample's removable positions, dims ``(permutation, place)``; each second one reverses the first."""
    rng = np.random.default_rng([seed, row])
    drawn = np.argsort(rng.random((permutations // 2, count)), axis=1)
    return np.stack([drawn, drawn[:, ::-1]], axis=1).reshape(permutations, count)
