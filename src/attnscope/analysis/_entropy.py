"""Over how many keys a query spreads its attention, in bits."""

from __future__ import annotations

import numpy as np
import xarray as xr

from attnscope.analysis._arguments import of_one_array
from attnscope.analysis._validity import counting_queries, described, keys_of, open_keys, rows_of, with_coords


@of_one_array
def entropy(scores: xr.DataArray, *, relative: bool = False) -> xr.DataArray:
    """Shannon entropy of each query's attention over the keys: ``-sum(a * log2(a))``; class-agnostic.

    Masked keys score 0 and add nothing, so padding does not raise the entropy. Weight that nevertheless falls on
    padding counts like any other, and so does weight on sinks.

    Args:
        scores: Attention after the softmax, dims ``(..., query, key)`` (any site), rows summing to 1.
        relative: Whether to divide by log2 of the number of keys that the query may attend to: those that are not
            padding and, in a causal map, not later than the query. A padded key that has weight is counted too.

    Returns:
        The dims of `scores` without the keys, float64. In bits, within 0 (one key) to log2(keys) (all weights equal);
        if relative, within 0 to 1. NaN at padding, where a query attends to nothing, where a row contains NaN, and, if
        relative, where a query has only one key.

    Raises:
        SchemaError: There are no keys.

    Source:
        Shannon 1948, section 6; of attention heads: Clark et al. 2019, "What Does BERT Look At?", section 3.

    Example:
        >>> row = xr.DataArray([[0.5, 0.5, 0.0, 0.0]], dims=("query", "key"))
        >>> entropy(row).item(), entropy(row, relative=True).item()
        (1.0, 0.5)
    """
    keys, rows = keys_of(scores), rows_of(scores)
    bits = abs((rows * np.log2(rows.where(rows > 0, 1.0))).sum(keys, skipna=False)).where(counting_queries(scores))
    if not relative:
        return described(with_coords(bits, scores), "entropy", "bit", "Shannon entropy of the attention over the keys")
    number = open_keys(scores)
    share = (bits / np.log2(number.where(number > 1, 2))).where(number > 1).transpose(*bits.dims)
    return described(
        with_coords(share, scores), "relative_entropy", "1", "entropy as a share of log2 of the keys to choose from"
    )
