"""Lineage: for every tensor of a trace, where each of its axes comes from.

The operations of a trace are followed in their order, each by what it does with axes (`attnscope.backends`). What an
operation that nobody knows makes of an axis is not known either; where the axis keeps its place and its size there,
that is taken as a guess, and is called one wherever it leads.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property, singledispatchmethod

from attnscope.backends import (
    Chosen,
    Collected,
    Contraction,
    Elementwise,
    Graph,
    Joined,
    Looked,
    Moved,
    Node,
    Reshaped,
    Sliced,
    Taken,
    Tiled,
    Unknown,
    Updated,
    Windowed,
)
from attnscope.discovery._axes import (
    Axis,
    Factor,
    Symbol,
    interleaved,
    joined,
    one,
    part,
    picked,
    regrouped,
    rejoined,
    size_of,
    together,
    whole,
    windowed,
)
from attnscope.discovery._origins import (
    Filled,
    Guessed,
    Lost,
    Made,
    Mark,
    Origin,
    Part,
    Picked,
    Pieces,
    Position,
    Samples,
    Together,
    Units,
)

Steps = dict[tuple[Origin, int], tuple[int, int]]
"""Axes that were taken apart on the way to a tensor, each with its size: the first and the last of their positions that
it was made from."""


_SAMPLES = frozenset((Samples(),))


class Lineage:
    """Where the axes of the tensors of a trace come from.

    Args:
        graph: The trace.
        inputs: Names of the model's inputs, in the order of ``graph.inputs``.

    Attributes:
        symbols: For each tensor its axes.
        steps: For each tensor the single positions it was made from.
        positions: For each tensor the units of weights that hold positions: something was summed over the features of
            each of them while they stayed apart.
    """

    def __init__(self, graph: Graph, inputs: Sequence[str]) -> None:
        self.graph = graph
        self.symbols: dict[int, Symbol] = {}
        self.steps: dict[int, Steps] = {}
        self.positions: dict[int, frozenset[Origin]] = {}
        self._copies: set[Origin] = set()
        for tensor, name in zip(graph.inputs, inputs, strict=True):
            self.symbols[tensor] = tuple(
                one(Position(name, axis) if axis else Samples(), size) for axis, size in enumerate(graph.shapes[tensor])
            )
        for node in graph.nodes:
            known = {tensor: self.symbol(tensor) for tensor in node.inputs}
            self.symbols[node.output] = self.after(node, known)
            self.steps[node.output] = self._steps_after(node)
            self.positions[node.output] = self._positions_after(node)

    def symbol(self, tensor: int) -> Symbol:
        """The axes of a tensor; of one that nothing computes, the units of a weight or the axes of a constant."""
        if tensor not in self.symbols:
            weight = self.graph.weights.get(tensor)
            self.symbols[tensor] = tuple(
                one(Made(tensor, axis) if weight is None else Units(weight, axis), size)
                for axis, size in enumerate(self.graph.shapes[tensor])
            )
        return self.symbols[tensor]

    def after(self, node: Node, symbols: Mapping[int, Symbol]) -> Symbol:
        """The axes of a node's output, where its inputs have these."""
        return self._after(node.operation, node, [symbols[tensor] for tensor in node.inputs])

    def _shape(self, node: Node) -> tuple[int, ...]:
        return self.graph.shapes[node.output]

    def _made(self, node: Node, axis: int) -> Origin:
        return Made(node.output, axis)

    def _filled(self, node: Node, axis: int) -> Origin:
        return Filled(node.output, axis)

    def _lost(self, node: Node, axis: int) -> Origin:
        return Lost(node.name, node.output, axis)

    @singledispatchmethod
    def _after(self, operation: object, node: Node, symbols: list[Symbol]) -> Symbol:
        raise TypeError(f"No rule for {operation!r}.")

    @_after.register
    def _(self, operation: Elementwise, node: Node, symbols: list[Symbol]) -> Symbol:
        return self._aligned(node, symbols[: operation.inputs])

    def _aligned(self, node: Node, symbols: Sequence[Symbol]) -> Symbol:
        shape = self._shape(node)
        rank = len(shape)
        return tuple(
            self._met(
                [symbol[axis - rank + len(symbol)] for symbol in symbols if axis - rank + len(symbol) >= 0],
                node,
                axis,
                size,
            )
            for axis, size in enumerate(shape)
        )

    def _met(self, axes: Sequence[Axis], node: Node, axis: int, size: int) -> Axis:
        met = together(axes, size, self._lost(node, axis))
        if size > 1 and len(met) == 1 and met[0].origins == _SAMPLES:  # what was repeated is a copy for each sample
            self._copies.update(
                origin
                for each in axes
                if len(each) == 1 and each[0].size == size
                for origin in each[0].origins
                if isinstance(origin, Made)
            )
        return met

    def with_samples(self, symbol: Symbol) -> Symbol:
        """The axes of a tensor, where those that only repeat it for each sample are the samples."""
        return tuple(
            one(Samples(), axis[0].size) if len(axis) == 1 and axis[0].origins <= self._copies else axis
            for axis in symbol
        )

    @_after.register
    def _(self, operation: Contraction, node: Node, symbols: list[Symbol]) -> Symbol:
        first, second = (
            dict(zip(labels, symbol, strict=True))
            for labels, symbol in zip((operation.first, operation.second), symbols[:2], strict=True)
        )
        return tuple(
            self._met([axes[label] for axes in (first, second) if label in axes], node, axis, size)
            for axis, (label, size) in enumerate(zip(operation.output, self._shape(node), strict=True))
        )

    @_after.register
    def _(self, operation: Moved, node: Node, symbols: list[Symbol]) -> Symbol:
        sources = {target: axis for axis, target in enumerate(operation.targets) if target is not None}
        made = self._made if symbols[0] else self._filled
        moved = []
        for axis, size in enumerate(self._shape(node)):
            source = symbols[0][sources[axis]] if axis in sources else ()
            moved.append(source if size_of(source) == size and (source or size == 1) else one(made(node, axis), size))
        return tuple(moved)

    @_after.register
    def _(self, operation: Reshaped, node: Node, symbols: list[Symbol]) -> Symbol:
        shape = self._shape(node)
        return regrouped(symbols[0], shape, [self._lost(node, axis) for axis in range(len(shape))])

    @_after.register
    def _(self, operation: Tiled, node: Node, symbols: list[Symbol]) -> Symbol:
        shape = self._shape(node)
        new = len(shape) - len(symbols[0])
        return tuple(
            one(self._made(node, axis), size)
            if axis < new or not symbols[0][axis - new]
            else rejoined((*one(self._made(node, axis), times), *symbols[0][axis - new]))
            for axis, (size, times) in enumerate(zip(shape, operation.times, strict=True))
        )

    @_after.register
    def _(self, operation: Sliced, node: Node, symbols: list[Symbol]) -> Symbol:
        if operation.wraps:
            return tuple(
                self._rolled(node, number, axis, start)
                for number, (axis, start) in enumerate(zip(symbols[0], operation.starts, strict=True))
            )
        return tuple(
            self._sliced(node, number, axis, start, step)
            for number, (axis, start, step) in enumerate(
                zip(symbols[0], operation.starts, operation.steps, strict=True)
            )
        )

    def _rolled(self, node: Node, number: int, axis: Axis, start: int | None) -> Axis:
        size = self._shape(node)[number]
        if not axis or not start:
            return axis if not axis or start == 0 else part(axis, None, 1, size)
        sizes = [size - start, start]
        return joined([part(axis, start, 1, sizes[0]), part(axis, 0, 1, start)], sizes, self._made(node, number))

    def _sliced(self, node: Node, number: int, axis: Axis, start: int | None, step: int) -> Axis:
        size, total = self._shape(node)[number], size_of(axis)
        if start is not None and (start < 0 or start + (size - 1) * step >= total) and step == 1:
            front = max(0, -start)
            inside = min(total - max(0, start), size - front)
            sizes = [front, inside, size - front - inside]
            made = one(self._made(node, number), 1)
            axes = [made, part(axis, max(0, start), 1, inside), made]
            real = [(each, length) for each, length in zip(axes, sizes, strict=True) if length > 0]
            return joined([each for each, _ in real], [length for _, length in real], self._made(node, number))
        return part(axis, start, step, size) if axis else ()

    @_after.register
    def _(self, operation: Taken, node: Node, symbols: list[Symbol]) -> Symbol:
        return (*symbols[0][: operation.axis], *symbols[0][operation.axis + 1 :])

    @_after.register
    def _(self, operation: Joined, node: Node, symbols: list[Symbol]) -> Symbol:
        pieces, tensors = symbols[: operation.inputs], node.inputs[: operation.inputs]
        shape, axis = self._shape(node), operation.axis
        if operation.stacked:
            pieces = [(*symbol[:axis], (), *symbol[axis:]) for symbol in pieces]
        sizes = [1 if operation.stacked else self.graph.shapes[tensor][axis] for tensor in tensors]
        same = pieces[0][axis] if len(pieces) > 1 and len({symbol[axis] for symbol in pieces}) == 1 else None
        cut = interleaved(pieces, axis)
        outer = self.in_steps(tensors) if cut is None and same is not None else ()
        if cut is not None:
            along = rejoined((*cut[0], *pieces[0][axis]))
            pieces = [cut[1]]
        elif same is not None and outer:
            along = rejoined((*outer, *same))
        elif set(sizes) == {1} and len(pieces) > 1 and not any(_is_known(symbol[axis]) for symbol in pieces):
            along = self._stacked(node, tensors)
        else:
            along = joined([symbol[axis] for symbol in pieces], sizes, self._made(node, axis))
        return tuple(
            along if number == axis else together([symbol[number] for symbol in pieces], size, self._lost(node, number))
            for number, size in enumerate(shape)
        )

    def in_steps(self, tensors: Sequence[int]) -> Axis:
        """The axis whose positions the tensors were made from, one after another; empty where there is none."""
        steps = [self.steps.get(tensor, {}) for tensor in tensors]
        origins = [
            found
            for axis in steps[0]
            if all(axis in each for each in steps)
            and (found := _in_order(axis, [each[axis] for each in steps])) is not None
        ]
        return one(origins[0] if len(origins) == 1 else Together(frozenset(origins)), len(tensors)) if origins else ()

    def _stacked(self, node: Node, tensors: Sequence[int]) -> Axis:
        """A new axis of which each tensor is one position."""
        count = len(tensors)
        if len(set(tensors)) == 1:
            return one(self._made(node, 0), count)
        return one(Pieces(tuple((Made(tensor, 0), 1) for tensor in tensors), stacked=True), count)

    @_after.register
    def _(self, operation: Windowed, node: Node, symbols: list[Symbol]) -> Symbol:
        shape = self._shape(node)
        axes: list[Axis] = [one(self._made(node, axis), size) for axis, size in enumerate(shape)]
        data, kernel = operation.places
        for axis, target in operation.kept.items():
            axes[target] = symbols[data][axis]
        for axis, (target, distance) in operation.windows.items():
            axes[target] = windowed(symbols[data][axis], distance, shape[target])
        if operation.units is not None:
            axis, target = operation.units
            axes[target] = symbols[kernel][axis]
        return tuple(axes)

    @_after.register
    def _(self, operation: Looked, node: Node, symbols: list[Symbol]) -> Symbol:
        targets: dict[int, list[Axis]] = {}
        for axis, target in zip(symbols[0], operation.table, strict=True):
            if target is not None:
                targets.setdefault(target, []).append(axis)
        replaced = [axis for axis, target in zip(symbols[0], operation.table, strict=True) if target is None]
        for axis, target in zip(symbols[1] if len(symbols) > 1 else (), operation.numbers, strict=False):
            if target is not None:
                alone = target not in targets and len(replaced) == 1
                targets.setdefault(target, []).append(picked(replaced[0], axis) if alone else axis)
        return tuple(
            together(targets[axis], size, self._lost(node, axis))
            if axis in targets
            else one(self._made(node, axis), size)
            for axis, size in enumerate(self._shape(node))
        )

    @_after.register
    def _(self, operation: Updated, node: Node, symbols: list[Symbol]) -> Symbol:
        whole = [
            symbol
            for symbol, tensor in zip(symbols[:2], node.inputs, strict=False)
            if len(self.graph.shapes[tensor]) == len(self._shape(node))
        ]
        return self._aligned(node, whole)

    @_after.register
    def _(self, operation: Chosen, node: Node, symbols: list[Symbol]) -> Symbol:
        shape = self._shape(node)
        left = [axis for number, axis in enumerate(symbols[0]) if operation.keeps or number != operation.axis]
        if len(left) != len(shape):
            return tuple(one(self._lost(node, axis), size) for axis, size in enumerate(shape))
        return tuple(
            self._picked(axis, node, number, size) if number == operation.axis and operation.keeps else axis
            for number, (axis, size) in enumerate(zip(left, shape, strict=True))
        )

    def _picked(self, axis: Axis, node: Node, number: int, size: int) -> Axis:
        """Positions in an order that only the numbers know; of scores that are followed, they are positions no more."""
        followed = any(isinstance(root, Mark) for factor in axis for each in factor.origins for root in each.roots)
        if followed or not axis:
            return one(self._made(node, number), size)
        return one(Picked(whole(axis), self._made(node, number)), size)

    @_after.register
    def _(self, operation: Collected, node: Node, symbols: list[Symbol]) -> Symbol:
        inner, *over = symbols
        size = self._shape(node)[0]
        axes = [symbol[0] for symbol in over if symbol]
        steps = together(axes, size, self._lost(node, 0)) if axes else one(self._made(node, 0), size)
        return (steps, *inner)

    @_after.register
    def _(self, operation: Unknown, node: Node, symbols: list[Symbol]) -> Symbol:
        shape = self._shape(node)
        if not any(symbols):  # numbers that it makes from nothing or from single numbers, such as a range
            return tuple(one(self._made(node, axis), size) for axis, size in enumerate(shape))
        aligned = self._aligned(node, [symbol for symbol in symbols if len(symbol) == len(shape)])
        return tuple(
            tuple(
                Factor(frozenset(_guessed(origin, node.name) for origin in factor.origins), factor.size)
                for factor in axis
            )
            for axis in aligned
        )

    def _positions_after(self, node: Node) -> frozenset[Origin]:
        known = frozenset[Origin]().union(*(self.positions.get(tensor, frozenset()) for tensor in node.inputs))
        if not isinstance(node.operation, Contraction):
            return known
        labels = node.operation.output
        summed = {*node.operation.first, *node.operation.second}.difference(labels)
        kept = {
            root
            for tensor, letters in zip(node.inputs, (node.operation.first, node.operation.second), strict=False)
            if summed and tensor in self.graph.data
            for letter, axis in zip(letters, self.symbol(tensor), strict=True)
            if letter in labels
            for factor in axis
            for origin in factor.origins
            for root in origin.roots
            if isinstance(root, Units)
        }
        return known | kept if kept - known else known

    @cached_property
    def _same(self) -> dict[int, int]:
        """For each tensor the first one that is computed in the same way from the same tensors."""
        first: dict[Hashable, int] = {}
        paths: dict[str, int] = {}
        same = {tensor: paths.setdefault(path, tensor) for tensor, path in self.graph.weights.items()}
        for node in self.graph.nodes:
            inputs = tuple(same.get(tensor, tensor) for tensor in node.inputs)
            if _keeps_elements(node.operation):
                same[node.output] = inputs[0]
            elif isinstance(node.operation, Contraction) or (
                isinstance(node.operation, Elementwise) and len(set(inputs)) > 1
            ):
                key = (node.name, repr(node.operation), inputs)
                same[node.output] = first.setdefault(key, node.output)
        return same

    def original(self, tensor: int) -> int:
        """The first tensor of the trace that holds the same elements, whatever its shape, as far as that is known."""
        return self._same.get(tensor, tensor)

    def _steps_after(self, node: Node) -> Steps:
        known = [self.steps.get(tensor, {}) for tensor in node.inputs]
        first = self.symbol(node.inputs[0]) if node.inputs else ()
        return steps_after(node, known, first, self.symbols[node.output])


def _keeps_elements(operation: object) -> bool:
    """Whether an operation gives the elements of its first input, in another shape or order."""
    if isinstance(operation, Moved):
        return not operation.summed and any(target is not None for target in operation.targets)
    return isinstance(operation, Reshaped)


def steps_after(node: Node, known: Sequence[Steps], first: Symbol, output: Symbol) -> Steps:
    """The single positions that a node's output was made from.

    Args:
        node: The node.
        known: The same of its inputs.
        first: Axes of its first input.
        output: Axes of its output.
    """
    steps: Steps = {}
    for each in known:
        for axis, (start, stop) in each.items():
            before = steps.get(axis, (start, stop))
            steps[axis] = (min(start, before[0]), max(stop, before[1]))
    left = {origin for axis in output for factor in axis for origin in factor.origins}
    if isinstance(node.operation, Sliced) and not node.operation.wraps:
        for cut, left_of_it, place in zip(first, output, node.operation.starts, strict=True):
            if place is not None and place >= 0 and size_of(left_of_it) == 1 < size_of(cut):
                steps.update({(origin, size_of(cut)): (place, place) for origin in _origins_of(cut)})
    if isinstance(node.operation, Taken) and node.operation.position is not None:
        taken, position = first[node.operation.axis], node.operation.position
        steps.update({(origin, size_of(taken)): (position, position) for origin in _origins_of(taken)})
    if isinstance(node.operation, (Moved, Reshaped)):
        for origin in (origin for axis in first for factor in axis if factor.size == 1 for origin in factor.origins):
            if origin in left:
                continue
            if isinstance(origin, Part) and origin.start is not None:
                steps[origin.of, origin.total] = (origin.start, origin.start)
            elif isinstance(origin, Mark):
                steps[origin, 1] = (0, 0)
    if isinstance(node.operation, Joined):
        left |= {origin for axis in output for origin in _origins_of(axis)}
        joined_again = left | {origin.of for origin in left if isinstance(origin, Part)}
        steps = {axis: positions for axis, positions in steps.items() if axis[0] not in joined_again}
    return steps


def _origins_of(axis: Axis) -> frozenset[Origin]:
    """What an axis is, as a whole."""
    return axis[0].origins if len(axis) == 1 else frozenset((whole(axis),) if axis else ())


def _is_known(axis: Axis) -> bool:
    return any(not isinstance(origin, Made) for factor in axis for origin in factor.origins)


def _guessed(origin: Origin, operation: str) -> Origin:
    return origin if isinstance(origin, (Lost, Guessed)) else Guessed(origin, operation)


def _in_order(axis: tuple[Origin, int], steps: Sequence[tuple[int, int]]) -> Origin | None:
    """The axis whose positions these are, one after another: each piece reads on from where the one before stopped."""
    firsts, lasts = zip(*steps, strict=True)
    origin, total = axis
    count = len(steps)
    if lasts == tuple(range(lasts[0], lasts[0] + count)) and count > 1:
        return origin if count == total else Part(origin, total, lasts[0], 1, count)
    if firsts == tuple(range(firsts[0], firsts[0] - count, -1)):
        return Part(origin, total, firsts[0], -1, count)
    return None
