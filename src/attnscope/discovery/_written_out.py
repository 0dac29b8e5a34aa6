"""Softmaxes that no call was met for: written out by hand, or inside of what cannot be entered.

They are recognised in the graph by what they compute:

* ``exp(x) / sum(exp(x))``, however the exponentials are shifted, masked, or kept from dividing by 0;
* ``exp(x) * (1 / sum(exp(x)))``;
* ``exp(log_softmax(x))`` and ``exp(x - logsumexp(x))``, which is the same;
* ``sum(exp(x) * values) / sum(exp(x))``, where the weights themselves are never computed;
* the backend's own softmax where it is not called by one of the names that are intercepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from attnscope.backends import Elementwise, Graph, Moved, Node, Reshaped

_FAR = 12
"""So many operations are looked back through; a softmax that is written out takes fewer."""


@dataclass(frozen=True)
class WrittenOut:
    """A softmax that no call was met for.

    Attributes:
        tensor: Number of its scores; of its exponentials where these are divided by their sum only later.
        axes: The axes that it runs over.
        form: How it is written.
        compiled: Whether it is in a function that was compiled by itself.
    """

    tensor: int
    axes: tuple[int, ...]
    form: str
    compiled: bool


def written_out(graph: Graph) -> list[WrittenOut]:
    """The softmaxes of a graph that belong to no call that was met."""
    search = _Search(graph)
    found = [each for node in graph.nodes if not node.met and (each := search.at(node)) is not None]
    return list({each.tensor: each for each in found}.values())


class _Search:
    """Looks back from an operation to what it was computed from."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def at(self, node: Node) -> WrittenOut | None:
        """The softmax whose last operation this is, if it is one."""
        operation = node.operation
        if node.function == "softmax" and isinstance(operation, Elementwise) and operation.along is not None:
            return WrittenOut(node.output, (operation.along,), "softmax(x)", node.compiled)
        if node.function == "exp":
            return self._of_a_logarithm(node)
        for part, whole in self._quotients(node):
            found = self._quotient(node, part, whole)
            if found is not None:
                return found
        return None

    def _of_a_logarithm(self, node: Node) -> WrittenOut | None:
        for before in self._back(node.inputs[0], spread=False):
            operation = before.operation
            if before.function == "log_softmax" and isinstance(operation, Elementwise) and operation.along is not None:
                return WrittenOut(before.output, (operation.along,), "exp(log_softmax(x))", node.compiled)
            if before.function == "subtract":
                sums = (
                    summed
                    for log in self._back(before.inputs[1])
                    if log.function in ("log", "logsumexp")
                    for summed in ([log] if log.function == "logsumexp" else self._back(log.inputs[0]))
                    if summed.function in ("sum", "logsumexp") and self._fits(summed, node)
                )
                for summed in sums:
                    if summed.function == "logsumexp" or self._exponential(summed.inputs[0]) is not None:
                        return WrittenOut(node.output, _axes(summed), "exp(log_softmax(x))", node.compiled)
        return None

    def _quotients(self, node: Node) -> Iterator[tuple[int, int]]:
        """What is divided by what: by dividing, or by multiplying by a reciprocal."""
        if node.function == "divide" and len(node.inputs) > 1:
            yield node.inputs[0], node.inputs[1]
        elif isinstance(node.operation, Elementwise) and node.operation.product and len(node.inputs) > 1:
            for part, factor in (node.inputs[:2], node.inputs[1::-1]):
                for before in self._back(factor, spread=False, far=4):
                    if before.function == "reciprocal" or (
                        before.function == "divide" and before.inputs[0] not in self.graph.data
                    ):
                        yield part, before.inputs[-1]

    def _quotient(self, node: Node, part: int, whole: int) -> WrittenOut | None:
        for summed in self._back(whole):
            if summed.function != "sum" or not _axes(summed):
                continue
            exponential = self._exponential(summed.inputs[0])
            if exponential is None:
                continue
            if self._exponential(part) is exponential and self._fits(summed, node):
                return WrittenOut(node.output, _axes(summed), "exp(x) / sum(exp(x))", node.compiled)
            if self._comes_from(part, exponential):
                form = "sum(exp(x) * values) / sum(exp(x))"
                return WrittenOut(exponential.output, _axes(summed), form, node.compiled)
        return None

    def _exponential(self, tensor: int) -> Node | None:
        """The exponential that a tensor is, element by element, up to masks and the like.

        That of a softmax that was met is no other's: scores may be masked and divided by their sum again.
        """
        rank = len(self.graph.shapes[tensor])
        return next(
            (
                node
                for node in self._back(tensor, moves=False)
                if node.function == "exp" and not node.met and len(self.graph.shapes[node.output]) == rank
            ),
            None,
        )

    def _fits(self, summed: Node, node: Node) -> bool:
        """Whether the axes of what is summed are those of what comes out."""
        return len(self.graph.shapes[summed.inputs[0]]) == len(self.graph.shapes[node.output])

    def _comes_from(self, tensor: int, source: Node) -> bool:
        """Whether a tensor comes from what an operation gives, on any way."""
        return any(node is source for node in self._back(tensor, through=object))

    def _back(
        self, tensor: int, *, spread: bool = True, moves: bool = True, far: int = _FAR, through: type = Elementwise
    ) -> Iterator[Node]:
        """The operations that a tensor comes from, nearest first, each element from one at its place.

        Args:
            tensor: Its number.
            spread: Whether to go to all inputs of an operation, and not only to the first.
            moves: Whether to go through operations that give it another shape.
            far: Through so many operations.
            through: The operations to go through.
        """
        kinds: tuple[type, ...] = (through, Moved, Reshaped) if moves else (through,)
        seen: set[int] = set()
        waiting = deque([(tensor, 0)])
        while waiting:
            number, distance = waiting.popleft()
            node = self.graph.makers.get(number)
            if node is None or number in seen or distance >= far:
                continue
            seen.add(number)
            yield node
            summing = isinstance(node.operation, Moved) and node.operation.summed and through is Elementwise
            copied = isinstance(node.operation, Moved) and node.operation.targets == tuple(range(self._rank(node)))
            if (isinstance(node.operation, kinds) or copied) and not summing:
                waiting.extend((each, distance + 1) for each in (node.inputs if spread else node.inputs[:1]))

    def _rank(self, node: Node) -> int:
        return len(self.graph.shapes[node.output])


def _axes(node: Node) -> tuple[int, ...]:
    """The axes that an operation sums over."""
    summed: Collection[int] = node.operation.summed if isinstance(node.operation, Moved) else ()
    return tuple(sorted(summed))
