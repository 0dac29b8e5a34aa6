"""Scores for well-known kinds of heads: previous-token, duplicate-token and induction heads."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr
from numpy.typing import ArrayLike

from attnscope.analysis._arguments import of_one_array
from attnscope.analysis._mass import mass
from attnscope.analysis._validity import averaged, described, named, with_coords
from attnscope.schema import QUERY


@of_one_array
def previous_token_score(scores: xr.DataArray, *, leave_out: Sequence[str] = ()) -> xr.DataArray:
    """The mean weight that queries put on the position before them: ``mean_q a[q, q - 1]``; class-agnostic.

    Args:
        scores: Self-attention after the softmax, dims ``(..., query, key)``.
        leave_out: Names of tokens to leave out as queries, such as separators.

    Returns:
        The dims of `scores` without query and key, float64, within 0 to 1. The mean over the queries that are not
        padding and come after a position that is not padding; NaN if there is no such query, or if a row contains NaN.

    Raises:
        SchemaError: It is not self-attention.
        LabelError: Tokens should be left out, but the positions have no names.

    Source:
        Olsson et al. 2022, "In-context Learning and Induction Heads"; Clark et al. 2019, section 3.1.

    Example:
        >>> rows = xr.DataArray([[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.0, 1.0, 0.0]], dims=("query", "key"))
        >>> previous_token_score(rows).item()
        0.875
    """
    weight = mass(scores, "previous")
    if leave_out:
        weight = weight.where(~named(scores, QUERY, leave_out))
    return _score(weight, scores, "previous_token_score")


@of_one_array
def duplicate_token_score(scores: xr.DataArray, tokens: ArrayLike | None = None) -> xr.DataArray:
    """The mean weight on earlier occurrences of the query's token; class-agnostic.

    Over the queries `q` whose token occurred before: ``mean_q sum(a[q, k] for k < q if token[k] == token[q])``.

    Args:
        scores: Self-attention after the softmax, dims ``(..., query, key)``. The sequences must repeat tokens; usually
            one repeats a random sequence.
        tokens: The token at each position, if the labels do not say: whole numbers or names, dims ``(position,)`` or
            ``(sample, position)``. Negative numbers and empty names count as never repeated.

    Returns:
        The dims of `scores` without query and key, float64, within 0 to 1. NaN if no token repeats, or if a row
        contains NaN. Padding never counts as repeated; separators do, unless `tokens` leaves them empty.

    Raises:
        SchemaError: It is not self-attention.
        LabelError: There are neither labels nor tokens, or they do not fit.

    Source:
        The heads: Wang et al. 2023, "Interpretability in the Wild", section 3.

    Example:
        >>> rows = xr.DataArray([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.75, 0.0, 0.25]], dims=("query", "key"))
        >>> duplicate_token_score(rows, tokens=[5, 3, 5]).item()
        0.75
    """
    return _score(mass(scores, "duplicates", tokens=tokens), scores, "duplicate_token_score")


@of_one_array
def induction_score(scores: xr.DataArray, tokens: ArrayLike | None = None) -> xr.DataArray:
    """The mean weight on what followed earlier occurrences of the query's token (prefix matching); class-agnostic.

    Over the queries `q` for which there is such a key: ``mean_q sum(a[q, k] for k < q if token[k - 1] == token[q])``.
    If a token comes right after its own duplicate, only the token itself follows that duplicate, and it does not count.

    Args:
        scores: Self-attention after the softmax, dims ``(..., query, key)``. The paper uses sequences of random tokens,
            drawn without duplicates and repeated: ``np.tile(rng.permutation(vocabulary)[:25], 4)``. In natural text the
            score is biased by word frequencies.
        tokens: The token at each position, if the labels do not say: whole numbers or names, dims ``(position,)`` or
            ``(sample, position)``. Negative numbers and empty names count as never repeated.

    Returns:
        The dims of `scores` without query and key, float64, within 0 to 1. NaN if no token repeats, or if a row
        contains NaN.

    Raises:
        SchemaError: It is not self-attention.
        LabelError: There are neither labels nor tokens, or they do not fit.

    Source:
        Olsson et al. 2022, "In-context Learning and Induction Heads", the prefix-matching score.

    Example:
        >>> rows = xr.DataArray([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.25, 0.75, 0.0]], dims=("query", "key"))
        >>> induction_score(rows, tokens=[5, 3, 5]).item()
        0.75
    """
    return _score(mass(scores, "after_duplicates", tokens=tokens), scores, "induction_score")


def _score(weight: xr.DataArray, scores: xr.DataArray, name: str) -> xr.DataArray:
    mean = averaged(weight.reset_coords(drop=True), scores)
    return described(with_coords(mean, scores), name, "1", f"{weight.attrs['long_name']}, mean over the queries")
