"""Signed relevance on a page: bars, words, columns over time and tinted pictures, all on a scale around 0.

More is orange and to the right or up, less is blue and to the left or down; the number stands beside each bar, so that
nothing depends on colour. Where a method is never negative, the scale has no other side.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnscope.colours import LIGHTNESS, as_rgb, png_of, rgb, softened
from attnscope.marks import exact, isolated, number, plain, rounded_up

MOST_BARS = 12
"""The parts beyond are one row: of relevance that adds up their sum, of any other how large they are at most."""
STRONGEST_TINT = 0.8
"""How much of the picture the strongest tint covers, from 0 to 1."""
_COLUMNS = (760, 150)
"""Width and height of the columns over time, before they are stretched to the width of the page."""
_PICTURE = 336
"""About how wide a picture is drawn, in pixels."""


@dataclass(frozen=True)
class SignedParts:
    """The parts of one sample with their relevance.

    Attributes:
        kind: What they are: ``features``, ``tokens`` and so on.
        names: What each is called.
        values: What the sample has there, as text; empty where there is no single value.
        relevance: dims ``(part,)``, signed, in the unit of the method.
        units: That unit; empty where nothing says it.
        adds_up: Whether sums of the relevance mean something.
        one_sided: Whether the method is never negative.
    """

    kind: str
    names: Sequence[str]
    values: Sequence[str]
    relevance: np.ndarray
    units: str = ""
    adds_up: bool = False
    one_sided: bool = False

    @property
    def order(self) -> np.ndarray:
        """The parts by their absolute relevance, the largest first."""
        return np.argsort(-np.abs(self.relevance), kind="stable")

    @property
    def drawn(self) -> int:
        """How many parts have a bar of their own."""
        return len(self.names) if len(self.names) <= MOST_BARS + 1 else MOST_BARS

    @property
    def rest(self) -> float:
        """The sum over the others."""
        return float(self.relevance[self.order[self.drawn :]].sum())

    @property
    def rest_within(self) -> float:
        """How large the others are at most, on either side of 0."""
        return float(np.nanmax(np.abs(self.relevance[self.order[self.drawn :]]), initial=0.0))

    @property
    def reach(self) -> float:
        """The end of the scale, on either side where it has two."""
        rest = abs(self.rest) if self.adds_up else 0.0
        return rounded_up(max(float(np.nanmax(np.abs(self.relevance), initial=0.0)), rest))


def signed(value: float) -> str:
    """A number with its sign.

    Example:
        >>> signed(0.25), signed(0.0)
        ('+0.250', '0.00')
    """
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return f"{sign}{number(abs(value))}"


def signed_bars(parts: SignedParts) -> str:
    """A table: name, value, bar and number, the largest first; the parts that have no bar of their own in one row."""
    has_values = any(parts.values)
    rows = "".join(
        _bar(parts, parts.names[place], parts.values[place] if has_values else None, float(parts.relevance[place]))
        for place in parts.order[: parts.drawn]
    )
    left = len(parts.names) - parts.drawn
    if left:
        rows += _rest(parts, f"the other {left} {parts.kind}", "" if has_values else None)
    low, high = ("0", f"{parts.reach:g}") if parts.one_sided else ("lowers", "raises")
    kind = "'signed onesided'" if parts.one_sided else "signed"
    value = "<th class=number>value</th>" if has_values else ""
    unit = f" ({html.escape(parts.units)})" if parts.units else ""
    return (
        f"<div class=wide tabindex=0><table class={kind}><thead><tr><th>{html.escape(parts.kind)}</th>{value}"
        f"<th class=axis><span>{low}</span><span>{high}</span></th><th class=number>relevance{unit}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _bar(parts: SignedParts, name: str, value: str | None, relevance: float, kind: str = "part") -> str:
    zero, whole = (0, 100) if parts.one_sided else (50, 50)
    share = abs(relevance) / parts.reach * whole
    place = f"left:{zero - share if relevance < 0 else zero:.2f}%;width:{share:.2f}%"
    said = number(relevance) if parts.one_sided else signed(relevance)
    return _row(
        name,
        value,
        f"<i class={_side(relevance)} style='{place}'></i>" if _side(relevance) else "",
        f" title='{exact(relevance)}'>{said}",
        kind,
    )


def _rest(parts: SignedParts, name: str, value: str | None) -> str:
    """The parts without a bar of their own; numbers that do not add up have no sum."""
    if parts.adds_up:
        return _bar(parts, name, value, parts.rest, "rest")
    most = number(parts.rest_within)
    return _row(name, value, "", f">at most {most}" if parts.one_sided else f">within ±{most}", "rest")


def _row(name: str, value: str | None, bar: str, said: str, kind: str) -> str:
    cell = "" if value is None else f"<td class=number>{html.escape(value)}</td>"
    return (
        f"<tr class={kind}><td class=name>{isolated(name)}</td>{cell}<td class=track>{bar}</td>"
        f"<td class=number{said}</td></tr>"
    )


def _side(relevance: float) -> str:
    """The class of its mark; empty for 0 and NaN, which have none."""
    return "less" if relevance < 0 else "more" if relevance > 0 else ""


def signed_words(parts: SignedParts) -> str:
    """The sample's own text: more is on orange, less on blue with a dashed line below."""
    words = "".join(
        f"<span class='{f'word {_side(value)}'.rstrip()}' style='--share:{100 * abs(value) / parts.reach:.0f}%' "
        f"title='{plain(name)}: {exact(value)}'>{isolated(name)}</span> "
        for name, value in zip(parts.names, map(float, parts.relevance), strict=True)
    )
    return f"<p class=words>{words}</p>"


def signed_columns(parts: SignedParts) -> str:
    """A column per step: up raises, down lowers."""
    width, height = _COLUMNS
    step, middle = width / max(1, len(parts.names)), height if parts.one_sided else height / 2
    columns = "".join(
        f"<rect class={_side(value)} x='{place * step + 0.1 * step:.2f}' width='{0.8 * step:.2f}' "
        f"y='{middle - max(value, 0) / parts.reach * middle:.2f}' height='{abs(value) / parts.reach * middle:.2f}'>"
        f"<title>{plain(name)}: {exact(value)}</title></rect>"
        for place, (name, value) in enumerate(zip(parts.names, map(float, parts.relevance), strict=True))
        if _side(value)
    )
    every = max(1, -(-len(parts.names) // 12))
    ticks = "".join(
        f"<span style='left:{100 * (place + 0.5) / len(parts.names):.2f}%'>{isolated(parts.names[place])}</span>"
        for place in range(0, len(parts.names), every)
    )
    return (
        f"<div class=columns><svg viewBox='0 0 {width} {height}' preserveAspectRatio=none role=img "
        f"aria-label='relevance of each of {len(parts.names)} steps'><line x1=0 x2={width} y1={middle} y2={middle} />"
        f"{columns}</svg><div class=steps>{ticks}</div></div>"
    )


def tinted_picture(picture: np.ndarray, relevance: np.ndarray, parts: SignedParts, name: str) -> str:
    """A picture beside itself in a soft grey, where patches that raise the answer are orange, those that lower it blue.

    Args:
        picture: dims ``(height, width)`` or ``(height, width, channel)`` with 1, 3 or 4 channels, of any range.
        relevance: dims ``(row, column)`` of patches.
        parts: What these patches are, with the end of the scale.
        name: Of the sample.
    """
    pixels = as_rgb(picture).astype(float)
    rows, columns = relevance.shape
    down, across = (np.arange(size) * cells // size for size, cells in zip(pixels.shape, (rows, columns), strict=False))
    share = np.clip(relevance / parts.reach, -1, 1)[np.ix_(down, across)][..., None]
    tint = np.where(share < 0, rgb("group-0", dark=False), rgb("group-1", dark=False))
    grey = 255 * softened(pixels @ LIGHTNESS / 255)[..., None]
    tinted = grey + (tint - grey) * np.abs(share) * STRONGEST_TINT
    caption = "the more orange, the more relevant" if parts.one_sided else "orange raises, blue lowers"
    return _side_by_side({"as it is": pixels, caption: tinted}, name)


def own_picture(picture: np.ndarray, name: str) -> str:
    """A picture alone.

    Args:
        picture: dims ``(height, width)`` or ``(height, width, channel)`` with 1, 3 or 4 channels, of any range.
        name: Of the sample.
    """
    return _side_by_side({"as it is": as_rgb(picture).astype(float)}, name)


def _side_by_side(pictures: Mapping[str, np.ndarray], name: str) -> str:
    drawn = "".join(_picture(pixels, f"{name}, {caption}", caption) for caption, pixels in pictures.items())
    return f"<div class=pictures>{drawn}</div>"


def _picture(pixels: np.ndarray, described: str, caption: str) -> str:
    source = "data:image/png;base64," + base64.b64encode(png_of(pixels.round().astype("uint8"))).decode()
    zoom = max(1, round(_PICTURE / max(pixels.shape[:2])))
    height, width = (size * zoom for size in pixels.shape[:2])
    return (
        f"<figure><img src='{source}' width={width} height={height} alt='{html.escape(described, quote=True)}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )
