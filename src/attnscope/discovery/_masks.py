"""Which padding mask belongs to which sequence: the one whose positions come from the same axis."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from attnscope.backends import Trace
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._origins import (
    Axis,
    Guessed,
    Origin,
    Part,
    Pieces,
    Position,
    Samples,
    one,
    rejoined,
    size_of,
)
from attnscope.interception import MaskPart, MaskPlan, mask_input


class Masks:
    """The padding masks of a trace.

    Args:
        trace: The trace.
        lineage: Of its tensors.
        keras_masks: Names of the Keras masks that layers set, in order, with what the trace knows each by.
        inputs: Names of the inputs that can be masks.
    """

    def __init__(
        self,
        trace: Trace,
        lineage: Lineage,
        keras_masks: Sequence[tuple[str, Hashable]],
        inputs: Iterable[str],
    ) -> None:
        self._set: list[tuple[int, Axis, str]] = []
        self._linked: dict[Axis, str] = {}
        self.inputs = frozenset(inputs)
        for number, (name, key) in enumerate(keras_masks):
            symbol = lineage.symbol(trace.numbers[key]) if key in trace.numbers else ()
            positions = rejoined(factor for axis in symbol[1:] for factor in axis)
            if symbol and _is_samples(symbol[0]) and positions:
                self._set.append((number, positions, name))

    def link(self, sequence: Axis, limit: Axis) -> None:
        """Notes which inputs were laid along the positions of a sequence: its masks.

        Args:
            sequence: The axis of the weighted values.
            limit: The same axis of the scores, or of the mask that they were given.
        """
        pieces, limits = _pieces(sequence), _pieces(limit)
        if len(pieces) == 1 < len(limits):  # sinks stand behind the keys of the sequence
            self.link(sequence, limits[0][0])
        elif len(pieces) == len(limits) > 1:
            for (piece, _), (laid, _) in zip(pieces, limits, strict=True):
                self.link(piece, laid)
        for factor in (*sequence, *limit):
            for origin in factor.origins:
                if isinstance(origin, Position) and origin.axis == 1 and origin.input in self.inputs:
                    self._linked.setdefault(self.without_masks(sequence), mask_input(origin.input))

    def first_of(self, name: str) -> str:
        """The Keras mask that was first set for the positions of an input; empty where none was."""
        return next((mask for _, axis, mask in self._set if _is_of_input(axis, name)), "")

    def input_of(self, name: str) -> str:
        """The input that is the mask of another one's positions; empty where none is."""
        linked = next((mask for axis, mask in self._linked.items() if _is_of_input(axis, name)), "")
        return next((each for each in self.inputs if mask_input(each) == linked), "")

    def without_masks(self, axis: Axis) -> Axis:
        """An axis without the masks that it met, as long as there is anything else."""
        return tuple(
            type(factor)(frozenset(origins) or factor.origins, factor.size)
            for factor in axis
            for origins in ([origin for origin in factor.origins if not self._is_mask(origin)],)
        )

    def _is_mask(self, origin: Origin) -> bool:
        return isinstance(origin, Position) and origin.input in self.inputs

    def of(self, origins: Mapping[str, Axis], count: int) -> dict[str, MaskPlan]:
        """For each dim whose positions have a mask what that is.

        Args:
            origins: Axes of the dims.
            count: So many Keras masks had been set before; the last of them counts.
        """
        plans = {dim: self._of_dim(dim, origins, count) for dim in origins if dim in ("query", "key")}
        return {dim: plan for dim, plan in plans.items() if plan is not None}

    def _of_dim(self, dim: str, origins: Mapping[str, Axis], count: int) -> MaskPlan | None:
        """The mask of a dim: of its own positions; or of these and the windows together, which they were cut into."""
        own, windows = origins[dim], origins.get("window", ())
        sized = (dim, size_of(own))
        ways = [(own, (sized,))]
        if windows and own:
            window = ("window", size_of(windows))
            ways += [((*windows, *own), (window, sized)), ((*own, *windows), (sized, window))]
        for axis, dims in ways:
            parts = self._of_axis(rejoined(axis), count)
            if any(part.name for part in parts):
                return MaskPlan(parts, dims)
        return None

    def _of_axis(self, axis: Axis, count: int) -> tuple[MaskPart, ...]:
        """The mask of an axis, in parts behind each other; a part without a name where nothing is known."""
        axis, size = self.without_masks(axis), size_of(axis)
        name = self._named(axis, count)
        if name or len(axis) != 1 or len(axis[0].origins) != 1:
            return (MaskPart(name, size, size),)
        (origin,) = axis[0].origins
        match origin:
            case Guessed(of):
                return self._of_axis(one(of, size), count)
            case Part(of, total, start, step) if start is not None:
                return _picked(self._of_axis(one(of, total), count), range(start, start + size * step, step))
            case Pieces(of, False):
                return tuple(part for piece, length in of for part in self._of_axis(one(piece, length), count))
        return (MaskPart("", size, size),)

    def _named(self, axis: Axis, count: int) -> str:
        before = [name for number, each, name in self._set if number < count and axis and each == axis]
        return before[-1] if before else self._linked.get(axis, "")


def _picked(parts: Sequence[MaskPart], wanted: range) -> tuple[MaskPart, ...]:
    """Some positions of a mask that is in parts."""
    cells = [(part, position) for part in parts for position in part.positions]
    picked: list[MaskPart] = []
    for part, position in (cells[number] for number in wanted):
        last = picked[-1] if picked else None
        step = 0 if last is None else position - last.positions[-1]
        if last is not None and last.name == part.name and ((last.size == 1 and step) or step == last.step):
            picked[-1] = MaskPart(last.name, last.size + 1, last.total, last.start, step)
        else:
            picked.append(MaskPart(part.name, 1, part.total, position))
    return tuple(picked)


def _pieces(axis: Axis) -> list[tuple[Axis, int]]:
    """The axes that lie behind each other in one."""
    if len(axis) == 1 and len(axis[0].origins) == 1:
        (origin,) = axis[0].origins
        if isinstance(origin, Pieces) and not origin.stacked:
            return [(one(piece, size), size) for piece, size in origin.of]
    return [(axis, size_of(axis))]


def _is_of_input(axis: Axis, name: str) -> bool:
    """Whether the positions along an axis are those of an input: along one axis of it, or several in their order."""
    along = [
        {origin.axis for origin in factor.origins if isinstance(origin, Position) and origin.input == name}
        for factor in axis
    ]
    numbers = [min(axes, default=0) for axes in along]
    return bool(numbers) and all(numbers) and numbers == sorted(numbers)


def _is_samples(axis: Axis) -> bool:
    return len(axis) == 1 and axis[0].origins == frozenset((Samples(),))
