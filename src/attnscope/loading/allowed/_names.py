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

import keras

RUNS_CODE = {
    "Lambda": "Python code",
    "TFSMLayer": "a TensorFlow program from a folder outside the file",
    "TorchModuleWrapper": "pickled Python objects",
    "JaxLayer": "a Python function",
    "FlaxLayer": "a Python module",
}
"""Keras' own layers that run what a file contains, and what that is."""

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
"""The module of an optimizer in a model saved with PyTorch; with another backend it is not even imported."""
_KERAS_2 = {"keras", "tf_keras", "tensorflow", "tensorflow_addons"}


def named_class(module: str | None, name: str) -> type | None:
    """The class that Keras would take for a pair of names, if a configuration may name it.

    Nothing is imported by a name from a file; what is not in an allowed package is not even looked up.

    Args:
        module: The module as the configuration has it; None if it has none, as in ``.h5`` files.
        name: The name of the class.

    Returns:
        The class; None if it may not be named or does not exist.
    """
    if module is None:
        return _classes_by_name().get(name)
    if _OTHER_BACKENDS.fullmatch(module):
        optimizer = _classes_by_name().get(name)
        return optimizer if optimizer is not None and issubclass(optimizer, keras.Optimizer) else None
    named = _lookup(module, name)
    return named if inspect.isclass(named) and _is_harmless(named) else None


def named_function(module: str | None, name: str) -> FunctionType | None:
    """The function that Keras would take for a pair of names, if a configuration may name it.

    Args:
        module: The module as the configuration has it; None or ``"builtins"`` for a function of Keras' by its name.
        name: The name of the function.

    Returns:
        The function; None if it may not be named or does not exist.
    """
    modules = [f"keras.{path}" for path in _FUNCTIONS[:-1]] if module in (None, "builtins") else [str(module)]
    for path in modules:
        named = _lookup(path, name)
        if isinstance(named, FunctionType) and named in _functions():
            return named
    return None


def named_in_keras_2(module: str | None, name: str) -> type | None:
    """The class that a Keras 2 configuration means today: since then modules have moved, but names have not."""
    if module is not None and module.split(".")[0] not in _KERAS_2:
        return None
    return _classes_by_name().get(name)


def _lookup(module: str, name: str) -> object:
    package, *rest = module.split(".")
    if package not in PACKAGES or (package not in sys.modules and importlib.util.find_spec(package) is None):
        return None
    holder: object = importlib.import_module(package)
    for part in rest:
        holder = vars(holder).get(part) if isinstance(holder, ModuleType) else None
    if not isinstance(holder, ModuleType):
        holder = sys.modules.get(module)
    return vars(holder).get(name) if holder is not None else None


def _is_harmless(cls: type) -> bool:
    """Whether a class is of an allowed package, of a kind that computes, and does not run what a file contains."""
    package = cls.__module__.split(".")[0]
    if package not in PACKAGES or issubclass(cls, _runs_code()):
        return False
    if package != "keras":
        return issubclass(cls, _kinds())
    is_operation = issubclass(cls, keras.Operation) and not issubclass(cls, keras.Layer | keras.Function)
    is_functional = issubclass(cls, keras.Model) and cls.__name__ == "Functional"
    return cls in _public_classes() or is_operation or is_functional or issubclass(cls, keras.Optimizer)


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


def _public_modules() -> list[ModuleType]:
    modules = [keras]
    for path in _CLASSES:
        module: ModuleType = keras
        for part in path.split("."):
            module = getattr(module, part)
        modules.append(module)
    return modules


def _public_names() -> Iterator[tuple[str, type]]:
    """Every allowed public class of Keras, with each of its public names."""
    for module in _public_modules():
        for name, cls in vars(module).items():
            computes = inspect.isclass(cls) and issubclass(cls, _kinds())
            if computes and not issubclass(cls, _runs_code()) and cls is not keras.Function:
                yield name, cls


@cache
def _classes_by_name() -> dict[str, type]:
    """One class for each name; a loss and a metric may share it, and Keras takes the one that the place asks for."""
    return {"Functional": keras.Model, **dict(_public_names())}


@cache
def _public_classes() -> frozenset[type]:
    return frozenset(cls for _, cls in _public_names())


@cache
def _functions() -> frozenset[FunctionType]:
    return frozenset(
        function
        for path in _FUNCTIONS
        for name, function in vars(getattr(keras, path)).items()
        if isinstance(function, FunctionType) and name not in _LOADERS
    )
