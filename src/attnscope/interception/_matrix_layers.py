"""Keras' own attention layers where they build the matrix: with `dropout`, at inference too.

What they compute then is what the fused call computes, but for queries that may attend to nothing, which get 0. So a
handler that reads scores tile by tile is given it as a fused call, and the matrix need not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from attnscope.interception._interception import Interception
from attnscope.tensors import Tensor, Tree

LAYERS = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


def attention_with_matrix(
    taking: Interception,
    original: Callable[..., Tree],
    layer: keras.Layer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    training: bool | None = None,
    return_attention_scores: bool = False,
    **options: Any,
) -> Tree:
    """Takes `_compute_attention`: query ``(B, T, N, H)``, key and value ``(B, S, N, H)``; gives context and scores."""
    if isinstance(layer, LAYERS[0]):
        options["return_attention_scores"] = return_attention_scores
    run = partial(original, layer, query, key, value, attention_mask, training, **options)
    asked = return_attention_scores or getattr(layer, "_return_attention_scores", False)
    if not taking.listeners.in_tiles or training or asked or not _is_plain(layer, query, attention_mask):
        return run()
    if attention_mask is not None:
        for _ in range(4 - len(attention_mask.shape)):
            attention_mask = ops.expand_dims(attention_mask, -3)
    return taking.fused(
        run,
        query=query,
        key=key,
        value=value,
        bias=None,
        mask=attention_mask,
        scale=_scale(layer),
        is_causal=bool(options.get("use_causal_mask")),
        by_softmax=True,
        to_output=lambda context: (context, None),
    )


def _is_plain(layer: keras.Layer, query: Tensor, mask: Tensor | None) -> bool:
    """Whether a layer computes what Keras' own does, by a softmax, in full precision, masked by yes or no."""
    kind = next(kind for kind in LAYERS if isinstance(layer, kind))
    own = ("call", "_compute_attention", "_masked_softmax")
    if any(getattr(type(layer), name) is not getattr(kind, name) for name in own):
        return False
    parts = (layer._softmax, keras.layers.Softmax), (layer._dropout_layer, keras.layers.Dropout)
    if any(type(part) is not expected for part, expected in parts):
        return False
    if len(query.shape) != 4 or not _dropout(layer) or _dtype(query) not in ("float32", "float64"):
        return False
    return mask is None or _dtype(mask) == "bool"


def _dropout(layer: keras.Layer) -> float:
    return float(layer._dropout if isinstance(layer, LAYERS[0]) else layer.dropout)


def _scale(layer: keras.Layer) -> float:
    return float(layer._inverse_sqrt_key_dim if isinstance(layer, LAYERS[0]) else layer._inverse_sqrt_head_dim)


def _dtype(tensor: Tensor) -> str:
    return str(keras.backend.standardize_dtype(tensor.dtype))
