"""The trace of a model in one form for all backends: operations, and where each axis of an input goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

AxisMap = dict[int, int]
"""Which axis of an input is which axis of the output; what is not in it is lost there."""
Shape = tuple[int, ...]
Kind = Literal["product", "contraction", "choice", "stack", "broadcast", "other"]
"""What a node does with its inputs: multiplies them element by element; sums over axes in which two of them meet; picks
some (top-k and the like); puts them beside each other; repeats one; anything else."""


@dataclass(frozen=True)
class Axes:
    """What an operation does with the axes of its inputs.

    Attributes:
        maps: For each input, which of its axes is which axis of the output.
        summed: For each input, the axes that are summed away.
        paired: In a contraction of two, the summed axes of the first input and their partners in the second.
        kind: Of the operation; None where its name tells.
    """

    maps: tuple[AxisMap, ...]
    summed: tuple[frozenset[int], ...] = ()
    paired: AxisMap = field(default_factory=dict)
    kind: Kind | None = None


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: The backend's name for it.
        inputs: Numbers of the tensors that go in.
        output: Number of the tensor that comes out.
        axes: What becomes of the inputs' axes.
        kind: What it does with its inputs.
    """

    name: str
    inputs: tuple[int, ...]
    output: int
    axes: Axes
    kind: Kind = "other"

    def is_summed(self, position: int, axis: int) -> bool:
        """Whether this axis of this input is summed away."""
        return position < len(self.axes.summed) and axis in self.axes.summed[position]

    def partner(self, position: int, axis: int) -> int:
        """The axis of the other input that a contracted axis meets."""
        if position == 0:
            return self.axes.paired[axis]
        return next(first for first, second in self.axes.paired.items() if second == axis)


@dataclass
class Graph:
    """A trace of one run of a model.

    Attributes:
        nodes: In the order of execution.
        shapes: Shape of each tensor.
        inputs: The model's inputs; what depends on one of them is data, all else is weights and constants.
        outputs: What the model returns.
        booleans: Tensors of bool dtype; what is made of them alone is a mask and counts as no data.
    """

    nodes: list[Node] = field(default_factory=list)
    shapes: dict[int, Shape] = field(default_factory=dict)
    inputs: set[int] = field(default_factory=set)
    outputs: set[int] = field(default_factory=set)
    booleans: set[int] = field(default_factory=set)

    @cached_property
    def consumers(self) -> dict[int, list[tuple[Node, int]]]:
        """For each tensor the nodes it goes into, with its position among their inputs."""
        consumers = defaultdict(list)
        for node in self.nodes:
            for position, tensor in enumerate(node.inputs):
                consumers[tensor].append((node, position))
        return consumers

    @cached_property
    def producers(self) -> dict[int, Node]:
        """For each tensor the node it comes from."""
        return {node.output: node for node in self.nodes}

    @cached_property
    def data(self) -> set[int]:
        """Tensors that depend on the model's input other than through a mask or a choice."""
        data = set(self.inputs)
        for node in self.nodes:
            if node.kind != "choice" and node.output not in self.booleans and not data.isdisjoint(node.inputs):
                data.add(node.output)
        return data

    def reached_from(self, tensor: int) -> set[int]:
        """The tensor and all that is computed from it."""
        reached = {tensor}
        for node in self.nodes:
            if not reached.isdisjoint(node.inputs):
                reached.add(node.output)
        return reached


@dataclass(frozen=True)
class Trace:
    """A traced run of a model.

    Attributes:
        graph: Its operations.
        numbers: Number of each tensor by the key that `Backend.key_of` gave for it during the run.
    """

    graph: Graph
    numbers: Mapping[Hashable, int]


Reader = Callable[[Any, Sequence[Shape], Shape], Axes | None]
"""From the backend's record of an operation, the shapes of its inputs and the shape of its output to what it does with
axes; None where it cannot tell, so that axes are matched by shape."""


@dataclass(frozen=True)
class Vocabulary:
    """The operations of one backend that the data flow has to understand, by the backend's names.

    Attributes:
        kinds: Kinds of the operations that have one; of all others it is ``other``.
        readers: How axes are followed through an operation. Of one that has no reader axes are matched by shape.
    """

    kinds: Mapping[str, Kind]
    readers: Mapping[str, Reader]

    def axes(self, name: str, record: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
        """What an operation does with the axes of its inputs."""
        reader = self.readers.get(name)
        axes = None if reader is None else reader(record, shapes, out)
        if axes is not None:
            return axes
        return (
            Axes(tuple(_of_a_piece(shape, out) for shape in shapes))
            if self.kind(name) == "stack"
            else Axes(_by_shape(shapes, out))
        )

    def kind(self, name: str) -> Kind:
        """What an operation of this name does."""
        return self.kinds.get(name, "other")


class GraphBuilder:
    """Collects nodes; tensors are numbered by whatever key the backend knows them by."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.graph = Graph()
        self.numbers: dict[Hashable, int] = {}
        self._vocabulary = vocabulary
        self._count = 0

    def tensor(self, key: Hashable, shape: Iterable[int | None], dtype: object) -> int:
        """Number of a tensor, known or new."""
        if key not in self.numbers:
            self.numbers[key] = self._count
            self._count += 1
        number = self.numbers[key]
        self.graph.shapes[number] = tuple(-1 if size is None else int(size) for size in shape)
        if "bool" in str(dtype):
            self.graph.booleans.add(number)
        return number

    def forget(self, keys: Iterable[Hashable]) -> None:
        """These keys mean new tensors from now on."""
        for key in keys:
            self.numbers.pop(key, None)

    def same(self, key: Hashable, number: int) -> None:
        """Another name for a tensor."""
        self.numbers[key] = number

    def add(self, name: str, record: Any, inputs: Sequence[int], output: int) -> None:
        """Adds an operation.

        Args:
            name: The backend's name for it.
            record: What the vocabulary's readers are given.
            inputs: Numbers of its inputs.
            output: Number of its output.
        """
        shapes = [self.graph.shapes[tensor] for tensor in inputs]
        axes = self._vocabulary.axes(name, record, shapes, self.graph.shapes[output])
        kind = axes.kind or self._vocabulary.kind(name)
        self.graph.nodes.append(Node(name, tuple(inputs), output, axes, kind))


def _by_shape(shapes: Sequence[Shape], out: Shape) -> tuple[AxisMap, ...]:
    """Axes of an unknown operation: where the rank stays, equal sizes keep their place."""
    maps = elementwise([shape if len(shape) <= len(out) else () for shape in shapes], out)
    same_rank = [len(shape) == len(out) for shape in shapes]
    return tuple(mapping if fits or len(shapes) > 1 else {} for mapping, fits in zip(maps, same_rank, strict=True))


def _of_a_piece(shape: Shape, out: Shape) -> AxisMap:
    """Axes of a piece of a concatenation; pieces of size 1 make a new axis."""
    if len(shape) != len(out):
        return {}
    return {axis: axis for axis, size in enumerate(shape) if size == out[axis] or size > 1}


def of_first(mapping: AxisMap, shapes: Sequence[Shape], summed: Iterable[int] = ()) -> Axes:
    """Axes of an operation on its first input; the others (sizes, indices) hand on no axis."""
    return Axes((mapping, *[{}] * (len(shapes) - 1)), (frozenset(summed),))


def elementwise(shapes: Sequence[Shape], out: Shape) -> tuple[AxisMap, ...]:
    """Axis maps of an operation that broadcasts from the right."""
    return tuple(
        {
            axis: axis + len(out) - len(shape)
            for axis, size in enumerate(shape)
            if axis + len(out) - len(shape) >= 0 and size == out[axis + len(out) - len(shape)]
        }
        for shape in shapes
    )


def permuted(order: Iterable[int]) -> AxisMap:
    """Axis map of a transpose whose output axis ``n`` is input axis ``order[n]``."""
    return {source: target for target, source in enumerate(order)}


def all_but(rank: int, *axes: int) -> AxisMap:
    """Axis map of an operation that keeps all axes in place but hands these ones not on."""
    return {axis: axis for axis in range(rank) if axis not in axes}


def reduced(rank: int, axes: Iterable[int], *, keepdims: bool) -> AxisMap:
    """Axis map of a sum or the like over some axes."""
    left = [axis for axis in range(rank) if axis not in set(axes)]
    return {axis: axis for axis in left} if keepdims else permuted(left)


def reshaped(shape: Shape, out: Shape) -> AxisMap:
    """Axis map of a reshape: axes that keep their size and what lies before them, and splits by their span.

    An axis that is split or merged is mapped to the first part that it shares elements with, so that the origin
    of a merged axis can still be told.
    """
    spans, out_spans = _spans(shape), _spans(out)
    exact = {
        axis: target
        for axis, span in enumerate(spans)
        for target, out_span in enumerate(out_spans)
        if span == out_span and shape[axis] > 1
    }
    taken = set(exact.values())
    for axis, (inner, outer) in enumerate(spans):
        if axis in exact or shape[axis] == 1:
            continue
        for target, (out_inner, out_outer) in enumerate(out_spans):
            if target not in taken and out[target] > 1 and inner < out_outer and out_inner < outer:
                exact[axis] = target
                break
    return exact


def transposition(order: Iterable[int] | None, shapes: Sequence[Shape]) -> Axes | None:
    """Axes of a transpose whose output axis ``n`` is input axis ``order[n]``; None where the order is not known."""
    return None if order is None else of_first(permuted(order), shapes)


def reduction(axes: Iterable[int] | None, shapes: Sequence[Shape], *, keepdims: bool) -> Axes | None:
    """Axes of a sum or the like over these axes, which count from either end; None where they are not known."""
    if axes is None:
        return None
    rank = len(shapes[0])
    summed = {axis % rank for axis in axes}
    return of_first(reduced(rank, summed, keepdims=keepdims), shapes, summed=summed)


def read_reshape(record: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    """Reader of a reshape, of axes of size 1 that come or go, too."""
    return of_first(reshaped(shapes[0], out), shapes)


def read_repeat(record: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    """Reader of an operation that repeats its first input."""
    return of_first(elementwise([shapes[0]], out)[0], shapes)


def read_in_place(record: Any, shapes: Sequence[Shape], out: Shape) -> Axes:
    """Reader of an operation that leaves each axis of its first input in its place: a slice, padding, a flip."""
    return of_first({axis: axis for axis in range(len(out))}, shapes)


def _spans(shape: Shape) -> list[tuple[int, int]]:
    """For each axis the elements that lie inside of it, and those inside of it with its own size."""
    spans, inner = [], 1
    for size in reversed(shape):
        spans.append((inner, inner * size))
        inner *= size
    return spans[::-1]


def einsum(equation: str) -> Axes:
    """Axes of an einsum of two tensors, its equation without an ellipsis."""
    inputs, out = equation.replace(" ", "").split("->")
    terms = inputs.split(",")
    first, second = terms
    return Axes(
        maps=tuple({axis: out.index(label) for axis, label in enumerate(term) if label in out} for term in terms),
        summed=tuple(frozenset(axis for axis, label in enumerate(term) if label not in out) for term in terms),
        paired={axis: second.index(label) for axis, label in enumerate(first) if label not in out and label in second},
        kind="contraction",
    )


def matmul(rank: int, transpose_first: bool = False, transpose_second: bool = False) -> Axes:
    """Axes of a (batched) matrix product of two tensors of this rank."""
    lead = "abcdefgh"[: rank - 2]
    first = "km" if transpose_first else "mk"
    second = "nk" if transpose_second else "kn"
    return einsum(f"{lead}{first},{lead}{second}->{lead}mn")
