"""A configuration in which what the user passed is named as the user's, also where Keras has a class of that name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from attnscope.loading.keras2 import is_from_elsewhere

_PARTS = ("initializer", "regularizer", "constraint")


def with_custom_objects(config: Mapping[str, Any], custom_objects: Mapping[str, object]) -> dict[str, Any]:
    """A configuration that says of each class and function whether it is one that the user passed.

    Files in HDF5 store the name of a class alone, so a class that was passed is the one that is meant. Newer files
    store its module too, and what they say is Keras' stays Keras'.

    Args:
        config: As stored; it is left as it is.
        custom_objects: The user's classes and functions by their names in the file.

    Returns:
        The configuration, in which the user's classes have no module and the name that they were passed by.
    """

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return _named_by_text(key, value, custom_objects)
        if isinstance(value, list):
            return [walk(item, key) for item in value]
        if not isinstance(value, Mapping):
            return value
        changed = {inner: item if inner == "class_name" else walk(item, inner) for inner, item in value.items()}
        return {**changed, **_named(value, custom_objects)}

    changed: dict[str, Any] = walk(config)
    return changed


def has_other_names(config: Mapping[str, Any], custom_objects: Mapping[str, object]) -> bool:
    """Whether a class that is used has another name of its own than the class that was stored.

    Args:
        config: As `with_custom_objects` returns it.
        custom_objects: The user's classes and functions by their names in the file.
    """
    for stored in _objects(config):
        used = keras.saving.get_registered_object(stored.get("registered_name"), custom_objects)
        if inspect.isclass(used) and used.__name__ != stored["class_name"].rpartition(">")[2]:
            return True
    return False


def by_their_own_names(custom_objects: Mapping[str, object]) -> dict[str, object]:
    """The same, and each class by its own name too: some wrappers store a layer and make it again."""
    classes = {
        keras.saving.get_registered_name(item): item for item in custom_objects.values() if inspect.isclass(item)
    }
    return {**classes, **custom_objects}


def _objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every stored object of a class."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("class_name"), str):
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _named(stored: Mapping[str, Any], custom_objects: Mapping[str, object]) -> dict[str, Any]:
    """What is changed of a stored object if its class is one that the user passed."""
    class_name = stored.get("class_name")
    if not isinstance(class_name, str) or class_name == "function" or class_name.startswith("__"):
        return {}
    if "module" in stored and not is_from_elsewhere(stored):
        return {}
    registered = str(stored.get("registered_name") or class_name)
    for name in (registered, registered.rpartition(">")[2]):
        if _is_passed(name, custom_objects):
            return {"module": None, "class_name": class_name.rpartition(">")[2], "registered_name": name}
    return {}


def _is_passed(name: str, custom_objects: Mapping[str, object]) -> bool:
    """Whether the user passed something of this name, here or in a scope of Keras' own for it."""
    if ">" in name and name not in custom_objects:
        return False  # Keras finds what is registered by itself.
    return keras.saving.get_registered_object(name, custom_objects) is not None


def _named_by_text(key: str, text: str, custom_objects: Mapping[str, object]) -> Any:
    """A setting that names a function or class by its name alone, such as ``"activation": "gelu"``."""
    is_name = key.endswith("activation") or key.rpartition("_")[2] in _PARTS
    if not is_name or not _is_passed(text, custom_objects):
        return text
    if inspect.isclass(keras.saving.get_registered_object(text, custom_objects)):
        return {"module": None, "class_name": text, "config": {}, "registered_name": text}
    return {"module": "builtins", "class_name": "function", "config": text, "registered_name": text}
