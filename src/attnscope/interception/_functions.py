"""The table of what is intercepted: every function through which attention can pass, and how its call is read.

Keras' own functions come first. While one of them runs, the framework's functions that it calls are not intercepted
again, so each softmax is taken once, at the outermost of the functions below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops
from keras.src import backend as keras_backend

from attnscope.backends import Function, current
from attnscope.interception import _loops as loops
from attnscope.interception._interception import Interception, Unroller
from attnscope.interception._matrix_layers import LAYERS, attention_with_matrix
from attnscope.tensors import Tensor, Tree


def intercepted_functions() -> list[Function]:
    """Keras' functions, and those of the framework that Keras runs on."""
    nn, core = keras_backend.nn, keras_backend.core
    return [
        Function(nn, "softmax", _softmax),
        Function(nn, "dot_product_attention", _keras_attention),
        Function(keras.layers.Softmax, "call", _softmax_layer),
        *(Function(layer, "_compute_attention", attention_with_matrix) for layer in LAYERS),
        Function(keras.Layer, "__call__", _layer),
        Function(keras_backend, "set_keras_mask", _set_keras_mask),
        Function(keras.layers.TimeDistributed, "call", _distributed),
        Function(keras_backend, "rnn", partial(_loop, "rnn", loops.unrolled_rnn)),
        Function(keras_backend, "vectorized_map", partial(_loop, "vectorized_map", _map)),
        Function(core, "vectorized_map", partial(_loop, "vectorized_map", _map)),
        Function(core, "map", partial(_loop, "map", _map)),
        Function(core, "scan", partial(_loop, "scan", lambda original: loops.unrolled_scan)),
        Function(core, "fori_loop", partial(_loop, "fori_loop", lambda original: loops.unrolled_fori_loop)),
        *current().functions(),
    ]


def _map(original: Callable[..., Tree]) -> Callable[..., Tree]:
    return loops.unrolled_map


def _softmax(taking: Interception, original: Callable[..., Tree], x: Tensor, axis: Any = -1, **rest: Any) -> Tensor:
    return taking.softmax(partial(original, x, axis=axis, **rest), x, axis)


def _softmax_layer(
    taking: Interception, original: Callable[..., Tree], layer: keras.Layer, inputs: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Over several axes Keras' `Softmax` computes without a softmax; that call is taken here."""
    if not isinstance(layer.axis, (tuple, list)) or len(layer.axis) == 1:
        return original(layer, inputs, mask=mask)
    logits = inputs if mask is None else ops.where(ops.cast(mask, "bool"), inputs, -3e4)
    return taking.softmax(partial(original, layer, inputs, mask=mask), logits, layer.axis)


def _layer(taking: Interception, original: Callable[..., Tree], layer: keras.Layer, *args: Any, **kwargs: Any) -> Tree:
    before = taking.progress.counts.copy() if taking.listeners.ended is not None else None
    outputs = original(layer, *args, **kwargs)
    outputs = taking.declared(layer, taking.embedding(layer, args, kwargs, outputs))
    if before is not None:
        run = partial(original, layer, *args, **kwargs)
        inputs = args[0] if args else next(iter(kwargs.values()), None)
        taking.layer_ended(layer, run, inputs, outputs, before)
    return outputs


def _set_keras_mask(taking: Interception, original: Callable[..., None], x: Tensor, mask: Tensor) -> None:
    taking.mask_set(x, mask)
    original(x, mask)


def _distributed(
    taking: Interception, original: Callable[..., Tree], layer: keras.layers.TimeDistributed, *args: Any, **kwargs: Any
) -> Tree:
    """`TimeDistributed` calls its layer once per step, in a loop of Python's where the number of steps is known."""
    inputs = args[0] if args else kwargs["inputs"]
    if inputs.shape[1] is None:
        return original(layer, *args, **kwargs)
    with loops.calls_are_steps(layer.layer):
        return original(layer, *args, **kwargs)


def _loop(
    kind: str,
    unrolled: Unroller,
    taking: Interception,
    original: Callable[..., Tree],
    *args: Any,
    **kwargs: Any,
) -> Tree:
    return taking.loop(kind, original, unrolled, *args, **kwargs)


def _keras_attention(
    taking: Interception,
    original: Callable[..., Tree],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Tensor:
    """Keras' fused attention: query ``(B, T, N, H)``, key and value ``(B, S, K, H)``."""
    settings = {"flash_attention": flash_attention, "attn_logits_soft_cap": attn_logits_soft_cap}
    if attn_logits_soft_cap is None:  # Keras before 3.7 has no such argument
        del settings["attn_logits_soft_cap"]
    run = partial(original, query, key, value, bias=bias, mask=mask, scale=scale, is_causal=is_causal, **settings)
    query, key, value = (ops.convert_to_tensor(tensor) for tensor in (query, key, value))
    sizes = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
    return taking.fused(
        run,
        query=query,
        key=key,
        value=value,
        bias=_of_rank_4(bias, sizes),
        mask=_of_rank_4(mask, sizes),
        scale=1.0 / math.sqrt(query.shape[-1]) if scale is None else scale,
        is_causal=is_causal,
        soft_cap=attn_logits_soft_cap,
        to_output=lambda context: context,
    )


def _of_rank_4(limit: Tensor | None, sizes: tuple[int | None, ...]) -> Tensor | None:
    """A mask or bias that broadcasts to ``(B, N, T, S)``; Keras on JAX also takes ``(B, S)`` and ``(B, T, S)``."""
    if limit is None:
        return None
    limit = ops.convert_to_tensor(limit)
    missing = [1] * (4 - len(limit.shape))
    in_front = (*missing, *limit.shape)
    if all(size in (1, whole, None) for size, whole in zip(in_front, sizes, strict=True)):
        return ops.reshape(limit, in_front) if missing else limit
    return ops.reshape(limit, (limit.shape[0], *missing, *limit.shape[1:]))
