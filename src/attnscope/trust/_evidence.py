"""`evidence`: may these maps be believed? Methods put to the test on one model and its samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.attribution import (
    METHODS,
    Subject,
    Versions,
    default_removals,
    method_of,
    position,
    random,
    relevance_of,
    removal_of,
    subjects_of,
)
from attnscope.capturing import capture
from attnscope.discovery import Selection
from attnscope.errors import InputError, MethodError, NoAttentionError
from attnscope.findings import Findings
from attnscope.running import progress_bar
from attnscope.schema import SAMPLE
from attnscope.trust._attention_tests import moved
from attnscope.trust._bootstrap import Interval, paired_bootstrap
from attnscope.trust._card import EvidenceCard, Judged, Moved
from attnscope.trust._faithfulness import METHOD, faithfulness
from attnscope.trust._randomisation import randomisation, rank_correlation
from attnscope.trust._sensitivity import max_sensitivity
from attnscope.trust._time_limit import within_budget
from attnscope.trust._verdict import BASELINES, verdict_of

# A card asks for much at once, so that each measure takes fewer steps here than where it is asked for alone.
RANDOM_DRAWS = 2
"""How many random orders the baseline is the mean of, for each sample."""
PERTURBATIONS = 16
"""Random sets of infidelity."""
PATH_STEPS = 16
"""Points of integrated gradients."""
ASKED_AGAIN = 6
"""Samples on which methods are asked again, with shuffled parameters and with inputs that have moved, at the most."""
STAGES = 3
"""Blocks of layers that are shuffled one after the other, and each alone."""
MOVES = 4
"""Draws of max-sensitivity."""
LOOKED_AT = 16
"""Samples whose attention is captured, linted and changed, at the most: changing it costs over 100 passes each."""
PERMUTATIONS = 100


@dataclass(frozen=True)
class _Asked:
    """What a card is to be made of."""

    methods: Sequence[str]
    removals: Sequence[Any]
    kept: Any
    permutations: int
    seed: int
    sites: Selection


def evidence(
    model: keras.Model,
    inputs: Any,
    *,
    target: Any = None,
    methods: Sequence[str] | None = None,
    removals: Sequence[Any] | None = None,
    kept: Any = None,
    positions: str | None = None,
    grid: tuple[int, int] | None = None,
    labels: Sequence[Any] | None = None,
    sites: Selection = None,
    models: Sequence[keras.Model] = (),
    retrain: Callable[[bool], float] | None = None,
    permutations: int = PERMUTATIONS,
    budget: str | float | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
) -> EvidenceCard:
    """Puts methods of attribution to the test on a model and its samples, and says what is to be made of each.

    Each method's relevance is judged by removal (comprehensiveness, sufficiency, deletion, insertion, infidelity) under
    two ways of removing at least, against chance and against what is known from the position alone, with paired 95%
    bootstrap intervals over the samples; and it is asked again while the model's parameters are shuffled. Beside that
    stands what the answer hangs on: how far it moves when attention is permuted or made uniform, and how different
    attention can be without moving it. The same seed gives the same card.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is as before afterwards; while this runs, no other thread
            should use it.
        inputs: As for `capture`; all samples are held in memory. They should be independent of each other.
        target: What is explained; see `attribute`. One target.
        methods: Names out of `METHODS`; default: all that this model allows but ``shapley``, which costs most. The
            baselines ``random`` and ``position`` are on every card.
        removals: Ways of removing, at least two: objects, or names; default: two that suit the inputs.
        kept: Positions that are never removed; see `kept_of`.
        positions: Which input is explained; see `attribute`, as for `grid`, `labels` and `sites`.
        grid: Likewise.
        labels: Likewise.
        sites: Likewise.
        models: The same model trained from other seeds: how alike are the methods' answers?
        retrain: Trains the model anew with attention frozen to uniform (called with True) or free (with False) and
            returns the metric on held-out data: Wiegreffe and Pinter's first test.
        permutations: How often attention is permuted; 0 leaves out the three tests that change attention.
        budget: About how long it may take: seconds, or ``"5 min"``, ``"2 h"``. Fewer samples are drawn for it, and
            the card says so.
        seed: Of everything that is drawn.
        batch_size: Samples at a time.
        progress: Whether to show a bar, on a terminal.

    Returns:
        The card: a table, verdicts with their reasons, and a page.

    Raises:
        MethodError: A method that was asked for by name cannot be used on this model; the message says what can.
        InputError: The samples are too few, or an option has no meaning.
        TargetError: The target is not among what the model says.
    """
    began = time.monotonic()
    subjects = subjects_of(
        model, inputs, target=target, positions=positions, grid=grid, labels=labels, sites=sites, batch_size=batch_size
    )
    if len(subjects) != 1:
        raise InputError(f"There are {len(subjects)} targets, but a card is about one: target=1.")
    [subject] = subjects
    if subject.samples < 2:
        raise InputError("There is one sample, but intervals need several: give more, 30 or better 100.")
    ways = [removal_of(r, subject) for r in removals or default_removals(subject)]
    if len({way.name for way in ways}) < max(2, len(ways)):
        raise InputError(
            f"The ways of removing are {[way.name for way in ways]}, but they change the ranking of methods, so that "
            f"two different ones are needed: removals={[way.name for way in default_removals(subject)]}."
        )
    asked = _Asked((), ways, kept, permutations, seed, sites)
    usable, refused = _usable(subject.rows(slice(0, 2)), asked, methods)
    asked = replace(asked, methods=usable)
    notes = [f"{name} is left out: {reason}" for name, reason in refused.items()]
    chosen, said = within_budget(subject, budget, began, lambda few: _whole(few, asked, progress=False), seed)
    found = _whole(chosen, asked, progress)
    stability = _stability(chosen, asked, models)
    return EvidenceCard(
        model=subject.model.name,
        target=subject.target.words,
        kind=subject.positions.kind,
        samples=chosen.samples,
        given=subject.samples,
        seed=seed,
        judged=found.judged,
        moved=found.moved,
        stability=stability,
        retrained=None if retrain is None else {"free": float(retrain(False)), "uniform": float(retrain(True))},
        findings=found.findings,
        passes=subject.scorer.passes,
        gradient_passes=subject.scorer.gradient_passes,
        seconds=time.monotonic() - began,
        notes=(*notes, *said),
        backend=keras.backend.backend(),
    )


@dataclass(frozen=True)
class _Found:
    """What was found on some samples."""

    judged: dict[str, Judged]
    moved: Moved | None
    findings: Findings


def _whole(subject: Subject, asked: _Asked, progress: bool) -> _Found:
    """All that is done with samples."""
    judged = _judged(subject, asked, progress)
    few = subject.rows(slice(0, LOOKED_AT))
    try:
        maps = capture(few.model, few.inputs, sites=asked.sites, batch_size=few.batch_size, progress=False)
    except NoAttentionError:
        return _Found(judged, None, Findings(()))
    subject.scorer.passes += few.samples
    if not asked.permutations:
        return _Found(judged, None, maps.findings)
    spread = float(np.std(subject.numbers()))
    found = moved(few, maps, spread=spread, permutations=asked.permutations, seed=asked.seed)
    subject.scorer.passes += found.passes
    return _Found(judged, found, maps.findings)


def _usable(few: Subject, asked: _Asked, wanted: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """The methods that work on this model, tried on two samples; and why the others do not."""
    names = [name for name in METHODS if name != "shapley"] if wanted is None else list(dict.fromkeys(wanted))
    names = [name for name in names if name not in BASELINES]  # they are on every card
    usable, refused = [], {}
    for name in names:
        try:
            relevance_of(few, name, **_options(name, asked))
        except (MethodError, NoAttentionError) as error:
            if wanted is not None:
                raise
            refused[name] = str(error)
            continue
        usable.append(name)
    if not usable:
        raise MethodError("No method works on this model: " + " ".join(refused.values()))
    return usable, refused


def _options(name: str, asked: _Asked, versions: Versions | None = None) -> dict[str, Any]:
    """Those of a card's options that a method knows."""
    given = {"kept": asked.kept, "seed": asked.seed, "steps": PATH_STEPS, "removal": asked.removals[0]}
    given |= {"versions": versions} if versions else {}
    return {option: value for option, value in given.items() if option in method_of(name).options}


def _judged(subject: Subject, asked: _Asked, progress: bool) -> dict[str, Judged]:
    """Every method and the two baselines under every way of removing, with verdicts."""
    versions = [Versions(subject, removal, kept=asked.kept, seed=asked.seed) for removal in asked.removals]
    relevances, measures, sensitivity = {}, {}, {}
    with progress_bar(2 * len(asked.methods) + len(versions), shown=progress) as advance:
        for name in asked.methods:
            relevances[name] = relevance_of(subject, name, **_options(name, asked, versions[0]))
            advance()
        for removed in versions:
            measures[removed.removal.name] = _measured(removed, relevances, asked.seed)
            advance()
        again = _asked_again(subject, asked)
        for name in asked.methods:
            sensitivity[name] = _sensitivity(subject, asked, name)
            advance()
    return {
        **{
            name: _judgement(name, relevances[name], measures, again.sel({METHOD: name}), sensitivity[name], asked.seed)
            for name in asked.methods
        },
        **{name: _baseline(name, measures, asked.seed) for name in BASELINES},
    }


def _measured(versions: Versions, relevances: Mapping[str, xr.DataArray], seed: int) -> xr.Dataset:
    """All measures under one way of removing, dims ``(method, sample)``; chance is the mean of several draws."""
    draws = {f"random {n}": random(versions.subject, seed=seed + n) for n in range(RANDOM_DRAWS)}
    values = {name: found.values for name, found in relevances.items()}
    given = {**values, "position": position(versions.subject, versions=versions), **draws}
    found = faithfulness(versions, given, steps=None, perturbations=PERTURBATIONS, seed=seed)
    found = found.drop_dims("threshold")
    chance = found.sel({METHOD: list(draws)}).mean(METHOD, keep_attrs=True).expand_dims({METHOD: ["random"]})
    return xr.concat([found.sel({METHOD: [name for name in given if name not in draws]}), chance], METHOD)


def _asked_again(subject: Subject, asked: _Asked) -> xr.DataArray:
    """How alike the methods' answers stay while parameters are shuffled, dims ``(stage, relevance, sample)``."""
    few = subject.rows(slice(0, ASKED_AGAIN))

    def relevances() -> np.ndarray:
        return np.stack([relevance_of(few, name, **_options(name, asked)).values for name in asked.methods])

    found = randomisation(few.model, relevances, few.positions.valid, order="both", blocks=STAGES, seed=asked.seed)
    return found.assign_coords({METHOD: list(asked.methods)})


def _sensitivity(subject: Subject, asked: _Asked, name: str) -> float | None:
    """How far its answer moves when the input moves a little; None where it cannot."""
    few, options = subject.rows(slice(0, ASKED_AGAIN)), _options(name, asked)
    if few.positions.of(few.inputs).dtype.kind != "f":
        return None
    found = max_sensitivity(few, lambda s: relevance_of(s, name, **options).values, draws=MOVES, seed=asked.seed)
    known = found.values[~np.isnan(found.values)]
    return float(np.median(known)) if len(known) else None


def _judgement(
    name: str,
    relevance: xr.DataArray,
    measures: Mapping[str, xr.Dataset],
    again: xr.DataArray,
    sensitivity: float | None,
    seed: int,
) -> Judged:
    bare = _baseline(name, measures, seed)
    stages = {
        order: {str(stage): _mean(row) for stage, row in zip(found["stage"].values, found.values, strict=True)}
        for order, found in again.groupby("order")
    }
    return replace(
        bare,
        class_specific=bool(relevance.attrs["class_specific"]),
        randomised=stages["cascading"],
        independent=stages.get("independent", {}),
        verdict=verdict_of(bare.gains, list(stages["cascading"].values())[-1]),
        sensitivity=sensitivity,
        passes=int(relevance.attrs["passes"]),
        gradient_passes=int(relevance.attrs["gradient_passes"]),
    )


def _baseline(name: str, measures: Mapping[str, xr.Dataset], seed: int) -> Judged:
    """What the measures say of a method or baseline, and nothing beside."""
    means = {removal: found.sel({METHOD: name}).mean(SAMPLE) for removal, found in measures.items()}
    return Judged(
        name=name,
        class_specific=None,
        means={
            removal: {str(variable): float(found[variable]) for variable in found.data_vars}
            for removal, found in means.items()
        },
        gains={removal: _gains(found, name, seed) for removal, found in measures.items()},
        randomised={},
        verdict=None,
    )


def _gains(found: xr.Dataset, name: str, seed: int) -> dict[str, Interval]:
    """How much more comprehensive a method is than each baseline, over the samples."""
    values = found["comprehensiveness"]
    return {
        baseline: paired_bootstrap(values.sel({METHOD: name}), values.sel({METHOD: baseline}), seed=seed)
        for baseline in BASELINES
        if baseline != name
    }


def _mean(values: np.ndarray) -> float:
    """Of those that are no NaN; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _stability(subject: Subject, asked: _Asked, models: Sequence[keras.Model]) -> dict[str, float]:
    """Mean rank correlation of each method's answers between models trained from other seeds."""
    if not models:
        return {}
    others = [subject.of_model(model) for model in models]
    found = {}
    for name in asked.methods:
        answers = [relevance_of(one, name, **_options(name, asked)).values for one in (subject, *others)]
        pairs = [rank_correlation(*both, subject.positions.valid) for both in combinations(answers, 2)]
        found[name] = float(np.mean([_mean(pair) for pair in pairs]))
    return found
