"""Which backend Keras runs on, decided before Keras is loaded."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from attnscope.errors import UnsupportedError

BACKENDS = ("tensorflow", "jax", "torch")
INFERENCE_ONLY = ("openvino",)
"""Backends that compute no gradients: used if they are named, never chosen by default."""


def choose_backend(name: str | None = None) -> str:
    """Decides what Keras runs on, before it is loaded, and says so in ``KERAS_BACKEND``.

    Args:
        name: ``tensorflow``, ``jax`` or ``torch``; or ``openvino``, which computes no gradients. None for what the
            environment variable ``KERAS_BACKEND`` names, else what Keras' own settings (``~/.keras/keras.json``) name
            if that is installed, else the first of the three that is.

    Returns:
        The name.

    Raises:
        UnsupportedError: It is not installed, none is, it is not one of these, or Keras already runs on another one.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" in sys.modules:
        return _loaded_backend(name)
    wanted = name or os.environ.get("KERAS_BACKEND")
    if wanted is None:
        installed = [backend for backend in BACKENDS if find_spec(backend)]
        configured = _configured_backend()
        named = configured in (*installed, *filter(find_spec, INFERENCE_ONLY))
        wanted = configured if named else next(iter(installed), None)
    if wanted is None:
        raise UnsupportedError(
            "No backend of Keras is installed, but one of tensorflow, jax and torch is needed to run a "
            "model. Install one: pip install attnscope[jax]"
        )
    if wanted not in (*BACKENDS, *INFERENCE_ONLY):
        raise UnsupportedError(
            f"The backend is {wanted!r}, but one of tensorflow, jax and torch is needed: --backend jax, or "
            "KERAS_BACKEND=jax."
        )
    if find_spec(wanted) is None:
        raise UnsupportedError(
            f"The backend is {wanted!r}, but that package is not installed. Install it: pip install "
            f"attnscope[{wanted}]; or name another: --backend, or KERAS_BACKEND."
        )
    os.environ["KERAS_BACKEND"] = wanted
    return wanted


def _loaded_backend(name: str | None) -> str:
    import keras

    running = str(keras.backend.backend())
    if name not in (None, running):
        raise UnsupportedError(
            f"The backend {name!r} was asked for, but Keras already runs on {running!r} in this process. Start a new "
            f"one: KERAS_BACKEND={name} python ..."
        )
    return running


def _configured_backend() -> str | None:
    home = os.environ.get("KERAS_HOME")
    path = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text("utf-8"))
    except ValueError:  # Keras reads a broken file as an empty one
        return None
    return settings.get("backend") if isinstance(settings, dict) else None
