"""The verdict on each method, from how it compares with the baselines and from what repeating it showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from attnscope.attribution import IN_UNITS_OF_TARGET, RemovalScores, drops
from attnscope.running import progress_bar
from attnscope.schema import SAMPLE
from attnscope.trust._card import Judged
from attnscope.trust._comparison import Comparison, compared
from attnscope.trust._experiment import Experiment
from attnscope.trust._faithfulness import METHOD
from attnscope.trust._interval import Interval, paired_interval
from attnscope.trust._randomisation import mean_of_known
from attnscope.trust._repeats import AttentionResults, Repeats, repeated
from attnscope.trust._verdict import BASELINES, ERRORS, LEAST_SAMPLES, MARGIN, Verdict, verdict_of

NO_ORDER = "no two samples have two positions that may be removed, so that all orders of removal are one"
RANKS_NOTHING = "it ranks nothing: its relevance is the same for all positions of a sample"

Gains = dict[str, dict[str, Interval]]
"""By removal and baseline: how much more comprehensive a method is."""


@dataclass(frozen=True)
class Results:
    """What an experiment found on its samples.

    Attributes:
        judged: By method; the baselines last.
        margins: By removal: the gain in comprehensiveness that counts as none.
        attention: What the attention showed.
        notes: What was left out for lack of time, as sentences.
    """

    judged: dict[str, Judged]
    margins: dict[str, float]
    attention: AttentionResults
    notes: tuple[str, ...] = ()


def results_of(experiment: Experiment, repeats: Repeats | None = None, *, progress: bool) -> Results:
    """Compares the methods, repeats them, and judges each.

    Args:
        experiment: What is tested.
        repeats: What repeating the methods showed, where it is known already.
        progress: Whether to show a bar, on a terminal.
    """
    steps = 2 * len(experiment.methods) + len(experiment.removals)
    with progress_bar(steps, shown=progress) as advance:
        comparison = compared(experiment, advance)
        known = repeats or repeated(experiment, comparison.relevances, advance)
    return _Judging(experiment, comparison, known).results()


@dataclass(frozen=True)
class _Judging:
    """What verdicts are given on.

    Attributes:
        experiment: What was tested.
        comparison: How the methods compare with the baselines.
        repeats: What repeating them showed.
    """

    experiment: Experiment
    comparison: Comparison
    repeats: Repeats

    def results(self) -> Results:
        """The verdict on every method."""
        margins = {versions.removal.name: self.margin(versions) for versions in self.comparison.versions}
        methods = {name: self.judgement(name, margins) for name in self.experiment.methods}
        baselines = {name: self.measured(name) for name in BASELINES}
        return Results({**methods, **baselines}, margins, self.repeats.attention, self.repeats.notes)

    def margin(self, versions: RemovalScores) -> float:
        """The gain in comprehensiveness that counts as none.

        It is a share of how far removing the most important single position moves the answer, whichever way, on average
        over the samples whose answers the position baseline has asked for.

        Args:
            versions: For one removal.
        """
        samples = self.experiment.profiled
        moved = self.experiment.rounded(np.abs(drops(versions, samples)).max(1))
        return MARGIN * float(moved[samples].mean())

    @cached_property
    def widest(self) -> float:
        """The largest gain that is allowed for, whichever way: by it intervals allow for gains rarer than the samples.

        Two probabilities differ by at most 1. Of any other target it is the largest gain of any method or baseline over
        another, of any sample and under any removal.
        """
        if self.experiment.subject.target.is_probability:
            return 1.0
        measures = self.comparison.measures.values()
        spreads = [np.ptp(measured["comprehensiveness"].values, axis=0) for measured in measures]
        return float(np.max([self.experiment.rounded(spread) for spread in spreads]))

    def measured(self, name: str) -> Judged:
        """What the measures alone say about a method or a baseline.

        Args:
            name: Name of the method or baseline.
        """
        measures = self.comparison.measures.items()
        means = {removal: measured.sel({METHOD: name}).mean(SAMPLE) for removal, measured in measures}
        return Judged(
            name=name,
            class_specific=None,
            means={
                removal: {str(variable): float(mean[variable]) for variable in mean.data_vars}
                for removal, mean in means.items()
            },
            gains=self.gains(name),
            randomised={},
            verdict=None,
        )

    def gains(self, name: str) -> Gains:
        """How much more comprehensive a method is than each baseline, over the samples.

        Args:
            name: Name of the method; a baseline is compared with the other one.
        """
        level = 1 - ERRORS / len(self.comparison.measures)
        gains: Gains = {}
        for removal, measured in self.comparison.measures.items():
            values = measured["comprehensiveness"]
            own = values.sel({METHOD: name})
            gains[removal] = {
                baseline: paired_interval(
                    self.experiment.of_ordered(self.experiment.rounded(own - values.sel({METHOD: baseline}))),
                    level=level,
                    bounds=(-self.widest, self.widest),
                )
                for baseline in BASELINES
                if baseline != name
            }
        return gains

    def judgement(self, name: str, margins: Mapping[str, float]) -> Judged:
        """A method's measures, completed by its verdict and everything else that is known about it.

        Args:
            name: Name of the method.
            margins: By removal: the gain that counts as none.
        """
        relevance, measured = self.comparison.relevances[name], self.measured(name)
        correlations = self.repeats.correlations.sel({METHOD: name})
        stages = {
            order: {
                str(stage): float(mean_of_known(row))
                for stage, row in zip(rows["stage"].values, rows.values, strict=True)
            }
            for order, rows in correlations.groupby("order")
        }
        return replace(
            measured,
            class_specific=bool(relevance.attrs["class_specific"]),
            randomised=stages["cascading"],
            independent=stages.get("independent", {}),
            verdict=self.verdict(relevance, measured.gains, list(stages["cascading"].values())[-1], margins),
            sensitivity=self.repeats.sensitivities[name],
            passes=int(relevance.attrs["passes"]),
            gradient_passes=int(relevance.attrs["gradient_passes"]),
        )

    def verdict(
        self, relevance: xr.DataArray, gains: Gains, correlation: float, margins: Mapping[str, float]
    ) -> Verdict:
        """The verdict on a method; "cannot tell" where its order, or what is removed, makes no difference.

        Args:
            relevance: The relevance by this method.
            gains: How much more comprehensive it is than each baseline.
            correlation: Mean rank correlation with that for the model with all parameters shuffled.
            margins: By removal: the gain that counts as none.
        """
        tested = self.experiment
        if len(tested.ordered) < 2:
            return Verdict("cannot tell", (NO_ORDER,), testable=False)
        ranks = self.ranks(relevance)
        if not ranks.any():
            return Verdict("cannot tell", (RANKS_NOTHING,), testable=False)
        differ = bool(tested.rounded(np.ptp(tested.answers)).any())
        known = {removal: np.nan if differ and not margin else margin for removal, margin in margins.items()}
        again = correlation if ranks[tested.again].any() else None
        samples = tested.subject.samples
        verdict = verdict_of(gains, again, known, share=len(tested.ordered) / samples)
        if verdict.word == "cannot tell" or tested.different >= LEAST_SAMPLES:
            return verdict
        few = f"different samples: {tested.different} of {samples}, and at least {LEAST_SAMPLES} are needed"
        return Verdict("cannot tell", (*verdict.reasons, few), -(-LEAST_SAMPLES * samples // tested.different))

    def ranks(self, relevance: xr.DataArray) -> np.ndarray:
        """Whether a relevance differs between the positions of each sample that may be removed, dims ``(sample,)``."""
        values = self.experiment.subject.flat(relevance)
        if relevance.attrs["method"] in IN_UNITS_OF_TARGET:
            values = self.experiment.rounded(values.T).T
        pairs = zip(values, self.experiment.removable, strict=True)
        return np.array([np.unique(row[able]).size > 1 for row, able in pairs])
