"""Pages say how the scores of a store are rounded, and the lint does not take that for a fault of the model."""

import numpy as np
import xarray as xr

import attnscope as ats
from attnscope.pages import report
from attnscope.stored_scores import stored_in_words
from attnscope.viewer._server import payload_of


def test_viewer_and_report_say_how_scores_are_stored_and_the_lint_knows_it(rng, tmp_path):
    scores = np.exp(2 * rng.normal(size=(3, 2, 60, 60))).astype("float32")
    scores /= scores.sum(-1, keepdims=True)
    maps = ats.AttentionMaps.from_arrays({"mha": scores, "other": np.tile(scores[:1], (3, 1, 1, 1))})
    maps.save(tmp_path / "run.zarr", codes="uint8")
    opened = ats.open(tmp_path / "run.zarr")
    said = "Scores are kept as uint8: off by 0.004 at most."
    assert said in payload_of(tmp_path / "run.zarr").manifest["notes"]
    assert report(opened).count(said) == 2
    assert [finding.kind for finding in maps.findings] == ["constant"]
    assert [finding.kind for finding in opened.findings] == ["constant"]
    wrong = ats.AttentionMaps.from_arrays({"mha": 1.1 * scores}).save(tmp_path / "wrong.zarr", codes="uint8")
    assert [finding.kind for finding in ats.open(wrong).findings] == ["row_sum"]


def test_what_some_sites_keep_is_said_of_them():
    stored = xr.Dataset({"scores": ("key", [1.0], {"codes": "float16", "worst_error": 2.5e-4})})
    exact = xr.Dataset({"scores": ("key", [1.0])})
    assert list(stored_in_words([stored, exact])) == [
        "At 1 of 2 sites scores are kept as float16: off by 0.00025 at most."
    ]
    assert list(stored_in_words([exact])) == []
