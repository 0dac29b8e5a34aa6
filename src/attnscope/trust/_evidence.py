"""`evidence`: may these maps be believed? Tests how faithful methods are on one model and its samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import keras
from numpy.typing import ArrayLike

from attnscope.attribution import ClassNames, InputLabels, Removal, TargetLike, subjects_of
from attnscope.discovery import Selection
from attnscope.errors import InputError
from attnscope.model_names import model_name
from attnscope.running import weights_digest
from attnscope.tensors import Inputs
from attnscope.trust._card import EvidenceCard
from attnscope.trust._experiment import DESCRIBED_SAMPLES, PROFILE_SAMPLES, Experiment, experiment_on
from attnscope.trust._judging import results_of
from attnscope.trust._repeats import stability
from attnscope.trust._time_limit import Limited, Plan, TimeLimit, in_words, time_limit
from attnscope.trust._verdict import LEAST_SAMPLES
from attnscope.trust._within_limit import Planned, within

PERMUTATIONS = 100
OVERRUN = 0.1
"""By more than this share of a time limit it is said that it was not kept."""


def evidence(
    model: keras.Model,
    inputs: Inputs,
    *,
    target: TargetLike = None,
    classes: ClassNames = None,
    class_names: ClassNames = None,
    methods: Sequence[str] | None = None,
    removals: Sequence[Removal | str] | None = None,
    kept: ArrayLike | None = None,
    positions: str | None = None,
    grid: tuple[int, int] | None = None,
    padding: float | None = None,
    labels: InputLabels | None = None,
    sites: Selection = None,
    models: Sequence[keras.Model] = (),
    retrain: Callable[[bool], float] | None = None,
    permutations: int = PERMUTATIONS,
    budget: str | float | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
) -> EvidenceCard:
    """Tests how faithful methods of attribution are on a model and its samples, and gives a verdict on each.

    Each method's relevance is tested by at least two kinds of removal (comprehensiveness, sufficiency, deletion,
    insertion, infidelity) against two baselines, a random order and position alone, with paired intervals over the
    samples that hold together with 95%; and it is computed again while the model's parameters are shuffled. With fewer
    than 30 samples, every verdict is ``cannot tell``, and the card says how many would do. The card also shows what the
    answer depends on: how far it moves when attention is permuted or made uniform, and how different attention can be
    without moving it. The same seed gives the same card.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is restored afterwards; while this runs, no other thread
            should use it.
        inputs: Samples in any form that `capture` takes; all are held in memory. They should be independent of each
            other.
        target: What is explained; see `attribute`. One target.
        classes: What the classes are called, in their order; see `attribute`.
        class_names: The earlier name of `classes`.
        methods: Names from `METHODS`; default: all that this model allows but ``shapley``, which costs most. The
            baselines ``random`` and ``position`` are on every card.
        removals: How positions are removed, in at least two ways: objects, or names; default: two that suit the inputs.
        kept: Positions that are never removed: True or False for each, dims ``(position,)`` or ``(sample, position)``;
            or of tokens a list of their numbers; default: the start and end tokens of a KerasHub task's tokenizer.
        positions: Name of the input that is explained, where there are several.
        grid: Rows and columns of patches, for pictures.
        padding: The number that is padding, beside what the model itself masks; see `attribute`.
        labels: Names of the positions, one list for all samples, or one per sample; or these by the name of the input
            that they are for: ``labels={"text": names}``.
        sites: Which attention is meant: patterns as for `capture`; default: all of it.
        models: The same model trained from other seeds, to measure how similar each method's relevance is between them.
        retrain: Trains the model again, with attention frozen to uniform (called with True) or free (with False), and
            returns the metric on held-out data: Wiegreffe and Pinter's first test.
        permutations: How often attention is permuted; 0 leaves out the three tests that change attention.
        budget: About how long it may take: seconds, or ``"5 min"``, ``"2 h"``. As many samples are drawn as that
            allows, and the card says how many and what else was left out; first of all, where they are too few to tell
            anything.
        seed: Seed of everything that is drawn.
        batch_size: Samples at a time.
        progress: Whether to show a bar, on a terminal.

    Returns:
        The card, with a table, the verdicts and their reasons, and a page.

    Raises:
        MethodError: A method asked for by name cannot be used on this model; the message says what can.
        InputError: There are too few samples, or an option has no meaning.
        TargetError: The target is not among the model's outputs.
    """
    started = time.monotonic()
    limit = None if budget is None else time_limit(budget, started)
    subjects = subjects_of(
        model,
        inputs,
        target=target,
        classes=classes,
        class_names=class_names,
        positions=positions,
        grid=grid,
        padding=padding,
        labels=labels,
        sites=sites,
        batch_size=batch_size,
    )
    if len(subjects) != 1:
        raise InputError(f"There are {len(subjects)} targets, but a card is about one. Choose one: target=1.")
    [subject] = subjects
    whole = experiment_on(subject, methods=methods, removals=removals, kept=kept, permutations=permutations, seed=seed)
    planned = Planned(whole) if limit is None else within(limit, whole)
    experiment = planned.experiment
    results = results_of(experiment, planned.repeats, progress=progress)
    between_models = stability(experiment, models)
    seconds = time.monotonic() - started
    return EvidenceCard(
        model=model_name(subject.model),
        target=subject.target.words,
        kind=subject.positions.kind,
        samples=experiment.subject.samples,
        given=subject.samples,
        seed=seed,
        judged=results.judged,
        margins=results.margins,
        moved=results.attention.moved,
        stability=between_models,
        retrained=None if retrain is None else {"free": float(retrain(False)), "uniform": float(retrain(True))},
        findings=results.attention.findings,
        passes=subject.network.passes.forward,
        gradient_passes=subject.network.passes.gradient,
        seconds=seconds,
        notes=(*_notes(experiment), *_cuts(limit, experiment, subject.samples, seconds, results.notes)),
        backend=keras.backend.backend(),
        limit=_limited(limit, planned.plan),
        weights=weights_digest(subject.model),
    )


def _notes(experiment: Experiment) -> list[str]:
    """What a reader has to know of the samples, the positions and the methods, as sentences."""
    positions, samples = experiment.subject.positions, experiment.subject.samples
    notes = [f"{positions.note[0].upper()}{positions.note[1:]}."] if positions.note else []
    notes += [*experiment.notes, *experiment.left_out]
    if samples > DESCRIBED_SAMPLES:
        notes.append(f"Sufficiency, insertion and infidelity decide nothing: they are of {DESCRIBED_SAMPLES} samples.")
    if samples > PROFILE_SAMPLES:
        notes.append(f"The position baseline and the margins are measured on {PROFILE_SAMPLES} samples.")
    return notes


def _cuts(
    limit: TimeLimit | None, experiment: Experiment, given: int, seconds: float, cuts: Sequence[str]
) -> list[str]:
    """What a time limit left out, and whether it was kept all the same, as sentences; none where there was none."""
    if limit is None:
        return []
    samples = experiment.subject.samples
    notes = [f"{cut} to stay within {limit.words}." for cut in cuts]
    if samples < given:
        notes.append(f"{samples} of {given} samples were drawn to stay within {limit.words}.")
    if seconds > limit.seconds * (1 + OVERRUN):
        notes.append(f"This took {seconds:.0f} s all the same.")
    return notes


def _limited(limit: TimeLimit | None, plan: Plan | None) -> Limited | None:
    """How long a test would take that may tell something; None where there was no limit."""
    return None if limit is None or plan is None else Limited(limit.words, in_words(plan.seconds_for(LEAST_SAMPLES)))
