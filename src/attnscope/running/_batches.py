"""Inputs of every kind as batches of one size, in NumPy.

Arrays and structures of arrays are accepted (and cut into batches here), and so is anything that yields batches itself:
`tf.data.Dataset`, `keras.utils.PyDataset`, a PyTorch `DataLoader`, any iterable. From a batch ``(x, y)`` or
``(x, y, sample_weight)`` the ``x`` is taken, as `predict` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import keras
import numpy as np
from keras import tree

from attnscope.backends import current
from attnscope.errors import InputError, kind_of
from attnscope.running._fitted_inputs import check_samples, fitted, takes_one_input
from attnscope.running._given_input import in_float_type, plain_array, rank_of
from attnscope.tensors import Inputs, Tree


@dataclass(frozen=True)
class Batch:
    """One batch, filled up to the common size.

    Attributes:
        inputs: NumPy arrays in the structure the model takes.
        size: How many of the samples are real; the rest repeat the last one and are cut off afterwards, so that
            a short last batch needs no trace of its own on backends that compile.
    """

    inputs: Tree
    size: int


@dataclass(frozen=True)
class Batches:
    """All batches of some inputs.

    Attributes:
        first: The first batch, for a look at shapes.
        total: Number of samples, if it is known beforehand.
        count: Number of batches, if it is known beforehand.
    """

    first: Batch
    rest: Iterator[Tree]
    batch_size: int
    total: int | None
    count: int | None

    def __iter__(self) -> Iterator[Batch]:
        yield self.first
        largest = self.batch_size
        for inputs in self.rest:
            batch = _filled(inputs, largest)
            largest = max(largest, batch.size)
            yield batch


def batches_of(inputs: Inputs, batch_size: int, model: keras.Layer | None = None, *, full: bool = False) -> Batches:
    """Cuts inputs into batches, or takes the batches that they yield.

    Args:
        inputs: Arrays or structures of arrays, in the structure that the model takes, or anything that gives batches.
            Arrays need one length along their first axis.
        batch_size: Samples per batch, for inputs that are arrays.
        model: Decides whether a list of arrays is one batch of many inputs, or many batches of one; and what batches
            have to be.
        full: Whether fewer samples than a batch holds are filled up to it too, so that they need no trace of their own
            where the backend compiles.

    Raises:
        InputError: There is no sample, the arrays differ in length, the kind is not known, or the model cannot take the
            first batch; later batches are checked when they are reached.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}, but a batch needs a whole number of samples: batch_size=32.")
    if gives_batches(inputs, model):
        return _of_batches(inputs, model)
    arrays = tree.map_structure(lambda array: in_float_type(plain_array(array)), inputs)
    total = check_samples(inputs, arrays)
    if total == 0:
        raise InputError("The inputs hold 0 samples, but at least one is needed to capture anything.")
    size = batch_size if full else min(batch_size, total)
    cut = (
        tree.map_structure(lambda array, start=start: array[start : start + size], arrays)
        for start in range(0, total, size)
    )
    return Batches(_filled(next(cut), size), cut, size, total, -(-total // size))


def given_batches(batches: Sequence[Batch]) -> Batches:
    """Batches of some inputs that were cut before, filled up as they were."""
    first = batches[0]
    size = len(tree.flatten(first.inputs)[0])
    rest = (tree.map_structure(lambda array, n=batch.size: array[:n], batch.inputs) for batch in batches[1:])
    return Batches(first, rest, size, None, len(batches))


def samples_in_batches(inputs: Inputs, model: keras.Layer | None, batch_size: int) -> Inputs:
    """A list of samples of different lengths as batches, each of neighbours of one length; other inputs as they are.

    The model has to have one input whose second axis may have any length, and a sample has its axes but the first.

    Args:
        inputs: What was given.
        model: The model.
        batch_size: The most samples per batch.

    Raises:
        InputError: A sample has no position.
    """
    if model is None or not isinstance(inputs, (list, tuple)) or len(inputs) < 2 or not takes_one_input(model):
        return inputs
    _, *axes = model.inputs[0].shape
    if not axes or axes[0] is not None:
        return inputs
    if any(isinstance(item, Mapping) or rank_of(item) != len(axes) for item in inputs):
        return inputs
    lengths = {len(item) for item in inputs}
    if len(lengths) == 1:
        return inputs
    if 0 in lengths:
        number = [len(item) for item in inputs].index(0)
        raise InputError(
            f"Sample {number} of the inputs has no position, but each needs at least one. Leave it out: "
            "[sample for sample in inputs if len(sample)]."
        )
    batches = []
    for _, samples in groupby(map(plain_array, inputs), key=np.shape):
        alike = list(samples)
        batches += [np.stack(alike[start : start + batch_size]) for start in range(0, len(alike), batch_size)]
    return batches


def _of_batches(inputs: Inputs, model: keras.Layer | None) -> Batches:
    count = _count(inputs)
    cut = (fitted(_samples_of(batch, inputs), model) for batch in _iterated(inputs, count))
    first = next(cut, None)
    if first is None:
        raise InputError("The inputs gave 0 batches, but at least one is needed to capture anything.")
    size = len(tree.flatten(first)[0])
    if size == 0:
        raise InputError("The first batch holds 0 samples, but at least one is needed to capture anything.")
    return Batches(_filled(first, size), cut, size, None, count)


def _samples_of(batch: Tree, inputs: Inputs) -> Tree:
    samples = _x_of(batch)
    if isinstance(samples, (int, float, complex, np.generic)):
        raise InputError(
            f"The inputs are a {type(inputs).__name__} of single numbers, but batches with samples along their first "
            "axis are needed: inputs=np.asarray(list(inputs))[None] for a single sample."
        )
    return samples


def _count(inputs: Inputs) -> int | None:
    try:
        return len(inputs)
    except TypeError:  # a dataset of unknown length has a __len__ all the same
        return None


def _iterated(inputs: Inputs, count: int | None) -> Iterable[Tree]:
    if isinstance(inputs, keras.utils.PyDataset):
        return (inputs[number] for number in range(count or 0))
    batches: Iterable[Tree] = iter(inputs)
    return batches


def _x_of(batch: Tree) -> Tree:
    if isinstance(batch, tuple) and 1 <= len(batch) <= 3:
        return keras.utils.unpack_x_y_sample_weight(batch)[0]
    if isinstance(batch, list) and len(batch) == 2:  # a torch DataLoader over (x, y)
        return batch[0]
    return batch


def gives_batches(inputs: Inputs, model: keras.Layer | None) -> bool:
    """Whether inputs are batches, or yield them, rather than being arrays.

    Raises:
        InputError: They are neither.
    """
    if isinstance(inputs, (Mapping, np.ndarray, str, bytes)) or hasattr(inputs, "__array__"):
        return False
    if isinstance(inputs, (list, tuple)):
        nested = any(
            isinstance(item, Mapping) or (isinstance(item, tuple) and any(map(rank_of, item))) for item in inputs
        )
        several_arrays = len(inputs) > 1 and all(hasattr(item, "shape") for item in inputs)
        return nested or (takes_one_input(model) and several_arrays and all(len(item.shape) > 1 for item in inputs))
    if isinstance(inputs, keras.utils.PyDataset) or hasattr(inputs, "__iter__"):
        return True
    raise InputError(
        f"The inputs are {kind_of(inputs)}, but arrays, a dict or list of arrays, a tf.data.Dataset, a "
        "keras.utils.PyDataset, a torch DataLoader or an iterable of batches is needed."
    )


def _filled(inputs: Tree, size: int) -> Batch:
    samples = len(tree.flatten(inputs)[0])
    wanted = max(size, samples) if current().compiles else samples
    return Batch(tree.map_structure(lambda array: filled(array, wanted), inputs), samples)


def filled(array: np.ndarray, size: int) -> np.ndarray:
    """An array with its last sample repeated until there are `size` of them."""
    missing = size - len(array)
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing > 0 else array


def joined(parts: list[tuple[Tree, int]]) -> Tree:
    """What a model gave for several batches, concatenated, in its structure of outputs.

    Args:
        parts: For each batch the outputs as arrays (None where one is left out), and how many of the samples count.
    """
    real = [tree.map_structure(lambda a, n=size: None if a is None else a[:n], outputs) for outputs, size in parts]
    return tree.map_structure(lambda *arrays: None if arrays[0] is None else merged(list(arrays)), *real)


def merged(parts: list[np.ndarray], missing: float | bool | None = None) -> np.ndarray:
    """Batches of an array concatenated along the samples, with smaller ones filled up along the other axes.

    Args:
        parts: The batches, samples first.
        missing: What to fill up with; by default NaN, and 0 where the numbers are whole.
    """
    if len(parts) == 1:
        return parts[0]
    if missing is None:
        missing = np.nan if parts[0].dtype.kind == "f" else False
    sizes = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    whole = np.full((sum(map(len, parts)), *sizes), missing, dtype=parts[0].dtype)
    start = 0
    for part in parts:
        whole[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
        start += len(part)
    return whole
