"""TensorFlow: traces are FuncGraphs, compiled functions are concrete functions, one for each shape."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from attnscope.backends._graph import (
    GraphBuilder,
    Shape,
    Trace,
    Vocabulary,
    einsum,
    expansion,
    flip,
    lookup,
    matmul,
    padding,
    read_constant,
    read_copy,
    read_first,
    read_last,
    read_product,
    read_repeat,
    read_reshape,
    read_step,
    read_steps,
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
    Operation,
    Sliced,
    Taken,
    Unknown,
    Windowed,
)
from attnscope.backends._protocol import Body, Function, Interception, Model, ModelOf, ProbedBody, Step
from attnscope.backends._sums import sums_in_parts
from attnscope.tensors import Tensor, Tree

try:  # not in TensorFlow's public face: a release without it traces each length
    from tensorflow.python.framework import op_callbacks
except ImportError:
    op_callbacks = None

_OF_ONE_ELEMENT: ContextVar[object] = ContextVar("attnscope_of_one_element", default=None)
"""Set while `tf.vectorized_map` reads what its function makes of one element."""

_TILE, _TILE_ON_ACCELERATOR = 4 * 2**20, 512 * 2**20
"""Bytes of a tile of scores."""


class TensorFlow:
    """See `Backend`."""

    fused_builds_matrix = True
    masked_rows_vary = False
    takes_texts = True
    compiles = True
    eager_from = 0

    def functions(self) -> list[Function]:
        """`tf.nn.softmax` and its other names, and the call of what `tf.function` compiled."""
        modules = (tf.nn, tf.math, tf.compat.v1.nn, tf.compat.v1.math)
        return [
            *(
                Function(module, "softmax", _softmax, bound_early=True)
                for module in modules
                if hasattr(module, "softmax")
            ),
            Function(type(_A_FUNCTION), "__call__", _uncompiled),
            Function(tf, "cond", _cond),
            Function(tf.__internal__.smart_cond, "smart_cond", _cond),
            Function(tf, "switch_case", _cases),
            Function(tf, "case", _cases),
            Function(tf, "map_fn", _map),
            Function(tf, "vectorized_map", _vectorizing_map),
        ]

    def current_trace(self) -> Hashable:
        """The graph that operations are added to; what a vectorizing map makes of one element is apart in it."""
        graph = "eager" if tf.executing_eagerly() else id(tf.compat.v1.get_default_graph())
        return graph, _OF_ONE_ELEMENT.get()

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

    def noted(
        self, model: ModelOf, body: Body, inside: Callable[[], bool]
    ) -> Callable[[Tree], tuple[Tree, Hashable]] | None:
        """Runs eagerly; TensorFlow calls back for each operation."""
        if op_callbacks is None:
            return None

        def run(inputs: Tree) -> tuple[Tree, Hashable]:
            tensors = tree.map_structure(_as_tensor, inputs)
            handles = [variable.value.handle for variable in model().variables]
            notes = _Notes([*tree.flatten(tensors), *handles], inside)
            op_callbacks.add_op_callback(notes)
            try:
                with keras.StatelessScope():
                    return body(model(), tensors), tuple(notes.steps)
            finally:
                op_callbacks.remove_op_callback(notes)

        return run

    def program(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> None:
        """Not without a run: a graph takes longer to make than an eager run takes."""

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

    def tile_bytes(self, tensor: Tensor) -> int:
        """As much as stays in the cache, with its exponentials; on an accelerator as much as keeps it busy."""
        return _TILE_ON_ACCELERATOR if tf.config.list_logical_devices("GPU") else _TILE

    def packed(self, tensor: Tensor) -> Tensor:
        """As it is: the compiler decides."""
        return tensor

    def exponentials(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """By two operations."""
        shifted = ops.subtract(logits, ops.max(logits, axis=-1, keepdims=True))
        return shifted, ops.exp(shifted)

    def row_sums(self, tensor: Tensor) -> Tensor:
        """In two steps."""
        return sums_in_parts(tensor)

    def bits(self, total: Tensor, energy: Tensor) -> Tensor:
        """In float64, of one number per row."""
        wide, energy_of_all = tf.cast(total, "float64"), tf.cast(energy, "float64")
        return tf.cast((tf.math.log(wide) - energy_of_all / wide) / math.log(2), total.dtype)

    def row_products(self, first: Tensor, second: Tensor) -> Tensor:
        """Product and sum."""
        return self.row_sums(ops.multiply(first, second))

    def optimised(self, function: Callable[[], Tree]) -> Callable[[], Tree]:
        """Compiled by XLA, where Keras would do so."""
        if sys.platform == "darwin":
            return function
        concrete = tf.function(function, jit_compile=True, autograph=False).get_concrete_function()
        return lambda: concrete()

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
        reading = _Reading(model.variables)
        graph = reading.builder.graph
        graph.inputs = [reading.number(tensor) for tensor in concrete.inputs[: len(tree.flatten(specs))]]
        reading.read(concrete.graph)
        graph.outputs = {reading.number(tensor) for tensor in concrete.outputs}
        return Trace(graph, reading.builder.numbers)

    def met(self) -> AbstractContextManager[object]:
        """The names of operations say it."""
        scope: AbstractContextManager[object] = tf.name_scope(_MET)
        return scope

    def uncompiled(self) -> AbstractContextManager[object]:
        """A `tf.function` is part of what runs around it in every run: see `functions`."""
        return nullcontext()

    def unmapped(self, take: Callable[[Tensor, Tensor, int], Tensor], logits: Tensor, output: Tensor) -> Tensor | None:
        """TensorFlow's maps are loops, and taken as such."""
        return None

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The name of a tensor in the graph."""
        name: Hashable = tensor.name
        return name


class _Notes:
    """Notes each operation of a model that runs eagerly, but for the sizes of axes; tensors are numbered as met.

    Args:
        known: Tensors that have the first numbers: inputs and the handles of weights.
        inside: Whether what runs at this moment is the model.
    """

    def __init__(self, known: Sequence[Tensor], inside: Callable[[], bool]) -> None:
        self.steps: list[Hashable] = []
        self._inside = inside
        self._numbers = {tensor._id: number for number, tensor in enumerate(known)}

    def __call__(
        self,
        op_type: str | bytes,
        inputs: Sequence[Tensor],
        attrs: Sequence[Any],
        outputs: Sequence[Tensor],
        op_name: str | None = None,
        graph: Any = None,
    ) -> None:
        """Called by TensorFlow for each operation."""
        if not self._inside():
            return
        if graph is not None:  # of a function that is traced during the run, and then called: that call tells it
            return
        name = op_type.decode() if isinstance(op_type, bytes) else op_type
        sizes = _SIZES.get(name, ())
        given = [self._given(tensor, is_size=place in sizes) for place, tensor in enumerate(inputs)]
        named = [(key, repr(value)) for key, value in zip(attrs[::2], attrs[1::2], strict=True)]
        self.steps.append((name, *given, *named, *map(self._number, outputs)))

    def _given(self, tensor: Tensor, *, is_size: bool) -> Hashable:
        """A number; of a setting, which no operation made, what it holds: it may be an axis."""
        if is_size or tensor._id in self._numbers:
            return self._number(tensor)
        setting = tensor.dtype.is_integer and math.prod(tensor.shape) <= _MOST_SETTINGS
        single = tensor.dtype.is_floating and tensor.shape.rank == 0
        return self._number(tensor), tensor.numpy().tobytes() if setting or single else b""

    def _number(self, tensor: Tensor) -> Hashable:
        return self._numbers.setdefault(tensor._id, len(self._numbers)), tensor.shape.rank, tensor.dtype.name


_MOST_SETTINGS = 32
"""How many whole numbers may say where, or along which axes, something is done."""
_SIZES = {
    "BroadcastTo": (1,),
    "Fill": (0,),
    "Range": (0, 1),
    "Reshape": (1,),
    "Slice": (2,),
    "StridedSlice": (2,),
}
"""Inputs that say how many positions an axis gets, or where a part of it ends."""


def _as_tensor(array: np.ndarray) -> Tensor:
    """A TensorFlow tensor; texts, which Keras does not convert, too."""
    if np.asarray(array).dtype.kind in "OUS":
        return tf.convert_to_tensor(array)
    return ops.convert_to_tensor(array)


def _specs(tensors: Tree) -> Tree:
    return tree.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), tensors)


def _map(
    taking: Interception, original: Any, fn: Callable[[Tree], Tree], elems: Tree, *args: Any, **kwargs: Any
) -> Tree:
    return taking.mapped(lambda *given: original(*given, *args, **kwargs), fn, elems)


def _vectorizing_map(
    taking: Interception, original: Any, fn: Callable[[Tree], Tree], elems: Tree, *args: Any, **kwargs: Any
) -> Tree:
    """`tf.vectorized_map` adds what it reads of one element to the graph around it, and never runs it as it is."""

    def run(function: Callable[[Tree], Tree], elements: Tree) -> Tree:
        def of_one_element(element: Tree) -> Tree:
            token = _OF_ONE_ELEMENT.set(object())
            try:
                return function(element)
            finally:
                _OF_ONE_ELEMENT.reset(token)

        return original(of_one_element, elements, *args, **kwargs)

    return taking.mapped(run, fn, elems)


def _cond(
    taking: Interception, original: Any, pred: Any, true_fn: Any = None, false_fn: Any = None, name: str | None = None
) -> Tree:
    return taking.condition(lambda *branches: original(pred, *branches, name=name), (true_fn, false_fn))


def _cases(taking: Interception, original: Any, chosen: Any, *args: Any, **kwargs: Any) -> Tree:
    """`tf.switch_case` and `tf.case`, whose branches are in a list, in pairs or in a dict."""
    branches: list[Any] = []

    def each(structure: Any, change: Callable[[Any], Any]) -> Any:
        if isinstance(structure, (list, tuple)):
            return type(structure)(each(item, change) for item in structure)
        if isinstance(structure, dict):
            return {key: each(item, change) for key, item in structure.items()}
        return change(structure) if callable(structure) else structure

    given = [chosen, list(args), kwargs]
    each(given, branches.append)

    def run(*wrapped: Any) -> Tree:
        in_order = iter(wrapped)
        first, others, named = each(given, lambda branch: next(in_order))
        return original(first, *others, **named)

    return taking.condition(run, branches)


def _uncompiled(taking: Interception, original: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls the Python that a `tf.function` was made of, as part of the graph around it.

    One that fixes the types of its arguments, or comes from a file, stays as it is.
    """
    if type(function) is not type(_A_FUNCTION) or function.input_signature is not None:
        return original(function, *args, **kwargs)
    run = function.python_function
    if function._autograph:
        run = tf.__internal__.autograph.tf_convert(run, tf.__internal__.autograph.control_status_ctx())
    return run(*args, **kwargs)


_A_FUNCTION = tf.function(lambda: None)
_MET = "attnscope_met"
"""Name of what belongs to a call that was met."""


def _softmax(taking: Interception, original: Any, logits: Tensor, axis: Any = None, name: str | None = None) -> Tensor:
    logits = tf.convert_to_tensor(logits)
    axis = -1 if axis is None else axis
    return taking.softmax(partial(original, logits, axis=axis, name=name), logits, axis)


class _Reading:
    """Reads the graph of a function and of the functions that it calls; a loop's body is read once.

    Tensors of the outermost graph are known by their names, others by the call that they belong to and their names.

    Args:
        variables: The model's variables.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self.builder = GraphBuilder(_VOCABULARY)
        self._paths = {id(variable.value.handle): variable for variable in variables}
        self._resources: dict[Hashable, Any] = {}
        self._lists: dict[Hashable, _List] = {}
        self._calls = count(1)
        self._met = False

    def read(self, graph: Any, call: int = 0) -> None:
        """Adds the operations of a graph."""
        for outer, inner in getattr(graph, "captures", ()):
            if id(outer) in self._paths:
                self._resources[self._key(inner, call)] = self._paths[id(outer)]
        for operation in graph.get_operations():
            self._add(operation, call)

    def number(self, tensor: Tensor, call: int = 0) -> int:
        """Number of a tensor."""
        shape = tensor.shape
        sizes = shape.as_list() if shape.rank is not None else ()
        return self.builder.tensor(self._key(tensor, call), sizes, tensor.dtype.name)

    @staticmethod
    def _key(tensor: Tensor, call: int) -> Hashable:
        return (call, tensor.name) if call else tensor.name

    def _add(self, operation: Any, call: int) -> None:
        kind = operation.type
        if kind in ("While", "StatelessWhile"):
            self._enter(operation, operation.get_attr("body").name, operation.inputs, call, loop=True)
        elif kind in ("PartitionedCall", "StatefulPartitionedCall"):
            self._enter(operation, operation.get_attr("f").name, operation.inputs, call)
        elif kind in ("If", "StatelessIf"):
            self._choose(operation, [operation.get_attr(name).name for name in ("then_branch", "else_branch")], call)
        elif kind in ("Case", "StatelessCase"):
            self._choose(operation, [branch.name for branch in operation.get_attr("branches")], call)
        elif kind.startswith("TensorList"):
            self._list(operation, call)
        elif kind == "ReadVariableOp":
            self._variable(self._key(operation.inputs[0], call), self.number(operation.outputs[0], call))
        elif operation.inputs:
            self._plain(operation, call)

    def _plain(self, operation: Any, call: int) -> None:
        operands = [self._operand(tensor, call) for tensor in operation.inputs]
        if operation.type == "Split":  # its first input is the axis
            operands = operands[1:]
        made = {"met": self._met or _is_met(operation), "compiled": bool(call)}
        for place, tensor in enumerate(operation.outputs):
            output = self.number(tensor, call)
            steps = self._steps(operation, operands[0], output) if operation.type == "StridedSlice" else None
            if steps is None:
                given = operands[place : place + 1] if operation.type == "IdentityN" else operands
                self.builder.add(operation.type, _Record(operation, place), given, output, **made)
                continue
            source = operands[0]
            for step, (known, shape) in enumerate(steps):
                last = step == len(steps) - 1
                target = output if last else self.builder.tensor((output, step), shape, tensor.dtype.name)
                self.builder.add_known(operation.type, known, [source], target, **made)
                source = target
        for tensor in operation.outputs:
            if operation.type == "Identity":
                self._same(self._key(operation.inputs[0], call), self._key(tensor, call))

    def _steps(self, operation: Any, operand: int, output: int) -> list[tuple[Operation, Shape]] | None:
        """An indexing, step by step."""
        shapes = self.builder.graph.shapes
        return _indexed(_Record(operation, 0), shapes[operand], shapes[output])

    def _operand(self, tensor: Tensor, call: int) -> int:
        """Number of an operand; of a variable that is read where it lies, that of its value."""
        variable = self._resources.get(self._key(tensor, call))
        if variable is None:
            return self.number(tensor, call)
        number = self.builder.tensor(("value", id(variable)), variable.shape, variable.dtype)
        self.builder.graph.weights[number] = variable.path
        return number

    def _variable(self, resource: Hashable, number: int) -> None:
        variable = self._resources.get(resource)
        if variable is not None:
            self.builder.graph.weights[number] = variable.path

    def _same(self, known: Hashable, other: Hashable) -> None:
        """What is known of one tensor beside its axes holds for the other too."""
        for table in (self._resources, self._lists):
            if known in table:
                table[other] = table[known]

    def _enter(self, operation: Any, name: str, given: Sequence[Tensor], call: int, *, loop: bool = False) -> None:
        """Reads a function in the place of its call."""
        graph, inside = self._inside(operation, name, given, call)
        over = [item for listed in self._read_in(graph, inside) for item in listed.over] if loop else []
        for place, (outer, inner) in enumerate(zip(operation.outputs, graph.outputs, strict=False)):
            key, made = self._key(outer, call), self.number(inner, inside)
            begun = self.number(given[place], call) if loop and outer.dtype != tf.variant else made
            if begun == made:
                self.builder.same(key, made)
            else:  # a loop of no step gives what it began with
                self.builder.add_choice(operation.type, [begun, made], self.number(outer, call), met=self._met)
            self._same(self._key(inner, inside), key)
            if loop and key in self._lists and self._lists[key].item is not None:
                self._lists[key] = _List(over, self._lists[key].item)

    def _inside(self, operation: Any, name: str, given: Sequence[Tensor], call: int) -> tuple[Any, int]:
        """Reads a function that is called on these tensors; gives its graph and the number of the call."""
        graph = operation.graph._get_function(name).graph
        inside = next(self._calls)
        for outer, inner in zip(given, graph.inputs, strict=False):
            self.builder.same(self._key(inner, inside), self.number(outer, call))
            self._same(self._key(outer, call), self._key(inner, inside))
        before, self._met = self._met, self._met or _is_met(operation)
        self.read(graph, inside)
        self._met = before
        return graph, inside

    def _choose(self, operation: Any, branches: Sequence[str], call: int) -> None:
        """Reads all branches of a condition: what comes out is what one of them gives."""
        read = [self._inside(operation, name, operation.inputs[1:], call) for name in branches]
        for place, tensor in enumerate(operation.outputs):
            made = [self.number(graph.outputs[place], inside) for graph, inside in read]
            met = self._met or _is_met(operation)
            self.builder.add_choice(operation.type, made, self.number(tensor, call), met=met)

    def _read_in(self, graph: Any, call: int) -> list[_List]:
        """The lists that a loop's body reads from."""
        keys = [
            self._key(operation.inputs[0], call)
            for operation in graph.get_operations()
            if operation.type == "TensorListGetItem"
        ]
        return [self._lists[key] for key in keys if key in self._lists]

    def _list(self, operation: Any, call: int) -> None:
        """Lists of tensors: what a loop runs over, and what its steps give."""
        key = self._key(operation.outputs[0], call)
        first = self._key(operation.inputs[0], call)
        listed = self._lists.get(first, _List([]))
        if operation.type == "TensorListFromTensor":
            self._lists[key] = _List([self.number(operation.inputs[0], call)])
        elif operation.type == "TensorListSetItem":
            self._lists[key] = _List(listed.over, self.number(operation.inputs[2], call))
        elif operation.type == "TensorListGetItem" and listed.over:
            self.builder.add("TensorListGetItem", None, listed.over[:1], self.number(operation.outputs[0], call))
        elif operation.type == "TensorListStack" and listed.item is not None:
            inputs = [listed.item, *listed.over]
            self.builder.add("TensorListStack", None, inputs, self.number(operation.outputs[0], call))
        elif operation.type in ("TensorListGetItem", "TensorListStack"):  # of a list that nobody saw being filled
            self.builder.add_known(operation.type, Unknown(), [], self.number(operation.outputs[0], call))
        else:
            self._plain(operation, call)


def _is_met(operation: Any) -> bool:
    """Whether it was added while what belongs to a call that was met ran."""
    return any(part.startswith(_MET) for part in operation.name.split("/"))


@dataclass(frozen=True)
class _List:
    """A list of tensors.

    Attributes:
        over: Tensors that a loop runs over along their first axes: the one that the list was made of, or all that the
            loop that filled it runs over.
        item: What one step put into it; None where it was not filled in a loop.
    """

    over: list[int]
    item: int | None = None


@dataclass(frozen=True)
class _Record:
    """An operation, and the how manieth of its results this is."""

    operation: Any
    place: int

    def attribute(self, name: str) -> Any:
        """One of its attributes."""
        return self.operation.get_attr(name)

    def constant(self, position: int) -> list[int] | None:
        """The values of one of its inputs, where they are known."""
        value = _value(self.operation.inputs[position])
        return None if value is None else value.reshape(-1).tolist()

    def number(self, position: int) -> int | None:
        """The value of one of its inputs that is a single number, where it is known."""
        values = self.constant(position)
        return values[0] if values else None


_MOST_CONSTANTS = 64
"""How many numbers may hold what is computed of constants: axes and positions, no masks."""


def _value(tensor: Tensor) -> np.ndarray | None:
    """The value of a tensor that is made of constants alone, where it is known.

    A graph computes axes and positions of constants: `tf.nn.softmax` along any axis but the last, a slice from the sum
    of some sizes.
    """
    value: np.ndarray | None = tf.get_static_value(tensor)
    operation, count = tensor.op, tensor.shape.num_elements()
    if value is not None or not operation.inputs or count is None or count > _MOST_CONSTANTS:
        return value
    functions = any(attribute.type == "func" for attribute in operation.op_def.attr)
    known = hasattr(tf.raw_ops, operation.type) and tensor.dtype.is_integer
    if operation.op_def.is_stateful or functions or not known:
        return None
    parts = [part for each in operation.inputs if (part := _value(each)) is not None]
    return _computed(operation, parts)[tensor.value_index] if len(parts) == len(operation.inputs) else None


def _computed(operation: Any, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What an operation makes of these inputs."""
    left = iter(parts)
    given: dict[str, np.ndarray | list[np.ndarray]] = {}
    known: set[str] = set()
    for argument in operation.op_def.input_arg:
        known.update((argument.number_attr, argument.type_attr))
        count = operation.get_attr(argument.number_attr) if argument.number_attr else None
        given[argument.name] = next(left) if count is None else [next(left) for _ in range(count)]
    settings = {each.name: operation.get_attr(each.name) for each in operation.op_def.attr if each.name not in known}
    with tf.init_scope():
        computed = getattr(tf.raw_ops, operation.type)(**given, **settings)
    return [each.numpy() for each in (computed if isinstance(computed, (list, tuple)) else [computed])]


def _matmul(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    flags = ("transpose_a", "transpose_b") if record.operation.type == "MatMul" else ("adj_x", "adj_y")
    first, second = (record.attribute(flag) for flag in flags)
    return matmul([len(shape) for shape in shapes], transpose_first=first, transpose_second=second)


def _einsum(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return einsum(record.attribute("equation").decode(), [len(shape) for shape in shapes]) if len(shapes) < 3 else None


def _transpose(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return transposition(record.constant(1))


def _expand(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = record.number(1)
    return None if axis is None else expansion([axis], len(out))


def _squeeze(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    rank = len(shapes[0])
    axes = record.attribute("squeeze_dims") or [axis for axis, size in enumerate(shapes[0]) if size == 1]
    return squeeze(axes, rank)


def _reduce(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return reduction(record.constant(1), len(shapes[0]), keepdims=record.attribute("keep_dims"))


def _windows(record: _Record, rank: int) -> tuple[int, dict[int, tuple[int, int]]]:
    """The axis of the channels, and the others with the distance of their windows."""
    channel = rank - 1 if record.attribute("data_format").decode().endswith("C") else 1
    strides = record.attribute("strides")
    return channel, {axis: (axis, strides[axis]) for axis in range(1, rank) if axis != channel}


def _convolution(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    channel, windows = _windows(record, len(out))
    return Windowed({0: 0}, windows, units=(len(shapes[1]) - 1, channel))


def _transposed_convolution(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    channel, windows = _windows(record, len(out))
    spread = {
        axis: (target, 0) for axis, (target, _) in windows.items()
    }  # they lie less than one position of the input apart
    return Windowed({0: 0}, spread, units=(len(shapes[1]) - 2, channel), places=(2, 1))


def _pooling(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    channel, windows = _windows(record, len(out))
    return Windowed({0: 0, channel: channel}, windows)


def _resized(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Windowed({0: 0, 3: 3}, {1: (1, 0), 2: (2, 0)})


def _indexed(record: _Record, shape: Shape, out: Shape) -> list[tuple[Operation, Shape]] | None:
    """Indexing as in Python, in steps, each with the shape that it gives: parts, single positions, new axes."""
    begins, steps = record.constant(1), record.constant(3)
    if steps is None:
        return None
    masks = {name: record.attribute(f"{name}_mask") for name in ("new_axis", "shrink_axis", "begin", "ellipsis")}

    def is_set(name: str, place: int) -> bool:
        return bool(masks[name] >> place & 1)

    places = range(len(steps))
    indexed = sum(not (is_set("new_axis", place) or is_set("ellipsis", place)) for place in places)
    starts: list[int | None] = [0] * len(shape)
    strides = [1] * len(shape)
    single: list[int] = []
    new: list[int] = []
    axis = target = 0
    for place in places:
        if is_set("new_axis", place):
            new.append(target)
            target += 1
        elif is_set("ellipsis", place):
            axis += len(shape) - indexed
            target += len(shape) - indexed
        else:
            begin, step = None if begins is None else begins[place], steps[place]
            first = 0 if step > 0 else shape[axis] - 1
            given = None if begin is None else begin + shape[axis] if begin < 0 else begin
            starts[axis] = first if is_set("begin", place) else given
            strides[axis] = step
            if is_set("shrink_axis", place):
                single.append(axis)
            else:
                target += 1
            axis += 1
    left = iter(size for target, size in enumerate(out) if target not in new)
    sizes = [size if axis in single else next(left) for axis, size in enumerate(shape)]
    done: list[tuple[Operation, Shape]] = []
    if any(strides[axis] != 1 or sizes[axis] != shape[axis] for axis in range(len(shape)) if axis not in single):
        parts = tuple(0 if axis in single else start for axis, start in enumerate(starts))
        done.append(
            (Sliced(parts, tuple(1 if axis in single else step for axis, step in enumerate(strides))), tuple(sizes))
        )
    for axis in reversed(single):
        del sizes[axis]
        done.append((Taken(axis, starts[axis]), tuple(sizes)))
    if new or not done:
        done.append((expansion(new, len(out)), out))
    return done


def _slice(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    starts = record.constant(1)
    known = (
        tuple(starts)
        if starts is not None
        else tuple(0 if size == whole else None for size, whole in zip(out, shapes[0], strict=True))
    )
    return Sliced(known, (1,) * len(out))


def _split(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    position, sizes = (0, None) if record.operation.type == "Split" else (2, record.constant(1))
    axis = record.number(position)
    if axis is None:
        return None
    axis %= len(out)
    start = record.place * out[axis] if sizes is None else sum(sizes[: record.place])
    return slice_along(axis, start, len(out))


def _unpack(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Taken(record.attribute("axis") % len(shapes[0]), record.place)


def _padded(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    pads = record.constant(1)
    return None if pads is None else padding(pads[::2])


def _flip(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axes = record.constant(1)
    return None if axes is None else flip(axes, out)


def _roll(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    shifts, axes = (_as_list(record.constant(place)) for place in (1, 2))
    if axes is None:
        return roll(dict.fromkeys(range(len(out))), out)
    known = [None] * len(axes) if shifts is None else shifts
    return roll({axis % len(out): shift for axis, shift in zip(axes, known, strict=True)}, out)


def _tile(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    times = _as_list(record.constant(1))
    return read_repeat(record, shapes, out) if times is None else tiled(times, shapes[0])


def _as_list(value: Any) -> list[int] | None:
    return None if value is None else [int(number) for number in np.ravel(value)]


def _concatenate(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    axis = record.number(len(shapes) - 1)
    return None if axis is None else Joined(axis % len(out), inputs=len(shapes) - 1)


def _pack(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Joined(record.attribute("axis") % len(out), stacked=True)


def _gather(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    """Rows by their numbers; the first axes may be those of both."""
    axis = record.number(2) if record.operation.type == "GatherV2" else 0
    if axis is None:
        return None
    rank = len(shapes[0])
    return lookup(axis % rank, rank, len(shapes[1]), record.attribute("batch_dims"))


def _chosen(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    rank = len(shapes[0])
    axis = record.number(1) if record.operation.type.startswith("Arg") else rank - 1
    return None if axis is None else Chosen(axis % rank, keeps=len(out) == rank)


def _one_hot(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return expansion([record.attribute("axis")], len(out))


def _batch_norm(record: _Record, shapes: Sequence[Shape], out: Shape) -> Operation | None:
    return Elementwise(inputs=1) if len(out) == len(shapes[0]) else None


_ELEMENTWISE = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Add",
        "AddN",
        "AddV2",
        "Asin",
        "Asinh",
        "Atan",
        "Atan2",
        "Atanh",
        "BiasAdd",
        "Ceil",
        "CheckNumerics",
        "ClipByValue",
        "Complex",
        "Cos",
        "Cosh",
        "Digamma",
        "Div",
        "DivNoNan",
        "Elu",
        "Equal",
        "Erf",
        "Erfc",
        "Erfinv",
        "Exp",
        "Expm1",
        "Floor",
        "FloorDiv",
        "FloorMod",
        "Greater",
        "GreaterEqual",
        "IsFinite",
        "IsInf",
        "IsNan",
        "LeakyRelu",
        "Less",
        "LessEqual",
        "Lgamma",
        "Log",
        "Log1p",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
        "Maximum",
        "Minimum",
        "Mod",
        "Neg",
        "NotEqual",
        "Pow",
        "PreventGradient",
        "RealDiv",
        "Reciprocal",
        "Relu",
        "Relu6",
        "Rint",
        "Round",
        "Rsqrt",
        "Select",
        "SelectV2",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Square",
        "SquaredDifference",
        "Sub",
        "Tan",
        "Tanh",
        "TruncateDiv",
        "Xdivy",
        "Xlog1py",
        "Xlogy",
        "BitwiseAnd",
        "BitwiseOr",
        "BitwiseXor",
        "Invert",
        "LeftShift",
        "RightShift",
    ]
)

_VOCABULARY = Vocabulary(
    elementwise=_ELEMENTWISE,
    readers={
        **dict.fromkeys(("Mul", "MulNoNan"), read_product),
        **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matmul),
        "Einsum": _einsum,
        "Transpose": _transpose,
        "Reshape": read_reshape,
        "ExpandDims": _expand,
        "Squeeze": _squeeze,
        **dict.fromkeys(("Sum", "Mean", "Max", "Min", "Prod", "Any", "All", "EuclideanNorm"), _reduce),
        **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative"), _convolution),
        **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _transposed_convolution),
        **dict.fromkeys(("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"), _pooling),
        **dict.fromkeys(("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"), _resized),
        "Slice": _slice,
        **dict.fromkeys(("Split", "SplitV"), _split),
        "Unpack": _unpack,
        **dict.fromkeys(("PadV2", "Pad", "MirrorPad"), _padded),
        "ReverseV2": _flip,
        "Roll": _roll,
        "ConcatV2": _concatenate,
        "Pack": _pack,
        **dict.fromkeys(("GatherV2", "ResourceGather"), _gather),
        **dict.fromkeys(("TopKV2", "ArgMax", "ArgMin"), _chosen),
        "OneHot": _one_hot,
        "BroadcastTo": read_repeat,
        "Tile": _tile,
        **dict.fromkeys(("Softmax", "LogSoftmax"), read_last),
        **dict.fromkeys(("Cumsum", "Cumprod"), read_first),
        **dict.fromkeys(("OnesLike", "ZerosLike", "Fill"), read_constant),
        **dict.fromkeys(("Cast", "Identity", "IdentityN", "StopGradient"), read_copy),
        **dict.fromkeys(("FusedBatchNormV3", "FusedBatchNorm"), _batch_norm),
        **dict.fromkeys(("TensorScatterUpdate", "TensorScatterAdd", "XlaDynamicUpdateSlice"), read_update),
        "TensorListGetItem": read_step,
        "TensorListStack": read_steps,
    },
    functions={
        "Exp": "exp",
        "Log": "log",
        **dict.fromkeys(("RealDiv", "Div", "DivNoNan"), "divide"),
        "Reciprocal": "reciprocal",
        "Sub": "subtract",
        "Sum": "sum",
        "Softmax": "softmax",
        "LogSoftmax": "log_softmax",
        "Equal": "equal",
    },
)

BACKEND = TensorFlow()
