"""Every exception class that attnscope defines.

Each is also one of Python's own, so code that catches ``ValueError`` keeps working. A message has three parts: what
was given, what was expected, and the fix.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = [
    "AttnscopeError",
    "DamagedStoreError",
    "DeclarationError",
    "IncompleteRunError",
    "InputError",
    "InterventionError",
    "KnownHolesWarning",
    "LabelError",
    "MethodError",
    "ModelFileError",
    "NoAttentionError",
    "NotInstalledError",
    "PatternError",
    "SchemaError",
    "StoreInUseError",
    "TargetError",
    "TooLargeError",
    "UnbuiltModelError",
    "UnsafeFileError",
    "UnsupportedError",
    "WeightsMismatchError",
    "WorkerDiedError",
    "WouldOverwriteError",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def kind_of(value: object) -> str:
    """What messages call something by its type alone: ``None``, ``an int``, ``a list``, ``the class Dense``."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name.startswith(('a', 'e', 'i', 'o', 'nd', 'A', 'E', 'I', 'O')) else 'a'} {name}"


def in_a_row(words: Sequence[str], last: str = "and") -> str:
    """Words as part of a sentence: ``a, b and c``.

    Args:
        words: One at least.
        last: What stands before the last of several.
    """
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def counted(number: int, noun: str) -> str:
    """A number of things, as messages say it: ``1 site``, ``2 sites``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class AttnscopeError(Exception):
    """The base class of all of them."""


class SchemaError(AttnscopeError, ValueError):
    """An array lacks a dimension, or has one that does not belong there."""


class LabelError(AttnscopeError, ValueError):
    """The labels do not fit: their number is not the number of positions, for example."""


class NoAttentionError(AttnscopeError, ValueError):
    """The model computes no attention that can be captured."""


class PatternError(AttnscopeError, KeyError):
    """A pattern matches no site."""

    def __str__(self) -> str:
        """The message itself, which KeyError would put in quotes."""
        return str(self.args[0])


class UnbuiltModelError(AttnscopeError, ValueError):
    """The model has no weights yet."""


class InputError(AttnscopeError, ValueError):
    """The inputs or an option cannot be used: no samples, for example, or inputs that cannot be split into batches."""


class DeclarationError(AttnscopeError, ValueError):
    """A declared site does not fit what the layer returns."""


class InterventionError(AttnscopeError, ValueError):
    """An edit returned scores that cannot replace the model's own."""


class TargetError(AttnscopeError, ValueError):
    """What is to be explained is not among the model's outputs."""


class MethodError(AttnscopeError, ValueError):
    """The method of attribution is unknown, or needs something that the model lacks."""


class TooLargeError(AttnscopeError, MemoryError):
    """The result would not fit in memory."""


class IncompleteRunError(AttnscopeError, ValueError):
    """A store holds an interrupted run."""


class DamagedStoreError(AttnscopeError, ValueError):
    """Something in a store is missing, damaged, or was changed by something other than attnscope."""


class StoreInUseError(AttnscopeError, BlockingIOError):
    """Another process, or another run in this one, writes to the store."""


class WorkerDiedError(AttnscopeError, RuntimeError):
    """Several workers, one after the other, ended at the same piece of work."""


class WouldOverwriteError(AttnscopeError, FileExistsError):
    """A file or folder already exists."""


class UnsupportedError(AttnscopeError, TypeError):
    """attnscope cannot work with this kind of object or backend."""


class NotInstalledError(AttnscopeError, ImportError):
    """An optional package is needed but not installed."""


class UnsafeFileError(AttnscopeError, ValueError):
    """A model file asks for more than to be read as data. It was rejected before anything in it was used."""


class KnownHolesWarning(UserWarning):
    """The installed Keras has known vulnerabilities in loading files, which later versions have fixed."""


class ModelFileError(AttnscopeError, ValueError):
    """A file is not a model, or cannot be turned into one."""


class WeightsMismatchError(AttnscopeError, ValueError):
    """The weights in a file do not fit the model."""


PAGES, PICTURES, STORES = (".html", ".htm"), (".png", ".svg", ".pdf"), (".zarr", "")
"""How the names of pages, of pictures and of stores end."""
EXPLANATIONS, CARDS, RELEVANCE = (".html", ".json", ".csv", *PICTURES), (*PAGES, ".json"), (".csv", ".json", ".zarr")
"""How the names of explanations, of cards and of relevance end."""


def free_path(path: str | Path, fix: str, *, overwrite: bool = False, suffixes: tuple[str, ...] = ()) -> Path:
    """A path that may be written to.

    Args:
        path: Where something is to be written.
        fix: What to do if something is there already, as code to paste.
        overwrite: Whether an existing file or folder may be replaced.
        suffixes: What the name may end in, the usual one first, and ``""`` for names that end in nothing; none at all
            for anything.

    Raises:
        WouldOverwriteError: Something exists at `path`, and `overwrite` is False.
        InputError: The name ends in none of `suffixes`, or nothing can be written there.
    """
    check_suffix(Path(path), suffixes)
    check_place(Path(path))
    if Path(path).exists() and not overwrite:
        raise WouldOverwriteError(f"{str(path)!r} already exists and is not overwritten: {fix}.")
    return Path(path)


def check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    """Checks what the name of a file ends in.

    Raises:
        InputError: In none of `suffixes`, and there are some.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        endings = [suffix for suffix in suffixes if suffix]
        known = in_a_row(endings, "or")
        raise InputError(
            f"The file is {str(path)!r}, but its name has to end in {known}, which says what is written. Give it one: "
            f"{path.stem + suffixes[0]!r}."
        )


def check_place(path: Path, *, makes_folders: bool = False) -> None:
    """Checks that something can be written at a path.

    Args:
        path: The path.
        makes_folders: Whether folders that it lies in are made where they are missing; those of stores are.

    Raises:
        InputError: It lies in no folder, or is one although its name is that of a file, or the name is too long.
    """
    is_store, folder = path.suffix.lower() in STORES, path.absolute().parent
    try:
        is_folder = path.exists() and path.is_dir()
    except OSError as error:
        raise InputError(f"Nothing can be written at {str(path)!r}: {error.strerror}. Give another path.") from None
    if is_folder and not is_store:
        raise InputError(f"Nothing can be written at {str(path)!r}, because it is a folder. Give another path.")
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
        why = "allows no writing" if folder.is_dir() else "is no folder"
        raise InputError(f"Nothing can be written at {str(path)!r}, because {str(folder)!r} {why}. Give another path.")
    if not (folder.exists() or is_store or makes_folders):
        raise InputError(
            f"Nothing can be written at {str(path)!r}, because there is no folder {str(folder)!r}. Make it first: "
            f"pathlib.Path({str(folder)!r}).mkdir(parents=True)."
        )
