"""OpenVINO: a run is a graph of OpenVINO's operations, compiled for each shape of inputs; it only runs models.

Keras' tensors on OpenVINO are outputs of graph nodes and hold no numbers. Whatever is wanted beside the model's outputs
becomes a further result of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
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
    matmul,
    read_first,
    read_product,
    read_repeat,
    read_reshape,
    reduction,
    squeeze,
    transposition,
)
from attnscope.backends._operations import (
    Chosen,
    Joined,
    Looked,
    Moved,
    Operation,
    Sliced,
    Updated,
    Windowed,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, ProbedBody, Step
from attnscope.errors import UnsupportedError
from attnscope.tensors import Tensor, Tree

_BODY: ContextVar[Hashable] = ContextVar("attnscope_openvino_body", default="graph")
"""The body of a loop or branch that is being built: its tensors cannot leave it."""


class OpenVINO:
    """See `Backend`."""

    block_bytes = 16 * 2**20
    fused_builds_matrix = True
    masked_rows_vary = False

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

    def differentiated(self, model: ModelOf, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
        """Not on OpenVINO, which runs models and has no derivatives.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "Gradients are needed here, but Keras on OpenVINO only runs models and computes none. Run the same model "
            "on another backend: KERAS_BACKEND=jax; or use a method without gradients, such as method='occlusion'."
        )

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
        outputs = [leaf.output for leaf in tree.flatten(outputs) if _is_tensor(leaf)]
        return _read(parameters, outputs, model.variables)

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


def _read(parameters: list[Any], outputs: list[Any], variables: Sequence[Any]) -> Trace:
    """The operations that lead from the parameters to the outputs."""
    builder = GraphBuilder(_VOCABULARY)

    def number(output: Any) -> int:
        shape = output.get_partial_shape()
        sizes = [] if shape.rank.is_dynamic else [None if size.is_dynamic else size.get_length() for size in shape]
        return builder.tensor(_key(output), sizes, output.get_element_type().get_type_name())

    graph = openvino.Model([opset.result(output) for output in outputs], parameters)
    for node in graph.get_ordered_ops():
        operands = [number(place.get_source_output()) for place in node.inputs()]
        name = node.get_type_name()
        if operands and name not in _NO_DATA:
            for place, output in enumerate(node.outputs()):
                builder.add(name, _Record(node, place), operands, number(output))
    builder.graph.inputs = [number(parameter.output(0)) for parameter in parameters]
    builder.graph.weights = {number(_output_of(variable)): variable.path for variable in variables}
    builder.graph.outputs = {number(output) for output in outputs}
    return Trace(builder.graph, builder.numbers)


def _output_of(variable: Any) -> Any:
    """The constant that a variable is in every graph."""
    return get_ov_output(variable.value)


@dataclass(frozen=True)
class _Record:
    """An operation, and the how manieth of its results this is."""

    node: Any
    place: int

    def attribute(self, name: str) -> Any:
        """One of its attributes."""
        return self.node.get_attributes()[name]

    def constant(self, position: int) -> list[int] | None:
        """The values of one of its inputs, where they are constant."""
        if position >= self.node.get_input_size():
            return None
        value = _value(self.node.input_value(position))
        return None if value is None else value.reshape(-1).tolist()

    def number(self, position: int) -> int | None:
        """The value of one of its inputs that is a single number, where it is known."""
        values = self.constant(position)
        return values[0] if values else None


def _value(output: Any) -> np.ndarray | None:
    """What a constant holds, also where it is only converted."""
    node = output.get_node()
    if node.get_type_name() in ("Convert", "Squeeze", "Unsqueeze", "Reshape"):
        return _value(node.input_value(0))
    return node.data if node.get_type_name() == "Constant" else None


def _matmul(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return matmul(
        [len(shape) for shape in shapes],
        transpose_first=record.attribute("transpose_a"),
        transpose_second=record.attribute("transpose_b"),
    )


def _einsum(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    equation = record.attribute("equation")
    known = len(shapes) < 3 and "->" in equation
    return einsum(equation, [len(shape) for shape in shapes]) if known else None


def _transpose(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return transposition(record.constant(1))


def _reduce(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return reduction(record.constant(1), len(shapes[0]), keepdims=record.attribute("keep_dims"))


def _squeeze(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = record.constant(1)
    return squeeze([n for n, size in enumerate(shapes[0]) if size == 1] if axes is None else axes, len(shapes[0]))


def _unsqueeze(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = record.constant(1)
    return None if axes is None else expansion(axes, len(out))


def _convolution(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Samples, channels and places; the kernel has the units first, or a group before them."""
    strides = record.attribute("strides")
    windows = {axis: (axis, strides[axis - 2]) for axis in range(2, len(out))}
    return Windowed({0: 0}, windows, units=(0, 1) if record.node.get_type_name() == "Convolution" else None)


def _pooling(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    strides = record.attribute("strides")
    return Windowed({0: 0, 1: 1}, {axis: (axis, strides[axis - 2]) for axis in range(2, len(out))})


def _slice(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """`Slice`: starts, stops and steps of the axes that are named last; of all where none are."""
    starts, steps, axes = (record.constant(position) for position in (1, 3, 4))
    rank = len(out)
    axes = list(range(len(starts or ()))) if axes is None else [axis % rank for axis in axes]
    first = dict(zip(axes, starts or [], strict=False))
    distance = dict(zip(axes, steps or [], strict=False))
    if starts is None:
        return Sliced(tuple(0 if size == now else None for size, now in zip(shapes[0], out, strict=True)), (1,) * rank)
    return Sliced(
        tuple(_from_the_start(first.get(axis, 0), shapes[0][axis]) for axis in range(rank)),
        tuple(distance.get(axis, 1) for axis in range(rank)),
    )


def _from_the_start(start: int, size: int) -> int:
    return max(0, start + size) if start < 0 else min(start, size - 1)


def _split(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = record.number(1)
    if axis is None:
        return None
    axis %= len(out)
    sizes = record.constant(2)
    start = record.place * out[axis] if sizes is None else sum(sizes[: record.place])
    return Sliced(tuple(start if number == axis else 0 for number in range(len(out))), (1,) * len(out))


def _padded(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    front = record.constant(1)
    return None if front is None else Sliced(tuple(-size for size in front), (1,) * len(out))


def _concatenate(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(record.attribute("axis") % len(out))


def _gather(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Rows of a table by their numbers: the axes of the numbers stand in the place of the rows."""
    axis = record.number(2)
    if axis is None:
        return None
    both = record.attribute("batch_dims")
    rank, wide = len(shapes[0]), len(shapes[1]) - both
    axis %= rank
    table = tuple(None if number == axis else number if number < axis else number + wide - 1 for number in range(rank))
    return Looked(table, (*range(both), *(axis + number for number in range(wide))))


def _gathered(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Elements by their numbers along one axis."""
    axis = record.attribute("axis") % len(out)
    return Looked(tuple(None if number == axis else number for number in range(len(out))), tuple(range(len(out))))


def _chosen(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Chosen(record.attribute("axis") % len(out))


def _one_hot(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = record.attribute("axis") % len(out)
    return Moved(tuple(number if number < axis else number + 1 for number in range(len(shapes[0]))))


def _update(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Updated()


_NO_DATA = ("Result", "ShapeOf")
"""Operations that compute nothing from the numbers in a tensor."""

_ELEMENTWISE = frozenset(
    [
        *("Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "Ceiling", "Clamp", "Convert"),
        *("ConvertLike", "Cos", "Cosh", "Divide", "Elu", "Equal", "Erf", "Exp", "FakeQuantize", "Floor", "FloorMod"),
        *("Gelu", "Greater", "GreaterEqual", "HSigmoid", "HSwish", "HardSigmoid", "IsFinite", "IsInf", "IsNaN"),
        *("Less", "LessEqual", "Log", "LogicalAnd", "LogicalNot", "LogicalOr", "LogicalXor", "Maximum", "Minimum"),
        *("Mish", "Mod", "Negative", "NotEqual", "PRelu", "Power", "Relu", "Round", "Select", "Selu", "Sigmoid"),
        *("Sign", "Sin", "Sinh", "SoftPlus", "SoftSign", "Sqrt", "SquaredDifference", "Subtract", "Swish", "Tan"),
        *("Tanh", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Identity"),
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
            (
                *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
                *("ReduceLogicalAnd", "ReduceLogicalOr"),
            ),
            _reduce,
        ),
        **dict.fromkeys(("Convolution", "GroupConvolution"), _convolution),
        **dict.fromkeys(("MaxPool", "AvgPool"), _pooling),
        "Slice": _slice,
        **dict.fromkeys(("Split", "VariadicSplit"), _split),
        "Pad": _padded,
        "Concat": _concatenate,
        "Gather": _gather,
        "GatherElements": _gathered,
        "TopK": _chosen,
        "OneHot": _one_hot,
        **dict.fromkeys(("Broadcast", "Tile"), read_repeat),
        **dict.fromkeys(("Softmax", "LogSoftmax", "CumSum", "MVN"), read_first),
        **dict.fromkeys(("ScatterNDUpdate", "ScatterUpdate", "ScatterElementsUpdate"), _update),
    },
)

BACKEND = OpenVINO()
