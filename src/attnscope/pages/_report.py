"""`report`: one page about captured attention, which works offline and contains no script.

From top to bottom: what was captured, the lint's findings, what the model said, the caller's own sections, the sites, a
legend that explains every mark, and for each site its mean maps, its first samples token by token (where samples have
their own tokens), and what each group of samples attends to.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from attnscope.errors import PAGES, InputError, counted, free_path, in_a_row
from attnscope.maps import AttentionMaps
from attnscope.marks import colour_bar, isolated, rounded_up, shown, token_row
from attnscope.pages._charts import MOST_POSITIONS, Bars, bar_list, largest_drawn, maps_of_cells, strongest
from attnscope.pages._means import MeanMaps, mean_maps, received, received_per_group
from attnscope.pages._outputs import class_counts, outputs_in_words
from attnscope.pages._page import head, page, what_was_found
from attnscope.schema import (
    CHOSEN_QUERY,
    MEANINGS,
    RANK,
    SAMPLE_ID,
    UNITS,
    SiteTable,
    key_dims,
    query_dims,
    require_maps,
    what_is_missing,
)
from attnscope.site_names import short_site_names
from attnscope.stored_scores import stored_in_words

MOST_CELLS = 20_000
"""At most this many cells of a page are elements with tooltips; the maps after them are drawn as pictures."""
MOST_BARS = 12
CAUTION = (
    "Attention shows where the model looks, not why it decides as it does. A position can get a lot of weight "
    "and change nothing, or little weight and change everything; only an intervention can tell."
)


@dataclass(frozen=True)
class Section:
    """A section that the caller adds to the page.

    Attributes:
        title: Its heading.
        paragraphs: Its text.
        bars: Bars to draw under the text, or None.
    """

    title: str
    paragraphs: Sequence[str]
    bars: Bars | None = None


def report(
    maps: AttentionMaps,
    *,
    title: str | None = None,
    sections: Sequence[Section] = (),
    groups: Sequence[str] | None = None,
    predictions: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    samples: int = 24,
) -> str:
    """An offline page about captured maps, as HTML.

    All maps of a site share one scale, from 0 to a maximum that its colour bar states. Labels are escaped, and control
    characters in them are written out.

    Args:
        maps: What was captured, in memory or opened from disk.
        title: Heading of the page; default: ``Attention of`` and the name of the model.
        sections: The caller's own sections, shown before the sites.
        groups: The group of each sample, such as its class; adds what each group attends to.
        predictions: One word per sample; default: the model's output.
        classes: What the classes are called, in the order of the output's columns; a sample is then shown with the
            class that it gets. A single column takes two: it is the probability or the logit of the second, as the
            capture knows it; where it does not, a probability if all its numbers are between 0 and 1.
        samples: How many samples to show one by one.

    Returns:
        The page. It loads and runs nothing, which its Content-Security-Policy enforces.

    Raises:
        InputError: `groups` or `predictions` does not have one entry per sample, or no output has as many columns as
            there are `classes`.
        SchemaError: Something else than captured maps is given.
    """
    require_maps(maps, "report")
    _check_one_per_sample("groups", groups, maps.num_samples)
    _check_one_per_sample("predictions", predictions, maps.num_samples)
    title = title or f"Attention of {maps.attrs.get('model', 'a model')}"
    given = None if predictions is None else [str(word) for word in predictions]
    said = outputs_in_words(maps.outputs, classes, samples) if given is None else given
    tooltips = _Tooltips(MOST_CELLS)
    body = [
        _head(maps, title),
        _findings(maps),
        _answers(maps, said[:samples], classes if given is None else None),
        *(_section(section) for section in sections),
        _sites(maps),
        _legend(),
        *(_site(maps, name, groups, said, samples, tooltips) for name in maps),
        "<footer>Made by attnscope. This file loads nothing from anywhere.</footer>",
    ]
    return _page(title, "\n".join(body), maps.sites)


def save_report(page: str, path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a page made by `report` to a file.

    Raises:
        WouldOverwriteError: `path` exists, and `overwrite` is False.
        InputError: The file's name does not end in ``.html``.
    """
    path = free_path(path, "save_report(page, path, overwrite=True)", overwrite=overwrite, suffixes=PAGES)
    path.write_text(page, encoding="utf-8")
    return path


class _Tooltips:
    """How many more cells of the page can have a tooltip."""

    def __init__(self, cells: int) -> None:
        self._left = cells

    def reserve(self, means: MeanMaps) -> bool:
        """Reserves tooltips for all cells of some maps; False where there are too few left."""
        if max(means.values.shape[1:]) > MOST_POSITIONS or means.values.size > self._left:
            return False
        self._left -= means.values.size
        return True


def _check_one_per_sample(what: str, entries: Sequence[str] | None, samples: int) -> None:
    if entries is not None and len(entries) != samples:
        raise InputError(
            f"{len(entries)} {what} were given, but the maps hold {samples} samples. Give one per sample, in "
            f"the same order: report(maps, {what}=[...])."
        )


def _page(title: str, body: str, sites: SiteTable) -> str:
    hatch = (
        '<svg width="0" height="0" class=defs aria-hidden="true"><defs><pattern id="hatch" width="5" '
        'height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class=ground width="5" height="5"/><rect class=line width="1.2" height="5"/></pattern>'
        "</defs></svg>"
    )
    short = short_site_names(sites)
    return page(
        title, f"{hatch}\n{body}", "report.css", {_anchor(place): short[name] for place, name in enumerate(sites.names)}
    )


def _head(maps: AttentionMaps, title: str) -> str:
    facts = {"samples": maps.num_samples, "sites": len(maps), **maps.attrs}
    in_words = {str(name): isolated(str(value)) for name, value in facts.items()}
    return head("attention report", isolated(title), in_words, _caution())


def _caution() -> str:
    return f"<p class=caution><b>Before you read on.</b> {CAUTION}</p>"


def _findings(maps: AttentionMaps) -> str:
    findings = maps.findings
    if not findings:
        return (
            "<section class='lint calm'><h2>Lint</h2><p>No findings: no rule found anything that would make "
            "these maps misleading.</p></section>"
        )
    groups = findings.grouped
    items = "".join(
        f"<li><p>{what_was_found(group)}</p><p class=fix><b>Fix</b> {html.escape(group.fix)}</p></li>"
        for group in groups
    )
    return f"<section class='lint warn'><h2>Lint: {counted(len(groups), 'finding')}</h2><ul>{items}</ul></section>"


def _answers(maps: AttentionMaps, said: Sequence[str], classes: Sequence[str] | None) -> str:
    """What the model said of the first samples, and how often it said it of all."""
    if not said:
        return ""
    count = maps.num_samples
    names = _names_of_samples(map(maps.dataset, maps), count)[: len(said)]
    rows = "".join(
        f"<li><b>{isolated(name)}</b> {isolated(words)}</li>" for name, words in zip(names, said, strict=True)
    )
    first = f"The first {len(said)} of {count:,} samples. " if len(said) < count else ""
    counts = "" if classes is None else f"Of {count:,}: {class_counts(maps.outputs, classes)}."
    return (
        f"<section><h2>What the model says</h2><p>{first}{html.escape(shown(counts)) if counts else ''}</p>"
        f"<ul class=answers>{rows}</ul></section>"
    )


def _names_of_samples(datasets: Iterable[xr.Dataset], count: int) -> list[str]:
    """Their ids, where a dataset has any, else their numbers."""
    known = next((dataset[SAMPLE_ID] for dataset in datasets if SAMPLE_ID in dataset.coords), None)
    return [str(name) for name in (range(count) if known is None else known.values)]


def _section(section: Section) -> str:
    text = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs)
    bars = "" if section.bars is None else bar_list(section.bars)
    return f"<section><h2>{html.escape(section.title)}</h2>{text}{bars}</section>"


def _sites(maps: AttentionMaps) -> str:
    short = short_site_names(maps.sites)
    headings = ("site", "layer", "kind", "captured", "why it is attention")
    rows = ""
    for place, site in enumerate(maps.sites):
        name = (
            f"<a href='#{_anchor(place)}'>{html.escape(shown(short[site.name]))}</a>"
            f"<code>{html.escape(shown(site.name))}</code>"
        )
        plain = (site.layer_class, site.kind, _sizes(maps.dataset(site.name)), site.reason)
        cells = zip(headings, (name, *map(html.escape, plain)), strict=True)
        rows += "<tr>" + "".join(f"<td data-heading='{heading}'>{cell}</td>" for heading, cell in cells) + "</tr>"
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return (
        "<section><h2>Sites</h2><p>The places in the model where attention is computed, in order of "
        "execution.</p><div class=wide "
        f"tabindex=0><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _anchor(place: int) -> str:
    return f"site-{place}"


def _sizes(dataset: xr.Dataset) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{dim} {size}" for dim, size in array.sizes.items())
        for name, array in dataset.data_vars.items()
    )


def _legend() -> str:
    marks = [
        (
            colour_bar(1.0),
            "The colour of a cell or token shows its value. Each scale starts at 0 and states where it ends; "
            "all pictures under a scale share it.",
        ),
        (
            "<span class='token masked'></span>",
            "Hatched (grey in pictures made of dots): masked or padding. The value is exactly 0 in every sample.",
        ),
        ("<span class='token nan'>&times;</span>", "Red with a cross: NaN in at least one sample."),
        (
            "<span class='token v40'>∅</span>",
            "An empty label. ␣ is a space, ⏎ a line break, ⟨U+202E⟩ an invisible character, by its code point.",
        ),
        ("<span class='bar'><i class=g0></i></span>", "A bar starts at 0, and its value is written beside it."),
    ]
    items = "".join(f"<div><dt>{mark}</dt><dd>{text}</dd></div>" for mark, text in marks)
    return (
        "<section class=legend><h2>How to read the pictures</h2><p>A row is a query: the position that "
        "attends. A column is a key: the position that is attended to. Each row of a full map sums to 1. Hover "
        f"over a cell to see its names and its value.</p><dl>{items}</dl></section>"
    )


def _site(
    maps: AttentionMaps,
    name: str,
    groups: Sequence[str] | None,
    outputs: Sequence[str],
    samples: int,
    tooltips: _Tooltips,
) -> str:
    dataset = maps.dataset(name)
    sites = maps.sites
    place = sites.names.index(name)
    site, short = sites[place], short_site_names(sites)[name]
    missing = what_is_missing(dataset.sizes)
    parts = [f"<p>There is nothing to see: it has {html.escape(missing)}.</p>"] if missing else []
    parts += [] if missing else _pictures(dataset, groups, outputs, samples, tooltips)
    layer = f" · {html.escape(site.layer_class)}" if site.layer_class else ""
    return (
        f"<section class=site id='{_anchor(place)}'><h2>{html.escape(shown(short))}</h2>"
        f"<p class=small><code>{html.escape(shown(name))}</code> · {html.escape(site.kind)}{layer} · "
        f"{html.escape(_sizes(dataset))}</p>{''.join(parts)}</section>"
    )


def _pictures(
    dataset: xr.Dataset, groups: Sequence[str] | None, outputs: Sequence[str], samples: int, tooltips: _Tooltips
) -> list[str]:
    """The mean maps of a site, its first samples one by one, and what each group attends to."""
    parts = [f"<p class=small>{html.escape(sentence)}</p>" for sentence in stored_in_words([dataset])]
    ranked = [str(variable) for variable in dataset.data_vars if RANK in dataset[variable].dims]
    apart = [str(variable) for variable in dataset.data_vars if variable not in ranked and _is_apart(dataset[variable])]
    drawn = [str(variable) for variable in dataset.data_vars if variable not in (*ranked, *apart)]
    parts += [_means(dataset, variable, tooltips) for variable in drawn]
    if ranked:
        parts.append(
            f"<p class=small>{' and '.join(ranked)} are in the data but not drawn: in each sample a rank belongs to "
            "another key, so its mean would be of different keys.</p>"
        )
    if apart:
        parts.append(
            f"<p class=small>{html.escape(in_a_row(apart))} {'is' if len(apart) == 1 else 'are'} in the data but not "
            "drawn: this page draws what belongs to positions, all queries or all keys.</p>"
        )
    if _has_own_tokens(dataset):
        parts.append(_tokens(dataset, outputs, samples))
    if groups is not None:
        parts.append(_groups(dataset, groups))
    return parts


def _is_apart(variable: xr.DataArray) -> bool:
    """Whether a variable is not of positions: of bins, of a few chosen queries, or of neither queries nor keys."""
    dims = set(map(str, variable.dims))
    return CHOSEN_QUERY in dims or not (query_dims(variable.dims) or key_dims(variable.dims))


def _means(dataset: xr.Dataset, variable: str, tooltips: _Tooltips) -> str:
    means = mean_maps(dataset, variable)
    maximum = rounded_up(largest_drawn(means))
    unit = UNITS.get(variable, "1")
    has_tooltips = tooltips.reserve(means)
    pictures = maps_of_cells(means, maximum, tooltips=has_tooltips)
    drawn = "" if has_tooltips else " Too large for tooltips: the pictures are made of dots."
    return (
        f"<h3>Mean {html.escape(variable)} over {html.escape(means.over)}</h3>"
        f"<p class=small>{html.escape(MEANINGS.get(variable, variable))}.{drawn}</p>"
        f"{colour_bar(maximum, '' if unit == '1' else unit)}<div "
        f"class=maps>{pictures}</div>{_in_words(means)}"
    )


def _in_words(means: MeanMaps) -> str:
    listed = "".join(
        f"<li>{html.escape(panel)}{': ' if panel else ''}{'; '.join(strongest(means, place))}</li>"
        for place, panel in enumerate(means.panels)
    )
    return f"<details><summary>The strongest cells in words</summary><ul>{listed}</ul></details>"


def _has_own_tokens(dataset: xr.Dataset) -> bool:
    """Whether samples are read one by one: each has labels of its own, or the site has no queries."""
    keys = key_dims(dataset.dims)
    label = f"{keys[0]}_label" if keys else ""
    per_sample = label in dataset.coords and dataset[label].ndim == 2
    return len(keys) == 1 and (per_sample or not query_dims(dataset.dims))


def _tokens(dataset: xr.Dataset, outputs: Sequence[str], samples: int) -> str:
    first = slice(0, samples)
    weights = received(dataset, first)
    if weights is None:
        return ""
    values = weights.values
    labels, real = _labels_of(dataset, first, values.shape), _real(dataset, first, values.shape)
    maximum = rounded_up(float(np.nanmax(values, initial=0.0)))
    names = _names_of_samples([dataset], dataset.sizes["sample"])
    rows = "".join(
        f"<div class=sample><div class=said><b>{isolated(names[place])}</b> "
        f"{isolated(outputs[place]) if place < len(outputs) else ''}</div><div "
        f"class=strip>{token_row(labels[place], values[place], real[place], maximum)}</div></div>"
        for place in range(len(values))
    )
    over = "" if not query_dims(dataset.dims) and "head" not in dataset.dims else ", mean over heads and queries"
    return (
        f"<h3>The first {len(values)} of {dataset.sizes['sample']} samples</h3><p class=small>What each "
        f"position receives{over}; on the left, the sample and what the model "
        f"said.</p>{colour_bar(maximum)}<div class=samples>{rows}</div>"
    )


def _labels_of(dataset: xr.Dataset, first: slice, shape: tuple[int, ...]) -> list[list[str]]:
    label = f"{key_dims(dataset.dims)[0]}_label"
    if label not in dataset.coords or dataset[label].ndim > 2:  # words of several sentences share a position
        return [[str(place) for place in range(shape[1])]] * shape[0]
    names = dataset[label]
    rows = names.isel(sample=first).values if names.ndim == 2 else np.broadcast_to(names.values, shape)
    return [[str(name) for name in row] for row in rows]


def _real(dataset: xr.Dataset, first: slice, shape: tuple[int, ...]) -> np.ndarray:
    name = f"{key_dims(dataset.dims)[0]}_valid"
    if name not in dataset.coords or dataset[name].ndim != 2:
        return np.ones(shape, bool)
    return np.asarray(dataset[name].isel(sample=first).values, bool)


def _groups(dataset: xr.Dataset, groups: Sequence[str]) -> str:
    keys = key_dims(dataset.dims)
    label = f"{keys[0]}_label" if keys else ""
    if label in dataset.coords and dataset[label].ndim == 2:
        return "<p class=small>No bars by group here: each sample has its own labels.</p>"
    means = received_per_group(dataset, groups)
    if means is None:
        return ""
    values = means.transpose("key", "group").values
    names = _labels_of(dataset, slice(0, 1), (1, len(values)))[0]
    spread = np.nan_to_num(values.max(1) - values.min(1) if values.shape[1] > 1 else values[:, 0])
    order = np.argsort(-spread, kind="stable")[:MOST_BARS]
    which = "the largest differences first" if values.shape[1] > 1 else "the largest first"
    caption = f"Mean attention received, by group: {len(order)} of {len(values)} positions, {which}"
    bars = Bars(
        [str(name) for name in means["group"].values],
        [names[place] for place in order],
        values[order],
        caption,
    )
    return f"<h3>By group</h3>{bar_list(bars)}"
