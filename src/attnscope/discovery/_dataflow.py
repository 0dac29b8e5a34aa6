"""What happens to a softmax: the rule that distinguishes attention from class probabilities and routers.

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

from collections.abc import Iterable
from dataclasses import dataclass

from attnscope.backends import Graph, Node


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
        return Use(False, "a router: its scores go into a top-k or similar operation, which picks units")
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
        if axis not in node.axes.maps[position]:
            return ()
        out_axis = node.axes.maps[position][axis]
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
            for other_axis, mapped in node.axes.maps[place].items():
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
        if node.kind == "stack" and axis not in {out for each in node.axes.maps for out in each.values()}:
            return "steps" if _follow_each_other(graph, node) else "stack"
        sources = [
            (given, in_axis)
            for given, mapping in zip(node.inputs, node.axes.maps, strict=True)
            for in_axis, out_axis in mapping.items()
            if out_axis == axis and (graph.shapes[given][in_axis] > 1 or graph.shapes[tensor][axis] == 1)
        ]
        if not sources:
            return "broadcast" if node.kind == "broadcast" else "unknown"
        tensor, axis = next((source for source in sources if source[0] in graph.data), sources[0])
    return "unknown"


def _follow_each_other(graph: Graph, stack: Node) -> bool:
    """Whether the pieces of a stack are steps of a recurrence, each made from the one before, and no experts."""
    first, last = stack.inputs[0], stack.inputs[-1]
    return first != last and (last in graph.reached_from(first) or first in graph.reached_from(last))
