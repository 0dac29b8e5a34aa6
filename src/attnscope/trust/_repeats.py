"""What is found by repeating methods on few samples, which takes as long however many samples there are.

Parameters are shuffled, inputs perturbed a little, attention changed, models trained from other seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import keras
import numpy as np
import xarray as xr

from attnscope.capturing import captured
from attnscope.errors import NoAttentionError
from attnscope.findings import Findings
from attnscope.trust._attention_tests import attention_tests
from attnscope.trust._card import Moved
from attnscope.trust._experiment import Experiment
from attnscope.trust._faithfulness import METHOD
from attnscope.trust._randomisation import mean_of_known, randomisation, rank_correlation
from attnscope.trust._sensitivity import max_sensitivity

STAGES = 3
"""Blocks of layers that are shuffled, one after the other and each alone."""
SHUFFLES = 4
"""How often all parameters are shuffled."""
SHUFFLED_RUNS = STAGES - 1 + SHUFFLES + STAGES - 1
"""How often relevance is computed for that: in all cascading stages, and block by block."""
SENSITIVITY_DRAWS = 4
"""Draws of max-sensitivity."""
ATTENTION_SAMPLES, CHANGED_SAMPLES = 16, 8
"""The most samples whose attention is captured and linted, and changed, which costs over 100 passes each."""


@dataclass(frozen=True)
class AttentionResults:
    """What the attention on some samples showed.

    Attributes:
        moved: How far the answer moved when attention was changed; None where it was not, or there is no attention.
        findings: The lint of the attention.
    """

    moved: Moved | None
    findings: Findings


@dataclass(frozen=True)
class Repeats:
    """What was found by repeating the methods on few samples, which takes as long however many samples there are.

    Attributes:
        correlations: How similar the methods' rankings stay while parameters are shuffled; see `shuffled`.
        sensitivities: By method: how far its relevance changes when the input is perturbed a little; see
            `sensitivities`.
        attention: What the attention showed.
        notes: What was left out for lack of time, as sentences.
    """

    correlations: xr.DataArray
    sensitivities: dict[str, float | None]
    attention: AttentionResults
    notes: tuple[str, ...] = ()


def repeated(experiment: Experiment, relevances: Mapping[str, xr.DataArray], advance: Callable[[], object]) -> Repeats:
    """All of it but `stability`, which needs other models.

    Args:
        experiment: What is tested.
        relevances: By method: its relevance for all samples.
        advance: Called after each method.
    """
    again = {name: relevance[experiment.again] for name, relevance in relevances.items()}
    return Repeats(shuffled(experiment, again), sensitivities(experiment, advance), attention(experiment))


def shuffled(experiment: Experiment, before: Mapping[str, xr.DataArray] | None = None) -> xr.DataArray:
    """How similar the methods' rankings stay while parameters are shuffled, dims ``(stage, relevance, sample)``.

    Args:
        experiment: What is tested.
        before: By method: its relevance for the few samples, where it is known already.
    """
    few = experiment.few

    def relevances() -> np.ndarray:
        together = few.together()
        numbers = np.zeros((len(few.methods), *few.subject.positions.valid.shape))
        for row, name in zip(numbers, few.methods, strict=True):
            row[:, : together.subject.positions.count] = together.subject.flat(together.relevance(name))
        return numbers

    correlations = randomisation(
        few.subject.model,
        relevances,
        few.subject.positions.valid,
        before=None if before is None else np.stack([few.subject.flat(before[name]) for name in few.methods]),
        order="both",
        blocks=STAGES,
        draws=SHUFFLES,
        seed=experiment.seed,
    )
    return correlations.assign_coords({METHOD: list(few.methods)})


def sensitivities(experiment: Experiment, advance: Callable[[], object] = lambda: None) -> dict[str, float | None]:
    """How far each method's relevance changes when the input is perturbed a little.

    Args:
        experiment: What is tested.
        advance: Called after each method.

    Returns:
        By method, the median over the samples; None where the input cannot be perturbed a little, or nothing is
        relevant.
    """
    few = experiment.few
    by_method = {}
    for name in experiment.methods:
        by_method[name] = _sensitivity(few, name) if experiment.moves else None
        advance()
    return by_method


def _sensitivity(experiment: Experiment, method: str) -> float | None:
    """The median max-sensitivity of a method over all samples; None where nothing is relevant."""
    largest = max_sensitivity(
        experiment.subject,
        lambda moved: moved.flat(experiment.on(moved).relevance(method)),
        draws=SENSITIVITY_DRAWS,
        seed=experiment.seed,
    )
    known = largest.values[~np.isnan(largest.values)]
    return float(np.median(known)) if len(known) else None


def attention(experiment: Experiment) -> AttentionResults:
    """The lint of the attention on the first samples, and how far the answer moves when it is changed."""
    few = experiment.first(ATTENTION_SAMPLES).subject
    try:
        maps = captured(few.in_batches(), sites=few.sites, progress=False)
    except NoAttentionError:
        return AttentionResults(None, Findings())
    if not experiment.permutations:
        return AttentionResults(None, maps.findings)
    spread = float(np.std(experiment.answers))
    changed = experiment.first(CHANGED_SAMPLES).subject
    moved = attention_tests(changed, maps, spread=spread, permutations=experiment.permutations, seed=experiment.seed)
    return AttentionResults(moved, maps.findings)


def stability(experiment: Experiment, models: Sequence[keras.Model]) -> dict[str, float]:
    """Mean rank correlation of each method's relevance between this model and others.

    Args:
        experiment: What is tested.
        models: The same model trained from other seeds.
    """
    if not models:
        return {}
    all_models = [experiment, *(experiment.on(experiment.subject.of_model(model)) for model in models)]
    valid = experiment.subject.positions.valid
    stable = {}
    for name in experiment.methods:
        relevances = [tested.subject.flat(tested.relevance(name)) for tested in all_models]
        correlations = [rank_correlation(*pair, valid) for pair in combinations(relevances, 2)]
        stable[name] = float(np.mean([mean_of_known(values) for values in correlations]))
    return stable
