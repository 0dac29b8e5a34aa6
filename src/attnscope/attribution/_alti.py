"""ALTI: how much of each position is left in each position's vector, layer by layer and through all layers."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._residual import ResidualBlock, Wire, block_of
from attnscope.attribution._values import contributed
from attnscope.discovery import Selection, discover
from attnscope.errors import MethodError
from attnscope.handlers import Contribution
from attnscope.running import Network
from attnscope.schema import KEY, QUERY, SAMPLE
from attnscope.tensors import Inputs

BLOCK_NUMBERS = 2**23
"""At most this many numbers are made at a time, for queries by keys by features."""


def alti(
    model: keras.Model,
    inputs: Inputs,
    sites: Selection = None,
    *,
    aggregate: bool = True,
    wiring: Mapping[str, Wire] | None = None,
    batch_size: int = 32,
) -> xr.DataArray:
    """Aggregation of layer-wise token-to-token interactions: how close each key's part comes to the block's output.

    The output ``y_i`` of an attention block is a sum over keys of ``T_i(x_j)``: what all heads carry from `j`, plus the
    residual connection where ``i = j``, both after the layer norm if one follows. A key counts by how much closer to
    ``y_i`` its part is than nothing is, by the sum of absolute values: ``c_ij = max(0, |y_i| - |y_i - T_i(x_j)|)``,
    with rows scaled to sum to 1. Layers are then multiplied without a further residual connection:
    ``R[n] = C[n] @ R[n - 1]``. The feed-forward parts are left out, as they do not mix positions. The values' bias
    counts with each key (as in `values`), all other biases with none.

    Class-agnostic. Padding gets 0 from real queries; rows of padded queries are computed too. A query that no key's
    part comes closer to keeps only itself. NaN propagates.

    Args:
        model: Any built Keras 3 model, or a KerasHub task, whose sites are self-attention over one sequence with
            residual connections; BERT's and GPT-2's orders are detected. It is not changed.
        inputs: Arrays or a structure of them, raw texts or images for a task, or anything that yields batches, such as
            a `tf.data.Dataset`.
        sites: Which sites, from the input up: a glob pattern, several, or a predicate; None for all that are attention.
        aggregate: Whether layers are multiplied; False gives each layer's own ``C``.
        wiring: From a glob pattern of sites to the `Wire` that says where the residual connection is, for blocks in
            which it is not detected.
        batch_size: Samples at a time.

    Returns:
        dims ``(layer, sample, query, key)``, float64, within 0 to 1, rows summing to 1.

    Raises:
        MethodError: A layer has no vectors of this kind (see `values`), a residual connection is not detected, the norm
            after it is not Keras' `LayerNormalization`, or the sites are over sequences of several lengths.
        NoAttentionError: The model computes no attention.

    Source:
        Ferrando et al. 2022, "Measuring the Mixing of Contextual Information in the Transformer", section 3.
    """
    network = Network(model, inputs, batch_size=batch_size)
    chosen = discover(network, sites).chosen
    paths = frozenset(wire.total for wire in (wiring or {}).values())
    samples = []
    for contributions, passed in contributed(network, chosen, passed=True, paths=paths):
        layers = [
            _shares(contributions[name], block_of(name, contributions[name], passed, wiring)) for name in chosen.names
        ]
        if len({layer.shape for layer in layers}) > 1:
            lengths = {name: contributions[name].scores.shape[-1] for name in chosen.names}
            raise MethodError(
                f"The sites attend over sequences of several lengths, {lengths}, but ALTI multiplies layers over one "
                "sequence. Name the sites of one sequence: sites='encoder*'."
            )
        samples.append(np.stack(_multiplied(layers) if aggregate else layers))
    return xr.DataArray(
        np.concatenate(samples, axis=1),
        dims=("layer", SAMPLE, QUERY, KEY),
        coords={"layer": range(len(chosen)), "layer_site": ("layer", chosen.names)},
        name="alti",
        attrs={"method": "alti", "class_specific": False, "units": "1", "aggregated": aggregate},
    )


def _multiplied(layers: list[np.ndarray]) -> list[np.ndarray]:
    """For each layer the product of all layers up to it."""
    carried = [layers[0]]
    for layer in layers[1:]:
        carried.append(layer @ carried[-1])
    return carried


def _shares(contribution: Contribution, block: ResidualBlock) -> np.ndarray:
    """Each key's share in one layer's output, dims ``(sample, query, key)``, float64, rows summing to 1."""
    vectors = block.through(contribution.vectors.astype(np.float64))
    residual = block.through(block.residual.astype(np.float64))
    samples, _, queries, keys = contribution.scores.shape
    closer = np.zeros((samples, queries, keys))
    step = max(1, BLOCK_NUMBERS // max(1, keys * vectors.shape[-1]))
    for sample in range(samples):
        for start in range(0, queries, step):
            rows = np.arange(start, min(start + step, queries))
            scores = contribution.scores[sample][:, rows].astype(np.float64)
            parts = np.einsum("hqk,hkd->qkd", scores, vectors[sample], optimize=True)
            parts[np.arange(len(rows)), rows] += residual[sample, rows]
            parts *= block.scale[sample, rows, None, None]
            output = block.output[sample, rows].astype(np.float64)[:, None]
            closer[sample, rows] = np.abs(output).sum(-1) - np.abs(output - parts).sum(-1)
    closer = np.maximum(closer, 0.0)
    total = closer.sum(-1, keepdims=True)
    return np.where(total == 0, np.eye(keys), closer / np.where(total == 0, 1.0, total))
