"""Replacing functions for a while, so that several threads can do it at once and all is restored.

A patch is counted: the first that asks installs it, the last that leaves restores the original. What is
installed asks a `ContextVar` whether anybody in *this* context wants the call, and otherwise calls the original.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_LOCK = threading.RLock()
_INSTALLED: dict[tuple[int, str], list[Any]] = {}
_MISSING = object()
_FRAMEWORKS = ("jax", "jaxlib", "tensorflow", "torch", "keras", "attnscope", "numpy")


@contextmanager
def patched(owner: Any, name: str, wrapped: Callable[[Any], Any]) -> Iterator[None]:
    """Puts ``wrapped(original)`` in the place of ``owner.name`` while the block runs.

    Args:
        owner: A module or a class.
        name: Name of the function in it.
        wrapped: Makes the stand-in from the original.
    """
    key = (id(owner), name)
    with _LOCK:
        entry = _INSTALLED.get(key)
        if entry is None:
            own = vars(owner).get(name, _MISSING)
            setattr(owner, name, wrapped(getattr(owner, name)))
            entry = _INSTALLED[key] = [0, own]
        entry[0] += 1
    try:
        yield
    finally:
        with _LOCK:
            entry[0] -= 1
            if entry[0] == 0:
                del _INSTALLED[key]
                if entry[1] is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, entry[1])


@contextmanager
def patched_everywhere(owner: Any, name: str, wrapped: Callable[[Any], Any], layers: list[Any]) -> Iterator[None]:
    """`patched`, and also where somebody wrote ``from owner import name``.

    Looked at are the attributes of `layers` and the modules of their classes (under any name), and all other modules
    outside of the frameworks that hold it under its own name.
    """
    original = getattr(owner, name)
    original = getattr(original, "__wrapped__", original) if _is_stand_in(original) else original
    with ExitStack() as stack:
        stack.enter_context(patched(owner, name, wrapped))
        for module, alias in _bound_early(original, name, layers):
            stack.enter_context(patched(module, alias, wrapped))
        yield


def stand_in(original: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks `function` as what stands in for `original`."""
    function.__wrapped__ = original  # type: ignore[attr-defined]
    function.__name__ = getattr(original, "__name__", "stand_in")
    function._attnscope_stand_in = True  # type: ignore[attr-defined]
    return function


def _is_stand_in(function: Any) -> bool:
    return getattr(function, "_attnscope_stand_in", False) is True


def _bound_early(original: Any, name: str, layers: list[Any]) -> list[tuple[Any, str]]:
    of_classes = {cls.__module__ for layer in layers for cls in type(layer).__mro__}
    places: list[tuple[Any, dict[str, Any]]] = [(layer, vars(layer)) for layer in layers]
    for module_name, module in list(sys.modules.items()):
        if module is not None and module_name.split(".")[0] not in _FRAMEWORKS:
            known = vars(module) if module_name in of_classes else {name: vars(module).get(name)}
            places.append((module, known))
    found = []
    for owner, names in places:
        for alias, value in list(names.items()):
            behind = getattr(value, "__wrapped__", None) if _is_stand_in(value) else value
            if behind is original:
                found.append((owner, alias))
    return found
