"""Models, samples and names read from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from attnscope.backends import choose_backend
from attnscope.errors import InputError, LabelError, NotInstalledError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from attnscope.named_arrays import Arrays, NamedArrays
    from attnscope.tables import Table


_MODELS, _TABLES, _OTHERS = (".keras", ".h5", ".hdf5"), (".csv", ".tsv", ".parquet"), (".npy", ".npz", ".txt")
"""How the names of models, of tables, and of other files of samples end."""
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
"""How the names of files end that another program has to write as text first."""


def check_order(model: str | Path, inputs: str | Path) -> None:
    """Checks that a model and a file of samples are not in each other's place.

    Raises:
        InputError: They are, by their names.
    """
    if Path(inputs).suffix.lower() in _MODELS and Path(model).suffix.lower() in (*_TABLES, *_OTHERS):
        raise InputError(
            f"The model is given as {str(model)!r} and the samples as {str(inputs)!r}, but the model comes first: "
            f"{quote(str(inputs))} {quote(str(model))}."
        )


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


def read_inputs(
    path: str | Path,
    *,
    id_column: str | None = None,
    truth: str | None = None,
    columns: str | Sequence[str] | None = None,
    drop_missing: bool = False,
) -> Table | NamedArrays | Arrays:
    """Samples from a table (``.csv``, ``.tsv``, ``.parquet``), from arrays (``.npy``, ``.npz``) or texts (``.txt``).

    Of a table in text, separators (comma, semicolon, tab), decimal commas and a first line of names are told by what is
    in it; what may be meant in two ways is an error. A first column without a name is what pandas writes for an index:
    it becomes the ids.

    Args:
        path: The file. A ``.npz`` file with one array gives that array, one with several a dict. A text file gives one
            text per line.
        id_column: The column of a table, or the array of a ``.npz`` file, that says what each sample is called.
        truth: The column of a table, or the array of a ``.npz`` file, that says what is right.
        columns: The columns of a table that a model reads, in its order: names, or ``a,b,c``, or the path of a text
            file with one name per line; None for all that are neither ids nor truth.
        drop_missing: Whether samples of which a model would read a missing cell are left out.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: The file is of another kind, or cannot be read, or has no such column.
        NotInstalledError: It is a ``.parquet`` file, and nothing that reads one is installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {str(path)!r}. A table (.csv, .tsv or .parquet), arrays (.npy or .npz) or texts (.txt) "
            "are needed."
        )
    names = read_names(columns, option="--columns") if isinstance(columns, str) else columns
    kind = path.suffix.lower()
    if kind in _TABLES:
        wanted = {name for name in (id_column, truth, *(names or ())) if name is not None}
        table = _read_parquet(path) if kind == ".parquet" else _read_csv(path, wanted)
        return _arranged(table, id_column, truth, names, drop_missing)
    reader = {".npy": _read_npy, ".npz": _read_npz, ".txt": _read_txt}.get(kind)
    if reader is None:
        as_text = f"in the program for spreadsheets, save it as {path.stem}.csv"
        fix = as_text if kind in _SPREADSHEETS else "numpy.save('samples.npy', array)"
        raise InputError(
            f"The inputs are given as {str(path)!r}, but a table (.csv, .tsv or .parquet), arrays (.npy or .npz) or "
            f"texts (.txt) are needed: {fix}."
        )
    options = {"--id-column": id_column, "--truth": truth, "--columns": columns, "--drop-missing": drop_missing}
    by_name = ("--id-column", "--truth") if kind == ".npz" else ()
    wrong = [option for option, value in options.items() if value and option not in by_name]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for tables, but {str(path)!r} is none. Give a "
            f".csv, .tsv or .parquet file{_beside(wrong, kind)}."
        )
    if id_column is None and truth is None:
        return reader(path)
    from attnscope.named_arrays import named_arrays

    return named_arrays(_arrays(path), repr(str(path)), ids=id_column, truth=truth)


def _beside(options: Sequence[str], kind: str) -> str:
    """How ids and what is right are given beside arrays, as the end of a sentence."""
    names = {"--id-column": "ids", "--truth": "truth"}
    given = [names[option] for option in options if option in names]
    if kind != ".npy" or not given:
        return ""
    arrays = ", ".join(f"{name}={name}" for name in given)
    return f", or an .npz file with an array for each: numpy.savez('samples.npz', inputs=array, {arrays})"


def _arranged(
    table: Table, id_column: str | None, truth: str | None, columns: Sequence[str] | None, drop_missing: bool
) -> Table:
    """The table with its ids and truth taken out, and the columns that were asked for."""
    if truth is not None:
        table = table.with_truth(truth)
    if id_column is not None:
        table = table.with_ids(id_column)
    if columns is not None:
        table = table.select(columns)
    return replace(table, drops_missing=drop_missing)


def _read_npy(path: Path) -> np.ndarray:
    array: np.ndarray = _load_arrays(path)
    return array


def _read_npz(path: Path) -> Arrays:
    arrays = _arrays(path)
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with _load_arrays(path) as stored:
        return {name: stored[name] for name in stored.files}


def _load_arrays(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{str(path)!r} cannot be read as NumPy arrays: {error} Numbers or fixed-width strings are needed: "
            "numpy.save(path, array.astype('float32'))."
        ) from error


def _read_txt(path: Path) -> np.ndarray:
    import numpy as np

    return np.array(_lines(path), dtype=str)


def _read_csv(path: Path, wanted: set[str]) -> Table:
    from attnscope.files._csv import read_csv

    return read_csv(path, wanted)


def _read_parquet(path: Path) -> Table:
    """A table of columns, whose index, if it names the samples, becomes the ids."""
    from attnscope.frames import table_of_frame

    try:
        import pandas

        frame = pandas.read_parquet(path)
    except ImportError as error:
        raise NotInstalledError(
            f"{str(path)!r} is a Parquet file, and nothing that reads one is installed. Install it: pip install "
            "attnscope[tables]; or save the table as .csv."
        ) from error
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"{str(path)!r} cannot be read as a Parquet file: {first}. Write it again: frame.to_parquet(path)."
        ) from error
    return replace(table_of_frame(frame, what=repr(str(path))), kind="file")


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8-sig").removesuffix("\n").split("\n")


def read_names(text: str, *, option: str = "--labels") -> list[str]:
    """Names of positions, columns or classes.

    Args:
        text: The path of a text file with one name per line, or the names themselves, separated by commas.
        option: The option that they are given by, for messages.

    Raises:
        LabelError: There are none.
    """
    names = _lines(Path(text)) if _is_file(text) else [name.strip() for name in text.split(",")]
    if names == [""]:
        what = option.lstrip("-")
        raise LabelError(
            f"The {what} are {text!r}, but names are needed: {option} a,b,c, or a file with one name per line."
        )
    return names


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # many names are too long for a path
        return False
