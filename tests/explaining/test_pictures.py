"""The pictures of an explanation: one sample by its kind, and all of them in a file."""

import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

import attnscope as ats
from attnscope.colours import LIGHTNESS, softened
from attnscope.errors import InputError, MethodError
from attnscope.explaining._method_choice import MethodChoice
from attnscope.marks import readable
from attnscope.pages import explanation_page
from attnscope.plot._canvas import TrueTypeFigure
from drawings import HOSTILE, bar, cells, remarks, title, unreadable, written_words

WORDS = "the film is a trashy bit of fluff that nobody in the theatre could have foreseen".split()  # noqa: SIM905
COUNT = 7


def table():
    """Patients whose probability is explained by a method that adds up."""
    inputs = keras.Input((6,), name="biopsy")
    hidden = layers.Dense(5, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden), name="biopsies")
    data = np.random.default_rng(1).normal(size=(COUNT, 6)).astype("float32")
    names = [f"mean of feature {place}" for place in range(6)]
    options = {"target": "malignant", "classes": ["benign", "malignant"], "truth": ["benign"] * COUNT, "labels": names}
    return model, data, {**options, "method": "integrated_gradients"}


def text():
    """Sentences, every second of them shorter."""
    inputs = keras.Input((len(WORDS),), dtype="int32", name="words")
    embedded = layers.Embedding(50, 4, mask_zero=True)(inputs)
    attended = layers.MultiHeadAttention(2, 4)(embedded, embedded)
    answer = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(attended))
    data = np.random.default_rng(2).integers(1, 50, size=(COUNT, len(WORDS)))
    data[1::2, -5:] = 0
    options = {"classes": ["negative", "positive"], "labels": [WORDS] * COUNT}
    return keras.Model(inputs, answer, name="reviews"), data, {**options, "method": "gradient_x_input"}


def pictures():
    """Pictures in colours, with values on both sides of 0."""
    inputs = keras.Input((8, 12, 3), name="picture")
    patches = layers.Reshape((6, 5))(layers.Conv2D(5, 4, strides=4)(inputs))
    attended = layers.MultiHeadAttention(1, 4)(patches, patches)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(attended)), name="shapes")
    data = np.random.default_rng(3).normal(size=(COUNT, 8, 12, 3)).astype("float32")
    return model, data, {"grid": (2, 3), "target": 1, "method": "occlusion"}


def steps():
    """Series of three features."""
    inputs = keras.Input((11, 3), name="hours")
    attended = layers.MultiHeadAttention(1, 3)(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(attended)), name="load")
    data = np.random.default_rng(4).normal(size=(COUNT, 11, 3)).astype("float32")
    return model, data, {"method": "occlusion"}


MADE = {}


@pytest.fixture(params=[table, text, pictures, steps], ids=lambda kind: kind.__name__)
def explanation(request):
    """All samples of one kind, which is made once."""
    kind = request.param.__name__
    if kind not in MADE:
        model, data, options = request.param()
        ids = [f"P-{number:03d}" for number in range(COUNT)]
        MADE[kind] = ats.explain(model, data, card=False, ids=ids, samples=ids, **options)
    return MADE[kind]


def first(explanation, count):
    """The same explanation of its first samples alone."""
    return replace(
        explanation, table=explanation.table.isel(sample=slice(count)), findings=explanation.findings[:count]
    )


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def figures(monkeypatch):
    """The figures of the files that are written."""
    made = []

    class Noted(TrueTypeFigure):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr("attnscope.plot._sheets.TrueTypeFigure", Noted)
    return made


@pytest.mark.parametrize(("samples", "style"), [(1, "default"), (2, "dark_background"), (7, "default")])
def test_every_word_is_inside_of_its_picture_and_the_file_shows_all_of_them(
    explanation, figures, tmp_path, samples, style
):
    some, open_before = first(explanation, samples), pyplot.get_fignums()
    with pyplot.style.context(style):
        sheet = imread(some.save(tmp_path / "all.png"))
    assert len(figures) == samples
    sizes = [figure.get_size_inches() * 200 for figure in figures]
    assert sheet.shape[:2] == (sum(int(height) for _, height in sizes), int(max(width for width, _ in sizes)))
    assert (sheet[..., :3].mean() < 0.5) == (style == "dark_background")
    for figure, name in list(zip(figures, some.ids, strict=True))[-2:]:
        figure.set_dpi(100)
        assert not unreadable(figure)
        decision = readable(str(explanation.table["decision"].values[explanation.ids.index(name)]))
        said = " ".join(texts_of(figure))
        assert f"{name}: the model says {decision}" in said
        assert "not tested on this model" in said
    assert pyplot.get_fignums() == open_before


def texts_of(figure):
    """What a picture says, without the ticks."""
    texts = [*figure.texts, *(text for ax in figure.axes for text in ax.texts)]
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    drawn = [text for ax in figure.axes for text in ax.artists if isinstance(text, Text)]
    return [text.get_text().replace("\n", " ") for text in (*texts, *drawn)] + titles


def test_the_pictures_hold_the_relevance_of_their_sample(explanation):
    relevance = explanation.relevance.sel(sample=2)
    valid = relevance["key_valid"].values
    ax = explanation.plot("P-002", ax=Figure())
    words = [word.replace("\n", " ") for word, _, _ in written_words(ax.figure)]
    if explanation.kind == "features":
        lengths = sorted(patch.get_width() for patch in ax.patches if patch.get_gid() == "value")
        order = np.argsort(-np.abs(relevance.values))
        np.testing.assert_allclose(lengths, np.sort(relevance.values[order]), atol=1e-12)
        assert (
            f"mean of feature {order[0]} = {explanation.table['value'].values[2, order[0]]:.4g}".replace(
                "-", "\N{MINUS SIGN}"
            )
            in words
        )
        assert {"base", "answer"} <= set(words)
        assert "integrated gradients, probability of 'malignant'" in words
        assert title(ax) == f"P-002: the model says {relevance['decision'].item()} (truth: benign)"
    elif explanation.kind == "tokens":
        assert [word for word in words if word in WORDS] == [
            word for word, real in zip(WORDS, valid, strict=True) if real
        ]
        assert bar(ax)[0].startswith("gradient x input, probability of ")
    elif explanation.kind == "patches":
        np.testing.assert_array_equal(cells(ax, 1), relevance.values.reshape(2, 3))
        assert bar(ax)[0] == "occlusion, class 1"
        assert remarks(ax).startswith("class 1: ")
    else:
        line = next(line for line in ax.lines if line.get_gid() == "mean")
        np.testing.assert_allclose(line.get_ydata(), relevance.values, atol=1e-12)
        assert ax.get_ylabel() == "occlusion, the output"


def test_a_pdf_has_a_page_for_each_sample_and_an_svg_all_of_them(explanation, figures, tmp_path):
    two = first(explanation, 2)
    written = two.save(tmp_path / "figure.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", written)) == 2
    assert b"/CIDFontType2" in written or b"/TrueType" in written
    assert b"/Type3" not in written
    root = ElementTree.parse(two.save(tmp_path / "figure.svg")).getroot()
    heights = [figure.get_figheight() * 72 for figure in figures]
    assert heights[:2] == heights[2:]
    assert float(root.attrib["height"].removesuffix("pt")) == pytest.approx(sum(heights[:2]), abs=0.01)
    moved = [group.attrib["transform"] for group in root if "transform" in group.attrib]
    assert moved == [f"translate(0 {-heights[1]:g})", "translate(0 0)"]


def test_a_picture_says_the_verdict_on_its_method(explanation):
    choice = MethodChoice(explanation.method, "descriptive only", ("no better than position",))
    judged = replace(explanation, methods=(choice,))
    said = "the card: descriptive only: no better than position"
    assert said in " ".join(texts_of(judged.plot("P-001", ax=Figure()).figure))
    assert said in " ".join(texts_of(ats.plot.heatmap(judged.relevance, ax=Figure().add_subplot()).figure))
    assert MethodChoice("raw", "explains", ("better than random",)).in_words == "the card: explains"
    assert MethodChoice("raw", "cannot tell", ("few", "wide")).in_words == "the card: cannot tell: few; wide"


def test_a_sample_is_named_unless_there_is_only_one(explanation):
    assert first(explanation, 1).plot().figure.number in pyplot.get_fignums()
    for given, what in (
        ((), "No sample was named"),
        (("P-9",), "There is no sample 'P-9' in this explanation"),
        ((0,), "There is no sample '0' in this explanation"),
    ):
        with pytest.raises(InputError) as raised:
            first(explanation, 2).plot(*given)
        assert str(raised.value) == (
            f"{what}: the ids are 'P-000', 'P-001'. Name one of them: explanation.plot('P-000')."
        )


def test_nothing_is_drawn_by_a_method_that_may_not_be(tmp_path):
    model, data, options = table()
    nothing = replace(ats.explain(model, data, card=False, **options), methods=())
    for draw in (lambda: nothing.plot("0"), lambda: nothing.save(tmp_path / "figure.png")):
        with pytest.raises(MethodError) as raised:
            draw()
        assert str(raised.value) == (
            "There is no relevance: no method may be drawn for 'biopsies'. Name one, and it is drawn with its verdict: "
            "method='occlusion'."
        )
    assert not (tmp_path / "figure.png").exists()


@pytest.mark.parametrize("made", [table, text, pictures, steps])
def test_hostile_names_are_written_as_marks(made, tmp_path):
    model, data, options = made()
    hostile = [f"{text}{number}" for number, text in enumerate([*HOSTILE, "=cmd()", "<img src=x onerror=alert(1)>"])]
    for name, count in (("classes", 2), ("labels", data.shape[1])):
        if name in options:
            labels = [hostile[(3 * place) % len(hostile)] + str(place) for place in range(count)]
            options[name] = [labels] * COUNT if np.ndim(options[name]) == 2 else labels
    options |= {"target": options["classes"][1]} if "classes" in options else {}
    options |= {"truth": [options["classes"][0]] * COUNT} if "truth" in options else {}
    some = ats.explain(model, data, card=False, ids=hostile[:COUNT], samples=hostile[:1], **options)
    assert not unreadable(some.plot(ax=Figure()).figure)
    for suffix in ("svg", "pdf"):
        assert some.save(tmp_path / f"figure.{suffix}").stat().st_size > 3000
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(tmp_path / "figure.svg").iter()}
    assert not tags & {"script", "a", "foreignObject", "img"}


def test_the_page_tints_the_patches_and_has_a_column_for_each_step():
    for made in (pictures, steps):
        model, data, options = made()
        some = ats.explain(model, data, card=False, samples=[3], **options)
        relevance, page = some.table["relevance"].values[0, 0], some._repr_html_()
        reach = float(re.search(r"ends at (\S+) on either side", page)[1])
        if made is steps:
            columns = re.findall(r"<rect class=(\w+) x='\S+' width='\S+' y='(\S+)' height='(\S+)'>", page)
            assert [side for side, _, _ in columns] == ["less" if value < 0 else "more" for value in relevance]
            heights = [float(height) for _, _, height in columns]
            np.testing.assert_allclose(heights, np.abs(relevance) / reach * 75, atol=0.006)
            tops = np.array([float(top) for _, top, _ in columns])
            begins = np.where(relevance < 0, tops, tops + heights)
            np.testing.assert_allclose(begins, 75, atol=0.011)  # all begin at the middle
            continue
        as_it_is, tinted = (
            imread_of(source).astype(int) for source in re.findall(r"src='data:image/png;base64,([^']+)'", page)
        )
        stretched = (data[3] - data[3].min()) / np.ptp(data[3]) * 255
        assert np.abs(as_it_is - stretched).max() <= 0.51
        share = np.kron(relevance.reshape(2, 3) / reach, np.ones((4, 4)))[..., None]
        tint = np.where(share < 0, (0x2F, 0x6D, 0xB5), (0xD2, 0x76, 0x2B))
        grey = 255 * softened(as_it_is @ LIGHTNESS / 255)[..., None]  # on black no colour would be seen
        expected = grey + (tint - grey) * np.abs(share) * 0.8
        assert np.abs(tinted - expected).max() <= 0.51


def test_where_nothing_is_drawn_the_page_shows_the_samples_as_they_are():
    shown = {}
    for made in (table, text, pictures, steps):
        model, data, options = made()
        some = replace(ats.explain(model, data, card=False, samples=[1, 3], **options), methods=())
        shown[made], page = some._repr_html_(), explanation_page(some)
        assert "class=signed" not in page
        assert "@page sample-" not in page  # nothing that would fill a sheet of its own
    values = re.findall(r"<li><bdi>([^<]*)</bdi> <b>([^<]*)</b></li>", shown[table])
    _, data, options = table()
    assert values == [
        (name, readable(f"{value:.4g}"))
        for row in (1, 3)
        for name, value in zip(options["labels"], data[row], strict=True)
    ]
    sentences = re.findall("<p class=words>(.*?)</p>", shown[text])
    assert sentences == [" ".join(f"<bdi>{word}</bdi>" for word in WORDS[:-5])] * 2
    assert shown[pictures].count("as it is</figcaption>") == shown[pictures].count("<figcaption>") == 2


def imread_of(source):
    return (imread(io.BytesIO(base64.b64decode(source)), format="png") * 255).round()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((3, 8, 12)),
            "images has 3 pictures, but there are 7 samples. Give one for each sample, in their order, whichever of "
            "them are explained.",
        ),
        (
            np.zeros((7, 12)),
            "The images have the shape (7, 12), but (sample, height, width) or (sample, height, width, channel) with "
            "1, 3 or 4 channels is needed.",
        ),
        (
            np.zeros((7, 3, 8, 12)),
            "The images have the shape (7, 3, 8, 12), but (sample, height, width) or (sample, height, width, channel) "
            "with 1, 3 or 4 channels is needed.",
        ),
        (
            [np.zeros((8, 12)), np.zeros((6, 12))],
            "The images are not all of one size. Give one array of them all: (sample, height, width, channel).",
        ),
    ],
)
def test_pictures_of_another_shape_are_not_drawn(images, message):
    model, data, options = pictures()
    with pytest.raises(InputError) as raised:
        ats.explain(model, data, card=False, images=images, **options)
    assert str(raised.value) == message
