"""What the functions of this room are given: one array, or the maps of all sites."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from attnscope.schema import require_maps, require_one_array

Function = TypeVar("Function", bound=Callable[..., Any])


def of_one_array(function: Function) -> Function:
    """Has a function reject everything but a labelled array as its first argument.

    Maps of all sites have none of an array's attributes, and the first one that is read would be the error.
    """
    return _checked(function, require_one_array)


def of_maps(function: Function) -> Function:
    """Has a function reject everything but captured maps as its first argument."""
    return _checked(function, require_maps)


def _checked(function: Function, check: Callable[[object, str], None]) -> Function:
    first = next(iter(inspect.signature(function).parameters))

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if args or first in kwargs:
            check(args[0] if args else kwargs[first], function.__name__)
        return function(*args, **kwargs)

    return cast(Function, checked)
