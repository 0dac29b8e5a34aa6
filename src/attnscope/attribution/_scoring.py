"""What a model says about many versions of its inputs, in batches of one size, with every pass counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np

from attnscope.attribution._targets import Target
from attnscope.running import Network
from attnscope.tensors import Tree

Made = TypeVar("Made")


class Scorer:
    """The target's number for inputs that are given again and again, slightly changed.

    Args:
        network: The model and its data; a last batch is filled up to its batch size, so that it is compiled once.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kept: dict[Hashable, Any] = {}

    @property
    def passes(self) -> int:
        """Samples that went through the model forwards so far, those that only fill a batch left out."""
        return self._network.passes.forward

    @passes.setter
    def passes(self, number: int) -> None:
        self._network.passes.forward = number

    @property
    def gradient_passes(self) -> int:
        """Samples that went through the model forwards and backwards so far."""
        return self._network.passes.gradient

    @gradient_passes.setter
    def gradient_passes(self, number: int) -> None:
        self._network.passes.gradient = number

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for the model under this key, or what `make` gives now: what takes long to trace or compile.

        It holds for as long as only the values of the model's variables change.
        """
        if key not in self._kept:
            self._kept[key] = make()
        made: Made = self._kept[key]
        return made

    def outputs(self, inputs: Tree) -> Tree:
        """The model's outputs, as arrays in the model's structure."""
        return self._network.outputs(inputs)

    def __call__(self, inputs: Any, target: Target, rows: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The target's numbers, float64, dims ``(sample,)``.

        Args:
            inputs: Inputs of the model, in arrays.
            target: What is read.
            rows: The target's extras for these samples, see `Target.rows`; default: they are all samples in order.
        """
        return target.of(self.outputs(inputs), rows)
