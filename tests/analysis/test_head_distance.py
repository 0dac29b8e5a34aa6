"""Jensen-Shannon divergence between heads, and their clusters, against plain loops."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from analysis_maps import scores, softmax
from attnscope.errors import InputError, SchemaError


def divergence(p, q):
    """In bits, from the sum over p log2(p / m) of the definition."""
    found = 0.0
    for one, other in zip(p, q, strict=True):
        mean = (one + other) / 2
        found += sum(x * math.log2(x / mean) / 2 for x in (one, other) if x > 0)
    return found


def test_it_agrees_with_the_definition_over_all_rows_that_are_no_padding(rng):
    array = scores(rng)
    found = ats.analysis.head_distance(array)
    assert found.dims == ("head", "head_other")
    assert found.attrs["units"] == "bit"
    assert found.attrs["queries"] == 14
    for one, other in itertools.product(range(3), repeat=2):
        rows = [
            divergence(array.values[s, one, q], array.values[s, other, q])
            for s, n in enumerate((7, 5, 2))
            for q in range(n)
        ]
        np.testing.assert_allclose(found.sel(head=one, head_other=other), sum(rows) / 14, rtol=1e-9, atol=1e-12)


def test_heads_that_are_alike_have_0_and_heads_that_share_no_key_1():
    values = np.zeros((1, 3, 5, 4))
    values[:, :2, :, :2] = 0.5
    values[:, 2, :, 2:] = [0.25, 0.75]
    found = ats.analysis.head_distance(xr.DataArray(values, dims=("sample", "head", "query", "key")))
    np.testing.assert_allclose(found, [[0, 0, 1], [0, 0, 1], [1, 1, 0]], atol=1e-15)


def test_heads_of_all_sites_are_compared_a_few_samples_at_a_time(rng, tmp_path, monkeypatch):
    arrays = {"a": softmax(rng.normal(size=(5, 2, 3, 7))), "b": softmax(rng.normal(size=(5, 3, 3, 7)))}
    maps = ats.AttentionMaps.from_arrays(arrays)
    found = ats.analysis.head_distance(maps)
    assert found.head_site.values.tolist() == ["a", "a", "b", "b", "b"]
    assert found.head_other_number.values.tolist() == [0, 1, 0, 1, 2]
    heads = np.concatenate([arrays["a"], arrays["b"]], axis=1)
    expected = [
        [
            np.mean([divergence(*pair) for pair in zip(one.reshape(-1, 7), other.reshape(-1, 7), strict=True)])
            for other in rows
        ]
        for rows in [heads.swapaxes(0, 1)]
        for one in rows
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    maps.save(tmp_path / "run.zarr")
    monkeypatch.setattr(sys.modules["attnscope.analysis._head_distance"], "CHUNK_BYTES", 1)
    np.testing.assert_allclose(
        ats.analysis.head_distance(ats.open(tmp_path / "run.zarr")), found, rtol=1e-12, atol=1e-15
    )


def test_a_head_with_nan_is_far_from_nobody_knows_whom(rng):
    array = scores(rng)
    array[0, 1, 3, 2] = np.nan
    found = np.isnan(ats.analysis.head_distance(array).values)
    assert found.tolist() == [[False, True, False], [True, True, True], [False, True, False]]


def test_nothing_that_counts_gives_nan():
    zeros = xr.DataArray(np.zeros((2, 3, 3)), dims=("head", "query", "key"))
    assert np.isnan(ats.analysis.head_distance(zeros)).all()


def test_what_cannot_be_compared_is_refused(rng):
    maps = ats.AttentionMaps.from_arrays(
        {"a": softmax(rng.normal(size=(2, 2, 3, 7))), "b": softmax(rng.normal(size=(2, 2, 3, 5)))}
    )
    with pytest.raises(SchemaError) as caught:
        ats.analysis.head_distance(maps)
    assert str(caught.value) == (
        "'b' has the sizes {'sample': 2, 'query': 3, 'key': 5}, and 'a' has {'sample': 2, 'query': 3, 'key': 7}, but "
        "heads are compared row by row. Name sites of the same size: head_distance(maps, sites=[...])."
    )
    with pytest.raises(SchemaError) as caught:
        ats.analysis.head_distance(maps["a"].isel(head=0))
    assert str(caught.value) == (
        "Scores have dimensions ('sample', 'query', 'key') with shape (2, 3, 7), but 'head' is needed to compare "
        "heads. Give all heads of a site: head_distance(maps['encoder_0/mha'])."
    )


def distances(rng, heads=7):
    values = rng.uniform(0.1, 1, (heads, heads))
    values = np.triu(values, 1) + np.triu(values, 1).T
    return xr.DataArray(values, dims=("head", "head_other"))


def joined(values, linkage, until):
    """Groups and heights of agglomerative clustering, written down as it is defined."""
    how = {"average": np.mean, "complete": np.max, "single": np.min}[linkage]
    groups, heights = [[head] for head in range(len(values))], []
    while len(groups) > 1:
        far = {
            pair: how(values[np.ix_(groups[pair[0]], groups[pair[1]])])
            for pair in itertools.combinations(range(len(groups)), 2)
        }
        one, other = min(far, key=far.get)
        if until(len(groups), far[one, other]):
            break
        heights.append(far[one, other])
        groups = [g for n, g in enumerate(groups) if n not in (one, other)] + [groups[one] + groups[other]]
    return {frozenset(group) for group in groups}, heights


def as_sets(cluster):
    return {frozenset(np.flatnonzero(cluster == number).tolist()) for number in np.unique(cluster)}


@pytest.mark.parametrize("linkage", ["average", "complete", "single"])
def test_clusters_agree_with_the_definition(rng, linkage):
    array = distances(rng)
    _, heights = joined(array.values, linkage, lambda size, height: False)
    for number in range(1, 8):
        found = ats.analysis.head_clusters(array, number=number, linkage=linkage)
        expected, _ = joined(array.values, linkage, lambda size, height, most=number: size <= most)
        assert as_sets(found.cluster.values) == expected
        np.testing.assert_allclose(found.height, heights, rtol=1e-12)
    within = (heights[2] + heights[3]) / 2
    found = ats.analysis.head_clusters(array, within=within, linkage=linkage)
    expected, _ = joined(array.values, linkage, lambda size, height: height > within)
    assert as_sets(found.cluster.values) == expected


def test_groups_stand_together_in_the_order_and_are_numbered_along_it(rng):
    found = ats.analysis.head_clusters(distances(rng), number=3)
    along = found.cluster.values[found.order.values]
    assert sorted(found.order.values.tolist()) == list(range(7))
    assert [number for number, _ in itertools.groupby(along)] == [0, 1, 2]


def test_planted_groups_are_found_with_the_names_of_their_heads(rng):
    kinds = softmax(4 * rng.normal(size=(3, 1, 1, 5, 7)))
    near = [kind * 0.97 + 0.03 * softmax(rng.normal(size=(2, 2, 5, 7))) for kind in kinds]
    maps = ats.AttentionMaps.from_arrays(
        {"a": np.concatenate([near[0], near[1]], 1), "b": np.concatenate([near[2], near[0]], 1)}
    )
    found = ats.analysis.head_clusters(ats.analysis.head_distance(maps), number=3)
    assert as_sets(found.cluster.values) == {frozenset({0, 1, 6, 7}), frozenset({2, 3}), frozenset({4, 5})}
    assert found.head_site.values.tolist() == ["a"] * 4 + ["b"] * 4


def test_what_cannot_be_clustered_is_refused(rng):
    array = distances(rng)
    with pytest.raises(InputError) as caught:
        ats.analysis.head_clusters(array)
    assert str(caught.value) == (
        "number=None, within=None and linkage='average' were given, but exactly one of number and within, and the "
        "linkage 'average', 'complete' or 'single', are needed: head_clusters(distance, number=4)."
    )
    with pytest.raises(InputError) as caught:
        ats.analysis.head_clusters(array, number=8)
    assert str(caught.value) == (
        "number=8 and within=None were given, but there are 7 heads, so a number within 1 to 7, or a distance of 0 or "
        "more, is needed: head_clusters(distance, number=4)."
    )
    array[2, 3] = np.nan
    with pytest.raises(SchemaError) as caught:
        ats.analysis.head_clusters(array, number=2)
    assert str(caught.value) == (
        "An array with dimensions ('head', 'head_other') and shape (7, 7) was given, but distances ('head', "
        "'head_other') between two or more heads are needed: symmetric, 0 or more, 0 on the diagonal, without NaN. "
        "Compute them: head_distance(maps)."
    )


def test_without_scipy_the_rest_works_and_these_say_what_to_install():
    script = """
import sys
sys.modules["scipy"] = None
import numpy as np, xarray as xr
import attnscope as ats
maps = ats.AttentionMaps.from_arrays([np.full((1, 2, 3, 3), 1 / 3)])
ats.analysis.heads(maps), ats.analysis.rollout(maps)
said = set()
far = ats.analysis.head_distance(maps)
for call in (lambda: ats.analysis.flow(maps), lambda: ats.analysis.head_clusters(far, number=1)):
    try:
        call()
    except ats.errors.NotInstalledError as error:
        said.add(str(error))
assert said == {
    "ats.analysis.flow and head_clusters need SciPy, which is not installed. Install it: "
    'pip install "attnscope[analysis]".'
}, said
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=False).returncode == 0
