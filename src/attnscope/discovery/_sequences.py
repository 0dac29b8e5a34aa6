"""What the positions of an input are: which mask belongs to them, and whether they are columns of a table."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from attnscope.backends import Elementwise, Graph, Looked, Moved, Node, Trace
from attnscope.discovery._axes import Axis
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._masks import Masks
from attnscope.discovery._origins import Origin, Part, Position


@dataclass(frozen=True)
class InputSequence:
    """What the data flow says of the positions of one input.

    Attributes:
        mask_input: The input that is their padding mask; empty where none is.
        mask: The first Keras mask that a layer sets for them; empty where none does.
        zero_is_padding: Whether that mask is an `Embedding`'s, which was given the very numbers of the input.
        columns: Whether each position is looked up in its own way, like the columns of a table of codes.
        looked_up: Whether its numbers, of whatever dtype, say which rows of a table are meant, as those of tokens do.
    """

    mask_input: str = ""
    mask: str = ""
    zero_is_padding: bool = False
    columns: bool = False
    looked_up: bool = False


def sequences_of(
    trace: Trace, lineage: Lineage, masks: Masks, names: list[str], embedded: Mapping[str, Hashable]
) -> dict[str, InputSequence]:
    """What the data flow says of the positions of each input.

    Args:
        trace: The trace.
        lineage: Of its tensors.
        masks: Its masks, linked to their sequences.
        names: Of the inputs, in the order of the trace's.
        embedded: What each `Embedding` that masks 0 was given, by the name of the mask that it set.
    """
    looked_up = [node.inputs[1] for node in _lookups(trace.graph)]
    sequences = {}
    for name, tensor in zip(names, trace.graph.inputs, strict=True):
        mask = masks.first_of(name)
        given = trace.numbers.get(embedded[mask]) if mask in embedded else None
        sequences[name] = InputSequence(
            masks.input_of(name),
            mask,
            given is not None and _is_copy(lineage, given, tensor),
            _are_columns(lineage, Position(name, 1), len(trace.graph.shapes[tensor])),
            any(_is_copy(lineage, numbers, tensor) for numbers in looked_up),
        )
    return sequences


def _lookups(graph: Graph) -> list[Node]:
    """The operations that look rows up in a table: they are given the table and the numbers of the rows."""
    return [node for node in graph.nodes if isinstance(node.operation, Looked) and len(node.inputs) > 1]


def _is_copy(lineage: Lineage, tensor: int, original: int) -> bool:
    """Whether a tensor holds the very numbers of another, perhaps in another dtype."""
    return original in _copied(lineage, tensor)


def _weight(lineage: Lineage, table: int) -> Hashable:
    """The name of a weight; of something else, the number of its tensor."""
    copied = _copied(lineage, table)
    return next((lineage.graph.weights[tensor] for tensor in copied if tensor in lineage.graph.weights), copied[-1])


def _copied(lineage: Lineage, tensor: int) -> list[int]:
    """A tensor and those that it was copied from, one from the next."""
    graph, copied = lineage.graph, [tensor]
    while (node := graph.makers.get(copied[-1])) and isinstance(node.operation, Moved) and len(node.inputs) == 1:
        kept = node.operation.targets == tuple(range(len(node.operation.targets))) and not node.operation.summed
        if not kept or graph.shapes[node.inputs[0]] != graph.shapes[node.output]:
            break
        copied.append(node.inputs[0])
    return copied


def _are_columns(lineage: Lineage, positions: Position, rank: int) -> bool:
    """Whether an input's positions are looked up in tables of their own, or with an offset for each."""
    if rank != 2:
        return False
    tables: dict[Hashable, set[int]] = {}
    for node in _lookups(lineage.graph):
        table, numbers = node.inputs[:2]
        if _has_offsets(lineage, numbers, positions):
            return True
        for column in _single_columns(lineage, numbers, positions):
            tables.setdefault(_weight(lineage, table), set()).add(column)
    return len(tables) > 1 and len(set[int]().union(*tables.values())) > 1


def _single_columns(lineage: Lineage, tensor: int, positions: Position) -> Iterator[int]:
    """The only position of an input that a tensor was made from, where it is a single one."""
    for (origin, _), (first, last) in lineage.steps.get(tensor, {}).items():
        if origin == positions and first == last:
            yield first
    for axis in lineage.symbol(tensor):
        for origin in _origins(axis):
            if isinstance(origin, Part) and origin.of == positions and origin.size == 1 and origin.start is not None:
                yield origin.start


def _has_offsets(lineage: Lineage, tensor: int, positions: Position) -> bool:
    """Whether numbers of the model's own, one for each position, were added to the numbers before they came here."""
    waiting, seen = [tensor], set[int]()
    while waiting:
        node = lineage.graph.makers.get(waiting.pop())
        if node is None or node.output in seen:
            continue
        seen.add(node.output)
        symbol = lineage.symbol(node.output)
        places = [place - len(symbol) for place, axis in enumerate(symbol) if positions in _origins(axis)]
        given = [each for each in node.inputs if each in lineage.graph.data]
        own = [each for each in node.inputs if each not in lineage.graph.data | lineage.graph.booleans]
        if (
            isinstance(node.operation, Elementwise)
            and given
            and any(_varies(lineage.graph, each, place) for each in own for place in places)
        ):
            return True
        waiting.extend(given if places else [])
    return False


def _varies(graph: Graph, tensor: int, place: int) -> bool:
    """Whether a constant or a weight differs along an axis, counted from the last, and is not repeated along it."""
    shape, node = graph.shapes[tensor], graph.makers.get(tensor)
    if -place > len(shape) or shape[place] < 2:
        return False
    if node is None or not node.inputs:
        return True
    if isinstance(node.operation, Moved):
        source = [axis for axis, target in enumerate(node.operation.targets) if target == place + len(shape)]
        return any(_varies(graph, node.inputs[0], axis - len(graph.shapes[node.inputs[0]])) for axis in source)
    if isinstance(node.operation, Elementwise):
        return any(_varies(graph, each, place) for each in node.inputs[: node.operation.inputs])
    return True


def _origins(axis: Axis) -> frozenset[Origin]:
    return frozenset(origin for factor in axis for origin in factor.origins)
