"""`AttentionPooling` is softmax attention over states, without padding."""

import keras
import numpy as np
import pytest
from keras import ops

from attnscope.layers import AttentionPooling
from layers_by_hand import LENGTH, SAMPLES, UNITS, WIDTH, padded, pooling_scores, sequences

scoring = pytest.mark.parametrize("score", ["additive", "dot"])


def array(tensor):
    return ops.convert_to_numpy(tensor)


def weighted(scores, states):
    """The sum of the states, each times its weight."""
    return np.array([sum(w * h for w, h in zip(row, of, strict=True)) for row, of in zip(scores, states, strict=True)])


def scrambled(layer, rng):
    """Weights that are all different from 0; biases begin as zeros."""
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))


@scoring
def test_it_is_the_papers_equations_with_a_learned_query(score, rng):
    states = sequences(rng)
    layer = AttentionPooling(UNITS, score=score)
    layer.build(states.shape)
    scrambled(layer, rng)
    output, scores = layer(states, return_attention_scores=True)
    expected = pooling_scores(layer, states, np.ones((SAMPLES, LENGTH), dtype=bool))
    np.testing.assert_allclose(array(scores), expected, atol=1e-5)
    np.testing.assert_allclose(layer.attention_scores, expected, atol=1e-5)
    np.testing.assert_allclose(array(output), weighted(expected, states), atol=1e-4)


@scoring
def test_it_is_the_papers_equations_with_a_given_query(score, rng):
    (states, mask), query = padded(rng), rng.normal(size=(SAMPLES, 13)).astype("float32")
    layer = AttentionPooling(UNITS, score=score)
    layer.build(states.shape, query.shape)
    scrambled(layer, rng)
    output = layer(keras.layers.Masking()(ops.convert_to_tensor(states)), query)
    expected = pooling_scores(layer, states, mask, query)
    np.testing.assert_allclose(layer.attention_scores, expected, atol=1e-5)
    np.testing.assert_allclose(array(output), weighted(expected, states), atol=1e-4)


@scoring
def test_padding_changes_nothing(score, rng):
    states = sequences(rng)
    layer = AttentionPooling(UNITS, score=score)
    alone = array(layer(states))
    longer = np.concatenate([states, rng.normal(size=(SAMPLES, 3, WIDTH)).astype("float32")], axis=1)
    mask = ops.convert_to_tensor(np.arange(LENGTH + 3) < LENGTH)[None] & ops.ones((SAMPLES, 1), dtype="bool")
    np.testing.assert_allclose(array(layer(longer, mask=mask)), alone, atol=1e-6)
    assert layer.attention_scores[:, LENGTH:].max() == 0.0
    np.testing.assert_allclose(layer.attention_scores.sum(axis=1), 1.0, atol=1e-6)


@scoring
def test_a_sample_of_padding_alone_gives_zeros(score, rng):
    states, mask = sequences(rng), np.ones((SAMPLES, LENGTH), dtype=bool)
    mask[3] = False
    layer = AttentionPooling(UNITS, score=score)
    output = array(layer(states, mask=ops.convert_to_tensor(mask)))
    assert abs(output[3]).max() == abs(layer.attention_scores[3]).max() == 0.0
    assert np.isfinite(output).all()


@scoring
def test_over_the_states_of_a_recurrent_layer_with_embedded_padding(score, rng):
    tokens = rng.integers(1, 13, (SAMPLES, LENGTH))
    tokens[:, 3:] = 0
    inputs = keras.Input((LENGTH,), dtype="int32")
    states = keras.layers.GRU(5, return_sequences=True)(keras.layers.Embedding(13, 3, mask_zero=True)(inputs))
    layer = AttentionPooling(UNITS, score=score)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(states)))
    model.predict(tokens, verbose=0)
    assert layer.attention_scores[:, 3:].max() == 0.0
    np.testing.assert_allclose(layer.attention_scores.sum(axis=1), 1.0, atol=1e-6)


@scoring
def test_its_mask_ends_with_it(score):
    inputs = keras.Input((LENGTH, WIDTH))
    output, scores = AttentionPooling(UNITS, score=score)(keras.layers.Masking()(inputs), return_attention_scores=True)
    assert (output.shape, scores.shape) == ((None, WIDTH), (None, LENGTH))
    assert getattr(output, "_keras_mask", None) is None


@pytest.mark.parametrize("file", ["model.keras", "model.h5"])
@scoring
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_configurations_and_files_make_the_layer_again(score, given, file, rng, tmp_path):
    inputs, query = keras.Input((LENGTH, WIDTH)), keras.Input((13,))
    layer = AttentionPooling(UNITS, score=score, kernel_initializer="he_normal", store_scores=False)
    model = keras.Model(
        [inputs, query], layer(inputs, query) if given else [layer(inputs), keras.layers.Dense(3)(query)]
    )
    model.save(tmp_path / file)
    again = keras.saving.load_model(tmp_path / file, compile=False)
    assert again.get_layer(layer.name).get_config() == layer.get_config()
    x = [sequences(rng), rng.normal(size=(SAMPLES, 13)).astype("float32")]
    for one, other in zip(
        keras.tree.flatten(again.predict(x, verbose=0)), keras.tree.flatten(model.predict(x, verbose=0)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_another_kind_of_score_is_refused():
    with pytest.raises(ValueError, match="score") as error:
        AttentionPooling(3, score="general")
    assert str(error.value) == "score is 'general', but one of two is needed: score='additive' or score='dot'."


def test_a_query_for_a_layer_that_was_built_without_one_is_refused(rng):
    layer = AttentionPooling(UNITS, name="pooling")
    layer(sequences(rng))
    with pytest.raises(ValueError, match="built without one") as error:
        layer.call(ops.convert_to_tensor(sequences(rng)), ops.ones((SAMPLES, 13)))
    assert str(error.value) == (
        "The layer 'pooling' got a query of shape (7, 13), but was built without one. Give a query in every call, "
        "from the first one on: layer(states, query); or make another layer for it."
    )


@scoring
def test_a_query_left_out_of_a_layer_that_was_built_with_one_is_refused(score, rng):
    layer = AttentionPooling(UNITS, score=score, name="pooling")
    x = ops.convert_to_tensor(sequences(rng))
    layer(x, ops.ones((SAMPLES, 13)))
    with pytest.raises(ValueError, match="built with one") as error:
        layer.call(x)
    assert str(error.value) == (
        "The layer 'pooling' got no query, but was built with one. Give one in every call: layer(states, query); or "
        "make another layer, which learns its query."
    )


def told(argument, shape, dims):
    return (
        f"The layer 'pooling' got {argument} of shape {shape}, but takes dims {dims}. Reshape it; or, if it has one "
        "more axis, use keras.layers.TimeDistributed(layer), which attends within each step."
    )


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 5, 6)])
def test_states_of_another_rank_are_refused_before_and_after_the_first_call(shape):
    for first in (True, False):
        for states in (ops.ones(shape), keras.Input(batch_shape=shape)):
            layer = AttentionPooling(UNITS, name="pooling")
            if not first:
                layer(ops.ones((2, 5, 6)))
            with pytest.raises(ValueError, match="takes dims") as error:
                layer(states)
            assert told("states", shape, "(sample, key, feature)") in str(error.value)


def test_queries_and_masks_of_another_rank_are_refused():
    states = ops.ones((2, 5, 6))
    with pytest.raises(ValueError, match="takes dims") as error:
        AttentionPooling(UNITS, name="pooling")(states, ops.ones((2, 1, 13)))
    assert told("a query", (2, 1, 13), "(sample, feature)") in str(error.value)
    with pytest.raises(ValueError, match="takes dims") as error:
        AttentionPooling(UNITS, name="pooling")(states, mask=ops.ones((5,), dtype="bool"))
    assert told("a mask", (5,), "(sample, key)") in str(error.value)
