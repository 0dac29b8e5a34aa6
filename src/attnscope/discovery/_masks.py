"""Which padding mask belongs to which sequence: the one whose positions come from the same axis."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from attnscope.backends import Trace
from attnscope.discovery._axes import Axis, Factor, one, rejoined, size_of
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._origins import Origin, Pieces, Position, Samples, Together, as_one
from attnscope.discovery._portions import picked, pieces_of, portions_of
from attnscope.interception import MaskPlan, likeliest_mask, mask_input
from attnscope.schema import Portion

At = tuple[Origin, int, int]
"""An axis, its size, and a position of it."""


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
        self._linked: dict[Axis, set[str]] = {}
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
        pieces, limits = pieces_of(sequence), pieces_of(limit)
        if limits and not pieces:  # sinks stand behind the keys of the sequence
            self.link(sequence, limits[0])
        elif len(pieces) == len(limits):
            for piece, laid in zip(pieces, limits, strict=True):
                self.link(piece, laid)
        for factor in (*sequence, *limit):
            for origin in factor.origins:
                if isinstance(origin, Position) and origin.axis == 1 and origin.input in self.inputs:
                    self._linked.setdefault(self.without_masks(sequence), set()).add(origin.input)

    def is_of(self, name: str, plan: MaskPlan | None) -> bool:
        """Whether a Keras mask is one of a sequence that a plan names a mask of."""
        sequences = {mask: axis for _, axis, mask in self._set}
        parts = () if plan is None else plan.parts
        return name in sequences and any(sequences.get(part.name) == sequences[name] for part in parts)

    def first_of(self, name: str) -> str:
        """The Keras mask that was first set for the positions of an input; empty where none was."""
        return next((mask for _, axis, mask in self._set if _is_of_input(axis, name)), "")

    def input_of(self, name: str) -> str:
        """The input that is the mask of another one's positions; empty where none is."""
        linked = next((mask for axis, mask in self._linked.items() if _is_of_input(axis, name)), "")
        return next((each for each in self.inputs if mask_input(each) == linked), "")

    def without_masks(self, axis: Axis) -> Axis:
        """An axis without the masks that it met, as long as there is anything else."""
        return tuple(Factor(self._unmasked(factor.origins), factor.size) for factor in axis)

    def _unmasked(self, origins: frozenset[Origin]) -> frozenset[Origin]:
        left = frozenset(origin for origin in origins if not self._is_mask(origin)) or origins
        return frozenset(self._pieces_unmasked(origin) for origin in left)

    def _pieces_unmasked(self, origin: Origin) -> Origin:
        match origin:
            case Pieces(of, False):
                return Pieces(tuple((self._pieces_unmasked(piece), size) for piece, size in of))
            case Together(of):
                return as_one(self._unmasked(of))
        return origin

    def _is_mask(self, origin: Origin) -> bool:
        inputs = [root.input for root in origin.roots if isinstance(root, Position)]
        return bool(inputs) and self.inputs.issuperset(inputs)

    def of(self, origins: Mapping[str, Axis], count: int, at: Sequence[At] = ()) -> dict[str, MaskPlan]:
        """For each dim whose positions have a mask what that is.

        Args:
            origins: Axes of the dims.
            count: So many Keras masks had been set before; the last of them counts.
            at: The single positions of other axes that the scores were made from, as in a loop over sentences.
        """
        plans = {dim: self._of_dim(dim, origins, count, at) for dim in origins if dim in ("query", "key")}
        return {dim: plan for dim, plan in plans.items() if plan is not None}

    def _of_dim(self, dim: str, origins: Mapping[str, Axis], count: int, at: Sequence[At]) -> MaskPlan | None:
        """The mask of a dim: of its own positions; or of these and the windows together, which they were cut into."""
        own, windows = origins[dim], origins.get("window", ())
        sized = (dim, size_of(own))
        ways: list[tuple[Axis, tuple[tuple[str, int], ...]]] = [(own, (sized,))]
        if windows and own:
            window = ("window", size_of(windows))
            ways += [((*windows, *own), (window, sized)), ((*own, *windows), (sized, window))]
        for axis, dims in ways:
            parts = self._of_axis(rejoined(axis), count)
            if any(part.name for part in parts):
                return MaskPlan(parts, dims)
        size = size_of(own)
        for origin, total, position in at:
            parts = self._of_axis(rejoined((*one(origin, total), *own)), count)
            if own and any(part.name for part in parts):
                return MaskPlan(picked(parts, range(position * size, (position + 1) * size)), (sized,))
        return None

    def _of_axis(self, axis: Axis, count: int) -> tuple[Portion, ...]:
        return portions_of(self.without_masks(axis), lambda part: self._named(self.without_masks(part), count))

    def _named(self, axis: Axis, count: int) -> str:
        before = [name for number, each, name in self._set if number < count and axis and each == axis]
        linked = self._linked.get(axis)
        return before[-1] if before else mask_input(likeliest_mask(linked)) if linked else ""


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
