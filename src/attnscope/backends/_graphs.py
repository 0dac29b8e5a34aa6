"""Traces of a model on each backend, brought into the one form that `dataflow` reads."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from typing import Any

from attnscope.backends._graph import Graph, Node, contraction, elementwise, matmul, permuted, reshaped

_PRODUCTS = frozenset({"mul", "Mul", "MulNoNan"})
_CHOICES = frozenset({"top_k", "argmax", "argmin", "sort", "TopKV2", "ArgMax", "ArgMin", "topk", "approx_top_k"})
_STACKS = frozenset({"concatenate", "Pack", "ConcatV2", "stack", "cat"})


class GraphBuilder:
    """Collects nodes; tensors are numbered by whatever key the backend knows them by."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.numbers: dict[Any, int] = {}
        self._count = 0

    def tensor(self, key: Any, shape: Any, dtype: Any) -> int:
        """Number of a tensor, known or new."""
        if key not in self.numbers:
            self.numbers[key] = self._count
            self._count += 1
        number = self.numbers[key]
        self.graph.shapes[number] = tuple(-1 if size is None else int(size) for size in shape)
        if "bool" in str(dtype):
            self.graph.booleans.add(number)
        return number

    def forget(self, keys: Iterable[Any]) -> None:
        """These keys mean new tensors from now on."""
        for key in keys:
            self.numbers.pop(key, None)

    def same(self, key: Any, number: int) -> None:
        """Another name for a tensor."""
        self.numbers[key] = number

    def add(self, name: str, inputs: list[int], output: int, **details: Any) -> None:
        """Adds a node; without `maps` its axes are matched by shape."""
        shapes = [self.graph.shapes[tensor] for tensor in inputs]
        out = self.graph.shapes[output]
        kind = "product" if name in _PRODUCTS else "choice" if name in _CHOICES else "other"
        if name in _STACKS:
            kind = "stack"
            details.setdefault("maps", tuple(_of_a_stack(shape, out) for shape in shapes))
        details.setdefault("kind", kind)
        details.setdefault("maps", _by_shape(shapes, out))
        self.graph.nodes.append(Node(name, tuple(inputs), output, **details))

    def add_einsum(self, name: str, equation: str, inputs: list[int], output: int) -> None:
        """Adds a contraction of two tensors."""
        maps, summed, paired = contraction(equation)
        self.add(name, inputs, output, maps=maps, summed=summed, paired=paired, kind="contraction")


def _by_shape(shapes: list[Any], out: Any) -> tuple[dict[int, int], ...]:
    """Axes of an unknown operation: where the rank stays, equal sizes keep their place."""
    maps = elementwise([shape if len(shape) <= len(out) else () for shape in shapes], out)
    same_rank = [len(shape) == len(out) for shape in shapes]
    return tuple(mapping if fits or len(shapes) > 1 else {} for mapping, fits in zip(maps, same_rank, strict=True))


def _of_a_stack(shape: Any, out: Any) -> dict[int, int]:
    """Axes of a piece of a concatenation; pieces of size 1 make a new axis."""
    if len(shape) != len(out):
        return {}
    return {axis: axis for axis, size in enumerate(shape) if size == out[axis] or size > 1}


def graph_of_jaxpr(closed: Any, input_count: int, mark: str) -> tuple[Graph, dict[Any, int]]:
    """The graph of a jaxpr whose last `input_count` arguments are the model's inputs.

    Returns:
        The graph, and for each marked softmax (``name`` equations ``mark + number``) its tensor.
    """
    builder, marks = GraphBuilder(), {}
    jaxpr = closed.jaxpr

    def number(atom: Any) -> int:
        key = ("literal", id(atom)) if hasattr(atom, "val") else atom
        return builder.tensor(key, atom.aval.shape, getattr(atom.aval, "dtype", ""))

    def walk(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            inner = _inner_jaxpr(equation)
            if inner is not None:
                builder.forget(_variables_of(inner))  # JAX shares one jaxpr among all calls of a function
                for outer_var, inner_var in zip(equation.invars[-len(inner.invars) :], inner.invars, strict=True):
                    builder.same(inner_var, number(outer_var))
                walk(inner)
                for outer_var, inner_var in zip(equation.outvars, inner.outvars, strict=True):
                    builder.same(outer_var, number(inner_var))
                continue
            _add_equation(builder, equation, [number(v) for v in equation.invars], number)
            if equation.primitive.name == "name" and str(equation.params["name"]).startswith(mark):
                marks[int(str(equation.params["name"])[len(mark) :])] = number(equation.invars[0])

    inputs = jaxpr.invars[len(jaxpr.invars) - input_count :]
    builder.graph.inputs = {number(variable) for variable in inputs}
    walk(jaxpr)
    builder.graph.outputs = {number(variable) for variable in jaxpr.outvars}
    return builder.graph, marks


_CALLS = (
    "pjit",
    "jit",
    "custom_jvp_call",
    "custom_vjp_call",
    "closed_call",
    "remat2",
    "checkpoint",
    "core_call",
)


def _variables_of(jaxpr: Any) -> list[Any]:
    made = [variable for equation in jaxpr.eqns for variable in equation.outvars]
    return [*jaxpr.invars, *jaxpr.constvars, *made]


def _inner_jaxpr(equation: Any) -> Any | None:
    if equation.primitive.name not in _CALLS:
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        if inner is not None:
            return getattr(inner, "jaxpr", inner)
    return None


def _add_equation(builder: GraphBuilder, equation: Any, inputs: list[int], number: Callable[[Any], int]) -> None:
    name, params = equation.primitive.name, equation.params
    shapes = [builder.graph.shapes[tensor] for tensor in inputs]
    for variable in equation.outvars:
        output = number(variable)
        out = builder.graph.shapes[output]
        if name == "dot_general":
            builder.add_einsum(name, _equation_of_dot(params["dimension_numbers"], shapes), inputs, output)
        elif name == "transpose":
            builder.add(name, inputs, output, maps=(permuted(params["permutation"]),))
        elif name == "broadcast_in_dim":
            maps = dict(enumerate(params["broadcast_dimensions"]))
            kept = {axis: target for axis, target in maps.items() if shapes[0][axis] == out[target]}
            builder.add(name, inputs, output, maps=(kept, *[{}] * (len(inputs) - 1)))
        elif name in ("reshape", "squeeze", "expand_dims"):
            builder.add(name, inputs, output, maps=(reshaped(shapes[0], out), *[{}] * (len(inputs) - 1)))
        elif name.startswith("reduce_") and "axes" in params:
            axes = set(params["axes"])
            kept_axes = [axis for axis in range(len(shapes[0])) if axis not in axes]
            builder.add(
                name,
                inputs,
                output,
                maps=(permuted(kept_axes), *[{}] * (len(inputs) - 1)),
                summed=(frozenset(axes),),
            )
        elif name == "conv_general_dilated":
            convolved = params["dimension_numbers"]
            (batch, _, *places), out_spec = convolved.lhs_spec, convolved.out_spec
            data = {batch: out_spec[0], **dict(zip(places, out_spec[2:], strict=True))}
            builder.add(name, inputs, output, maps=(data, {convolved.rhs_spec[0]: out_spec[1]}))
        elif name in ("slice", "dynamic_slice", "pad", "rev"):
            maps_of_first = {axis: axis for axis in range(len(out))}
            builder.add(name, inputs, output, maps=(maps_of_first, *[{}] * (len(inputs) - 1)))
        else:
            builder.add(name, inputs, output)


def _equation_of_dot(numbers: Any, shapes: list[Any]) -> str:
    (first_summed, second_summed), (first_batch, second_batch) = numbers
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
    return f"{''.join(first)},{''.join(second)}->{batch}{free}"


def graph_of_tensorflow(func_graph: Any, inputs: list[Any], outputs: list[Any]) -> tuple[Graph, dict[Any, int]]:
    """The graph of a TensorFlow FuncGraph, and the number of each tensor by its name."""
    builder = GraphBuilder()

    def number(tensor: Any) -> int:
        shape = tensor.shape
        return builder.tensor(tensor.name, shape.as_list() if shape.rank is not None else (), tensor.dtype.name)

    for operation in func_graph.get_operations():
        if operation.inputs:
            given = [number(tensor) for tensor in operation.inputs]
            for tensor in operation.outputs:
                _add_operation(builder, operation, given, number(tensor))
    builder.graph.inputs = {number(tensor) for tensor in inputs}
    builder.graph.outputs = {number(tensor) for tensor in outputs}
    return builder.graph, builder.numbers


def _add_operation(builder: GraphBuilder, operation: Any, inputs: list[int], output: int) -> None:
    import tensorflow as tf

    name = operation.type
    shapes = [builder.graph.shapes[tensor] for tensor in inputs]
    out = builder.graph.shapes[output]
    nothing: list[dict[int, int]] = [{}] * (len(inputs) - 1)

    def constant(position: int) -> Any:
        value = tf.get_static_value(operation.inputs[position])
        return None if value is None else value.reshape(-1).tolist()

    if name in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        first, second = ("transpose_a", "transpose_b") if name == "MatMul" else ("adj_x", "adj_y")
        if len(shapes[0]) == len(shapes[1]):
            flags = operation.get_attr(first), operation.get_attr(second)
            builder.add_einsum(name, matmul(len(shapes[0]), *flags), inputs, output)
            return
    elif name == "Einsum" and len(inputs) == 2:
        equation = operation.get_attr("equation").decode()
        if "." not in equation:
            builder.add_einsum(name, equation, inputs, output)
            return
    elif name == "Transpose" and constant(1) is not None:
        builder.add(name, inputs, output, maps=(permuted(constant(1)), {}))
        return
    elif name in ("Reshape", "ExpandDims", "Squeeze"):
        builder.add(name, inputs, output, maps=(reshaped(shapes[0], out), *nothing))
        return
    elif name in ("Sum", "Mean", "Max", "Min", "Prod") and constant(1) is not None:
        rank = len(shapes[0])
        axes = {axis % rank for axis in constant(1)}
        keep = operation.get_attr("keep_dims")
        kept = [axis for axis in range(rank) if axis not in axes]
        mapping = {axis: axis for axis in kept} if keep else permuted(kept)
        builder.add(name, inputs, output, maps=(mapping, {}), summed=(frozenset(axes),))
        return
    elif name in ("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative"):
        rank = len(out)
        channel = rank - 1 if operation.get_attr("data_format").decode().endswith("C") else 1
        builder.add(name, inputs, output, maps=(_same_but(rank, channel), {rank - 1: channel}))
        return
    elif name in ("StridedSlice", "Slice", "PadV2", "Pad") and len(shapes[0]) == len(out):
        builder.add(name, inputs, output, maps=({axis: axis for axis in range(len(out))}, *nothing))
        return
    elif name in ("StridedSlice",):
        builder.add(name, inputs, output, maps=(reshaped(shapes[0], out), *nothing))
        return
    elif name in ("Tile", "BroadcastTo"):
        maps = elementwise([shapes[0]], out)[0]
        builder.add(name, inputs, output, maps=(maps, *nothing))
        return
    builder.add(name, inputs, output)


def torch_recorder() -> Any:
    """A dispatch mode that records every operation of PyTorch; its `builder` holds the graph."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.builder = GraphBuilder()
            self.alive: list[Any] = []

        def number(self, tensor: Any) -> int:
            self.alive.append(tensor)
            return self.builder.tensor(id(tensor), tensor.shape, tensor.dtype)

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            results = func(*args, **(kwargs or {}))
            given = [leaf for leaf in _leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)]
            for result in _leaves(results):
                if isinstance(result, torch.Tensor) and given and all(result is not tensor for tensor in given):
                    inputs = [self.number(tensor) for tensor in given]
                    _add_torch(self.builder, func, args, inputs, self.number(result))
            return results

    return Recorder()


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, (tuple, list)):
        return [leaf for item in structure for leaf in _leaves(item)]
    if isinstance(structure, dict):
        return [leaf for item in structure.values() for leaf in _leaves(item)]
    return [structure]


def _add_torch(builder: GraphBuilder, func: Any, args: Any, inputs: list[int], output: int) -> None:
    name = func.overloadpacket.__name__
    shapes = [builder.graph.shapes[tensor] for tensor in inputs]
    out = builder.graph.shapes[output]
    nothing: list[dict[int, int]] = [{}] * (len(inputs) - 1)
    rank = len(shapes[0])
    if name in ("mm", "bmm"):
        builder.add_einsum(name, matmul(rank), inputs, output)
    elif name in ("addmm", "baddbmm"):
        builder.add_einsum(name, matmul(len(shapes[1])), inputs[1:], output)
    elif name == "permute":
        builder.add(name, inputs, output, maps=(permuted(axis % rank for axis in args[1]),))
    elif name in ("transpose", "t"):
        order = list(range(rank))
        one, other = (0, rank - 1) if name == "t" else (args[1], args[2])
        order[one], order[other] = order[other], order[one]
        builder.add(name, inputs, output, maps=(permuted(order),))
    elif name in ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "_reshape_alias"):
        builder.add(name, inputs, output, maps=(reshaped(shapes[0], out), *nothing))
    elif name in ("sum", "mean", "amax", "amin"):
        axes = args[1] if len(args) > 1 and args[1] else range(rank)
        summed = {axis % rank for axis in ([axes] if isinstance(axes, int) else axes)}
        kept = [axis for axis in range(rank) if axis not in summed]
        mapping = {axis: axis for axis in kept} if len(out) == rank else permuted(kept)
        builder.add(name, inputs, output, maps=(mapping,), summed=(frozenset(summed),))
    elif name == "convolution":
        bias: list[dict[int, int]] = [{0: 1}] * (len(inputs) - 2)
        builder.add(name, inputs, output, maps=(_same_but(rank, 1), {0: 1}, *bias))
    elif name in ("slice", "constant_pad_nd", "flip"):
        builder.add(name, inputs, output, maps=({axis: axis for axis in range(len(out))}, *nothing))
    elif name in ("expand", "repeat"):
        builder.add(name, inputs, output, maps=elementwise([shapes[0]], out))
    elif name == "select":
        builder.add(name, inputs, output, maps=(_without(rank, args[1] % rank),))
    else:
        builder.add(name, inputs, output)


def _without(rank: int, axis: int) -> dict[int, int]:
    return permuted([kept for kept in range(rank) if kept != axis])


def _same_but(rank: int, axis: int) -> dict[int, int]:
    return {kept: kept for kept in range(rank) if kept != axis}
