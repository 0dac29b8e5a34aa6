"""A model from a file: read as data, rewritten, checked, and only then made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

import attnscope.layers  # noqa: F401, so that what a file names of ours is known
from attnscope.errors import AttnscopeError, InputError, ModelFileError, UnsupportedError
from attnscope.loading import _weights, keras2
from attnscope.loading._known_vulnerabilities import warn_of_known_vulnerabilities
from attnscope.loading.allowed import check_config
from attnscope.loading.container import CONFIG, StoredModel, check_kind, opened
from attnscope.loading.limits import limited_steps


def load_model(
    path: str | Path,
    model: Any = None,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    replacements: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Any:
    """A Keras model from a file, old or new, without running code that is in the file.

    Opens ``.keras`` files and whole models in ``.h5`` and ``.hdf5``, by Keras 2 and 3, and puts weights alone into a
    model that you built. The file's configuration is read as data, brought to the form of the Keras that is installed,
    checked, and then deserialised in Keras' safe mode. The model comes back uncompiled: what `fit` needs of optimizer
    and loss is left out; call ``model.compile(...)`` to train on.

    Args:
        path: The file.
        model: A built model that takes the weights. It is returned, and keeps its own if those of the file do not fit.
            Needed where the file holds weights alone; the options below are about the file's own model, and unused.
        custom_objects: Classes and functions of your own, by the names in the file.
        replacements: Layers, or functions of the layer's input, to put in place of stored layers, by their names: the
            way to load a Python ``Lambda`` without running it. See `attnscope.loading.replacements`.
        trust: Whether Python code in the file may run. Only for files that you would run as a program.

    Returns:
        The model, uncompiled.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ModelFileError: The file is no model, is damaged, or Keras cannot make a model of it.
        UnsafeFileError: The file asks for more than to be read as data.
        UnsupportedError: It holds what Keras 3 has no equal of, or is of another kind.
        WeightsMismatchError: The weights are not the model's.
        InputError: Weights alone and no `model`, or `replacements` for layers that are not there.

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
        if stored.kind == "savedmodel":
            raise UnsupportedError(_SAVED_MODEL.format(path=str(path)))
        if model is None and stored.config is None:
            raise InputError(
                f"{path.name} holds weights and no model. Build the model in Python as it was when they were saved, "
                f"and give it: attnscope.load_model({str(path)!r}, model)."
            )
        if model is None:
            return _whole(stored, dict(custom_objects or {}), dict(replacements or {}), trust)
        with _weights.kept_on_failure(model):
            _weights.put(_weights_of(stored), model, source=path.name, keras2_config=_keras2_config(stored))
        return model


_SAVED_MODEL = (
    "{path!r} is a SavedModel: compiled TensorFlow graphs. Their layers, and so their attention, cannot be seen. Load "
    "it with the Keras and the code that made it and save it anew, model.save('model.keras'), or build the model and "
    "take its weights from an .h5 file: attnscope.load_model('weights.h5', model)."
)


def _weights_of(stored: StoredModel) -> Path:
    if stored.weights is None:
        raise ModelFileError(
            f"{stored.path.name} holds no weights, but those of a model are needed: model.save('model.keras')."
        )
    return stored.weights


def _keras2_config(stored: StoredModel) -> Mapping[str, Any] | None:
    """The configuration by which a ``.keras`` file of Keras 2 numbers its layers."""
    return stored.config if stored.kind == "keras" and _is_keras2(stored) else None


def _is_keras2(stored: StoredModel) -> bool:
    return (stored.keras_version or "2").split(".")[0] in ("1", "2")


def _whole(stored: StoredModel, custom_objects: dict[str, Any], replacements: dict[str, Any], trust: bool) -> Any:
    config, given = _made(stored, lambda: _with_replacements(stored.config, replacements, stored))
    old = keras2.is_old(config, stored.keras_version)
    if old:
        config = _made(stored, lambda: keras2.rewritten(config, stored.keras_version))
    config = {**config, "compile_config": None}
    custom_objects = {**custom_objects, **given}
    final = replace(stored, config=config, training=None)
    _made(stored, lambda: check_config(final, custom_objects=custom_objects, trust=trust))
    if not old:
        return _checked(stored, _by_keras(stored, config, custom_objects, trust))
    made = _made(
        stored,
        lambda: keras.saving.deserialize_keras_object(config, custom_objects=custom_objects, safe_mode=not trust),
    )
    _checked(stored, made)
    _check_vocabularies(config, stored)
    _weights.put(_weights_of(stored), made, source=stored.path.name, keras2_config=_keras2_config(stored))
    return made


def _by_keras(stored: StoredModel, config: Mapping[str, Any], custom_objects: dict[str, Any], trust: bool) -> Any:
    """Keras' own loader, on the private copy and with the configuration that was checked."""
    folder = stored.folder
    if folder is None:
        raise ModelFileError(f"{stored.path.name} could not be unpacked.")
    (folder / CONFIG).write_text(json.dumps(config))
    return _made(
        stored,
        lambda: keras.saving.load_model(folder, custom_objects=custom_objects, compile=False, safe_mode=not trust),
    )


def _checked(stored: StoredModel, made: Any) -> Any:
    if not isinstance(made, keras.Model):
        raise ModelFileError(
            f"{stored.path.name} holds an object of class {type(made).__name__}, but a model is needed. Save the model "
            "that it belongs to: model.save('model.keras')."
        )
    return made


def _check_vocabularies(config: Any, stored: StoredModel) -> None:
    """A vocabulary that was learned from data lies beside the weights, and in these formats not at all."""
    for class_name in ("TextVectorization", "StringLookup", "IntegerLookup"):
        for name in _names(config, class_name, lambda inner: inner.get("vocabulary") is None):
            raise UnsupportedError(
                f"{class_name} {name!r} learned its vocabulary from data, and {stored.path.name} does not hold it. "
                "Save the model where it is whole, with Keras 3: model.save('model.keras')."
            )


def _made(stored: StoredModel, make: Callable[[], Any]) -> Any:
    """What `make` gives; what Keras says on failing becomes an error with the way out."""
    try:
        return make()
    except AttnscopeError:
        raise
    except Exception as error:
        said = _COLOUR.sub("", " ".join(str(error).split("Exception encountered: ")[-1].split()))
        writer = stored.keras_version or "(version unknown)"
        raise ModelFileError(
            f"Keras {keras.version()} cannot make a model of {stored.path.name}, which Keras {writer} saved. "
            f"{type(error).__name__}: {said[:600]} {_way_out(stored)}"
        ) from error


_COLOUR = re.compile(r"\x1b\[\d*m")


def _way_out(stored: StoredModel) -> str:
    lambdas = _names(stored.config, "Lambda")
    if lambdas:
        return (
            f"Its Lambda layers {', '.join(map(repr, lambdas))} hold Python bytecode, which needs the Python and the "
            f"names that were there when it was written. Put a layer in their place: replacements={{{lambdas[0]!r}: "
            "attnscope.loading.replacements.sum_over(axis=1)}, or what they did."
        )
    return (
        "Build the model in Python as it was, and take the weights alone: "
        f"attnscope.load_model({str(stored.path)!r}, model)."
    )


# Replacements ---------------------------------------------------------------------------------------------------------


def _with_replacements(config: Any, replacements: dict[str, Any], stored: StoredModel) -> tuple[Any, dict[str, Any]]:
    """The configuration with other layers, and what makes them, by the names that stand for them in it."""
    given = {f"attnscope.replacement>{name}": _maker(name, layer) for name, layer in replacements.items()}
    used: set[str] = set()

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        inner = value.get("config")
        name = inner.get("name") if isinstance(inner, Mapping) and "class_name" in value else None
        if not isinstance(name, str) or name not in replacements:
            return {key: walk(item) for key, item in value.items()}
        used.add(name)
        place = {key: item for key, item in value.items() if key == "name"}
        if "inbound_nodes" in value:
            place["inbound_nodes"] = [_without_mask(node) for node in value["inbound_nodes"]]
        registered = f"attnscope.replacement>{name}"
        return {
            "module": None,
            "class_name": registered,
            "registered_name": registered,
            "config": {"name": name},
            **place,
        }

    config = walk(config)
    if set(replacements) - used:
        raise InputError(
            f"Replacements are given for {', '.join(sorted(map(repr, set(replacements) - used)))}, but "
            f"{stored.path.name} has only the layers {', '.join(map(repr, _names(stored.config)))}."
        )
    return config, given


def _without_mask(node: Any) -> Any:
    """A call without the mask that was handed to the stored layer; Keras hands it to one that takes it anew."""
    if not isinstance(node, Mapping) or "kwargs" not in node:
        return node
    return {**node, "kwargs": {name: value for name, value in node["kwargs"].items() if name != "mask"}}


def _maker(name: str, given: Any) -> type:
    """A class that Keras asks for the layer that stands in."""
    if not isinstance(given, keras.layers.Layer) and not callable(given):
        raise InputError(
            f"The replacement of {name!r} is a {type(given).__name__}, but a Keras layer or a function is needed: "
            f"replacements={{{name!r}: attnscope.loading.replacements.sum_over(axis=1)}}."
        )

    class Replacement:
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            if isinstance(given, keras.layers.Layer):
                return type(given).from_config({**given.get_config(), "name": name.replace("/", "_")})
            layer = keras.layers.Lambda(given, name=name.replace("/", "_"))
            layer.supports_masking = True
            return layer

    return Replacement


def _names(config: Any, class_name: str | None = None, where: Callable[[Any], bool] = lambda inner: True) -> list[str]:
    """The names of the layers in a configuration, or of those of one class, where their own part says so."""
    if isinstance(config, list):
        return [name for item in config for name in _names(item, class_name, where)]
    if not isinstance(config, Mapping):
        return []
    inner = config.get("config")
    name = inner.get("name") if isinstance(inner, Mapping) else None
    known = str(config.get("class_name", "Policy"))
    is_meant = not known.endswith("Policy") and class_name in (None, known)  # a dtype policy has a name, too
    own = [name] if isinstance(name, str) and is_meant and where(inner) else []
    return own + [name for item in config.values() for name in _names(item, class_name, where)]
