"""What the page of KerasHub's families says of a family's sites: `docs/make_keras_hub_table.py` writes it, a test
compares."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from attnscope.interception import SitePlan
from attnscope.schema import SAMPLE, Site

PAGE = Path(__file__).parents[1] / "docs" / "keras_hub.md"
HEADINGS = ("Family", "Sites", "Dims", "Where they come from", "Padding", "Certainty")


def rows_of(name: str, sites: Iterable[Site]) -> list[list[str]]:
    """One row for the sites of a family that have the same dims from the same sources.

    All samples are those of the inputs, so that is left out.
    """
    cells = Counter(
        (", ".join(site.dims), sources_of(site), padding_of(site), site.certainty) for site in sites if site.taken
    )
    return [[name, str(count), *texts] for texts, count in cells.items()]


def sources_of(site: Site) -> str:
    """Where the dims come from; of the path of a weight its last parts, without the numbers of layers.

    Of a dim of size 1 not every backend can tell, so that none is asked.
    """
    sizes = dict(zip(site.dims, site.shape, strict=True))
    words = {
        dim: source for dim, source in site.lineage.items() if sizes[dim] > 1 and (dim, source) != (SAMPLE, "samples")
    }
    return _by_what_is_said(
        {dim: re.sub(r"'[^']*?([^'/]+?)(_[0-9]+)?/([^'/]+)'", r"'\1/\3'", words[dim]) for dim in words}
    )


def padding_of(site: Site) -> str:
    """Which mask each dim has."""
    plans = site.plan.masks if isinstance(site.plan, SitePlan) else {}
    names = {dim: [part.name.removeprefix("input ") for part in plan.parts if part.name] for dim, plan in plans.items()}
    return _by_what_is_said({dim: ", ".join(dict.fromkeys(listed)) for dim, listed in names.items()})


def _by_what_is_said(words: dict[str, str]) -> str:
    """Each source with the dims that it is said of."""
    dims: dict[str, list[str]] = {}
    for dim, source in words.items():
        dims.setdefault(source, []).append(dim)
    listed = {source: " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) for source, names in dims.items()}
    return "<br>".join(f"{names}: {source}" for source, names in listed.items())


def rows_in_page(name: str) -> list[list[str]]:
    """The rows of a family in the page."""
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in PAGE.read_text().splitlines()]
    table = rows[rows.index(list(HEADINGS)) :]
    return [row for row in table[: table.index([""])] if row[0] == name]
