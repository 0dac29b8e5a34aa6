"""Would the model have given the same answer if it had looked elsewhere? Attention permuted, made uniform, and made as
different as the output allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import keras
import numpy as np
import xarray as xr
from keras import ops

from attnscope.attribution import Target
from attnscope.discovery import Selection
from attnscope.handlers import Edited, dealt_out, uniform
from attnscope.interception import Call
from attnscope.maps import AttentionMaps
from attnscope.masking import closed_cells
from attnscope.running import Network
from attnscope.schema import QUERY, SAMPLE, SCORES, Site, key_dims, query_dims
from attnscope.tensors import Inputs, Tensor


def permutation_test(
    model: keras.Model,
    inputs: Inputs,
    target: Target,
    *,
    sites: Selection = None,
    permutations: int = 100,
    seed: int = 0,
    batch_size: int = 64,
) -> xr.DataArray:
    """How far the model's answer moves when every query's weights are permuted among its keys.

    Where it hardly moves, it does not matter to the answer which key gets which weight.

    Args:
        model: A built model.
        inputs: Inputs of the model, in arrays.
        target: What is read from the model's outputs.
        sites: Names or patterns of the sites whose weights are permuted, all at once; None for every site.
        permutations: How many permutations are drawn.
        seed: Seed of the draws. Each head and site gets permutations of its own, derived from the same numbers.
        batch_size: Samples at a time.

    Returns:
        dims ``(sample,)``, float64, 0 or more, in the target's unit: the median over the permutations of the absolute
        change. Costs ``permutations + 1`` forward passes per sample.

    Source:
        Jain and Wallace 2019, "Attention is not Explanation", section 4.2.1.
    """
    network = Network(model, inputs, batch_size=batch_size)
    return change_when_permuted(network, target, sites=sites, permutations=permutations, seed=seed)


def uniform_test(
    model: keras.Model, inputs: Inputs, target: Target, *, sites: Selection = None, batch_size: int = 64
) -> xr.DataArray:
    """How far the model's answer moves when every query attends equally to all keys that it may attend to.

    Args:
        model: A built model.
        inputs: Inputs of the model, in arrays.
        target: What is read from the model's outputs.
        sites: Names or patterns of the sites whose attention is made uniform, all at once; None for every site.
        batch_size: Samples at a time.

    Returns:
        dims ``(sample,)``, float64, 0 or more, in the target's unit: the absolute change. Costs two forward passes per
        sample.

    Source:
        Wiegreffe and Pinter 2019, "Attention is not not Explanation", section 3.2, without retraining.
    """
    return change_when_uniform(Network(model, inputs, batch_size=batch_size), target, sites=sites)


def adversarial_test(
    model: keras.Model,
    inputs: Inputs,
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
    """How different the attention can be, as found by a search, while the answer stays within a tolerance.

    Candidates are other distributions over the open keys: uniform, each query's weights reversed in rank, and random
    permutations. Bisection between the model's own weights and each candidate finds the furthest point at which the
    answer stays within the tolerance. So attention at this distance exists; the largest possible distance may be
    larger.

    Args:
        model: A built model.
        inputs: Inputs of the model, in arrays.
        target: What is read from the model's outputs.
        maps: The model's attention on these inputs, with the scores of `site`.
        site: Name of the site that is changed.
        tolerance: Largest absolute change of the target, in its unit.
        candidates: How many permutations to try, besides the two other candidates.
        steps: Steps of the bisection towards each candidate.
        seed: Seed of the permutations.
        batch_size: Samples at a time.

    Returns:
        dims ``(sample,)``, float64, in bits, within 0 to 1: the Jensen-Shannon distance squared (divergence, base 2)
        between the model's weights and the furthest ones found, averaged over heads and over queries that attend to
        anything. Costs ``1 + (candidates + 2) x steps`` forward passes per sample.

    Source:
        Jain and Wallace 2019, section 4.2.2, where the search follows gradients and there is one pooling query.
    """
    network = Network(model, inputs, batch_size=batch_size)
    return adversarial_distance(
        network, target, maps, site, tolerance=tolerance, candidates=candidates, steps=steps, seed=seed
    )


def change_when_permuted(
    network: Network, target: Target, *, sites: Selection, permutations: int, seed: int
) -> xr.DataArray:
    """`permutation_test` on a network, which counts the passes."""
    passes_before = network.passes.forward
    permuted = Edited(network, sites, _permuted)
    generator = np.random.default_rng(seed)
    sizes = sorted({_rows_and_keys(_shape_of_a_step(site)) for site in permuted.sites})
    before = target.of(network.outputs())
    draws = (
        {_name_of(size): generator.random((len(before), *size), dtype=np.float32) for size in sizes}
        for _ in range(permutations)
    )
    changes = [np.abs(target.of(outputs) - before) for outputs in permuted.outputs_under(draws)]
    passes = network.passes.forward - passes_before
    attrs = {"permutations": permutations, "seed": seed, "passes": passes}
    return xr.DataArray(np.median(changes, axis=0), dims=(SAMPLE,), attrs=attrs)


def change_when_uniform(network: Network, target: Target, *, sites: Selection) -> xr.DataArray:
    """`uniform_test` on a network, which counts the passes."""
    passes_before = network.passes.forward
    edit = uniform()
    edited = Edited(network, sites, lambda scores, call, rows: edit(scores, call))
    change = target.of(edited.outputs()) - target.of(network.outputs())
    passes = network.passes.forward - passes_before
    return xr.DataArray(np.abs(change), dims=(SAMPLE,), attrs={"passes": passes})


def adversarial_distance(
    network: Network,
    target: Target,
    maps: AttentionMaps,
    site: str,
    *,
    tolerance: float,
    candidates: int,
    steps: int,
    seed: int,
) -> xr.DataArray:
    """`adversarial_test` on a network, which counts the passes."""
    passes_before = network.passes.forward
    own = _rows_of(maps, site)
    edited = Edited(network, site, lambda scores, call, rows: rows["scores"])
    before = target.of(network.outputs())
    best = np.zeros(len(before))
    waiting = _candidates(own, candidates, np.random.default_rng(seed))
    while together := list(islice(waiting, edited.together)):
        low, high = np.zeros((len(together), len(before))), np.ones((len(together), len(before)))
        for step in range(steps):
            shares = high if step == 0 else (low + high) / 2
            mixed = ({"scores": own.mixed(*pair)} for pair in zip(together, shares, strict=True))
            answers = np.array([target.of(outputs) for outputs in edited.outputs_under(mixed)])
            unchanged = np.abs(answers - before) <= tolerance
            low, high = np.where(unchanged, shares, low), np.where(unchanged, high, shares)
        for candidate, share in zip(together, low, strict=True):
            best = np.maximum(best, own.divergence(candidate, share))
    passes = network.passes.forward - passes_before
    attrs = {"units": "bit", "tolerance": tolerance, "site": site, "seed": seed, "passes": passes}
    return xr.DataArray(best, dims=(SAMPLE,), attrs=attrs)


class _Rows:
    """The scores of a site as rows over the keys, and which cells are open.

    Attributes:
        array: The scores, dims ``(sample, ..., keys)``.
        values: The same numbers, dims ``(sample, row, key)``, float64.
        open: Which cells may be attended to, dims ``(sample, row, key)``, bool.
    """

    def __init__(self, array: xr.DataArray, values: np.ndarray, is_open: np.ndarray) -> None:
        self.array, self.values, self.open = array, values, is_open

    def mixed(self, other: np.ndarray, share: np.ndarray) -> np.ndarray:
        """A mixture with other weights, whose share is given by sample, in the dims of the site."""
        weight = share[:, None, None]
        mixed = (1 - weight) * self.values + weight * other
        return np.asarray(mixed.reshape(self.array.shape), dtype=np.float32)

    def divergence(self, other: np.ndarray, share: np.ndarray) -> np.ndarray:
        """Jensen-Shannon divergence in bits of that mixture from these rows, averaged over those that attend at all."""
        weight = share[:, None, None]
        divergences = _jensen_shannon(self.values, (1 - weight) * self.values + weight * other)
        attends = self.values.sum(-1) > 0
        return np.asarray((divergences * attends).sum(1) / np.maximum(attends.sum(1), 1))


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
    """Cells that are neither padding nor above the diagonal of a causal map, dims ``(sample, row, key)``."""
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


def _candidates(own: _Rows, permutations: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Distributions over the open keys of each row: uniform, reversed in rank, permuted."""
    counts = np.maximum(own.open.sum(-1, keepdims=True), 1)
    attends = own.values.sum(-1, keepdims=True) > 0
    yield np.where(own.open & attends, 1 / counts, 0.0)
    yield _reordered(own, own.values)
    for _ in range(permutations):
        yield _reordered(own, generator.random(own.values.shape))


def _reordered(own: _Rows, order: np.ndarray) -> np.ndarray:
    """The weights of each row given to its open keys in another order: the largest to the first."""
    receivers = np.argsort(np.where(own.open, order, np.inf), axis=-1)
    descending = -np.sort(-np.where(own.open, own.values, -1.0), axis=-1)
    reordered = np.zeros_like(own.values)
    np.put_along_axis(reordered, receivers, np.maximum(descending, 0.0), axis=-1)
    return np.where(own.open, reordered, 0.0)


def _permuted(scores: Tensor, call: Call, rows: Mapping[str, Tensor]) -> Tensor:
    """The scores, permuted. The draws of a head are the fractional parts of a multiple of the common draws."""
    shape = tuple(scores.shape)
    drawn = rows[_name_of(_rows_and_keys(shape))]
    panels = int(np.prod(shape[1:-2])) if len(shape) > 2 else 1
    drawn = ops.reshape(drawn, (shape[0], *[1] * max(0, len(shape) - 3), *drawn.shape[1:]))
    factors = np.arange(panels, dtype="float32") * 2 + 3 + sum(map(ord, call.name)) % 97
    factors = factors.reshape((1, *shape[1:-2], 1, 1)) if len(shape) > 2 else factors.reshape((1, 1))
    return dealt_out(scores, call, ops.mod(ops.multiply(drawn, factors), 1.0))


def _shape_of_a_step(site: Site) -> tuple[int, ...]:
    """The shape of the scores in each step of a loop, or of all where there is none."""
    return tuple(size for dim, size in zip(site.dims, site.shape, strict=True) if dim != "step")


def _rows_and_keys(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[-2:] if len(shape) > 2 else shape[-1:]


def _name_of(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
