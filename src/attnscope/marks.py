"""How values and tokens are written in HTML: text that cannot break a page, numbers, coloured tokens, the scale.

The report and coloured text in a notebook are made of these. Nothing needs a script or a request.
"""

from __future__ import annotations

import html
import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from importlib import resources

import numpy as np

from attnscope import colours

_MARKS = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
_JOINERS = "\u200c\u200d"


def style() -> str:
    """The rules for the marks below, for use alone or within the braces of a rule that scopes them."""
    marks = resources.files("attnscope").joinpath("marks.css").read_text("utf-8")
    return colours.tokens_css() + marks + colours.ramp_css()


def offline_page(title: str, body: str, extra_style: str = "") -> str:
    """A whole page that loads nothing, runs nothing and is readable on light and dark screens."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(shown(title))}</title>\n<style>\n{style()}{extra_style}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )


def shown(label: str) -> str:
    r"""A label as it is written: invisible characters get a mark, those that steer the text their number.

    Example:
        >>> shown(""), shown(" "), shown("a\nb"), shown("\u202e")
        ('∅', '␣', 'a⏎b', '⟨U+202E⟩')
    """
    if not label:
        return "∅"
    if label.isspace() and not set(label) & set(_MARKS):
        return "␣" * len(label)
    return "".join(_MARKS.get(letter) or _visible(letter) for letter in label)


def _visible(letter: str) -> str:
    hidden = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in _JOINERS
    return f"⟨U+{ord(letter):04X}⟩" if hidden else letter


def shortened(label: str, most: int) -> str:
    """A label for a narrow place: its middle is left out, for labels are told apart by their ends.

    Example:
        >>> shortened("the quick brown fox", 10), shortened("fox", 10)
        ('the qu…fox', 'fox')
    """
    if len(label) <= most:
        return label
    front = math.ceil((most - 1) * 0.6)
    return f"{label[:front]}…{label[len(label) - (most - 1 - front) :]}"


def isolated(label: str) -> str:
    """A label in HTML, escaped, its writing direction kept to itself."""
    return f"<bdi>{html.escape(shown(label))}</bdi>"


def plain(label: str) -> str:
    """The same where there can be no elements: tooltips and text in pictures."""
    return f"\u2068{html.escape(shown(label))}\u2069"


def name_with_path(name: str, path: str) -> str:
    """What a site is called, in HTML; its path, where that is another, on request and on paper."""
    text = html.escape(shown(name))
    return text if name == path else f"<abbr title='{plain(path)}'>{text}</abbr>"


def number_in_ascii(value: float) -> str:
    """A value to three digits for files, errors and whatever else a program may read."""
    return "NaN" if math.isnan(value) else f"{value:#.3g}".removesuffix(".")


FEW = 4
"""So many numbers of a model's answer are all written."""
_NUMBER = re.compile(r"[+-]?(inf|\d+(\.\d+)?(e[+-]\d+)?)")
_DECIMAL = re.compile(r"-?\d+(\.\d+(e[+-]\d+)?|e[+-]\d+)")


def readable(word: str) -> str:
    r"""A word as a person reads it: of a number, with a true minus, in its exponent too; files keep the hyphen.

    Example:
        >>> ascii(readable("-0.24")), ascii(readable("2e-05")), readable("P-017"), readable("-a")
        ("'\\u22120.24'", "'2e\\u221205'", 'P-017', '-a')
    """
    return word.replace("-", "\N{MINUS SIGN}") if _NUMBER.fullmatch(word) else word


def as_said(word: str, *, like: str) -> str:
    """A word as a person reads it; a decimal beside another, with no more digits.

    Example:
        >>> as_said("3.9787345", like="0.870"), as_said("7.25", like="class 7"), as_said("1", like="0")
        ('3.98', '7.25', '1')
    """
    return number(float(word)) if all(map(_DECIMAL.fullmatch, (word, like))) else readable(word)


def sample_title(name: str) -> str:
    """What stands above a sample: its id; of one that is a number, with what it numbers.

    Example:
        >>> sample_title("17"), sample_title("P-017")
        ('sample 17', 'P-017')
    """
    return f"sample {name}" if name.isdecimal() else name


def number(value: float) -> str:
    """A value as a person reads it, to three digits."""
    return readable(number_in_ascii(value))


def numbers(values: np.ndarray) -> str:
    """What a model gave for a sample, whatever it means: all of a few numbers, of more the largest and where it is.

    Args:
        values: Of any dims; what are no numbers is written as text.

    Example:
        >>> numbers(np.array([0.25, 0.75])), numbers(np.array([0.1, 0.2, 0.6, 0.05, 0.05])), numbers(np.ones((7, 3)))
        ('0.250, 0.750', '5 numbers, the largest at 2: 0.600', '7 x 3 numbers')
    """
    values = np.asarray(values)
    if values.dtype.kind not in "fiub":
        return ", ".join(map(str, values.ravel()[:FEW]))
    if values.size <= FEW:
        return ", ".join(number(float(value)) for value in values.ravel())
    count = f"{' x '.join(map(str, values.shape))} numbers"
    if values.ndim > 1 or np.isnan(values).all():
        return count if values.ndim > 1 else f"{count}, all NaN"
    place = int(np.nanargmax(values))
    return f"{count}, the largest at {place}: {number(float(values[place]))}"


def signed_number(value: float, digits: int = 3) -> str:
    """A value with its sign, as a person reads it."""
    if value == 0 or math.isnan(value):
        return "NaN" if math.isnan(value) else "0"
    return readable(f"{value:+.{digits}g}")


def exact(value: float) -> str:
    """A value for a tooltip, to the last digit that float32 holds."""
    return "NaN" if math.isnan(value) else readable(f"{value:.7g}")


def rounded_up(value: float) -> float:
    """The next number of the kind 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 x 10^n: the end of a scale. 1 for 0.

    Numbers below 2.2e-308, which have fewer digits the smaller they are, count as 0.

    Example:
        >>> rounded_up(0.0931), rounded_up(0.3), rounded_up(0.0), rounded_up(5e-324)
        (0.1, 0.3, 1.0, 1.0)
    """
    if not value >= sys.float_info.min:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    step = next(step for step in steps if step * power >= value * (1 - 1e-9))
    return float(f"{step * power:.12g}")


def colour_bar(maximum: float, unit: str = "", *, signed: bool = False) -> str:
    """The scale: from 0 to the maximum, or as far to both sides of 0, in 64 steps of the ramp."""
    kind = "d" if signed else "v"
    stops = "".join(
        f"<i class={kind}{level}></i>" for level in np.linspace(0, colours.LEVELS - 1, 64).round().astype(int)
    )
    end = f"{maximum:g}{' ' + unit if unit else ''}"
    low, high = (f"\N{MINUS SIGN}{end}", f"+{end}") if signed else ("0", end)
    middle = " through 0" if signed else ""
    return (
        f"<div class=scale role=img aria-label='colour scale from {low}{middle} to {high}'><span>{low}</span>"
        f"<span class=ramp>{stops}</span><span>{high}</span></div>"
    )


def token_row(
    labels: Sequence[str],
    weights: np.ndarray,
    real: np.ndarray,
    maximum: float,
    *,
    signed: bool = False,
    places: range | None = None,
) -> str:
    """One sample: its tokens one after the other, each on the colour of its weight.

    Hatched: padding without any weight. A red cross: NaN. The tooltip has position and exact weight.

    Args:
        labels: Of all positions.
        weights: dims ``(position,)``.
        real: Same dims, False on padding.
        maximum: End of the scale.
        signed: Whether the scale goes as far to the other side of 0.
        places: The positions to write; None for all.
    """
    return "".join(
        _token(place, labels[place], float(weights[place]), bool(real[place]), maximum, signed)
        for place in (range(len(labels)) if places is None else places)
    )


def _token(place: int, label: str, weight: float, real: bool, maximum: float, signed: bool) -> str:
    if math.isnan(weight):
        return f"<span class='token nan' title='position {place}: NaN'>&times;</span>"
    if not real and weight == 0:
        return f"<span class='token masked' title='position {place}: padding, 0'></span>"
    level_of = colours.levels_around_zero if signed else colours.levels
    level = f"{'d' if signed else 'v'}{int(level_of(np.array(weight), maximum))}"
    written = signed_number(weight, 7) if signed else exact(weight)
    title = f"position {place}, {plain(label)}: {written}{'' if real else ', padding'}"
    return f'<span class="token {level}" title="{title}">{isolated(label)}</span>'
