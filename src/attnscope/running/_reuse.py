"""Reuses what was compiled for a model, as long as nothing about the model has changed.

Tracing and compiling take longer than many runs. What was made for a model is kept with it (weakly: it is released with
the model) and reused for the same shapes and the same options. A model can be changed between two calls, though: a
layer's activation, its dropout, a global switch. So every attribute of every layer is compared first, which takes
a few milliseconds; when in doubt, everything is made again. Anything that no attribute shows, such as a variable that a
Lambda's function closes over, goes unnoticed; Keras' own `predict` has the same limit.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import keras
import numpy as np

from attnscope.interception import TRAINING_STATE, layers_of

Made = TypeVar("Made")

KEPT_PER_MODEL = 4
"""How many compiled runs of one model are kept: the latest ones."""

_LOCK = threading.Lock()
_KEPT: WeakKeyDictionary[keras.Layer, list[tuple[Hashable, Any]]] = WeakKeyDictionary()
"""For each model what it was made for, and what was made; what was used last comes last."""
_PLAIN = frozenset({bool, int, float, str, bytes, type(None)})


def reused(model: keras.Layer, wishes: Hashable | None, make: Callable[[], Made]) -> Made:
    """What was made for this model and these options, or what `make` gives now.

    Args:
        model: The model; what is made must not hold a strong reference to it.
        wishes: Everything that it was made for, hashable; None if that is not known, so that nothing is kept.
        make: Makes it.
    """
    if wishes is None:
        return make()
    key = (wishes, fingerprint(model))
    with _LOCK:
        runs = _KEPT.setdefault(model, [])
        for place, (known_key, known) in enumerate(runs):  # one comparison costs less than to hash all of it
            if known_key == key:
                runs.append(runs.pop(place))
                made: Made = known
                return made
    new = make()
    with _LOCK:
        runs.append((key, new))
        del runs[:-KEPT_PER_MODEL]
    return new


class _Same:
    """An object that equals only itself, and that only as long as it lives.

    An `id` alone would not do: what is made after an object has gone can get the same one. The object is referenced
    weakly where it can be, so that what is kept for a model keeps no model alive.
    """

    def __init__(self, value: object) -> None:
        self._hash = id(value)
        try:
            self._value: Callable[[], object] = weakref.ref(value)
        except TypeError:
            self._value = lambda: value

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        value = self._value()
        return value is not None and value is other._value()


def fingerprint(model: keras.Layer) -> Hashable:
    """Equal for two moments only if no plain attribute of any layer, no variable and no global switch differs."""
    return (
        keras.backend.backend(),
        keras.config.is_flash_attention_enabled(),
        tuple(_Same(variable) for variable in model.variables),
        tuple((_Same(layer), _attributes(layer)) for layer in layers_of(model)),
    )


def _attributes(layer: keras.Layer) -> Hashable:
    return tuple([(name, _value(value)) for name, value in vars(layer).items() if name not in TRAINING_STATE])


def _value(value: object) -> Hashable:
    kind = type(value)
    if kind in _PLAIN:
        return (kind, value)
    if isinstance(value, (tuple, list)):
        return tuple([_value(item) for item in value])
    if isinstance(value, dict):
        return tuple([(str(name), _value(item)) for name, item in value.items()])
    if isinstance(value, np.ndarray) and value.dtype != object:
        return ("array", str(value.dtype), value.shape, hash(value.tobytes()))
    return _Same(value)
