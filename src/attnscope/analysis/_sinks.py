"""Keys on which heads rest, whatever the query is."""

from __future__ import annotations

import numpy as np
import xarray as xr

from attnscope.analysis._arguments import of_one_array
from attnscope.analysis._validity import counting_queries, described, keys_of, open_keys, rows_of, with_coords
from attnscope.errors import InputError
from attnscope.findings import SINK_MASS, SINK_SHARE, strongest_keys
from attnscope.schema import query_dims, require_content


@of_one_array
def sinks(scores: xr.DataArray, *, share: float = SINK_SHARE, mass: float = SINK_MASS) -> xr.DataArray:
    """The keys that are sinks in each sample and head; class-agnostic.

    The rule is that of ``maps.findings``: a key is a sink if it is the single strongest key of at least `share` of the
    queries, and the queries give it at least `mass` of their attention on average. Queries with only one open key (the
    first of a causal map) have no choice and are left out, as is padding. The lint looks at all samples together, and
    so finds sinks at a fixed position; this function looks at each sample separately, because a separator is at a
    different position in each. Names play no part: a sink may be ``[CLS]``, a separator, a comma or padding.

    Args:
        scores: Attention after the softmax, dims ``(..., query, key)``.
        share: Share of the queries, within 0 to 1. With 0 only the mean counts: ``sinks(scores, share=0, mass=0.3)`` is
            the rule of Gu et al., for any key.
        mass: Share of the attention, above 0 and at most 1.

    Returns:
        The dims of `scores` without the queries, bool. Learned sinks (the last keys of a site that has any) are always
        True. All other keys are False at sites without queries, and where fewer than two queries have a choice. Rows
        with NaN are left out.

    Raises:
        SchemaError: There are no keys.
        InputError: `share` or `mass` is out of range.

    Source:
        The phenomenon: Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks"; a threshold of 0.3
        on the mean: Gu et al. 2025, "When Attention Sink Emerges in Language Models". The rule is our own.

    Example:
        >>> rows = xr.DataArray([[0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.2, 0.7, 0.1]], dims=("query", "key"))
        >>> sinks(rows).values.tolist()
        [False, True, False]
    """
    if not (0 <= share <= 1 and 0 < mass <= 1):
        raise InputError(
            f"share={share!r} and mass={mass!r} were given, but the share of the queries must be within 0 to 1, and "
            f"the mass above 0 and at most 1: sinks(scores, share={SINK_SHARE}, mass={SINK_MASS})."
        )
    keys, queries = keys_of(scores), query_dims(scores.dims)
    require_content(scores)
    bare = rows_of(scores)
    others = [dim for dim in bare.dims if dim not in (*queries, *keys)]
    ordered = bare.transpose(*others, *queries, *keys)
    sizes = [ordered.sizes[key] for key in keys]
    rows = ordered.values.reshape(*(ordered.sizes[dim] for dim in others), -1, int(np.prod(sizes)))
    if queries:
        asked = (counting_queries(scores) & (open_keys(scores) > 1)).transpose(*others, *queries)
        detected = _detected(rows, asked.values.reshape(rows.shape[:-1]) & ~np.isnan(rows).any(-1), share, mass)
    else:
        detected = np.zeros((*rows.shape[:-2], rows.shape[-1]), bool)
    result = xr.DataArray(detected.reshape(*rows.shape[:-2], *sizes), dims=(*others, *keys))
    num_learned = int(scores.attrs.get("sinks", 0))
    if num_learned:
        last = xr.DataArray(np.arange(sizes[-1]) >= sizes[-1] - num_learned, dims=keys[-1])
        result = (result | last).transpose(*result.dims)
    return described(with_coords(result, scores), "sinks", "1", "whether a key is a sink", share=share, mass=mass)


def _detected(rows: np.ndarray, asked: np.ndarray, share: float, mass: float) -> np.ndarray:
    """The sinks among the keys.

    Args:
        rows: dims ``(..., row, key)``.
        asked: dims ``(..., row)``, the rows that count and have a choice.
        share: Least share of these rows whose strongest key a sink is.
        mass: Least mean weight of a sink in these rows.

    Returns:
        dims ``(..., key)``, bool.
    """
    number = asked.sum(-1)[..., None]
    strongest = strongest_keys(rows, asked)
    hits = (strongest[..., None] == np.arange(rows.shape[-1])).sum(-2)
    received = np.where(asked[..., None], rows, 0.0).sum(-2)
    return np.asarray((number >= 2) & (hits >= share * number) & (received >= mass * number))
