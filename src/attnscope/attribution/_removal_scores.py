"""What a model says about its samples with positions removed; the same question is asked once."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import tree

from attnscope.attribution._removal import Removal, removable_of, removal_of
from attnscope.attribution._subject import Subject
from attnscope.attribution._trimming import Trimming
from attnscope.errors import InputError

CHUNK_BYTES = 64_000_000
"""About how much memory the inputs made at a time take."""


class Versions:
    """A subject's samples without some of their positions, scored in batches of one size.

    Every answer is kept, so that many methods and measures that ask for the same versions cost little more than one.
    Of a way of removing that draws, all versions of a sample see the same draws, and the answer is their mean.

    Args:
        subject: The model and its samples.
        removal: How positions are removed: an object, a name, or None; see `removal_of`.
        kept: Positions that are never removed; see `kept_of`.
        seed: Of what the removal draws.

    Attributes:
        subject: As given.
        removal: The way of removing.
        words: What stands in the place of what is removed.
        removable: dims ``(sample, position)``, False on padding and on what is kept.
        least: How many of the valid positions have to stay.
        passes: Samples that went through the model for these versions so far.
    """

    def __init__(self, subject: Subject, removal: Any = None, *, kept: Any = None, seed: int = 0) -> None:
        self.subject = subject
        self.removal: Removal = removal_of(removal, subject)
        self._remover = self.removal.on(subject, seed)
        self.words = self._remover.words
        self.least = self._remover.least
        self.removable = removable_of(subject, kept)
        self.passes = 0
        self._known: dict[bytes, float] = {}
        self._trimming: Trimming = subject.scorer.kept(
            ("trimming", subject.positions.leaf), lambda: Trimming(subject.model, subject.inputs, subject.positions)
        )

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
        """What the model says about the samples as they are, float64, dims ``(sample,)``."""
        return self(np.arange(self.subject.samples), np.zeros_like(self.removable))

    def __call__(self, rows: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """The target's number for each version.

        Args:
            rows: Number of the sample of each version, dims ``(version,)``.
            removed: What is removed, dims ``(version, position)``, bool; padding and what is kept stay.

        Returns:
            dims ``(version,)``, float64, in the unit of the target.

        Raises:
            InputError: More is removed than the way of removing allows, or the model says something infinite or NaN.
        """
        rows = np.asarray(rows)
        removed = np.asarray(removed, bool) & self.removable[rows]
        over = removed.sum(1) > self.most[rows]
        if over.any():
            raise InputError(
                f"All {int(self.counts[rows[over][0]])} positions of sample {int(rows[over][0])} are to be removed, "
                f"but {self.removal.name}() then leaves nothing to give to the model. Keep some positions, "
                "kept=[101, 102], or use another removal: removal=mask_token(103)."
            )
        keys = self._keys(rows, removed)
        new: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self._known:
                new.setdefault(key, place)
        if new:
            places = np.fromiter(new.values(), dtype=np.int64)
            for key, number in zip(new, self._scored(rows[places], removed[places]), strict=True):
                self._known[key] = float(number)
        return np.array([self._known[key] for key in keys], dtype=np.float64)

    @staticmethod
    def _keys(rows: np.ndarray, removed: np.ndarray) -> list[bytes]:
        packed = np.packbits(removed, axis=1)
        numbers = rows.astype("<u4")[:, None].view(np.uint8).reshape(len(rows), 4)
        return [row.tobytes() for row in np.concatenate([numbers, packed], axis=1)]

    def _scored(self, rows: np.ndarray, removed: np.ndarray) -> np.ndarray:
        """The mean over the draws; nothing removed needs one alone."""
        whole = ~removed.any(1)
        result = np.empty(len(rows))
        for untouched, draws in ((True, 1), (False, self._remover.draws)):
            places = np.flatnonzero(whole == untouched)
            # draws side by side, so that few versions of many draws still fill a batch
            versions, numbers = np.repeat(places, draws), np.tile(np.arange(draws), len(places))
            answers = self._drawn(rows[versions], removed[versions], numbers)
            result[places] = answers.reshape(len(places), draws).mean(1)
        return result

    def _drawn(self, rows: np.ndarray, removed: np.ndarray, draws: np.ndarray) -> np.ndarray:
        result = np.empty(len(rows))
        step = self._step()
        for start in range(0, len(rows), step):
            chosen = slice(start, start + step)
            result[chosen] = self._asked(rows[chosen], removed[chosen], draws[chosen])
        return result

    def _asked(self, rows: np.ndarray, removed: np.ndarray, draws: np.ndarray) -> np.ndarray:
        subject = self.subject
        order = np.argsort(draws, kind="stable")
        parts = [
            self._remover.apply(rows[places], removed[places], int(draw))
            for draw in np.unique(draws)
            for places in [order[draws[order] == draw]]
        ]
        inputs = tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
        extras = {name: array[rows[order]] for name, array in subject.target.rows.items()}
        before = subject.scorer.passes
        answers = np.empty(len(rows))
        answers[order] = self._trimming(subject.scorer, inputs, subject.target, extras)
        self.passes += subject.scorer.passes - before
        if not np.isfinite(answers).all():
            place = int(np.argmin(np.isfinite(answers)))
            raise InputError(
                f"The model says {answers[place]} about sample {int(rows[place])} with "
                f"{int(removed[place].sum())} of its {int(self.counts[rows[place]])} positions removed by "
                f"{self.removal.name}(), but a finite number is needed. Use another removal, or keep the positions "
                "that the model cannot do without: kept=..."
            )
        return answers

    def _step(self) -> int:
        """Versions made at a time: whole batches, within `CHUNK_BYTES`."""
        size = self.subject.batch_size
        sample = sum(np.asarray(leaf)[:1].nbytes for leaf in tree.flatten(self.subject.inputs))
        return max(1, min(64, CHUNK_BYTES // max(1, sample * size))) * size
