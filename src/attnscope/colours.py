"""The colours of every page and picture: tokens with a light and a dark value each, and ramps for values.

Tokens are written here and nowhere else: style sheets read them as custom properties (`--ink`), plots as values, and
the viewer's script finds them in its manifest.

A ramp runs from pale to dark on light pages and from dark to pale on dark ones. It goes through its anchors in OKLab,
in even steps of lightness: equal steps of a value look equally large, and printed in grey it keeps its order. Zero is
always the end nearest to the page. Differences have a ramp of two arms, blue for less and orange for more, which
colour-blind readers can distinguish.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

LEVELS = 256
NEARLY_0 = 0.08
"""Part of a scale around 0 up to which a value needs no mark of its side."""
_ANCHORS = {
    "sea": (
        (0.965, 0.030, 100.0),
        (0.784, 0.105, 168.0),
        (0.603, 0.115, 222.0),
        (0.421, 0.135, 266.0),
        (0.240, 0.110, 292.0),
    ),
    "ember": (
        (0.965, 0.030, 95.0),
        (0.784, 0.135, 75.0),
        (0.603, 0.165, 42.0),
        (0.421, 0.140, 18.0),
        (0.240, 0.080, 350.0),
    ),
    "grey": ((0.965, 0.0, 0.0), (0.240, 0.0, 0.0)),
}
"""Lightness, chroma and hue in degrees, in even steps."""
RAMPS = tuple(_ANCHORS)
"""Names of the ramps; the first is the default."""
_LESS, _EVEN, _MORE = (0.345, 0.140, 262.0), (0.965, 0.004, 90.0), (0.345, 0.110, 45.0)
_SOME_LESS, _SOME_MORE = (0.655, 0.130, 250.0), (0.655, 0.140, 62.0)
_LESS_DARK, _EVEN_DARK, _MORE_DARK = (0.86, 0.080, 240.0), (0.240, 0.008, 270.0), (0.86, 0.110, 70.0)
_SOME_LESS_DARK, _SOME_MORE_DARK = (0.550, 0.140, 250.0), (0.550, 0.125, 55.0)
"""Of the ramp around 0: its ends, its middle, and half of each arm, which has most colour and a contrast of 3 to 1 at
least to the page. On dark pages the ends are light."""
_INKS = ((0, 0, 0), (0xFF, 0xFF, 0xFF))
TOKENS = {
    "page": ("#fbfaf7", "#15171c"),
    "card": ("#ffffff", "#1c1f26"),
    "ink": ("#1d2026", "#e7e8ea"),
    "quiet": ("#5d636e", "#a0a6b2"),
    "line": ("#e4e2dc", "#31353f"),
    "edge": ("#a3a198", "#6b7180"),
    "accent": ("#2a5db0", "#8fb4f5"),
    "on-accent": ("#ffffff", "#15171c"),
    "masked": ("#f1f0ec", "#23262d"),
    "hatch": ("#b5b2aa", "#565b66"),
    "masked-flat": ("#e2e0db", "#30333b"),
    "nan": ("#d03b4b", "#d03b4b"),
    "on-nan": ("#ffffff", "#ffffff"),
    "warn": ("#fff5e4", "#2c2314"),
    "warn-line": ("#e2a33b", "#b98331"),
    "warn-ink": ("#6b4300", "#f3d6a3"),
    "calm": ("#eef6f0", "#17251d"),
    "calm-line": ("#6ba583", "#4f8a68"),
    "note": ("#eef1f8", "#1d2331"),
    "note-line": ("#8a9cc6", "#5b6d99"),
    "good": ("#2f7d4f", "#72c398"),
    "middling": ("#8a6a12", "#dcb355"),
    "bad": ("#b03040", "#ef8a98"),
    "group-0": ("#2f6db5", "#6ea6ea"),
    "group-1": ("#d2762b", "#eda25f"),
    "group-2": ("#3c8f63", "#72c398"),
    "group-3": ("#9a5fb0", "#c796da"),
    "group-4": ("#b8476b", "#e88aa6"),
    "group-5": ("#6f7480", "#a6abb8"),
    "group-6": ("#8a6d1f", "#d6bd5f"),
    "group-7": ("#1f8790", "#5fcad3"),
}
"""By name: the colour on light and on dark pages.

Masked cells are striped with `masked` and `hatch`; where they cannot be, they are `masked-flat`, the mean of the
stripes. Groups (of samples, heads, baselines) have no order that a ramp could show.
"""
FONTS = {
    "sans": 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif',
    "mono": 'ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono","DejaVu Sans Mono",monospace',
}
"""What text is set in, as style sheets list it."""


def palette(*, dark: bool) -> dict[str, str]:
    """All tokens as they are on a light or on a dark page: name to ``#rrggbb``."""
    return {name: shades[dark] for name, shades in TOKENS.items()}


def rgb(name: str, *, dark: bool) -> tuple[int, int, int]:
    """A token as red, green and blue, each from 0 to 255.

    Args:
        name: One of `TOKENS`.
        dark: Whether it is for a dark page.
    """
    red, green, blue = bytes.fromhex(TOKENS[name][dark].removeprefix("#"))
    return red, green, blue


NOT_A_NUMBER = rgb("nan", dark=False)
"""NaN, on light and on dark pages."""


def tokens_css(light: str = "&", system: str = "&", dark: str = "") -> str:
    """The rules that give the tokens and fonts to a page, and nothing else.

    By default the rules follow the system's choice of light or dark, for use alone or within the braces of a rule that
    scopes them.

    Args:
        light: Selector of what has the tokens.
        system: Selector of what has the dark ones where the system is dark.
        dark: Selector of what always has the dark ones; empty for none.
    """
    fonts = "".join(f"--{name}:{families};" for name, families in FONTS.items())
    rules = f"{light}{{{fonts}{_declarations(dark=False)}}}\n"
    rules += f"@media screen and (prefers-color-scheme:dark){{{system}{{{_declarations(dark=True)}}}}}\n"
    return rules + (f"{dark}{{{_declarations(dark=True)}}}\n" if dark else "")


def _declarations(*, dark: bool) -> str:
    """All tokens as custom properties, for the braces of a rule."""
    return "".join(f"--{name}:{colour};" for name, colour in palette(dark=dark).items())


def ramp(name: str = RAMPS[0]) -> np.ndarray:
    """A ramp from pale to dark, `(256, 3)`, uint8.

    Args:
        name: One of `RAMPS`.

    Source:
        Ottosson 2020, "A perceptual color space for image processing" (the matrices of OKLab).
    """
    return _through(_ANCHORS[name])


def diverging(*, dark: bool = False) -> np.ndarray:
    """The ramp of differences, `(256, 3)`, uint8: less is blue, none is the page, more is orange.

    Args:
        dark: Whether it is for a dark page.
    """
    if dark:
        return _through((_LESS_DARK, _SOME_LESS_DARK, _EVEN_DARK, _SOME_MORE_DARK, _MORE_DARK))
    return _through((_LESS, _SOME_LESS, _EVEN, _SOME_MORE, _MORE))


def _through(anchors: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    places = np.linspace(0, 1, len(anchors))
    lab = np.array([_lab(*anchor) for anchor in anchors])
    steps = np.linspace(0, 1, LEVELS)
    mixed = np.stack([np.interp(steps, places, lab[:, channel]) for channel in range(3)], axis=-1)
    return np.stack([_in_gamut(colour) for colour in mixed])


def _lab(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    return lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))


def _in_gamut(lab: np.ndarray) -> np.ndarray:
    """The colour as sRGB, with its chroma taken down as far as a screen needs."""
    for factor in np.linspace(1, 0, 51):
        linear = _linear(lab * (1, factor, factor))
        if linear.min() >= -1e-6 and linear.max() <= 1 + 1e-6:
            break
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(curved * 255), dtype=np.uint8)


def _linear(lab: np.ndarray) -> np.ndarray:
    roots = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    mix = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return np.asarray(mix @ (roots @ lab) ** 3)


LIGHTNESS = np.array((0.2126, 0.7152, 0.0722))
"""What red, green and blue add to how light a colour is."""


def luminance(colour: np.ndarray) -> float:
    """Relative luminance as WCAG 2 defines it, from 0 (black) to 1 (white)."""
    part = np.asarray(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ LIGHTNESS)


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """Contrast of two colours as WCAG 2 defines it, from 1 to 21."""
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def ramp_css() -> str:
    """One class per level, `.v0` to `.v255`: fill of a cell, ground and ink of a token; light and dark."""
    return _rules("v", ramp(), ramp()[::-1])


def diverging_css() -> str:
    """The same of the ramp around 0, `.d0` to `.d255`; text on what is below 0 is underlined with dashes."""
    below = ",".join(f".d{level}" for level in range(round(LEVELS / 2 * (1 - NEARLY_0))))
    dashed = f"{below}{{text-decoration:underline dashed 1px;text-underline-offset:3px}}"
    return _rules("d", diverging(), diverging(dark=True)) + dashed


def _rules(kind: str, light: np.ndarray, dark: np.ndarray) -> str:
    on_light, on_dark = (
        "".join(_rule(f"{kind}{level}", colour) for level, colour in enumerate(table)) for table in (light, dark)
    )
    return f"{on_light}@media screen and (prefers-color-scheme:dark){{{on_dark}}}"


def _rule(name: str, colour: np.ndarray) -> str:
    ink = max(_INKS, key=lambda candidate: contrast(colour, np.array(candidate)))
    return f".{name}{{fill:{_hex(colour)};background-color:{_hex(colour)};color:{_hex(np.array(ink))}}}"


def _hex(colour: np.ndarray) -> str:
    return "#" + bytes(int(part) for part in colour).hex()


def levels(values: np.ndarray, maximum: float) -> np.ndarray:
    """Which of the 256 colours each value has, on a scale from 0 to `maximum`; NaN counts as 0."""
    share = np.nan_to_num(values) / maximum
    return np.asarray(np.clip(np.round(share * (LEVELS - 1)), 0, LEVELS - 1), dtype=int)


def levels_around_zero(values: np.ndarray, maximum: float) -> np.ndarray:
    """Which of the 256 colours each value has, on a scale as far to both sides of 0; NaN counts as 0."""
    share = (np.nan_to_num(values) / maximum + 1) / 2
    return np.asarray(np.clip(np.round(share * (LEVELS - 1)), 0, LEVELS - 1), dtype=int)


def png(values: np.ndarray, masked: np.ndarray, maximum: float, *, dark: bool) -> str:
    """A `(row, column)` map as the data URI of a PNG, one pixel per cell."""
    table = ramp()[::-1] if dark else ramp()
    pixels = table[levels(values, maximum)]
    pixels[np.isnan(values)] = NOT_A_NUMBER
    pixels[masked] = rgb("masked-flat", dark=dark)
    return "data:image/png;base64," + base64.b64encode(png_of(pixels)).decode()


def png_of(pixels: np.ndarray) -> bytes:
    """A `(row, column, 3)` picture, uint8, as a PNG."""
    rows, columns = pixels.shape[:2]
    scanlines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """A picture of any range as red, green and blue, `(row, column, 3)`, uint8, stretched over its own range.

    Args:
        picture: dims ``(row, column)`` or ``(row, column, channel)`` with 1, 3 or 4 channels; NaN becomes black.
    """
    picture = np.asarray(picture, dtype="float64")
    picture = picture[..., None] if picture.ndim == 2 else picture
    picture = picture[..., :3] if picture.shape[-1] >= 3 else picture[..., :1].repeat(3, axis=-1)
    known = picture[np.isfinite(picture)]
    least, most = (known.min(), known.max()) if known.size else (0.0, 0.0)
    scaled = (picture - least) / (most - least) if most > least else np.zeros_like(picture)
    return np.asarray(np.nan_to_num(scaled, posinf=1.0, neginf=0.0) * 255).round().astype(np.uint8)


def softened(lightness: np.ndarray) -> np.ndarray:
    """How light a picture is drawn under colours: without black and white, on which they do not show.

    Args:
        lightness: Of any dims, 0 to 1.
    """
    return np.asarray(SOFTEST + (1 - 2 * SOFTEST) * lightness)


SOFTEST = 0.3
"""Lightness of black, and how far from white is white, in a picture under colours."""


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
