"""The backend that Keras runs on, as attnscope knows it."""

from __future__ import annotations

from importlib import import_module

from attnscope.backends._protocol import Backend
from attnscope.errors import UnsupportedError

_REGISTERED: dict[str, Backend] = {}


def register(name: str, backend: Backend) -> None:
    """Registers a backend, in place of any that had this name.

    Args:
        name: What `keras.backend.backend()` gives where Keras runs on it.
        backend: An object with all members of `Backend`.
    """
    _REGISTERED[name] = backend


def current() -> Backend:
    """The backend that Keras runs on: one that was registered, or else the file in this folder with its name.

    Raises:
        UnsupportedError: There is none.
    """
    import keras  # not before somebody has chosen what it runs on

    name = str(keras.backend.backend())
    if name not in _REGISTERED:
        register(name, _of_file(name))
    return _REGISTERED[name]


def _of_file(name: str) -> Backend:
    module = f"{__package__}._{name}"
    try:
        backend: Backend = import_module(module).BACKEND
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UnsupportedError(
            f"Keras runs on {name!r}, but attnscope reads attention on tensorflow, jax and torch. Start Python again "
            "with one of them: KERAS_BACKEND=jax."
        ) from None
    return backend
