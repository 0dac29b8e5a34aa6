"""A payload as one offline HTML file: it loads nothing, and runs nothing but its own script."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from attnscope.colours import FONTS, palette, tokens_css
from attnscope.errors import TooLargeError
from attnscope.viewer._arrange import escaped_json
from attnscope.viewer._payload import Detail, Payload

OFFLINE, SERVED, WIDGET = "page.js", "served.js", "widget.js"
"""The entry points: of the offline page, of a server's page, and in a notebook."""
END = "</body>\n</html>\n"
WIDGET_SHEET = "widget.css"
"""The style of a notebook's widget."""
COARSE = 0.002
"""Largest error of a number if a page has to be smaller."""
ASKED, CLEARLY = 12, 1.05
"""From so many maps, drawn at random, it is seen whether a page is larger than allowed by this factor or more."""
_LEFT_OUT: dict[Literal["full", "coarse", "pooled", "thumbnails"], str] = {
    "full": "",
    "coarse": "Numbers that are not exact may be off by {error}, to keep the page within {size} bytes (max_bytes).",
    "pooled": "Maps are drawn in blocks, each with its largest weight, to keep the page within {size} bytes "
    "(max_bytes). The eight strongest weights of every row are exact.",
    "thumbnails": "Only thumbnails are stored, to keep the page within {size} bytes (max_bytes).",
}


def page(payload: Payload, max_bytes: int) -> list[str]:
    """The whole page in parts, with as much of the maps as fits.

    Args:
        payload: What it shows.
        max_bytes: Largest size of the page. If not everything fits, weights are stored in coarser steps, or else
            pooled, or else as thumbnails alone; the page says so.

    Raises:
        TooLargeError: Not even the thumbnails fit.
    """
    for way in _LEFT_OUT:
        detail: Detail = "full" if way == "coarse" else way
        error = max(COARSE, payload.max_error) if way != "full" else payload.max_error
        note = _LEFT_OUT[way].format(size=f"{max_bytes:,}", error=f"{error:g}")
        notes = [*payload.notes, *filter(None, [note])]
        shown = replace(payload, detail=detail, max_error=error, notes=notes, _read={})
        some, size = _some_blocks(shown)  # where these show that the page does not fit, the others are not made
        parts = None if size > CLEARLY * max_bytes else _within(_parts(shown, some), max_bytes)
        if parts is not None:
            return parts
    raise TooLargeError(
        f"The thumbnails of {len(payload.samples)} samples alone take more than {max_bytes:,} bytes. Show fewer "
        "samples, or allow more: ats.view(maps, samples=8).save(path, max_bytes=200_000_000)."
    )


def _some_blocks(payload: Payload) -> tuple[dict[str, str], float]:
    """Some of the maps' blocks, by name, and about how large a page of all is; none and 0 where there are few."""
    names = [name for name in payload.names() if name.startswith("map/")]
    if len(names) < 4 * ASKED:
        return {}, 0.0
    drawn = np.sort(np.random.default_rng(0).choice(len(names), ASKED, replace=False))
    some = {names[number]: _block(payload, names[number]) for number in drawn}
    around = len(head(payload, OFFLINE)) + len(script_element(OFFLINE))
    return some, around + sum(map(len, some.values())) * len(names) / ASKED


def _within(parts: Iterator[str], most: int) -> list[str] | None:
    """The parts, or None if together they are too long; none is made once that is known."""
    read, size = [], 0
    for part in parts:
        size += len(part.encode())
        if size > most:
            return None
        read.append(part)
    return read


def _parts(payload: Payload, made: Mapping[str, str]) -> Iterator[str]:
    """The page, from its head onwards.

    The script comes right after the first thumbnails, so it draws them before the rest of the file is read.

    Args:
        payload: What it shows.
        made: Blocks that there are already.
    """
    names = payload.names()
    first = next(names)
    yield head(payload, OFFLINE)
    yield _block(payload, first)
    yield script_element(OFFLINE)
    for name in names:
        yield made[name] if name in made else _block(payload, name)
    yield END


def head(payload: Payload, entry: str) -> str:
    """The page up to its script: its policy and style, the place for the viewer, and the manifest."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(entry)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(payload.manifest['title'])}</title>\n<style>{style()}</style>\n</head>\n"
        '<body class="attnscope-page">\n<main data-viewer></main>\n'
        "<noscript>This page draws attention maps with a script of its own, but scripts are switched off. It sends and "
        "loads nothing.</noscript>\n"
        f'<script type="application/json" data-manifest>{escaped_json(payload.manifest)}</script>\n'
    )


def script_element(entry: str) -> str:
    """The script, whose hash is in `policy`."""
    return f"<script>{script(entry)}</script>\n"


def _block(payload: Payload, name: str) -> str:
    content = base64.b64encode(payload.block(name)).decode()
    # The line ends inside the tag: between two tags it would be a node of the page, one for every block.
    return f'<script type="text/plain"\ndata-block="{name}">{content}</script>'


def policy(entry: str) -> str:
    """The Content-Security-Policy: this script, this style, pictures made here, and nothing else.

    The page of a server may also ask that server.
    """
    own = {kind: _hash(content) for kind, content in (("script", script(entry)), ("style", style()))}
    rules = [
        "default-src 'none'",
        *(f"{kind}-src '{digest}'" for kind, digest in own.items()),
        "img-src data: blob:",
        "connect-src 'self'" if entry == SERVED else "",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(filter(None, rules))


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def script(entry: str) -> str:
    """The bundle of a page of this kind: one text that imports nothing."""
    return source(entry)


@cache
def style(sheet: str = "page.css") -> str:
    """The whole style of a page, or of a notebook's widget: the colours and fonts that every page has, then its own."""
    tokens = tokens_css(
        light=".attnscope-page,.attnscope-view,.attnscope-message",
        system=".attnscope-page",
        dark=".attnscope-view[data-theme=dark]",
    )
    return tokens + source(sheet) + ("" if sheet == WIDGET_SHEET else _on_paper())


def _on_paper() -> str:
    """Printed sheets have their number; a notebook's are its own."""
    marks = "@bottom-right{content:counter(page) ' / ' counter(pages)}"
    quiet = palette(dark=False)["quiet"]
    return f"@page{{size:A4;margin:15mm;font:8.5pt {FONTS['sans']};color:{quiet};{marks}}}\n"


@cache
def source(name: str) -> str:
    """A file that is built from the source in `js/`."""
    return resources.files("attnscope.viewer").joinpath("static", name).read_text("utf-8")
