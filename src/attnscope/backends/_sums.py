"""Sums of long rows."""

from __future__ import annotations

from keras import ops

from attnscope.tensors import Tensor

_ADDENDS = 64
"""How many numbers of a row are added in the first step of two."""


def sums_in_parts(tensor: Tensor) -> Tensor:
    """Sums over the last axis in two steps: XLA may add one number after the other, which is far off for many."""
    length = int(tensor.shape[-1]) // _ADDENDS
    if length < 2:
        return ops.sum(tensor, axis=-1)
    even = length * _ADDENDS
    parts = ops.reshape(tensor[..., :even], (*tensor.shape[:-1], _ADDENDS, length))
    total = ops.sum(ops.sum(parts, axis=-2), axis=-1)
    return ops.add(total, ops.sum(tensor[..., even:], axis=-1)) if even < tensor.shape[-1] else total
