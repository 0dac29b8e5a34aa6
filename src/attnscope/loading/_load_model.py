"""A model from a file: read as data, rewritten, checked, and only then built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import keras

import attnscope.layers  # noqa: F401, so that the layers of ours that a file names are known
from attnscope.errors import AttnscopeError, InputError, ModelFileError, UnsupportedError
from attnscope.loading._known_vulnerabilities import warn_of_known_vulnerabilities
from attnscope.loading._replaced_layers import LayerOrFunction, layer_names, with_replacements
from attnscope.loading._weights import assign_weights, restored_on_failure
from attnscope.loading.allowed import check_config
from attnscope.loading.container import CONFIG, StoredModel, check_kind, opened
from attnscope.loading.keras2 import is_old, rewritten
from attnscope.loading.limits import limited_steps

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
    checked, and then deserialised in Keras' safe mode. The model comes back uncompiled, without optimizer and loss;
    call ``model.compile(...)`` to continue training.

    Args:
        path: The file.
        model: A built model to load the weights into. It is returned, and keeps its own weights if those in the file
            do not fit. Needed if the file contains weights alone. The options below concern the file's own model, and
            are not used with it.
        custom_objects: Classes and functions of your own, by their names in the file.
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
        InputError: The file contains weights alone and there is no `model`, or there are `replacements` for layers
            that do not exist.

    Example:
        >>> import keras, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.keras"
        >>> keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
        >>> load_model(path).output_shape
        (None, 2)
    """
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
        return _whole_model(stored, stored.config, dict(custom_objects or {}), dict(replacements or {}), trust)


def _whole_model(
    stored: StoredModel,
    config: Mapping[str, Any],
    custom_objects: dict[str, object],
    replacements: dict[str, LayerOrFunction],
    trust: bool,
) -> keras.Model:
    config, stand_ins = _built(stored, lambda: with_replacements(config, replacements, stored.path.name))
    needs_rewriting = is_old(config, stored.keras_version)
    if needs_rewriting:
        config = _built(stored, lambda: rewritten(config, stored.keras_version))
    config = {**config, "compile_config": None}
    custom_objects = {**custom_objects, **stand_ins}
    as_keras_gets_it = replace(stored, config=config, training=None)
    _built(stored, lambda: check_config(as_keras_gets_it, custom_objects=custom_objects, trust=trust))
    if not needs_rewriting:
        return _checked_model(stored, _loaded_by_keras(stored, config, custom_objects, trust))
    model = _checked_model(
        stored,
        _built(
            stored,
            lambda: keras.saving.deserialize_keras_object(config, custom_objects=custom_objects, safe_mode=not trust),
        ),
    )
    _check_vocabularies(config, stored)
    _assign_weights(stored, model)
    return model


def _assign_weights(stored: StoredModel, model: keras.Model) -> None:
    # A .keras file by Keras 2 numbers its layers by its configuration.
    by_keras2 = stored.kind == "keras" and (stored.keras_version or "2").split(".")[0] in ("1", "2")
    assign_weights(stored.weights, model, source=stored.path.name, keras2_config=stored.config if by_keras2 else None)


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


def _built(stored: StoredModel, build: Callable[[], Built]) -> Built:
    """What `build` returns; whatever Keras raises becomes an error that says what to do."""
    try:
        return build()
    except AttnscopeError:
        raise
    except Exception as error:
        reason = _COLOUR.sub("", " ".join(str(error).split("Exception encountered: ")[-1].split()))
        version = stored.keras_version or "(version unknown)"
        raise ModelFileError(
            f"Keras {keras.version()} cannot build a model from {stored.path.name}, which Keras {version} saved. "
            f"{type(error).__name__}: {reason[:600]} {_way_out(stored)}"
        ) from error


_COLOUR = re.compile(r"\x1b\[\d*m")


def _way_out(stored: StoredModel) -> str:
    lambdas = layer_names(stored.config, "Lambda")
    if lambdas:
        return (
            f"The Python bytecode in its Lambda layers ({', '.join(map(repr, lambdas))}) needs the version of Python "
            f"and the names that it was written with. Replace each by a layer that does the same, such as "
            f"replacements={{{lambdas[0]!r}: attnscope.loading.replacements.sum_over(axis=1)}}."
        )
    return (
        "Build the model in Python as it was, and load only the weights into it: "
        f"attnscope.load_model({str(stored.path)!r}, model)."
    )
