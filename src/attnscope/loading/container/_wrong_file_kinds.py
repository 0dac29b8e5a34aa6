"""Files that are given for a Keras model by mistake, known by their first bytes or by their suffix."""

from __future__ import annotations

from pathlib import Path

from attnscope.errors import ModelFileError

_WEIGHTS = "Build the same model in Keras, give it these weights layer by layer, and pass it to attnscope.capture."
_BEGINNINGS = {
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull."),
    b"<!doctype html": ("a web page", "Download the file itself, not the page about it."),
    b"<html": ("a web page", "Download the file itself, not the page about it."),
}
_SUFFIXES = {
    ".pb": (
        "a TensorFlow graph",
        "Its layers cannot be seen. Save the model where it was made: model.save('model.keras').",
    ),
    ".tflite": (
        "a TensorFlow Lite model",
        "Its layers cannot be seen. Take the Keras model that it was converted from: model.save('model.keras').",
    ),
    ".onnx": (
        "an ONNX graph",
        "Its layers cannot be seen. Take the model that it was exported from: model.save('model.keras').",
    ),
    ".index": ("a part of a TensorFlow checkpoint", "Load it where it was made, and model.save('model.keras')."),
    ".ckpt": ("a checkpoint", "Load it where it was made, and model.save('model.keras')."),
    ".pt": ("a PyTorch file", _WEIGHTS),
    ".pth": ("a PyTorch file", _WEIGHTS),
    ".safetensors": ("weights without a Keras model", _WEIGHTS),
    ".npz": ("a NumPy archive", "Give its arrays to a model: model.set_weights([...])."),
    ".npy": ("a NumPy array", "A model is needed: model.save('model.keras')."),
    ".pkl": ("a pickle, which runs code when it is read", "Save the model in safety: model.save('model.keras')."),
    ".pickle": ("a pickle, which runs code when it is read", "Save the model in safety: model.save('model.keras')."),
    ".json": ("a configuration without weights", "Save both: model.save('model.keras')."),
}


def check_kind(path: Path) -> None:
    """Say plainly what a file is that is no Keras model.

    Raises:
        ModelFileError: It is of a kind that is known and is none.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(64).lower()
    if not start:
        raise ModelFileError(
            f"{path.name} is empty, but a .keras or .h5 file is needed. Copy it again, or save the model again: "
            "model.save('model.keras')."
        )
    found = next((said for begin, said in _BEGINNINGS.items() if start.startswith(begin)), _SUFFIXES.get(path.suffix))
    if found:
        raise ModelFileError(f"{path.name} is {found[0]}, but a .keras or .h5 file is needed. {found[1]}")
