"""Layers that Keras used to have and Keras 3 does not, which are no classes of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnscope.errors import UnsupportedError
from attnscope.loading.keras2._classes import stored_objects

_KERAS_1 = {
    *("Merge", "MaxoutDense", "Highway", "TimeDistributedDense", "AutoEncoder", "Graph", "ParametricSoftplus", "SReLU"),
    *("AtrousConvolution1D", "AtrousConvolution2D", "AtrousConv1D", "AtrousConv2D", "Deconvolution2D", "LambdaMerge"),
    *("MaskedLayer", "TimeDistributedMerge", "JZS1", "JZS2", "JZS3", "Siamese"),
}
_KERAS_2 = {
    *("LocallyConnected1D", "LocallyConnected2D", "ConvRNN2D", "PeepholeLSTMCell", "RandomFourierFeatures"),
    *("RandomHeight", "RandomWidth", "DenseFeatures", "SequenceFeatures", "SyncBatchNormalization"),
    *("TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty", "LinearModel", "WideDeepModel"),
}
_WITHOUT_WEIGHTS = {
    *("Merge", "LambdaMerge", "TimeDistributedMerge", "RandomHeight", "RandomWidth"),
    *("TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"),
}
_MERGES = {
    "concat": "keras.layers.Concatenate(axis={axis})",
    "sum": "keras.layers.Add()",
    "mul": "keras.layers.Multiply()",
    "ave": "keras.layers.Average()",
    "max": "keras.layers.Maximum()",
}
_LAYERS_OF_KERAS_1 = _KERAS_1 | {
    *("Dense", "LSTM", "GRU", "SimpleRNN", "Embedding", "BatchNormalization"),
    *("Convolution1D", "Convolution2D", "Convolution3D", "SeparableConvolution2D"),
}
_SETTINGS_OF_KERAS_1 = {"init", "inner_init", "nb_filter", "W_regularizer", "gamma_init", "beta_init"}


def former_layer(class_name: str, config: Any) -> tuple[str, str | None] | None:
    """What a layer was that Keras 3 has none of.

    Args:
        class_name: The class as it is stored.
        config: Its stored configuration.

    Returns:
        What it was, as the end of a sentence, and code that makes a layer in its place: None if such a layer would need
        weights, and empty if none would do. None at all if Keras never had such a layer, or has it still.
    """
    keras = "Keras 1" if class_name in _KERAS_1 else "Keras 2" if class_name in _KERAS_2 else None
    if keras is None:
        return None
    settings = config if isinstance(config, Mapping) else {}
    if settings.get("layers"):
        return f"a layer of {keras} that joins whole models, which Keras 3 does not have", ""
    code = _MERGES.get(str(settings.get("mode")), "layer") if class_name == "Merge" else "layer"
    in_its_place = code.format(axis=settings.get("concat_axis", -1)) if class_name in _WITHOUT_WEIGHTS else None
    return f"a layer of {keras} that Keras 3 does not have", in_its_place


def check_not_keras1(config: Mapping[str, Any], keras_version: str | None, source: str) -> None:
    """Refuse a configuration in the terms of Keras 1, whose layers have other settings and other weights.

    Args:
        config: As stored.
        keras_version: The version of Keras that stored it, if that is known.
        source: The file's name.

    Raises:
        UnsupportedError: Keras 1 stored it.
    """
    if keras_version is not None and not keras_version.startswith(("0.", "1.")):
        return
    for stored in stored_objects(config):
        class_name, settings = stored["class_name"], stored.get("config")
        traits = sorted(_SETTINGS_OF_KERAS_1 & set(settings)) if isinstance(settings, Mapping) else []
        if class_name in _LAYERS_OF_KERAS_1 and traits:
            raise UnsupportedError(
                f"{source} was saved by Keras {keras_version or '1'}, which described layers in other terms (here "
                f"{class_name} with {', '.join(traits)}). Open it with Keras 2.0 to 2.3.1, which translates them, and "
                "save it again; or build the model in Python."
            )
