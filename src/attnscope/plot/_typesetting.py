"""Text in pictures: any label can be written with the fonts that are installed, and none is read as a formula."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from matplotlib import font_manager, rcParams
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from attnscope.marks import shown

LONGEST = 24
"""Longer names are cut, and the picture says so."""
_ALWAYS_THERE = "DejaVu Sans"
_NO_SIGNS = "LastResort"
"""A font of boxes that represent missing characters."""


def plain_text(text: Text) -> Text:
    """The text with `$` and backslashes taken literally."""
    text.set_parse_math(False)
    text.set_usetex(False)
    return text


def cut(label: str, longest: int = LONGEST) -> str:
    """A label cut to the room of `longest` letters, with an ellipsis for the rest.

    Signs as wide as two letters, such as those of Chinese and emoji, count as two.
    """
    if room_of(label) <= longest:
        return label
    room = accumulate(map(room_of, label))
    return "".join(sign for sign, taken in zip(label, room, strict=True) if taken < longest) + "…"


def cut_front(label: str, longest: int = LONGEST) -> str:
    """A label cut at its front, for names of sites, which differ at their end."""
    return cut(label[::-1], longest)[::-1]


def room_of(label: str) -> int:
    """For how many letters a label takes room."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in label)


def written(labels: Iterable[str], longest: int | None = LONGEST) -> tuple[list[str], list[str]]:
    """Labels as they are drawn, and the fonts that have all of their characters.

    Invisible and control characters are written out, as everywhere. A character that no installed font has becomes its
    code point, such as ⟨U+1F600⟩.
    """
    visible = [shown(label) for label in labels]
    fonts = families(frozenset("".join(visible)))
    known = _signs(tuple(fonts))
    drawn = [_with_numbers(label, known) for label in visible]
    return (drawn if longest is None else [cut(label, longest) for label in drawn]), fonts


def _with_numbers(label: str, known: frozenset[int]) -> str:
    return "".join(sign if ord(sign) in known else f"⟨U+{ord(sign):04X}⟩" for sign in label)


def families(signs: frozenset[str]) -> list[str]:
    """The user's fonts, one that comes with Matplotlib, and others of the machine that have what these lack."""
    names = list(dict.fromkeys([*rcParams["font.family"], _ALWAYS_THERE]))
    missing = frozenset(map(ord, signs)) - _signs(tuple(names))
    return [*names, *_fonts_with(missing)] if missing else names


@lru_cache(maxsize=64)
def _signs_of(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()


def _signs(names: tuple[str, ...]) -> frozenset[int]:
    signs: frozenset[int] = frozenset()
    for name in names:
        try:
            path = font_manager.findfont(font_manager.FontProperties(family=name), fallback_to_default=False)
        except ValueError:
            continue
        signs |= _signs_of(str(path))
    return signs


@lru_cache(maxsize=256)
def _fonts_with(missing: frozenset[int]) -> tuple[str, ...]:
    """The fewest installed fonts that cover as many of these characters as any do."""
    chosen: list[str] = []
    for entry in font_manager.fontManager.ttflist:
        if not missing:
            break
        upright = entry.style == entry.stretch == "normal" and entry.weight in (400, "normal")
        if _NO_SIGNS in Path(entry.fname).name or not upright or entry.name in chosen:
            continue
        has = _signs_of(entry.fname) & missing
        if has:
            chosen.append(entry.name)
            missing -= has
    return tuple(chosen)


def broken(text: str, letters: int) -> list[str]:
    """A text in lines of at most so many letters: broken at spaces, at the marks of a path, or else anywhere."""
    lines = [""]
    for part in re.findall(r"[^\s/_.]*[\s/_.]?", text):
        if lines[-1] and len(lines[-1] + part.rstrip()) > letters:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > letters:
            lines[-1:] = [lines[-1][:letters], lines[-1][letters:]]
    return [line.rstrip() for line in lines if line.strip()]


def width_of(text: str, font: font_manager.FontProperties) -> float:
    """Points that a text is wide."""
    return _width_at_1000(text, tuple(font.get_family())) * float(font.get_size()) / 1000


@lru_cache(maxsize=8192)
def _width_at_1000(text: str, fonts: tuple[str, ...]) -> float:
    font = font_manager.FontProperties(family=list(fonts), size=1000)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) if text else 0.0


def wrapped(parts: Sequence[str], points: float, size: float) -> str:
    """Remarks one after the other, in lines that fit a width.

    Args:
        parts: The remarks; empty ones are left out.
        points: The width.
        size: Of the letters, in points.
    """
    text = " · ".join(part for part in parts if part)
    font = font_manager.FontProperties(family=families(frozenset(text)), size=size)
    letters = max(24, int(points / (0.54 * size)))
    lines = textwrap.wrap(text, letters)
    while letters > 24 and any(width_of(line, font) > points for line in lines):
        letters -= 1
        lines = textwrap.wrap(text, letters)
    return "\n".join(lines)
