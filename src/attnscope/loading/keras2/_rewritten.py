"""The configuration of a model that Keras 2 stored, or that Keras 3 stored in the old format, as Keras 3 reads it.

Nothing is run: data goes in, data comes out. What Keras 3 would silently compute differently is corrected here, and
what has no equivalent is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from attnscope.errors import UnsupportedError
from attnscope.loading.keras2._classes import is_from_elsewhere, module_and_class
from attnscope.loading.keras2._operations import FUNCTIONS, TensorOperation, parameters
from attnscope.loading.keras2._sequence_mask import SequenceMask
from attnscope.loading.keras2._wiring import Call, Reference, is_stored_call, replaced, stored_call, wired_call
from attnscope.tensors import Tensor

MODELS = ("Functional", "Model", "Sequential")
RECURRENT = (
    "LSTM",
    "GRU",
    "CuDNNLSTM",
    "CuDNNGRU",
    "SimpleRNN",
    "RNN",
    "Bidirectional",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
)
OPERATIONS = ("TFOpLambda", "SlicingOpLambda")

# Settings of Keras 2 that Keras 3 does not have, each with the values at which both compute the same.
ANY = object()
_RECURRENT = {"time_major": (False,), "implementation": ANY, "num_constants": (0, None)}
_CONVOLUTION = {"groups": (1, None)}
_SEPARABLE = {**_CONVOLUTION, "kernel_initializer": ANY, "kernel_regularizer": ANY, "kernel_constraint": ANY}
_NORMALIZATION = {"renorm": (False,), "renorm_clipping": ANY, "renorm_momentum": ANY, "virtual_batch_size": (None,)}
DROPPED_SETTINGS: dict[str, dict[str, Any]] = {
    "*": {"batch_input_shape": ANY, "input_dtype": ANY, "dynamic": (False,), "ragged": (False, None), "rng_type": ANY},
    "MultiHeadAttention": {"query_shape": ANY, "key_shape": ANY, "value_shape": ANY, "softmax_robust_masking": ANY},
    "Attention": {"causal": (False,)},
    "AdditiveAttention": {"causal": (False,), "score_mode": ANY},
    "Embedding": {"input_length": ANY, "sparse": (False,)},
    "CategoryEncoding": {"sparse": (False,)},
    "BatchNormalization": {**_NORMALIZATION, "adjustment": (None,), "fused": ANY},
    "Discretization": {"trainable": ANY},
    "Bidirectional": {"num_constants": (0, None)},
    "AddLoss": {"unconditional": ANY},
    "AddMetric": {"aggregation": ANY, "metric_name": ANY},
    **dict.fromkeys(
        ("LSTM", "GRU", "CuDNNLSTM", "CuDNNGRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
        _RECURRENT,
    ),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), _RECURRENT),
    **{f"Conv{n}DTranspose": _CONVOLUTION for n in (1, 2, 3)},
    **{f"DepthwiseConv{n}D": _CONVOLUTION for n in (1, 2)},
    **{f"SeparableConv{n}D": _SEPARABLE for n in (1, 2)},
    **{f"SpatialDropout{n}D": {"noise_shape": ANY, "trainable": ANY} for n in (1, 2, 3)},
}
RENAMED_SETTINGS = {
    "InputLayer": {"batch_input_shape": "batch_shape"},
    "LeakyReLU": {"alpha": "negative_slope"},
    "ThresholdedReLU": {"theta": "threshold"},
}
RENAMED_CLASSES = {
    "ThresholdedReLU": "ReLU",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    # Both return what they are given.
    "AddLoss": "Identity",
    "AddMetric": "Identity",
}
ABSENT_SETTINGS = {"GRU": {"reset_after": False}, "GRUCell": {"reset_after": False}}
"""What a layer was like before Keras 2 stored a setting whose default is another one in Keras 3."""

NAMESPACES = {
    "initializer": "keras.initializers",
    "regularizer": "keras.regularizers",
    "constraint": "keras.constraints",
}


@keras.saving.register_keras_serializable(package="attnscope")  # type: ignore[untyped-decorator]
def keras2_hard_sigmoid(x: Tensor) -> Tensor:
    """What Keras 2 called ``hard_sigmoid``: ``0.2 x + 0.5``, clipped to 0 and 1. Keras 3 has another slope, 1/6.

    Args:
        x: Any shape and float dtype.

    Returns:
        The same shape and dtype, within ``[0, 1]``.
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


HARD_SIGMOID = {
    "module": "attnscope.loading.keras2",
    "class_name": "function",
    "config": "attnscope>keras2_hard_sigmoid",
    "registered_name": "attnscope>keras2_hard_sigmoid",
}


def is_old(config: Mapping[str, Any], keras_version: str | None) -> bool:
    """Whether a configuration must be rewritten: Keras 2 wrote it, or Keras 3 in the form of Keras 2."""
    return "module" not in config or (keras_version or "").startswith(("1.", "2."))


def rewritten(config: Mapping[str, Any], keras_version: str | None) -> dict[str, Any]:
    """A model's configuration as Keras 3 reads it.

    Args:
        config: As stored: ``{"class_name": ..., "config": ...}`` and so on. It is left as it is.
        keras_version: The version of Keras that stored it; None counts as Keras 2.

    Raises:
        UnsupportedError: A setting or an operation has no equivalent in Keras 3.
        ModelFileError: The configuration is damaged.
    """
    changed = _layer(config, keras2=not (keras_version or "2").startswith("3"))
    # A class of the user's own that has no graph is built from the shape that it was first built with.
    is_own = changed["module"] is None and not _is_graph(changed["config"])
    return {**changed, "build_config": config.get("build_config")} if is_own else changed


def _layer(stored: Mapping[str, Any], *, keras2: bool) -> dict[str, Any]:
    """A layer or model, without its place in a graph."""
    class_name, config = stored["class_name"], stored["config"]
    is_own = is_from_elsewhere(stored)
    if (class_name in MODELS and not is_own) or _is_graph(config) or _is_sequence(stored):
        return _model(stored, keras2=keras2)
    if class_name in OPERATIONS and not is_own:
        raise UnsupportedError(
            f"A {class_name} occurs outside a functional model, but only those inside one are supported."
        )
    today = class_name if is_own else RENAMED_CLASSES.get(class_name, class_name)
    named = _named(today, stored, keras2=keras2)
    return {**named, "config": _settings(class_name, config, built_in=bool(named["module"]), keras2=keras2)}


def _named(class_name: str, stored: Mapping[str, Any], *, keras2: bool) -> dict[str, Any]:
    """Where Keras 3 finds a class: among its own, or by the name that it was registered under."""
    known = None if is_from_elsewhere(stored) else module_and_class(class_name, stored["config"], keras2=keras2)
    if known and stored.get("registered_name") in (None, stored["class_name"]):
        return {"module": known[0], "class_name": known[1], "registered_name": None}
    registered = stored.get("registered_name") or class_name
    return {"module": None, "class_name": class_name.split(">")[-1], "registered_name": registered}


def _is_graph(config: object) -> bool:
    return isinstance(config, Mapping) and {"layers", "input_layers", "output_layers"} <= set(config)


def _is_sequence(stored: Mapping[str, Any]) -> bool:
    return bool(stored["class_name"] == "Sequential") and (
        isinstance(stored["config"], list) or isinstance(stored["config"].get("layers"), list)
    )


def _model(stored: Mapping[str, Any], *, keras2: bool) -> dict[str, Any]:
    class_name, config = stored["class_name"], stored["config"]
    own = _named(class_name, stored, keras2=keras2) if class_name not in MODELS or is_from_elsewhere(stored) else {}
    if _is_sequence(stored):
        sequence = {"module": "keras", "class_name": "Sequential", "registered_name": None}
        return {**sequence, **own, "config": _sequence(stored, keras2)}
    if not _is_graph(config):
        raise UnsupportedError(
            f"The file contains a model of class {class_name!r} without its graph of layers. Build it in Python, and "
            "load the weights into it: attnscope.load_model(path, model)."
        )
    return {"module": "keras", "class_name": "Model", "registered_name": None, **own, "config": _graph(config, keras2)}


def _sequence(stored: Mapping[str, Any], keras2: bool) -> dict[str, Any]:
    """A Sequential; before 2.3 Keras stored the list of its layers alone, and the input's shape in the first."""
    config = {"layers": stored["config"]} if isinstance(stored["config"], list) else dict(stored["config"])
    layers = [{"name": f"sequential_{place}", **layer} for place, layer in enumerate(config["layers"])]
    first: Any = layers[0]["config"] if layers else None
    shape = first.get("batch_input_shape") if isinstance(first, Mapping) else None
    if shape and layers[0]["class_name"] != "InputLayer":
        dtype = "int32" if layers[0]["class_name"] == "Embedding" else "float32"
        entry = {"name": f"{first['name']}_input", "batch_input_shape": shape, "dtype": dtype}
        layers.insert(0, {"class_name": "InputLayer", "config": entry})
    return {
        "name": config.get("name") or stored.get("name") or "sequential",
        "layers": [_layer(layer, keras2=keras2) for layer in layers],
        "build_input_shape": config.get("build_input_shape"),
    }


def _graph(config: Mapping[str, Any], keras2: bool) -> dict[str, Any]:
    names = {layer["name"] for layer in config["layers"]}
    # Keras 2 counts the call that made an inner model as its first; Keras 3 counts only those in the graph.
    called_when_made = _called_when_made(config, names) if keras2 else set()
    functional = {layer["name"] for layer in config["layers"] if _is_graph(layer["config"])}

    def renumber(reference: Reference) -> Reference:
        return Reference(
            _plain(reference.layer), reference.node - (reference.layer in called_when_made), reference.tensor
        )

    def ends(stored: Any) -> Any:
        # Keras 2 keeps a single tensor in a list of its own.
        return end(stored[0] if keras2 and isinstance(stored, list) and len(stored) == 1 else stored)

    def end(stored: Any) -> Any:
        if isinstance(stored, Mapping):
            return {key: end(value) for key, value in stored.items()}
        if not (len(stored) == 3 and isinstance(stored[0], str)):
            return [end(item) for item in stored]
        # At the ends of a graph Keras 3 does count that first call of a functional model.
        name, node, tensor = stored
        return [_plain(name), node - (name in called_when_made - functional), tensor]

    return {
        **{key: value for key, value in config.items() if key in ("name", "trainable")},
        "layers": _joined_layers(config["layers"], names, renumber, keras2=keras2),
        "input_layers": ends(config["input_layers"]),
        "output_layers": ends(config["output_layers"]),
    }


def _called_when_made(config: Mapping[str, Any], names: set[str]) -> set[str]:
    """Inner models whose making counts as their first call: the call that comes last has the number of all calls.

    Versions differ in which models these are; in a graph every call is referred to.
    """
    last = dict.fromkeys(names, -1)
    waiting: list[Any] = [config["output_layers"], *(layer["inbound_nodes"] for layer in config["layers"])]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list) and len(value) > 2 and isinstance(value[0], str) and isinstance(value[1], int):
            last[value[0]] = max(last.get(value[0], -1), value[1])
        if isinstance(value, Mapping | list):
            waiting.extend(value.values() if isinstance(value, Mapping) else value)
    return {layer["name"] for layer in config["layers"] if 0 < len(layer["inbound_nodes"]) <= last[layer["name"]]}


def _plain(name: str) -> str:
    """Keras 3 takes no slash in a layer's name."""
    return name.replace("/", "_")


def _joined_layers(
    layers: list[Mapping[str, Any]], names: set[str], renumber: Callable[[Reference], Reference], *, keras2: bool
) -> list[dict[str, Any]]:
    """Every layer with its calls, and a `SequenceMask` for each that takes a masked sequence and an initial state."""
    has_masks = keras2 and any(_makes_mask(layer) for layer in layers)
    joined: list[dict[str, Any]] = []
    for layer in layers:
        entry = _joined(layer, names, renumber, keras2=keras2)
        calls = entry["inbound_nodes"]
        takes_states = layer["class_name"] in RECURRENT and all(
            isinstance(call, Mapping) and call["kwargs"].get("initial_state") and "mask" not in call["kwargs"]
            for call in calls
        )
        if has_masks and calls and takes_states:
            mask = f"{entry['name']}_mask"
            joined.append(_sequence_mask(mask, calls))
            for place, call in enumerate(calls):
                call["kwargs"]["mask"] = Reference(mask, place, 0).stored()
        joined.append(entry)
    return joined


def _makes_mask(layer: Mapping[str, Any]) -> bool:
    settings = layer["config"]
    masks = isinstance(settings, Mapping) and settings.get("mask_zero")
    return layer["class_name"] == "Masking" or bool(masks)


def _sequence_mask(name: str, calls: list[Any]) -> dict[str, Any]:
    return {
        "module": SequenceMask.__module__,
        "class_name": "SequenceMask",
        "registered_name": "attnscope>SequenceMask",
        "config": {"name": name},
        "name": name,
        "inbound_nodes": [{"args": call["args"][:1], "kwargs": {}} for call in calls],
    }


def _joined(
    layer: Mapping[str, Any],
    names: set[str],
    renumber: Callable[[Reference], Reference],
    *,
    keras2: bool,
) -> dict[str, Any]:
    """A layer with its calls."""
    if not all(map(is_stored_call, layer["inbound_nodes"])):
        nodes = layer["inbound_nodes"]
        return {**_layer(layer, keras2=keras2), "name": _plain(layer["name"]), "inbound_nodes": nodes}
    calls = [wired_call(node, names) for node in layer["inbound_nodes"]]
    if layer["class_name"] in OPERATIONS and not is_from_elsewhere(layer):
        return _operation(layer, calls, renumber)
    nodes = [stored_call(*_arguments(layer["class_name"], call), renumber) for call in calls]
    return {**_layer(layer, keras2=keras2), "name": _plain(layer["name"]), "inbound_nodes": nodes}


def _arguments(class_name: str, call: Call) -> tuple[list[Any], dict[str, Any]]:
    """Positional and other arguments; in Keras 2 a recurrent layer's first argument held its initial state too."""
    if class_name in RECURRENT and isinstance(call.first, list):
        sequence, *state = call.first
        return [sequence], {**call.others, "initial_state": state}
    return [call.first], call.others


def _operation(
    layer: Mapping[str, Any], calls: list[Call], renumber: Callable[[Reference], Reference]
) -> dict[str, Any]:
    """A TensorFlow function as a layer of ours: constants become the layer's settings, tensors its inputs."""
    function = layer["config"]["function"].removeprefix("compat.v1.")
    if function not in FUNCTIONS:
        raise UnsupportedError(
            f"Layer {layer['name']!r} runs tf.{function}, which cannot be translated to Keras 3. Pass "
            f"a layer or function that does the same: replacements={{{layer['name']!r}: function}}."
        )
    placed = [_placed(function, call) for call in calls]
    if any(arguments != placed[0][0] for arguments, _ in placed):
        raise UnsupportedError(
            f"Layer {layer['name']!r} runs tf.{function} several times with different constants, but one layer holds "
            "only one set. Build the model in Keras 3, and call attnscope.load_model(path, model)."
        )
    dtype = _policy(layer["config"].get("dtype"))
    name = _plain(layer["name"])
    return {
        "module": TensorOperation.__module__,
        "class_name": "TensorOperation",
        "registered_name": "attnscope>TensorOperation",
        "config": {"name": name, "dtype": dtype, "function": function, "arguments": placed[0][0]},
        "name": name,
        "inbound_nodes": [
            stored_call([tensors[0] if len(tensors) == 1 else tensors], {}, renumber) for _, tensors in placed
        ],
    }


def _placed(function: str, call: Call) -> tuple[dict[str, Any], list[Reference]]:
    tensors: list[Reference] = []

    def place(reference: Reference) -> dict[str, int]:
        tensors.append(reference)
        return {"tensor": len(tensors) - 1}

    others = {name: value for name, value in call.others.items() if name != "name"}
    arguments = replaced({parameters(function)[0]: call.first, **others}, place)
    unknown = set(arguments) - set(parameters(function))
    if unknown - {name for name in unknown if arguments[name] is None}:
        raise UnsupportedError(
            f"tf.{function} is called with {', '.join(sorted(unknown))}, but only "
            f"{', '.join(parameters(function))} can be translated to Keras 3."
        )
    return {name: value for name, value in arguments.items() if name not in unknown}, tensors


def settings_of_keras(class_name: str, stored: Mapping[str, Any], *, keras2: bool) -> dict[str, Any]:
    """The settings of a layer of Keras by their names of today.

    Raises:
        UnsupportedError: A setting has no equivalent in Keras 3.
    """
    return _settings(class_name, stored, built_in=True, keras2=keras2)


def _settings(class_name: str, stored: Mapping[str, Any], *, built_in: bool, keras2: bool) -> dict[str, Any]:
    """A layer's own configuration; of a class of the user's own only the dtype is understood."""
    config = {key: _policy(value) if key == "dtype" else value for key, value in stored.items()}
    if not built_in:
        return config
    for old, new in RENAMED_SETTINGS.get(class_name, {}).items():
        if old in config:
            config[new] = config.pop(old)
    for dropped in (DROPPED_SETTINGS["*"], DROPPED_SETTINGS.get(class_name, {})):
        for key in dropped.keys() & config.keys():
            _check_dropped(class_name, config, key, dropped[key])
            del config[key]
    if class_name == "BatchNormalization" and isinstance(config.get("axis"), list):
        (config["axis"],) = config["axis"]
    if class_name == "Lambda":
        config = _lambda(config)
    if keras2:
        config = {**ABSENT_SETTINGS.get(class_name, {}), **config}
    if "name" in config:
        config["name"] = _plain(config["name"])
    return {key: _value(key, value, keras2=keras2) for key, value in config.items()}


def _lambda(config: Mapping[str, Any]) -> dict[str, Any]:
    """Code in the form of Keras 3, for a file that is trusted: a lambda's bytecode, or a function's name."""
    dropped = ("function_type", "module", "output_shape_type", "output_shape_module")
    changed = {key: value for key, value in config.items() if key not in dropped}
    for key in ("function", "output_shape"):
        stored = config.get(key)
        if config.get(f"{key}_type") == "lambda" and isinstance(stored, list):
            changed[key] = {
                "class_name": "__lambda__",
                "config": dict(zip(("code", "defaults", "closure"), stored, strict=True)),
            }
        elif config.get(f"{key}_type") == "function" and isinstance(stored, str):
            changed[key] = {"class_name": "function", "config": stored, "module": "builtins", "registered_name": stored}
    return changed


def _check_dropped(class_name: str, config: Mapping[str, Any], key: str, equivalent: Any) -> None:
    if equivalent is not ANY and config[key] not in equivalent:
        raise UnsupportedError(
            f"Layer {config.get('name')!r} ({class_name}) was stored with {key}={config[key]!r}, which Keras 3 "
            "does not have. Build the model in Keras 3, and call attnscope.load_model(path, model) for the weights."
        )


def _value(key: str, value: Any, *, keras2: bool) -> Any:
    """One setting: an activation, an initializer, a layer within the layer, or plain data."""
    if keras2 and key.endswith("activation") and value == "hard_sigmoid":
        return HARD_SIGMOID
    if isinstance(value, list):
        return [_value(key, item, keras2=keras2) for item in value]
    if isinstance(value, Mapping) and set(value) == {"type", "value"} and value["type"] == "ndarray":
        return value["value"]
    if not (isinstance(value, Mapping) and {"class_name", "config"} <= set(value)) or key == "dtype":
        return value
    if "module" in value and not keras2:
        return value
    if value["class_name"] == "__numpy__":
        return value["config"]["value"]
    if value["class_name"].startswith("__") or value["class_name"] == "function":
        return value
    kind = key.rsplit("_", 1)[-1]
    if kind in NAMESPACES:
        return _part(value, NAMESPACES[kind])
    return _layer(value, keras2=keras2)


def _part(stored: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """An initializer, regularizer or constraint."""
    class_name, config = stored["class_name"], dict(stored["config"] or {})
    if (
        is_from_elsewhere(stored)
        or not hasattr(keras, namespace.split(".")[1])
        or not hasattr(getattr(keras, namespace.split(".")[1]), class_name)
    ):
        return dict(stored)
    config.pop("dtype", None)
    if config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    return {"module": namespace, "class_name": class_name, "config": config, "registered_name": None}


def _policy(stored: Any) -> Any:
    """A dtype policy by its name."""
    if isinstance(stored, Mapping) and stored.get("class_name") in ("Policy", "PolicyV1"):
        return stored["config"]["name"]
    return stored
