"""Coloured tokens drawn with Matplotlib: rows of words that wrap like text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D, ScaledTranslation, Transform

from attnscope.plot._canvas import (
    add_bar,
    colour_map,
    figure_of,
    head_line,
    ink_on,
    is_dark,
    masked_style,
    nan_colour,
    new_figure,
    norm_of,
)
from attnscope.plot._scale import Scale
from attnscope.plot._typesetting import plain_text, written

MOST_ROWS = 40
LONGEST_TOKEN = 60
SIZE = 10.0
"""Of the letters, in points."""
_HEIGHT, _SPACE, _INSIDE = 1.75 * SIZE, 2.0, 4.0
"""Of a token, between two, and beside its letters, in points."""
_WIDTH = 6.4
"""Of a figure of our own, in inches."""


@dataclass(frozen=True)
class Word:
    """A token and its place.

    Attributes:
        text: As it is written.
        left: In points, from the left edge.
        top: In points, from the upper edge.
        width: In points.
        weight: Its weight; NaN where it has none.
        masked: Whether it is padding without any weight.
        bare: Whether it is a title, which has no weight.
    """

    text: str
    left: float
    top: float
    width: float
    weight: float
    masked: bool
    bare: bool = False


def draw(
    labels: list[list[str]], weights: np.ndarray, valid: np.ndarray, titles: list[str], maximum: float, ax: Axes | None
) -> Axes:
    """Draws rows of tokens, each on the colour of its weight, with a colour bar below them.

    Args:
        labels: dims ``(row, position)``.
        weights: Same dims.
        valid: Same dims; False on padding.
        titles: Text in front of each row.
        maximum: End of the colour scale.
        ax: Where to draw; None for a new figure.
    """
    shown = min(len(labels), MOST_ROWS)
    every = [*titles[:shown], *(label for row in labels[:shown] for label in row)]
    texts, fonts = written(every, LONGEST_TOKEN)
    names = [text if title else "" for text, title in zip(texts[:shown], titles, strict=False)]
    remaining = iter(texts[shown:])
    rows = [[next(remaining) for _ in row] for row in labels[:shown]]
    font = FontProperties(family=fonts, size=SIZE)
    scale = Scale(maximum, "attention")
    if ax is None:
        words = placed_words(names, rows, weights, valid, font, 72 * _WIDTH - 24)
        figure = new_figure(_WIDTH, (_bottom(words) + 12) / 72 + 0.8)
        ax = figure.add_subplot()
    mappable = ScalarMappable(norm_of(scale), colour_map(is_dark(ax)))
    over = np.nanmax(weights, initial=0.0) > maximum * (1 + 1e-9)
    options = {"location": "bottom", "shrink": 0.5, "aspect": 40, "anchor": (0.0, 0.0), "pad": 0.02}
    add_bar(ax, mappable, scale.label, scale.ticks, extend="max" if over else "neither", **options)
    width = ax.get_window_extent().width * 72 / figure_of(ax).get_dpi()
    words = placed_words(names, rows, weights, valid, font, width)
    ax.set_axis_off()
    _draw_words(ax, words, font, mappable)
    masked, missing = any(word.masked for word in words), np.isnan(weights[:shown]).any()
    remarks = [
        f"the first {shown} of {len(labels):,} rows" if shown < len(labels) else "",
        "hatched: padding" if masked else "",
        "red cross: NaN" if missing else "",
    ]
    head_line(ax, "", remarks)
    return ax


def placed_words(
    titles: list[str], rows: list[list[str]], weights: np.ndarray, valid: np.ndarray, font: FontProperties, width: float
) -> list[Word]:
    """The place of each token, with lines broken before the right edge.

    Args:
        titles: Text in front of each row.
        rows: The tokens, as they are written.
        weights: dims ``(row, position)``.
        valid: Same dims.
        font: Of the letters.
        width: In points.
    """
    indent = max((_width(title, font) for title in titles), default=0.0) + (12 if any(titles) else 0)
    words, top = [], 0.0
    for number, (title, row) in enumerate(zip(titles, rows, strict=True)):
        if title:
            words.append(Word(title, 0.0, top, _width(title, font), 0.0, False, True))
        left = indent
        for place, text in enumerate(row):
            weight = float(weights[number, place])
            masked = not valid[number, place] and weight == 0
            text = "" if masked else "\N{MULTIPLICATION SIGN}" if np.isnan(weight) else text
            size = max(1.1 * SIZE, _width(text, font) + 2 * _INSIDE)
            if left > indent and left + size > width:
                left, top = indent, top + _HEIGHT + _SPACE
            words.append(Word(text, left, top, size, weight, bool(masked)))
            left += size + _SPACE
        top += _HEIGHT + 3 * _SPACE
    return words


def _width(text: str, font: FontProperties) -> float:
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) if text else 0.0


def _bottom(words: list[Word]) -> float:
    return max((word.top for word in words), default=0.0) + _HEIGHT


def _from_upper_left(ax: Axes) -> Transform:
    """Points from the upper left corner of the axes, down and to the right."""
    figure = figure_of(ax)
    return Affine2D().scale(1 / 72, -1 / 72) + figure.dpi_scale_trans + ScaledTranslation(0, 1, ax.transAxes)  # type: ignore[arg-type]


def _draw_words(ax: Axes, words: list[Word], font: FontProperties, colours: ScalarMappable) -> None:
    place = _from_upper_left(ax)
    for word in words:
        if not word.bare:
            ax.add_artist(_ground(word, place, colours, ax))
        face = nan_colour(ax) if np.isnan(word.weight) else colours.to_rgba(np.array(word.weight))
        ink = ax.title.get_color() if word.bare else ink_on(face)
        middle = word.left if word.bare else word.left + word.width / 2
        text = Text(
            middle,
            word.top + _HEIGHT / 2,
            word.text,
            color=ink,
            fontproperties=font,
            transform=place,
            ha="left" if word.bare else "center",
            va="center_baseline",
            gid="title" if word.bare else "token",
        )
        ax.add_artist(plain_text(text))


def _ground(word: Word, place: Transform, colours: ScalarMappable, ax: Axes) -> Rectangle:
    rectangle = Rectangle((word.left, word.top), word.width, _HEIGHT, transform=place, linewidth=0, clip_on=False)
    rectangle.set_gid("masked" if word.masked else "nan" if np.isnan(word.weight) else "token")
    if word.masked:
        rectangle.set(**masked_style(ax))
    elif np.isnan(word.weight):
        rectangle.set(facecolor=nan_colour(ax))
    else:
        rectangle.set(facecolor=colours.to_rgba(np.array(word.weight)))
    return rectangle
