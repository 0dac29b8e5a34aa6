"""Which positions are padding: from the masks that the model was given, and from the cells it masked.

Two sources are read while the model runs: inputs whose name ends in ``padding_mask`` or ``attention_mask``, and
every Keras mask that a layer sets (`Embedding(mask_zero=True)`, `Masking`). A mask belongs to an axis by its
length; where several of one length differ, the model itself decides by the cells that it masked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
from keras import ops, tree

from attnscope.tensors import Tensor, Tree

MASKED_LOGIT = -5e3
"""A logit at or below this is a masked cell.

Keras writes -1e9 (float32), -3e4 or -65504 (float16), KerasHub also -1e4, others the smallest float or -inf. A logit
that a model intends is far above: at -5,000 the score is 0 in every float format, unless all cells are that low.
"""

_NAMES = ("padding_mask", "attention_mask")
ORIGINS = (keras.layers.Embedding, keras.layers.Masking)
"""Layers where masks begin."""


@dataclass
class Padding:
    """The padding masks that were seen so far in one run of a model.

    Attributes:
        masks: Mask and the name of where it came from; each of shape ``(batch, positions)``.
        unmasked_lengths: Lengths of inputs that bring features for each position, so that no embedding masks them.
        removed_by: Paths of the layers that removed the mask from a tensor, in order.
    """

    masks: list[tuple[str, Tensor]] = field(default_factory=list)
    unmasked_lengths: set[int] = field(default_factory=set)
    removed_by: list[str] = field(default_factory=list)

    def read_inputs(self, inputs: Tree) -> None:
        """Takes the masks among a model's inputs, recognised by their names."""
        for path, value in [] if inputs is None else tree.flatten_with_path(inputs):
            name = str(path[-1]) if path else ""
            if name.endswith(_NAMES) and len(value.shape) == 2:
                self.masks.append((name, ops.cast(value, "bool")))
            elif len(value.shape) == 3:
                self.unmasked_lengths.add(value.shape[1])

    def read_keras_mask(self, mask: Tensor, path: str) -> None:
        """Takes a mask that a layer sets, where it is the first of its length.

        Layers pass masks on, some as new tensors; what they pass on is not another mask.
        """
        if len(mask.shape) == 2 and mask.shape[1] not in [known.shape[1] for _, known in self.masks]:
            self.masks.append((path, mask))

    def read_origin(self, mask: Tensor, path: str) -> None:
        """Takes the mask that an embedding or a `Masking` made, under that layer's path."""
        if len(mask.shape) == 2:
            self.masks = [*(entry for entry in self.masks if entry[1] is not mask), (path, mask)]

    def of_length(self, length: int, batch: int, path: str) -> Tensor | None:
        """The mask for an axis of this length, or None if there is none or several are possible.

        Args:
            length: Positions of the axis.
            batch: Samples.
            path: Path of the site. Between an encoder's and a decoder's mask, the one whose name shares that word with
                the path is chosen.
        """
        fitting = [(name, mask) for name, mask in self.masks if tuple(mask.shape) == (batch, length)]
        named = [(n, m) for n, m in fitting for word in ("encoder", "decoder") if word in n and word in path]
        candidates = named or fitting
        from_layers = any("/" in name or not name.endswith(_NAMES) for name, _ in candidates)
        if length in self.unmasked_lengths and from_layers and not named:
            return None
        return candidates[0][1] if len(candidates) == 1 else None
