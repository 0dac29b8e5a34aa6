"""Tokens and weights that break viewers: none runs a script, blanks the page, throws, or shows what is not so."""

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope import colours
from attnscope.errors import SchemaError
from attnscope.marks import shown
from hostile_texts import HOSTILE
from viewer_screens import (
    cell_shown,
    grid,
    middle_colour,
    names,
    one_site,
    readout,
    same_colour,
    saved,
    screen,
    settled,
    softmax,
    told,
)

VIEWS = ("overview", "matrix", "lines", "text", "compare")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Hostile texts wherever a text can stand: tokens, sites, title, inputs, outputs, labels, runs."""
    rng = np.random.default_rng(2)
    count = len(HOSTILE)
    scores = {text: softmax(rng.normal(size=(2, 2, count, count))) for text in (HOSTILE[0], HOSTILE[4], "\u202esite")}
    maps = ats.AttentionMaps.from_arrays(scores, labels=HOSTILE)
    outputs = {HOSTILE[0]: xr.DataArray([[0.5], [0.5]], dims=("sample", "class"))}
    maps = ats.AttentionMaps(
        {name: maps.dataset(name) for name in maps},
        outputs=outputs,
        attrs={"model": HOSTILE[0], "backend": HOSTILE[4]},
    ).with_inputs([HOSTILE[0], HOSTILE[13]])
    runs = {HOSTILE[0]: maps, HOSTILE[4]: maps}
    return saved(tmp_path_factory.mktemp("hostile"), runs, title=HOSTILE[0], labels=[HOSTILE[1], HOSTILE[18]])


def check_that_nothing_ran(page):
    assert page.evaluate("() => window.ran") is None
    assert page.evaluate("() => document.querySelectorAll('img, a[href], iframe, object, embed').length") == 0
    assert "attention" in page.get_by_role("region", name="Attention of").get_attribute("aria-label").lower()


@pytest.mark.parametrize(("view", "width"), list(zip(VIEWS, (390, 1280, 390, 1280, 390), strict=True)))
def test_hostile_texts_stand_on_the_page_as_texts(open_page, page_file, view, width):
    page = open_page(f"{page_file.as_uri()}#view={view}&query=0&search=script", width=width)
    settled(page)
    check_that_nothing_ran(page)
    assert page.title() == HOSTILE[0]
    assert page.get_by_role("heading", level=1).inner_text() == HOSTILE[0]
    words = page.locator("body").inner_text()
    for text in (HOSTILE[0], HOSTILE[1], shown(HOSTILE[18])):
        assert text in words or page.get_by_role("button", name="Next sample").is_visible()
    for kind in ("PNG", "SVG"):
        with page.expect_download() as taken:
            page.get_by_role("button", name=f"Save the picture as {kind}").click()
        assert taken.value.suggested_filename.isascii()
        assert "/" not in taken.value.suggested_filename
    check_that_nothing_ran(page)


def test_every_hostile_token_is_written_as_its_mark(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#view=text")
    settled(page)
    tokens = page.get_by_role("listbox").get_by_role("option")
    assert tokens.count() == len(HOSTILE)
    for place, label in enumerate(HOSTILE):
        written = tokens.nth(place).evaluate("e => e.title || e.textContent")
        assert written.strip("\u2066\u2067\u2068\u2069") == shown(label)
        box = tokens.nth(place).bounding_box()
        assert box["width"] >= 4 and box["height"] >= 8


def test_every_hostile_token_is_told_in_the_matrix(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#view=matrix")
    settled(page)
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for place, label in enumerate(HOSTILE):
        sentence, _ = cell_shown(page)
        assert sentence.startswith(f"query {place} ")
        if len(shown(label)) < 60:
            assert f"\u2068{shown(label)}\u2069" in sentence
        page.keyboard.press("ArrowDown")
    check_that_nothing_ran(page)


def test_hostile_texts_can_be_searched_for(open_page, page_file):
    page = open_page(f"{page_file.as_uri()}#view=matrix")
    for text in HOSTILE:
        page.get_by_role("searchbox").fill(text.encode("utf-8", "replace").decode().replace("\0", ""))
        page.get_by_role("searchbox").press("Enter")
    settled(page)
    check_that_nothing_ran(page)
    again = open_page(page.url)
    settled(again)
    check_that_nothing_ran(again)


def test_a_picture_of_hostile_tokens_is_well_formed(open_page, page_file, tmp_path):
    from xml.etree import ElementTree

    for view in ("overview", "matrix", "lines", "text"):
        page = open_page(f"{page_file.as_uri()}#view={view}&query=18")
        settled(page)
        with page.expect_download() as taken:
            page.get_by_role("button", name="Save the picture as SVG").click()
        taken.value.save_as(tmp_path / "picture.svg")
        root = ElementTree.parse(tmp_path / "picture.svg").getroot()
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "foreignObject", "a", "style"}
        assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


ODD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "negative": -0.25, "huge": 1e6}


@pytest.mark.parametrize(("kind", "dark"), list(zip(ODD, (False, True, False, True, False), strict=True)))
def test_what_is_no_weight_is_never_drawn_as_one(open_page, tmp_path, rng, kind, dark):
    scores = softmax(rng.normal(size=(1, 9, 11)) * 2)
    scores[0, 4, 6] = ODD[kind]
    labels = {"query": names("query", 9), "key": names("key", 11)}
    page = open_page(f"{saved(tmp_path, one_site(scores, labels)).as_uri()}#view=matrix", dark=dark)
    settled(page)
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    sentence, box = cell_shown(page)
    written = {"nan": "NaN", "inf": "infinite", "-inf": "-infinite", "negative": "-0.250", "huge": "1.00e+6"}[kind]
    assert told(sentence)[:4] == (4, 6, "odd", written)
    assert same_colour(middle_colour(screen(grid(page)), box), colours.NOT_A_NUMBER)
    page.keyboard.press("ArrowRight")
    _, _, _, value, bound = told(cell_shown(page)[0])
    assert abs(value - scores[0, 4, 7]) <= bound + 1e-3
    page.get_by_role("tab", name="Heads").click()
    settled(page)
    grid(page).hover(position={"x": 250, "y": 60})
    page.get_by_role("tab", name="Heads").focus()
    nan = (screen(grid(page)).astype(int) - colours.NOT_A_NUMBER == 0).all(-1).sum()
    assert nan > 3


@pytest.mark.parametrize("view", ["lines", "text"])
def test_what_is_no_weight_is_marked_between_tokens_too(open_page, tmp_path, rng, view):
    scores = softmax(rng.normal(size=(1, 7, 7)))
    scores[0, 2, 5] = np.nan
    page = open_page(f"{saved(tmp_path, one_site(scores, names('t', 7))).as_uri()}#view={view}&query=2")
    settled(page)
    marked = (screen(page.locator(".stage")).astype(int) - colours.NOT_A_NUMBER == 0).all(-1).sum()
    assert marked > 20
    other = open_page(f"{saved(tmp_path, one_site(scores, names('t', 7))).as_uri()}#view={view}&query=3")
    settled(other)
    assert (screen(other.locator(".stage")).astype(int) - colours.NOT_A_NUMBER == 0).all(-1).sum() == 0


def test_what_is_no_weight_in_one_head_is_none_in_the_mean_of_all(open_page, tmp_path, rng):
    scores = softmax(rng.normal(size=(3, 6, 6)))
    scores[1, 0, 2] = np.nan
    file = saved(tmp_path, one_site(scores, names("t", 6)))
    for panel in ("mean", "max"):
        page = open_page(f"{file.as_uri()}#view=matrix&panel={panel}")
        settled(page)
        grid(page).focus()
        page.keyboard.press("ArrowDown")
        kinds = []
        for _ in range(6):
            sentence, box = cell_shown(page)
            kinds.append(told(sentence)[2])
            red = same_colour(middle_colour(screen(grid(page)), box), colours.NOT_A_NUMBER)
            assert red == (kinds[-1] == "odd")
            page.keyboard.press("ArrowRight")
        assert [kind == "odd" for kind in kinds] == [key == 2 for key in range(6)]


def test_padding_is_hatched_and_no_weight_of_zero(open_page, tmp_path, rng):
    scores = softmax(rng.normal(size=(1, 1, 6, 6)))
    scores[..., 4:] = 0
    scores[0, 0, :, 1] = 0
    dataset = ats.AttentionMaps.from_arrays({"site": scores}, labels=names("t", 6)).dataset("site")
    valid = (("sample", "key"), np.array([[True] * 4 + [False] * 2]))
    file = saved(tmp_path, ats.AttentionMaps({"site": dataset.assign_coords(key_valid=valid)}))
    page = open_page(f"{file.as_uri()}#view=matrix")
    settled(page)
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    cells = []
    for _ in range(6):
        sentence, box = cell_shown(page)
        cells.append((told(sentence)[2:4], box))
        page.keyboard.press("ArrowRight")
    assert cells[1][0] == ("exact", 0.0)
    assert [cell[0][0] for cell in cells[4:]] == ["masked", "masked"]
    page.evaluate("() => document.activeElement.blur()")
    pixels = screen(grid(page))
    for place, (_, (x, y, width, height)) in enumerate(cells):
        part = pixels[int(y + 4) : int(y + height - 4), int(x + 4) : int(x + width - 4)].reshape(-1, 3)
        assert (len(np.unique(part, axis=0)) > 1) == (place >= 4)
    assert same_colour(middle_colour(pixels, cells[1][1]), colours.ramp()[0])


def test_weights_above_one_are_told_as_they_are(open_page, tmp_path, rng):
    scores = rng.uniform(0, 40, size=(1, 5, 20)).astype("float32")
    labels = {"query": names("query", 5), "key": names("key", 20)}
    page = open_page(f"{saved(tmp_path, one_site(scores, labels)).as_uri()}#view=matrix")
    settled(page)
    assert page.get_by_role("img").first.get_attribute("aria-label").endswith("from 0 to 40")
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for key in range(20):
        _, _, kind, value, bound = told(cell_shown(page)[0])
        assert abs(value - scores[0, 0, key]) <= bound + 0.02
        assert kind in ("exact", "coded", "below")
        page.keyboard.press("ArrowRight")


def test_zero_samples_are_refused_before_there_is_a_page():
    maps = ats.AttentionMaps.from_arrays({"site": np.zeros((0, 2, 5, 5), "float32")})
    with pytest.raises(SchemaError) as caught:
        ats.view(maps)
    assert str(caught.value) == (
        "The maps have no sites, or no samples, but at least one of each is needed to show anything: "
        "ats.view(ats.capture(model, inputs))."
    )


SHAPES = {
    "one token": (1, 1, 1),
    "one head": (1, 13, 13),
    "96 heads": (96, 7, 7),
    "wide": (1, 5, 2000),
    "tall": (1, 2000, 5),
    "large": (1, 2000, 2000),
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A page of each shape, saved when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("shapes"), {}

    def page_of(name):
        if name not in made:
            heads, rows, columns = SHAPES[name]
            scores = softmax(np.random.default_rng(1).normal(size=(heads, rows, columns)) * 3)
            maps = one_site(scores, {"query": names("query", rows), "key": names("key", columns)})
            made[name] = scores, saved(folder, maps, name.replace(" ", "_"))
        return made[name]

    return page_of


@pytest.mark.parametrize("view", ["overview", "matrix", "lines", "text"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_view_draws_maps_of_every_shape(open_page, shapes, name, view):
    _, file = shapes(name)
    page = open_page(f"{file.as_uri()}#view={view}")
    settled(page)
    assert page.get_by_role("alert").count() == 0
    stage = screen(page.locator(".stage"))
    assert stage.shape[1] <= 1280
    found, counts = np.unique(stage.reshape(-1, 3), axis=0, return_counts=True)
    assert len(found) > 20 or name == "one token"
    assert 1 - counts.max() / counts.sum() > 0.001
    assert page.evaluate("() => document.querySelectorAll('*').length") < 1000


@pytest.mark.parametrize("name", SHAPES)
def test_the_numbers_of_maps_of_every_shape_are_right(open_page, shapes, name):
    scores, file = shapes(name)
    page = open_page(f"{file.as_uri()}#view=matrix&panel={scores.shape[0] - 1}")
    settled(page)
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    x, y, *_ = cell_shown(page)[1]
    box, seen = grid(page).bounding_box(), set()
    for down in np.linspace(y + 2, box["height"] - 4, 7):
        for across in np.linspace(x + 2, min(box["width"], x + 700) - 4, 12):
            page.mouse.move(box["x"] + across, box["y"] + down)
            sentence = readout(page).inner_text()
            if "→" in sentence:
                query, key, _, value, bound = told(sentence)
                true = float(scores[-1, query, key])
                assert abs(value - true) <= bound + 1e-3 * true + 6e-8  # to four digits, and to float16's least
                assert bound <= 0.0011
                seen.add((query, key))
    assert len(seen) >= min(20, scores.shape[1] * scores.shape[2])
    grid(page).focus()
    page.keyboard.press("End")
    page.keyboard.press("End")
    assert told(cell_shown(page)[0])[1] == scores.shape[2] - 1


def test_all_of_96_heads_can_be_opened(open_page, shapes):
    _, file = shapes("96 heads")
    page = open_page(file)
    settled(page)
    grid(page).focus()
    page.keyboard.press("Home")
    page.keyboard.press("End")
    for _ in range(100):
        page.keyboard.press("ArrowRight")
    assert "head 95: " in cell_shown(page)[0]
    page.keyboard.press("Enter")
    settled(page)
    assert "head 95" in grid(page).get_attribute("aria-label")


def test_long_labels_leave_room_for_the_map(open_page, tmp_path, rng):
    labels = [f"{place} {'a rather long word ' * 9}" for place in range(6)]
    maps = one_site(softmax(rng.normal(size=(1, 6, 6))), labels, site="encoder/" + "block/" * 30 + "attention")
    file = saved(tmp_path, maps, title="A title " * 40)
    for width in (320, 1280):
        for view in VIEWS[:4]:
            page = open_page(f"{file.as_uri()}#view={view}&query=1", width=width)
            settled(page)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        page = open_page(f"{file.as_uri()}#view=matrix", width=width)
        grid(page).focus()
        page.keyboard.press("ArrowDown")
        assert cell_shown(page)[1][2] >= 20
