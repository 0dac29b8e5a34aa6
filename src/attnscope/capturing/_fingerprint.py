"""What a run into a store is a run of, so that only the same run is resumed.

It covers the layers with their settings and how they are connected, what a user's own classes compute, the weights, the
sites with their sizes, and the options. It does not cover functions that a user's class calls, nor what they read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from attnscope.capturing._destinations import Description
from attnscope.errors import InputError
from attnscope.interception import TRAINING_STATE, layers_of
from attnscope.running import viewed
from attnscope.schema import SAMPLE, Site

_FRAMEWORKS = ("keras", "builtins", "abc", "torch", "tensorflow", "jax", "typing", "keras_hub")
_IRRELEVANT = ("name", "trainable", "build_config", "compile_config", "shared_object_id")
_ENDINGS = ("_initializer", "_regularizer", "_constraint")
"""Settings that inference does not use."""
_PLAIN = (bool, int, float, str, bytes, type(None))
_DEEPEST = 64
_LISTS = ("sites", "variables", "summaries")
"""Entries that are lists already, as text."""
_FIX = "Give the model and the options that it was started with, or another path."


def fingerprint(description: Description, codes: str) -> dict[str, str]:
    """What a run is a run of, by what each entry is about.

    Args:
        description: What is known of the run beforehand.
        codes: How its scores are stored.
    """
    variables = sorted(name for summary in description.summaries for name in summary.missing)
    return {
        **description.attrs,
        "sites": repr(sorted(site.name for site in description.sites)),
        "variables": repr(variables),
        "summaries": repr([_settings(summary) for summary in description.summaries]),
        "codes": codes,
        **{f"site {site.name!r}": _sizes(site) for site in description.sites},
        "layers": json.dumps(_layers(description.model)),
        "weights": _weights(description.model),
        "labels": _digest(
            [{**vars(item), "names": None if item.per_sample else item.names} for item in description.labels]
        ),
    }


def check_fingerprint(path: str, held: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Checks that a store holds the run that is to be resumed.

    Raises:
        InputError: It holds another; the message says in what it differs.
    """
    for name in [*wanted, *held]:
        if held.get(name) == wanted.get(name):
            continue
        if name == "layers":
            difference = _in_layers(held, wanted)
            if not difference:
                continue
            raise InputError(f"{path!r} holds a run of another model: {difference}. {_FIX}")
        if name in ("weights", "labels"):
            raise InputError(
                f"{path!r} holds a run with other {name}. Give those that the run was started with, or another path."
            )
        was, now = (each[name] if name in _LISTS else repr(each.get(name)) for each in (held, wanted))
        raise InputError(f"{path!r} holds a different run, with {name} {was} instead of {now}. {_FIX}")


def _in_layers(held: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """In what two models differ; nothing if only in names, which Keras counts up in each process."""
    before, now = (json.loads(each.get("layers", "[]")) for each in (held, wanted))
    if len(before) != len(now):
        return f"it had {len(before)} layers, and this one has {len(now)}"
    differ = [name for (_, was), (name, digest) in zip(before, now, strict=True) if was != digest]
    inside = [name for name in differ if name != now[0][0]]
    if inside:
        return f"the layer {inside[0]!r} has other settings, or computes something else"
    return "its layers are connected otherwise, or called with other arguments" if differ else ""


def _settings(summary: object) -> str:
    values = ", ".join(f"{name}={_plain(value)!r}" for name, value in sorted(vars(summary).items()))
    return f"{type(summary).__name__}({values})"


def _sizes(site: Site) -> str:
    sizes = ", ".join(f"{dim} {size}" for dim, size in zip(site.dims, site.shape, strict=True) if dim != SAMPLE)
    return f"{sizes}; {site.kind}, {site.dtype}"


def _weights(model: keras.Layer) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.weights:
        values = viewed(weight.value)
        digest.update(repr((values.shape, str(values.dtype))).encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _layers(model: keras.Layer) -> list[tuple[str, str]]:
    """Name and digest of the model, which says how its layers are connected, and of each layer in it."""
    return [(layer.name, _digest(_described(layer))) for layer in layers_of(model)]


def _described(layer: keras.Layer) -> list[Any]:
    try:
        config = _without_names(layer.get_config())
    except Exception:  # whatever a user's own method raises; its attributes and its code say what it is
        config = None
    return [
        [base.__qualname__ for base in type(layer).__mro__ if base is not object],
        config,
        _own_attributes(layer),
        [_code(function) for function in _own_functions(type(layer))],
        str(getattr(layer, "dtype_policy", "")),
    ]


def _own_attributes(layer: keras.Layer) -> dict[str, Any]:
    """Attributes of a layer that Keras' own classes know nothing of: those of a user's class, or put on it."""
    known = set(TRAINING_STATE)
    for base in type(layer).__mro__:
        if base.__module__.startswith(_FRAMEWORKS):
            for function in vars(base).values():
                known.update(getattr(getattr(function, "__code__", None), "co_names", ()))
    return {
        name: _plain(value)
        for name, value in sorted(vars(layer).items())
        if name not in known and not isinstance(value, keras.Operation)
    }


def _own_functions(kind: type) -> Iterable[FunctionType]:
    for base in kind.__mro__:
        if not base.__module__.startswith(_FRAMEWORKS):
            yield from (value for _, value in sorted(vars(base).items()) if isinstance(value, FunctionType))


def _without_names(config: Any) -> Any:
    """A configuration in which layers are numbered, since Keras counts its own names up in each process."""
    numbers: dict[str, str] = {}
    _collect_names(config, numbers)
    return _plain(config, numbers)


def _collect_names(value: Any, numbers: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        inner = value.get("config")
        if isinstance(inner, Mapping) and isinstance(inner.get("name"), str):
            numbers.setdefault(inner["name"], f"#{len(numbers)}")
        for item in value.values():
            _collect_names(item, numbers)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect_names(item, numbers)


def _plain(value: Any, numbers: Mapping[str, str] | None = None, depth: int = 0) -> Any:
    """A value as something of which the representation is the same in every process."""
    numbers = numbers or {}
    if isinstance(value, str):
        return numbers.get(value, str(value))
    if isinstance(value, _PLAIN):
        return value
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        kept = {
            str(name): _plain(item, numbers, depth + 1)
            for name, item in value.items()
            if not (str(name) in _IRRELEVANT or str(name).endswith(_ENDINGS))
        }
        return dict(sorted(kept.items()))
    if isinstance(value, (list, tuple)):
        return [_plain(item, numbers, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_plain(item, numbers, depth + 1)) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), value.shape, hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()]
    if isinstance(value, (FunctionType, MethodType)):
        return _code(value)
    return type(value).__qualname__


def _code(function: Any) -> list[Any]:
    """What a function does, and what it closes over."""
    function = getattr(function, "__func__", function)
    if function.__module__ and function.__module__.startswith(_FRAMEWORKS):
        return [function.__module__, function.__qualname__]
    closed = [_plain(cell.cell_contents, depth=_DEEPEST) for cell in function.__closure__ or () if _is_set(cell)]
    return [function.__name__, _of_code(function.__code__), _plain(function.__defaults__), closed]


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018, raises an error if there is nothing in it
    except ValueError:
        return False
    return True


def _of_code(code: CodeType) -> list[Any]:
    constants = [_of_code(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names]


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
