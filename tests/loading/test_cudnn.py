"""Layers that Keras 2 had for NVIDIA's cuDNN alone, in old ``.h5`` files, against cuDNN's equations in loops."""

import json

import h5py
import keras
import numpy as np
import pytest

import attnscope as ats

pytestmark = pytest.mark.filterwarnings("ignore::attnscope.errors.KnownHolesWarning")
STEPS, INPUTS, UNITS = 7, 5, 3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates(kernel, inputs, count):
    """cuDNN's matrix of each gate: the numbers of the stored one, row by row, as (units, inputs)."""
    return [gate.ravel().reshape(UNITS, inputs) for gate in np.split(kernel, count, axis=1)]


def lstm(steps, kernel, recurrent, bias):
    """Gates in the order input, forget, cell, output; the biases of the inputs, then those of the states."""
    w, r, b = gates(kernel, INPUTS, 4), gates(recurrent, UNITS, 4), bias.reshape(8, UNITS)
    h, c, states = np.zeros(UNITS), np.zeros(UNITS), []
    for x in steps:
        i, f, g, o = (w[k] @ x + r[k] @ h + b[k] + b[k + 4] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states)


def gru(steps, kernel, recurrent, bias):
    """Gates in the order update, reset, new; the reset gate acts after the product with the state."""
    w, r, b = gates(kernel, INPUTS, 3), gates(recurrent, UNITS, 3), bias.reshape(6, UNITS)
    h, states = np.zeros(UNITS), []
    for x in steps:
        update = sigmoid(w[0] @ x + r[0] @ h + b[0] + b[3])
        reset = sigmoid(w[1] @ x + r[1] @ h + b[1] + b[4])
        new = np.tanh(w[2] @ x + b[2] + reset * (r[2] @ h + b[5]))
        h = (1 - update) * new + update * h
        states.append(h)
    return np.stack(states)


CELLS = {"CuDNNLSTM": (lstm, 4), "CuDNNGRU": (gru, 3)}


def numbers_of(class_name, rng):
    count = CELLS[class_name][1]
    shapes = (INPUTS, count * UNITS), (UNITS, count * UNITS), (2 * count * UNITS,)
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def layer(class_name):
    return {
        "class_name": class_name,
        "config": {"name": "states", "trainable": True, "units": UNITS, "return_sequences": True, "stateful": False}
        | ({"unit_forget_bias": True, "time_major": False} if class_name == "CuDNNLSTM" else {}),
    }


def whole(path, stored, weights):
    first = {"name": "x", "batch_input_shape": [None, STEPS, INPUTS], "dtype": "float32"}
    layers = [{"class_name": "InputLayer", "config": first}, stored]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.2.4"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "old", "layers": layers}}
        )
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"states"]
        inner = group.create_group("states")
        inner.attrs["weight_names"] = [name.encode() for name, _ in weights]
        for name, value in weights:
            inner[name] = value
    return path


def named(prefix, weights):
    names = ("kernel:0", "recurrent_kernel:0", "bias:0")
    return [(f"{prefix}/{name}", value) for name, value in zip(names, weights, strict=True)]


@pytest.mark.parametrize("class_name", CELLS)
def test_a_layer_of_cudnn_gives_what_its_equations_give(class_name, rng, tmp_path):
    weights = numbers_of(class_name, rng)
    model = ats.load_model(whole(tmp_path / "old.h5", layer(class_name), named("states", weights)))
    samples = rng.normal(size=(2, STEPS, INPUTS)).astype("float32")
    expected = [CELLS[class_name][0](steps, *weights) for steps in samples]
    np.testing.assert_allclose(model.predict(samples, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("class_name", CELLS)
def test_a_layer_of_cudnn_in_both_directions(class_name, rng, tmp_path):
    forward, backward = numbers_of(class_name, rng), numbers_of(class_name, rng)
    config = {"name": "states", "merge_mode": "concat", "layer": layer(class_name)}
    weights = named("states/forward", forward) + named("states/backward", backward)
    path = whole(tmp_path / "old.h5", {"class_name": "Bidirectional", "config": config}, weights)
    samples = rng.normal(size=(2, STEPS, INPUTS)).astype("float32")
    cell = CELLS[class_name][0]
    expected = [
        np.concatenate([cell(steps, *forward), cell(steps[::-1], *backward)[::-1]], axis=-1) for steps in samples
    ]
    np.testing.assert_allclose(ats.load_model(path).predict(samples, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize(("class_name", "today"), [("CuDNNLSTM", "LSTM"), ("CuDNNGRU", "GRU")])
def test_weights_of_cudnn_go_into_the_layer_of_today(class_name, today, rng, tmp_path):
    weights = numbers_of(class_name, rng)
    path = whole(tmp_path / "old.h5", layer(class_name), named("states", weights))
    model = keras.Sequential(
        [keras.Input((STEPS, INPUTS)), getattr(keras.layers, today)(UNITS, return_sequences=True, name="states")]
    )
    samples = rng.normal(size=(2, STEPS, INPUTS)).astype("float32")
    expected = [CELLS[class_name][0](steps, *weights) for steps in samples]
    np.testing.assert_allclose(ats.load_model(path, model).predict(samples, verbose=0), expected, atol=1e-5)
