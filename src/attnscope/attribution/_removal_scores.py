"""What a model says about its samples with positions removed; each version is run once."""

from __future__ import annotations

import numpy as np
from keras import tree

from attnscope.attribution._removal import Kept, Removal, removable_of, removal_of
from attnscope.attribution._subject import Subject
from attnscope.attribution._trimming import trimming_of
from attnscope.errors import InputError

CHUNK_BYTES = 64_000_000
"""About how much memory the inputs that are made at a time take."""


class RemovalScores:
    """The target's number for versions of a subject's samples: each sample with some of its positions removed.

    Versions are run in batches of one size, and every answer is remembered, so that several methods and measures that
    need the same versions cost little more than one. Where the removal draws at random, all versions of a sample see
    the same draws, and the answer is the mean over them.

    Args:
        subject: The model and its samples.
        removal: How positions are removed: an object such as ``mask_token(103)``, a name, or None for the first of
            `default_removals`.
        kept: Positions that are never removed: dims ``(sample, position)`` or ``(position,)``, bool, or a list of token
            numbers; None for the start and end tokens of a KerasHub task's tokenizer.
        seed: Seed of the removal's draws.

    Attributes:
        subject: The model and its samples.
        removal: How positions are removed.
        words: What replaces a removed position, for titles.
        removable: dims ``(sample, position)``, bool, False at padding and at what is kept.
        least: How many of the valid positions have to stay.
        passes: Samples that went through the model for these versions so far.
    """

    def __init__(
        self, subject: Subject, removal: Removal | str | None = None, *, kept: Kept = None, seed: int = 0
    ) -> None:
        self.subject = subject
        self.removal = removal_of(removal, subject)
        self._remover = self.removal.on(subject, seed)
        self.words = self._remover.words
        self.least = self._remover.least
        self.removable = removable_of(subject, kept)
        self.passes = 0
        self._known: dict[bytes, float] = {}
        self._trimming = trimming_of(subject)

    @property
    def counts(self) -> np.ndarray:
        """How many positions of each sample may be removed, dims ``(sample,)``."""
        return np.asarray(self.removable.sum(1))

    @property
    def most(self) -> np.ndarray:
        """How many positions of each sample may be removed at once, dims ``(sample,)``."""
        stay = self.subject.positions.valid.sum(1) - self.counts
        return np.asarray(np.maximum(self.counts - np.maximum(self.least - stay, 0), 0))

    def original(self) -> np.ndarray:
        """The target's number for the samples as they are, dims ``(sample,)``, float64."""
        return self(np.arange(self.subject.samples), np.zeros_like(self.removable))

    def __call__(self, rows: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """The target's number for each version.

        Args:
            rows: The number of each version's sample, dims ``(version,)``.
            removed: What is removed, dims ``(version, position)``, bool; padding and what is kept stay in any case.

        Returns:
            dims ``(version,)``, float64, in the unit of the target.

        Raises:
            InputError: More is removed than the removal allows, or the target is infinite or NaN.
        """
        rows = np.asarray(rows)
        removed = np.asarray(removed, bool) & self.removable[rows]
        too_many = removed.sum(1) > self.most[rows]
        if too_many.any():
            sample = int(rows[too_many][0])
            raise InputError(
                f"All {int(self.counts[sample])} positions of sample {self.subject.called(sample)} are to be removed, "
                f"but then {self.removal.name}() leaves nothing to give to the model. Keep some positions, "
                "kept=[101, 102], or use another removal: removal=mask_token(103)."
            )
        keys = self._keys(rows, removed)
        new: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self._known:
                new.setdefault(key, place)
        if new:
            places = np.fromiter(new.values(), dtype=np.int64)
            numbers = self._mean_answers(rows[places], removed[places])
            self._known.update(zip(new, numbers.tolist(), strict=True))
        return np.array([self._known[key] for key in keys], dtype=np.float64)

    @staticmethod
    def _keys(rows: np.ndarray, removed: np.ndarray) -> list[bytes]:
        """Each version as bytes: the number of its sample, and a bit for each position."""
        packed = np.packbits(removed, axis=1)
        numbers = rows.astype("<u4")[:, None].view(np.uint8).reshape(len(rows), 4)
        return [row.tobytes() for row in np.concatenate([numbers, packed], axis=1)]

    def _mean_answers(self, rows: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """The mean over the draws; where nothing is removed, one draw is enough."""
        whole = ~removed.any(1)
        result = np.empty(len(rows))
        for untouched, draws in ((True, 1), (False, self._remover.draws)):
            places = np.flatnonzero(whole == untouched)
            # draws stand side by side, so that a few versions with many draws still fill a batch
            versions, numbers = np.repeat(places, draws), np.tile(np.arange(draws), len(places))
            answers = self._answers_in_chunks(rows[versions], removed[versions], numbers)
            result[places] = answers.reshape(len(places), draws).mean(1)
        return result

    def _answers_in_chunks(self, rows: np.ndarray, removed: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The answer for each version under its draw, without making all inputs at once."""
        result = np.empty(len(rows))
        step = self._step()
        for start in range(0, len(rows), step):
            chosen = slice(start, start + step)
            result[chosen] = self._answers(rows[chosen], removed[chosen], draws[chosen])
        return result

    def _answers(self, rows: np.ndarray, removed: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The answer for each version under its draw."""
        subject = self.subject
        order = np.argsort(draws, kind="stable")
        parts = [
            self._remover.apply(rows[places], removed[places], int(draw))
            for draw in np.unique(draws)
            for places in [order[draws[order] == draw]]
        ]
        inputs = tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
        extras = {name: array[rows[order]] for name, array in subject.target.rows.items()}
        passes_before = subject.network.passes.forward
        answers = np.empty(len(rows))
        answers[order] = self._trimming.numbers(subject, inputs, extras)
        self.passes += subject.network.passes.forward - passes_before
        if not np.isfinite(answers).all():
            place = int(np.argmin(np.isfinite(answers)))
            if not removed[place].any():
                raise InputError(
                    f"The target is {answers[place]} for sample {subject.called(int(rows[place]))} as it is, but a "
                    "finite number is needed. Leave such samples out, or find where the inputs hold NaN or the model "
                    "divides by 0."
                )
            raise InputError(
                f"The target is {answers[place]} for sample {subject.called(int(rows[place]))} with "
                f"{int(removed[place].sum())} of its {int(self.counts[rows[place]])} positions removed by "
                f"{self.removal.name}(), but a finite number is needed. Use another removal, or keep the positions "
                "that the model cannot do without: kept=..."
            )
        return answers

    def _step(self) -> int:
        """How many versions are made at a time: whole batches, within `CHUNK_BYTES`."""
        size = self.subject.batch_size
        sample = sum(np.asarray(leaf)[:1].nbytes for leaf in tree.flatten(self.subject.inputs))
        return max(1, min(512, CHUNK_BYTES // max(1, sample * size))) * size
