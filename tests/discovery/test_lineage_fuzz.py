"""Fuzz: models from a grammar that knows what it builds. Nothing is told otherwise than it was made.

By each rule at least one model, half of them on JAX and half on TensorFlow, and more on PyTorch; 300 on each where
ATTNSCOPE_EVERY_CASE is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.schema import SiteTable
from lineage_grammar import RULES, KnownModel, known_model
from lineage_streams import KnownSite

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")

EACH_RULE = (4, 6, 14, 15, 39, 52, 82, 85, 88, 99, 100)
"""Few models, but by every rule one."""
if os.environ.get("ATTNSCOPE_EVERY_CASE"):
    SEEDS = list(range(300))
else:
    SEEDS = sorted({*EACH_RULE, *(range(30) if keras.backend.backend() == "torch" else ())})


def differences(known: KnownModel) -> Iterator[tuple[str, str]]:
    """Whatever is said otherwise than the construction knows it: the name of the site, and what."""
    sites = ats.sites(known.model, known.given())
    maps = ats.capture(known.model, known.given(), progress=False)
    alone = ats.capture(known.model, known.given(slice(-1, None)), progress=False)
    found = {each.name: _found(sites, each.name) for each in known.sites}
    for each in known.sites:
        site = found[each.name]
        if site is None or site.name not in maps:
            yield each.name, f"missed: {'no such site' if site is None else site.reason}"
        else:
            for difference in (*_labels(each, site), *_validity(each, maps[site.name]), *_numbers(site, maps, alone)):
                yield each.name, difference
    names = {site.name for site in found.values() if site is not None}
    for site in sites:
        if site.taken and site.name not in names:
            yield site.name, "taken though it is no attention"


def _found(sites: SiteTable, name: str) -> ats.Site | None:
    """The site of the layer of this name; a softmax that is a layer is one itself."""
    return next((site for site in sites if name in (site.name, site.full_path)), None)


def _labels(known: KnownSite, site: ats.Site) -> Iterator[str]:
    if site.dims != known.dims:
        yield f"dims {site.dims} instead of {known.dims}"
    for dim, words in known.lineage.items():
        if dim in site.dims and site.lineage.get(dim) not in words:
            yield f"{dim} is {site.lineage.get(dim)!r} instead of {' or '.join(map(repr, sorted(words)))}"
    if site.certainty != "traced":
        yield f"known {site.certainty}"


def _validity(known: KnownSite, scores: xr.DataArray) -> Iterator[str]:
    for name, valid in (("key_valid", known.key_valid), ("query_valid", known.query_valid)):
        if valid is None:
            continue
        found = scores.coords.get(name)
        if found is None or not _same(found, valid):
            said = None if found is None else (found.dims, found.values.astype(int).tolist())
            yield f"{name} {said} instead of {valid.dims} {valid.values.astype(int).tolist()}"


def _same(found: xr.DataArray, valid: xr.DataArray) -> bool:
    """Whether two validities agree at each position; what does not differ along a dim need not have it."""
    if any(found.sizes[dim] != valid.sizes[dim] for dim in found.dims if dim in valid.dims):
        return False
    return bool((found.drop_vars(list(found.coords)) == valid).all())


def _numbers(site: ats.Site, maps: ats.AttentionMaps, alone: ats.AttentionMaps) -> Iterator[str]:
    """Scores sum to 1 over the keys; a sample has the same where it is the only one."""
    scores = maps[site.name]
    if scores.dims != site.dims:
        yield f"captured with dims {scores.dims}"
    sums = scores.sum([dim for dim in scores.dims if str(dim).startswith("key")]).values
    if not (np.isclose(sums, 1, atol=1e-4) | (sums == 0)).all():
        yield f"sums of {sums.min()} to {sums.max()} over the keys"
    if site.name not in alone or alone[site.name].dims != scores.dims:
        yield f"dims {alone[site.name].dims if site.name in alone else None} where a sample is alone"
    elif not np.allclose(alone[site.name][0], scores[-1], atol=1e-5):
        yield "other scores where a sample is alone"


@pytest.mark.every_backend
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_site_is_said_to_be_is_what_it_was_built_as(seed):
    known = known_model(seed)
    said = [f"{name}: {difference}" for name, difference in differences(known)]
    assert not said, "\n".join([known.sizes, *(each.rule for each in known.sites), *said])


def test_the_models_of_each_rule_are_by_every_rule():
    assert frozenset().union(*(known_model(seed).rules for seed in EACH_RULE)) == RULES
