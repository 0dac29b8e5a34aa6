"""The page around the views: samples, sites, links, keys, themes, legend, and what is left out of a page."""

import re

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from viewer_screens import (
    cell_shown,
    expected_colour,
    grid,
    readout,
    same_colour,
    saved,
    screen,
    settled,
    told,
    translation,
)

TEXTS = ["Peter ate the soup.", "The bank lends money.", "Why?"]
CLASSES = ["eats", "lends", "asks"]


@pytest.fixture(scope="module")
def arrays():
    return translation()[0]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    _, maps = translation()
    outputs = xr.DataArray([[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]], dims=("sample", "class"))
    maps = ats.AttentionMaps(
        {name: maps.dataset(name) for name in maps}, outputs=outputs, attrs={"model": "translator", "backend": "jax"}
    ).with_inputs(TEXTS)
    return saved(tmp_path_factory.mktemp("page"), maps, labels=CLASSES)


@pytest.fixture
def opened(open_page, page_file):
    """Opens the page of the translation, or another one, at a link."""

    def at(link="", file=page_file, **options):
        page = open_page(f"{file.as_uri()}#{link}", **options)
        settled(page)
        return page

    return at


def numbers_of_row(page, row):
    """What is told about every cell of a row, by walking along it."""
    grid(page).focus()
    page.keyboard.press("Home")
    while told(cell_shown(page)[0])[0] < row:
        page.keyboard.press("ArrowDown")
    found = {}
    while True:
        _, key, kind, value, bound = told(cell_shown(page)[0])
        if key in found:
            return found
        found[key] = (kind, value, bound)
        page.keyboard.press("ArrowRight")


def check_row(page, row, expected, promised=0.001):
    for key, (_, value, bound) in numbers_of_row(page, row).items():
        assert bound <= 1.1 * promised
        assert abs(value - expected[key]) <= bound + 1e-3 * expected[key] + 1e-9


def test_samples_are_paged_with_input_output_and_label(opened, arrays):
    page = opened("view=matrix&site=1&panel=2")
    sample = page.get_by_role("region", name="Sample")
    for place, (text, label) in enumerate(zip(TEXTS, CLASSES, strict=True)):
        assert text in sample.inner_text() and label in sample.inner_text()
        assert sample.get_by_text(("0.900, 0.100", "0.250, 0.750", "0.500, 0.500")[place]).is_visible()
        check_row(page, 0, arrays["encoder_1/attention"][place, 2, 0])
        if place < 2:
            page.get_by_role("button", name="Next sample").click()
            settled(page)
    assert page.get_by_role("button", name="Next sample").is_disabled()
    page.get_by_label("Sample number").fill("2")
    page.get_by_label("Sample number").press("Enter")
    settled(page)
    assert TEXTS[1] in sample.inner_text()


def test_model_and_backend_stand_in_the_heading(opened):
    page = opened()
    assert page.get_by_role("heading", level=1).inner_text() == "translator"
    assert "model translator · jax" in page.locator("header").inner_text()
    assert page.title() == "translator"


def test_sites_are_filtered_by_kind_and_have_heads_and_lengths_of_their_own(opened):
    page = opened("view=matrix")
    kind, site, head = (page.get_by_label(name, exact=True) for name in ("Kind", "Site", "Head"))
    expected = {
        "encoder": (["encoder layer 0", "encoder layer 1"], 3, "13 queries by 13 keys"),
        "decoder": (["decoder_0/attention"], 2, "7 queries by 7 keys"),
        "cross-attention": (["cross_attention"], 5, "7 queries by 13 keys"),
    }
    for name, (sites, heads, size) in expected.items():
        kind.select_option(label=name)
        settled(page)
        assert [option.inner_text() for option in site.get_by_role("option").all()] == sites
        single = [text for text in head.get_by_role("option").all_inner_texts() if re.fullmatch(r"head \d", text)]
        assert len(single) == heads
        assert grid(page).get_attribute("aria-label").endswith(size)
        assert (grid(page).get_attribute("aria-rowcount"), grid(page).get_attribute("aria-colcount")) == tuple(
            re.findall(r"\d+", size)
        )


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_means_and_maxima_are_over_all_heads_or_the_chosen_ones(opened, arrays, kind):
    reduce = {"mean": np.mean, "max": np.max}[kind]
    values = arrays["decoder_0/cross_attention"][0]
    page = opened("view=matrix&site=3")
    page.get_by_label("Head", exact=True).select_option(kind)
    settled(page)
    check_row(page, 2, reduce(values, axis=0)[2])
    page.get_by_text("all chosen").click()
    for head in (0, 1, 4):
        page.get_by_role("group", name="Chosen heads").get_by_label(f"head {head}", exact=True).uncheck()
    page.keyboard.press("Escape")
    settled(page)
    check_row(page, 2, reduce(values[[2, 3]], axis=0)[2])


def test_the_rollout_is_that_of_the_analysis(opened):
    _, maps = translation()
    expected = ats.analysis.rollout(maps, ["encoder_0/attention", "encoder_1/attention"])
    page = opened("view=matrix&sample=2")
    page.get_by_label("Kind", exact=True).select_option(label="rollout")
    for layer in (0, 1):
        page.get_by_label("Head", exact=True).select_option(label=f"up to encoder layer {layer}")
        settled(page)
        check_row(page, 6, expected.isel(layer=layer, sample=2, query=6).values)


def test_a_link_restores_the_exact_view_in_another_window(opened):
    page = opened()
    page.get_by_role("tab", name="Matrix").click()
    page.get_by_label("Site", exact=True).select_option(label="cross_attention")
    page.get_by_label("Head", exact=True).select_option(label="head 3")
    page.get_by_role("button", name="Next sample").click()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_label("Scale", exact=True).select_option("log")
    page.get_by_label("Colours").select_option("ember")
    page.get_by_label("Theme").select_option("dark")
    page.get_by_role("searchbox").fill("source3")
    box = grid(page).bounding_box()
    page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"])
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)
    page.evaluate("() => document.activeElement.blur()")
    settled(page)
    link = page.url.split("#")[1]
    other = opened(link)
    seen, restored = (screen(one.locator("body")).astype(int) for one in (page, other))
    differs = np.argwhere(np.abs(seen - restored).max(-1) > 48)  # less is smoothing of borders
    assert len(differs) == 0, f"rows and columns {differs.min(0)} to {differs.max(0)}"


def test_back_and_forward_go_through_what_was_looked_at(opened):
    page = opened()
    page.get_by_role("tab", name="Lines").click()
    page.wait_for_timeout(800)
    page.get_by_role("tab", name="Positions").click()
    page.go_back()
    settled(page)
    assert page.get_by_role("tab", name="Lines").get_attribute("aria-selected") == "true"
    page.go_forward()
    settled(page)
    assert page.get_by_role("tab", name="Positions").get_attribute("aria-selected") == "true"


@pytest.mark.parametrize(
    "link",
    ["view=%", "view=nothing&site=99&panel=-1&query=1e99", "sample=9&zoom=5_1_NaN_2", "a=1.2.3&b=..&heads=a.b", "=&&&"],
)
def test_a_link_that_means_nothing_shows_the_page_as_usual(opened, link):
    page = opened(link)
    assert page.get_by_role("tab", name="Heads").get_attribute("aria-selected") == "true"
    assert "heads of" in readout(page).inner_text()


def test_light_and_dark_follow_the_system_unless_chosen(opened):
    for dark in (False, True):
        page = opened(dark=dark)
        page_colour = screen(page.locator("body"))[2, 2]
        assert same_colour(page_colour, (0x15, 0x17, 0x1C) if dark else (0xFB, 0xFA, 0xF7))
        page.get_by_label("Theme").select_option("light" if dark else "dark")
        settled(page)
        assert same_colour(screen(page.locator("body"))[2, 2], (0xFB, 0xFA, 0xF7) if dark else (0x15, 0x17, 0x1C))


def test_the_legend_states_the_scale_and_explains_every_mark(opened, arrays):
    page = opened("view=matrix&site=1&panel=1")
    legend = page.get_by_role("region", name="Legend")
    bar = legend.get_by_role("img")
    assert bar.get_attribute("aria-label") == "weight, square root scale from 0 to 1"
    pixels = screen(bar)
    for share in (0.02, 0.25, 0.5, 0.75, 0.98):
        seen = pixels[pixels.shape[0] // 2, round(share * (pixels.shape[1] - 1))]
        assert same_colour(seen, expected_colour(share**2, 1.0), 6)
    page.get_by_label("Scale ends at").select_option(label="largest of the head")
    settled(page)
    largest = float(arrays["encoder_1/attention"][0, 1].max())
    assert float(re.search(r"to ([\d.]+)$", bar.get_attribute("aria-label"))[1]) == pytest.approx(largest, rel=2e-3)
    marks = legend.get_by_role("list", name="Marks").inner_text()
    for sign in ("masked", "NaN", "pinned", "cross-hair", "search"):
        assert sign in marks
    assert "most 0.001" in legend.inner_text().replace("\n", " ")


def test_everything_is_reached_by_keys_alone(opened):
    page = opened()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    settled(page)
    assert "Attention map, " in grid(page).get_attribute("aria-label")
    for key, tab in (("1", "Heads"), ("3", "Lines"), ("4", "Positions"), ("2", "Matrix")):
        page.keyboard.press(key)
        settled(page)
        assert page.get_by_role("tab", name=tab).get_attribute("aria-selected") == "true"
    before = grid(page).get_attribute("aria-label")
    page.keyboard.press("]")
    settled(page)
    assert grid(page).get_attribute("aria-label") != before
    page.keyboard.press("}")
    page.keyboard.press(".")
    settled(page)
    assert page.get_by_label("Sample number").input_value() == "2"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    settled(page)
    page.wait_for_url(re.compile("query=.*key=|key=.*query="))  # written in a while
    assert any(text.startswith("Pinned: ") for text in page.get_by_role("status").all_inner_texts())
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.get_by_role("searchbox").evaluate("field => field === document.activeElement")
    page.keyboard.press("Escape")
    page.evaluate("() => document.activeElement.blur()")
    for key, label, value in (("s", "Scale", "log"), ("c", "Colours", "ember"), ("t", "Theme", "light")):
        page.keyboard.press(key)
        settled(page)
        assert page.get_by_label(label, exact=True).input_value() == value
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert "find a position" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.count() == 0


def test_the_tab_key_walks_through_all_controls_and_the_focus_is_seen(opened):
    page = opened("view=matrix&query=3&key=2")
    page.keyboard.press("Tab")
    names_seen = []
    while True:
        name = page.evaluate(
            "() => { const e = document.activeElement; return e === document.body ? '' : "
            "(e.getAttribute('aria-label') || e.innerText || e.labels?.[0]?.innerText || e.tagName); }"
        )
        if not name or len(names_seen) > 60:
            break
        focused = page.locator(":focus")
        style = focused.evaluate("e => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineWidth]; }")
        assert style[0] != "none" and style[1] != "0px", name
        names_seen.append(name.split("\n")[0])
        page.keyboard.press("Tab")
    for wanted in (
        "Theme",
        "Next sample",
        "Sample number",
        "Matrix",
        "Kind",
        "Site",
        "Head",
        "Zoom in",
        "Scale",
        "Colours",
    ):
        assert wanted in names_seen, names_seen
    assert any(name.startswith("Attention map") for name in names_seen)
    assert len(names_seen) == len(set(names_seen)) <= 40


def test_every_control_has_a_role_and_a_name(opened):
    page = opened("view=matrix")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button,select,input,canvas,[role=grid],[role=img],[role=listbox]')]
            .filter((e) => e.offsetParent && !e.closest('[aria-hidden=true]'))
            .filter((e) => !(e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.length))
            .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    snapshot = page.locator("body").aria_snapshot()
    for part in (
        'heading "translator"',
        'tab "Matrix" [selected]',
        'tabpanel "Matrix: encoder layer 0, head 0"',
        'grid "Attention map',
        'complementary "Legend"',
        'searchbox "Find a position',
    ):
        assert part in snapshot


@pytest.mark.parametrize("width", [320, 390, 1280, 3840])
@pytest.mark.parametrize("view", ["overview", "matrix", "lines", "text", "compare"])
def test_nothing_is_wider_than_the_window(opened, view, width):
    page = opened(f"view={view}&site=3", width=width)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_paper_gets_the_picture_in_light_colours_in_place_of_the_controls(opened):
    page = opened("view=matrix&site=1&panel=2", dark=True)
    controls, figure = page.get_by_role("tab").first, page.locator("figure.printed")
    theme = "document.querySelector('.attnscope-view').dataset.theme"
    assert controls.is_visible() and not figure.count()
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert figure.is_visible() and not controls.is_visible() and page.evaluate(theme) == "light"
    texts = figure.locator("text").all_text_contents()
    assert {"encoder_1/attention", "sample 1: eats", "source12"} <= set(texts) and "translator" not in texts
    assert page.get_by_role("heading", name="translator").is_visible()
    assert page.get_by_text("0.900, 0.100").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen", color_scheme="dark")
    assert controls.is_visible() and not figure.count() and page.evaluate(theme) == "dark"
