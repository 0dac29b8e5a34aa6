"""`load_model`: files of Keras 3, weights alone, and files that are no model."""

import zipfile

import h5py
import keras
import numpy as np
import pandas as pd
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
from attnscope.loading._loss import loss_of
from loading_files import MARKS, OWN, ByHand, assert_gives, different, numbers, saved

pytestmark = MARKS


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


@pytest.mark.every_backend
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


def difference(truth, answer):
    return truth - answer


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", "mse"),
        (keras.losses.mean_squared_error, "mean_squared_error"),
        (keras.losses.BinaryCrossentropy(from_logits=True), "of logits"),
        (["mse", "mae"], ["mse", "mae"]),
        (difference, None),
    ],
    ids=["name", "function", "object", "list", "own"],
)
def test_the_loss_of_a_loaded_model_is_known_if_it_is_keras_own(suffix, loss, expected, tmp_path):
    x = keras.Input((3,))
    count = len(loss) if isinstance(loss, list) else 1
    model = keras.Model(x, [layers.Dense(1)(x) for _ in range(count)])
    model.compile("adam", loss)
    model.save(tmp_path / f"model.{suffix}")
    loaded = ats.load_model(tmp_path / f"model.{suffix}")
    assert not loaded.compiled
    if expected == "of logits":
        assert (type(loaded.loss), loaded.loss.from_logits) == (keras.losses.BinaryCrossentropy, True)
    else:
        assert loaded.loss == expected


@pytest.mark.parametrize(
    "stored",
    [
        *(
            None,
            3,
            "nothing.Keras.has",
            "get",
            [],
            {"loss": "get"},
            {"loss": {"class_name": "Loss"}},
            {"loss": ["mse", 3]},
        ),
        {"loss": {"class_name": "Huber", "config": {"no_such_setting": 1}}},
        {"loss": {"a": "mse", "b": {"class_name": "Lambda", "config": {}}}},
        {"loss": {"class_name": ["Huber"], "config": {}}},
    ],
)
def test_no_other_loss_is_made_of_what_a_file_says(stored):
    assert loss_of(stored) is None


@pytest.mark.every_backend
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
        "The weights in its.weights.h5 do not fit the model 'small', which keeps its own. The file contains\n"
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
        "weights.best.hdf5 contains weights but no model. Build the model in Python as it was when they were saved, "
        f"and pass it: attnscope.load_model({str(path)!r}, model)."
    )


def test_a_model_that_is_not_built_takes_no_weights(tmp_path):
    path = saved_alone(small(), tmp_path / "weights.hdf5", "old")
    with pytest.raises(UnbuiltModelError) as caught:
        ats.load_model(path, keras.Sequential([layers.Dense(3)], name="unbuilt"))
    assert str(caught.value) == (
        "The model 'unbuilt' has no weights yet, so those in weights.hdf5 cannot be loaded into it. Call it once on a "
        "sample, or call model.build(input_shape), and load again."
    )


# Files that are none --------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        ats.load_model(tmp_path / "nowhere.keras")
    assert str(caught.value) == (
        f"There is nothing at {str(tmp_path / 'nowhere.keras')!r}. Expected a model file or folder; check the path."
    )


MISTAKEN = {
    "empty.keras": (b"", "is empty, but a .keras or .h5 file is needed. Copy it again, or save the model again: "
                         "model.save('model.keras')."),
    "pointer.keras": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer, not the "
                      "file itself, but a .keras or .h5 file is needed. Fetch the file: git lfs pull."),
    "page.h5": (b"<!DOCTYPE html><html>", "is a web page, but a .keras or .h5 file is needed. Download the file "
                "itself, not the page about it."),
    "saved_model.pb": (b"\x08\x01", "is a TensorFlow graph, but a .keras or .h5 file is needed. Its layers cannot be "
                       "seen. Save the model where it was made: model.save('model.keras')."),
    "model.tflite": (b"TFL3", "is a TensorFlow Lite model, but a .keras or .h5 file is needed. Its layers cannot be "
                     "seen. Use the Keras model that it was converted from: model.save('model.keras')."),
    "model.onnx": (b"\x08\x07", "is an ONNX graph, but a .keras or .h5 file is needed. Its layers cannot be seen. Use "
                   "the model that it was exported from: model.save('model.keras')."),
    "model.h5": (b"404: Not Found", "is the message of a server that found nothing, but a .keras or .h5 file is "
                 "needed. Download the file again, from where it is."),
    "model.h5.gz": (b"\x1f\x8b\x08", "is compressed by gzip, but a .keras or .h5 file is needed. Unpack it, and load "
                    "what is in it: gunzip."),
    "saved.h5": (b"\x80\x03cnumpy", "is a pickle, which runs code when it is read, but a .keras or .h5 file is needed. "
                 "Save the model in a safe format: model.save('model.keras')."),
    "model.pt": (b"PK\x03\x04", "is a PyTorch file, but a .keras or .h5 file is needed. Build the same model in Keras, "
                 "set its weights from these layer by layer, and pass it to attnscope.capture."),
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
    with pytest.raises(ModelFileError, match=rf"^The (archive|HDF5 file) model\.{suffix} cannot be read: "):
        ats.load_model(path)


def test_a_saved_model_is_told_apart(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(UnsupportedError) as caught:
        ats.load_model(tmp_path)
    assert str(caught.value) == (
        f"{str(tmp_path)!r} is a SavedModel, which holds compiled TensorFlow graphs: their layers, and so their "
        "attention, cannot be seen. Load it with the Keras and the code that made it, and save it again, "
        "model.save('model.keras'); or build the model, and load its weights from an .h5 file: "
        "attnscope.load_model('weights.h5', model)."
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
    assert said.startswith(f"Keras {keras.version()} cannot build a model from model.keras, which Keras 9.1.0 saved. ")
    assert "invented_in_9" in said
    assert said.endswith(
        "Build the model in Python as it was, and load only the weights into it: "
        f"attnscope.load_model({str(path)!r}, model)."
    )


@pytest.mark.parametrize(("name", "called"), [(None, "of_patients.keras"), ("triage", "triage")])
def test_a_model_without_a_name_of_its_own_is_called_as_its_file(name, called, tmp_path, rng):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(1, 2)(inputs, inputs), name=name)
    model.save(tmp_path / "of_patients.keras")
    data = rng.normal(size=(2, 5, 4))
    loaded = ats.load_model(tmp_path / "of_patients.keras")
    assert ats.capture(loaded, data).attrs["model"] == called
    assert loaded.name == model.name
    assert ats.capture(model, data).attrs["model"] == model.name


def test_a_model_of_columns_is_called_as_its_file_as_well(tmp_path, rng):
    columns = [keras.Input((1,), name=name) for name in ("age", "mass")]
    keras.Model(columns, keras.layers.Dense(1)(keras.layers.Concatenate()(columns))).save(tmp_path / "patients.keras")
    loaded = ats.load_model(tmp_path / "patients.keras")
    data = pd.DataFrame(rng.normal(size=(3, 2)), columns=["age", "mass"])
    assert ats.explain(loaded, data, card=False, method="occlusion").model == "patients.keras"
