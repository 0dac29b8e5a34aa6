"""Whether what a relevance names is what the model's answer hangs on: remove it, or keep it alone, and ask again.

All measures take `Versions`, which hold the model, its samples and the way of removing, and keep every answer: methods
that agree on a set of positions, and measures that ask for the same one, share a pass. Each measure is one number per
sample (and threshold), so that intervals can be made over samples.

The relevance is read as an order. What speaks for the target comes first, what speaks against it last: the sign counts.
Equal numbers are put in a seeded random order, as the order of positions would be a guess of its own, and often a good
one. Padding, and what is kept, is never removed and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from attnscope.attribution import Versions
from attnscope.errors import InputError
from attnscope.schema import SAMPLE

THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the positions that are removed or kept; those of ERASER."""
HIGHER_IS_BETTER = {
    "comprehensiveness": True,
    "sufficiency": False,
    "deletion": False,
    "insertion": True,
    "infidelity": False,
    "max_sensitivity": False,
}
"""Which end of each measure is the good one."""
METHOD, THRESHOLD = "relevance", "threshold"
"""Dims; the first is not called `method`, as ``found.sel(method="raw")`` means something else to xarray."""
Relevances = Mapping[str, Any]


def faithfulness(
    versions: Versions,
    relevances: Relevances,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
    steps: int | None = 10,
    perturbations: int = 32,
    seed: int = 0,
) -> xr.Dataset:
    """All measures by removal for several methods at once.

    It costs at most, per method and sample, ``2 * (len(thresholds) + steps)`` forward passes, and for all methods
    together `perturbations` and one per sample (times the draws of the removal); fewer by all that comes twice.

    Args:
        versions: The model, its samples and the way of removing.
        relevances: By name of the method: dims ``(sample, position)``.
        thresholds: See `comprehensiveness`.
        steps: See `deletion`. None: the curves go through what is removed for the thresholds, which costs no pass more.
        perturbations: See `infidelity`.
        seed: Of the order of equal numbers and of the perturbations; the same for all methods.

    Returns:
        dims ``(relevance, sample)``: ``comprehensiveness``, ``sufficiency`` (means over the thresholds, ERASER's AOPC),
        ``deletion``, ``insertion`` (areas) and ``infidelity``; and by threshold
        ``comprehensiveness_at`` and ``sufficiency_at`` with dims ``(relevance, sample, threshold)``. Each variable
        says in its attrs whether higher is better and its unit; those of the dataset say the removal, the target, the
        seed and the passes.

    Raises:
        InputError: A relevance has another shape or holds NaN, or an option has no meaning.
    """
    before = versions.passes
    names, arrays = list(relevances), [_checked(versions, array) for array in relevances.values()]
    if not names:
        raise InputError(
            "There is no relevance to judge. Give at least one: faithfulness(versions, {'raw': relevance})."
        )
    ranks = np.stack([removal_ranks(versions, array, seed) for array in arrays])
    shares, sets = _thresholds(thresholds), _all_sets(versions, perturbations, seed)
    lost, left = _threshold_levels(versions, shares)
    gone, there = _curve_levels(versions, shares) if steps is None else _step_levels(versions, _steps(steps))
    removed = [_without_top(ranks, lost), _top_alone(ranks, left), _without_top(ranks, gone), _top_alone(ranks, there)]
    *answers, perturbed = _answers(versions, [*removed, sets[None]])
    original = versions.original()[:, None]
    comprehensive, sufficient = original - answers[0], original - answers[1]
    found = {
        "comprehensiveness": (comprehensive.mean(-1), "target"),
        "sufficiency": (sufficient.mean(-1), "target"),
        "deletion": (_area(answers[2], gone), "target"),
        "insertion": (_area(answers[3], there), "target"),
        "infidelity": (_unlike(versions, np.stack(arrays), sets, perturbed[0], scaled=True), "target squared"),
    }
    variables: dict[str, Any] = {
        name: ((METHOD, SAMPLE), values, {"higher_is_better": HIGHER_IS_BETTER[name], "units": unit})
        for name, (values, unit) in found.items()
    }
    for name, values in (("comprehensiveness", comprehensive), ("sufficiency", sufficient)):
        attrs = {"higher_is_better": HIGHER_IS_BETTER[name], "units": "target"}
        variables[f"{name}_at"] = ((METHOD, SAMPLE, THRESHOLD), values, attrs)
    return xr.Dataset(
        variables,
        coords={METHOD: names, THRESHOLD: shares},
        attrs={
            **_said(versions, seed),
            "steps": "thresholds" if steps is None else steps,
            "perturbations": perturbations,
            "passes": versions.passes - before,
        },
    )


def comprehensiveness(
    versions: Versions, relevance: Any, *, thresholds: Iterable[float] = THRESHOLDS, seed: int = 0
) -> xr.DataArray:
    """How much of the target is lost without the most relevant positions: f(x) - f(x without the top k).

    k is the threshold's share of the positions that may be removed, rounded up, so at least one; where the removal
    lets not all of them go (deleting), one less than all. Higher is better: what was named was needed.

    Args:
        versions: The model, its samples and the way of removing.
        relevance: dims ``(sample, position)``; numbers at padding and at what is kept are not read.
        thresholds: Shares, above 0 up to 1.
        seed: Of the order of equal numbers.

    Returns:
        dims ``(sample, threshold)``, float64, in the unit of the target, any sign. 0 for a sample none of whose
        positions may be removed.

    Raises:
        InputError: The relevance has another shape or holds NaN, or a threshold is no share.

    Source:
        DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", section 4.
    """
    return _by_threshold(versions, relevance, thresholds, seed, "comprehensiveness")


def sufficiency(
    versions: Versions, relevance: Any, *, thresholds: Iterable[float] = THRESHOLDS, seed: int = 0
) -> xr.DataArray:
    """How much of the target is lost when only the most relevant positions are left: f(x) - f(top k alone).

    Lower is better: what was named is enough. k as in `comprehensiveness`. What is kept (start and end tokens) stays
    beside them.

    Args:
        versions: See `comprehensiveness`.
        relevance: See `comprehensiveness`.
        thresholds: See `comprehensiveness`.
        seed: See `comprehensiveness`.

    Returns:
        dims ``(sample, threshold)``, float64, in the unit of the target, any sign.

    Raises:
        InputError: See `comprehensiveness`.

    Source:
        DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", section 4.
    """
    return _by_threshold(versions, relevance, thresholds, seed, "sufficiency")


def deletion(versions: Versions, relevance: Any, *, steps: int = 10, seed: int = 0) -> xr.DataArray:
    """The area under the target while positions are removed one after another, the most relevant ones first.

    Lower is better: the target falls early. From nothing removed to all in at most `steps` steps of about equal size
    (one position each where there are fewer), by trapezoids over the share removed. The area is that of the target
    itself, so it is within 0 to 1 for a probability only; compare it with that of another method on the same samples.

    Args:
        versions: The model, its samples and the way of removing. Deleting leaves the last position in; the curve ends
            there, and its area is divided by its length.
        relevance: dims ``(sample, position)``; numbers at padding and at what is kept are not read.
        steps: The number of steps at most.
        seed: Of the order of equal numbers.

    Returns:
        dims ``(sample,)``, float64, in the unit of the target.

    Raises:
        InputError: The relevance has another shape or holds NaN, or there is not at least one step.

    Source:
        Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", where the
        metrics are called deletion and insertion.
    """
    return _by_steps(versions, relevance, steps, seed, "deletion")


def insertion(versions: Versions, relevance: Any, *, steps: int = 10, seed: int = 0) -> xr.DataArray:
    """The area under the target while positions are put back one after another, the most relevant ones first.

    Higher is better: the target rises early. It starts with everything removed (deleting: all but the most relevant
    position), in place of the blurred picture of the source. All else as in `deletion`.

    Args:
        versions: See `deletion`.
        relevance: See `deletion`.
        steps: See `deletion`.
        seed: See `deletion`.

    Returns:
        dims ``(sample,)``, float64, in the unit of the target.

    Raises:
        InputError: See `deletion`.

    Source:
        Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", where the
        metrics are called deletion and insertion.
    """
    return _by_steps(versions, relevance, steps, seed, "insertion")


def infidelity(
    versions: Versions, relevance: Any, *, perturbations: int = 32, scaled: bool = True, seed: int = 0
) -> xr.DataArray:
    """How far the relevance of a set of positions is from what the target loses with them, squared and averaged.

    mean over sets S of (s * sum of r_i over S - (f(x) - f(x without S)))^2. A set has a size drawn evenly from 1 to the
    number that may be removed, and then members drawn evenly; the same sets for every method. Lower is better.

    The factor s of a sample is 1, or, `scaled`, the best one for its sets that is not negative: so methods without a
    unit (attention sums to 1) are judged by proportions. A method that points the wrong way gets s = 0.

    Args:
        versions: The model, its samples and the way of removing.
        relevance: dims ``(sample, position)``, as what a position adds to the target (gradient times input, not the
            gradient).
        perturbations: Number of sets per sample.
        scaled: Whether the unit of the relevance is left open.
        seed: Of the sets.

    Returns:
        dims ``(sample,)``, float64, the unit of the target squared, 0 or more.

    Raises:
        InputError: The relevance has another shape or holds NaN, or there is not at least one set.

    Source:
        Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations" (INFD), with the removal of a random set
        as the perturbation, I = x - x without S, and relevance that is multiplied by the input already. The factor is
        an addition; Captum's ``normalize=True`` is the same without the bound at 0.
    """
    array = _checked(versions, relevance)
    sets = _all_sets(versions, perturbations, seed)
    [answers] = _answers(versions, [sets[None]])
    return _labelled(versions, _unlike(versions, array[None], sets, answers[0], scaled=scaled)[0], "infidelity", seed)


def removal_ranks(versions: Versions, relevance: np.ndarray, seed: int = 0) -> np.ndarray:
    """The place of each position in the order in which they are removed, the most relevant one first.

    Numbers that differ by less than a millionth of the largest of their sample are equal, as they are the same but for
    rounding; equal ones are put in a random order.

    Args:
        versions: What may be removed.
        relevance: dims ``(sample, position)``.
        seed: Of the order of equal numbers.

    Returns:
        dims ``(sample, position)``, whole numbers from 0; the number of all positions at those that are not removed.
    """
    able = versions.removable
    values = np.where(able, relevance, 0.0)
    largest = np.abs(values).max(1, keepdims=True, initial=0.0)
    rounded = np.round(values / np.where(largest > 0, largest, 1.0), 6)
    chance = np.random.default_rng([seed, 5]).random(able.shape)
    order = np.lexsort((chance, -rounded, ~able), axis=1)
    return np.where(able, np.argsort(order, axis=1), able.shape[1])


def _by_threshold(
    versions: Versions, relevance: Any, thresholds: Iterable[float], seed: int, name: str
) -> xr.DataArray:
    shares = _thresholds(thresholds)
    ranks = removal_ranks(versions, _checked(versions, relevance), seed)[None]
    gone, there = _threshold_levels(versions, shares)
    removed = _without_top(ranks, gone) if name == "comprehensiveness" else _top_alone(ranks, there)
    [answers] = _answers(versions, [removed])
    return xr.DataArray(
        versions.original()[:, None] - answers[0],
        dims=(SAMPLE, THRESHOLD),
        coords={THRESHOLD: shares},
        name=name,
        attrs={**_said(versions, seed), "higher_is_better": HIGHER_IS_BETTER[name], "units": "target"},
    )


def _by_steps(versions: Versions, relevance: Any, steps: int, seed: int, name: str) -> xr.DataArray:
    ranks = removal_ranks(versions, _checked(versions, relevance), seed)[None]
    gone, there = _step_levels(versions, _steps(steps))
    removed = _without_top(ranks, gone) if name == "deletion" else _top_alone(ranks, there)
    [answers] = _answers(versions, [removed])
    return _labelled(versions, _area(answers, gone if name == "deletion" else there)[0], name, seed)


def _threshold_levels(versions: Versions, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the top are gone, and how many are left alone: whole numbers, dims ``(sample, threshold)``."""
    counts = versions.counts[:, None]
    top = np.clip(np.ceil(counts * shares - 1e-9), np.minimum(1, counts), counts).astype(int)
    return _allowed(versions, top)


def _step_levels(versions: Versions, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the top are gone, and how many are there: whole numbers, dims ``(sample, step)``."""
    return _allowed(versions, np.floor(versions.counts[:, None] * np.arange(steps + 1) / steps + 0.5).astype(int))


def _curve_levels(versions: Versions, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The levels of the thresholds between nothing and all."""
    counts = versions.counts[:, None]
    lost, left = _threshold_levels(versions, np.sort(shares))
    (lost_first, left_first), (lost_last, left_last) = (_allowed(versions, top) for top in (0 * counts, counts))
    return np.hstack([lost_first, lost, lost_last]), np.hstack([left_first, left, left_last])


def _allowed(versions: Versions, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels of removal and of keeping at which no more is removed than may be at once."""
    counts, most = versions.counts[:, None], versions.most[:, None]
    return np.minimum(top, most), np.maximum(top, counts - most)


def _without_top(ranks: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """What is removed, dims ``(relevance, sample, level, position)``, bool."""
    return np.asarray(ranks[:, :, None, :] < gone[..., None])


def _top_alone(ranks: np.ndarray, there: np.ndarray) -> np.ndarray:
    """What is removed, dims ``(relevance, sample, level, position)``, bool."""
    return np.asarray(ranks[:, :, None, :] >= there[..., None])


def _area(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The mean height of a curve, by trapezoids; its one value where it has no length."""
    widths = np.diff(places, axis=-1)
    length = widths.sum(-1)
    area = ((values[..., 1:] + values[..., :-1]) / 2 * widths).sum(-1)
    return np.where(length > 0, area / np.maximum(length, 1), values[..., 0])


def _unlike(
    versions: Versions, relevances: np.ndarray, sets: np.ndarray, answers: np.ndarray, *, scaled: bool
) -> np.ndarray:
    """The infidelity of every relevance, dims ``(relevance, sample)``.

    Args:
        versions: Where the sets were removed.
        relevances: dims ``(relevance, sample, position)``.
        sets: What was removed, dims ``(sample, set, position)``.
        answers: What the model said then, dims ``(sample, set)``.
        scaled: See `infidelity`.
    """
    drops = versions.original()[:, None] - answers
    said = np.einsum("msp,skp->msk", np.where(versions.removable, relevances, 0.0), sets.astype(np.float64))
    if scaled:
        squares = (said**2).sum(-1, keepdims=True)
        said = said * np.maximum((said * drops).sum(-1, keepdims=True), 0.0) / np.where(squares > 0, squares, 1.0)
    return np.asarray(((said - drops) ** 2).mean(-1))


def _all_sets(versions: Versions, perturbations: int, seed: int) -> np.ndarray:
    """Random sets of positions, dims ``(sample, set, position)``, bool."""
    if isinstance(perturbations, bool) or not isinstance(perturbations, int) or perturbations < 1:
        raise InputError(f"perturbations is {perturbations!r}, but at least one set is needed: perturbations=32.")
    return np.stack([_sets(versions, row, perturbations, seed) for row in range(versions.subject.samples)])


def _sets(versions: Versions, row: int, perturbations: int, seed: int) -> np.ndarray:
    """Random sets of a sample's positions, dims ``(set, position)``, bool."""
    rng = np.random.default_rng([seed, 11, row])
    able, most = versions.removable[row], int(versions.most[row])
    sizes = rng.integers(1, most + 1, perturbations) if most else np.zeros(perturbations, int)
    chance = np.where(able, rng.random((perturbations, len(able))), 2.0)
    return np.argsort(np.argsort(chance, axis=1), axis=1) < sizes[:, None]


def _answers(versions: Versions, removed: list[np.ndarray]) -> list[np.ndarray]:
    """What the model says to all of these, asked together: each with dims ``(relevance, sample, level)``."""
    rows = [np.broadcast_to(np.arange(part.shape[1])[:, None], part.shape[:3]).ravel() for part in removed]
    flat = [part.reshape(-1, part.shape[-1]) for part in removed]
    numbers = versions(np.concatenate(rows), np.concatenate(flat))
    ends = np.cumsum([len(part) for part in rows])[:-1]
    return [part.reshape(of.shape[:3]) for part, of in zip(np.split(numbers, ends), removed, strict=True)]


def _labelled(versions: Versions, values: np.ndarray, name: str, seed: int) -> xr.DataArray:
    units = "target squared" if name == "infidelity" else "target"
    attrs = {**_said(versions, seed), "higher_is_better": HIGHER_IS_BETTER[name], "units": units}
    return xr.DataArray(values, dims=(SAMPLE,), name=name, attrs=attrs)


def _said(versions: Versions, seed: int) -> dict[str, Any]:
    return {
        "removal": versions.removal.name,
        "in_its_place": versions.words,
        "target": versions.subject.target.words,
        "seed": seed,
    }


def _checked(versions: Versions, relevance: Any) -> np.ndarray:
    array = np.asarray(relevance, dtype=np.float64)
    shape = versions.removable.shape
    if array.shape != shape:
        raise InputError(
            f"The relevance has shape {array.shape}, but the samples and their positions are {shape}. Give that of the "
            "same samples, for one target: relevance.sel(target=0)."
        )
    bad = versions.removable & ~np.isfinite(array)
    if bad.any():
        row, place = np.argwhere(bad)[0]
        raise InputError(
            f"The relevance of position {place} of sample {row} is {array[row, place]}, but an order needs finite "
            "numbers. Leave such samples out, or find where the model or the method divides by 0."
        )
    return array


def _thresholds(given: Iterable[float]) -> np.ndarray:
    shares = np.asarray(list(given), dtype=np.float64)
    if shares.ndim != 1 or not len(shares) or not ((shares > 0) & (shares <= 1)).all():
        raise InputError(
            f"The thresholds are {shares.tolist()}, but shares above 0 and up to 1 are needed: thresholds=(0.1, 0.5)."
        )
    return shares


def _steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps is {steps!r}, but at least one is needed: steps=10.")
    return steps
