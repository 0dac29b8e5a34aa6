"""`tokens`: text on the colour of its weights, for a notebook or as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr

from attnscope.errors import LabelError, SchemaError, free_path
from attnscope.marks import colour_bar, isolated, number, offline_page, rounded_up, shown, style, token_row
from attnscope.plot._checks import check, labelled, require_keys
from attnscope.schema import KEY, SAMPLE, key_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class ColouredTokens:
    """Rows of tokens, each token on the colour of its weight, and the bar that tells the scale.

    A notebook shows it as it is; `save` writes a page that loads nothing. Labels are escaped, and what they hold
    of invisible characters is written out.

    Attributes:
        labels: dims ``(row, position)``.
        weights: Likewise.
        valid: Likewise; False on padding, which is drawn hatched where it has no weight.
        titles: In front of each row.
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
        """The same with Matplotlib, for a figure; at most 40 rows.

        Each token stands on the colour of its weight, on the scale that the bar names. Hatched: padding without any
        weight. A red cross: NaN. Lines break at the right edge of the axes, as wide as they are now.

        Args:
            ax: Where to draw; default: on a new figure of pyplot's.

        Returns:
            The axes, without ticks.

        Raises:
            NotInstalledError: Matplotlib is not installed.
        """
        from attnscope.plot import matplotlib_room

        drawn: Axes = matplotlib_room("_word_rows", "tokens(...).draw").draw(
            self.labels, self.weights, self.valid, self.titles, self.maximum, ax
        )
        return drawn

    def save(self, path: str | Path, *, title: str = "Tokens by attention", overwrite: bool = False) -> Path:
        """Writes a page.

        Raises:
            WouldOverwriteError: There is something at `path`, and `overwrite` is False.
        """
        path = free_path(path, f"save({str(path)!r}, overwrite=True)", overwrite=overwrite)
        margins = "body{margin:0 auto;max-width:1100px;padding:32px 24px;font:16px/1.5 system-ui,sans-serif}"
        path.write_text(offline_page(title, self.body, margins), encoding="utf-8")
        return path


@overload
def tokens(
    weights: xr.DataArray | np.ndarray | Sequence[Any],
    labels: Sequence[Any] | None = ...,
    *,
    titles: Sequence[str] | None = ...,
    maximum: float | None = ...,
    ax: None = ...,
) -> ColouredTokens: ...
@overload
def tokens(
    weights: xr.DataArray | np.ndarray | Sequence[Any],
    labels: Sequence[Any] | None = ...,
    *,
    titles: Sequence[str] | None = ...,
    maximum: float | None = ...,
    ax: Axes,
) -> Axes: ...
def tokens(
    weights: xr.DataArray | np.ndarray | Sequence[Any],
    labels: Sequence[Any] | None = None,
    *,
    titles: Sequence[str] | None = None,
    maximum: float | None = None,
    ax: Axes | None = None,
) -> ColouredTokens | Axes:
    """Text coloured by weight: characters, sub-words or words.

    Args:
        weights: dims ``(key,)`` or ``(sample, key)``, within 0 and 1. Average or select heads and queries first.
        labels: One per position, or one list per sample; default: the ``key_label`` coordinate, else numbers.
        titles: In front of each sample; default: none.
        maximum: End of the colour scale, which begins at 0; default: the largest weight, rounded up. It is written
            beside the colours, and all rows share it.
        ax: Axes of Matplotlib's to draw on; default: none, the text is HTML.

    Returns:
        What a notebook shows, ``save`` writes and ``draw`` draws; or, where `ax` was given, these axes.

    Raises:
        SchemaError: There are other dims, or values that are no weights.
        LabelError: The labels are not one per position, or the titles not one per row.

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


def _labels(array: xr.DataArray, key: str, given: Sequence[Any] | None, shape: tuple[int, ...]) -> list[list[str]]:
    names: Any = given
    if given is None and f"{key}_label" in array.coords:
        names = array.coords[f"{key}_label"].values.tolist()
    if names is None:
        names = [str(place) for place in range(shape[1])]
    rows = [list(names)] * shape[0] if len(names) == 0 or isinstance(names[0], str) else [list(row) for row in names]
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
