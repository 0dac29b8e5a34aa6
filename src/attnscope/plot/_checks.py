"""What every picture checks: that its numbers are what they are said to be, attention or relevance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeGuard

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.errors import SchemaError, kind_of
from attnscope.marks import number_in_ascii
from attnscope.quantities import Quantity, quantity_of
from attnscope.schema import ENTROPY, HEAD, KEY, QUERY, RANK, SAMPLE, key_dims, query_dims, too_many
from attnscope.tensors import Tensor

Weights: TypeAlias = xr.DataArray | Mapping[str, xr.DataArray] | ArrayLike | Tensor
"""What a picture is given: a labelled array, maps of a single site, or a plain array."""

ROW_TOLERANCE = 0.02
"""How far the sum of a row may be from 1: float16 and bfloat16 stay within this."""
RANGE_TOLERANCE = 1e-3
LAYOUTS = {2: (QUERY, KEY), 4: (SAMPLE, HEAD, QUERY, KEY)}
"""What the axes of a plain array are; of three, the first could be heads or samples."""
_CAPTURE = "ats.capture(model, inputs)[site]"


def labelled(weights: Weights, layouts: Mapping[int, tuple[str, ...]] = LAYOUTS) -> xr.DataArray:
    """The weights as an array whose axes have names.

    Args:
        weights: A DataArray; maps of a single site; or a plain array (NumPy, or a tensor of any backend).
        layouts: What the axes of a plain array are, by how many there are.

    Raises:
        SchemaError: There are several sites; a plain array has another number of axes; or it holds no numbers.
    """
    if isinstance(weights, xr.DataArray):
        return weights
    if isinstance(weights, Mapping):
        return _only_site(weights)
    values = np.asarray(weights.detach().cpu().float() if hasattr(weights, "detach") else weights)
    if values.dtype.kind in "OSUMmV" and values.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        what = f"{type(weights).__name__} of {values.dtype}" if values.ndim else kind_of(weights)
        raise SchemaError(f"The weights are {what}, but numbers are needed: an array, or {_CAPTURE}.")
    if values.ndim not in layouts:
        raise SchemaError(_unknown_layout(values.shape, layouts))
    return xr.DataArray(values, dims=layouts[values.ndim])


def is_maps(weights: object) -> TypeGuard[Mapping[str, xr.DataArray]]:
    """Whether weights are maps by name of the site; a dataset of one site, a mapping too, is not."""
    return isinstance(weights, Mapping) and not isinstance(weights, xr.Dataset)


def _unknown_layout(shape: tuple[int, ...], layouts: Mapping[int, tuple[str, ...]]) -> str:
    expected = " or ".join(str(layout) for layout in layouts.values())
    outputs = "" if len(shape) != 3 else f" An attention layer's output is not its weights; capture those: {_CAPTURE}."
    names = ("layer", SAMPLE, HEAD, QUERY, KEY)[-len(shape) :] if 0 < len(shape) < 6 else (SAMPLE, HEAD, QUERY, KEY)
    return (
        f"The weights have shape {shape}, but this picture needs a plain array with the axes {expected}. Name the "
        f"axes: xr.DataArray(weights, dims={names}); then select or average the ones that are too many.{outputs}"
    )


def _only_site(maps: Mapping[str, xr.DataArray]) -> xr.DataArray:
    if len(maps) == 1:
        return labelled(next(iter(maps.values())))
    first = repr(next(iter(maps), "site"))
    raise too_many(
        maps,
        "this picture shows one",
        f"Choose it, maps[{first}], or draw them all: ats.plot.heads(maps).",
    )


def require_keys(array: xr.DataArray) -> None:
    """Checks that there are keys, and that there is something to draw.

    Raises:
        SchemaError: There is no dim ``key``, or one of size 0.
    """
    dims = tuple(map(str, array.dims))
    if not key_dims(dims):
        fix = "Average or select the rest first."
        if array.name == ENTROPY:
            fix = "Draw statistics with ats.plot.metrics(maps.select('entropy'))."
        elif RANK in dims:
            fix = "Capture whole maps: ats.capture(model, inputs, summaries=[ats.Full()])."
        elif dims:
            fix = f"If an axis goes by another name, rename it: weights.rename({{{dims[-1]!r}: 'key'}})."
        raise SchemaError(f"The weights have the dims {dims}, but a dim 'key' is needed for this picture. {fix}")
    if 0 in array.shape:
        raise SchemaError(
            f"The weights have shape {array.shape}, so there is nothing to draw. Give at least one sample and one "
            "position."
        )


def check(array: xr.DataArray, *, partial: bool = False) -> Quantity:
    """Checks that the values can be what they are: attention after the softmax, or relevance. NaN passes: pictures
    mark it.

    Args:
        array: Any dims with a ``key`` among them; checked where ``query_valid`` is not False.
        partial: Whether the keys may be a selection, so that rows sum to less than 1.

    Returns:
        What the values are.

    Raises:
        SchemaError: A value is infinite. Of attention also: a value is negative or above 1; a row sums to more than 1,
            or to less although all keys are there. A row of zeros passes: its query may attend to nothing.
    """
    quantity = quantity_of(array)
    values = np.asarray(array.values)
    infinite = int(np.isinf(values).sum())
    if infinite and quantity.noun != "attention":
        raise SchemaError(
            f"{infinite} of the {values.size} values of relevance are infinite, so that no scale has room for them. "
            "Make them NaN, which is marked: relevance.where(np.isfinite(relevance))."
        )
    if infinite:
        raise SchemaError(
            f"{infinite} of the {values.size} weights are infinite, but attention after the softmax lies between 0 and "
            f"1. Logits are not weights; capture those: {_CAPTURE}."
        )
    if quantity.signed:
        return quantity
    least, most = _range(values)
    if least < -1e-6 or most > 1 + RANGE_TOLERANCE:
        raise SchemaError(
            f"The weights run from {number_in_ascii(least)} to {number_in_ascii(most)}, but attention after the "
            f"softmax lies between 0 and 1. Logits and layer outputs are not weights; capture those: {_CAPTURE}. If "
            f"the numbers are relevance, say so: xr.DataArray(values, dims={tuple(map(str, array.dims))}, "
            "name='relevance')."
        )
    if quantity.noun == "attention":
        _check_rows(array, partial)
    return quantity


def _range(values: np.ndarray) -> tuple[float, float]:
    real = values[~np.isnan(values)]
    return (float(real.min()), float(real.max())) if real.size else (0.0, 0.0)


def _check_rows(array: xr.DataArray, partial: bool) -> None:
    queries = query_dims(array.dims)
    sums = _row_sums(array)
    several = sums[np.isfinite(sums) & (sums != 0)]
    over = several[several > 1 + ROW_TOLERANCE]
    if over.size:
        raise SchemaError(
            f"{over.size} of {sums.size} rows sum to more than 1, up to {number_in_ascii(float(over.max()))}, but "
            f"attention after the softmax sums to 1 over the keys.{_swapped(array)} Use the scores as they leave the "
            f"softmax, before dropout and without rescaling: {_CAPTURE}."
        )
    under = several[several < 1 - ROW_TOLERANCE]
    if under.size and queries and not partial:
        raise SchemaError(
            f"{under.size} of {sums.size} rows sum to less than 1, down to {number_in_ascii(float(under.min()))}, but "
            f"attention after the softmax sums to 1 over the keys.{_swapped(array)} Leave padding out of a mean over "
            "samples: weights.where(weights.query_valid).mean('sample'). If these are only some of the keys, say so: "
            "partial=True."
        )


def _row_sums(array: xr.DataArray) -> np.ndarray:
    """What each row sums to over its keys; 0 for queries that are padding."""
    keys = key_dims(array.dims)
    sums = array.astype(np.float64).sum(keys, skipna=False)
    queries = query_dims(sums.dims)
    valid = f"{queries[0]}_valid" if len(queries) == 1 else "query_valid"
    if queries and valid in array.coords and set(array.coords[valid].dims) <= set(sums.dims):
        sums = sums.where(array.coords[valid], 0.0)
    return np.asarray(sums.values)


def _swapped(array: xr.DataArray) -> str:
    queries = query_dims(array.dims)
    if array.ndim != 2 or not queries or array.shape[0] != array.shape[1]:
        return ""
    columns = np.asarray(array.astype(np.float64).sum(queries).values)
    if not np.allclose(columns, 1, atol=ROW_TOLERANCE):
        return ""
    return " The columns do, so the axes are swapped; transpose a plain array: weights.T."
