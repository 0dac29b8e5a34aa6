"""Inputs of every kind as batches of one size, in NumPy.

Arrays and structures of arrays are accepted (and cut into batches here), and so is anything that yields batches itself:
`tf.data.Dataset`, `keras.utils.PyDataset`, a PyTorch `DataLoader`, any iterable. From a batch ``(x, y)`` or
``(x, y, sample_weight)`` the ``x`` is taken, as `predict` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import tree
from numpy.typing import ArrayLike

from attnscope.errors import InputError
from attnscope.tensors import Inputs, Tensor, Tree


@dataclass(frozen=True)
class Batch:
    """One batch, filled up to the common size.

    Attributes:
        inputs: NumPy arrays in the structure the model takes.
        size: How many of the samples are real; the rest repeat the last one and are cut off afterwards, so that
            a short last batch needs no trace of its own.
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
        inputs: Arrays or structures of arrays, or anything that gives batches. Arrays need one length along their
            first axis.
        batch_size: Samples per batch, for inputs that are arrays.
        model: Decides whether a list of arrays is one batch of many inputs, or many batches of one.
        full: Whether fewer samples than a batch holds are filled up to it too, so that they need no trace of their own.

    Raises:
        InputError: There is no sample, the arrays differ in length, or the kind is not known.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}, but a batch needs a whole number of samples: batch_size=32.")
    if _gives_batches(inputs, model):
        return _of_batches(inputs)
    if isinstance(inputs, (list, tuple)) and len(inputs) == 1 and _takes_one_input(model):
        inputs = inputs[0]
    if isinstance(inputs, (list, tuple)) and not any(hasattr(leaf, "shape") for leaf in tree.flatten(inputs)):
        inputs = np.asarray(inputs)  # plain numbers or texts in lists
    arrays = tree.map_structure(_array, inputs)
    lengths = {len(array) if array.ndim else -1 for array in tree.flatten(arrays)}
    if len(lengths) != 1:
        shapes = [tuple(array.shape) for array in tree.flatten(arrays)]
        raise InputError(
            f"The input arrays have shapes {shapes}, but all need the same number of samples along the first axis."
        )
    total = lengths.pop()
    if total == -1 and isinstance(inputs, (str, bytes)):
        raise InputError("The input is a single text, but samples along a first axis are needed: [text].")
    if total == -1:
        raise InputError("The input is a single number, but samples along a first axis are needed: inputs[None].")
    if total == 0:
        raise InputError("The inputs hold 0 samples, but at least one is needed to capture anything.")
    size = batch_size if full else min(batch_size, total)
    cut = (
        tree.map_structure(lambda array, start=start: array[start : start + size], arrays)
        for start in range(0, total, size)
    )
    return Batches(_filled(next(cut), size), cut, size, total, -(-total // size))


def _of_batches(inputs: Inputs) -> Batches:
    count = _count(inputs)
    cut = (tree.map_structure(_array, _x_of(batch)) for batch in _iterated(inputs, count))
    first = next(cut, None)
    if first is None:
        raise InputError("The inputs gave 0 batches, but at least one is needed to capture anything.")
    size = len(tree.flatten(first)[0])
    if size == 0:
        raise InputError("The first batch holds 0 samples, but at least one is needed to capture anything.")
    return Batches(_filled(first, size), cut, size, None, count)


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


def _gives_batches(inputs: Inputs, model: keras.Layer | None) -> bool:
    if isinstance(inputs, (dict, np.ndarray, str)) or hasattr(inputs, "__array__"):
        return False
    if isinstance(inputs, (list, tuple)):
        nested = any(isinstance(item, (dict, tuple)) for item in inputs)
        several_arrays = len(inputs) > 1 and all(hasattr(item, "shape") for item in inputs)
        return nested or (_takes_one_input(model) and several_arrays and all(len(item.shape) > 1 for item in inputs))
    if isinstance(inputs, keras.utils.PyDataset) or hasattr(inputs, "__iter__"):
        return True
    raise InputError(
        f"The inputs are a {type(inputs).__name__}, but arrays, a dict or list of arrays, a tf.data.Dataset, a "
        "keras.utils.PyDataset, a torch DataLoader or an iterable of batches is needed."
    )


def _takes_one_input(model: keras.Layer | None) -> bool:
    return len(getattr(model, "inputs", None) or []) == 1


def _array(value: ArrayLike | Tensor) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(keras.config.floatx())
    return array


def _filled(inputs: Tree, size: int) -> Batch:
    samples = len(tree.flatten(inputs)[0])
    return Batch(tree.map_structure(lambda array: filled(array, max(size, samples)), inputs), samples)


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
