"""Colours and fonts are written once, and every page, plot and script takes them from there."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import attnscope as ats
from attnscope import colours

ROOT = Path(ats.__file__).parent
SHEETS = sorted((*ROOT.glob("*.css"), *ROOT.glob("pages/*.css"), *ROOT.glob("viewer/static/*.css")))


def channels(name, dark):
    return np.array(colours.rgb(name, dark=dark))


def test_a_token_has_a_light_and_a_dark_colour():
    assert colours.palette(dark=False)["accent"] == "#2a5db0"
    assert colours.palette(dark=True)["accent"] == "#8fb4f5"
    assert colours.rgb("accent", dark=False) == (0x2A, 0x5D, 0xB0)
    assert colours.rgb("accent", dark=True) == (0x8F, 0xB4, 0xF5)


SET_BY_ELEMENTS = {"share"}
"""Properties that the page sets for each element: how strongly a word is coloured."""


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: str(sheet.relative_to(ROOT)))
def test_a_style_sheet_names_its_colours_and_fonts(sheet):
    rules = sheet.read_text("utf-8")
    assert set(re.findall(r"var\(--([\w-]+)", rules)) <= {*colours.TOKENS, *colours.FONTS, *SET_BY_ELEMENTS}
    written_out = set(re.findall(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b(?![\w)])", rules))
    assert written_out == set()
    assert "sans-serif" not in rules
    assert "monospace" not in rules


def test_no_script_of_the_viewer_holds_a_token():
    tokens = {colour for shades in colours.TOKENS.values() for colour in shades} - {"#ffffff"}
    for script in ROOT.glob("viewer/static/*.js"):
        assert not {token for token in tokens if token in script.read_text("utf-8").lower()}, script


def test_tokens_follow_the_system_or_a_choice():
    rules = colours.tokens_css(light=".a", system=".b", dark=".c")
    blocks = re.fullmatch(
        r"\.a\{(.*)\}\n@media screen and \(prefers-color-scheme:dark\)\{\.b\{(.*)\}\}\n\.c\{(.*)\}\n", rules
    ).groups()
    declared = [dict(re.findall(r"--([\w-]+):([^;]+);", block)) for block in blocks]
    assert declared[0] == {**colours.FONTS, **colours.palette(dark=False)}
    assert declared[1] == declared[2] == colours.palette(dark=True)


@pytest.mark.parametrize("dark", [False, True])
def test_masked_cells_without_stripes_have_the_mean_of_the_stripes(dark):
    mean = (3 * channels("masked", dark) + channels("hatch", dark)) / 4  # three pixels to one
    assert np.abs(channels("masked-flat", dark) - mean).max() < 1


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_and_marks_can_be_seen(dark):
    for ground in ("page", "card"):
        for ink in ("ink", "quiet", "accent", "good", "middling", "bad"):
            assert colours.contrast(channels(ink, dark), channels(ground, dark)) >= 4.5, (ink, ground)
    for ink, ground in (("warn-ink", "warn"), ("quiet", "warn"), ("ink", "note"), ("ink", "calm"), ("on-nan", "nan")):
        assert colours.contrast(channels(ink, dark), channels(ground, dark)) >= 4.5, (ink, ground)
    for group in range(8):
        assert colours.contrast(channels(f"group-{group}", dark), channels("page", dark)) >= 3, group


@pytest.mark.parametrize(("face", "dark"), [("white", False), ("black", True)])
def test_plots_mark_cells_in_the_same_colours(face, dark):
    weights = np.array([[1.0, 0.0, 0.0], [np.nan, 0.5, 0.0], [0.25, 0.25, 0.5]])
    ax = ats.plot.heatmap(weights, ax=Figure(facecolor=face).add_subplot(facecolor=face))
    patches = {patch.get_gid(): patch for patch in ax.patches}
    assert to_rgb(patches["masked"].get_facecolor()) == to_rgb(colours.palette(dark=dark)["masked"])
    assert to_rgb(patches["masked"].get_edgecolor()) == to_rgb(colours.palette(dark=dark)["hatch"])
    assert to_rgb(patches["nan"].get_facecolor()) == to_rgb(colours.palette(dark=dark)["nan"])
