"""The experiment behind an evidence card: what is tested, and on which samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr
from keras import tree
from numpy.typing import ArrayLike

from attnscope.attribution import (
    METHODS,
    Removal,
    RemovalScores,
    Rows,
    Subject,
    default_removals,
    kept_of,
    method_of,
    relevance_of,
    removable_of,
    removal_of,
    trimming_of,
)
from attnscope.errors import InputError, MethodError, NoAttentionError, counted, in_a_row
from attnscope.running import compiles
from attnscope.trust._verdict import BASELINES, LEAST_SAMPLES

# A card needs all measures at once, so each takes fewer steps here than when it is called alone.
PATH_STEPS, REPEATED_PATH_STEPS = 16, 8
"""Points of integrated gradients; and of those that are computed again and again, only to compare their rankings."""
DESCRIBED_SAMPLES = 16
"""The most samples whose top positions are also kept alone: that describes a method, and decides no verdict."""
PROFILE_SAMPLES = 32
"""The most samples that the position baseline and the margins are measured on, by removing one position after another:
both are means over samples, which more samples hardly change."""
REPEATED_SAMPLES = 6
"""The most samples whose relevance is computed again, with shuffled parameters and with perturbed inputs."""
ROUNDING = 5e-7
"""Answers of a sample that differ by less than this share of it, or of the median over the samples if that is larger,
are the same but for rounding."""


@dataclass(frozen=True)
class Experiment:
    """A test of how faithful methods of attribution are on one model and its samples.

    Attributes:
        subject: The model, the samples and the target.
        methods: Names of the methods under test; the baselines are always tested beside them.
        removals: How positions are removed.
        kept: Positions that are never removed, dims ``(sample, position)``, bool.
        permutations: How often attention is permuted; 0 leaves out the tests that change attention.
        seed: Seed of everything that is drawn.
        unusable: Methods that this model does not allow, with the reason.
        repeated_samples: The most samples whose relevance is computed again, with shuffled parameters and with
            perturbed inputs.
        path_steps: Points of integrated gradients.
    """

    subject: Subject
    methods: tuple[str, ...]
    removals: tuple[Removal, ...]
    kept: np.ndarray
    permutations: int
    seed: int
    unusable: Mapping[str, str]
    repeated_samples: int = REPEATED_SAMPLES
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

    @property
    def left_out(self) -> tuple[str, ...]:
        """Which methods this model does not allow, and why, as sentences: one for each reason."""
        names: dict[str, list[str]] = {}
        for name, reason in self.unusable.items():
            names.setdefault(reason, []).append(name)
        return tuple(
            f"{in_a_row(names)} {'is' if len(names) == 1 else 'are'} left out: {reason}"
            for reason, names in names.items()
        )

    def on(self, subject: Subject) -> Experiment:
        """The same experiment on the samples as they are elsewhere: changed a little, or given to another model."""
        return replace(self, subject=subject)

    def rows(self, chosen: Rows) -> Experiment:
        """The same experiment on some of the samples: a slice, their numbers, or a mask."""
        return replace(self, subject=self.subject.rows(chosen), kept=self.kept[chosen])

    def first(self, count: int) -> Experiment:
        """The same experiment on the first samples alone."""
        return self.rows(slice(0, count))

    def together(self) -> Experiment:
        """The same experiment with all samples cut to the longest of them, as far as the model as it is now allows."""
        shorter = trimming_of(self.subject).together(self.subject)
        return replace(self, subject=shorter, kept=self.kept[:, : shorter.positions.count])

    @property
    def again(self) -> np.ndarray:
        """Numbers of the few samples whose relevance is computed again and again: the first that have an order."""
        return (self.ordered if len(self.ordered) else np.arange(self.subject.samples))[: self.repeated_samples]

    @property
    def few(self) -> Experiment:
        """The same experiment on them."""
        return replace(self.rows(self.again), path_steps=REPEATED_PATH_STEPS)

    @property
    def described(self) -> np.ndarray:
        """Numbers of the samples whose top positions are also kept alone, drawn at random, in their order."""
        return self._drawn(np.arange(self.subject.samples), DESCRIBED_SAMPLES)

    @property
    def profiled(self) -> np.ndarray:
        """Numbers of the samples on which each position's own part is measured, drawn at random, in their order."""
        return self._drawn(self.of_ordered(np.arange(self.subject.samples)), PROFILE_SAMPLES)

    def _drawn(self, numbers: np.ndarray, most: int) -> np.ndarray:
        """Some of the numbers, at most so many, drawn at random, in their order."""
        drawn = np.random.default_rng([self.seed, 7]).permutation(numbers)
        return np.sort(drawn[:most])

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

    @property
    def moves(self) -> bool:
        """Whether the input can be perturbed a little."""
        return self.subject.positions.of(self.subject.inputs).dtype.kind == "f"

    def of_ordered(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of the samples on which methods are compared, of all where these are fewer than two."""
        return numbers[self.ordered] if len(self.ordered) > 1 else numbers

    def rounded(self, differences: ArrayLike) -> np.ndarray:
        """Differences between answers of each sample, 0 where they are no larger than what float32 rounds."""
        sizes = np.abs(self.answers)
        return np.where(np.abs(differences) > ROUNDING * np.maximum(sizes, np.median(sizes)), differences, 0.0)


def experiment_on(
    subject: Subject,
    *,
    methods: Sequence[str] | None,
    removals: Sequence[Removal | str] | None,
    kept: ArrayLike | None,
    permutations: int,
    seed: int,
) -> Experiment:
    """The experiment that a user's options describe; its methods have been tried on a few samples.

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
    untested = Experiment(subject, (), ways, kept_of(subject, kept), permutations, seed, {})
    trial = untested.first(REPEATED_SAMPLES if compiles() else 2)  # as many as later: it is compiled for them once
    usable, unusable = _usable(trial, methods)
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
        raise MethodError("No method works on this model: " + " ".join(dict.fromkeys(unusable.values())))
    return tuple(usable), unusable
