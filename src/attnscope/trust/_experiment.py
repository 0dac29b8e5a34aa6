"""The experiment behind an evidence card: what is tested, on which samples, and each of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import keras
import numpy as np
import xarray as xr
from keras import tree
from numpy.typing import ArrayLike

from attnscope.attribution import (
    IN_UNITS_OF_TARGET,
    METHODS,
    Removal,
    RemovalScores,
    Subject,
    default_removals,
    method_of,
    occlusion,
    position,
    random,
    relevance_of,
    removable_of,
    removal_of,
    trimming_of,
)
from attnscope.capturing import captured
from attnscope.errors import InputError, MethodError, NoAttentionError, counted
from attnscope.findings import Findings
from attnscope.running import progress_bar
from attnscope.schema import SAMPLE
from attnscope.trust._attention_tests import attention_tests
from attnscope.trust._card import Judged, Moved
from attnscope.trust._faithfulness import METHOD, faithfulness
from attnscope.trust._interval import Interval, paired_interval
from attnscope.trust._randomisation import randomisation, rank_correlation
from attnscope.trust._sensitivity import max_sensitivity
from attnscope.trust._time_limit import Plan, TimeLimit
from attnscope.trust._verdict import BASELINES, ERRORS, LEAST_SAMPLES, MARGIN, Verdict, verdict_of

# A card needs all measures at once, so each takes fewer steps here than when it is called alone.
RANDOM_DRAWS = 2
"""Random orders per sample; the baseline ``random`` is their mean."""
PATH_STEPS, REPEATED_PATH_STEPS = 16, 8
"""Points of integrated gradients; and of those that are computed again and again, only to compare their rankings."""
DESCRIBED_SAMPLES = 24
"""The most samples whose top positions are also kept alone: that describes a method, and decides no verdict."""
REPEATED_SAMPLES = 6
"""The most samples whose relevance is computed again, with shuffled parameters and with perturbed inputs."""
STAGES = 3
"""Blocks of layers that are shuffled, one after the other and each alone."""
SHUFFLES = 4
"""How often all parameters are shuffled."""
SHUFFLED_RUNS = 1 + STAGES - 1 + SHUFFLES + STAGES - 1
"""How often relevance is computed for that: as it is, in all cascading stages, and block by block."""
SAMPLES_FIRST = 2 * LEAST_SAMPLES
"""Where time is short, as many samples come before the tests that no verdict needs."""
SENSITIVITY_DRAWS = 4
"""Draws of max-sensitivity."""
ROUNDING = 5e-7
"""Answers of a sample that differ by less than this share of it, or of the median over the samples if that is larger,
are the same but for rounding."""
NO_ORDER = "no two samples have two positions that may be removed, so that all orders of removal are one"
RANKS_NOTHING = "it ranks nothing: its relevance is the same for all positions of a sample"
ATTENTION_SAMPLES, CHANGED_SAMPLES = 16, 8
"""The most samples whose attention is captured and linted, and changed, which costs over 100 passes each."""

Gains = dict[str, dict[str, Interval]]
"""By removal and baseline: how much more comprehensive a method is."""
Comparison = tuple[list[RemovalScores], dict[str, xr.DataArray], dict[str, xr.Dataset]]
"""What `Experiment.compared` gives."""


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
        correlations: How similar the methods' rankings stay while parameters are shuffled; see `Experiment.shuffled`.
        sensitivities: By method: how far its relevance changes when the input is perturbed a little; see
            `Experiment.sensitivities`.
        attention: What the attention showed.
        notes: What was left out for lack of time, as sentences.
    """

    correlations: xr.DataArray
    sensitivities: dict[str, float | None]
    attention: AttentionResults
    notes: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Experiment:
    """A test of how faithful methods of attribution are on one model and its samples.

    Attributes:
        subject: The model, the samples and the target.
        methods: Names of the methods under test; the baselines are always tested beside them.
        removals: How positions are removed.
        kept: Positions that are never removed: True or False by position, or token numbers; None for the default.
        permutations: How often attention is permuted; 0 leaves out the tests that change attention.
        seed: Seed of everything that is drawn.
        unusable: Methods that this model does not allow, with the reason.
        repeated_samples: The most samples whose relevance is computed again, with shuffled parameters and with
            perturbed inputs.
        repeats: What that showed, where it is known already.
        plan: How many samples a time limit left; None where there was none.
        path_steps: Points of integrated gradients.
    """

    subject: Subject
    methods: tuple[str, ...]
    removals: tuple[Removal, ...]
    kept: ArrayLike | None
    permutations: int
    seed: int
    unusable: Mapping[str, str]
    repeated_samples: int = REPEATED_SAMPLES
    repeats: Repeats | None = None
    plan: Plan | None = None
    path_steps: int = PATH_STEPS

    @cached_property
    def answers(self) -> np.ndarray:
        """The target's numbers for the samples as they are, dims ``(sample,)``, float64."""
        return trimming_of(self.subject).numbers(self.subject, self.subject.inputs, self.subject.target.rows)

    @cached_property
    def removable(self) -> np.ndarray:
        """Which positions may be removed, dims ``(sample, position)``, bool."""
        return removable_of(self.subject, self.kept)

    @cached_property
    def ordered(self) -> np.ndarray:
        """Numbers of the samples on which methods are compared: fewer than two positions have only one order."""
        return np.flatnonzero(self.removable.sum(1) > 1)

    @cached_property
    def different(self) -> int:
        """How many of the samples on which methods are compared are different."""
        leaves = [np.asarray(leaf) for leaf in tree.flatten(self.subject.inputs)]
        return len({tuple(leaf[row].tobytes() for leaf in leaves) for row in self.ordered})

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know of the samples."""
        samples, ordered = self.subject.samples, len(self.ordered)
        notes = []
        if ordered < samples:
            notes.append(
                f"Methods are compared on {ordered} of {samples} samples: of the others fewer than two positions may "
                "be removed, so that all orders are one."
            )
        if self.different < ordered:
            repeated = ordered - self.different
            repeat = f"{counted(repeated, 'sample')} {'repeats' if repeated == 1 else 'repeat'}"
            notes.append(f"{repeat} others. Intervals take all of them for independent.")
        return tuple(notes)

    def on(self, subject: Subject) -> Experiment:
        """The same experiment on other samples, or another model."""
        return replace(self, subject=subject)

    def first(self, count: int) -> Experiment:
        """The same experiment on the first samples alone."""
        return self.on(self.subject.rows(slice(0, count)))

    @property
    def again(self) -> np.ndarray:
        """Numbers of the few samples whose relevance is computed again and again: the first that have an order."""
        return (self.ordered if len(self.ordered) else np.arange(self.subject.samples))[: self.repeated_samples]

    @property
    def few(self) -> Experiment:
        """The same experiment on them."""
        return replace(self.on(self.subject.rows(self.again)), path_steps=REPEATED_PATH_STEPS)

    @property
    def described(self) -> np.ndarray:
        """Numbers of the samples whose top positions are also kept alone, drawn at random, in their order."""
        drawn = np.random.default_rng([self.seed, 7]).permutation(self.subject.samples)
        return np.sort(drawn[:DESCRIBED_SAMPLES])

    def within(self, limit: TimeLimit) -> Experiment:
        """The same experiment on as many samples, drawn at random, as a time limit allows.

        What takes as long however many samples there are is done at once; pilot runs measure what each sample takes.
        """
        total = self.subject.samples
        drawn = self.on(self.subject.rows(np.random.default_rng(self.seed).permutation(total)))
        drawn = replace(drawn, repeated_samples=drawn.affordable_repeats(limit))
        correlations, attention = drawn.shuffled(), drawn.first(SAMPLES_FIRST).attention()
        each = limit.seconds_each(total, lambda count: drawn.first(count).compared(lambda: None))
        is_short = limit.plan(total, each).samples < min(total, SAMPLES_FIRST)
        sensitivities = dict.fromkeys(self.methods) if is_short else drawn.sensitivities(lambda: None)
        repeats = Repeats(correlations, sensitivities, attention, drawn.cuts(is_short))
        plan = limit.plan(total, each)
        return replace(drawn.first(plan.samples), repeats=repeats, plan=plan)

    def cuts(self, is_short: bool) -> tuple[str, ...]:
        """What was left out for lack of time, besides samples.

        Args:
            is_short: Whether there was no time for what no verdict needs.
        """
        shuffled = f"Parameters were shuffled for {self.repeated_samples} samples in place of {REPEATED_SAMPLES}"
        perturbed = "Whether relevance is stable when the input is perturbed a little was not tested"
        return (
            *([shuffled] if self.repeated_samples < REPEATED_SAMPLES else []),
            *([perturbed] if is_short and self.moves else []),
        )

    def affordable_repeats(self, limit: TimeLimit) -> int:
        """On how many samples methods may be repeated, so that at least half of the time is left for the others."""
        few = self.few
        few.relevances()  # compiles
        started = time.monotonic()
        few.relevances()
        seconds = SHUFFLED_RUNS * (time.monotonic() - started)
        return max(2, min(REPEATED_SAMPLES, int(REPEATED_SAMPLES * limit.left / 2 / seconds)))

    def results(self, *, progress: bool) -> Results:
        """Every step but `stability`, which needs other models.

        Args:
            progress: Whether to show a bar, on a terminal.
        """
        with progress_bar(2 * len(self.methods) + len(self.removals), shown=progress) as advance:
            versions, relevances, measures = self.compared(advance)
            repeats = self.repeats or self.repeated(advance)
        margins = {removed.removal.name: self.margin(removed) for removed in versions}
        widest = self.widest(measures)
        baselines = {name: self.baseline(name, measures, widest) for name in BASELINES}
        methods = {
            name: self.judgement(
                relevances[name],
                self.baseline(name, measures, widest),
                repeats.correlations.sel({METHOD: name}),
                repeats.sensitivities[name],
                margins,
            )
            for name in self.methods
        }
        return Results({**methods, **baselines}, margins, repeats.attention, repeats.notes)

    def compared(self, advance: Callable[[], object]) -> Comparison:
        """What takes the longer the more samples there are: each method's relevance and all measures of it.

        Args:
            advance: Called after each method and each removal.

        Returns:
            The samples with positions removed, by each removal; by method its relevance; by removal the measures.
        """
        versions = self.versions()
        relevances = self.relevances(versions[0], advance)
        return versions, relevances, self.measures(versions, relevances, advance)

    def repeated(self, advance: Callable[[], object]) -> Repeats:
        """What takes as long however many samples there are, as it is done on few of them.

        Args:
            advance: Called after each method.
        """
        return Repeats(self.shuffled(), self.sensitivities(advance), self.attention())

    def versions(self) -> list[RemovalScores]:
        """The samples with positions removed, by each removal; every step reuses their answers."""
        return [RemovalScores(self.subject, removal, kept=self.kept, seed=self.seed) for removal in self.removals]

    def relevance(self, method: str, versions: RemovalScores | None = None) -> xr.DataArray:
        """The relevance by one method, with those of the experiment's settings that the method has an option for.

        Args:
            method: Name of the method.
            versions: Answers to reuse, for methods that remove positions themselves.
        """
        settings = {
            "kept": self.kept,
            "seed": self.seed,
            "steps": self.path_steps,
            "removal": self.removals[0],
            "removal_scores": versions,
        }
        known = method_of(method).options
        return relevance_of(self.subject, method, **{name: v for name, v in settings.items() if name in known})

    def relevances(
        self, versions: RemovalScores | None = None, advance: Callable[[], object] = lambda: None
    ) -> dict[str, xr.DataArray]:
        """The relevance by each method.

        Args:
            versions: Answers to reuse.
            advance: Called after each method.
        """
        relevances = {}
        for name in self.methods:
            relevances[name] = self.relevance(name, versions)
            advance()
        return relevances

    def measures(
        self, versions: Sequence[RemovalScores], relevances: Mapping[str, xr.DataArray], advance: Callable[[], object]
    ) -> dict[str, xr.Dataset]:
        """All measures by removal, of the methods and the baselines.

        Args:
            versions: For each removal.
            relevances: By method.
            advance: Called after each removal.

        Returns:
            By removal, dims ``(relevance, sample)``; those of ``random`` are means over several draws. Sufficiency,
            insertion and infidelity are NaN but for the samples that `described` names.
        """
        measures = {}
        for removed in versions:
            draws = {f"random {n}": random(self.subject, seed=self.seed + n) for n in range(RANDOM_DRAWS)}
            arrays = {name: self.subject.flat(relevance) for name, relevance in relevances.items()}
            arrays |= {"position": position(self.subject, removal_scores=removed)}
            every = faithfulness(
                removed,
                {**arrays, **draws},
                steps=None,
                perturbations=list(draws),
                described=self.described,
                seed=self.seed,
            ).drop_dims("threshold")
            chance = every.sel({METHOD: list(draws)}).mean(METHOD, keep_attrs=True).expand_dims({METHOD: ["random"]})
            measures[removed.removal.name] = xr.concat([every.sel({METHOD: list(arrays)}), chance], METHOD)
            advance()
        return measures

    def shuffled(self) -> xr.DataArray:
        """How similar the methods' rankings stay while parameters are shuffled, dims ``(stage, relevance, sample)``."""
        few = self.few

        def relevances() -> np.ndarray:
            return np.stack([few.subject.flat(few.relevance(name)) for name in few.methods])

        correlations = randomisation(
            few.subject.model,
            relevances,
            few.subject.positions.valid,
            order="both",
            blocks=STAGES,
            draws=SHUFFLES,
            seed=self.seed,
        )
        return correlations.assign_coords({METHOD: list(few.methods)})

    @property
    def moves(self) -> bool:
        """Whether the input can be perturbed a little."""
        return self.subject.positions.of(self.subject.inputs).dtype.kind == "f"

    def sensitivities(self, advance: Callable[[], object]) -> dict[str, float | None]:
        """How far each method's relevance changes when the input is perturbed a little.

        Args:
            advance: Called after each method.

        Returns:
            By method, the median over the samples; None where the input cannot be perturbed a little, or nothing is
            relevant.
        """
        few = self.few
        sensitivities = {}
        for name in self.methods:
            sensitivities[name] = few.sensitivity(name) if self.moves else None
            advance()
        return sensitivities

    def sensitivity(self, method: str) -> float | None:
        """The median max-sensitivity of a method over all samples; None where nothing is relevant."""
        largest = max_sensitivity(
            self.subject,
            lambda moved: moved.flat(self.on(moved).relevance(method)),
            draws=SENSITIVITY_DRAWS,
            seed=self.seed,
        )
        known = largest.values[~np.isnan(largest.values)]
        return float(np.median(known)) if len(known) else None

    def margin(self, versions: RemovalScores) -> float:
        """The gain in comprehensiveness that counts as none.

        It is a share of how far removing the most important single position moves the answer, whichever way, on average
        over the samples. The position baseline has computed these answers.

        Args:
            versions: For one removal.
        """
        moved = np.abs(occlusion(self.subject, removal_scores=versions)).max(1)
        return MARGIN * float(self.of_ordered(self.rounded(moved)).mean())

    def of_ordered(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of the samples on which methods are compared, of all where these are fewer than two."""
        return numbers[self.ordered] if len(self.ordered) > 1 else numbers

    def widest(self, measures: Mapping[str, xr.Dataset]) -> float:
        """The largest gain that is allowed for, whichever way: by it intervals allow for gains rarer than the samples.

        Two probabilities differ by at most 1. Of any other target it is the largest gain of any method or baseline over
        another, of any sample and under any removal.

        Args:
            measures: By removal.
        """
        if self.subject.target.is_probability:
            return 1.0
        spreads = [self.rounded(np.ptp(measured["comprehensiveness"].values, axis=0)) for measured in measures.values()]
        return float(np.max(spreads))

    def baseline(self, name: str, measures: Mapping[str, xr.Dataset], widest: float) -> Judged:
        """What the measures alone say about a baseline, or a method.

        Args:
            name: Name of the baseline or method.
            measures: By removal.
            widest: The largest gain that is allowed for.
        """
        means = {removal: measured.sel({METHOD: name}).mean(SAMPLE) for removal, measured in measures.items()}
        return Judged(
            name=name,
            class_specific=None,
            means={
                removal: {str(variable): float(mean[variable]) for variable in mean.data_vars}
                for removal, mean in means.items()
            },
            gains=self.gains(name, measures, widest),
            randomised={},
            verdict=None,
        )

    def gains(self, name: str, measures: Mapping[str, xr.Dataset], widest: float) -> Gains:
        """How much more comprehensive a method is than each baseline, over the samples.

        Args:
            name: Name of the method; a baseline is compared with the other one.
            measures: By removal.
            widest: The largest gain that is allowed for.
        """
        level = 1 - ERRORS / len(measures)
        gains: Gains = {}
        for removal, measured in measures.items():
            values = measured["comprehensiveness"]
            own = values.sel({METHOD: name})
            gains[removal] = {
                baseline: paired_interval(
                    self.of_ordered(self.rounded(own - values.sel({METHOD: baseline}))),
                    level=level,
                    bounds=(-widest, widest),
                )
                for baseline in BASELINES
                if baseline != name
            }
        return gains

    def rounded(self, differences: ArrayLike) -> np.ndarray:
        """Differences between answers of each sample, 0 where they are no larger than what float32 rounds."""
        sizes = np.abs(self.answers)
        return np.where(np.abs(differences) > ROUNDING * np.maximum(sizes, np.median(sizes)), differences, 0.0)

    def judgement(
        self,
        relevance: xr.DataArray,
        measured: Judged,
        correlations: xr.DataArray,
        sensitivity: float | None,
        margins: Mapping[str, float],
    ) -> Judged:
        """A method's measures, completed by its verdict and everything else that is known about it.

        Args:
            relevance: The relevance by this method.
            measured: What the measures alone say about it.
            correlations: How similar its ranking stays while parameters are shuffled, dims ``(stage, sample)``.
            sensitivity: How far its relevance changes when the input is perturbed a little; None where that is not
                known.
            margins: By removal: the gain that counts as none.
        """
        stages = {
            order: {str(stage): _mean(row) for stage, row in zip(rows["stage"].values, rows.values, strict=True)}
            for order, rows in correlations.groupby("order")
        }
        return replace(
            measured,
            class_specific=bool(relevance.attrs["class_specific"]),
            randomised=stages["cascading"],
            independent=stages.get("independent", {}),
            verdict=self.verdict(relevance, measured.gains, list(stages["cascading"].values())[-1], margins),
            sensitivity=sensitivity,
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
        if len(self.ordered) < 2:
            return Verdict("cannot tell", (NO_ORDER,), testable=False)
        ranks = self.ranks(relevance)
        if not ranks.any():
            return Verdict("cannot tell", (RANKS_NOTHING,), testable=False)
        differ = bool(self.rounded(np.ptp(self.answers)).any())
        known = {removal: np.nan if differ and not margin else margin for removal, margin in margins.items()}
        again = correlation if ranks[self.again].any() else None
        samples = self.subject.samples
        verdict = verdict_of(gains, again, known, share=len(self.ordered) / samples)
        if verdict.word == "cannot tell" or self.different >= LEAST_SAMPLES:
            return verdict
        few = f"different samples: {self.different} of {samples}, and at least {LEAST_SAMPLES} are needed"
        return Verdict("cannot tell", (*verdict.reasons, few), -(-LEAST_SAMPLES * samples // self.different))

    def ranks(self, relevance: xr.DataArray) -> np.ndarray:
        """Whether a relevance differs between the positions of each sample that may be removed, dims ``(sample,)``."""
        values = self.subject.flat(relevance)
        if relevance.attrs["method"] in IN_UNITS_OF_TARGET:
            values = self.rounded(values.T).T
        return np.array([np.unique(row[able]).size > 1 for row, able in zip(values, self.removable, strict=True)])

    def attention(self) -> AttentionResults:
        """The lint of the attention on the first samples, and how far the answer moves when it is changed."""
        few = self.first(ATTENTION_SAMPLES).subject
        try:
            maps = captured(few.in_batches(), sites=few.sites, progress=False)
        except NoAttentionError:
            return AttentionResults(None, Findings())
        if not self.permutations:
            return AttentionResults(None, maps.findings)
        spread = float(np.std(self.answers))
        changed = self.first(CHANGED_SAMPLES).subject
        moved = attention_tests(changed, maps, spread=spread, permutations=self.permutations, seed=self.seed)
        return AttentionResults(moved, maps.findings)

    def stability(self, models: Sequence[keras.Model]) -> dict[str, float]:
        """Mean rank correlation of each method's relevance between this model and others.

        Args:
            models: The same model trained from other seeds.
        """
        if not models:
            return {}
        others = [self.on(self.subject.of_model(model)) for model in models]
        stability = {}
        for name in self.methods:
            relevances = [self.subject.flat(experiment.relevance(name)) for experiment in (self, *others)]
            correlations = [
                rank_correlation(*pair, self.subject.positions.valid) for pair in combinations(relevances, 2)
            ]
            stability[name] = float(np.mean([_mean(values) for values in correlations]))
        return stability


def experiment_on(
    subject: Subject,
    *,
    methods: Sequence[str] | None,
    removals: Sequence[Removal | str] | None,
    kept: ArrayLike | None,
    permutations: int,
    seed: int,
) -> Experiment:
    """The experiment that a user's options describe; its methods have been tried on two samples.

    Args:
        subject: The model, all its samples and the target.
        methods: Names of methods; None for all that this model allows but ``shapley``.
        removals: How positions are removed, objects or names; None for those that suit the positions.
        kept: Positions that are never removed; see `Experiment`.
        permutations: How often attention is permuted.
        seed: Seed of everything that is drawn.

    Raises:
        InputError: There is only one sample, or there are not two different removals.
        MethodError: A method asked for by name cannot be used on this model, or none can.
    """
    if subject.samples < 2:
        raise InputError(
            f"There is only one sample, but intervals need several. Give at least {LEAST_SAMPLES}, or better 100."
        )
    ways = tuple(removal_of(removal, subject) for removal in removals or default_removals(subject))
    names = [way.name for way in ways]
    if len(set(names)) < max(2, len(names)):
        raise InputError(
            f"The removals are {names}, but at least two are needed, all different, because methods rank "
            f"differently under each: removals={[way.name for way in default_removals(subject)]}."
        )
    untested = Experiment(subject, (), ways, kept, permutations, seed, {})
    usable, unusable = _usable(untested.first(2), methods)
    return replace(untested, methods=usable, unusable=unusable)


def _usable(trial: Experiment, wanted: Sequence[str] | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """The methods that work on the model, tried on a few samples; and why the others do not."""
    if isinstance(wanted, str):
        raise MethodError(f"The methods are {wanted!r}, but a list of their names is needed: methods=[{wanted!r}].")
    candidates = [name for name in METHODS if name != "shapley"] if wanted is None else list(dict.fromkeys(wanted))
    candidates = [name for name in candidates if name not in BASELINES]  # they are on every card
    if not candidates:
        raise MethodError(
            f"The methods are {list(wanted or ())}, but at least one that is not a baseline is needed, as the "
            "baselines are on every card: methods=['occlusion']."
        )
    usable, unusable = [], {}
    for name in candidates:
        try:
            trial.relevance(name)
        except (MethodError, NoAttentionError) as error:
            if wanted is not None:
                raise
            unusable[name] = str(error)
            continue
        usable.append(name)
    if not usable:
        raise MethodError("No method works on this model: " + " ".join(unusable.values()))
    return tuple(usable), unusable


def _mean(values: np.ndarray) -> float:
    """Of the values that are not NaN; NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
