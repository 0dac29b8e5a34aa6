"""JAX: traces are jaxprs, variables are arguments of what is compiled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import keras
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import custom_vmap
from keras import ops

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # before it moved out of jax.core
    from jax.core import get_opaque_trace_state

from attnscope.backends._graph import (
    Graph,
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    flip,
    padding,
    read_copy,
    read_first,
    read_product,
    read_step,
    read_steps,
    read_update,
    reduction,
    slice_along,
    squeeze,
    tiled,
    transposition,
)
from attnscope.backends._operations import (
    Chosen,
    Contraction,
    Joined,
    Looked,
    Moved,
    Operation,
    Reshaped,
    Sliced,
    Windowed,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, Probe, ProbedBody, Step
from attnscope.backends._sums import sums_in_parts
from attnscope.tensors import Tensor, Tree

_PATIENCE = 60.0
"""Seconds to wait for variables that another thread's `predict` holds."""
_MOST_CONSTANTS = 64
"""How many numbers may hold what is computed of constants: positions, no masks."""
_MARK = "attnscope:"
_MET = "attnscope_met"
"""Name of the scope of what belongs to a call that was met."""

Params = dict[str, Any]

_TILE, _TILE_ON_ACCELERATOR = 4 * 2**20, 512 * 2**20
"""Bytes of a tile of scores."""


class Jax:
    """See `Backend`."""

    fused_builds_matrix = True
    masked_rows_vary = False
    takes_texts = False
    compiles = True
    eager_from = 600

    def functions(self) -> list[Function]:
        """`jax.nn.softmax` and `jax.nn.dot_product_attention`; and loops, which are to stay loops."""
        return [
            Function(jax.lax, "map", _map, bound_early=True),
            Function(jax.lax, "scan", _scan, bound_early=True),
            Function(jax.lax, "while_loop", _as_it_is, bound_early=True),
            Function(jax.lax, "fori_loop", _as_it_is, bound_early=True),
            Function(jax.lax, "cond", _cond, bound_early=True),
            Function(jax.lax, "switch", _switch, bound_early=True),
            Function(jax.nn, "softmax", _softmax, bound_early=True),
            Function(jax.nn, "dot_product_attention", _fused, bound_early=True),
        ]

    def current_trace(self) -> Hashable:
        """JAX's own token of the innermost trace."""
        state: Hashable = get_opaque_trace_state(convention="nnx")
        return state

    def viewed(self, tensor: Tensor) -> np.ndarray:
        """NumPy reads JAX arrays in place."""
        return np.asarray(tensor)

    def compiled(self, model: ModelOf, body: Body) -> Callable[[Tree], Tree]:
        """`jax.jit` over the values of the variables and the inputs."""

        def traced(values: list[Tensor], inputs: Tree) -> Tree:
            with keras.StatelessScope(state_mapping=zip(model().variables, values, strict=True)):
                return body(model(), inputs)

        return _with_values(model, jax.jit(traced))

    def noted(self, model: ModelOf, body: Body, inside: Callable[[], bool]) -> Callable[[Tree], tuple[Tree, Hashable]]:
        """JAX compiles each operation by itself, once for all layers that have it."""

        def run(inputs: Tree) -> tuple[Tree, Hashable]:
            with keras.StatelessScope():
                return body(model(), keras.tree.map_structure(ops.convert_to_tensor, inputs)), None

        return run

    def program(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Hashable:
        """The operations of the jaxpr."""
        return self.trace(model, body, inputs).graph.program

    def differentiated(self, model: ModelOf, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
        """`jax.grad` by the zeros, whose shapes are found by an abstract run."""

        def traced(values: list[Tensor], inputs: Tree) -> tuple[Tree, dict[str, Tensor]]:
            def run(probe: Probe) -> tuple[Tensor, Tree]:
                with keras.StatelessScope(state_mapping=list(zip(model().variables, values, strict=True))):
                    return body(model(), inputs, probe)

            shapes: dict[str, jax.ShapeDtypeStruct] = {}

            def note(name: str, tensor: Tensor) -> Tensor:
                shapes[name] = jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)
                return tensor

            jax.eval_shape(lambda: run(note)[0])
            zeros = {name: jax.numpy.zeros(known.shape, known.dtype) for name, known in shapes.items()}

            def of_probes(probes: dict[str, Tensor]) -> tuple[Tensor, Tree]:
                return run(lambda name, tensor: tensor + probes[name])

            gradients, rest = jax.grad(of_probes, has_aux=True)(zeros)
            return rest, gradients

        return _with_values(model, jax.jit(traced))

    def tile_bytes(self, tensor: Tensor) -> int:
        """As much as stays in the cache, with its exponentials; on an accelerator as much as keeps it busy."""
        return _TILE if jax.default_backend() == "cpu" else _TILE_ON_ACCELERATOR

    def packed(self, tensor: Tensor) -> Tensor:
        """As it is: the compiler decides."""
        return tensor

    def exponentials(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """By two operations."""
        shifted = ops.subtract(logits, ops.max(logits, axis=-1, keepdims=True))
        return shifted, ops.exp(shifted)

    def row_sums(self, tensor: Tensor) -> Tensor:
        """In two steps, which take no longer."""
        return sums_in_parts(tensor)

    def bits(self, total: Tensor, energy: Tensor) -> Tensor:
        """The exponent of the total is exact and is added last, since there may be no float64."""
        mantissa, exponent = jax.numpy.frexp(total)
        rest = (jax.numpy.log(mantissa) - energy / total) * (1 / math.log(2))
        return rest + exponent.astype(total.dtype)

    def row_products(self, first: Tensor, second: Tensor) -> Tensor:
        """Product and sum."""
        return self.row_sums(ops.multiply(first, second))

    def optimised(self, function: Callable[[], Tree]) -> Callable[[], Tree]:
        """As it is: all of a run is compiled."""
        return function

    def scan(self, step: Step, carry: Tree, count: int, size: int) -> tuple[Tree, Tree]:
        """`jax.lax.scan`."""
        starts = ops.arange(count, dtype="int32") * size
        carry, stacked = _looped(jax.lax.scan)(step, carry, starts)
        return carry, stacked

    def trace(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        """The jaxpr of a run with the variables as arguments."""
        variables = model.variables

        def traced(values: list[Tensor], tensors: Tree) -> Tree:
            with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
                return body(tensors)

        values = [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for variable in variables]
        tensors = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        closed = jax.make_jaxpr(traced)(values, tensors)
        paths = [variable.path for variable in variables]
        return _read(closed, len(jax.tree_util.tree_leaves(tensors)), paths)

    def met(self) -> AbstractContextManager[object]:
        """The names of scopes say it."""
        scope: AbstractContextManager[object] = jax.named_scope(_MET)
        return scope

    def uncompiled(self) -> AbstractContextManager[object]:
        """Whatever `jax.jit` compiled is part of what runs around it."""
        plain: AbstractContextManager[object] = jax.disable_jit()
        return plain

    def unmapped(self, take: Callable[[Tensor, Tensor, int], Tensor], logits: Tensor, output: Tensor) -> Tensor | None:
        """The rule of a function of our own says what `jax.vmap` makes of it."""
        if not hasattr(output, "batch_dim"):  # a tracer of `jax.vmap`
            return None

        @custom_vmap  # type: ignore[untyped-decorator]
        def given(logits: Tensor, output: Tensor) -> Tensor:
            return output

        @given.def_vmap  # type: ignore[untyped-decorator]
        def whole(size: int, batched: Sequence[bool], logits: Tensor, output: Tensor) -> tuple[Tensor, bool]:
            return take(logits, output, 1), True

        result: Tensor = given(logits, output)
        return result

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The number itself: the tensor is marked with it in the jaxpr."""
        checkpoint_name(tensor, f"{_MARK}{number}")
        return number


def _with_values(model: ModelOf, function: Callable[[list[Tensor], Tree], Any]) -> Callable[[Tree], Any]:
    """Calls a function of variables and inputs with what the variables hold; again if another thread took them."""

    def run(inputs: Tree) -> Any:
        tensors = keras.tree.map_structure(ops.convert_to_tensor, inputs)
        variables = model().variables
        while True:
            values = _values(variables)
            try:
                return function(values, tensors)
            except RuntimeError:
                if not _any_taken(values):
                    raise

    return run


def _values(variables: list[Any]) -> list[Tensor]:
    """The variables' arrays, once they are there.

    While another thread runs `predict` or `fit` of the same model, Keras on JAX takes the arrays out of the variables
    (or has them reused), and puts new ones in at the end.
    """
    deadline = time.monotonic() + _PATIENCE
    values = [variable._value for variable in variables]
    while _any_taken(values) and time.monotonic() < deadline:
        time.sleep(0.01)
        values = [variable._value for variable in variables]
    return values


def _any_taken(values: list[Tensor]) -> bool:
    return any(value is None or value.is_deleted() for value in values)


def _looped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loop that stays one, also where functions are not compiled."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with jax.disable_jit(False):
            return function(*args, **kwargs)

    return run


def _map(taking: Interception, original: Any, f: Callable[[Tree], Tree], xs: Tree, **rest: Any) -> Tree:
    return taking.mapped(partial(_looped(original), **rest), f, xs)


def _scan(
    taking: Interception, original: Any, f: Any, init: Tree, xs: Tree = None, length: int | None = None, **rest: Any
) -> Tree:
    hidden = {name: value for name, value in rest.items() if name.startswith("_")}
    public = {name: value for name, value in rest.items() if name not in hidden}
    return taking.scanned(partial(_looped(original), **hidden), f, init, xs, length, **public)


def _as_it_is(taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Tree:
    return _looped(original)(*args, **kwargs)


def _cond(
    taking: Interception,
    original: Any,
    pred: Any,
    true_fun: Any = None,
    false_fun: Any = None,
    *operands: Tree,
    **rest: Any,
) -> Tree:
    """JAX compiles both branches even where it is known which of them runs; then only that one is run."""
    branches = (true_fun, false_fun)
    if not all(map(callable, branches)):  # an older form, with operands for each branch
        return original(pred, true_fun, false_fun, *operands, **rest)
    if isinstance(pred, (bool, np.bool_)):
        return branches[0 if pred else 1](*operands)
    return taking.condition(lambda *wrapped: original(pred, *wrapped, *operands, **rest), branches)


def _switch(taking: Interception, original: Any, index: Any, branches: Sequence[Any], *operands: Tree) -> Tree:
    if isinstance(index, (int, np.integer)):
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)
    return taking.condition(lambda *wrapped: original(index, wrapped, *operands), branches)


def _softmax(taking: Interception, original: Any, x: Tensor, axis: Any = -1, where: Tensor | None = None) -> Tensor:
    logits = x if where is None else jax.numpy.where(where, x, -jax.numpy.inf)
    return taking.softmax(partial(original, x, axis=axis, where=where), logits, axis)


def _fused(
    taking: Interception,
    original: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    **rest: Any,
) -> Tensor:
    run = partial(original, query, key, value, bias, mask, scale=scale, is_causal=is_causal, **rest)
    limits = [name for name, limit in rest.items() if limit is not None and name != "implementation"]
    if limits:
        return taking.left_out(run, query, f"jax.nn.dot_product_attention with {', '.join(limits)}")
    batched = query.ndim == 4
    query, key, value = ((t if batched else t[None]) for t in (query, key, value))
    return taking.fused(
        run,
        query=query,
        key=key,
        value=value,
        bias=bias,
        mask=mask,
        scale=1.0 / math.sqrt(query.shape[-1]) if scale is None else scale,
        is_causal=is_causal,
        to_output=lambda context: context if batched else context[0],
    )


@dataclass(frozen=True)
class _Computed:
    """One result of an operation on constants, which is computed when it is asked for.

    It holds what the operation was given and no variables: JAX shares one jaxpr, with its variables, among all calls of
    a function, so that they mean something else in the next call.

    Attributes:
        equation: The operation.
        place: Which of its results.
        given: For each of its operands another of these, or the array.
    """

    equation: Any
    place: int
    given: tuple[Any, ...]

    def value(self) -> Any:
        """The array."""
        primitive = self.equation.primitive
        given = (each.value() if isinstance(each, _Computed) else each for each in self.given)
        computed = primitive.bind(*given, **self.equation.params)
        return computed[self.place] if primitive.multiple_results else computed


class _Constants:
    """What a jaxpr computes of constants alone, such as where a slice starts."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def note(self, equation: Any) -> None:
        """Keeps what an operation makes of constants."""
        given = self.of(equation.invars)
        constant = not equation.effects and all(each is not None for each in given)
        for place, variable in enumerate(equation.outvars):
            small = constant and math.prod(variable.aval.shape) <= _MOST_CONSTANTS
            self._keep(variable, _Computed(equation, place, tuple(given)) if small else None)

    def of(self, atoms: Sequence[Any]) -> list[Any]:
        """What is known of these atoms: None for nothing."""
        return [self._of(atom) for atom in atoms]

    def keep(self, variables: Sequence[Any], known: Sequence[Any]) -> None:
        """Variables that stand for these: for arrays, for what `of` gave, or for what is not known."""
        for variable, each in zip(variables, known, strict=True):
            self._keep(variable, each)

    def forget(self, variables: Sequence[Any]) -> None:
        """Nothing is known of these variables any more."""
        for variable in variables:
            self._known.pop(variable, None)

    def number(self, atom: Any) -> int | None:
        """The value of a single whole number; None where it is not known."""
        known = None if atom.aval.shape else self._of(atom)
        value = known.value() if isinstance(known, _Computed) else known
        return int(value) if value is not None and np.asarray(value).dtype.kind in "iu" else None

    def _keep(self, variable: Any, known: Any | None) -> None:
        if known is None:
            self._known.pop(variable, None)
        else:
            self._known[variable] = known

    def _of(self, atom: Any) -> Any | None:
        return atom.val if hasattr(atom, "val") else self._known.get(atom)


def _read(closed: Any, input_count: int, weights: Sequence[str]) -> Trace:
    """The graph of a jaxpr whose last `input_count` arguments are the model's inputs, and the marked tensors."""
    reading, jaxpr = _Reading(), closed.jaxpr
    reading.constants.keep(jaxpr.constvars, closed.consts)
    graph: Graph = reading.builder.graph
    graph.inputs = [reading.number(variable) for variable in jaxpr.invars[len(jaxpr.invars) - input_count :]]
    graph.weights = {reading.number(variable): path for variable, path in zip(jaxpr.invars, weights, strict=False)}
    reading.walk(jaxpr)
    graph.outputs = {reading.number(variable) for variable in jaxpr.outvars}
    return Trace(graph, reading.marked)


class _Reading:
    """Walks through a jaxpr and all that it calls."""

    def __init__(self) -> None:
        self.builder = GraphBuilder(_VOCABULARY)
        self.constants = _Constants()
        self.marked: dict[Hashable, int] = {}

    def number(self, atom: Any) -> int:
        """Number of a tensor."""
        key = ("literal", id(atom)) if hasattr(atom, "val") else atom
        return self.builder.tensor(key, atom.aval.shape, getattr(atom.aval, "dtype", ""))

    def walk(self, jaxpr: Any, within: bool = False, compiled: bool = False) -> None:
        """Adds the operations of a jaxpr.

        Args:
            jaxpr: What is walked through.
            within: Whether all of it belongs to a call that was met.
            compiled: Whether it was compiled by itself.
        """
        for equation in jaxpr.eqns:
            name, inner = equation.primitive.name, _inner_jaxpr(equation)
            met = within or _MET in str(equation.source_info.name_stack)
            if inner is not None:
                self._call(equation, inner, met, compiled or name in _COMPILED)
            elif name == "scan":
                self._scan(equation, met)
            elif name == "cond":
                given = equation.invars[1:]
                branches = [branch.jaxpr for branch in equation.params["branches"]]
                self._choose(equation, [self._inside(each, given, len(given), met, compiled) for each in branches], met)
            elif name == "while":
                given, fixed = equation.invars[equation.params["cond_nconsts"] :], equation.params["body_nconsts"]
                made = self._inside(equation.params["body_jaxpr"].jaxpr, given, fixed, met, compiled)
                self._choose(equation, [[self.number(atom) for atom in given[fixed:]], made], met)
            else:
                self._plain(equation, met, compiled)

    def _plain(self, equation: Any, met: bool, compiled: bool) -> None:
        name, inputs = equation.primitive.name, [self.number(atom) for atom in equation.invars]
        self.constants.note(equation)
        record = dict(equation.params)
        if name == "dynamic_slice":
            record["starts"] = [self.constants.number(atom) for atom in equation.invars[1:]]
        for place, variable in enumerate(equation.outvars):
            record["place"] = place
            self.builder.add(name, record, inputs, self.number(variable), met=met, compiled=compiled)
        if name == "name" and str(equation.params["name"]).startswith(_MARK):
            self.marked[int(str(equation.params["name"])[len(_MARK) :])] = inputs[0]

    def _enter(self, jaxpr: Any) -> None:
        """JAX shares one jaxpr among all calls of a function: each has tensors of its own."""
        self.builder.forget(_variables_of(jaxpr))
        self.constants.forget(_variables_of(jaxpr))

    def _call(self, equation: Any, inner: Any, met: bool, compiled: bool) -> None:
        given = equation.invars[-len(inner.invars) :] if inner.invars else []
        made = self._inside(inner, given, len(given), met, compiled)
        for variable, number in zip(equation.outvars, made, strict=True):
            self.builder.same(variable, number)
        self.constants.keep(equation.outvars, self.constants.of(inner.outvars))

    def _inside(self, jaxpr: Any, given: Sequence[Any], fixed: int, met: bool, compiled: bool) -> list[int]:
        """Walks through what is called on these atoms; gives the numbers of what it returns.

        The first `fixed` of them are the same in every call.
        """
        numbers, known = [self.number(atom) for atom in given], self.constants.of(given[:fixed])
        self._enter(jaxpr)
        for variable, outer in zip(jaxpr.invars, numbers, strict=True):
            self.builder.same(variable, outer)
        self.constants.keep(jaxpr.invars[:fixed], known)
        self.walk(jaxpr, met, compiled)
        return [self.number(variable) for variable in jaxpr.outvars]

    def _choose(self, equation: Any, made: Sequence[Sequence[int]], met: bool) -> None:
        """What comes out is what a branch gave; or, of a loop whose steps are not counted, what it began with or what a
        step gave.
        """
        for variable, *each in zip(equation.outvars, *made, strict=True):
            self.builder.add_choice(equation.primitive.name, each, self.number(variable), met=met)

    def _scan(self, equation: Any, met: bool) -> None:
        """A loop is walked through once: what it runs over loses its first axis, and what its steps give gets one."""
        body = equation.params["jaxpr"].jaxpr
        fixed, carried = _fixed_and_carried(equation.params)
        given = [self.number(atom) for atom in equation.invars]
        self._enter(body)
        for place, variable in enumerate(body.invars):
            if place < fixed + carried:
                self.builder.same(variable, given[place])
            else:
                self.builder.add("attnscope taken", {}, [given[place]], self.number(variable))
        self.walk(body, met)
        over = given[fixed + carried :]
        for place, (outer, inner) in enumerate(zip(equation.outvars, body.outvars, strict=True)):
            if place < carried:
                self.builder.same(outer, self.number(inner))
            else:
                made = [self.number(inner), *over]
                self.builder.add("attnscope collected", equation.params, made, self.number(outer))


_COMPILED = frozenset({"pjit", "jit"})
_CALLS = _COMPILED | frozenset(
    {
        "custom_jvp_call",
        "custom_vjp_call",
        "closed_call",
        "remat2",
        "checkpoint",
        "core_call",
    }
)


def _fixed_and_carried(params: Params) -> tuple[int, int]:
    """How many arguments of a scan are the same in each step, and how many go from step to step."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    fixed, carried, _ = params["ft_in"].unpack()  # since JAX 0.11
    return len(fixed), len(carried)


def _variables_of(jaxpr: Any) -> list[Any]:
    computed = [variable for equation in jaxpr.eqns for variable in equation.outvars]
    return [*jaxpr.invars, *jaxpr.constvars, *computed]


def _inner_jaxpr(equation: Any) -> Any | None:
    if equation.primitive.name not in _CALLS:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        if inner is not None:
            return getattr(inner, "jaxpr", inner)
    return None


def _dot(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    (first_summed, second_summed), (first_batch, second_batch) = params["dimension_numbers"]
    first = [f"first {axis}" for axis in range(len(shapes[0]))]
    second = [f"second {axis}" for axis in range(len(shapes[1]))]
    for one, other in zip((*first_summed, *first_batch), (*second_summed, *second_batch), strict=True):
        second[other] = first[one]
    batch = [first[axis] for axis in first_batch]
    free = [first[axis] for axis in range(len(first)) if axis not in (*first_summed, *first_batch)]
    free += [second[axis] for axis in range(len(second)) if axis not in (*second_summed, *second_batch)]
    return Contraction(tuple(first), tuple(second), (*batch, *free))


def _transpose(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return transposition(params["permutation"])


def _tile(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return tiled(params["reps"], shapes[0])


def _split(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return slice_along(params["axis"], sum(params["sizes"][: params["place"]]), len(out))


def _broadcast(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Moved(tuple(params["broadcast_dimensions"]))


def _squeeze(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return squeeze(params["dimensions"], len(shapes[0]))


def _reshape(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return None if params.get("dimensions") is not None else Reshaped()


def _reduce(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return reduction(params.get("axes"), len(shapes[0]), keepdims=False)


def _chosen(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = params["axes"][0] if params.get("axes") else _axis_of(params, len(shapes[0]) - 1)
    return Chosen(axis % len(shapes[0]), keeps=len(out) == len(shapes[0]))


def _axis_of(params: Params, default: int) -> int:
    return int(next((params[name] for name in ("dimension", "axis") if name in params), default))


def _convolution(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    numbers = params["dimension_numbers"]
    (batch, _, *places), (out_batch, out_channel, *out_places) = numbers.lhs_spec, numbers.out_spec
    transposed = any(size != 1 for size in params["lhs_dilation"])
    strides = [0 if transposed else stride for stride in params["window_strides"]]
    windows = {place: (target, stride) for place, target, stride in zip(places, out_places, strides, strict=True)}
    return Windowed({batch: out_batch}, windows, units=(numbers.rhs_spec[0], out_channel))


def _pooling(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    sizes, strides = params["window_dimensions"], params["window_strides"]
    kept = {axis: axis for axis, size in enumerate(sizes) if size == strides[axis] == 1}
    windows = {axis: (axis, strides[axis]) for axis in range(len(sizes)) if axis not in kept}
    return Windowed(kept, windows)


def _slice(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Sliced(tuple(params["start_indices"]), tuple(params["strides"] or (1,) * len(out)))


def _dynamic_slice(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    starts = params["starts"]
    return Sliced(
        tuple(0 if size == whole else start for size, whole, start in zip(out, shapes[0], starts, strict=True)),
        (1,) * len(out),
    )


def _padded(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    config = params["padding_config"]
    if any(inner for _, _, inner in config):
        return None
    return padding(low for low, _, _ in config)


def _flip(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return flip(params["dimensions"], out)


def _concatenate(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(params["dimension"])


def _stack(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(_axis_of(params, 0) % len(out), stacked=True)


def _gather(params: Params, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Rows by their numbers; axes of the table that are taken whole keep their positions."""
    numbers = params["dimension_numbers"]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    index_batching = tuple(getattr(numbers, "start_indices_batching_dims", ()))
    dropped = (*numbers.collapsed_slice_dims, *batching)
    table: list[int | None] = [None] * len(shapes[0])
    whole = [axis for axis in range(len(shapes[0])) if axis not in dropped]
    for axis, target in zip(whole, numbers.offset_dims, strict=True):
        if params["slice_sizes"][axis] == shapes[0][axis]:
            table[axis] = target
    places = [axis for axis in range(len(out)) if axis not in numbers.offset_dims]
    indices: list[int | None] = [*places, None]
    for axis, other in zip(batching, index_batching, strict=True):
        table[axis] = indices[other]
    return Looked(tuple(table), tuple(indices))


_REDUCTIONS = ("sum", "max", "min", "prod", "and", "or", "xor", "precision")

_ELEMENTWISE = frozenset(
    [
        "abs",
        "acos",
        "acosh",
        "add",
        "add_any",
        "and",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "bessel_i0e",
        "bessel_i1e",
        "cbrt",
        "ceil",
        "clamp",
        "conj",
        "cos",
        "cosh",
        "digamma",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "imag",
        "integer_pow",
        "is_finite",
        "le",
        "lgamma",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "name",
        "ne",
        "neg",
        "nextafter",
        "not",
        "or",
        "pow",
        "real",
        "reduce_precision",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "shift_left",
        "shift_right_arithmetic",
        "shift_right_logical",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "sub",
        "tan",
        "tanh",
        "xor",
        "optimization_barrier",
    ]
)

_VOCABULARY = Vocabulary(
    elementwise=_ELEMENTWISE,
    readers={
        "mul": read_product,
        "dot_general": _dot,
        "transpose": _transpose,
        "split": _split,
        "tile": _tile,
        "broadcast_in_dim": _broadcast,
        "reshape": _reshape,
        "squeeze": _squeeze,
        **dict.fromkeys((f"reduce_{name}" for name in _REDUCTIONS), _reduce),
        **dict.fromkeys(("top_k", "approx_top_k", "argmax", "argmin", "sort"), _chosen),
        **dict.fromkeys(("convert_element_type", "copy", "copy_p", "stop_gradient"), read_copy),
        **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), read_first),
        "conv_general_dilated": _convolution,
        **dict.fromkeys(("reduce_window_max", "reduce_window_sum", "reduce_window_min", "reduce_window"), _pooling),
        "slice": _slice,
        "dynamic_slice": _dynamic_slice,
        "pad": _padded,
        "rev": _flip,
        "concatenate": _concatenate,
        "stack": _stack,
        "gather": _gather,
        **dict.fromkeys(("dynamic_update_slice", "scatter", "scatter-add", "scatter_add"), read_update),
        "attnscope taken": read_step,
        "attnscope collected": read_steps,
    },
    functions={
        "exp": "exp",
        "log": "log",
        "div": "divide",
        "sub": "subtract",
        "reduce_sum": "sum",
        "eq": "equal",
    },
)

BACKEND = Jax()
