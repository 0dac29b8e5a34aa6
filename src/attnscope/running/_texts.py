"""Texts for models with `TextVectorization` or `StringLookup` inside: the tokens, and the model behind these layers."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import keras
import numpy as np
from keras import tree

from attnscope.backends import current
from attnscope.errors import UnsupportedError
from attnscope.interception import TextInput, TextModel, cut_behind_texts, declared_inputs
from attnscope.labels import AxisLabels
from attnscope.running._compiled import as_numpy
from attnscope.running._network import Network
from attnscope.tensors import Tree

_CUT: WeakKeyDictionary[keras.Layer, TextModel] = WeakKeyDictionary()


def behind_texts(network: Network, inputs: Tree) -> tuple[Network, Tree]:
    """The network behind the layers that turn its texts into tokens, and its inputs.

    It knows the tokens' labels, and which number stands for no token where the layer says so: 0 of
    `TextVectorization`, and of `StringLookup` with a ``mask_token``. Passes count for both. A network without texts is
    returned as it is.

    Args:
        network: The network.
        inputs: All of its samples, as arrays.

    Raises:
        UnsupportedError: It cannot be seen what makes tokens of a text.
    """
    leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
    if not any(leaf.dtype.kind in "USO" for leaf in leaves):
        return network, inputs
    cut = _cut(network.model)
    tokens = [_tokens(text, leaves[text.place]) for text in cut.texts]
    arrays = [*(leaves[place] for place in cut.others), *tokens]
    other = network.of_model(cut.rest, arrays if len(arrays) > 1 else arrays[0])
    words = [_labels(text, leaves[text.place], own) for text, own in zip(cut.texts, tokens, strict=True)]
    other.labels = [*network.labels, *words]
    other.zero_is_padding = frozenset(text.name for text in cut.texts if _pads(text.layer))
    return other, other.arrays()


def without_texts(network: Network) -> Network:
    """The network behind the layers that turn its texts into tokens, on all of its samples.

    A network without texts is returned as it is; so is one that cannot be cut there, if the backend takes texts.

    Raises:
        UnsupportedError: It cannot be seen what makes tokens of a text, and the backend takes none.
    """
    if not any(np.asarray(leaf).dtype.kind in "USO" for leaf in tree.flatten(network.first.inputs)):
        return network
    try:
        _cut(network.model)
    except UnsupportedError:
        if current().takes_texts:
            return network
        raise
    return behind_texts(network, network.arrays())[0]


def model_behind_texts(model: keras.Layer) -> keras.Layer:
    """A model behind the layers that turn its texts into tokens; one that takes no texts is returned as it is."""
    declared = declared_inputs(model)
    inputs = [] if declared is None else tree.flatten(declared)
    return _cut(model).rest if any(tensor.dtype == "string" for tensor in inputs) else model


def _cut(model: keras.Layer) -> TextModel:
    if model not in _CUT:
        _CUT[model] = cut_behind_texts(model)
    return _CUT[model]


def _tokens(text: TextInput, strings: np.ndarray) -> np.ndarray:
    tokens: Tree = strings.astype(str)
    for step in text.steps:
        tokens = step(tokens)
    return np.asarray(as_numpy(tokens), dtype="int32")


def _pads(layer: keras.Operation) -> bool:
    return isinstance(layer, keras.layers.TextVectorization) or layer.get_config().get("mask_token") is not None


def _labels(text: TextInput, strings: np.ndarray, tokens: np.ndarray) -> AxisLabels:
    """The words of each sample; strings that are looked up one by one are their own labels."""
    if strings.shape == tokens.shape:
        return AxisLabels(strings.astype(str).tolist(), source=text.name)
    words = np.asarray([str(word) for word in text.layer.get_vocabulary()], dtype=str)
    return AxisLabels(words[tokens].tolist(), source=text.name)
