"""Mean attention distance in tokens and in patches, against plain loops."""

import math

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from analysis_maps import per_row, scores, softmax
from attnscope.errors import InputError, LabelError, SchemaError


def test_distance_in_tokens_agrees_with_a_loop(rng):
    array = scores(rng)
    found = ats.analysis.mean_distance(array)
    assert found.attrs["units"] == "tokens"
    expected = per_row(array, lambda s, q, w: sum(weight * abs(q - k) for k, weight in enumerate(w)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("offset", [1, 2])
def test_a_head_that_looks_n_positions_back_has_distance_n(offset):
    back = xr.DataArray(np.eye(7, k=-offset), dims=("query", "key"))
    assert ats.analysis.mean_distance(back).values.tolist()[offset:] == [offset] * (7 - offset)
    assert np.isnan(ats.analysis.mean_distance(back).values[:offset]).all()


def test_weight_on_padding_and_learned_sinks_has_no_distance():
    row = xr.DataArray([[0.2, 0.2, 0.2, 0.4]], dims=("query", "key"))
    two = xr.concat([row, row, row], dim="query")
    marked = two.assign_coords(key_valid=("key", [True, True, False, True])).assign_attrs(sinks=1)
    np.testing.assert_allclose(ats.analysis.mean_distance(marked), [0.5, 0.5, 1.5])
    np.testing.assert_allclose(ats.analysis.mean_distance(two.assign_attrs(sinks=1)), [1.0, 2 / 3, 1.0])


def test_tokens_that_are_left_out_are_neither_queries_nor_keys(rng):
    names = ["[CLS]", "a", "b", "[SEP]", "c", "[SEP]", "d"]
    array = scores(rng, labels=names)
    found = ats.analysis.mean_distance(array, leave_out=["[CLS]", "[SEP]"])

    def loop(sample, query, weights):
        kept = [k for k in range(7) if not names[k].startswith("[")]
        if query not in kept:
            return math.nan
        return sum(weights[k] * abs(query - k) for k in kept) / sum(weights[k] for k in kept)

    np.testing.assert_allclose(found, per_row(array, loop), rtol=1e-12)


def vision(rng, samples=2, heads=3, rows=2, columns=5, prefix=("[CLS]", "[REG]")):
    size = rows * columns + len(prefix)
    values = softmax(rng.normal(size=(samples, heads, size, size)))
    maps = ats.AttentionMaps.from_arrays({"a": values}, labels=ats.labels.patches(rows, columns, prefix=prefix))
    return maps["a"]


@pytest.mark.parametrize("grid", [(2, 5), "labels"])
@pytest.mark.parametrize("renormalise", [True, False])
def test_distance_in_patches_is_euclidean_and_leaves_out_class_and_register_tokens(rng, grid, renormalise):
    array = vision(rng)
    found = ats.analysis.mean_distance(array, grid=grid, renormalise=renormalise)
    assert found.attrs["units"] == "patches"
    places = {2 + row * 5 + column: (row, column) for row in range(2) for column in range(5)}
    expected = np.full((2, 3, 12), np.nan)
    for sample, head, query in np.ndindex(2, 3, 12):
        if query in places:
            weights = array.values[sample, head, query]
            far = sum(weights[k] * math.dist(places[query], place) for k, place in places.items())
            expected[sample, head, query] = far / (sum(weights[k] for k in places) if renormalise else 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_site_over_two_axes_knows_its_own_grid(rng):
    values = softmax(rng.normal(size=(2, 15, 15))).reshape(2, 3, 5, 3, 5)
    array = xr.DataArray(values, dims=("sample", "query_0", "query_1", "key_0", "key_1"))
    found = ats.analysis.mean_distance(array)
    assert found.dims == ("sample", "query_0", "query_1")
    assert found.attrs["units"] == "patches"
    for sample, row, column in np.ndindex(2, 3, 5):
        far = sum(values[sample, row, column, r, c] * math.dist((row, column), (r, c)) for r, c in np.ndindex(3, 5))
        np.testing.assert_allclose(found[sample, row, column], far, rtol=1e-12)


def test_attention_across_sequences_has_no_distance(rng):
    cross = xr.DataArray(softmax(rng.normal(size=(2, 3, 5))), dims=("head", "query", "key"))
    with pytest.raises(SchemaError) as caught:
        ats.analysis.mean_distance(cross)
    assert str(caught.value) == (
        "Scores have dimensions ('head', 'query', 'key') with shape (2, 3, 5), and by their sizes or labels, query and "
        "key do not number the same positions, but a distance between positions requires self-attention. Choose such a "
        "site: maps['encoder_0/mha']."
    )
    alike = xr.DataArray(softmax(rng.normal(size=(3, 3))), dims=("query", "key"))
    named = alike.assign_coords(query_label=("query", ["le", "chat", "noir"]), key_label=("key", ["a", "cat", "is"]))
    with pytest.raises(SchemaError, match="by their sizes or labels"):
        ats.analysis.mean_distance(named)
    with pytest.raises(SchemaError) as caught:
        uneven = xr.DataArray(np.ones((3, 5, 3, 2)) / 6, dims=("query_0", "query_1", "key_0", "key_1"))
        ats.analysis.mean_distance(uneven)
    assert str(caught.value) == (
        "Scores have dimensions ('query_0', 'query_1', 'key_0', 'key_1') with shape (3, 5, 3, 2), but a distance needs "
        "as many queries as keys along each axis, and 'query_1' has 5, whereas 'key_1' has 2. Choose self-attention: "
        "maps['encoder_0/mha']."
    )


def test_a_grid_that_cannot_be_is_refused(rng):
    array = vision(rng)
    with pytest.raises(InputError) as caught:
        ats.analysis.mean_distance(array, grid=(7, 7))
    assert str(caught.value) == (
        "A grid of 7 x 7 has 49 patches, but there are only 12 positions. Give the rows and columns of the patches: "
        "mean_distance(scores, grid=(14, 14))."
    )
    with pytest.raises(LabelError) as caught:
        ats.analysis.mean_distance(scores(rng), grid="labels")
    assert str(caught.value) == (
        "The labels of the positions describe no grid of patches, but grid='labels' needs one. Make such labels: "
        "labels=ats.labels.patches(14, 14, prefix=['[CLS]']); or give the grid: grid=(14, 14)."
    )
