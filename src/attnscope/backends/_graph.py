"""The trace of a model in one form for all backends: operations, and where each axis of an input goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

AxisMap = dict[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: The backend's name for it.
        inputs: Numbers of the tensors that go in.
        output: Number of the tensor that comes out.
        maps: For each input, which of its axes is which axis of the output.
        summed: For each input, the axes that are summed away.
        paired: In a contraction of two, the summed axes of the first input and their partners in the second.
        kind: ``product``, ``contraction``, ``choice`` (top-k and the like), ``stack`` or ``other``.
    """

    name: str
    inputs: tuple[int, ...]
    output: int
    maps: tuple[AxisMap, ...]
    summed: tuple[frozenset[int], ...] = ()
    paired: AxisMap = field(default_factory=dict)
    kind: str = "other"

    def is_summed(self, position: int, axis: int) -> bool:
        """Whether this axis of this input is summed away."""
        return position < len(self.summed) and axis in self.summed[position]

    def partner(self, position: int, axis: int) -> int:
        """The axis of the other input that a contracted axis meets."""
        if position == 0:
            return self.paired[axis]
        return next(first for first, second in self.paired.items() if second == axis)


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
        found = defaultdict(list)
        for node in self.nodes:
            for position, tensor in enumerate(node.inputs):
                found[tensor].append((node, position))
        return found

    @cached_property
    def producers(self) -> dict[int, Node]:
        """For each tensor the node it comes from."""
        return {node.output: node for node in self.nodes}

    @cached_property
    def data(self) -> set[int]:
        """Tensors that depend on the model's input other than through a mask or a choice."""
        found = set(self.inputs)
        for node in self.nodes:
            if (
                node.kind != "choice"
                and node.output not in self.booleans
                and any(tensor in found for tensor in node.inputs)
            ):
                found.add(node.output)
        return found

    def reached_from(self, tensor: int) -> set[int]:
        """The tensor and all that is computed from it."""
        found = {tensor}
        for node in self.nodes:
            if any(given in found for given in node.inputs):
                found.add(node.output)
        return found


def elementwise(shapes: list[Shape], out: Shape) -> tuple[AxisMap, ...]:
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


def _spans(shape: Shape) -> list[tuple[int, int]]:
    """For each axis the elements that lie inside of it, and those inside of it with its own size."""
    spans, inner = [], 1
    for size in reversed(shape):
        spans.append((inner, inner * size))
        inner *= size
    return spans[::-1]


def contraction(
    equation: str,
) -> tuple[tuple[AxisMap, AxisMap], tuple[frozenset[int], frozenset[int]], AxisMap]:
    """Maps, summed axes and partners of an einsum of two tensors, its equation without an ellipsis."""
    inputs, out = equation.replace(" ", "").split("->")
    first, second = inputs.split(",")
    maps = tuple(
        {axis: out.index(label) for axis, label in enumerate(term) if label in out} for term in (first, second)
    )
    summed = tuple(frozenset(axis for axis, label in enumerate(term) if label not in out) for term in (first, second))
    paired = {axis: second.index(label) for axis, label in enumerate(first) if label not in out and label in second}
    return maps, summed, paired  # type: ignore[return-value]


def matmul(rank: int, transpose_first: bool = False, transpose_second: bool = False) -> str:
    """The einsum equation of a (batched) matrix product of two tensors of this rank."""
    lead = "abcdefgh"[: rank - 2]
    first = "km" if transpose_first else "mk"
    second = "nk" if transpose_second else "kn"
    return f"{lead}{first},{lead}{second}->{lead}mn"
