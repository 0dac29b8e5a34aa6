"""What a room does for the names that it offers."""

from __future__ import annotations

from typing import Any


def offer_classes(room: dict[str, Any]) -> None:
    """Has the public classes of a room say that they are from there.

    What is pickled, or saved in a model's file, then names the room, and not a file inside of it, which is private.

    Args:
        room: The globals of the room, with ``__all__``.
    """
    name = room["__name__"]
    for offered in room["__all__"]:
        value = room.get(offered)
        if isinstance(value, type) and value.__module__.startswith(f"{name}."):
            value.__module__ = name
