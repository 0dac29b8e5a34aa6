"""Relevance that is odd, and many pictures in one file: each is drawn and says it, or a clear error does."""

import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.image import imread

import attnscope as ats
from attnscope.errors import SchemaError
from attnscope.plot import _sheets
from attnscope.plot._canvas import TrueTypeFigure
from attnscope.plot._typesetting import cut, cut_front
from drawings import HOSTILE, axes, relevance, remarks, ticks, unreadable, written_words

NOTHING = "All values are NaN or padding, so there is nothing to draw. Give one number at least."
PLOTS = {
    "heatmap": lambda given, ax: ats.plot.heatmap(given, ax=ax),
    "tokens": lambda given, ax: ats.plot.tokens(given, ax=ax),
    "bars": lambda given, ax: ats.plot.bars(given, ax=ax),
    "importance": lambda given, ax: ats.plot.importance(given, ax=ax),
    "beeswarm": lambda given, ax: ats.plot.beeswarm(given, ax=ax),
    "series": lambda given, ax: ats.plot.series(given, ax=ax),
    "image": lambda given, ax: ats.plot.image(np.zeros((8, 8)), given, grid=(1, given.sizes["key"]), ax=ax),
}


def of(values, **coords):
    dims = ("sample", "key")
    return xr.DataArray(np.asarray(values, float), dims=dims, name="relevance", coords=coords)


NAN = np.full((2, 3), np.nan)
ODD = {
    "a row of NaN": of([[np.nan] * 3, [1.0, -2.0, 0.5]]),
    "only NaN": of(NAN),
    "only 0": of(np.zeros((2, 3))),
    "one position": of([[-2.0]]),
    "huge": of(np.array([[1.0, -2.0, 0.5], [0.5, 1.0, -1.0]]) * 1e300),
    "only padding": of(np.zeros((2, 3)), key_valid=(("sample", "key"), np.zeros((2, 3), bool))),
}


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("kind", ODD)
def test_odd_relevance_is_drawn_within_the_figure_or_refused(kind, name):
    if kind in ("only NaN", "only padding") and name in ("importance", "beeswarm"):
        with pytest.raises(SchemaError) as caught:
            PLOTS[name](ODD[kind], axes())
        assert str(caught.value) == NOTHING
        return
    ax = PLOTS[name](ODD[kind], axes())
    assert not [word for word in written_words(ax.figure) if not (word[1] and word[2])]


def test_a_sample_without_a_number_says_why_it_has_no_bar():
    assert remarks(ats.plot.bars(ODD["a row of NaN"], ax=axes())).endswith("3 values are NaN and have no bar")
    assert remarks(ats.plot.bars(ODD["only padding"], ax=axes())).endswith("there is nothing but padding")


def test_a_text_that_is_too_long_for_its_axes_says_how_much_it_shows():
    given = of(np.random.default_rng(0).normal(size=(2, 500)))
    ax = ats.plot.tokens(given, [f"word{n}" for n in range(500)], ax=axes(4, 3))
    shown = [text for text, _, _ in written_words(ax.figure) if text.startswith("word")]
    assert 1 < len(shown) < 500
    assert shown == [f"word{n}" for n in range(len(shown))]
    assert f"the first {len(shown)} of 500 positions" in remarks(ax)
    assert "the first 1 of 2 rows" in remarks(ax)
    assert not unreadable(ax.figure)


@pytest.fixture(scope="module")
def names():
    return [one * 9 for one in ("a long name ", "x_", "\u65e5\u672c", "<b>$x$")]


def pictures(samples, names):
    given = relevance(samples, names)
    return [lambda figure, sample=sample: ats.plot.bars(given, sample=sample, ax=figure) for sample in range(samples)]


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_sheets_hold_every_picture_in_its_order(samples, names, tmp_path, monkeypatch):
    figures = []

    class Noted(TrueTypeFigure):
        def __init__(self, *given, **options):
            super().__init__(*given, **options)
            figures.append(self)

    monkeypatch.setattr(_sheets, "TrueTypeFigure", Noted)
    _sheets.write(pictures(samples, names), tmp_path / "all.png", "<b>&")
    assert [ax.get_title(loc="left").strip() for figure in figures for ax in figure.axes] == [
        f"sample {number}" if samples > 1 else "" for number in range(samples)
    ]
    pixels = imread(tmp_path / "all.png")
    assert pixels.shape[0] == sum(round(figure.get_figheight() * 200) for figure in figures)
    for figure in figures[-2:]:
        figure.set_dpi(100)
        assert not unreadable(figure)
    _sheets.write(pictures(samples, names), tmp_path / "all.pdf", "<b>&")
    written = (tmp_path / "all.pdf").read_bytes()
    assert written.count(b"/Type /Page ") == samples
    assert b"/Type3" not in written
    assert b"/CIDFontType2" in written or b"/TrueType" in written


def test_pictures_of_every_kind_fit_into_one_file_and_hostile_names_run_nothing(tmp_path):
    kinds = [
        lambda figure: ats.plot.bars(relevance(1, HOSTILE), ax=figure),
        lambda figure: ats.plot.tokens(relevance(2, HOSTILE)).draw(figure),
        lambda figure: ats.plot.series(relevance(3, 9), ax=figure),
        lambda figure: ats.plot.image(np.zeros((8, 8)), of(np.ones((1, 4))), grid=(2, 2), ax=figure),
    ]
    _sheets.write(kinds, tmp_path / "all.svg", "</title><script>alert(1)</script>")
    svg = (tmp_path / "all.svg").read_text("utf-8")
    assert len(re.findall(r"<g transform=.translate\(0 -?[0-9.]+\).>", svg)) == 4
    assert "<script>" not in svg


def test_a_wide_sign_takes_the_room_of_two_letters():
    assert cut("医" * 12) == "医" * 12
    assert cut("医" * 13) == "医" * 11 + "…"
    assert cut_front("a" + "医" * 12) == "…" + "医" * 11
    assert cut("a" * 25) == "a" * 23 + "…"


def test_values_that_are_no_numbers_are_grey_and_others_beside_them_are_not():
    given = xr.DataArray([[0.5, -0.25], [0.25, 1.0]], dims=("sample", "key"), name="relevance")
    mixed = np.array([["low", 1], ["high", 2.5]], dtype=object)
    ax = ats.plot.beeswarm(given, mixed, labels=["dose", "age"], ax=Figure())
    assert remarks(ax) == "2 samples · grey: the input is no number"
    colours = {row: [dots for dots in ax.collections if dots.get_gid() == "dots"][row] for row in (0, 1)}
    age, dose = (np.unique(colours[row].get_facecolors(), axis=0) for row in (0, 1))
    assert (len(age), len(dose)) == (2, 1)
    assert len(ax.figure.axes) == 2  # with the scale of values
    assert len(ats.plot.beeswarm(given, mixed[:, [0, 0]], ax=Figure()).figure.axes) == 1


def test_names_that_no_font_has_are_cut_after_they_are_written_out():
    ax = ats.plot.bars(relevance(1, ["\U000f0000" * 30, "a"]), ax=Figure((6, 4), layout="constrained").add_subplot())
    assert max(len(text) for _, text in ticks(ax.yaxis)) <= 32
    assert not unreadable(ax.figure)
