"""The trace of a model in one form for all backends: operations, and what each does with the axes of its tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from attnscope.backends._operations import (
    Chosen,
    Collected,
    Contraction,
    Elementwise,
    Looked,
    Moved,
    Operation,
    Reshaped,
    Sliced,
    Taken,
    Tiled,
    Unknown,
    Updated,
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: The backend's name for it.
        inputs: Numbers of the tensors that go in.
        output: Number of the tensor that comes out.
        operation: What it does with their axes.
        function: What it computes, as far as that tells a softmax that is written out; see `Vocabulary`.
        met: Whether it belongs to a call that was met, such as the exponentials inside of a softmax.
        compiled: Whether it is in a function that was compiled by itself.
    """

    name: str
    inputs: tuple[int, ...]
    output: int
    operation: Operation
    function: str = ""
    met: bool = False
    compiled: bool = False


@dataclass
class Graph:
    """A trace of one run of a model.

    Attributes:
        nodes: In the order of execution.
        shapes: Shape of each tensor.
        inputs: The model's inputs, in their order; what depends on one of them is data, all else is weights and
            constants.
        weights: Path of each variable of the model that is read, by the number of its tensor.
        outputs: What the model returns.
        booleans: Tensors of bool dtype; what is made of them alone is a mask and counts as no data, unless it is a
            one-hot code of data.
    """

    nodes: list[Node] = field(default_factory=list)
    shapes: dict[int, Shape] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    weights: dict[int, str] = field(default_factory=dict)
    outputs: set[int] = field(default_factory=set)
    booleans: set[int] = field(default_factory=set)

    @cached_property
    def digest(self) -> str:
        """A digest of the operations and of how they are connected, not of sizes, which follow the inputs."""
        program = repr(([(node.name, node.inputs, node.output) for node in self.nodes], self.inputs))
        return hashlib.blake2b(program.encode(), digest_size=16).hexdigest()

    @cached_property
    def program(self) -> str:
        """A digest of all that the operations do, but for the sizes of axes: where a slice starts, but not how long."""
        ranks = [(number, len(shape)) for number, shape in self.shapes.items()]
        steps = [(node.name, node.inputs, node.output, node.operation) for node in self.nodes]
        program = repr((steps, ranks, self.inputs, self.weights, sorted(self.outputs), sorted(self.booleans)))
        return hashlib.blake2b(program.encode(), digest_size=16).hexdigest()

    @cached_property
    def makers(self) -> dict[int, Node]:
        """For each tensor that an operation makes, that operation."""
        return {node.output: node for node in self.nodes}

    @cached_property
    def users(self) -> dict[int, list[int]]:
        """For each tensor, the places in `nodes` of the operations that take it, in their order."""
        users: dict[int, list[int]] = {}
        for place, node in enumerate(self.nodes):
            for tensor in set(node.inputs):
                users.setdefault(tensor, []).append(place)
        return users

    @cached_property
    def data(self) -> set[int]:
        """Tensors that depend on the model's input other than through a mask or a choice."""
        data = set(self.inputs)
        for node in self.nodes:
            choice = isinstance(node.operation, Chosen)
            mask = node.output in self.booleans and not self._is_one_hot(node, data)
            if not choice and not mask and not data.isdisjoint(node.inputs):
                data.add(node.output)
        return data

    def _is_one_hot(self, node: Node, data: Collection[int]) -> bool:
        """Whether each number of some data is compared with each of several constants."""
        if node.function != "equal":
            return False
        given, constants = (
            [self.shapes[each] for each in node.inputs if (each in data) == own] for own in (True, False)
        )
        return any(
            size > 1 and (len(shape) < place or shape[-place] == 1)
            for shape in given
            for constant in constants
            for place, size in enumerate(reversed(constant), start=1)
        )

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


Reader = Callable[[Any, Sequence[Shape], Shape], Operation | None]
"""From the backend's record of an operation, the shapes of its inputs and the shape of its output to what it does with
axes; None where it cannot tell."""


@dataclass(frozen=True)
class Vocabulary:
    """The operations of one backend that are understood, by the backend's names.

    Attributes:
        elementwise: Those that combine their inputs element by element and do nothing else.
        readers: How the others are read.
        functions: What softmaxes are written out in: ``exp``, ``log``, ``divide``, ``reciprocal``, ``subtract``,
            ``sum`` and ``logsumexp``, and the backend's own ``softmax`` and ``log_softmax``; and ``equal``, which makes
            one-hot codes.
    """

    elementwise: Container[str]
    readers: Mapping[str, Reader]
    functions: Mapping[str, str] = field(default_factory=dict)

    def operation(self, name: str, record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
        """What an operation does with the axes of its inputs."""
        if name in self.elementwise:
            return Elementwise()
        reader = self.readers.get(name)
        return (None if reader is None else reader(record, shapes, out)) or Unknown()


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

    def add(
        self,
        name: str,
        record: Any,
        inputs: Sequence[int],
        output: int,
        *,
        met: bool = False,
        compiled: bool = False,
    ) -> None:
        """Adds an operation.

        Args:
            name: The backend's name for it.
            record: What the vocabulary's readers are given.
            inputs: Numbers of its inputs.
            output: Number of its output.
            met: Whether it belongs to a call that was met.
            compiled: Whether it is in a function that was compiled by itself.
        """
        shapes = [self.graph.shapes[tensor] for tensor in inputs]
        operation = self._vocabulary.operation(name, record, shapes, self.graph.shapes[output])
        self.add_known(name, operation, inputs, output, met=met, compiled=compiled)

    def add_known(
        self,
        name: str,
        operation: Operation,
        inputs: Sequence[int],
        output: int,
        *,
        met: bool = False,
        compiled: bool = False,
    ) -> None:
        """Adds an operation of which it is known what it does; otherwise like `add`."""
        function = self._vocabulary.functions.get(name, "")
        self.graph.nodes.append(Node(name, tuple(inputs), output, operation, function, met, compiled))

    def add_choice(self, name: str, inputs: Sequence[int], output: int, *, met: bool = False) -> None:
        """Adds what is one of several tensors, such as what the branches of a condition give; otherwise like `add`.

        What all of them agree on holds for it, whichever it is.
        """
        shapes = [self.graph.shapes[tensor] for tensor in inputs]
        self.add_known(name, Elementwise() if _agree(shapes) else Unknown(), inputs, output, met=met)


def _agree(shapes: Sequence[Shape]) -> bool:
    """Whether these are one shape, as far as they are known."""
    ranks = {len(shape) for shape in shapes}
    return len(ranks) == 1 and all(len(set(sizes) - {-1}) <= 1 for sizes in zip(*shapes, strict=True))


def read_reshape(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of a reshape."""
    return Reshaped()


def read_product(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of an element-wise product."""
    return Elementwise(product=True)


def read_first(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of an operation that leaves each position of its first input in its place; the others are settings."""
    return Elementwise(inputs=1)


def read_last(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of a softmax along the last axis, or of the logarithm of one."""
    return Elementwise(inputs=1, along=len(out) - 1)


def read_copy(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of an operation that hands on its first input as it is, perhaps in another dtype."""
    return repeated(len(shapes[0]), len(shapes[0]))


def read_constant(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of an operation that makes constants in the shape of its first input."""
    return Moved((None,) * len(shapes[0]))


def read_repeat(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of an operation that repeats axes of size 1, and adds new ones in front."""
    return repeated(len(shapes[0]), len(out))


def read_update(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of an operation that writes its second input into the first."""
    return Updated()


def read_step(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of what one step of a loop gets of what the loop runs over."""
    return Taken(0, None)


def read_steps(record: Any, shapes: Sequence[Shape], out: Shape) -> Operation:
    """Reader of what the steps of a loop gave."""
    return Collected()


def tiled(times: Iterable[int], shape: Shape) -> Operation:
    """Copies behind each other; where only axes of size 1 are repeated that is the same as broadcasting."""
    listed = tuple(times)
    rank = len(shape)
    if all(
        count == 1 or axis < len(listed) - rank or shape[axis - len(listed) + rank] == 1
        for axis, count in enumerate(listed)
    ):
        return repeated(rank, len(listed))
    return Tiled(listed)


def roll(shifts: Mapping[int, int | None], shape: Shape) -> Sliced:
    """A roll by so many positions along these axes; None where it is not known by how many."""
    starts = (
        None if shift is None else -shift % size if size > 0 else None
        for size, shift in ((size, shifts.get(axis, 0)) for axis, size in enumerate(shape))
    )
    return Sliced(tuple(starts), (1,) * len(shape), wraps=True)


def flip(axes: Iterable[int], shape: Shape) -> Sliced:
    """These axes are turned round; they count from either end."""
    turned = {axis % len(shape) for axis in axes}
    starts = tuple(size - 1 if axis in turned else 0 for axis, size in enumerate(shape))
    return Sliced(starts, tuple(-1 if axis in turned else 1 for axis in range(len(shape))))


def padding(fronts: Iterable[int]) -> Sliced:
    """So many positions are put in front of each axis, and any number behind."""
    starts = tuple(-front for front in fronts)
    return Sliced(starts, (1,) * len(starts))


def slice_along(axis: int, start: int | None, rank: int, step: int = 1) -> Sliced:
    """Positions of one axis from `start` on, which is None where it is not known; all of the other axes."""
    starts = tuple(start if number == axis else 0 for number in range(rank))
    return Sliced(starts, tuple(step if number == axis else 1 for number in range(rank)))


def lookup(axis: int, rank: int, indices: int, both: int = 0) -> Looked:
    """Rows along one axis of a table by their numbers, whose axes stand in the place of that one.

    Args:
        axis: The axis of the table.
        rank: Of the table.
        indices: Rank of the numbers.
        both: So many first axes are those of both.
    """
    own = indices - both
    table = tuple(None if number == axis else number if number < axis else number + own - 1 for number in range(rank))
    return Looked(table, (*range(both), *(axis + number for number in range(own))))


def lookup_along(axis: int, rank: int) -> Looked:
    """At each place of the numbers the element at that place of the table, but for its place along one axis."""
    return Looked(tuple(None if number == axis else number for number in range(rank)), tuple(range(rank)))


def repeated(rank: int, out: int) -> Moved:
    """Axes keep their places, counted from the last; axes of size 1 may grow."""
    return Moved(tuple(axis + out - rank for axis in range(rank)))


def transposition(order: Iterable[int] | None) -> Moved | None:
    """A transpose whose output axis ``n`` is input axis ``order[n]``; None where the order is not known."""
    if order is None:
        return None
    sources = list(order)
    return Moved(tuple(sources.index(axis) for axis in range(len(sources))))


def reduction(axes: Iterable[int] | None, rank: int, *, keepdims: bool) -> Moved | None:
    """A sum or the like over these axes, which count from either end; None where they are not known."""
    if axes is None:
        return None
    summed = frozenset(axis % rank for axis in axes)
    return Moved(_without(rank, summed, keepdims=keepdims), summed)


def squeeze(axes: Iterable[int], rank: int) -> Moved:
    """Axes of size 1 are dropped; they count from either end."""
    return Moved(_without(rank, frozenset(axis % rank for axis in axes), keepdims=False))


def _without(rank: int, dropped: frozenset[int], *, keepdims: bool) -> tuple[int | None, ...]:
    left = [axis for axis in range(rank) if axis not in dropped]
    return tuple(None if axis in dropped else axis if keepdims else left.index(axis) for axis in range(rank))


def expansion(axes: Iterable[int], out: int) -> Moved:
    """New axes of size 1 at these places of the output, which has rank `out`; they count from either end."""
    new = {axis % out for axis in axes}
    return Moved(tuple(axis for axis in range(out) if axis not in new))


def einsum(equation: str, ranks: Sequence[int]) -> Operation | None:
    """An einsum of one or two tensors; None where an axis is met with itself.

    Args:
        equation: With ``->``; an ellipsis stands for the same axes everywhere, from the last on.
        ranks: Of the inputs.
    """
    inputs, output = equation.replace(" ", "").split("->")
    terms = inputs.split(",")
    dots = max(rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True))

    def labels(term: str, count: int) -> tuple[str, ...]:
        if "..." not in term:
            return tuple(term)
        before, after = term.split("...")
        return (*before, *(f".{number}" for number in range(dots - count, dots)), *after)

    named = [labels(term, rank - len(term.replace("...", ""))) for term, rank in zip(terms, ranks, strict=True)]
    out = labels(output, dots)
    if any(len(set(term)) < len(term) for term in named):
        return None
    if len(named) == 2:
        return Contraction(named[0], named[1], out)
    (term,) = named
    targets = tuple(out.index(label) if label in out else None for label in term)
    return Moved(targets, frozenset(axis for axis, target in enumerate(targets) if target is None))


def matmul(ranks: Sequence[int], *, transpose_first: bool = False, transpose_second: bool = False) -> Operation | None:
    """A matrix product of two tensors, broadcast over the leading axes; a tensor of rank 1 is one row or column."""
    first, second = ranks
    if first < 2 or second < 2:
        row, column = ("k" if first == 1 else "...mk"), ("k" if second == 1 else "...kn")
        out = "..." + ("m" if first > 1 else "") + ("n" if second > 1 else "")
        return einsum(f"{row},{column}->{out}", ranks)
    return einsum(f"...{'km' if transpose_first else 'mk'},...{'nk' if transpose_second else 'kn'}->...mn", ranks)
