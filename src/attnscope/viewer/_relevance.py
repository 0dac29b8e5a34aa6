"""Relevance beside the maps: a row of signed numbers for each method and target, over the keys that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import xarray as xr

from attnscope.errors import InputError, SchemaError, kind_of
from attnscope.marks import rounded_up, shown
from attnscope.quantities import is_relevance, relevance_in_words
from attnscope.schema import KEY, SAMPLE, known_lineage
from attnscope.viewer._arrange import Grid, RolloutMaps, SiteMaps, Tokens

RelevanceLike: TypeAlias = xr.DataArray | Mapping[str, xr.DataArray] | None
"""What `ats.attribute` returns, or several of these by name."""
TARGET = "target"
THEN = ", then "
"""What stands between the parts of an axis in a lineage."""


@dataclass(frozen=True)
class RelevanceRow:
    """Relevance by one method for one target, of all samples.

    Attributes:
        name: What the user calls it; empty if the method says it all.
        array: dims ``(sample, key)``.
    """

    name: str
    array: xr.DataArray

    @property
    def count(self) -> int:
        """Number of positions."""
        return int(self.array.sizes[KEY])

    @property
    def lineage(self) -> str:
        """Where the positions come from, in words; empty where that is not known."""
        return known_lineage({str(name): value for name, value in self.array.attrs.items()}).get(KEY, "")

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Rows and columns, where the positions are patches."""
        grid = self.array.attrs.get("grid")
        return None if grid is None else tuple(int(count) for count in np.ravel(grid))

    def words(self, sample: int) -> str:
        """Method, unit and target: ``integrated gradients, logit of 'malignant'``."""
        words = relevance_in_words(self.array.isel({SAMPLE: sample}))
        return shown(f"{self.name}: {words}" if self.name else words)

    def labels(self, sample: int) -> tuple[str, ...] | None:
        """Names of the positions; None where they have none."""
        labels = self.array.coords.get(f"{KEY}_label")
        if labels is None:
            return None
        return tuple(map(str, (labels.isel({SAMPLE: sample}) if SAMPLE in labels.dims else labels).values.tolist()))

    @cached_property
    def values(self) -> np.ndarray:
        """The relevance of all samples, dims ``(sample, key)``, float64."""
        return np.asarray(self.array.transpose(SAMPLE, KEY).values, dtype=np.float64)

    @cached_property
    def valid(self) -> np.ndarray:
        """Which positions are not padding, dims ``(sample, key)``, bool."""
        known = self.array.coords.get(f"{KEY}_valid", xr.DataArray(True))
        return np.asarray(known.broadcast_like(self.array).transpose(SAMPLE, KEY).values, dtype=bool)

    def content(self, sample: int) -> bytes:
        """The numbers of a sample in float32, and after them a byte for each that is 1 where it is padding."""
        return bytes(self.values[sample].astype("<f4").tobytes() + (~self.valid[sample]).astype("u1").tobytes())

    def maximum(self, samples: Sequence[int]) -> float:
        """The end of the scale on either side of 0, the same for all of these samples."""
        values = np.abs(self.values[list(samples)])[self.valid[list(samples)]]
        return rounded_up(float(values[np.isfinite(values)].max(initial=0.0)))

    def start(self, sample: int, site: SiteMaps | RolloutMaps, keys: Tokens) -> int | None:
        """The key that the first position is, where the keys of a site are these positions, in this order; else None.

        By their labels, if both have some; else by what both come from. Patches have to have the same grid too.

        Args:
            sample: Number of the sample.
            site: The site.
            keys: The keys of that sample there.
        """
        labels = self.labels(sample)
        own = (site.chain[0] if isinstance(site, RolloutMaps) else site).sequence
        if labels is not None and keys.labels != tuple(map(str, range(len(keys.labels)))):
            return _start_of_run(labels, keys.labels)
        if self.grid is not None:
            return _start_of_grid(self.grid, keys.grid) if self.lineage in ("", *own.split(THEN)) or not own else None
        parts = own.split(THEN)
        left = len(keys.labels) - site.sinks - self.count
        if not self.lineage or parts.count(self.lineage) != 1 or left < 0 or (len(parts) == 1 and left):
            return None
        return {0: 0, len(parts) - 1: left}.get(parts.index(self.lineage))


def _start_of_run(part: tuple[str, ...], whole: tuple[str, ...]) -> int | None:
    """Where a row of labels stands in a longer one, if only there."""
    starts = [place for place in range(len(whole) - len(part) + 1) if whole[place : place + len(part)] == part]
    return starts[0] if len(starts) == 1 else None


def _start_of_grid(own: tuple[int, ...], grid: Grid | None) -> int | None:
    return grid[2] if grid is not None and grid[:2] == own else None


def relevance_rows(relevance: RelevanceLike, samples: int) -> list[RelevanceRow]:
    """Relevance as a user gives it, as rows.

    Args:
        relevance: What `ats.attribute` returns, or several of these by name. Each target is a row of its own.
        samples: How many samples the maps hold.

    Raises:
        SchemaError: It is something else, or has other dims.
        InputError: It is of another number of samples.
    """
    if relevance is None:
        return []
    named = dict(relevance) if isinstance(relevance, Mapping) else {"": relevance}
    wrong = next((array for array in named.values() if not isinstance(array, xr.DataArray)), None)
    if wrong is not None or not named:
        raise SchemaError(
            f"The relevance is {kind_of(relevance if wrong is None else wrong)}, but what ats.attribute returns is "
            "needed, or several of these by name: ats.view(maps, relevance=ats.attribute(model, inputs))."
        )
    return [row for name, array in named.items() for row in _rows_of(str(name), array, samples)]


def _rows_of(name: str, array: xr.DataArray, samples: int) -> Iterator[RelevanceRow]:
    if not is_relevance(array):
        raise SchemaError(
            f"The relevance is an array called {array.name!r} whose attrs name no method, but what ats.attribute "
            "returns is needed: attention is no relevance. For relevance from elsewhere, say by which method it is: "
            "array.rename('relevance').assign_attrs(method='my method')."
        )
    if set(array.dims) - {TARGET} != {SAMPLE, KEY}:
        raise SchemaError(
            f"The relevance has the dims {tuple(map(str, array.dims))}, but 'sample' and 'key' are needed, as "
            "ats.attribute(model, inputs) returns it; 'target' may be there too."
        )
    if array.sizes[SAMPLE] != samples:
        raise InputError(
            f"The relevance is of {array.sizes[SAMPLE]} samples, but the maps hold {samples}. Give that of the same "
            "samples, in the same order: ats.view(ats.capture(model, inputs), relevance=ats.attribute(model, inputs))."
        )
    name = "" if name == str(array.attrs.get("method", "")) else name
    targets = [array] if TARGET not in array.dims else [array.isel({TARGET: n}) for n in range(array.sizes[TARGET])]
    yield from (RelevanceRow(name, each) for each in targets)
