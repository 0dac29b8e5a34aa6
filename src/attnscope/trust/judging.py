"""`evidence`: may these maps be believed? Methods put to the test on one model and its samples."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.attribution.attribute import relevance_of
from attnscope.attribution.baselines import position, random
from attnscope.attribution.methods import METHODS, method_of
from attnscope.attribution.removal import default_removals, removal_of
from attnscope.attribution.scoring import Scorer
from attnscope.attribution.subject import Subject, subjects_of
from attnscope.attribution.versions import Versions
from attnscope.capturing import capture
from attnscope.errors import InputError, MethodError, NoAttentionError
from attnscope.findings import Findings
from attnscope.interception.discovery import Selection
from attnscope.interception.running import progress_bar
from attnscope.maps import AttentionMaps
from attnscope.schema import SAMPLE, SCORES
from attnscope.trust.bootstrap import Interval, paired_bootstrap
from attnscope.trust.card import EvidenceCard, Judged, Moved
from attnscope.trust.counterfactual import adversarial_test, permutation_test, uniform_test
from attnscope.trust.faithfulness import METHOD, faithfulness
from attnscope.trust.randomisation import randomisation, rank_correlation
from attnscope.trust.verdict import BASELINES, verdict_of

RANDOM_DRAWS = 3
"""How many random orders the baseline is the mean of, for each sample."""
PILOT = 4
"""Samples that a first, uncounted run takes, to learn how long each takes."""
CURVE_STEPS, PERTURBATIONS = 5, 16
"""Of the curves of deletion and insertion, and of infidelity: fewer than where they are asked for alone."""
RANDOMISED_SAMPLES = 8
"""Samples on which methods are asked again with shuffled parameters, at the most."""
STAGES = 3
"""Blocks of layers that are shuffled one after the other."""
PERMUTATIONS = 100
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600}


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
        methods: Names out of `METHODS`; default: all that this model allows but ``shapley``, which costs most.
        removals: Ways of removing: objects, or names; default: two that suit the inputs.
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
    usable, refused = _usable(subject.rows(slice(0, 2)), methods, kept, seed)
    asked = _Asked(
        usable, [removal_of(r, subject) for r in removals or default_removals(subject)], kept, permutations, seed, sites
    )
    if len(asked.removals) < 2:
        raise InputError(
            "One way of removing was given, but it changes the ranking of methods, so that two are needed: "
            "removals=['mask_token', 'delete']."
        )
    notes = [f"{name} is left out: {reason}" for name, reason in refused.items()]
    chosen, said = _within_budget(subject, asked, budget, began, seed)
    notes += said
    judged = _judged(chosen, asked, progress)
    moved, maps = _moved(chosen, asked) if permutations else (None, _maps(chosen, asked))
    return EvidenceCard(
        model=subject.model.name,
        target=subject.target.words,
        kind=subject.positions.kind,
        samples=chosen.samples,
        given=subject.samples,
        seed=seed,
        judged=judged,
        moved=moved,
        stability=_stability(chosen, asked, models),
        retrained=None if retrain is None else {"free": float(retrain(False)), "uniform": float(retrain(True))},
        findings=Findings(()) if maps is None else maps.findings,
        passes=subject.scorer.passes + (0 if moved is None else moved.passes) + (0 if maps is None else chosen.samples),
        gradient_passes=sum(judged_method.gradient_passes for judged_method in judged.values()),
        seconds=time.monotonic() - began,
        notes=tuple(notes),
        backend=keras.backend.backend(),
    )


def _usable(few: Subject, wanted: Sequence[str] | None, kept: Any, seed: int) -> tuple[list[str], dict[str, str]]:
    """The methods that work on this model, tried on two samples; and why the others do not."""
    names = [name for name in METHODS if name not in ("shapley", *BASELINES)] if wanted is None else list(wanted)
    usable, refused = [], {}
    for name in names:
        try:
            relevance_of(few, name, **_options(name, few, kept, seed))
        except (MethodError, NoAttentionError) as error:
            if wanted is not None:
                raise
            refused[name] = str(error)
            continue
        usable.append(name)
    if not usable:
        raise MethodError("No method works on this model: " + " ".join(refused.values()))
    return usable, refused


def _options(name: str, subject: Subject, kept: Any, seed: int) -> dict[str, Any]:
    known = method_of(name).options
    return {option: value for option, value in (("kept", kept), ("seed", seed)) if option in known}


def _within_budget(
    subject: Subject, asked: _Asked, budget: str | float | None, began: float, seed: int
) -> tuple[Subject, list[str]]:
    """As many of the samples, drawn at random, as the budget allows; measured on a few of them."""
    if budget is None:
        return subject, []
    seconds = seconds_of(budget)
    few = subject.rows(slice(0, PILOT))
    _judged(few, asked, progress=False)  # compiles, which is paid once
    start = time.monotonic()
    _judged(few, asked, progress=False)
    each = (time.monotonic() - start) / few.samples
    left = max(0.0, seconds - (time.monotonic() - began))
    count = int(min(subject.samples, max(PILOT, left / each / (1.0 + 0.5 * bool(asked.permutations)))))
    if count >= subject.samples:
        return subject, []
    rows = np.sort(np.random.default_rng(seed).permutation(subject.samples)[:count])
    within = budget if isinstance(budget, str) else f"{budget:g} s"
    return subject.rows(rows), [f"{count} of {subject.samples} samples were drawn, to stay within {within}."]


def seconds_of(budget: str | float) -> float:
    """Seconds from a number of them, or from text such as ``"5 min"``.

    Raises:
        InputError: It is neither.

    Example:
        >>> seconds_of("5 min"), seconds_of("1.5 h"), seconds_of(20)
        (300.0, 5400.0, 20.0)
    """
    if isinstance(budget, (int, float)) and not isinstance(budget, bool) and budget > 0:
        return float(budget)
    found = re.fullmatch(r"\s*([\d.]+)\s*(s|sec|min|h)\s*", budget) if isinstance(budget, str) else None
    if found is None:
        raise InputError(f"The budget is {budget!r}, but seconds or a time such as '5 min' is needed: budget='5 min'.")
    return float(found[1]) * _SECONDS[found[2]]


def _judged(subject: Subject, asked: _Asked, progress: bool) -> dict[str, Judged]:
    """Every method and the two baselines under every way of removing, with verdicts."""
    relevances = {}
    with progress_bar(2 * len(asked.methods) + len(asked.removals), shown=progress) as advance:
        for name in asked.methods:
            relevances[name] = relevance_of(subject, name, **_options(name, subject, asked.kept, asked.seed))
            advance()
        measures = {}
        for removal in asked.removals:
            measures[removal.name] = _measured(subject, asked, removal, relevances)
            advance()
        correlations = {}
        for name in asked.methods:
            correlations[name] = _randomised(subject, asked, name)
            advance()
    return {
        name: _judgement(name, relevances.get(name), measures, correlations.get(name), asked.seed)
        for name in (*asked.methods, *BASELINES)
    }


def _measured(subject: Subject, asked: _Asked, removal: Any, relevances: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """All measures under one way of removing, dims ``(method, sample)``; chance is the mean of several draws."""
    versions = Versions(subject, removal, kept=asked.kept, seed=asked.seed)
    draws = {f"random {n}": random(subject, seed=asked.seed + n) for n in range(RANDOM_DRAWS)}
    values = {name: found.values for name, found in relevances.items()}
    given = {**values, "position": position(subject, versions=versions), **draws}
    found = faithfulness(versions, given, steps=CURVE_STEPS, perturbations=PERTURBATIONS, seed=asked.seed)
    found = found.drop_dims("threshold")
    chance = found.sel({METHOD: list(draws)}).mean(METHOD, keep_attrs=True).expand_dims({METHOD: ["random"]})
    return xr.concat([found.sel({METHOD: [name for name in given if name not in draws]}), chance], METHOD)


def _randomised(subject: Subject, asked: _Asked, name: str) -> xr.DataArray:
    few = subject.rows(slice(0, RANDOMISED_SAMPLES))
    options = _options(name, few, asked.kept, asked.seed)
    return randomisation(
        few.model,
        lambda: relevance_of(few, name, **options).values,
        few.positions.valid,
        blocks=STAGES,
        seed=asked.seed,
    )


def _judgement(
    name: str,
    relevance: xr.DataArray | None,
    measures: Mapping[str, xr.Dataset],
    correlations: xr.DataArray | None,
    seed: int,
) -> Judged:
    means = {removal: found.sel({METHOD: name}).mean(SAMPLE) for removal, found in measures.items()}
    gains = {removal: _gains(found, name, seed) for removal, found in measures.items()}
    stages = {} if correlations is None else _stages(correlations)
    verdict = None
    if correlations is not None:
        verdict = verdict_of(gains, list(stages.values())[-1])
    return Judged(
        name=name,
        class_specific=None if relevance is None else bool(relevance.attrs["class_specific"]),
        means={
            removal: {str(variable): float(found[variable]) for variable in found.data_vars}
            for removal, found in means.items()
        },
        gains=gains,
        randomised=stages,
        verdict=verdict,
        gradient_passes=0 if relevance is None else int(relevance.attrs["gradient_passes"]),
    )


def _gains(found: xr.Dataset, name: str, seed: int) -> dict[str, Interval]:
    """How much more comprehensive a method is than each baseline, over the samples."""
    values = found["comprehensiveness"]
    return {
        baseline: paired_bootstrap(values.sel({METHOD: name}), values.sel({METHOD: baseline}), seed=seed)
        for baseline in BASELINES
        if baseline != name
    }


def _stages(correlations: xr.DataArray) -> dict[str, float]:
    stages = zip(correlations["stage"].values, correlations.values, strict=True)
    return {str(stage): _mean(row) for stage, row in stages}


def _mean(values: np.ndarray) -> float:
    """Of those that are no NaN; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _maps(subject: Subject, asked: _Asked) -> AttentionMaps | None:
    try:
        return capture(subject.model, subject.inputs, sites=asked.sites, batch_size=subject.batch_size, progress=False)
    except NoAttentionError:
        return None


def _moved(subject: Subject, asked: _Asked) -> tuple[Moved | None, AttentionMaps | None]:
    """How far the answer moves when attention does."""
    maps = _maps(subject, asked)
    if maps is None:
        return None, None
    numbers = subject.numbers()
    sites = list(maps)
    model, given, target, size = subject.model, subject.inputs, subject.target, subject.batch_size
    permuted = permutation_test(
        model, given, target, sites=sites, permutations=asked.permutations, seed=asked.seed, batch_size=size
    )
    even = uniform_test(model, given, target, sites=sites, batch_size=size)
    tolerance = 0.05 * float(np.std(numbers)) or 1e-6
    last = next((name for name in reversed(sites) if SCORES in maps.dataset(name)), None)
    found = None
    if last is not None:
        found = adversarial_test(
            model,
            given,
            target,
            maps,
            last,
            tolerance=tolerance,
            candidates=4,
            steps=5,
            seed=asked.seed,
            batch_size=size,
        )
    return (
        Moved(
            spread=float(np.std(numbers)),
            permuted=float(np.median(permuted)),
            permutations=asked.permutations,
            uniform=float(np.median(even)),
            distance=None if found is None else float(np.median(found)),
            passes=sum(array.attrs["passes"] for array in (permuted, even, found) if array is not None),
            tolerance=tolerance,
            site=last,
        ),
        maps,
    )


def _stability(subject: Subject, asked: _Asked, models: Sequence[keras.Model]) -> dict[str, float]:
    """Mean rank correlation of each method's answers between models trained from other seeds."""
    if not models:
        return {}
    found = {}
    for name in asked.methods:
        answers = [
            relevance_of(one, name, **_options(name, one, asked.kept, asked.seed)).values
            for one in (subject, *(_with_model(subject, model) for model in models))
        ]
        valid = subject.positions.valid
        pairs = [
            _mean(rank_correlation(answers[first], answers[second], valid))
            for first in range(len(answers))
            for second in range(first)
        ]
        found[name] = float(np.mean(pairs))
    return found


def _with_model(subject: Subject, model: keras.Model) -> Subject:
    return replace(subject, model=model, scorer=Scorer(model, subject.batch_size))
