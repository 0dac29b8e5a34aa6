"""A bound on what a model may allocate while it is built, taken from what its file stores."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras

from attnscope.errors import UnsafeFileError

FREE_BYTES = 256 * 2**20
MAX_EXPANSION = 8
"""Times that variables may exceed the stored weights: an optimizer's slots, float16 that is used as float32."""
MAX_VARIABLES = 20_000


@dataclass
class _Budget:
    """What is left for the variables of one model."""

    stored: int
    allocated: int = 0
    count: int = 0
    refusal: UnsafeFileError | None = None

    def take(self, size: int) -> None:
        self.allocated += size
        self.count += 1
        limit = FREE_BYTES + MAX_EXPANSION * self.stored
        if self.allocated > limit or self.count > MAX_VARIABLES:
            self.refusal = UnsafeFileError(
                f"The configuration asks for {self.count:,} variables of {self.allocated:,} bytes or more, but the "
                f"file stores {self.stored:,} bytes of weights. Expected at most {limit:,} bytes and {MAX_VARIABLES:,} "
                f"variables. If it is meant so, load it where you trust it: keras.saving.load_model(path)."
            )
            raise self.refusal


_budget: ContextVar[_Budget | None] = ContextVar("attnscope_variable_budget", default=None)
_lock = threading.Lock()
_users = 0


@contextmanager
def limited_variables(stored: int) -> Iterator[None]:
    """Refuse to build variables far larger than the weights that a file stores for them.

    A configuration of a hundred bytes can ask for a layer of a trillion weights. Inside this context every Keras
    variable is counted before its values are made. Other threads are not touched.

    Args:
        stored: Bytes that the file stores of weights.

    Raises:
        UnsafeFileError: More than 256 MiB and 8 times what is stored, or more than 20,000 variables, were asked for.
    """
    budget = _Budget(stored)
    token = _budget.set(budget)
    _install()
    try:
        yield
    except Exception as error:
        if budget.refusal is not None and error is not budget.refusal:
            raise budget.refusal from error
        raise
    finally:
        _remove()
        _budget.reset(token)
    if budget.refusal is not None:
        raise budget.refusal


_inherited = "__init__" not in vars(keras.Variable)
_init = keras.Variable.__init__


def _counted(self: Any, initializer: Any, shape: Any = None, dtype: Any = None, *args: Any, **kwargs: Any) -> None:
    budget = _budget.get()
    if budget is not None and shape is not None:
        sizes = [size for size in ((shape,) if isinstance(shape, int) else tuple(shape)) if size is not None]
        bits = re.search(r"\d+", str(dtype or keras.config.floatx()))
        budget.take(math.prod(int(size) for size in sizes) * int(bits[0] if bits else 32) // 8)
    _init(self, initializer, shape, dtype, *args, **kwargs)


def _install() -> None:
    global _users
    with _lock:
        _users += 1
        keras.Variable.__init__ = _counted


def _remove() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            if _inherited:
                del keras.Variable.__init__
            else:
                keras.Variable.__init__ = _init
