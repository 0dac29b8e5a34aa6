"""What a call leaves out, and the masks that come with what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import keras


def first_given(*choices: Any) -> Any:
    """The first of `choices` that is not None."""
    return next((choice for choice in choices if choice is not None), None)


def filled_in(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """Key and value stand in for each other, and the query for both.

    Args:
        query: A tensor, or its shape, or its mask.
        key: The same of the key; None where it was left out.
        value: The same of the value; None where it was left out.
    """
    return query, first_given(key, value, query), first_given(value, key, query)


def check_dims(layer: str, argument: str, shape: Sequence[Any], dims: str) -> None:
    """Refuses a shape that has not one size for each of `dims`.

    Args:
        layer: Name of the layer, for the message.
        argument: Name of what has the shape.
        shape: The shape.
        dims: The dims that it should have, as the docs write them: ``"(sample, key)"``.

    Raises:
        ValueError: It has more or fewer.
    """
    if len(shape) != len(dims.split(",")):
        raise ValueError(
            f"The layer {layer!r} got {argument} of shape {tuple(shape)}, but takes dims {dims}. Reshape it, or for "
            "one axis more, keras.layers.TimeDistributed(layer) attends within each step."
        )


class _Masked(keras.layers.Layer):  # type: ignore[misc]
    """A copy of the tensor, with a mask on it; Keras alone knows where the mask of a tensor is kept."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return keras.ops.copy(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask


@cache
def _masked() -> _Masked:
    return _Masked(name="masked", autocast=False)


def with_masks(tensors: Sequence[Any], masks: Sequence[Any]) -> list[Any]:
    """Tensors with these masks on them, for a layer of Keras that takes off the masks of what it is given.

    Args:
        tensors: What the caller gave, with or without masks of their own. These stay as they are.
        masks: The mask of each, given by hand or its own, or None.

    Returns:
        Copies, or the tensors themselves where there is no mask at all.
    """
    if all(mask is None for mask in masks):
        return list(tensors)
    return [_masked()(tensor, mask=mask) for tensor, mask in zip(tensors, masks, strict=True)]
