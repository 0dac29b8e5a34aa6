"""All heads, one head large, lines and text, by what a person does and sees: pixels, numbers, names."""

import numpy as np
import pytest

import attnscope as ats
from attnscope.errors import InputError
from viewer_screens import (
    cell_shown,
    end_of_scale,
    expected_colour,
    grid,
    middle_colour,
    readout,
    same_colour,
    saved,
    screen,
    settled,
    told,
    translation,
)


@pytest.fixture(scope="module")
def arrays():
    return translation()[0]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("views"), translation()[1])


@pytest.fixture
def opened(open_page, page_file):
    """Opens the page of the translation at a link."""

    def at(link="", **options):
        page = open_page(f"{page_file.as_uri()}#{link}", **options)
        settled(page)
        return page

    return at


def thumbnails(page):
    """Every head of the overview with its sentence and box, found by walking over them with the keyboard."""
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for _ in range(6):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    found = {}
    while len(found) < 100:
        sentence, box = cell_shown(page)
        if sentence in found:
            break
        found[sentence] = box
        page.keyboard.press("ArrowRight")
    return found


def test_every_head_has_a_thumbnail_of_its_own_values(opened, arrays):
    page = opened()
    found = thumbnails(page)
    page.get_by_role("tab", name="Heads").focus()
    pixels, end = screen(grid(page)), end_of_scale(arrays.values())
    sites = ("encoder layer 0", "encoder layer 1", "decoder_0/attention", "cross_attention")
    for site, array in zip(sites, arrays.values(), strict=True):
        for head in range(array.shape[1]):
            values = array[0, head]
            [(sentence, box)] = [(s, b) for s, b in found.items() if s.startswith(f"{site}, head {head}: ")]
            assert sentence.endswith(f"largest weight {values.max():.4g}")
            for row, column in [(0, 0), (3, 2), (6, 5), (6, 6)]:
                x, y, width, height = box
                cell = (x + column * width / values.shape[1], y + row * height / values.shape[0])
                size = (width / values.shape[1], height / values.shape[0])
                seen = middle_colour(pixels, (*cell, *size))
                expected = expected_colour(float(values[row, column]), end)
                assert same_colour(seen, expected, 6), (site, head, row, column)


def test_a_click_on_a_thumbnail_opens_that_head(opened, arrays):
    page = opened()
    for sentence, (x, y, width, height) in list(thumbnails(page).items())[::5]:
        page.get_by_role("tab", name="Heads").click()
        settled(page)
        grid(page).click(position={"x": x + width / 2, "y": y + height / 2})
        settled(page)
        assert page.get_by_role("tab", name="Matrix").get_attribute("aria-selected") == "true"
        name = sentence.split(": largest")[0]
        assert name in grid(page).get_attribute("aria-label")


def test_hovering_a_thumbnail_names_it(opened):
    page = opened()
    sentence, (x, y, width, height) = list(thumbnails(page).items())[4]
    page.mouse.move(0, 0)
    grid(page).hover(position={"x": x + width / 2, "y": y + height / 2})
    assert readout(page).inner_text() == sentence


@pytest.mark.parametrize(
    ("scale", "ramp", "dark"),
    [("sqrt", "sea", False), ("sqrt", "sea", True), ("linear", "ember", True), ("log", "grey", False)],
)
def test_numbers_and_colours_of_cells_are_those_of_the_array(opened, arrays, scale, ramp, dark):
    values = arrays["decoder_0/cross_attention"][1, 4]
    page = opened("view=matrix&site=3&panel=4&sample=1", dark=dark)
    page.get_by_label("Scale", exact=True).select_option(scale)
    page.get_by_label("Colours").select_option(ramp)
    settled(page)
    grid(page).focus()
    end = end_of_scale(arrays.values())
    page.keyboard.press("ArrowDown")
    pixels = screen(grid(page))
    for row in (0, 3, 6):
        for column in range(13):
            sentence, box = cell_shown(page)
            query, key, kind, value, bound = told(sentence)
            assert (query, key) == (row, column)
            assert f"target{row}" in sentence and f"source{column}" in sentence
            check_number(values, row, column, kind, value, bound)
            near = np.linspace(values[row, column] - bound, values[row, column] + bound, 9)
            expected = [expected_colour(float(one), end, scale=scale, ramp=ramp, dark=dark) for one in near]
            seen = middle_colour(pixels, box)
            assert any(same_colour(seen, colour, 4) for colour in expected), sentence
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Home")
        for _ in range(3):
            page.keyboard.press("ArrowDown")


def check_number(values, row, column, kind, value, bound, promised=0.001):
    """The number that is told is the array's: exactly for the eight strongest of the row, else within its bound."""
    true = float(values[row, column])
    strongest = sorted(range(values.shape[1]), key=lambda other: -values[row, other])[:8]
    if column in strongest and true > 0:
        assert kind == "exact"
        assert value == float(f"{np.float16(true):.4g}")
    else:
        assert kind in ("coded", "below", "masked") if true else kind in ("exact", "masked")
        assert bound <= 1.1 * promised
        assert abs(value - true) <= bound + 1e-9


def test_the_number_at_the_cross_hair_is_that_of_the_array(opened, arrays):
    values = arrays["encoder_1/attention"][2, 1]
    page = opened("view=matrix&site=1&panel=1&sample=2")
    box = grid(page).bounding_box()
    seen = set()
    for down in np.linspace(0.2, 0.98, 9):
        for across in np.linspace(0.15, 0.98, 9):
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            sentence = readout(page).inner_text()
            if "→" not in sentence:
                continue
            query, key, *number = told(sentence)
            check_number(values, query, key, *number)
            seen.add((query, key))
    assert len(seen) > 20


def test_what_a_causal_decoder_cannot_see_is_told_and_hatched(opened, arrays):
    page = opened("view=matrix&site=2&panel=1")
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    sentence, (x, y, width, height) = cell_shown(page)
    assert told(sentence)[:3] == (0, 6, "masked")
    part = screen(grid(page))[int(y) + 3 : int(y + height) - 3, int(x) + 3 : int(x + width) - 3]
    assert len(np.unique(part.reshape(-1, 3), axis=0)) > 1
    page.keyboard.press("Home")
    assert told(cell_shown(page)[0])[:4] == (0, 0, "exact", 1.0)


def columns_shown(page):
    """From and to of the keys that can be pointed at along the middle of the map."""
    box = grid(page).bounding_box()
    found = []
    for across in np.linspace(0.06, 0.99, 36):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + 0.7 * box["height"])
        sentence = readout(page).inner_text()
        if "→" in sentence:
            found.append(told(sentence)[1])
    return min(found), max(found)


def test_a_map_is_zoomed_and_moved_by_wheel_keys_buttons_and_drag(opened):
    page = opened("view=matrix&site=1")
    assert columns_shown(page) == (0, 12)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    settled(page)
    first, last = columns_shown(page)
    assert last - first < 7
    box = grid(page).bounding_box()
    middle = (box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"])
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 100, middle[1], steps=4)
    page.mouse.up()
    settled(page)
    moved = columns_shown(page)
    assert moved[0] < first and moved[1] - moved[0] == pytest.approx(last - first, abs=1)
    grid(page).focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    settled(page)
    assert columns_shown(page)[1] > moved[1]
    page.keyboard.press("0")
    settled(page)
    assert columns_shown(page) == (0, 12)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -600)
    settled(page)
    assert columns_shown(page)[1] - columns_shown(page)[0] < 8
    page.get_by_role("button", name="Show the whole map").click()
    settled(page)
    page.keyboard.down("Shift")
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 130, middle[1] + 90, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    settled(page)
    assert columns_shown(page)[1] - columns_shown(page)[0] <= 5


def test_a_pinned_row_lists_its_strongest_weights(opened, arrays):
    values = arrays["encoder_0/attention"][0, 0]
    page = opened("view=matrix&query=4")
    order = sorted(range(13), key=lambda key: -values[4, key])[:8]
    lines = page.get_by_role("list", name="Strongest weights").get_by_role("listitem").all_inner_texts()
    shown = [line.replace("\u2068", "").replace("\u2069", "").split() for line in lines]
    assert [(line[0], line[1]) for line in shown] == [(str(key), f"source{key}") for key in order]
    for line, key in zip(shown, order, strict=True):
        assert float(line[-1]) == pytest.approx(float(np.float16(values[4, key])), rel=2e-3)


def test_a_grid_of_more_patches_than_there_are_keys_is_refused():
    maps = ats.AttentionMaps.from_arrays({"mha": np.full((1, 2, 17, 17), 1 / 17)})
    with pytest.raises(InputError) as caught:
        ats.view(maps, grid=(5, 5))
    assert str(caught.value) == (
        "grid=(5, 5) has 25 patches, but no site has more than 17 keys. Give the rows and columns of patches that the "
        "model reads."
    )
