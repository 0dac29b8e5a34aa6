"""What a run into a store is a run of, so that only the same run is resumed.

It covers the layers with their settings and how they are connected; what a user's own classes compute, with the
functions that they call and the values that these read; the operations of the traced model; the weights, the sites with
their sizes, and the options. It does not cover what changes while the model runs, nor what is read from elsewhere then.
"""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np

from attnscope.capturing._destinations import Description
from attnscope.capturing._state import codes_in, codes_of_running, written_by
from attnscope.errors import InputError
from attnscope.interception import TRAINING_STATE, layers_of
from attnscope.running import viewed
from attnscope.schema import SAMPLE, Site

_FRAMEWORKS = {"keras", "keras_hub", "torch", "tensorflow", "jax", "numpy", "scipy", "openvino", "attnscope"}
"""Packages whose functions are known by their names; so are those of Python itself."""
_IRRELEVANT = ("name", "trainable", "build_config", "compile_config", "shared_object_id")
_ENDINGS = ("_initializer", "_regularizer", "_constraint")
"""Settings that inference does not use."""
_PLAIN = (bool, int, float, str, bytes, type(None))
_DEEPEST, _SHALLOW = 64, 60
"""At which depth containers are no longer looked into, and where values begin that a function reads."""
_LISTS = ("sites", "variables", "summaries")
"""Entries that are lists already, as text."""
_FIX = "Give the model and the options that it was started with, or another path."


def fingerprint(description: Description, codes: str) -> dict[str, str]:
    """What a run is a run of, by what each entry is about.

    Args:
        description: What is known of the run beforehand.
        codes: How its scores are stored.
    """
    own, seen = [type(summary) for summary in description.summaries], set[int]()
    variables = sorted(name for summary in description.summaries for name in summary.missing)
    return {
        **description.attrs,
        "sites": repr(sorted(site.name for site in description.sites)),
        "variables": repr(variables),
        "summaries": repr([_settings(summary) for summary in description.summaries]),
        "codes": codes,
        **{f"site {site.name!r}": _sizes(site) for site in description.sites},
        "layers": _layers(description.model),
        "weights": _weights(description.model),
        "computation": description.computation,
        "summaries of your own": _digest([_code_of_class(kind, seen) for kind in own]),
        "labels": _digest(
            [{**vars(item), "names": None if item.per_sample else item.names} for item in description.labels]
        ),
    }


def check_fingerprint(path: str, held: Mapping[str, str], wanted: Mapping[str, str], model: keras.Layer) -> None:
    """Checks that a store holds the run that is to be resumed.

    Args:
        path: The store.
        held: What it holds a run of.
        wanted: What is to be run.
        model: The model of that.

    Raises:
        InputError: It holds another; the message says in what it differs.
    """
    for name in [*wanted, *held]:
        if held.get(name) == wanted.get(name):
            continue
        if name == "layers":
            raise InputError(f"{path!r} holds a run of another model: {_in_layers(held, wanted, model)}. {_FIX}")
        if name == "computation":
            raise InputError(f"{path!r} holds a run of another model: it computes something else. {_FIX}")
        if name in ("weights", "labels", "summaries of your own"):
            raise InputError(
                f"{path!r} holds a run with other {name}. Give those that the run was started with, or another path."
            )
        was, now = (each[name] if name in _LISTS else repr(each.get(name)) for each in (held, wanted))
        raise InputError(f"{path!r} holds a different run, with {name} {was} instead of {now}. {_FIX}")


def _in_layers(held: Mapping[str, str], wanted: Mapping[str, str], model: keras.Layer) -> str:
    """In what two models differ."""
    before, now = (each.get("layers", "").split() for each in (held, wanted))
    if len(before) != len(now):
        return f"it had {len(before)} layers, and this one has {len(now)}"
    names = [layer.name for layer in layers_of(model)]
    differ = [name for name, was, digest in zip(names, before, now, strict=True) if was != digest and name != names[0]]
    if differ:
        return f"the layer {differ[0]!r} has other settings, or computes something else"
    return "its layers are connected otherwise, or called with other arguments"


def _settings(summary: object) -> str:
    values = ", ".join(f"{name}={_plain(value, set())!r}" for name, value in sorted(vars(summary).items()))
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


def _layers(model: keras.Layer) -> str:
    """Digests of the model, which says how its layers are connected, and of each layer in it, without their names."""
    layers = layers_of(model)
    kinds = dict.fromkeys(type(layer) for layer in layers)
    state = written_by(code for kind in kinds for code in codes_of_running(kind)).attributes
    return " ".join(_digest(_described(layer, state)) for layer in layers)


def _described(layer: keras.Layer, state: set[str]) -> list[Any]:
    seen: set[int] = set()
    try:
        config = _without_names(layer.get_config(), seen)
    except Exception:  # whatever a user's own method raises; its attributes and its code say what it is
        config = None
    return [
        [base.__qualname__ for base in type(layer).__mro__ if base is not object],
        config,
        _own_attributes(layer, state, seen),
        _code_of_class(type(layer), seen),
        str(getattr(layer, "dtype_policy", "")),
    ]


def _own_attributes(layer: keras.Layer, state: set[str], seen: set[int]) -> dict[str, Any]:
    """Attributes of a layer that Keras' own classes know nothing of: those of a user's class, or put on it.

    Args:
        layer: The layer.
        state: Names of attributes that change while the model runs, which are left out.
        seen: As `_plain` takes it.
    """
    known = {*TRAINING_STATE, *state}
    for base in type(layer).__mro__:
        if _is_known(base.__module__):
            for function in vars(base).values():
                known.update(getattr(getattr(function, "__code__", None), "co_names", ()))
    return {
        name: _plain(value, seen)
        for name, value in sorted(vars(layer).items())
        if name not in known and not isinstance(value, keras.Operation)
    }


def _is_known(module: str | None) -> bool:
    package = (module or "").partition(".")[0]
    return package in _FRAMEWORKS or package in sys.stdlib_module_names


def _code_of_class(kind: type, seen: set[int]) -> list[Any]:
    """What the functions do that a user wrote in a class and in those that it derives from."""
    bases = [base for base in kind.__mro__ if not _is_known(base.__module__)]
    return [
        _code(value, seen)
        for base in bases
        for _, value in sorted(vars(base).items())
        if isinstance(value, (FunctionType, staticmethod, classmethod, property))
    ]


def _without_names(config: Any, seen: set[int]) -> Any:
    """A configuration in which layers are numbered, since Keras counts its own names up in each process."""
    numbers: dict[str, str] = {}
    _collect_names(config, numbers)
    return _plain(config, seen, numbers)


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


def _plain(value: Any, seen: set[int], numbers: Mapping[str, str] | None = None, depth: int = 0) -> Any:
    """A value as something of which the representation is the same in every process.

    Args:
        value: Anything.
        seen: Functions and classes that were described already; they are named then.
        numbers: What stands for a text.
        depth: How many containers it is in.
    """
    numbers = numbers or {}
    if isinstance(value, str):
        return numbers.get(value, str(value))
    if isinstance(value, _PLAIN):
        return value
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        kept = {
            str(name): _plain(item, seen, numbers, depth + 1)
            for name, item in value.items()
            if not (str(name) in _IRRELEVANT or str(name).endswith(_ENDINGS))
        }
        return dict(sorted(kept.items()))
    if isinstance(value, (list, tuple)):
        return [_plain(item, seen, numbers, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_plain(item, seen, numbers, depth + 1)) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), value.shape, hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()]
    if isinstance(value, (FunctionType, MethodType)):
        return _code(value, seen)
    kind = value if isinstance(value, type) else type(value)
    if _is_known(kind.__module__) or id(kind) in seen:
        return kind.__qualname__
    seen.add(id(kind))
    return [kind.__qualname__, _code_of_class(kind, seen)]


def _code(function: Any, seen: set[int]) -> list[Any]:
    """What a function does, with what it closes over, and what it reads and calls by the names of its module."""
    if isinstance(function, property):
        return [_code(part, seen) for part in (function.fget, function.fset, function.fdel) if part is not None]
    function = getattr(function, "__func__", function)
    if _is_known(function.__module__) or id(function) in seen:
        return [function.__module__, function.__qualname__]
    seen.add(id(function))
    changed = written_by(codes_in(function.__code__)).names
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closed = [cell.cell_contents for name, cell in cells if name not in changed and _is_set(cell)]
    return [
        function.__name__,
        _of_code(function.__code__),
        _plain([function.__defaults__, function.__kwdefaults__], seen),
        [_plain(value, seen, depth=_SHALLOW) for value in closed],
        [[name, _plain(value, seen, depth=_SHALLOW)] for name, value in _read_by(function)],
    ]


def _read_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function reads by a name of its module, or of a module of the user's that it has by such a name."""
    codes = list(codes_in(function.__code__))
    names = sorted({name for code in codes for name in code.co_names})
    instructions = [each for code in codes for each in dis.get_instructions(code)]
    read = {each.argval for each in instructions if each.opname == "LOAD_GLOBAL"} - written_by(codes).names
    for name in sorted(read & function.__globals__.keys()):
        value = function.__globals__[name]
        if not isinstance(value, ModuleType):
            yield name, value
        elif not _is_known(value.__name__):
            yield from ((f"{name}.{inner}", vars(value)[inner]) for inner in names if inner in vars(value))


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
