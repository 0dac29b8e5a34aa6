"""What a model needs and its file cannot give: classes, functions, and layers to put in the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from attnscope.errors import AttnscopeError, ModelFileError, UnsafeFileError, UnsupportedError
from attnscope.loading.allowed._code import LAMBDAS, code_in_words

_MAX_LINES = 40
_BUILD_IN_PYTHON = "Build the model in Python as it was, and load only the weights into it: load_model(path, model)."


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


def code(layer: str, class_name: str, settings: object) -> Missing:
    """A layer that runs what the file contains.

    Args:
        layer: The layer's own name.
        class_name: Its class, one of `RUNS_CODE` or ``"__lambda__"``.
        settings: Its own configuration.
    """
    is_lambda = class_name in LAMBDAS
    return Missing(
        layer,
        f"is a {class_name.strip('_')} and would run {code_in_words(class_name, settings)}",
        "Expected layers whose code is installed, not contained in the file. "
        + ("If you trust whoever made it: load_model(path, trust=True); or put" if is_lambda else "Put")
        + f" a layer of your own in its place: load_model(path, replacements={{{layer!r}: layer}}).",
        replacement="layer",
        runs_code=is_lambda,
    )


def function_of_lambda(layer: str, function: str) -> Missing:
    """A function of the user's own that was not passed, of which a ``Lambda`` has only the name.

    Args:
        layer: The layer's own name.
        function: The function's name.
    """
    name = function.rpartition(">")[2]
    return Missing(
        layer,
        f"is a Lambda and would run the function {function!r}, which is not in the file",
        f"Pass it: load_model(path, custom_objects={{{function!r}: {name}}}); or put a layer of your own in its place: "
        f"load_model(path, replacements={{{layer!r}: layer}}).",
        custom_object=(function, name),
    )


def unknown(layer: str, what: str, full_name: str, registered_name: str) -> Missing:
    """A class or function of the user's own that was not passed.

    Args:
        layer: The name of the layer that needs it.
        what: ``"class"`` or ``"function"``.
        full_name: Its name in the file, with its module if that is stored.
        registered_name: The key that `custom_objects` lacks.
    """
    name = full_name.rpartition(">")[2].rpartition(".")[2]
    return Missing(
        layer,
        f"needs the {what} {full_name!r}, which is neither Keras' own nor one that you passed",
        f"Expected one that is known here. Pass it: load_model(path, custom_objects={{{registered_name!r}: {name}}}"
        "); or register it before loading, with keras.saving.register_keras_serializable.",
        custom_object=(registered_name, name),
    )


def former(layer: str, name: str, what: str, in_its_place: str | None) -> Missing:
    """A layer that Keras no longer has.

    Args:
        layer: The layer's own name.
        name: Its class.
        what: What it was, as the end of a sentence.
        in_its_place: As `former_layer` returns it.
    """
    if in_its_place == "":
        return Missing(layer, f"is a {name}, {what}", _BUILD_IN_PYTHON, UnsupportedError)
    if in_its_place is not None:
        return Missing(
            layer,
            f"is a {name}, {what}",
            "Put a layer that does the same in its place: "
            f"load_model(path, replacements={{{layer!r}: {in_its_place}}}).",
            UnsupportedError,
            replacement=in_its_place,
        )
    return Missing(
        layer,
        f"is a {name}, {what}",
        "Pass a class that does the same, or your own if it only has that name: "
        f"load_model(path, custom_objects={{{name!r}: {name}}}).",
        UnsupportedError,
        custom_object=(name, name),
    )


def operation(layer: str, function: str) -> Missing:
    """A function of TensorFlow's, stored as a layer, that is not translated.

    Args:
        layer: The layer's own name.
        function: The function without ``tf.``.
    """
    return Missing(
        layer,
        f"runs tf.{function}, which cannot be translated to Keras 3",
        f"Pass a layer or function that does the same: load_model(path, replacements={{{layer!r}: function}}).",
        UnsupportedError,
        replacement="function",
    )


def other_class(layer: str, name: str, why: str) -> Missing:
    """A class of the user's own that has the name of one of Keras'.

    Args:
        layer: The layer's own name.
        name: Its class.
        why: What of it is not Keras', as `unfitting` returns it.
    """
    return Missing(
        layer,
        f"is stored as a layer of class {name!r} {why}",
        f"If it is of another class of that name, pass that class: load_model(path, custom_objects={{{name!r}: {name}}}"
        f"). If not: {_BUILD_IN_PYTHON}",
        ModelFileError,
        custom_object=(name, name),
    )


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
        return _BUILD_IN_PYTHON
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
