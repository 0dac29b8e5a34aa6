"""The inputs of a run into a store, compared with those that its store was captured from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from keras import tree

from attnscope.errors import InputError
from attnscope.labels import AxisLabels
from attnscope.running import Batch


class GivenInputs:
    """The inputs of a run, batch by batch.

    Args:
        path: What errors call the store.
        labels: What is known of the positions of the samples.
        ids: What the samples are called; None where nothing says it.
        done: How many samples the store holds.
        held: The digest of their inputs.

    Attributes:
        passed: How many samples have been given.
    """

    def __init__(
        self, path: str, labels: Sequence[AxisLabels], ids: np.ndarray | None, *, done: int, held: str
    ) -> None:
        self._path, self._labels, self._ids = path, labels, ids
        self._done, self._held = done, held
        self._digest = hashlib.blake2b(digest_size=16)
        self.passed = 0

    @property
    def digest(self) -> str:
        """A digest of the inputs so far, with what is known of their samples."""
        return self._digest.hexdigest()

    def skips(self, batch: Batch) -> bool:
        """Whether a batch, the next of the run, is in the store already.

        Raises:
            InputError: The store was begun with other inputs, or with batches of another size.
        """
        start, self.passed = self.passed, self.passed + batch.size
        self._note(batch, start)
        if start >= self._done:
            return False
        if self.passed > self._done:
            raise InputError(
                f"{self._path!r} holds {self._done} samples, but a batch goes from sample {start} to "
                f"{self.passed}, so the batches had another size. Give the batch_size= that the run was started with."
            )
        if self.passed == self._done and self._held != self.digest:
            raise InputError(
                f"{self._path!r} holds {self._done} samples that were captured from other inputs. Give those that "
                "the run was started with, or another path."
            )
        return True

    def check_that_all_were_given(self) -> None:
        """Checks that no sample of the store is missing from the inputs.

        Raises:
            InputError: It holds more samples than were given.
        """
        if self.passed < self._done:
            raise InputError(
                f"{self._path!r} holds {self._done} samples, but {self.passed} were given. Give all samples of "
                "that run, or open it: attnscope.open(path)."
            )

    def _note(self, batch: Batch, start: int) -> None:
        """Adds a batch to the digest: its inputs, and what is known of its samples."""
        stop = start + batch.size
        known = [list(item.of_samples(start, stop).names) for item in self._labels if item.per_sample]
        self._digest.update(repr((known, [] if self._ids is None else self._ids[start:stop].tolist())).encode())
        for path, leaf in tree.flatten_with_path(batch.inputs):
            array = np.asarray(leaf[: batch.size])
            plain = array.dtype.kind in "OUST"
            self._digest.update(repr((path, array.shape, array.tolist() if plain else str(array.dtype))).encode())
            if not plain:
                self._digest.update(np.ascontiguousarray(array).data)
