"""`tokens`: text on the colour of its weights, for a notebook or as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr

from attnscope.errors import LabelError, SchemaError, free_path
from attnscope.labels import Names
from attnscope.marks import colour_bar, isolated, number, offline_page, rounded_up, shown, style, token_row
from attnscope.plot._checks import Weights, check, labelled, require_keys
from attnscope.schema import KEY, SAMPLE, key_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ColouredTokens:
    """Rows of tokens, each on the colour of its weight, and a bar that shows the scale.

    A notebook displays it directly; `save` writes a page that loads nothing. Labels are escaped, and invisible
    characters in them are written out.

    Attributes:
        labels: dims ``(row, position)``.
        weights: Same dims: their weights.
        valid: Same dims: False on padding, which is hatched where it has no weight.
        titles: Text in front of each row.
        maximum: End of the colour scale.
    """

    labels: list[list[str]]
    weights: np.ndarray
    valid: np.ndarray
    titles: list[str]
    maximum: float

    @property
    def body(self) -> str:
        """The rows and the bar, without the style."""
        rows = "".join(
            f"<div class=sample><div class=said>{isolated(title) if title else ''}</div>"
            f"<div class=strip>{token_row(labels, weights, valid, self.maximum)}</div></div>"
            for title, labels, weights, valid in zip(self.titles, self.labels, self.weights, self.valid, strict=True)
        )
        return f"{colour_bar(self.maximum)}<div class=rows-of-tokens>{rows}</div>"

    def _repr_html_(self) -> str:
        return f"<div class=attnscope><style>.attnscope{{{style()}}}</style>{self.body}</div>"

    def __repr__(self) -> str:
        """The three strongest tokens of each row."""
        rows = [
            ", ".join(
                f"{shown(labels[place])} {number(float(weights[place]))}"
                for place in np.argsort(-np.nan_to_num(weights), kind="stable")[:3]
            )
            for labels, weights in zip(self.labels, self.weights, strict=True)
        ]
        return "\n".join(f"{title + ': ' if title else ''}{row}" for title, row in zip(self.titles, rows, strict=True))

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draws the rows with Matplotlib; at most 40 of them.

        Each token has the colour of its weight as its background, on the scale that the bar names. Hatched: padding
        without any weight. Red cross: NaN. Lines break at the right edge of the axes, at their current width.

        Args:
            ax: Where to draw; default: on a new figure of pyplot's.

        Returns:
            The axes, without ticks.

        Raises:
            NotInstalledError: Matplotlib is not installed.
        """
        from attnscope.plot import drawing_module

        drawn: Axes = drawing_module("_word_rows", "tokens(...).draw").draw(
            self.labels, self.weights, self.valid, self.titles, self.maximum, ax
        )
        return drawn

    def save(self, path: str | Path, *, title: str = "Tokens by attention", overwrite: bool = False) -> Path:
        """Writes the rows as a page that loads nothing.

        Raises:
            WouldOverwriteError: `path` exists, and `overwrite` is False.
        """
        path = free_path(path, f"save({str(path)!r}, overwrite=True)", overwrite=overwrite)
        margins = "body{margin:0 auto;max-width:1100px;padding:32px 24px;font:16px/1.5 system-ui,sans-serif}"
        path.write_text(offline_page(title, self.body, margins), encoding="utf-8")
        return path


@overload
def tokens(
    weights: Weights,
    labels: Names | None = ...,
    *,
    titles: Sequence[str] | None = ...,
    maximum: float | None = ...,
    ax: None = ...,
) -> ColouredTokens: ...
@overload
def tokens(
    weights: Weights,
    labels: Names | None = ...,
    *,
    titles: Sequence[str] | None = ...,
    maximum: float | None = ...,
    ax: Axes,
) -> Axes: ...
def tokens(
    weights: Weights,
    labels: Names | None = None,
    *,
    titles: Sequence[str] | None = None,
    maximum: float | None = None,
    ax: Axes | None = None,
) -> ColouredTokens | Axes:
    """Text coloured by weight: characters, sub-words or words.

    Args:
        weights: dims ``(key,)`` or ``(sample, key)``, between 0 and 1; of documents also ``(sample, step, key)`` or
            ``(sample, key_0, key_1)``, a row for each sentence. Average or select heads and queries first.
        labels: One per position, or one list per sample, or per sentence of each sample; default: the ``key_label``
            coordinate, else numbers.
        titles: Text in front of each sample, or of each row; default: nothing, or the numbers of sample and row.
        maximum: End of the colour scale, which starts at 0; default: the largest weight, rounded up. All rows share
            it, and the colour bar shows it.
        ax: Matplotlib axes to draw on; default: none, for HTML.

    Returns:
        An object that a notebook displays, ``save`` writes and ``draw`` draws; or `ax`, if it was given.

    Raises:
        SchemaError: There are other dims, or the values are not weights.
        LabelError: There is not one label per position, or not one title per row.

    Example:
        >>> tokens(np.array([0.1, 0.7, 0.2]), list("abc"))
        b 0.700, c 0.200, a 0.100
    """
    array = labelled(weights, {1: (KEY,), 2: (SAMPLE, KEY)})
    require_keys(array)
    check(array, partial=True)
    outer, key = _dims_of(array)
    array = array.transpose(*(dim for dim in (SAMPLE, outer) if dim in array.dims), key)
    rows = array.values.reshape(-1, array.sizes[key]).astype(float)
    named = _titles(array, outer, titles)
    if len(named) != len(rows):
        raise LabelError(f"{len(named)} titles were given for {len(rows)} rows. Give one per row: titles=[...].")
    end = rounded_up(float(np.nanmax(rows, initial=0.0))) if maximum is None else float(maximum)
    text = ColouredTokens(_labels(array, key, labels, rows.shape), rows, _valid(array, key, rows.shape), named, end)
    return text if ax is None else text.draw(ax)


_ROWS = {"step": "step", "window": "window", f"{KEY}_0": "row"}
"""Dims that may lie over the keys, such as the sentences of a document, and what one of their positions is called."""


def _dims_of(array: xr.DataArray) -> tuple[str | None, str]:
    """The dim of the rows of each sample, where there is one, and that of the positions."""
    *over, key = key_dims(array.dims)
    others = [str(dim) for dim in array.dims if dim not in (SAMPLE, key)]
    if others and (len(others) > 1 or others[0] not in _ROWS or over not in ([], others)):
        raise SchemaError(
            f"The weights have the dims {tuple(array.dims)}, but ('key',) or ('sample', 'key') is needed, and at most "
            "one of 'step' and 'window' beside them: select or average the others first, such as "
            f".mean({next((dim for dim in others if dim not in _ROWS), others[0])!r})."
        )
    return next(iter(others), None), key


def _titles(array: xr.DataArray, outer: str | None, titles: Sequence[str] | None) -> list[str]:
    """Text in front of each row: of each sample, or of each of its rows."""
    samples = array.sizes.get(SAMPLE, 1)
    if outer is None:
        return [""] * samples if titles is None else [str(title) for title in titles]
    count = array.sizes[outer]
    if titles is not None and len(titles) == samples * count and len(titles) != samples:
        return [str(title) for title in titles]
    heads = [f"sample {n}" if samples > 1 else "" for n in range(samples)] if titles is None else list(map(str, titles))
    return [", ".join(filter(None, (head, f"{_ROWS[outer]} {row}"))) for head in heads for row in range(count)]


def _labels(array: xr.DataArray, key: str, labels: Names | None, shape: tuple[int, ...]) -> list[list[str]]:
    names: object = labels
    known = _coordinate(array, key, "label")
    if labels is None and known is not None:
        names = _laid(array, known, shape).tolist()
    if names is None:
        names = [str(place) for place in range(shape[1])]
    rows = _rows(list(names), shape[0])  # type: ignore[call-overload]
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise LabelError(
            f"The labels are {len(rows)} row(s) of {sorted({len(row) for row in rows})} names, but the weights have "
            f"{shape[0]} row(s) of {shape[1]} positions. Give one name per position."
        )
    return [[str(name) for name in row] for row in rows]


def _rows(names: list[Any], count: int) -> list[list[Any]]:
    """Labels of each row: those of all rows, of each row, or of each row of each sample."""
    if not names or isinstance(names[0], str):
        return [names] * count
    if len(names[0]) and not isinstance(names[0][0], str):
        return [list(row) for sample in names for row in sample]
    return [list(row) for row in names]


def _valid(array: xr.DataArray, key: str, shape: tuple[int, ...]) -> np.ndarray:
    known = _coordinate(array, key, "valid")
    return np.ones(shape, bool) if known is None else np.asarray(_laid(array, known, shape), bool)


def _coordinate(array: xr.DataArray, key: str, kind: str) -> xr.DataArray | None:
    """A coordinate of the positions: along the keys, or along all axes of theirs."""
    return next((array.coords[name] for name in (f"{key}_{kind}", f"{KEY}_{kind}") if name in array.coords), None)


def _laid(array: xr.DataArray, coordinate: xr.DataArray, shape: tuple[int, ...]) -> np.ndarray:
    """A coordinate of the positions, one row for each of the array's."""
    missing = {dim: array.sizes[dim] for dim in array.dims if dim not in coordinate.dims}
    return np.asarray(coordinate.expand_dims(missing).transpose(*array.dims).values).reshape(shape)
