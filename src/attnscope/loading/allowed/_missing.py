"""What a model needs and its file cannot give: classes, functions, and layers to put in the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from attnscope.errors import AttnscopeError, UnsafeFileError

_MAX_LINES = 40
BUILD_IN_PYTHON = "Build the model in Python as it was, and load only the weights into it: load_model(path, model)."


@dataclass(frozen=True)
class Missing:
    """One thing that is needed to build a model."""

    layer: str
    """The layer that needs it."""
    needs: str
    """What it needs, in words that follow the layer's name."""
    fix: str
    """What to do if it is the only thing, in whole sentences."""
    error: type[AttnscopeError] = UnsafeFileError
    custom_object: tuple[str, str] | None = None
    """The key that `custom_objects` lacks, and the name of the class or function in Python."""
    replacement: str | None = None
    """Code that makes a layer that could stand in its place."""
    runs_code: bool = False
    """Whether it would be run from a trusted file."""


def refuse(missing: Sequence[Missing], source: str) -> NoReturn:
    """Raise one error that lists everything.

    Args:
        missing: At least one thing.
        source: The file's name.
    """
    kinds: dict[tuple[str, object], list[Missing]] = {}
    for one in missing:
        # A class is needed once, however many layers are of it; a layer needs a replacement of its own.
        kinds.setdefault((one.needs, one.custom_object or one.layer), []).append(one)
    if len(kinds) == 1:
        raise missing[0].error(f"{missing[0].layer!r} {missing[0].needs}. {missing[0].fix}")
    lines = [f"  {_layers(alike)} {alike[0].needs}" for alike in kinds.values()]
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"  and {len(lines) - _MAX_LINES} more"]
    errors = [one.error for one in missing]
    error = UnsafeFileError if UnsafeFileError in errors else errors[0]
    raise error(
        f"{source} needs {len(kinds)} things that are neither in it nor known here:\n" + "\n".join(lines) + "\n"
        f"{_way_out(missing)}"
    )


def _layers(alike: Sequence[Missing]) -> str:
    names = list(dict.fromkeys(repr(one.layer) for one in alike))
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _way_out(missing: Sequence[Missing]) -> str:
    arguments = _arguments(missing)
    if not arguments or any(not one.custom_object and not one.replacement for one in missing):
        return BUILD_IN_PYTHON
    return f"Give them all at once: load_model(path, {arguments}).{_trust(missing)}"


def _arguments(missing: Sequence[Missing]) -> str:
    classes = dict(one.custom_object for one in missing if one.custom_object)
    layers = {one.layer: one.replacement for one in missing if one.replacement and not one.custom_object}
    arguments = {
        "custom_objects": ", ".join(f"{key!r}: {name}" for key, name in classes.items()),
        "replacements": ", ".join(f"{layer!r}: {code}" for layer, code in layers.items()),
    }
    return ", ".join(f"{name}={{{items}}}" for name, items in arguments.items() if items)


def _trust(missing: Sequence[Missing]) -> str:
    if not any(one.runs_code for one in missing):
        return ""
    return " If you trust whoever made the file, trust=True runs its Lambda layers instead."
