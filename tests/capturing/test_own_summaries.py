"""The interface of summaries: whole maps and rows, one value per query, carries that are merged, and their errors."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.backends import current
from attnscope.cli import main
from attnscope.interception import Block, Layout

HEADS, LENGTH, SAMPLES = 3, 13, 5


@pytest.fixture(scope="module")
def captured():
    """A model, its data and its whole maps."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((LENGTH, 7))
    model = keras.Model(inputs, layers.MultiHeadAttention(HEADS, 5, name="mha")(inputs, inputs))
    data = np.random.default_rng(3).normal(size=(SAMPLES, LENGTH, 7)).astype("float32")
    return model, data, ats.capture(model, data, progress=False)["mha"].values


def summarised(captured, *summaries):
    model, data, _ = captured
    return ats.capture(model, data, summaries=list(summaries), progress=False)


@pytest.mark.every_backend
def test_full_maps_may_be_kept_in_half_precision(captured):
    maps = summarised(captured, ats.Full(dtype="float16"))
    assert maps["mha"].dtype == np.float16
    np.testing.assert_array_equal(maps["mha"], captured[2].astype("float16"))
    assert maps["mha"].attrs["worst_error"] == 2.5e-4
    assert abs(maps["mha"].values.astype("float64") - captured[2]).max() < 2.5e-4
    assert [finding.kind for finding in maps.findings] == []


def test_full_maps_in_single_precision_are_not_rounded(captured):
    maps = summarised(captured, ats.Full(dtype="float32"))
    np.testing.assert_array_equal(maps["mha"], captured[2])
    assert "worst_error" not in maps["mha"].attrs


@pytest.mark.every_backend
@pytest.mark.parametrize("summary", [ats.Full(rows=[4, -1, 4]), ats.Rows((4, -1, 4))], ids=["Full", "Rows"])
def test_full_maps_of_some_rows_are_rows(captured, monkeypatch, summary):
    monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 1)
    maps = summarised(captured, summary)
    assert maps["mha"].name == "rows"
    assert maps["mha"].dims == ("sample", "head", "chosen_query", "key")
    np.testing.assert_allclose(maps["mha"], captured[2][:, :, [4, 12, 4]], atol=1e-6)


def test_rows_may_be_kept_in_half_precision_too(captured):
    rows = summarised(captured, ats.Rows(np.array([2]), dtype="float16"))["mha"]
    assert rows.dtype == np.float16
    np.testing.assert_allclose(rows[:, :, 0], captured[2][:, :, 2], atol=2.5e-4)


class Doubled(ats.PerQuery):
    variable = "doubled"

    def values(self, block):
        return 2 * ops.max(block.scores, axis=-1)


@pytest.mark.every_backend
def test_a_summary_of_one_value_per_query_says_only_its_values(captured, monkeypatch):
    monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 1)
    found = summarised(captured, Doubled())["mha"]
    assert found.name == "doubled"
    assert found.dims == ("sample", "head", "query")
    np.testing.assert_allclose(found, 2 * captured[2].max(-1), atol=1e-6)


def of_parts(summary, scores, cuts):
    """The variables of a summary whose blocks are read apart, each from the start, and then merged."""
    layout = Layout(
        tuple(((dim, size),) for dim, size in zip(("sample", "head", "query", "key"), scores.shape, strict=True)),
        ("sample", "head", "query", "key"),
    )
    carries, values = [], []
    for start, stop in zip((0, *cuts), (*cuts, scores.shape[2]), strict=True):
        block = Block(ops.convert_to_tensor(scores[:, :, start:stop]), None, start, layout)
        carry, per_query = summary.update(summary.init(layout), block)
        carries.append(carry)
        values.append(per_query)
    carry = carries[0]
    for other in carries[1:]:
        carry = summary.merge(carry, other)
    joined = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=-1), *values)
    return {name: ops.convert_to_numpy(array) for name, array in summary.finish(carry, joined).items()}


@pytest.mark.parametrize(
    "summary",
    [ats.Received(), ats.Entropy(), ats.TopK(3), ats.Thumbnail(4), ats.Rows([0, 12, 5]), ats.Distance()],
    ids=lambda summary: type(summary).__name__,
)
def test_queries_that_are_read_apart_are_merged(captured, summary):
    apart, together = (of_parts(summary, captured[2], cuts) for cuts in ((5, 7), ()))
    assert list(apart) == list(summary.missing)
    for name, array in together.items():
        np.testing.assert_allclose(apart[name], array, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ats.Rows("ab"),
            "queries is 'ab', but the positions of one or more queries are needed: Rows([0]).",
        ),
        (lambda: ats.Rows(1.5), "queries is 1.5, but the positions of one or more queries are needed: Rows([0])."),
        (
            lambda: ats.Full(rows=[True]),
            "rows is [True], but the positions of one or more queries are needed: Full(rows=[0]).",
        ),
        (
            lambda: ats.Full(dtype="int8"),
            "dtype is 'int8', but one of float16, float32 is needed: Full(dtype='float16').",
        ),
    ],
    ids=["letters", "half a query", "no number", "another dtype"],
)
def test_wrong_settings_are_said_at_once(make, message):
    with pytest.raises(ats.errors.InputError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("summary", "example"), [(ats.Rows([0, 13]), "Rows([0])"), (ats.Full(rows=[0, 13]), "Full(rows=[0])")]
)
def test_a_query_that_a_site_does_not_have_is_named_with_the_site(captured, summary, example):
    with pytest.raises(ats.errors.InputError) as caught:
        summarised(captured, summary)
    assert str(caught.value) == (
        "The rows of the queries [0, 13] are asked for, but the site 'mha' has 13 of them, so 13 is none. Choose from "
        f"0 to 12, or from -13 to -1 counted from the end, or other sites: {example}, sites='encoder*'."
    )


def test_how_a_store_keeps_whole_maps_is_said_once(captured, tmp_path):
    model, data, _ = captured
    with pytest.raises(ats.errors.InputError) as caught:
        ats.capture(model, data, summaries=[ats.Full(dtype="float16")], store=tmp_path / "run.zarr")
    assert str(caught.value) == (
        "Full(dtype='float16') was given with a store, where codes= says how whole maps are kept. Say it there: "
        "capture(..., summaries=[ats.Full()], store='run.zarr', codes='float16')."
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "topj:3",
            "The summary is 'topj:3', but it must be one of full, received, entropy, topk, thumbnail, rows, distance, "
            "headmean, some with numbers: topk:8, thumbnail:64, rows:0. Choose some: --summaries "
            "entropy,received,topk:8.",
        ),
        ("topk:0", "The summary is 'topk:0', but topk takes one whole number of keys, at least 1: --summaries topk:8."),
        (
            "thumbnail:big",
            "The summary is 'thumbnail:big', but thumbnail takes one whole number of bins, at least 1: --summaries "
            "thumbnail:64.",
        ),
        (
            "topk:3:4",
            "The summary is 'topk:3:4', but topk takes one whole number of keys, at least 1: --summaries topk:8.",
        ),
        (
            "rows:first",
            "The summary is 'rows:first', but rows takes whole numbers, the positions of queries: --summaries "
            "rows:0:-1.",
        ),
        ("entropy:2", "The summary is 'entropy:2', but entropy takes no number: --summaries entropy."),
        (",", "The summaries are ',', but at least one is needed: --summaries entropy."),
    ],
    ids=lambda text: text.partition(" ")[0],
)
def test_a_wrong_summary_on_the_command_line_is_said_before_a_model_is_read(tmp_path, capsys, word, message):
    np.save(tmp_path / "data.npy", np.ones((2, 3), "float32"))
    files = [str(tmp_path / name) for name in ("model.keras", "data.npy", "run.zarr")]
    assert main(["capture", files[0], files[1], "-o", files[2], "--summaries", word]) == 2
    assert " ".join(capsys.readouterr().err.split()) == f"attnscope: {message}"


def test_scores_that_half_precision_cannot_hold_with_its_error_are_refused():
    inputs = keras.Input((3, 3))
    model = keras.Model(inputs, layers.Identity(name="weights")(inputs))
    declaration = ats.declare("weights", dims=("sample", "query", "key"))
    try:
        with pytest.raises(ats.errors.InputError) as caught:
            ats.capture(model, np.full((2, 3, 3), 3.0, "float32"), summaries=[ats.Full(dtype="float16")])
    finally:
        ats.undeclare(declaration)
    assert str(caught.value) == (
        "Some scores at 'weights' are below -1, above 1 or not finite, but Full(dtype='float16') keeps its stated "
        "error only from -1 to 1. Keep them as they are: summaries=[ats.Full()]."
    )
