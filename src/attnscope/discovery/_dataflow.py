"""What happens to a softmax: the rule that distinguishes attention from class probabilities and routers.

The model is traced once without computing anything, and the softmax's axis is followed through the operations
that come after it:

* **Attention**: along that axis the scores meet, in a product that is then summed (or a contraction, or a product
  that stays), a tensor that depends on the model's input. They weight something that the model was given. Units of a
  weight are attended to where they hold positions (latents, learned queries): the logit of each came from features of
  its own.
* **A router**: the scores go into a top-k, arg-max or sort; or they weight the outputs of parallel layers
  (experts): their axis comes from the units of a layer's kernel *and* so does, or from stacking, the weighted
  tensor's axis.
* **An assignment**: along another of their axes they weight such a tensor, and the softmax's own axis stays.
* **Class probabilities**: they leave the model as they are.
* **Nothing is weighted by them**: they end somewhere else.
* **The trail is lost**: an operation that nobody knows lies between, so that it cannot be told.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from attnscope.backends import (
    Chosen,
    Contraction,
    Elementwise,
    Joined,
    Moved,
    Node,
    Reshaped,
    Sliced,
    Taken,
    Unknown,
)
from attnscope.discovery._axes import Axis, Factor, Symbol, is_data, is_picked, one, says_something, size_of
from attnscope.discovery._lineage import Lineage, Steps, steps_after
from attnscope.discovery._origins import Guessed, Made, Mark, Origin, Part, Pieces, Units


@dataclass(frozen=True)
class Use:
    """What a softmax is for.

    Attributes:
        is_attention: Whether it weights data.
        reason: Why, or why not, in words for the user.
        unweighted_keys: How many of its last columns are cut off before anything is weighted: attention sinks.
        shared: Factors of its other axes, by axis and number, that the weighted tensor has too.
        picked: Those of them that it has because other positions were picked for each of theirs.
        values: Number of the weighted tensor; -1 where none is known.
        value: Its axis that the keys met; empty where none is known.
        guess: The unknown operation through which it was followed by its size; empty where there was none.
        lost: The operation at which the trail was lost; empty where it was not.
    """

    is_attention: bool
    reason: str
    unweighted_keys: int = 0
    shared: frozenset[tuple[int, int]] = frozenset()
    picked: frozenset[tuple[int, int]] = frozenset()
    values: int = -1
    value: Axis = ()
    guess: str = ""
    lost: str = ""


def use_of(lineage: Lineage, tensor: int, symbol: Symbol, axes: tuple[int, ...]) -> Use:
    """What a softmax is for; see the module's rule.

    Args:
        lineage: Of the trace.
        tensor: Number of what it gave.
        symbol: Where its axes come from.
        axes: Those that it ran over.
    """
    walk = _Walk(lineage, tensor, symbol, axes)
    walk.follow()
    axis = symbol[axes[-1]]
    units, holds_positions = _of_units(axis), _holds_positions(axis, lineage.positions.get(tensor, frozenset()))
    for meeting in sorted(walk.meetings, key=lambda each: (axes[-1] not in each.axes, each.rank)):
        alike = [each for each in walk.meetings if each.rank == meeting.rank]
        if not (units and _parallel(meeting.value)) or (holds_positions and walk.summed):
            cut = max(0, size_of(axis) - size_of(meeting.value)) if meeting.value and axis else 0
            return Use(
                True,
                "its scores weight data along the softmax's axis",
                unweighted_keys=cut,
                shared=meeting.shared.intersection(*(each.shared for each in alike)),
                picked=meeting.picked,
                values=meeting.values,
                value=meeting.value,
                guess=walk.guess,
            )
    if walk.meetings or (walk.single and units):
        return Use(False, "a gate: it weights the outputs of parallel layers (experts), not positions")
    if len(walk.single) > 1 or (walk.single and size_of(axis) == 1):
        return Use(True, "its scores, taken apart, weight data one by one", shared=frozenset(walk.shared_singly or ()))
    if walk.chosen and not walk.picks:
        return Use(False, "a router: its scores go into a top-k or similar operation, which picks units")
    lost = walk.picks or walk.lost
    if lost:
        return Use(
            False,
            f"its trail was lost at the operation {lost!r}, so that it is not known what it weights; take it by "
            "name if it is attention",
            lost=lost,
        )
    if walk.assigns:
        return Use(
            False,
            "it weights data, but along another axis than the softmax's, as where positions are assigned to slots or "
            "clusters; take it by name if it is attention",
        )
    if walk.returned:
        return Use(False, "class probabilities: the model returns them as they are")
    if walk.added:
        return Use(False, "its scores are added to something: nothing that depends on the input is weighted by it")
    return Use(False, "nothing that depends on the input is weighted by it")


def _of_units(axis: Axis) -> bool:
    return any(isinstance(root, Units) for factor in axis for origin in factor.origins for root in origin.roots) and (
        not any(is_data(factor) for factor in axis)
    )


def _holds_positions(axis: Axis, positions: Collection[Origin]) -> bool:
    """Whether the units along an axis hold positions, each with features of its own: latents, learned queries."""
    return any(root in positions for factor in axis for origin in factor.origins for root in origin.roots)


def _parallel(axis: Axis) -> bool:
    """Whether parallel layers lie along an axis: units, or outputs put beside each other."""
    origins = [origin for factor in axis for origin in factor.origins]
    return all(
        (isinstance(origin, Pieces) and origin.stacked) or all(isinstance(root, (Units, Made)) for root in origin.roots)
        for origin in origins
    )


@dataclass(frozen=True)
class _Meeting:
    """Where the scores meet a tensor in a product.

    Attributes:
        axes: Along which of their own axes.
        values: Number of the tensor.
        value: Its axis that meets these.
        shared: The factors that both have.
        picked: Those of them that were picked.
        rank: How surely the tensor is what the scores weight, and no gate that weights the scores; least first.
    """

    axes: frozenset[int]
    values: int
    value: Axis
    shared: frozenset[tuple[int, int]]
    picked: frozenset[tuple[int, int]]
    rank: int


@dataclass
class _Walk:
    """Follows the scores forward, with each factor of their axes marked."""

    lineage: Lineage
    start: int
    symbol: Symbol
    key_axes: tuple[int, ...]
    meetings: list[_Meeting] = field(default_factory=list)
    single: set[int | None] = field(default_factory=set)
    shared_singly: frozenset[tuple[int, int]] | None = None
    chosen: bool = False
    returned: bool = False
    added: bool = False
    assigns: bool = False  # to what lies along the softmax's axis
    summed: bool = False  # what they weight, along their axis
    lost: str = ""
    picks: str = ""  # the operation that picks positions by their scores
    guess: str = ""

    def follow(self) -> None:
        """Walks through all that is computed from the scores, as long as the keys are to be seen in it."""
        graph = self.lineage.graph
        self.own = graph.reached_from(self.start)
        self.marked: dict[int, Symbol] = {self.start: _marked(self.symbol, self.lineage.graph.shapes[self.start])}
        self.steps: dict[int, Steps] = {}
        self.summed_up: set[int] = set()
        waiting, queued = list(graph.users.get(self.start, ())), set(graph.users.get(self.start, ()))
        while waiting:
            node = graph.nodes[heapq.heappop(waiting)]
            if any(tensor in self.marked for tensor in node.inputs):
                self._through(node)
            else:
                self._through_sum(node)
            if node.output in self.marked or node.output in self.summed_up:
                for place in graph.users.get(node.output, ()):
                    if place not in queued:
                        queued.add(place)
                        heapq.heappush(waiting, place)
        self.returned = any(tensor in self.marked for tensor in graph.outputs)

    def _through(self, node: Node) -> None:
        known = {tensor: self.marked.get(tensor) or self.lineage.symbol(tensor) for tensor in node.inputs}
        for position, tensor in enumerate(node.inputs):
            if tensor in self.marked:
                self._meet(node, position, known)
        output = self.lineage.after(node, known)
        steps = steps_after(node, [self.steps.get(tensor, {}) for tensor in node.inputs], known[node.inputs[0]], output)
        if isinstance(node.operation, Unknown) and not self._holds_keys(output):
            self.lost = self.lost or node.name
        if self._holds_keys(output) or any(self._is_key(origin) for origin, _ in steps):
            self.marked[node.output] = output
            self.steps[node.output] = steps
        elif not any(self._is_foreign_data(tensor) for tensor in node.inputs):
            self.summed_up.add(node.output)

    def _through_sum(self, node: Node) -> None:
        """Scores that were summed with constants, perhaps to pick one of them, may weight data by that sum."""
        product = isinstance(node.operation, Contraction) or (
            isinstance(node.operation, Elementwise) and node.operation.product
        )
        if any(self._is_foreign_data(tensor) for tensor in node.inputs):
            if product:
                self.lost = self.lost or node.name
        elif isinstance(node.operation, (Elementwise, Moved, Reshaped, Sliced, Taken, Joined)):
            self.summed_up.add(node.output)

    def _meet(self, node: Node, position: int, known: dict[int, Symbol]) -> None:
        operation, symbol = node.operation, known[node.inputs[position]]
        if isinstance(operation, Moved):
            self.summed = self.summed or self._holds_keys(tuple(symbol[axis] for axis in operation.summed))
        elif isinstance(operation, Chosen):
            chosen = position == 0 and self._holds_keys((symbol[operation.axis],))
            self.chosen = self.chosen or chosen
            if chosen and any(is_data(factor) for axis in self.key_axes for factor in self.symbol[axis]):
                self.picks = self.picks or node.name  # positions are picked, perhaps to be weighted by their scores
        elif isinstance(operation, Contraction):
            mine, others = (operation.first, operation.second) if position == 0 else (operation.second, operation.first)
            summed = set(mine) - set(operation.output)
            other = node.inputs[1 - position]
            if self._is_foreign_data(other):
                self.summed = self.summed or self._holds_keys(tuple(symbol[mine.index(label)] for label in summed))
            self._note(other, known, dict(zip(mine, symbol, strict=True)), others, summed)
        elif isinstance(operation, Elementwise):
            for place, other in enumerate(node.inputs[: operation.inputs]):
                if place == position or other == node.inputs[position]:
                    continue
                if operation.product:
                    self._note(other, known, _by_place(symbol), tuple(_by_place(known[other])))
                elif self._is_foreign_data(other):
                    self.added = True

    def _note(
        self,
        other: int,
        known: dict[int, Symbol],
        mine: dict[object, Axis],
        labels: tuple[object, ...],
        summed: Collection[object] = (),
    ) -> None:
        """A product with a tensor: a meeting where it has an axis of its own along the keys'."""
        if not self._is_foreign_data(other):
            return
        theirs = dict(zip(labels, known[other], strict=True))
        both = {
            (mark.axis, mark.factor): theirs[label]
            for label, axis in mine.items()
            if label in theirs and _same_length(axis, theirs[label])
            for mark in _marks(axis)
        }
        shared = frozenset(both)
        picked = frozenset(place for place, axis in both.items() if is_picked(axis))
        apart = any(size_of(axis) > 1 and not _marks(mine.get(label, ())) for label, axis in theirs.items())
        along = tuple(mine[label] for label in summed if label in theirs and _marks(mine[label]))
        self.assigns = self.assigns or (apart and bool(along) and not self._holds_keys(along))
        for label, axis in mine.items():
            meets = label in summed or (label in theirs and _same_length(axis, theirs[label]))
            if label in theirs and meets and self._holds_keys((axis,)) and not self._is_constant(theirs[label]):
                axes = frozenset(mark.axis for mark in _marks(axis))
                # a gate has the axes of the scores alone and leaves the keys apart; values have features or are summed
                rank = 2 - apart - (label in summed)
                self.meetings.append(_Meeting(axes, other, theirs[label], shared, picked, rank))
                self._note_guess(axis)
        steps = self.steps.get(self._tensor_of(mine, known), {})
        singles: set[int | None] = {
            first for (origin, _), (first, last) in steps.items() if self._is_key(origin) and first == last
        }
        for label, axis in mine.items():
            if size_of(axis) == 1 and not (label in theirs and _same_length(axis, theirs[label])):
                singles.update(self._position(origin) for factor in axis for origin in factor.origins)
        singles.discard(None)
        if singles:
            self.single.update(singles)
            self.shared_singly = shared

    def _position(self, origin: Origin) -> int | None:
        """Which single key lies along an axis of size 1; None where it is no key, or not known which."""
        if not self._is_key(origin):
            return None
        return origin.start if isinstance(origin, Part) else 0

    def _is_foreign_data(self, tensor: int) -> bool:
        """Whether a tensor depends on the model's input, and not on the scores."""
        return tensor in self.lineage.graph.data and tensor not in self.own

    def _is_constant(self, axis: Axis) -> bool:
        """Whether constants lie along an axis: those of a one-hot code, which picks scores and is not weighted."""
        origins = [origin for factor in axis for origin in factor.origins]
        return bool(origins) and all(
            isinstance(origin, Made) and origin.tensor not in self.lineage.graph.data for origin in origins
        )

    def _tensor_of(self, mine: dict[object, Axis], known: dict[int, Symbol]) -> int:
        return next((tensor for tensor, symbol in known.items() if tuple(mine.values()) == symbol), -1)

    def _note_guess(self, axis: Axis) -> None:
        for factor in axis:
            for origin in factor.origins:
                if isinstance(origin, Guessed):
                    self.guess = self.guess or origin.operation

    def _holds_keys(self, symbol: Symbol) -> bool:
        return any(self._is_key(origin) for axis in symbol for factor in axis for origin in factor.origins)

    def _is_key(self, origin: Origin) -> bool:
        return any(isinstance(root, Mark) and root.axis in self.key_axes for root in origin.roots)


def _marked(symbol: Symbol, shape: Sequence[int]) -> Symbol:
    """The axes of a tensor, each factor with a mark of its own."""
    return tuple(
        tuple(Factor(frozenset((Mark(number, place),)), factor.size) for place, factor in enumerate(axis))
        or one(Mark(number, 0), size)
        for number, (axis, size) in enumerate(zip(symbol, shape, strict=True))
    )


def _by_place(symbol: Symbol) -> dict[object, Axis]:
    """Axes by their place from the last on, as operations broadcast."""
    return {number - len(symbol): axis for number, axis in enumerate(symbol)}


def _same_length(axis: Axis, other: Axis) -> bool:
    """Whether both run along the axis, rather than one of them being repeated."""
    same = bool(axis) and bool(other) and size_of(axis) == size_of(other)
    return same and (size_of(axis) > 1 or says_something(other))


def _marks(axis: Axis) -> list[Mark]:
    return [root for factor in axis for origin in factor.origins for root in origin.roots if isinstance(root, Mark)]
