"""What each axis of a scores tensor means.

A softmax only says which axes it runs over: those are the keys. The rest follows from the batch size and the number of
heads of the layer:

* the first axis is the sample; where it is a multiple of the batch, heads or windows were folded into it;
* the axis as long as the layer's number of heads is the head (two neighbours whose product it is are grouped
  heads, and become one);
* what is left are the queries. Several of them, or several keys, are numbered: ``query_0, query_1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import keras
from keras import ops

from attnscope.tensors import Tensor

_HEAD_ATTRIBUTES = ("num_heads", "num_query_heads", "_num_heads", "num_attention_heads", "n_heads")


@dataclass(frozen=True)
class Layout:
    """How to turn a tensor into labelled scores: move axes, reshape, name.

    Attributes:
        permutation: Order in which the tensor's axes are taken, keys last.
        shape: Shape after that, one size per name in `dims`.
        dims: Names, ``sample`` first.
        num_keys: How many of the last dims are keys.
        window_first: Whether samples vary fastest along the first axis: copies of the batch one after the other.
    """

    permutation: tuple[int, ...]
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    num_keys: int = 1
    window_first: bool = False

    def arrange(self, tensor: Tensor) -> Tensor:
        """A tensor as it came, with its axes in the order and the sizes of `dims`."""
        if self.permutation != tuple(range(len(tensor.shape))):
            tensor = ops.transpose(tensor, self.permutation)
        return self.split(tensor, self.shape)

    def split(self, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A tensor whose axes are in order already, in this shape: the first axis split up."""
        if self.window_first:
            return ops.swapaxes(ops.reshape(tensor, (shape[1], shape[0], *shape[2:])), 0, 1)
        return tensor if tuple(tensor.shape) == shape else ops.reshape(tensor, shape)

    def restore(self, scores: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undoes `arrange`: from `dims` back to a tensor of the shape that it came in."""
        moved = [shape[axis] for axis in self.permutation]
        flat = ops.reshape(ops.swapaxes(scores, 0, 1) if self.window_first else scores, moved)
        return ops.transpose(flat, sorted(range(len(moved)), key=self.permutation.__getitem__))

    @property
    def query_dims(self) -> tuple[str, ...]:
        """The dims that number queries; empty where the site pools."""
        return tuple(dim for dim in self.dims if dim.startswith("query"))

    @property
    def key_dims(self) -> tuple[str, ...]:
        """The dims that number keys."""
        return self.dims[-self.num_keys :]


def number_of_heads(layers: tuple[keras.Layer, ...]) -> int | None:
    """Number of heads of the innermost of `layers` that states it under one of the usual names."""
    for layer in reversed(layers):
        for name in _HEAD_ATTRIBUTES:
            value = getattr(layer, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def layout_of(
    shape: tuple[int, ...],
    key_axes: tuple[int, ...],
    batch: int,
    heads: int | None = None,
    attention_axes: int = 1,
    window_first: bool = False,
) -> Layout | None:
    """The layout of a tensor that was made by a softmax.

    Args:
        shape: Its static shape.
        key_axes: The axes that the softmax ran over.
        batch: Number of samples.
        heads: Number of heads of the layer, where it has any.
        attention_axes: How many axes the layer attends over (`MultiHeadAttention(attention_axes=...)`); that
            layer's scores are ``(batch axes, heads, queries, keys)``.
        window_first: Whether the model concatenated copies of the batch to make the first axis.

    Returns:
        The layout, or None where the first axis is neither the batch, nor a multiple of it, nor 1.
    """
    keys = tuple(sorted(axis % len(shape) for axis in key_axes))
    rest = [axis for axis in range(len(shape)) if axis not in keys]
    while len(rest) > 1 and rest[-1] > keys[-1] and shape[rest[-1]] == 1:
        rest.pop()
    dropped = [axis for axis in range(len(shape)) if axis not in keys and axis not in rest]
    if not rest:
        return None
    split = _split_the_first(shape[rest[0]], batch, heads if len(rest) < 3 and not window_first else None)
    if split is None:
        return None
    others = [shape[axis] for axis in rest[1:]]
    names, sizes = _named(others, None if "head" in dict(split) else heads, attention_axes, len(keys))
    key_names = _numbered("key", len(keys))
    return Layout(
        permutation=(*rest, *dropped, *keys),
        shape=(*(size for _, size in split), *sizes, *(shape[axis] for axis in keys)),
        dims=(*(name for name, _ in split), *names, *key_names),
        num_keys=len(keys),
        window_first=window_first and dict(split).get("window") is not None,
    )


def _split_the_first(size: int, batch: int, heads: int | None) -> list[tuple[str, int]] | None:
    if size == batch or size == 1:
        return [("sample", size)]
    if size % batch:
        return None
    folded = size // batch
    if heads and folded % heads == 0:
        windows = [] if folded == heads else [("window", folded // heads)]
        return [("sample", batch), *windows, ("head", heads)]
    return [("sample", batch), ("window", folded)]


def _named(sizes: list[int], heads: int | None, attention_axes: int, num_keys: int) -> tuple[list[str], list[int]]:
    if attention_axes > 1 or num_keys > 1:
        queries = max(attention_axes, num_keys)
        batches = len(sizes) - queries - 1
        if batches >= 0:
            return [*_numbered("axis", batches), "head", *_numbered("query", queries)], sizes
    for position, (size, following) in enumerate(pairwise(sizes)):
        if len(sizes) > 2 and heads and size * following == heads:
            merged = [*sizes[:position], heads, *sizes[position + 2 :]]
            return _around_the_head(merged, position), merged
    if len(sizes) < 2:
        return (["query"] if sizes else []), sizes
    usual = len(sizes) - 2
    position = sizes.index(heads) if heads in sizes and sizes[usual] != heads else usual
    return _around_the_head(sizes, position), sizes


def _around_the_head(sizes: list[int], position: int) -> list[str]:
    before, after = position, len(sizes) - position - 1
    if after == 0:  # (sample, query, head, key): deformable attention
        return [*_numbered("query", before), "head"]
    names = _numbered("axis", before) if before else []
    return [*names, "head", *_numbered("query", after)]


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
