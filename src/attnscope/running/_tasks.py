"""KerasHub tasks given raw text or images: their preprocessor makes the inputs, their tokenizer the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import xarray as xr
from keras import tree

from attnscope.labels import AxisLabels, patches
from attnscope.running._compiled import as_numpy
from attnscope.tensors import Inputs


@dataclass(frozen=True)
class Prepared:
    """Inputs of a network, and what is known about their positions.

    Attributes:
        inputs: What the network itself takes.
        labels: Tokens of every sample, or image patches; empty where nothing is known.
        texts: The raw texts, dims ``(sample,)``; None if the inputs are not single texts.
        tokenizer: The task's tokenizer; None for other models.
    """

    inputs: Inputs
    labels: list[AxisLabels]
    texts: xr.DataArray | None
    tokenizer: Any


def prepared(model: keras.Layer, inputs: Inputs) -> Prepared:
    """The inputs of a model's network; inputs that are already preprocessed are returned as they are.

    Args:
        model: Any model; a task has a ``preprocessor``.
        inputs: Raw texts (a string, a sequence of them, a tuple or dict of such) or images, or preprocessed.
    """
    preprocessor = getattr(model, "preprocessor", None)
    tokenizer = getattr(preprocessor, "tokenizer", None) or getattr(model, "tokenizer", None)
    texts = None
    if preprocessor is not None and _is_raw(inputs, model):
        raw = [inputs] if isinstance(inputs, str) else inputs
        texts = _texts(raw)
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(preprocessor(_numbers_as_floats(raw)))
        inputs = tree.map_structure(as_numpy, inputs)
    tokens = _tokens(inputs, tokenizer) if tokenizer is not None else []
    return Prepared(inputs, [*tokens, *_patches(model)], texts, tokenizer)


def _is_raw(inputs: Inputs, model: keras.Layer) -> bool:
    """Whether inputs are raw: text always is; numbers are, unless they have the names of the network's own inputs.

    Token numbers are never raw, even if other names beside them are wrong, which is for the network to say.
    """
    if isinstance(inputs, Mapping):
        names = {tensor.name for tensor in getattr(model, "inputs", None) or []}
        return not set(inputs) <= names and not any(str(name).endswith("token_ids") for name in inputs)
    return isinstance(inputs, (str, list, tuple)) or hasattr(inputs, "__array__")


def _numbers_as_floats(raw: Inputs) -> Inputs:
    """Images as `task.predict` gives them to its preprocessor; texts as they are."""
    if hasattr(raw, "__array__") and np.asarray(raw).dtype.kind in "uif":
        return np.asarray(raw, dtype=keras.config.floatx())
    return raw


def _texts(raw: Inputs) -> xr.DataArray | None:
    if isinstance(raw, (list, tuple, np.ndarray)) and len(raw) and all(isinstance(item, str) for item in raw):
        return xr.DataArray(np.array(list(raw), dtype=str), dims=("sample",), name="input")
    return None


def _tokens(inputs: Inputs, tokenizer: Any) -> list[AxisLabels]:
    if not isinstance(inputs, dict):
        return []
    return [
        AxisLabels([[_token(tokenizer, int(number)) for number in row] for row in np.asarray(ids)], source=name)
        for name, ids in inputs.items()
        if name.endswith("token_ids") and np.ndim(ids) == 2
    ]


def _token(tokenizer: Any, number: int) -> str:
    try:
        return str(tokenizer.id_to_token(number))
    except ValueError:  # a number past the vocabulary, which some models pad theirs with
        return f"<{number}>"


def _patches(model: keras.Layer) -> list[AxisLabels]:
    network = getattr(model, "backbone", model)
    size, shape = getattr(network, "patch_size", None), getattr(network, "image_shape", None)
    if size is None or shape is None or None in tuple(shape)[:2]:
        return []
    high, wide = (size, size) if isinstance(size, int) else tuple(size)
    rows, columns = shape[0] // high, shape[1] // wide
    return [AxisLabels(patches(rows, columns, prefix)) for prefix in (["[CLS]", "[DIST]"], ["[CLS]"], [])]
