"""`load_model`: layers that are code in the file, and what is put in their place."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import InputError, ModelFileError, UnsafeFileError, UnsupportedError
from attnscope.loading import TensorOperation, replacements
from hostile_files import dense, keras_file, layer
from loading_files import MARKS, assert_gives, functional, numbers, operation, saved, stored, whole

pytestmark = MARKS


# Lambdas --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_lambda_is_refused_with_its_name_and_the_ways_out(keras2, suffix):
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(keras2 / f"summed_by_lambda.{suffix}")
    said = str(caught.value)
    assert said.startswith("'lambda' is a Lambda and would run ")
    assert "that mentions 'axis', 'sum', 'xin'" in said
    assert said.endswith(
        "Expected layers whose code is installed, not contained in the file. If you trust whoever made it: "
        "load_model(path, trust=True); or put a layer of your own in its place: load_model(path, "
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


@pytest.mark.parametrize("load", [ats.load_model, keras.saving.load_model])
def test_files_that_name_the_module_where_the_layer_used_to_be_load_as_before(load, tmp_path):
    scaled = layer("TensorOperation", "scaled", "attnscope.loading.operations", function="math.multiply")
    scaled["config"]["arguments"] = {"y": 0.25}
    sigmoid = {"module": "attnscope.loading.keras2", "class_name": "function"} | dict.fromkeys(
        ("config", "registered_name"), "attnscope>keras2_hard_sigmoid"
    )
    path = keras_file(
        tmp_path,
        dense(),
        {**scaled, "registered_name": "attnscope>TensorOperation"},
        layer("Activation", "activation", activation=sigmoid),
    )
    # The dense layer makes 4 of three ones, a quarter of which is 1.
    assert_gives(load(path), np.ones((5, 3), "float32"), [np.full((5, 2), 0.7)])


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


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_lambda_of_a_function_that_is_given_runs_that_function(suffix, trust, tmp_path):
    """The file has only its name."""
    x = keras.Input((4, 5))
    path = saved(keras.Model(x, layers.Lambda(sum_over_time, name="pool")(x)), tmp_path / f"model.{suffix}")
    samples = np.random.default_rng(5).normal(size=(2, 4, 5)).astype("float32")
    model = ats.load_model(path, custom_objects={"sum_over_time": sum_over_time}, trust=trust)
    assert_gives(model, samples, [samples.sum(1)])


def shape_without_time(shape):
    return shape[0], shape[2]


def test_a_lambda_of_an_old_file_runs_the_functions_that_are_given(tmp_path):
    config = {"name": "pool", "function": "sum_over_time", "function_type": "function", "arguments": {}}
    config |= {"output_shape": "shape_without_time", "output_shape_type": "function"}
    stored_model = functional({"class_name": "Lambda", "config": config})
    stored_model["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 4, 5]
    path = whole(tmp_path / "old.h5", stored_model, "2.2.4")
    own = {"sum_over_time": sum_over_time, "shape_without_time": shape_without_time}
    samples = np.random.default_rng(5).normal(size=(2, 4, 5)).astype("float32")
    assert_gives(ats.load_model(path, custom_objects=own), samples, [samples.sum(1)])
    with pytest.raises(UnsafeFileError) as caught:
        ats.load_model(path, custom_objects={"sum_over_time": sum_over_time})
    assert str(caught.value) == (
        "'pool' is a Lambda and would run the function 'shape_without_time', which is not in the file. Pass it: "
        "load_model(path, custom_objects={'shape_without_time': shape_without_time}); or put a layer of your own in "
        "its place: load_model(path, replacements={'pool': layer})."
    )


def test_an_error_of_a_function_that_is_given_is_not_laid_to_bytecode(tmp_path):
    def fails(x):
        raise TypeError("not today")

    x = keras.Input((4, 5))
    path = saved(keras.Model(x, layers.Lambda(sum_over_time, name="pool")(x)), tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match="could not automatically infer the shape") as caught:
        ats.load_model(path, custom_objects={"sum_over_time": fails})
    assert "bytecode" not in str(caught.value)


def test_a_trusted_lambda_that_cannot_be_revived_is_told(tmp_path):
    path = tmp_path / "old.h5"
    function = {"function": ["bm8gY29kZQ==", None, None], "function_type": "lambda", "output_shape_type": "raw"}
    whole(path, functional({"class_name": "Lambda", "config": {"name": "mystery", **function}}))
    with pytest.raises(ModelFileError) as caught:
        ats.load_model(path, trust=True)
    assert str(caught.value) == (
        f"Keras {keras.version()} cannot build a model from old.h5, which Keras 2.15.0 saved. ValueError: bad marshal "
        "data (unknown type code) The Python bytecode in its Lambda layers ('mystery') needs the version of Python and "
        "the names that it was written with. Replace each by a layer that does the same, such as replacements={"
        "'mystery': attnscope.loading.replacements.sum_over(axis=1)}."
    )


def test_replacements_for_layers_that_are_not_there_are_told(keras2):
    with pytest.raises(InputError) as caught:
        ats.load_model(keras2 / "summed_by_lambda.h5", replacements={"lambda_1": sum_over_time})
    assert str(caught.value) == (
        "Replacements are given for 'lambda_1', but summed_by_lambda.h5 has only the layers 'model', 'input_1', "
        "'lambda', 'dense'."
    )


def test_only_layers_are_named_where_a_replacement_fits_none(tmp_path):
    inputs = keras.Input((3,), name="numbers")
    doubled = keras.layers.Lambda(lambda x: x * 2, name="doubled")(keras.layers.Dense(2, name="dense")(inputs))
    keras.Model(inputs, doubled, name="small").save(tmp_path / "model.keras")
    with pytest.raises(InputError) as caught:
        ats.load_model(tmp_path / "model.keras", replacements={"double": keras.layers.Identity()})
    assert str(caught.value) == (
        "Replacements are given for 'double', but model.keras has only the layers 'small', 'numbers', 'dense', "
        "'doubled'."
    )


def test_a_replacement_that_is_no_layer_is_told(keras2):
    with pytest.raises(InputError) as caught:
        ats.load_model(keras2 / "summed_by_lambda.h5", replacements={"lambda": 3})
    assert str(caught.value) == (
        "The replacement for 'lambda' is of type int, but a Keras layer or a function is needed: replacements={"
        "'lambda': attnscope.loading.replacements.sum_over(axis=1)}."
    )


def test_an_operation_without_an_equivalent_is_replaced_by_a_function(tmp_path):
    path = tmp_path / "old.h5"
    whole(path, functional(operation("signal.fft", ["x", 0, 0, {}])))
    model = ats.load_model(path, replacements={"tf.signal.fft": lambda x: x * 3.0})
    np.testing.assert_array_equal(numbers(model(np.ones((2, 3), "float32"))), np.full((2, 3), 3.0))


X = np.random.default_rng(5).normal(size=(2, 3, 5)).astype("float32")


@pytest.mark.parametrize(
    ("replacement", "expected"),
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
def test_ready_replacements_do_what_they_say(replacement, expected):
    x = X[:, :1] if replacement.function == "squeeze" else X
    again = TensorOperation.from_config(replacement.get_config())
    np.testing.assert_allclose(numbers(again(x)), expected, rtol=1e-5, atol=1e-6)
    assert again.compute_output_spec(keras.KerasTensor(x.shape)).shape == expected.shape


def test_a_function_that_is_not_known_makes_no_layer():
    with pytest.raises(
        UnsupportedError,
        match=r"^The function is 'io.read_file', but only these are supported: __operators__.getitem, ",
    ):
        TensorOperation("io.read_file")
