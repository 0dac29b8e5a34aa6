"""How the layers of a Keras 2 model are connected, in the form of Keras 3.

For each call Keras 2 keeps a list of references ``[layer, node, tensor, keyword arguments]``, one per tensor of the
first argument, and references without the last part among the keyword arguments. Keras 3 keeps the arguments as they
were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attnscope.errors import ModelFileError

CONSTANT = "_CONSTANT_VALUE"


@dataclass(frozen=True)
class Call:
    """One call of a layer: its first argument and the others by name, with a `Reference` for each tensor."""

    first: Any
    others: dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """A tensor that a call of a layer returned."""

    layer: str
    node: int
    tensor: int

    def stored(self) -> dict[str, Any]:
        """The reference as Keras 3 stores it; shape and dtype come from the layer that returned the tensor."""
        history = [self.layer, self.node, self.tensor]
        return {"class_name": "__keras_tensor__", "config": {"shape": [], "dtype": "float32", "keras_history": history}}


def is_stored_call(node: object) -> bool:
    """Whether a node is in the form of Keras 2."""
    return not (isinstance(node, Mapping) and set(node) == {"args", "kwargs"})


def wired_call(node: Any, layers: set[str]) -> Call:
    """The call that a node of Keras 2 describes.

    Args:
        node: An item of ``inbound_nodes``.
        layers: The names of all layers of the model.

    Raises:
        ModelFileError: A reference is to a layer that does not exist, or is no reference.
    """
    others: dict[str, Any] = {}
    # A single tensor is stored bare, or in a list of its own.
    first = _first(node, layers, others)
    if isinstance(first, list) and len(first) == 1:
        first = first[0]
    return Call(first, {name: _other(value, layers) for name, value in others.items()})


def _first(node: Any, layers: set[str], others: dict[str, Any]) -> Any:
    if isinstance(node, Mapping):
        return {key: _first(value, layers, others) for key, value in node.items()}
    if not isinstance(node, list):
        raise ModelFileError(f"A call is stored as {node!r}, but [layer, node, tensor, arguments] is needed.")
    if node and isinstance(node[0], str):
        others.update(node[3] if len(node) > 3 else {})
        return node[2] if node[0] == CONSTANT else _reference(node, layers)
    return [_first(item, layers, others) for item in node]


def _reference(stored: list[Any], layers: set[str]) -> Reference:
    name, node, tensor = stored[:3]
    if name not in layers:
        raise ModelFileError(
            f"A call takes the output of a layer {name!r}, but the model has only {', '.join(sorted(layers))}. The "
            "file is damaged: save the model again."
        )
    return Reference(name, node, tensor)


def _other(value: Any, layers: set[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _other(item, layers) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    if (
        len(value) == 3
        and isinstance(value[0], str)
        and value[0] in layers
        and all(isinstance(i, int) for i in value[1:])
    ):
        return _reference(value, layers)
    return [_other(item, layers) for item in value]


def replaced(value: Any, by: Callable[[Reference], Any]) -> Any:
    """The same nested value, with something else in place of each reference."""
    if isinstance(value, Reference):
        return by(value)
    if isinstance(value, Mapping):
        return {key: replaced(item, by) for key, item in value.items()}
    return [replaced(item, by) for item in value] if isinstance(value, list | tuple) else value


def stored_call(
    arguments: list[Any], others: Mapping[str, Any], renumber: Callable[[Reference], Reference]
) -> dict[str, Any]:
    """A call as Keras 3 stores it.

    Args:
        arguments: The positional arguments.
        others: The other arguments by name.
        renumber: Gives a reference the number that Keras 3 counts by.
    """

    def in_keras_3(reference: Reference) -> dict[str, Any]:
        return renumber(reference).stored()

    return {"args": replaced(arguments, in_keras_3), "kwargs": replaced(dict(others), in_keras_3)}
