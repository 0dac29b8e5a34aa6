"""A site of any rank as maps of rows and columns: every dim that is neither query nor key becomes panels."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from attnscope.analysis import rolled_out
from attnscope.errors import SchemaError
from attnscope.labels import SINK, patch_grid
from attnscope.maps import AttentionMaps
from attnscope.marks import shown
from attnscope.masking import closed_cells, later_keys
from attnscope.position_kinds import UNKNOWN
from attnscope.schema import (
    HEAD,
    HEAD_MEAN,
    KEY,
    RANK,
    RECEIVED,
    SAMPLE,
    SCORES,
    TOP_KEYS,
    TOP_SCORES,
    attends_across,
    key_dims,
    known_lineage,
    known_positions,
    query_dims,
    told_by,
)
from attnscope.site_names import short_names, side_of
from attnscope.viewer._quantise import Map
from attnscope.words import is_special

SEPARATORS = frozenset({"[SEP]", "</s>", "<sep>"})
"""Tokens that end a sentence of a pair."""
DRAWN = (SCORES, HEAD_MEAN, TOP_SCORES, RECEIVED)
"""What can be drawn of a site; of several the first."""
_SHOWN = {
    HEAD_MEAN: "the mean over the heads",
    TOP_SCORES: "the strongest weights of each query (the others are not known, and hatched)",
    RECEIVED: "what each key receives, over all queries",
}
Grid = tuple[int, int, int]
"""Rows and columns of image patches, and the position of the first."""


@dataclass(frozen=True)
class Tokens:
    """The positions along one side of a map.

    Attributes:
        labels: Their names, as given.
        invalid: Numbers of the positions that are padding.
        grid: The grid of patches, where they are patches of an image.
    """

    labels: tuple[str, ...]
    invalid: tuple[int, ...] = ()
    grid: Grid | None = None

    @property
    def segments(self) -> list[int]:
        """Where each sentence begins: after every separator that is followed by more than separators and padding."""
        starts = [0]
        padding = set(self.invalid)
        for place, label in enumerate(self.labels[:-1]):
            following = place + 1
            if label in SEPARATORS and following not in padding and self.labels[following] not in SEPARATORS:
                starts.append(following)
        return starts

    def to_json(self) -> dict[str, object]:
        """The axis as an entry of the manifest, with the labels as they are written, see `marks.shown`."""
        labels = [shown(label) for label in self.labels]
        return {"labels": labels, "invalid": self.invalid, "segments": self.segments, "grid": self.grid}


@dataclass(frozen=True)
class SiteMaps:
    """One site of one run, read a sample at a time.

    Attributes:
        name: Name of the site, as it is written.
        run: Number of the run.
        dataset: Everything that was captured at it.
        grid: The grid of its keys, if the user gave one.
        short: Its short name, as it is written; see `short_names`.
    """

    name: str
    run: int
    dataset: xr.Dataset
    grid: tuple[int, int] | None = None
    short: str = ""

    @property
    def layer(self) -> str:
        """Class of the layer."""
        return str(self.dataset.attrs.get("layer_class", ""))

    @property
    def kind(self) -> str:
        """How the scores were obtained."""
        return str(self.dataset.attrs.get("kind", ""))

    @property
    def sinks(self) -> int:
        """How many of the last keys are learned sinks."""
        return int(self.dataset.attrs.get("sinks", 0))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.dataset.sizes[SAMPLE])

    @cached_property
    def variable(self) -> str:
        """What is drawn: the scores, or else the first of `DRAWN` that was captured."""
        name = next((name for name in DRAWN if name in self.dataset), None)
        if name is None:
            raise SchemaError(
                f"Of {self.name!r} only {list(self.dataset.data_vars)} was captured, but the viewer draws scores, "
                "their mean over the heads, the strongest of them, or what each key receives. Capture them: "
                "ats.capture(model, inputs, summaries=[ats.Full()])."
            )
        return name

    @property
    def array(self) -> xr.DataArray:
        """The variable that is drawn."""
        return self.dataset[self.variable]

    @cached_property
    def dims(self) -> tuple[str, ...]:
        """Of the maps: those of the array, with the keys of which it holds the strongest."""
        own = tuple(str(dim) for dim in self.array.dims if dim != RANK)
        return own if self.variable != TOP_SCORES else (*own, *key_dims(self._traced))

    @cached_property
    def _traced(self) -> dict[str, int]:
        """The sizes of the scores' dims in the trace."""
        read = (json.loads(self.dataset.attrs.get(name, "[]")) for name in ("dims", "shape"))
        return {str(dim): int(size) for dim, size in zip(*read, strict=False)}

    def _size(self, dim: str) -> int:
        return int(self.dataset.sizes[dim] if dim in self.dataset.sizes else self._traced[dim])

    @cached_property
    def role(self) -> str:
        """``pool``, ``cross``, ``encoder``, ``decoder``, ``self``, or ``unknown``: it may be self or cross."""
        if not query_dims(self.dims):
            return "pool"
        path = str(self.dataset.attrs.get("path", self.name))
        crosses = attends_across(known_lineage(self.dataset.attrs), self.dims, path)
        return "cross" if crosses else side_of(path) or ("unknown" if crosses is None else "self")

    @cached_property
    def told_by(self) -> str:
        """What says whether it attends across: ``lineage`` or ``name``; empty where nothing does."""
        path = str(self.dataset.attrs.get("path", self.name))
        return told_by(known_lineage(self.dataset.attrs), self.dims, path)

    @cached_property
    def sequence(self) -> str:
        """Where the keys come from, in words; empty where that is not known."""
        return known_lineage(self.dataset.attrs).get(KEY, "")

    def units(self, axis: str) -> str:
        """What the queries or the keys are: ``tokens``, ``features``, ``positions`` where that is not known.

        Where a site pools a sequence, its only query is called like the keys. Maps that do not say it are of patches
        where their labels, or the user, say how these lie; and of tokens where one is written the way tokenizers write
        those that represent no text.
        """
        dims = self._dims(axis)
        if not dims:
            return self.units("key")
        known = {known_positions(self.dataset.attrs).get(dim, "") for dim in dims}
        if len(known) == 1 and known != {""}:
            return known.pop()
        if not self.samples:
            return UNKNOWN
        tokens = self.tokens(axis, [0])[0]
        if tokens.grid is not None:
            return "patches"
        return "tokens" if any(is_special(label) for label in tokens.labels if label != SINK) else UNKNOWN

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a map."""
        rows, columns = ([self._size(dim) for dim in self._dims(axis)] for axis in ("query", "key"))
        return math.prod(rows), math.prod(columns)

    @property
    def panel_dims(self) -> tuple[str, ...]:
        """The dims that are neither samples nor positions; the heads last."""
        positions = {SAMPLE, *query_dims(self.dims), *key_dims(self.dims)}
        others = [dim for dim in self.dims if dim not in positions]
        return tuple(sorted(others, key=lambda dim: dim == HEAD))

    @cached_property
    def panels(self) -> list[str]:
        """Names of the panels: ``head 0``, or ``window 2, head 0``; one empty name where there are none."""
        sizes = [self.array.sizes[dim] for dim in self.panel_dims]
        return [
            ", ".join(f"{dim} {self._number(dim, place)}" for dim, place in zip(self.panel_dims, places, strict=True))
            for places in np.ndindex(*sizes)
        ]

    def _number(self, dim: str, place: int) -> object:
        return self.array.coords[dim].values[place] if dim in self.array.coords else place

    def maps(self, sample: int) -> list[Map]:
        """All panels of one sample."""
        array = self.array.isel({SAMPLE: sample})
        if self.variable == TOP_SCORES:
            return self._strongest(sample)
        order = (*self.panel_dims, *query_dims(array.dims), *key_dims(array.dims))
        values = np.ascontiguousarray(array.transpose(*order).values, dtype=np.float32).reshape(-1, *self.shape)
        return self.panelled(values, sample)

    def _strongest(self, sample: int) -> list[Map]:
        """The panels of one sample, of which only the strongest weights of each query are known."""
        order = (*self.panel_dims, *query_dims(self.array.dims), RANK)
        both = (self.dataset[name].isel({SAMPLE: sample}).transpose(*order) for name in (TOP_SCORES, TOP_KEYS))
        rows, columns = self.shape
        weights, keys = (array.values.reshape(-1, rows, array.sizes[RANK]) for array in both)
        values = np.zeros((len(weights), rows, columns + 1), np.float32)  # the last column takes what is not there
        known = np.zeros(values.shape, bool)
        places = np.where(keys < 0, columns, keys)
        np.put_along_axis(values, places, weights, axis=-1)
        np.put_along_axis(known, places, True, axis=-1)
        everything = (weights[..., -1:] == 0) & (weights[..., :1] > 0)  # of these queries all others are 0
        hidden = ~(known | everything)[..., :columns]
        valid = self._valid("query", [sample])[0]
        received = self._received(sample)
        return [
            Map(np.ascontiguousarray(panel), cells, valid if valid.any() else np.ones_like(valid), row)
            for panel, cells, row in zip(values[..., :columns], hidden, received, strict=True)
        ]

    def _received(self, sample: int) -> np.ndarray:
        """What each key receives where only the strongest weights are known, dims ``(panel, key)``; NaN if unknown."""
        if RECEIVED not in self.dataset:
            return np.full((len(self.panels), self.shape[1]), np.nan, np.float32)
        array = self.dataset[RECEIVED].isel({SAMPLE: sample})
        order = (*self.panel_dims, *key_dims(array.dims))
        return np.asarray(array.transpose(*order).values, np.float32).reshape(len(self.panels), -1)

    def panelled(self, values: np.ndarray, sample: int) -> list[Map]:
        """Maps over the positions of this site, dims ``(panel, row, column)``, with their masked cells."""
        rows, columns = self._valid("query", [sample])[0], self._valid("key", [sample])[0]
        counted = rows if rows.any() else np.ones_like(rows)
        masked = _masked(values, rows, columns)
        return [Map(panel, cells, counted) for panel, cells in zip(values, masked, strict=True)]

    def _dims(self, axis: str) -> tuple[str, ...]:
        return query_dims(self.dims) if axis == "query" else key_dims(self.dims)

    def _valid(self, axis: str, samples: Sequence[int]) -> np.ndarray:
        """Which positions are not padding, in any panel; dims ``(sample, position)``."""
        dims = self._dims(axis)
        size = self.shape[0 if axis == "query" else 1]
        name = f"{dims[0]}_valid" if len(dims) == 1 else f"{axis}_valid"
        if name not in self.dataset.coords:
            return np.ones((len(samples), size), bool)
        valid = _of_samples(self.dataset[name], samples)
        others = [dim for dim in valid.dims if dim not in (SAMPLE, *dims)]
        return np.asarray(valid.any(others).transpose(SAMPLE, *dims).values, bool).reshape(len(samples), -1)

    def tokens(self, axis: str, samples: Sequence[int]) -> list[Tokens]:
        """The labels of the queries or of the keys on each of these samples, all read at once."""
        dims = self._dims(axis)
        if not dims:
            return [Tokens(("mean of the queries" if self.variable == RECEIVED else "the whole sequence",))] * len(
                samples
            )
        name = f"{dims[0]}_label"
        padding = [tuple(np.flatnonzero(row).tolist()) for row in ~self._valid(axis, samples)]
        coordinate = self.dataset.coords.get(name)
        if len(dims) == 1 and coordinate is not None and set(coordinate.dims) <= {SAMPLE, dims[0]}:
            names = _of_samples(self.dataset[name], samples).transpose(SAMPLE, dims[0]).values
            labels = [tuple(map(str, row.tolist())) for row in names]
            grids = {row: patch_grid(row) for row in set(labels)}
        else:
            sizes = [self._size(dim) for dim in dims]
            numbers = tuple(", ".join(map(str, place)) for place in np.ndindex(*sizes))
            labels, grids = [numbers] * len(samples), {numbers: (sizes[0], sizes[1], 0) if len(sizes) == 2 else None}
        if self.grid is not None:
            patches = self.grid[0] * self.grid[1]
            grids = {row: (*self.grid, len(row) - patches) if len(row) >= patches else grids[row] for row in grids}
        return [Tokens(row, invalid, grids[row]) for row, invalid in zip(labels, padding, strict=True)]


def _of_samples(coordinate: xr.DataArray, samples: Sequence[int]) -> xr.DataArray:
    """A coordinate on these samples; the same for each sample if it has no samples of its own."""
    if SAMPLE in coordinate.dims:
        return coordinate.isel({SAMPLE: list(samples)})
    return coordinate.expand_dims({SAMPLE: len(samples)})


def _masked(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray | None]:
    """The masked cells of each panel; None if there are none, which is the usual case and needs no array."""
    if rows.all() and columns.all() and not later_keys(values, rows, columns).any():
        return [None] * len(values)
    return list(closed_cells(values, rows, columns))


@dataclass(frozen=True)
class RolloutMaps:
    """The rollout of a chain of sites, with one panel for each; drawn like a site.

    Attributes:
        chain: The sites from the input up.
        sequence: What it is over, in words, where there are rollouts of other sequences; else empty.
    """

    chain: tuple[SiteMaps, ...]
    sequence: str = ""

    layer = ""
    kind = "rollout"
    role = "rollout"
    told_by = "lineage"
    sinks = 0

    @property
    def short(self) -> str:
        """Its name, which is short."""
        return self.name

    @property
    def name(self) -> str:
        """Its name."""
        first = self.chain[0]
        side = "" if first.role == "self" else f" of the {first.role}"
        return f"rollout{side}" + (f" over {self.sequence}" if self.sequence else "")

    @property
    def run(self) -> int:
        """Number of the run."""
        return self.chain[0].run

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.chain[0].samples

    @property
    def panels(self) -> list[str]:
        """One per site of the chain."""
        return [f"up to {site.short}" for site in self.chain]

    def units(self, axis: str) -> str:
        """What its queries or keys are, see `SiteMaps.units`."""
        return self.chain[0].units(axis)

    def tokens(self, axis: str, samples: Sequence[int]) -> list[Tokens]:
        """Those of the chain."""
        return self.chain[0].tokens(axis, samples)

    def maps(self, sample: int) -> list[Map]:
        """The rollout after each site."""
        layers = (np.stack([panel.values for panel in site.maps(sample)]) for site in self.chain)
        return self.chain[0].panelled(np.stack(list(rolled_out(layers))), sample)


def sites_of(runs: Sequence[AttentionMaps], grid: tuple[int, int] | None = None) -> list[SiteMaps | RolloutMaps]:
    """Everything that can be looked at: the sites of every run, and a rollout of every chain of self-attention."""
    everything: list[SiteMaps | RolloutMaps] = []
    for number, maps in enumerate(runs):
        sites = _sites_of_run(number, maps, grid)
        chains = list(_chains(sites))
        roles = Counter(chain[0].role for chain in chains)
        everything += sites
        everything += [RolloutMaps(chain, chain[0].sequence if roles[chain[0].role] > 1 else "") for chain in chains]
    return everything


def _short_names(number: int, maps: AttentionMaps) -> dict[str, str]:
    """What the sites that are shown are called, by their names."""
    short = {site.name: site.short for site in _sites_of_run(number, maps)}
    return {name: short[shown(name)] for name in maps if shown(name) in short}


def _sites_of_run(number: int, maps: AttentionMaps, grid: tuple[int, int] | None = None) -> list[SiteMaps]:
    drawn = [name for name in maps if any(variable in maps.dataset(name) for variable in DRAWN)]
    names_of_all = drawn or list(maps)  # of which the first one says what is missing
    sites = [SiteMaps(shown(name), number, maps.dataset(name), grid) for name in names_of_all]
    names = short_names([site.name for site in sites], [site.name for site in sites if site.role == "cross"])
    return [replace(site, short=names[site.name]) for site in sites]


def variables_in_words(runs: Mapping[str, AttentionMaps]) -> Iterator[str]:
    """What is shown where whole maps of every head were not captured, and which sites are not shown at all."""
    for run, maps in runs.items():
        before = f"{run}: " if run else ""
        drawn = [next((name for name in DRAWN if name in maps.dataset(site)), "") for site in maps]
        for variable, count in Counter(drawn).items():
            at = "" if count == len(drawn) else f" at {count} of {len(drawn)} sites"
            if variable in _SHOWN:
                yield shown(f"{before}No whole maps were captured{at}: shown is {_SHOWN[variable]}.")
            elif not variable:
                yield shown(
                    f"{before}{count} of {len(drawn)} sites are not shown, since nothing that can be drawn was "
                    "captured there. Capture it: ats.capture(model, inputs, summaries=[ats.Full()])."
                )


def findings_in_words(runs: Mapping[str, AttentionMaps]) -> list[str]:
    """What the lint finds in each run, a line each; what it finds in several runs alike is said once."""
    found: dict[str, list[str]] = {}
    for number, (run, maps) in enumerate(runs.items()):
        short = {name: name for name in maps} | _short_names(number, maps)
        for group in maps.findings.with_short_names(short).grouped:
            found.setdefault(str(group), []).append(run)
    several = len(runs) > 1
    return [shown(f"{' and '.join(names)}: {line}" if several else line) for line, names in found.items()]


def _chains(sites: Sequence[SiteMaps]) -> Iterator[tuple[SiteMaps, ...]]:
    """Sites of which it is known that they are self-attention over one sequence, in the order of execution."""
    chains: dict[tuple[str, tuple[int, int], str], list[SiteMaps]] = {}
    for site in sites:
        plain = set(site.panel_dims) <= {HEAD} and site.variable == SCORES and not site.sinks
        if plain and site.told_by == "lineage" and site.role in ("self", "encoder", "decoder"):
            chains.setdefault((site.role, site.shape, site.sequence), []).append(site)
    yield from (tuple(chain) for chain in chains.values() if len(chain) > 1)


def described(runs: Mapping[str, AttentionMaps]) -> str:
    """The model and what it ran on, in one line; those of each run where they differ."""
    lines = {name: _origin(maps.attrs) for name, maps in runs.items()}
    if len(set(lines.values())) == 1:
        return shown(next(iter(lines.values())))
    return shown("; ".join(f"{name}: {line}" for name, line in lines.items()))


def _origin(attrs: Mapping[str, object]) -> str:
    parts = [f"model {attrs['model']}" if "model" in attrs else "", str(attrs.get("backend", ""))]
    return " · ".join(part for part in parts if part) or "maps from elsewhere"


def escaped_json(content: object) -> str:
    """JSON in ASCII that is safe inside a script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
