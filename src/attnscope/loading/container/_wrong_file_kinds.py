"""Files that are mistaken for a Keras model, recognised by their first bytes or their suffix."""

from __future__ import annotations

from pathlib import Path

from attnscope.errors import ModelFileError
from attnscope.loading.container._hdf5 import SIGNATURE

_SET_WEIGHTS = (
    "Build the same model in Keras, set its weights from these layer by layer, and pass it to attnscope.capture."
)
_SAVE_IT = "Load it where it was made, and save it with model.save('model.keras')."
_PICKLE = (
    "a pickle, which runs code when it is read",
    "Save the model in a safe format: model.save('model.keras').",
)
_CHANGED_LINES = (
    "an HDF5 file that was copied as text, which changed its bytes",
    "Copy it again as binary, from where it was saved.",
)
_KINDS_BY_FIRST_BYTES = {
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull."),
    b"<!doctype html": ("a web page", "Download the file itself, not the page about it."),
    b"<html": ("a web page", "Download the file itself, not the page about it."),
    b"404: not found": ("the message of a server that found nothing", "Download the file again, from where it is."),
    b"\x1f\x8b": ("compressed by gzip", "Unpack it, and load what is in it: gunzip."),
    b"\x89hdf\r\r\n": _CHANGED_LINES,
    b"\x89hdf\n": _CHANGED_LINES,
    b"\x80\x02": _PICKLE,
    b"\x80\x03": _PICKLE,
    b"\x80\x04": _PICKLE,
}
_KINDS_BY_SUFFIX = {
    ".pb": (
        "a TensorFlow graph",
        "Its layers cannot be seen. Save the model where it was made: model.save('model.keras').",
    ),
    ".tflite": (
        "a TensorFlow Lite model",
        "Its layers cannot be seen. Use the Keras model that it was converted from: model.save('model.keras').",
    ),
    ".onnx": (
        "an ONNX graph",
        "Its layers cannot be seen. Use the model that it was exported from: model.save('model.keras').",
    ),
    ".index": ("part of a TensorFlow checkpoint", _SAVE_IT),
    ".ckpt": ("a checkpoint", _SAVE_IT),
    ".pt": ("a PyTorch file", _SET_WEIGHTS),
    ".pth": ("a PyTorch file", _SET_WEIGHTS),
    ".safetensors": ("weights without a Keras model", _SET_WEIGHTS),
    ".npz": ("a NumPy archive", "Give its arrays to a model: model.set_weights([...])."),
    ".npy": ("a NumPy array", "Save a model: model.save('model.keras')."),
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".json": ("a configuration without weights", "Save both: model.save('model.keras')."),
}


def check_kind(path: Path) -> None:
    """Say plainly what a file is if it is not a Keras model.

    Raises:
        ModelFileError: The file is empty, or of a known kind that is not a Keras model.
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
    is_hdf5 = start.startswith(SIGNATURE.lower())  # whatever it is called
    by_first_bytes = (kind for beginning, kind in _KINDS_BY_FIRST_BYTES.items() if start.startswith(beginning))
    by_suffix = (None, None) if is_hdf5 else _KINDS_BY_SUFFIX.get(path.suffix, (None, None))
    kind, fix = next(by_first_bytes, by_suffix)
    if kind is not None:
        raise ModelFileError(f"{path.name} is {kind}, but a .keras or .h5 file is needed. {fix}")
