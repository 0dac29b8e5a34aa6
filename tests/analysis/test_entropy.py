"""Entropy and confidence against closed forms and plain loops."""

import math

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from analysis_maps import per_row, scores
from attnscope.errors import LabelError, SchemaError

DIMS = ("sample", "head", "query", "key")


@pytest.mark.parametrize("size", [2, 7, 8])
def test_keys_that_are_all_alike_give_log2_of_their_number_and_one_key_gives_0(size):
    even = xr.DataArray(np.full((1, 1, 3, size), 1 / size), dims=DIMS)
    np.testing.assert_allclose(ats.analysis.entropy(even), math.log2(size), rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.entropy(even, relative=True), 1, rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.confidence(even), 1 / size, rtol=1e-12)
    sharp = xr.DataArray(np.eye(size)[None, None], dims=DIMS)
    assert ats.analysis.entropy(sharp).values.tolist() == [[[0.0] * size]]
    assert ats.analysis.entropy(sharp, relative=True).values.tolist() == [[[0.0] * size]]
    assert ats.analysis.confidence(sharp).item() == 1


def bits(weights):
    return -sum(weight * math.log2(weight) for weight in weights if weight > 0)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_entropy_agrees_with_a_loop_and_counts_the_keys_there_are_to_choose_from(rng, causal, left):
    array, lengths = scores(rng, causal=causal, left=left), (7, 5, 2)
    found = ats.analysis.entropy(array)
    assert found.dims == DIMS[:-1]
    assert found.attrs["units"] == "bit"
    np.testing.assert_allclose(found, per_row(array, lambda s, q, w: bits(w)), rtol=1e-12, atol=1e-15)

    def share(sample, query, weights):
        first = 7 - lengths[sample] if left else 0
        number = query - first + 1 if causal else lengths[sample]
        return bits(weights) / math.log2(number) if number > 1 else math.nan

    found = ats.analysis.entropy(array, relative=True)
    np.testing.assert_allclose(found, per_row(array, share), rtol=1e-12, atol=1e-15)
    assert float(found.max()) <= 1


def test_padding_that_gets_weight_counts_among_the_keys():
    row = xr.DataArray([[0.5, 0.25, 0.25, 0.0]], dims=("query", "key"))
    marked = row.assign_coords(key_valid=("key", [True, True, False, False]))
    assert ats.analysis.entropy(marked).item() == 1.5
    assert ats.analysis.entropy(marked, relative=True).item() == 1.5 / math.log2(3)


def test_a_query_that_attends_to_nothing_has_no_entropy_and_no_part_in_the_confidence():
    rows = xr.DataArray([[[0.0, 0.0, 0.0], [0.5, 0.25, 0.25]]], dims=("head", "query", "key"))
    np.testing.assert_array_equal(ats.analysis.entropy(rows), [[np.nan, 1.5]])
    assert ats.analysis.confidence(rows).item() == 0.5
    assert np.isnan(ats.analysis.confidence(rows.isel(query=[0])).item())


def test_nan_in_one_row_is_the_entropy_of_that_row_and_the_confidence_of_its_head():
    rows = xr.DataArray([[[np.nan, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]]], dims=("head", "query", "key"))
    np.testing.assert_array_equal(ats.analysis.entropy(rows), [[np.nan, 1], [0, 1]])
    np.testing.assert_array_equal(ats.analysis.confidence(rows), [np.nan, 0.75])
    padded = rows.assign_coords(query_valid=("query", [False, True]))
    np.testing.assert_array_equal(ats.analysis.confidence(padded), [0.5, 0.5])


def test_keys_of_two_axes_and_sites_that_pool(rng):
    values = rng.dirichlet(np.ones(15), size=(2, 3, 5)).reshape(2, 3, 5, 3, 5)
    array = xr.DataArray(values, dims=("sample", "query_0", "query_1", "key_0", "key_1"))
    found = ats.analysis.entropy(array)
    assert found.dims == ("sample", "query_0", "query_1")
    np.testing.assert_allclose(found[1, 2, 4], bits(values[1, 2, 4].ravel().tolist()), rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.confidence(array), values.max((-2, -1)).mean((1, 2)), rtol=1e-12)
    pooled = xr.DataArray(values[:, 0, 0, 0], dims=("sample", "key"))
    np.testing.assert_allclose(ats.analysis.entropy(pooled)[1], bits(values[1, 0, 0, 0].tolist()), rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.confidence(pooled), values[:, 0, 0, 0].max(-1))


def test_confidence_is_the_mean_of_the_largest_weights_without_what_is_left_out(rng):
    names = ["[CLS]", "a", "b", "</s>", "c", "</s>", "d"]
    array, lengths = scores(rng, labels=names), (7, 5, 2)
    expected, without = np.zeros((3, 3)), np.zeros((3, 3))
    for sample, length in enumerate(lengths):
        for head in range(3):
            rows = array.values[sample, head, :length]
            expected[sample, head] = sum(max(row) for row in rows) / length
            kept = [q for q in range(length) if names[q] != "</s>"]
            largest = [max(row[k] for k in range(7) if names[k] != "</s>") for row in rows[kept]]
            without[sample, head] = sum(largest) / len(kept)
    np.testing.assert_allclose(ats.analysis.confidence(array), expected, rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.confidence(array, leave_out=["</s>"]), without, rtol=1e-12)
    np.testing.assert_allclose(ats.analysis.confidence(array, leave_out=ats.analysis.SEPARATORS), without, rtol=1e-12)
    with pytest.raises(LabelError) as caught:
        ats.analysis.confidence(scores(rng), leave_out=["</s>"])
    assert str(caught.value) == (
        "Tokens are selected by name ('</s>'), but the positions of 'key' have no names. Give them names: "
        "ats.capture(model, inputs, labels=tokens)."
    )


def test_the_coordinates_of_what_remains_stay(rng):
    array = scores(rng, labels=list("abcdefg")).assign_coords(head=[4, 5, 9])
    found = ats.analysis.entropy(array)
    assert found.query_label.values.tolist() == list("abcdefg")
    assert found["head"].values.tolist() == [4, 5, 9]
    assert "key_label" not in found.coords
    assert set(ats.analysis.confidence(array).coords) == {"head"}


def test_scores_without_keys_are_refused():
    with pytest.raises(SchemaError) as caught:
        ats.analysis.entropy(xr.DataArray(np.ones((3, 3)), dims=("query", "source")))
    assert str(caught.value) == (
        "Scores have dimensions ('query', 'source') with shape (3, 3), but 'key' is needed here. If an axis goes by "
        "another name, rename it: scores.rename({'source': 'key'})."
    )


def test_float16_is_summed_in_float64():
    row = xr.DataArray(np.full((1, 4096), 1 / 4096, np.float16), dims=("query", "key"))
    assert ats.analysis.entropy(row).dtype == np.float64
    assert ats.analysis.entropy(row).item() == 12.0
