"""A model from a file: read as data, rewritten, checked, and only then built."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import keras

import attnscope.layers  # noqa: F401, so that the layers of ours that a file names are known
from attnscope.errors import AttnscopeError, InputError, ModelFileError, UnsupportedError, kind_of
from attnscope.loading._custom_objects import (
    by_every_name,
    has_other_names,
    passed_for_keras_own,
    with_custom_objects,
)
from attnscope.loading._failing_layer import FailingLayer, layer_that_cannot_be_made, layer_that_is_mentioned
from attnscope.loading._known_vulnerabilities import warn_of_known_vulnerabilities
from attnscope.loading._loss import loss_of
from attnscope.loading._replaced_layers import LayerOrFunction, layer_names, with_replacements
from attnscope.loading._weights import assign_weights, restored_on_failure
from attnscope.loading.allowed import check_config
from attnscope.loading.container import CONFIG, StoredModel, check_kind, opened
from attnscope.loading.keras2 import TensorOperation, check_not_keras1, is_old, rewritten
from attnscope.loading.limits import failed_call, limited_steps
from attnscope.model_names import set_file

Built = TypeVar("Built")


def load_model(
    path: str | Path,
    model: keras.Model | None = None,
    *,
    custom_objects: Mapping[str, object] | None = None,
    replacements: Mapping[str, LayerOrFunction] | None = None,
    trust: bool = False,
) -> keras.Model:
    """A Keras model from a file, old or new, without running any code in the file.

    Opens ``.keras`` files, whole models in ``.h5`` and ``.hdf5`` files, by Keras 2 and 3, and loads weights alone into
    a model that you built. The file's configuration is read as data, brought into the form of the installed Keras,
    checked, and then deserialised in Keras' safe mode. The model comes back uncompiled, without optimizer: call
    ``model.compile(...)`` to continue training. Its ``loss`` says what it was fitted with, if that is Keras' own.

    Args:
        path: The file.
        model: A built model to load the weights into. It is returned, and keeps its own weights if those in the file
            do not fit. Needed if the file contains weights alone. The options below concern the file's own model, and
            are not used with it.
        custom_objects: Classes and functions of your own, by their names in the file. They are used also where Keras
            has a class of that name, unless the file tells the two apart: then each is what the file says.
        replacements: Layers, or functions of the layer's input, to use in place of stored layers, by the layers'
            names: the way to load a Python ``Lambda`` without running it. See `attnscope.loading.replacements`.
        trust: Whether Python code in the file may run. Only for files that you would run as a program.

    Returns:
        The model, uncompiled.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ModelFileError: The file is not a model, is damaged, or Keras cannot build a model from it.
        UnsafeFileError: The file asks for more than to be read as data.
        UnsupportedError: It is of another kind, or contains what has no equivalent in Keras 3.
        WeightsMismatchError: The weights do not fit the model.
        InputError: An argument is of the wrong kind; the file contains weights alone and there is no `model`; or there
            are `replacements` for layers that do not exist.

    Example:
        >>> import keras, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.keras"
        >>> keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
        >>> load_model(path).output_shape
        (None, 2)
    """
    _check_arguments(path, custom_objects, replacements)
    warn_of_known_vulnerabilities()
    path = Path(path)
    check_kind(path)
    with opened(path) as stored, limited_steps():
        if model is not None:
            with restored_on_failure(model):
                _assign_weights(stored, model)
            return model
        if stored.config is None:
            raise InputError(
                f"{path.name} contains weights but no model. Build the model in Python as it was when they were saved, "
                f"and pass it: attnscope.load_model({str(path)!r}, model)."
            )
        whole = _whole_model(stored, stored.config, dict(custom_objects or {}), dict(replacements or {}), trust)
        set_file(whole, path.name)
        if getattr(whole, "loss", None) is None:
            loss = loss_of(stored.training or stored.config.get("compile_config"))
            object.__setattr__(whole, "loss", loss)  # Keras itself sets it untracked
        return whole


def _check_arguments(path: object, custom_objects: object, replacements: object) -> None:
    if not isinstance(path, (str, os.PathLike)):
        order = " The path comes first: load_model(path, model)." if isinstance(path, keras.Layer) else ""
        raise InputError(f"The path is {kind_of(path)}, but the path of a .keras or .h5 file is needed.{order}")
    for name, given, example in (
        ("custom_objects", custom_objects, "'Scaled': Scaled"),
        ("replacements", replacements, "'lambda': layer"),
    ):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(
                f"{name} is {kind_of(given)}, but a dict from names to what they stand for is needed: "
                f"{name}={{{example}}}."
            )


def _whole_model(
    stored: StoredModel,
    config: Mapping[str, Any],
    custom_objects: dict[str, object],
    replacements: dict[str, LayerOrFunction],
    trust: bool,
) -> keras.Model:
    needs_rewriting = is_old(config, stored.keras_version)
    named, stand_ins = _built(
        stored,
        lambda: with_replacements(with_custom_objects(config, custom_objects), replacements, stored.path.name),
    )
    remaining = {**named, "compile_config": None}
    custom_objects = by_every_name(custom_objects)
    other_names = stored.assets is None and _has_other_names(remaining, custom_objects, replacements)
    custom_objects |= stand_ins
    as_keras_gets_it = remaining
    if needs_rewriting:
        _built(stored, lambda: check_not_keras1(remaining, stored.keras_version, stored.path.name))
        _built(stored, lambda: _check(stored, remaining, custom_objects, trust, keras_2=True))
        as_keras_gets_it = _built(stored, lambda: rewritten(remaining, stored.keras_version))
    _built(stored, lambda: _check(stored, as_keras_gets_it, custom_objects, trust))
    if not needs_rewriting and not other_names:
        return _checked_model(stored, _loaded_by_keras(stored, as_keras_gets_it, custom_objects, trust))
    model = _checked_model(
        stored,
        _built(
            stored,
            lambda: _deserialised(as_keras_gets_it, custom_objects, trust),
            lambda error: _way_out(stored, _failing(error, as_keras_gets_it, custom_objects, trust), as_keras_gets_it),
        ),
    )
    _check_vocabularies(as_keras_gets_it, stored)
    _assign_weights(stored, model, by_stored_names=other_names)
    return model


def _has_other_names(
    config: Mapping[str, Any], custom_objects: Mapping[str, object], replacements: Mapping[str, LayerOrFunction]
) -> bool:
    """Whether classes are used that have other names than those stored, by which Keras 3 would find their weights."""
    layers = [layer for layer in replacements.values() if isinstance(layer, keras.Layer)]
    return not all(isinstance(layer, TensorOperation) for layer in layers) or has_other_names(config, custom_objects)


def _check(
    stored: StoredModel,
    config: dict[str, Any],
    custom_objects: dict[str, object],
    trust: bool,
    *,
    keras_2: bool = False,
) -> None:
    to_be_checked = replace(stored, config=config, training=None)
    check_config(to_be_checked, custom_objects=custom_objects, trust=trust, keras_2=keras_2)


def _assign_weights(stored: StoredModel, model: keras.Model, *, by_stored_names: bool = False) -> None:
    # A .keras file by Keras 2 numbers its layers by its configuration.
    by_keras2 = (stored.keras_version or "2").split(".")[0] in ("1", "2")
    by_config = stored.kind == "keras" and (by_keras2 or by_stored_names)
    assign_weights(stored.weights, model, source=stored.path.name, stored_config=stored.config if by_config else None)


def _deserialised(config: Mapping[str, Any], custom_objects: dict[str, object], trust: bool) -> object:
    # Keras takes a configuration apart, which is needed whole for errors.
    return keras.saving.deserialize_keras_object(deepcopy(config), custom_objects, safe_mode=not trust)


def _loaded_by_keras(
    stored: StoredModel, config: Mapping[str, Any], custom_objects: dict[str, object], trust: bool
) -> object:
    """What Keras' own loader makes of the private copy, with the configuration that was checked."""
    folder = stored.folder
    if folder is None:
        raise ModelFileError(
            f"{stored.path.name} is an HDF5 file, but its configuration is one of a .keras file. Save the model again: "
            "model.save('model.keras')."
        )
    (folder / CONFIG).write_text(json.dumps(config))
    return _built(
        stored,
        lambda: keras.saving.load_model(folder, custom_objects=custom_objects, compile=False, safe_mode=not trust),
        lambda error: _way_out(stored, _failing(error, config, custom_objects, trust), config),
    )


def _checked_model(stored: StoredModel, built: object) -> keras.Model:
    if not isinstance(built, keras.Model):
        raise ModelFileError(
            f"{stored.path.name} contains an object of class {type(built).__name__}, but a model is needed. Save the "
            "model that it belongs to: model.save('model.keras')."
        )
    return built


def _check_vocabularies(config: Mapping[str, Any], stored: StoredModel) -> None:
    """A vocabulary that was learned from data is kept beside the weights, and in these formats not at all."""
    for class_name in ("TextVectorization", "StringLookup", "IntegerLookup"):
        for name in layer_names(config, class_name, lambda settings: settings.get("vocabulary") is None):
            raise UnsupportedError(
                f"{class_name} {name!r} learned its vocabulary from data, and {stored.path.name} does not contain it. "
                "Save the model again where it is complete, with Keras 3: model.save('model.keras')."
            )


# Errors ---------------------------------------------------------------------------------------------------------------


def _built(
    stored: StoredModel,
    build: Callable[[], Built],
    way_out: Callable[[Exception], str] | None = None,
) -> Built:
    """What `build` returns; whatever Keras raises becomes an error that says what to do.

    Args:
        stored: The file.
        build: What may fail.
        way_out: What to do about an error; by default to build the model in Python.
    """
    try:
        return build()
    except AttnscopeError:
        raise
    except Exception as error:
        fix = way_out(error) if way_out else _built_in_python(stored)
        reason = _COLOUR.sub("", " ".join(str(error).split("Exception encountered: ")[-1].split()))
        version = stored.keras_version or "(version unknown)"
        raise ModelFileError(
            f"Keras {keras.version()} cannot build a model from {stored.path.name}, which Keras {version} saved. "
            f"{type(error).__name__}: {reason[:600]} {fix}"
        ) from error


_COLOUR = re.compile(r"\x1b\[\d*m")


def _failing(
    error: Exception, config: Mapping[str, Any], custom_objects: dict[str, object], trust: bool
) -> FailingLayer | None:
    called = failed_call()
    if called is not None and not isinstance(called, keras.Model):
        return FailingLayer(called.name, type(called).__name__, type(called).__module__.split(".")[0] == "keras")
    made_alone = layer_that_cannot_be_made(config, custom_objects, safe_mode=not trust)
    return made_alone or layer_that_is_mentioned(config, str(error))


def _way_out(stored: StoredModel, failing: FailingLayer | None, config: Mapping[str, Any]) -> str:
    lambdas = layer_names(config, "Lambda", _has_bytecode)
    if lambdas and (failing is None or failing.name in lambdas):
        return (
            f"The Python bytecode in its Lambda layers ({', '.join(map(repr, lambdas))}) needs the version of Python "
            f"and the names that it was written with. Replace each by a layer that does the same, such as "
            f"replacements={{{lambdas[0]!r}: attnscope.loading.replacements.sum_over(axis=1)}}."
        )
    keras2 = not (stored.keras_version or "2").startswith("3")
    passed = failing and passed_for_keras_own(stored.config or {}, config, failing.name, keras2=keras2)
    if failing is not None and passed == "said":
        return (
            f"It fails at {failing.name!r}, which the file says is of Keras' own class {failing.class_name!r}: leave "
            f"{failing.class_name!r} out of custom_objects to use that."
        )
    if failing is not None and passed == "fits":
        return (
            f"It fails at {failing.name!r}, of whose class the file stores only the name, with what Keras stores of "
            f"its own {failing.class_name!r}: if it is that, leave {failing.class_name!r} out of custom_objects, or, "
            f"if other layers are of yours, put Keras' in its place: replacements={{{failing.name!r}: "
            f"keras.layers.{failing.class_name}(...)}}."
        )
    if failing is None or not failing.is_keras_own or stored.kind != "h5":
        return _built_in_python(stored)
    return (
        f"It fails at {failing.name!r}, of whose class the file stores only the name, {failing.class_name!r}: if that "
        f"is not Keras' own class, pass yours: attnscope.load_model({str(stored.path)!r}, "
        f"custom_objects={{{failing.class_name!r}: {failing.class_name}}}). {_built_in_python(stored)}"
    )


def _has_bytecode(settings: Mapping[str, Any]) -> bool:
    function = settings.get("function")
    return isinstance(function, Mapping) and function.get("class_name") == "__lambda__"


def _built_in_python(stored: StoredModel) -> str:
    return (
        "Build the model in Python as it was, and load only the weights into it: "
        f"attnscope.load_model({str(stored.path)!r}, model)."
    )
