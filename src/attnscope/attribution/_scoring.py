"""What a model says about many versions of its inputs, in batches of one size, with every pass counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import keras
import numpy as np
from keras import tree

from attnscope.attribution._targets import Target
from attnscope.running import as_numpy, batches_of, call_model, compiled, merged

Made = TypeVar("Made")


class Scorer:
    """The target's number for inputs that are given again and again, slightly changed.

    Args:
        model: A built model.
        batch_size: Samples at a time. The last batch is filled up to it, so that a model is compiled once.

    Attributes:
        passes: Samples that went through the model forwards so far, those that only fill a batch left out.
        gradient_passes: Likewise forwards and backwards.
    """

    def __init__(self, model: keras.Layer, batch_size: int = 64) -> None:
        self._model = model
        self._batch_size = batch_size
        self._run = compiled(model, call_model)
        self.passes = 0
        self.gradient_passes = 0
        self._kept: dict[Hashable, Any] = {}

    def kept(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for the model under this key, or what `make` gives now: what takes long to trace or compile.

        It holds for as long as only the values of the model's variables change.
        """
        if key not in self._kept:
            self._kept[key] = make()
        made: Made = self._kept[key]
        return made

    def outputs(self, inputs: Any) -> Any:
        """The model's outputs, as arrays in the model's structure."""
        total = len(tree.flatten(inputs)[0])
        size = self._batch_size
        missing = -total % size  # a first batch that is smaller would be compiled for itself
        whole = tree.map_structure(lambda array: _filled(np.asarray(array), missing), inputs) if missing else inputs
        batches = batches_of(whole, size, self._model)
        parts = [tree.map_structure(as_numpy, self._run(batch.inputs)) for batch in batches]
        self.passes += total
        return tree.map_structure(lambda *arrays: merged(list(arrays))[:total], *parts)

    def __call__(self, inputs: Any, target: Target, rows: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The target's numbers, float64, dims ``(sample,)``.

        Args:
            inputs: Inputs of the model, in arrays.
            target: What is read.
            rows: The target's extras for these samples, see `Target.rows`; default: they are all samples in order.
        """
        return target.of(self.outputs(inputs), rows)


def _filled(array: np.ndarray, missing: int) -> np.ndarray:
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
