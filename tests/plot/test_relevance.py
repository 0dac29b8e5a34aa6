"""Relevance is drawn as what it is: signed, around 0, called by its method and unit, and never attention."""

import re

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import attnscope as ats
from attnscope import colours
from attnscope.errors import InputError, SchemaError
from attnscope.marks import rounded_up
from attnscope.plot._canvas import ink_on
from drawings import axes, bar, cells, relevance, remarks, ticks, title, unreadable, written_words

TEXT = (
    "the film is a trashy little bit of fluff stuffed with enjoyable performances and a bewildering sense of self "
    "importance that nobody in the theatre could have foreseen"
)
SENTENCE = TEXT.split()
LONG = "a class whose name is far longer than any bar that anybody would draw below some words of a sentence"
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


def grounds(ax):
    return [patch for patch in ax.get_children() if isinstance(patch, Rectangle) and patch.get_gid() == "token"]


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"units": "logit"}, "integrated gradients, logit of 'malignant'"),
        ({}, "integrated gradients, class 'malignant'"),
        ({"units": "hours", "target": "the output"}, "integrated gradients, the output in hours"),
        ({"units": "logit", "target": "several"}, "integrated gradients (logit)"),
        ({"units": "probability", "target": "class 3"}, "integrated gradients, probability of class 3"),
        ({"method": "rollout", "class_specific": False}, "rollout, whatever the target"),
        ({"method": "gradient_x_input", "target": "token 7 at step 2"}, "gradient x input, token 7 at step 2"),
    ],
)
def test_the_bar_says_method_and_unit(attrs, said):
    given = relevance(2, 5, **attrs)
    pictures = [
        ats.plot.tokens(given, ax=axes()),
        ats.plot.heatmap(given, ax=axes()),
        ats.plot.image(np.zeros((4, 6)), given.isel(key=slice(4)), grid=(2, 2), ax=axes()),
        ats.plot.series(given, strip=True, ax=axes()),
    ]
    for ax in pictures:
        label, ends = bar(ax)
        assert label.replace("\n", " ") == said
        end = float(ends[-1])
        assert ends == [f"{MINUS}{end:g}", "0", f"+{end:g}"]
    assert f"<bdi>{said}</bdi>".replace("'", "&#x27;") in ats.plot.tokens(given).body


def test_what_was_selected_of_several_targets_and_samples_is_said():
    given = relevance(2, 5, units="logit", target="several")
    both = xr.concat([given, -given], dim=xr.DataArray(["class 'a'", "class 'b'"], dims="target", name="target"))
    both = both.assign_attrs(given.attrs)
    assert bar(ats.plot.heatmap(both.isel(target=1), ax=axes()))[0] == "integrated gradients, logit of 'b'"
    text = ats.plot.tokens(both)
    assert text.titles == [f"sample {n}, logit of '{name}'" for n in range(2) for name in "ab"]
    np.testing.assert_array_equal(text.weights[1], -given.values[0])
    own = relevance(2, 5, target="the predicted class").assign_coords(sample_target=("sample", ["'a'", "'b'"]))
    assert ats.plot.tokens(own).titles == ["sample 0, 'a'", "sample 1, 'b'"]
    named = own.assign_coords(sample=("sample", ["P-017", "P-020"]))
    assert ats.plot.tokens(named).titles == ["P-017, 'a'", "P-020, 'b'"]


def test_tokens_have_the_colours_of_the_scale_around_0():
    given = xr.DataArray([-1.0, -0.25, 0.0, 0.5, 1.0], dims="key", name="relevance")
    ax = ats.plot.tokens(given, list("abcde"), ax=axes())
    faces = [np.round(np.array(patch.get_facecolor()[:3]) * 255) for patch in grounds(ax)]
    np.testing.assert_array_equal(faces, colours.diverging()[[0, 96, 128, 192, 255]])
    html = ats.plot.tokens(given, list("abcde"))
    for level in (0, 96, 128, 191, 255):
        assert f'class="token d{level}"' in html.body
    assert "colour scale from \N{MINUS SIGN}1 through 0 to +1" in html.body
    assert colours.diverging_css() in html._repr_html_()
    assert repr(html) == f"a {MINUS}1, e +1, d +0.5"


def test_a_map_of_relevance_has_a_row_for_each_sample_or_shows_one():
    given = relevance(3, 5, padded=2).assign_coords(sample=("sample", ["P-1", "P-2", "P-3"]))
    ax = ats.plot.heatmap(given, ax=axes())
    expected = np.where(given.key_valid, given, np.nan)
    np.testing.assert_array_equal(cells(ax), expected)
    assert ticks(ax.yaxis) == [(0, "P-1"), (1, "P-2"), (2, "P-3")]
    assert ax.images[0].get_clim() == (-rounded_up(float(np.abs(given).max())), rounded_up(float(np.abs(given).max())))
    one = ats.plot.heatmap(given, sample=1, ax=axes())
    np.testing.assert_array_equal(cells(one), given.values[1:2, :3])
    assert (title(one), remarks(one)) == ("sample P-2, 1 of 3", "padding left out: 2 positions")
    np.testing.assert_array_equal(cells(ats.plot.heatmap(given, sample="P-2", ax=axes())), cells(one))
    assert ats.plot.heatmap(given, sample=1, trim=False, ax=axes()).get_xlim() == (-0.5, 4.5)
    with pytest.raises(SchemaError) as caught:
        ats.plot.heatmap(given, sample="P-9", ax=axes())
    assert str(caught.value) == (
        "Sample 'P-9' was asked for, but the samples are called 'P-1', 'P-2', 'P-3'. Give one of these, or its number: "
        "sample=0."
    )


def test_links_of_signed_numbers_have_the_colour_of_their_side():
    given = xr.DataArray([[0.5, -1.0], [0.0, 0.25]], dims=("query", "key"), name="relevance")
    ax = ats.plot.links(given, ax=axes())
    lines = next(found for found in ax.collections if found.get_gid() == "links")
    np.testing.assert_allclose(lines.get_linewidths(), [1, 2, 4])
    low, high = colours.diverging()[[0, -1]] / 255
    np.testing.assert_allclose(lines.get_colors()[:, :3], [high, high, low])
    assert remarks(ax) == "all 3 values other than 0"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [f"{MINUS}1", f"{MINUS}0.5", "+0.5", "+1"]
    few = ats.plot.links(given, most=1, ax=axes())
    assert remarks(few) == "the strongest 1 of 3 values; it carries 57% of the absolute relevance"
    with pytest.raises(SchemaError) as caught:
        ats.plot.links(relevance(1, 5), ax=axes())
    assert str(caught.value) == (
        "The relevance has no queries, only 5 keys, but lines run from queries to keys. Colour the keys by their "
        "value: ats.plot.tokens(relevance)."
    )


def test_differences_of_relevance_say_so():
    first, second = relevance(1, 5, seed=0), relevance(1, 5, seed=1)
    ax = ats.plot.difference(first, second, ax=axes())
    np.testing.assert_allclose(cells(ax), first.values - second.values)
    assert bar(ax)[0].replace("\n", " ") == "integrated gradients, class 'malignant': first minus second"


def test_shares_by_a_method_are_not_signed_and_not_attention():
    attrs = {"method": "alti", "units": "1", "class_specific": False}
    given = xr.DataArray([[0.25, 0.75], [0.5, 0.5]], dims=("query", "key"), attrs=attrs)
    assert bar(ats.plot.heatmap(given, ax=axes())) == ("alti", ["0", "0.4", "0.8"])
    named = given.assign_attrs(long_name="attention rollout", method="rollout")
    assert bar(ats.plot.heatmap(named, ax=axes())) == ("attention rollout", ["0", "0.4", "0.8"])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            [np.inf, 1.0],
            {},
            "1 of the 2 values of relevance are infinite, so that no scale has room for them. Make them NaN, which is "
            "marked: relevance.where(np.isfinite(relevance)).",
        ),
        (
            [-0.5, 1.0],
            {"normalize": "rank"},
            "normalize='rank' was given for relevance, which has two sides of 0, but ranks and powers of ten have one. "
            "Leave it out, or write normalize='max'.",
        ),
    ],
)
def test_what_cannot_be_drawn_of_relevance_is_refused_and_nothing_advises_a_softmax(values, options, message):
    with pytest.raises(SchemaError) as caught:
        ats.plot.heatmap(xr.DataArray(values, dims="key", name="relevance"), ax=axes(), **options)
    assert str(caught.value) == message


def test_shares_of_the_value_farthest_from_0():
    given = xr.DataArray([[-2.0, 1.0]], dims=("query", "key"), name="relevance")
    ax = ats.plot.heatmap(given, normalize="max", ax=axes())
    np.testing.assert_allclose(cells(ax), [[-1.0, 0.5]])
    assert bar(ax) == ("relevance / farthest from 0 of the map", [f"{MINUS}1", "0", "+1"])


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_both_sides_can_be_told_in_grey(style):
    given = xr.DataArray([[-1.0, -0.5, -0.01], [0.0, 0.5, np.nan]], dims=("sample", "key"), name="relevance")
    with pyplot.style.context(style):
        pictures = (ats.plot.heatmap(given), ats.plot.series(given, strip=True), ats.plot.tokens(given).draw())
        for ax, below in zip(pictures, (2, 1, 2), strict=True):
            dashes = [marks for marks in ax.collections if marks.get_gid() == "below 0"]
            assert [len(marks.get_segments()) for marks in dashes] == [below]
            scale = next(other for other in ax.figure.axes if other.get_label() == "<colorbar>")
            assert "below 0" in [marks.get_gid() for marks in scale.collections]
    positive = ats.plot.heatmap(abs(given))
    assert "below 0" not in [marks.get_gid() for axes_ in positive.figure.axes for marks in axes_.collections]
    css = colours.diverging_css()
    (dashed,) = re.findall(r"\}([^{}]*)\{text-decoration:underline dashed", css)
    assert dashed.split(",")[-1] == ".d117"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_values_far_from_0_stand_out_from_the_page(dark):
    """Contrast as WCAG 2 defines it: 3 for marks from half of the scale on, 4.5 for the text on any of them."""
    table = colours.diverging(dark=dark)
    pages = [np.zeros(3) if dark else np.full(3, 255.0), *(colours.rgb(name, dark=dark) for name in ("page", "card"))]
    for page in map(np.array, pages):
        near, half, end = (
            min(colours.contrast(table[place], page) for place in (127 - steps, 128 + steps)) for steps in (32, 64, 127)
        )
        assert near > 1.7
        assert half >= 3
        assert end > 10
    for colour in table:
        ink = {"black": 0.0, "white": 255.0}[ink_on(colour / 255)]
        assert colours.contrast(colour, np.full(3, ink)) > 4.5


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("samples", [1, 2, 7])
def test_every_word_is_inside_of_its_figure_with_its_title_and_the_scale_below(samples, style):
    given = relevance(samples, SENTENCE, padded=6, units="logit")
    with pyplot.style.context(style):
        ax = ats.plot.tokens(given).draw()
        figure = ax.figure
        words = written_words(figure)
    assert not unreadable(figure)
    shown = [word for row in given.key_valid.values for word, real in zip(SENTENCE, row, strict=True) if real]
    said = [text for text, _, _ in words]
    assert [text for text in said if text in SENTENCE] == shown
    assert [text for text in said if text.startswith("sample")] == [f"sample {n}" for n in range(samples)][
        samples == 1 :
    ]
    assert "integrated gradients, logit of 'malignant'" in said
    lowest = min(patch.get_window_extent().y0 for patch in grounds(ax))
    scale = next(other for other in figure.axes if other is not ax)
    assert scale.get_window_extent().y1 < lowest
    padding = 6 * (samples // 2)
    assert [text for text in said if "left out" in text] == (
        [f"padding left out: {padding} positions"] if padding else []
    )


def test_long_titles_words_and_classes_stay_inside():
    words = [word * 6 if place % 5 == 0 else word for place, word in enumerate(SENTENCE)]
    given = relevance(2, words, units="logit", target=f"class '{LONG}'")
    figure = ats.plot.tokens(given, titles=["a title " * 40, "P-017"]).draw().figure
    assert not unreadable(figure)


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_in_axes_that_are_too_small_letters_shrink_and_the_rows_that_do_not_fit_are_counted(layout):
    figure = Figure((4, 3), layout=layout)
    ax = ats.plot.tokens(relevance(7, SENTENCE), ax=figure.add_subplot())
    box = ax.get_window_extent()
    said = [text for text, _, _ in written_words(figure)]
    shown = sum(text.startswith("sample") for text in said)
    assert 1 <= shown < 7
    assert f"the first {shown} of 7 rows" in said
    assert min(patch.get_window_extent().y0 for patch in grounds(ax)) > box.y0 - 8
    one = Figure((6, 3), layout=layout)
    ats.plot.tokens(relevance(1, SENTENCE), ax=one.add_subplot())
    assert not [word for word, inside, inked in written_words(one) if word in SENTENCE and not (inside and inked)]


def test_the_page_and_the_pictures_are_saved_by_suffix_and_others_are_refused(tmp_path):
    text = ats.plot.tokens(relevance(2, SENTENCE, units="logit"))
    page = text.save(tmp_path / "text.html").read_text("utf-8")
    assert "<title>Tokens by relevance</title>" in page
    assert colours.diverging_css() in page
    for kind in ("png", "svg", "pdf"):
        assert text.save(tmp_path / f"text.{kind}").stat().st_size > 3000
    assert (
        b"/TrueType" in (tmp_path / "text.pdf").read_bytes() or b"/CIDFontType2" in (tmp_path / "text.pdf").read_bytes()
    )
    assert b"/Type3" not in (tmp_path / "text.pdf").read_bytes()
    path = tmp_path / "text.docx"
    with pytest.raises(InputError) as caught:
        text.save(path)
    assert str(caught.value) == (
        f"The file is {str(path)!r}, but its name has to end in .html, .htm, .png, .svg or .pdf, which says what is "
        "written. Give it one: 'text.html'."
    )
    assert not path.exists()


def test_fonts_in_a_pdf_of_a_new_figure_are_truetype(tmp_path):
    ats.plot.heatmap(relevance(2, 5)).figure.savefig(tmp_path / "map.pdf")
    written = (tmp_path / "map.pdf").read_bytes()
    assert b"/CIDFontType2" in written or b"/TrueType" in written
    assert b"/Type3" not in written


def test_the_case_of_three_samples_of_attention():
    weights = np.random.default_rng(0).dirichlet(np.ones(len(SENTENCE)), (3, 2, len(SENTENCE)))
    maps = ats.AttentionMaps.from_arrays({"a": weights}, labels=SENTENCE)
    figure = ats.plot.tokens(maps["a"].mean(["head", "query"])).draw().figure
    assert not unreadable(figure)
    said = [text for text, _, _ in written_words(figure)]
    assert [text for text in said if text in SENTENCE] == SENTENCE * 3
    assert [text for text in said if text.startswith("sample")] == ["sample 0", "sample 1", "sample 2"]
    unnamed = xr.DataArray(
        np.random.default_rng(1).normal(size=(2, 6)),
        dims=("sample", "key"),
        coords={"key_label": ("key", list("abcdef"))},
        attrs={"method": "integrated_gradients", "units": "logit"},
    )
    assert bar(ats.plot.tokens(unnamed).draw())[0] == "integrated gradients (logit)"


SEEN_BY = {
    "protanopes": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopes": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear red, green and blue as they are seen: Machado, Oliveira and Fernandes 2009, severity 1."""
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(linear):
    """CIELAB of linear sRGB, by its definition."""
    xyz = linear @ TO_XYZ.T / (0.95047, 1, 1.08883)
    x, y, z = np.moveaxis(np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("reader", SEEN_BY)
def test_colour_blind_readers_can_tell_the_two_sides_of_the_scale(reader, dark):
    table = colours.diverging(dark=dark) / 255
    linear = np.where(table <= 0.04045, table / 12.92, ((table + 0.055) / 1.055) ** 2.4)
    seen = lab(np.clip(linear @ np.array(SEEN_BY[reader]).T, 0, 1))
    for share, apart in ((1 / 8, 5), (1 / 4, 12), (1 / 2, 25), (1, 50)):  # 2.3 is just noticeable
        steps = round(127 * share)
        assert np.linalg.norm(seen[128 + steps] - seen[127 - steps]) > apart
