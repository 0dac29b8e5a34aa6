"""What the model was given, beside its relevance: values are found by their names wherever they have some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnscope.errors import InputError
from attnscope.frames import NamedCells, named_cells
from attnscope.plot._samples import Samples
from attnscope.tables import listed, nearest


def values_of(inputs: Any, samples: Samples, sample: int | None = None) -> np.ndarray | None:
    """What the model was given, dims ``(sample, position)``; None where nothing was given.

    Columns of a data frame are found by the names of the positions, and its rows by the ids of the samples. Where the
    relevance has no such names, or the frame only numbers its columns or rows from 0, they are taken in their order.

    Args:
        inputs: Values of all samples, or of all positions of a single one.
        samples: The relevance.
        sample: Number of the only sample whose values are needed; default: all are.

    Returns:
        As many rows as there are samples, or the one of `sample`.

    Raises:
        InputError: There is not one value per sample and position, or a name is missing or stands for several.
    """
    if inputs is None:
        return None
    numbers = list(range(len(samples.values))) if sample is None else [sample]
    named = named_cells(inputs)
    if named is None:
        values = np.asarray(inputs.detach().cpu() if hasattr(inputs, "detach") else inputs)
        return _in_order(values, samples, numbers)
    columns, rows = _columns(named, samples), _rows(named, samples, numbers)
    values = named.cells if columns is None else named.cells[..., columns]
    if rows is None:
        return _in_order(values, samples, numbers)
    if values.shape[1] != samples.values.shape[1]:
        raise _unfit(values, samples)
    return values[rows]


def _in_order(values: np.ndarray, samples: Samples, numbers: list[int]) -> np.ndarray:
    shape = samples.values.shape
    if values.shape == shape[1:]:
        values = np.broadcast_to(values, shape)
    if values.shape != shape:
        raise _unfit(values, samples)
    return values[numbers]


def _unfit(values: np.ndarray, samples: Samples) -> InputError:
    shape = samples.values.shape
    return InputError(
        f"The inputs have shape {values.shape}, but one value for each of {shape[0]} samples and {shape[1]} "
        f"positions is needed: {shape}. Of positions with several numbers, such as steps with features, leave them "
        "out."
    )


def _columns(named: NamedCells, samples: Samples) -> list[int] | None:
    """Which column each position is; None where they are in order."""
    wanted, own = samples.labels, named.columns
    if wanted is None and own is not None and set(own) & set(samples.names[0]):
        wanted = samples.shared_names  # labels that the user gave
    if wanted is None or own is None or _only_numbered(own, wanted):
        return None
    return _places(own, wanted, named.what, ("column", "position"), "rename its columns as the positions are called")


def _rows(named: NamedCells, samples: Samples, numbers: list[int]) -> list[int] | None:
    """Which row each of some samples is; None where they are in order."""
    ids, own = samples.ids, named.ids
    if ids is None or own is None or _only_numbered(own, ids):
        return None
    if named.cells.ndim == 1 and own[0] not in ids:
        return None  # a series may have a name that is no id
    wanted = [ids[number] for number in numbers]
    rows = _places(own, wanted, named.what, ("row", "sample"), "index it by the ids of the samples")
    return None if named.cells.ndim == 1 else rows


def _only_numbered(own: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether names only count from 0, and are not what is wanted either."""
    return list(own) == list(map(str, range(len(own)))) and set(own) != set(wanted)


def _places(own: list[str], wanted: list[str], what: str, words: tuple[str, str], fix: str) -> list[int]:
    """Where each of the names that are wanted is.

    Args:
        own: The names that there are.
        wanted: The names.
        what: What has them.
        words: What carries the names there, and what it stands for here.
        fix: How to give it these names.
    """
    there, here = words
    numbers = {name: number for number, name in enumerate(own)}
    missing = [name for name in dict.fromkeys(wanted) if name not in numbers]
    in_order = "or, if its values are in the order of the samples and positions, give them without names: "
    fix = f"{fix}, {in_order}frame.to_numpy()."
    if missing:
        names = f"{here if len(missing) == 1 else f'{here}s'} {listed(missing)}"
        raise InputError(
            f"{what[0].upper()}{what[1:]} has no {there} for the {names}; its {there}s are {listed(own)}."
            f"{nearest(missing[0], own)} Give one with a {there} for each {here}: {fix}"
        )
    twice = next((name for name in wanted if own.count(name) > 1), None) if len(numbers) < len(own) else None
    if twice is not None:
        raise InputError(
            f"{what[0].upper()}{what[1:]} has {own.count(twice)} {there}s {twice!r}, but one for each {here} is "
            f"needed. Leave the others out, {in_order}frame.to_numpy()."
        )
    return [numbers[name] for name in wanted]
