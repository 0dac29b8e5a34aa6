"""Every Python block of the README and the docs runs, page by page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_code_on_the_page_runs(page, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    if page.stem in ("README", "guide"):
        assert blocks


def test_every_dim_and_variable_is_on_the_schema_page():
    from attnscope import schema

    text = (ROOT / "docs" / "schema.md").read_text()
    for name in (*schema.UNITS, "sample", "head", "query", "key", "step", "window", "rank", "query_valid", "key_valid"):
        assert f"`{name}`" in text, name


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
