"""Which padding mask belongs to which sequence: the one whose positions come from the same axis."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from attnscope.backends import Trace
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._origins import Axis, Origin, Pieces, Position, Samples, one, size_of
from attnscope.interception import MaskPieces, mask_input


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
            if len(symbol) == 2 and _is_samples(symbol[0]) and symbol[1]:
                self._set.append((number, symbol[1], name))

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

    def without_masks(self, axis: Axis) -> Axis:
        """An axis without the masks that it met, as long as there is anything else."""
        return tuple(
            type(factor)(frozenset(origins) or factor.origins, factor.size)
            for factor in axis
            for origins in ([origin for origin in factor.origins if not self._is_mask(origin)],)
        )

    def _is_mask(self, origin: Origin) -> bool:
        return isinstance(origin, Position) and origin.input in self.inputs

    def of(self, origins: Mapping[str, Axis], count: int) -> dict[str, MaskPieces]:
        """For each dim whose sequence has a mask the pieces of that mask.

        Args:
            origins: Axes of the dims.
            count: So many Keras masks had been set before; the last of them counts.
        """
        masks = {dim: self._of_axis(axis, count) for dim, axis in origins.items() if dim in ("query", "key")}
        return {dim: pieces for dim, pieces in masks.items() if any(name for name, _ in pieces)}

    def _of_axis(self, axis: Axis, count: int) -> MaskPieces:
        pieces = _pieces(axis)
        if len(pieces) > 1:
            return tuple((self._named(piece, count), size) for piece, size in pieces)
        return ((self._named(axis, count), size_of(axis)),)

    def _named(self, axis: Axis, count: int) -> str:
        axis = self.without_masks(axis)
        before = [name for number, each, name in self._set if number < count and axis and each == axis]
        return before[-1] if before else self._linked.get(axis, "")


def _pieces(axis: Axis) -> list[tuple[Axis, int]]:
    """The axes that lie behind each other in one."""
    if len(axis) == 1 and len(axis[0].origins) == 1:
        (origin,) = axis[0].origins
        if isinstance(origin, Pieces) and not origin.stacked:
            return [(one(piece, size), size) for piece, size in origin.of]
    return [(axis, size_of(axis))]


def _is_samples(axis: Axis) -> bool:
    return len(axis) == 1 and axis[0].origins == frozenset((Samples(),))
