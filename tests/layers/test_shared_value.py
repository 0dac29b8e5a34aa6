"""`SharedValueMultiHeadAttention` is the interpretable attention of the Temporal Fusion Transformer."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import ops

import attnscope as ats
from attnscope.layers import SharedValueMultiHeadAttention
from layers_by_hand import HEADS, SIZE, WIDTH, head_scores, padded, scores_by_hand, sequences, shared_value_output


def array(tensor):
    return ops.convert_to_numpy(tensor)


def inputs_of_three_sizes(rng):
    return rng.normal(size=(2, 3, WIDTH)), rng.normal(size=(2, 5, 7)), rng.normal(size=(2, 5, 11))


@pytest.mark.parametrize("options", [{}, {"use_bias": True, "value_dim": 13}, {"output_dim": 17}])
def test_it_is_the_papers_equations(options, rng):
    query, key, value = inputs_of_three_sizes(rng)
    layer = SharedValueMultiHeadAttention(HEADS, SIZE, **options)
    output, scores = layer(query, key, value, return_attention_scores=True)
    for weight in layer.weights:  # biases begin as zeros
        weight.assign(rng.normal(size=weight.shape))
    output, scores = layer(query, key, value, return_attention_scores=True)
    expected = head_scores(layer, query, key, np.ones((2, 3, 5), dtype=bool))
    np.testing.assert_allclose(array(scores), expected, atol=1e-5)
    np.testing.assert_allclose(layer.attention_scores, expected, atol=1e-5)
    np.testing.assert_allclose(array(output), shared_value_output(layer, expected, value), rtol=1e-4, atol=1e-4)


def test_it_is_the_mean_of_heads_that_each_attend_with_the_same_value(rng):
    query, key, value = inputs_of_three_sizes(rng)
    layer = SharedValueMultiHeadAttention(HEADS, SIZE)
    output = array(layer(query, key, value))
    heads = []
    for head in range(HEADS):
        alone = np.zeros((2, HEADS, 3, 5))
        alone[:] = layer.attention_scores[:, head : head + 1]
        heads.append(shared_value_output(layer, alone, value))
    np.testing.assert_allclose(output, np.mean(heads, axis=0), atol=1e-5)


def mean_map(scores):
    """Every head's map becomes the mean of all: dims (sample, head, query, key)."""
    return ops.zeros_like(scores) + ops.mean(scores, axis=1, keepdims=True)


def test_the_mean_map_in_the_place_of_every_heads_own_changes_nothing(rng):
    x = sequences(rng)
    outputs = {}
    for kind in (SharedValueMultiHeadAttention, keras.layers.MultiHeadAttention):
        inputs, layer = keras.Input(x.shape[1:]), kind(HEADS, SIZE, name="attention")
        model = keras.Model(inputs, layer(inputs, inputs))
        every = ats.intervene(model, x, {"attention": mean_map})
        outputs[kind.__name__] = abs(np.asarray(every) - model.predict(x, verbose=0)).max()
    assert outputs["SharedValueMultiHeadAttention"] < 1e-6
    assert outputs["MultiHeadAttention"] > 1e-3  # where values differ between heads, it does


def test_masks_of_query_and_key_and_by_hand(rng):
    (x, x_mask), (y, y_mask) = padded(rng), padded(rng, length=3)
    by_hand = rng.random((7, 5, 3)) > 0.3
    layer = SharedValueMultiHeadAttention(HEADS, SIZE)
    query, key = keras.layers.Masking()(ops.convert_to_tensor(x)), keras.layers.Masking()(ops.convert_to_tensor(y))
    output = layer(query, key, attention_mask=by_hand)
    allowed = by_hand & x_mask[:, :, None] & y_mask[:, None, :]
    assert not allowed.any(axis=-1).all()  # some queries may attend to nothing
    np.testing.assert_allclose(layer.attention_scores, head_scores(layer, x, y, allowed), atol=1e-6)
    assert np.isfinite(array(output)).all()
    np.testing.assert_array_equal(array(output._keras_mask), x_mask)
    np.testing.assert_array_equal(array(query._keras_mask), x_mask)
    np.testing.assert_array_equal(array(key._keras_mask), y_mask)


def test_a_mask_with_heads(rng):
    x = sequences(rng)
    by_head = rng.random((7, HEADS, 5, 5)) > 0.3
    layer = SharedValueMultiHeadAttention(HEADS, SIZE)
    layer(x, attention_mask=by_head)
    assert layer.attention_scores[~by_head].max() == 0.0
    np.testing.assert_allclose(layer.attention_scores[:, 1], head_scores(layer, x, x, by_head[:, 1])[:, 1], atol=1e-6)


def test_one_two_and_three_arguments(rng):
    x, y = sequences(rng), rng.normal(size=(7, 3, WIDTH)).astype("float32")
    layer = SharedValueMultiHeadAttention(HEADS, SIZE)
    np.testing.assert_array_equal(array(layer(x)), array(layer(x, x, x)))
    np.testing.assert_array_equal(array(layer(x, y)), array(layer(x, y, y)))
    np.testing.assert_array_equal(array(layer(x, value=y)), array(layer(x, y, y)))


def test_scores_are_from_before_dropout_and_dropout_acts_in_training_alone(rng):
    x = sequences(rng)
    layer = SharedValueMultiHeadAttention(HEADS, SIZE, dropout=0.5, seed=3)
    calm, dropped = array(layer(x)), array(layer(x, training=True))
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)
    assert abs(calm - dropped).max() > 1e-2


def test_symbolic_shapes_are_those_of_the_call(rng):
    layer = SharedValueMultiHeadAttention(HEADS, SIZE, output_dim=11)
    inputs, other = keras.Input((None, WIDTH)), keras.Input((3, 7))
    output, scores = layer(inputs, other, return_attention_scores=True)
    assert (output.shape, scores.shape) == ((None, None, 11), (None, HEADS, None, 3))
    given = keras.Model([inputs, other], [output, scores]).predict(
        [sequences(rng), rng.normal(size=(7, 3, 7))], verbose=0
    )
    assert [one.shape for one in given] == [(7, 5, 11), (7, HEADS, 5, 3)]


def test_configurations_make_the_layer_again(rng):
    options = {"value_dim": 5, "dropout": 0.2, "use_bias": True, "output_dim": 7, "seed": 3, "store_scores": False}
    layer = SharedValueMultiHeadAttention(HEADS, SIZE, kernel_initializer="he_normal", **options)
    again = SharedValueMultiHeadAttention.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert {name: layer.get_config()[name] for name in options} == options
    x = sequences(rng)
    layer(x)
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(again(x)), array(layer(x)))


def test_kernels_of_one_shape_begin_different():
    layer = SharedValueMultiHeadAttention(1, SIZE)
    layer.build((None, 5, WIDTH))
    kernels = [array(dense.kernel) for dense in (layer.query_dense, layer.key_dense, layer.value_dense)]
    assert all(abs(one - other).max() > 1e-3 for one, other in pairwise(kernels))


@pytest.mark.parametrize("name", ["num_heads", "key_dim", "value_dim"])
@pytest.mark.parametrize("number", [0, 2.5])
def test_sizes_are_positive_integers(name, number):
    with pytest.raises(ValueError, match=name) as error:
        SharedValueMultiHeadAttention(**{"num_heads": 2, "key_dim": 3, name: number})
    assert str(error.value) == f"{name} is {number!r}, but a positive integer is needed: {name}=4, for example."


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 5, 6)])
def test_queries_of_another_rank_are_refused(shape):
    with pytest.raises(ValueError, match="takes dims") as error:
        SharedValueMultiHeadAttention(2, 4, name="shared")(keras.ops.ones(shape))
    assert (
        f"The layer 'shared' got a query of shape {shape}, but takes dims (sample, query, feature). Reshape it; or, if "
        "it has one more axis, use keras.layers.TimeDistributed(layer), which attends within each step."
    ) in str(error.value)


def test_a_sequence_of_length_0_gives_nothing():
    layer = SharedValueMultiHeadAttention(2, 4)
    assert tuple(layer(keras.ops.ones((3, 0, 6))).shape) == (3, 0, 6)
    assert layer.attention_scores.shape == (3, 2, 0, 0)
