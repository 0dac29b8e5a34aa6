"""The table of what is intercepted: every function through which attention can pass, and how its call is read.

Keras' own functions come first. While one of them runs, the framework's functions that it calls are not taken
again, so each softmax is taken once, at the outermost of the functions below.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
from keras import ops
from keras.src import backend as keras_backend

from attnscope.interception import _loops as loops
from attnscope.interception._interception import Interception


@dataclass(frozen=True)
class Function:
    """One function to intercept.

    Attributes:
        owner: Module or class that holds it.
        name: Its name there.
        take: Called in its place with the running interception, the original and the arguments.
        bound_early: Whether people import it by name, so that other modules hold it too.
    """

    owner: Any
    name: str
    take: Callable[..., Any]
    bound_early: bool = False


def intercepted_functions() -> list[Function]:
    """Keras' functions, and those of the framework that Keras runs on."""
    nn, core = keras_backend.nn, keras_backend.core
    return [
        Function(nn, "softmax", _softmax),
        Function(nn, "dot_product_attention", _keras_attention),
        Function(keras.layers.Softmax, "call", _softmax_layer),
        Function(keras.Layer, "__call__", _layer),
        Function(keras_backend, "set_keras_mask", _set_keras_mask),
        Function(keras_backend.numpy, "concatenate", _concatenate),
        Function(keras_backend, "rnn", partial(_loop, "rnn", loops.unrolled_rnn)),
        Function(keras_backend, "vectorized_map", partial(_loop, "vectorized_map", _map)),
        Function(core, "vectorized_map", partial(_loop, "vectorized_map", _map)),
        Function(core, "map", partial(_loop, "map", _map)),
        Function(core, "scan", partial(_loop, "scan", lambda original: loops.unrolled_scan)),
        Function(core, "fori_loop", partial(_loop, "fori_loop", lambda original: loops.unrolled_fori_loop)),
        *_OF_FRAMEWORK[keras_backend.backend()](),
    ]


def _map(original: Any) -> Any:
    return loops.unrolled_map


def _softmax(taking: Interception, original: Any, x: Any, axis: Any = -1, **rest: Any) -> Any:
    return taking.softmax(partial(original, x, axis=axis, **rest), x, axis)


def _softmax_layer(taking: Interception, original: Any, layer: Any, inputs: Any, mask: Any = None) -> Any:
    """Over several axes Keras' `Softmax` computes without a softmax; that call is taken here."""
    if not isinstance(layer.axis, (tuple, list)) or len(layer.axis) == 1:
        return original(layer, inputs, mask=mask)
    logits = inputs if mask is None else ops.where(ops.cast(mask, "bool"), inputs, -3e4)
    return taking.softmax(partial(original, layer, inputs, mask=mask), logits, layer.axis)


def _layer(taking: Interception, original: Any, layer: Any, *args: Any, **kwargs: Any) -> Any:
    before = taking.counts.copy() if taking.ended is not None else None
    outputs = original(layer, *args, **kwargs)
    taking.mask_made(layer, outputs)
    outputs = taking.declared(layer, taking.embedding(layer, args, kwargs, outputs))
    if before is not None:
        run = partial(original, layer, *args, **kwargs)
        taking.called(layer, run, args[0] if args else next(iter(kwargs.values()), None), outputs, before)
    return outputs


def _set_keras_mask(taking: Interception, original: Any, x: Any, mask: Any) -> None:
    taking.mask_set(x, mask)
    original(x, mask)


def _concatenate(taking: Interception, original: Any, xs: Any, axis: Any = 0) -> Any:
    taking.concatenated(xs, axis)
    return original(xs, axis=axis)


def _loop(kind: str, unrolled: Any, taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Any:
    return taking.loop(kind, original, unrolled, *args, **kwargs)


def _keras_attention(
    taking: Interception,
    original: Any,
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: Any = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Any:
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


def _of_rank_4(limit: Any, sizes: tuple[Any, ...]) -> Any | None:
    """A mask or bias that broadcasts to ``(B, N, T, S)``; Keras on JAX also takes ``(B, S)`` and ``(B, T, S)``."""
    if limit is None:
        return None
    limit = ops.convert_to_tensor(limit)
    missing = [1] * (4 - len(limit.shape))
    in_front = (*missing, *limit.shape)
    if all(size in (1, whole, None) for size, whole in zip(in_front, sizes, strict=True)):
        return ops.reshape(limit, in_front) if missing else limit
    return ops.reshape(limit, (limit.shape[0], *missing, *limit.shape[1:]))


def _of_tensorflow() -> list[Function]:
    tf = sys.modules["tensorflow"]

    def take(taking: Interception, original: Any, logits: Any, axis: Any = None, name: Any = None) -> Any:
        logits = tf.convert_to_tensor(logits)
        axis = -1 if axis is None else axis
        return taking.softmax(partial(original, logits, axis=axis, name=name), logits, axis)

    modules = (tf.nn, tf.math, tf.compat.v1.nn, tf.compat.v1.math)
    return [Function(module, "softmax", take, bound_early=True) for module in modules if hasattr(module, "softmax")]


def _of_jax() -> list[Function]:
    jax = sys.modules["jax"]

    def take(taking: Interception, original: Any, x: Any, axis: Any = -1, where: Any = None) -> Any:
        logits = x if where is None else jax.numpy.where(where, x, -jax.numpy.inf)
        return taking.softmax(partial(original, x, axis=axis, where=where), logits, axis)

    def take_fused(
        taking: Interception,
        original: Any,
        query: Any,
        key: Any,
        value: Any,
        bias: Any = None,
        mask: Any = None,
        *,
        scale: Any = None,
        is_causal: bool = False,
        **rest: Any,
    ) -> Any:
        run = partial(original, query, key, value, bias, mask, scale=scale, is_causal=is_causal, **rest)
        limits = [name for name, value in rest.items() if value is not None and name != "implementation"]
        if limits:
            return taking.left_out(run, query, f"jax.nn.dot_product_attention with {', '.join(limits)}")
        batched = query.ndim == 4
        query, key, value = ((t if batched else t[None]) for t in (query, key, value))
        return taking.fused(
            run,
            query=query,
            key=key,
            value=value,
            bias=bias,
            mask=mask,
            scale=1.0 / math.sqrt(query.shape[-1]) if scale is None else scale,
            is_causal=is_causal,
            to_output=lambda context: context if batched else context[0],
        )

    return [
        Function(jax.nn, "softmax", take, bound_early=True),
        Function(jax.nn, "dot_product_attention", take_fused, bound_early=True),
    ]


def _of_torch() -> list[Function]:
    torch = sys.modules["torch"]
    functional = torch.nn.functional

    def take(taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Any:
        logits = args[0] if args else kwargs["input"]
        axis = args[1] if len(args) > 1 else kwargs.get("dim")
        if axis is None:  # PyTorch's own choice, which it warns about
            axis = 0 if logits.ndim in (0, 1, 3) else 1
        return taking.softmax(partial(original, *args, **kwargs), logits, axis)

    def take_module(taking: Interception, original: Any, *args: Any, **kwargs: Any) -> Any:
        heads = args[4] if len(args) > 4 else kwargs["num_heads"]
        return taking.with_heads(heads, partial(original, *args, **kwargs))

    def without_fast_path(taking: Interception, original: Any) -> bool:
        """`torch.nn.MultiheadAttention` otherwise runs one native call that has no softmax to take."""
        return False

    def take_fused(
        taking: Interception,
        original: Any,
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        run = partial(original, query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        is_mask = attn_mask is not None and attn_mask.dtype == torch.bool
        rank = query.ndim
        if rank not in (3, 4):
            return taking.left_out(run, query, f"scaled_dot_product_attention of rank {rank}")

        def with_heads(tensor: Any) -> Any:
            return tensor.unsqueeze(2) if rank == 3 else tensor.transpose(1, 2)

        def of_rank(limit: Any) -> Any:
            if limit is not None and rank == 3 and limit.ndim == 3:
                return limit.unsqueeze(1)
            return None if limit is None else limit.reshape((1,) * (4 - limit.ndim) + tuple(limit.shape))

        return taking.fused(
            run,
            query=with_heads(query),
            key=with_heads(key),
            value=with_heads(value),
            bias=None if is_mask else of_rank(attn_mask),
            mask=of_rank(attn_mask) if is_mask else None,
            scale=1.0 / math.sqrt(query.shape[-1]) if scale is None else scale,
            is_causal=is_causal,
            keep_context=dropout_p == 0.0,
            to_output=lambda context: context.squeeze(2) if rank == 3 else context.transpose(1, 2),
        )

    return [
        Function(functional, "softmax", take, bound_early=True),
        Function(torch, "softmax", take, bound_early=True),
        Function(torch.special, "softmax", take, bound_early=True),
        Function(torch.Tensor, "softmax", take),
        Function(torch.backends.mha, "get_fastpath_enabled", without_fast_path),
        Function(functional, "multi_head_attention_forward", take_module),
        Function(functional, "scaled_dot_product_attention", take_fused, bound_early=True),
    ]


_OF_FRAMEWORK: dict[str, Callable[[], list[Function]]] = {
    "tensorflow": _of_tensorflow,
    "jax": _of_jax,
    "torch": _of_torch,
}
