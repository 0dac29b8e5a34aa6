"""Every exception that attnscope raises of its own.

Each is also one of Python's own kinds, so code that catches ``ValueError`` goes on working. A message has
three parts: what was given, what was expected, and the mend.
"""

from __future__ import annotations

from pathlib import Path


class AttnscopeError(Exception):
    """The parent of all of them."""


class SchemaError(AttnscopeError, ValueError):
    """An array lacks a dimension, or has one that cannot be meant."""


class LabelError(AttnscopeError, ValueError):
    """The number of labels is not the number of positions."""


class NoAttentionError(AttnscopeError, ValueError):
    """The model computes no attention that can be taken."""


class PatternError(AttnscopeError, KeyError):
    """A pattern matches no site."""

    def __str__(self) -> str:
        """The message itself; KeyError would put it in quotes."""
        return str(self.args[0])


class UnbuiltModelError(AttnscopeError, ValueError):
    """The model has no weights yet."""


class InputError(AttnscopeError, ValueError):
    """The inputs are empty, or of a kind that cannot be batched."""


class DeclarationError(AttnscopeError, ValueError):
    """A declared site does not fit what the layer returns."""


class InterventionError(AttnscopeError, ValueError):
    """An edit gave scores that cannot stand in for the model's own."""


class TargetError(AttnscopeError, ValueError):
    """What is to be explained is not among what the model says."""


class MethodError(AttnscopeError, ValueError):
    """There is no such method of attribution, or it needs what the model lacks."""


class TooLargeError(AttnscopeError, MemoryError):
    """The result would not fit in memory."""


class IncompleteRunError(AttnscopeError, ValueError):
    """A store holds a run that broke off."""


class WouldOverwriteError(AttnscopeError, FileExistsError):
    """A file or folder is there already."""


class UnsupportedError(AttnscopeError, TypeError):
    """This kind of object or backend is not one that attnscope can work with."""


class NotInstalledError(AttnscopeError, ImportError):
    """An optional package is needed and not there."""


class UnsafeFileError(AttnscopeError, ValueError):
    """A model file asks for more than to be read as data: it was refused before anything in it was used."""


class KnownHolesWarning(UserWarning):
    """The installed Keras has holes in its loading of files that later ones have closed."""


class ModelFileError(AttnscopeError, ValueError):
    """A file is no model, or one that cannot be made into a model."""


class WeightsMismatchError(AttnscopeError, ValueError):
    """The weights in a file are not those of the model."""


def free_path(path: str | Path, mend: str, *, overwrite: bool = False) -> Path:
    """A path that may be written to.

    Args:
        path: Where something is to be written.
        mend: What to do if something is there, as code to paste.
        overwrite: Whether what is there may be replaced.

    Raises:
        WouldOverwriteError: There is something at `path`, and `overwrite` is False.
    """
    if Path(path).exists() and not overwrite:
        raise WouldOverwriteError(f"{str(path)!r} is there already and is not overwritten: {mend}.")
    return Path(path)
