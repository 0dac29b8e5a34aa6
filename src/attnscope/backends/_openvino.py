"""OpenVINO: a run is a graph of OpenVINO's operations, compiled for each shape of inputs; it only runs models.

Keras' tensors on OpenVINO are outputs of graph nodes and hold no numbers. Whatever is wanted beside the model's outputs
becomes a further result of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
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
        return _read(parameters, [leaf.output for leaf in tree.flatten(outputs) if _is_tensor(leaf)])

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


def _read(parameters: list[Any], outputs: list[Any]) -> Trace:
    """The operations that lead from the parameters to the outputs."""
    builder = GraphBuilder(_VOCABULARY)

    def number(output: Any) -> int:
        shape = output.get_partial_shape()
        sizes = [] if shape.rank.is_dynamic else [None if size.is_dynamic else size.get_length() for size in shape]
        return builder.tensor(_key(output), sizes, output.get_element_type().get_type_name())

    graph = openvino.Model([opset.result(output) for output in outputs], parameters)
    for node in graph.get_ordered_ops():
        operands = [number(place.get_source_output()) for place in node.inputs()]
        if operands and node.get_type_name() not in _NO_DATA:
            for output in node.outputs():
                builder.add(node.get_type_name(), node, operands, number(output))
    builder.graph.inputs = {number(parameter.output(0)) for parameter in parameters}
    builder.graph.outputs = {number(output) for output in outputs}
    return Trace(builder.graph, builder.numbers)


def _constant(node: Any, position: int) -> list[int] | None:
    source = node.input_value(position).get_node()
    return source.data.reshape(-1).tolist() if source.get_type_name() == "Constant" else None


def _matmul(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    """A product of tensors of one rank, or of a rank and a lower one, which counts as if it had leading axes."""
    first, second = (len(shape) for shape in shapes)
    if min(first, second) < 2:
        return None
    rank = max(first, second)
    flags = node.get_attributes()
    axes = matmul(rank, flags["transpose_a"], flags["transpose_b"])
    missing = (rank - first, rank - second)
    return Axes(
        maps=tuple(
            {axis - less: target for axis, target in mapping.items() if axis >= less}
            for mapping, less in zip(axes.maps, missing, strict=True)
        ),
        summed=tuple(
            frozenset(axis - less for axis in summed) for summed, less in zip(axes.summed, missing, strict=True)
        ),
        paired={axis - missing[0]: other - missing[1] for axis, other in axes.paired.items()},
        kind="contraction",
    )


def _einsum(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    equation = node.get_attributes()["equation"]
    return einsum(equation) if len(shapes) == 2 and "." not in equation and "->" in equation else None


def _transpose(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    return transposition(_constant(node, 1), shapes)


def _reduce(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    return reduction(_constant(node, 1), shapes, keepdims=node.get_attributes()["keep_dims"])


def _convolution(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    channels = {0: 1} if node.get_type_name() == "Convolution" else {}
    return Axes((all_but(len(out), 1), channels))


def _slice(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    return (read_in_place if len(shapes[0]) == len(out) else read_reshape)(node, shapes, out)


def _gather(node: Any, shapes: Sequence[Shape], out: Shape) -> Axes | None:
    """Rows of a table by their numbers: the axes of the numbers stand in the place of the rows."""
    constant = _constant(node, 2)
    if constant is None or node.get_attributes()["batch_dims"] != 0:
        return None
    rank, wide = len(shapes[0]), len(shapes[1])
    place = constant[0] % rank
    kept = {axis: axis if axis < place else axis + wide - 1 for axis in range(rank) if axis != place or wide == 1}
    return Axes((kept, {axis: place + axis for axis in range(wide)}, {}))


_NO_DATA = ("Result", "ShapeOf")
"""Operations that compute nothing from the numbers in a tensor."""

_VOCABULARY = Vocabulary(
    kinds={
        "Multiply": "product",
        "TopK": "choice",
        "Concat": "stack",
        **dict.fromkeys(("Broadcast", "Tile"), "broadcast"),
    },
    readers={
        "MatMul": _matmul,
        "Einsum": _einsum,
        "Transpose": _transpose,
        **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), read_reshape),
        **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"), _reduce),
        **dict.fromkeys(("Convolution", "GroupConvolution"), _convolution),
        **dict.fromkeys(("Slice", "StridedSlice", "Pad"), _slice),
        "Gather": _gather,
        **dict.fromkeys(("Broadcast", "Tile"), read_repeat),
    },
)

BACKEND = OpenVINO()
