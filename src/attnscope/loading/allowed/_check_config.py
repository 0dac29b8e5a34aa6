"""Whether everything that a configuration names only computes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from attnscope.errors import ModelFileError, UnsafeFileError, UnsupportedError
from attnscope.loading.allowed._code import code_in_words
from attnscope.loading.allowed._missing import BUILD_IN_PYTHON, Missing, refuse
from attnscope.loading.allowed._names import PACKAGES, RUNS_CODE, named_class, named_function, named_in_keras_2
from attnscope.loading.container import StoredModel
from attnscope.loading.keras2 import (
    FUNCTIONS,
    OPERATIONS,
    RENAMED_CLASSES,
    former_layer,
    is_from_elsewhere,
    module_and_class,
    unfitting,
)

_PLAIN = {"__keras_tensor__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__", "TensorShape"}
_ARRAYS = {"__tensor__", "__numpy__", "__keras_tensor__"}
_TENSORFLOW = {"__typespec__", "TypeSpec", "CompositeTensor"}
_DTYPE = re.compile(r"bool|string|str|u?int(2|4|8|16|32|64)|b?float(8|16|32|64)\w*|complex(64|128)")
_READ_FROM = {
    *("vocabulary", "merges", "proto", "special_tokens", "language_tokens"),
    *("file", "filename", "filepath", "file_path", "path", "directory", "url"),
}
"""Keys whose text is a place to read from."""
_MAX_SIZE = 2**28
"""Numbers in a tensor of a stored shape: some layers make a tensor of that shape when they are built."""
_PATH = re.compile(r"/|~|\\\\|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://|(.*[\\/])?\.\.([\\/]|$)")
_WORDS = {"oov_token", "mask_token", "unk_token", "pad_token"}
"""Keys whose text is a token, whatever it looks like."""
_SAVE_AGAIN = "Load it where you trust it, and save it again: model.save('model.keras')."


def check_config(
    stored: StoredModel, *, custom_objects: dict[str, object] | None, trust: bool, keras_2: bool = False
) -> None:
    """Reject a configuration that names anything that does more than compute.

    A configuration is data that Keras turns into calls of the classes that it names, with the arguments that it
    contains. So every name in it must be that of a class or function that Keras or KerasHub has for building models,
    that you pass, or that you have registered; and no text in it may be a place to read from.

    Args:
        stored: The model as data (see `opened`), with its configuration as Keras will get it.
        custom_objects: Your own classes and functions by name, as for `keras.saving.load_model`.
        trust: Whether `Lambda` layers and classes that do not come with Keras may be named: their code, or whatever
            has their name, then runs.
        keras_2: Whether the configuration is in the form of Keras 2 and will be rewritten: then only names are checked,
            and a name counts wherever in Keras it used to be.

    Raises:
        UnsafeFileError: It names something else. The error says in which layer, what would have run, and what to do;
            what you could pass or replace is listed as a whole.
        UnsupportedError: It names layers that Keras no longer has.
        ModelFileError: What it stores of a layer does not fit Keras' layer of that name.
    """
    by_keras2 = not (stored.keras_version or "2").startswith("3")
    rules = _Rules(custom_objects or {}, trust, keras_2, by_keras2)
    for part in (stored.config, stored.training):
        if part is not None:
            rules.check(part)
    if rules.missing:
        refuse(rules.missing, stored.path.name)


@dataclass(frozen=True)
class _Place:
    """Where in a configuration the walk is."""

    layer: str
    """The name of the innermost object that has one."""
    is_custom: bool = False
    """Whether that object is of a class that the user passed or registered."""
    is_missing: bool = False
    """Whether its class is missing, so that nothing is known of its settings."""


@dataclass(frozen=True)
class _Rules:
    custom_objects: dict[str, object]
    trust: bool
    keras_2: bool
    by_keras2: bool
    missing: list[Missing] = field(default_factory=list)

    def check(self, config: dict[str, Any]) -> None:
        """Check every object in a configuration, without recursion."""
        waiting: list[tuple[Any, _Place]] = [(config, _Place("the model"))]
        while waiting:
            value, place = waiting.pop()
            if isinstance(value, list):
                waiting.extend((item, place) for item in reversed(value) if isinstance(item, dict | list))
                continue
            if "class_name" in value:
                inside = self._object(value, place)
                if inside is None:
                    continue
                place = inside
            for key, item in value.items():
                self._setting(key, item, place)
            waiting.extend(
                (item, place)
                for key, item in reversed(value.items())
                if isinstance(item, dict | list) and not (self.keras_2 and key == "dtype")
            )

    def _setting(self, key: str, item: Any, place: _Place) -> None:
        if self.keras_2 or place.is_missing:
            return
        if isinstance(item, str):
            self._text(key, item, place)
        elif isinstance(item, dict | list):
            _check_shape(key, item, place)
            _check_calls(key, item, place)

    def _object(self, value: dict[str, Any], outer: _Place) -> _Place | None:
        """Check one object; the place of its own parts, or None if these are not looked at."""
        name = value["class_name"]
        settings = value.get("config")
        place = replace(outer, layer=_name_of(value, settings) or outer.layer)
        if not isinstance(name, str):
            raise UnsafeFileError(
                f"In {place.layer!r} the name of the class is a {type(name).__name__}. Expected text. {_SAVE_AGAIN}"
            )
        if name in _ARRAYS:
            _check_dtype(settings, place)
        if name in _TENSORFLOW:
            raise UnsafeFileError(
                f"{place.layer!r} defines a TensorFlow type of its own ({name}), which would be built by name. "
                f"Expected plain tensors. {_SAVE_AGAIN}"
            )
        if name in _PLAIN or name in _ARRAYS:
            return place
        if name == "__lambda__":
            return self._code(name, settings, place)
        if name == "function":
            self._function(value, place)
            return place
        return self._class(value, name, settings, place)

    def _class(self, value: dict[str, Any], name: str, settings: object, place: _Place) -> _Place | None:
        custom = self._custom_object(value.get("registered_name", name) if "module" in value else name)
        if custom is not None:
            package = str(getattr(custom, "__module__", "")).split(".")[0]
            return replace(place, is_custom=package not in PACKAGES, is_missing=False)
        if name in RUNS_CODE:
            return self._code(name, settings, place)
        if self.keras_2 and not is_from_elsewhere(value):
            return self._class_of_keras_2(value, name, settings, place)
        module = value.get("module")
        is_text = module is None or isinstance(module, str)
        if is_text and named_class(module, name) is not None:
            return replace(place, is_custom=False, is_missing=False)
        return self._unknown("class", module, name, str(value.get("registered_name") or name), place)

    def _class_of_keras_2(self, value: dict[str, Any], name: str, settings: object, place: _Place) -> _Place | None:
        """A class by a name that Keras has or had, or one of the user's that was not passed."""
        former = former_layer(name, settings)
        if former is not None:
            self.missing.append(_former(name, *former, place))
            return None
        if name in OPERATIONS:
            self._operation(settings, place)
            return place
        stored_settings = settings if isinstance(settings, Mapping) else {}
        known = module_and_class(RENAMED_CLASSES.get(name, name), stored_settings, keras2=self.by_keras2)
        if known is None and named_in_keras_2(value.get("module"), name) is None:
            return self._unknown("class", value.get("module"), name, str(value.get("registered_name") or name), place)
        is_layer = known is not None and known[0] == "keras.layers"
        why = unfitting(value, keras2=self.by_keras2) if is_layer else None
        if why is not None:
            self.missing.append(_unfitting(name, why, place))
        return replace(place, is_custom=False, is_missing=False)

    def _operation(self, settings: object, place: _Place) -> None:
        """A function of TensorFlow's that Keras 2 stored as a layer."""
        function = str(settings.get("function")) if isinstance(settings, dict) else ""
        if function.removeprefix("compat.v1.") not in FUNCTIONS:
            self.missing.append(_operation(function.removeprefix("compat.v1."), place))

    def _function(self, value: dict[str, Any], place: _Place) -> None:
        """Keras looks a function up by ``config`` or by ``registered_name``: both must be allowed."""
        module = value.get("module")
        for name in (value.get("config"), value.get("registered_name")):
            if name is None or name == "function" or self._custom_object(name) is not None:
                continue
            is_text = isinstance(name, str) and (module is None or isinstance(module, str))
            if not (is_text and named_function(module, name)):
                self._unknown("function", module, str(name), str(name), place)
                return

    def _custom_object(self, name: object) -> object:
        """The object that the user passed or registered under this name, which Keras prefers to any of its own."""
        return keras.saving.get_registered_object(name, self.custom_objects) if isinstance(name, str) else None

    def _code(self, name: str, settings: object, place: _Place) -> _Place | None:
        is_lambda = name in ("Lambda", "__lambda__")
        if self.trust and is_lambda:
            return place
        self.missing.append(
            Missing(
                place.layer,
                f"is a {name.strip('_')} and would run {code_in_words(name, settings)}",
                "Expected layers whose code is installed, not contained in the file. "
                + ("If you trust whoever made it: load_model(path, trust=True); or put" if is_lambda else "Put")
                + f" a layer of your own in its place: load_model(path, replacements={{{place.layer!r}: layer}}).",
                replacement="layer",
                runs_code=is_lambda,
            )
        )
        return None

    def _unknown(self, what: str, module: object, name: str, registered: str, place: _Place) -> _Place:
        is_custom = not (isinstance(module, str) and module.split(".")[0] in PACKAGES | {"builtins"})
        unknown = replace(place, is_custom=True, is_missing=not self.trust)
        if self.trust and is_custom:
            return unknown
        full = f"{module}.{name}" if module else name
        if not is_custom:
            raise UnsafeFileError(
                f"{place.layer!r} names the {what} {full!r}, which no model needs or which does not exist. "
                f"Expected a layer, function or setting that Keras has for building models. {_SAVE_AGAIN}"
            )
        self.missing.append(
            Missing(
                place.layer,
                f"needs the {what} {full!r}, which is neither Keras' own nor one that you passed",
                f"Expected one that is known here. Pass it: load_model(path, custom_objects={{{registered!r}: {name}}}"
                "); or register it before loading, with keras.saving.register_keras_serializable.",
                custom_object=(registered, name),
            )
        )
        return unknown

    def _text(self, key: str, text: str, place: _Place) -> None:
        """Reject text that is a place to read from, other than in a trusted class of the user's own."""
        if place.is_custom and self.trust:
            return
        if (key in _READ_FROM and text) or (key not in _WORDS and len(text) > 1 and _PATH.match(text)):
            raise UnsafeFileError(
                f"{place.layer!r} has {key}={text[:80]!r}, a place outside the file to read from. "
                f"Expected the file to contain what it needs. {_SAVE_AGAIN}"
            )


def _former(name: str, what: str, in_its_place: str | None, place: _Place) -> Missing:
    if in_its_place == "":
        return Missing(place.layer, f"is a {name}, {what}", BUILD_IN_PYTHON, UnsupportedError)
    if in_its_place is not None:
        return Missing(
            place.layer,
            f"is a {name}, {what}",
            "Put a layer that does the same in its place: "
            f"load_model(path, replacements={{{place.layer!r}: {in_its_place}}}).",
            UnsupportedError,
            replacement=in_its_place,
        )
    return Missing(
        place.layer,
        f"is a {name}, {what}",
        "Pass a class that does the same, or your own if it only has that name: "
        f"load_model(path, custom_objects={{{name!r}: {name}}}).",
        UnsupportedError,
        custom_object=(name, name),
    )


def _operation(function: str, place: _Place) -> Missing:
    return Missing(
        place.layer,
        f"runs tf.{function}, which cannot be translated to Keras 3",
        f"Pass a layer or function that does the same: load_model(path, replacements={{{place.layer!r}: function}}).",
        UnsupportedError,
        replacement="function",
    )


def _unfitting(name: str, why: str, place: _Place) -> Missing:
    return Missing(
        place.layer,
        f"is stored as a layer of class {name!r} {why}",
        f"If it is of another class of that name, pass that class: load_model(path, custom_objects={{{name!r}: {name}}}"
        f"). If not: {BUILD_IN_PYTHON}",
        ModelFileError,
        custom_object=(name, name),
    )


def _name_of(value: dict[str, Any], settings: object) -> str | None:
    for holder in (value, settings):
        if isinstance(holder, dict) and isinstance(holder.get("name"), str):
            return str(holder["name"])
    return None


def _check_dtype(settings: object, place: _Place) -> None:
    """NumPy would make room for whatever a dtype says, such as text of a billion letters."""
    dtype = settings.get("dtype") if isinstance(settings, dict) else None
    if dtype is not None and not (isinstance(dtype, str) and _DTYPE.fullmatch(dtype)):
        raise UnsafeFileError(
            f"In {place.layer!r} an array has the dtype {str(dtype)[:60]!r}. Expected a plain dtype such as "
            f"'float32'. {_SAVE_AGAIN}"
        )


def _check_shape(key: str, item: object, place: _Place) -> None:
    if not key.endswith("shape") or not isinstance(item, list):
        return
    size = 1
    for number in item:
        size *= max(abs(number), 1) if isinstance(number, int) else 1
        if size > _MAX_SIZE:
            raise UnsafeFileError(
                f"{place.layer!r} has {key}={str(item)[:80]}, which is {size:,} numbers or more. "
                f"Expected at most {_MAX_SIZE:,}. {_SAVE_AGAIN}"
            )


def _check_calls(key: str, nodes: Any, place: _Place) -> None:
    """A call of a layer in a graph takes a tensor of the graph; one that takes only constants would run at once."""
    if key != "inbound_nodes":
        return
    for node in nodes:
        if not (_has_tensor(node) if isinstance(node, dict) else node):
            raise UnsafeFileError(
                f"A call of {place.layer!r} takes no tensor of the model, so it would run on loading. "
                f"Expected calls that take tensors of the model. {_SAVE_AGAIN}"
            )


def _has_tensor(node: object) -> bool:
    waiting = [node]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return True
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return False
