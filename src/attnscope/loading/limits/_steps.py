"""A bound on the work that building a model takes: a short file can ask for endless work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import keras

from attnscope.errors import UnsafeFileError
from attnscope.patching import patched

Result = TypeVar("Result")

MAX_STEPS = 100_000
"""Calls of layers, and tensors between them; a model of 800 layers takes about twelve thousand."""
STEPS_OF_A_LAYER = 10
"""What making a layer counts for: it takes more time and memory than calling one."""


@dataclass
class _Count:
    steps: int = 0
    failed: keras.Operation | None = None
    """The innermost layer whose call failed."""

    def take(self, steps: int) -> None:
        self.steps += steps
        self.check()

    def check(self) -> None:
        if self.steps > MAX_STEPS:
            raise UnsafeFileError(
                f"Building the model takes more than {MAX_STEPS:,} steps (calls of layers, and tensors between them). "
                "Expected fewer: no model needs that many. If this is intended, load the file where you trust it: "
                "keras.saving.load_model(path)."
            )


_count: ContextVar[_Count | None] = ContextVar("attnscope_step_count", default=None)


@contextmanager
def limited_steps() -> Iterator[None]:
    """Stop building a model after `MAX_STEPS` steps.

    A billion layers asked for by one number, calls that refer to one another backwards, a recurrence unrolled over a
    million steps, or a tensor split into a hundred million parts would keep Keras busy for days. Other threads are
    not affected.

    Raises:
        UnsafeFileError: More steps were asked for.
    """
    count = _Count()
    token = _count.set(count)
    try:
        with ExitStack() as patches:
            for owner, name, steps in _COUNTED:
                patches.enter_context(patched(owner, name, partial(_counted, steps=steps)))
            yield
    finally:
        _count.reset(token)
        # Keras may have wrapped the error in one of its own, or swallowed it.
        count.check()


def failed_call() -> keras.Operation | None:
    """The innermost layer whose call failed inside `limited_steps`; None if no call failed."""
    count = _count.get()
    return None if count is None else count.failed


_COUNTED = (
    (keras.Operation, "__init__", STEPS_OF_A_LAYER),
    (keras.Operation, "__call__", 1),
    (keras.KerasTensor, "__init__", 1),
)


def _counted(function: Callable[..., Result], *, steps: int) -> Callable[..., Result]:
    def counted_function(self: object, *args: Any, **kwargs: Any) -> Result:
        count = _count.get()
        if count is None:
            return function(self, *args, **kwargs)
        count.take(steps)
        try:
            return function(self, *args, **kwargs)
        except Exception:
            if count.failed is None and function.__name__ == "__call__" and isinstance(self, keras.Operation):
                count.failed = self
            raise

    return counted_function
