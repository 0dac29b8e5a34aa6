"""Tokens that occur more than once in a sequence, which duplicate-token and induction heads look for."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.analysis._validity import QUERY_VALID, labels_of, real_keys, validity
from attnscope.errors import LabelError
from attnscope.schema import KEY, QUERY, SAMPLE


def earlier(scores: xr.DataArray, tokens: ArrayLike | None = None) -> xr.DataArray:
    """Which keys are earlier occurrences of the query's token.

    Args:
        scores: Self-attention, used for its dims, labels and validity.
        tokens: The token at each position, if the labels do not say: whole numbers or names, dims ``(position,)`` or
            ``(sample, position)``. Negative numbers and empty names count as never repeated.

    Returns:
        dims ``(query, key)``, with samples in front if tokens or validity have them; bool. False on padding.

    Raises:
        LabelError: There are neither tokens nor labels, or they do not fit.
    """
    query = _tokens(scores, tokens)
    present = (query != "") if query.dtype.kind == "U" else (query >= 0)
    width = scores.sizes[KEY]
    filler: Any = "" if query.dtype.kind == "U" else -1
    key = query.rename({QUERY: KEY}).pad({KEY: (0, width - scores.sizes[QUERY])}, constant_values=filler)
    before = xr.DataArray(np.arange(width) < np.arange(scores.sizes[QUERY])[:, None], dims=(QUERY, KEY))
    cells = (query == key) & present & before & real_keys(scores)
    valid = validity(scores, QUERY_VALID)
    return cells if valid is None else cells & valid


def after_earlier(scores: xr.DataArray, tokens: ArrayLike | None = None) -> xr.DataArray:
    """Which keys come right after an earlier occurrence of the query's token, and before the query.

    Args:
        scores: Self-attention, used for its dims, labels and validity.
        tokens: The token at each position, if the labels do not say, as `earlier` takes them.

    Returns:
        dims ``(query, key)``, with samples in front if tokens or validity have them; bool. False on padding.
    """
    cells = earlier(scores, tokens).shift({KEY: 1}, fill_value=False)
    before = xr.DataArray(np.arange(scores.sizes[KEY]) < np.arange(scores.sizes[QUERY])[:, None], dims=(QUERY, KEY))
    return cells & before & real_keys(scores)


def _tokens(scores: xr.DataArray, tokens: ArrayLike | None) -> xr.DataArray:
    """The token at each query: dims ``(query,)`` or ``(sample, query)``, names or whole numbers."""
    if tokens is None:
        labels = labels_of(scores, QUERY)
        if labels is None:
            raise LabelError(
                "Repeated tokens are needed, but the positions have no names. Give the tokens: "
                "induction_score(scores, tokens=token_ids), or ats.capture(model, inputs, labels=tokens)."
            )
        return labels
    values = np.asarray(tokens)
    values = values.astype(str) if values.dtype.kind in "OTU" else values
    dims = (SAMPLE, QUERY)[-values.ndim :] if 1 <= values.ndim <= 2 else ()
    expected = tuple(scores.sizes.get(dim, -1) for dim in dims)
    if values.dtype.kind not in "Uiu" or not dims or values.shape != expected:
        sizes = {dim: scores.sizes[dim] for dim in (SAMPLE, QUERY) if dim in scores.sizes}
        raise LabelError(
            f"Tokens of shape {values.shape} and dtype {values.dtype} were given, but whole numbers or names with dims "
            f"('sample', 'query') or ('query',) are needed, and the scores have {sizes}: tokens=token_ids."
        )
    return xr.DataArray(values, dims=dims)
