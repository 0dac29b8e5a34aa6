"""What the tests of loading share: marks, classes in the form of Keras 3, and files written by hand."""

import json

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

from attnscope.loading.keras2 import rewritten

MARKS = [
    pytest.mark.filterwarnings("ignore:Keras .* has known vulnerabilities"),
    # Keras says of a Flatten after a masked layer that it drops the mask, which Keras 2 did in silence.
    pytest.mark.filterwarnings("ignore:.*destroy the mask information"),
]


class ByHand(layers.Layer):
    """In Keras 3 what `keras2_files.by_hand` is in Keras 2."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.project = layers.Dense(units, activation="tanh")

    def build(self, shape):
        self.project.build(shape)
        self.context = self.add_weight(name="context", shape=(self.units, 1))

    def call(self, x):
        scores = ops.softmax(ops.matmul(self.project(x), self.context), axis=1)
        return ops.sum(scores * x, axis=1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Classifier(keras.Model):
    """In Keras 3 what `keras2_files.subclassed` is in Keras 2."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.embed = layers.Embedding(11, 4)
        self.attend = layers.MultiHeadAttention(2, 3)
        self.stack = [layers.Dense(units), layers.Dense(units)]

    def call(self, x):
        y = self.embed(x)
        y = self.attend(y, y)
        for layer in self.stack:
            y = layer(y)
        return y

    def get_config(self):
        return {"units": self.units, "name": self.name}


OWN = {"ByHand": ByHand, "Classifier": Classifier}


def numbers(x):
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))


def stored(folder, name):
    """What went in and what came out."""
    with np.load(folder / f"{name}.npz") as file:
        inputs = [file[key] for key in file if key.startswith("input")]
        outputs = [file[key] for key in file if key.startswith("output")]
    return inputs[0] if len(inputs) == 1 else inputs, outputs


def assert_gives(model, inputs, outputs, tolerance=1e-5):
    given = keras.tree.flatten(model(inputs))
    assert len(given) == len(outputs)
    for one, other in zip(given, outputs, strict=True):
        np.testing.assert_allclose(numbers(one), other, rtol=tolerance, atol=tolerance)


def different(model):
    """The same model with other weights."""
    model.set_weights([weight + 1.0 for weight in model.get_weights()])
    return model


def functional(*stored_layers):
    """A configuration of Keras 2: an input ``x`` of shape (None, 3), then these, one after the other."""
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3], "dtype": "float32"}}
    chain, before = [{**first, "name": "x", "inbound_nodes": []}], "x"
    for layer in stored_layers:
        name = layer["config"]["name"]
        chain.append({"inbound_nodes": [[[before, 0, 0, {}]]], **layer, "name": name})
        before = name
    config = {"name": "old", "layers": chain, "input_layers": [["x", 0, 0]], "output_layers": [[before, 0, 0]]}
    return {"class_name": "Model", "config": config}


def made(config, **kwargs):
    return keras.saving.deserialize_keras_object(rewritten(config, "2.15.0"), **kwargs)


def operation(function, *node):
    return {
        "class_name": "TFOpLambda",
        "config": {"name": f"tf.{function}", "function": function},
        "inbound_nodes": list(node),
    }


def whole(path, config, version="2.15.0"):
    """An `.h5` file of a model without weights, written by hand."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return path


def saved(model, path):
    """Keras warns of `.h5` by its log alone."""
    model.save(path)
    return path


def with_weights(path, config, version, weights):
    """An `.h5` file with the weights of its layers, by the layers' names: (name, array) in the order stored."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = np.array([f"{layer}/{name}".encode() for name, _ in arrays], dtype="S")
            for name, array in arrays:
                inner[f"{layer}/{name}"] = array
    return path
