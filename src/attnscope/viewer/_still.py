"""A view as one still picture, drawn by Python, for where no page can draw it: all heads, or the map that is looked at.

Only what a picture needs is drawn; the page draws the rest, and sends its own picture as soon as it has one.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnscope import colours
from attnscope.marks import rounded_up, shown
from attnscope.viewer._payload import Payload
from attnscope.viewer._quantise import MASKED, ODD, THUMBNAIL_LEVELS, read_thumbnails

MOST_WIDTH, LEAST_WIDTH = 900, 480
MOST_ABOUT = 60
"""Of the letters that say which sample it is."""
MOST_SITES, MOST_PANELS = 16, 16
"""How many thumbnails a picture of all heads has at most, down and across."""
LARGEST_CELL = 84
NAMES = 170
"""Least room for names at the left of all heads, in pixels."""
LETTERS = 32
"""Of a line of a name there."""
MOST_CELLS = 256
"""Rows and columns of a map that are drawn; those of a larger one are drawn in blocks."""
MAP_SIDE = 520
LONGEST_LABEL = 16
LETTER, LETTER_OF_TITLE = 7.2, 10.5
"""About how wide a letter of a label and of the title is, in pixels."""
_SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sqrt": np.sqrt,
    "linear": np.asarray,
    "log": lambda share: np.maximum(0, 1 + np.log10(np.maximum(share, 1e-9)) / 4),
}
_SAID = {"sqrt": "square root", "linear": "linear", "log": "logarithmic"}
_NOT_IN_XML = re.compile("[\ufffe\uffff]")


@dataclass(frozen=True)
class Look:
    """How weights are drawn.

    Attributes:
        maximum: End of the scale.
        scale: ``sqrt``, ``linear`` or ``log``.
        ramp: Colours from 0 to the end of the scale, dims ``(256, 3)``.
    """

    maximum: float
    scale: str
    ramp: np.ndarray

    def pixels(self, weights: np.ndarray, masked: np.ndarray, odd: np.ndarray) -> np.ndarray:
        """Colours of weights, dims ``(row, column, 3)``, uint8."""
        share = _SCALES[self.scale](np.clip(np.nan_to_num(weights) / self.maximum, 0, 1))
        pixels = self.ramp[np.round(share * (colours.LEVELS - 1)).astype(int)]
        pixels[masked] = colours.rgb("masked-flat", dark=False)
        pixels[odd] = colours.NOT_A_NUMBER
        return np.asarray(pixels)


def still(payload: Payload, state: Mapping[str, Any]) -> str:
    """The picture as an SVG, which holds all that it shows and runs nothing.

    Args:
        payload: What can be looked at.
        state: What is looked at, or a part of it; what makes no sense in it is as usual.
    """
    place = _within(state.get("sample"), len(payload.samples))
    site = _within(state.get("site"), len(payload.sites))
    drawn, wide, height = (
        _map(payload, place, site, state)
        if state.get("view", "overview") != "overview" and payload.samples[place] < payload.sites[site].samples
        else _all_heads(payload, place, state)
    )
    sample = f"sample {place + 1} of {len(payload.samples)}" if len(payload.samples) > 1 else ""
    label = payload.manifest["samples"][place]["runs"][payload.sites[site].run]["label"]
    about = ": ".join(filter(None, [sample, label]))
    page = colours.TOKENS["page"][0]
    title = payload.manifest["title"]
    beside = 60 + LETTER * min(len(about), MOST_ABOUT)
    width = min(MOST_WIDTH, max(LEAST_WIDTH, int(wide), int(beside + LETTER_OF_TITLE * len(title))))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' "
        f"font-family='{html.escape(colours.FONTS['sans'])}'>"
        f"<rect width='{width}' height='{height}' rx='8' fill='{page}'/>"
        f"{_text(20, 34, title, size=17, weight=650, most=int((width - beside) / LETTER_OF_TITLE))}"
        f"{_text(width - 20, 34, about, anchor='end', quiet=True, most=MOST_ABOUT)}{drawn}</svg>"
    )


def _within(chosen: object, count: int) -> int:
    return int(chosen) if isinstance(chosen, int | np.integer) and 0 <= chosen < count else 0


def _look(state: Mapping[str, Any], largest: float) -> Look:
    scale, ramp = state.get("scale"), state.get("ramp")
    maximum = 1.0 if state.get("range") == "one" else rounded_up(largest)
    table = colours.ramp(str(ramp) if ramp in colours.RAMPS else colours.RAMPS[0])
    return Look(maximum, str(scale) if scale in _SCALES else "sqrt", table)


def _all_heads(payload: Payload, place: int, state: Mapping[str, Any]) -> tuple[str, float, int]:
    """The thumbnails of all heads of the first sites, and the width and height that they need."""
    sample = payload.samples[place]
    there = [site for site in payload.sites if sample < site.samples]
    shapes = [
        (len(site.tokens("query", [sample])[0].labels), len(site.tokens("key", [sample])[0].labels))
        for site in there
        for _ in site.panels
    ]
    thumbnails = iter(read_thumbnails(payload.block(f"thumbnails/{place}"), shapes))
    rows = [(site, [next(thumbnails) for _ in site.panels]) for site in there]
    look = _look(state, max((scale for _, row in rows for scale, _ in row), default=0.0))
    drawn = rows[:MOST_SITES]
    across = max(min(len(row), MOST_PANELS) for _, row in drawn)
    names = [_lines(payload.name_of(site), LETTERS) for site, _ in drawn]
    wide = max(NAMES, 30 + int(7 * max(len(line) for lines in names for line in lines)))
    cell = min(LARGEST_CELL, (MOST_WIDTH - wide - 40) // across)
    parts, y = [_text(20, 56, "all heads", quiet=True)], 92
    parts += [
        _text(wide + (head + 0.5) * cell, 84, str(head), anchor="middle", size=10.5, quiet=True)
        for head in range(across)
    ]
    for lines, (_, row) in zip(names, drawn, strict=True):
        first = y + cell / 2 + 4 - 7 * (len(lines) - 1)
        parts += [_text(20, first + 14 * place, line) for place, line in enumerate(lines)]
        for head, (scale, codes) in enumerate(row[:MOST_PANELS]):
            weights = scale * (codes / THUMBNAIL_LEVELS) ** 2
            pixels = look.pixels(weights, codes == MASKED, codes == ODD)
            parts.append(_image(pixels, wide + head * cell, y, cell - 5, cell - 5))
        y += cell
    left = [f"{len(rows) - len(drawn)} more sites" if len(rows) > len(drawn) else ""]
    left += [f"heads from {MOST_PANELS} on" if any(len(row) > MOST_PANELS for _, row in drawn) else ""]
    words = f"Not in this picture: {' and '.join(filter(None, left))}." if any(left) else ""
    if words:
        parts.append(_text(20, y + 16, words, quiet=True))
        y += 24
    any_masked = any((codes == MASKED).any() for _, row in drawn for _, codes in row[:MOST_PANELS])
    bar, end = _scale_bar(look, 20, y + 12, masked=any_masked)
    return "".join([*parts, bar]), max(wide + across * cell + 20, end, 40 + LETTER * len(words)), y + 58


def _map(payload: Payload, place: int, number_of: int, state: Mapping[str, Any]) -> tuple[str, float, int]:
    """The map that is looked at, with its labels, and the width and height that it needs."""
    site, sample = payload.sites[number_of], payload.samples[place]
    panel = state.get("panel", 0)
    maps = payload.maps(place, number_of)
    chosen, name = [_within(panel, len(maps))], site.panels[_within(panel, len(maps))]
    if panel in ("mean", "max"):
        heads = state.get("heads") or ()
        chosen = [head for head in heads if head in range(len(maps))] or list(range(len(maps)))
        name = f"{panel} of {len(chosen)} heads"
    stacked = np.stack([maps[head].weights for head in chosen])
    weights = stacked.max(0) if panel == "max" else stacked.mean(0)
    nothing = np.zeros(weights.shape, bool)
    masked, odd = (
        np.all([nothing if cells is None else cells for cells in each], axis=0)
        for each in ([maps[head].masked for head in chosen], [maps[head].odd for head in chosen])
    )
    look = _look(state, float(weights.max(initial=0.0)))
    size = max(-(-extent // MOST_CELLS) for extent in weights.shape)
    pixels = look.pixels(*(_blocks(each, size) for each in (weights, masked, odd)))
    queries, keys = (site.tokens(axis, [sample])[0].labels for axis in ("query", "key"))
    step = min(MAP_SIDE / len(keys), MAP_SIDE / len(queries), 40)
    every = _every(step)
    left, top = 20 + _room(queries, every), 72 + _room(keys, every)
    width, height = step * len(keys), step * len(queries)
    scale, end = _scale_bar(look, left, top + height + 14, masked=bool(masked.any()))
    called = ", ".join(filter(None, [payload.name_of(site), name]))
    parts = [
        _text(20, 56, called, quiet=True, most=110),
        _image(pixels, left, top, width, height),
        *_labels(queries, lambda at: f"x='{left - 7}' y='{top + (at + 0.5) * step + 4:.1f}' text-anchor='end'", every),
        *_labels(
            keys, lambda at: f"transform='translate({left + (at + 0.5) * step + 4:.1f} {top - 7}) rotate(-90)'", every
        ),
        scale,
    ]
    return "".join(parts), max(left + width + 20, end, 40 + LETTER * len(called)), int(top + height + 62)


def _blocks(cells: np.ndarray, size: int) -> np.ndarray:
    """The largest of each block of so many rows and columns."""
    for axis in (0, 1):
        cells = np.maximum.reduceat(cells, np.arange(0, cells.shape[axis], size), axis=axis)
    return cells


def _every(step: float) -> int:
    """Every how many positions there is a label, where each is so many pixels wide."""
    counts = [count * int(10**power) for power in range(9) for count in (1, 2, 5)]
    return next(count for count in counts if count * step > 13)


def _label(labels: Sequence[str], place: int, every: int) -> str:
    """What a position is called: with its number where others are left out."""
    return labels[place] if every == 1 or labels[place] == str(place) else f"{place} {labels[place]}"


def _room(labels: Sequence[str], every: int) -> int:
    drawn = (len(_label(labels, place, every)) for place in range(0, len(labels), every))
    return int(min(LONGEST_LABEL, max(drawn, default=1)) * LETTER) + 12


def _labels(labels: Sequence[str], placed: Callable[[int], str], every: int) -> list[str]:
    return [
        f"<text {placed(place)} font-size='11' fill='{colours.TOKENS['ink'][0]}'>"
        f"{_cut(_label(labels, place, every), LONGEST_LABEL)}</text>"
        for place in range(0, len(labels), every)
    ]


def _lines(name: str, letters: int) -> list[str]:
    """A name in lines of about so many letters, broken behind the marks of a path or anywhere; three, and no more."""
    lines = [""]
    for part in re.findall(rf"(?s).{{0,{letters - 1}}}[\s/_.]|.{{1,{letters}}}", name):
        if len(lines[-1] + part) > letters:
            lines.append("")
        lines[-1] += part
    return lines if len(lines) <= 3 else ["\N{HORIZONTAL ELLIPSIS}" + lines[-3][1:], *lines[-2:]]


def _cut(text: str, most: int) -> str:
    """A text that is no markup, and no longer than so many letters."""
    text = _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", shown(text))
    return html.escape(text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}")


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float = 12.5,
    weight: int = 400,
    anchor: str = "start",
    quiet: bool = False,
    most: int = 80,
) -> str:
    if not text:
        return ""
    fill = colours.TOKENS["quiet" if quiet else "ink"][0]
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' text-anchor='{anchor}' "
        f"fill='{fill}'>{_cut(text, most)}</text>"
    )


def _image(pixels: np.ndarray, x: float, y: float, width: float, height: float) -> str:
    source = base64.b64encode(colours.png_of(np.ascontiguousarray(pixels))).decode()
    return (
        f"<image x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height:.1f}' preserveAspectRatio='none' "
        f"style='image-rendering:pixelated' href='data:image/png;base64,{source}'/>"
    )


def _scale_bar(look: Look, x: float, y: float, *, masked: bool) -> tuple[str, float]:
    """The scale with its words, and where the picture may end beside it."""
    shares = np.linspace(0, 1, 128)[None]
    steps = look.ramp[np.round(shares * (colours.LEVELS - 1)).astype(int)]
    words = f"0 to {look.maximum:g}, {_SAID[look.scale]} scale{'; masked cells are grey' if masked else ''}"
    drawn = _image(steps, x, y, 200, 12) + _text(x + 212, y + 10.5, words, size=11.5, quiet=True)
    return drawn, x + 232 + LETTER * len(words)
