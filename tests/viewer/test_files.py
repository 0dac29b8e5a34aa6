"""What a saved page holds: all of it, as much as fits, and what it says of what is not there."""

import numpy as np
import pytest

import attnscope as ats
from attnscope.viewer._page import page
from viewer_screens import cell_shown, grid, names, one_site, readout, saved, settled, softmax, told, translation


@pytest.fixture
def opened(open_page):
    """Opens a page at a link."""

    def at(file, link="", **options):
        page = open_page(f"{file.as_uri()}#{link}", **options)
        settled(page)
        return page

    return at


def big_maps():
    rng = np.random.default_rng(3)
    return one_site(softmax(rng.normal(size=(4, 600, 520)) * 2))


def test_a_page_that_is_a_little_too_large_has_coarser_numbers_and_says_so(opened, tmp_path):
    maps = big_maps()
    values = maps["site"].values[0, 2]
    page = opened(saved(tmp_path, maps, max_bytes=855_000), "view=matrix&panel=2")
    said = "Numbers that are not exact may be off by 0.002, to keep the page within 855,000 bytes (max_bytes)."
    assert said in page.locator("body").inner_text()
    assert "usually at most 0.002" in page.get_by_role("region", name="Legend").inner_text()
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for key in range(30):
        *_, value, bound = told(cell_shown(page)[0])
        assert bound <= 0.0022
        assert abs(value - values[0, key]) <= bound + 1e-3 * values[0, key]
        page.keyboard.press("ArrowRight")


def test_a_page_that_would_be_too_large_is_pooled_and_says_so(opened, tmp_path):
    maps = big_maps()
    values = maps["site"].values[0, 2]
    page = opened(saved(tmp_path, maps, max_bytes=605_000), "view=matrix&panel=2")
    assert "each with its largest weight, to keep the page within 605,000 bytes" in page.locator("body").inner_text()
    assert "stored in blocks of 3 x 3" in page.locator("body").inner_text()
    strongest = np.argsort(-values[0])[:8]
    found = {}
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for key in range(int(strongest.max()) + 1):
        query, place, kind, value, bound = told(cell_shown(page)[0])
        assert (query, place) == (0, key)
        found[key] = kind
        if key in strongest:
            assert (kind, value) == ("exact", float(f"{np.float16(values[0, key]):.4g}"))
        elif kind == "pooled":
            assert values[0, key] <= bound
        if len(found) > 60 and key >= strongest.min():
            break
        page.keyboard.press("ArrowRight")


def test_maps_are_not_made_twice_where_some_of_them_show_that_they_do_not_fit(monkeypatch, rng):
    arrays = {f"layer {number}": softmax(rng.normal(size=(1, 8, 223, 199)) * 3) for number in range(6)}
    maps = ats.AttentionMaps.from_arrays(arrays)
    payload, coarse = (ats.view(maps, max_error=error).payload for error in (0.001, 0.002))
    enough = sum(map(len, page(coarse, 10**9))) + 1000
    made = []
    real = type(payload).block
    monkeypatch.setattr(
        type(payload), "block", lambda self, name: made.append((self.max_error, name)) or real(self, name)
    )
    whole = sum(map(len, page(payload, 10**9)))
    assert len(made) == 1 + 48
    del made[:]
    parts = page(payload, enough)
    assert "may be off by 0.002" in parts[0]
    assert [error for error, _ in made].count(0.001) == 12
    assert [error for error, _ in made].count(0.002) == 1 + 48
    del made[:]
    assert "may be off by 0.002" in page(payload, whole - 1)[0]  # so little is too much that some cannot show it


def test_a_page_of_thumbnails_alone_says_so_and_tells_no_number(opened, tmp_path):
    page = opened(saved(tmp_path, big_maps(), max_bytes=255_000), "view=matrix")
    assert "Only thumbnails are stored, to keep the page within 255,000 bytes" in page.locator("body").inner_text()
    grid(page).focus()
    page.keyboard.press("ArrowDown")
    for _ in range(20):
        assert told(cell_shown(page)[0])[2] == "pooled"
        page.keyboard.press("ArrowRight")


def test_the_page_of_many_samples_tells_how_many_there_are(opened, tmp_path, rng):
    maps = ats.AttentionMaps.from_arrays({"site": softmax(rng.normal(size=(20, 1, 5, 5)))}, labels=list("abcde"))
    page = opened(saved(tmp_path, maps))
    assert "of 16" in page.get_by_role("region", name="Sample").inner_text()
    assert "The first 16 of 20 samples." in page.locator("body").inner_text()


def test_findings_of_the_lint_stand_on_the_page(opened, tmp_path):
    maps = one_site(np.full((1, 6, 6), 1 / 6), names("token", 6))
    page = opened(saved(tmp_path, maps))
    [finding] = [finding for finding in maps.findings if finding.kind == "uniform"]
    assert finding.message in page.locator("body").inner_text()


def test_a_file_that_was_cut_short_says_so(opened, tmp_path):
    whole = saved(tmp_path, translation()[1]).read_text("utf-8")
    short = tmp_path / "short.html"
    short.write_text(whole[: whole.index('data-block="map/0/1/0"')], encoding="utf-8")
    page = opened(short, "view=matrix&site=1")
    assert "map/0/1/0" in page.get_by_role("alert").inner_text()
    page.get_by_role("tab", name="Heads").click()
    settled(page)
    assert "heads of" in readout(page).inner_text()
    assert page.get_by_role("alert").count() == 0


def test_the_page_is_made_of_few_nodes_whatever_the_size(opened, tmp_path, rng):
    maps = ats.AttentionMaps.from_arrays(
        [softmax(rng.normal(size=(1, 12, 256, 256))) for _ in range(12)], labels=names("token", 256)
    )
    page = opened(saved(tmp_path, maps))
    for view in ("Heads", "Matrix", "Lines", "Positions"):
        page.get_by_role("tab", name=view).click()
        settled(page)
        count = page.evaluate(
            "() => { const w = document.createTreeWalker(document); let n = 0; while (w.nextNode()) n += 1; return n; }"
        )
        assert count <= 1000, view
