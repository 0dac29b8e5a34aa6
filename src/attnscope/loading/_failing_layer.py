"""Which layer of a model cannot be built: Keras' own errors often name none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import keras

from attnscope.errors import AttnscopeError


@dataclass(frozen=True)
class FailingLayer:
    """A layer that could not be made or called."""

    name: str
    class_name: str
    is_keras_own: bool
    """Whether the class is one of Keras'."""


def layer_that_cannot_be_made(
    config: Any, custom_objects: Mapping[str, object], *, safe_mode: bool
) -> FailingLayer | None:
    """The first layer of a checked configuration that Keras cannot make even alone; None if it makes each.

    Args:
        config: A configuration, or a part of one, as Keras gets it.
        custom_objects: The user's classes and functions.
        safe_mode: As for `keras.saving.deserialize_keras_object`.
    """
    if isinstance(config, list):
        parts = (layer_that_cannot_be_made(item, custom_objects, safe_mode=safe_mode) for item in config)
        return next(filter(None, parts), None)
    if not isinstance(config, Mapping):
        return None
    inner = layer_that_cannot_be_made(list(config.values()), custom_objects, safe_mode=safe_mode)
    layer = _layer(config)
    if inner is not None or layer is None:
        return inner
    alone = deepcopy({key: config.get(key) for key in ("module", "class_name", "config", "registered_name")})
    try:
        keras.saving.deserialize_keras_object(alone, custom_objects=dict(custom_objects), safe_mode=safe_mode)
    except AttnscopeError:
        raise
    except Exception:
        return layer
    return None


def _layer(stored: Mapping[str, Any]) -> FailingLayer | None:
    settings = stored.get("config")
    if (
        "class_name" not in stored
        or not isinstance(settings, Mapping)
        or "name" not in settings
        or "layers" in settings
    ):
        return None
    is_keras_own = str(stored.get("module")).split(".")[0] == "keras"
    return FailingLayer(str(settings["name"]), str(stored["class_name"]), is_keras_own)


def layer_that_is_mentioned(config: Any, text: str) -> FailingLayer | None:
    """The layer that a text names, by its own name or as the only one of its class; None if there is none.

    Args:
        config: A configuration as Keras gets it.
        text: What Keras says of an error.
    """
    layers = list(_layers(config))
    named = [layer for layer in layers if f'"{layer.name}"' in text or f"'{layer.name}'" in text]
    of_class = [layer for layer in layers if re.search(rf"\b{re.escape(layer.class_name)}\b", text)]
    if named:
        return named[0]
    return of_class[0] if len({layer.class_name for layer in of_class}) == 1 else None


def _layers(config: Any) -> Iterator[FailingLayer]:
    """Every layer of a configuration that is no model."""
    if isinstance(config, list):
        for item in config:
            yield from _layers(item)
    elif isinstance(config, Mapping):
        layer = _layer(config)
        if layer is not None:
            yield layer
        yield from _layers(list(config.values()))
