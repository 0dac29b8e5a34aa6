"""Loads stored weights into a model: all of them, or none.

Keras has stored weights in two layouts. The older has a group per layer, by the layer's name, with a list of its
weights (``.h5`` by Keras 2 and 3). The newer follows the model's attributes, and numbers layers within their class
(``.keras`` and ``.weights.h5``); there Keras 2 and 3 may number in different orders, so for a file by Keras 2 the
stored configuration says which is which.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import h5py
import keras
import numpy as np

from attnscope.errors import AttnscopeError, ModelFileError, UnbuiltModelError, WeightsMismatchError

Array: TypeAlias = "h5py.Dataset | np.ndarray"
Item = TypeVar("Item")

LAYERS = ("layers", "_layer_checkpoint_dependencies")
"""Where Keras 2 keeps the layers of a model: since 2.14, and before."""
NOT_WEIGHTS = ("optimizer", "metrics", "compile_metrics", "loss", "_compile_metrics", "_compile_loss")


def assign_weights(
    path: Path, model: keras.Model, *, source: str, stored_config: Mapping[str, Any] | None = None
) -> None:
    """Give a model the weights in a file.

    If they do not fit, some may have been assigned by then: see `restored_on_failure`.

    Args:
        path: A checked HDF5 file.
        model: A built Keras model.
        source: The file's name, for errors.
        stored_config: The stored configuration, if it says which weights of the newer layout are whose: Keras 2 wrote
            the file, or other classes are in the place of those that were stored.

    Raises:
        UnbuiltModelError: The model has no weights yet.
        WeightsMismatchError: The weights do not fit the model.
        ModelFileError: The file names weights that do not exist, or are not weights.
    """
    if not model.built:
        raise UnbuiltModelError(
            f"The model {model.name!r} has no weights yet, so those in {source} cannot be loaded into it. Call it once "
            "on a sample, or call model.build(input_shape), and load again."
        )
    try:
        _assign_by_layout(path, model, source, stored_config)
    except AttnscopeError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(
            f"The weights in {source} cannot be read: {type(error).__name__}: {reason[:300]}. Expected the complete "
            "weights of a Keras model. Save them again: model.save_weights('model.weights.h5')."
        ) from error


def _assign_by_layout(path: Path, model: keras.Model, source: str, stored_config: Mapping[str, Any] | None) -> None:
    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        if _names(group, "layer_names"):
            _by_layer(group, model, source)
        elif stored_config is not None:
            _by_attribute(group, model, source, stored_config)
        else:
            _by_keras(path, group, model, source)


@contextmanager
def restored_on_failure(model: keras.Model) -> Iterator[None]:
    """Give the model back the values that it had, if anything is raised."""
    before = [(variable, np.array(keras.ops.convert_to_numpy(variable))) for variable in model.variables]
    try:
        yield
    except BaseException:
        for variable, value in before:
            variable.assign(value)
        raise


# One group per layer --------------------------------------------------------------------------------------------------


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; a long one is split over several attributes."""
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in group.attrs[part]]


def _by_layer(group: h5py.Group, model: keras.Model, source: str) -> None:
    stored = {name: _stored(group[name]) for name in _names(group, "layer_names")}
    stored = {name: weights for name, weights in stored.items() if weights}
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    # By name if the names agree; else in order, since a model that is built again has other numbers in its names.
    order = list(stored) if set(stored) == set(layers) else list(layers)
    pairs = [
        ((name, _without_cudnn(weights, layer)), layer)
        for (name, weights), layer in zip(stored.items(), (layers[name] for name in order), strict=False)
    ]
    wrong = [(name, weights, layer) for (name, weights), layer in pairs if not _fits(weights, layer)]
    if wrong or len(stored) != len(layers):
        raise _mismatch(stored, model, source)
    for (_, weights), layer in pairs:
        _assign(weights, _variables(layer))
        _finish(layer)
    top = _stored(group["top_level_model_weights"]) if "top_level_model_weights" in group else []
    own = _own(model)
    if [array.shape for _, array in top] != [tuple(variable.shape) for variable in own]:
        raise _mismatch({"(the model's own)": top}, model, source)
    _assign(top, own)


def _stored(group: h5py.Group) -> list[tuple[str, Array]]:
    return [(name, group[name]) for name in _names(group, "weight_names")]


def _variables(layer: keras.Layer) -> list[keras.Variable]:
    """A layer's variables in the order of this layout."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _own(model: keras.Model) -> list[keras.Variable]:
    """The variables of the model itself, which belong to none of its layers."""
    within = {id(variable) for layer in model.layers for variable in layer.weights}
    return [variable for variable in _variables(model) if id(variable) not in within]


def _last(name: str) -> str:
    return name.split("/")[-1].split(":")[0]


def _ordered(weights: Sequence[tuple[str, Array]], variables: Sequence[keras.Variable]) -> list[tuple[str, Array]]:
    """The stored weights in the order of the variables: by their last names if these agree, else as they are."""
    rest = list(weights)
    if sorted(_last(name) for name, _ in weights) != sorted(_last(variable.path) for variable in variables):
        return rest
    return [rest.pop(next(i for i, (name, _) in enumerate(rest) if _last(name) == _last(v.path))) for v in variables]


def _fits(weights: Sequence[tuple[str, Array]], layer: keras.Layer) -> bool:
    variables = _variables(layer)
    shapes = [tuple(array.shape) for _, array in _ordered(weights, variables)]
    return shapes == [tuple(variable.shape) for variable in variables]


def _without_cudnn(weights: Sequence[tuple[str, Array]], layer: keras.Layer) -> list[tuple[str, Array]]:
    """The weights of a ``CuDNNLSTM`` or ``CuDNNGRU``, told by two biases per gate in one row, as `layer` has them.

    cuDNN reads each gate's kernel as a matrix of shape (units, inputs), whatever its shape in the file.
    """
    variables = _variables(layer)
    changed = _ordered(weights, variables)
    for i in range(2, min(len(changed), len(variables))):
        (_, kernel), (_, recurrent), (_, bias) = changed[i - 2 : i + 1]
        if [_last(name) for name, _ in changed[i - 2 : i + 1]] != ["kernel", "recurrent_kernel", "bias"]:
            continue
        units = recurrent.shape[0]
        if tuple(bias.shape) != (2 * recurrent.shape[1],) or kernel.shape[1] != recurrent.shape[1] or not units:
            continue
        for at, matrix in ((i - 2, kernel), (i - 1, recurrent)):
            gates = np.split(np.asarray(matrix), matrix.shape[1] // units, axis=1)
            changed[at] = (changed[at][0], np.hstack([gate.reshape(gate.shape[::-1]).T for gate in gates]))
        both = np.asarray(bias).reshape(2, -1)
        changed[i] = (changed[i][0], both if tuple(variables[i].shape) == both.shape else both.sum(axis=0))
    return changed


def _assign(weights: Sequence[tuple[str, Array]], variables: Sequence[keras.Variable]) -> None:
    for variable, (_, array) in zip(variables, _ordered(weights, variables), strict=True):
        variable.assign(np.asarray(array))


def _finish(layer: object) -> None:
    """Let a preprocessing layer compute what it uses from what is stored."""
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


# By attribute ---------------------------------------------------------------------------------------------------------


def _by_attribute(group: h5py.Group, model: keras.Model, source: str, config: Mapping[str, Any]) -> None:
    stores = list(_stores(group, model, config.get("config"), skip=NOT_WEIGHTS))
    # The state of a random generator is none of the weights.
    weights = [store for holder, store in stores if not isinstance(holder, keras.random.SeedGenerator)]
    if sum(map(len, weights)) != len(model.weights):
        raise _mismatch(_listed(group), model, source)
    for holder, store in stores:
        try:
            holder.load_own_variables(store)
        except ValueError as error:
            raise _mismatch(_listed(group), model, source) from error
        _finish(holder)


def _stores(
    group: h5py.Group, holder: Any, config: Any = None, skip: tuple[str, ...] = ()
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """Every holder of weights under `holder`, with what is stored for it."""
    for name, inner in group.items():
        if name == "vars":
            if len(inner):
                yield holder, {key: np.asarray(array) for key, array in inner.items()}
        elif name in LAYERS and isinstance(config, Mapping) and "layers" in config:
            for key, layer in _numbered(
                _listed_layers(config["layers"], holder, name), lambda layer: layer["class_name"].split(">")[-1]
            ):
                if key in inner:
                    yield from _stores(inner[key], holder.get_layer(_name(layer)), layer["config"])
        elif name not in skip:
            child = getattr(holder, name, None)
            children = list(child.values()) if isinstance(child, Mapping) else child
            if isinstance(children, Sequence):
                for key, item in _numbered(children, lambda item: type(item).__name__):
                    if key in inner:
                        yield from _stores(inner[key], item)
            elif child is not None:
                yield from _stores(inner, child)


def _listed_layers(
    layers: Iterable[Mapping[str, Any]], model: keras.Model, attribute: str
) -> Iterator[Mapping[str, Any]]:
    """The layers of a model as an attribute lists them: before 2.14 those with weights twice, and stored once."""
    for layer in layers:
        yield layer
        if attribute != "layers" and layer["class_name"] != "InputLayer" and model.get_layer(_name(layer)).weights:
            yield layer


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer["config"]["name"]).replace("/", "_")


def _numbered(items: Iterable[Item], class_of: Callable[[Item], str]) -> Iterator[tuple[str, Item]]:
    """Each item after the name of its class and its number within the class."""
    counts: Counter[str] = Counter()
    for item in items:
        name = _snake(class_of(item))
        yield (f"{name}_{counts[name]}" if counts[name] else name), item
        counts[name] += 1


def _snake(name: str) -> str:
    """A class's name as Keras writes it in files: ``Conv1DTranspose`` is ``conv1d_transpose``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _by_keras(path: Path, group: h5py.Group, model: keras.Model, source: str) -> None:
    """A file by Keras 3, which numbers on loading as it did on saving."""
    named = path
    if not path.name.endswith(".weights.h5"):
        named = path.with_name("its.weights.h5")
        named.hardlink_to(path)
    try:
        model.load_weights(named)
    except (ValueError, KeyError, TypeError) as error:
        raise _mismatch(_listed(group), model, source) from error


def _listed(group: h5py.Group) -> dict[str, list[tuple[str, Array]]]:
    """The arrays of a file in the newer layout, by the group that holds them."""
    listed: dict[str, list[tuple[str, Array]]] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and name.split("/")[0] not in NOT_WEIGHTS:
            holder, _, last = name.rpartition("/")
            listed.setdefault(holder.removesuffix("/vars"), []).append((last, item))

    group.visititems(note)
    return listed


# Errors ---------------------------------------------------------------------------------------------------------------


def _mismatch(
    stored: Mapping[str, Sequence[tuple[str, Array]]], model: keras.Model, source: str
) -> WeightsMismatchError:
    """An error that shows both sides, layer by layer."""
    file = [
        f"{name}: {_shapes((_last(key), array.shape) for key, array in weights)}" for name, weights in stored.items()
    ]
    here = [
        f"{layer.name}: {_shapes((_last(variable.path), variable.shape) for variable in _variables(layer))}"
        for layer in model.layers
        if layer.weights
    ]
    return WeightsMismatchError(
        f"The weights in {source} do not fit the model {model.name!r}, which keeps its own. The file contains\n"
        f"{_lines(file)}\nbut the model has\n{_lines(here)}\n"
        "Build the model as it was when the weights were saved: the same layers, sizes and order."
    )


def _shapes(weights: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in weights)


def _lines(rows: list[str]) -> str:
    shown = rows if len(rows) <= 40 else [*rows[:40], f"... and {len(rows) - 40} more"]
    return "\n".join(f"  {row}" for row in shown) or "  nothing"
