"""What a configuration may name: classes and functions that only compute, found in the installed libraries."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import keras

RUNS_CODE = {
    "Lambda": "Python code",
    "TFSMLayer": "a TensorFlow program from a folder outside the file",
    "TorchModuleWrapper": "pickled Python objects",
    "JaxLayer": "a Python function",
    "FlaxLayer": "a Python module",
}
"""Keras' own layers that run what a file brings, and what that is."""

_CLASSES = (
    "layers",
    "models",
    "initializers",
    "regularizers",
    "constraints",
    "losses",
    "metrics",
    "optimizers",
    "optimizers.schedules",
    "dtype_policies",
    "quantizers",
    "random",
)
_FUNCTIONS = ("activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops")
_LOADERS = {"get", "serialize", "deserialize"}
PACKAGES = {"keras", "keras_hub"}
"""Packages that Keras imports from by a name in a file."""

_OTHER_BACKENDS = re.compile(r"keras\.\w+\.backend\.\w+\.optimizers\.\w+")
"""Where an optimizer's module lies when PyTorch saved it; with another backend it is not even imported."""
_KERAS_2 = {"keras", "tf_keras", "tensorflow", "tensorflow_addons"}


def named_class(module: str | None, name: str) -> type | None:
    """The class that Keras would take for a pair of names, if a configuration may name it.

    Nothing is imported by a name out of a file; what is not in an allowed package is not even looked up.

    Args:
        module: The module as the configuration has it, None where it has none (the form of ``.h5`` files).
        name: The class.

    Returns:
        The class, or None where it may not be named or does not exist.
    """
    if module is None:
        return _classes_by_name().get(name)
    if _OTHER_BACKENDS.fullmatch(module):
        optimizer = _classes_by_name().get(name)
        return optimizer if optimizer is not None and issubclass(optimizer, keras.Optimizer) else None
    found = _lookup(module, name)
    return found if inspect.isclass(found) and _is_harmless(found) else None


def named_function(module: str | None, name: str) -> FunctionType | None:
    """The function that Keras would take for a pair of names, if a configuration may name it (see `named_class`)."""
    places = [f"keras.{place}" for place in _FUNCTIONS[:-1]] if module in (None, "builtins") else [str(module)]
    for place in places:
        found = _lookup(place, name)
        if isinstance(found, FunctionType) and found in _functions():
            return found
    return None


def named_in_keras_2(module: str | None, name: str) -> type | None:
    """The class of today that a Keras 2 configuration means: there, modules have moved, but names have not."""
    if module is not None and module.split(".")[0] not in _KERAS_2:
        return None
    return _classes_by_name().get(name)


def _lookup(module: str, name: str) -> Any:
    package, *rest = module.split(".")
    if package not in PACKAGES or (package not in sys.modules and importlib.util.find_spec(package) is None):
        return None
    place: Any = importlib.import_module(package)
    for part in rest:
        place = vars(place).get(part) if isinstance(place, ModuleType) else None
    if not isinstance(place, ModuleType):
        place = sys.modules.get(module)
    return vars(place).get(name) if place is not None else None


def _is_harmless(found: type) -> bool:
    """Of an allowed package, of a kind that computes, and none of those that run what a file brings."""
    if found.__module__.split(".")[0] not in PACKAGES or issubclass(found, _runs_code()):
        return False
    if found.__module__.split(".")[0] != "keras":
        return issubclass(found, _kinds())
    operation = issubclass(found, keras.Operation) and not issubclass(found, keras.Layer | keras.Function)
    functional = issubclass(found, keras.Model) and found.__name__ == "Functional"
    return found in _public_classes() or operation or functional or issubclass(found, keras.Optimizer)


@cache
def _runs_code() -> tuple[type, ...]:
    return tuple(getattr(keras.layers, name) for name in RUNS_CODE if hasattr(keras.layers, name))


@cache
def _kinds() -> tuple[type, ...]:
    return (
        keras.Operation,
        keras.Loss,
        keras.Metric,
        keras.Optimizer,
        keras.Initializer,
        keras.Regularizer,
        keras.constraints.Constraint,
        keras.DTypePolicy,
        keras.dtype_policies.DTypePolicyMap,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.random.SeedGenerator,
        keras.Quantizer,
        getattr(keras.quantizers, "QuantizationConfig", keras.Quantizer),
    )


def _public() -> list[ModuleType]:
    modules = [keras]
    for path in _CLASSES:
        module: Any = keras
        for part in path.split("."):
            module = getattr(module, part)
        modules.append(module)
    return modules


def _public_names() -> Iterator[tuple[str, type]]:
    """Every allowed public class of Keras, with each of its public names."""
    for module in _public():
        for name, found in vars(module).items():
            known = inspect.isclass(found) and issubclass(found, _kinds())
            if known and not issubclass(found, _runs_code()) and found is not keras.Function:
                yield name, found


@cache
def _classes_by_name() -> dict[str, type]:
    """One class for each name; a loss and a metric may share one, and Keras takes that of the place it stands in."""
    return {"Functional": keras.Model, **dict(_public_names())}


@cache
def _public_classes() -> frozenset[type]:
    return frozenset(found for _, found in _public_names())


@cache
def _functions() -> frozenset[FunctionType]:
    return frozenset(
        found
        for place in _FUNCTIONS
        for name, found in vars(getattr(keras, place)).items()
        if isinstance(found, FunctionType) and name not in _LOADERS
    )
