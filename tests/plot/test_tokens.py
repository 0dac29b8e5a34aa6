"""Coloured text: every character on the colour of its weight, nothing of a text can break the page."""

import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

import attnscope as ats
from attnscope import colours
from attnscope.errors import LabelError, SchemaError, WouldOverwriteError

HOSTILE = ["<b>", "&", '"', "\u202e", " "]


def spans(text):
    """Class, tooltip and text of each token."""
    return re.findall(r'<span class="token ([^"]*)" title="([^"]*)">(.*?)</span>', text.body)


def test_each_token_has_the_colour_of_its_weight_on_the_stated_scale():
    weights = np.array([0.0, 0.1, 0.35, 0.55])
    text = ats.plot.tokens(weights, list("abcd"))
    assert text.maximum == 0.6
    assert [kind for kind, _, _ in spans(text)] == [f"v{round(w / 0.6 * 255)}" for w in weights]
    assert "colour scale from 0 to 0.6" in text.body
    same = ats.plot.tokens(weights, list("abcd"), maximum=1.0)
    assert [kind for kind, _, _ in spans(same)] == [f"v{round(w * 255)}" for w in weights]


def test_rows_share_one_scale():
    text = ats.plot.tokens(np.array([[0.9, 0.1], [0.5, 0.5]]), list("ab"), titles=["sharp", "even"])
    assert [kind for kind, _, _ in spans(text)] == ["v230", "v26", "v128", "v128"]
    assert repr(text) == "sharp: a 0.900, b 0.100\neven: a 0.500, b 0.500"


def test_what_a_text_holds_of_markup_is_text():
    text = ats.plot.tokens(np.full(5, 0.2), HOSTILE, titles=["<script>"])
    shown = [inner for _, _, inner in spans(text)]
    assert shown == [f"<bdi>{t}</bdi>" for t in ("&lt;b&gt;", "&amp;", "&quot;", "⟨U+202E⟩", "␣")]
    assert "<script" not in text._repr_html_()
    assert "&lt;script&gt;" in text.body


@pytest.mark.parametrize("pads", [(3, 0), (0, 3), (2, 1)])
def test_labels_and_padding_come_from_the_maps_on_either_side(pads):
    before, behind = pads
    valid = np.array([False] * before + [True] * 4 + [False] * behind)
    weights = np.where(valid, 0.25, 0.0)
    labels = np.array([""] * before + list("word") + [""] * behind)
    array = xr.DataArray(
        weights[None],
        dims=("sample", "key"),
        coords={"key_label": (("sample", "key"), labels[None]), "key_valid": (("sample", "key"), valid[None])},
    )
    trimmed = ats.plot.tokens(array)
    text = ats.plot.tokens(array, trim=False)
    for either in (text, trimmed):
        assert [inner for _, _, inner in spans(either)] == [f"<bdi>{letter}</bdi>" for letter in "word"]
        tooltips = [title for _, title, _ in spans(either)]
        assert [title[:10] for title in tooltips] == [f"position {place}" for place in np.flatnonzero(valid)]
    assert text.body.count("token masked") == before + behind
    assert "token masked" not in trimmed.body
    assert "padding left out: 3 positions" in trimmed.body
    known = array.assign_attrs(positions='{"key": "tokens"}')
    assert "padding left out: 3 tokens" in ats.plot.tokens(known).body
    assert "left out" not in text.body
    places = [int(place) for place in re.findall(r"position (\d+): padding, 0", text.body)]
    assert places == np.flatnonzero(~valid).tolist()


def test_weight_on_padding_is_shown_and_said():
    array = xr.DataArray([0.4, 0.6], dims="key", coords={"key_valid": ("key", [True, False])})
    assert [title for _, title, _ in spans(ats.plot.tokens(array))][1].endswith("0.6, padding")


def test_nan_is_marked():
    assert "class='token nan' title='position 1: NaN'" in ats.plot.tokens(np.array([0.5, np.nan]), list("ab")).body


def test_the_saved_page_loads_nothing_and_is_not_overwritten(tmp_path):
    text = ats.plot.tokens(np.array([0.5, 0.5]), list("ab"))
    path = text.save(tmp_path / "text.html", title="a <title>")
    page = path.read_text("utf-8")
    assert "default-src 'none'" in page
    assert "<title>a &lt;title&gt;</title>" in page
    assert not re.findall(r"https?:|<script|@import|url\((?!#)", page)
    with pytest.raises(WouldOverwriteError) as caught:
        text.save(path)
    assert (
        str(caught.value)
        == f"{str(path)!r} already exists and is not overwritten: save({str(path)!r}, overwrite=True)."
    )
    text.save(path, overwrite=True)


def test_the_style_in_a_notebook_touches_nothing_outside():
    html = ats.plot.tokens(np.array([0.5, 0.5]), list("ab"))._repr_html_()
    style = re.search(r"<style>(.*?)</style>", html, flags=re.DOTALL)[1]
    assert style.startswith(".attnscope{")
    depth = np.cumsum([{"{": 1, "}": -1}.get(letter, 0) for letter in style])
    assert (depth[len(".attnscope") : -1] >= 1).all()
    assert depth[-1] == 0
    assert colours.ramp_css() in style


@pytest.mark.parametrize(
    ("weights", "options", "kind", "message"),
    [
        (
            np.zeros((2, 3, 5, 7)),
            {},
            SchemaError,
            "The weights have shape (2, 3, 5, 7), but this picture needs a plain array with the axes ('key',) or "
            "('sample', 'key'). Name the axes: xr.DataArray(weights, dims=('sample', 'head', 'query', 'key')); then "
            "select or average the ones that are too many.",
        ),
        (
            xr.DataArray(np.zeros((2, 3, 5)), dims=("sample", "head", "key")),
            {},
            SchemaError,
            "The weights have the dims ('sample', 'head', 'key'), but ('key',) or ('sample', 'key') is needed, and "
            "at most one of 'step' and 'window' beside them: select or average the others first, such as "
            ".mean('head').",
        ),
        (
            np.array([-1.5, 2.0]),
            {},
            SchemaError,
            "The weights run from -1.50 to 2.00, but attention after the softmax lies between 0 and 1. Logits and "
            "layer outputs are not weights; capture those: ats.capture(model, inputs)[site]. If the numbers are "
            "relevance, say so: xr.DataArray(values, dims=('key',), name='relevance').",
        ),
        (
            np.array([0.5, 0.5]),
            {"labels": list("abc")},
            LabelError,
            "The labels are 1 row(s) of [3] names, but the weights have 1 row(s) of 2 positions. Give one name per "
            "position.",
        ),
        (
            np.array([0.5, 0.5]),
            {"titles": ["a", "b"]},
            LabelError,
            "2 titles were given for 1 rows. Give one per row: titles=[...].",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(weights, options, kind, message):
    with pytest.raises(kind) as caught:
        ats.plot.tokens(weights, **options)
    assert str(caught.value) == message


def drawn(ax, kind=Rectangle):
    """The artists of one kind that stand for tokens, with what each is marked as."""
    return [(artist.get_gid(), artist) for artist in ax.get_children() if isinstance(artist, kind) and artist.get_gid()]


def test_drawn_tokens_have_the_colours_of_their_weights_on_the_stated_scale():
    ax = ats.plot.tokens(np.array([0.0, 0.1, 0.35, 0.55]), list("abcd"), ax=Figure().add_subplot())
    faces = [np.round(np.array(patch.get_facecolor()[:3]) * 255) for _, patch in drawn(ax)]
    levels = [int(weight / 0.6 * 256) for weight in (0.0, 0.1, 0.35, 0.55)]
    np.testing.assert_array_equal(faces, colours.ramp()[levels])
    assert [text.get_text() for _, text in drawn(ax, Text)] == list("abcd")
    bar = ax.figure.axes[1]
    assert bar.get_xlabel() == "attention"
    assert [label.get_text() for label in bar.get_xticklabels()] == ["0", "0.3", "0.6"]


def test_drawn_padding_is_hatched_nan_is_crossed_and_both_are_said():
    valid = np.array([[True, True, True, False], [True, True, False, False]])
    weights = np.array([[0.5, np.nan, 0.5, 0.0], [0.5, 0.4, 0.1, 0.0]])
    array = xr.DataArray(weights, dims=("sample", "key"), coords={"key_valid": (("sample", "key"), valid)})
    ax = ats.plot.tokens(array, list("abcd"), titles=["first", ""], trim=False).draw(Figure().add_subplot())
    kinds = [kind for kind, _ in drawn(ax)]
    assert kinds == ["token", "nan", "token", "masked", "token", "token", "token", "masked"]
    assert [bool(patch.get_hatch()) for _, patch in drawn(ax)] == [kind == "masked" for kind in kinds]
    texts = [text.get_text() for _, text in drawn(ax, Text)]
    assert texts == ["hatched: padding · red cross: NaN", "first", "a", "×", "c", "", "a", "b", "c", ""]  # noqa: RUF001
    assert tuple(np.round(np.array(drawn(ax)[1][1].get_facecolor()[:3]) * 255)) == colours.NOT_A_NUMBER


def test_drawn_lines_break_at_the_edge_and_keep_the_order():
    ax = ats.plot.tokens(np.full(40, 0.025), [f"word{n}" for n in range(40)], ax=Figure((3, 4)).add_subplot())
    places = [(-patch.get_y(), patch.get_x() + patch.get_width()) for _, patch in drawn(ax)]
    assert len({top for top, _ in places}) > 5
    assert places == sorted(places, key=lambda place: (-place[0], place[1]))
    assert max(right for _, right in places) <= ax.get_window_extent().width * 72 / ax.figure.dpi


def test_forty_rows_are_drawn_and_the_rest_is_said():
    ax = ats.plot.tokens(np.full((57, 2), 0.5), ["a", "b"], titles=[""] * 57).draw(Figure((6, 30)).add_subplot())
    assert len(drawn(ax)) == 80
    assert [text.get_text() for kind, text in drawn(ax, Text) if kind == "remarks"] == ["the first 40 of 57 rows"]
