"""`load_model`: files of Keras 2, made by `tf_keras` in a process of its own, and its configurations by hand."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import ModelFileError, UnsupportedError
from attnscope.loading import replacements
from attnscope.loading.keras2 import FUNCTIONS, rewritten
from keras2_files import CALLS, MODELS, arrays, filled
from loading_files import (
    MARKS,
    OWN,
    assert_gives,
    different,
    functional,
    made,
    numbers,
    operation,
    stored,
    whole,
)

pytestmark = MARKS
# bfloat16 keeps 8 bits, and the backends round at other places.
TOLERANCE = {"half_precision": 2**-7}
NO_GRAPH = ("subclassed", "h5")
LOADED = [name for name in MODELS if name not in ("summed_by_lambda", "doubled_by_lambda")]


# Keras 2 --------------------------------------------------------------------------------------------------------------


# A backend meets each layer and function in the tests of its own: every third model shows that files reach it.
@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *(
            pytest.param(name, "keras", marks=pytest.mark.every_backend if place % 3 == 0 else ())
            for place, name in enumerate(LOADED)
        ),
        *((name, "h5") for name in LOADED if (name, "h5") != NO_GRAPH),
    ],
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


@pytest.mark.every_backend
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
def test_a_setting_without_an_equivalent_is_refused(class_name, setting, value):
    config = functional({"class_name": class_name, "config": {"name": "layer", setting: value}})
    with pytest.raises(UnsupportedError) as caught:
        rewritten(config, "2.15.0")
    assert str(caught.value) == (
        f"Layer 'layer' ({class_name}) was stored with {setting}={value!r}, which Keras 3 does not have. Build the "
        "model in Keras 3, and call attnscope.load_model(path, model) for the weights."
    )


def test_a_function_without_an_equivalent_is_refused():
    with pytest.raises(UnsupportedError) as caught:
        rewritten(functional(operation("signal.fft", ["x", 0, 0, {}])), "2.15.0")
    assert str(caught.value) == (
        "Layer 'tf.signal.fft' runs tf.signal.fft, which cannot be translated to Keras 3. Pass a layer or function "
        "that does the same: replacements={'tf.signal.fft': function}."
    )


def test_an_argument_without_an_equivalent_is_refused():
    with pytest.raises(UnsupportedError) as caught:
        rewritten(functional(operation("math.cumsum", ["x", 0, 0, {"axis": 1, "reverse": True}])), "2.15.0")
    assert str(caught.value) == (
        "tf.math.cumsum is called with reverse, but only x, axis can be translated to Keras 3."
    )


def test_an_operation_that_is_called_with_different_constants_is_refused():
    nodes = ["x", 0, 0, {"y": 2.0}], ["x", 0, 0, {"y": 3.0}]
    with pytest.raises(UnsupportedError) as caught:
        rewritten(functional(operation("math.multiply", *nodes)), "2.15.0")
    assert str(caught.value) == (
        "Layer 'tf.math.multiply' runs tf.math.multiply several times with different constants, but one layer holds "
        "only one set. Build the model in Keras 3, and call attnscope.load_model(path, model)."
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
    with pytest.raises(ModelFileError, match=r"^Keras .* cannot build a model from old.h5, which Keras 2.15.0 saved. "):
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
        "The file contains a model of class 'Model' without its graph of layers. Build it in Python, and load the "
        "weights into it: attnscope.load_model(path, model)."
    )
