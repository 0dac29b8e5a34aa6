"""A bound on what a model may allocate while it is built, derived from what its file stores."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras

from attnscope.errors import UnsafeFileError
from attnscope.patching import patched

FREE_BYTES = 256 * 2**20
MAX_EXPANSION = 8
"""How many times the stored weights variables may take: an optimizer's slots, float16 that is used as float32."""
MAX_VARIABLES = 20_000
_RANDOM = tuple(
    getattr(keras.initializers, name)
    for name in ("Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling")
)
"""Initializers whose numbers take long to make, and are replaced by those in the file."""


@dataclass
class _Allowance:
    """What the variables of one model have taken so far, of what they may take."""

    stored_bytes: int
    allocated_bytes: int = 0
    variables: int = 0
    refusal: UnsafeFileError | None = None

    def take(self, size: int) -> None:
        self.allocated_bytes += size
        self.variables += 1
        limit = FREE_BYTES + MAX_EXPANSION * self.stored_bytes
        if self.allocated_bytes > limit or self.variables > MAX_VARIABLES:
            self.refusal = UnsafeFileError(
                f"The configuration asks for {self.variables:,} variable{'s' if self.variables > 1 else ''} of "
                f"{self.allocated_bytes:,} bytes or more, but the file stores {self.stored_bytes:,} bytes of weights. "
                f"Expected at most {limit:,} bytes and {MAX_VARIABLES:,} variables. If this is intended, load the file "
                "where you trust it: keras.saving.load_model(path)."
            )
            raise self.refusal


_allowance: ContextVar[_Allowance | None] = ContextVar("attnscope_variable_allowance", default=None)


@contextmanager
def limited_variables(stored_bytes: int) -> Iterator[None]:
    """Refuse to build variables far larger than the weights that a file stores for them.

    A configuration of a hundred bytes can ask for a layer of a trillion weights. Inside this context every Keras
    variable is counted before its values are made, and those that would be random are 0: the weights follow. Other
    threads are not affected.

    Args:
        stored_bytes: How many bytes of weights the file stores.

    Raises:
        UnsafeFileError: More than 256 MiB plus 8 times what is stored, or more than 20,000 variables, were asked for.
    """
    allowance = _Allowance(stored_bytes)
    token = _allowance.set(allowance)
    try:
        with patched(keras.Variable, "__init__", _counted):
            yield
    except Exception as error:
        if allowance.refusal is not None and error is not allowance.refusal:
            raise allowance.refusal from error
        raise
    finally:
        _allowance.reset(token)
    if allowance.refusal is not None:
        raise allowance.refusal


def _counted(init: Callable[..., None]) -> Callable[..., None]:
    def counted_init(
        variable: keras.Variable,
        initializer: object,
        shape: int | Sequence[int | None] | None = None,
        dtype: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        allowance = _allowance.get()
        if allowance is not None and shape is not None:
            sizes = [size for size in ((shape,) if isinstance(shape, int) else tuple(shape)) if size is not None]
            bits = re.search(r"\d+", str(dtype or keras.config.floatx()))
            allowance.take(math.prod(int(size) for size in sizes) * int(bits[0] if bits else 32) // 8)
            if isinstance(initializer, _RANDOM):
                initializer = keras.initializers.Zeros()
        init(variable, initializer, shape, dtype, *args, **kwargs)

    return counted_init
