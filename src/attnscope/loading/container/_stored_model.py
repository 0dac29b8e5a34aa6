"""A model file whose container has been checked, and whose configuration is plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class StoredModel:
    """A model as data. Nothing of it has been deserialised.

    `weights`, `assets` and `folder` are private copies that vanish when the context of `opened` ends: load from them,
    so that what was checked is what is loaded.
    """

    kind: Literal["keras", "h5", "weights"]
    """``"keras"`` (zip or folder), ``"h5"`` (a whole model in HDF5) or ``"weights"`` (weights alone in HDF5)."""
    path: Path
    """The file or folder that was opened."""
    config: dict[str, Any] | None
    """The model's configuration: ``config.json``, or the attribute ``model_config``. None for weights alone."""
    metadata: dict[str, Any]
    """``metadata.json``, or the attributes ``keras_version`` and ``backend``."""
    keras_version: str | None
    """The version of Keras that saved it, if that is stored."""
    weights: Path
    """A checked HDF5 file with the weights."""
    stored_bytes: int
    """Bytes that the weights take in the file."""
    training: dict[str, Any] | None = None
    """What an ``.h5`` file says about compiling: the attribute ``training_config``."""
    assets: Path | None = None
    """The folder of checked assets (vocabularies) of a ``"keras"`` model, if it has any."""
    folder: Path | None = None
    """For ``"keras"``, a private folder that `keras.saving.load_model` reads; its ``config.json`` may be rewritten."""
