"""TensorFlow: traces are FuncGraphs, compiled functions are concrete functions, one for each shape."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from attnscope.backends._graph import (
    Axes,
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    all_but,
    einsum,
    matmul,
    read_in_place,
    read_repeat,
    read_reshape,
    reduction,
    transposition,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, ProbedBody, Step
from attnscope.tensors import Tensor, Tree


class TensorFlow:
    """See `Backend`."""

    block_bytes = 16 * 2**20
    fused_builds_matrix = True
    masked_rows_vary = False

    def functions(self) -> list[Function]:
        """`tf.nn.softmax` and its other names."""
        modules = (tf.nn, tf.math, tf.compat.v1.nn, tf.compat.v1.math)
        return [
            Function(module, "softmax", _softmax, bound_early=True) for module in modules if hasattr(module, "softmax")
        ]

    def current_trace(self) -> Hashable:
        """The graph that operations are added to."""
        return "eager" if tf.executing_eagerly() else id(tf.compat.v1.get_default_graph())

    def viewed(self, tensor: Tensor) -> np.ndarray:
        """NumPy reads eager tensors in place."""
        return np.asarray(tensor)

    def compiled(self, model: ModelOf, body: Body) -> Callable[[Tree], Tree]:
        """One concrete function for each shape of inputs, so that TensorFlow need not compare signatures."""

        def stateless(inputs: Tree) -> Tree:
            with keras.StatelessScope():  # a model that counts its calls, or draws seeds, stays as it is
                return body(model(), inputs)

        function = tf.function(stateless)
        by_shapes: dict[tuple[Any, ...], Any] = {}

        def run(inputs: Tree) -> Tree:
            tensors = tree.map_structure(_as_tensor, inputs)
            key = tuple((tuple(leaf.shape), leaf.dtype) for leaf in tree.flatten(tensors))
            if key not in by_shapes:
                by_shapes[key] = function.get_concrete_function(_specs(tensors))
            return by_shapes[key](tensors)

        return run

    def differentiated(self, model: ModelOf, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
        """A gradient tape that watches the zeros alone."""

        def traced(inputs: Tree) -> tuple[Tree, dict[str, Tensor]]:
            zeros: dict[str, Tensor] = {}
            with keras.StatelessScope(), tf.GradientTape(watch_accessed_variables=False) as tape:

                def probe(name: str, tensor: Tensor) -> Tensor:
                    zeros[name] = tf.zeros_like(tensor)
                    tape.watch(zeros[name])
                    return tensor + zeros[name]

                total, rest = body(model(), inputs, probe)
            gradients = tape.gradient(total, zeros, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return rest, gradients

        function = tf.function(traced, reduce_retracing=False)
        return lambda inputs: function(tree.map_structure(_as_tensor, inputs))

    def scan(self, step: Step, carry: Tree, count: int, size: int) -> tuple[Tree, Tree]:
        """`tf.while_loop` that writes into tensor arrays."""
        shapes = tf.function(step, autograph=False).get_concrete_function(_specs(carry), tf.TensorSpec((), tf.int32))
        like = tree.flatten(shapes.structured_outputs[1])
        arrays = [tf.TensorArray(t.dtype, size=count, element_shape=t.shape) for t in like]

        def body(number: Tensor, carry: Tree, arrays: list[Any]) -> tuple[Tensor, Tree, list[Any]]:
            carry, emitted = step(carry, number * size)
            leaves = tree.flatten(emitted)
            return number + 1, carry, [array.write(number, leaf) for array, leaf in zip(arrays, leaves, strict=True)]

        first = (tf.constant(0), carry, arrays)
        _, carry, arrays = tf.while_loop(lambda number, *_: number < count, body, first, parallel_iterations=1)
        stacked = [array.stack() for array in arrays]
        return carry, tree.pack_sequence_as(shapes.structured_outputs[1], stacked)

    def trace(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        """The graph of a function."""
        specs = _specs(tree.map_structure(_as_tensor, inputs))

        def stateless(tensors: Tree) -> Tree:
            with keras.StatelessScope():
                return body(tensors)

        concrete = tf.function(stateless).get_concrete_function(specs)
        return _read(concrete.graph, concrete.inputs[: len(tree.flatten(specs))], concrete.outputs)

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The name of a tensor in the graph."""
        name: Hashable = tensor.name
        return name


def _as_tensor(array: np.ndarray) -> Tensor:
    """A TensorFlow tensor; texts, which Keras does not convert, too."""
    if np.asarray(array).dtype.kind in "OUS":
        return tf.convert_to_tensor(array)
    return ops.convert_to_tensor(array)


def _specs(tensors: Tree) -> Tree:
    return tree.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), tensors)


def _softmax(taking: Interception, original: Any, logits: Tensor, axis: Any = None, name: str | None = None) -> Tensor:
    logits = tf.convert_to_tensor(logits)
    axis = -1 if axis is None else axis
    return taking.softmax(partial(original, logits, axis=axis, name=name), logits, axis)


def _read(func_graph: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Trace:
    """The graph of a FuncGraph; tensors are known by their names."""
    builder = GraphBuilder(_VOCABULARY)

    def number(tensor: Tensor) -> int:
        shape = tensor.shape
        return builder.tensor(tensor.name, shape.as_list() if shape.rank is not None else (), tensor.dtype.name)

    for operation in func_graph.get_operations():
        if operation.inputs:
            operands = [number(tensor) for tensor in operation.inputs]
            for tensor in operation.outputs:
                builder.add(operation.type, operation, operands, number(tensor))
    builder.graph.inputs = {number(tensor) for tensor in inputs}
    builder.graph.outputs = {number(tensor) for tensor in outputs}
    return Trace(builder.graph, builder.numbers)


def _constant(operation: Any, position: int) -> list[int] | None:
    value = tf.get_static_value(operation.inputs[position])
    return None if value is None else value.reshape(-1).tolist()


def _matmul(operation: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    if len(shapes[0]) != len(shapes[1]):
        return None
    flags = ("transpose_a", "transpose_b") if operation.type == "MatMul" else ("adj_x", "adj_y")
    return matmul(len(shapes[0]), *(operation.get_attr(flag) for flag in flags))


def _einsum(operation: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    equation = operation.get_attr("equation").decode()
    return einsum(equation) if len(shapes) == 2 and "." not in equation else None


def _transpose(operation: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    return transposition(_constant(operation, 1), shapes)


def _reduce(operation: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    return reduction(_constant(operation, 1), shapes, keepdims=operation.get_attr("keep_dims"))


def _convolution(operation: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    rank = len(out)
    channel = rank - 1 if operation.get_attr("data_format").decode().endswith("C") else 1
    return Axes((all_but(rank, channel), {rank - 1: channel}))


def _slice(operation: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    if len(shapes[0]) == len(out):
        return read_in_place(operation, shapes, out)
    return read_reshape(operation, shapes, out) if operation.type == "StridedSlice" else None


_VOCABULARY = Vocabulary(
    kinds={
        **dict.fromkeys(("Mul", "MulNoNan"), "product"),
        **dict.fromkeys(("TopKV2", "ArgMax", "ArgMin"), "choice"),
        **dict.fromkeys(("Pack", "ConcatV2"), "stack"),
        **dict.fromkeys(("BroadcastTo", "Tile"), "broadcast"),
    },
    readers={
        **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
        "Einsum": _einsum,
        "Transpose": _transpose,
        **dict.fromkeys(("Reshape", "ExpandDims", "Squeeze"), read_reshape),
        **dict.fromkeys(("Sum", "Mean", "Max", "Min", "Prod"), _reduce),
        **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative"), _convolution),
        **dict.fromkeys(("StridedSlice", "Slice", "PadV2", "Pad"), _slice),
        **dict.fromkeys(("Tile", "BroadcastTo"), read_repeat),
    },
)

BACKEND = TensorFlow()
