"""The table of all heads: against plain loops, on disk, with ragged heads, padding and NaN."""

import math
import sys

import keras
import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from analysis_maps import scores, softmax
from attnscope.errors import SchemaError
from attnscope.maps import quiet_about_strings
from models import padded_tokens, transformer

LENGTHS = (7, 5, 2)
NAMES = [
    ["[CLS]", "a", "b", "a", "c", "a", "[SEP]"],
    ["[CLS]", "d", "e", "d", "[SEP]", "", ""],
    ["[CLS]", "[SEP]"] + [""] * 5,
]
TABLE = {
    "entropy",
    "relative_entropy",
    "confidence",
    "confidence_without_separators",
    "distance",
    "distance_without_special",
    "distance_patches",
    "mass_self",
    "mass_previous",
    "mass_next",
    "mass_first",
    "mass_separators",
    "mass_padding",
    "mass_sinks",
    "duplicate_token",
    "induction",
}


def maps_of(**arrays):
    datasets = {}
    for name, array in arrays.items():
        sinks = array.attrs.pop("sinks", 0)
        dataset = ats.AttentionMaps.from_arrays({name: array.values}, dims=array.dims).dataset(name)
        datasets[name] = dataset.assign_coords({c: array.coords[c] for c in array.coords}).assign_attrs(sinks=sinks)
    return ats.AttentionMaps(datasets)


def values_of_rows(array):
    """Every metric of every row that counts, by loops: metric -> head -> list."""
    found = {name: [[] for _ in range(array.sizes["head"])] for name in TABLE - {"distance_patches", "mass_sinks"}}
    for sample, length in enumerate(LENGTHS):
        names = NAMES[sample]
        for head in range(array.sizes["head"]):
            for q in range(length):
                w = array.values[sample, head, q]
                put = lambda name, value, head=head: found[name][head].append(value)  # noqa: E731
                entropy = -sum(x * math.log2(x) for x in w if x > 0)
                put("entropy", entropy)
                put("relative_entropy", entropy / math.log2(length))
                put("confidence", max(w))
                put("distance", sum(x * abs(q - k) for k, x in enumerate(w)))
                put("mass_self", w[q])
                put("mass_first", w[0])
                put("mass_padding", sum(w[length:]))
                put("mass_separators", sum(x for k, x in enumerate(w) if names[k] == "[SEP]"))
                if q > 0:
                    put("mass_previous", w[q - 1])
                if q + 1 < length:
                    put("mass_next", w[q + 1])
                if names[q] != "[SEP]":
                    put("confidence_without_separators", max(x for k, x in enumerate(w) if names[k] != "[SEP]"))
                plain = [k for k in range(length) if names[k] not in ("[CLS]", "[SEP]")]
                if q in plain:
                    put("distance_without_special", sum(w[k] * abs(q - k) for k in plain) / sum(w[k] for k in plain))
                again = [k for k in range(q) if names[k] == names[q]]
                behind = [k + 1 for k in again if k + 1 < q]
                if again:
                    put("duplicate_token", sum(w[k] for k in again))
                if behind:
                    put("induction", sum(w[k] for k in behind))
    return found


def test_every_number_is_the_mean_over_the_queries_that_have_one(rng):
    array = scores(rng, LENGTHS, labels=NAMES)
    table = ats.analysis.heads(maps_of(a=array))
    assert set(table.data_vars) == TABLE | {"num_queries", "num_samples"}
    assert all(table[name].dims == ("site", "head") for name in TABLE)
    for name, heads in values_of_rows(array).items():
        for head, rows in enumerate(heads):
            np.testing.assert_allclose(table[name][0, head], sum(rows) / len(rows), rtol=1e-9, atol=1e-12, err_msg=name)
            assert int(table["num_queries"].sel(metric=name, site="a", head=head)) == len(rows), name
    samples = table["num_samples"].sel(site="a", head=0)
    assert int(samples.sel(metric="entropy")) == 3
    assert int(samples.sel(metric="induction")) == 2
    assert np.isnan(table["distance_patches"]).all()
    assert int(samples.sel(metric="distance_patches")) == 0
    assert bool(table.self_attention.sel(site="a"))


def test_it_is_the_mean_of_what_the_single_functions_give(rng):
    array = scores(rng, LENGTHS, labels=NAMES)
    table = ats.analysis.heads(maps_of(a=array)).sel(site="a")
    analysis = ats.analysis
    over = ["sample", "query"]
    np.testing.assert_allclose(table["entropy"], analysis.entropy(array).mean(over))
    np.testing.assert_allclose(table["mass_sinks"], analysis.mass(array, "sinks").mean(over))
    one = array.isel(sample=[0])
    single = analysis.heads(maps_of(a=one)).sel(site="a")
    np.testing.assert_allclose(single["confidence"], analysis.confidence(one)[0])
    np.testing.assert_allclose(single["mass_previous"], analysis.previous_token_score(one)[0])
    np.testing.assert_allclose(single["duplicate_token"], analysis.duplicate_token_score(one)[0])
    np.testing.assert_allclose(single["induction"], analysis.induction_score(one)[0])


def test_a_run_on_disk_is_read_a_few_samples_at_a_time_and_says_the_same(rng, tmp_path, monkeypatch):
    maps = maps_of(a=scores(rng, (7, 5, 2, 6, 3), labels=[*NAMES, *NAMES[:2]]), b=scores(rng, (7, 5, 2, 6, 3)))
    expected = ats.analysis.heads(maps)
    maps.save(tmp_path / "run.zarr")
    room = sys.modules["attnscope.analysis._heads"]
    monkeypatch.setattr(room, "CHUNK_BYTES", 1)
    read = []
    parts = room._parts
    monkeypatch.setattr(room, "_parts", lambda s: (read.append(part.sizes["sample"]) or part for part in parts(s)))
    xr.testing.assert_allclose(ats.analysis.heads(ats.open(tmp_path / "run.zarr")), expected, rtol=1e-12)
    assert read == [1] * 10


def test_sites_with_fewer_heads_are_filled_up_with_nan(rng):
    table = ats.analysis.heads(
        maps_of(a=scores(rng, heads=3), b=scores(rng, heads=2), c=scores(rng).isel(head=0, drop=True))
    )
    assert table.num_heads.values.tolist() == [3, 2, 1]
    assert np.isnan(table["entropy"]).values.tolist() == [[False] * 3, [False, False, True], [False, True, True]]
    assert table["num_queries"].sel(metric="entropy").values.tolist() == [[14] * 3, [14, 14, 0], [14, 0, 0]]


def test_nan_in_a_row_that_counts_is_all_that_is_known_of_its_head(rng):
    array = scores(rng)
    array[0, 1, 4, 2] = np.nan
    array[2, 2, 6, 0] = np.nan  # padding
    table = ats.analysis.heads(maps_of(a=array))
    assert np.isnan(table["entropy"]).values.tolist() == [[False, True, False]]
    assert np.isnan(table["mass_previous"]).values.tolist() == [[False, True, False]]


def test_sites_that_pool_cross_attention_and_unlabelled_maps_have_what_they_can(rng):
    pooled = xr.DataArray(softmax(rng.normal(size=(3, 7))), dims=("sample", "key"))
    cross = xr.DataArray(softmax(rng.normal(size=(3, 2, 5, 7))), dims=("sample", "head", "query", "key"))
    square = xr.DataArray(softmax(rng.normal(size=(3, 2, 7, 7))), dims=("sample", "head", "query", "key"))
    table = ats.analysis.heads(
        maps_of(**{"pool": pooled, "wide": cross, "decoder/cross": square, "own": square.copy()})
    )
    assert table.self_attention.values.tolist() == [False, False, False, True]
    known = {name: [not math.isnan(v) for v in table[name].isel(head=0).values] for name in TABLE}
    assert known["entropy"] == known["confidence"] == known["mass_first"] == [True] * 4
    assert known["mass_sinks"] == [False, True, True, True]
    assert known["mass_self"] == known["distance"] == [False, False, False, True]
    assert known["mass_padding"] == known["mass_separators"] == known["induction"] == [False] * 4
    np.testing.assert_allclose(table["confidence"].sel(site="pool", head=0), pooled.max("key").mean(), rtol=1e-12)


def test_a_grid_in_the_labels_gives_the_distance_in_patches(rng):
    names = ats.labels.patches(2, 3, prefix=["[CLS]"])
    maps = ats.AttentionMaps.from_arrays({"a": softmax(rng.normal(size=(2, 3, 7, 7)))}, labels=names)
    table = ats.analysis.heads(maps)
    expected = ats.analysis.mean_distance(maps["a"], grid=(2, 3)).mean(["sample", "query"])
    np.testing.assert_allclose(table["distance_patches"][0], expected, rtol=1e-12)
    assert table["num_queries"].sel(metric="distance_patches").values.tolist() == [[12, 12, 12]]


def test_windows_and_steps_are_averaged_like_samples(rng):
    array = xr.DataArray(softmax(rng.normal(size=(2, 3, 2, 5, 5))), dims=("sample", "window", "head", "query", "key"))
    table = ats.analysis.heads(maps_of(a=array))
    np.testing.assert_allclose(table["mass_self"][0], np.einsum("swhqq->hq", array.values).mean(-1) / 6, rtol=1e-12)
    assert int(table["num_queries"].sel(metric="mass_self", site="a", head=1)) == 30
    assert int(table["num_samples"].sel(metric="mass_self", site="a", head=1)) == 2


def test_captured_maps_of_a_model_with_padding(rng):
    keras.utils.set_random_seed(3)
    tokens = padded_tokens(rng)
    maps = ats.capture(transformer(), tokens)
    table = ats.analysis.heads(maps)
    assert table["num_queries"].sel(metric="entropy", site="attention_0", head=0) == (tokens != 0).sum()
    np.testing.assert_array_equal(table["mass_padding"].sel(site="attention_0"), 0)
    first = maps["attention_0"].values
    rows = [first[s, 1, q, q] for s in range(len(tokens)) for q in range(7) if tokens[s, q]]
    np.testing.assert_allclose(table["mass_self"].sel(site="attention_0", head=1), np.mean(rows), rtol=1e-6)


def test_the_table_can_be_drawn_and_saved(rng, tmp_path):
    from matplotlib.figure import Figure

    table = ats.analysis.heads(maps_of(a=scores(rng, heads=3), b=scores(rng, heads=2)))
    ax = ats.plot.metrics(table["entropy"], ax=Figure().add_subplot())
    assert "no cell: no such head" in [text.get_text() for text in ax.texts]
    with quiet_about_strings():
        table.to_zarr(tmp_path / "heads.zarr", zarr_format=3, consolidated=False)
        xr.testing.assert_identical(xr.open_zarr(tmp_path / "heads.zarr", consolidated=False).load(), table)


def test_maps_without_scores_are_refused(rng):
    model = transformer()
    maps = ats.capture(model, padded_tokens(rng), summaries=[ats.Received()])
    with pytest.raises(SchemaError) as caught:
        ats.analysis.heads(maps)
    assert str(caught.value) == (
        "'scores' was not captured at 'attention_0', only ['received'], but whole maps are needed here. Capture them: "
        "ats.capture(..., summaries=[ats.Full()])."
    )
    with pytest.raises(SchemaError) as caught:
        ats.analysis.heads(maps, sites=[])
    assert str(caught.value) == "There are no sites to describe. Name some: heads(maps, sites=[...])."
