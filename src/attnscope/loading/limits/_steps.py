"""A bound on the work that building a model takes: a short file can ask for work without end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras

from attnscope.errors import UnsafeFileError

MAX_STEPS = 100_000
"""Calls of layers, and tensors between them; a model of 800 layers takes about twelve thousand."""
STEPS_OF_A_LAYER = 10
"""What making a layer counts for, which takes longer than calling it, and room."""


@dataclass
class _Count:
    steps: int = 0

    def take(self, steps: int) -> None:
        self.steps += steps
        self.check()

    def check(self) -> None:
        if self.steps > MAX_STEPS:
            raise UnsafeFileError(
                f"Building the model takes more than {MAX_STEPS:,} steps: calls of layers and tensors. Expected "
                "fewer: no model needs them. If it is meant so, load it where you trust it: "
                "keras.saving.load_model(path)."
            )


_count: ContextVar[_Count | None] = ContextVar("attnscope_step_count", default=None)
_lock = threading.Lock()
_users = 0


@contextmanager
def limited_steps() -> Iterator[None]:
    """Refuse to go on building a model after `MAX_STEPS` steps.

    A billion layers by one number, calls that refer to one another backwards, a recurrence that is unrolled over a
    million steps, or a tensor that is split into a hundred million keep Keras busy for days. Other threads are not
    touched.

    Raises:
        UnsafeFileError: More steps were asked for.
    """
    count = _Count()
    token = _count.set(count)
    _install()
    try:
        yield
    finally:
        _remove()
        _count.reset(token)
        # Keras may have put words of its own around the error, or caught it.
        count.check()


def _counted(function: Callable[..., Any], steps: int) -> Callable[..., Any]:
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        count = _count.get()
        if count is not None:
            count.take(steps)
        return function(self, *args, **kwargs)

    return step


_PLACES = (
    (keras.Operation, "__init__", STEPS_OF_A_LAYER),
    (keras.Operation, "__call__", 1),
    (keras.KerasTensor, "__init__", 1),
)
_PLAIN = tuple(getattr(owner, name) for owner, name, _ in _PLACES)


def _install() -> None:
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for (owner, name, steps), function in zip(_PLACES, _PLAIN, strict=True):
                setattr(owner, name, _counted(function, steps))


def _remove() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for (owner, name, _), function in zip(_PLACES, _PLAIN, strict=True):
                setattr(owner, name, function)
