"""`heads`: everything that describes single heads, as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attnscope.analysis._arguments import of_maps
from attnscope.analysis._confidence import row_maximum
from attnscope.analysis._distance import mean_distance
from attnscope.analysis._entropy import entropy
from attnscope.analysis._mass import MEANINGS, SEPARATORS, Place, mass
from attnscope.analysis._rollout import scores_of, with_heads
from attnscope.analysis._validity import counting_queries, is_one_sequence, keys_of, rows_of
from attnscope.errors import SchemaError
from attnscope.findings import sample_chunks
from attnscope.labels import patch_grid
from attnscope.maps import AttentionMaps
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, query_dims, require_content
from attnscope.words import is_special

CHUNK_BYTES = 8 * 2**20
"""How much of a site's scores is looked at in one go."""


@dataclass(frozen=True)
class Metric:
    """A number for each query of a head.

    Attributes:
        compute: Turns the scores of some samples into one value per query, NaN where it has none.
        units: Unit of the values.
        meaning: The meaning, in words.
        needs: What a site must have: any of ``queries``, ``one sequence``, ``labels``, ``grid`` and ``validity``.
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
"""The numbers of `heads`, in its order."""


@of_maps
def heads(maps: AttentionMaps, sites: Sequence[str] | None = None) -> xr.Dataset:
    """Every number that describes single heads, for all heads of all sites; class-agnostic.

    Each is the mean over those queries of all samples (and windows and steps) that have a value, and each query counts
    once; padding and queries that attend to nothing are left out. Runs opened from disk are read a few samples at a
    time.

    Args:
        maps: Captured maps with `scores`.
        sites: Names of sites; None for all.

    Returns:
        Dims ``(site, head)``, float64:

        - ``entropy`` (bit) and ``relative_entropy``, computed by `entropy`;
        - ``confidence`` and ``confidence_without_separators``, by `confidence`;
        - ``distance`` and ``distance_without_special`` (in tokens; the latter without those whose label is written like
          ``[CLS]`` or ``</s>``), ``distance_patches`` (in patches, if the labels describe a grid), by `mean_distance`;
        - ``mass_self``, ``mass_previous`` (the previous-token score), ``mass_next``, ``mass_first``,
          ``mass_separators``, ``mass_padding``, ``mass_sinks``, by `mass`;
        - ``duplicate_token`` and ``induction``, by `duplicate_token_score` and `induction_score`, from the labels.

        NaN where a site has no such head (``num_heads``, dims ``(site,)``, says how many it has), where no query has a
        value (no labels, no repeated tokens, no self-attention...), and, in every column, for a head with NaN in a row
        that counts. In addition, ``num_queries`` and ``num_samples``, dims ``(metric, site, head)``, say over how many
        queries each mean is taken, and from how many samples they come. The coordinate ``self_attention``, dims
        ``(site,)``, says whether query and key were taken for one sequence: by sizes and labels, and if there are no
        labels, by whether the name contains ``cross`` or ``encoder_decoder``.

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
    described_sites = {name: _of_site(name, scores_of(maps, name)) for name in names}
    if not described_sites:
        raise SchemaError("There are no sites to describe. Name some: heads(maps, sites=[...]).")
    most = max(site.num_heads for site in described_sites.values())
    padded = {name: site.padded(most) for name, site in described_sites.items()}
    variables = {
        metric: (
            ("site", HEAD),
            np.stack([padded[name][0][place] for name in names]),
            {"units": about.units, "long_name": about.meaning},
        )
        for place, (metric, about) in enumerate(METRICS.items())
    }
    counts = {
        "num_queries": "number of queries over which the mean is taken",
        "num_samples": "number of samples from which these queries come",
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
            "num_heads": ("site", [site.num_heads for site in described_sites.values()]),
            "self_attention": ("site", [site.self_attention for site in described_sites.values()]),
        },
        attrs={"class_specific": False},
    )


@dataclass(frozen=True)
class _Site:
    """The numbers of the heads of one site.

    Attributes:
        values: The means, dims ``(metric, head)``.
        queries: Number of queries behind each, dims ``(metric, head)``.
        samples: Number of samples behind each, dims ``(metric, head)``.
        self_attention: Whether query and key number the same sequence.
    """

    values: np.ndarray
    queries: np.ndarray
    samples: np.ndarray
    self_attention: bool

    @property
    def num_heads(self) -> int:
        return int(self.values.shape[1])

    def padded(self, heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, queries and samples, padded with missing heads up to this many."""
        more = [(0, 0), (0, heads - self.num_heads)]
        return np.pad(self.values, more, constant_values=np.nan), np.pad(self.queries, more), np.pad(self.samples, more)


def _of_site(name: str, scores: xr.DataArray) -> _Site:
    require_content(scores)
    scores = with_heads(scores)
    self_attention = _is_self_attention(name, scores)
    has = _has(scores, self_attention)
    metrics = list(METRICS.values())
    used = [metric.needs <= has for metric in metrics]
    shape = (len(metrics), scores.sizes[HEAD])
    total, queries, samples = np.zeros(shape), np.zeros(shape, int), np.zeros(shape, int)
    broken = np.zeros(scores.sizes[HEAD], bool)
    for part in _parts(scores):
        broken |= _per_head(rows_of(part).isnull().any(keys_of(part)) & counting_queries(part), "any").astype(bool)
        for place in np.flatnonzero(used):
            values = metrics[place].compute(part).reset_coords(drop=True)
            defined = values.notnull()
            total[place] += _per_head(values.fillna(0.0), "sum")
            queries[place] += _per_head(defined, "sum").astype(int)
            inside = [dim for dim in defined.dims if dim not in (SAMPLE, HEAD)]
            samples[place] += _per_head(defined.any(inside), "sum").astype(int)
    mean = np.divide(total, queries, out=np.full(shape, np.nan), where=queries > 0)
    return _Site(np.where(broken, np.nan, mean), queries, samples, self_attention)


def _parts(scores: xr.DataArray) -> Iterator[xr.DataArray]:
    for start, stop in sample_chunks(scores.to_dataset(name="scores"), CHUNK_BYTES):
        yield scores.isel({SAMPLE: slice(start, stop)}).load()


def _per_head(array: xr.DataArray, how: str) -> np.ndarray:
    """The array reduced over everything except the heads."""
    others = [dim for dim in array.dims if dim != HEAD]
    return np.asarray(getattr(array, how)(others).values)


def _is_self_attention(name: str, scores: xr.DataArray) -> bool:
    """Whether query and key number the same sequence: by labels, or else by sizes and the name of the site."""
    if not is_one_sequence(scores):
        return False
    has_labels = all(f"{dim}_label" in scores.coords for dim in (QUERY, KEY))
    return has_labels or not any(word in name for word in ("cross", "encoder_decoder"))


def _has(scores: xr.DataArray, self_attention: bool) -> set[str]:
    """Which of the things that metrics need a site has."""
    queries, keys = query_dims(scores.dims), keys_of(scores)
    has = {"queries"} if queries else set()
    if self_attention:
        has.add("one sequence")
    if keys == (KEY,) and queries in ((), (QUERY,)) and all(f"{dim}_label" in scores.coords for dim in (*queries, KEY)):
        has.add("labels")
    if "key_valid" in scores.coords:
        has.add("validity")
    if self_attention and "labels" in has:
        names = scores.coords["query_label"].values
        if names.size and patch_grid([str(label) for label in names.reshape(-1, names.shape[-1])[0]]):
            has.add("grid")
    if len(queries) > 1 and [scores.sizes[dim] for dim in queries] == [scores.sizes[dim] for dim in keys]:
        has.add("grid")
    return has
