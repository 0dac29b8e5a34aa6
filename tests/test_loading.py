"""`load_model`: files of Keras 2, made by `tf_keras` in a process of its own, and of Keras 3."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import (
    InputError,
    ModelFileError,
    UnbuiltModelError,
    UnsafeFileError,
    UnsupportedError,
    WeightsMismatchError,
)
from attnscope.loading import TensorOperation, replacements
from attnscope.loading.keras2 import rewritten
from attnscope.loading.operations import FUNCTIONS
from keras2_files import CALLS, MODELS, arrays, filled

pytestmark = [
    pytest.mark.filterwarnings("ignore:Keras .* has known holes"),
    # Keras says of a Flatten after a masked layer that it drops the mask, which Keras 2 did in silence.
    pytest.mark.filterwarnings("ignore:.*destroy the mask information"),
]
# bfloat16 keeps 8 bits, and the backends round at other places.
TOLERANCE = {"half_precision": 2**-7}
NO_GRAPH = ("subclassed", "h5")
LOADED = [name for name in MODELS if name not in ("summed_by_lambda", "doubled_by_lambda")]


@pytest.fixture(scope="session")
def keras2(tmp_path_factory):
    """The folder of the files."""
    folder = tmp_path_factory.mktemp("keras2")
    made = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).parent / "keras2_files.py", folder],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


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


# Keras 2 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix"), [(name, suffix) for name in LOADED for suffix in ("h5", "keras") if (name, suffix) != NO_GRAPH]
)
def test_a_model_of_keras_2_gives_what_keras_2_gave(keras2, name, suffix):
    model = ats.load_model(keras2 / f"{name}.{suffix}", custom_objects=OWN)
    assert_gives(model, *stored(keras2, name), TOLERANCE.get(name, 1e-5))
    assert not model.compiled


@pytest.mark.parametrize("name", LOADED)
def test_weights_that_keras_2_saved_alone_go_into_the_model(keras2, name):
    model = different(ats.load_model(keras2 / f"{name}.keras", custom_objects=OWN))
    assert ats.load_model(keras2 / f"{name}.weights_only.h5", model) is model
    assert_gives(model, *stored(keras2, name), TOLERANCE.get(name, 1e-5))


@pytest.mark.parametrize("name", LOADED)
def test_a_model_of_keras_2_saved_again_is_one_of_keras_3(keras2, name, tmp_path):
    model = ats.load_model(keras2 / f"{name}.keras", custom_objects=OWN)
    model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras", custom_objects=OWN)
    assert_gives(again, *stored(keras2, name), TOLERANCE.get(name, 1e-5))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_whole_models_give_their_weights_to_a_model_built_again(keras2, suffix):
    x, y = keras.Input((7, 5)), keras.Input((2, 5))
    model = keras.Model([x, y], layers.AdditiveAttention(name="another_name")([x, y]))
    if suffix == "keras":
        model = ats.load_model(
            keras2 / "additive_attention.keras", different(ats.load_model(keras2 / "additive_attention.h5"))
        )
    else:
        ats.load_model(keras2 / "additive_attention.h5", model)
    assert_gives(model, *stored(keras2, "additive_attention"))


def test_the_half_precision_of_keras_2_is_kept(keras2):
    model = ats.load_model(keras2 / "half_precision.h5")
    assert [layer.dtype_policy.name for layer in model.layers] == ["float32", "mixed_bfloat16", "float32"]


def test_what_was_frozen_stays_frozen(keras2):
    model = ats.load_model(keras2 / "nested.h5")
    assert not model.get_layer("block").trainable
    assert model.get_layer("head").trainable


@pytest.mark.parametrize("name", ["lstm_states", "gru_states", "operators"])
def test_the_softmax_of_an_old_model_is_captured(keras2, name):
    model = ats.load_model(keras2 / f"{name}.h5")
    inputs, _ = stored(keras2, name)
    sites = ats.sites(model, inputs)
    path = {"operators": "tf.nn.softmax"}.get(name, "attention_vec")
    assert path in [site.path for site in sites]
    scores = ats.capture(model, inputs, sites=path)[path]
    np.testing.assert_allclose(scores.sum("key"), 1.0, rtol=1e-5)
    inner = keras.Model(model.inputs[0], model.get_layer(path).output)
    np.testing.assert_allclose(scores.values.reshape(inner(inputs).shape), numbers(inner(inputs)), atol=1e-6)


def test_every_function_that_may_be_stored_is_compared_with_tensorflows():
    assert set(CALLS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", CALLS)
def test_a_function_gives_what_tensorflows_gives(keras2, name):
    found = {key: ops.convert_to_tensor(array) for key, array in arrays().items()}
    given = keras.tree.flatten(FUNCTIONS[name](**{key: filled(value, found) for key, value in CALLS[name].items()}))
    with np.load(keras2 / "functions.npz") as file:
        expected = [file[key] for key in file if key.rpartition("/")[0] == name]
    assert len(given) == len(expected)
    for one, other in zip(given, expected, strict=True):
        assert tuple(one.shape) == other.shape
        assert (keras.backend.standardize_dtype(one.dtype) == "bool") == (other.dtype == bool)
        np.testing.assert_allclose(numbers(one), other.astype("float32"), rtol=1e-5, atol=1e-6)


# Configurations -------------------------------------------------------------------------------------------------------


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


def test_the_configuration_that_is_given_is_left_as_it_was():
    config = functional({"class_name": "Dense", "config": {"name": "dense", "units": 2, "dtype": "float32"}})
    before = repr(config)
    rewritten(config, "2.15.0")
    assert repr(config) == before


def test_a_sequential_that_is_a_bare_list_takes_its_input_from_the_first_layer():
    scaled = {"scale": 1.0, "mode": "fan_avg", "distribution": "normal", "seed": None}
    dense = {
        **{"name": "dense_1", "units": 2, "batch_input_shape": [None, 3]},
        "kernel_initializer": {"class_name": "VarianceScaling", "config": scaled},
    }
    model = made({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": dense}]})
    assert (model.input_shape, model.output_shape) == ((None, 3), (None, 2))


def test_slashes_in_names_become_underscores():
    model = made(
        functional(
            {"class_name": "Dense", "config": {"name": "a/b", "units": 2}},
            {"class_name": "Dense", "config": {"name": "a/c", "units": 5}},
        )
    )
    assert [layer.name for layer in model.layers] == ["x", "a_b", "a_c"]


def test_the_hard_sigmoid_of_keras_2_is_its_own():
    model = made(functional({"class_name": "Activation", "config": {"name": "a", "activation": "hard_sigmoid"}}))
    x = np.array([[-2.6, 1.0, 2.4]], "float32")
    np.testing.assert_allclose(numbers(model(x)), [[0.0, 0.7, 0.98]], atol=1e-6)


@pytest.mark.parametrize(
    ("class_name", "setting", "value"),
    [("LSTM", "time_major", True), ("BatchNormalization", "renorm", True), ("Attention", "causal", True)],
)
def test_a_setting_without_an_equal_is_refused(class_name, setting, value):
    config = functional({"class_name": class_name, "config": {"name": "layer", setting: value}})
    with pytest.raises(UnsupportedError) as caught:
        rewritten(config, "2.15.0")
    assert str(caught.value) == (
        f"Layer 'layer' ({class_name}) was stored with {setting}={value!r}, which Keras 3 does not have. Build the "
        "model in Keras 3, and call attnscope.load_model(path, model) for the weights."
    )


def operation(function, *node):
    return {
        "class_name": "TFOpLambda",
        "config": {"name": f"tf.{function}", "function": function},
        "inbound_nodes": list(node),
    }


def test_a_function_without_an_equal_is_refused():
    with pytest.raises(UnsupportedError) as caught:
        rewritten(functional(operation("signal.fft", ["x", 0, 0, {}])), "2.15.0")
    assert str(caught.value) == (
        "Layer 'tf.signal.fft' runs tf.signal.fft, which has no form in Keras 3 here. Give a layer or function that "
        "does the same: replacements={'tf.signal.fft': function}."
    )


def test_an_argument_without_an_equal_is_refused():
    with pytest.raises(UnsupportedError) as caught:
        rewritten(functional(operation("math.cumsum", ["x", 0, 0, {"axis": 1, "reverse": True}])), "2.15.0")
    assert str(caught.value) == ("tf.math.cumsum is called with reverse, but only x, axis have a form in Keras 3 here.")


def test_an_operation_that_is_called_with_different_constants_is_refused():
    nodes = ["x", 0, 0, {"y": 2.0}], ["x", 0, 0, {"y": 3.0}]
    with pytest.raises(UnsupportedError) as caught:
        rewritten(functional(operation("math.multiply", *nodes)), "2.15.0")
    assert str(caught.value) == (
        "Layer 'tf.math.multiply' runs tf.math.multiply several times with different constants, but one layer keeps "
        "one set. Build the model in Keras 3, and call attnscope.load_model(path, model)."
    )


def test_a_call_on_a_layer_that_is_not_there_is_told():
    dense = {"class_name": "Dense", "config": {"name": "dense", "units": 2}, "inbound_nodes": [[["lost", 0, 0, {}]]]}
    with pytest.raises(ModelFileError) as caught:
        rewritten(functional(dense), "2.15.0")
    assert str(caught.value) == (
        "A call takes the output of a layer 'lost', but the model has only dense, x. The file is damaged: save the "
        "model again."
    )


def test_a_configuration_that_lacks_its_parts_is_told(tmp_path):
    path = whole(tmp_path / "old.h5", functional({"class_name": "Dense", "config": {"name": "dense"}}))
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("batch_input_shape", "lost")
    with pytest.raises(ModelFileError, match=r"^Keras .* cannot make a model of old.h5, which Keras 2.15.0 saved. "):
        ats.load_model(path)


def test_replacements_reach_layers_within_layers_and_models(tmp_path):
    doubling = {"class_name": "Lambda", "config": {"name": "twice", "function": ["", None, None]}}
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [doubling]}}
    path = whole(tmp_path / "old.h5", functional(inner))
    model = ats.load_model(path, replacements={"twice": replacements.scale(2.0)})
    assert_gives(model, np.ones((2, 3), "float32"), [np.full((2, 3), 2.0)])


def test_a_model_without_a_graph_is_told():
    with pytest.raises(UnsupportedError) as caught:
        rewritten({"class_name": "Model", "config": {"name": "mine"}}, "2.15.0")
    assert str(caught.value) == (
        "The file holds a model of class 'Model' without its graph of layers. Build it in Python, and load the weights "
        "into it: attnscope.load_model(path, model)."
    )


# Lambdas --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_lambda_is_refused_with_its_name_and_the_ways_out(keras2, suffix):
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(keras2 / f"summed_by_lambda.{suffix}")
    said = str(caught.value)
    assert said.startswith("'lambda' is a Lambda and would run ")
    assert "in which stand 'axis', 'sum', 'xin'" in said
    assert said.endswith(
        "Expected layers whose code is installed, not brought by the file. If you trust whoever made it: "
        "load_model(path, trust=True); or put a layer of yours in its place: load_model(path, "
        "replacements={'lambda': layer})."
    )


def sum_over_time(x):
    return ops.sum(x, axis=1)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("replacement", [replacements.sum_over(axis=1), sum_over_time], ids=["ready layer", "function"])
def test_a_lambda_is_replaced_by_name(keras2, suffix, replacement):
    model = ats.load_model(keras2 / f"summed_by_lambda.{suffix}", replacements={"lambda": replacement})
    assert_gives(model, *stored(keras2, "summed_by_lambda"))
    assert model.get_layer("lambda") is not replacement


def test_a_model_with_a_ready_replacement_is_saved_and_loaded_in_safety(keras2, tmp_path):
    model = ats.load_model(keras2 / "summed_by_lambda.h5", replacements={"lambda": replacements.sum_over(axis=1)})
    model.save(tmp_path / "again.keras")
    assert_gives(ats.load_model(tmp_path / "again.keras"), *stored(keras2, "summed_by_lambda"))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_lambda_in_a_trusted_file_is_run(keras2, suffix):
    model = ats.load_model(keras2 / f"doubled_by_lambda.{suffix}", trust=True)
    assert_gives(model, *stored(keras2, "doubled_by_lambda"))


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_lambda_of_keras_3_is_refused_replaced_or_trusted(suffix, tmp_path):
    x = keras.Input((5,))
    path = saved(keras.Model(x, layers.Lambda(lambda y: y * 2.0, name="twice")(x)), tmp_path / f"model.{suffix}")
    ones = np.ones((3, 5), "float32")
    with pytest.raises(UnsafeFileError, match=r"^'twice' is a Lambda and would run"):
        ats.load_model(path)
    assert_gives(ats.load_model(path, trust=True), ones, [2 * ones])
    assert_gives(ats.load_model(path, replacements={"twice": replacements.scale(3.0)}), ones, [3 * ones])


def test_a_trusted_lambda_that_cannot_be_revived_is_told(tmp_path):
    path = tmp_path / "old.h5"
    function = {"function": ["bm8gY29kZQ==", None, None], "function_type": "lambda", "output_shape_type": "raw"}
    whole(path, functional({"class_name": "Lambda", "config": {"name": "mystery", **function}}))
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path, trust=True)
    assert str(caught.value) == (
        f"Keras {keras.version()} cannot make a model of old.h5, which Keras 2.15.0 saved. ValueError: bad marshal "
        "data (unknown type code) Its Lambda layers 'mystery' hold Python bytecode, which needs the Python and the "
        "names that were there when it was written. Put a layer in their place: replacements={'mystery': "
        "attnscope.loading.replacements.sum_over(axis=1)}, or what they did."
    )


def test_replacements_for_layers_that_are_not_there_are_told(keras2):
    with pytest.raises(InputError) as caught:
        ats.load_model(keras2 / "summed_by_lambda.h5", replacements={"lambda_1": sum_over_time})
    assert str(caught.value) == (
        "Replacements are given for 'lambda_1', but summed_by_lambda.h5 has only the layers 'model', 'input_1', "
        "'lambda', 'dense'."
    )


def test_a_replacement_that_is_no_layer_is_told(keras2):
    with pytest.raises(InputError) as caught:
        ats.load_model(keras2 / "summed_by_lambda.h5", replacements={"lambda": 3})
    assert str(caught.value) == (
        "The replacement of 'lambda' is a int, but a Keras layer or a function is needed: replacements={'lambda': "
        "attnscope.loading.replacements.sum_over(axis=1)}."
    )


def test_an_operation_without_an_equal_is_replaced_by_a_function(tmp_path):
    path = tmp_path / "old.h5"
    whole(path, functional(operation("signal.fft", ["x", 0, 0, {}])))
    model = ats.load_model(path, replacements={"tf.signal.fft": lambda x: x * 3.0})
    np.testing.assert_array_equal(numbers(model(np.ones((2, 3), "float32"))), np.full((2, 3), 3.0))


X = np.random.default_rng(5).normal(size=(2, 3, 5)).astype("float32")


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (replacements.sum_over(axis=1), X.sum(1)),
        (replacements.sum_over(axis=[0, 2], keepdims=True), X.sum((0, 2), keepdims=True)),
        (replacements.mean_over(axis=1), X.mean(1)),
        (replacements.max_over(axis=2, keepdims=True), X.max(2, keepdims=True)),
        (replacements.softmax_over(axis=1), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
        (replacements.expand(axis=1), X[:, None]),
        (replacements.squeeze(axis=1), X[:, 0]),
        (replacements.step(-1), X[:, -1]),
        (replacements.scale(0.5), X * 0.5),
        (replacements.cast("int32"), X.astype("int32")),
    ],
    ids=lambda value: value.function if isinstance(value, TensorOperation) else "",
)
def test_ready_replacements_do_what_they_say(layer, expected):
    x = X[:, :1] if layer.function == "squeeze" else X
    again = TensorOperation.from_config(layer.get_config())
    np.testing.assert_allclose(numbers(again(x)), expected, rtol=1e-5, atol=1e-6)
    assert again.compute_output_spec(keras.KerasTensor(x.shape)).shape == expected.shape


def test_a_function_that_is_not_known_makes_no_layer():
    with pytest.raises(
        UnsupportedError, match=r"^The function is 'io.read_file', but only these have a form in keras.ops"
    ):
        TensorOperation("io.read_file")


# Keras 3 --------------------------------------------------------------------------------------------------------------


def dot_attention():
    x, y = keras.Input((7, 5)), keras.Input((2, 5))
    return keras.Model([x, y], layers.Attention(use_scale=True)([x, y]))


def grouped():
    x = keras.Input((7, 5))
    return keras.Model(x, layers.GroupQueryAttention(3, 4, 2)(x, x))


def operators():
    x = keras.Input((7, 5))
    scores = ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 2.0, axis=-1)
    return keras.Model(x, ops.sum(ops.matmul(scores, x) * 2 - 1, axis=1)[:, 1:3])


def masked():
    x = keras.Input((7,))
    y = layers.Embedding(11, 4, mask_zero=True)(x)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(y)
    return keras.Model(x, layers.MultiHeadAttention(2, 3)(y, y))


def nested():
    x = keras.Input((7, 5))
    block = keras.Model(x, [layers.Dense(5)(x), layers.Dense(5)(x)], name="block")
    head = keras.Sequential([keras.Input((7, 5)), layers.Dense(3)], name="head")
    x = keras.Input((7, 5))
    first, second = block(x)
    third, fourth = block(first)
    return keras.Model(x, [fourth, head(second), third])


def named():
    x, y = keras.Input((7, 5), name="a"), keras.Input((2, 5), name="b")
    return keras.Model({"a": x, "b": y}, {"out": layers.Attention()([x, y])})


def states():
    x, y = keras.Input((7, 5)), keras.Input((2, 5))
    encoded, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    decoded = layers.LSTM(4, return_sequences=True)(y, initial_state=[h, c])
    return keras.Model([x, y], layers.Attention()([decoded, encoded]))


def of_ours():
    x = keras.Input((7, 5))
    return keras.Model(x, ats.layers.SharedValueMultiHeadAttention(2, 3)(x, x, x))


KERAS3 = [dot_attention, grouped, operators, masked, nested, named, states, of_ours]


def samples(model, rng):
    """Whole numbers below 5, which serve as words too."""
    inputs = [rng.integers(0, 5, size=(3, *x.shape[1:])).astype("float32") for x in model.inputs]
    if isinstance(model.input, dict):
        return dict(zip(model.input, inputs, strict=True))
    return inputs[0] if len(inputs) == 1 else inputs


def saved(model, path):
    """Keras warns of `.h5` by its log alone."""
    model.save(path)
    return path


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize("make", KERAS3)
def test_a_model_of_keras_3_gives_what_it_gave(make, suffix, tmp_path, rng):
    model = make()
    inputs = samples(model, rng)
    outputs = [numbers(y) for y in keras.tree.flatten(model(inputs))]
    assert_gives(ats.load_model(saved(model, tmp_path / f"model.{suffix}")), inputs, outputs, 1e-6)


NEW = pytest.mark.skipif(keras.version() < "3.15", reason="older Keras loads this one")


@pytest.mark.parametrize("make", [operators, masked, *(pytest.param(of, marks=NEW) for of in (dot_attention, states))])
def test_keras_itself_does_not_load_these(make, tmp_path):
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(saved(make(), tmp_path / "model.h5"))


@pytest.mark.parametrize("make", KERAS3)
def test_weights_that_keras_3_saved_alone_go_into_the_model(make, tmp_path, rng):
    model = make()
    inputs = samples(model, rng)
    outputs = [numbers(y) for y in keras.tree.flatten(model(inputs))]
    model.save_weights(tmp_path / "its.weights.h5")
    assert_gives(ats.load_model(tmp_path / "its.weights.h5", different(model)), inputs, outputs, 1e-6)


def test_a_compiled_model_comes_back_uncompiled_and_can_be_trained_on(tmp_path, rng):
    model = dot_attention()
    inputs = samples(model, rng)
    model.compile("adam", "mse")
    model.fit(inputs, np.zeros((3, 7, 5)), verbose=0)
    outputs = [numbers(model(inputs))]
    for name in ("model.keras", "model.h5"):
        loaded = ats.load_model(saved(model, tmp_path / name))
        assert not loaded.compiled
        assert_gives(loaded, inputs, outputs, 1e-6)
        loaded.compile("sgd", "mse")
        loaded.fit(inputs, np.zeros((3, 7, 5)), verbose=0)


def test_a_vocabulary_comes_back(tmp_path):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras models take strings on TensorFlow alone")
    model = keras.Sequential([keras.Input((1,), dtype="string"), layers.TextVectorization(vocabulary=["one", "two"])])
    loaded = ats.load_model(saved(model, tmp_path / "model.keras"))
    np.testing.assert_array_equal(loaded(np.array([["two one"]])), [[3, 2]])


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_class_that_is_not_known_is_named(suffix, tmp_path):
    x = keras.Input((7, 5))
    path = saved(keras.Model(x, ByHand(3, name="own")(x)), tmp_path / f"model.{suffix}")
    with pytest.raises(
        UnsafeFileError, match=r"^'own' needs the class '(.*\.)?ByHand'.*custom_objects={'ByHand': ByHand}"
    ):
        ats.load_model(path)
    assert ats.load_model(path, custom_objects=OWN).output_shape == (None, 5)


# Weights alone --------------------------------------------------------------------------------------------------------


def small(width=3, name="second"):
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(7, name="first"), layers.Dense(width, name=name)], name="small"
    )


def saved_alone(model, path, layout):
    """In either layout; the old one is that of Keras 2."""
    if layout == "new":
        model.save_weights(path)
        return path
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            for weight in layer.weights:
                group[f"{layer.name}/{weight.name}:0"] = numbers(weight)
    return path


@pytest.mark.parametrize("layout", ["old", "new"])
def test_weights_that_do_not_fit_change_nothing(tmp_path, layout):
    path = saved_alone(small(width=2), tmp_path / "its.weights.h5", layout)
    model = small()
    before = model.get_weights()
    with pytest.raises(WeightsMismatchError) as caught:
        ats.load_model(path, model)
    assert str(caught.value) == (
        "The weights in its.weights.h5 are not those of the model 'small', which keeps its own. The file holds\n"
        + {
            "old": "  first: kernel (5, 7), bias (7,)\n  second: kernel (7, 2), bias (2,)\n",
            "new": "  layers/dense: 0 (5, 7), 1 (7,)\n  layers/dense_1: 0 (7, 2), 1 (2,)\n",
        }[layout]
        + "but the model has\n  first: kernel (5, 7), bias (7,)\n  second: kernel (7, 3), bias (3,)\n"
        "Build the model as it was when the weights were saved: the same layers, sizes and order."
    )
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("names", [("first", "second"), ("dense_4", "dense_5")])
def test_old_weights_go_by_name_or_else_in_order(tmp_path, names):
    x = keras.Input((5,))
    one, two = layers.Dense(5, name="first"), layers.Dense(5, name="second")
    model = keras.Model(x, two(one(x)))
    path = saved_alone(model, tmp_path / "weights.best.hdf5", "old")
    x = keras.Input((5,))
    again = keras.Model(x, layers.Dense(5, name=names[1])(layers.Dense(5, name=names[0])(x)))
    inputs = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    assert_gives(ats.load_model(path, again), inputs, [numbers(model(inputs))], 1e-6)


def test_weights_are_matched_by_their_own_names_within_a_layer(tmp_path):
    model = small()
    path = saved_alone(model, tmp_path / "weights.hdf5", "old")
    with h5py.File(path, "r+") as file:
        file["first"].attrs["weight_names"] = [b"first/bias:0", b"first/kernel:0"]
    inputs = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    outputs = [numbers(model(inputs))]
    assert_gives(ats.load_model(path, different(model)), inputs, outputs, 1e-6)


def test_weights_alone_need_a_model(tmp_path):
    path = saved_alone(small(), tmp_path / "weights.best.hdf5", "old")
    with pytest.raises(InputError) as caught:
        ats.load_model(path)
    assert str(caught.value) == (
        "weights.best.hdf5 holds weights and no model. Build the model in Python as it was when they were saved, and "
        f"give it: attnscope.load_model({str(path)!r}, model)."
    )


def test_a_model_that_is_not_built_takes_no_weights(tmp_path):
    path = saved_alone(small(), tmp_path / "weights.hdf5", "old")
    with pytest.raises(UnbuiltModelError) as caught:
        ats.load_model(path, keras.Sequential([layers.Dense(3)], name="unbuilt"))
    assert str(caught.value) == (
        "The model 'unbuilt' has no weights yet, so those of weights.hdf5 have no place. Call it once on a sample, or "
        "model.build(input_shape), and load again."
    )


# Files that are none --------------------------------------------------------------------------------------------------


def whole(path, config, version="2.15.0"):
    """An `.h5` file of a model without weights, written by hand."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return path


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        ats.load_model(tmp_path / "nowhere.keras")
    assert str(caught.value) == (
        f"There is nothing at {str(tmp_path / 'nowhere.keras')!r}. Expected a model file or folder; check the path."
    )


MISTAKEN = {
    "empty.keras": (b"", "is empty, but a .keras or .h5 file is needed. Copy it again, or save the model again: "
                         "model.save('model.keras')."),
    "pointer.keras": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS, not the "
                      "file itself, but a .keras or .h5 file is needed. Fetch the file: git lfs pull."),
    "page.h5": (b"<!DOCTYPE html><html>", "is a web page, but a .keras or .h5 file is needed. Download the file "
                "itself, not the page about it."),
    "saved_model.pb": (b"\x08\x01", "is a TensorFlow graph, but a .keras or .h5 file is needed. Its layers cannot be "
                       "seen. Save the model where it was made: model.save('model.keras')."),
    "model.tflite": (b"TFL3", "is a TensorFlow Lite model, but a .keras or .h5 file is needed. Its layers cannot be "
                     "seen. Take the Keras model that it was converted from: model.save('model.keras')."),
    "model.onnx": (b"\x08\x07", "is an ONNX graph, but a .keras or .h5 file is needed. Its layers cannot be seen. Take "
                   "the model that it was exported from: model.save('model.keras')."),
    "model.pt": (b"PK\x03\x04", "is a PyTorch file, but a .keras or .h5 file is needed. Build the same model in Keras, "
                 "give it these weights layer by layer, and pass it to attnscope.capture."),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKEN)
def test_what_is_given_by_mistake_is_named(name, tmp_path):
    content, said = MISTAKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(tmp_path / name)
    assert str(caught.value) == f"{name} {said}"


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_file_that_was_cut_off_is_told(suffix, tmp_path):
    path = saved(small(), tmp_path / f"model.{suffix}")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(UnsafeFileError, match=f"model.{suffix}|HDF5"):
        ats.load_model(path)


def test_a_saved_model_is_told_apart(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(tmp_path)
    assert str(caught.value) == (
        f"{str(tmp_path)!r} is a SavedModel: compiled TensorFlow graphs. Their layers, and so their attention, cannot "
        "be seen. Load it with the Keras and the code that made it and save it anew, model.save('model.keras'), or "
        "build the model and take its weights from an .h5 file: attnscope.load_model('weights.h5', model)."
    )


def test_a_file_of_a_newer_keras_says_which(tmp_path):
    path = saved(small(), tmp_path / "model.keras")
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["metadata.json"] = b'{"keras_version": "9.1.0"}'
    parts["config.json"] = parts["config.json"].replace(b'"units": 7', b'"units": 7, "invented_in_9": true')
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path)
    said = str(caught.value)
    assert said.startswith(f"Keras {keras.version()} cannot make a model of model.keras, which Keras 9.1.0 saved. ")
    assert "invented_in_9" in said
    assert said.endswith(
        f"Build the model in Python as it was, and take the weights alone: attnscope.load_model({str(path)!r}, model)."
    )
