"""PyTorch: nothing is compiled; traces are recorded operation by operation, on the meta device if possible."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import torch.nn.attention
from keras import ops, tree
from keras.src.backend.torch import nn as torch_nn
from torch.utils._python_dispatch import TorchDispatchMode

from attnscope.backends._graph import (
    Axes,
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    all_but,
    matmul,
    of_first,
    permuted,
    read_in_place,
    read_repeat,
    read_reshape,
    reduction,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, ProbedBody, Step
from attnscope.patching import patched
from attnscope.tensors import Tensor, Tree


class Torch:
    """See `Backend`."""

    block_bytes = 32 * 2**20  # the C library gives blocks of this size or more back at once, and keeps smaller ones
    fused_builds_matrix = False
    masked_rows_vary = True

    def functions(self) -> list[Function]:
        """Every softmax, and what `torch.nn.MultiheadAttention` is made of."""
        functional = torch.nn.functional
        return [
            Function(functional, "softmax", _softmax, bound_early=True),
            Function(torch, "softmax", _softmax, bound_early=True),
            Function(torch.special, "softmax", _softmax, bound_early=True),
            Function(torch.Tensor, "softmax", _softmax),
            Function(torch.backends.mha, "get_fastpath_enabled", _without_fast_path),
            Function(functional, "multi_head_attention_forward", _multi_head),
            Function(functional, "scaled_dot_product_attention", _fused, bound_early=True),
        ]

    def current_trace(self) -> Hashable:
        """Always the same: everything runs at once."""
        return "eager"

    def viewed(self, tensor: Tensor) -> np.ndarray:
        """An array over the same memory."""
        return np.asarray(tensor.detach().cpu())

    def compiled(self, model: ModelOf, body: Body) -> Callable[[Tree], Tree]:
        """Runs it as it is, without gradients."""

        def run(inputs: Tree) -> Tree:
            with torch.no_grad(), keras.StatelessScope():
                return body(model(), tree.map_structure(ops.convert_to_tensor, inputs))

        return run

    def differentiated(self, model: ModelOf, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
        """`torch.autograd.grad` by the zeros."""

        def run(inputs: Tree) -> tuple[Tree, dict[str, Tensor]]:
            zeros: dict[str, Tensor] = {}

            def probe(name: str, tensor: Tensor) -> Tensor:
                zeros[name] = torch.zeros_like(tensor, requires_grad=True)
                return tensor + zeros[name]

            # The fused kernel on CPUs differentiates a row of which all cells are masked as if it had one key (it finds
            # the weights again as exp(logit - logsumexp), where the logsumexp of -1e9's loses the logarithm of their
            # number).
            plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
            with torch.enable_grad(), keras.StatelessScope(), plain:
                total, rest = body(model(), tree.map_structure(ops.convert_to_tensor, inputs), probe)
            derivatives = torch.autograd.grad(total, list(zeros.values()), allow_unused=True)
            gradients = {
                name: torch.zeros_like(zero) if derivative is None else derivative
                for (name, zero), derivative in zip(zeros.items(), derivatives, strict=True)
            }
            return tree.map_structure(lambda tensor: tensor.detach(), rest), gradients

        return run

    def scan(self, step: Step, carry: Tree, count: int, size: int) -> tuple[Tree, Tree]:
        """A Python loop."""
        blocks = []
        for number in range(count):
            carry, emitted = step(carry, number * size)
            blocks.append(emitted)
        return carry, tree.map_structure(lambda *arrays: ops.stack(arrays), *blocks)

    def trace(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        """A recorded run, on the meta device if every operation of the model knows it."""
        try:
            with keras.device("meta"), patched(torch_nn, "get_device", _as_device):
                return self._recorded(body, inputs)
        except (NotImplementedError, RuntimeError, TypeError, ValueError):
            # Not every operation of PyTorch knows the meta device; what is wrong with the model itself is raised
            # again by the run on real tensors.
            return self._recorded(body, inputs)

    def _recorded(self, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        tensors = tree.map_structure(ops.convert_to_tensor, inputs)
        with torch.no_grad(), keras.StatelessScope(), _Recorder() as recorder:
            given = {recorder.number(tensor) for tensor in tree.flatten(tensors)}
            outputs = body(tensors)
        graph = recorder.builder.graph
        graph.inputs = given
        leaves = [leaf for leaf in tree.flatten(outputs) if isinstance(leaf, torch.Tensor)]
        graph.outputs = {recorder.number(leaf) for leaf in leaves}
        return Trace(graph, recorder.builder.numbers)

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The tensor's own identity; the recorder keeps it alive."""
        return id(tensor)


def _as_device(get_device: Callable[[], str]) -> Callable[[], torch.device]:
    """Keras puts an empty tensor in the place of what it pools where the name of the device is "meta"; no trail of the
    inputs would lead through it.
    """
    return lambda: torch.device(get_device())


def _softmax(taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Tensor:
    logits = args[0] if args else kwargs["input"]
    axis = args[1] if len(args) > 1 else kwargs.get("dim")
    if axis is None:  # PyTorch's own choice, which it warns about
        axis = 0 if logits.ndim in (0, 1, 3) else 1
    return taking.softmax(partial(original, *args, **kwargs), logits, axis)


def _multi_head(taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Tensor:
    heads = args[4] if len(args) > 4 else kwargs["num_heads"]
    return taking.with_heads(heads, partial(original, *args, **kwargs))


def _without_fast_path(taking: Interception, original: Any) -> bool:
    """`torch.nn.MultiheadAttention` otherwise runs one native call that has no softmax to take."""
    return False


def _fused(
    taking: Interception,
    original: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    run = partial(original, query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    is_mask = attn_mask is not None and attn_mask.dtype == torch.bool
    rank = query.ndim
    if rank not in (3, 4):
        return taking.left_out(run, query, f"scaled_dot_product_attention of rank {rank}")

    def with_heads(tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(2) if rank == 3 else tensor.transpose(1, 2)

    def of_rank(limit: Tensor | None) -> Tensor | None:
        if limit is not None and rank == 3 and limit.ndim == 3:
            return limit.unsqueeze(1)
        return None if limit is None else limit.reshape((1,) * (4 - limit.ndim) + tuple(limit.shape))

    return taking.fused(
        run,
        query=with_heads(query),
        key=with_heads(key),
        value=with_heads(value),
        bias=None if is_mask else of_rank(attn_mask),
        mask=of_rank(attn_mask) if is_mask else None,
        scale=1.0 / math.sqrt(query.shape[-1]) if scale is None else scale,
        is_causal=is_causal,
        keep_context=dropout_p == 0.0,
        to_output=lambda context: context.squeeze(2) if rank == 3 else context.transpose(1, 2),
    )


class _Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Records every operation that runs; tensors are known by their identity, and kept alive."""

    def __init__(self) -> None:
        super().__init__()
        self.builder = GraphBuilder(_VOCABULARY)
        self._alive: list[Tensor] = []

    def number(self, tensor: Tensor) -> int:
        """Number of a tensor."""
        self._alive.append(tensor)
        return self.builder.tensor(id(tensor), tensor.shape, tensor.dtype)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        operands = [leaf for leaf in _leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)]
        for result in _leaves(results):
            if isinstance(result, torch.Tensor) and operands and all(result is not tensor for tensor in operands):
                self._add(func.overloadpacket.__name__, args, operands, result)
        return results

    def _add(self, name: str, args: Any, operands: list[Tensor], result: Tensor) -> None:
        inputs = [self.number(tensor) for tensor in operands]
        self.builder.add(name, args, inputs[_ADDED.get(name, 0) :], self.number(result))


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, (tuple, list)):
        return [leaf for item in structure for leaf in _leaves(item)]
    if isinstance(structure, dict):
        return [leaf for item in structure.values() for leaf in _leaves(item)]
    return [structure]


def _matmul(args: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    return matmul(len(shapes[0]))


def _permute(args: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    return of_first(permuted(axis % len(out) for axis in args[1]), shapes)


def _transpose(args: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    order = list(range(len(out)))
    one, other = (args[1], args[2]) if len(args) > 2 else (0, len(out) - 1)
    order[one], order[other] = order[other], order[one]
    return of_first(permuted(order), shapes)


def _reduce(args: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    rank = len(shapes[0])
    axes = args[1] if len(args) > 1 and args[1] else range(rank)
    return reduction([axes] if isinstance(axes, int) else axes, shapes, keepdims=len(out) == rank)


def _convolution(args: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    bias = [{0: 1}] * (len(shapes) - 2)
    return Axes((all_but(len(out), 1), {0: 1}, *bias))


def _select(args: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    rank = len(shapes[0])
    return of_first(permuted(axis for axis in range(rank) if axis != args[1] % rank), shapes)


_ADDED = {"addmm": 1, "baddbmm": 1}
"""Operations that add their first inputs, as many as stated, to a product of the others."""

_VOCABULARY = Vocabulary(
    kinds={
        "mul": "product",
        **dict.fromkeys(("topk", "argmax", "argmin", "sort"), "choice"),
        **dict.fromkeys(("stack", "cat"), "stack"),
        **dict.fromkeys(("expand", "repeat"), "broadcast"),
    },
    readers={
        **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _matmul),
        "permute": _permute,
        **dict.fromkeys(("transpose", "t"), _transpose),
        **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "_reshape_alias"), read_reshape),
        **dict.fromkeys(("sum", "mean", "amax", "amin"), _reduce),
        "convolution": _convolution,
        **dict.fromkeys(("slice", "constant_pad_nd", "flip"), read_in_place),
        **dict.fromkeys(("expand", "repeat"), read_repeat),
        "select": _select,
    },
)

BACKEND = Torch()
