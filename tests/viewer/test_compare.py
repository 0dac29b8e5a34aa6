"""Pictures under their patches, differences of two maps, and what is saved of a view."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import attnscope as ats
from attnscope import colours
from viewer_screens import (
    cell_shown,
    end_of_scale,
    expected_colour,
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
    translation,
)


@pytest.fixture
def opened(open_page):
    """Opens a page at a link."""

    def at(file, link="", **options):
        page = open_page(f"{file.as_uri()}#{link}", **options)
        settled(page)
        return page

    return at


# Pictures


@pytest.fixture(scope="module")
def patches():
    """Weights of 6 x 10 patches and a class token, over a grey picture of another shape than a square."""
    rng = np.random.default_rng(4)
    return softmax(rng.normal(size=(2, 61, 61)) * 2)


@pytest.fixture(scope="module")
def picture_file(tmp_path_factory, patches):
    picture = np.full((1, 90, 150, 3), 200, "uint8")
    maps = one_site(patches, ["[CLS]", *names("patch", 60)])
    return saved(tmp_path_factory.mktemp("picture"), maps, images=picture, grid=(6, 10))


def points_of_patches(page, side):
    """Points in the middle of every patch of the left (0) or right (1) panel: those whose neighbours tell the same."""
    box = grid(page).bounding_box()
    found = {}
    for down in np.linspace(30, box["height"] - 12, 18):
        for across in np.linspace(6, box["width"] / 2 - 16, 30):
            x = across + side * box["width"] / 2
            page.mouse.move(box["x"] + x, box["y"] + down)
            sentence = readout(page).inner_text()
            if "→" in sentence:
                found.setdefault(told(sentence)[1], []).append((round(x), round(down)))
    return {key: points[len(points) // 2] for key, points in found.items() if len(points) > 2}


def test_patches_have_the_colours_of_their_weights_beside_the_picture(opened, patches, picture_file):
    page = opened(picture_file, "view=image&panel=1&query=0")
    page.get_by_label("Over the picture").select_option("colour")
    settled(page)
    points = points_of_patches(page, 1)
    assert len(points) > 40
    page.mouse.move(0, 0)
    pixels, end = screen(grid(page)), end_of_scale([patches])
    for key, (x, y) in points.items():
        seen = middle_colour(pixels, (x - 3, y - 3, 6, 6))
        assert same_colour(seen, expected_colour(float(patches[1, 0, key]), end), 6), key


def test_the_picture_is_the_brighter_the_larger_the_weight(opened, patches, picture_file):
    page = opened(picture_file, "view=image&panel=1&query=0")
    points = points_of_patches(page, 0)
    page.mouse.move(0, 0)
    pixels = screen(grid(page))
    order = sorted(points, key=lambda key: patches[1, 0, key])
    light = [int(middle_colour(pixels, (*np.array(points[key]) - 3, 6, 6)).max()) for key in order]
    assert all(light[place] <= light[place + 1] + 3 for place in range(len(light) - 1))
    assert light[0] < 140 and light[-1] <= 203
    page.get_by_label("Strength").fill("0")
    settled(page)
    pixels = screen(grid(page))
    assert {int(middle_colour(pixels, (*np.array(points[key]) - 3, 6, 6)).max()) for key in order} == {200}


def test_the_class_token_stands_apart_from_the_patches(opened, patches, picture_file):
    page = opened(picture_file, "view=image&panel=1")
    grid(page).hover(position={"x": 12, "y": 10})
    settled(page)
    assert "0 “[CLS]”" in readout(page).inner_text().replace("\u2068", "").replace("\u2069", "")
    grid(page).click(position={"x": 12, "y": 10})
    settled(page)
    strongest = int(patches[1, 0].argmax())
    first = page.get_by_role("list", name="Strongest weights").get_by_role("listitem").first.inner_text()
    assert first.startswith(f"{strongest} ")
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    settled(page)
    assert "query=2" in page.url
    assert "patch1; strongest key" in cell_shown(page)[0].replace("\u2068", "").replace("\u2069", "")


def test_the_list_of_the_strongest_says_to_point_at_a_patch(opened, picture_file):
    found = opened(picture_file, "view=image&panel=1").get_by_role("region", name="Strongest weights").inner_text()
    assert "Point at a patch, or click to pin it." in found


def test_a_page_without_pictures_has_no_view_of_them(opened, tmp_path):
    page = opened(saved(tmp_path, translation()[1]))
    assert "Image" not in page.get_by_role("tab").all_inner_texts()


# Differences


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    before, after = translation(5), translation(6)
    file = saved(tmp_path_factory.mktemp("runs"), {"before": before[1], "after": after[1]})
    return before[0], after[0], file


def to_the_first_cell(page):
    grid(page).focus()
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")


def check_difference(page, expected, labels=13):
    """What is told and drawn of the first row of a difference."""
    said = page.get_by_role("region", name="Legend").get_by_role("img").get_attribute("aria-label")
    end = float(re.search(r"from .([\d.]+) to ([\d.]+)$", said)[2])
    to_the_first_cell(page)
    pixels, table = screen(grid(page)), colours.diverging()
    for key in range(labels):
        sentence, box = cell_shown(page)
        assert sentence.endswith(" (A \N{MINUS SIGN} B)")
        query, place, kind, value, bound = told(sentence)
        assert (query, place, kind) == (0, key, kind)
        assert bound <= 0.0022
        assert abs(value - expected[key]) <= bound + 1e-3 * abs(expected[key]) + 1e-4
        share = min(1, abs(value) / end) ** 0.5
        seen = middle_colour(pixels, box)
        wanted = table[round(127.5 + np.sign(value) * share * 127.5)]
        assert same_colour(seen, wanted, 8), sentence
        page.keyboard.press("ArrowRight")


def test_the_difference_of_two_runs_is_cell_by_cell_and_signed(opened, two_runs):
    before, after, file = two_runs
    page = opened(file, "view=compare&site=1&panel=2")
    group = page.get_by_role("group", name="What is compared").inner_text()
    assert "before: encoder layer 1, head 2" in group
    site = page.get_by_label("B: site")
    assert site.locator("option:checked").inner_text() == "after: encoder layer 1"
    name = "encoder_1/attention"
    check_difference(page, before[name][0, 2, 0].astype(float) - after[name][0, 2, 0])
    page.get_by_role("button", name="Swap A and B").click()
    settled(page)
    check_difference(page, after[name][0, 2, 0].astype(float) - before[name][0, 2, 0])


def test_heads_sites_and_samples_are_compared(opened, two_runs):
    before, _, file = two_runs
    page = opened(file, "view=compare&site=0&panel=0")
    first, second = before["encoder_0/attention"], before["encoder_1/attention"]
    page.get_by_label("B: site").select_option(label="before: encoder layer 0")
    page.get_by_label("B: head").select_option(label="head 2")
    settled(page)
    check_difference(page, first[0, 0, 0].astype(float) - first[0, 2, 0])
    page.get_by_label("B: site").select_option(label="before: encoder layer 1")
    page.get_by_label("B: sample").select_option(label="3")
    settled(page)
    check_difference(page, first[0, 0, 0].astype(float) - second[2, 2, 0])


def test_what_cannot_be_subtracted_is_said(opened, two_runs):
    page = opened(two_runs[2], "view=compare&site=0")
    page.get_by_label("B: site").select_option(label="before: decoder_0/attention")
    settled(page)
    alert = page.get_by_role("alert").inner_text()
    assert alert.startswith("A has 13 x 13 cells and B has 7 x 7, so they cannot be compared cell by cell.")
    assert grid(page).count() == 0
    page.get_by_label("B: site").select_option(label="before: encoder layer 1")
    settled(page)
    assert page.get_by_role("alert").count() == 0
    assert grid(page).is_visible()


def test_each_side_of_a_comparison_says_its_run_site_output_and_label(opened, tmp_path, rng):
    def run(site, outputs, words):
        maps = one_site(softmax(rng.normal(size=(2, 5, 5))), words, site=site)
        return ats.AttentionMaps({site: maps.dataset(site)}, outputs=xr.DataArray([outputs], dims=("sample", "unit")))

    before = run("one/mha", [0.25, 0.75], list("abcde"))
    runs = {"before": before, "after": run("two/mha", [0.625, 0.375], list("abXYe"))}
    labels = {"before": ["benign"], "after": ["malignant"]}
    page = opened(saved(tmp_path, runs, labels=labels), "view=compare&panel=1")
    sides = page.get_by_role("group", name="What is compared")
    assert sides.locator("p").inner_text() == "Abefore: mha, head 1"
    assert [" ".join(facts.inner_text().split()) for facts in sides.locator("dl").all()] == [
        "run before path one/mha label benign output 0.250, 0.750",
        "run after path two/mha label malignant output 0.625, 0.375",
    ]
    about = page.get_by_role("region", name="Sample")
    assert "run\nbefore\nlabel\nbenign\noutput\n0.250, 0.750" in about.inner_text()
    page.get_by_role("button", name="Swap A and B").click()
    settled(page)
    assert "run\nafter\nlabel\nmalignant\noutput\n0.625, 0.375" in about.inner_text()
    page.get_by_role("button", name="A exceeds B most").click()
    grid(page).focus()
    to_the_first_cell(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "key 2 \u201c\u2068X\u2069\u201d (in B \u201c\u2068c\u2069\u201d): " in cell_shown(page)[0]
    path = page.get_by_label("Site", exact=True).get_attribute("title")
    assert path == "two/mha"


def test_labels_that_differ_are_told(opened, tmp_path, rng):
    scores = softmax(rng.normal(size=(1, 5, 5)))
    runs = {"one": one_site(scores, list("abcde")), "other": one_site(scores, list("abXYe"))}
    page = opened(saved(tmp_path, runs), "view=compare")
    note = page.get_by_role("note").inner_text()
    assert note.startswith("There is no difference in what is shown.")
    assert "The labels of A and B differ at 2 of 5 queries and 2 of 5 keys" in note


# What is saved


def taken(page, kind):
    """The picture of the view as it is downloaded."""
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save the picture as {kind}").click()
    return download.value


def colours_of_row(page, count=13):
    """Colours on the screen, and boxes, of the cells of the first row of the map."""
    to_the_first_cell(page)
    boxes = []
    for _ in range(count):
        boxes.append(cell_shown(page)[1])
        page.keyboard.press("ArrowRight")
    page.evaluate("() => document.activeElement.blur()")
    pixels = screen(grid(page))
    return [middle_colour(pixels, box) for box in boxes], boxes


def found_in(picture, seen, boxes):
    """Whether the row of colours is in a picture of twice the size, moved by its margins."""
    for top in range(40, 160):
        for left in (16, 17):
            moved = [((x + left) * 2, (y + top) * 2, width * 2, height * 2) for x, y, width, height in boxes]
            if max(y + height for _, y, _, height in moved) >= picture.shape[0]:
                return False
            if all(
                same_colour(picture[int(y + height / 2), int(x + width / 2)], colour, 4)
                for colour, (x, y, width, height) in zip(seen, moved, strict=True)
            ):
                return True
    return False


@pytest.mark.parametrize("dark", [False, True])
def test_a_saved_png_has_the_colours_of_the_screen(opened, tmp_path, dark):
    page = opened(saved(tmp_path, translation()[1]), "view=matrix&site=3&panel=2", dark=dark)
    seen, boxes = colours_of_row(page)
    download = taken(page, "PNG")
    download.save_as(tmp_path / "picture.png")
    assert download.suggested_filename.endswith(".png") and "cross_attention" in download.suggested_filename
    picture = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    assert found_in(picture, seen, boxes)
    assert same_colour(picture[2, 2], (0x15, 0x17, 0x1C) if dark else (0xFB, 0xFA, 0xF7))


def test_a_saved_svg_has_the_values_tokens_and_scale(opened, tmp_path):
    arrays, maps = translation()
    values = arrays["decoder_0/cross_attention"][0, 2]
    page = opened(saved(tmp_path, maps), "view=matrix&site=3&panel=2")
    seen, boxes = colours_of_row(page)
    taken(page, "SVG").save_as(tmp_path / "picture.svg")
    root = ElementTree.parse(tmp_path / "picture.svg").getroot()
    texts = {"".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"cross_attention, head 2", "decoder_0/cross_attention", *names("source", 13), *names("target", 7)} <= texts
    links = [element.get("href") for element in root.iter("{http://www.w3.org/2000/svg}image")]
    bitmaps = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(link.split(",")[1]))).convert("RGB")) for link in links
    ]
    [cells] = [bitmap for bitmap in bitmaps if bitmap.shape[:2] == (7, 13)]
    for row, key in np.ndindex(7, 13):
        near = np.linspace(values[row, key] - 0.001, values[row, key] + 0.001, 9)
        wanted = [expected_colour(float(value), end_of_scale(arrays.values())) for value in near]
        assert any(same_colour(cells[row, key], colour, 4) for colour in wanted)
    drawn = opened(tmp_path / "picture.svg", device_scale_factor=2)
    png = np.asarray(Image.open(io.BytesIO(drawn.screenshot())).convert("RGB"))
    assert found_in(png, seen, boxes)


@pytest.mark.parametrize("view", ["overview", "lines", "text", "compare", "image"])
def test_every_view_is_saved_as_it_is_seen(opened, picture_file, tmp_path, view):
    page = opened(picture_file, f"view={view}&query=1")
    taken(page, "PNG").save_as(tmp_path / "picture.png")
    taken(page, "SVG").save_as(tmp_path / "picture.svg")
    picture = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    on_screen = {tuple(colour) for colour in screen(page.locator(".stage")).reshape(-1, 3)[::7]}
    kept = {tuple(colour) for colour in picture.reshape(-1, 3)}
    common = sum(colour in kept for colour in on_screen)
    assert common > 0.4 * len(on_screen)
    size = ElementTree.parse(tmp_path / "picture.svg").getroot()
    assert (round(float(size.get("width")) * 2), round(float(size.get("height")) * 2)) == picture.shape[1::-1]


def test_the_link_is_copied(opened, tmp_path):
    page = opened(
        saved(tmp_path, translation()[1]), "view=matrix&panel=1", permissions=["clipboard-read", "clipboard-write"]
    )
    page.get_by_role("button", name="Copy a link to this exact view").click()
    settled(page)
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url


def test_maps_without_a_file_are_the_same_page(opened, tmp_path):
    maps = ats.AttentionMaps.from_arrays({"a": np.full((1, 2, 3, 3), 1 / 3)}, labels=list("xyz"))
    page = opened(saved(tmp_path, maps["a"]))
    assert "2 heads of 1 site." in readout(page).inner_text()
