"""Where in a model the running code belongs: read from Keras' own stack of name scopes.

Keras pushes a scope, with the layer as its caller, around every layer call, on every backend and whether or
not a trace is running. So the location is known without touching ``Layer.__call__``.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras.src.backend.common import global_state

_HELPERS = (keras.layers.Softmax, keras.layers.Activation)


@dataclass(frozen=True)
class Location:
    """A point in a model: the layers that are being called, outermost first, the root left out.

    Attributes:
        layers: The layers on the way; empty at the root itself. A helper (`Softmax`, `Activation`) that an attention
            layer calls for its own use is folded into that layer, and is not listed here.
        path: Their names joined by ``/``.
        full_path: The same with the helper kept, so that a pattern can name it too.
    """

    layers: tuple[keras.Layer, ...]
    path: str
    full_path: str

    @property
    def layer(self) -> keras.Layer | None:
        """The layer whose code runs, or None at the root."""
        return self.layers[-1] if self.layers else None

    def inside(self, layer: keras.Layer) -> Location:
        """The location of a layer that is called from here."""
        layers = (*self.layers, layer)
        path = _joined(layers)
        return Location(layers, path, path)


def current_location(root: keras.Layer | None) -> Location:
    """Where the running code belongs, counted from `root` (or from the outermost layer if that is None)."""
    layers = _layers_being_called()
    for position in range(len(layers) - 1, -1, -1):
        if layers[position] is root:
            layers = layers[position + 1 :]
            break
    folded = layers[:-1] if _ends_in_a_helper(layers) else layers
    of_root = "" if root is None else root.name  # a softmax in the model's own call, in no layer
    return Location(tuple(folded), _joined(folded) or of_root, _joined(layers) or of_root)


def _layers_being_called() -> list[keras.Layer]:
    stack = global_state.get_global_attribute("name_scope_stack") or []
    return [scope.caller for scope in stack if isinstance(scope.caller, keras.Layer)]


def _ends_in_a_helper(layers: list[keras.Layer]) -> bool:
    return (
        len(layers) > 1
        and isinstance(layers[-1], _HELPERS)
        and not isinstance(layers[-2], (keras.Model, keras.layers.TimeDistributed))
    )


def _joined(layers: tuple[keras.Layer, ...] | list[keras.Layer]) -> str:
    return "/".join(layer.name for layer in layers)
