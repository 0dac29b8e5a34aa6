"""Would the model have said the same, had it looked elsewhere? Attention permuted, made uniform, and made as different
as the output lets it be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import xarray as xr
from keras import ops, tree

from attnscope.attribution import Target
from attnscope.discovery import Selection
from attnscope.handlers import Edited, dealt_out, uniform
from attnscope.interception import Call
from attnscope.maps import AttentionMaps
from attnscope.masking import closed_cells
from attnscope.running import Network
from attnscope.schema import QUERY, SAMPLE, SCORES, key_dims, query_dims


def permutation_test(
    model: keras.Model,
    inputs: Any,
    target: Target,
    *,
    sites: Selection = None,
    permutations: int = 100,
    seed: int = 0,
    batch_size: int = 64,
) -> xr.DataArray:
    """How far the model's answer moves when every query's weights are dealt out anew among its keys.

    Where it hardly moves, which key gets which weight does not matter to the answer.

    Args:
        model: A built model.
        inputs: As for `capture`, in arrays.
        target: What is read of its answer.
        sites: Which sites' weights are permuted, all at once; see `capture`.
        permutations: How many.
        seed: Of the draws. Heads and sites get permutations of their own, drawn from common numbers.
        batch_size: Samples at a time.

    Returns:
        dims ``(sample,)``, float64, 0 and more, in the target's unit: the median over the permutations of the absolute
        change. Costs ``permutations + 1`` forward passes per sample.

    Source:
        Jain and Wallace 2019, "Attention is not Explanation", section 4.2.1.
    """
    shuffled = Edited(Network(model, inputs, batch_size=batch_size), sites, _shuffled)
    generator = np.random.default_rng(seed)
    samples = len(tree.flatten(inputs)[0])
    sizes = {site.shape[-2:] if len(site.dims) > 2 else site.shape[-1:] for site in shuffled.sites}
    before = _answers(model, inputs, target, batch_size)
    changes = []
    for _ in range(permutations):
        draws = {_named(size): generator.random((samples, *size), dtype=np.float32) for size in sorted(sizes)}
        changes.append(np.abs(target.of(shuffled.outputs(draws)) - before))
    attrs = {"permutations": permutations, "seed": seed, "passes": (permutations + 1) * samples}
    return xr.DataArray(np.median(changes, axis=0), dims=(SAMPLE,), attrs=attrs)


def uniform_test(
    model: keras.Model, inputs: Any, target: Target, *, sites: Selection = None, batch_size: int = 64
) -> xr.DataArray:
    """How far the model's answer moves when every query attends equally to all keys that it may attend to.

    Args:
        model: See `permutation_test`, as for the others.
        inputs: Likewise.
        target: Likewise.
        sites: Likewise.
        batch_size: Likewise.

    Returns:
        dims ``(sample,)``, float64, 0 and more: the absolute change. Two forward passes per sample.

    Source:
        Wiegreffe and Pinter 2019, "Attention is not not Explanation", section 3.2, without training again.
    """
    even = uniform()
    edited = Edited(Network(model, inputs, batch_size=batch_size), sites, lambda scores, call, rows: even(scores, call))
    change = target.of(edited.outputs()) - _answers(model, inputs, target, batch_size)
    return xr.DataArray(np.abs(change), dims=(SAMPLE,), attrs={"passes": 2 * len(change)})


def adversarial_test(
    model: keras.Model,
    inputs: Any,
    target: Target,
    maps: AttentionMaps,
    site: str,
    *,
    tolerance: float,
    candidates: int = 20,
    steps: int = 6,
    seed: int = 0,
    batch_size: int = 64,
) -> xr.DataArray:
    """The most different attention that was found to give the same answer, within a tolerance.

    Candidates are other distributions over the open keys: uniform, each query's weights reversed in rank, and random
    permutations. Between the model's own weights and each candidate the point is looked for, by halving, up to which
    the answer stays within the tolerance. So the distance is one that exists: the largest there is may be larger.

    Args:
        model: See `permutation_test`.
        inputs: Likewise.
        target: Likewise.
        maps: The model's attention on these inputs, with scores of `site`.
        site: Name of the site that is changed.
        tolerance: Largest absolute change of the target, in its unit.
        candidates: How many permutations to try, beside the two others.
        steps: How often the way to each candidate is halved.
        seed: Of the permutations.
        batch_size: Samples at a time.

    Returns:
        dims ``(sample,)``, float64, in bits, within 0 to 1: the Jensen-Shannon distance squared (divergence, base 2)
        between the model's weights and the found ones, mean over heads and queries that attend to anything. Costs
        ``1 + (candidates + 2) x steps`` forward passes per sample.

    Source:
        Jain and Wallace 2019, section 4.2.2, where the search is by gradients and for one pooling query.
    """
    own = _rows_of(maps, site)
    edited = Edited(Network(model, inputs, batch_size=batch_size), site, lambda scores, call, rows: rows["scores"])
    before = _answers(model, inputs, target, batch_size)
    generator = np.random.default_rng(seed)
    best = np.zeros(len(before))
    for other in _others(own, candidates, generator):
        low, high = np.zeros(len(before)), np.ones(len(before))
        for step in range(steps):
            share = high if step == 0 else (low + high) / 2
            answers = target.of(edited.outputs({"scores": own.mixed(other, share)}))
            fine = np.abs(answers - before) <= tolerance
            low, high = np.where(fine, share, low), np.where(fine, high, share)
        best = np.maximum(best, own.divergence(other, low))
    passes = len(before) * (1 + (candidates + 2) * steps)
    attrs = {"units": "bit", "tolerance": tolerance, "site": site, "seed": seed, "passes": passes}
    return xr.DataArray(best, dims=(SAMPLE,), attrs=attrs)


class _Rows:
    """The scores of a site as rows over the keys, and which cells are open.

    Attributes:
        array: The scores, dims ``(sample, ..., keys)``.
        values: dims ``(sample, row, key)``, float64.
        open: Likewise, bool.
    """

    def __init__(self, array: xr.DataArray, values: np.ndarray, is_open: np.ndarray) -> None:
        self.array, self.values, self.open = array, values, is_open

    def mixed(self, other: np.ndarray, share: np.ndarray) -> np.ndarray:
        """So much of the other in the place of the own, per sample, in the dims of the site."""
        weight = share[:, None, None]
        mixed = (1 - weight) * self.values + weight * other
        return np.asarray(mixed.reshape(self.array.shape), dtype=np.float32)

    def divergence(self, other: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Jensen-Shannon divergence in bits of that from the own, mean over the rows that attend to anything."""
        weight = share[:, None, None]
        found = _jensen_shannon(self.values, (1 - weight) * self.values + weight * other)
        attends = self.values.sum(-1) > 0
        return np.asarray((found * attends).sum(1) / np.maximum(attends.sum(1), 1))


def _jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    middle = (first + second) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(p > 0, p * np.log2(p / middle), 0.0).sum(-1) for p in (first, second)]
    return np.asarray(parts[0] + parts[1]) / 2


def _rows_of(maps: AttentionMaps, site: str) -> _Rows:
    array = maps.dataset(site)[SCORES].load().astype(np.float64)
    keys = key_dims(array.dims)
    order = [dim for dim in array.dims if dim not in keys]
    array = array.transpose(*order, *keys).reset_coords(drop=True)
    values = array.values.reshape(len(array), -1, int(np.prod([array.sizes[dim] for dim in keys])))
    is_open = values > 0
    if query_dims(array.dims) == (QUERY,) and len(keys) == 1:
        is_open = _open_cells(maps.dataset(site), array)
    return _Rows(array, values, is_open)


def _open_cells(dataset: xr.Dataset, array: xr.DataArray) -> np.ndarray:
    """Cells that are neither padding nor above the diagonal of a causal map, dims as the rows."""
    samples, queries, keys = array.sizes[SAMPLE], array.sizes[QUERY], array.sizes["key"]
    panels = array.values.reshape(samples, -1, queries, keys)
    valid = {
        axis: np.broadcast_to(dataset[f"{axis}_valid"].values, (samples, size))
        if f"{axis}_valid" in dataset.coords and dataset[f"{axis}_valid"].ndim == 2
        else np.ones((samples, size), bool)
        for axis, size in ((QUERY, queries), ("key", keys))
    }
    cells = [~closed_cells(panels[s], valid[QUERY][s], valid["key"][s]) for s in range(samples)]
    return np.stack(cells).reshape(samples, -1, keys)


def _others(own: _Rows, permutations: int, generator: np.random.Generator) -> Any:
    """Distributions over the open keys of each row: uniform, reversed in rank, permuted."""
    counts = np.maximum(own.open.sum(-1, keepdims=True), 1)
    attends = own.values.sum(-1, keepdims=True) > 0
    yield np.where(own.open & attends, 1 / counts, 0.0)
    yield _dealt(own, own.values)
    for _ in range(permutations):
        yield _dealt(own, generator.random(own.values.shape))


def _dealt(own: _Rows, order: np.ndarray) -> np.ndarray:
    """The weights of each row given to its open keys in another order."""
    receivers = np.argsort(np.where(own.open, order, np.inf), axis=-1)
    falling = -np.sort(-np.where(own.open, own.values, -1.0), axis=-1)
    dealt = np.zeros_like(own.values)
    np.put_along_axis(dealt, receivers, np.maximum(falling, 0.0), axis=-1)
    return np.where(own.open, dealt, 0.0)


def _shuffled(scores: Any, call: Call, rows: Mapping[str, Any]) -> Any:
    """The scores dealt out anew. The draws of a head are the fractions of a multiple of the common ones."""
    shape = tuple(scores.shape)
    drawn = rows[_named(shape[-2:] if len(shape) > 2 else shape[-1:])]
    panels = int(np.prod(shape[1:-2])) if len(shape) > 2 else 1
    drawn = ops.reshape(drawn, (shape[0], *[1] * max(0, len(shape) - 3), *drawn.shape[1:]))
    factors = np.arange(panels, dtype="float32") * 2 + 3 + sum(map(ord, call.name)) % 97
    factors = factors.reshape((1, *shape[1:-2], 1, 1)) if len(shape) > 2 else factors.reshape((1, 1))
    return dealt_out(scores, call, ops.mod(ops.multiply(drawn, factors), 1.0))


def _named(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _answers(model: keras.Model, inputs: Any, target: Target, batch_size: int) -> np.ndarray:
    return target.of(Network(model, inputs, batch_size=batch_size).outputs())
