"""OpenVINO: a run is a graph of OpenVINO's operations, compiled for each shape of inputs; it only runs models.

Keras' tensors on OpenVINO are outputs of graph nodes and hold no numbers. Whatever is wanted beside the model's outputs
becomes a further result of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import openvino
from keras import ops, tree
from keras.src import backend as keras_backend
from keras.src.backend.openvino.core import OPENVINO_DTYPES, OpenVINOKerasTensor, get_ov_output
from openvino import opset1, opset8, opset13
from openvino import opset16 as opset

from attnscope.backends._graph import (
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    einsum,
    expansion,
    lookup,
    lookup_along,
    matmul,
    padding,
    read_first,
    read_product,
    read_repeat,
    read_reshape,
    reduction,
    roll,
    slice_along,
    squeeze,
    transposition,
)
from attnscope.backends._operations import Chosen, Joined, Moved, Operation, Sliced, Taken, Windowed
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, ProbedBody, Step
from attnscope.errors import UnsupportedError
from attnscope.tensors import Tensor, Tree

_BODY: ContextVar[Hashable] = ContextVar("attnscope_openvino_body", default="graph")
"""The body of a loop or branch that is being built: its tensors cannot leave it."""


class OpenVINO:
    """See `Backend`."""

    fused_builds_matrix = True
    masked_rows_vary = False
    takes_texts = False
    compiles = True
    eager_from = math.inf

    def functions(self) -> list[Function]:
        """OpenVINO's softmax, and what builds a body of its own."""
        core = keras_backend.core
        bodies = [Function(core, name, _in_a_body) for name in ("while_loop", "switch")]
        return [
            # Each later set of operations holds one of these two.
            Function(opset1, "softmax", _softmax, bound_early=True),
            Function(opset8, "softmax", _softmax, bound_early=True),
            Function(opset13, "scaled_dot_product_attention", _fused, bound_early=True),
            *bodies,
        ]

    def current_trace(self) -> Hashable:
        """The graph, or the body inside of it that is being built."""
        return _BODY.get()

    def viewed(self, tensor: Tensor) -> np.ndarray:
        """What `compiled` gives is an array already."""
        return np.asarray(ops.convert_to_numpy(tensor))

    def compiled(self, model: ModelOf, body: Body) -> Callable[[Tree], Tree]:
        """One graph for each shape of inputs, made again when a variable has been given another value.

        Variables are constants in a graph. It computes in the tensors' own dtype, where OpenVINO by itself takes
        bfloat16 on processors that have it.
        """
        by_shapes: dict[Hashable, _Compiled] = {}

        def run(inputs: Tree) -> Tree:
            arrays = tree.map_structure(np.asarray, inputs)
            key = tuple((leaf.shape, leaf.dtype) for leaf in tree.flatten(arrays))
            values = [variable._value for variable in model().variables]
            known = by_shapes.get(key)
            if known is None or any(now is not then for now, then in zip(values, known.values, strict=True)):
                known = by_shapes[key] = _compiled(model, body, arrays, values)
            return known(arrays)

        return run

    def noted(self, model: ModelOf, body: Body, inside: Callable[[], bool]) -> None:
        """Nothing runs without being compiled."""

    def program(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> None:
        """Not known."""

    def differentiated(self, model: ModelOf, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
        """Not on OpenVINO, which runs models and has no derivatives.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "Gradients are needed here, but Keras on OpenVINO only runs models and computes none. Run the same model "
            "on another backend: KERAS_BACKEND=jax; or use a method without gradients, such as method='occlusion'."
        )

    def tile_bytes(self, tensor: Tensor) -> int:
        """Few tiles, since each is a part of the graph."""
        return 16 * 2**20

    def packed(self, tensor: Tensor) -> Tensor:
        """As it is: the compiler decides."""
        return tensor

    def exponentials(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """By two operations."""
        shifted = ops.subtract(logits, ops.max(logits, axis=-1, keepdims=True))
        return shifted, ops.exp(shifted)

    def row_sums(self, tensor: Tensor) -> Tensor:
        """As it is."""
        return ops.sum(tensor, axis=-1)

    def bits(self, total: Tensor, energy: Tensor) -> Tensor:
        """As it is."""
        return ops.divide(ops.subtract(ops.log(total), ops.divide(energy, total)), math.log(2))

    def row_products(self, first: Tensor, second: Tensor) -> Tensor:
        """Product and sum."""
        return ops.sum(ops.multiply(first, second), axis=-1)

    def optimised(self, function: Callable[[], Tree]) -> Callable[[], Tree]:
        """As it is: all of a run is compiled."""
        return function

    def scan(self, step: Step, carry: Tree, count: int, size: int) -> tuple[Tree, Tree]:
        """A Python loop, so that the graph holds every step."""
        blocks = []
        for number in range(count):
            carry, emitted = step(carry, number * size)
            blocks.append(emitted)
        return carry, tree.map_structure(lambda *tensors: ops.stack(tensors), *blocks)

    def trace(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        """The graph of a run, which is not compiled."""
        parameters, outputs = _graph(body, tree.map_structure(np.asarray, inputs))
        weights: dict[Hashable, str] = {_key(get_ov_output(one)): one.path for one in model.variables}
        return _read(parameters, [leaf.output for leaf in tree.flatten(outputs) if _is_tensor(leaf)], weights)

    def met(self) -> AbstractContextManager[object]:
        """The graph does not say where its operations come from, so that none written out are looked for."""
        return nullcontext()

    def uncompiled(self) -> AbstractContextManager[object]:
        """Layers compile nothing on OpenVINO."""
        return nullcontext()

    def unmapped(self, take: Callable[[Tensor, Tensor, int], Tensor], logits: Tensor, output: Tensor) -> Tensor | None:
        """OpenVINO has no such maps."""
        return None

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The name of the node, which no other has, and the number of its output."""
        return _key(tensor.output)


@dataclass(frozen=True)
class _Compiled:
    """A compiled graph.

    Attributes:
        model: OpenVINO's compiled model.
        structure: What the body gave; each tensor in it is a result of the graph, in this order.
        values: What the variables held.
    """

    model: Any
    structure: Tree
    values: list[Tensor]

    def __call__(self, arrays: Tree) -> Tree:
        """Runs it; each call has a request of its own, so that threads do not interfere."""
        given = dict(enumerate(tree.flatten(arrays)))
        results = iter(self.model.create_infer_request().infer(given).to_tuple())
        return tree.map_structure(lambda leaf: next(results) if _is_tensor(leaf) else leaf, self.structure)


def _compiled(model: ModelOf, body: Body, arrays: Tree, values: list[Tensor]) -> _Compiled:
    parameters, structure = _graph(lambda tensors: body(model(), tensors), arrays)
    tensors = [leaf for leaf in tree.flatten(structure) if _is_tensor(leaf)]
    # NumPy has no bfloat16; what is read as float32 afterwards is made so here.
    outputs = [
        ops.cast(tensor, "float32").output if tensor.dtype == "bfloat16" else tensor.output for tensor in tensors
    ]
    graph = openvino.Model([opset.result(output) for output in outputs], parameters)
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _Compiled(compiled, structure, values)


def _graph(body: Callable[[Tree], Tree], arrays: Tree) -> tuple[list[Any], Tree]:
    """The parameters of a graph, one for each array, and what `body` makes of them."""
    parameters: list[Any] = []

    def parameter(array: np.ndarray) -> Tensor:
        dtype = OPENVINO_DTYPES[keras.backend.standardize_dtype(array.dtype)]
        parameters.append(opset.parameter(list(array.shape), dtype))
        return OpenVINOKerasTensor(parameters[-1].output(0))

    tensors = tree.map_structure(parameter, arrays)
    with keras.StatelessScope():
        return parameters, body(tensors)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, OpenVINOKerasTensor)


def _softmax(taking: Interception, original: Any, data: Any, axis: int = 1, name: str | None = None) -> Any:
    def run() -> Tensor:
        return OpenVINOKerasTensor(original(data, axis, name).output(0))

    return taking.softmax(run, _tensor(data), axis).output.get_node()


def _fused(taking: Interception, original: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
    def run() -> Tensor:
        return OpenVINOKerasTensor(original(query, *args, **kwargs).output(0))

    return taking.left_out(run, _tensor(query), "OpenVINO's own scaled_dot_product_attention").output.get_node()


def _tensor(data: Any) -> Tensor:
    return OpenVINOKerasTensor(data.output(0) if isinstance(data, openvino.Node) else get_ov_output(data))


def _in_a_body(taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Any:
    with _own_body():
        return original(*args, **kwargs)


@contextmanager
def _own_body() -> Iterator[None]:
    token = _BODY.set(id(object()))
    try:
        yield
    finally:
        _BODY.reset(token)


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def _read(parameters: list[Any], outputs: list[Any], weights: Mapping[Hashable, str]) -> Trace:
    """The operations that lead from the parameters to the outputs."""
    builder = GraphBuilder(_VOCABULARY)

    def number(output: Any) -> int:
        shape = output.get_partial_shape()
        sizes = [] if shape.rank.is_dynamic else [None if size.is_dynamic else size.get_length() for size in shape]
        return builder.tensor(_key(output), sizes, output.get_element_type().get_type_name())

    builder.graph.inputs = [number(parameter.output(0)) for parameter in parameters]
    graph = openvino.Model([opset.result(output) for output in outputs], parameters)
    for node in graph.get_ordered_ops():
        operands = [number(place.get_source_output()) for place in node.inputs()]
        if operands and node.get_type_name() not in _NO_DATA:
            for output in node.outputs():
                builder.add(node.get_type_name(), output, operands, number(output))
    builder.graph.weights = {builder.numbers[key]: path for key, path in weights.items() if key in builder.numbers}
    builder.graph.outputs = {number(output) for output in outputs}
    return Trace(builder.graph, builder.numbers)


def _constant(output: Any, position: int) -> list[Any] | None:
    """The numbers that an input of an operation has, where they are constant; None where they are not."""
    source = output.get_node().input_value(position).get_node()
    while source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    return source.data.reshape(-1).tolist() if source.get_type_name() == "Constant" else None


def _attributes(output: Any) -> dict[str, Any]:
    return dict(output.get_node().get_attributes())


def _matmul(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    flags = _attributes(output)
    ranks = [len(shape) for shape in shapes]
    return matmul(ranks, transpose_first=flags["transpose_a"], transpose_second=flags["transpose_b"])


def _einsum(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    equation = _attributes(output)["equation"]
    return einsum(equation, [len(shape) for shape in shapes]) if len(shapes) <= 2 and "->" in equation else None


def _transpose(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return transposition(_constant(output, 1))


def _squeeze(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = _constant(output, 1) if len(shapes) > 1 else None
    return read_reshape(output, shapes, out) if axes is None else squeeze(axes, len(shapes[0]))


def _unsqueeze(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = _constant(output, 1)
    return None if axes is None else expansion(axes, len(out))


def _reduce(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return reduction(_constant(output, 1), len(shapes[0]), keepdims=_attributes(output)["keep_dims"])


def _convolution(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """The kernel of a plain one has its units first; in a grouped one they are split into groups."""
    units = (0, 1) if output.get_node().get_type_name() == "Convolution" else None
    return Windowed({0: 0}, _windows(output), units)


def _pooling(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Windowed({0: 0, 1: 1}, _windows(output))


def _windows(output: Any) -> dict[int, tuple[int, int]]:
    return {axis: (axis, int(stride)) for axis, stride in enumerate(_attributes(output)["strides"], start=2)}


def _slice(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Data, starts, stops, steps and, of some, the axes that these are for."""
    starts, steps = _constant(output, 1), _constant(output, 3)
    axes = _constant(output, 4) if len(shapes) > 4 else list(range(len(starts or ())))
    if starts is None or steps is None or axes is None:
        return None
    first, distances = [0] * len(out), [1] * len(out)
    for axis, start, step in zip(axes, starts, steps, strict=True):
        size = shapes[0][axis]
        first[axis] = min(max(start + size if start < 0 else start, 0), size - 1)
        distances[axis] = step
    return Sliced(tuple(first), tuple(distances))


def _padded(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    before = _constant(output, 1)
    return None if before is None else padding(before)


def _split(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = _constant(output, 1)
    if axes is None:
        return None
    axis, number = axes[0] % len(out), output.get_index()
    before = output.get_node().outputs()[:number]
    start = sum(each.get_partial_shape()[axis].get_length() for each in before)
    return slice_along(axis, start, len(out))


def _roll(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    shifts, axes = _constant(output, 1), _constant(output, 2)
    if shifts is None or axes is None:
        return roll(dict.fromkeys(range(len(out))), out)
    return roll({axis % len(out): shift for axis, shift in zip(axes, shifts, strict=True)}, out)


def _concatenate(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(_attributes(output)["axis"] % len(out))


def _gather(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Rows of a table by their numbers: the axes of the numbers stand in the place of the rows."""
    axes = _constant(output, 2)
    if axes is None or _attributes(output)["batch_dims"] != 0:
        return None
    rank, wide = len(shapes[0]), len(shapes[1])
    place = axes[0] % rank
    if not wide:
        numbers = _constant(output, 1)
        return Taken(place, None if numbers is None else numbers[0] % shapes[0][place])
    return lookup(place, rank, wide)


def _gather_elements(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return lookup_along(_attributes(output)["axis"] % len(out), len(out))


def _chosen(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Chosen(_attributes(output)["axis"] % len(out))


def _one_hot(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return expansion([_attributes(output)["axis"]], len(out))


def _sequence(output: Any, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """A whole recurrent layer: its states, dims ``(sample, direction, step, unit)``; or the last of them."""
    return Moved((0, 2 if output.get_index() == 0 else None, None))


_NO_DATA = ("Result", "ShapeOf")
"""Operations that compute nothing from the numbers in a tensor."""

_ELEMENTWISE = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BitwiseAnd",
        "BitwiseLeftShift",
        "BitwiseNot",
        "BitwiseOr",
        "BitwiseRightShift",
        "BitwiseXor",
        "Ceiling",
        "Cos",
        "Cosh",
        "Divide",
        "Equal",
        "Erf",
        "Exp",
        "Floor",
        "FloorMod",
        "Gelu",
        "Greater",
        "GreaterEqual",
        "HSigmoid",
        "HSwish",
        "IsFinite",
        "IsInf",
        "IsNaN",
        "Less",
        "LessEqual",
        "Log",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
        "LogicalXor",
        "Maximum",
        "Minimum",
        "Mish",
        "Mod",
        "Negative",
        "NotEqual",
        "Power",
        "PRelu",
        "Relu",
        "Select",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "SoftPlus",
        "SoftSign",
        "Sqrt",
        "SquaredDifference",
        "Subtract",
        "Tan",
        "Tanh",
    ]
)

_VOCABULARY = Vocabulary(
    elementwise=_ELEMENTWISE,
    readers={
        "Multiply": read_product,
        "MatMul": _matmul,
        "Einsum": _einsum,
        "Transpose": _transpose,
        "Reshape": read_reshape,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        **dict.fromkeys(
            ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"), _reduce
        ),
        **dict.fromkeys(("ReduceLogicalAnd", "ReduceLogicalOr"), _reduce),
        **dict.fromkeys(("Convolution", "GroupConvolution"), _convolution),
        **dict.fromkeys(("MaxPool", "AvgPool"), _pooling),
        "Slice": _slice,
        "Pad": _padded,
        **dict.fromkeys(("Split", "VariadicSplit"), _split),
        "Roll": _roll,
        "Concat": _concatenate,
        "Gather": _gather,
        "GatherElements": _gather_elements,
        "TopK": _chosen,
        "OneHot": _one_hot,
        **dict.fromkeys(("GRUSequence", "LSTMSequence"), _sequence),
        **dict.fromkeys(("Broadcast", "Tile"), read_repeat),
        **dict.fromkeys(("BatchNormInference", "Clamp", "Convert", "ConvertLike", "CumSum", "Elu"), read_first),
        **dict.fromkeys(("HardSigmoid", "LogSoftmax", "Selu", "Softmax", "Swish"), read_first),
        **dict.fromkeys(("ScatterElementsUpdate", "ScatterNDUpdate", "ScatterUpdate"), read_first),
    },
)

BACKEND = OpenVINO()
