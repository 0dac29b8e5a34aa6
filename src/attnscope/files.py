"""Models, samples and names from files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnscope.backends import choose_backend
from attnscope.errors import InputError, LabelError


def load_model(path: str | Path, *, backend: str | None = None) -> Any:
    """A model from a file: `attnscope.load_model` once the backend is chosen. No code in the file is run.

    Args:
        path: A ``.keras``, ``.h5`` or ``.hdf5`` file.
        backend: See `choose_backend`.

    Raises:
        FileNotFoundError: Nothing is there.
        AttnscopeError: It is no such file, is not safe, or Keras cannot make a model of it.
    """
    choose_backend(backend)
    from attnscope.loading import load_model as load

    return load(path)


@dataclass(frozen=True)
class Inputs:
    """Samples from a file.

    Attributes:
        arrays: One array, or a dict of them.
        names: Names in the head of a table, one per column; None where there are none.
    """

    arrays: Any
    names: list[str] | None = None


def read_inputs(path: str | Path) -> Inputs:
    """Samples from a ``.npy``, ``.npz``, ``.csv`` or ``.txt`` file.

    Args:
        path: Where. A ``.npz`` with one array gives that, with several a dict. A table gives float32, one
            sample per line; a first line that is not all numbers holds names. A text file gives one text per
            line.

    Raises:
        FileNotFoundError: Nothing is there.
        InputError: It is of no such kind, or cannot be read as one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} is no file. Samples are needed: numpy.save('samples.npy', array).")
    reader = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv, ".txt": _read_txt}.get(path.suffix)
    if reader is None:
        raise InputError(
            f"The inputs are to be read from {str(path)!r}, but a .npy, .npz, .csv or .txt file is needed: "
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
            f"{str(path)!r} cannot be read as NumPy arrays: {error} Numbers or fixed-width strings are "
            "needed: numpy.save(path, array.astype('float32'))."
        ) from error


def _read_csv(path: Path) -> Inputs:
    import numpy as np

    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.reader(lines) if row]
    names = None
    if rows and not all(map(_is_number, rows[0])):
        names = [cell.strip() for cell in rows.pop(0)]
    if not rows:
        raise InputError(f"{str(path)!r} holds no line of numbers, but one per sample is needed: 5.1,3.5,1.4")
    for place, row in enumerate(rows, start=1 if names is None else 2):
        _check_row(path, place, row, len(rows[0]))
    return Inputs(np.array([[float(cell) for cell in row] for row in rows], "float32"), names)


def _check_row(path: Path, place: int, row: list[str], width: int) -> None:
    wrong = next((cell for cell in row if not _is_number(cell)), None)
    if wrong is not None:
        raise InputError(
            f"Line {place} of {str(path)!r} holds {wrong!r}, but only the first line may hold anything but "
            "numbers. Take columns out that the model does not read."
        )
    if len(row) != width:
        raise InputError(
            f"Line {place} of {str(path)!r} has {len(row)} columns, but the lines before have {width}. All "
            "need the same."
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


def read_names(given: str) -> list[str]:
    """Names of positions: the lines of a text file if there is one of that name, else what commas part.

    Raises:
        LabelError: There are none.
    """
    names = _lines(Path(given)) if Path(given).is_file() else [name.strip() for name in given.split(",")]
    if names == [""]:
        raise LabelError(
            f"The labels are {given!r}, but names are needed: --labels a,b,c, or a file with one per line."
        )
    return names
