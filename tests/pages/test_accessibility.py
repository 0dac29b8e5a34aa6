"""axe-core finds nothing wrong on any kind of page, wide or narrow, light or dark: names, roles, contrast, order."""

import pytest

from check_javascript import PROJECT
from page_kinds import PLAIN, written

AXE = PROJECT / "node_modules" / "axe-core" / "axe.min.js"
KINDS = ("report", "card", "table", "text", "series", "picture")
VIEWS = ("overview", "matrix", "lines", "text", "compare")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return written(tmp_path_factory.mktemp("accessible"), PLAIN)


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, which is installed with the packages that the checks of the viewer's JavaScript need."""
    if not AXE.exists():
        pytest.skip(f"axe-core is not installed: npm ci in {PROJECT}")
    return AXE.read_text("utf-8")


def faults(page, axe):
    """What axe-core finds: how grave it is, the rule, and the first elements that break it."""
    page.evaluate(axe)
    found = page.evaluate("() => axe.run({resultTypes: ['violations']})")
    assert len(found["passes"]) > 5
    return [
        (fault["impact"], fault["id"], [(node["html"][:160], node["failureSummary"]) for node in fault["nodes"][:3]])
        for fault in found["violations"]
    ]


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)], ids=["wide and light", "narrow and dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_no_faults(open_page, pages, axe, kind, width, dark):
    page = open_page(pages[kind], width=width, dark=dark, bypass_csp=True)
    page.evaluate("() => document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert faults(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("view", "width", "dark"),
    list(zip(VIEWS, (400, 1400, 400, 400, 1400), (True, False, False, True, True), strict=True)),
)
def test_the_viewer_has_no_faults(open_page, pages, axe, view, width, dark):
    page = open_page(f"{pages['viewer'].as_uri()}#view={view}", width=width, dark=dark, bypass_csp=True)
    page.get_by_role("region", name="Attention of").wait_for()
    assert faults(page, axe) == []
