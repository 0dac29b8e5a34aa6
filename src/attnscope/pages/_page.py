"""What all pages share: the frame, the style sheet and the head."""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib import resources

from attnscope.colours import FONTS, palette
from attnscope.findings import FindingGroup
from attnscope.marks import name_with_path, offline_page, shown

LONGEST_ON_PAPER = 70
"""Longer names are cut at the top of a printed page."""


def page(title: str, body: str, sheet: str, parts: Mapping[str, str]) -> str:
    """A whole page that loads nothing; on paper each sheet has its number, the title and the name of its part.

    Args:
        title: What its tab is called.
        body: What it shows, as HTML.
        sheet: Name of the style sheet that it has beside the shared one, such as ``report.css``.
        parts: What elements with an id are called on paper, where each of them begins a page.
    """
    return offline_page(title, f"<main>\n{body}\n</main>", style(sheet) + _on_paper(title, parts))


def _on_paper(title: str, parts: Mapping[str, str]) -> str:
    """The margins of printed pages: the title and the name of the part above, the number below."""
    marks = (
        f"@page{{size:A4;margin:18mm 15mm;font:8.5pt {FONTS['sans']};color:{palette(dark=False)['quiet']};"
        f"@top-left{{content:{css_text(title)}}}@bottom-right{{content:counter(page) ' / ' counter(pages)}}}}"
        "@page:first{@top-left{content:none}}"
    )
    return marks + "".join(
        f"@page {part}{{@top-right{{content:{css_text(name)}}}}}#{part}{{page:{part}}}" for part, name in parts.items()
    )


def css_text(text: str) -> str:
    """A text in a style sheet; whatever is no plain letter or digit is written by its number."""
    letters = shown(text)
    cut = letters if len(letters) <= LONGEST_ON_PAPER else letters[: LONGEST_ON_PAPER - 1] + "…"
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\{ord(c):x} " for c in cut) + '"'


def style(sheet: str) -> str:
    """The shared rules and those of one kind of page, which take all colours and fonts from the tokens."""
    files = resources.files("attnscope.pages")
    return "".join(files.joinpath(name).read_text("utf-8") for name in ("page.css", sheet))


def head(kind: str, title: str, facts: Mapping[str, str], lead: str = "") -> str:
    """The head of a page.

    Args:
        kind: What kind of page it is, in a word or two.
        title: Its heading, as HTML.
        facts: What it is about: names as text, values as HTML.
        lead: What is read first, as HTML.
    """
    return f"<header><p class=over>{kind}</p><h1>{title}</h1>{lead}{listed(facts)}</header>"


def listed(facts: Mapping[str, str]) -> str:
    """Facts side by side, each under its name.

    Args:
        facts: Names as text, values as HTML.
    """
    pairs = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f"<dl class=facts>{pairs}</dl>"


def what_was_found(group: FindingGroup) -> str:
    """Findings that differ only in their site and figures: how many sites, what was seen, and which sites."""
    seen = html.escape(shown(group.message))
    names = [name_with_path(*each) for each in zip(group.called, group.sites, strict=True)]
    if len(names) == 1:
        return f"<code>{names[0]}</code> {seen}"
    return f"<b>{group.where}</b> {seen}<span class=sites>{', '.join(names)}</span>"
