"""Whole models, and weights alone, in HDF5 files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import IO

import h5py

from attnscope.errors import ModelFileError
from attnscope.loading.container._disk_space import check_disk_space
from attnscope.loading.container._hdf5 import checked
from attnscope.loading.container._json_documents import SAVE_AGAIN, parsed, readable
from attnscope.loading.container._stored_model import StoredModel
from attnscope.loading.container._windows_paths import nest_groups


def from_hdf5(path: Path, file: IO[bytes], private: Path) -> StoredModel:
    """The model, or the weights, in an HDF5 file, copied into a private folder."""
    check_disk_space(file.seek(0, 2), private)
    file.seek(0)
    copy = private / "model.h5"
    with copy.open("xb") as target:
        shutil.copyfileobj(file, target, 2**20)
    stored_bytes = checked(copy, path.name).stored
    with readable(f"The HDF5 file {path.name}", SAVE_AGAIN), h5py.File(copy, "r") as model:
        attributes = {
            name: _attribute(model, name) for name in ("keras_version", "backend", "model_config", "training_config")
        }
        group = model.get("model_weights")
        if attributes["keras_version"] is None and isinstance(group or model, h5py.Group):
            attributes["keras_version"] = _attribute(group or model, "keras_version")
        by_layer = any(name.startswith(("layer_names", "nb_layers")) for name in (group or model).attrs)
    config, training = (
        parsed(text, f"The attribute {name!r} of {path.name}") if (text := attributes[name]) is not None else None
        for name in ("model_config", "training_config")
    )
    if config is None and not by_layer:
        with readable(f"The HDF5 file {path.name}", SAVE_AGAIN):
            nested = nest_groups(copy)
            _check_is_model(path, copy)
        if nested:
            checked(copy, path.name)
    return StoredModel(
        "weights" if config is None else "h5",
        path,
        config,
        metadata={name: attributes[name] for name in ("keras_version", "backend") if attributes[name] is not None},
        keras_version=attributes["keras_version"],
        weights=copy,
        stored_bytes=stored_bytes,
        training=training,
    )


def _check_is_model(path: Path, copy: Path) -> None:
    """Keras 3 keeps weights in groups called ``vars``; other programs keep all kinds of arrays in HDF5."""
    with h5py.File(copy, "r") as file:
        items: list[tuple[str, bool]] = []
        file.visititems(lambda name, item: items.append((name, isinstance(item, h5py.Dataset))))
        has_arrays = any(is_array for _, is_array in items)
        if not has_arrays or any(name.rpartition("/")[2] == "vars" for name, is_array in items if not is_array):
            return
        contents = ", ".join(map(repr, list(file)[:8]))
    raise ModelFileError(
        f"{path.name} is an HDF5 file without a Keras model or its weights; it contains {contents}. Expected what "
        "Keras saves: model.save('model.keras')."
    )


def _attribute(holder: h5py.Group, name: str) -> str | None:
    """An attribute that is a single text; None if there is none of that name."""
    if name not in holder.attrs:
        return None
    attribute = holder.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind not in "OS":
        raise ModelFileError(
            f"The attribute {name!r} of the HDF5 file has shape {attribute.shape} and type {attribute.dtype}. "
            f"Expected a single text. {SAVE_AGAIN}"
        )
    value = holder.attrs[name]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
