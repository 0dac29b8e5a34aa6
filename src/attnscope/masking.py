"""Which cells of a map are masked, as far as the map and its validity coordinates can tell.

A model's own mask is not stored with its scores. Padding is stored, as coordinates, and the scores show whether a model
is causal. Every other 0 is a weight.
"""

from __future__ import annotations

import numpy as np


def closed_cells(values: np.ndarray, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The cells that are masked, which is not the same as 0.

    The whole row of a padded query is masked, whatever the model computed for it. A padded key is masked where its
    weight is 0, because readers should see weight on padding. In a causal map the cells above the diagonal are masked.

    Args:
        values: Scores of one sample, dims ``(panel, query, key)``; the panels are heads.
        queries: dims ``(query,)``, False on padding.
        keys: dims ``(key,)``, False on padding.

    Returns:
        The dims of `values`, bool.

    Example:
        >>> closed_cells(np.array([[[1.0, 0.0], [0.5, 0.5]]]), np.array([True, True]), np.array([True, True]))
        array([[[False,  True],
                [False, False]]])
    """
    padding = ~queries[:, None] | (~keys & (values == 0))
    return np.asarray(padding | later_keys(values, queries, keys))


def later_keys(values: np.ndarray, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The cells above the diagonal if the maps are causal, else none.

    Maps are causal if every cell above the diagonal is exactly 0 in every panel, and no other cell is 0 except on
    padding. The rows of padded queries do not count.

    Args:
        values: Scores of one sample, dims ``(panel, query, key)``.
        queries: dims ``(query,)``, False on padding.
        keys: dims ``(key,)``, False on padding.

    Returns:
        dims ``(query, key)``, bool.
    """
    size, width = values.shape[1:]
    nothing = np.zeros((size, width), bool)
    if size != width or size < 2 or not len(values):
        return nothing
    first = int(np.argmax(queries))
    if queries[first] and values[:, first, first + 1 :].any():
        return nothing  # which is most often the case, and seen in one row
    below = np.tri(size, dtype=bool)
    open_cells = below & queries[:, None] & keys
    causal = open_cells.any() and not values[:, ~below & queries[:, None]].any() and bool(values[:, open_cells].all())
    return ~below if causal else nothing
