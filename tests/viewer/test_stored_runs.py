"""The viewer and the report of stored runs of which not all was kept: codes of one byte, and summaries alone."""

import keras
import numpy as np
import pytest

import attnscope as ats
from attnscope.pages import report
from attnscope.viewer._payload import Payload
from attnscope.viewer._server import payload_of
from viewer_blocks import read_map

SAMPLES, HEADS, LENGTH = 3, 2, 7


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    x = keras.Input((LENGTH, 6))
    y = keras.layers.MultiHeadAttention(HEADS, 3, name="first")(4 * x, x)
    return keras.Model(x, keras.layers.MultiHeadAttention(HEADS, 3, name="second")(y, 4 * x))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(SAMPLES, LENGTH, 6)).astype("float32")


@pytest.fixture(scope="module")
def truth(model, x):
    return ats.capture(model, x)


def stored(model, x, path, **options):
    ats.capture(model, x, store=path / "run.zarr", **options)
    return path / "run.zarr"


def test_of_the_strongest_alone_the_rest_is_not_known_and_never_0(model, x, truth, tmp_path):
    path = stored(model, x, tmp_path, summaries=[ats.TopK(2)])
    payload = payload_of(path)
    assert payload.manifest["notes"][-1] == (
        "No whole maps were captured: shown is the strongest weights of each query (the others are not known, and "
        "hatched)."
    )
    assert [site["panels"] for site in payload.manifest["sites"]] == [["head 0", "head 1"]] * 2
    for head, shown in enumerate(payload.maps(1, 0)):
        scores = truth["first"].values[1, head]
        for query in range(LENGTH):
            keys = np.argsort(-scores[query])[:2]
            assert sorted(np.flatnonzero(~shown.masked[query])) == sorted(keys)
            np.testing.assert_allclose(shown.values[query, keys], scores[query, keys], atol=1e-6)
        assert np.isnan(shown.received).all()
    assert payload.block("map/1/0/1") and payload.block("thumbnails/2")
    page = report(ats.open(path))
    assert "top_scores and top_keys are in the data but not drawn" in page


def test_a_query_of_which_all_weights_are_known_has_zeros(tmp_path):
    scores = np.zeros((1, 1, 3, 5), "float32")
    scores[0, 0, :, 1], scores[0, 0, :, 4] = 0.75, 0.25
    maps = ats.AttentionMaps.from_arrays({"mha": scores})
    dataset = maps.dataset("mha")
    top = dataset.drop_vars("scores").assign(
        top_scores=(("sample", "head", "query", "rank"), np.sort(scores)[..., :1:-1]),
        top_keys=(("sample", "head", "query", "rank"), np.broadcast_to(np.array([1, 4, -1]), (1, 1, 3, 3))),
    )
    (shown,) = Payload({"": ats.AttentionMaps({"mha": top})}, [0], "").maps(0, 0)
    np.testing.assert_array_equal(shown.values, scores[0, 0])
    assert not shown.masked.any()


@pytest.mark.parametrize(
    ("summaries", "said"),
    [
        ([ats.HeadMean()], "No whole maps were captured: shown is the mean over the heads."),
        ([ats.Received()], "No whole maps were captured: shown is what each key receives, over all queries."),
        ([ats.TopK(3), ats.Received()], "No whole maps were captured: shown is the strongest weights of each query "
         "(the others are not known, and hatched)."),
        ([ats.Full()], "Scores are kept as uint8: off by 0.004 at most."),
    ],
    ids=["mean", "received", "strongest and received", "uint8"],
)  # fmt: skip
def test_whatever_was_kept_is_shown_and_said(model, x, truth, tmp_path, summaries, said):
    path = stored(model, x, tmp_path, summaries=summaries, codes="uint8")
    payload = payload_of(path)
    assert said in payload.manifest["notes"]
    shown = payload.maps(2, 1)
    scores = truth["second"].values[2]
    received = scores.mean(1)
    for head, one in enumerate(shown):
        name = type(summaries[0]).__name__
        if name == "HeadMean":
            np.testing.assert_allclose(one.values, scores.mean(0), atol=1e-6)
        elif name == "Received":
            np.testing.assert_allclose(one.values[0], received[head], atol=1e-6)
        elif name == "TopK":
            np.testing.assert_allclose(one.received, received[head], atol=1e-6)
        else:
            np.testing.assert_allclose(one.values, scores[head], atol=4e-3)
        assert read_map(payload.block(f"map/2/1/{head}"))
    assert "<h2>" in report(ats.open(path))


def test_what_cannot_be_drawn_is_said_and_the_rest_is_shown(model, x, truth, tmp_path):
    entropy = ats.capture(model, x, summaries=[ats.Entropy()])
    both = ats.AttentionMaps({"first": truth.dataset("first"), "second": entropy.dataset("second")})
    payload = payload_of(both.save(tmp_path / "run.zarr"))
    assert [site["name"] for site in payload.manifest["sites"]] == ["first"]
    assert payload.manifest["notes"][-1] == (
        "1 of 2 sites are not shown, since nothing that can be drawn was captured there. Capture it: "
        "ats.capture(model, inputs, summaries=[ats.Full()])."
    )
    with pytest.raises(ats.errors.SchemaError) as caught:
        assert payload_of(entropy.save(tmp_path / "entropy.zarr")).manifest
    assert str(caught.value) == (
        "Of 'first' only ['entropy'] was captured, but the viewer draws scores, their mean over the heads, the "
        "strongest of them, or what each key receives. Capture them: ats.capture(model, inputs, "
        "summaries=[ats.Full()])."
    )
    apart = report(ats.capture(model, x, summaries=[ats.Distance(), ats.Thumbnail(3), ats.Rows([0, 3])]))
    assert "<h3>Mean distance over 3 samples" in apart
    assert (
        "thumbnail_mean, thumbnail_max and rows are in the data but not drawn: this page draws what belongs to "
        "positions, all queries or all keys."
    ) in apart
