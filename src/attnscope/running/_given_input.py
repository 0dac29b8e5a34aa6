"""What is given for one input of a model: as an array, and whether the model can take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import keras
import numpy as np

from attnscope.errors import InputError, kind_of
from attnscope.tensors import Inputs


@dataclass(frozen=True)
class DeclaredInput:
    """An input that a model declares.

    Attributes:
        name: What it is given by: its key if the model takes a dict, else the name of its `Input`.
        own_name: The name of its `Input`.
        shape: Sizes of its axes, samples first; None where any size will do.
        dtype: What the model turns it into.
    """

    name: str
    own_name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.name!r} {self.shape} {self.dtype}"


@dataclass(frozen=True)
class GivenInput:
    """What is given for one input, as messages call it.

    Attributes:
        what: ``The input 'q'``.
        code: How the caller writes it: ``inputs['q']``.
        needed: What is needed instead, as a clause.
        declared: The input that it is for; None where the model declares nothing.
    """

    what: str
    code: str
    needed: str
    declared: DeclaredInput | None = None

    def error(self, problem: str, fix: str, detail: str = "") -> InputError:
        """The error for what it is, and what to do about it."""
        return InputError(f"{self.what} {problem}, but {self.needed}{detail}. {fix}")

    def fitted(self, value: Inputs) -> np.ndarray:
        """The value as an array that the model can take.

        Raises:
            InputError: It cannot take it.
        """
        array = self.array(value)
        if self.declared is not None:
            array = _of_dtype(array, self.declared, self)
            if array.ndim and len(array):
                _check_shape(array, self.declared, self)
                array = _of_rank(array, len(self.declared.shape))
        return in_float_type(array)

    def array(self, value: Inputs) -> np.ndarray:
        """The value as an array of numbers or texts.

        Raises:
            InputError: It is none: its parts differ in length, or it holds other objects, or an axis is empty.
        """
        try:
            array = plain_array(value)
        except (TypeError, ValueError) as error:
            raise (
                self._ragged(value)
                if isinstance(value, (list, tuple))
                else self.error(f"is {kind_of(value)}", "Give an array with the samples along its first axis.")
            ) from error
        if array.dtype.kind == "O":
            array = self._of_objects(value, array)
        if 0 in array.shape[1:] and len(array):
            raise self.error(
                f"has shape {array.shape}, whose axis {array.shape.index(0, 1)} is empty",
                "Give at least one position.",
            )
        return array

    def _of_objects(self, value: Inputs, array: np.ndarray) -> np.ndarray:
        items = list(array.ravel())
        if array.ndim and all(isinstance(item, (str, bytes)) for item in items):
            return array
        if not array.ndim:
            raise self.error(f"is {kind_of(value)}", "Give an array with the samples along its first axis.")
        if all(isinstance(item, (list, tuple)) or np.ndim(item) for item in items):
            raise self._ragged(items)
        dtype = "float32" if self.declared is None else self.declared.dtype
        odd = next((item for item in items if not isinstance(item, (int, float, np.number))), items[0])
        raise self.error(
            f"is an array of objects, such as {_short(odd)}",
            f"Make it an array of one type: np.asarray({self.code}, dtype={dtype!r}).",
        )

    def _ragged(self, rows: Sequence[Any]) -> InputError:
        if all(hasattr(row, "shape") for row in rows) and len({len(row.shape) for row in rows}) > 1:
            shapes = " and ".join(str(tuple(row.shape)) for row in rows)
            return self.error(
                f"is {kind_of(rows)} of arrays that differ in their axes, {shapes}",
                f"If the first holds the samples and the others go with them (targets, weights), give it alone: "
                f"{self.code}[0].",
            )
        lengths = sorted({len(row) if hasattr(row, "__len__") else 1 for row in rows})
        if len(lengths) == 1:
            return self.error("is made of parts that differ in length", "Fill them up to one length.")
        declared = self.declared
        size = declared.shape[1] if declared is not None and len(declared.shape) > 1 else None
        longest = "" if size is None else f", maxlen={size}"
        dtype = f", dtype={declared.dtype!r}" if declared is not None and declared.dtype.startswith("float") else ""
        return self.error(
            f"has rows of {lengths[0]} to {lengths[-1]} items",
            f"Fill them up to one length: keras.utils.pad_sequences({self.code}{longest}{dtype}, padding='post').",
        )


def _of_dtype(array: np.ndarray, declared: DeclaredInput, given: GivenInput) -> np.ndarray:
    """The array in a dtype that the model takes; whole numbers that are written as floats become whole.

    Raises:
        InputError: It holds something else.
    """
    is_text, wants_text = array.dtype.kind in "USO", declared.dtype == "string"
    if is_text and not wants_text:
        first = _short(array.flat[0]) if array.size else "none"
        raise given.error(
            f"holds text, such as {first}",
            "Turn text into numbers as for training: with its tokenizer, or keras.layers.TextVectorization.",
        )
    if wants_text and not is_text:
        raise given.error(f"holds {array.dtype}", f"Give the texts themselves, or {given.code}.astype(str).")
    if array.dtype.kind in "mM" or (array.dtype.kind == "c" and not declared.dtype.startswith("complex")):
        raise given.error(f"holds {array.dtype}", f"Turn it into numbers: {given.code}.astype({declared.dtype!r}).")
    if array.dtype.kind != "f" or not declared.dtype.startswith(("int", "uint")):
        return array
    whole = np.isfinite(array) & (np.rint(array) == array)
    if not whole.all():
        raise given.error(
            f"holds numbers that are not whole, such as {array[~whole][0]:g}",
            f"If they stand for whole numbers, round them: np.rint({given.code}).astype({declared.dtype!r}).",
        )
    return array.astype(declared.dtype)


def _check_shape(array: np.ndarray, declared: DeclaredInput, given: GivenInput) -> None:
    """Checks the axes after the samples; like Keras, it lets a last axis of size 1 be left out or added.

    Raises:
        InputError: They differ from what is declared.
    """
    shape, wanted = array.shape, declared.shape
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    elif len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        wanted = wanted[:-1]
    if _fits(shape, wanted):
        return
    if len(shape) != len(wanted):
        detail = f"it has {_axes(len(array.shape))}, not {len(wanted)}"
    else:
        axes = [axis for axis, size in enumerate(wanted) if size not in (None, shape[axis])]
        detail = ", ".join(f"axis {axis} is {shape[axis]}, not {wanted[axis]}" for axis in axes)
    raise given.error(
        f"has shape {array.shape} and dtype {array.dtype}", _fix_of(shape, declared, given), f": {detail}"
    )


def _of_rank(array: np.ndarray, rank: int) -> np.ndarray:
    """The array with a last axis of size 1 added or left out, as Keras does it when the model runs."""
    return array[..., None] if array.ndim < rank else array[..., 0] if array.ndim > rank else array


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(size in (None, own) for own, size in zip(shape, wanted, strict=True))


def _fix_of(shape: tuple[int, ...], declared: DeclaredInput, given: GivenInput) -> str:
    wanted, code = declared.shape, given.code
    if _fits(shape, wanted[1:]):
        return f"If it is one sample, put it into a batch of one: {code}[None]."
    if len(shape) != len(wanted):
        return "Give an array with these axes, samples first."
    for order in permutations(range(1, len(shape))):
        if _fits([shape[axis] for axis in (0, *order)], wanted):
            return f"Its axes fit in another order: np.transpose({code}, {(0, *order)})."
    axes = [axis for axis, size in enumerate(wanted) if size not in (None, shape[axis])]
    is_sequence = axes == [1] and (len(shape) == 3 or declared.dtype.startswith(("int", "uint")))
    if len(shape) == 4 and axes[-1] < 3 and all(wanted[1:3]):
        return f"If they are pictures, scale them: keras.ops.image.resize({code}, {wanted[1:3]})."
    if not is_sequence:
        return "Give what the model was trained on, in the same order."
    size = wanted[1] or 0
    if shape[1] > size:
        return f"If it is too long, cut it: {code}[:, :{size}]."
    widths = [(0, 0), (0, size - shape[1]), *[(0, 0)] * (len(shape) - 2)]
    return f"If it is too short, fill it up with padding: np.pad({code}, {widths})."


def _axes(number: int) -> str:
    return "1 axis" if number == 1 else f"{number} axes"


def rank_of(value: Inputs) -> int:
    """Number of axes of an array, or of nested lists by their first items; 0 for a number or a text."""
    if hasattr(value, "shape"):
        return len(value.shape)
    if isinstance(value, (list, tuple)):
        return 1 + (rank_of(value[0]) if value else 0)
    return 0


def in_float_type(array: np.ndarray) -> np.ndarray:
    """The array, with float64 turned into the float type that Keras computes in."""
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array


def plain_array(value: Inputs) -> np.ndarray:
    """An array or tensor, on whatever device, as a NumPy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value  # which NumPy lacks
    return np.asarray(value)


def _short(value: object) -> str:
    plain = value.item() if isinstance(value, np.generic) else value  # np.str_('a') is shown as 'a'
    text = repr(plain)
    return text if len(text) <= 40 else f"{text[:36]}...{text[-1]}"
