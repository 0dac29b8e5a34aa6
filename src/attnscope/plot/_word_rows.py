"""Coloured tokens drawn with Matplotlib: rows of words that wrap like text, and the scale below them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, ScaledTranslation, Transform

from attnscope.colours import NEARLY_0
from attnscope.plot._canvas import (
    BELOW,
    Place,
    TrueTypeFigure,
    add_bar,
    colours_of,
    dash_bar,
    head_line,
    ink_on,
    is_dark,
    masked_style,
    nan_colour,
    new_figure,
    norm_of,
    settle,
    sized,
)
from attnscope.plot._guest import as_guest, figure_of
from attnscope.plot._tokens import ColouredTokens
from attnscope.plot._typesetting import plain_text, width_of, wrapped, written

MOST_ROWS = 40
LONGEST_TOKEN, LONGEST_TITLE = 60, 300
SIZE, SMALLEST = 10.0, 6.0
"""Of the letters, in points."""
_HEIGHT, _BETWEEN_ROWS, _SPACE, _INSIDE = 1.75, 0.8, 0.2, 0.4
"""Of a line, between two rows, between two tokens, and beside the letters of one, in sizes of the letters."""
_WIDTH, _MARGIN = 6.4, 0.12
"""Of a figure of our own, and around what is in it, in inches."""


@dataclass(frozen=True)
class Word:
    """A token and its place, or a title.

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


@dataclass(frozen=True)
class _Row:
    """A row as it is written: its title, and of each of its tokens the text, the weight and whether it is masked."""

    title: str
    tokens: list[tuple[str, float, bool]]


def draw(text: ColouredTokens, place: Place) -> Axes:
    """Draws rows of tokens, each on the colour of its weight, with a colour bar below them.

    Args:
        text: The rows.
        place: Axes; or an empty figure, which becomes as high as the rows need; None for a new one of pyplot's.
    """
    rows, fonts = _rows(text)
    if isinstance(place, Axes):
        with as_guest([place]):
            return _on_axes(text, rows, fonts, place)
    empty = new_figure(_WIDTH, 1.0, fixed=True) if place is None else sized(place, _WIDTH, 1.0, fixed=True)
    return _on_new_figure(text, rows, fonts, empty)


def write(text: ColouredTokens, path: Path) -> None:
    """Draws the rows into a file, without pyplot."""
    figure_of(draw(text, TrueTypeFigure())).figure.savefig(path, dpi=200)


def _rows(text: ColouredTokens) -> tuple[list[_Row], list[str]]:
    """The rows that are drawn, and the fonts that have their letters."""
    shown = text.rows[:MOST_ROWS]
    titles, _ = written([text.titles[number] for number, _ in shown], LONGEST_TITLE)
    labels = [text.labels[number][place] for number, places in shown for place in places]
    texts, fonts = written([*(text.titles[number] for number, _ in shown), *labels], LONGEST_TOKEN)
    names = iter(texts[len(shown) :])
    rows = []
    for (number, places), title in zip(shown, titles, strict=True):
        tokens = [
            (next(names), float(text.weights[number, place]), _is_masked(text, number, place)) for place in places
        ]
        rows.append(_Row(title if text.titles[number] else "", tokens))
    return rows, fonts


def _is_masked(text: ColouredTokens, row: int, place: int) -> bool:
    return not text.valid[row, place] and bool(text.weights[row, place] == 0)


def _on_new_figure(text: ColouredTokens, rows: list[_Row], fonts: list[str], figure: Figure) -> Axes:
    """Rows, bar and remarks one below the other; the figure becomes as high as they are."""
    inner = 72 * (_WIDTH - 2 * _MARGIN)
    font = FontProperties(family=fonts, size=SIZE)
    words = placed_words(rows, font, inner)
    said, note_fonts = written(filter(None, _remarks(text, rows)), None)
    remarks = wrapped(said, inner, 0.85 * SIZE)
    label = wrapped(written([text.scale.label], None)[0], inner, 0.85 * SIZE)
    heights = {
        "remarks": 0.17 * (remarks.count("\n") + 1) if remarks else 0.0,
        "words": _bottom(words, font) / 72,
        "bar": 0.1,
        "under the bar": 0.24 + 0.16 * (label.count("\n") + 1),
    }
    gaps = 2 * _MARGIN + 0.18 + (0.06 if remarks else 0.0)
    high = sum(heights.values()) + gaps
    figure.set_size_inches(_WIDTH, high)

    def axes(top: float, height: float, width: float = _WIDTH - 2 * _MARGIN) -> Axes:
        return figure.add_axes((_MARGIN / _WIDTH, 1 - (top + height) / high, width / _WIDTH, height / high))

    ax = axes(_MARGIN, heights["words"])
    ax.set_axis_off()
    mappable = ScalarMappable(norm_of(text.scale), colours_of(text.scale, is_dark(ax)))
    _draw_words(ax, words, font, mappable)
    bar = axes(_MARGIN + heights["words"] + 0.18, heights["bar"], 2.6)
    bar.set_label("<colorbar>")
    _add_bar(ax, mappable, text, cax=bar, orientation="horizontal")
    _left_label(bar, label)
    if remarks:
        note = figure.text(
            _MARGIN / _WIDTH,
            _MARGIN / high,
            remarks,
            va="bottom",
            ha="left",
            fontsize="small",
            fontfamily=note_fonts,
            alpha=0.75,
            gid="remarks",
        )
        plain_text(note)
    return ax


def _on_axes(text: ColouredTokens, rows: list[_Row], fonts: list[str], ax: Axes) -> Axes:
    """Rows within axes of the user's, in letters that are as large as they fit."""
    scale = text.scale
    mappable = ScalarMappable(norm_of(scale), colours_of(scale, is_dark(ax)))
    ax.set_axis_off()
    bar = _add_bar(ax, mappable, text, location="bottom", shrink=0.5, aspect=40, anchor=(0.0, 0.0), pad=0.02)
    _left_label(bar.ax, wrapped(written([scale.label], None)[0], _points(ax)[0], 0.85 * SIZE))
    remarks = _remarks(text, rows)
    head_line(ax, "", remarks)
    settle(ax)
    wide, high = _points(ax)
    size = next(
        (size for size in np.arange(SIZE, SMALLEST - 0.1, -0.5) if _fits(rows, fonts, size, wide, high)), SMALLEST
    )
    font = FontProperties(family=fonts, size=float(size))
    kept = _fitting(rows, font, wide, high)
    for _ in range(3):  # what is said about the rest takes room, too
        if kept == rows:
            break
        for note in [note for note in ax.texts if note.get_gid() == "remarks"]:
            note.remove()
        part = f"the first {len(kept[0].tokens):,} of {len(rows[0].tokens):,} positions"
        head_line(ax, "", [*_remarks(text, kept), part if kept[0] != rows[0] else ""])
        settle(ax)
        before, kept = kept, _fitting(kept, font, *_points(ax))
        if kept == before:
            break
    _draw_words(ax, placed_words(kept, font, wide), font, mappable)
    dash_bar(bar, mappable, [ax])
    return ax


def _fitting(rows: list[_Row], font: FontProperties, wide: float, high: float) -> list[_Row]:
    """The first rows that fit, at least one; of one that is too long alone the first tokens that do."""
    count = len(rows)
    while count > 1 and _bottom(placed_words(rows[:count], font, wide), font) > high:
        count -= 1
    if count != 1 or _bottom(placed_words(rows[:1], font, wide), font) <= high:
        return rows[:count]
    least = _HEIGHT * float(font.get_size())
    ends = [word.top + least for word in placed_words(rows[:1], font, wide) if not word.bare]
    return [replace(rows[0], tokens=rows[0].tokens[: max(1, sum(end <= high for end in ends))])]


def _fits(rows: list[_Row], fonts: list[str], size: float, wide: float, high: float) -> bool:
    font = FontProperties(family=fonts, size=float(size))
    return _bottom(placed_words(rows, font, wide), font) <= high


def _points(ax: Axes) -> tuple[float, float]:
    """Width and height of axes in points."""
    box, dots = ax.get_window_extent(), figure_of(ax).get_dpi() / 72
    return float(box.width) / dots, float(box.height) / dots


def _add_bar(ax: Axes, mappable: ScalarMappable, text: ColouredTokens, **options: object) -> Colorbar:
    scale = text.scale
    return add_bar(ax, mappable, scale.label, scale.ticks, extend=scale.tip(text.weights), **options)


def _left_label(bar: Axes, label: str) -> None:
    """The label of a bar from its left end on, so that a long one has the width of the picture."""
    bar.set_xlabel(label, loc="left", size="small")
    plain_text(bar.xaxis.label)
    ticks = bar.get_xticklabels()
    ticks[0].set_horizontalalignment("left")
    ticks[-1].set_horizontalalignment("right")


def _remarks(text: ColouredTokens, rows: list[_Row]) -> list[str]:
    drawn = [token for row in rows for token in row.tokens]
    return [
        *text.remarks,
        f"the first {len(rows)} of {len(text.rows):,} rows" if len(rows) < len(text.rows) else "",
        text.left_out,
        "hatched: padding" if any(masked for _, _, masked in drawn) else "",
        "red cross: NaN" if any(np.isnan(weight) for _, weight, _ in drawn) else "",
    ]


def placed_words(rows: list[_Row], font: FontProperties, width: float) -> list[Word]:
    """The place of each title and token, with lines broken before the right edge.

    Args:
        rows: The rows, as they are written.
        font: Of the letters.
        width: In points.
    """
    size = float(font.get_size())
    words, top = [], 0.0
    for row in rows:
        if row.title:
            title = _fitted(row.title, font, width)
            words.append(Word(title, 0.0, top, width_of(title, font), 0.0, False, True))
            top += _HEIGHT * size
        left = 0.0
        for text, weight, masked in row.tokens:
            text = "" if masked else "\N{MULTIPLICATION SIGN}" if np.isnan(weight) else text
            text = _fitted(text, font, width - 2 * _INSIDE * size)
            wide = max(1.1 * size, width_of(text, font) + 2 * _INSIDE * size)
            if left > 0 and left + wide > width:
                left, top = 0.0, top + (_HEIGHT + _SPACE) * size
            words.append(Word(text, left, top, wide, weight, masked))
            left += wide + _SPACE * size
        top += (_HEIGHT + _BETWEEN_ROWS) * size
    return words


def _fitted(text: str, font: FontProperties, width: float) -> str:
    """A text cut so that it is no wider than there is room."""
    if width_of(text, font) <= width:
        return text
    longest = max((count for count in range(len(text)) if width_of(text[:count] + "…", font) <= width), default=0)
    return text[:longest] + "…"


def _bottom(words: list[Word], font: FontProperties) -> float:
    return max((word.top for word in words), default=0.0) + _HEIGHT * float(font.get_size())


def _from_upper_left(ax: Axes) -> Transform:
    """Points from the upper left corner of the axes, down and to the right."""
    figure = figure_of(ax)
    return Affine2D().scale(1 / 72, -1 / 72) + figure.dpi_scale_trans + ScaledTranslation(0, 1, ax.transAxes)  # type: ignore[arg-type]


def _draw_words(ax: Axes, words: list[Word], font: FontProperties, colours: ScalarMappable) -> None:
    place = _from_upper_left(ax)
    high = _HEIGHT * float(font.get_size())
    _underline(ax, words, high, colours, place)
    for word in words:
        if not word.bare:
            ax.add_artist(_ground(word, high, place, colours, ax))
        face = nan_colour(ax) if np.isnan(word.weight) else colours.to_rgba(np.array(word.weight))
        ink = ax.title.get_color() if word.bare else ink_on(face)
        middle = word.left if word.bare else word.left + word.width / 2
        text = Text(
            middle,
            word.top + high / 2,
            word.text,
            color=ink,
            fontproperties=font,
            transform=place,
            ha="left" if word.bare else "center",
            va="center_baseline",
            gid="title" if word.bare else "token",
        )
        text.set_in_layout(False)  # lines are broken for the axes as they are; a layout would narrow them again
        ax.add_artist(plain_text(text))


def _underline(ax: Axes, words: list[Word], high: float, colours: ScalarMappable, place: Transform) -> None:
    """Dashes under what is below 0, so that both sides can be told without colours."""
    least = float(np.min(colours.norm.vmin or 0.0))
    below = [word for word in words if not word.bare and not word.masked and word.weight < NEARLY_0 * least < 0]
    if not below:
        return
    inset = 0.12 * high
    lines = [
        [(word.left + inset, word.top + 0.86 * high), (word.left + word.width - inset, word.top + 0.86 * high)]
        for word in below
    ]
    inks = [ink_on(colours.to_rgba(np.array(word.weight))) for word in below]
    marks = LineCollection(
        lines, colors=inks, linewidths=0.8, linestyles=[(0, (3, 2))], transform=place, clip_on=False, gid=BELOW
    )
    marks.set_in_layout(False)
    marks.set_zorder(2.5)
    ax.add_collection(marks, autolim=False)


def _ground(word: Word, high: float, place: Transform, colours: ScalarMappable, ax: Axes) -> Rectangle:
    rectangle = Rectangle((word.left, word.top), word.width, high, transform=place, linewidth=0, clip_on=False)
    rectangle.set_gid("masked" if word.masked else "nan" if np.isnan(word.weight) else "token")
    rectangle.set_in_layout(False)
    if word.masked:
        rectangle.set(**masked_style(ax))
    elif np.isnan(word.weight):
        rectangle.set(facecolor=nan_colour(ax))
    else:
        rectangle.set(facecolor=colours.to_rgba(np.array(word.weight)))
    return rectangle
