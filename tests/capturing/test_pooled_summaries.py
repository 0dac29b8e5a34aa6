"""Thumbnails, chosen rows, distances and means over heads equal those of the whole map."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.backends import current
from models import padded_tokens

pytestmark = pytest.mark.every_backend

LENGTH, HEADS = 37, 3


@pytest.fixture(scope="module")
def captured():
    """A padded model's whole maps, and the summaries of a run in many tiles."""
    rng = np.random.default_rng(5)
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(13, 10, mask_zero=True, embeddings_initializer="normal")(tokens)
    model = keras.Model(tokens, layers.MultiHeadAttention(HEADS, 5, name="mha")(x, x))
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32")))
    inputs = padded_tokens(rng, samples=5, length=LENGTH)
    inputs[3] = 0
    full = ats.capture(model, inputs, progress=False)
    summaries = [ats.Thumbnail(7), ats.Rows([0, -1, 17]), ats.Distance(), ats.HeadMean()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(current(), "tile_bytes", lambda tensor: 1)
        streamed = ats.capture(model, inputs, summaries=summaries, progress=False)
    return full["mha"].values.astype("float64"), full["mha"].query_valid.values, streamed


def test_a_thumbnail_has_mean_and_maximum_of_each_bin(captured):
    scores, valid, streamed = captured
    width = 6  # the least that makes no more than 7 bins of 37 positions
    for name, pool in (("thumbnail_mean", np.mean), ("thumbnail_max", np.max)):
        found = streamed.select(name)["mha"]
        assert found.dims == ("sample", "head", "thumbnail_query", "thumbnail_key")
        assert found.shape == (5, HEADS, 7, 7)
        for sample, head, row, column in np.ndindex(found.shape):
            queries = [q for q in range(row * width, min(LENGTH, (row + 1) * width)) if valid[sample, q]]
            cells = scores[sample, head, queries, column * width : (column + 1) * width]
            expected = pool(cells) if queries else np.nan
            np.testing.assert_allclose(found.values[sample, head, row, column], expected, atol=1e-6)


def test_chosen_rows_are_those_of_the_full_map(captured):
    scores, _, streamed = captured
    found = streamed.select("rows")["mha"]
    assert found.dims == ("sample", "head", "chosen_query", "key")
    np.testing.assert_allclose(found, scores[:, :, [0, LENGTH - 1, 17]], atol=1e-6)


def test_the_distance_is_the_mean_of_how_far_each_weight_is_away(captured):
    scores, valid, streamed = captured
    found = streamed.select("distance")["mha"]
    assert found.dims == ("sample", "head", "query")
    apart = abs(np.arange(LENGTH)[:, None] - np.arange(LENGTH))
    expected = np.where(valid[:, None], (scores * apart).sum(-1), np.nan)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_mean_over_the_heads_is_that_of_the_full_map(captured):
    scores, _, streamed = captured
    found = streamed.select("head_mean")["mha"]
    assert found.dims == ("sample", "query", "key")
    np.testing.assert_allclose(found, scores.mean(1), atol=1e-6)


def test_at_a_softmax_and_at_a_site_that_pools_they_are_the_same(rng):
    inputs = keras.Input((11, 6))
    x = layers.MultiHeadAttention(2, 3, dropout=0.1, name="mha")(inputs, inputs)
    weights = layers.Softmax(axis=1, name="pool")(layers.Dense(1)(x))
    model = keras.Model(inputs, ops.sum(weights * x, axis=1))
    data = rng.normal(size=(3, 11, 6)).astype("float32")
    whole = ats.capture(model, data, progress=False)
    streamed = ats.capture(model, data, summaries=[ats.Thumbnail(4), ats.Rows([0])], progress=False)
    np.testing.assert_allclose(streamed.select("rows")["mha"], whole["mha"][:, :, :1], atol=1e-7)
    np.testing.assert_allclose(streamed.select("rows")["pool"][:, 0], whole["pool"], atol=1e-7)
    means = streamed.select("thumbnail_mean")["pool"]
    expected = np.stack([whole["pool"][:, start : start + 3].mean("key") for start in range(0, 11, 3)], axis=-1)
    np.testing.assert_allclose(means[:, 0], expected, atol=1e-7)


def test_what_cannot_be_summarised_is_said():
    inputs, others = keras.Input((5, 4), name="text"), keras.Input((7, 4), name="picture")
    model = keras.Model([inputs, others], layers.MultiHeadAttention(1, 3, name="mha")(inputs, others))
    data = [np.ones((2, 5, 4), "float32"), np.ones((2, 7, 4), "float32")]
    with pytest.raises(ats.errors.InputError) as caught:
        ats.capture(model, data, summaries=[ats.Distance()])
    assert str(caught.value) == (
        "Distance() needs self-attention over one axis, but the site 'mha' has the dimensions ('sample', 'head', "
        "'query', 'key'), with the queries from axis 1 of input 'text' and the keys from axis 1 of input 'picture'. "
        "Choose other sites: sites='encoder*'."
    )
    with pytest.raises(ats.errors.InputError) as caught:
        ats.Rows([])
    assert str(caught.value) == "queries is [], but the positions of one or more queries are needed: Rows([0])."
