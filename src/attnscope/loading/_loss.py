"""What a model was fitted with, as its file says: it tells numbers from classes and logits from probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


def loss_of(compiling: object) -> Any:
    """The loss that a file says a model was compiled with, if it is Keras' own.

    Nothing is run but the constructor of one of Keras' own losses, with plain settings.

    Args:
        compiling: What the file says about compiling, whatever that is.

    Returns:
        A name, a loss, or a list or dict of them by output; None where it is not known, be it of one output alone.
    """
    stored = compiling.get("loss") if isinstance(compiling, Mapping) else None
    if isinstance(stored, list):
        losses = [_loss(one) for one in stored]
        return None if None in losses else losses
    if isinstance(stored, Mapping) and "class_name" not in stored:
        by_output = {str(name): _loss(one) for name, one in stored.items()}
        return None if None in by_output.values() else by_output
    return _loss(stored)


def _loss(stored: object) -> str | keras.losses.Loss | None:
    if isinstance(stored, Mapping) and stored.get("class_name") == "function":
        stored = stored.get("config")
    if isinstance(stored, str):
        return stored if _is_known(stored) else None
    return _made(stored.get("class_name"), stored.get("config")) if isinstance(stored, Mapping) else None


def _is_known(name: str) -> bool:
    """Whether Keras has a loss of that name: ``mean_squared_error``, ``mse``."""
    try:
        return callable(keras.losses.get(name))
    except ValueError:
        return False


def _made(name: object, settings: object) -> keras.losses.Loss | None:
    kind = getattr(keras.losses, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, keras.losses.Loss) and isinstance(settings, Mapping)):
        return None
    plain = {str(key): value for key, value in settings.items() if isinstance(value, (str, bool, int, float))}
    try:
        return kind(**plain)
    except (TypeError, ValueError):
        return None
