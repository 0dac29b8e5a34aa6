"""Files that are sound as files, and whose configuration asks for what no model needs."""

import json
import resource
import warnings
from itertools import pairwise

import h5py
import keras
import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import ModelFileError, UnsafeFileError, UnsupportedError
from hostile_files import AGAIN, dense, h5_file, keras_file, layer, sequential

pytestmark = pytest.mark.filterwarnings("ignore::attnscope.errors.KnownHolesWarning")


def tensor(name, call=0, shape=(None, 3)):
    history = [name, call, 0]
    return {
        "class_name": "__keras_tensor__",
        "config": {"shape": list(shape), "dtype": "float32", "keras_history": history},
    }


def constant(value):
    return {"class_name": "__tensor__", "config": {"value": value, "dtype": "float32"}}


def call(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


def graph(*layers_and_calls, shape=(None, 3)):
    """A functional model: an input ``input``, then these in the order given, the output that of the layer ``last``."""
    first = layer("InputLayer", "input", batch_shape=list(shape), dtype="float32")
    layers = [
        {**stored, "name": stored["config"]["name"], "inbound_nodes": calls}
        for stored, calls in [(first, []), *layers_and_calls]
    ]
    config = {"name": "model", "layers": layers, "input_layers": [["input", 0, 0]], "output_layers": [["last", 0, 0]]}
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config}


def stored(folder, config):
    return keras_file(folder, config=json.dumps(config))


def refusal(path, kind=UnsafeFileError):
    """What is said, and that it costs little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind) as caught:
        ats.load_model(path)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 300 * 2**20
    return str(caught.value)


# Calls that would be run while the model is built ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "calls"),
    [
        (layer("Arange", "last", "keras.src.ops.numpy"), [call(0, 10**9, 1)]),
        (layer("RepeatVector", "last", n=10**9), [call(constant([[1.0]]))]),
        (layer("OneHot", "last", "keras.src.ops.nn", num_classes=10**9), [call([[1]])]),
        (layer("Dense", "last", units=2), [[]]),
        (layer("Dense", "last", units=2), [{}]),
    ],
    ids=["range of numbers", "constant repeated", "number in a list", "old form of nothing", "nothing"],
)
def test_a_call_that_takes_only_constants_is_refused_since_it_would_run_at_once(operation, calls, tmp_path):
    assert refusal(stored(tmp_path, graph((operation, calls)))) == (
        "A call of 'last' takes no tensor of the model, so it would run on loading. Expected calls that take tensors "
        "of the model. " + AGAIN
    )


def test_a_call_may_take_constants_along(tmp_path, rng):
    x = keras.Input((5,))
    model = keras.Model(x, keras.ops.add(x, np.arange(5, dtype="float32")))
    model.save(tmp_path / "model.keras")
    data = rng.normal(size=(3, 5)).astype("float32")
    np.testing.assert_allclose(
        ats.load_model(tmp_path / "model.keras").predict(data, verbose=0), data + np.arange(5), atol=1e-6
    )


@pytest.mark.parametrize("shape", [[None, 3 * 10**8], [None, 2**15, 2**15], [0, 10**12]])
def test_a_shape_that_no_tensor_has_is_refused_since_layers_make_tensors_of_it(shape, tmp_path):
    """`Normalization` makes its mean of that shape, and it is no variable."""
    normal = {**layer("Normalization", "normal", mean=0.0, variance=1.0), "build_config": {"input_shape": shape}}
    said = refusal(keras_file(tmp_path, normal, dense()))
    size = {0: 10**12, None: 2**30 if len(shape) == 3 else 3 * 10**8}[shape[0]]
    assert said == (
        f"'normal' has input_shape={shape}, which is {size:,} numbers or more. Expected at most 268,435,456. {AGAIN}"
    )


# Work without end -----------------------------------------------------------------------------------------------------


def too_many_steps(allowed):
    return (
        f"Building the model takes more than {allowed:,} steps (calls of layers, and tensors between them). Expected "
        "fewer: no model needs that many. If this is intended, load the file where you trust it: "
        "keras.saving.load_model(path)."
    )


@pytest.fixture
def fewer_steps(monkeypatch):
    """A tenth of what is allowed shows that work is counted, in a tenth of the time."""
    monkeypatch.setattr("attnscope.loading.limits._steps.MAX_STEPS", 10_000)


def test_a_tensor_split_into_a_hundred_million_ends_soon_and_keras_is_left_as_it_was(tmp_path):
    before = keras.Operation.__init__, keras.Operation.__call__, keras.KerasTensor.__init__
    unstacked = layer("Unstack", "last", "keras.src.ops.core", axis=1)
    path = stored(tmp_path, graph((unstacked, [call(tensor("input"))]), shape=(None, 10**8)))
    assert refusal(path) == too_many_steps(100_000)
    assert (keras.Operation.__init__, keras.Operation.__call__, keras.KerasTensor.__init__) == before


@pytest.mark.usefixtures("fewer_steps")
def test_layers_in_the_reverse_of_their_order_end_soon(tmp_path):
    """Keras goes through all of them once for each: 300 are made in 3,000 steps, and connected in many more."""
    names = ["input", *(f"layer_{i}" for i in range(300)), "last"]
    chain = [(layer("Activation", name, activation="relu"), [call(tensor(before))]) for before, name in pairwise(names)]
    assert refusal(stored(tmp_path, graph(*reversed(chain)))) == too_many_steps(10_000)


@pytest.mark.usefixtures("fewer_steps")
def test_a_billion_layers_by_one_number_end_soon(tmp_path):
    """KerasHub's models make as many layers as a number says."""
    sizes = {"num_layers": 10**9, "num_heads": 1, "hidden_dim": 1, "intermediate_dim": 1}
    backbone = layer("BertBackbone", "model", "keras_hub.models", vocabulary_size=1, max_sequence_length=1, **sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras_hub  # noqa: F401, for what it takes itself is not what the file takes

        assert refusal(stored(tmp_path, backbone)) == too_many_steps(10_000)


def test_layers_that_are_called_outside_of_loading_are_not_counted(monkeypatch):
    monkeypatch.setattr("attnscope.loading.limits._steps.MAX_STEPS", 0)
    assert keras.layers.Dense(2)(keras.Input((3,))).shape == (None, 2)


# Places to read from --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["special_tokens", "language_tokens"])
def test_the_tokens_of_whisper_are_not_read_from_a_file(key, tmp_path):
    """KerasHub opens it as JSON, whatever safe mode says."""
    settings = {"vocabulary": None, "merges": None, "special_tokens": {}, "language_tokens": {}, key: "tokens.json"}
    tokenizer = layer("WhisperTokenizer", "victim", "keras_hub.tokenizers", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # KerasHub's own, on import
        said = refusal(keras_file(tmp_path, tokenizer))
    assert said == (
        f"'victim' has {key}='tokens.json', a place outside the file to read from. Expected the file to contain what "
        f"it needs. {AGAIN}"
    )


# What is no model, or no whole one ------------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", [layer("Dense", units=2), layer("Dropout", rate=0.5)])
def test_what_is_not_a_model_does_not_come_back_as_one(thing, tmp_path):
    assert refusal(stored(tmp_path, thing), ModelFileError) == (
        f"model.keras contains an object of class {thing['class_name']}, but a model is needed. Save the model that "
        "it belongs to: model.save('model.keras')."
    )


def test_an_hdf5_file_with_the_configuration_of_another_kind_of_file_is_told(tmp_path):
    path = h5_file(tmp_path, sequential(dense()))
    assert refusal(path, ModelFileError) == (
        "model.h5 is an HDF5 file, but its configuration is one of a .keras file. Save the model again: "
        "model.save('model.keras')."
    )


@pytest.mark.parametrize("name", [["a"], {"a": 1}, 3, None])
def test_a_name_that_is_no_text_is_told(name, tmp_path):
    with pytest.raises((ModelFileError, UnsafeFileError)):
        ats.load_model(keras_file(tmp_path, sequential(layer("Dense", name, units=2))))


def lookups():
    words = keras.layers.TextVectorization(name="words")
    words.adapt(["one two", "two three"])
    return keras.Sequential([keras.Input((1,), dtype="string"), words])


@pytest.mark.every_backend
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="Keras models take strings on TensorFlow alone")
def test_a_vocabulary_that_was_learned_is_missed_in_an_h5_file(tmp_path):
    lookups().save(tmp_path / "model.h5")
    assert refusal(tmp_path / "model.h5", UnsupportedError) == (
        "TextVectorization 'words' learned its vocabulary from data, and model.h5 does not contain it. Save the "
        "model again where it is complete, with Keras 3: model.save('model.keras')."
    )
    lookups().save(tmp_path / "model.keras")
    assert ats.load_model(tmp_path / "model.keras")(np.array([["two"]])).numpy().tolist() == [[2]]


def damaged(path, fill):
    """A model of one dense layer as Keras 2 stores it, with what `fill` makes of the weights."""
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3], "dtype": "float32"}}
    dense = {"class_name": "Dense", "config": {"name": "dense", "units": 2}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "old", "layers": [first, dense]}}
        )
        fill(file.create_group("model_weights"))
    return path


def of_no_layer(group):
    group.attrs["layer_names"] = [b"dense"]


def of_groups(group):
    group.attrs["layer_names"] = [b"dense"]
    inner = group.create_group("dense")
    inner.attrs["weight_names"] = [b"kernel:0", b"bias:0"]
    inner.create_group("kernel:0")
    inner.create_group("bias:0")


def of_a_number(group):
    group.attrs["layer_names"] = 5


@pytest.mark.parametrize(
    ("fill", "why"),
    [
        (of_no_layer, "KeyError: \"Unable to synchronously open object (object 'dense' doesn't exist)\""),
        (of_groups, "AttributeError: 'Group' object has no attribute 'shape'"),
        (of_a_number, "TypeError: 'numpy.int64' object is not iterable"),
    ],
)
def test_names_of_weights_that_lead_to_none_are_told(fill, why, tmp_path):
    assert refusal(damaged(tmp_path / "old.h5", fill), ModelFileError) == (
        f"The weights in old.h5 cannot be read: {why}. Expected the complete weights of a Keras model. Save them "
        "again: model.save_weights('model.weights.h5')."
    )
