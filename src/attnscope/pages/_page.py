"""What all pages share: the frame, the style sheet and the head."""

from __future__ import annotations

import html
from collections.abc import Mapping
from importlib import resources

from attnscope.findings import FindingGroup
from attnscope.marks import offline_page


def page(title: str, body: str, sheet: str, *, extra: str = "") -> str:
    """A whole page that loads nothing.

    Args:
        title: What its tab is called.
        body: What it shows, as HTML.
        sheet: Name of the style sheet that it has beside the shared one, such as ``report.css``.
        extra: Rules for this page alone.
    """
    return offline_page(title, f"<main>\n{body}\n</main>", style(sheet) + extra)


def style(sheet: str) -> str:
    """The shared rules and those of one kind of page, which take all colours and fonts from the tokens."""
    files = resources.files("attnscope.pages")
    return "".join(files.joinpath(name).read_text("utf-8") for name in ("page.css", sheet))


def head(kind: str, title: str, facts: Mapping[str, str]) -> str:
    """The head of a page.

    Args:
        kind: What kind of page it is, in a word or two.
        title: Its heading, as HTML.
        facts: What it is about: names as text, values as HTML.
    """
    return f"<header><p class=over>{kind}</p><h1>{title}</h1>{listed(facts)}</header>"


def listed(facts: Mapping[str, str]) -> str:
    """Facts side by side, each under its name.

    Args:
        facts: Names as text, values as HTML.
    """
    pairs = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    return f"<dl class=facts>{pairs}</dl>"


def what_was_found(group: FindingGroup) -> str:
    """Findings that differ only in their site and figures: how many sites, what was seen, and which sites."""
    sites = f"<span class=sites>{html.escape(', '.join(group.sites))}</span>" if len(group.sites) > 1 else ""
    return f"<code>{html.escape(group.where)}</code> {html.escape(group.message)}{sites}"
