"""Attention weighted by the length of what it carries: how much each key adds to each query's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._residual import ResidualBlock, Wire, block_of
from attnscope.attribution._values import contributed
from attnscope.discovery import Selection, discover
from attnscope.errors import MethodError
from attnscope.handlers import Contribution, Passed
from attnscope.running import Network
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE
from attnscope.tensors import Inputs

Part = Literal["heads", "summed", "residual", "layer_norm"]
PARTS = ("heads", "summed", "residual", "layer_norm")


def norms(
    model: keras.Model,
    inputs: Inputs,
    sites: Selection = None,
    *,
    part: Part = "heads",
    wiring: Mapping[str, Wire] | None = None,
    batch_size: int = 32,
) -> dict[str, xr.DataArray]:
    """The length of the vector that each key adds to each query: attention weighted by what it carries.

    With ``f_h(x_j)`` from `values`, ``a`` the scores, ``x`` the residual connection and ``s_i`` the standard deviation
    that the layer norm divides by:

    * ``heads``: ``|a_hij f_h(x_j)|`` for each head;
    * ``summed``: ``|sum_h a_hij f_h(x_j)|``, in which heads may cancel;
    * ``residual``: ``|sum_h a_hij f_h(x_j) + [i = j] x_i|``;
    * ``layer_norm``: ``|g (v - mean(v)) / s_i|`` of that vector ``v``, with the norm's factor ``g``; the same as
      ``residual`` where the block's norm comes first (GPT-2), as then none follows the mixing.

    Biases (`rest` of `values`, the shift of a layer norm) belong to no key and are left out. Class-agnostic. Masked
    cells and padded keys are 0 (under ``residual``, a query keeps itself). NaN propagates.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, raw texts or images for a task, or anything that yields batches, such as
            a `tf.data.Dataset`.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention. Their dims have to
            be ``(sample, [head,] [query,] key)``; ``residual`` and ``layer_norm`` need self-attention.
        part: Which of these lengths.
        wiring: For ``residual`` and ``layer_norm``: from a glob pattern of sites to the `Wire` that says where the
            residual connection is, for blocks in which it is not detected.
        batch_size: Samples at a time.

    Returns:
        By name of the site: dims ``(sample, head, query, key)`` for ``heads``, else ``(sample, query, key)``; float64,
        0 and up, in units of the layer's output (of its norm under ``layer_norm``). Rows do not sum to 1.

    Raises:
        MethodError: There is no such part; a layer has no vectors of this kind (see `values`); a residual connection is
            not detected; or a norm is not Keras' `LayerNormalization`.
        NoAttentionError: The model computes no attention.

    Source:
        Kobayashi et al. 2020, "Attention is Not Only a Weight: Analyzing Transformers with Vector Norms", section 3
        (``heads``, ``summed``); Kobayashi et al. 2021, "Incorporating Residual and Normalization Layers into Analysis
        of Masked Language Models", section 3 (the other two).

    Example:
        >>> x = keras.Input((5, 8))
        >>> model = keras.Model(x, keras.layers.MultiHeadAttention(2, 4, name="mha")(x, x))
        >>> dict(norms(model, np.ones((3, 5, 8), "float32"))["mha"].sizes)
        {'sample': 3, 'head': 2, 'query': 5, 'key': 5}
    """
    if part not in PARTS:
        raise MethodError(f"part is {part!r}, but one of {', '.join(map(repr, PARTS))} is needed: part='heads'.")
    network = Network(model, inputs, batch_size=batch_size)
    chosen = discover(network, sites).chosen
    paths = frozenset(wire.total for wire in (wiring or {}).values())
    with_block = part in ("residual", "layer_norm")
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in chosen.names}
    for contributions, passed in contributed(network, chosen, passed=with_block, paths=paths):
        for name, contribution in contributions.items():
            pieces[name].append(_lengths(name, contribution, passed, part, wiring))
    dims = (SAMPLE, HEAD, QUERY, KEY) if part == "heads" else (SAMPLE, QUERY, KEY)
    attrs = {"method": f"norms, {part}", "class_specific": False, "passes": "one, and calls of the layers; see values"}
    return {
        name: xr.DataArray(np.concatenate(several), dims=dims, name="norms", attrs=attrs)
        for name, several in pieces.items()
    }


def _lengths(
    name: str, contribution: Contribution, passed: list[Passed], part: Part, wiring: Mapping[str, Wire] | None
) -> np.ndarray:
    scores, vectors = contribution.scores.astype(np.float64), contribution.vectors.astype(np.float64)
    if part == "heads":
        return np.asarray(scores * np.linalg.norm(vectors, axis=-1)[:, :, None])
    if part == "summed":
        return np.asarray(np.sqrt(_squared(scores, vectors)))
    block = block_of(name, contribution, passed, wiring)
    if part == "residual":
        block = ResidualBlock(block.residual, block.output, None, np.ones(block.scale.shape))
    return _with_residual(scores, block.through(vectors), block)


def _squared(scores: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Squared lengths of the sums over heads, dims ``(sample, query, key)``.

    Products of heads are taken at each key first, so that no array of queries by keys by features is made.
    """
    products = np.einsum("nhkd,ngkd->nkhg", vectors, vectors, optimize=True)
    mixed = np.einsum("nhqk,nkhg->ngqk", scores, products, optimize=True)
    return np.asarray(np.maximum((mixed * scores).sum(1), 0.0))


def _with_residual(scores: np.ndarray, vectors: np.ndarray, block: ResidualBlock) -> np.ndarray:
    """Lengths with the residual connection added at each query's own key, dims ``(sample, query, key)``."""
    lengths = np.sqrt(_squared(scores, vectors))
    own = np.einsum("nhqq,nhqd->nqd", scores, vectors) + block.through(block.residual.astype(np.float64))
    places = np.arange(scores.shape[2])
    lengths[:, places, places] = np.linalg.norm(own, axis=-1)
    return np.asarray(lengths * block.scale[..., None])
