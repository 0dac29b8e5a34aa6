"""Loops: over blocks of queries, compiled; and a model's own, unrolled so that what happens inside can be seen.

A softmax in the body of a compiled loop (`RNN` cells, `ops.scan`, `ops.map`, `ops.vectorized_map`, `ops.fori_loop`)
gives a tensor that exists only in that body. Where a loop holds attention that is asked for, it is run step by step
instead: each step is then an ordinary call, which every handler can read and change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

import keras
from keras import ops, tree

from attnscope.patching import patched, stand_in
from attnscope.tensors import Tensor, Tree

_STEP: ContextVar[tuple[int, ...]] = ContextVar("attnscope_step", default=())


def current_step() -> tuple[int, ...]:
    """Numbers of the steps of the unrolled loops that run now, outermost first; empty outside of any."""
    return _STEP.get()


@contextmanager
def _step(number: int) -> Iterator[None]:
    token = _STEP.set((*_STEP.get(), number))
    try:
        yield
    finally:
        _STEP.reset(token)


@contextmanager
def calls_are_steps(layer: keras.Layer) -> Iterator[None]:
    """Numbers the calls of a layer in this block as the steps of a loop."""
    with patched(layer, "call", _numbered):
        token = _CALLS.set(count())
        try:
            yield
        finally:
            _CALLS.reset(token)


_CALLS: ContextVar[Iterator[int] | None] = ContextVar("attnscope_calls", default=None)


def _numbered(original: Callable[..., Tree]) -> Callable[..., Tree]:
    def call(*args: Any, **kwargs: Any) -> Tree:
        numbers = _CALLS.get()
        if numbers is None:
            return original(*args, **kwargs)
        with _step(next(numbers)):
            return original(*args, **kwargs)

    return stand_in(original, call)


def joined(stacked: Tensor, length: int, *, axis: int) -> Tensor:
    """What the blocks of a loop gave, behind each other; the last block may repeat positions of the one before.

    Args:
        stacked: The blocks are on the first axis.
        length: Positions in total.
        axis: Of a block's positions, from the end: -1 for the last.
    """
    moved = ops.moveaxis(stacked, 0, axis - 1)
    shape = tuple(moved.shape)
    before, behind = shape[: axis - 1], shape[len(shape) + axis + 1 :]
    flat = ops.reshape(moved, (*before, shape[axis - 1] * shape[axis], *behind))
    return without_repeats(flat, len(flat.shape) + axis, shape[axis], length)


def without_repeats(tensor: Tensor, axis: int, size: int, length: int) -> Tensor:
    """`length` positions along an axis, of blocks of `size` of which the last repeats what is too many."""
    surplus = tensor.shape[axis] - length
    if not surplus:
        return tensor
    last = tensor.shape[axis] - size
    lead = (slice(None),) * axis
    return ops.concatenate([tensor[(*lead, slice(0, last))], tensor[(*lead, slice(last + surplus, None))]], axis=axis)


def unrolled_rnn(original: Callable[..., Tree]) -> Callable[..., Tree]:
    """`backend.rnn`, unrolled, with the number of the step known inside."""

    def rnn(step_function: Callable[..., Tree], *args: Any, **kwargs: Any) -> Tree:
        steps = iter(range(10**9))

        def numbered(*step_args: Any, **step_kwargs: Any) -> Tree:
            with _step(next(steps)):
                return step_function(*step_args, **step_kwargs)

        return original(numbered, *args, **{**kwargs, "unroll": True})

    return rnn


def unrolled_scan(
    f: Callable[..., Tree],
    init: Tree,
    xs: Tree = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: bool | int = 1,
) -> tuple[Tree, Tree]:
    """`ops.scan`, step by step."""
    steps = int(tree.flatten(xs)[0].shape[0]) if xs is not None else int(length or 0)
    carry, outputs = init, []
    for number in reversed(range(steps)) if reverse else range(steps):
        item = None if xs is None else tree.map_structure(lambda x, n=number: x[n], xs)
        with _step(number):
            carry, out = f(carry, item)
        outputs.append(out)
    if reverse:
        outputs.reverse()
    return carry, tree.map_structure(lambda *outs: None if outs[0] is None else ops.stack(outs), *outputs)


def unrolled_map(f: Callable[..., Tree], xs: Tree) -> Tree:
    """`ops.map` and `ops.vectorized_map`, element by element."""
    return unrolled_scan(lambda carry, x: (carry, f(x)), (), xs)[1]


def unrolled_fori_loop(lower: Tensor, upper: Tensor, body_fun: Callable[[int, Tree], Tree], init_val: Tree) -> Tree:
    """`ops.fori_loop`, step by step; its bounds have to be known."""
    value = init_val
    for number in range(int(lower), int(upper)):
        with _step(number - int(lower)):
            value = body_fun(number, value)
    return value
