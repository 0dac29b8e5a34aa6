"""A model with an input for each column of a table, as one that takes all columns in one array."""

from __future__ import annotations

import keras
from keras import tree

from attnscope.model_names import copy_file


def of_one_input(model: keras.Model) -> keras.Model:
    """A model that takes an array with a column for each input of another, in their order, and gives what that gives.

    Nothing of it is noted on the other model.

    Args:
        model: A functional model whose inputs are one number each.
    """
    structure = model._inputs_struct
    inputs = tree.flatten(structure)
    before = len(model._inbound_nodes)
    columns = keras.Input((len(inputs),), dtype=inputs[0].dtype, name="columns")
    each = [
        columns[:, place : place + 1] if len(tensor.shape) == 2 else columns[:, place]
        for place, tensor in enumerate(inputs)
    ]
    try:
        whole = keras.Model(columns, model(tree.pack_sequence_as(structure, each)), name=model.name)
    finally:
        del model._inbound_nodes[before:]
    whole.output_names = list(model.output_names)
    copy_file(model, whole)
    return whole
