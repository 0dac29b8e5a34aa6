"""Rollout through an encoder and a decoder: how much of the encoder's input reaches each step of the decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from attnscope.analysis._rollout import Fusion, check_options, fused_map, mixed_map, normalised, valid_of, with_heads
from attnscope.errors import SchemaError
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, require_one_array

Maps = Mapping[str, xr.DataArray] | Sequence[xr.DataArray]


def composition(
    encoder_rollout: xr.DataArray,
    cross: Maps,
    decoder: Maps,
    *,
    residual: float = 0.5,
    fusion: Fusion = "mean",
    discard: float = 0.0,
) -> xr.DataArray:
    """How much of each encoder token every decoder step can have taken in; class-agnostic.

    Each decoder position starts as itself, ``D = I`` and ``E = 0``. A layer's self-attention mixes what the positions
    hold, its cross-attention adds the encoder's tokens, and the residual connections keep the rest::

        S = (1 - residual) * self + residual * I        D, E = S @ D, S @ E
        D, E = residual * D, residual * E + (1 - residual) * cross @ encoder_rollout

    so that the rows of `D` and `E` together always sum to 1. The result is `E` with its rows normalised to sum to 1;
    the share that `E` had of the whole is the coordinate ``encoder_share``.

    Args:
        encoder_rollout: What the encoder passed on, from `rollout`: dims ``(sample, query, key)``; if it has ``layer``,
            the last layer is used.
        cross: Cross-attention of the decoder's layers, from the input up: maps, or a list of arrays with dims
            ``(sample, [head,] query, key)``.
        decoder: Self-attention of the same layers, in the same form.
        residual: Share of a sub-layer's output that is attributed to its input, within 0 to 1.
        fusion: How heads are fused into one map; its rows are then normalised to sum to 1.
        discard: Share of the smallest weights of each fused map that is first set to 0, within 0 to 1 (exclusive).
            Masked cells and padding are not counted among them.

    Returns:
        dims ``(sample, query, key)``, float64, within 0 to 1; queries are the decoder's positions, keys the encoder's
        tokens. Rows sum to 1; a step that took in nothing from the encoder is NaN. ``encoder_share`` has dims
        ``(sample, query)``. Weight on padding and on sinks is passed on like any other; NaN propagates.

    Raises:
        SchemaError: Dims or sizes do not fit together, or there are not as many cross-attentions as self-attentions.
        InputError: An option is out of range.

    Source:
        Abnar and Zuidema 2020, section 3, for the rollout. Extending it over cross-attention is our own; it does with
        weights alone what Chefer et al. 2021, "Generic Attention-model Explainability", do with gradients.

    Example:
        >>> encoder = xr.DataArray(np.eye(2)[None], dims=("sample", "query", "key"))
        >>> looks = xr.DataArray([[[0.25, 0.75]]], dims=("sample", "query", "key"))
        >>> own = xr.DataArray([[[1.0]]], dims=("sample", "query", "key"))
        >>> carried = composition(encoder, [looks, looks], [own, own])
        >>> carried.values.tolist(), carried.encoder_share.item()
        ([[[0.25, 0.75]]], 0.75)
    """
    check_options(residual, fusion, discard)
    require_one_array(encoder_rollout, "composition", "Make a rollout: rollout(maps, sites=[...]).")
    encoder = encoder_rollout.isel(layer=-1, drop=True) if "layer" in encoder_rollout.dims else encoder_rollout
    layers = list(_layers(encoder, _listed(cross), _listed(decoder)))
    samples, (steps, tokens) = encoder.sizes[SAMPLE], layers[0][1].shape[-2:]
    values, share = np.empty((samples, steps, tokens)), np.empty((samples, steps))
    for sample in range(samples):
        within = encoder.isel({SAMPLE: sample}).transpose(QUERY, KEY).values.astype(np.float64)
        taken = np.zeros((steps, tokens))
        for own, across in layers:
            sides = [
                (layer.isel({SAMPLE: sample}).values.astype(np.float64), valid_of(layer, sample))
                for layer in (own, across)
            ]
            taken = mixed_map(sides[0][0], residual, fusion, discard, sides[0][1]) @ taken
            fused = fused_map(sides[1][0], fusion, discard, sides[1][1])
            nothing = fused.sum(-1, keepdims=True) == 0
            taken = np.where(nothing, taken, residual * taken + (1 - residual) * fused @ within)
        share[sample] = taken.sum(-1)
        values[sample] = np.where(share[sample][:, None] == 0, np.nan, normalised(taken))
    across = layers[0][1]
    coords = {
        name: c for name, c in across.coords.items() if not {str(dim) for dim in c.dims} & {HEAD} and name != HEAD
    }
    return xr.DataArray(
        values,
        dims=(SAMPLE, QUERY, KEY),
        coords={**coords, "encoder_share": ((SAMPLE, QUERY), share)},
        attrs={
            "units": "1",
            "long_name": "share of the encoder's tokens in what a decoder step took in from the encoder",
            "method": "composition",
            "class_specific": False,
            "residual": residual,
            "fusion": fusion,
            "discard": discard,
        },
    )


def _listed(maps: Maps) -> list[xr.DataArray]:
    return list(maps.values()) if isinstance(maps, Mapping) else list(maps)


def _layers(
    encoder: xr.DataArray, cross: list[xr.DataArray], decoder: list[xr.DataArray]
) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    """Self- and cross-attention of each layer, dims ``(sample, head, query, key)``.

    Raises:
        SchemaError: Something does not fit.
    """
    if not cross or len(cross) != len(decoder):
        raise SchemaError(
            f"{len(cross)} cross-attentions and {len(decoder)} self-attentions of the decoder were given, but one of "
            "each is needed for every layer: composition(rollout(maps, encoder), [maps[name] for name in cross], "
            "[maps[name] for name in decoder])."
        )
    sizes = dict(cross[0].sizes)
    expected = {
        "encoder_rollout": (encoder, {SAMPLE: sizes.get(SAMPLE), QUERY: sizes.get(KEY), KEY: sizes.get(KEY)}),
        **{
            f"cross[{n}]": (array, {dim: sizes.get(dim) for dim in (SAMPLE, QUERY, KEY)})
            for n, array in enumerate(cross)
        },
        **{
            f"decoder[{n}]": (array, {SAMPLE: sizes.get(SAMPLE), QUERY: sizes.get(QUERY), KEY: sizes.get(QUERY)})
            for n, array in enumerate(decoder)
        },
    }
    for what, (array, expected_sizes) in expected.items():
        actual_sizes = {str(dim): size for dim, size in array.sizes.items() if dim != HEAD}
        if actual_sizes != expected_sizes:
            raise SchemaError(
                f"{what} has the sizes {actual_sizes}, but {expected_sizes} are needed to fit cross[0]: the encoder "
                "has as many positions as the cross-attention has keys, and the decoder as many as it has queries. "
                "Make a rollout with rollout(maps, sites=[...])."
            )
    for own, across in zip(decoder, cross, strict=True):
        yield tuple(with_heads(array).transpose(SAMPLE, HEAD, QUERY, KEY) for array in (own, across))  # type: ignore[misc]
