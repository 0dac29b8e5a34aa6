"""What a model is called on pages and in reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

_FILE = "_attnscope_file"
_MADE_UP = re.compile(r"(?:functional|sequential|model)(?:_\d+)?")
"""What Keras calls a model that was given no name."""


def model_name(model: keras.Layer) -> str:
    """The model's own name; where it was given none, that of the file that it was loaded from, if there is one."""
    own = str(model.name)
    return str(getattr(model, _FILE, own)) if _MADE_UP.fullmatch(own) else own


def set_file(model: keras.Layer, file: str) -> None:
    """Notes the name of the file that a model was loaded from; Keras does not track it."""
    object.__setattr__(model, _FILE, file)


def copy_file(model: keras.Layer, copy: keras.Layer) -> None:
    """Notes the same of a model that stands for another."""
    if hasattr(model, _FILE):
        set_file(copy, getattr(model, _FILE))


def file_of(model: keras.Layer) -> str | None:
    """The name of the file that a model was loaded from; None if it was not."""
    name: str | None = getattr(model, _FILE, None)
    return name
