"""Where Keras has a class today, by the name alone that the old formats keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import keras


def place(class_name: str, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Module and class of a stored layer or operation.

    Several names are of a layer and of an operation too, such as ``Add``; a layer stores its dtype.

    Args:
        class_name: As it is stored.
        config: What is stored of it.

    Returns:
        What Keras finds the class by; None where Keras has none of that name.
    """
    if class_name in _layers() and ("dtype" in config or class_name not in _operations()):
        return "keras.layers", _layers()[class_name]
    return (_operations()[class_name], class_name) if class_name in _operations() else None


@cache
def _layers() -> dict[str, str]:
    """Public names of Keras' layers, under these and under the names of the classes themselves."""
    public = {name: found for name, found in vars(keras.layers).items() if isinstance(found, type)}
    return {found.__name__: name for name, found in public.items()} | {name: name for name in public}


@cache
def _operations() -> dict[str, str]:
    """Modules of the operations that are stored for calls of `keras.ops`."""
    return {found.__name__: found.__module__ for found in _below(keras.Operation)}


def _below(parent: type) -> Iterator[type]:
    children: list[type] = parent.__subclasses__()
    for child in children:
        if not issubclass(child, keras.Layer) and child.__module__.split(".")[0] == "keras":
            yield child
            yield from _below(child)
