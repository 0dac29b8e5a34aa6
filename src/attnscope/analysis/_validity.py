"""Which queries and which keys of a map count: padding, rows that attend to nothing, masked cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from attnscope.errors import LabelError, SchemaError
from attnscope.masking import later_keys
from attnscope.schema import HEAD, KEY, QUERY, key_dims, query_dims, require_dims

QUERY_VALID, KEY_VALID = "query_valid", "key_valid"


def keys_of(scores: xr.DataArray) -> tuple[str, ...]:
    """The dims that number keys.

    Raises:
        SchemaError: There are none.
    """
    keys = key_dims(scores.dims)
    if not keys:
        require_dims(scores, KEY)
    return keys


def rows_of(scores: xr.DataArray) -> xr.DataArray:
    """The scores in float64, without the coordinates that could conflict with those of other arrays."""
    return scores.astype(np.float64).reset_coords(drop=True)


def counting_queries(scores: xr.DataArray) -> xr.DataArray:
    """Which queries count: all except padding and those that attend to nothing.

    Args:
        scores: dims ``(..., query, key)``; without queries if the site pools.

    Returns:
        The dims of `scores` without the keys, bool. True where a row holds NaN.
    """
    attending = rows_of(scores).sum(keys_of(scores), skipna=False) != 0
    valid = validity(scores, QUERY_VALID)
    return attending if valid is None else (attending & valid).transpose(*attending.dims)


def validity(scores: xr.DataArray, name: str) -> xr.DataArray | None:
    """One of the coordinates ``query_valid`` and ``key_valid``, without coordinates; None if there is no such one."""
    valid = scores.coords.get(name)
    return None if valid is None else valid.astype(bool).reset_coords(drop=True)


def real_keys(scores: xr.DataArray) -> xr.DataArray:
    """The keys that are positions, neither padding nor learned sinks; dims ``(key,)``, possibly with samples, bool."""
    keys = keys_of(scores)
    positions = xr.DataArray(np.ones([scores.sizes[key] for key in keys], bool), dims=keys)
    num_sinks = int(scores.attrs.get("sinks", 0))
    if num_sinks:
        positions = positions & xr.DataArray(
            np.arange(scores.sizes[keys[-1]]) < scores.sizes[keys[-1]] - num_sinks, dims=keys[-1]
        )
    valid = validity(scores, KEY_VALID)
    return positions if valid is None else valid & positions


def open_keys(scores: xr.DataArray) -> xr.DataArray:
    """How many keys each query may attend to, as far as scores and validity can tell.

    A padded key counts only where it has weight. In causal maps, recognised as in `attnscope.masking`, later keys do
    not count.

    Returns:
        The dims of `scores` without the keys, int.
    """
    keys, bare = keys_of(scores), scores.reset_coords(drop=True)
    valid = validity(scores, KEY_VALID)
    cells = xr.ones_like(bare, dtype=bool) if valid is None else (bare != 0) | valid
    if keys == (KEY,) and query_dims(scores.dims) == (QUERY,) and scores.sizes[QUERY] == scores.sizes[KEY]:
        cells = cells & ~_later(scores)
    return cells.sum(keys)


def _later(scores: xr.DataArray) -> xr.DataArray:
    """The cells above the diagonal of causal maps; the dims of `scores` without the heads, bool."""
    bare = scores.reset_coords(drop=True)
    if HEAD not in bare.dims:
        bare = bare.expand_dims(HEAD)
    others = [dim for dim in bare.dims if dim not in (HEAD, QUERY, KEY)]
    values = bare.transpose(*others, HEAD, QUERY, KEY).values
    sides = []
    for dim, name in ((QUERY, QUERY_VALID), (KEY, KEY_VALID)):
        valid = validity(scores, name)
        side = xr.ones_like(bare.isel({other: 0 for other in bare.dims if other not in (*others, dim)}), dtype=bool)
        side = side.reset_coords(drop=True) if valid is None else (side & valid).reset_coords(drop=True)
        sides.append(side.transpose(*others, dim).values)
    shape = values.shape[: len(others)]
    later = np.zeros((*shape, *values.shape[-2:]), bool)
    for place in np.ndindex(*shape):
        later[place] = later_keys(values[place], sides[0][place], sides[1][place])
    return xr.DataArray(later, dims=(*others, QUERY, KEY))


def is_one_sequence(scores: xr.DataArray) -> bool:
    """Whether query and key number the same positions, as far as sizes and labels can tell."""
    if query_dims(scores.dims) != (QUERY,) or key_dims(scores.dims) != (KEY,):
        return False
    positions = scores.sizes[KEY] - int(scores.attrs.get("sinks", 0))
    if scores.sizes[QUERY] != positions:
        return False
    query, key = (scores.coords.get(f"{dim}_label") for dim in (QUERY, KEY))
    if query is None or key is None:
        return True
    return query.dims[:-1] == key.dims[:-1] and bool((query.values == key.values[..., :positions]).all())


def require_one_sequence(scores: xr.DataArray, what: str) -> None:
    """Checks that query and key number the same positions.

    Args:
        scores: The scores.
        what: What requires it, for the message.

    Raises:
        SchemaError: They do not.
    """
    require_dims(scores, QUERY, KEY)
    if not is_one_sequence(scores):
        raise SchemaError(
            f"Scores have dimensions {tuple(map(str, scores.dims))} with shape {scores.shape}, and by their sizes or "
            f"labels, query and key do not number the same positions, but {what} requires self-attention. Choose such "
            "a site: maps['encoder_0/mha']."
        )


def labels_of(scores: xr.DataArray, dim: str) -> xr.DataArray | None:
    """The names of the positions along `dim`, without coordinates; None if they have no names."""
    labels = scores.coords.get(f"{dim}_label")
    return None if labels is None else labels.reset_coords(drop=True).astype(str)


def named(scores: xr.DataArray, dim: str, names: Sequence[str]) -> xr.DataArray:
    """Which positions along `dim` have one of these names; the dims of the labels, bool.

    Raises:
        LabelError: The positions have no names.
    """
    labels = labels_of(scores, dim)
    if labels is None:
        raise LabelError(
            f"Tokens are selected by name ({', '.join(map(repr, names))}), but the positions of {dim!r} have no names. "
            "Give them names: ats.capture(model, inputs, labels=tokens)."
        )
    return xr.DataArray(np.isin(labels.values, list(names)), dims=labels.dims)


def averaged(values: xr.DataArray, scores: xr.DataArray) -> xr.DataArray:
    """The mean over the queries that have a value; NaN if none has, or if a row that counts contains NaN."""
    queries = query_dims(values.dims)
    broken = rows_of(scores).isnull().any(keys_of(scores)) & counting_queries(scores)
    mean = values.mean(queries, skipna=True) if queries else values
    gone = list(query_dims(broken.dims))
    return mean.where(~(broken.any(gone) if gone else broken)).transpose(*mean.dims)


def described(array: xr.DataArray, name: str, units: str, meaning: str, **attrs: object) -> xr.DataArray:
    """The array with its own name, unit and meaning, and without the attributes of the array it was computed from."""
    return array.rename(name).drop_attrs().assign_attrs(units=units, long_name=meaning, **attrs)


def with_coords(array: xr.DataArray, scores: xr.DataArray) -> xr.DataArray:
    """The array with the coordinates of the scores that fit its dims."""
    fitting = {name: c for name, c in scores.coords.items() if set(c.dims) <= set(array.dims)}
    return array.assign_coords(fitting)
