"""`NamedArrays`: samples as arrays, with their ids and what is right for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnscope.errors import InputError
from attnscope.tables import check_ids, listed, nearest, numbers_among

Arrays = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class NamedArrays:
    """Samples as arrays, of which something is known beside them.

    Attributes:
        inputs: What a model is given: an array, or arrays by the names of its inputs; samples first.
        what: What messages call it: ``'digits.npz'``.
        ids: What each sample is called, dims ``(sample,)``, no two alike; None where nothing says it.
        truth: What is right for each sample, dims ``(sample,)``; None where nothing says it.
    """

    inputs: Arrays
    what: str
    ids: np.ndarray | None = None
    truth: np.ndarray | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values()))) if isinstance(self.inputs, dict) else len(self.inputs)

    def rows(self, chosen: Sequence[int]) -> NamedArrays:
        """Some of the samples, by their numbers."""
        numbers = list(chosen)
        inputs = self.inputs
        return replace(
            self,
            inputs=(
                {name: array[numbers] for name, array in inputs.items()}
                if isinstance(inputs, dict)
                else inputs[numbers]
            ),
            ids=None if self.ids is None else self.ids[numbers],
            truth=None if self.truth is None else self.truth[numbers],
        )

    def numbers_of_ids(self, ids: Sequence[object]) -> list[int]:
        """The numbers of the samples with these ids.

        Raises:
            InputError: There are no ids, or not these.
        """
        return numbers_among(self.ids, ids, self.what, "--id-column NAME")


def named_arrays(arrays: dict[str, np.ndarray], what: str, *, ids: str | None, truth: str | None) -> NamedArrays:
    """Arrays by name, of which one may hold the ids and one what is right.

    Args:
        arrays: The arrays, samples first.
        what: What messages call them.
        ids: The name of the array of ids; None if there is none.
        truth: The name of the array of what is right, likewise.

    Raises:
        InputError: There is no such array, or it has not one entry per sample, or an id twice; or no array is left.
    """
    rest = {name: array for name, array in arrays.items() if name not in (ids, truth)}
    known: dict[str | None, np.ndarray] = {
        name: _entries(arrays, name, what) for name in (ids, truth) if name is not None
    }
    if not rest:
        raise InputError(
            f"{what} has the arrays {listed(list(arrays))} and none beside them that the model could read."
        )
    inputs = rest if len(rest) > 1 else next(iter(rest.values()))
    read = NamedArrays(inputs, what, known.get(ids), known.get(truth))
    if read.ids is not None:
        check_ids(read.ids, f"The array {ids!r} of {what}", lambda row: f"row {row}")
    for name, entries in known.items():
        if len(entries) != read.samples:
            raise InputError(
                f"The array {name!r} of {what} has {len(entries)} entries, but there are {read.samples} samples. One "
                "for each is needed, in their order."
            )
    return read


def _entries(arrays: dict[str, np.ndarray], name: str, what: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(
            f"{what} has no array {name!r}; its arrays are {listed(list(arrays), 20)}.{nearest(name, arrays)}"
        )
    array = arrays[name]
    if array.shape[1:] not in ((), (1,)) or not array.ndim:
        fix = f" Of columns of classes give the number of the right one: {name}.argmax(1)." if array.ndim == 2 else ""
        raise InputError(
            f"The array {name!r} of {what} has shape {array.shape}, but one entry per sample is needed.{fix}"
        )
    entries = array.reshape(len(array))
    return entries if entries.dtype.kind in "biuf" else np.char.strip(entries.astype(str))
