"""JAX: traces are jaxprs, variables are arguments of what is compiled."""

from __future__ import annotations

import math
import string
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import jax
import keras
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from keras import ops

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # before it moved out of jax.core
    from jax.core import get_opaque_trace_state

from attnscope.backends._graph import (
    Axes,
    Graph,
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    einsum,
    of_first,
    read_in_place,
    read_reshape,
    reduction,
    transposition,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, Probe, ProbedBody, Step
from attnscope.tensors import Tensor, Tree

_PATIENCE = 60.0
"""Seconds to wait for variables that another thread's `predict` holds."""
_MARK = "attnscope:"


class Jax:
    """See `Backend`."""

    block_bytes = 16 * 2**20
    fused_builds_matrix = True
    masked_rows_vary = False

    def functions(self) -> list[Function]:
        """`jax.nn.softmax` and `jax.nn.dot_product_attention`."""
        return [
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

    def scan(self, step: Step, carry: Tree, count: int, size: int) -> tuple[Tree, Tree]:
        """`jax.lax.scan`."""
        starts = ops.arange(count, dtype="int32") * size
        carry, stacked = jax.lax.scan(step, carry, starts)
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
        return _read(closed.jaxpr, len(jax.tree_util.tree_leaves(tensors)))

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


def _read(jaxpr: Any, input_count: int) -> Trace:
    """The graph of a jaxpr whose last `input_count` arguments are the model's inputs, and the marked tensors."""
    builder = GraphBuilder(_VOCABULARY)
    marked: dict[Hashable, int] = {}

    def number(atom: Any) -> int:
        key = ("literal", id(atom)) if hasattr(atom, "val") else atom
        return builder.tensor(key, atom.aval.shape, getattr(atom.aval, "dtype", ""))

    def walk(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            name = equation.primitive.name
            inner = _inner_jaxpr(equation)
            if inner is not None:
                builder.forget(_variables_of(inner))  # JAX shares one jaxpr among all calls of a function
                for outer_var, inner_var in zip(equation.invars[-len(inner.invars) :], inner.invars, strict=True):
                    builder.same(inner_var, number(outer_var))
                walk(inner)
                for outer_var, inner_var in zip(equation.outvars, inner.outvars, strict=True):
                    builder.same(outer_var, number(inner_var))
                continue
            inputs = [number(atom) for atom in equation.invars]
            for variable in equation.outvars:
                builder.add(name, equation.params, inputs, number(variable))
            if name == "name" and str(equation.params["name"]).startswith(_MARK):
                marked[int(str(equation.params["name"])[len(_MARK) :])] = inputs[0]

    graph: Graph = builder.graph
    graph.inputs = {number(variable) for variable in jaxpr.invars[len(jaxpr.invars) - input_count :]}
    walk(jaxpr)
    graph.outputs = {number(variable) for variable in jaxpr.outvars}
    return Trace(graph, marked)


_CALLS = frozenset(
    {
        "pjit",
        "jit",
        "custom_jvp_call",
        "custom_vjp_call",
        "closed_call",
        "remat2",
        "checkpoint",
        "core_call",
    }
)


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


Params = dict[str, Any]


def _dot(params: Params, shapes: Sequence[Shape], out: Shape) -> Axes:
    (first_summed, second_summed), (first_batch, second_batch) = params["dimension_numbers"]
    letters = iter(string.ascii_letters)
    first: list[str] = [""] * len(shapes[0])
    second: list[str] = [""] * len(shapes[1])
    batch = ""
    for one, other in zip(first_batch, second_batch, strict=True):
        first[one] = second[other] = next(letters)
        batch += first[one]
    for one, other in zip(first_summed, second_summed, strict=True):
        first[one] = second[other] = next(letters)
    free = ""
    for term in (first, second):
        for axis, label in enumerate(term):
            if not label:
                term[axis] = next(letters)
                free += term[axis]
    return einsum(f"{''.join(first)},{''.join(second)}->{batch}{free}")


def _transpose(params: Params, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    return transposition(params["permutation"], shapes)


def _broadcast(params: Params, shapes: Sequence[Shape], out: Shape) -> Axes:
    targets = enumerate(params["broadcast_dimensions"])
    return of_first({axis: target for axis, target in targets if shapes[0][axis] == out[target]}, shapes)


def _reduce(params: Params, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    return reduction(params.get("axes"), shapes, keepdims=False)


def _convolution(params: Params, shapes: Sequence[Shape], out: Shape) -> Axes:
    numbers = params["dimension_numbers"]
    (batch, _, *places), out_spec = numbers.lhs_spec, numbers.out_spec
    data = {batch: out_spec[0], **dict(zip(places, out_spec[2:], strict=True))}
    return Axes((data, {numbers.rhs_spec[0]: out_spec[1]}))


_REDUCTIONS = ("sum", "max", "min", "prod", "and", "or", "xor", "precision")

_VOCABULARY = Vocabulary(
    kinds={
        "mul": "product",
        **dict.fromkeys(("top_k", "approx_top_k", "argmax", "argmin", "sort"), "choice"),
        **dict.fromkeys(("concatenate", "stack"), "stack"),
        "broadcast_in_dim": "broadcast",
    },
    readers={
        "dot_general": _dot,
        "transpose": _transpose,
        "broadcast_in_dim": _broadcast,
        **dict.fromkeys(("reshape", "squeeze", "expand_dims"), read_reshape),
        **dict.fromkeys((f"reduce_{name}" for name in _REDUCTIONS), _reduce),
        "conv_general_dilated": _convolution,
        **dict.fromkeys(("slice", "dynamic_slice", "pad", "rev"), read_in_place),
    },
)

BACKEND = Jax()
