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


def input_names(model: keras.Layer, inputs: Tree) -> list[str]:
    """A name for each leaf of a model's inputs: the name of its `Input`, its key, or its number."""
    declared = declared_inputs(model)
    names = [] if declared is None else [tensor.name for tensor in tree.flatten(declared)]
    leaves = tree.flatten_with_path(inputs)
    if len(names) == len(leaves):
        return names
    return [
        str(path[-1]) if path and isinstance(path[-1], str) else str(number) for number, (path, _) in enumerate(leaves)
    ]


def symbolic_calls(operation: keras.Operation) -> list[SymbolicArguments]:
    """The arguments of each call of a layer or operation in a functional model, in the order of the calls."""
    return [node.arguments for node in operation._inbound_nodes]


def number_of_attention_axes(layer: keras.Layer | None) -> int:
    """How many axes a `MultiHeadAttention` attends over; 1 for every other layer."""
    axes = getattr(layer, "_attention_axes", None)
    return len(axes) if isinstance(axes, (tuple, list)) else 1
