"""Arguments that a call leaves out, and the masks that come with those that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias, TypeVar

import keras

from attnscope.tensors import Tensor

Shape: TypeAlias = tuple[int | None, ...]
"""Of a tensor, None where a size is not known yet."""
Argument = TypeVar("Argument")
"""A tensor, or its shape, or its mask."""


def first_given(*choices: Any) -> Any:
    """The first of `choices` that is not None."""
    return next((choice for choice in choices if choice is not None), None)


def filled_in(query: Argument, key: Argument | None, value: Argument | None) -> tuple[Argument, Argument, Argument]:
    """Query, key and value, where a missing key or value is replaced by the other, or else by the query.

    Args:
        query: A tensor, or its shape, or its mask.
        key: The same for the key; None if it was left out.
        value: The same for the value; None if it was left out.
    """
    return query, first_given(key, value, query), first_given(value, key, query)


def check_dims(layer: str, argument: str, shape: Shape, dims: str) -> None:
    """Checks that a shape has one size for each of `dims`.

    Args:
        layer: Name of the layer, for the message.
        argument: Name of the argument that has this shape, for the message.
        shape: The shape.
        dims: The dims that it should have, as the docs write them: ``"(sample, key)"``.

    Raises:
        ValueError: It has more or fewer.
    """
    if len(shape) != len(dims.split(",")):
        raise ValueError(
            f"The layer {layer!r} got {argument} of shape {tuple(shape)}, but takes dims {dims}. Reshape it; or, if it "
            "has one more axis, use keras.layers.TimeDistributed(layer), which attends within each step."
        )


class _Masked(keras.layers.Layer):  # type: ignore[misc]
    """A copy of the tensor with a mask on it; only Keras knows where the mask of a tensor is kept."""

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return keras.ops.copy(inputs)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return mask


@cache
def _masked() -> _Masked:
    return _Masked(name="masked", autocast=False)


def with_masks(tensors: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
    """Tensors with these masks on them, for a Keras layer that removes the masks of its arguments.

    Args:
        tensors: What the caller gave, with or without masks of their own. They stay as they are.
        masks: The mask of each, passed explicitly or its own, or None.

    Returns:
        Copies, or the tensors themselves if there are no masks at all.
    """
    if all(mask is None for mask in masks):
        return list(tensors)
    return [_masked()(tensor, mask=mask) for tensor, mask in zip(tensors, masks, strict=True)]
