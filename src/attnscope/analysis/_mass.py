"""How much attention falls on keys of one kind: on itself, the token before, separators, padding, sinks..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from attnscope.analysis._repeats import after_earlier, earlier
from attnscope.analysis._sinks import sinks
from attnscope.analysis._validity import (
    KEY_VALID,
    counted,
    described,
    keys_of,
    named,
    real_keys,
    require_one_sequence,
    rows_of,
    validity,
    with_coords,
)
from attnscope.errors import InputError, SchemaError
from attnscope.schema import KEY, QUERY

Place = Literal["self", "previous", "next", "first", "separators", "padding", "sinks", "duplicates", "after_duplicates"]
SEPARATORS = (
    "[SEP]",
    "</s>",
    "<s/>",
    "<sep>",
    "<eos>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<end_of_turn>",
    "[EOS]",
)
"""Names of tokens that part or end texts, as the tokenizers in use write them."""
MEANINGS: dict[str, str] = {
    "self": "weight on the query's own position",
    "previous": "weight on the position before the query",
    "next": "weight on the position behind the query",
    "first": "weight on the first position that is no padding",
    "separators": "weight on separators",
    "padding": "weight on padding",
    "sinks": "weight on keys that are sinks",
    "duplicates": "weight on earlier occurrences of the same token",
    "after_duplicates": "weight on what followed earlier occurrences of the same token",
}


def mass(
    scores: xr.DataArray, on: Place, *, separators: Sequence[str] = SEPARATORS, tokens: Any = None
) -> xr.DataArray:
    """Weight that each query puts on keys of one kind: ``sum(a[q, k] for k in on)``; class-agnostic.

    Args:
        scores: Attention after the softmax, dims ``(..., query, key)``.
        on: Which keys:

            - ``"self"``, ``"previous"``, ``"next"``: by position, in self-attention. NaN where there is no such
              position or it is padding. In a causal map the next one has exactly 0.
            - ``"first"``: the first key that is no padding (padding may stand in front).
            - ``"separators"``: those whose label is among `separators`. 0 where a text has none.
            - ``"padding"``: those that ``key_valid`` marks as padding.
            - ``"sinks"``: those that `sinks` finds, by its rule, and learned sinks.
            - ``"duplicates"``: earlier positions with the query's token. NaN where there is none.
            - ``"after_duplicates"``: positions right behind those, up to the query itself (exclusive), see
              `induction_score`. NaN where there is none.
        separators: Names of the separators.
        tokens: What stands at each position, where the labels do not tell: numbers or names, dims ``(position,)`` or
            ``(sample, position)``. Negative numbers and empty names repeat nothing.

    Returns:
        The dims of `scores` without the keys, float64, within 0 to 1. NaN at padding, where a query attends to nothing,
        and where a row holds NaN. Weights are not made to sum to 1 again.

    Raises:
        SchemaError: The scores are no self-attention, where that is needed, or nothing says which keys are padding.
        LabelError: Labels are needed, and there are none, or tokens do not fit.
        InputError: There is no such kind of keys.

    Source:
        Position and separators: Clark et al. 2019, "What Does BERT Look At?", sections 3.1 and 3.2; repeated tokens:
        Olsson et al. 2022, "In-context Learning and Induction Heads".

    Example:
        >>> rows = xr.DataArray([[1.0, 0.0], [0.75, 0.25]], dims=("query", "key"))
        >>> mass(rows, "previous").values.tolist(), mass(rows, "self").values.tolist()
        ([nan, 0.75], [1.0, 0.25])
    """
    if on not in get_args(Place):
        raise InputError(f"on={on!r} was given, but one of {', '.join(map(repr, get_args(Place)))} is needed.")
    rows, keys = rows_of(scores), keys_of(scores)
    chosen, defined = _chosen(scores, on, separators, tokens)
    weight = rows.where(chosen, 0.0).where(rows.notnull()).sum(keys, skipna=False)
    kept = weight.where(counted(scores) if defined is None else counted(scores) & defined)
    order = [dim for dim in scores.dims if dim in kept.dims]
    return described(with_coords(kept.transpose(*order), scores), f"mass_{on}", "1", MEANINGS[on])


_BESIDE = {"self": 0, "previous": -1, "next": 1}


def _chosen(
    scores: xr.DataArray, on: Place, separators: Sequence[str], tokens: Any
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Which cells are meant, and for which queries that has a meaning (None: for all)."""
    if on in _BESIDE:
        require_one_sequence(scores, f"the weight on {on!r}")
        apart = np.arange(scores.sizes[KEY]) - np.arange(scores.sizes[QUERY])[:, None]
        cells = xr.DataArray(apart == _BESIDE[on], dims=(QUERY, KEY)) & real_keys(scores)
        return cells, cells.any(KEY)
    if on in ("duplicates", "after_duplicates"):
        require_one_sequence(scores, f"the weight on {on!r}")
        repeated: Callable[..., xr.DataArray] = earlier if on == "duplicates" else after_earlier
        cells = repeated(scores, tokens)
        return cells, cells.any(KEY)
    if on == "first":
        return _first(real_keys(scores)), None
    if on == "separators":
        (key,) = keys_of(scores) if len(keys_of(scores)) == 1 else (KEY,)
        return named(scores, key, separators), None
    if on == "sinks":
        return sinks(scores).reset_coords(drop=True), None
    valid = validity(scores, KEY_VALID)
    if valid is None:
        raise SchemaError(
            f"Scores have the coordinates {sorted(map(str, scores.coords))}, but 'key_valid' is needed to tell what "
            "is padding. Capture them, or say it: scores.assign_coords(key_valid=(('sample', 'key'), token_ids != 0))."
        )
    return ~valid, None


def _first(real: xr.DataArray) -> xr.DataArray:
    """The first of the keys along each row of `real`, bool; several dims of keys are numbered row by row."""
    keys = keys_of(real)
    others = [dim for dim in real.dims if dim not in keys]
    ordered = real.transpose(*others, *keys)
    flat = ordered.values.reshape(*(ordered.sizes[dim] for dim in others), -1)
    return ordered.copy(data=(flat & (flat.cumsum(-1) == 1)).reshape(ordered.shape))
