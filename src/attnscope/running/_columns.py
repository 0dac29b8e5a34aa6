"""Tables for models with an input for each column: all columns in one array, so that each is a position."""

from __future__ import annotations

import keras

from attnscope.interception import of_one_input
from attnscope.labels import AxisLabels
from attnscope.running._declaration import declaration_of
from attnscope.running._given_input import in_float_type
from attnscope.running._network import Network


def with_one_input(network: Network) -> Network:
    """A network that takes a table's columns by name as one that takes them in one array, and its inputs.

    Its positions are the columns. A network that takes no table, or a column that is no number, is returned as it is.
    Passes count for both.
    """
    if network.table is None or not _takes_numbers_by_name(network.model):
        return network
    other = network.of_model(of_one_input(network.model), in_float_type(network.table.values))
    other.labels = [AxisLabels(network.table.names)]
    return other


def model_like(model: keras.Layer, other: keras.Layer) -> keras.Layer:
    """Another model as one that takes all columns in one array, if `model` is such a one and it is none."""
    declared = declaration_of(model)
    is_one = declared is not None and len(declared.inputs) == 1
    return of_one_input(other) if is_one and _takes_numbers_by_name(other) else other


def _takes_numbers_by_name(model: keras.Layer) -> bool:
    declared = declaration_of(model)
    inputs = [] if declared is None else declared.inputs
    return len(inputs) > 1 and all(
        one.dtype.startswith("float") and (len(one.shape) == 1 or one.shape[1:] in ((1,), (None,))) for one in inputs
    )
