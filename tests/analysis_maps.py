"""Scores for the tests of the analysis: padded or causal, every size a prime of its own."""

import numpy as np
import xarray as xr


def softmax(logits):
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def scores(rng, lengths=(7, 5, 2), heads=3, size=7, causal=False, left=False, labels=None):
    """Self-attention of samples of these lengths; a padded query has weights that must not be read."""
    values = np.zeros((len(lengths), heads, size, size))
    valid = np.zeros((len(lengths), size), bool)
    for sample, length in enumerate(lengths):
        real = slice(size - length, size) if left else slice(0, length)
        valid[sample, real] = True
        logits = rng.normal(size=(heads, size, size)) * 2
        logits[:, :, ~valid[sample]] = -np.inf
        if causal:
            logits[:, np.triu(np.ones((size, size), bool), 1)] = -np.inf
        rows = softmax(np.where(np.isinf(logits).all(-1, keepdims=True), 0, logits))
        values[sample] = np.where(valid[sample][None, :, None], rows, np.eye(size)[::-1][None])
    coords = {"query_valid": (("sample", "query"), valid), "key_valid": (("sample", "key"), valid)}
    if labels is not None:
        named = np.asarray(labels, dtype=str)
        dims = ("sample",) if named.ndim == 2 else ()
        coords |= {"query_label": ((*dims, "query"), named), "key_label": ((*dims, "key"), named)}
    return xr.DataArray(values, dims=("sample", "head", "query", "key"), coords=coords)


def each_row(array):
    """Sample, head, query and weights of every row that is no padding."""
    for sample in range(array.sizes["sample"]):
        for head in range(array.sizes["head"]):
            for query in range(array.sizes["query"]):
                if bool(array.query_valid[sample, query]):
                    yield sample, head, query, [float(weight) for weight in array.values[sample, head, query]]


def per_row(array, function):
    """What a function of (sample, query, weights) gives for every row; NaN for padding."""
    found = np.full(array.shape[:-1], np.nan)
    for sample, head, query, weights in each_row(array):
        found[sample, head, query] = function(sample, query, weights)
    return found
