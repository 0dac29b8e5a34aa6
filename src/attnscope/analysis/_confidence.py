"""How confident a head is: the largest weight of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from attnscope.analysis._arguments import of_one_array
from attnscope.analysis._validity import averaged, counting_queries, described, keys_of, named, rows_of, with_coords
from attnscope.schema import KEY, QUERY, require_content


@of_one_array
def confidence(scores: xr.DataArray, *, leave_out: Sequence[str] = ()) -> xr.DataArray:
    """The mean over the queries of the largest weight in their rows: ``mean_q max_k a[q, k]``; class-agnostic.

    Weight on padding and on sinks counts like any other: a head that rests on a sink is confident.

    Args:
        scores: Attention after the softmax, dims ``(..., query, key)`` (any site).
        leave_out: Names of tokens to leave out as queries and as keys; ``SEPARATORS`` for all known separators. The
            weights of the other keys stay as they are. The paper leaves out the end of the sentence.

    Returns:
        The dims of `scores` without query and key, float64, within 0 to 1; 1 divided by the number of keys if all
        weights are equal. Padding and queries that attend to nothing are left out; NaN if no query remains, or if a row
        contains NaN.

    Raises:
        SchemaError: There are no keys.
        LabelError: Tokens should be left out, but the positions have no names.

    Source:
        Voita et al. 2019, "Analyzing Multi-Head Self-Attention: Specialized Heads Do the Heavy Lifting, the Rest Can Be
        Pruned", which defines it as the average maximum weight, the end-of-sentence symbol excluded.

    Example:
        >>> rows = xr.DataArray([[0.75, 0.25], [0.5, 0.5]], dims=("query", "key"))
        >>> confidence(rows).item()
        0.625
    """
    mean = averaged(row_maximum(scores, leave_out), scores)
    meaning = "largest weight of a row, mean over the queries"
    return described(with_coords(mean, scores), "confidence", "1", meaning, leave_out=list(leave_out))


def row_maximum(scores: xr.DataArray, leave_out: Sequence[str] = ()) -> xr.DataArray:
    """The largest weight of each row; NaN for padding, rows that attend to nothing, and queries that are left out."""
    rows, queries = rows_of(scores), counting_queries(scores)
    require_content(scores)
    if leave_out:
        rows = rows.where(~named(scores, KEY, leave_out))
        if QUERY in scores.dims:
            queries = queries & ~named(scores, QUERY, leave_out)
    return rows.max(keys_of(scores)).where(queries)
