"""How much more methods lose than baselines when what they rank first is removed: all measures, on all samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from attnscope.attribution import RemovalScores, position, random
from attnscope.trust._experiment import Experiment
from attnscope.trust._faithfulness import METHOD, faithfulness

RANDOM_DRAWS = 2
"""Random orders per sample; the baseline ``random`` is their mean."""


@dataclass(frozen=True)
class Comparison:
    """What takes the longer the more samples there are.

    Attributes:
        versions: The samples with positions removed, by each removal.
        relevances: By method: its relevance.
        measures: By removal: all measures of the methods and the baselines.
    """

    versions: list[RemovalScores]
    relevances: dict[str, xr.DataArray]
    measures: dict[str, xr.Dataset]


def compared(experiment: Experiment, advance: Callable[[], object] = lambda: None) -> Comparison:
    """Each method's relevance for all samples, and all measures of it.

    Args:
        experiment: What is tested.
        advance: Called after each method and each removal.
    """
    versions = [
        RemovalScores(experiment.subject, removal, kept=experiment.kept, seed=experiment.seed)
        for removal in experiment.removals
    ]
    relevances = experiment.relevances(versions[0], advance)
    return Comparison(versions, relevances, _measures(experiment, versions, relevances, advance))


def _measures(
    experiment: Experiment,
    versions: Sequence[RemovalScores],
    relevances: Mapping[str, xr.DataArray],
    advance: Callable[[], object],
) -> dict[str, xr.Dataset]:
    """All measures by removal, of the methods and the baselines.

    Args:
        experiment: What is tested.
        versions: For each removal.
        relevances: By method.
        advance: Called after each removal.

    Returns:
        By removal, dims ``(relevance, sample)``; those of ``random`` are means over several draws. Sufficiency,
        insertion and infidelity are NaN but for the samples that `Experiment.described` names.
    """
    subject, seed = experiment.subject, experiment.seed
    draws = {f"random {number}": random(subject, seed=seed + number) for number in range(RANDOM_DRAWS)}
    by_method = {name: subject.flat(relevance) for name, relevance in relevances.items()}
    measures = {}
    for removed in versions:
        baseline = position(subject, samples=experiment.profiled, removal_scores=removed)
        arrays = by_method | {"position": baseline}
        every = faithfulness(
            removed,
            {**arrays, **draws},
            steps=None,
            perturbations=list(draws),
            described=experiment.described,
            seed=seed,
        ).drop_dims("threshold")
        chance = every.sel({METHOD: list(draws)}).mean(METHOD, keep_attrs=True).expand_dims({METHOD: ["random"]})
        measures[removed.removal.name] = xr.concat([every.sel({METHOD: list(arrays)}), chance], METHOD)
        advance()
    return measures
