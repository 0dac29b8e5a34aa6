"""How much attention falls on keys of one kind: the query's own position, the one before it, separators, sinks..."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.analysis._arguments import of_one_array
from attnscope.analysis._repeats import after_earlier, earlier
from attnscope.analysis._sinks import sinks
from attnscope.analysis._validity import (
    KEY_VALID,
    counting_queries,
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
"""Names of tokens that separate or end texts, as the tokenizers in use write them."""
MEANINGS: dict[str, str] = {
    "self": "weight on the query's own position",
    "previous": "weight on the position before the query",
    "next": "weight on the position after the query",
    "first": "weight on the first position that is not padding",
    "separators": "weight on separators",
    "padding": "weight on padding",
    "sinks": "weight on keys that are sinks",
    "duplicates": "weight on earlier occurrences of the same token",
    "after_duplicates": "weight on what followed earlier occurrences of the same token",
}


@of_one_array
def mass(
    scores: xr.DataArray, on: Place, *, separators: Sequence[str] = SEPARATORS, tokens: ArrayLike | None = None
) -> xr.DataArray:
    """The weight that each query puts on keys of one kind: ``sum(a[q, k] for k in on)``; class-agnostic.

    Args:
        scores: Attention after the softmax, dims ``(..., query, key)``.
        on: Which keys:

            - ``"self"``, ``"previous"``, ``"next"``: by position, in self-attention. NaN where there is no such
              position or it is padding. In a causal map the weight on the next one is exactly 0.
            - ``"first"``: the first key that is not padding (padding may come first).
            - ``"separators"``: the keys whose label is among `separators`. 0 where a text has none.
            - ``"padding"``: the keys that ``key_valid`` marks as padding.
            - ``"sinks"``: the keys that `sinks` finds, by its rule, and learned sinks.
            - ``"duplicates"``: earlier positions with the query's token. NaN where there is none.
            - ``"after_duplicates"``: the positions right after those, up to but not including the query itself, as in
              `induction_score`. NaN where there is none.
        separators: Names of the separators.
        tokens: The token at each position, if the labels do not say: whole numbers or names, dims ``(position,)`` or
            ``(sample, position)``. Negative numbers and empty names count as never repeated.

    Returns:
        The dims of `scores` without the keys, float64, within 0 to 1. NaN at padding, where a query attends to nothing,
        and where a row contains NaN. Weights are not normalised again.

    Raises:
        SchemaError: Self-attention is required and the scores are not; or nothing says which keys are padding.
        LabelError: Labels are required and there are none, or the tokens do not fit.
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
    weight = weight.where(counting_queries(scores) if defined is None else counting_queries(scores) & defined)
    order = [dim for dim in scores.dims if dim in weight.dims]
    return described(with_coords(weight.transpose(*order), scores), f"mass_{on}", "1", MEANINGS[on])


_OFFSETS = {"self": 0, "previous": -1, "next": 1}


def _chosen(
    scores: xr.DataArray, on: Place, separators: Sequence[str], tokens: ArrayLike | None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """The chosen cells, and the queries for which they are defined (None: for all)."""
    if on in _OFFSETS:
        require_one_sequence(scores, f"the weight on {on!r}")
        offsets = np.arange(scores.sizes[KEY]) - np.arange(scores.sizes[QUERY])[:, None]
        cells = xr.DataArray(offsets == _OFFSETS[on], dims=(QUERY, KEY)) & real_keys(scores)
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
            "is padding. Capture the scores, or add it: scores.assign_coords(key_valid=(('sample', 'key'), token_ids "
            "!= 0))."
        )
    return ~valid, None


def _first(real: xr.DataArray) -> xr.DataArray:
    """The first real key along each row, bool; several dims of keys are numbered row by row."""
    keys = keys_of(real)
    others = [dim for dim in real.dims if dim not in keys]
    ordered = real.transpose(*others, *keys)
    flat = ordered.values.reshape(*(ordered.sizes[dim] for dim in others), -1)
    return ordered.copy(data=(flat & (flat.cumsum(-1) == 1)).reshape(ordered.shape))
