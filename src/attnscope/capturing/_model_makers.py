"""How a worker gets its model: from a file, by a function, or as a copy of one that is here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import keras

from attnscope.errors import InputError
from attnscope.loading import load_model
from attnscope.model_names import file_of, set_file

ModelLike: TypeAlias = keras.Layer | str | Path | Callable[[], keras.Layer]
"""A model, the path of one, or a function that makes it."""
MakeModel: TypeAlias = Callable[[], keras.Layer]


@dataclass(frozen=True)
class Copied:
    """Makes a copy of a model that was saved.

    Attributes:
        content: The ``.keras`` file.
        file: The file that the model itself was loaded from; None if there is none.
    """

    content: bytes
    file: str | None

    def __call__(self) -> keras.Layer:
        """The copy. What the file says came from a model of this user's own program, so all of it may run."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(self.content)
            model: keras.Layer = keras.saving.load_model(path, compile=False, safe_mode=False)
        if self.file is not None:
            set_file(model, self.file)
        return model


def model_maker(model: ModelLike) -> MakeModel:
    """What makes a model like this one in another process.

    Raises:
        InputError: It cannot be saved.
    """
    if isinstance(model, (str, Path)):
        return partial(load_model, Path(model).absolute())
    if not isinstance(model, keras.Layer):
        return model
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            keras.saving.save_model(model, path)
            return Copied(path.read_bytes(), file_of(model))
        except Exception as error:  # whatever a layer's own methods raise
            raise InputError(
                f"The model {model.name!r} has to be saved to be sent to workers, which failed: "
                f"{type(error).__name__}, {error}. Give the path of a file, or a function that makes the model: "
                "capture(make_model, ...)."
            ) from error
