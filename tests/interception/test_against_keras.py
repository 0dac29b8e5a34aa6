"""Where Keras itself returns the scores, attnscope's are the same."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats

pytestmark = pytest.mark.every_backend

TOLERANCE = 1e-6
HAS_WINDOW = "sliding_window" in inspect.signature(layers.MultiHeadAttention.__init__).parameters


def compare(layer, inputs, call, *, site=None):
    """Captures a model of one layer, and asks the layer itself for its scores."""
    symbolic = [keras.Input(array.shape[1:], dtype=str(array.dtype)) for array in inputs]
    model = keras.Model(symbolic, call(layer, symbolic, False))
    maps = ats.capture(model, list(inputs), batch_size=4)
    _, expected = call(layer, [keras.ops.convert_to_tensor(array) for array in inputs], True)
    expected = keras.ops.convert_to_numpy(expected)
    (name,) = maps
    scores = maps[name]
    assert name == (site or layer.name)
    assert scores.shape == expected.shape
    np.testing.assert_allclose(scores.values, expected, atol=TOLERANCE, rtol=0)
    return scores


def floats(rng, *shape):
    return rng.normal(size=shape).astype("float32")


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_over_itself(rng, dropout, masked, causal):
    layer = layers.MultiHeadAttention(3, 5, dropout=dropout, name="mha")
    inputs = [floats(rng, 6, 7, 8)]
    if masked:
        mask = rng.random((6, 7, 7)) < 0.6
        mask[..., 0] = True
        inputs.append(mask)

    def call(layer, given, scores):
        mask = given[1] if masked else None
        return layer(given[0], given[0], attention_mask=mask, use_causal_mask=causal, return_attention_scores=scores)

    scores = compare(layer, inputs, call)
    assert scores.dims == ("sample", "head", "query", "key")


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
def test_cross_attention_with_a_mask_and_a_row_that_may_attend_to_nothing(rng, dropout):
    layer = layers.MultiHeadAttention(2, 5, dropout=dropout, name="cross")
    mask = rng.random((6, 4, 7)) < 0.5
    mask[..., 0] = True
    mask[2, 1] = False

    def call(layer, given, scores):
        query, value, mask = given
        return layer(query, value, attention_mask=mask, return_attention_scores=scores)

    scores = compare(layer, [floats(rng, 6, 4, 8), floats(rng, 6, 7, 3), mask], call)
    assert scores.sizes == {"sample": 6, "head": 2, "query": 4, "key": 7}
    assert not scores.sel(sample=2, query=1).values.any()
    assert scores.coords["query_valid"].values.sum() == 6 * 4 - 1
    assert not scores.coords["query_valid"].values[2, 1]


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
def test_keras_masks(rng, dropout):
    tokens = rng.integers(1, 9, (6, 7))
    tokens[1, 4:] = 0
    embedding = layers.Embedding(9, 8, mask_zero=True)
    layer = layers.MultiHeadAttention(2, 5, dropout=dropout, name="mha")

    def call(layer, given, scores):
        query = embedding(given[0])
        return layer(query, query, return_attention_scores=scores)

    scores = compare(layer, [tokens.astype("int32")], call)
    assert scores.coords["key_valid"].values.tolist()[1] == [True] * 4 + [False] * 3
    assert scores.coords["query_valid"].values.tolist()[1] == [True] * 4 + [False] * 3
    assert scores.coords["key_valid"].values[0].all()


@pytest.mark.skipif(not HAS_WINDOW, reason="this Keras has no sliding_window")
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
def test_sliding_window(rng, dropout):
    layer = layers.MultiHeadAttention(2, 5, dropout=dropout, sliding_window=2, name="mha")

    def call(layer, given, scores):
        return layer(given[0], given[0], use_causal_mask=True, return_attention_scores=scores)

    scores = compare(layer, [floats(rng, 3, 7, 8)], call)
    assert (scores.values[:, :, 6] > 0).sum(-1).tolist() == [[2, 2]] * 3


@pytest.mark.parametrize(
    ("axes", "dims"),
    [
        ((1, 2), ("sample", "head", "query_0", "query_1", "key_0", "key_1")),
        ((2,), ("sample", "window", "head", "query", "key")),
        ((1,), ("sample", "window", "head", "query", "key")),
    ],
)
def test_attention_axes(rng, axes, dims):
    layer = layers.MultiHeadAttention(2, 5, attention_axes=axes, name="mha")

    def call(layer, given, scores):
        return layer(given[0], given[0], return_attention_scores=scores)

    assert compare(layer, [floats(rng, 3, 7, 11, 8)], call).dims == dims


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_query_attention(rng, dropout, masked, causal):
    layer = layers.GroupQueryAttention(5, 6, 2, dropout=dropout, name="gqa")
    inputs = [floats(rng, 5, 7, 8)]
    if masked:
        mask = rng.random((5, 7, 7)) < 0.6
        mask[..., 0] = True
        inputs.append(mask)

    def call(layer, given, scores):
        mask = given[1] if masked else None
        return layer(given[0], given[0], attention_mask=mask, use_causal_mask=causal, return_attention_scores=scores)

    scores = compare(layer, inputs, call)
    assert scores.sizes == {"sample": 5, "head": 6, "query": 7, "key": 7}


@pytest.mark.parametrize("make", [layers.Attention, layers.AdditiveAttention])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_additive_attention(rng, make, masked, causal):
    layer = make(name="attention")
    inputs = [floats(rng, 5, 4, 8), floats(rng, 5, 7, 8)]
    if masked:
        mask = rng.random((5, 7)) < 0.6
        mask[:, 0] = True
        inputs.append(mask)

    def call(layer, given, scores):
        mask = [None, given[2]] if masked else None
        return layer(given[:2], mask=mask, use_causal_mask=causal, return_attention_scores=scores)

    scores = compare(layer, inputs, call)
    assert scores.dims == ("sample", "query", "key")
    if masked and not causal:
        assert (scores.coords["key_valid"].values == inputs[2]).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
def test_low_precision(rng, backend, dtype, dropout):
    if backend == "jax" and dtype.endswith("float16") and "b" not in dtype and dropout == 0.0:
        pytest.skip("JAX itself computes no fused attention in float16 on a CPU")
    layer = layers.MultiHeadAttention(2, 5, dropout=dropout, dtype=dtype, name="mha")
    wide = layers.MultiHeadAttention(2, 5, dropout=dropout, dtype="float32", name="wide")
    x = floats(rng, 3, 7, 8)
    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, layer(inputs, inputs, use_causal_mask=True))
    exact = keras.Model(inputs, wide(inputs, inputs, use_causal_mask=True))
    exact.set_weights([weight.astype("float32") for weight in model.get_weights()])
    scores, expected = ats.capture(model, x)["mha"], ats.capture(exact, x)["wide"]
    assert scores.dtype == np.float32
    assert scores.attrs["dtype"] == dtype.removeprefix("mixed_")
    # Seven significant bits in bfloat16, ten in float16; logits here are of the order of 1.
    np.testing.assert_allclose(scores.values, expected.values, atol=2e-2 if "b" in dtype[-8:] else 3e-3)


@pytest.mark.parametrize("choose", [keras.config.enable_flash_attention, keras.config.disable_flash_attention])
def test_the_users_choice_of_flash_attention_stays(rng, choose):
    inputs = keras.Input((7, 8))
    outputs = layers.MultiHeadAttention(2, 5, name="mha")(inputs, inputs)
    before = keras.config.is_flash_attention_enabled()
    try:
        choose()
        chosen = keras.config.is_flash_attention_enabled()
        maps = ats.capture(keras.Model(inputs, outputs), floats(rng, 3, 7, 8))
        assert keras.config.is_flash_attention_enabled() is chosen
        np.testing.assert_allclose(maps["mha"].sum("key"), 1, atol=1e-6)
    finally:
        (keras.config.enable_flash_attention if before is None else keras.config.disable_flash_attention)()
    assert keras.config.is_flash_attention_enabled() is before
