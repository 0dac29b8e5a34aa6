"""Scores that were kept in part, or in fewer bytes, are drawn, and what they are is said."""

import json

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.kept_scores import kept_in_words, with_scores
from attnscope.pages import report
from attnscope.viewer._server import payload_of
from models import padded_tokens, transformer


@pytest.fixture
def model_and_inputs(rng):
    return transformer(), padded_tokens(rng, samples=5)


def test_the_strongest_scores_lie_where_their_keys_are(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    whole = ats.capture(model, x)["attention_0"].values
    ats.capture(model, x, summaries=[ats.TopK(3), ats.Entropy()], store=tmp_path / "run.zarr", codes="exact")
    dataset = with_scores(ats.open(tmp_path / "run.zarr").dataset("attention_0"))
    assert list(dataset.data_vars) == ["scores", "top_scores", "top_keys", "entropy"]
    third = np.sort(whole, -1)[..., -3:-2]
    np.testing.assert_array_equal(dataset["scores"], np.where(whole >= third, whole, 0))
    part = dataset["scores"].isel(sample=3, query=slice(1, 6, 2), key=[6, 0, 2])
    np.testing.assert_array_equal(part, dataset["scores"].values[3][:, 1:6:2][..., [6, 0, 2]])
    assert dataset["scores"].attrs["units"] == "1"


def test_keys_of_two_dims_and_ranks_without_a_key():
    sizes = {"dims": json.dumps(["sample", "query", "key_0", "key_1"]), "shape": json.dumps([2, 3, 2, 5])}
    scores = np.array([[[0.6, 0.4], [1.0, 0.0], [np.nan, np.nan]], [[0.5, 0.5], [0.7, 0.3], [0.9, 0.1]]], "float32")
    keys = np.array([[[7, 2], [0, -1], [-1, -1]], [[9, 8], [1, 2], [3, 4]]], "int32")
    dims = ("sample", "query", "rank")
    dataset = with_scores(xr.Dataset({"top_scores": (dims, scores), "top_keys": (dims, keys)}, attrs=sizes))
    expected = np.zeros((2, 3, 10), "float32")
    expected[0, 2] = np.nan
    for sample, query, rank in np.ndindex(2, 3, 2):
        if keys[sample, query, rank] >= 0:
            expected[sample, query, keys[sample, query, rank]] = scores[sample, query, rank]
    np.testing.assert_array_equal(dataset["scores"], expected.reshape(2, 3, 2, 5))


def test_viewer_and_report_open_the_strongest_alone_and_say_so(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    ats.capture(model, x, summaries=[ats.TopK(3)], store=tmp_path / "run.zarr")
    said = "Only the 3 strongest scores of each query were captured: all others are drawn as 0."
    payload = payload_of(tmp_path / "run.zarr")
    assert payload.manifest["notes"] == [said]
    assert [site["kind"] for site in payload.manifest["sites"]] == ["fused", "fused"]  # no rollout of what is not known
    page = report(ats.open(tmp_path / "run.zarr"))
    assert page.count(said) == 2
    assert page.count("<h3>Mean scores over 5 samples</h3>") == 2
    assert "not drawn" not in page


def test_viewer_and_report_say_how_scores_are_stored_and_the_lint_knows_it(rng, tmp_path):
    scores = np.exp(2 * rng.normal(size=(3, 2, 60, 60))).astype("float32")
    scores /= scores.sum(-1, keepdims=True)
    maps = ats.AttentionMaps.from_arrays({"mha": scores, "other": np.tile(scores[:1], (3, 1, 1, 1))})
    maps.save(tmp_path / "run.zarr", codes="uint8")
    opened = ats.open(tmp_path / "run.zarr")
    said = "Scores come from a store that keeps them as uint8: off by 0.004 at most."
    assert said in payload_of(tmp_path / "run.zarr").manifest["notes"]
    assert report(opened).count(said) == 2
    assert [finding.kind for finding in maps.findings] == ["constant"]
    assert [finding.kind for finding in opened.findings] == ["constant"]
    wrong = ats.AttentionMaps.from_arrays({"mha": 1.1 * scores}).save(tmp_path / "wrong.zarr", codes="uint8")
    assert [finding.kind for finding in ats.open(wrong).findings] == ["row_sum"]


def test_what_some_sites_keep_is_said_of_them():
    stored = xr.Dataset({"scores": ("key", [1.0], {"codes": "float16", "worst_error": 2.5e-4})})
    assert list(kept_in_words([stored, xr.Dataset({"scores": ("key", [1.0])})])) == [
        "At 1 of 2 sites: scores come from a store that keeps them as float16: off by 0.00025 at most."
    ]
