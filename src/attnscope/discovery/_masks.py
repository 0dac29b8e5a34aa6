"""Which padding mask belongs to which sequence: the one whose positions come from the same axis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from attnscope.backends import Trace
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._origins import Axis, Samples


class Masks:
    """The padding masks of a trace.

    Args:
        trace: The trace.
        lineage: Of its tensors.
        keras_masks: Names of the Keras masks that layers set, in order, with what the trace knows each by.
    """

    def __init__(self, trace: Trace, lineage: Lineage, keras_masks: Sequence[tuple[str, Hashable]]) -> None:
        self._by_axis: list[tuple[Axis, str]] = []
        for name, key in keras_masks:
            symbol = lineage.symbol(trace.numbers[key]) if key in trace.numbers else ()
            if len(symbol) == 2 and _is_samples(symbol[0]) and symbol[1]:
                self._by_axis.append((symbol[1], name))

    def of(self, origins: Mapping[str, Axis]) -> dict[str, str]:
        """For each dim whose sequence has a mask the name of that mask: the last one that was set."""
        found = {dim: self._of_axis(axis) for dim, axis in origins.items() if dim in ("query", "key")}
        return {dim: name for dim, name in found.items() if name}

    def _of_axis(self, axis: Axis) -> str:
        return next((name for known, name in reversed(self._by_axis) if axis and known == axis), "")


def _is_samples(axis: Axis) -> bool:
    return len(axis) == 1 and axis[0].origins == frozenset((Samples(),))
