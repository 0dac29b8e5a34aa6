"""What versions of Keras 2 stored of a model, written by hand: the settings that each of them has, and no others.

Standalone Keras stored no dtype before 2.3, other than of first layers; its successor inside TensorFlow stored more
settings, and from 2.13 on the module of each object.
"""

import io
import json
import zipfile

import h5py
import numpy as np

VERSIONS = ["2.0.6", "2.1.6", "2.2.4", "2.3.1", "2.4.0", "2.6.0", "2.10.0", "2.15.0"]
WITHOUT_DTYPE = ["2.0.6", "2.1.6", "2.2.4"]


def number(version):
    return tuple(int(part) for part in version.split("."))


def is_standalone(version):
    return number(version) < (2, 4)


def stored(version, module, class_name, config):
    """An object that is no layer of a graph, or a layer without its place in one."""
    entry = {"class_name": class_name, "config": config}
    return {"module": module, **entry, "registered_name": None} if number(version) >= (2, 13) else entry


def layer(version, class_name, name, **settings):
    dtype = {"dtype": "float32"} if number(version) >= (2, 3) else {}
    return stored(version, "keras.layers", class_name, {"name": name, "trainable": True, **dtype, **settings})


def initializer(version, name):
    if name == "glorot_uniform" and is_standalone(version):
        scaling = {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None}
        return stored(version, "keras.initializers", "VarianceScaling", scaling)
    class_name = {"glorot_uniform": "GlorotUniform", "zeros": "Zeros", "orthogonal": "Orthogonal"}[name]
    config = {"zeros": {}, "glorot_uniform": {"seed": None}, "orthogonal": {"gain": 1.0, "seed": None}}[name]
    return stored(version, "keras.initializers", class_name, config)


def nothing(*names):
    return dict.fromkeys(names)


def dense(version, name, units, activation="linear"):
    return layer(
        version,
        "Dense",
        name,
        units=units,
        activation=activation,
        use_bias=True,
        kernel_initializer=initializer(version, "glorot_uniform"),
        bias_initializer=initializer(version, "zeros"),
        **nothing("kernel_regularizer", "bias_regularizer", "activity_regularizer"),
        **nothing("kernel_constraint", "bias_constraint"),
    )


def recurrent(version, class_name, name, units):
    """An LSTM or a GRU that returns its sequence, with the settings that were the defaults of the version."""
    implementation = {"2.0.6": 0, "2.1.6": 1, "2.2.4": 1}.get(version, 2)
    own = {"unit_forget_bias": True} if class_name == "LSTM" else {}
    if class_name == "GRU" and number(version) >= (2, 1, 6):
        own["reset_after"] = not is_standalone(version)
    if not is_standalone(version):
        own["time_major"] = False
    return layer(
        version,
        class_name,
        name,
        return_sequences=True,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        implementation=implementation,
        units=units,
        activation="tanh",
        recurrent_activation="hard_sigmoid" if number(version) < (2, 3) else "sigmoid",
        use_bias=True,
        kernel_initializer=initializer(version, "glorot_uniform"),
        recurrent_initializer=initializer(version, "orthogonal"),
        bias_initializer=initializer(version, "zeros"),
        **nothing("kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer"),
        **nothing("kernel_constraint", "recurrent_constraint", "bias_constraint"),
        dropout=0.0,
        recurrent_dropout=0.0,
        **own,
    )


def flatten(version, name):
    return layer(version, "Flatten", name, **({} if version == "2.0.6" else {"data_format": "channels_last"}))


def input_layer(version, name, *shape):
    settings = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, "name": name}
    ragged = {} if is_standalone(version) else {"ragged": False}
    return stored(version, "keras.layers", "InputLayer", {**settings, **ragged})


def graph(version, *layers, outputs):
    """A functional model of (layer, names of the layers that it takes, or references to calls of them)."""
    entries = [
        {
            **entry,
            "name": entry["config"]["name"] if isinstance(entry["config"], dict) else entry["name"],
            "inbound_nodes": [[_reference(one) for one in taken]] if taken else [],
        }
        for entry, taken in layers
    ]
    inputs = [[entry["name"], 0, 0] for entry in entries if entry["class_name"] == "InputLayer"]
    config = {"name": "model_1", "layers": entries, "input_layers": inputs, "output_layers": [_end(o) for o in outputs]}
    if not is_standalone(version):
        config["trainable"] = True
    return {"class_name": "Model" if is_standalone(version) else "Functional", "config": config}


def _reference(taken):
    name, call = (taken, 0) if isinstance(taken, str) else taken
    return [name, call, 0, {}]


def _end(output):
    return _reference(output)[:3]


def sequence(version, *layers):
    """A Sequential, which was a list of layers alone until 2.2.2."""
    config = list(layers) if number(version) < (2, 2, 3) else {"name": "sequential_1", "layers": list(layers)}
    return {"class_name": "Sequential", "config": config}


# Archives -------------------------------------------------------------------------------------------------------------


def archive(path, version, config, groups, *, separator="/"):
    """A `.keras` file; `groups` has the arrays of each holder of weights by its place, a tuple of names."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for place, arrays in groups.items():
            # Each name is one group where the separator is not that of HDF5.
            holder = file.require_group(separator.join(place)).create_group("vars")
            for index, array in enumerate(arrays):
                holder[str(index)] = array
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2023-11-01@00:00:00"}))
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", weights.getvalue())
    return path


def random_arrays(rng, *shapes):
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]
