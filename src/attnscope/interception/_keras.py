"""What is read from Keras' internals about a model."""

from __future__ import annotations

import keras
from keras import tree
from keras.src.ops.symbolic_arguments import SymbolicArguments

from attnscope.tensors import Tree

TRAINING_STATE = frozenset(
    {
        "_called",
        "_jax_state_synced",
        "_jit_compile",
        "predict_function",
        "stop_evaluating",
        "stop_predicting",
        "stop_training",
        "test_function",
        "train_function",
    }
)
"""What Keras' trainer records on a model as it runs; it says nothing about what the model computes."""


def layers_of(model: keras.Layer) -> list[keras.Layer]:
    """The model and all layers in it, at any depth."""
    return [model, *model._flatten_layers(include_self=False, recursive=True)]


def call_model(model: keras.Layer, inputs: Tree) -> Tree:
    """The model's output in inference mode."""
    if getattr(model, "_call_has_training_arg", True):
        return model(inputs, training=False)
    return model(inputs)


def declared_inputs(model: keras.Layer) -> Tree | None:
    """Symbolic inputs of a functional or Sequential model, in its structure; None where it declares none."""
    structure = getattr(model, "_inputs_struct", None)
    return getattr(model, "inputs", None) if structure is None else structure


def has_fixed_length(model: keras.Layer, leaf: int) -> bool:
    """Whether a model declares how many positions one of its inputs has.

    Args:
        model: The model.
        leaf: Number of the input, among the leaves of the inputs' structure.
    """
    declared = declared_inputs(model)
    shapes = [] if declared is None else [tensor.shape for tensor in tree.flatten(declared)]
    return leaf < len(shapes) and len(shapes[leaf]) > 1 and shapes[leaf][1] is not None


def input_names(model: keras.Layer, inputs: Tree) -> list[str]:
    """A name for each leaf of a model's inputs: its key, or the name of its `Input`; else its key or its number.

    Args:
        model: The model.
        inputs: Arrays in the structure of the inputs; the names are in the order of `keras.tree`.
    """
    leaves = tree.flatten_with_path(inputs)
    structure = declared_inputs(model)
    declared = [] if structure is None else tree.flatten_with_path(structure)
    if len(declared) == len(leaves):
        return [declared_name(path, tensor) for path, tensor in declared]
    return [
        str(path[-1]) if path and isinstance(path[-1], str) else str(number) for number, (path, _) in enumerate(leaves)
    ]


def declared_name(path: tuple[object, ...], tensor: keras.KerasTensor) -> str:
    """What an input is called: its key where the model takes a dict, else the name of its `Input`."""
    return path[-1] if path and isinstance(path[-1], str) else tensor.name


def symbolic_calls(operation: keras.Operation) -> list[SymbolicArguments]:
    """The arguments of each call of a layer or operation in a functional model, in the order of the calls."""
    return [node.arguments for node in operation._inbound_nodes]
