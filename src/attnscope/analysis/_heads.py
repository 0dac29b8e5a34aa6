"""`heads`: everything that is said of single heads, as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attnscope.analysis._confidence import row_maximum
from attnscope.analysis._distance import mean_distance
from attnscope.analysis._entropy import entropy
from attnscope.analysis._mass import MEANINGS, SEPARATORS, Place, mass
from attnscope.analysis._rollout import scores_of, with_heads
from attnscope.analysis._validity import counted, is_one_sequence, keys_of, rows_of
from attnscope.errors import SchemaError
from attnscope.findings import sample_chunks
from attnscope.labels import patch_grid
from attnscope.maps import AttentionMaps
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, query_dims
from attnscope.words import is_special

CHUNK_BYTES = 8 * 2**20
"""Of a site's scores that are looked at in one go."""


@dataclass(frozen=True)
class Metric:
    """A number that each query of a head has.

    Attributes:
        compute: From the scores of some samples to one value per query, NaN where it has none.
        units: Of the values.
        meaning: In words.
        needs: What a site has to have: out of ``queries``, ``one sequence``, ``labels``, ``grid`` and ``validity``.
    """

    compute: Callable[[xr.DataArray], xr.DataArray]
    units: str
    meaning: str
    needs: frozenset[str] = frozenset()


def _mass(on: Place, *needs: str) -> Metric:
    return Metric(lambda scores: mass(scores, on), "1", MEANINGS[on], frozenset(needs))


def _without_special(scores: xr.DataArray) -> xr.DataArray:
    labels = {str(label) for dim in (QUERY, KEY) for label in np.unique(scores.coords[f"{dim}_label"].values)}
    return mean_distance(scores, leave_out=sorted(label for label in labels if is_special(label)))


def _in_patches(scores: xr.DataArray) -> xr.DataArray:
    return mean_distance(scores, grid="labels" if query_dims(scores.dims) == (QUERY,) else None)


METRICS: dict[str, Metric] = {
    "entropy": Metric(entropy, "bit", "Shannon entropy of the attention over the keys"),
    "relative_entropy": Metric(
        lambda scores: entropy(scores, relative=True), "1", "entropy as a share of log2 of the keys to choose from"
    ),
    "confidence": Metric(row_maximum, "1", "largest weight of a row"),
    "confidence_without_separators": Metric(
        lambda scores: row_maximum(scores, SEPARATORS),
        "1",
        "largest weight on anything but separators",
        frozenset({"labels"}),
    ),
    "distance": Metric(
        mean_distance, "tokens", "mean distance of what a query attends to", frozenset({"one sequence"})
    ),
    "distance_without_special": Metric(
        _without_special, "tokens", "the same without special tokens", frozenset({"one sequence", "labels"})
    ),
    "distance_patches": Metric(
        _in_patches, "patches", "mean distance of what a patch attends to, over the grid", frozenset({"grid"})
    ),
    "mass_self": _mass("self", "one sequence"),
    "mass_previous": _mass("previous", "one sequence"),
    "mass_next": _mass("next", "one sequence"),
    "mass_first": _mass("first"),
    "mass_separators": _mass("separators", "labels"),
    "mass_padding": _mass("padding", "validity"),
    "mass_sinks": _mass("sinks", "queries"),
    "duplicate_token": _mass("duplicates", "one sequence", "labels"),
    "induction": _mass("after_duplicates", "one sequence", "labels"),
}
"""The numbers of `heads`, in the order in which they stand in it."""


def heads(maps: AttentionMaps, sites: Sequence[str] | None = None) -> xr.Dataset:
    """Every number that describes single heads, for all heads of all sites; class-agnostic.

    Each is the mean over the queries of all samples (and windows and steps) that have a value, each query counting
    once; padding, and queries that attend to nothing, are left out. Runs that were opened from disk are read a few
    samples at a time.

    Args:
        maps: Captured maps with `scores`.
        sites: Names of sites; None for all.

    Returns:
        Dims ``(site, head)``, float64:

        - ``entropy`` (bit) and ``relative_entropy``: see `entropy`;
        - ``confidence``, and ``confidence_without_separators``: see `confidence`;
        - ``distance`` and ``distance_without_special`` (tokens; without those whose label is written like ``[CLS]`` or
          ``</s>``), ``distance_patches`` (patches, where the labels describe a grid): see `mean_distance`;
        - ``mass_self``, ``mass_previous`` (the previous-token score), ``mass_next``, ``mass_first``,
          ``mass_separators``, ``mass_padding``, ``mass_sinks``: see `mass`;
        - ``duplicate_token`` and ``induction``: see `duplicate_token_score` and `induction_score`; by labels.

        NaN where a site has no such head (``num_heads``, dims ``(site,)``, tells), where no query has a value (no
        labels, no repeated tokens, no self-attention...), and, in all of them, for a head with NaN in a row that
        counts. Beside them ``num_queries`` and ``num_samples``, dims ``(metric, site, head)``: how many queries each
        number is the mean of, and of how many samples they are. The coordinate ``self_attention``, dims ``(site,)``,
        says whether query and key were taken for one sequence: by sizes and labels, and where there are no labels, by
        a name with ``cross`` or ``encoder_decoder`` in it.

    Raises:
        SchemaError: There are no scores.
        KeyError: There is no such site.

    Example:
        >>> maps = AttentionMaps.from_arrays({"a": np.full((1, 2, 4, 4), 0.25), "b": np.eye(4).reshape(1, 1, 4, 4)})
        >>> table = heads(maps)
        >>> table["entropy"].values.tolist()
        [[2.0, 2.0], [0.0, nan]]
        >>> table["num_queries"].sel(metric="mass_previous", site="a", head=0).item()
        3
    """
    names = list(maps) if sites is None else list(sites)
    found = {name: _of_site(name, scores_of(maps, name)) for name in names}
    if not found:
        raise SchemaError("There are no sites to describe. Name some: heads(maps, sites=[...]).")
    most = max(site.num_heads for site in found.values())
    padded = {name: site.padded(most) for name, site in found.items()}
    variables = {
        metric: (
            ("site", HEAD),
            np.stack([padded[name][0][place] for name in names]),
            {"units": about.units, "long_name": about.meaning},
        )
        for place, (metric, about) in enumerate(METRICS.items())
    }
    counts = {
        "num_queries": "queries that the number is the mean of",
        "num_samples": "samples that these queries are of",
    }
    for place, (count, meaning) in enumerate(counts.items(), start=1):
        stacked = np.stack([padded[name][place] for name in names], axis=1)
        variables[count] = (("metric", "site", HEAD), stacked, {"units": "1", "long_name": meaning})  # type: ignore[assignment]
    return xr.Dataset(
        variables,
        coords={
            "site": names,
            HEAD: range(most),
            "metric": list(METRICS),
            "num_heads": ("site", [site.num_heads for site in found.values()]),
            "self_attention": ("site", [site.self_attention for site in found.values()]),
        },
        attrs={"class_specific": False},
    )


@dataclass(frozen=True)
class _Site:
    """What is known of the heads of one site.

    Attributes:
        values: dims ``(metric, head)``.
        queries: Likewise.
        samples: Likewise.
        self_attention: Whether query and key number one sequence.
    """

    values: np.ndarray
    queries: np.ndarray
    samples: np.ndarray
    self_attention: bool

    @property
    def num_heads(self) -> int:
        return int(self.values.shape[1])

    def padded(self, heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Filled up with heads that there are not."""
        more = [(0, 0), (0, heads - self.num_heads)]
        return np.pad(self.values, more, constant_values=np.nan), np.pad(self.queries, more), np.pad(self.samples, more)


def _of_site(name: str, scores: xr.DataArray) -> _Site:
    scores = with_heads(scores)
    own = _is_self_attention(name, scores)
    has = _has(scores, own)
    metrics = list(METRICS.values())
    used = [metric.needs <= has for metric in metrics]
    shape = (len(metrics), scores.sizes[HEAD])
    total, queries, samples = np.zeros(shape), np.zeros(shape, int), np.zeros(shape, int)
    broken = np.zeros(scores.sizes[HEAD], bool)
    for part in _parts(scores):
        broken |= _per_head(rows_of(part).isnull().any(keys_of(part)) & counted(part), "any").astype(bool)
        for place in np.flatnonzero(used):
            values = metrics[place].compute(part).reset_coords(drop=True)
            defined = values.notnull()
            total[place] += _per_head(values.fillna(0.0), "sum")
            queries[place] += _per_head(defined, "sum").astype(int)
            inside = [dim for dim in defined.dims if dim not in (SAMPLE, HEAD)]
            samples[place] += _per_head(defined.any(inside), "sum").astype(int)
    mean = np.divide(total, queries, out=np.full(shape, np.nan), where=queries > 0)
    return _Site(np.where(broken, np.nan, mean), queries, samples, own)


def _parts(scores: xr.DataArray) -> Iterator[xr.DataArray]:
    for start, stop in sample_chunks(scores.to_dataset(name="scores"), CHUNK_BYTES):
        yield scores.isel({SAMPLE: slice(start, stop)}).load()


def _per_head(array: xr.DataArray, how: str) -> np.ndarray:
    """Everything but the heads reduced."""
    others = [dim for dim in array.dims if dim != HEAD]
    return np.asarray(getattr(array, how)(others).values)


def _is_self_attention(name: str, scores: xr.DataArray) -> bool:
    """Whether query and key number one sequence: by labels, or else by sizes and the site's name."""
    if not is_one_sequence(scores):
        return False
    known = all(f"{dim}_label" in scores.coords for dim in (QUERY, KEY))
    return known or not any(word in name for word in ("cross", "encoder_decoder"))


def _has(scores: xr.DataArray, own: bool) -> set[str]:
    """What a site has of that which metrics need."""
    queries, keys = query_dims(scores.dims), keys_of(scores)
    has = {"queries"} if queries else set()
    if own:
        has.add("one sequence")
    if keys == (KEY,) and queries in ((), (QUERY,)) and all(f"{dim}_label" in scores.coords for dim in (*queries, KEY)):
        has.add("labels")
    if "key_valid" in scores.coords:
        has.add("validity")
    if own and "labels" in has:
        names = scores.coords["query_label"].values
        if names.size and patch_grid([str(label) for label in names.reshape(-1, names.shape[-1])[0]]):
            has.add("grid")
    if len(queries) > 1 and [scores.sizes[dim] for dim in queries] == [scores.sizes[dim] for dim in keys]:
        has.add("grid")
    return has
