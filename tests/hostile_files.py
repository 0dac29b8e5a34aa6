"""Model files that mean harm, made afresh for each test: one function each, named after the attack.

The docstring says what a careless loader would do; `attack` has the whole error that attnscope raises. In it
``{secret}`` is a file that must not be read, and ``{code}`` the size of the bytecode that would make another, the
canary, in the working folder.
"""

import base64
import io
import json
import marshal
import struct
import warnings
import zipfile

import h5py
import numpy as np

ATTACKS = {}
SAVE = "Get the file again from where it was first saved, or save the model again: model.save('model.keras')."
AGAIN = "Load it where you trust it, and save it again: model.save('model.keras')."
WEIGHTS = "Save the weights again with Keras: model.save_weights('model.weights.h5')."


def attack(message):
    def register(function):
        ATTACKS[function.__name__] = (function, message)
        return function

    return register


def secret(folder):
    """A file that has nothing to do with the model, in a folder of its own."""
    path = folder / "private" / "secret.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("hunter2\n")
    return path


def secret_array(folder):
    path = secret(folder).with_name("secret.h5")
    with h5py.File(path, "w") as file:
        file["array"] = np.arange(6, dtype="float32").reshape(3, 2)
    return path


def bytecode():
    """A function that makes the canary in the working folder when it is called."""
    return marshal.dumps(compile("lambda x: open('canary', 'w').close() or x", "model", "eval").co_consts[0])


def text_of(raw):
    return base64.encodebytes(raw).decode("ascii")


# Honest parts ---------------------------------------------------------------------------------------------------------

INPUT = {
    "module": "keras.layers",
    "class_name": "InputLayer",
    "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "input"},
    "registered_name": None,
}


def layer(class_name, name="victim", module="keras.layers", **config):
    return {"module": module, "class_name": class_name, "config": {"name": name, **config}, "registered_name": None}


def dense(**config):
    return layer("Dense", "dense", **{"units": 2, **config})


def function(module, name, registered=None):
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered or name}


def sequential(*layers, **more):
    config = {"name": "model", "trainable": True, "layers": [INPUT, *layers]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None, **more}


def weights(fill=None):
    """The weights of one dense layer as Keras stores them; `fill` may add to them."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("layers/dense/vars")
        group["0"] = np.ones((3, 2), "float32")
        group["1"] = np.ones(2, "float32")
        if fill is not None:
            fill(group)
    return buffer.getvalue()


def keras_file(folder, *layers, config=None, h5=None, members=(), order=None, **more):
    """A ``.keras`` file; `members` are (name or ZipInfo, content) beyond the three."""
    path = folder / "model.keras"
    if config is None:
        config = json.dumps(sequential(*(layers or (dense(),)), **more))
    parts = [
        ("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"})),
        ("config.json", config),
        ("model.weights.h5", weights() if h5 is None else h5),
        *members,
    ]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in parts:
            archive.writestr(name, content)
    return path


def h5_file(folder, model_config, fill=None):
    path = folder / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["backend"] = "jax"
        file.attrs["model_config"] = model_config if isinstance(model_config, str) else json.dumps(model_config)
        group = file.create_group("model_weights")
        if fill is not None:
            fill(group)
    return path


def honest(folder):
    return keras_file(folder)


# Code that the file brings --------------------------------------------------------------------------------------------

LAMBDA = (
    "'victim' is a Lambda and would run {code} bytes of Python bytecode that mentions 'canary', 'open', 'close', "
    "'model'. Expected layers whose code is installed, not contained in the file. If you trust whoever "
    "made it: load_model(path, trust=True); or put a layer of your own in its place: "
    "load_model(path, replacements={{'victim': layer}})."
)


def lambda_layer():
    stored = {"code": text_of(bytecode()), "defaults": None, "closure": None}
    return layer("Lambda", function={"class_name": "__lambda__", "config": stored}, arguments={})


@attack(LAMBDA)
def lambda_bytecode(folder):
    """Keras unmarshals the code and runs it on building the model (CVE-2024-3660)."""
    return keras_file(folder, lambda_layer())


@attack(LAMBDA)
def lambda_inside_a_wrapper_inside_a_model(folder):
    """The same, two levels down."""
    return keras_file(folder, sequential(layer("TimeDistributed", "outer", layer=lambda_layer())))


@attack(LAMBDA)
def lambda_in_an_h5_file(folder):
    """Keras before 3.12 ignored safe mode in this format (CVE-2025-9905)."""
    stored = {"name": "victim", "function": [text_of(bytecode()), None, None], "function_type": "lambda"}
    layers = [{"class_name": "Lambda", "config": stored}]
    return h5_file(folder, {"class_name": "Sequential", "config": {"name": "model", "layers": layers}})


@attack(LAMBDA.replace("a Lambda and", "a lambda and").replace("'victim'", "'dense'"))
def lambda_as_an_activation(folder):
    """Code that is no layer, but an argument of an honest one."""
    code = {"class_name": "__lambda__", "config": {"value": [text_of(bytecode()), None, None]}}
    return keras_file(folder, dense(activation=code))


@attack(
    "'victim' is a Lambda and would run the function 'load_model' of 'keras.models'. Expected layers whose code is "
    "installed, not contained in the file. If you trust whoever made it: load_model(path, trust=True); or put a layer "
    "of your own in its place: load_model(path, replacements={{'victim': layer}})."
)
def lambda_around_a_function_of_keras(folder):
    """A layer that calls Keras' own loader on another file, without safe mode (CVE-2025-8747, CVE-2025-9906)."""
    return keras_file(
        folder, layer("Lambda", function=function("keras.models", "load_model"), arguments={"safe_mode": False})
    )


WRAPPER = (
    "'victim' is a {name} and would run {what}. Expected layers whose code is installed, not contained in the file. "
    "Put a layer of your own in its place: load_model(path, replacements={{{{'victim': layer}}}})."
)


@attack(WRAPPER.format(name="TFSMLayer", what="a TensorFlow program from a folder outside the file"))
def tensorflow_program_from_outside(folder):
    """TensorFlow programs can write files; this one is wherever the attacker says."""
    return keras_file(folder, layer("TFSMLayer", filepath=str(secret(folder).parent), call_endpoint="serve"))


@attack(WRAPPER.format(name="TorchModuleWrapper", what="pickled Python objects"))
def pickle_in_a_torch_wrapper(folder):
    """Keras 3.11 unpickled it even in safe mode (CVE-2025-49655)."""

    class Payload:
        def __reduce__(self):
            return open, ("canary", "w")

    import torch

    buffer = io.BytesIO()
    torch.save(Payload(), buffer)
    return keras_file(folder, layer("TorchModuleWrapper", module=text_of(buffer.getvalue()), output_shape=None))


@attack(WRAPPER.format(name="JaxLayer", what="a Python function"))
def function_in_a_jax_layer(folder):
    return keras_file(folder, layer("JaxLayer", call_fn=function("os", "system"), params=None, state=None))


@attack(WRAPPER.format(name="FlaxLayer", what="a Python module"))
def module_in_a_flax_layer(folder):
    return keras_file(folder, layer("FlaxLayer", variables=None))


# Names of what does not compute ---------------------------------------------------------------------------------------

NAMES = (
    "'{layer}' names the {what} '{name}', which no model needs or which does not exist. Expected a layer, function or "
    "setting that Keras has for building models. " + AGAIN
)
UNKNOWN = (
    "'{layer}' needs the {what} '{name}', which is neither Keras' own nor one that you passed. Expected one that is "
    "known here. Pass it: load_model(path, custom_objects={{{{'{registered}': {short}}}}}); or register it before "
    "loading, with keras.saving.register_keras_serializable."
)


@attack(UNKNOWN.format(layer="victim", what="class", name="subprocess.Popen", registered="Popen", short="Popen"))
def class_of_any_module(folder):
    """Keras before 3.9 imported whatever module a file named, and called what it found there (CVE-2025-1550)."""
    return keras_file(folder, layer("Popen", module="subprocess", args=["touch", "canary"]))


@attack(UNKNOWN.format(layer="dense", what="function", name="os.system", registered="system", short="system"))
def function_of_any_module(folder):
    return keras_file(folder, dense(activation=function("os", "system")))


@attack(NAMES.format(layer="dense", what="function", name="keras.utils.get_file"))
def download_as_an_activation(folder):
    """A download to anywhere, by a function of Keras itself (CVE-2025-8747)."""
    return keras_file(folder, dense(activation=function("keras.utils", "get_file")))


@attack(NAMES.format(layer="victim", what="class", name="keras.utils.get_file"))
def download_as_a_layer(folder):
    return keras_file(folder, layer("get_file", module="keras.utils", origin="http", fname="canary"))


@attack(NAMES.format(layer="dense", what="function", name="keras.config.enable_unsafe_deserialization"))
def safe_mode_switched_off_by_the_file(folder):
    """What comes later in the file is then run (CVE-2025-9906)."""
    return keras_file(folder, dense(activation=function("keras.config", "enable_unsafe_deserialization")))


@attack(NAMES.format(layer="dense", what="function", name="keras.activations.deserialize"))
def loader_as_an_activation(folder):
    """A function of an allowed place that makes objects out of what it is given."""
    return keras_file(folder, dense(activation=function("keras.activations", "deserialize")))


@attack(NAMES.format(layer="dense", what="function", name="builtins.exec"))
def built_in_function_of_python(folder):
    return keras_file(folder, dense(activation=function("builtins", "exec")))


@attack(NAMES.format(layer="dense", what="function", name="keras.activations.get_file"))
def two_names_for_one_function(folder):
    """Keras takes the one in some places and the other in others."""
    return keras_file(folder, dense(activation=function("keras.activations", "relu", registered="get_file")))


@attack(NAMES.format(layer="victim", what="class", name="keras.src.saving.file_editor.KerasFileEditor"))
def class_in_the_inside_of_keras(folder):
    return keras_file(folder, layer("KerasFileEditor", module="keras.src.saving.file_editor", filepath="x"))


@attack(NAMES.format(layer="victim", what="class", name="keras.callbacks.BackupAndRestore"))
def callback_as_a_layer(folder):
    return keras_file(folder, layer("BackupAndRestore", module="keras.callbacks", backup_dir="x"))


@attack(UNKNOWN.format(layer="victim", what="class", name="deserialize", registered="deserialize", short="deserialize"))
def loader_as_a_layer_in_an_h5_file(folder):
    """In this format Keras calls whatever stands among its layers by that name, functions too."""
    layers = [{"class_name": "deserialize", "config": {"name": "victim"}}]
    return h5_file(folder, {"class_name": "Sequential", "config": {"name": "model", "layers": layers}})


@attack(UNKNOWN.format(layer="evil", what="class", name="evil.Loss", registered="evil>Loss", short="Loss"))
def class_hidden_in_the_compile_settings(folder):
    loss = {"module": "evil", "class_name": "Loss", "config": {"name": "evil"}, "registered_name": "evil>Loss"}
    return keras_file(folder, compile_config={"optimizer": "adam", "loss": loss})


@attack(UNKNOWN.format(layer="dense", what="class", name="evil.Zeros", registered="evil>Zeros", short="Zeros"))
def class_with_the_name_of_an_honest_one(folder):
    zeros = {"module": "evil", "class_name": "Zeros", "config": {}, "registered_name": "evil>Zeros"}
    return keras_file(folder, dense(kernel_initializer=zeros))


@attack(
    "'dense' defines a TensorFlow type of its own (__typespec__), which would be built by name. Expected plain "
    "tensors. " + AGAIN
)
def type_by_name(folder):
    spec = {
        "class_name": "__typespec__",
        "spec_name": "system",
        "module": "os",
        "config": ["x"],
        "registered_name": None,
    }
    return keras_file(folder, dense(kernel_initializer=spec))


@attack(
    "'victim' defines a TensorFlow type of its own (TypeSpec), which would be built by name. Expected plain "
    "tensors. " + AGAIN
)
def type_by_name_in_an_h5_file(folder):
    """Built while the text is parsed, before any safe mode."""
    spec = {"class_name": "TypeSpec", "type_spec": "tf.RaggedTensorSpec", "serialized": []}
    layers = [{"class_name": "Dense", "config": {"name": "victim", "units": 2, "kernel_initializer": spec}}]
    return h5_file(folder, {"class_name": "Sequential", "config": {"name": "model", "layers": layers}})


@attack("In 'victim' the name of the class is a list. Expected text. " + AGAIN)
def class_that_is_no_text(folder):
    return keras_file(folder, layer(["Dense"]))


# Places to read from --------------------------------------------------------------------------------------------------

PLACE = (
    "'victim' has {key}={place}, a place outside the file to read from. Expected the file to contain what it needs. "
    + AGAIN
)


@attack(PLACE.format(key="vocabulary", place="'{secret}'"))
def vocabulary_from_a_file(folder):
    """Keras 3.11 read any file of the victim's into the model (CVE-2025-12058)."""
    return keras_file(folder, layer("StringLookup", vocabulary=str(secret(folder))))


@attack(PLACE.format(key="vocabulary", place="'http://localhost/words.txt'"))
def vocabulary_from_the_net(folder):
    return keras_file(folder, layer("TextVectorization", vocabulary="http://localhost/words.txt"))


@attack(PLACE.format(key="vocabulary", place="'secret.txt'"))
def vocabulary_from_a_file_beside_it(folder):
    """A relative name, which no pattern for paths would know."""
    return keras_file(folder, layer("IntegerLookup", vocabulary="secret.txt"))


@attack(PLACE.format(key="proto", place="'secret.model'"))
def sentence_pieces_from_a_file(folder):
    tokenizer = layer("SentencePieceTokenizer", module="keras_hub.tokenizers", proto="secret.model")
    return keras_file(folder, tokenizer)


@attack(PLACE.format(key="anything", place="'file:///etc/passwd'"))
def address_where_no_text_is_expected(folder):
    return keras_file(folder, layer("Dense", units=2, anything="file:///etc/passwd"))


@attack(PLACE.format(key="anything", place="'..\\\\secret.txt'"))
def path_of_windows(folder):
    return keras_file(folder, layer("Dense", units=2, anything="..\\secret.txt"))


# Configurations that ask for too much ---------------------------------------------------------------------------------


@attack("In 'dense' an array has the dtype 'S4000000000'. Expected a plain dtype such as 'float32'. " + AGAIN)
def text_of_four_billion_letters(folder):
    """NumPy makes room for all of them."""
    array = {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S4000000000"}}
    return keras_file(folder, dense(kernel_initializer=array))


@attack(
    "The configuration asks for 1 variable of 12,000,000,000,000 bytes or more, but the file stores 32 bytes of "
    "weights. Expected at most 268,435,712 bytes and 20,000 variables. If this is intended, load the file where "
    "you trust it: keras.saving.load_model(path)."
)
def layer_of_a_trillion_weights(folder):
    """Keras makes the weights before it looks at those in the file."""
    return keras_file(folder, {**dense(units=10**12), "build_config": {"input_shape": [None, 3]}})


@attack("'config.json' of model.keras is nested too deeply to be parsed. Expected at most 256 levels. " + SAVE)
def text_nested_without_end(folder):
    return keras_file(folder, config="[" * 100_000 + "]" * 100_000)


@attack("'config.json' of model.keras is nested deeper than 256 levels. Expected at most 256 levels. " + SAVE)
def text_nested_deeply(folder):
    """Parsed without complaint, and then walked by recursion."""
    return keras_file(folder, config='{"a":' * 300 + "1" + "}" * 300)


@attack("The member 'config.json' unpacks from {packed:,} bytes to 33,554,434. Expected at most 33,554,432. " + SAVE)
def giant_text(folder):
    path = keras_file(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"{" + b" " * 2**25 + b"}")
        return path, {"packed": archive.getinfo("config.json").compress_size}


@attack("'config.json' of model.keras has more than 2,000,000 values. Expected at most 2,000,000. " + SAVE)
def millions_of_empty_lists(folder):
    """Three bytes each in the file, sixty in memory."""
    return keras_file(folder, config='{"a": [' + "[]," * 3_000_000 + "[]]}")


CANNOT = "'config.json' of model.keras cannot be read: {why}. Expected a plain JSON object in UTF-8. " + SAVE


@attack(CANNOT.format(why="the key 'class_name' appears twice in one object"))
def key_twice(folder):
    """A checker may read the one and Keras the other."""
    return keras_file(folder, config='{"class_name": "Sequential", "class_name": "Lambda"}')


@attack(CANNOT.format(why="'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"))
def text_that_is_no_text(folder):
    return keras_file(folder, config=b'{"\xff": 1}')


@attack("'config.json' of model.keras is a list. Expected a JSON object. " + SAVE)
def list_in_place_of_a_model(folder):
    return keras_file(folder, config="[]")


# Archives -------------------------------------------------------------------------------------------------------------

MEMBER = (
    "The archive has a member {name}. Expected only 'config.json', 'metadata.json', 'model.weights.h5' and "
    "plain names under 'assets/'. " + SAVE
)


def member(name, mode=None, **settings):
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    if mode is not None:
        info.create_system, info.external_attr = 3, mode << 16
    for key, value in settings.items():
        setattr(info, key, value)
    return info


@attack(MEMBER.format(name="'assets/../../canary'"))
def member_above_the_folder(folder):
    """A plain extraction writes outside its folder."""
    return keras_file(folder, members=[(member("assets/../../canary"), b"")])


@attack(MEMBER.format(name="'/tmp/canary'"))
def member_with_an_absolute_name(folder):
    return keras_file(folder, members=[(member("/tmp/canary"), b"")])


@attack(MEMBER.format(name="'assets\\\\..\\\\canary'"))
def member_above_the_folder_on_windows(folder):
    return keras_file(folder, members=[(member("assets\\..\\canary"), b"")])


@attack(MEMBER.format(name="'payload.pkl'"))
def member_that_no_model_has(folder):
    return keras_file(folder, members=[("payload.pkl", b"cos\nsystem\n(S'touch canary'\ntR.")])


@attack("The member 'assets/words.txt' is a symbolic link. Expected plain files. " + SAVE)
def member_that_is_a_link(folder):
    """Unpacked by most tools, it leads to the victim's file, and to write there or read from there."""
    return keras_file(folder, members=[(member("assets/words.txt", 0o120777), str(secret(folder)))])


TWICE = "The archive contains '{name}' twice. Expected each member once: it is unclear which one is meant. " + SAVE


@attack(TWICE.format(name="config.json"))
def member_twice(folder):
    """A checker may read the first and Keras the last."""
    return keras_file(folder, members=[("config.json", json.dumps(sequential(lambda_layer())))])


@attack(TWICE.format(name="assets/WORDS.txt"))
def member_twice_but_for_its_case(folder):
    """On some disks the second replaces the first."""
    return keras_file(folder, members=[("assets/words.txt", "a"), ("assets/WORDS.txt", "b")])


@attack(
    "The member 'config.json' is encrypted. Expected plain members. Unpack the archive with its password, and zip it "
    "again without one."
)
def encrypted_member(folder):
    """What cannot be read cannot be checked."""
    path = keras_file(folder)
    raw = path.read_bytes()
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.index(signature, raw.index(signature) + 4)  # the second member
        raw = raw[: at + offset] + b"\x01\x00" + raw[at + offset + 2 :]
    path.write_bytes(raw)
    return path


@attack(
    "The member 'model.weights.h5' unpacks from {packed:,} bytes to 100,663,296. Expected at most {limit:,}. " + SAVE
)
def bomb_in_an_archive(folder):
    """A thousand times as large as it looks; Keras allows it up to 4 GiB."""
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(sequential(dense())))
        archive.writestr("model.weights.h5", bytes(96 * 2**20))
        packed = archive.getinfo("model.weights.h5").compress_size
    return path, {"packed": packed, "limit": 64 * 2**20 + 100 * packed}


@attack(
    "The archive model.keras cannot be read: Bad CRC-32 for file 'config.json'. Expected a complete, undamaged file. "
    + SAVE
)
def member_larger_than_declared(folder):
    """It declares 64 bytes and unpacks to far more."""
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"{}" + bytes(2**22))
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", raw, raw.index(signature) + offset, 64)
    path.write_bytes(bytes(raw))
    return path


@attack(
    "The member 'model.weights.h5' begins at byte 0, but byte 5,043 was next: members overlap, or something "
    "precedes the archive. Expected one member after another. " + SAVE
)
def members_in_one_place(folder):
    """Thousands of names for the same compressed bytes: a bomb without a suspicious ratio."""
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", b"{}" + b" " * 5000)
        sizes = {"file_size": 5002, "compress_size": 5002, "header_offset": 0, "CRC": archive.filelist[0].CRC}
        archive.filelist.append(member("model.weights.h5", **sizes))
    return path


@attack(
    "The member 'metadata.json' begins at byte 9, but byte 0 was next: members overlap, or something precedes "
    "the archive. Expected one member after another. " + SAVE
)
def two_files_in_one(folder):
    """Begins as one kind of file and ends as another, so that two programs read two things."""
    path = keras_file(folder)
    raw = path.read_bytes()
    at = raw.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", raw, at + 16)[0]
    raw = raw[: at + 16] + struct.pack("<I", start) + raw[at + 20 :]
    path.write_bytes(b"PK honest" + raw)
    return path


@attack(
    "The archive keeps its weights as 'model.weights.npz', which cannot be checked before it is read. Expected "
    "'model.weights.h5'. Load it where you trust it, and save it again: model.save('model.keras')."
)
def weights_in_another_format(folder):
    """NumPy's format can hold pickles."""
    return keras_file(folder, members=[("model.weights.npz", b"")])


@attack("The member 'assets/words.txt' is compressed by method 12. Expected it stored or deflated. " + SAVE)
def bomb_by_another_method(folder):
    """bzip2 packs 45 MB of one letter into a hundred bytes."""
    return keras_file(folder, members=[(member("assets/words.txt", compress_type=zipfile.ZIP_BZIP2), b"a" * 10**6)])


@attack("The archive model.keras cannot be read: File is not a zip file. Expected a complete, undamaged file. " + SAVE)
def archive_cut_short(folder):
    path = keras_file(folder)
    path.write_bytes(path.read_bytes()[:-60])
    return path


@attack("'model.weights.h5' in the folder stored is a link or a device. Expected plain files. " + SAVE)
def folder_with_a_link(folder):
    stored = folder / "stored"
    stored.mkdir()
    (stored / "config.json").write_text(json.dumps(sequential(dense())))
    (stored / "model.weights.h5").symlink_to(secret_array(folder))
    return stored


SAVED_MODEL = (
    "{path} is a SavedModel, which holds compiled TensorFlow graphs: their layers, and so their attention, cannot be "
    "seen. Load it with the Keras and the code that made it, and save it again, model.save('model.keras'); or build "
    "the model, and load its weights from an .h5 file: attnscope.load_model('weights.h5', model)."
)


@attack(SAVED_MODEL)
def program_of_tensorflow(folder):
    """TensorFlow programs can read and write files when they run."""
    stored = folder / "program"
    stored.mkdir()
    (stored / "saved_model.pb").write_bytes(b"")
    return stored, {"path": repr(str(stored))}


# HDF5 -----------------------------------------------------------------------------------------------------------------

LINK = (
    "'/layers/dense/vars/2' in the HDF5 file is {kind}, which leads elsewhere. Expected the weights themselves. "
    + WEIGHTS
)
PLAIN = "Expected plain numbers. " + WEIGHTS


def with_weights(folder, fill):
    return keras_file(folder, h5=weights(fill))


@attack(LINK.format(kind="an external link"))
def link_to_another_file(folder):
    """The victim's own arrays become weights of the model, and leave with it."""

    def fill(group):
        group["2"] = h5py.ExternalLink(str(secret_array(folder)), "/array")

    return with_weights(folder, fill)


@attack(LINK.format(kind="a soft link"))
def link_to_another_place(folder):
    def fill(group):
        group["2"] = h5py.SoftLink("/layers/dense/vars/0")

    return with_weights(folder, fill)


OUTSIDE = (
    "The values of '/layers/dense/vars/2' are stored outside the HDF5 file, or elsewhere in it. Expected the weights "
    "themselves. " + WEIGHTS
)


@attack(OUTSIDE)
def values_in_another_file(folder):
    """Any file of the victim's, its bytes read as numbers."""

    def fill(group):
        group.create_dataset("2", (8,), "uint8", external=[(str(secret(folder)), 0, 8)])

    return with_weights(folder, fill)


@attack(OUTSIDE)
def values_of_another_dataset(folder):
    def fill(group):
        layout = h5py.VirtualLayout((3, 2), "float32")
        layout[:] = h5py.VirtualSource(str(secret_array(folder)), "array", (3, 2))
        group.create_virtual_dataset("2", layout)

    return with_weights(folder, fill)


@attack(
    "'/layers/dense/vars/2' in the HDF5 file would take 4,000,000,000,000 bytes in memory, but only 0 are stored. "
    "Expected at most 100 times what is stored. " + WEIGHTS
)
def array_of_a_trillion_numbers(folder):
    """Nothing of it is stored, and all of it is made room for (CVE-2026-0897)."""

    def fill(group):
        group.create_dataset("2", (10**6, 10**6), "float32", chunks=(100, 100))

    return with_weights(folder, fill)


@attack(
    "'/layers/dense/vars/2' in the HDF5 file would take 134,217,728 bytes in memory, but only {packed:,} are stored. "
    "Expected at most 100 times what is stored. " + WEIGHTS
)
def bomb_in_an_array(folder):
    def fill(group):
        array = group.create_dataset("2", data=np.zeros(2**25, "float32"), chunks=(2**23,), compression="gzip")
        packed.append(array.id.get_storage_size())

    packed = []
    return with_weights(folder, fill), {"packed": packed[0]}


@attack(
    "All arrays together in the HDF5 file would take 80,000,032 bytes in memory, but only 32 are stored. Expected at "
    "most 100 times what is stored. " + WEIGHTS
)
def many_arrays_of_nothing(folder):
    """Each small enough, but not all of them."""

    def fill(group):
        for index in range(20):
            group.create_dataset(str(index + 2), (10**6,), "float32")

    return with_weights(folder, fill)


@attack(
    "'/layers/dense/vars/2' in the HDF5 file would take 400,000,000 bytes in memory, but only 0 are stored. Expected "
    "at most 100 times what is stored. " + WEIGHTS
)
def piece_larger_than_its_array(folder):
    """One number, in a chunk that has to be made room for."""

    def fill(group):
        group.create_dataset("2", (1,), "float32", maxshape=(None,), chunks=(10**8,), compression="gzip")

    return with_weights(folder, fill)


@attack("'/layers/dense/vars/2' in the HDF5 file holds values of type object with shape (2,). " + PLAIN)
def texts_of_any_length_as_weights(folder):
    def fill(group):
        group.create_dataset("2", data=["a", "b"], dtype=h5py.string_dtype())

    return with_weights(folder, fill)


@attack("'/layers/dense/vars/2' in the HDF5 file holds values of type object with shape (1,). " + PLAIN)
def references_as_weights(folder):
    """References point to objects past all checks of links."""

    def fill(group):
        group.create_dataset("2", (1,), h5py.ref_dtype)[0] = group["0"].ref

    return with_weights(folder, fill)


@attack(
    "'/layers/dense/vars/2' in the HDF5 file holds values of type [('a', '<f4'), ('b', '<i4')] with shape (3,). "
    + PLAIN
)
def records_as_weights(folder):
    def fill(group):
        group.create_dataset("2", (3,), np.dtype([("a", "f4"), ("b", "i4")]))

    return with_weights(folder, fill)


@attack(
    "The attribute 'name' of '/layers/dense/vars' in the HDF5 file has values of type object. Expected text or plain "
    "numbers. " + WEIGHTS
)
def reference_as_an_attribute(folder):
    def fill(group):
        group.attrs["name"] = group["0"].ref

    return with_weights(folder, fill)


NAMED = (
    "'/layers/dense/vars/2' in the HDF5 file is an object that also has another name. Expected each array and group "
    "to have a single name. " + WEIGHTS
)


@attack(NAMED)
def group_that_holds_itself(folder):
    """Whoever walks the tree walks for ever."""

    def fill(group):
        group["2"] = group

    return with_weights(folder, fill)


@attack(NAMED)
def array_with_two_names(folder):
    """One array of a gigabyte under a thousand names takes a terabyte in memory."""

    def fill(group):
        group["2"] = group["0"]

    return with_weights(folder, fill)


@attack("'/layers/dense/vars/2' in the HDF5 file is a Datatype. Expected only groups and arrays. " + WEIGHTS)
def type_as_a_weight(folder):
    def fill(group):
        group["2"] = np.dtype("float32")

    return with_weights(folder, fill)


@attack(
    "The HDF5 file has more than 100,000 objects, or 64 levels of groups, at "
    "'/layers/dense/vars" + "/a" * 21 + "'. Expected fewer: no model needs that many. " + WEIGHTS
)
def groups_nested_deeply(folder):
    def fill(group):
        group.create_group("/".join("a" * 100))

    return with_weights(folder, fill)


@attack(
    "'/layers/dense/vars/2' in the HDF5 file is compressed with the filters [32123], which may be plug-ins. Expected "
    "gzip, lzf, shuffle, fletcher32 or none. " + WEIGHTS
)
def plug_in_as_a_filter(folder):
    """HDF5 looks for a library of that number, and runs it."""

    def fill(group):
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((2,))
        created.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(group.id, b"2", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((2,)), created)

    return with_weights(folder, fill)


@attack(
    "The HDF5 file model.weights.h5 cannot be read: Unable to synchronously open file (truncated file: "
    "eof = 1000, sblock->base_addr = 0, stored_eof = {end}). Expected a complete, undamaged file. " + WEIGHTS
)
def weights_cut_short(folder):
    raw = weights()
    return keras_file(folder, h5=raw[:1000]), {"end": len(raw)}


@attack(
    "The arrays of the HDF5 file claim 8,000,032 bytes, but the file has {size:,}: some of them overlap. Expected "
    "each array to have bytes of its own. " + WEIGHTS
)
def arrays_in_one_place(folder):
    """Every array is there, at the same bytes: small in the file, large in memory, and no ratio tells."""

    def fill(group):
        group["2"] = np.full(10**6, 7, "float32")
        group["3"] = np.full(10**6, 8, "float32")

    raw = weights(fill)
    first, second = (raw.index(np.full(10**6, value, "float32").tobytes()) for value in (7, 8))
    raw = raw.replace(struct.pack("<QQ", second, 4 * 10**6), struct.pack("<QQ", first, 4 * 10**6))
    end = struct.pack("<Q", len(raw))
    raw = raw[:second].replace(end, struct.pack("<Q", second), 1)  # and the bytes that nobody needs any more cut off
    return keras_file(folder, h5=raw), {"size": len(raw)}


@attack(
    "The attribute 'keras_version' of the HDF5 file has shape (2, 3) and type int64. Expected a single text. " + SAVE
)
def version_that_is_no_text(folder):
    path = h5_file(folder, "{}")
    with h5py.File(path, "a") as file:
        file.attrs["keras_version"] = np.ones((2, 3), "int64")
    return path


HEAP = "The HDF5 file model.h5 cannot be read: {why}. Expected a complete, undamaged file. " + WEIGHTS


def with_heap(folder, offset, old, new):
    """An ``.h5`` file whose heap of texts has other bytes at an offset."""
    path = h5_file(folder, "{}")
    raw = path.read_bytes()
    at = raw.index(b"GCOL") + offset
    assert raw[at : at + 8] == struct.pack("<Q", old)
    path.write_bytes(raw[:at] + struct.pack("<Q", new) + raw[at + 8 :])
    return path, {"at": at}


@attack(HEAP.format(why="a text heap has an entry of 0 bytes at byte {at:,}"))
def heap_that_never_ends(folder):
    """The HDF5 library walks on by 0 bytes, for ever."""
    # A head of 16 bytes, three texts in entries of 24, and what is free, whose size stands 8 bytes into its own head.
    path, values = with_heap(folder, 16 + 3 * 24 + 8, 4096 - 16 - 3 * 24, 0)
    return path, {"at": values["at"] - 8}


@attack(HEAP.format(why="the text heap at byte {at:,} extends beyond the end of the file"))
def heap_beyond_the_file(folder):
    path, values = with_heap(folder, 8, 4096, 2**40)
    return path, {"at": values["at"] - 8}


@attack(
    "The attribute 'layer_names' of '/model_weights' in the HDF5 file has 4,000 texts, and one text in the file takes "
    "2,000,000 bytes: together they may take more than 4,294,967,296 bytes. Expected fewer or shorter texts. " + WEIGHTS
)
def one_text_thousands_of_times(folder):
    """Thousands of names may all lie at the same megabytes."""

    def fill(group):
        group.attrs["layer_names"] = ["a"] * 4000

    return h5_file(folder, " " * 2_000_000, fill)


def made(name, folder):
    """The file of one attack, in a folder of its own, and the error that it must get."""
    make, message = ATTACKS[name]
    file = make(folder)
    path, values = file if isinstance(file, tuple) else (file, {})
    known = {"secret": str(secret(folder))[:80], "code": len(bytecode())}
    return path, message.format(**known, **values)
