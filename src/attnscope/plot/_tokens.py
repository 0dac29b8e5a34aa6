"""`tokens`: text on the colour of its weights, for a notebook or as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

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
        weights: dims ``(key,)`` or ``(sample, key)``, between 0 and 1. Average or select heads and queries first.
        labels: One per position, or one list per sample; default: the ``key_label`` coordinate, else numbers.
        titles: Text in front of each sample; default: nothing.
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
    key = _key_of(array)
    check(array, partial=True)
    rows = array.transpose(..., key).values.reshape(-1, array.sizes[key]).astype(float)
    named = [""] * len(rows) if titles is None else [str(title) for title in titles]
    if len(named) != len(rows):
        raise LabelError(f"{len(named)} titles were given for {len(rows)} rows. Give one per row: titles=[...].")
    end = rounded_up(float(np.nanmax(rows, initial=0.0))) if maximum is None else float(maximum)
    text = ColouredTokens(_labels(array, key, labels, rows.shape), rows, _valid(array, key, rows.shape), named, end)
    return text if ax is None else text.draw(ax)


def _key_of(array: xr.DataArray) -> str:
    keys = key_dims(array.dims)
    others = [str(dim) for dim in array.dims if dim not in (SAMPLE, *keys)]
    if len(keys) != 1 or others:
        raise SchemaError(
            f"The weights have the dims {tuple(array.dims)}, but ('key',) or ('sample', 'key') is needed: select or "
            f"average the others first, such as .mean({(others or ['query'])[0]!r})."
        )
    return str(keys[0])


def _labels(array: xr.DataArray, key: str, labels: Names | None, shape: tuple[int, ...]) -> list[list[str]]:
    names = labels
    if labels is None and f"{key}_label" in array.coords:
        names = array.coords[f"{key}_label"].values.tolist()
    if names is None:
        names = [str(place) for place in range(shape[1])]
    rows: list[list[object]] = (
        [list(names)] * shape[0] if len(names) == 0 or isinstance(names[0], str) else [list(row) for row in names]
    )
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise LabelError(
            f"The labels are {len(rows)} row(s) of {sorted({len(row) for row in rows})} names, but the weights have "
            f"{shape[0]} row(s) of {shape[1]} positions. Give one name per position."
        )
    return [[str(name) for name in row] for row in rows]


def _valid(array: xr.DataArray, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if f"{key}_valid" not in array.coords:
        return np.ones(shape, bool)
    return np.broadcast_to(np.asarray(array.coords[f"{key}_valid"].values, bool), shape)
