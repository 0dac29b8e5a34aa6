"""Inputs as a model takes them: arrays in the structure that it declares, checked before it runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import tree

from attnscope.errors import InputError
from attnscope.interception import declared_inputs, symbolic_calls
from attnscope.running._declaration import declaration_of
from attnscope.running._given_input import GivenInput
from attnscope.tensors import Inputs, Tree


def fitted(inputs: Inputs, model: keras.Layer | None) -> Tree:
    """Inputs as arrays in the structure that a model takes; of a model that declares nothing, in the given structure.

    Args:
        inputs: Arrays, nested lists of numbers or texts, or structures of them.
        model: The model.

    Raises:
        InputError: The model cannot take them; or they are no arrays at all.
    """
    declaration = declaration_of(model)
    if declaration is not None:
        arrays = declaration.fitted(inputs)
        check_samples(inputs, arrays, [one.name for one in declaration.inputs])
        return arrays
    if isinstance(inputs, (list, tuple)) and len(inputs) == 1 and takes_one_input(model) and _holds_arrays(inputs):
        inputs = inputs[0]
    arrays = _as_given(inputs, (), "inputs")
    check_samples(inputs, arrays)
    return arrays


def takes_one_input(model: keras.Layer | None) -> bool:
    """Whether a model says that it has one input; False for those that say nothing."""
    return len(getattr(model, "inputs", None) or []) == 1


def check_samples(inputs: Inputs, arrays: Tree, names: Sequence[str] | None = None) -> int:
    """How many samples there are along the first axis of every array.

    Args:
        inputs: What the arrays were made of.
        arrays: The arrays.
        names: Names of the arrays; None where they have none.

    Raises:
        InputError: There is no such axis, or the arrays differ in its size.
    """
    leaves = tree.flatten(arrays)
    if not leaves:
        raise InputError("The inputs hold no array, but at least one is needed: inputs={'name': array}.")
    lengths = {len(array) if array.ndim else -1 for array in leaves}
    if len(lengths) != 1:
        shapes = [tuple(array.shape) for array in leaves]
        listed = ", ".join(map(str, shapes))
        if names is not None:
            listed = ", ".join(f"{shape} for {name!r}" for name, shape in zip(names, shapes, strict=True))
        raise InputError(
            f"The inputs have the shapes {listed}, but all need the same number of samples along the first axis."
        )
    total = lengths.pop()
    if total == -1 and isinstance(inputs, (str, bytes)):
        raise InputError("The input is a single text, but samples along a first axis are needed: [text].")
    if total == -1:
        raise InputError("The input is a single number, but samples along a first axis are needed: inputs[None].")
    return total


def check_call(model: keras.Layer) -> None:
    """Checks that a model can be called with all inputs as one argument.

    Raises:
        InputError: Its `call` needs several.
    """
    parameters = inspect.signature(model.call).parameters.values()
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in ("training", "mask")
    ]
    if len(needed) > 1:
        names = ", ".join(needed)
        raise InputError(
            f"The model {model.name!r} is called with the separate arguments {names}, but, as in predict, all inputs "
            f"are passed as one. Wrap it in a functional model, with a keras.Input for each: "
            f"keras.Model([{names}], model({names}))."
        )


def _as_given(inputs: Inputs, path: tuple[object, ...], code: str) -> Tree:
    """Arrays in the given structure, in which a list that holds no array is an array itself."""
    if isinstance(inputs, Mapping):
        return {key: _as_given(value, (*path, key), f"{code}[{key!r}]") for key, value in inputs.items()}
    if isinstance(inputs, (list, tuple)) and _holds_arrays(inputs):
        parts = [_as_given(value, (*path, number), f"{code}[{number}]") for number, value in enumerate(inputs)]
        if isinstance(inputs, list):
            return parts
        return tuple(parts) if type(inputs) is tuple else type(inputs)(*parts)  # a named tuple
    what = f"The input {path[-1]!r}" if path else "The input"
    return GivenInput(what, code, "an array of numbers or texts is needed, samples first").fitted(inputs)


def _holds_arrays(structure: Iterable[Any]) -> bool:
    return any(
        hasattr(item, "shape") or isinstance(item, Mapping) or (isinstance(item, (list, tuple)) and _holds_arrays(item))
        for item in structure
    )


def undeclared(model: keras.Layer, inputs: Tree) -> str:
    """What can be said about the inputs of a model that declares none, and that failed on them; else nothing."""
    if declaration_of(model) is not None:
        return ""
    given = ", ".join(
        f"{f'{path[-1]!r} ' if path else ''}{tuple(array.shape)} {array.dtype}"
        for path, array in tree.flatten_with_path(inputs)
    )
    built = (model.get_build_config() or {}).get("input_shape")
    return (
        f"The model {model.name!r} declares no inputs, so that attnscope could not check what it was given: {given}. "
        + (f"It was built on {built}. " if built else "")
        + "To have its inputs checked, give each a keras.Input, and wrap it: keras.Model(inputs, model(inputs))."
    )


def beyond_an_embedding(model: keras.Layer, inputs: Tree) -> str:
    """Which input holds whole numbers that have no row in the `Embedding` that it is given to; else nothing."""
    declaration = declaration_of(model)
    if declaration is None:
        return ""
    arrays = {one.name: array for one, array in zip(declaration.inputs, tree.flatten(inputs), strict=True)}
    tensors = tree.flatten(declared_inputs(model))
    names = {id(tensor): one.name for tensor, one in zip(tensors, declaration.inputs, strict=True)}
    for name, layer in _embeddings_of(model, names):
        array = arrays[name]
        if array.dtype.kind in "iu" and array.size and array.max() >= layer.input_dim:
            return (
                f"The input {name!r} holds numbers up to {array.max()}, but the Embedding {layer.name!r} has only "
                f"{layer.input_dim} rows, for 0 to {layer.input_dim - 1}. Use the vocabulary that the model was "
                "trained with."
            )
    return ""


def _embeddings_of(model: keras.Model, names: Mapping[int, str]) -> Iterator[tuple[str, keras.layers.Embedding]]:
    """The `Embedding` layers that are given an input as it is, in nested models too, each with the input's name.

    Args:
        model: A functional or Sequential model.
        names: The names of the inputs, by the identity of their symbolic tensors.
    """
    for layer in model.layers:
        for given in [call.keras_tensors for call in symbolic_calls(layer)]:
            if isinstance(layer, keras.layers.Embedding):
                yield from ((names[id(tensor)], layer) for tensor in given if id(tensor) in names)
            elif isinstance(layer, keras.Model) and declaration_of(layer) is not None:
                own = tree.flatten(declared_inputs(layer))
                if len(own) == len(given):
                    pairs = zip(own, given, strict=True)
                    yield from _embeddings_of(
                        layer, {id(inner): names[id(outer)] for inner, outer in pairs if id(outer) in names}
                    )
