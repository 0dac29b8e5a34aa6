"""The padding masks that a model meets while it runs: those among its inputs, and every Keras mask that a layer sets.

Each has a name that is the same in every run, so that a trace can tell which sequence it belongs to.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from keras import ops, tree

from attnscope.interception._plan import MaskPlan
from attnscope.schema import Portion
from attnscope.tensors import Tensor, Tree

MASKED_LOGIT = -5e3
"""A logit at or below this is a masked cell.

Keras writes -1e9 (float32), -3e4 or -65504 (float16), KerasHub also -1e4, others the smallest float or -inf. A logit
that a model intends is far above: at -5,000 the score is 0 in every float format, unless all cells are that low.
"""

MASK_NAMES = ("padding_mask", "attention_mask", "mask")
"""Endings of the names of inputs that are 0 at padding, the clearest first."""


def can_be_mask(name: str, value: Tensor) -> bool:
    """Whether an input can be a padding mask: it has one cell per position, and is bool or called a mask."""
    is_bool = "bool" in str(value.dtype)  # of any framework's, and of NumPy's, which has strings too
    return len(value.shape) == 2 and (is_bool or name.endswith(MASK_NAMES))


def likeliest_mask(names: Collection[str]) -> str:
    """Of the inputs that were laid along one sequence the one whose name says most clearly that it is its padding."""

    def rank(name: str) -> tuple[int, str]:
        return next((place for place, end in enumerate(MASK_NAMES) if name.endswith(end)), len(MASK_NAMES)), name

    return min(names, key=rank)


def mask_input(name: str) -> str:
    """The name of a mask that is an input."""
    return f"input {name}"


@dataclass(frozen=True)
class RemovedMask:
    """A padding mask that a layer took off the tensor it was called on.

    Attributes:
        path: Of the layer.
        call: How many calls of attention there had been in it: the number of the one that it then made.
        mask: Name of the mask; empty for one that nothing had set.
    """

    path: str
    call: int
    mask: str


@dataclass
class Padding:
    """The padding masks that were seen so far in one run of a model.

    Attributes:
        masks: By name, each of shape ``(sample, position)``. In a loop those of the step that runs.
        removed: Those that layers removed from a tensor, in order.
    """

    masks: dict[str, Tensor] = field(default_factory=dict)
    removed: list[RemovedMask] = field(default_factory=list)
    _counts: Counter[tuple[str, tuple[int, ...]]] = field(default_factory=Counter)

    def read_inputs(self, inputs: Tree, names: Sequence[str]) -> None:
        """Takes the inputs that can be masks.

        Args:
            inputs: The model's inputs.
            names: Of each of their leaves.
        """
        for name, value in zip(names, tree.flatten(inputs), strict=True):
            if can_be_mask(name, value):
                self.masks[mask_input(name)] = ops.cast(value, "bool")

    def of(self, plan: MaskPlan, windows: tuple[str, ...]) -> Tensor | None:
        """The mask of a dim, dims ``(sample, *windows, position)``; None where a part of it was not met.

        Args:
            plan: Its parts.
            windows: The other dims that validity has; of size 1 where the mask does not differ along them.
        """
        names = [part.name for part in plan.parts if part.name]
        if any(name not in self.masks for name in names):
            return None
        samples = self.masks[names[0]].shape[0]
        flat = {name: ops.reshape(ops.cast(self.masks[name], "bool"), (samples, -1)) for name in names}
        parts = [self._part(part, flat, samples) for part in plan.parts]
        joined = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
        return _in_dims(joined, plan, windows)

    @staticmethod
    def _part(part: Portion, flat: dict[str, Tensor], samples: int) -> Tensor:
        if not part.name:
            return ops.ones((samples, part.size), dtype="bool")
        mask = flat[part.name]
        if part.is_whole:
            return mask
        if part.step == 1 and part.start + part.size == part.total:  # to the end, at whatever length
            return mask[:, part.start :]
        return ops.take(mask, list(part.positions), axis=1)

    def note_removal(self, mask: Tensor, path: str, call: int) -> None:
        """Records that a layer takes a mask off a tensor; see `RemovedMask`."""
        removed = RemovedMask(path, call, next((name for name, each in self.masks.items() if each is mask), ""))
        if removed not in self.removed:
            self.removed.append(removed)

    def read_keras_mask(self, mask: Tensor, path: str, step: tuple[int, ...]) -> str | None:
        """Takes a mask that a layer sets, and gives its name; None for one that has not a cell for each position.

        Args:
            mask: The mask.
            path: Of the layer.
            step: Of the unrolled loops around it: each step sets the same masks anew.
        """
        if len(mask.shape) < 2:
            return None
        number = self._counts[path, step]
        self._counts[path, step] += 1
        name = f"{path}#{number}"
        self.masks[name] = mask
        return name


def _in_dims(mask: Tensor, plan: MaskPlan, windows: tuple[str, ...]) -> Tensor:
    """A mask ``(sample, position)`` with its positions split into dims."""
    own = next(dim for dim, _ in plan.dims if dim not in windows)
    sizes = [size for _, size in plan.dims]
    outermost = mask.shape[1] // math.prod(sizes[1:])  # the others keep their sizes when inputs are longer
    split = ops.reshape(mask, (mask.shape[0], outermost, *sizes[1:]))
    order = [dim for dim, _ in plan.dims]
    present = [dim for dim in (*windows, own) if dim in order]
    split = ops.transpose(split, (0, *(1 + order.index(dim) for dim in present)))
    shape = dict(zip(present, split.shape[1:], strict=True))
    return ops.reshape(split, (mask.shape[0], *(shape.get(dim, 1) for dim in (*windows, own))))
