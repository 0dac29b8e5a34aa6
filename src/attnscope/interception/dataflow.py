"""What becomes of a softmax: the rule that tells attention from class probabilities and routers.

The model is traced once without computing anything, and the softmax's axis is followed through the operations
that come after it:

* **Attention**: along that axis the scores meet, in a product that is then summed (or a contraction, or a product
  that stays), a tensor that depends on the model's input. They weight something that the model was given.
* **A router**: the scores go into a top-k, arg-max or sort; or they weight the outputs of parallel layers
  (experts): their axis comes from the units of a layer's kernel *and* so does, or from stacking, the weighted
  tensor's axis.
* **Class probabilities**: they leave the model as they are, or nothing is weighted by them.

Each backend's trace is brought into one form: nodes with, for every input, a map from its axes to the output's.
"""

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


@dataclass(frozen=True)
class Use:
    """What a softmax is for.

    Attributes:
        is_attention: Whether it weights data.
        reason: Why, or why not, in words for the user.
        unweighted_keys: How many of its last columns are cut off before anything is weighted: attention sinks.
    """

    is_attention: bool
    reason: str
    unweighted_keys: int = 0


def use_of(graph: Graph, tensor: int, axis: int) -> Use:
    """What the softmax that gave `tensor` along `axis` is for; see the module's rule."""
    walk = _Walk(graph, tensor)
    walk.follow(tensor, axis % len(graph.shapes[tensor]))
    length = graph.shapes[tensor][axis]
    for other, other_axis in walk.weighted:
        if not (_origin(graph, tensor, axis) == "units" and _origin(graph, other, other_axis) in _PARALLEL):
            cut = max(0, length - graph.shapes[other][other_axis])
            return Use(True, "its scores weight data along the softmax's axis", cut)
    if walk.weighted:
        return Use(False, "a gate: it weights the outputs of parallel layers (experts), not positions")
    if walk.chosen:
        return Use(False, "a router: its scores go into a top-k or the like, which picks units")
    if walk.returned:
        return Use(False, "class probabilities: the model returns them as they are")
    return Use(False, "nothing that depends on the input is weighted by it")


_PARALLEL = ("units", "stack", "broadcast")


class _Walk:
    """Follows one axis of one tensor forward."""

    def __init__(self, graph: Graph, start: int) -> None:
        self.graph = graph
        self.own = graph.reached_from(start)
        self.weighted: list[tuple[int, int]] = []
        self.chosen = False
        self.returned = False
        self._seen: set[tuple[int, int]] = set()

    def follow(self, tensor: int, axis: int) -> None:
        """Walks on from an axis of a tensor; each is walked once."""
        waiting = [(tensor, axis)]
        while waiting:
            tensor, axis = waiting.pop()
            if (tensor, axis) in self._seen:
                continue
            self._seen.add((tensor, axis))
            self.returned = self.returned or tensor in self.graph.outputs
            for node, position in self.graph.consumers.get(tensor, ()):
                waiting += self._through(node, position, axis)

    def _through(self, node: Node, position: int, axis: int) -> Iterable[tuple[int, int]]:
        if node.kind == "choice":
            self.chosen = True
            return ()
        if node.kind == "contraction" and node.is_summed(position, axis):
            self._note(node.inputs[1 - position], node.partner(position, axis))
            return ()
        if axis not in node.maps[position]:
            return ()
        out_axis = node.maps[position][axis]
        if node.kind == "product":
            self._note_product(node, position, out_axis)
        return ((node.output, out_axis),)

    def _note(self, other: int, other_axis: int) -> None:
        if other in self.graph.data and other not in self.own:
            self.weighted.append((other, other_axis))

    def _note_product(self, node: Node, position: int, out_axis: int) -> None:
        for place, other in enumerate(node.inputs):
            if place == position or other == node.inputs[position]:
                continue
            for other_axis, mapped in node.maps[place].items():
                if mapped == out_axis and self.graph.shapes[other][other_axis] > 1:
                    self._note(other, other_axis)


def _origin(graph: Graph, tensor: int, axis: int) -> str:
    """Where an axis comes from.

    Returns:
        ``input``, ``units`` (of a weight), ``stack``, ``steps`` (of a recurrence), ``broadcast`` or ``unknown``.
    """
    axis %= len(graph.shapes[tensor])
    for _ in range(len(graph.nodes) + 1):
        if tensor not in graph.data:
            return "units"
        node = graph.producers.get(tensor)
        if node is None:
            return "input"
        if node.kind == "stack" and axis not in {out for each in node.maps for out in each.values()}:
            return "steps" if _follow_each_other(graph, node) else "stack"
        sources = [
            (given, in_axis)
            for given, mapping in zip(node.inputs, node.maps, strict=True)
            for in_axis, out_axis in mapping.items()
            if out_axis == axis and (graph.shapes[given][in_axis] > 1 or graph.shapes[tensor][axis] == 1)
        ]
        if not sources:
            return "broadcast" if node.name in _BROADCASTS else "unknown"
        tensor, axis = next((source for source in sources if source[0] in graph.data), sources[0])
    return "unknown"


def _follow_each_other(graph: Graph, stack: Node) -> bool:
    """Whether the pieces of a stack are steps of a recurrence, each made from the one before, and no experts."""
    first, last = stack.inputs[0], stack.inputs[-1]
    return first != last and (last in graph.reached_from(first) or first in graph.reached_from(last))


_BROADCASTS = frozenset({"broadcast_in_dim", "BroadcastTo", "Tile", "expand", "repeat"})


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
