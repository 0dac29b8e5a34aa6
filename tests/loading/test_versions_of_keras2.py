"""`load_model`: what each version of Keras 2 stored, written by hand, against the layers' equations in loops."""

from itertools import cycle

import keras
import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import UnsupportedError
from keras2_configurations import (
    VERSIONS,
    WITHOUT_DTYPE,
    archive,
    dense,
    flatten,
    graph,
    input_layer,
    is_standalone,
    layer,
    random_arrays,
    recurrent,
    sequence,
)
from loading_files import MARKS, assert_gives, with_weights

pytestmark = MARKS
SAMPLES, STEPS, WIDTH, UNITS = 3, 7, 5, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def lstm(steps, kernel, recurrent_kernel, bias, gate):
    h, c, states = np.zeros(UNITS), np.zeros(UNITS), []
    for x in steps:
        i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def gru(steps, kernel, recurrent_kernel, bias, gate):
    """One bias: the reset gate acts before the product with the state; two: after it."""
    after = bias.ndim == 2
    of_input, of_state = bias if after else (bias, np.zeros_like(bias))
    h, states = np.zeros(UNITS), []
    for x in steps:
        z_x, r_x, g_x = np.split(x @ kernel + of_input, 3)
        z_h, r_h, g_h = np.split(h @ recurrent_kernel + of_state, 3)
        z, r = gate(z_x + z_h), gate(r_x + r_h)
        new = np.tanh(g_x + (r * g_h if after else (r * h) @ np.split(recurrent_kernel, 3, axis=1)[2]))
        h = z * h + (1 - z) * new
        states.append(h)
    return np.array(states)


CELLS = {"LSTM": (lstm, 4), "GRU": (gru, 3)}


def attention_over_states(version, class_name):
    """The recipe that people copied: a score for each state, softmax over time, and the states by their weights."""
    return graph(
        version,
        (input_layer(version, "input_1", STEPS, WIDTH), []),
        (recurrent(version, class_name, "states", UNITS), ["input_1"]),
        (dense(version, "scores", 1, "tanh"), ["states"]),
        (flatten(version, "flat"), ["scores"]),
        (layer(version, "Activation", "weights", activation="softmax"), ["flat"]),
        (layer(version, "RepeatVector", "repeated", n=UNITS), ["weights"]),
        (layer(version, "Permute", "by_step", dims=[2, 1]), ["repeated"]),
        (layer(version, "Multiply", "weighted"), ["states", "by_step"]),
        (flatten(version, "all"), ["weighted"]),
        (dense(version, "out", 2), ["all"]),
        outputs=["out"],
    )


@pytest.mark.parametrize(("version", "class_name"), [("2.0.6", "GRU"), *zip(VERSIONS, cycle(CELLS), strict=False)])
def test_attention_over_states_gives_what_its_equations_give(version, class_name, rng, tmp_path):
    cell, gates = CELLS[class_name]
    two_biases = class_name == "GRU" and not is_standalone(version)
    bias = (2, gates * UNITS) if two_biases else (gates * UNITS,)
    arrays = random_arrays(rng, (WIDTH, gates * UNITS), (UNITS, gates * UNITS), bias)
    score, out = random_arrays(rng, (UNITS, 1), (1,)), random_arrays(rng, (STEPS * UNITS, 2), (2,))
    names = ["kernel:0", "recurrent_kernel:0", "bias:0"]
    weights = {"states": list(zip(names, arrays, strict=True))}
    for name, (kernel, its_bias) in {"scores": score, "out": out}.items():
        weights[name] = [("kernel:0", kernel), ("bias:0", its_bias)]
    path = with_weights(tmp_path / "old.h5", attention_over_states(version, class_name), version, weights)
    model = ats.load_model(path)
    samples = rng.normal(size=(SAMPLES, STEPS, WIDTH)).astype("float32")
    gate = hard_sigmoid if version in WITHOUT_DTYPE else sigmoid
    expected, attention = [], []
    for steps in samples:
        states = cell(steps, *arrays, gate)
        attention.append(softmax(np.tanh(states @ score[0] + score[1])[:, 0]))
        expected.append((states * attention[-1][:, None]).ravel() @ out[0] + out[1])
    assert_gives(model, samples, [np.array(expected)], 1e-4)
    maps = ats.capture(model, samples)
    np.testing.assert_allclose(maps["weights"].values.reshape(SAMPLES, STEPS), attention, atol=1e-5)


# Layers without a dtype -----------------------------------------------------------------------------------------------

A, B = np.random.default_rng(3).normal(size=(2, SAMPLES, STEPS, WIDTH)).astype("float32")
PLAIN = {
    "Add": ({}, 2, A + B),
    "Subtract": ({}, 2, A - B),
    "Multiply": ({}, 2, A * B),
    "Average": ({}, 2, (A + B) / 2),
    "Maximum": ({}, 2, np.maximum(A, B)),
    "Minimum": ({}, 2, np.minimum(A, B)),
    "Concatenate": ({"axis": 1}, 2, np.concatenate([A, B], axis=1)),
    "Dot": ({"axes": [1, 1], "normalize": False}, 2, np.einsum("stw,stv->swv", A, B)),
    "Reshape": ({"target_shape": [WIDTH, STEPS]}, 1, A.reshape(SAMPLES, WIDTH, STEPS)),
    "Permute": ({"dims": [2, 1]}, 1, A.transpose(0, 2, 1)),
    "Flatten": ({}, 1, A.reshape(SAMPLES, -1)),
    "ReLU": ({"max_value": 0.5}, 1, np.clip(A, 0, 0.5)),
    "Softmax": ({"axis": 1}, 1, np.exp(A) / np.exp(A).sum(1, keepdims=True)),
    "Activation": ({"activation": "relu"}, 1, np.maximum(A, 0)),
    "LeakyReLU": ({"alpha": 0.25}, 1, np.where(A > 0, A, 0.25 * A)),
    "ELU": ({"alpha": 0.5}, 1, np.where(A > 0, A, 0.5 * (np.exp(A) - 1))),
    "ThresholdedReLU": ({"theta": 0.5}, 1, np.where(A > 0.5, A, 0)),
    "Dropout": ({"rate": 0.5}, 1, A),
    "SpatialDropout1D": ({"rate": 0.5}, 1, A),
    "GaussianNoise": ({"stddev": 0.5}, 1, A),
    "Masking": ({"mask_value": 9.0}, 1, A),
    "GlobalMaxPooling1D": ({}, 1, A.max(1)),
    "GlobalAveragePooling1D": ({}, 1, A.mean(1)),
    "UpSampling1D": ({"size": 2}, 1, A.repeat(2, axis=1)),
    "ZeroPadding1D": ({"padding": [1, 2]}, 1, np.pad(A, ((0, 0), (1, 2), (0, 0)))),
    "ActivityRegularization": ({"l1": 0.1, "l2": 0.0}, 1, A),
}


@pytest.mark.parametrize(
    ("class_name", "version"),
    [
        pytest.param(name, version, marks=pytest.mark.every_backend if name == "Multiply" else ())
        for name, version in zip(PLAIN, cycle(WITHOUT_DTYPE), strict=False)
    ],
)
def test_a_layer_without_a_dtype_is_a_layer(class_name, version, tmp_path):
    settings, count, expected = PLAIN[class_name]
    names = ["a", "b"][:count]
    inputs = [(input_layer(version, name, STEPS, WIDTH), []) for name in names]
    config = graph(version, *inputs, (layer(version, class_name, "last", **settings), names), outputs=["last"])
    model = ats.load_model(with_weights(tmp_path / "old.h5", config, version, {}))
    assert_gives(model, [A, B] if count == 2 else A, [expected], 1e-5)
    assert type(model.get_layer("last")).__module__.startswith("keras.src.layers.")


def test_a_number_that_is_stored_as_an_array_is_a_number(tmp_path):
    """Keras 2.2.4 keeps the limits of a ReLU as arrays without axes."""
    limits = {key: {"type": "ndarray", "value": value} for key, value in {"max_value": 0.5, "threshold": 0.25}.items()}
    relu = layer("2.2.4", "ReLU", "last", **limits, negative_slope={"type": "ndarray", "value": 0.0})
    config = graph("2.2.4", (input_layer("2.2.4", "a", STEPS, WIDTH), []), (relu, ["a"]), outputs=["last"])
    model = ats.load_model(with_weights(tmp_path / "old.h5", config, "2.2.4", {}))
    assert_gives(model, A, [np.where(A >= 0.5, 0.5, np.where(A >= 0.25, A, 0))], 1e-6)


def test_a_regularizer_of_what_a_layer_returns_changes_no_output(rng, tmp_path):
    stored = dense("2.2.4", "last", 2)
    stored["config"]["activity_regularizer"] = {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.25}}
    config = graph("2.2.4", (input_layer("2.2.4", "a", STEPS, WIDTH), []), (stored, ["a"]), outputs=["last"])
    kernel, bias = random_arrays(rng, (WIDTH, 2), (2,))
    weights = {"last": [("kernel:0", kernel), ("bias:0", bias)]}
    model = ats.load_model(with_weights(tmp_path / "old.h5", config, "2.2.4", weights))
    assert_gives(model, A, [A @ kernel + bias], 1e-5)
    assert float(model.get_layer("last").activity_regularizer.l2) == 0.25


# Sequential -----------------------------------------------------------------------------------------------------------


def first(entry, *shape):
    """A first layer, which stored the shape and the dtype of the input."""
    settings = {"batch_input_shape": [None, *shape], "dtype": "float32"}
    return {**entry, "config": {**entry["config"], **settings}}


@pytest.mark.parametrize("version", WITHOUT_DTYPE)
def test_a_sequence_of_sequences(version, rng, tmp_path):
    inner = sequence(version, first(dense(version, "dense_1", 3, "tanh"), WIDTH), dense(version, "dense_2", 2))
    outer = sequence(version, inner, dense(version, "dense_3", 4))
    kernels = random_arrays(rng, (WIDTH, 3), (3,), (3, 2), (2,), (2, 4), (4,))
    named = [(f"dense_{i // 2 + 1}/{'bias' if i % 2 else 'kernel'}:0", array) for i, array in enumerate(kernels)]
    weights = {"sequential_1": named[:4], "dense_3": named[4:]}
    model = ats.load_model(with_weights(tmp_path / "old.h5", outer, version, weights))
    x = A[:, 0]
    expected = (np.tanh(x @ kernels[0] + kernels[1]) @ kernels[2] + kernels[3]) @ kernels[4] + kernels[5]
    assert_gives(model, x, [expected], 1e-5)


@pytest.mark.parametrize("version", WITHOUT_DTYPE)
def test_a_sequence_inside_of_a_graph_is_called_as_it_was(version, rng, tmp_path):
    """The call that made it counts as its first, whether or not it stores an input."""
    inner = {**sequence(version, first(dense(version, "dense_1", WIDTH, "tanh"), WIDTH)), "name": "inner"}
    if isinstance(inner["config"], dict):
        inner["config"]["name"] = "inner"
    config = graph(
        version,
        (input_layer(version, "a", WIDTH), []),
        (inner, ["a"]),
        (dense(version, "last", 2), [("inner", 1)]),
        outputs=["last"],
    )
    kernels = random_arrays(rng, (WIDTH, WIDTH), (WIDTH,), (WIDTH, 2), (2,))
    pairs = [("kernel:0", kernels[0]), ("bias:0", kernels[1])], [("kernel:0", kernels[2]), ("bias:0", kernels[3])]
    weights = dict(zip(("inner", "last"), pairs, strict=True))
    model = ats.load_model(with_weights(tmp_path / "old.h5", config, version, weights))
    x = A[:, 0]
    assert_gives(model, x, [np.tanh(x @ kernels[0] + kernels[1]) @ kernels[2] + kernels[3]], 1e-5)


# Layers that only add a loss or a metric ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stored",
    [
        layer("2.6.0", "AddLoss", "side", unconditional=False),
        layer("2.6.0", "AddMetric", "side", aggregation="mean", metric_name="kl"),
    ],
    ids=lambda entry: entry["class_name"],
)
def test_a_layer_that_adds_a_loss_or_a_metric_hands_on_what_it_gets(stored, tmp_path):
    first_layer = input_layer("2.6.0", "a", STEPS, WIDTH)
    relu = layer("2.6.0", "Activation", "last", activation="relu")
    config = graph("2.6.0", (first_layer, []), (stored, ["a"]), (relu, ["side"]), outputs=["last"])
    model = ats.load_model(with_weights(tmp_path / "old.h5", config, "2.6.0", {}))
    assert_gives(model, A, [np.maximum(A, 0)], 1e-6)


# Archives -------------------------------------------------------------------------------------------------------------


def two_dense_layers(version):
    config = graph(
        version,
        (input_layer(version, "a", STEPS, WIDTH), []),
        (recurrent(version, "LSTM", "states", UNITS), ["a"]),
        (dense(version, "one", 3, "tanh"), ["states"]),
        (dense(version, "two", 2), ["one"]),
        outputs=["two"],
    )
    return {"module": "keras.src.engine.functional", **config, "registered_name": "Functional"}


# Until 2.13 a layer with weights was listed twice, so that the second of two had the number 2.
PLACES = {
    "2.13.1": ("_layer_checkpoint_dependencies", "dense_2"),
    "2.15.0": ("layers", "dense_1"),
}


@pytest.mark.parametrize(
    "separator",
    [pytest.param("/", id="linux"), pytest.param("\\", id="windows", marks=pytest.mark.every_backend)],
)
@pytest.mark.parametrize("version", PLACES)
@pytest.mark.parametrize("alone", [False, True], ids=["whole", "weights alone"])
def test_an_archive_of_either_system_gives_what_its_equations_give(version, separator, alone, rng, tmp_path):
    attribute, second = PLACES[version]
    cell = random_arrays(rng, (WIDTH, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))
    one, two = random_arrays(rng, (UNITS, 3), (3,)), random_arrays(rng, (3, 2), (2,))
    groups = {
        (attribute, "input_layer"): [],
        (attribute, "lstm"): [],
        (attribute, "lstm", "cell"): cell,
        (attribute, "dense"): one,
        (attribute, second): two,
    }
    path = archive(tmp_path / "old.keras", version, two_dense_layers(version), groups, separator=separator)
    model = ats.load_model(path)
    if alone:
        model.set_weights([weight + 1 for weight in model.get_weights()])
        assert ats.load_model(path, model) is model
    expected = [np.tanh(lstm(steps, *cell, sigmoid) @ one[0] + one[1]) @ two[0] + two[1] for steps in A]
    assert_gives(model, A, [np.array(expected)], 1e-5)


# Keras 1 --------------------------------------------------------------------------------------------------------------


def merge(**settings):
    own = {"mode_type": "raw", "dot_axes": -1, "concat_axis": -1, "output_shape": None, "output_shape_type": "raw"}
    return layer("2.0.6", "Merge", "merge_1", **own, **settings)


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("concat", "keras.layers.Concatenate(axis=-1)"),
        ("sum", "keras.layers.Add()"),
        ("mul", "keras.layers.Multiply()"),
    ],
)
def test_merge_is_no_class_of_the_users(mode, code, tmp_path):
    inputs = [(input_layer("2.0.6", name, WIDTH), []) for name in ("a", "b")]
    config = graph("2.0.6", *inputs, (merge(mode=mode), ["a", "b"]), outputs=["merge_1"])
    path = with_weights(tmp_path / "old.h5", config, "2.0.6", {})
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(path)
    assert str(caught.value) == (
        "'merge_1' is a Merge, a layer of Keras 1 that Keras 3 does not have. Put a layer that does the same in its "
        f"place: load_model(path, replacements={{'merge_1': {code}}})."
    )
    model = ats.load_model(path, replacements={"merge_1": eval(code, {"keras": keras})})
    x, y = A[:, 0], B[:, 0]
    expected = {"concat": np.concatenate([x, y], -1), "sum": x + y, "mul": x * y}[mode]
    assert_gives(model, [x, y], [expected], 1e-6)


def test_a_merge_of_whole_models_is_told_apart(tmp_path):
    inner = [sequence("2.0.6", first(dense("2.0.6", f"dense_{i}", 2), WIDTH)) for i in (1, 2)]
    config = sequence("2.0.6", merge(mode="concat", layers=inner), dense("2.0.6", "last", 2))
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(with_weights(tmp_path / "old.h5", config, "2.0.6", {}))
    assert str(caught.value) == (
        "'merge_1' is a Merge, a layer of Keras 1 that joins whole models, which Keras 3 does not have. Build the "
        "model in Python as it was, and load only the weights into it: load_model(path, model)."
    )


@pytest.mark.parametrize(
    ("class_name", "generation"),
    [("MaxoutDense", 1), ("Highway", 1), ("TimeDistributedDense", 1), ("LocallyConnected1D", 2)],
)
def test_a_layer_that_keras_had_is_no_class_of_the_users(class_name, generation, tmp_path):
    config = sequence("2.2.4", first(layer("2.2.4", class_name, "former"), WIDTH))
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(with_weights(tmp_path / "old.h5", config, "2.2.4", {}))
    assert str(caught.value) == (
        f"'former' is a {class_name}, a layer of Keras {generation} that Keras 3 does not have. Pass a class that does "
        f"the same, or your own if it only has that name: load_model(path, custom_objects={{'{class_name}': "
        f"{class_name}}})."
    )


def test_a_file_of_keras_1_is_told(tmp_path):
    stored = {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 2, "init": "glorot_uniform"}}
    stored["config"] |= {"W_regularizer": None, "batch_input_shape": [None, WIDTH]}
    path = with_weights(tmp_path / "old.h5", {"class_name": "Sequential", "config": [stored]}, "1.2.2", {})
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(path)
    assert str(caught.value) == (
        "old.h5 was saved by Keras 1.2.2, which described layers in other terms (here Dense with W_regularizer, init). "
        "Open it with Keras 2.0 to 2.3.1, which translates them, and save it again; or build the model in Python."
    )


# Masks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.every_backend
@pytest.mark.parametrize("version", ["2.2.4", "2.10.0"])
def test_a_masked_sequence_that_begins_at_a_state_stays_masked(version, rng, tmp_path):
    """A decoder: at padding it repeats what it returned before, as in every version of Keras 2."""
    words = layer(version, "Embedding", "words", input_dim=11, output_dim=WIDTH, mask_zero=True, input_length=STEPS)
    config = graph(
        version,
        (input_layer(version, "a", STEPS), []),
        (input_layer(version, "state", UNITS), []),
        (words, ["a"]),
        (recurrent(version, "LSTM", "last", UNITS), ["words", "state", "state"]),
        outputs=["last"],
    )
    table, *cell = random_arrays(rng, (11, WIDTH), (WIDTH, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))
    names = ["kernel:0", "recurrent_kernel:0", "bias:0"]
    weights = {"words": [("embeddings:0", table)], "last": list(zip(names, cell, strict=True))}
    path = with_weights(tmp_path / "old.h5", config, version, weights)
    ids = np.array([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 0, 0, 0, 0], [8, 7, 0, 9, 3, 2, 0]], "float32")
    state = rng.normal(size=(SAMPLES, UNITS)).astype("float32")
    gate = hard_sigmoid if version in WITHOUT_DTYPE else sigmoid
    expected = []
    for sentence, begin in zip(ids.astype(int), state, strict=True):
        h, c, last = begin, begin, np.zeros(UNITS)
        for word in sentence:
            if word:
                i, f, g, o = np.split(table[word] @ cell[0] + h @ cell[1] + cell[2], 4)
                c = gate(f) * c + gate(i) * np.tanh(g)
                h = last = gate(o) * np.tanh(c)
            expected.append(last)
    model = ats.load_model(path)
    assert_gives(model, [ids, state], [np.reshape(expected, (SAMPLES, STEPS, UNITS))], 1e-5)
    model.save(tmp_path / "again.keras")
    again = ats.load_model(tmp_path / "again.keras")
    assert_gives(again, [ids, state], [np.reshape(expected, (SAMPLES, STEPS, UNITS))], 1e-5)
