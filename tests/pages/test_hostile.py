"""Hostile names on every page that is no viewer: nothing runs or loads, nothing is hidden, and all can be read."""

import re

import pytest

from attnscope.marks import shown
from hostile_texts import HOSTILE
from page_kinds import FEATURES, written

FILE_NAME = "'\"><svg onload=window.ran=1>=cmd()"
READ = {
    "report": HOSTILE,
    "card": [HOSTILE[7]],
    "table": [*HOSTILE[:FEATURES], *HOSTILE[7:9], *HOSTILE[10:12]],
    "text": HOSTILE,
    "series": [*HOSTILE[:FEATURES], *HOSTILE[7:9], *HOSTILE[10:12]],
    "picture": [*HOSTILE[7:9], *HOSTILE[10:12]],
}
"""What stands on each kind of page."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return written(tmp_path_factory.mktemp("hostile"), HOSTILE, FILE_NAME)


@pytest.mark.parametrize("kind", READ)
def test_hostile_names_run_nothing_and_can_be_read(open_page, pages, kind):
    source = pages[kind].read_text("utf-8")
    assert not re.search("[\0\x07\x1b\u202e\u2067\u2028\u2029\ufeff\u200b]", source)
    unguarded, count = re.subn("<meta http-equiv=.Content-Security-Policy[^>]*>", "", source)
    assert count == 1
    pages[kind].write_text(unguarded, encoding="utf-8")  # so that nothing but what is written keeps a script away
    page = open_page(pages[kind])
    page.mouse.move(300, 300)
    assert page.evaluate("() => window.ran") is None
    found = page.evaluate(
        """() => {
            const all = [...document.querySelectorAll("*")];
            const attributes = all.flatMap((element) => [...element.attributes]);
            return {
                elements: [...new Set(all.map((element) => element.localName))],
                handlers: attributes.filter((one) => one.name.startsWith("on")).map((one) => one.name),
                addresses: attributes
                    .filter((one) => ["src", "href", "srcset", "action", "data"].includes(one.name))
                    .map((one) => one.value.slice(0, 14)),
                styles: document.querySelectorAll("style").length,
                text: document.body.textContent,
                height: document.querySelector("main").getBoundingClientRect().height,
            };
        }"""
    )
    assert not {*found["elements"]} & {"script", "iframe", "object", "embed", "form", "base", "link"}
    assert found["handlers"] == []
    assert all(address.startswith(("data:image/png", "#")) for address in found["addresses"])
    assert (found["styles"], found["height"] > 300) == (1, True)
    plain = re.sub("[\u2066-\u2069]", "", found["text"])
    assert [text for text in READ[kind] if shown(text) not in plain] == []
