"""Whether everything that a configuration names only computes."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from attnscope.errors import UnsafeFileError
from attnscope.loading.allowed._code import LAMBDAS, named_functions
from attnscope.loading.allowed._missing import (
    Missing,
    code,
    former,
    function_of_lambda,
    operation,
    other_class,
    refuse,
    unknown,
)
from attnscope.loading.allowed._names import PACKAGES, RUNS_CODE, named_class, named_function, named_in_keras_2
from attnscope.loading.allowed._settings import SAVE_AGAIN, check_dtype, check_setting
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
        check_setting(key, item, place.layer, may_be_read_from=place.is_custom and self.trust)

    def _object(self, value: dict[str, Any], outer: _Place) -> _Place | None:
        """Check one object; the place of its own parts, or None if these are not looked at."""
        name = value["class_name"]
        settings = value.get("config")
        place = replace(outer, layer=_name_of(value, settings) or outer.layer)
        if not isinstance(name, str):
            raise UnsafeFileError(
                f"In {place.layer!r} the name of the class is a {type(name).__name__}. Expected text. {SAVE_AGAIN}"
            )
        if name in _ARRAYS:
            check_dtype(settings, place.layer)
        if name in _TENSORFLOW:
            raise UnsafeFileError(
                f"{place.layer!r} defines a TensorFlow type of its own ({name}), which would be built by name. "
                f"Expected plain tensors. {SAVE_AGAIN}"
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
        is_said = isinstance(module, str) or "module" not in value  # None is stored of classes from nowhere.
        if is_said and named_class(module, name) is not None:
            return replace(place, is_custom=False, is_missing=False)
        return self._unknown("class", module, name, str(value.get("registered_name") or name), place)

    def _class_of_keras_2(self, value: dict[str, Any], name: str, settings: object, place: _Place) -> _Place | None:
        """A class by a name that Keras has or had, or one of the user's that was not passed."""
        was = former_layer(name, settings)
        if was is not None:
            self.missing.append(former(place.layer, name, *was))
            return None
        if name in OPERATIONS:
            self._operation(settings, place)
            return place
        stored_settings = settings if isinstance(settings, Mapping) else {}
        known = module_and_class(RENAMED_CLASSES.get(name, name), stored_settings, keras2=self.by_keras2)
        if known is None and named_in_keras_2(value.get("module"), name) is None:
            return self._unknown("class", value.get("module"), name, str(value.get("registered_name") or name), place)
        self._activations(stored_settings, place)
        is_layer = known is not None and known[0] == "keras.layers"
        why = unfitting(value, keras2=self.by_keras2) if is_layer else None
        if why is not None:
            self.missing.append(other_class(place.layer, name, why))
        return replace(place, is_custom=False, is_missing=False)

    def _activations(self, settings: Mapping[str, Any], place: _Place) -> None:
        """Functions that a layer of Keras names by their names alone."""
        for key, name in settings.items():
            if key.endswith("activation") and isinstance(name, str):
                self._function({"module": "builtins", "config": name}, place)

    def _operation(self, settings: object, place: _Place) -> None:
        """A function of TensorFlow's that Keras 2 stored as a layer."""
        stored = str(settings.get("function")) if isinstance(settings, dict) else ""
        function = stored.removeprefix("compat.v1.")
        if function not in FUNCTIONS:
            self.missing.append(operation(place.layer, function))

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
        if self.trust and name in LAMBDAS:
            return place
        functions = named_functions(settings) if name == "Lambda" else []
        lacking = [function for function in functions if self._custom_object(function) is None]
        if functions and not lacking:
            return place
        self.missing.extend(function_of_lambda(place.layer, function) for function in lacking)
        if not functions:
            self.missing.append(code(place.layer, name, settings))
        return None

    def _unknown(self, what: str, module: object, name: str, registered: str, place: _Place) -> _Place:
        # Keras stores functions of the user's own as built in.
        has_module = isinstance(module, str) and (module != "builtins" or hasattr(builtins, name))
        is_custom = not (has_module and str(module).split(".")[0] in PACKAGES | {"builtins"})
        outside = replace(place, is_custom=True, is_missing=not self.trust)
        if self.trust and is_custom and has_module:
            return outside
        full = f"{module}.{name}" if has_module else name
        if not is_custom:
            raise UnsafeFileError(
                f"{place.layer!r} names the {what} {full!r}, which no model needs or which does not exist. "
                f"Expected a layer, function or setting that Keras has for building models. {SAVE_AGAIN}"
            )
        self.missing.append(unknown(place.layer, what, full, registered))
        return outside


def _name_of(value: dict[str, Any], settings: object) -> str | None:
    for holder in (value, settings):
        if isinstance(holder, dict) and isinstance(holder.get("name"), str):
            return str(holder["name"])
    return None
