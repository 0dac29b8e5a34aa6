"""The mask of a sequence as a tensor, for layers to which Keras 3 hands no mask that Keras 2 handed on."""

from __future__ import annotations

import keras
from keras import ops

from attnscope.tensors import Tensor


@keras.saving.register_keras_serializable(package="attnscope")
class SequenceMask(keras.layers.Layer):  # type: ignore[misc]
    """Returns the mask that its input carries.

    Keras 3 gives a recurrent layer the mask of its sequence only if the layer takes no initial state; Keras 2 always
    did.
    """

    supports_masking = True

    def call(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Which steps count, dims ``(sample, step)``, bool; all of them if the input carries no mask."""
        return ops.ones(ops.shape(inputs)[:2], dtype="bool") if mask is None else mask

    def compute_output_spec(self, inputs: keras.KerasTensor, mask: object = None) -> keras.KerasTensor:
        """What `call` returns, for a tensor of shape ``(sample, step, ...)``."""
        return keras.KerasTensor(inputs.shape[:2], dtype="bool")

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> None:
        """None: the result has no mask."""
