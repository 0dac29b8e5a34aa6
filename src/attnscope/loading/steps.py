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
"""Calls of layers, and tensors of a graph; a model of 150 layers takes about a thousand."""


@dataclass
class _Count:
    steps: int = 0

    def take(self) -> None:
        self.steps += 1
        self.check()

    def check(self) -> None:
        if self.steps > MAX_STEPS:
            raise UnsafeFileError(
                f"Building the model takes more than {MAX_STEPS:,} calls of layers and tensors between them. Expected "
                "fewer: no model needs them. If it is meant so, load it where you trust it: "
                "keras.saving.load_model(path)."
            )


_count: ContextVar[_Count | None] = ContextVar("attnscope_step_count", default=None)
_lock = threading.Lock()
_users = 0


@contextmanager
def limited_steps() -> Iterator[None]:
    """Refuse to go on building a model after `MAX_STEPS` steps.

    Calls that refer to one another backwards, a recurrence that is unrolled over a million steps, or a tensor that is
    split into a hundred million keep Keras busy for days. Other threads are not touched.

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


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        count = _count.get()
        if count is not None:
            count.take()
        return function(self, *args, **kwargs)

    return step


_PLAIN = (
    (keras.Operation, "__call__", keras.Operation.__call__),
    (keras.KerasTensor, "__init__", keras.KerasTensor.__init__),
)


def _install() -> None:
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for owner, name, function in _PLAIN:
                setattr(owner, name, _counted(function))


def _remove() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for owner, name, function in _PLAIN:
                setattr(owner, name, function)
