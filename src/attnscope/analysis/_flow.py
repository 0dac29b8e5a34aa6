"""Attention flow: how much can pass from each input position to each output if the weights are pipes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from attnscope.analysis._arguments import of_maps
from attnscope.analysis._rollout import Fusion, chain, check_options, layers_of, mixed_map, valid_of
from attnscope.analysis._scipy import scipy_room
from attnscope.errors import InputError
from attnscope.maps import AttentionMaps
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE

RESOLUTION = 2.0**-30
"""Weights are rounded to whole multiples of this, because the maximum flow is computed in 32-bit integers."""


@of_maps
def flow(
    maps: AttentionMaps,
    sites: Sequence[str] | None = None,
    *,
    queries: Sequence[int] | None = None,
    residual: float = 0.5,
    fusion: Fusion = "mean",
    discard: float = 0.0,
) -> xr.DataArray:
    """The maximum flow from each position of the last layer down to each input position; class-agnostic.

    The positions of all layers are the nodes of a graph. An edge leads from each query to each key of its layer, and
    its capacity is the weight in the map, with the heads fused and the residual connection added as in `rollout`. Each
    value is a separate maximum flow, from one query to one input position, so rows sum to 1 or more, and no value is
    below that of the rollout. Where a rollout multiplies the weights along a path, a flow takes the smallest.

    It is exact for weights rounded to multiples of 2**-30. The rounding changes a value by at most 2**-31 for each edge
    of the cut that limits it, so by no more than ``layers * positions**2 * 2**-31`` (1.2e-5 for 6 layers of 64
    positions), and in practice by much less. It takes ``samples * queries * positions`` runs of a maximum-flow
    algorithm on ``layers * positions**2`` edges, so choose queries and samples if sequences are long.

    Args:
        maps: Captured maps with `scores`.
        sites: Names of the chain's sites from the input up; None for all. Each is self-attention over one sequence.
        queries: Positions of the last layer to start from, ``[0]`` for a class token; None for all.
        residual: Share of a layer's output that is attributed to its input, within 0 to 1.
        fusion: How heads are fused into one map; its rows are then normalised to sum to 1.
        discard: Share of the smallest weights of each fused map that is first set to 0, within 0 to 1 (exclusive).
            Masked cells and padding are not counted among them.

    Returns:
        dims ``(sample, query, key)``, float64, within 0 to 1. NaN for padded queries, and in samples whose maps contain
        NaN. Weight on padding and on sinks flows like any other.

    Raises:
        SchemaError: A site is not self-attention with dims ``(sample, [head,] query, key)``, or the sizes differ.
        InputError: An option is out of range, or there is no such query.
        NotInstalledError: SciPy is not installed.

    Source:
        Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3, for ``residual=0.5`` and
        ``fusion="mean"``.

    Example:
        >>> even = AttentionMaps.from_arrays([np.full((1, 1, 2, 2), 0.5)] * 2)
        >>> flow(even, queries=[0]).values.tolist()
        [[[1.0, 0.5]]]
    """
    check_options(residual, fusion, discard)
    _, arrays = chain(maps, sites, "flow")
    samples, positions = arrays[0].sizes[SAMPLE], arrays[0].sizes[QUERY]
    chosen = list(range(positions)) if queries is None else [int(query) for query in queries]
    if not all(0 <= query < positions for query in chosen):
        raise InputError(
            f"queries={chosen} were given, but the positions of the last layer are 0 to {positions - 1}: queries=[0]."
        )
    values = np.full((samples, len(chosen), positions), np.nan)
    for sample in range(samples):
        valid = valid_of(arrays[0], sample)
        mixed = [mixed_map(layer, residual, fusion, discard, valid) for layer in layers_of(arrays, sample)]
        valid_queries = [(row, query) for row, query in enumerate(chosen) if valid[0][query]]
        if not any(np.isnan(layer).any() for layer in mixed):
            rows = [row for row, _ in valid_queries]
            values[sample, rows] = maximum_flows(mixed, [query for _, query in valid_queries])
    first = arrays[0].isel({QUERY: chosen})
    coords = {name: c for name, c in first.coords.items() if HEAD not in c.dims}
    return xr.DataArray(
        values,
        dims=(SAMPLE, QUERY, KEY),
        coords={**coords, QUERY: chosen},
        attrs={
            "units": "1",
            "long_name": "attention flow",
            "method": "flow",
            "class_specific": False,
            "residual": residual,
            "fusion": fusion,
            "discard": discard,
            "resolution": RESOLUTION,
        },
    )


def maximum_flows(layers: Sequence[np.ndarray], queries: Iterable[int]) -> np.ndarray:
    """Maximum flows from positions above the last layer to positions below the first.

    Args:
        layers: Capacities from the input up, dims ``(query, key)``, each at most 1.
        queries: Positions to start from.

    Returns:
        dims ``(query, key)``, one row for each of `queries`.

    Raises:
        NotInstalledError: SciPy is not installed.
    """
    sparse, size = scipy_room("scipy.sparse"), len(layers[0])
    csgraph = scipy_room("scipy.sparse.csgraph")
    sources, targets, capacities = [], [], []
    for number, layer in enumerate(layers):
        scaled = np.rint(layer / RESOLUTION).astype(np.int32)
        query, key = np.nonzero(scaled)
        sources.append((number + 1) * size + query)
        targets.append(number * size + key)
        capacities.append(scaled[query, key])
    nodes = (len(layers) + 1) * size
    edges = (np.concatenate(sources), np.concatenate(targets))
    graph = sparse.csr_array((np.concatenate(capacities), edges), shape=(nodes, nodes))
    flows = [
        [csgraph.maximum_flow(graph, len(layers) * size + query, key).flow_value for key in range(size)]
        for query in queries
    ]
    return np.array(flows, dtype=np.float64).reshape(-1, size) * RESOLUTION
