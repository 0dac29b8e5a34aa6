"""Where Keras has a class today, found by its name, which is all that the old formats keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import keras

PACKAGES = ("keras", "tf_keras", "tensorflow")
"""Packages whose layers Keras 2 stored as Keras' own."""


def module_and_class(class_name: str, config: Mapping[str, Any], *, keras2: bool) -> tuple[str, str] | None:
    """Module and class of a stored layer or operation.

    Some names, such as ``Add``, are those of a layer and of an operation too. Operations came with Keras 3, whose
    layers store their dtype; in Keras 2 most layers did not until version 2.3.

    Args:
        class_name: The class as it is stored.
        config: Its stored configuration.
        keras2: Whether Keras 2 stored it.

    Returns:
        What Keras finds the class by; None if Keras has none of that name.
    """
    if class_name in _layers() and (keras2 or "dtype" in config or class_name not in _operations()):
        return "keras.layers", _layers()[class_name]
    return (_operations()[class_name], class_name) if class_name in _operations() and not keras2 else None


def is_from_elsewhere(stored: Mapping[str, Any]) -> bool:
    """Whether a stored object says that its class is not one of Keras', whatever its name; ``.h5`` files do not say."""
    return "module" in stored and str(stored["module"]).split(".")[0] not in PACKAGES


def layer_class(class_name: str) -> type | None:
    """Keras' own layer of that name, if it has one."""
    name = _layers().get(class_name)
    return getattr(keras.layers, name) if name else None


def stored_objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every stored object of a class, in a configuration or a part of one."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("class_name"), str):
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


@cache
def _layers() -> dict[str, str]:
    """Public names of Keras' layers, by these and by the names of the classes themselves."""
    public = {name: cls for name, cls in vars(keras.layers).items() if isinstance(cls, type)}
    return {cls.__name__: name for name, cls in public.items()} | {name: name for name in public}


@cache
def _operations() -> dict[str, str]:
    """Modules of the operations that are stored for calls of `keras.ops`."""
    return {cls.__name__: cls.__module__ for cls in _subclasses(keras.Operation)}


def _subclasses(parent: type) -> Iterator[type]:
    children: list[type] = parent.__subclasses__()
    for child in children:
        if not issubclass(child, keras.Layer) and child.__module__.split(".")[0] == "keras":
            yield child
            yield from _subclasses(child)
