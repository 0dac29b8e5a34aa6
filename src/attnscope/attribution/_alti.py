"""ALTI: how much of each position is left in each position's vector, layer by layer and through all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._residual import Block, Wire, block_of
from attnscope.attribution._values import contributed
from attnscope.discovery import Selection, discover
from attnscope.errors import MethodError
from attnscope.handlers import Contribution
from attnscope.running import Network
from attnscope.schema import KEY, QUERY, SAMPLE

BLOCK_NUMBERS = 2**23
"""So many numbers at the most are made at a time for queries by keys by features."""


def alti(
    model: keras.Model,
    inputs: Any,
    sites: Selection = None,
    *,
    aggregate: bool = True,
    wiring: Mapping[str, Wire] | None = None,
    batch_size: int = 32,
) -> xr.DataArray:
    """Aggregation of layer-wise token-to-token interactions: how near each key's part comes to the block's output.

    The output ``y_i`` of an attention block is a sum over keys of ``T_i(x_j)``: what all heads carry from `j`, the
    residual connection where ``i = j``, both through the layer norm that follows, if one does. A key counts by how much
    nearer to ``y_i`` its part comes than nothing does, in the sum of absolute values:
    ``c_ij = max(0, |y_i| - |y_i - T_i(x_j)|)``, rows brought to sum 1. Layers are then multiplied through, without a
    further residual connection: ``R[n] = C[n] @ R[n - 1]``. The feed-forward parts are taken to mix no positions, and
    are left out. The values' bias is counted with each key (as in `values`), all other biases with none.

    Class-agnostic. Padding gets 0 from real queries; rows of padded queries are computed too. A query to which no key
    comes nearer keeps itself alone. NaN spreads.

    Args:
        model: Any built Keras 3 model, or a KerasHub task, whose sites are self-attention over one sequence with
            residual connections; BERT's and GPT-2's orders are found. It stays as it is.
        inputs: As for `capture`.
        sites: Which sites, from the input up, as for `capture`.
        aggregate: Whether layers are multiplied through; False gives each layer's own ``C``.
        wiring: Where the residual connection is, by pattern of sites, for blocks in which it is not found; see `Wire`.
        batch_size: Samples at a time.

    Returns:
        dims ``(layer, sample, query, key)``, float64, within 0 to 1, rows summing to 1.

    Raises:
        MethodError: A layer that cannot be asked, a residual connection that is not found, a norm other than Keras'
            `LayerNormalization` behind it, or sites over sequences of several lengths (cross-attention).
        NoAttentionError: The model computes no attention.

    Source:
        Ferrando et al. 2022, "Measuring the Mixing of Contextual Information in the Transformer", section 3.
    """
    network = Network(model, inputs, batch_size=batch_size)
    found = discover(network, sites).chosen
    paths = frozenset(wire.total for wire in (wiring or {}).values())
    samples = []
    for contributions, passed in contributed(network, found, passed=True, paths=paths):
        layers = [
            _contributions(contributions[name], block_of(name, contributions[name], passed, wiring))
            for name in found.names
        ]
        if len({layer.shape for layer in layers}) > 1:
            lengths = {name: contributions[name].scores.shape[-1] for name in found.names}
            raise MethodError(
                f"The sites attend over sequences of several lengths, {lengths}, but ALTI multiplies layers over one "
                "sequence. Name those of one: sites='encoder*'."
            )
        samples.append(np.stack(_through(layers) if aggregate else layers))
    return xr.DataArray(
        np.concatenate(samples, axis=1),
        dims=("layer", SAMPLE, QUERY, KEY),
        coords={"layer": range(len(found)), "layer_site": ("layer", found.names)},
        name="alti",
        attrs={"method": "alti", "class_specific": False, "units": "1", "aggregated": aggregate},
    )


def _through(layers: list[np.ndarray]) -> list[np.ndarray]:
    carried = [layers[0]]
    for layer in layers[1:]:
        carried.append(layer @ carried[-1])
    return carried


def _contributions(found: Contribution, block: Block) -> np.ndarray:
    """Contributions of one layer, dims ``(sample, query, key)``, rows summing to 1."""
    vectors = block.through(found.vectors.astype(np.float64))
    residual = block.through(block.residual.astype(np.float64))
    samples, _, queries, keys = found.scores.shape
    nearer = np.zeros((samples, queries, keys))
    step = max(1, BLOCK_NUMBERS // max(1, keys * vectors.shape[-1]))
    for sample in range(samples):
        for start in range(0, queries, step):
            rows = np.arange(start, min(start + step, queries))
            scores = found.scores[sample][:, rows].astype(np.float64)
            parts = np.einsum("hqk,hkd->qkd", scores, vectors[sample], optimize=True)
            parts[np.arange(len(rows)), rows] += residual[sample, rows]
            parts *= block.scale[sample, rows, None, None]
            output = block.output[sample, rows].astype(np.float64)[:, None]
            nearer[sample, rows] = np.abs(output).sum(-1) - np.abs(output - parts).sum(-1)
    nearer = np.maximum(nearer, 0.0)
    total = nearer.sum(-1, keepdims=True)
    return np.where(total == 0, np.eye(keys), nearer / np.where(total == 0, 1.0, total))
