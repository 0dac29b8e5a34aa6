"""Whether the model's answer depends on what a relevance ranks first: remove it, or keep it alone, and ask again.

All measures take `RemovalScores`, which hold the model, its samples and the removal, and keep every answer:
methods that agree on a set of positions, and measures that ask for the same one, share a pass. Each measure is one
number per sample (and threshold), so that intervals over samples can be computed.

The relevance is read as a ranking. What speaks for the target comes first, what speaks against it last: the sign
counts. Equal numbers are put in a seeded random order, because the order of the positions would be a guess of its own,
and often a good one. Padding and kept positions are never removed and not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.attribution import RemovalScores
from attnscope.errors import InputError
from attnscope.schema import SAMPLE, too_many

THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the positions that are removed or kept, as in ERASER."""
HIGHER_IS_BETTER = {
    "comprehensiveness": True,
    "sufficiency": False,
    "deletion": False,
    "insertion": True,
    "infidelity": False,
    "max_sensitivity": False,
}
"""For each measure, whether higher values are better."""
METHOD, THRESHOLD = "relevance", "threshold"
"""Dims; the first is not called `method`, as ``measures.sel(method="raw")`` means something else to xarray."""
Relevances = Mapping[str, ArrayLike]


def faithfulness(
    versions: RemovalScores,
    relevances: Relevances,
    *,
    thresholds: Iterable[float] = THRESHOLDS,
    steps: int | None = 10,
    perturbations: int | Sequence[str] = 32,
    described: ArrayLike | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """All measures by removal for several methods at once.

    It costs at most ``2 * (len(thresholds) + steps)`` forward passes per method and sample, and `perturbations` + 1 per
    sample for all methods together (times the draws of the removal); fewer where the same positions are removed twice,
    and about half for samples that are not `described`.

    Args:
        versions: The model, its samples and the removal.
        relevances: By name of the method: dims ``(sample, position)``; numbers at padding and at kept positions are not
            read.
        thresholds: Shares of the positions that are removed or kept, above 0 and at most 1.
        steps: The number of steps of the deletion and insertion curves, at most. None: the curves go through what is
            removed for the thresholds, which costs no further passes.
        perturbations: Number of random sets per sample, for the infidelity; or names of relevances that are random:
            the sets that these orders remove for the thresholds serve, which costs no further passes.
        described: Numbers of the samples whose top positions are also kept alone; None: all. The others get NaN for
            sufficiency, insertion and infidelity.
        seed: Seed of the order of equal numbers and of the perturbations; the same for all methods.

    Returns:
        dims ``(relevance, sample)``: ``comprehensiveness``, ``sufficiency`` (means over the thresholds, ERASER's AOPC),
        ``deletion``, ``insertion`` (areas) and ``infidelity``; and by threshold
        ``comprehensiveness_at`` and ``sufficiency_at`` with dims ``(relevance, sample, threshold)``. The attrs of each
        variable give its unit and whether higher is better; those of the dataset give the removal, the target, the seed
        and the passes.

    Raises:
        InputError: A relevance has another shape or contains NaN, or an option has no meaning.
    """
    passes_before = versions.passes
    names, arrays = list(relevances), [_checked(versions, array) for array in relevances.values()]
    if not names:
        raise InputError(
            "There is no relevance to evaluate. Give at least one: faithfulness(versions, {'raw': relevance})."
        )
    ranks = np.stack([removal_ranks(versions, array, seed) for array in arrays])
    shares = _thresholds(thresholds)
    at_thresholds = _threshold_levels(versions, shares)
    on_curves = _curve_levels(versions, shares) if steps is None else _step_levels(versions, _steps(steps))
    every = np.arange(versions.subject.samples)
    few = every if described is None else np.asarray(described)
    without = [_without_top(ranks, levels.removed) for levels in (at_thresholds, on_curves)]
    alone = [_top_alone(ranks, levels.kept)[:, few] for levels in (at_thresholds, on_curves)]
    if isinstance(perturbations, (list, tuple)) and perturbations and set(perturbations) <= set(names):
        orders = [names.index(name) for name in perturbations]
        sets = _sets_of_orders(without[0][orders][:, few], alone[0][orders])
    else:
        sets = _all_sets(versions, perturbations, seed)[few]
    lost, falling, kept, rising, perturbed = _answers(
        versions, [*without, *alone, sets[None]], [every, every, few, few, few]
    )
    original = versions.original()[:, None]
    of_all = partial(_of_all, few, len(every))
    by_threshold = {"comprehensiveness": original - lost, "sufficiency": of_all(original[few] - kept)}
    measures = {
        **{name: values.mean(-1) for name, values in by_threshold.items()},
        "deletion": _area(falling, on_curves.removed),
        "insertion": of_all(_area(rising, on_curves.kept[few])),
        "infidelity": of_all(_infidelities(versions, np.stack(arrays), sets, perturbed[0], few, scaled=True)),
    }
    of_samples = {name: ((METHOD, SAMPLE), values, _attrs_of(name)) for name, values in measures.items()}
    of_thresholds = {
        f"{name}_at": ((METHOD, SAMPLE, THRESHOLD), values, _attrs_of(name)) for name, values in by_threshold.items()
    }
    return xr.Dataset(
        {**of_samples, **of_thresholds},
        coords={METHOD: names, THRESHOLD: shares},
        attrs={
            **_origin(versions, seed),
            "steps": "thresholds" if steps is None else steps,
            "perturbations": sets.shape[1],
            "passes": versions.passes - passes_before,
        },
    )


def comprehensiveness(
    versions: RemovalScores, relevance: ArrayLike, *, thresholds: Iterable[float] = THRESHOLDS, seed: int = 0
) -> xr.DataArray:
    """How much of the target is lost without the most relevant positions: f(x) - f(x without the top k).

    k is the threshold's share of the positions that may be removed, rounded up, so at least one; where not all of them
    can be removed (by deleting), at most all but one. Higher is better: the model needed what ranks first.

    Args:
        versions: The model, its samples and the removal.
        relevance: dims ``(sample, position)``; numbers at padding and at kept positions are not read.
        thresholds: Shares of the positions that are removed, above 0 and at most 1.
        seed: Seed of the order of equal numbers.

    Returns:
        dims ``(sample, threshold)``, float64, in the unit of the target, any sign. 0 for a sample of which nothing may
        be removed.

    Raises:
        InputError: The relevance has another shape or contains NaN, or a threshold is not a share.

    Source:
        DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", section 4.
    """
    return _by_threshold(versions, relevance, thresholds, seed, "comprehensiveness")


def sufficiency(
    versions: RemovalScores, relevance: ArrayLike, *, thresholds: Iterable[float] = THRESHOLDS, seed: int = 0
) -> xr.DataArray:
    """How much of the target is lost when only the most relevant positions are kept: f(x) - f(top k alone).

    Lower is better: what ranks first is sufficient. k as in `comprehensiveness`. Positions that are never removed
    (start and end tokens) stay in addition to the top k.

    Args:
        versions: The model, its samples and the removal.
        relevance: dims ``(sample, position)``; numbers at padding and at kept positions are not read.
        thresholds: Shares of the positions that are kept, above 0 and at most 1.
        seed: Seed of the order of equal numbers.

    Returns:
        dims ``(sample, threshold)``, float64, in the unit of the target, any sign.

    Raises:
        InputError: The relevance has another shape or contains NaN, or a threshold is not a share.

    Source:
        DeYoung et al. 2020, "ERASER: A Benchmark to Evaluate Rationalized NLP Models", section 4.
    """
    return _by_threshold(versions, relevance, thresholds, seed, "sufficiency")


def deletion(versions: RemovalScores, relevance: ArrayLike, *, steps: int = 10, seed: int = 0) -> xr.DataArray:
    """The area under the target while positions are removed one after another, the most relevant ones first.

    Lower is better: the target falls early. The curve goes from nothing removed to all removed in at most `steps` steps
    of about equal size (one position each where there are fewer positions), by trapezoids over the share removed. The
    area is in the unit of the target, so only for a probability it is within 0 to 1; compare it with another method's
    on the same samples.

    Args:
        versions: The model, its samples and the removal. Deleting leaves the last position in; the curve ends
            there, and its area is divided by its length.
        relevance: dims ``(sample, position)``; numbers at padding and at kept positions are not read.
        steps: The number of steps, at most.
        seed: Seed of the order of equal numbers.

    Returns:
        dims ``(sample,)``, float64, in the unit of the target.

    Raises:
        InputError: The relevance has another shape or contains NaN, or there is not at least one step.

    Source:
        Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", where the
        metrics are called deletion and insertion.
    """
    return _by_steps(versions, relevance, steps, seed, "deletion")


def insertion(versions: RemovalScores, relevance: ArrayLike, *, steps: int = 10, seed: int = 0) -> xr.DataArray:
    """The area under the target while positions are put back one after another, the most relevant ones first.

    Higher is better: the target rises early. It starts with everything removed (by deleting: all but the most relevant
    position), where the source starts with a blurred picture. Otherwise as `deletion`.

    Args:
        versions: The model, its samples and the removal. Deleting leaves one position in; the curve starts
            there, and its area is divided by its length.
        relevance: dims ``(sample, position)``; numbers at padding and at kept positions are not read.
        steps: The number of steps, at most.
        seed: Seed of the order of equal numbers.

    Returns:
        dims ``(sample,)``, float64, in the unit of the target.

    Raises:
        InputError: The relevance has another shape or contains NaN, or there is not at least one step.

    Source:
        Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models", where the
        metrics are called deletion and insertion.
    """
    return _by_steps(versions, relevance, steps, seed, "insertion")


def infidelity(
    versions: RemovalScores, relevance: ArrayLike, *, perturbations: int = 32, scaled: bool = True, seed: int = 0
) -> xr.DataArray:
    """How far the relevance of a set of positions is from what the target loses without it, squared and averaged.

    mean over sets S of (s * sum of r_i over S - (f(x) - f(x without S)))^2. The size of a set is drawn uniformly from 1
    to the number of positions that may be removed, and then its members; the sets are the same for every method. Lower
    is better.

    The factor s of a sample is 1, or, if `scaled`, the non-negative one that fits its sets best: so methods without a
    unit (attention sums to 1) are compared by their proportions. A method that points the wrong way gets s = 0.

    Args:
        versions: The model, its samples and the removal.
        relevance: dims ``(sample, position)``, as what a position adds to the target (gradient times input, not the
            gradient).
        perturbations: Number of sets per sample.
        scaled: Whether the relevance may have any unit.
        seed: Seed of the sets.

    Returns:
        dims ``(sample,)``, float64, the unit of the target squared, 0 or more.

    Raises:
        InputError: The relevance has another shape or contains NaN, or there is not at least one set.

    Source:
        Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations" (INFD), with the removal of a random set
        as the perturbation, I = x - x without S, and relevance that is already multiplied by the input. The factor is
        an addition; Captum's ``normalize=True`` is the same without the bound at 0.
    """
    array = _checked(versions, relevance)
    sets = _all_sets(versions, perturbations, seed)
    [answers] = _answers(versions, [sets[None]])
    every = np.arange(versions.subject.samples)
    infidelities = _infidelities(versions, array[None], sets, answers[0], every, scaled=scaled)
    return _labelled(versions, infidelities[0], "infidelity", seed)


def removal_ranks(versions: RemovalScores, relevance: np.ndarray, seed: int = 0) -> np.ndarray:
    """The rank of each position in the order of removal, the most relevant one first.

    Numbers that differ by less than a millionth of the largest of their sample count as equal, as they differ by
    rounding only; equal ones are put in a random order.

    Args:
        versions: Which positions may be removed.
        relevance: dims ``(sample, position)``.
        seed: Seed of the order of equal numbers.

    Returns:
        dims ``(sample, position)``, whole numbers from 0; the number of positions at those that may not be removed.
    """
    able = versions.removable
    values = np.where(able, relevance, 0.0)
    largest = np.abs(values).max(1, keepdims=True, initial=0.0)
    rounded = np.round(values / np.where(largest > 0, largest, 1.0), 6)
    chance = np.random.default_rng([seed, 5]).random(able.shape)
    order = np.lexsort((chance, -rounded, ~able), axis=1)
    return np.where(able, np.argsort(order, axis=1), able.shape[1])


def _by_threshold(
    versions: RemovalScores, relevance: ArrayLike, thresholds: Iterable[float], seed: int, name: str
) -> xr.DataArray:
    shares = _thresholds(thresholds)
    ranks = removal_ranks(versions, _checked(versions, relevance), seed)[None]
    levels = _threshold_levels(versions, shares)
    removed = _without_top(ranks, levels.removed) if name == "comprehensiveness" else _top_alone(ranks, levels.kept)
    [answers] = _answers(versions, [removed])
    return xr.DataArray(
        versions.original()[:, None] - answers[0],
        dims=(SAMPLE, THRESHOLD),
        coords={THRESHOLD: shares},
        name=name,
        attrs={**_origin(versions, seed), **_attrs_of(name)},
    )


def _by_steps(versions: RemovalScores, relevance: ArrayLike, steps: int, seed: int, name: str) -> xr.DataArray:
    ranks = removal_ranks(versions, _checked(versions, relevance), seed)[None]
    levels = _step_levels(versions, _steps(steps))
    removed = _without_top(ranks, levels.removed) if name == "deletion" else _top_alone(ranks, levels.kept)
    [answers] = _answers(versions, [removed])
    return _labelled(versions, _area(answers, levels.removed if name == "deletion" else levels.kept)[0], name, seed)


@dataclass(frozen=True)
class _Levels:
    """How many of the top positions are removed, or kept alone, at each level: whole numbers, dims ``(sample, level)``.

    No more are removed than may be at once.
    """

    removed: np.ndarray
    kept: np.ndarray


def _threshold_levels(versions: RemovalScores, shares: np.ndarray) -> _Levels:
    """A level for each share."""
    counts = versions.counts[:, None]
    top = np.clip(np.ceil(counts * shares - 1e-9), np.minimum(1, counts), counts).astype(int)
    return _levels(versions, top)


def _step_levels(versions: RemovalScores, steps: int) -> _Levels:
    """Levels from nothing to all, in steps of about equal size."""
    return _levels(versions, np.floor(versions.counts[:, None] * np.arange(steps + 1) / steps + 0.5).astype(int))


def _curve_levels(versions: RemovalScores, shares: np.ndarray) -> _Levels:
    """The levels of the thresholds, between nothing and all."""
    counts = versions.counts[:, None]
    between = _threshold_levels(versions, np.sort(shares))
    nothing, everything = _levels(versions, 0 * counts), _levels(versions, counts)
    return _Levels(
        np.hstack([nothing.removed, between.removed, everything.removed]),
        np.hstack([nothing.kept, between.kept, everything.kept]),
    )


def _levels(versions: RemovalScores, top: np.ndarray) -> _Levels:
    """The levels for these numbers of top positions, dims ``(sample, level)``."""
    counts, most = versions.counts[:, None], versions.most[:, None]
    return _Levels(np.minimum(top, most), np.maximum(top, counts - most))


def _without_top(ranks: np.ndarray, count: np.ndarray) -> np.ndarray:
    """What is removed when the top positions are, dims ``(relevance, sample, level, position)``, bool."""
    return np.asarray(ranks[:, :, None, :] < count[..., None])


def _top_alone(ranks: np.ndarray, count: np.ndarray) -> np.ndarray:
    """What is removed when the top positions alone are kept, dims ``(relevance, sample, level, position)``, bool."""
    return np.asarray(ranks[:, :, None, :] >= count[..., None])


def _area(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The mean height of a curve over its levels, by trapezoids; its one value where it has no length."""
    widths = np.diff(levels, axis=-1)
    length = widths.sum(-1)
    area = ((values[..., 1:] + values[..., :-1]) / 2 * widths).sum(-1)
    return np.where(length > 0, area / np.maximum(length, 1), values[..., 0])


def _infidelities(
    versions: RemovalScores,
    relevances: np.ndarray,
    sets: np.ndarray,
    answers: np.ndarray,
    rows: np.ndarray,
    *,
    scaled: bool,
) -> np.ndarray:
    """The infidelity of every relevance on some samples, dims ``(relevance, sample)``.

    Args:
        versions: The model, its samples and the removal.
        relevances: Of all samples, dims ``(relevance, sample, position)``.
        sets: What was removed, dims ``(sample, set, position)``.
        answers: The target without each set, dims ``(sample, set)``.
        rows: Numbers of these samples.
        scaled: Whether the relevance may have any unit.
    """
    drops = versions.original()[rows, None] - answers
    able = np.where(versions.removable[rows], relevances[:, rows], 0.0)
    sums = np.einsum("msp,skp->msk", able, sets.astype(np.float64))
    if scaled:
        squares = (sums**2).sum(-1, keepdims=True)
        sums = sums * np.maximum((sums * drops).sum(-1, keepdims=True), 0.0) / np.where(squares > 0, squares, 1.0)
    return np.asarray(((sums - drops) ** 2).mean(-1))


def _all_sets(versions: RemovalScores, perturbations: object, seed: int) -> np.ndarray:
    """Random sets of positions, dims ``(sample, set, position)``, bool."""
    if isinstance(perturbations, (list, tuple, str)):
        raise InputError(
            f"perturbations is {perturbations!r}, but a number of sets is needed, or a list of names of the relevances "
            "that were given: perturbations=32."
        )
    if isinstance(perturbations, bool) or not isinstance(perturbations, (int, np.integer)) or perturbations < 1:
        raise InputError(f"perturbations is {perturbations!r}, but at least one set is needed: perturbations=32.")
    return np.stack([_sets(versions, row, int(perturbations), seed) for row in range(versions.subject.samples)])


def _sets_of_orders(*removed: np.ndarray) -> np.ndarray:
    """All sets that some orders remove, dims ``(sample, set, position)``, bool.

    Args:
        removed: What they remove, dims ``(order, sample, level, position)``.
    """
    together = np.concatenate(removed, axis=2).swapaxes(0, 1)
    return together.reshape(len(together), -1, together.shape[-1])


def _sets(versions: RemovalScores, row: int, perturbations: int, seed: int) -> np.ndarray:
    """Random sets of a sample's positions, dims ``(set, position)``, bool."""
    rng = np.random.default_rng([seed, 11, row])
    able, most = versions.removable[row], int(versions.most[row])
    sizes = rng.integers(1, most + 1, perturbations) if most else np.zeros(perturbations, int)
    chance = np.where(able, rng.random((perturbations, len(able))), 2.0)
    return np.argsort(np.argsort(chance, axis=1), axis=1) < sizes[:, None]


def _answers(
    versions: RemovalScores, removed: list[np.ndarray], samples: list[np.ndarray] | None = None
) -> list[np.ndarray]:
    """The target with each of these removed, computed together: each array with dims ``(relevance, sample, level)``.

    Args:
        versions: The model, its samples and the removal.
        removed: What is removed, each with dims ``(relevance, sample, level, position)``.
        samples: For each of them, the numbers of its samples; None: all samples.
    """
    of_all = [np.arange(versions.subject.samples)] * len(removed)
    rows = [
        np.broadcast_to(numbers[:, None], part.shape[:3]).ravel()
        for numbers, part in zip(samples or of_all, removed, strict=True)
    ]
    flat = [part.reshape(-1, part.shape[-1]) for part in removed]
    numbers = versions(np.concatenate(rows), np.concatenate(flat))
    ends = np.cumsum([len(part) for part in rows])[:-1]
    return [part.reshape(array.shape[:3]) for part, array in zip(np.split(numbers, ends), removed, strict=True)]


def _of_all(rows: np.ndarray, samples: int, values: np.ndarray) -> np.ndarray:
    """What is known of some samples, dims ``(relevance, sample, ...)``, as that of all of them; NaN elsewhere."""
    whole = np.full((len(values), samples, *values.shape[2:]), np.nan)
    whole[:, rows] = values
    return whole


def _labelled(versions: RemovalScores, values: np.ndarray, name: str, seed: int) -> xr.DataArray:
    return xr.DataArray(values, dims=(SAMPLE,), name=name, attrs={**_origin(versions, seed), **_attrs_of(name)})


def _attrs_of(measure: str) -> dict[str, bool | str]:
    units = "target squared" if measure == "infidelity" else "target"
    return {"higher_is_better": HIGHER_IS_BETTER[measure], "units": units}


def _origin(versions: RemovalScores, seed: int) -> dict[str, str | int]:
    """What a measure was computed from."""
    return {
        "removal": versions.removal.name,
        "in_its_place": versions.words,
        "target": versions.subject.target.words,
        "seed": seed,
    }


def _checked(versions: RemovalScores, relevance: ArrayLike) -> np.ndarray:
    if isinstance(relevance, Mapping):
        raise too_many(relevance, "the relevance of one target by one method is needed")
    array = np.asarray(relevance, dtype=np.float64)
    shape = versions.removable.shape
    if array.shape != shape:
        raise InputError(
            f"The relevance has shape {array.shape}, but one number per sample and position is needed, shape {shape}. "
            "Give the relevance of these samples for one target: relevance.sel(target=0)."
        )
    bad = versions.removable & ~np.isfinite(array)
    if bad.any():
        row, place = np.argwhere(bad)[0]
        raise InputError(
            f"The relevance of position {place} of sample {row} is {array[row, place]}, but a ranking needs finite "
            "numbers. Leave such samples out, or find where the model or the method divides by 0."
        )
    return array


def _thresholds(thresholds: Iterable[float]) -> np.ndarray:
    shares = np.asarray(list(thresholds), dtype=np.float64)
    if shares.ndim != 1 or not len(shares) or not ((shares > 0) & (shares <= 1)).all():
        raise InputError(
            f"The thresholds are {shares.tolist()}, but shares above 0 and at most 1 are needed: thresholds=(0.1, 0.5)."
        )
    return shares


def _steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"steps is {steps!r}, but at least one is needed: steps=10.")
    return steps
