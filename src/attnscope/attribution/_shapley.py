"""Shapley values by sampling orders in which positions are removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnscope.attribution._removal_scores import Versions
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError

GROUP_CELLS = 16_000_000
"""About how many cells the removals made at a time have."""


@dataclass(frozen=True)
class ShapleyEstimate:
    """Shapley values and how far sampling may have moved them.

    Attributes:
        values: dims ``(sample, position)``, in the unit of the target.
        standard_error: dims ``(sample, position)``: that of the mean over pairs of orders; NaN with one pair.
        everything: f(x) - f(all removed), which the values of a sample sum to, dims ``(sample,)``.
        permutations: Orders per sample.
    """

    values: np.ndarray
    standard_error: np.ndarray
    everything: np.ndarray
    permutations: int


def shapley_estimate(
    subject: Subject,
    *,
    permutations: int = 16,
    removal: Any = None,
    kept: Any = None,
    seed: int = 0,
    versions: Versions | None = None,
) -> ShapleyEstimate:
    """The mean loss by removing a position, over random orders in which all of them are removed one by one.

    r_i = mean over orders of f(what is there before i goes) - f(what is there after). Class-specific. The values of a
    sample sum to f(x) - f(all removed), exactly, for any number of orders. Every order comes with its reverse
    (antithetic), which makes the mean of a position steadier.

    It costs, per sample with n removable positions, at most ``2 + permutations * (n - 1)`` forward passes (times the
    draws of the removal): versions that come twice are asked for once.

    Args:
        subject: The model, its samples and the target.
        permutations: Orders per sample, an even number: half of them are drawn, the others are their reverses.
        removal: What "removed" means; see `occlusion`.
        kept: Positions that are never removed; see `kept_of`.
        seed: Of the orders, and of what the removal draws.
        versions: Answers to go on with, in place of `removal` and `kept`.

    Raises:
        InputError: `permutations` is not even, or the removal cannot remove all positions (deleting).

    Source:
        Castro, Gomez and Tejada 2009, "Polynomial calculation of the Shapley value based on sampling"; Lundberg and Lee
        2017, "A Unified Approach to Interpreting Model Predictions"; antithetic pairs: Mitchell, Cooper, Frank and
        Holmes 2022, "Sampling Permutations for Shapley Value Estimation".
    """
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 2 or permutations % 2:
        raise InputError(
            f"permutations is {permutations!r}, but orders come in pairs, an even number of 2 or more: permutations=16."
        )
    asked = Versions(subject, removal, kept=kept, seed=seed) if versions is None else versions
    values, errors = np.zeros(asked.removable.shape), np.zeros(asked.removable.shape)
    everything = np.zeros(subject.samples)
    for samples in _groups(asked.counts, permutations, asked.removable.shape[1]):
        orders = [_orders(int(asked.counts[row]), permutations, seed, row) for row in samples]
        rows, removed = _removals(asked, samples, orders)
        answers = asked(rows, removed)
        start = 0
        for row, order in zip(samples, orders, strict=True):
            length = permutations * (order.shape[1] + 1)
            kept_up = answers[start : start + length].reshape(permutations, -1)
            start += length
            everything[row] = kept_up[0, 0] - kept_up[0, -1]
            places = np.flatnonzero(asked.removable[row])
            values[row, places], errors[row, places] = _means(kept_up, order)
    return ShapleyEstimate(values, errors, everything, permutations)


def _groups(counts: np.ndarray, permutations: int, width: int) -> Iterator[list[int]]:
    """Numbers of samples whose versions are asked for together."""
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
    """Orders of a sample's removable positions, each behind its pair's first: dims ``(permutation, place)``."""
    rng = np.random.default_rng([seed, row])
    drawn = np.argsort(rng.random((permutations // 2, count)), axis=1)
    return np.stack([drawn, drawn[:, ::-1]], axis=1).reshape(permutations, count)


def _removals(asked: Versions, samples: list[int], orders: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """For every order: nothing removed, its first, its first two, ... all."""
    rows, masks = [], []
    for row, order in zip(samples, orders, strict=True):
        permutations, count = order.shape
        when = np.argsort(order, axis=1)
        gone = when[:, None, :] < np.arange(count + 1)[:, None]
        mask = np.zeros((permutations * (count + 1), asked.removable.shape[1]), bool)
        mask[:, np.flatnonzero(asked.removable[row])] = gone.reshape(len(mask), count)
        masks.append(mask)
        rows.append(np.full(len(mask), row))
    return np.concatenate(rows), np.concatenate(masks)


def _means(answers: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss of each position over the orders, and its standard error over pairs."""
    permutations, count = order.shape
    losses = np.empty((permutations, count))
    np.put_along_axis(losses, order, answers[:, :-1] - answers[:, 1:], axis=1)
    pairs = losses.reshape(permutations // 2, 2, count).mean(1)
    spread = pairs.std(0, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else np.full(count, np.nan)
    return pairs.mean(0), spread
