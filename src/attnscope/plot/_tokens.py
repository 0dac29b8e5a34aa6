"""`tokens`: text on the colour of its weights, for a notebook or as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import xarray as xr

from attnscope.colours import diverging_css
from attnscope.errors import PAGES, PICTURES, LabelError, SchemaError, free_path
from attnscope.labels import Names
from attnscope.marks import colour_bar, isolated, number, offline_page, shown, signed_number, style, token_row
from attnscope.plot._checks import Weights, check, labelled, require_keys
from attnscope.plot._panels import sample_titles
from attnscope.plot._scale import Scale, scaled
from attnscope.position_kinds import UNKNOWN, Counted, counted_along
from attnscope.quantities import ATTENTION, Quantity, remarks_on, target_in_words
from attnscope.schema import KEY, SAMPLE, key_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from attnscope.plot._canvas import Place


_POSITIONS = Counted((UNKNOWN,), ())


@dataclass(frozen=True)
class ColouredTokens:
    """Rows of tokens, each on the colour of its weight, and a bar that shows the scale.

    A notebook displays it directly; `save` writes a page that loads nothing, or a picture. Labels are escaped, and
    invisible characters in them are written out.

    Attributes:
        labels: dims ``(row, position)``.
        weights: Same dims: their weights, or their relevance.
        valid: Same dims: False on padding, which is hatched where it has no weight.
        titles: Text above each row.
        maximum: End of the colour scale.
        quantity: What the weights are.
        trim: Whether padding without any weight at both ends of a row is left out, and rows of nothing else.
        remarks: What else is said about the weights, such as the verdict on their method.
        positions: What a row counts: tokens, as far as it is known.
    """

    labels: list[list[str]]
    weights: np.ndarray
    valid: np.ndarray
    titles: list[str]
    maximum: float
    quantity: Quantity = ATTENTION
    trim: bool = True
    remarks: tuple[str, ...] = ()
    positions: Counted = _POSITIONS

    @property
    def rows(self) -> list[tuple[int, range]]:
        """Number of each row that is shown, and its positions that are."""
        every = range(self.weights.shape[1])
        if not self.trim:
            return [(number, every) for number in range(len(self.weights))]
        shown = self.valid | (self.weights != 0)
        ends = [(number, np.flatnonzero(row)) for number, row in enumerate(shown)]
        kept = [(number, range(int(real[0]), int(real[-1]) + 1)) for number, real in ends if real.size]
        return kept or [(number, every) for number in range(len(self.weights))]

    @property
    def left_out(self) -> str:
        """What is said about padding that is not shown; empty where all is."""
        padding = self.weights.size - sum(len(places) for _, places in self.rows)
        return f"padding left out: {self.positions.some(padding)}" if padding else ""

    @property
    def scale(self) -> Scale:
        """What the colours mean."""
        return Scale(self.maximum, self.quantity.name, signed=self.quantity.signed)

    @property
    def body(self) -> str:
        """The rows and the bar, without the style."""
        signed = self.quantity.signed
        rows = "".join(
            f"<div class=sample><div class=said>{isolated(self.titles[number]) if self.titles[number] else ''}</div>"
            "<div class=strip>"
            + token_row(
                self.labels[number],
                self.weights[number],
                self.valid[number],
                self.maximum,
                signed=signed,
                places=places,
            )
            + "</div></div>"
            for number, places in self.rows
        )
        said = " · ".join(filter(None, (isolated(self.quantity.name), *map(isolated, self.remarks), self.left_out)))
        return (
            f"<div class=rows-of-tokens>{rows}</div>{colour_bar(self.maximum, signed=signed)}"
            f"<div class=small>{said}</div>"
        )

    @property
    def _style(self) -> str:
        return style() + (diverging_css() if self.quantity.signed else "")

    def _repr_html_(self) -> str:
        return f"<div class=attnscope><style>.attnscope{{{self._style}}}</style>{self.body}</div>"

    def __repr__(self) -> str:
        """The three strongest tokens of each row."""
        said = signed_number if self.quantity.signed else number
        rows = [
            ", ".join(
                f"{shown(labels[place])} {said(float(weights[place]))}"
                for place in np.argsort(-np.abs(np.nan_to_num(weights)), kind="stable")[:3]
            )
            for labels, weights in zip(self.labels, self.weights, strict=True)
        ]
        return "\n".join(f"{title + ': ' if title else ''}{row}" for title, row in zip(self.titles, rows, strict=True))

    def draw(self, ax: Place = None) -> Axes:
        """Draws the rows with Matplotlib; at most 40 of them.

        Each token has the colour of its weight as its background, on the scale that the bar below names. Hatched:
        padding without any weight. Red cross: NaN. Lines break at the right edge. Axes of your own keep their size, as
        they have it now: where they are too small for all rows, the letters get smaller, down to 6 points, and the rows
        that still do not fit are left out, which is said.

        Args:
            ax: Where to draw: axes, or an empty figure, which becomes as high as the rows need; default: on a new
                figure of pyplot's.

        Returns:
            The axes, without ticks.

        Raises:
            NotInstalledError: Matplotlib is not installed.
        """
        from attnscope.plot import drawing_module

        drawn: Axes = drawing_module("_word_rows", "ats.plot.tokens(...).draw").draw(self, ax)
        return drawn

    def save(self, path: str | Path, *, title: str | None = None, overwrite: bool = False) -> Path:
        """Writes the rows as a page that loads nothing, or as a picture.

        Args:
            path: A file that ends in ``.html``; or in ``.png``, ``.svg`` or ``.pdf``, which Matplotlib draws.
            title: Of the page; default: what is shown.
            overwrite: Whether a file that is there already may be replaced.

        Raises:
            WouldOverwriteError: `path` exists, and `overwrite` is False.
            InputError: The file's name ends in something else.
            NotInstalledError: It is to be a picture, and Matplotlib is not installed.
        """
        fix = f"save({str(path)!r}, overwrite=True)"
        path = free_path(path, fix, overwrite=overwrite, suffixes=(*PAGES, *PICTURES))
        if path.suffix.lower() in PICTURES:
            from attnscope.plot import drawing_module

            drawing_module("_word_rows", "ats.plot.tokens(...).save").write(self, path)
            return path
        margins = "body{margin:0 auto;max-width:1100px;padding:32px 24px;font:16px/1.5 system-ui,sans-serif}"
        extra = margins + (diverging_css() if self.quantity.signed else "")
        heading = f"Tokens by {self.quantity.noun}" if title is None else title
        path.write_text(offline_page(heading, self.body, extra), encoding="utf-8")
        return path


@overload
def tokens(
    weights: Weights,
    labels: Names | None = ...,
    *,
    titles: Sequence[str] | None = ...,
    maximum: float | None = ...,
    trim: bool = ...,
    ax: None = ...,
) -> ColouredTokens: ...
@overload
def tokens(
    weights: Weights,
    labels: Names | None = ...,
    *,
    titles: Sequence[str] | None = ...,
    maximum: float | None = ...,
    trim: bool = ...,
    ax: Axes,
) -> Axes: ...
def tokens(
    weights: Weights,
    labels: Names | None = None,
    *,
    titles: Sequence[str] | None = None,
    maximum: float | None = None,
    trim: bool = True,
    ax: Axes | None = None,
) -> ColouredTokens | Axes:
    """Text coloured by weight or relevance: characters, sub-words, words or features.

    Weights have a ramp from 0; relevance has a scale that is symmetric around 0: orange speaks for the target, blue
    against it. All rows share the scale, and the bar below them shows it, with what the numbers are.

    Args:
        weights: dims ``(key,)`` or ``(sample, key)``: attention between 0 and 1 (average or select heads and queries
            first), or what `ats.attribute` returns. Of several targets also ``(target, sample, key)``, and of documents
            ``(sample, step, key)`` or ``(sample, key_0, key_1)``: a row for each target or sentence.
        labels: One per position, or one list per sample, or per sentence of each sample; default: the ``key_label``
            coordinate, else numbers.
        titles: Text above each sample, or each row; default: of several samples their ids or numbers, and what is
            explained where it differs between them.
        maximum: End of the colour scale; default: the value farthest from 0, rounded up.
        trim: Whether to leave out padding without any weight at both ends of a row, which is then said.
        ax: Matplotlib axes to draw on; default: none, for HTML.

    Returns:
        An object that a notebook displays, ``save`` writes and ``draw`` draws; or `ax`, if it was given.

    Raises:
        SchemaError: There are other dims, or the values are neither attention nor relevance.
        LabelError: There is not one label per position, or not one title per row.

    Example:
        >>> tokens(np.array([0.1, 0.7, 0.2]), list("abc"))
        b 0.700, c 0.200, a 0.100
    """
    array = labelled(weights, {1: (KEY,), 2: (SAMPLE, KEY)})
    require_keys(array)
    quantity = check(array, partial=True)
    outer, key = _dims_of(array)
    array = array.transpose(*(dim for dim in (SAMPLE, outer) if dim in array.dims), key)
    rows = array.values.reshape(-1, array.sizes[key]).astype(float)
    named = _titles(array, outer, titles)
    if len(named) != len(rows):
        raise LabelError(f"{len(named)} titles were given for {len(rows)} rows. Give one per row: titles=[...].")
    _, scale = scaled(rows[None], np.zeros((1, *rows.shape), bool), maximum=maximum, quantity=quantity)
    valid = _valid(array, key, rows.shape)
    said = tuple(filter(None, remarks_on(array)))
    names, counted = _labels(array, key, labels, rows.shape), counted_along(array, (key,))
    text = ColouredTokens(names, rows, valid, named, scale.maximum, quantity, trim, said, counted)
    return text if ax is None else text.draw(ax)


_TARGET = "target"
_ROWS = {"step": "step", "window": "window", f"{KEY}_0": "row", _TARGET: ""}
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
    heads = sample_titles(array) if titles is None else [str(title) for title in titles]
    if outer is None:
        return heads
    count, samples = array.sizes[outer], array.sizes.get(SAMPLE, 1)
    if titles is not None and len(heads) == samples * count and len(heads) != samples:
        return heads
    rows = [f"{_ROWS[outer]} {row}" for row in range(count)]
    if outer == _TARGET and _TARGET in array.coords:
        rows = [
            target_in_words(str(target), str(array.attrs.get("units", ""))) for target in array.coords[_TARGET].values
        ]
    return [", ".join(filter(None, (head, row))) for head in heads for row in rows]


def _labels(array: xr.DataArray, key: str, labels: Names | None, shape: tuple[int, ...]) -> list[list[str]]:
    names: object = labels
    known = _coordinate(array, key, "label")
    if labels is None and known is not None:
        names = _laid(array, known, shape).tolist()
    if names is None:
        counted = counted_along(array, (key,))
        names = counted.names if counted.are_patches else counted.numbers
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
