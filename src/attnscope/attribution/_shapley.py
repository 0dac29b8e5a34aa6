"""Shapley values by sampling orders in which positions are removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
        standard_error: dims ``(sample, position)``: of the mean over pairs of orders; NaN with a single pair.
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
    draws of the removal): a version that occurs twice is scored once.

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
    for samples in _groups(counts, permutations, removable.shape[1]):
        orders = [_orders(int(counts[row]), permutations, seed, row) for row in samples]
        answers = removal_scores(*_versions(removable, samples, orders))
        start = 0
        for row, order in zip(samples, orders, strict=True):
            length = permutations * (order.shape[1] + 1)
            by_order = answers[start : start + length].reshape(permutations, -1)
            start += length
            answer[row] = by_order[0, 0]
            everything[row] = by_order[0, 0] - by_order[0, -1]
            places = np.flatnonzero(removable[row])
            values[row, places], errors[row, places] = _means(by_order, order)
    return ShapleyEstimate(values, errors, everything, answer, permutations)


def _groups(counts: np.ndarray, permutations: int, width: int) -> Iterator[list[int]]:
    """Numbers of samples whose versions are run together."""
    group: list[int] = []
    cells = 0
    for row, count in enumerate(counts):
        cost = permutations * (int(count) + 1) * width
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


def _versions(removable: np.ndarray, samples: list[int], orders: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Samples and removed positions of all versions: for every order nothing, its first, its first two, ... all."""
    rows, masks = [], []
    for row, order in zip(samples, orders, strict=True):
        permutations, count = order.shape
        when = np.argsort(order, axis=1)
        gone = when[:, None, :] < np.arange(count + 1)[:, None]
        mask = np.zeros((permutations * (count + 1), removable.shape[1]), bool)
        mask[:, np.flatnonzero(removable[row])] = gone.reshape(len(mask), count)
        masks.append(mask)
        rows.append(np.full(len(mask), row))
    return np.concatenate(rows), np.concatenate(masks)


def _means(answers: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean drop for each position over the orders, and its standard error over pairs of orders.

    Args:
        answers: dims ``(permutation, number removed)``.
        order: dims ``(permutation, place)``.
    """
    permutations, count = order.shape
    drops = np.empty((permutations, count))
    np.put_along_axis(drops, order, answers[:, :-1] - answers[:, 1:], axis=1)
    pairs = drops.reshape(permutations // 2, 2, count).mean(1)
    spread = pairs.std(0, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.full(count, np.nan)
    return pairs.mean(0), spread
