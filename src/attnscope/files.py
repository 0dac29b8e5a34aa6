"""Models, samples and names read from files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnscope.backends import choose_backend
from attnscope.errors import InputError, LabelError

if TYPE_CHECKING:
    import keras
    import numpy as np


def read_model(path: str | Path, *, backend: str | None = None) -> keras.Model:
    """A model from a file: chooses the backend, then calls `attnscope.load_model`. No code in the file is run.

    Args:
        path: A ``.keras``, ``.h5`` or ``.hdf5`` file.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.

    Raises:
        FileNotFoundError: There is no such file.
        AttnscopeError: The file is of another kind or unsafe, or Keras cannot build a model from it.
    """
    choose_backend(backend)
    from attnscope.loading import load_model

    return load_model(path)


@dataclass(frozen=True)
class Inputs:
    """Samples from a file.

    Attributes:
        arrays: One array, or a dict of them.
        names: The names in the header of a table, one per column; None if there are none.
    """

    arrays: np.ndarray | dict[str, np.ndarray]
    names: list[str] | None = None


def read_inputs(path: str | Path) -> Inputs:
    """Samples from a ``.npy``, ``.npz``, ``.csv`` or ``.txt`` file.

    Args:
        path: The file. A ``.npz`` file with one array gives that array, one with several a dict. A table gives float32,
            one sample per line; a first line that is not all numbers holds names. A text file gives one text per line.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file is of another kind, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {str(path)!r}. A file of samples is needed: numpy.save('samples.npy', array)."
        )
    reader = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv, ".txt": _read_txt}.get(path.suffix)
    if reader is None:
        raise InputError(
            f"The inputs are given as {str(path)!r}, but a .npy, .npz, .csv or .txt file is needed: "
            "numpy.save('samples.npy', array)."
        )
    return reader(path)


def _read_npy(path: Path) -> Inputs:
    return Inputs(_load_arrays(path))


def _read_npz(path: Path) -> Inputs:
    with _load_arrays(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return Inputs(next(iter(arrays.values())) if len(arrays) == 1 else arrays)


def _load_arrays(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read as NumPy arrays: {error} Numbers or fixed-width strings are needed: "
            "numpy.save(path, array.astype('float32'))."
        ) from error


def _read_csv(path: Path) -> Inputs:
    import numpy as np

    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines) if row]
    names = None
    if rows and not all(map(_is_number, rows[0])):
        names = [cell.strip() for cell in rows.pop(0)]
    if not rows:
        raise InputError(f"{str(path)!r} has no line of numbers, but one per sample is needed: 5.1,3.5,1.4")
    for number, row in enumerate(rows, start=1 if names is None else 2):
        _check_row(path, number, row, len(rows[0]))
    return Inputs(np.array([[float(cell) for cell in row] for row in rows], "float32"), names)


def _check_row(path: Path, line: int, row: list[str], width: int) -> None:
    text = next((cell for cell in row if not _is_number(cell)), None)
    if text is not None:
        raise InputError(
            f"Line {line} of {str(path)!r} contains {text!r}, but only the first line may contain anything other than "
            "numbers. Remove the columns that the model does not read."
        )
    if len(row) != width:
        raise InputError(
            f"Line {line} of {str(path)!r} has {len(row)} columns, but the lines before it have {width}. All lines "
            "need the same number."
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_txt(path: Path) -> Inputs:
    import numpy as np

    return Inputs(np.array(_lines(path), dtype=str))


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8-sig").removesuffix("\n").split("\n")


def read_names(text: str) -> list[str]:
    """Names of positions.

    Args:
        text: The path of a text file with one name per line, or the names themselves, separated by commas.

    Raises:
        LabelError: There are none.
    """
    names = _lines(Path(text)) if Path(text).is_file() else [name.strip() for name in text.split(",")]
    if names == [""]:
        raise LabelError(
            f"The labels are {text!r}, but names are needed: --labels a,b,c, or a file with one name per line."
        )
    return names
