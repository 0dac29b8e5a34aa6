"""A configuration in which what the user passed is named as the user's, also where Keras has a class of that name."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any, Literal

import keras

from attnscope.loading.allowed import named_class
from attnscope.loading.keras2 import RENAMED_CLASSES, is_from_elsewhere, stored_objects, unfitting

_PARTS = ("initializer", "regularizer", "constraint")


def with_custom_objects(config: Mapping[str, Any], custom_objects: Mapping[str, object]) -> dict[str, Any]:
    """A configuration that says of each class and function whether it is one that the user passed.

    A class that was passed is the one that is used. Where a file says of some objects of that name that they are
    Keras', and of others not, it is meant by the others, and each is what the file says.

    Args:
        config: As stored; it is left as it is.
        custom_objects: The user's classes and functions by their names in the file.

    Returns:
        The configuration, in which the user's classes have no module and the name that they were passed by.
    """
    not_keras_own = {_class_name(stored) for stored in stored_objects(config) if not _is_said_to_be_keras_own(stored)}

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return _named_by_text(key, value, custom_objects)
        if isinstance(value, list):
            return [walk(item, key) for item in value]
        if not isinstance(value, Mapping):
            return value
        changed = {inner: item if inner == "class_name" else walk(item, inner) for inner, item in value.items()}
        return {**changed, **_named(value, custom_objects, not_keras_own)}

    changed: dict[str, Any] = walk(config)
    return changed


def has_other_names(config: Mapping[str, Any], custom_objects: Mapping[str, object]) -> bool:
    """Whether a class that is used has another name of its own than the class that was stored.

    Args:
        config: As `with_custom_objects` returns it.
        custom_objects: The user's classes and functions, as `by_every_name` returns them.
    """
    for stored in stored_objects(config):
        used = keras.saving.get_registered_object(stored.get("registered_name"), custom_objects)
        if inspect.isclass(used) and used.__name__ != stored["class_name"].rpartition(">")[2]:
            return True
    return False


def by_every_name(custom_objects: Mapping[str, object]) -> dict[str, object]:
    """What the user passed, by the names that `with_custom_objects` gives it, by those it was passed by, and its own.

    Some wrappers store a layer and make it again: that finds a class by its own name alone.
    """
    classes = {
        keras.saving.get_registered_name(item): item for item in custom_objects.values() if inspect.isclass(item)
    }
    return {**classes, **custom_objects, **{_key(name): item for name, item in custom_objects.items()}}


def passed_for_keras_own(
    config: Mapping[str, Any], changed: Mapping[str, Any], layer: str, *, keras2: bool
) -> Literal["said", "fits"] | None:
    """Whether a layer that may be of a class of Keras' is now of one that the user passed.

    Args:
        config: As stored.
        changed: As `with_custom_objects` returns it, or as it was rewritten then.
        layer: The layer's name.
        keras2: Whether Keras 2 stored it.

    Returns:
        ``"said"`` if the file says that the class is Keras', ``"fits"`` if what is stored is what Keras stores of its
        own, None if neither.
    """
    before, after = (_objects_named(layer, either) for either in (config, changed))
    if not any(str(stored.get("registered_name")).startswith(_key("")) for stored in after):
        return None
    if any(map(_is_said_to_be_keras_own, before)):
        return "said"
    fit = (
        named_class(None, stored["class_name"]) is not None
        and "module" not in stored
        and unfitting(stored, keras2=keras2) is None
        for stored in before
    )
    return "fits" if any(fit) else None


def _objects_named(layer: str, config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        stored
        for stored in stored_objects(config)
        if isinstance(stored.get("config"), Mapping) and stored["config"].get("name") == layer
    ]


def _named(
    stored: Mapping[str, Any], custom_objects: Mapping[str, object], not_keras_own: Collection[str]
) -> dict[str, Any]:
    """What is changed of a stored object if its class is one that the user passed.

    Args:
        stored: An object of any kind, or any other mapping.
        custom_objects: The user's classes and functions.
        not_keras_own: The names of the classes that occur in the file without being said to be Keras'.
    """
    class_name = stored.get("class_name")
    if not isinstance(class_name, str) or class_name == "function" or class_name.startswith("__"):
        return {}
    is_keras_own = _is_said_to_be_keras_own(stored)
    if is_keras_own and _class_name(stored) in not_keras_own:
        return {}
    registered = str(stored.get("registered_name") or class_name)
    for name in (registered, registered.rpartition(">")[2]):
        # What a library registers by the name of a class of Keras' is not meant where a file says that it is Keras'.
        if _is_passed(name, custom_objects) and (name in custom_objects or not is_keras_own):
            key = _key(name) if name in custom_objects else name
            return {"module": None, "class_name": class_name.rpartition(">")[2], "registered_name": key}
    return {}


def _is_said_to_be_keras_own(stored: Mapping[str, Any]) -> bool:
    return "module" in stored and not is_from_elsewhere(stored)


def _class_name(stored: Mapping[str, Any]) -> str:
    """The name of a stored object's class without the package that it was registered in."""
    return str(stored.get("registered_name") or stored["class_name"]).rpartition(">")[2]


def _is_passed(name: str, custom_objects: Mapping[str, object]) -> bool:
    """Whether the user passed something of this name, here or in a scope of Keras' own for it."""
    if ">" in name and name not in custom_objects:
        return False  # Keras finds what is registered by itself.
    passed = _passed(name, custom_objects)
    return passed is not None and not _is_of_keras(passed, name)


def _passed(name: str, custom_objects: Mapping[str, object]) -> object:
    return custom_objects[name] if name in custom_objects else keras.saving.get_registered_object(name)


def _key(name: str) -> str:
    """A name that nothing is registered by: what is registered by its own name would come before what was passed."""
    return f"attnscope.passed>{name}"


def _is_of_keras(passed: object, name: str) -> bool:
    """Whether what the user passed is what Keras has of this name: its old settings are then translated."""
    cls = passed if inspect.isclass(passed) else type(passed)
    return named_class(None, RENAMED_CLASSES.get(name, name)) is cls


def _named_by_text(key: str, text: str, custom_objects: Mapping[str, object]) -> Any:
    """A setting that names a function or class by its name alone, such as ``"activation": "gelu"``."""
    is_name = key.endswith("activation") or key.rpartition("_")[2] in _PARTS
    if not is_name or not _is_passed(text, custom_objects):
        return text
    name = _key(text) if text in custom_objects else text
    if inspect.isclass(_passed(text, custom_objects)):
        return {"module": None, "class_name": text, "config": {}, "registered_name": name}
    return {"module": "builtins", "class_name": "function", "config": name, "registered_name": name}
