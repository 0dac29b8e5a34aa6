"""A model file opened as data: a private copy of what was checked is what is loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnscope.errors import UnsupportedError
from attnscope.loading.container._archives import from_archive, from_folder
from attnscope.loading.container._hdf5 import SIGNATURE
from attnscope.loading.container._hdf5_models import from_hdf5
from attnscope.loading.container._stored_model import StoredModel
from attnscope.loading.limits import limited_variables


@contextmanager
def opened(path: str | Path) -> Iterator[StoredModel]:
    """Open a model file as data.

    The kind of a file is recognised by its first bytes, not by its name. A zip may contain ``config.json``,
    ``metadata.json``, ``model.weights.h5`` and plain files under ``assets/``, and nothing else. Its members, and the
    HDF5 tree, are checked before anything is extracted or read; what passes is copied into a private folder.

    Inside the context no variable can be made that is far larger than the weights in the file (see
    `limited_variables`).

    Args:
        path: A ``.keras`` file, an ``.h5`` or ``.hdf5`` file, or a folder in which Keras saved a model.

    Yields:
        The model as data, valid inside the context.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        UnsafeFileError: The container holds what no model needs, or more than it declares.
        UnsupportedError: It is not a model file, or it is a SavedModel.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {str(path)!r}. Expected a model file or folder; check the path.")
    with tempfile.TemporaryDirectory(prefix="attnscope-") as private:
        stored = _read(path, Path(private))
        with limited_variables(stored.stored_bytes):
            yield stored


def _read(path: Path, private: Path) -> StoredModel:
    """What is at `path`, by its first bytes."""
    if path.is_dir():
        return from_folder(path, private)
    if not path.is_file():
        raise UnsupportedError(f"{str(path)!r} is a device or a pipe. Expected a model file: pass the file itself.")
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        if start == SIGNATURE:
            return from_hdf5(path, file, private)
        if start.startswith(b"PK"):
            return from_archive(path, file, private)
    raise UnsupportedError(
        f"{path.name} begins with {start!r}. Expected a .keras file (a zip) or an .h5 file (HDF5). "
        f"Save the model again: model.save('model.keras')."
    )
