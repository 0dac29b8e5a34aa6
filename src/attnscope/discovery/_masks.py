"""Which padding mask belongs to which sequence: the one whose positions come from the same axis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from attnscope.backends import Trace
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._origins import Axis, Position, Samples
from attnscope.interception import mask_input


class Masks:
    """The padding masks of a trace.

    Args:
        trace: The trace.
        lineage: Of its tensors.
        keras_masks: Names of the Keras masks that layers set, in order, with what the trace knows each by.
    """

    def __init__(self, trace: Trace, lineage: Lineage, keras_masks: Sequence[tuple[str, Hashable]]) -> None:
        self._by_axis: list[tuple[int, Axis, str]] = []
        self._inputs: dict[Axis, str] = {}
        for number, (name, key) in enumerate(keras_masks):
            symbol = lineage.symbol(trace.numbers[key]) if key in trace.numbers else ()
            if len(symbol) == 2 and _is_samples(symbol[0]) and symbol[1]:
                self._by_axis.append((number, symbol[1], name))

    def link(self, sequence: Axis, limit: Axis) -> None:
        """Notes which inputs were laid along the keys of a sequence, beside the sequence itself: its masks.

        Args:
            sequence: The axis of the weighted values.
            limit: The same axis of the scores, or of the mask that they were given.
        """
        of_sequence = {origin for factor in sequence for origin in factor.origins}
        for factor in limit:
            for origin in factor.origins - of_sequence:
                if isinstance(origin, Position) and origin.axis == 1:
                    self._inputs.setdefault(sequence, mask_input(origin.input))

    def of(self, origins: Mapping[str, Axis], count: int) -> dict[str, str]:
        """For each dim whose sequence has a mask the name of that mask: the last of the first `count` that were set."""
        names = {dim: self._of_axis(axis, count) for dim, axis in origins.items() if dim in ("query", "key")}
        return {dim: name for dim, name in names.items() if name}

    def _of_axis(self, axis: Axis, count: int) -> str:
        known = reversed(self._by_axis)
        by_keras = next((name for number, each, name in known if number < count and axis and each == axis), "")
        return by_keras or self._inputs.get(axis, "")


def _is_samples(axis: Axis) -> bool:
    return len(axis) == 1 and axis[0].origins == frozenset((Samples(),))
