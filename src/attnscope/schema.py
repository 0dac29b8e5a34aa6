"""The single table of names: what a site is, and what the dims, variables and coordinates of its data mean.

`docs/schema.md` is this table in words.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import xarray as xr

from attnscope.errors import SchemaError, in_a_row, kind_of

__all__ = [
    "CHOSEN_QUERY",
    "DISTANCE",
    "ENTROPY",
    "HEAD",
    "HEAD_MEAN",
    "KEY",
    "MEANINGS",
    "QUERY",
    "RAN",
    "RANK",
    "RECEIVED",
    "ROWS",
    "SAMPLE",
    "SAMPLE_ID",
    "SCORES",
    "THUMBNAIL_KEY",
    "THUMBNAIL_MAX",
    "THUMBNAIL_MEAN",
    "THUMBNAIL_QUERY",
    "TOP_KEYS",
    "TOP_SCORES",
    "UNITS",
    "Site",
    "SiteTable",
    "key_dims",
    "query_dims",
    "size_along",
]


def __dir__() -> list[str]:
    return sorted(__all__)


SAMPLE, HEAD, QUERY, KEY = "sample", "head", "query", "key"
RANK = "rank"
SAMPLE_ID = "sample_id"
"""Coordinate of the samples: what each is called."""
RAN = "ran"
SHORT_NAME = "short_name"
"""Attribute of what `AttentionMaps` gives for a site: what it is called where there is little room."""
PROBABILITY, LOGIT = "probability", "logit"
"""Units of a model's outputs, where it is known what they are."""
SCORES, RECEIVED, ENTROPY = "scores", "received", "entropy"
TOP_SCORES, TOP_KEYS = "top_scores", "top_keys"
THUMBNAIL_MEAN, THUMBNAIL_MAX = "thumbnail_mean", "thumbnail_max"
THUMBNAIL_QUERY, THUMBNAIL_KEY = "thumbnail_query", "thumbnail_key"
ROWS, CHOSEN_QUERY = "rows", "chosen_query"
DISTANCE, HEAD_MEAN = "distance", "head_mean"

CODED, WORST_ERROR = "codes", "worst_error"
"""Attributes of scores that are rounded, in a store or in memory: how they are kept, and how far off one is at most."""

UNITS = {SCORES: "1", RECEIVED: "1", ENTROPY: "bit", TOP_SCORES: "1", TOP_KEYS: "1", DISTANCE: "tokens"}
MEANINGS = {
    SCORES: "attention after the softmax, before dropout; sums to 1 over the keys, 0 where masked",
    RECEIVED: "attention a key receives, mean over the valid queries",
    ENTROPY: "Shannon entropy of a query's attention over the keys",
    TOP_SCORES: "the strongest scores of a query, in descending order",
    TOP_KEYS: "positions of the keys that have these scores; -1 where the score is 0",
    THUMBNAIL_MEAN: "mean score of a bin of neighbouring queries and keys, over the valid queries",
    THUMBNAIL_MAX: "largest score of a bin of neighbouring queries and keys, over the valid queries",
    ROWS: "the scores of chosen queries in full",
    DISTANCE: "mean distance of what a query attends to",
    HEAD_MEAN: "mean of the scores over the heads",
}


@dataclass(frozen=True)
class Portion:
    """Some positions of a sequence, or of its padding mask; or positions of which nothing is known.

    Attributes:
        name: Of the sequence or mask; empty where nothing is known.
        size: How many positions, in the trace.
        total: How many positions the whole has, in the trace.
        start: The first of them.
        step: Their distance; -1 where they are turned round.
    """

    name: str
    size: int
    total: int
    start: int = 0
    step: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether these are all positions, in their order."""
        return self.step == 1 and self.size == self.total

    @property
    def positions(self) -> range:
        """The positions of the whole."""
        return range(self.start, self.start + self.size * self.step, self.step)


@dataclass(frozen=True)
class Source:
    """Positions of a model's inputs that lie along a dim.

    Attributes:
        positions: What they are, in words: ``axis 1 of input 'text'``.
        inputs: Names of the inputs.
        portions: What lies behind each other along the dim; those with a name are these positions.
    """

    positions: str
    inputs: tuple[str, ...]
    portions: tuple[Portion, ...]

    @property
    def total(self) -> int:
        """How many positions the inputs have there, in the trace."""
        return next(portion.total for portion in self.portions if portion.name)


@dataclass(frozen=True)
class Site:
    """A place in a model where softmax scores are computed.

    Attributes:
        name: Its name: the path, plus ``#n`` from the second call of the same layer onwards.
        path: Layer names from the model down, joined by ``/``.
        full_path: The path including a helper layer (`Softmax`), which `path` leaves out.
        call_index: How many calls of that layer came before it in the same pass.
        layer_class: Class of the layer; empty if the model itself computes the softmax.
        kind: ``softmax``, ``fused`` (the model computes no scores: attnscope computes them) or ``declared``.
        dims: Names of the axes of its scores.
        shape: Sizes of these axes, for one batch.
        dtype: What the model computes the scores in.
        taken: Whether `capture` takes it by default.
        reason: Why, or why not.
        sinks: How many of the last keys are learned sinks, which are not positions.
        lineage: For each dim where its positions come from, in words; a dim whose trail was lost is left out.
        certainty: How the dims are known: ``traced`` (they follow from the data flow), ``by size`` (the trail was lost
            at an operation that is not known, and the sizes suggest them) or ``declared``. Empty in a run that was
            stored without it.
        sources: For each dim the positions of inputs that lie along it.
        lost: The operation at which the trail was lost, where it is therefore not known what the scores are used for.
        unreached: Why its scores cannot be taken, although it is attention or may be; empty otherwise.
        plan: What a run of the model needs to know to take it; None where no trace was made.
        loop: The compiled loop around it, which must be unrolled for its scores to be seen; else None.
    """

    name: str
    path: str
    full_path: str
    call_index: int
    layer_class: str
    kind: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    taken: bool
    reason: str
    sinks: int = 0
    loop: str | None = None
    lineage: Mapping[str, str] = field(default_factory=dict, hash=False)
    certainty: str = "traced"
    sources: Mapping[str, tuple[Source, ...]] = field(default_factory=dict, repr=False, compare=False)
    lost: str = ""
    unreached: str = ""
    plan: object = field(default=None, repr=False, compare=False)


_OF_THE_TRACE = ("sources", "plan")


class SiteTable(tuple[Site, ...]):
    """Sites in the order of execution, shown as a table."""

    __slots__ = ()

    _HEADINGS = ("", "site", "layer", "kind", "dims", "shape", "certainty", "why")

    def __new__(cls, sites: Iterable[Site] = ()) -> SiteTable:
        """A table of these sites."""
        return super().__new__(cls, tuple(sites))

    @property
    def names(self) -> list[str]:
        """Names of the sites."""
        return [site.name for site in self]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dict of plain values per site, for whatever table library you use."""
        return [
            {name: value for name, value in vars(site).items() if name not in _OF_THE_TRACE}
            | {"lineage": dict(site.lineage)}
            for site in self
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """The cells of the table, as text."""
        return [
            (
                "+" if site.taken else "-",
                site.name,
                site.layer_class,
                site.kind,
                ", ".join(site.dims),
                " x ".join(map(str, site.shape)),
                site.certainty if site.dims else "",
                site.reason,
            )
            for site in self
        ]

    def _sources(self) -> list[str]:
        """Where the dims of each site come from, in words; empty where they come from the same as the site before's."""
        words = ["; ".join(lineage_in_words(site, weights_of="its")) for site in self]
        return [word if word != before else "" for word, before in zip(words, ["", *words], strict=False)]

    def __repr__(self) -> str:
        if not self:
            return "no sites"
        rows = [self._HEADINGS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self._HEADINGS) - 1)]
        lines = []
        for row, source in zip(rows, ["", *self._sources()], strict=True):
            cells = [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
            lines.append("  ".join(cells).rstrip())
            if source:
                lines.append(f"   {source}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{heading}</th>" for heading in self._HEADINGS)
        body = "".join(
            "<tr>"
            + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            + (
                f"<tr><td></td><td colspan='7' style='text-align:left'>{html.escape(source)}</td></tr>"
                if source
                else ""
            )
            for row, source in zip(self.rows(), self._sources(), strict=True)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def lineage_in_words(site: Site, weights_of: str = "") -> list[str]:
    """Where the dims of a site come from, but for the samples: ``query and key: axis 1 of input 'text'``.

    Args:
        site: The site.
        weights_of: What to call its layer in the names of its own weights, in place of its path, ``its``; so that sites
            which differ in nothing else have the same words.
    """
    dims: dict[str, list[str]] = {}
    for dim, source in site.lineage.items():
        if dim != SAMPLE:
            words = source.replace(f" of '{site.path}/", f" of {weights_of} '") if weights_of else source
            dims.setdefault(words, []).append(dim)
    return [f"{in_a_row(names)}: {source}" for source, names in dims.items()]


_OF_INPUTS = re.compile(r"(axis \d+|axes [\d, and]+|patches) of inputs? ((?:'[^']*'(?:, | and )?)+)")
CROSS = ("cross", "encoder_decoder")
"""Words in the paths of sites that are cross-attention."""


def axes_of_inputs(lineage: str) -> set[tuple[str, str]]:
    """The axes of inputs that a lineage names, in words: what it is, and of which input: ``("axis 1", "text")``."""
    return {(what, name) for what, names in _OF_INPUTS.findall(lineage) for name in re.findall(r"'([^']*)'", names)}


def same_sequence(one: str, other: str) -> bool:
    """Whether two lineages, in words, are of one sequence: equal, or sharing the positions of an input.

    Where positions are added to queries and keys, but not to values, the two share the sequence that they are added to.
    """
    return one == other or bool(axes_of_inputs(one) & axes_of_inputs(other))


def told_by(lineage: Mapping[str, str], dims: Sequence[Hashable], path: str) -> Literal["lineage", "name", ""]:
    """What says whether a site is cross-attention: its lineage, or a word of its path; empty where nothing does."""
    queries = query_dims(dims)
    if not queries or all(dim in lineage for dim in (*queries, *key_dims(dims))):
        return "lineage"
    return "name" if any(word in path for word in CROSS) else ""


def attends_across(lineage: Mapping[str, str], dims: Sequence[Hashable], path: str) -> bool | None:
    """Whether a site is cross-attention: its queries and its keys are of two sequences. None where nothing says it.

    The numbers of positions say nothing: two sequences may be equally long, and one may be read in parts.

    Args:
        lineage: For each dim where its positions come from, in words.
        dims: The dims of its scores.
        path: Its path.
    """
    queries, keys = query_dims(dims), key_dims(dims)
    if not queries:
        return False
    if told_by(lineage, dims, path) == "lineage":
        return not same_sequence(*(" and ".join(lineage[dim] for dim in side) for side in (queries, keys)))
    return True if told_by(lineage, dims, path) == "name" else None


def known_lineage(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Where the dims of a captured array come from, in words, as far as its attributes say it."""
    return _words_by_dim(attrs, "lineage")


def known_positions(attrs: Mapping[str, Any]) -> dict[str, str]:
    """What the positions along the dims of a captured array are, ``tokens``, as far as its attributes say it."""
    return _words_by_dim(attrs, "positions")


def _words_by_dim(attrs: Mapping[str, Any], name: str) -> dict[str, str]:
    """An attribute that says something of each dim; nothing where it is one of the user's own by the same name."""
    try:
        found = json.loads(attrs.get(name, "{}"))
    except (TypeError, ValueError):
        return {}
    return {str(dim): str(words) for dim, words in found.items()} if isinstance(found, dict) else {}


def require_dims(array: xr.DataArray, *dims: str) -> None:
    """Checks that an array has these dims.

    Raises:
        SchemaError: A dim is missing; the message says how to rename one.
    """
    for dim in dims:
        if dim not in array.dims:
            others = [str(name) for name in array.dims if name not in (SAMPLE, HEAD, QUERY, KEY)]
            rename = (
                f" If an axis goes by another name, rename it: scores.rename({{{others[-1]!r}: {dim!r}}})."
                if others
                else ""
            )
            raise SchemaError(
                f"Scores have dimensions {tuple(map(str, array.dims))} with shape {array.shape}, but {dim!r} is "
                f"needed here.{rename}"
            )


def what_is_missing(sizes: Mapping[Hashable, int]) -> str:
    """Along which dims an array has nothing: ``no keys``, ``no queries and no keys``; empty where it has something.

    Args:
        sizes: The size of each dim.
    """
    empty = [str(dim) for dim, size in sizes.items() if not size]
    return " and ".join(f"no {_PLURALS.get(dim, f'positions along {dim}')}" for dim in empty)


_PLURALS = {SAMPLE: "samples", HEAD: "heads", QUERY: "queries", KEY: "keys", "step": "steps", "window": "windows"}


def require_content(array: xr.DataArray) -> None:
    """Checks that an array has at least one entry along each dim.

    Raises:
        SchemaError: It has not.
    """
    missing = what_is_missing(array.sizes)
    if missing:
        raise SchemaError(
            f"Scores have dimensions {tuple(map(str, array.dims))} with shape {array.shape}, so there is nothing to "
            f"see: there are {missing}. Give maps with at least one of each."
        )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def require_one_array(given: object, what: str, fix: str = "") -> None:
    """Checks that something is one labelled array, and not everything that was captured.

    Args:
        given: What was given: perhaps maps of all sites, or a dataset of one, or a plain array.
        what: What needs it, for the message: ``entropy``.
        fix: What to do with maps, if not to choose one of their arrays.

    Raises:
        SchemaError: It is not; the message says how to choose one.
    """
    if isinstance(given, xr.DataArray):
        return
    if isinstance(given, Mapping):
        raise too_many(given, f"{what} needs one array", fix)
    shape = getattr(given, "shape", None)
    if shape is None:
        raise SchemaError(
            f"{_capital(kind_of(given))} was given, but {what} needs an array with named axes: maps['site'], of "
            "maps = ats.capture(model, inputs)."
        )
    names = (SAMPLE, HEAD, QUERY, KEY)[-len(shape) :] if 0 < len(shape) <= 4 else (SAMPLE, HEAD, QUERY, KEY)
    raise SchemaError(
        f"An array of shape {tuple(shape)} was given, but {what} needs one with named axes. Name them: "
        f"xr.DataArray(array, dims={names})."
    )


def too_many(given: Mapping[Any, Any], need: str, fix: str = "") -> SchemaError:
    """The error for several arrays where one is needed; it lists them.

    Args:
        given: Maps of sites, or a dataset of one.
        need: What is needed, as a clause.
        fix: What to do, if not merely to choose one of the arrays.
    """
    names = ", ".join(map(repr, list(given)[:4])) + (", ..." if len(given) > 4 else "")
    many = "" if len(given) == 1 else "s"
    if isinstance(given, xr.Dataset):
        return SchemaError(
            f"A dataset of {len(given)} variable{many} was given ({names}), but {need}. "
            f"Choose it: dataset[{next(iter(given), SCORES)!r}]."
        )
    fix = fix or f"Choose it: maps[{next(iter(given), 'site')!r}]."
    return SchemaError(f"Maps of {len(given)} site{many} were given ({names}), but {need}. {fix}")


def require_maps(given: object, what: str) -> None:
    """Checks that something is captured maps, and not a single array of them.

    Args:
        given: What was given.
        what: What needs it, for the message: ``rollout``.

    Raises:
        SchemaError: It is not; the message says how to make maps of it.
    """
    if isinstance(given, Mapping) and hasattr(given, "dataset"):
        return
    if isinstance(given, Mapping) and not isinstance(given, xr.Dataset):
        found, example = f"A {type(given).__name__} of {len(given)} arrays", "arrays"
    elif isinstance(given, (xr.DataArray, xr.Dataset)):
        found = f"A {type(given).__name__} with the dimensions {tuple(map(str, given.dims))}"
        example = "{'site': array}"
    else:
        found, example = _capital(kind_of(given)), "{'site': array}"
    raise SchemaError(
        f"{found} was given, but {what} needs the maps of all sites, as ats.capture(model, inputs) gives them. To make "
        f"maps of arrays: {what}(ats.AttentionMaps.from_arrays({example}))."
    )


def size_along(array: xr.DataArray, dims: Iterable[str]) -> int:
    """Number of positions along several dims together."""
    return math.prod(array.sizes[dim] for dim in dims)


def key_dims(dims: Iterable[Hashable]) -> tuple[str, ...]:
    """Those of these dims that number keys."""
    return tuple(str(dim) for dim in dims if str(dim) == KEY or str(dim).startswith("key_"))


def query_dims(dims: Iterable[Hashable]) -> tuple[str, ...]:
    """Those of these dims that number queries."""
    return tuple(str(dim) for dim in dims if str(dim) == QUERY or str(dim).startswith("query_"))
