"""What takes long to trace or compile for a model, made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")


class CompilationCache:
    """What was traced or compiled for one model, by key.

    It is valid for as long as only the values of the model's variables change.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made under this key, or what `make` gives now."""
        if key not in self._values:
            self._values[key] = make()
        value: Made = self._values[key]
        return value
