"""Tokens: lines between them, text on their colours, sentence pairs, and the search for them."""

import re
from itertools import pairwise

import numpy as np
import pytest

from viewer_screens import (
    end_of_scale,
    expected_colour,
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


@pytest.fixture(scope="module")
def arrays():
    return translation()[0]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("tokens"), translation()[1])


@pytest.fixture
def opened(open_page, page_file):
    """Opens the page of the translation, or another one, at a link."""

    def at(link="", file=page_file, **options):
        page = open_page(f"{file.as_uri()}#{link}", **options)
        settled(page)
        return page

    return at


def colours_down(pixels, column):
    """The colours along a column of the screen from the top down, one for each token: they are 20 pixels high."""
    line = pixels[:, column]
    edges = np.flatnonzero((line[1:] != line[:-1]).any(-1)) + 1
    parts = [part for part in np.split(line, edges) if len(part) >= 8]
    return [part[0] for part in parts for _ in range(max(1, round(len(part) / 20)))]


def strip_shows(pixels, expected):
    """Whether somewhere on the screen these colours stand one below the other."""
    for column in range(pixels.shape[1]):
        seen = colours_down(pixels, column)
        for start in range(len(seen) - len(expected) + 1):
            part = seen[start : start + len(expected)]
            if all(same_colour(one, other, 4) for one, other in zip(part, expected, strict=True)):
                return True
    return False


def lines_stage(page):
    return page.get_by_role("listbox", name="queries on the left")


def label_of(page, side, place):
    """Where the label of a token stands: evenly below the heading, queries on the left and keys on the right."""
    stage = lines_stage(page).bounding_box()
    x = stage["x"] + (40 if side == "query" else stage["width"] - 40)
    return x, stage["y"] + 41 + 20 * place


def told_below(page):
    """The sentence under the lines or the text."""
    return plain(page.locator(".told:visible").inner_text())


def plain(text):
    return text.replace("\u2068", "").replace("\u2069", "")


@pytest.mark.parametrize(("side", "place"), [("query", 0), ("query", 12), ("key", 7)])
def test_a_hovered_token_shows_its_weights_along_the_other_side(opened, arrays, side, place):
    values = arrays["encoder_0/attention"][0, 2]
    page = opened("view=lines&panel=2")
    page.mouse.move(*label_of(page, side, place))
    settled(page)
    weights = values[place] if side == "query" else values[:, place]
    expected = [expected_colour(float(value), end_of_scale(arrays.values())) for value in weights]
    assert strip_shows(screen(lines_stage(page)), expected)
    assert told_below(page).startswith(f"{side.title()} {place} “source{place}” ")
    page.mouse.move(0, 0)
    settled(page)
    assert not strip_shows(screen(lines_stage(page)), expected)


def test_a_pinned_token_keeps_its_lines_and_the_strongest_stand_in_words(opened, arrays):
    values = arrays["encoder_0/attention"][0, 2]
    page = opened("view=lines&panel=2")
    page.mouse.click(*label_of(page, "query", 3))
    page.mouse.move(0, 0)
    settled(page)
    expected = [expected_colour(float(value), end_of_scale(arrays.values())) for value in values[3]]
    assert strip_shows(screen(lines_stage(page)), expected)
    strongest = int(values[3].argmax())
    spoken = plain(lines_stage(page).get_by_role("option").inner_text())
    assert spoken.startswith("query 3 of 13, source3. Strongest keys: ")
    assert f"Strongest keys: source{strongest} {np.float16(values[3, strongest]):.4g} exact" in spoken
    page.keyboard.press("Escape")
    settled(page)
    assert not strip_shows(screen(lines_stage(page)), expected)


def test_lines_run_from_each_query_to_the_key_that_it_attends_to(opened, tmp_path):
    goes_to = [4, 0, 6, 2, 1, 5, 3]
    maps = one_site(np.eye(7)[goes_to][None], names("token", 7))
    page = opened("view=lines", file=saved(tmp_path, maps))
    for query, key in enumerate(goes_to):
        page.mouse.move(*label_of(page, "query", query))
        settled(page)
        pixels = screen(lines_stage(page))
        width, background = pixels.shape[1], pixels[1, 1]
        left = [line_passes(pixels, int(0.2 * width), row, background) for row in range(7)]
        right = [line_passes(pixels, int(0.8 * width), row, background) for row in range(7)]
        assert left == [row == query for row in range(7)]
        assert right == [row == key for row in range(7)]


def line_passes(pixels, column, row, background):
    """Whether a line passes a column of the screen near the height of a token."""
    middle = 41 + 20 * row
    part = pixels[middle - 8 : middle + 8, column]
    return bool((np.abs(part.astype(int) - background).max(-1) > 60).any())


def test_only_the_strongest_lines_of_a_map_are_drawn_and_it_says_how_many(opened, tmp_path, rng):
    scores = softmax(rng.normal(size=(1, 23, 23)))
    page = opened("view=lines", file=saved(tmp_path, one_site(scores)))
    assert told_below(page).startswith("The strongest 400 of 529 weights above zero.")
    least = np.sort(scores.ravel())[::-1][399]
    said = re.search(r"They are ([\d.]+) or more\.", told_below(page))
    assert float(said[1]) == pytest.approx(least, abs=0.001)


def test_chosen_heads_are_drawn_in_colours_of_their_own(opened):
    page = opened("view=lines&site=3")
    page.get_by_text("all chosen").click()
    for head in (0, 2, 4):
        page.get_by_role("group", name="Chosen heads").get_by_label(f"head {head}", exact=True).uncheck()
    page.keyboard.press("Escape")
    settled(page)
    assert page.locator(".line-heads").inner_text().split("\n") == ["head 1", "head 3"]


def text_tokens(page, name="Positions"):
    return page.get_by_role("listbox", name=name).get_by_role("option")


def token_colours(page, tokens):
    """The ground of each token, just inside of its corner."""
    pixels = screen(page.locator("body"))
    boxes = [tokens.nth(place).bounding_box() for place in range(tokens.count())]
    return [pixels[int(box["y"] + box["height"] / 2), int(box["x"] + 3)] for box in boxes]


@pytest.mark.parametrize("direction", ["from", "to"])
@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_colours_of_what_the_pinned_token_attends_to_or_is_attended_by(opened, arrays, direction, dark):
    values = arrays["encoder_1/attention"][1, 0]
    page = opened("view=text&site=1&sample=1", dark=dark)
    page.get_by_label("Read").select_option(direction)
    text_tokens(page).nth(6).click()
    page.mouse.move(0, 0)
    settled(page)
    weights = values[6] if direction == "from" else values[:, 6]
    seen = token_colours(page, text_tokens(page))
    for place, (colour, weight) in enumerate(zip(seen, weights, strict=True)):
        if place != 6:  # which has a frame
            assert same_colour(colour, expected_colour(float(weight), end_of_scale(arrays.values()), dark=dark), 6)
    others = [place for place in range(13) if place != 6]
    lightness = [int(seen[place].sum()) for place in sorted(others, key=lambda place: weights[place])]
    assert all(a <= b + 6 if dark else a >= b - 6 for a, b in pairwise(lightness))


def test_text_without_a_pin_has_the_colours_of_what_each_key_receives(opened, arrays):
    received = arrays["encoder_0/attention"][0, 0].mean(0)
    page = opened("view=text")
    end = end_of_scale([received])
    assert f"The colours run from 0 to {end:.3g}" in told_below(page).replace("0 to 0.200", "0 to 0.2")
    seen = token_colours(page, text_tokens(page))
    for colour, weight in zip(seen, received, strict=True):
        assert same_colour(colour, expected_colour(float(weight), end), 6)


def test_the_legend_of_text_is_that_of_the_colours_while_a_token_is_pointed_at(opened, arrays):
    page = opened("view=text")
    legend = page.get_by_role("region", name="Legend")
    assert "attention received, averaged over the queries" in legend.inner_text().lower()
    token = text_tokens(page).nth(6)
    token.hover()
    settled(page)
    text = legend.inner_text().lower()
    assert "received" not in text
    assert f"ends at {end_of_scale(arrays.values()):g}" in text
    page.mouse.move(0, 0)
    settled(page)
    assert "attention received, averaged over the queries" in legend.inner_text().lower()


@pytest.mark.parametrize(
    ("link", "what"), [("view=text", "position"), ("view=matrix", "row"), ("view=matrix&direction=to", "column")]
)
def test_the_list_of_the_strongest_says_what_to_point_at(opened, link, what):
    found = opened(link).get_by_role("region", name="Strongest weights").inner_text()
    assert f"Point at a {what}, or click to pin it." in found


def test_text_of_two_sequences_shows_both(opened, arrays):
    values = arrays["decoder_0/cross_attention"][0, 1]
    page = opened("view=text&site=3&panel=1")
    queries, keys = text_tokens(page, "Positions, queries"), text_tokens(page, "Positions, keys")
    assert (queries.count(), keys.count()) == (7, 13)
    queries.nth(2).click()
    keys.nth(9).hover()
    settled(page)
    query, key, _, value, bound = told(readout(page).inner_text())
    assert (query, key) == (2, 9)
    assert abs(value - values[2, 9]) <= max(bound, 1e-3 * values[2, 9])
    page.mouse.move(0, 0)
    settled(page)
    for colour, weight in zip(token_colours(page, keys), values[2], strict=True):
        assert same_colour(colour, expected_colour(float(weight), end_of_scale(arrays.values())), 6)


def test_a_long_text_is_paged(opened, tmp_path, rng):
    maps = one_site(softmax(rng.normal(size=(1, 1, 700))), {"key": names("word", 700)})
    page = opened("view=text", file=saved(tmp_path, maps))
    keys = text_tokens(page, "Positions, keys")
    assert keys.count() <= 250
    assert keys.first.inner_text() == "word0"
    page.get_by_role("button", name="Next page").last.click()
    settled(page)
    assert int(keys.first.inner_text().removeprefix("word")) == keys.count()
    assert page.evaluate("() => document.querySelectorAll('*').length") < 1000


def test_sentences_of_a_pair_are_looked_at_apart(opened, tmp_path, rng):
    labels = ["[CLS]", "why", "not", "[SEP]", "so", "be", "it", "[SEP]"]
    scores = softmax(rng.normal(size=(1, 8, 8)))
    page = opened("view=matrix", file=saved(tmp_path, one_site(scores, labels)))
    page.get_by_label("Sentences").select_option(label="A → B")
    settled(page)
    seen = set()
    box = page.get_by_role("grid").bounding_box()
    for down in np.linspace(0.1, 0.98, 12):
        for across in np.linspace(0.1, 0.98, 12):
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            sentence = readout(page).inner_text()
            if "→" in sentence:
                seen.add(told(sentence)[:2])
    assert {query for query, _ in seen} == {0, 1, 2, 3}
    assert {key for _, key in seen} == {4, 5, 6, 7}


def test_the_search_goes_from_match_to_match(opened):
    page = opened("view=matrix")
    search = page.get_by_role("searchbox")
    search.fill("source1")
    page.wait_for_timeout(200)
    assert page.get_by_role("search").get_by_role("status").inner_text() == "4 found"
    places = []
    for _ in range(5):
        search.press("Enter")
        settled(page)
        places.append(page.get_by_role("heading", name="attends to").inner_text().split()[1])
    assert places == ["1", "10", "11", "12", "1"]
    page.get_by_role("button", name="Previous match").click()
    settled(page)
    assert page.get_by_role("search").get_by_role("status").inner_text() == "4 of 4"
    search.fill("nothing of the kind")
    page.wait_for_timeout(200)
    assert page.get_by_role("search").get_by_role("status").inner_text() == "0 found"
    search.fill("#5")
    search.press("Enter")
    settled(page)
    assert page.get_by_role("heading", name="attends to").inner_text().split()[1] == "5"
