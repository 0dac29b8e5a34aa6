"""Whether what is stored of a layer can be that of Keras' layer of the same name, where the file gives no module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import keras

from attnscope.errors import UnsupportedError
from attnscope.loading.keras2._classes import layer_class
from attnscope.loading.keras2._rewritten import RENAMED_CLASSES, settings_of_keras

_NORMALIZATION = {"axis", "epsilon", "center", "scale", "beta_initializer", "gamma_initializer"}
_ALWAYS_STORED = {
    "Attention": {"use_scale"},
    "AdditiveAttention": {"use_scale"},
    "MultiHeadAttention": {"value_dim", "dropout", "use_bias"},
    "LayerNormalization": _NORMALIZATION,
    "BatchNormalization": {"momentum", *_NORMALIZATION},
    "GroupNormalization": {"groups", *_NORMALIZATION},
    "UnitNormalization": {"axis"},
    "Softmax": {"axis"},
}
"""What every version of Keras that has the layer stores of it; people often write their own classes of these names."""
_TAKEN_ANYWAY = {
    *("input_dim", "input_shape", "batch_input_shape"),
    *("alpha", "rms_scaling", "vocabulary_size", "has_input_vocabulary"),
}
"""Arguments that layers take without naming them in their signature."""


def unfitting(stored: Mapping[str, Any], *, keras2: bool) -> str | None:
    """Why a stored layer is not Keras' layer of that name, as the end of a sentence; None if it may be.

    Args:
        stored: A stored object, of any kind.
        keras2: Whether Keras 2 stored it.
    """
    name, config = stored["class_name"], stored.get("config")
    cls = layer_class(RENAMED_CLASSES.get(name, name))
    if cls is None or "module" in stored or not isinstance(config, Mapping):
        return None
    if "from_config" in vars(cls) or name == "InputLayer":
        return None  # It may make its arguments of others, or nobody writes one.
    try:
        settings = settings_of_keras(name, config, keras2=keras2)
    except UnsupportedError:
        return None
    taken, needed = _arguments(cls)
    unknown = sorted(set(settings) - taken - _TAKEN_ANYWAY)
    if unknown:
        return f"with {', '.join(unknown)}, which Keras' own {name} does not take"
    missing = sorted((needed | _ALWAYS_STORED.get(name, set())) - set(settings))
    return f"without {', '.join(missing)}, which Keras always stores of its own {name}" if missing else None


@cache
def _arguments(cls: type) -> tuple[set[str], set[str]]:
    """The names of all arguments that a layer is made from, and of those without a default."""
    taken: set[str] = set()
    needed: set[str] = set()
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = [p for p in inspect.signature(vars(owner)["__init__"]).parameters.values() if p.name != "self"]
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        taken |= {p.name for p in named}
        if owner is cls:
            needed |= {p.name for p in named if p.default is p.empty}
        if owner is keras.Layer or not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return taken, needed
