"""Attention rollout: how much of each input position a chain of attention layers can have passed on to each output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from attnscope.analysis._arguments import of_maps
from attnscope.analysis._validity import KEY_VALID, QUERY_VALID, validity
from attnscope.errors import InputError, SchemaError
from attnscope.maps import AttentionMaps
from attnscope.masking import closed_cells
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, SCORES, known_lineage, require_content, same_sequence

Fusion = Literal["mean", "max", "min"]
_FUSIONS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max, "min": np.min}


@of_maps
def rollout(
    maps: AttentionMaps,
    sites: Sequence[str] | None = None,
    *,
    residual: float = 0.5,
    fusion: Fusion = "mean",
    discard: float = 0.0,
) -> xr.DataArray:
    """The attention of a chain of layers, multiplied; residual connections count as attention to oneself.

    ``R[n] = ((1 - residual) * A[n] + residual * I) @ R[n - 1]``, where ``A[n]`` is the fused map of the layer. It is
    class-agnostic: it knows neither what the values hold nor what the model decides. Weight on padding and on sinks is
    passed on like any other. Rows of padded queries are computed too, but nothing real attends to them unless the model
    attends to padding.

    Args:
        maps: Captured maps with `scores`.
        sites: Names of the chain's sites from the input up; None for all. Each is self-attention over one sequence.
        residual: Share of a layer's output that is attributed to its input, within 0 to 1.
        fusion: How heads are fused into one map; its rows are then normalised to sum to 1.
        discard: Share of the smallest weights of each fused map that is first set to 0, within 0 to 1 (exclusive).
            Masked cells and padding are not counted among them.

    Returns:
        dims ``(layer, sample, query, key)``, float64, within 0 to 1, rows summing to 1; layer `n` holds what the chain
        has passed on up to its `n`-th site. A query that attends to nothing keeps only itself. NaN propagates.

    Raises:
        SchemaError: A site is not self-attention with dims ``(sample, [head,] query, key)``, or the sizes differ.
        InputError: An option is out of range.

    Source:
        Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3, for ``residual=0.5`` and
        ``fusion="mean"``; fusing by maximum or minimum and discarding are common additions for images.

    Example:
        >>> even = AttentionMaps.from_arrays([np.full((1, 1, 2, 2), 0.5)] * 2)
        >>> rollout(even).sel(layer=1).values.tolist()
        [[[0.625, 0.375], [0.375, 0.625]]]
    """
    check_options(residual, fusion, discard)
    names, arrays = chain(maps, sites, "rollout")
    samples = [
        np.stack(list(rolled_out(layers_of(arrays, s), residual, fusion, discard, valid_of(arrays[0], s))))
        for s in range(arrays[0].sizes[SAMPLE])
    ]
    coords = {name: arrays[0].coords[name] for name in arrays[0].coords if HEAD not in arrays[0].coords[name].dims}
    stacked = np.stack(samples, axis=1) if samples else np.zeros((len(names), 0, *arrays[0].shape[-2:]))
    return xr.DataArray(
        stacked,
        dims=("layer", SAMPLE, QUERY, KEY),
        coords={"layer_site": ("layer", names), "layer": range(len(names)), **coords},
        attrs={
            "units": "1",
            "long_name": "attention rollout",
            "method": "rollout",
            "class_specific": False,
            "residual": residual,
            "fusion": fusion,
            "discard": discard,
        },
    )


def rolled_out(
    layers: Iterable[np.ndarray],
    residual: float = 0.5,
    fusion: Fusion = "mean",
    discard: float = 0.0,
    valid: tuple[np.ndarray, np.ndarray] | None = None,
) -> Iterator[np.ndarray]:
    """The rollout of one sample after each layer.

    Args:
        layers: From the input up, dims ``(head, query, key)``, with as many queries as keys.
        residual: Share of a layer's output that is attributed to its input, within 0 to 1.
        fusion: How heads are fused into one map; its rows are then normalised to sum to 1.
        discard: Share of the smallest weights of each fused map that is first set to 0, within 0 to 1 (exclusive).
        valid: Which queries and which keys are not padding, for `discard`; None for all.

    Yields:
        dims ``(query, key)``, in the dtype of the layers, but at least float32.
    """
    carried: np.ndarray | None = None
    for layer in layers:
        mixed = mixed_map(layer, residual, fusion, discard, valid)
        carried = mixed if carried is None else mixed @ carried
        yield carried


def mixed_map(
    layer: np.ndarray, residual: float, fusion: Fusion, discard: float, valid: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """One layer as a rollout multiplies it: heads fused, the residual connection added, rows summing to 1.

    Args:
        layer: dims ``(head, query, key)``, with as many queries as keys.
        residual: Share of the layer's output that is attributed to its input, within 0 to 1.
        fusion: How heads are fused into one map.
        discard: Share of the smallest weights of the fused map that is first set to 0, within 0 to 1 (exclusive).
        valid: Which queries and which keys are not padding, for `discard`; None for all.
    """
    fused = fused_map(layer, fusion, discard, valid)
    return normalised((1 - residual) * fused + residual * np.eye(len(fused), dtype=fused.dtype))


def fused_map(
    layer: np.ndarray, fusion: Fusion, discard: float, valid: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """The heads of one layer as one map, rows summing to 1; a row that attends to nothing stays 0.

    Args:
        layer: dims ``(head, query, key)``.
        fusion: How heads are fused into one map.
        discard: Share of the smallest weights of the fused map that is first set to 0, within 0 to 1 (exclusive).
        valid: Which queries and which keys are not padding, for `discard`; None for all.
    """
    fused = _FUSIONS[fusion](layer.astype(np.result_type(layer, np.float32), copy=False), axis=0)
    if discard:
        queries, keys = valid if valid is not None else (np.ones(size, bool) for size in fused.shape)
        open_cells = fused[~closed_cells(layer, queries, keys).all(0)]
        fused = np.where(fused < np.quantile(open_cells, discard), 0, fused) if open_cells.size else fused
    return normalised(fused)


def normalised(rows: np.ndarray) -> np.ndarray:
    """The rows, scaled to sum to 1; a row of zeros stays as it is."""
    total = rows.sum(-1, keepdims=True)
    return np.asarray(rows / np.where(total == 0, 1, total))


def check_options(residual: float, fusion: str, discard: float) -> None:
    """Checks the options of a rollout.

    Raises:
        InputError: One is out of range.
    """
    if not (0 <= residual <= 1 and 0 <= discard < 1 and fusion in _FUSIONS):
        raise InputError(
            f"residual={residual!r}, fusion={fusion!r} and discard={discard!r} were given, but a residual within 0 to "
            "1, the fusion 'mean', 'max' or 'min', and a discard within 0 to 1 (exclusive) are needed: "
            "residual=0.5, fusion='mean', discard=0.0."
        )


def chain(maps: AttentionMaps, sites: Sequence[str] | None, what: str) -> tuple[list[str], list[xr.DataArray]]:
    """A chain of self-attention maps of the same size, from the input up.

    Args:
        maps: Captured maps.
        sites: Names of the sites; None for all.
        what: What needs them, for the messages.

    Returns:
        The names, and arrays with dims ``(sample, head, query, key)``.

    Raises:
        SchemaError: A site is not self-attention, the sizes differ, or there are no sites.
    """
    names = list(maps) if sites is None else list(sites)
    arrays = [_checked(scores_of(maps, name), name, what) for name in names]
    sizes = {(array.sizes[SAMPLE], array.sizes[QUERY]) for array in arrays}
    if len(sizes) != 1:
        raise SchemaError(
            f"The chain {names} has {len(sizes)} different sizes (samples, positions): {sorted(sizes)}, but a {what} "
            f"needs maps of the same size. Name the sites that belong together: {what}(maps, sites=[...])."
        )
    of_site = {name: words for name, array in zip(names, arrays, strict=True) if (words := _sequence(array))}
    first = next(iter(of_site), "")
    for name, words in of_site.items():
        if not same_sequence(words, of_site[first]):
            raise SchemaError(
                f"The site {first!r} is over {of_site[first]}, but {name!r} is over {words}, and a {what} stays within "
                f"one sequence. Name the sites that belong together: {what}(maps, sites=[...])."
            )
    return names, arrays


def _sequence(array: xr.DataArray) -> str:
    """Where the keys come from, in words; empty where that is not known."""
    return known_lineage(array.attrs).get(KEY, "")


def scores_of(maps: AttentionMaps, name: str) -> xr.DataArray:
    """The scores of a site, with its attributes.

    Raises:
        KeyError: There is no such site.
        SchemaError: Its scores were not captured.
    """
    dataset = maps.dataset(name)
    if SCORES not in dataset:
        raise SchemaError(
            f"{SCORES!r} was not captured at {name!r}, only {list(dataset.data_vars)}, but whole maps are needed here. "
            "Capture them: ats.capture(..., summaries=[ats.Full()])."
        )
    return dataset[SCORES].assign_attrs({**dataset.attrs, **dataset[SCORES].attrs})


def layers_of(arrays: Iterable[xr.DataArray], sample: int) -> Iterator[np.ndarray]:
    """One sample of each array, each read when it is needed; dims ``(head, query, key)``, float64."""
    return (array.isel({SAMPLE: sample}).values.astype(np.float64) for array in arrays)


def valid_of(scores: xr.DataArray, sample: int) -> tuple[np.ndarray, np.ndarray]:
    """Which queries and which keys of one sample are not padding."""
    sides = []
    for dim, name in ((QUERY, QUERY_VALID), (KEY, KEY_VALID)):
        valid = validity(scores, name)
        if valid is not None and SAMPLE in valid.dims:
            valid = valid.isel({SAMPLE: sample})
        sides.append(np.ones(scores.sizes[dim], bool) if valid is None else np.asarray(valid.values, bool))
    return sides[0], sides[1]


def _checked(scores: xr.DataArray, name: str, what: str) -> xr.DataArray:
    require_content(scores)
    if set(scores.dims) - {HEAD} != {SAMPLE, QUERY, KEY} or scores.sizes[QUERY] != scores.sizes[KEY]:
        raise SchemaError(
            f"The site {name!r} has dims {tuple(map(str, scores.dims))} with shape {scores.shape}, but a {what} needs "
            "self-attention: ('sample', 'head', 'query', 'key') with as many queries as keys. Leave this site out: "
            f"{what}(maps, sites=[...])."
        )
    lineage = known_lineage(scores.attrs)
    if QUERY in lineage and KEY in lineage and not same_sequence(lineage[QUERY], lineage[KEY]):
        raise SchemaError(
            f"At the site {name!r} {lineage[QUERY]} attends to {lineage[KEY]}, but a {what} needs self-attention. "
            f"Leave this site out: {what}(maps, sites=[...])."
        )
    return with_heads(scores).transpose(SAMPLE, HEAD, QUERY, KEY)


def with_heads(scores: xr.DataArray) -> xr.DataArray:
    """The scores with a head dim, of size 1 if the site has no heads."""
    return scores if HEAD in scores.dims else scores.expand_dims(HEAD, axis=1)
