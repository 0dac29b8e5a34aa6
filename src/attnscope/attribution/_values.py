"""What each head carries from each key: the value vectors, through the layer's output projection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.discovery import Selection, discover
from attnscope.errors import MethodError
from attnscope.handlers import Contribution, Contributor, Passed
from attnscope.running import Network
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, SiteTable

FEATURE = "feature"
TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
"""How far the sum may lie from the layer's output, as a share of its largest number, before the layer is refused."""
TOLERANCE_OF_HALF = 5e-2
"""The same where the model computes in half precision."""


def values(model: keras.Model, inputs: Any, sites: Selection = None, *, batch_size: int = 32) -> dict[str, xr.Dataset]:
    """The vector that each head carries from each key into the output of its layer, and what the scores make of them.

    ``output[query] = sum over head, key of scores[head, query, key] * values[head, key] + rest[query]``: attention is
    a weighted sum, and these are its vectors, ``f_h(x_j) = (x_j W_V + b_V) W_O`` of the head's part of the weights
    in multi-head attention. They are not read from the weights but had from the layer itself, called again with other
    scores on the same inputs (see `interception.contributions`); so every layer counts that makes and applies its
    scores within itself and gives one vector per query: `MultiHeadAttention`, `GroupQueryAttention`, `Attention`,
    KerasHub's attention layers, and layers of one's own. That the layer is of this kind is checked on every batch by
    the sum above. Class-agnostic.

    The cost is one pass of the model, and for each site as many calls of its layer as it has heads (times keys by
    queries, where there are more keys), and one.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It stays as it is.
        inputs: As for `capture`.
        sites: Which sites, as for `capture`. Sites with dims ``(sample, [head,] [query,] key)`` can be asked.
        batch_size: Samples at a time.

    Returns:
        By name of the site: ``scores`` (sample, head, query, key), 0 where masked; ``values`` (sample, head, key,
        feature); ``rest`` and ``output`` (sample, query, feature), the layer's biases and its output; ``attends``
        (sample, query), False where a query may attend to nothing: there the scores are 0, and the sum is not the
        output. A site without heads or queries has one. Learned sinks that stand for no position have vectors of 0.
        Units are those of the layer's output. Padding has vectors too; its scores are 0. NaN spreads.

    Raises:
        MethodError: The scores are applied outside of their layer, or the output is no weighted sum by them.
        NoAttentionError: The model computes no attention.

    Source:
        Kobayashi et al. 2020, "Attention is Not Only a Weight", section 2.2, equations 2 and 3.

    Example:
        >>> inputs = keras.Input((5, 8))
        >>> model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs))
        >>> found = values(model, np.ones((3, 5, 8), "float32"))["mha"]
        >>> dict(found["values"].sizes)
        {'sample': 3, 'head': 2, 'key': 5, 'feature': 8}
        >>> again = (found["scores"] * found["values"]).sum(["head", "key"]) + found["rest"]
        >>> bool(np.allclose(again.transpose(*found["output"].dims), found["output"], atol=1e-5))
        True
    """
    network = Network(model, inputs, batch_size=batch_size)
    found = discover(network, sites).chosen
    parts: dict[str, list[Contribution]] = {name: [] for name in found.names}
    for contributions, _ in contributed(network, found):
        for name, contribution in contributions.items():
            parts[name].append(contribution)
    return {name: _dataset(name, several) for name, several in parts.items()}


def contributed(
    network: Network,
    sites: SiteTable,
    *,
    passed: bool = False,
    paths: frozenset[str] = frozenset(),
) -> Iterator[tuple[dict[str, Contribution], list[Passed]]]:
    """What the sites carry, a batch at a time, each checked by its sum.

    Raises:
        MethodError: The output of a layer is no weighted sum by its scores.
    """
    contributor = Contributor(network.model, sites, passed=passed, paths=paths)
    dtypes = {site.name: site.dtype for site in sites}
    for _, contributions, noted in contributor.run(network):
        for name, contribution in contributions.items():
            check_conservation(name, contribution, TOLERANCE.get(dtypes[name], TOLERANCE_OF_HALF))
        yield contributions, noted


def check_conservation(name: str, found: Contribution, tolerance: float) -> None:
    """That the weighted vectors and the rest make up the layer's output, wherever a query attends to something.

    Raises:
        MethodError: They do not.
    """
    wide = np.result_type(found.output, np.float32)
    scores, vectors = found.scores.astype(wide, copy=False), found.vectors.astype(wide, copy=False)
    total = np.einsum("nhqk,nhkd->nqd", scores, vectors, optimize=True) + found.rest
    gap = np.abs(np.where(found.attends[..., None], total - found.output, 0.0)).max(initial=0.0)
    largest = np.abs(found.output).max(initial=0.0)
    if gap > tolerance * max(largest, np.finfo("float32").tiny):
        raise MethodError(
            f"At the site {name!r} the weighted sum of the keys' vectors lies {gap:.3g} from the layer's output, whose "
            f"largest number is {largest:.3g}: the layer does more with its scores than weight vectors that are the "
            "same for all queries. Leave the site out: sites=[...]."
        )


def _dataset(name: str, parts: list[Contribution]) -> xr.Dataset:
    dims = {
        "scores": (SAMPLE, HEAD, QUERY, KEY),
        "values": (SAMPLE, HEAD, KEY, FEATURE),
        "rest": (SAMPLE, QUERY, FEATURE),
        "output": (SAMPLE, QUERY, FEATURE),
        "attends": (SAMPLE, QUERY),
    }
    arrays = {
        variable: (names, np.concatenate([getattr(part, variable.replace("values", "vectors")) for part in parts]))
        for variable, names in dims.items()
    }
    return xr.Dataset(arrays, attrs={"site": name, "class_specific": False})
