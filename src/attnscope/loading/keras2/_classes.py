"""Where Keras has a class today, found by its name, which is all that the old formats keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import keras


def module_and_class(class_name: str, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Module and class of a stored layer or operation.

    Some names, such as ``Add``, are those of a layer and of an operation too; a layer stores its dtype.

    Args:
        class_name: The class as it is stored.
        config: Its stored configuration.

    Returns:
        What Keras finds the class by; None if Keras has none of that name.
    """
    if class_name in _layers() and ("dtype" in config or class_name not in _operations()):
        return "keras.layers", _layers()[class_name]
    return (_operations()[class_name], class_name) if class_name in _operations() else None


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
