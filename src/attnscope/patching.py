"""Replacing functions temporarily, so that several threads can do it at once and everything is restored.

A patch is counted: the first user installs it, and the last one restores the original. What is installed asks a
`ContextVar` whether anybody in *this* context wants the call, and otherwise calls the original.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, TypeVar

Result = TypeVar("Result")

_LOCK = threading.RLock()
_MISSING = object()
_WITHOUT: dict[str, tuple[int, int]] = {}
"""Modules that have none of the functions' names: by their name, the id and the size of their dict."""
_FRAMEWORKS = ("jax", "jaxlib", "tensorflow", "torch", "keras", "attnscope", "numpy")
_IN_FRAMEWORKS = tuple(f"{name}." for name in _FRAMEWORKS)


@dataclass
class _Patch:
    """A stand-in that is installed.

    Attributes:
        own: What the owner itself held under the name; `_MISSING` where it inherits it.
        users: How many blocks run that asked for it.
    """

    own: object
    users: int = 0


_INSTALLED: dict[tuple[int, str], _Patch] = {}
"""By the id of the owner and the name."""


@contextmanager
def patched(owner: object, name: str, wrapped: Callable[[Any], object]) -> Iterator[None]:
    """Replaces ``owner.name`` by ``wrapped(original)`` while the block runs.

    Args:
        owner: A module or a class.
        name: Name of the function in it.
        wrapped: Makes the stand-in from the original.
    """
    key = (id(owner), name)
    with _LOCK:
        patch = _INSTALLED.get(key)
        if patch is None:
            own = vars(owner).get(name, _MISSING)
            setattr(owner, name, wrapped(getattr(owner, name)))
            patch = _INSTALLED[key] = _Patch(own)
        patch.users += 1
    try:
        yield
    finally:
        with _LOCK:
            patch.users -= 1
            if patch.users == 0:
                del _INSTALLED[key]
                if patch.own is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, patch.own)


def stand_in(original: object, function: Callable[..., Result]) -> Callable[..., Result]:
    """Marks `function` as the replacement for `original`."""
    function.__wrapped__ = original  # type: ignore[attr-defined]
    function.__name__ = getattr(original, "__name__", "stand_in")
    function._attnscope_stand_in = True  # type: ignore[attr-defined]
    return function


def _is_stand_in(value: object) -> bool:
    return type(value) is FunctionType and "_attnscope_stand_in" in vars(value)


def behind(value: Any) -> Any:
    """What `value` replaces; `value` itself if it replaces nothing."""
    return value.__wrapped__ if _is_stand_in(value) else value


def _may_hold(module_name: str, module: ModuleType, names: Iterable[str]) -> bool:
    """Whether a module has one of these names.

    Thousands of modules are loaded and few have one, so those without any are remembered: a module is looked at again
    once it has more names, or fewer, than it had.
    """
    held = getattr(module, "__dict__", {})
    as_it_was = (id(held), len(held))
    if _WITHOUT.get(module_name) == as_it_was and module_name != "__main__":
        return False
    has_one = any(name in held for name in names)
    if not has_one:
        _WITHOUT[module_name] = as_it_was
    return has_one


def bound_early(originals: Mapping[str, list[object]], layers: Sequence[object]) -> list[tuple[object, str, object]]:
    """Where else these functions are held, since somebody wrote ``from owner import name`` or kept one in a layer.

    It looks at the attributes of `layers`, the modules of their classes, and all other modules outside the frameworks
    that hold something under such a name.

    Args:
        originals: Functions by their names.
        layers: The model's layers.

    Returns:
        Holder, name there, function.
    """
    wanted = {id(original) for same_name in originals.values() for original in same_name}
    of_classes = {cls.__module__ for layer in layers for cls in type(layer).__mro__}
    holders: list[object] = list(layers)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(_IN_FRAMEWORKS) or module_name in _FRAMEWORKS:
            continue
        if module_name in of_classes or _may_hold(module_name, module, originals):
            holders.append(module)
    return [
        (holder, alias, behind(value))
        for holder in holders
        for alias, value in list(vars(holder).items())
        if id(value) in wanted or (type(value) is FunctionType and id(behind(value)) in wanted)
    ]
