"""What a call leaves out, and the masks that come with what it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras


def first_given(*choices: Any) -> Any:
    """The first of `choices` that is not None."""
    return next((choice for choice in choices if choice is not None), None)


def filled_in(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """Key and value stand in for each other, and the query for both.

    Args:
        query: A tensor, or its shape, or its mask.
        key: The same of the key; None where it was left out.
        value: The same of the value; None where it was left out.
    """
    return query, first_given(key, value, query), first_given(value, key, query)


class _Masked(keras.layers.Layer):  # type: ignore[misc]
    """Gives back the same tensor, with a mask on it; Keras alone knows where the mask of a tensor is kept."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return inputs

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask


@cache
def _masked() -> _Masked:
    return _Masked(name="masked", autocast=False)


@contextmanager
def masks_kept(pairs: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Puts the masks back on the caller's tensors, whatever a layer of Keras does to them meanwhile.

    Args:
        pairs: Tensors, and the masks that they came with (or None).
    """
    try:
        yield
    finally:
        for tensor, mask in pairs:
            if mask is not None:
                _masked()(tensor, mask=mask)
