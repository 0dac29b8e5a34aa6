"""What each axis of a scores tensor means, and how to bring it into the order of its dims.

A trace tells what the axes are (`attnscope.discovery`). `layout_by_size` is what is left where nobody traced: it
guesses from the number of samples and of heads, and what it says is known to be a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import keras
from keras import ops

from attnscope.tensors import Tensor

_HEAD_ATTRIBUTES = ("num_heads", "num_query_heads", "_num_heads", "num_attention_heads", "n_heads")

Parts = tuple[tuple[str, int], ...]
"""Dims that lie in one axis, the outermost first, each with its size; empty for one of size 1 that means nothing."""


@dataclass(frozen=True)
class Layout:
    """How to turn a tensor into labelled scores: split axes, move them, join those of one dim.

    Attributes:
        axes: For each axis of the tensor the dims that lie in it. A dim may lie in several axes; the samples lie in
            none where a loop runs over them.
        dims: Names, ``sample`` first and the keys last.
        num_keys: How many of the last dims are keys.
    """

    axes: tuple[Parts, ...]
    dims: tuple[str, ...]
    num_keys: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of `dims`."""
        return tuple(math.prod(size for name, size in self._parts if name == dim) for dim in self.dims)

    @property
    def _parts(self) -> list[tuple[str, int]]:
        return [part for parts in self.axes for part in parts]

    @property
    def query_dims(self) -> tuple[str, ...]:
        """The dims that number queries; empty where the site pools."""
        return tuple(dim for dim in self.dims if dim.startswith("query"))

    @property
    def key_dims(self) -> tuple[str, ...]:
        """The dims that number keys."""
        return self.dims[-self.num_keys :]

    @property
    def key_axes(self) -> tuple[int, ...]:
        """The axes of the tensor that the keys lie in."""
        return tuple(n for n, parts in enumerate(self.axes) if any(dim in self.key_dims for dim, _ in parts))

    def arrange(self, tensor: Tensor, axes: Sequence[int] | None = None) -> Tensor:
        """A tensor as it came, with its axes in the order of `dims`.

        Args:
            tensor: It has the axes that the layout is of, each in its full size, of size 1, or, where a single dim lies
                in it, of any other.
            axes: Which of the layout's axes it has; all of them where None. Dims that lie in none of them are left out.
        """
        layout = self.axes if axes is None else tuple(self.axes[axis] for axis in axes)
        parts = [
            (dim, size if full else actual if len(parts) == 1 else 1)
            for parts, actual in zip(layout, tensor.shape, strict=True)
            for full in (actual == math.prod(size for _, size in parts),)
            for dim, size in parts
        ]
        order = sorted(range(len(parts)), key=lambda number: self.dims.index(parts[number][0]))
        split = tuple(size for _, size in parts)
        present = [dim for dim in self.dims if axes is None or any(dim == name for name, _ in parts)]
        shape = tuple(math.prod(size for name, size in parts if name == dim) for dim in present)
        return _reshaped(_transposed(_reshaped(tensor, split), order), shape)

    def restore(self, scores: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Undoes `arrange`: from `dims` back to a tensor of the shape that it came in."""
        parts = self._parts
        order = sorted(range(len(parts)), key=lambda number: self.dims.index(parts[number][0]))
        split = _reshaped(scores, tuple(parts[number][1] for number in order))
        return _reshaped(_transposed(split, [order.index(number) for number in range(len(order))]), shape)

    def at(self, shape: Sequence[int], batch: int) -> Layout | None:
        """The same layout for another number of samples, and other lengths.

        Of the dims that lie in one axis at most one can change beside the samples: the queries or keys where there are
        any, else the windows.

        Returns:
            The layout, or None where the sizes cannot be those of such a tensor.
        """
        axes = [_resized(parts, size, batch) for parts, size in zip(self.axes, shape, strict=False)]
        if len(shape) != len(self.axes) or any(parts is None for parts in axes):
            return None
        return Layout(tuple(parts for parts in axes if parts is not None), self.dims, self.num_keys)


def _reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor if tuple(tensor.shape) == shape else ops.reshape(tensor, shape)


def _transposed(tensor: Tensor, order: Sequence[int]) -> Tensor:
    return tensor if list(order) == list(range(len(order))) else ops.transpose(tensor, order)


def _resized(parts: Parts, size: int, batch: int) -> Parts | None:
    sized = tuple((dim, batch if dim == "sample" and length != 1 else length) for dim, length in parts)
    whole = math.prod(length for _, length in sized)
    if whole == size:
        return sized
    free = [n for n, (dim, _) in enumerate(sized) if dim.startswith(("query", "key"))] or [
        n for n, (dim, _) in enumerate(sized) if dim == "window"
    ]
    if not free:
        return None
    rest = whole // sized[free[0]][1]
    if not rest or size % rest:
        return None
    return tuple((dim, size // rest if n == free[0] else length) for n, (dim, length) in enumerate(sized))


def number_of_heads(layers: tuple[keras.Layer, ...]) -> int | None:
    """Number of heads of the innermost of `layers` that states it under one of the usual names."""
    for layer in reversed(layers):
        for name in _HEAD_ATTRIBUTES:
            value = getattr(layer, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def layout_by_size(
    shape: tuple[int, ...], key_axes: tuple[int, ...], batch: int, heads: int | None = None
) -> Layout | None:
    """The likeliest layout of a tensor that was made by a softmax, where nothing is known but its shape.

    Args:
        shape: Its static shape.
        key_axes: The axes that the softmax ran over.
        batch: Number of samples.
        heads: Number of heads of the layer, where it says so.

    Returns:
        The layout, or None where the first axis is neither the batch, nor a multiple of it, nor 1.
    """
    keys = tuple(sorted(axis % len(shape) for axis in key_axes))
    rest = [axis for axis in range(len(shape)) if axis not in keys]
    while len(rest) > 1 and rest[-1] > keys[-1] and shape[rest[-1]] == 1:
        rest.pop()
    if not rest:
        return None
    first = _first_axis(shape[rest[0]], batch, heads if len(rest) < 3 else None)
    if first is None:
        return None
    taken = any(dim == "head" for dim, _ in first)
    parts: dict[int, Parts] = {rest[0]: first, **_others(shape, rest[1:], None if taken else heads)}
    names = _numbered("key", len(keys))
    parts.update({axis: ((name, shape[axis]),) for axis, name in zip(keys, names, strict=True)})
    axes = tuple(parts.get(axis, ()) for axis in range(len(shape)))
    others = list(dict.fromkeys(dim for axis in rest for dim, _ in parts[axis]))
    return Layout(axes, (*sorted(others, key=_rank), *names), len(keys))


def _rank(dim: str) -> int:
    return ("sample", "window", "head", "query").index(dim.split("_")[0])


def _first_axis(size: int, batch: int, heads: int | None) -> Parts | None:
    if size in (batch, 1):
        return (("sample", size),)
    if size % batch:
        return None
    folded = size // batch
    if heads and folded % heads == 0:
        windows = () if folded == heads else (("window", folded // heads),)
        return (("sample", batch), *windows, ("head", heads))
    return (("sample", batch), ("window", folded))


def _others(shape: tuple[int, ...], axes: Sequence[int], heads: int | None) -> dict[int, Parts]:
    """The axes that are neither the samples nor keys: one of them the heads if there are two, else all queries."""
    if len(axes) < 2:
        return {axis: (("query", shape[axis]),) for axis in axes}
    for one, other in pairwise(axes):
        if len(axes) > 2 and heads and shape[one] * shape[other] == heads:
            left = [axis for axis in axes if axis not in (one, other)]
            names = dict(zip(left, _numbered("query", len(left)), strict=True))
            return {axis: ((names.get(axis, "head"), shape[axis]),) for axis in axes}
    usual = axes[-2]
    fitting = [axis for axis in axes if heads == shape[axis]]
    head = usual if not fitting or usual in fitting else fitting[0]
    left = [axis for axis in axes if axis != head]
    names = dict(zip(left, _numbered("query", len(left)), strict=True))
    return {axis: ((names.get(axis, "head"), shape[axis]),) for axis in axes}


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
