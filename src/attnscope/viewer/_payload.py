"""What a page receives: a manifest, and named blocks that are made when they are requested."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, Literal

import numpy as np
import xarray as xr

from attnscope import colours
from attnscope.errors import InputError
from attnscope.maps import AttentionMaps
from attnscope.marks import numbers, shown
from attnscope.schema import SAMPLE
from attnscope.stored_scores import stored_in_words
from attnscope.viewer._arrange import RolloutMaps, SiteMaps, Tokens, described, sites_of, variables_in_words
from attnscope.viewer._quantise import Map, block, deflated, thumbnail
from attnscope.viewer._relevance import RelevanceRow

Detail = Literal["full", "pooled", "thumbnails"]
POOLED = 256
"""Most rows and columns of a pooled map."""
LONGEST_TEXT = 2000
"""Characters of an input that are shown."""
FORMAT = 1


@dataclass(frozen=True)
class Payload:
    """Everything that a page may request.

    Attributes:
        runs: The maps, by name of the run.
        samples: Numbers of the samples that can be looked at.
        title: Heading of the page.
        labels: What each sample is (its class, its name), by name of the run, for all its samples.
        images: The samples as pictures, for all samples; None if they are not pictures.
        grid: Rows and columns of the patches over them, if the labels do not say.
        max_error: Largest absolute error of a number that is not exact.
        detail: How much of each map there is.
        notes: What the reader needs to know.
        relevance: What is shown beside the maps, for all samples of the maps.
        chosen: Whether the samples were asked for. If not, they are the first ones, and the page says of how many.
    """

    runs: Mapping[str, AttentionMaps]
    samples: Sequence[int]
    title: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    images: Sequence[np.ndarray] | None = None
    grid: tuple[int, int] | None = None
    max_error: float = 0.001
    detail: Detail = "full"
    notes: Sequence[str] = ()
    relevance: Sequence[RelevanceRow] = ()
    chosen: bool = True
    _read: dict[tuple[int, int], list[Map]] = field(default_factory=dict, repr=False)
    """The last site that was read."""
    _reading: Lock = field(default_factory=Lock, repr=False, compare=False)
    """Held while a site is read: a page that is served requests many blocks at a time."""

    @cached_property
    def sites(self) -> list[SiteMaps | RolloutMaps]:
        """Everything that can be looked at."""
        return sites_of(list(self.runs.values()), self.grid)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What there is to look at; this folder's README describes it."""
        table: dict[Tokens, int] = {}
        axes = [list(places) for places in zip(*(self._axes_of(site, table) for site in self.sites), strict=True)]
        return {
            "format": FORMAT,
            "title": shown(self.title),
            "about": described(self.runs),
            "detail": self.detail,
            "error": self.max_error,
            "notes": [
                *self.notes,
                *variables_in_words(self.runs),
                *self._rounding(),
                *self._left_out(),
                *self._of_unknown_kind(),
            ],
            "runs": [shown(name) if name else "" for name in self.runs],
            "samples": [self._sample(sample) for sample in self.samples],
            "tokens": [tokens.to_json() for tokens in table],
            "sites": [
                {
                    "name": site.name,
                    "short": site.short,
                    "run": site.run,
                    "layer": shown(site.layer) if site.layer else "",
                    "kind": site.kind,
                    "role": site.role,
                    "told_by": site.told_by,
                    "panels": site.panels,
                    "sinks": site.sinks,
                    "units": {axis: site.units(axis) for axis in ("query", "key")},
                }
                for site in self.sites
            ],
            "axes": axes,
            "relevance": [
                {
                    "words": [row.words(sample) for sample in self.samples],
                    "count": row.count,
                    "maximum": row.maximum(self.samples),
                    "starts": self.starts(row),
                }
                for row in self.relevance
            ],
            "palette": {"light": colours.palette(dark=False), "dark": colours.palette(dark=True)},
            "ramps": _ramps(),
        }

    def name_of(self, site: SiteMaps | RolloutMaps) -> str:
        """The short name of a site, with its run where that has a name."""
        run = self.manifest["runs"][site.run]
        return f"{run}: {site.short}" if run else site.short

    def _rounding(self) -> Iterator[str]:
        """How the scores of each run are rounded."""
        for name, maps in self.runs.items():
            for sentence in stored_in_words([maps.dataset(site) for site in maps]):
                yield shown(f"{name}: {sentence}") if name else sentence

    def _left_out(self) -> Iterator[str]:
        """What is not shown because nobody asked for it."""
        there = max(run.num_samples for run in self.runs.values())
        if not self.chosen and len(self.samples) < there:
            yield (
                f"The first {len(self.samples)} of {there:,} samples. For others: ats.view(maps, samples=[...]), on "
                "the command line attnscope view RUN --samples A:B."
            )

    def _of_unknown_kind(self) -> Iterator[str]:
        """What is not shown because nothing says whether queries and keys are the same positions."""
        unknown = [site for site in self.sites if not site.told_by]
        if len(unknown) > 1:
            is_given = all(site.kind == "given" for site in unknown)
            declare = ' Declare it: ats.AttentionMaps.from_arrays(arrays, roles={"*": ("text", "text")}).'
            yield (
                f"Nothing says whether {len(unknown)} sites are self- or cross-attention, so that no rollout has "
                f"them.{declare if is_given else ''}"
            )

    def _axes_of(self, site: SiteMaps | RolloutMaps, table: dict[Tokens, int]) -> list[list[int] | None]:
        """For each sample, which tokens its queries and keys are."""
        there = [sample for sample in self.samples if sample < site.samples]
        both = zip(site.tokens("query", there), site.tokens("key", there), strict=True)
        numbers = {
            sample: [table.setdefault(tokens, len(table)) for tokens in pair]
            for sample, pair in zip(there, both, strict=True)
        }
        return [numbers.get(sample) for sample in self.samples]

    def starts(self, row: RelevanceRow) -> list[list[int | None]]:
        """For each sample and each site the key that the first position of a relevance is; None where there is none."""
        starts: list[list[int | None]] = [[None] * len(self.sites) for _ in self.samples]
        for number_of, site in enumerate(self.sites):
            there = [(place, sample) for place, sample in enumerate(self.samples) if sample < site.samples]
            keys = site.tokens("key", [sample for _, sample in there])
            for (place, sample), tokens in zip(there, keys, strict=True):
                starts[place][number_of] = row.start(sample, site, tokens)
        return starts

    def _sample(self, sample: int) -> dict[str, object]:
        return {
            "name": str(sample),
            "runs": [self._told(sample, run) for run in self.runs],
            "image": None if self.images is None else self._picture(sample),
        }

    def _told(self, sample: int, run: str) -> dict[str, str | None]:
        """What one run says of a sample: what it was given, what the model said, what it is called."""
        maps, labels = self.runs[run], self.labels.get(run)
        there = sample < maps.num_samples
        text = None if maps.inputs is None or not there else str(maps.inputs.values[sample])
        return {
            "input": None if text is None else _shortened(text),
            "output": _output(maps.outputs, sample) if there else None,
            "label": shown(labels[sample]) if there and labels is not None else None,
        }

    def _picture(self, sample: int) -> dict[str, int | None]:
        assert self.images is not None
        height, width = np.asarray(self.images[sample]).shape[:2]
        grids = (site.tokens("key", [sample])[0].grid for site in self.sites if sample < site.samples)
        grid = next((grid for grid in grids if grid is not None), None)
        placed = dict(zip(("rows", "columns", "first"), grid or (None, None, None), strict=True))
        return {"width": width, "height": height, **placed}

    def names(self) -> Iterator[str]:
        """Names of all blocks, starting with those that are looked at first."""
        for place in range(len(self.samples)):
            yield f"thumbnails/{place}"
        if self.images is not None:
            yield from (f"image/{place}" for place in range(len(self.samples)))
        if self.relevance:
            yield from (f"relevance/{place}" for place in range(len(self.samples)))
        if self.detail != "thumbnails":
            for place, sample in enumerate(self.samples):
                for number_of, site in enumerate(self.sites):
                    if sample < site.samples:
                        yield from (f"map/{place}/{number_of}/{panel}" for panel in range(len(site.panels)))

    def block(self, name: str) -> bytes:
        """One block; this folder's README describes it.

        Raises:
            KeyError: There is no block of that name.
        """
        if not self.holds(name):
            raise KeyError(f"There is no block {name!r}.")
        kind, *numbers = name.split("/")
        makers: dict[str, Callable[..., bytes]] = {
            "thumbnails": self._thumbnails,
            "image": self._image,
            "relevance": self._relevance,
            "map": self._map,
        }
        return makers[kind](*map(int, numbers))

    def holds(self, name: str) -> bool:
        """Whether there is a block of that name."""
        kind, *parts = name.split("/")
        if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            return False
        match kind, [int(part) for part in parts]:
            case "thumbnails", [place]:
                return place < len(self.samples)
            case "image", [place]:
                return self.images is not None and place < len(self.samples)
            case "relevance", [place]:
                return bool(self.relevance) and place < len(self.samples)
            case "map", [place, site, panel] if self.detail != "thumbnails":
                inside = place < len(self.samples) and site < len(self.sites)
                return (
                    inside and self.samples[place] < self.sites[site].samples and panel < len(self.sites[site].panels)
                )
        return False

    def _thumbnails(self, place: int) -> bytes:
        sample = self.samples[place]
        numbers = [number_of for number_of, site in enumerate(self.sites) if sample < site.samples]
        return deflated(b"".join(thumbnail(shown) for site in numbers for shown in self.maps(place, site)))

    def _image(self, place: int) -> bytes:
        assert self.images is not None
        return colours.png_of(pixels_of(self.images[self.samples[place]]))

    def _relevance(self, place: int) -> bytes:
        return deflated(b"".join(row.content(self.samples[place]) for row in self.relevance))

    def _map(self, place: int, site: int, panel: int) -> bytes:
        pool = None if self.detail == "full" else POOLED
        return block(self.maps(place, site)[panel], self.max_error, pool=pool)

    def maps(self, place: int, site: int) -> list[Map]:
        """The panels of a site; those that were read last are kept for the next request."""
        with self._reading:
            if (place, site) not in self._read:
                maps = self.sites[site].maps(self.samples[place])
                self._read.clear()
                self._read[place, site] = maps
            return self._read[place, site]


def _ramps() -> dict[str, str]:
    tables = {name: colours.ramp(name) for name in colours.RAMPS}
    tables |= {"diverging": colours.diverging(), "diverging-dark": colours.diverging(dark=True)}
    return {name: base64.b64encode(table.tobytes()).decode() for name, table in tables.items()}


def _shortened(text: str) -> str:
    return shown(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} ... ({len(text):,} characters)")


def _output(outputs: xr.DataArray | dict[str, xr.DataArray] | None, sample: int) -> str | None:
    """What the model said, in a few numbers."""
    if outputs is None:
        return None
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    parts = [
        f"{name}: {numbers(array.isel(sample=sample).values)}" if name else numbers(array.isel(sample=sample).values)
        for name, array in named.items()
        if SAMPLE in array.dims
    ]
    return shown("; ".join(parts)) if parts else None


def pixels_of(image: np.ndarray) -> np.ndarray:
    """A picture as ``(height, width, 3)`` bytes: grey or colour, 0 to 255, or 0 to 1 in floats.

    Raises:
        InputError: It is not a picture.
    """
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise InputError(
            f"An image has the shape {np.shape(image)}, but (height, width), or (height, width, channels) with 1, 3 or "
            "4 channels is needed. For channels in front: np.moveaxis(images, 1, -1)."
        )
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min(initial=0) >= 0 and array.max(initial=0) <= 255):
            raise InputError(
                f"An image has values from {array.min():.3g} to {array.max():.3g}, but 0 to 1, or 0 to 255, is needed. "
                "Give the pictures as they were before the model's preprocessing: ats.view(maps, images=raw)."
            )
        array = array * 255 if array.max(initial=0) <= 1 else array
    return np.ascontiguousarray(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)).astype(np.uint8))
