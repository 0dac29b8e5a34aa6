"""In which unit a model's outputs are, as far as its last layers and its loss say."""

from __future__ import annotations

from typing import Any

import keras
from keras import tree

from attnscope.schema import LOGIT, PROBABILITY


def units_of_outputs(model: keras.Layer) -> list[str]:
    """The unit of each output, in the order of `keras.tree`; empty where nothing says it.

    ``probability`` where the layer that gives the output ends in a softmax or a sigmoid; ``logit`` where it ends in
    nothing and the model was compiled with a loss that is told so (``from_logits=True``).
    """
    layers = getattr(model, "layers", None) or []
    return [_unit(model, _maker(layers, output)) for output in tree.flatten(getattr(model, "outputs", None) or [])]


def is_regression(model: keras.Layer) -> bool:
    """Whether the model was compiled with a loss that measures how far numbers are from others, whatever they mean."""
    losses = tree.flatten(getattr(model, "loss", None))
    return bool(losses) and all(_measures_distance(loss) for loss in losses)


def _measures_distance(loss: Any) -> bool:
    function = keras.losses.get(loss) if isinstance(loss, str) else loss
    return getattr(getattr(function, "fn", function), "__name__", "") in _DISTANCES


_DISTANCES = frozenset(
    {
        "mean_squared_error",
        "mean_absolute_error",
        "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error",
        "huber",
        "log_cosh",
    }
)
"""Losses that only numbers are fitted with."""


def _maker(layers: list[keras.Layer], output: Any) -> keras.Layer | None:
    for layer in layers:
        try:
            made = layer.output
        except (AttributeError, ValueError, RuntimeError):  # it was called several times, or never
            continue
        if any(one is output for one in tree.flatten(made)):
            return layer
    return None


def _unit(model: keras.Layer, layer: keras.Layer | None) -> str:
    if layer is None:
        return ""
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax) or activation in (keras.activations.softmax, keras.activations.sigmoid):
        return PROBABILITY
    losses = tree.flatten(getattr(model, "loss", None))
    unbent = hasattr(layer, "activation") and activation in (None, keras.activations.linear)
    return LOGIT if unbent and len(losses) == 1 and getattr(losses[0], "from_logits", False) is True else ""
