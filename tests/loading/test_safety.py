"""No file runs code, reads another file or exhausts memory, and honest files pass."""

import ctypes
import importlib.util
import json
import os
import resource
import sys
import threading
import time
import warnings
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
import hostile_files
from attnscope.errors import KnownHolesWarning, ModelFileError, UnsafeFileError, UnsupportedError
from attnscope.loading._known_vulnerabilities import warn_of_known_vulnerabilities
from attnscope.loading.allowed import check_config
from attnscope.loading.container import opened, parsed
from attnscope.loading.limits import limited_steps, limited_variables

pytestmark = [
    pytest.mark.filterwarnings("ignore::attnscope.errors.KnownHolesWarning"),
    pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method"),
    pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built"),
]

MEMORY = 300 * 2**20


def load(path, custom_objects=None, trust=False, **settings):
    """As `attnscope.load_model` does: container, names, and only then Keras, on the private copy."""
    with opened(path) as stored:
        check_config(stored, custom_objects=custom_objects, trust=trust)
        return keras.saving.load_model(stored.folder, custom_objects, safe_mode=not trust, **settings)


def refusal(function, *args, **kwargs):
    with pytest.raises((UnsafeFileError, UnsupportedError, ModelFileError)) as error:
        function(*args, **kwargs)
    return str(error.value)


# What a hostile file must not bring about -----------------------------------------------------------------------------

_events = None


def _hook(event, args):
    """Python tells of every file, socket, process, and unmarshalling; a hook cannot be taken away again."""
    if _events is not None and (
        event
        in ("open", "marshal.loads", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class")
        or event.startswith(("socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "urllib."))
    ):
        _events.append((event, str(args[0]) if args else ""))


sys.addaudithook(_hook)


@contextmanager
def watched(folder):
    """The events that Python tells of, and whether anything at all, in C too, opened a file in `folder`."""
    global _events
    with opens_in(folder) as opens:
        events = _events = []
        try:
            yield events, opens
        finally:
            _events = None


@contextmanager
def opens_in(folder):
    """How many bytes the kernel tells of opening, reading or changing files in a folder (Linux alone)."""
    found = []
    if sys.platform != "linux":
        yield found
        return
    libc = ctypes.CDLL(None, use_errno=True)
    watcher = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(watcher, os.fsencode(folder), 0xFFF) >= 0  # IN_ALL_EVENTS
    try:
        yield found
        with suppress(BlockingIOError):  # no event is the good case
            found.append(len(os.read(watcher, 4096)))
    finally:
        os.close(watcher)


def suspicious(events, path):
    """What opening a model file does not account for: it reads the file, and writes its private copy."""
    own = (str(path), "attnscope-")
    python = (sys.prefix, sys.base_prefix, str(Path(ats.__file__).parent), "/proc/", "/sys/", "/dev/")
    return [
        (event, name)
        for event, name in events
        if event != "open" or not (name.isdigit() or any(part in name for part in own) or name.startswith(python))
    ]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Where a canary would appear."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", autouse=True)
def _everything_imported(tmp_path_factory):
    """What is imported on the first load is not what a hostile file brings about."""
    if importlib.util.find_spec("keras_hub"):
        importlib.import_module("keras_hub")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ats.load_model(hostile_files.honest(tmp_path_factory.mktemp("honest")))


@pytest.mark.parametrize("how", [load, ats.load_model], ids=["opened", "load_model"])
@pytest.mark.parametrize("name", hostile_files.ATTACKS)
def test_a_hostile_file_is_refused_before_anything_of_it_is_used(name, how, tmp_path):
    path, message = hostile_files.made(name, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with watched(hostile_files.secret(tmp_path).parent) as (events, opens):
        if how is ats.load_model and name in HARMLESS:
            HARMLESS[name](path)
        else:
            assert refusal(how, path) == message
    assert suspicious(events, path) == []
    assert opens == []
    assert not Path("canary").exists()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def leaves_out(path):
    """Compile settings are never deserialised: the model comes back without them."""
    assert not ats.load_model(path).compiled


HARMLESS = {"class_hidden_in_the_compile_settings": leaves_out}


def test_the_corpus_is_large_and_its_honest_part_is_honest(tmp_path):
    assert len(hostile_files.ATTACKS) >= 75
    model = load(hostile_files.honest(tmp_path), compile=False)
    assert np.array_equal(model.predict(np.ones((5, 3)), verbose=0), np.full((5, 2), 4.0))


# The corpus bites: what happens without the checks --------------------------------------------------------------------


def test_bytecode_runs_without_the_checks(tmp_path):
    for name in ("lambda_bytecode", "lambda_as_an_activation"):
        folder = tmp_path / name
        folder.mkdir()
        path, _ = hostile_files.made(name, folder)
        model = keras.saving.load_model(path, safe_mode=False, compile=False)
        assert Path("canary").exists() == (name == "lambda_bytecode")  # as soon as it is loaded
        model(np.ones((2, 3)))
        Path("canary").unlink()


def test_the_watchers_see_what_happens_without_the_checks(tmp_path):
    path, _ = hostile_files.made("link_to_another_file", tmp_path)
    weights = tmp_path / "weights.h5"
    weights.write_bytes(zipfile.ZipFile(path).read("model.weights.h5"))
    with watched(tmp_path / "private") as (events, opens):
        (tmp_path / "private" / "secret.txt").read_text()
        with h5py.File(weights) as file:
            file["layers/dense/vars/2"][()]
    assert [event for event in suspicious(events, weights) if "secret" in event[1]] != []
    assert opens != [] or sys.platform != "linux"


@pytest.mark.parametrize("name", ["link_to_another_file", "values_of_another_dataset"])
def test_arrays_of_other_files_come_along_without_the_checks(name, tmp_path):
    path, _ = hostile_files.made(name, tmp_path)
    weights = tmp_path / "weights.h5"
    weights.write_bytes(zipfile.ZipFile(path).read("model.weights.h5"))
    with h5py.File(weights) as file:
        assert file["layers/dense/vars/2"][()].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_bytes_of_other_files_come_along_without_the_checks(tmp_path):
    path, _ = hostile_files.made("values_in_another_file", tmp_path)
    weights = tmp_path / "weights.h5"
    weights.write_bytes(zipfile.ZipFile(path).read("model.weights.h5"))
    with h5py.File(weights) as file:
        assert file["layers/dense/vars/2"][()].tobytes() == b"hunter2\n"


def test_bombs_go_off_without_the_checks(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path, _ = hostile_files.made("array_of_a_trillion_numbers", tmp_path / "a")
    weights = tmp_path / "weights.h5"
    weights.write_bytes(zipfile.ZipFile(path).read("model.weights.h5"))
    with h5py.File(weights) as file, pytest.raises(MemoryError):
        file["layers/dense/vars/2"][()]
    path, _ = hostile_files.made("bomb_in_an_archive", tmp_path / "b")
    assert len(zipfile.ZipFile(path).read("model.weights.h5")) > 900 * path.stat().st_size


def test_two_readers_read_two_things_without_the_checks(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    path, _ = hostile_files.made("key_twice", tmp_path / "a")
    assert json.loads(zipfile.ZipFile(path).read("config.json")) == {"class_name": "Lambda"}
    path, _ = hostile_files.made("member_twice", tmp_path / "b")
    archive = zipfile.ZipFile(path)
    first = archive.open(archive.infolist()[1]).read()
    assert b"Lambda" in archive.read("config.json") and b"Lambda" not in first


def test_arrays_in_one_place_are_read_as_two_without_the_checks(tmp_path):
    path, _ = hostile_files.made("arrays_in_one_place", tmp_path)
    weights = tmp_path / "weights.h5"
    weights.write_bytes(zipfile.ZipFile(path).read("model.weights.h5"))
    with h5py.File(weights) as file:
        arrays = [file[f"layers/dense/vars/{index}"][()] for index in (2, 3)]
    assert sum(array.nbytes for array in arrays) > 1.9 * weights.stat().st_size
    assert np.array_equal(arrays[0], arrays[1])


# What `trust` lifts, and what it does not -----------------------------------------------------------------------------


def test_trust_lets_a_lambda_run(tmp_path):
    path, _ = hostile_files.made("lambda_bytecode", tmp_path)
    load(path, trust=True, compile=False)
    assert Path("canary").exists()


LIFTED = {
    "lambda_bytecode",
    "lambda_inside_a_wrapper_inside_a_model",
    "lambda_in_an_h5_file",
    "lambda_as_an_activation",
    "class_of_any_module",
    "function_of_any_module",
    "class_hidden_in_the_compile_settings",
    "class_with_the_name_of_an_honest_one",
}


@pytest.mark.parametrize("name", hostile_files.ATTACKS)
def test_trust_lifts_lambdas_and_classes_of_ones_own_and_nothing_else(name, tmp_path):
    path, message = hostile_files.made(name, tmp_path)
    lifted = name in LIFTED or name == "layer_of_a_trillion_weights"  # the last is refused on building

    def check():
        with opened(path) as stored:
            check_config(stored, custom_objects=None, trust=True)

    if lifted:
        check()
    elif name == "lambda_around_a_function_of_keras":
        assert refusal(check) == (
            "'victim' names the function 'keras.models.load_model', which no model needs or which does not exist. "
            "Expected a layer, function or setting that Keras has for building models. " + hostile_files.AGAIN
        )
    else:
        assert refusal(check) == message
    assert not Path("canary").exists()


def test_what_a_lambda_would_have_run_is_said_of_every_form_of_it(tmp_path):
    would = "If you trust whoever made it: load_model(path, trust=True); or put a layer of your own in its place: "
    tail = f" Expected layers whose code is installed, not contained in the file. {would}"
    for function, what in [
        (hostile_files.function("keras.ops", "relu"), "the function 'relu' of 'keras.ops'"),
        ([hostile_files.text_of(b"\xda\x03sumxx"), None, None], "7 bytes of Python bytecode that mentions 'sum'"),
        (["\xe3no base64", None, None], "11 bytes of Python bytecode"),
        (None, "Python code"),
    ]:
        path = hostile_files.keras_file(tmp_path, hostile_files.layer("Lambda", "pool", function=function))
        assert refusal(load, path) == (
            f"'pool' is a Lambda and would run {what}.{tail}load_model(path, replacements={{'pool': layer}})."
        )
    for function in ("sum_over_time", hostile_files.function("builtins", "sum_over_time")):
        path = hostile_files.keras_file(tmp_path, hostile_files.layer("Lambda", "pool", function=function))
        assert refusal(load, path) == (
            "'pool' is a Lambda and would run the function 'sum_over_time', which is not in the file. Pass it: "
            "load_model(path, custom_objects={'sum_over_time': sum_over_time}); or put a layer of your own in its "
            "place: load_model(path, replacements={'pool': layer})."
        )


def test_bytecode_is_described_without_being_unmarshalled(tmp_path):
    path, message = hostile_files.made("lambda_bytecode", tmp_path)
    with watched(tmp_path) as (events, _):
        assert refusal(load, path) == message
    assert [event for event, _ in events if event == "marshal.loads"] == []


# Honest files ---------------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("safety")
class Doubled(keras.Model):
    def __init__(self, units, folder="/data", **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(units)
        self.units = units

    def call(self, x):
        return self.dense(x) * 2

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Plain(layers.Layer):
    """Not registered: it must be given."""

    def call(self, x):
        return x + 1


def functional(rng):
    x = keras.Input((5, 7), name="x")
    y = layers.MultiHeadAttention(2, 3)(x, x)
    y = keras.ops.mean(y, axis=1) + 1.0
    y = keras.activations.gelu(y)[:, 1:4]
    y = keras.ops.einsum("ab,bc->ac", y, np.eye(3, 2, dtype="float32"))
    y = keras.ops.where(y > 0, y, -1e9)
    model = keras.Model(x, layers.Dense(3, activation=keras.activations.relu, kernel_regularizer="l2")(y))
    model.compile("adam", keras.losses.MeanSquaredError(), metrics=["mae", keras.metrics.AUC()])
    data = rng.normal(size=(2, 5, 7)).astype("float32")
    model.fit(data, np.ones((2, 3)), verbose=0)
    return model, data


def recurrent(rng):
    cells = layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(2)])
    model = keras.Sequential(
        [
            keras.Input((7, 5)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(2)),
            layers.RNN(cells),
            layers.Activation(keras.ops.softmax),
            layers.Dense(2, activation=layers.LeakyReLU(0.2)),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    model.compile(keras.optimizers.AdamW(schedule), "binary_crossentropy", metrics=["accuracy"])
    data = rng.normal(size=(3, 7, 5)).astype("float32")
    model.fit(data, np.ones((3, 2)), verbose=0)
    return model, data


def subclassed(rng):
    model, data = Doubled(3), rng.normal(size=(2, 4)).astype("float32")
    model(data)
    return model, data


def mixed_precision(rng):
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3, dtype="mixed_bfloat16")(x)), rng.normal(size=(2, 4)).astype("float32")


def sixteen_bits(rng):
    x = keras.Input((4,), dtype="bfloat16")
    return keras.Model(x, layers.Dense(3, dtype="bfloat16")(x)), rng.normal(size=(2, 4)).astype("float32")


def augmented(rng):
    model = keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            layers.RandomFlip(seed=3),
            layers.Rescaling(0.5),
            layers.Normalization(mean=0.0, variance=1.0),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
        ]
    )
    return model, rng.normal(size=(2, 8, 6, 3)).astype("float32")


def quantized(rng):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    model.quantize("int8")
    return model, rng.normal(size=(2, 4)).astype("float32")


def nested(rng):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="d"), layers.Dropout(0.1)], name="inner")
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2)(inner(x))), rng.normal(size=(2, 4)).astype("float32")


def masking_with_infinity(rng):
    x = keras.Input((4,))
    logits = layers.Dense(3)(x)
    return keras.Model(x, ops.softmax(ops.where(ops.greater(logits, 9), -float("inf"), logits))), rng.normal(
        size=(2, 4)
    ).astype("float32")


HONEST = [
    functional,
    recurrent,
    subclassed,
    mixed_precision,
    sixteen_bits,
    augmented,
    quantized,
    nested,
    masking_with_infinity,
]


@pytest.mark.parametrize("make", HONEST)
def test_an_honest_keras_file_passes_with_all_of_its_state(make, rng, tmp_path):
    model, data = make(rng)
    path = tmp_path / "model.keras"
    model.save(path)
    with opened(path) as stored:
        check_config(stored, custom_objects=None, trust=False)
        assert stored.kind == "keras"
        assert stored.keras_version == keras.version()
        assert stored.stored_bytes > 0
    loaded = load(path)
    assert np.array_equal(loaded.predict(data, verbose=0), model.predict(data, verbose=0))
    if getattr(model, "optimizer", None) is not None:
        for mine, theirs in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
            assert np.array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("make", [recurrent, mixed_precision, augmented, quantized])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_an_honest_h5_file_passes(make, rng, tmp_path):
    model, _ = make(rng)
    path = tmp_path / "model.h5"
    model.save(path)
    with opened(path) as stored:
        check_config(stored, custom_objects=None, trust=False)
        assert (stored.kind, stored.keras_version) == ("h5", keras.version())
        assert stored.metadata == {"keras_version": keras.version(), "backend": keras.backend.backend()}
        assert stored.config["class_name"] == type(model).__name__
        assert (stored.training is not None) == (make is recurrent)
        assert stored.weights.read_bytes() == path.read_bytes()


def test_honest_weights_alone_pass(rng, tmp_path):
    model, data = nested(rng)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    other, _ = nested(rng)
    with opened(path) as stored:
        check_config(stored, custom_objects=None, trust=False)
        assert (stored.kind, stored.config) == ("weights", None)
        other.load_weights(path)
    assert np.array_equal(other.predict(data, verbose=0), model.predict(data, verbose=0))


def test_an_honest_folder_passes(rng, tmp_path):
    model, data = nested(rng)
    model.save(tmp_path / "stored", zipped=False)
    assert np.array_equal(load(tmp_path / "stored").predict(data, verbose=0), model.predict(data, verbose=0))


def test_a_vocabulary_inside_the_file_passes_whatever_its_words_look_like(tmp_path):
    pytest.importorskip("tensorflow")
    words = ["/etc/passwd", "http://here", "..", "plain"]
    given = layers.TextVectorization(output_sequence_length=5, vocabulary=words)
    learnt = layers.TextVectorization(output_sequence_length=5)
    learnt.adapt([" ".join(words)])
    for layer in (given, learnt):
        path = tmp_path / f"{layer.name}.keras"
        keras.Sequential([layer]).save(path)
        assert load(path).layers[0].get_vocabulary() == layer.get_vocabulary()
    with opened(path) as stored:
        assert {file.name for file in stored.assets.rglob("*") if file.is_file()} == {"vocabulary.txt"}


def test_an_honest_task_of_keras_hub_passes(rng, tmp_path):
    hub = pytest.importorskip("keras_hub")
    pytest.importorskip("tensorflow_text")
    backbone = hub.models.BertBackbone(11, 1, 2, 4, 8, max_sequence_length=16)
    tokenizer = hub.models.BertTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "/", "b"])
    preprocessor = hub.models.BertTextClassifierPreprocessor(tokenizer, 8)
    task = hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    task.save(tmp_path / "task.keras")
    loaded = load(tmp_path / "task.keras", compile=False)
    assert np.array_equal(loaded.predict(["a b /"], verbose=0), task.predict(["a b /"], verbose=0))


def test_a_class_of_ones_own_is_let_in_by_its_name_alone(tmp_path):
    keras.Sequential([keras.Input((3,)), Plain(name="mine")]).save(tmp_path / "model.keras")
    module = Plain.__module__
    assert refusal(load, tmp_path / "model.keras") == (
        f"'mine' needs the class '{module}.Plain', which is neither Keras' own nor one that you passed. Expected one "
        "that is known here. Pass it: load_model(path, custom_objects={'Plain': Plain}); or register it before "
        "loading, with keras.saving.register_keras_serializable."
    )
    loaded = load(tmp_path / "model.keras", {"Plain": Plain})
    assert np.array_equal(loaded.predict(np.ones((2, 3)), verbose=0), np.full((2, 3), 2.0))


def test_a_class_of_ones_own_does_not_stand_for_one_of_keras(tmp_path):
    """Keras looks such a layer up by its module, so the name that was given must not vouch for it."""
    path, message = hostile_files.made("lambda_bytecode", tmp_path)
    assert refusal(load, path, {"Plain": Plain, "MyLambda": Plain}) == message


def test_an_optimizer_that_another_backend_saved_passes(tmp_path):
    adam = {
        "module": "keras.src.backend.torch.optimizers.torch_adam",
        "class_name": "Adam",
        "config": {"name": "adam"},
        "registered_name": "Adam",
    }
    with opened(hostile_files.keras_file(tmp_path, compile_config={"optimizer": adam, "loss": "mse"})) as stored:
        check_config(stored, custom_objects=None, trust=False)


def test_a_configuration_of_keras_2_passes_as_one(tmp_path):
    stored_layers = [
        {"class_name": "Dense", "module": "tf_keras.src.layers.core.dense", "config": {"name": "d", "units": 2}},
        {"class_name": "TFOpLambda", "config": {"name": "tf.math.reduce_sum", "function": "math.reduce_sum"}},
    ]
    config = {"class_name": "Sequential", "module": "tf_keras", "config": {"name": "m", "layers": stored_layers}}
    with opened(hostile_files.keras_file(tmp_path, config=json.dumps(config))) as stored:
        check_config(stored, custom_objects=None, trust=False, keras_2=True)
        assert "neither Keras' own" in refusal(check_config, stored, custom_objects=None, trust=False)
    config["config"]["layers"].append({"class_name": "system", "module": "os", "config": {"name": "victim"}})
    with opened(hostile_files.keras_file(tmp_path, config=json.dumps(config))) as stored:
        assert refusal(check_config, stored, custom_objects=None, trust=False, keras_2=True) == (
            "'victim' needs the class 'os.system', which is neither Keras' own nor one that you passed. Expected one "
            "that is known here. Pass it: load_model(path, custom_objects={'system': system}); or register "
            "it before loading, with keras.saving.register_keras_serializable."
        )


# What was checked is what is loaded -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_file_that_changes_after_the_check_changes_nothing(suffix, rng, tmp_path):
    model, _ = nested(rng)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    with opened(path) as stored:
        before = stored.weights.read_bytes()
        path.write_bytes(b"something else")
        assert stored.weights.read_bytes() == before
        private = stored.weights
        assert private.parent.stat().st_mode & 0o077 == 0
    assert not private.exists()


def test_a_folder_of_too_many_files_or_too_long_a_text_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "stored"
    zipfile.ZipFile(hostile_files.honest(tmp_path)).extractall(folder)
    size = (folder / "config.json").stat().st_size
    monkeypatch.setattr("attnscope.loading.container._archives.MAX_BYTES", 100)
    assert refusal(load, folder) == (
        f"'config.json' in the folder stored has {size:,} bytes. Expected at most 100. {hostile_files.SAVE}"
    )
    monkeypatch.undo()
    monkeypatch.setattr("attnscope.loading.container._archives.MAX_MEMBERS", 1)
    assert refusal(load, folder) == (f"The folder stored has more than 1 files. Expected fewer. {hostile_files.SAVE}")


def test_the_private_copy_vanishes_when_loading_fails(tmp_path):
    with pytest.raises(RuntimeError, match=r"^mine$"), opened(hostile_files.honest(tmp_path)) as stored:
        raise RuntimeError("mine")
    assert not stored.folder.exists()


def test_what_is_no_model_file_is_said_to_be_none(tmp_path):
    (tmp_path / "text.keras").write_text("hello world")
    with pytest.raises(UnsupportedError) as error, opened(tmp_path / "text.keras"):
        pass
    assert str(error.value) == (
        "text.keras begins with b'hello wo'. Expected a .keras file (a zip) or an .h5 file (HDF5). "
        "Save the model again: model.save('model.keras')."
    )
    with pytest.raises(FileNotFoundError) as missing, opened(tmp_path / "none.keras"):
        pass
    assert str(missing.value) == (
        f"There is nothing at {str(tmp_path / 'none.keras')!r}. Expected a model file or folder; check the path."
    )
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(UnsupportedError) as pipe, opened(tmp_path / "pipe.keras"):
        pass
    assert str(pipe.value) == (
        f"{str(tmp_path / 'pipe.keras')!r} is a device or a pipe. Expected a model file: pass the file itself."
    )
    with pytest.raises(UnsupportedError) as folder, opened(tmp_path):
        pass
    assert str(folder.value) == (
        f"The folder {tmp_path.name} contains neither 'config.json' nor 'saved_model.pb'. Expected a folder that Keras "
        "or TensorFlow saved a model in. Pass that folder itself, or a .keras file."
    )


# Limits ---------------------------------------------------------------------------------------------------------------


def test_variables_are_counted_inside_the_context_alone():
    init = keras.Variable.__init__
    with pytest.raises(UnsafeFileError), limited_variables(0):
        keras.Variable(keras.initializers.Zeros(), shape=(2**27,), dtype="float32")
    assert keras.Variable.__init__ is init
    with limited_variables(0), limited_variables(10**9):
        keras.Variable(keras.initializers.Zeros(), shape=(3,), dtype="float32")
        assert keras.Variable.__init__ is not init
    assert keras.Variable.__init__ is init


def test_random_numbers_are_not_drawn_where_weights_follow(tmp_path, monkeypatch):
    dense = keras.layers.Dense(7, kernel_initializer="orthogonal")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), dense])
    for suffix in ("keras", "h5"):
        model.save(tmp_path / f"model.{suffix}")

    def drawn(*arguments, **options):
        raise AssertionError("random numbers are drawn")

    for name in ("Orthogonal", "VarianceScaling"):
        monkeypatch.setattr(getattr(keras.initializers, name), "__call__", drawn)
    for suffix in ("keras", "h5"):
        for weight, stored in zip(ats.load_model(tmp_path / f"model.{suffix}").weights, model.weights, strict=True):
            np.testing.assert_array_equal(weight, stored)


def test_threads_that_load_at_once_are_counted_each_for_itself_and_the_last_leaves_keras_as_it_was():
    init, call = keras.Variable.__init__, keras.Operation.__call__
    both_inside, first_left = threading.Barrier(2, timeout=30), threading.Event()
    refusals = []

    def small():
        with limited_variables(0), limited_steps():
            both_inside.wait()
            keras.Variable(keras.initializers.Zeros(), shape=(3,), dtype="float32")
        first_left.set()

    def large():
        both_inside.wait()
        assert first_left.wait(30)
        keras.Variable(keras.initializers.Zeros(), shape=(2**27,), dtype="float32")

    def limited_and_large():
        with limited_variables(0), limited_steps():
            large()

    threads = [
        threading.Thread(target=small),
        threading.Thread(target=lambda: refusals.append(refusal(limited_and_large))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said.startswith("The configuration asks for 1 variable of 536,870,912 bytes") for said in refusals] == [
        True
    ]
    assert (keras.Variable.__init__, keras.Operation.__call__) == (init, call)


def test_a_refusal_that_keras_wraps_in_another_error_comes_out_as_it_was():
    refused = pytest.raises(UnsafeFileError, match=r"^The configuration asks for 1 variable of 536,870,912 bytes")
    with refused, limited_variables(0):
        try:
            keras.Variable(keras.initializers.Zeros(), shape=(2**27,), dtype="float32")
        except ValueError as error:
            raise TypeError("could not be deserialized properly") from error


def test_a_variable_of_a_bool_or_of_sixteen_bits_counts_for_what_it_is():
    with limited_variables(0):
        keras.Variable(keras.initializers.Zeros(), shape=(2**20,), dtype="float16")
    with pytest.raises(UnsafeFileError, match="268,435,464 bytes"), limited_variables(0):
        keras.Variable(keras.initializers.Zeros(), shape=(2**27 + 4,), dtype="float16")


def test_json_in_its_limits_is_what_json_says():
    value = {"a": [1, -2.5e3, None, True, "ü", {"b": {}}], "": "x"}
    assert parsed(json.dumps(value), "x") == value
    assert parsed(json.dumps(value, ensure_ascii=False).encode(), "x") == value
    deepest = "1"
    for _ in range(256):
        deepest = f'{{"a":{deepest}}}'
    assert parsed(deepest, "x") == json.loads(deepest)


def test_checking_a_hundred_megabytes_takes_little_more_than_copying_them(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        for index in range(200):
            file[f"layers/dense_{index}/vars/0"] = np.zeros((512, 256), "float32")
    copied = time.perf_counter()
    (tmp_path / "copy.h5").write_bytes(path.read_bytes())
    copied = time.perf_counter() - copied
    start = time.perf_counter()
    with opened(path) as stored:
        seconds = time.perf_counter() - start
    assert stored.stored_bytes == 200 * 512 * 256 * 4
    assert seconds < 3 * copied + 1


@pytest.mark.parametrize(
    ("version", "vulnerable"),
    [
        ("3.15.1", False),
        ("3.15.2", False),
        ("3.16.0", False),
        ("4.0.0", False),
        ("3.12.4", False),
        ("3.12.5", False),
        ("3.12.3", True),
        ("3.13.0", True),
        ("3.13.2", True),
        ("3.15.0", True),
        ("2.15.0", True),
    ],
)
def test_versions_of_keras_with_known_vulnerabilities_are_named(version, vulnerable):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_known_vulnerabilities(version)
    assert [(warning.category, str(warning.message)) for warning in caught] == (
        [
            (
                KnownHolesWarning,
                f"Keras {version} has known vulnerabilities in loading model files. Expected 3.15.1 or later, or "
                "3.12.4 or a later patch of 3.12. Update it: pip install --upgrade 'keras>=3.15.1'",
            )
        ]
        if vulnerable
        else []
    )
