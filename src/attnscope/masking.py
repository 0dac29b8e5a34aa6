"""Which cells of a map are masked, as far as the map and its validity coordinates tell.

A model's own mask is not kept beside its scores. Padding is, as coordinates; and that a model is causal can be told
from its scores. Every other 0 is a weight.
"""

from __future__ import annotations

import numpy as np


def closed_cells(values: np.ndarray, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The cells that are masked, which is not the same as 0.

    A query that is padding is masked whole, whatever the model computed for it. A key that is padding is masked where
    its weight is 0: weight on padding is for the reader to see. In a causal map the cells above the diagonal are
    masked.

    Args:
        values: Scores of one sample, dims ``(panel, query, key)``; the panels are heads.
        queries: dims ``(query,)``, False on padding.
        keys: dims ``(key,)``, False on padding.

    Returns:
        Same dims as `values`, bool.

    Example:
        >>> closed_cells(np.array([[[1.0, 0.0], [0.5, 0.5]]]), np.array([True, True]), np.array([True, True]))
        array([[[False,  True],
                [False, False]]])
    """
    padding = ~queries[:, None] | (~keys & (values == 0))
    return np.asarray(padding | later_keys(values, queries, keys))


def later_keys(values: np.ndarray, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The cells above the diagonal if the maps are causal, else none: dims ``(query, key)``, bool.

    Causal are maps with an exact 0 in every cell above the diagonal, of every panel, and in no other cell but
    padding. What the rows of queries that are padding hold does not count.
    """
    size, width = values.shape[1:]
    nothing = np.zeros((size, width), bool)
    if size != width or size < 2 or not len(values):
        return nothing
    below = np.tri(size, dtype=bool)
    open_cells = below & queries[:, None] & keys
    causal = open_cells.any() and not values[:, ~below & queries[:, None]].any() and bool(values[:, open_cells].all())
    return ~below if causal else nothing
