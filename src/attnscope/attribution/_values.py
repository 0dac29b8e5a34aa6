"""What each head carries from each key: the value vectors after the layer's output projection."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import xarray as xr

from attnscope.discovery import Selection, discover
from attnscope.errors import MethodError
from attnscope.handlers import Contribution, Contributor, Passed
from attnscope.running import Network
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, SiteTable
from attnscope.tensors import Inputs

FEATURE = "feature"
TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
"""How far the sum may be from the layer's output, as a share of its largest number, before the layer is rejected."""
TOLERANCE_OF_HALF = 5e-2
"""The same where the model computes in half precision."""


def values(
    model: keras.Model, inputs: Inputs, sites: Selection = None, *, batch_size: int = 32
) -> dict[str, xr.Dataset]:
    """The vector that each head carries from each key into the output of its layer, and the scores that weight them.

    ``output[query] = sum over head, key of scores[head, query, key] * values[head, key] + rest[query]``: attention is
    a weighted sum, and these are its vectors; in multi-head attention ``f_h(x_j) = (x_j W_V + b_V) W_O``, with the
    head's part of the weights. They are not read from the weights but obtained from the layer itself, by calling it
    again on the same inputs with other scores. So this works for every layer that makes and applies its scores
    internally and gives one vector per query: `MultiHeadAttention`, `GroupQueryAttention`, `Attention`, KerasHub's
    attention layers, and your own. The sum above is checked on every batch. Class-agnostic.

    The cost is one forward pass of the model and, for each site, one call of its layer plus one per head (times
    ``keys / queries``, rounded up, where there are more keys than queries).

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, raw texts or images for a task, or anything that yields batches, such as
            a `tf.data.Dataset`.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention. Their dims have to
            be ``(sample, [head,] [query,] key)``.
        batch_size: Samples at a time.

    Returns:
        By name of the site: ``scores`` (sample, head, query, key), within 0 to 1, 0 where masked; ``values`` (sample,
        head, key, feature); ``rest`` and ``output`` (sample, query, feature), the layer's biases and its output;
        ``attends`` (sample, query), bool, False where a query may attend to nothing: there the scores are 0, and the
        sum is not the output. A site without heads or queries has one of them. Learned sink columns, which stand for no
        position, have vectors of 0. The unit is that of the layer's output. Padding has vectors too, but scores of 0.
        NaN propagates.

    Raises:
        MethodError: The scores are applied outside of their layer, or the output is not a weighted sum by them.
        NoAttentionError: The model computes no attention.

    Source:
        Kobayashi et al. 2020, "Attention is Not Only a Weight", section 2.2, equations 2 and 3.

    Example:
        >>> inputs = keras.Input((5, 8))
        >>> model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs))
        >>> carried = values(model, np.ones((3, 5, 8), "float32"))["mha"]
        >>> dict(carried["values"].sizes)
        {'sample': 3, 'head': 2, 'key': 5, 'feature': 8}
        >>> total = (carried["scores"] * carried["values"]).sum(["head", "key"]) + carried["rest"]
        >>> bool(np.allclose(total.transpose(*carried["output"].dims), carried["output"], atol=1e-5))
        True
    """
    network = Network(model, inputs, batch_size=batch_size)
    chosen = discover(network, sites).chosen
    parts: dict[str, list[Contribution]] = {name: [] for name in chosen.names}
    for contributions, _ in contributed(network, chosen):
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
    """What the sites carry, a batch at a time; each contribution is checked by its sum.

    Yields:
        The contributions by name of the site, and the recorded calls of layers in the order of execution.

    Raises:
        MethodError: The output of a layer is not a weighted sum by its scores.
    """
    contributor = Contributor(network.model, sites, passed=passed, paths=paths)
    dtypes = {site.name: site.dtype for site in sites}
    for _, contributions, noted in contributor.run(network):
        for name, contribution in contributions.items():
            check_conservation(name, contribution, TOLERANCE.get(dtypes[name], TOLERANCE_OF_HALF))
        yield contributions, noted


def check_conservation(name: str, contribution: Contribution, tolerance: float) -> None:
    """Checks that the weighted vectors and the rest add up to the layer's output wherever a query attends to something.

    Args:
        name: Name of the site.
        contribution: What it carries.
        tolerance: How far the sum may be from the output, as a share of its largest number.

    Raises:
        MethodError: They do not.
    """
    output = contribution.output
    wide = np.result_type(output, np.float32)
    scores, vectors = contribution.scores.astype(wide, copy=False), contribution.vectors.astype(wide, copy=False)
    total = np.einsum("nhqk,nhkd->nqd", scores, vectors, optimize=True) + contribution.rest
    gap = np.abs(np.where(contribution.attends[..., None], total - output, 0.0)).max(initial=0.0)
    largest = np.abs(output).max(initial=0.0)
    if gap > tolerance * max(largest, np.finfo("float32").tiny):
        raise MethodError(
            f"At the site {name!r} the weighted sum of the keys' vectors is {gap:.3g} away from the layer's output, "
            f"whose largest number is {largest:.3g}: the layer does more with its scores than weight vectors that are "
            "the same for all queries. Leave the site out: sites=[...]."
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
