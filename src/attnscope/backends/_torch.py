"""PyTorch: nothing is compiled; traces are recorded operation by operation, on the meta device if possible."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import torch
import torch.nn.attention
from keras import ops, tree
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.backend.torch import core as torch_core
from keras.src.backend.torch import nn as torch_nn
from torch.utils._python_dispatch import TorchDispatchMode

from attnscope.backends._graph import (
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    expansion,
    flip,
    lookup,
    lookup_along,
    matmul,
    padding,
    read_constant,
    read_copy,
    read_first,
    read_product,
    read_repeat,
    read_reshape,
    read_update,
    reduction,
    roll,
    slice_along,
    squeeze,
    tiled,
    transposition,
)
from attnscope.backends._operations import (
    Chosen,
    Elementwise,
    Joined,
    Looked,
    Operation,
    Taken,
    Windowed,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, ProbedBody, Step
from attnscope.patching import patched
from attnscope.tensors import Tensor, Tree

_TILE, _TILE_ON_ACCELERATOR = 2 * 2**20, 512 * 2**20
"""Bytes of a tile of scores."""


class Torch:
    """See `Backend`."""

    fused_builds_matrix = False
    masked_rows_vary = True
    takes_texts = False
    compiles = False
    eager_from = 0

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
            Function(torch_core, "cond", _cond),
            Function(torch_core, "switch", _switch),
            *_compiler(),
        ]

    def current_trace(self) -> Hashable:
        """The level of `torch.vmap` and the like; outside of them everything runs at once."""
        interpreter = torch._C._functorch.peek_interpreter_stack()
        return None if interpreter is None else interpreter.level()

    def viewed(self, tensor: Tensor) -> np.ndarray:
        """An array over the same memory."""
        return np.asarray(tensor.detach().cpu())

    def compiled(self, model: ModelOf, body: Body) -> Callable[[Tree], Tree]:
        """Runs it as it is, without gradients."""

        def run(inputs: Tree) -> Tree:
            with torch.no_grad(), keras.StatelessScope():
                return body(model(), tree.map_structure(ops.convert_to_tensor, inputs))

        return run

    def noted(self, model: ModelOf, body: Body, inside: Callable[[], bool]) -> Callable[[Tree], tuple[Tree, Hashable]]:
        """Everything runs operation by operation; a mode notes each."""

        def run(inputs: Tree) -> tuple[Tree, Hashable]:
            own = [*tree.flatten(tensors := tree.map_structure(ops.convert_to_tensor, inputs))]
            notes = _Notes([*own, *(variable.value for variable in model().variables)], inside)
            with torch.no_grad(), keras.StatelessScope(), notes:
                return body(model(), tensors), tuple(notes.steps)

        return run

    def program(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> None:
        """Not without a run: one on the meta device does other operations."""

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
            derivatives = torch.autograd.grad(total, list(zeros.values()), allow_unused=True) if zeros else ()
            gradients = {
                name: torch.zeros_like(zero) if derivative is None else derivative
                for (name, zero), derivative in zip(zeros.items(), derivatives, strict=True)
            }
            return tree.map_structure(lambda tensor: tensor.detach(), rest), gradients

        return run

    def tile_bytes(self, tensor: Tensor) -> int:
        """As much as stays in the cache, with its exponentials; on an accelerator as much as keeps it busy."""
        return _TILE if tensor.device.type == "cpu" else _TILE_ON_ACCELERATOR

    def packed(self, tensor: Tensor) -> Tensor:
        """Views of a transposition make each product slower."""
        return tensor.contiguous()

    def exponentials(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The difference in place."""
        shifted = logits.sub_(logits.amax(-1, keepdim=True))
        return shifted, torch.exp(shifted)

    def row_sums(self, tensor: Tensor) -> Tensor:
        """PyTorch adds in pairs."""
        return tensor.sum(-1)

    def bits(self, total: Tensor, energy: Tensor) -> Tensor:
        """In float64, of one number per row."""
        wide = total.double()
        return ((wide.log() - energy.double() / wide) / math.log(2)).to(total.dtype)

    def row_products(self, first: Tensor, second: Tensor) -> Tensor:
        """A dot product for each row."""
        return torch.linalg.vecdot(first, second)

    def optimised(self, function: Callable[[], Tree]) -> Callable[[], Tree]:
        """As it is: nothing is compiled."""
        return function

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
                return self._recorded(model, body, inputs)
        except (NotImplementedError, RuntimeError, TypeError, ValueError):
            # Not every operation of PyTorch knows the meta device; what is wrong with the model itself is raised
            # again by the run on real tensors.
            return self._recorded(model, body, inputs)

    def _recorded(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        tensors = tree.map_structure(ops.convert_to_tensor, inputs)
        scope = keras.StatelessScope(state_mapping=[(variable, variable.value) for variable in model.variables])
        recorder = _Recorder()
        token = _RECORDER.set(recorder)
        try:
            return self._read(recorder, scope, model, body, tensors)
        finally:
            _RECORDER.reset(token)

    @staticmethod
    def _read(recorder: _Recorder, scope: Any, model: Model, body: Callable[[Tree], Tree], tensors: Tree) -> Trace:
        with torch.no_grad(), scope, recorder:
            given = [recorder.number(tensor) for tensor in tree.flatten(tensors)]
            weights = {recorder.number(scope.get_current_value(each)): each.path for each in model.variables}
            outputs = body(tensors)
        graph = recorder.builder.graph
        graph.inputs, graph.weights = given, weights
        leaves = [leaf for leaf in tree.flatten(outputs) if isinstance(leaf, torch.Tensor)]
        graph.outputs = {recorder.number(leaf) for leaf in leaves}
        return Trace(graph, recorder.builder.numbers)

    @contextmanager
    def met(self) -> Iterator[None]:
        """The recorder asks for it."""
        token = _MET.set(True)
        try:
            yield
        finally:
            _MET.reset(token)

    def uncompiled(self) -> AbstractContextManager[object]:
        """`torch.compile` is left out of every run: see `functions`."""
        return nullcontext()

    def unmapped(self, take: Callable[[Tensor, Tensor, int], Tensor], logits: Tensor, output: Tensor) -> Tensor | None:
        """The rule of a function of our own says what `torch.vmap` makes of it."""
        if not torch._C._functorch.is_batchedtensor(output):
            return None
        result: Tensor = _Unmapped.apply(take, logits, output)
        return result

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The tensor's own identity; it is kept alive until the trace is over, so that nothing else gets it."""
        recorder = _RECORDER.get()
        if recorder is not None:
            recorder.keep(tensor)
        return id(tensor)


class _Unmapped(torch.autograd.Function):  # type: ignore[misc]
    """Gives what it is called with, and under `torch.vmap` what `take` makes of the whole."""

    generate_vmap_rule = False

    @staticmethod
    def forward(take: Callable[[Tensor, Tensor, int], Tensor], logits: Tensor, output: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, gradient

    @staticmethod
    def vmap(
        info: Any, axes: tuple[int | None, ...], take: Callable[[Tensor, Tensor, int], Tensor], *tensors: Tensor
    ) -> tuple[Tensor, int]:
        logits, output = (tensor.movedim(axis, 0) for tensor, axis in zip(tensors, axes[1:], strict=True))
        return take(logits, output, 1), 0


def _compiler() -> list[Function]:
    """What `torch.compile` asks before each call of a compiled function, if anything was compiled."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return [Function(frames, "_callback_from_stance", _uncompiled)] if hasattr(frames, "_callback_from_stance") else []


def _uncompiled(taking: Interception, original: Any, callback: Any) -> None:
    """As under the stance "force_eager": a compiled function runs as the Python that it was made of."""


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


@dataclass(frozen=True)
class _Record:
    """How an operation was called, and the how manieth of its results this is."""

    args: Sequence[Any]
    kwargs: dict[str, Any]
    place: int

    def setting(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its position or its name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


_MET: ContextVar[bool] = ContextVar("attnscope_met", default=False)
"""Whether what runs belongs to a call that was met."""


class _Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Records every operation that runs; tensors are known by their identity, and kept alive."""

    def __init__(self) -> None:
        super().__init__()
        self.builder = GraphBuilder(_VOCABULARY)
        self._alive: list[Tensor] = []

    def keep(self, tensor: Tensor) -> None:
        """Keeps a tensor alive, so that no other gets its identity."""
        self._alive.append(tensor)

    def number(self, tensor: Tensor) -> int:
        """Number of a tensor."""
        self.keep(tensor)
        return self.builder.tensor(id(tensor), tensor.shape, tensor.dtype)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        operands = [leaf for leaf in _leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)]
        for place, result in enumerate(_leaves(results)):
            if isinstance(result, torch.Tensor) and operands and all(result is not tensor for tensor in operands):
                record = _Record(args, kwargs or {}, place)
                self._add(func.overloadpacket.__name__, record, operands, result)
        if func._schema.is_mutable and operands and results is operands[0]:
            self._change(func.overloadpacket.__name__, _Record(args, kwargs or {}, 0), operands)
        return results

    def condition(self, branches: Sequence[Callable[[], Tree]], taken: int | None) -> Tree:
        """Runs all branches of a condition; what comes out is what one of them gives.

        Args:
            branches: The branches.
            taken: Number of the branch that this run takes; None on the meta device, which does not tell.

        Raises:
            RuntimeError: On the meta device, where a branch cannot run on it, or where the branches give something of
                different shapes; real tensors are to show which of them is right.
        """
        results: dict[int, Tree] = {}
        for number, branch in enumerate(branches):
            try:
                results[number] = branch()
            except Exception as error:
                if taken is None:
                    raise RuntimeError("A branch of a condition cannot run on the meta device.") from error
                if number == taken:
                    raise
                # A branch that is not taken may be impossible for these inputs: nothing can come out of it.
        first = results[taken or 0]
        structured = [result for result in results.values() if _like(result, first)]
        if taken is None and not all(_like(result, first, shapes=True) for result in results.values()):
            raise RuntimeError("What comes out of a condition differs between its branches.")
        return tree.map_structure(lambda *leaves: self._chosen(leaves[0], leaves[1:]), first, *structured)

    def _chosen(self, taken: Any, leaves: Sequence[Any]) -> Any:
        """What comes out of a condition in one place: a tensor of its own, which may be any of those."""
        if not isinstance(taken, torch.Tensor) or all(leaf is taken for leaf in leaves):
            return taken
        chosen = torch.ops.aten.alias(taken)
        self.builder.forget([id(chosen)])
        self.builder.add_choice("cond", [self.number(leaf) for leaf in leaves], self.number(chosen), met=_MET.get())
        mask = get_keras_mask(taken)
        if mask is not None and all(get_keras_mask(leaf) is mask for leaf in leaves):
            set_keras_mask(chosen, mask)
        return chosen

    def _change(self, name: str, record: _Record, operands: list[Tensor]) -> None:
        """An operation in place: what the tensor, and the one that it is a view of, hold from now on is new."""
        changed = operands[0]
        inputs = [self.number(tensor) for tensor in operands]
        if name == "copy_":
            inputs = inputs[1:]
        self.builder.forget([id(changed)])
        self.builder.add(name.removesuffix("_"), record, inputs, self.number(changed), met=_MET.get())
        whole = changed._base
        if whole is not None and whole is not changed:
            before = self.number(whole)
            self.builder.forget([id(whole)])
            self.builder.add("attnscope updated", record, [before, self.number(changed)], self.number(whole))

    def _add(self, name: str, record: _Record, operands: list[Tensor], result: Tensor) -> None:
        inputs = [self.number(tensor) for tensor in operands]
        self.builder.add(name, record, inputs[_ADDED.get(name, 0) :], self.number(result), met=_MET.get())


class _Notes(TorchDispatchMode):  # type: ignore[misc]
    """Notes each operation of a model, but for the sizes of axes; its tensors are numbered as they are met.

    Args:
        known: Tensors that have the first numbers: inputs and weights.
        inside: Whether what runs at this moment is the model.
    """

    def __init__(self, known: Sequence[Tensor], inside: Callable[[], bool]) -> None:
        super().__init__()
        self.steps: list[Hashable] = []
        self._inside = inside
        self._numbers = {id(tensor): (weakref.ref(tensor), number) for number, tensor in enumerate(known)}
        self._count = len(known)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        results = func(*args, **kwargs)
        if self._inside():
            skipped = _sizes_of(func)
            given = [self._noted(value) for place, value in enumerate(args) if place not in skipped]
            named = [(name, self._noted(value)) for name, value in kwargs.items() if name not in skipped]
            self.steps.append((func, *given, *named, self._noted(results)))
        return results

    def _noted(self, value: Any) -> Hashable:
        if isinstance(value, torch.Tensor):
            return self._number(value)
        if isinstance(value, (tuple, list)):
            return tuple(map(self._noted, value))
        return value if isinstance(value, Hashable) else repr(value)

    def _number(self, tensor: Tensor) -> Hashable:
        """Number, rank and dtype of a tensor; another that has its identity once it is gone is a new one."""
        reference, number = self._numbers.get(id(tensor), (None, -1))
        if reference is None or reference() is not tensor:
            number, self._count = self._count, self._count + 1
            self._numbers[id(tensor)] = weakref.ref(tensor), number
        return number, tensor.ndim, tensor.dtype


_SIZES = ("size", "end", "length", "output_size", "steps")
"""Arguments of PyTorch's operations that say how many positions an axis has or gets, or where a part of it ends."""


@cache
def _sizes_of(func: Any) -> frozenset[Hashable]:
    """Which arguments of an operation are sizes, by their places and names."""
    arguments = list(enumerate(func._schema.arguments))
    return frozenset(key for place, each in arguments if each.name in _SIZES for key in (place, each.name))


_RECORDER: ContextVar[_Recorder | None] = ContextVar("attnscope_recorder", default=None)
"""What records the running trace; None where there is none."""


def _cond(taking: Interception, original: Any, pred: Any, true_fn: Any, false_fn: Any) -> Tree:
    """Keras runs the first branch alone on the meta device; a trace needs to see both."""
    choice = pred.value if isinstance(pred, keras.Variable) else pred

    def run(*branches: Callable[[], Tree]) -> Tree:
        recorder = _RECORDER.get()
        if recorder is None:
            return original(pred, *branches)
        if not isinstance(choice, torch.Tensor):
            return branches[0 if choice else 1]()
        return recorder.condition(branches, None if _is_meta() else 0 if choice else 1)

    return taking.condition(run, (true_fn, false_fn))


def _switch(taking: Interception, original: Any, index: Any, branches: Sequence[Any], *operands: Tree) -> Tree:
    choice = index.value if isinstance(index, keras.Variable) else index

    def run(*wrapped: Callable[..., Tree]) -> Tree:
        recorder = _RECORDER.get()
        if recorder is None:
            return original(index, wrapped, *operands)
        known = not isinstance(choice, torch.Tensor) or not _is_meta()
        taken = min(max(int(choice), 0), len(wrapped) - 1) if known else None
        if not isinstance(choice, torch.Tensor):
            return wrapped[taken or 0](*operands)
        return recorder.condition([partial(branch, *operands) for branch in wrapped], taken)

    return taking.condition(run, branches)


def _is_meta() -> bool:
    return str(torch_core.get_device()) == "meta"


def _like(result: Tree, other: Tree, *, shapes: bool = False) -> bool:
    """Whether two structures hold tensors in the same places; of the same shapes, if that is asked."""
    try:
        tree.assert_same_structure(result, other)
    except (TypeError, ValueError):
        return False
    pairs = list(zip(tree.flatten(result), tree.flatten(other), strict=True))
    tensors = [[leaf for leaf in pair if isinstance(leaf, torch.Tensor)] for pair in pairs]
    return all(len(pair) in (0, 2) for pair in tensors) and not (
        shapes and any(pair and pair[0].shape != pair[1].shape for pair in tensors)
    )


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, (tuple, list)):
        return [leaf for item in structure for leaf in _leaves(item)]
    if isinstance(structure, dict):
        return [leaf for item in structure.values() for leaf in _leaves(item)]
    return [structure]


def _matmul(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return matmul([len(shape) for shape in shapes[:2]])


def _permute(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return transposition(axis % len(out) for axis in record.args[1])


def _transpose(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    order = list(range(len(out)))
    if len(order) > 1:
        one, other = (record.args[1], record.args[2]) if len(record.args) > 2 else (0, 1)
        order[one], order[other] = order[other], order[one]
    return transposition(order)


def _reduce(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    rank = len(shapes[0])
    axes = record.setting(1, "dim")
    if axes is None or axes == []:
        axes = range(rank)
    return reduction([axes] if isinstance(axes, int) else axes, rank, keepdims=len(out) == rank > 0)


def _normalised(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Elementwise(inputs=1, along=record.setting(1, "dim") % max(1, len(out)))


def _norm(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = record.setting(2, "dim")
    rank = len(shapes[0])
    return reduction(range(rank) if axes is None else axes, rank, keepdims=len(out) == rank > 0)


def _extreme(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return _chosen(record, shapes, out) if record.place else _reduce(record, shapes, out)


def _chosen(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    rank = len(shapes[0])
    position = 2 if isinstance(record.setting(1, "k"), int) and len(record.args) > 2 else 1
    axis = record.setting(position, "dim", -1)
    return Chosen(axis % rank, keeps=len(out) == rank) if isinstance(axis, int) and rank else None


def _top_k(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Chosen(record.setting(2, "dim", -1) % len(shapes[0]))


def _first_of_several(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Elementwise(inputs=1) if len(out) == len(shapes[0]) else None


def _convolution(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    strides, transposed = record.args[3], record.args[6]
    rank = len(out)
    spread = {axis: (axis, 0 if transposed else strides[(axis - 2) % len(strides)]) for axis in range(2, rank)}
    return Windowed({0: 0}, spread, units=(1 if transposed else 0, 1))


def _pooling(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    strides = record.setting(2, "stride") or record.args[1]
    strides = [strides] if isinstance(strides, int) else strides
    first = len(out) - (3 if len(strides) == 3 else 2)
    spread = {axis: (axis, strides[(axis - first) % len(strides)]) for axis in range(first, len(out))}
    return Windowed({axis: axis for axis in range(first)}, spread)


def _resized(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Windowed({0: 0, 1: 1}, {axis: (axis, 0) for axis in range(2, len(out))})


def _select(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = record.args[1] % len(shapes[0])
    return Taken(axis, record.args[2] % shapes[0][axis])


def _unbind(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Taken(record.setting(1, "dim", 0) % len(shapes[0]), record.place)


def _slice(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = record.setting(1, "dim", 0) % len(out)
    start = record.setting(2, "start") or 0
    size = shapes[0][axis]
    return slice_along(axis, min(size, start + size if start < 0 else start), len(out), record.setting(4, "step", 1))


def _split(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    sizes = record.args[1]
    start = record.place * sizes if isinstance(sizes, int) else sum(sizes[: record.place])
    return slice_along(record.setting(2, "dim", 0) % len(out), start, len(out))


def _padded(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    pads = record.args[1]
    rank = len(out)
    front = {rank - 1 - number: pads[2 * number] for number in range(len(pads) // 2)}
    return padding(front.get(axis, 0) for axis in range(rank))


def _flip(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return flip(record.args[1], out)


def _roll(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes, shifts = record.setting(2, "dims", ()), record.setting(1, "shifts")
    listed = [shifts] if isinstance(shifts, int) else shifts
    if not axes:  # over the flattened tensor
        return roll(dict.fromkeys(range(len(out))), out)
    return roll({axis % len(out): shift for axis, shift in zip(axes, listed, strict=True)}, out)


def _repeat(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return tiled(record.setting(1, "repeats"), shapes[0])


def _squeeze(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = record.setting(1, "dim")
    rank = len(shapes[0])
    if axes is None:
        axes = range(rank)
    listed = [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]
    return squeeze([axis for axis in listed if shapes[0][axis] == 1], rank)


def _unsqueeze(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return expansion([record.args[1]], len(out))


def _cat(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(record.setting(1, "dim", 0) % len(out))


def _stack(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(record.setting(1, "dim", 0) % len(out), stacked=True)


def _embedding(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Looked((None, len(out) - 1), tuple(range(len(out) - 1)))


def _index_select(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return lookup(record.args[1] % len(out), len(out), 1)


def _gather(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return lookup_along(record.args[1] % len(out), len(out))


def _index(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Indexing by one tensor of whole numbers; by several, or by a mask, the trail is lost."""
    indices = record.args[1]
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if len(axes) != 1 or indices[axes[0]].dtype == torch.bool:
        return None
    return lookup(axes[0], len(shapes[0]), indices[axes[0]].ndim)


def _attended(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    if record.place or len(out) != 4:
        return None
    return Looked((0, 1, 2, None), (None,) * len(shapes[1]))


class _Pointwise:
    """The names of operations that PyTorch itself calls pointwise, and of one that it forgot."""

    def __contains__(self, name: object) -> bool:
        return name not in _READERS and (name == "floor_divide" or _is_pointwise(str(name)))


@cache
def _is_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    if packet is None or not hasattr(packet, "overloads"):
        return False
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads())


_ADDED = {"addmm": 1, "baddbmm": 1}
"""Operations that add their first inputs, as many as stated, to a product of the others."""

_ADAPTIVE = [f"{name}_pool{rank}d" for name in ("_adaptive_avg", "adaptive_max") for rank in (2, 3)]
_PADS = [f"{kind}_pad{rank}d" for kind in ("replication", "reflection") for rank in (1, 2, 3)]

_READERS = {
    **dict.fromkeys(("mul", "mul_"), read_product),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm", "mv", "dot"), _matmul),
    "permute": _permute,
    **dict.fromkeys(("transpose", "t"), _transpose),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), read_reshape),
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    **dict.fromkeys(("sum", "mean", "amax", "amin", "any", "all", "logsumexp", "var", "std"), _reduce),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _norm),
    **dict.fromkeys(("max", "min"), _extreme),
    **dict.fromkeys(("argmax", "argmin", "sort"), _chosen),
    "topk": _top_k,
    **dict.fromkeys(("convolution", "mkldnn_convolution"), _convolution),
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"), _pooling),
    **dict.fromkeys(_ADAPTIVE, _resized),
    **dict.fromkeys(
        ("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_bicubic2d"), _resized
    ),
    "slice": _slice,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    **dict.fromkeys(("constant_pad_nd", *_PADS), _padded),
    "flip": _flip,
    "roll": _roll,
    "select": _select,
    "unbind": _unbind,
    "cat": _cat,
    "stack": _stack,
    "expand": read_repeat,
    "repeat": _repeat,
    "embedding": _embedding,
    "attnscope updated": read_update,
    "copy": read_repeat,
    # A copy that is made contiguous is seen as `empty_like` in a trace on shapes.
    **dict.fromkeys(("clone", "_to_copy", "alias", "detach", "lift_fresh", "empty_like"), read_copy),
    "index_select": _index_select,
    "gather": _gather,
    "index": _index,
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "rand_like", "randn_like"), read_constant),
    **dict.fromkeys(("cumsum", "cumprod"), read_first),
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), _normalised),
    **dict.fromkeys(("index_put", "index_add", "index_copy", "index_fill", "masked_scatter"), read_first),
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce", "select_scatter", "slice_scatter"), read_first),
    **dict.fromkeys(
        (
            "native_layer_norm",
            "native_group_norm",
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "native_dropout",
        ),
        _first_of_several,
    ),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_attention_math",
        ),
        _attended,
    ),
}
_FUNCTIONS = {
    "exp": "exp",
    "log": "log",
    **dict.fromkeys(("div", "divide", "true_divide"), "divide"),
    "reciprocal": "reciprocal",
    **dict.fromkeys(("sub", "subtract"), "subtract"),
    "sum": "sum",
    "logsumexp": "logsumexp",
    **dict.fromkeys(("_softmax", "_safe_softmax"), "softmax"),
    "_log_softmax": "log_softmax",
    "eq": "equal",
}
_VOCABULARY = Vocabulary(_Pointwise(), _READERS, _FUNCTIONS)

BACKEND = Torch()
