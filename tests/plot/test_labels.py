"""Labels of every kind are written as they are: none throws, is read as a formula, or breaks a file."""

import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot

import attnscope as ats
from attnscope.marks import shown
from attnscope.plot._typesetting import families, written
from drawings import HOSTILE, array, axes, drawn, scores, ticks, title, unreadable


def labelled(rng, labels, site="encoder/mha", dtype=str):
    """Scores with these labels. As `str` NumPy drops a NUL at the end; as objects pandas refuses half a character."""
    names = np.array(labels, dtype=dtype)
    return array(
        scores(rng, 1, 2, len(labels), len(labels)), site=site, query_label=("query", names), key_label=("key", names)
    )


PICTURES = {
    "heatmap": lambda weights, ax: ats.plot.heatmap(weights, ax=ax),
    "heads": lambda weights, ax: ats.plot.heads(weights, ax=ax.figure.subplots(1, 2))[0],
    "links": lambda weights, ax: ats.plot.links(weights, ax=ax),
    "tokens": lambda weights, ax: ats.plot.tokens(weights[0, 0, 0], titles=["$a$_\0"], ax=ax),
    "image": lambda weights, ax: ats.plot.image(np.zeros((4, 4)), weights, grid=(2, 2), ax=ax),
    "series": lambda weights, ax: ats.plot.series(weights, ax=ax),
    "strip": lambda weights, ax: ats.plot.series(weights, strip=True, ax=ax),
    "difference": lambda weights, ax: ats.plot.difference(weights, weights, ax=ax),
    "metrics": lambda weights, ax: ats.plot.metrics({str(name): [1.0] for name in HOSTILE}, ax=ax),
    "model": lambda weights, ax: ats.plot.heads(
        ats.AttentionMaps.from_arrays(dict.fromkeys(HOSTILE, weights.values)), ax=ax
    ),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_every_picture_takes_hostile_labels_into_every_kind_of_file(rng, picture, tmp_path):
    ax = PICTURES[picture](labelled(rng, HOSTILE, site="a $\\frac\n\0 site $"), axes(8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("png", "svg", "pdf"):
            path = tmp_path / f"picture.{kind}"
            ax.figure.savefig(path)
            assert path.stat().st_size > 3000
    root = ElementTree.parse(tmp_path / "picture.svg").getroot()
    assert not [element for element in root.iter() if element.tag.endswith("script")]


def test_text_in_svg_as_text_is_valid_too(rng, tmp_path):
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        ats.plot.heatmap(labelled(rng, HOSTILE), ax=axes(8, 8)).figure.savefig(tmp_path / "picture.svg")
    texts = [element.text for element in ElementTree.parse(tmp_path / "picture.svg").iter() if element.text]
    assert "</script><script>alert(…" in texts


def test_labels_are_read_as_they_are(rng):
    labels = ["$x$", "$\\frac", "a\nb", "\0", "\u202eabc", "", " ", "\\$"]
    ax = ats.plot.heatmap(labelled(rng, labels, site="$site$", dtype=object), ax=axes())
    found = [text for _, text in ticks(ax.xaxis)]
    assert found == ["$x$", "$\\frac", "a⏎b", "⟨U+0000⟩", "⟨U+202E⟩abc", "∅", "␣", "\\$"]
    assert not any(label.get_parse_math() for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels())
    assert title(ax) == "$site$"
    assert not ax.title.get_parse_math() or not ax.title.get_text()


def test_a_sign_that_no_font_has_becomes_its_number():
    texts, fonts = written(["a\ufdd0b", "plain", "é Ġ▁##"])
    assert texts == ["a⟨U+FDD0⟩b", "plain", "é Ġ▁##"]
    assert fonts[-1] == "DejaVu Sans"


def test_a_sign_of_another_font_of_the_machine_is_drawn_with_it():
    # The Gothic letter is in DejaVu Sans alone; the user's font lacks it.
    with matplotlib.rc_context({"font.family": ["DejaVu Sans Mono"]}):
        texts, fonts = written(["𐌀"])
        assert texts == ["𐌀"]
        assert fonts[:2] == ["DejaVu Sans Mono", "DejaVu Sans"]
        assert families(frozenset("a")) == ["DejaVu Sans Mono", "DejaVu Sans"]


def test_what_a_style_says_of_fonts_is_kept(rng):
    with matplotlib.rc_context({"font.family": ["monospace"], "text.usetex": False}):
        ax = drawn(ats.plot.heatmap(labelled(rng, ["a", "b"]), ax=axes()))
    assert ax.get_xticklabels()[0].get_fontfamily()[0] == "monospace"


@pytest.mark.parametrize("label", HOSTILE)
def test_no_label_is_written_as_nothing(label):
    (text,), _ = written([label])
    assert text.strip()
    assert text == text.replace("\n", "")
    assert len(text) <= 24
    if label.isascii() and label.isprintable() and label.strip() and len(label) < 24:
        assert text == label == shown(label)


@pytest.mark.parametrize(
    "site",
    [
        "a very long name/that goes on and on/encoder/self attention/layer 12/multi head attention",
        "encoder/" + "transformer_layer_12/" * 4 + "self_attention_layer",
        "x" * 150,
    ],
)
@pytest.mark.parametrize("picture", [ats.plot.heatmap, ats.plot.links, ats.plot.series], ids=str)
def test_titles_stay_inside_of_their_figure(rng, picture, site):
    figure = picture(array(scores(rng, 2, 4, 3, 3), site=site)).figure
    assert not unreadable(figure)
    pyplot.close(figure)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (3, 3), (20, 20), (15, 40), (40, 3), (4, 200)])
@pytest.mark.parametrize("length", [0, 30])
@pytest.mark.parametrize("picture", [ats.plot.heatmap, ats.plot.links], ids=["heatmap", "links"])
def test_nothing_is_cut_off_at_the_edge_of_a_new_figure(rng, queries, keys, length, picture):
    given = array(scores(rng, 2, 4, queries, keys), site="transformer_layer_0/self_attention_layer")
    if length:
        names = {"query": queries, "key": keys}
        given = given.assign_coords(
            {f"{n}_label": (n, [f"{m}".ljust(length, "x") for m in range(k)]) for n, k in names.items()}
        )
    ax = drawn(picture(given))
    box, (width, height) = ax.figure.get_tightbbox(), ax.figure.get_size_inches()
    pyplot.close(ax.figure)
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01
