"""A configuration in which other layers replace stored ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras

from attnscope.errors import InputError
from attnscope.tensors import Tensor

LayerOrFunction: TypeAlias = "keras.layers.Layer | Callable[[Tensor], Tensor]"


def with_replacements(
    config: Mapping[str, Any], replacements: Mapping[str, LayerOrFunction], source: str
) -> tuple[dict[str, Any], dict[str, type]]:
    """A configuration with stand-ins for some of its layers.

    Args:
        config: As stored; it is left as it is.
        replacements: Layers, or functions of a layer's input, by the names of the layers that they replace.
        source: The file's name, for errors.

    Returns:
        The changed configuration, and the classes by which Keras makes the stand-ins, by the names that it has for
        them.

    Raises:
        InputError: A replacement is neither a layer nor a function, or is for a layer that does not exist.
    """
    stand_ins = {_registered_name(name): _stand_in(name, layer) for name, layer in replacements.items()}
    used: set[str] = set()

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        settings = value.get("config")
        name = settings.get("name") if isinstance(settings, Mapping) and "class_name" in value else None
        if not isinstance(name, str) or name not in replacements:
            return {key: walk(item) for key, item in value.items()}
        used.add(name)
        return _stored_stand_in(name, value)

    changed = walk(config)
    unused = set(replacements) - used
    if unused:
        raise InputError(
            f"Replacements are given for {', '.join(sorted(map(repr, unused)))}, but {source} has only the layers "
            f"{', '.join(map(repr, layer_names(config)))}."
        )
    return changed, stand_ins


def _registered_name(name: str) -> str:
    return f"attnscope.replacement>{name}"


def _stored_stand_in(name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration says in place of a stored layer; its place in the graph stays."""
    stand_in: dict[str, Any] = {
        "module": None,
        "class_name": _registered_name(name),
        "registered_name": _registered_name(name),
        "config": {"name": name},
    }
    if "name" in stored:
        stand_in["name"] = stored["name"]
    if "inbound_nodes" in stored:
        stand_in["inbound_nodes"] = [_without_mask(node) for node in stored["inbound_nodes"]]
    return stand_in


def _without_mask(node: Any) -> Any:
    """A call without the mask that the stored layer was given; Keras passes it again to a layer that takes one."""
    if not isinstance(node, Mapping) or "kwargs" not in node:
        return node
    return {**node, "kwargs": {name: value for name, value in node["kwargs"].items() if name != "mask"}}


def _stand_in(name: str, replacement: LayerOrFunction) -> type:
    """A class from which Keras gets the replacement layer."""
    if not isinstance(replacement, keras.layers.Layer) and not callable(replacement):
        raise InputError(
            f"The replacement for {name!r} is of type {type(replacement).__name__}, but a Keras layer or a function is "
            f"needed: replacements={{{name!r}: attnscope.loading.replacements.sum_over(axis=1)}}."
        )

    class Replacement:
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> keras.layers.Layer:
            if isinstance(replacement, keras.layers.Layer):
                return type(replacement).from_config({**replacement.get_config(), "name": name.replace("/", "_")})
            layer = keras.layers.Lambda(replacement, name=name.replace("/", "_"))
            layer.supports_masking = True
            return layer

    return Replacement


def layer_names(
    config: Any, class_name: str | None = None, where: Callable[[Mapping[str, Any]], bool] = lambda settings: True
) -> list[str]:
    """The names of the layers in a configuration.

    Args:
        config: A configuration, or a part of one.
        class_name: Only layers of this class; by default of all.
        where: Only layers of whose own settings this is true.
    """
    if isinstance(config, list):
        return [name for item in config for name in layer_names(item, class_name, where)]
    if not isinstance(config, Mapping):
        return []
    settings = config.get("config")
    stored_class = str(config.get("class_name", "Policy"))
    is_meant = not stored_class.endswith("Policy") and class_name in (
        None,
        stored_class,
    )  # a dtype policy has a name too
    names = []
    if is_meant and isinstance(settings, Mapping) and isinstance(settings.get("name"), str) and where(settings):
        names.append(str(settings["name"]))
    return names + [name for item in config.values() for name in layer_names(item, class_name, where)]
