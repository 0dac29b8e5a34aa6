"""`InterpretableMultiHeadAttention` is Keras' layer, called as (query, key, value), without Keras' surprises."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import attnscope as ats
from attnscope.layers import InterpretableMultiHeadAttention
from layers_by_hand import HEADS, SIZE, WIDTH, head_scores, padded, scores_by_hand, sequences

pytestmark = pytest.mark.every_backend

OPTIONS = {
    "defaults": {},
    "no bias": {"use_bias": False},
    "size of the values": {"value_dim": 7},
    "output shape": {"output_shape": (11,)},
    "gate": {"use_gate": True},
    "window": {"sliding_window": 2},
    "initializers": {"kernel_initializer": "he_normal", "bias_initializer": "ones", "seed": 5},
    "regularizers": {"kernel_regularizer": "l2", "bias_regularizer": "l1", "activity_regularizer": "l2"},
    "constraints": {"kernel_constraint": "max_norm", "bias_constraint": "non_neg"},
}


def known(options):
    """Whether the installed Keras has these options."""
    return set(options) <= set(inspect.signature(keras.layers.MultiHeadAttention).parameters)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def pair(store_scores, **options):
    """Our layer and Keras' own, with the same arguments."""
    return (
        InterpretableMultiHeadAttention(SIZE, HEADS, store_scores=store_scores, **options),
        keras.layers.MultiHeadAttention(HEADS, SIZE, dropout=0.1, **options),
    )


@pytest.mark.parametrize("store_scores", [True, False])
@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_are_keras_own_for_every_option(name, store_scores, rng):
    options = OPTIONS[name]
    if not known(options):
        pytest.skip(f"Keras {keras.__version__} has no {set(options)}")
    query, key, value = rng.normal(size=(2, 3, WIDTH)), rng.normal(size=(2, 5, 7)), rng.normal(size=(2, 5, 11))
    ours, theirs = pair(store_scores, **options)
    ours.build(query.shape, key.shape, value.shape)
    theirs.build(query.shape, value.shape, key.shape)
    theirs.set_weights(ours.get_weights())
    for mask in (None, rng.random((2, 3, 5)) > 0.3):
        given = ours(query, key, value, attention_mask=mask)
        expected, scores = theirs(query, value, key, attention_mask=mask, return_attention_scores=True)
        np.testing.assert_allclose(array(given), array(expected), atol=1e-5)
        assert tuple(given.shape) == ours.compute_output_shape(query.shape, key.shape, value.shape)
        if store_scores:
            np.testing.assert_allclose(ours.attention_scores, array(scores), atol=1e-6)


@pytest.mark.parametrize("store_scores", [True, False])
def test_one_two_and_three_arguments(store_scores, rng):
    x, y = sequences(rng), rng.normal(size=(7, 3, WIDTH)).astype("float32")
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, store_scores=store_scores)
    np.testing.assert_array_equal(array(layer(x)), array(layer(x, x, x)))
    np.testing.assert_array_equal(array(layer(x, y)), array(layer(x, y, y)))
    np.testing.assert_array_equal(array(layer(x, value=y)), array(layer(x, y, y)))
    assert abs(array(layer(x, y, 2 * y)) - array(layer(x, 2 * y, y))).max() > 1e-3


def test_in_a_sequential_model_without_a_shape(rng):
    model = keras.Sequential([keras.layers.Dense(WIDTH), InterpretableMultiHeadAttention(SIZE, HEADS)])
    x = sequences(rng)
    assert model.predict(x, verbose=0).shape == (7, 5, WIDTH)
    inside = array(model.layers[0](x))
    np.testing.assert_allclose(model.layers[1].attention_scores, scores_by_hand(model.layers[1], inside), atol=1e-6)


def masked_tensor(x):
    return keras.layers.Masking()(ops.convert_to_tensor(x))


@pytest.mark.parametrize("arguments", [1, 2, 3])
def test_masks_count_from_the_first_eager_call_on_and_stay_on_the_callers_tensors(arguments, rng):
    x, mask = padded(rng)
    tensor = masked_tensor(x)
    for _ in range(2):
        layer = InterpretableMultiHeadAttention(SIZE, HEADS)
        output = layer(*[tensor] * arguments)
        np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x, mask), atol=1e-6)
        np.testing.assert_array_equal(array(tensor._keras_mask), mask)
        np.testing.assert_array_equal(array(output._keras_mask), mask)


def test_the_mask_of_the_keys_alone(rng):
    x, (y, mask) = sequences(rng), padded(rng, length=3)
    layer = InterpretableMultiHeadAttention(SIZE, HEADS)
    for key in (masked_tensor(y), y):
        layer(x, key, key_mask=None if key is not y else ops.convert_to_tensor(mask))
        allowed = np.broadcast_to(mask[:, None, :], (7, 5, 3))
        np.testing.assert_allclose(layer.attention_scores, head_scores(layer, x, y, allowed), atol=1e-6)


@pytest.mark.parametrize("argument", ["mask", "query_mask"])
@pytest.mark.parametrize("own", [True, False])
def test_a_mask_given_by_hand_counts_in_place_of_the_tensors_own(argument, own, rng):
    x, mask = padded(rng)
    tensor = masked_tensor(x) if own else ops.convert_to_tensor(x)
    by_hand = np.roll(mask, 1, axis=0)
    layer = InterpretableMultiHeadAttention(SIZE, HEADS)
    layer(tensor, **{argument: ops.convert_to_tensor(by_hand)})
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x, by_hand), atol=1e-6)
    left = getattr(tensor, "_keras_mask", None)
    assert left is None if not own else (array(left) == mask).all()


def test_a_post_norm_block_keeps_its_mask(rng):
    x, mask = padded(rng)
    inputs = keras.Input(x.shape[1:])
    masked = keras.layers.Masking()(inputs)
    summed = keras.layers.Add()([masked, InterpretableMultiHeadAttention(SIZE, HEADS)(masked, masked)])
    last = InterpretableMultiHeadAttention(SIZE, HEADS)
    model = keras.Model(inputs, last(summed))
    between = keras.Model(inputs, summed)
    for run in (model, lambda x: model.predict(x, verbose=0)):
        run(x)
        expected = scores_by_hand(last, array(between(x)), mask)
        np.testing.assert_allclose(last.attention_scores, expected, atol=1e-6)


@pytest.mark.parametrize("store_scores", [True, False])
def test_causal_masks_and_returned_scores(store_scores, rng):
    x = sequences(rng)
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, store_scores=store_scores)
    output, scores = layer(x, use_causal_mask=True, return_attention_scores=True)
    np.testing.assert_allclose(array(scores), scores_by_hand(layer, x, causal=True), atol=1e-6)
    np.testing.assert_allclose(array(layer(x, use_causal_mask=True)), array(output), atol=1e-6)


def test_symbolic_shapes_and_masks_are_those_of_the_call(rng):
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, output_shape=11)
    inputs, other = keras.Input((5, WIDTH)), keras.Input((3, 7))
    output, scores = layer(keras.layers.Masking()(inputs), other, return_attention_scores=True)
    assert (output.shape, scores.shape) == ((None, 5, 11), (None, HEADS, 5, 3))
    assert output._keras_mask.shape == (None, 5)
    given = keras.Model([inputs, other], [output, scores]).predict(
        [sequences(rng), rng.normal(size=(7, 3, 7))], verbose=0
    )
    assert [one.shape for one in given] == [(7, 5, 11), (7, HEADS, 5, 3)]


def test_attention_over_several_axes(rng):
    x = rng.normal(size=(2, 3, 5, WIDTH)).astype("float32")
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, attention_axes=(2,))
    _, symbolic = layer(keras.Input((3, 5, WIDTH)), return_attention_scores=True)
    layer(x)
    assert layer.attention_scores.shape == (2, 3, HEADS, 5, 5)
    assert symbolic.shape == (None, 3, HEADS, 5, 5)
    np.testing.assert_allclose(layer.attention_scores[:, 1], scores_by_hand(layer, x[:, 1]), atol=1e-6)


def test_scores_are_from_before_dropout_and_dropout_acts_in_training_alone(rng):
    x = sequences(rng)
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, dropout_rate=0.5)
    calm, dropped = array(layer(x)), array(layer(x, training=True))
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)
    assert abs(calm - dropped).max() > 1e-2
    plain = InterpretableMultiHeadAttention(SIZE, HEADS, dropout_rate=0.5, store_scores=False)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(array(plain(x)), calm, atol=1e-5)
    assert abs(calm - array(plain(x, training=True))).max() > 1e-2


def test_without_stored_scores_the_fused_path_is_taken_despite_dropout(rng):
    x = sequences(rng)
    kinds = []
    for store_scores in (True, False):
        inputs = keras.Input(x.shape[1:])
        layer = InterpretableMultiHeadAttention(SIZE, HEADS, dropout_rate=0.1, store_scores=store_scores)
        kinds.append([site.kind for site in ats.sites(keras.Model(inputs, layer(inputs)), x)])
    assert kinds == [["softmax"], ["fused"]]


@pytest.mark.parametrize("fully", [True, False])
def test_without_stored_scores_outputs_are_keras_own_also_where_a_query_sees_nothing(fully, rng):
    x, mask = sequences(rng), rng.random((7, 5, 5)) > 0.3
    mask[:, 3] = not fully
    ours, theirs = pair(store_scores=False)
    ours.build(x.shape)
    theirs.build(x.shape, x.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(array(ours(x, attention_mask=mask)), array(theirs(x, x, attention_mask=mask)), atol=1e-6)


@pytest.mark.parametrize("store_scores", [True, False])
def test_what_a_subclass_overrides_is_run(store_scores, rng):
    class Uniform(InterpretableMultiHeadAttention):
        def _masked_softmax(self, attention_scores, attention_mask=None):
            return ops.ones_like(attention_scores) / 5

    layer = Uniform(SIZE, HEADS, store_scores=store_scores)
    output = array(layer(sequences(rng)))
    np.testing.assert_allclose(output, np.repeat(output[:, :1], 5, axis=1), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="Keras rematerialises no such model there")
@pytest.mark.parametrize("store_scores", [True, False])
def test_a_rematerialised_layer_trains_as_keras_own_does(store_scores, rng):
    with keras.RematScope(mode="full"):
        layer = InterpretableMultiHeadAttention(SIZE, HEADS, dropout_rate=0.0, store_scores=store_scores)
        inputs = keras.Input((5, WIDTH))
        model = keras.Model(inputs, layer(inputs))
    x = sequences(rng)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(x, x, verbose=0, batch_size=len(x), shuffle=False)
    if store_scores:
        np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)


def test_head_dim_gives_the_usual_split(rng):
    x = sequences(rng)
    layer = InterpretableMultiHeadAttention(d_model=15, n_head=3, head_dim=5)
    assert layer(x).shape == (7, 5, 15)
    assert (layer.num_heads, layer.key_dim, layer.value_dim) == (3, 5, 5)
    assert InterpretableMultiHeadAttention(15, 3, head_dim=5, output_shape=11)(x).shape == (7, 5, 11)


def test_frozen_and_mixed_layers_are_so_inside(rng):
    x = sequences(rng)
    frozen = InterpretableMultiHeadAttention(SIZE, HEADS, trainable=False)
    frozen(x)
    assert (len(frozen.trainable_weights), len(frozen.non_trainable_weights)) == (0, 8)
    half = InterpretableMultiHeadAttention(SIZE, HEADS, dtype="mixed_float16")
    assert keras.backend.standardize_dtype(half(x).dtype) == "float16"
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in half.trainable_weights} == {"float32"}


@pytest.mark.parametrize("name", OPTIONS)
def test_configurations_make_the_layer_again(name, rng):
    options = OPTIONS[name]
    if not known(options):
        pytest.skip(f"Keras {keras.__version__} has no {set(options)}")
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, 0.3, head_dim=3, store_scores=False, **options)
    layer.build((None, 5, WIDTH))
    again = InterpretableMultiHeadAttention.from_config(layer.get_config())
    again.build((None, 5, WIDTH))
    assert again.get_config() == layer.get_config()
    again.set_weights(layer.get_weights())
    x = sequences(rng)
    np.testing.assert_array_equal(array(again(x)), array(layer(x)))


def test_configurations_of_the_layer_that_it_takes_the_place_of():
    config = {"name": "a", "trainable": True, "d_model": 8, "n_head": 2, "dropout_rate": 0.2, "use_bias": False}
    layer = InterpretableMultiHeadAttention.from_config(
        {**config, "dtype": "float32", "kernel_initializer": "he_normal"}
    )
    assert {name: layer.get_config()[name] for name in config} == config


def test_flash_attention_and_stored_scores_exclude_each_other():
    with pytest.raises(ValueError, match="flash_attention") as error:
        InterpretableMultiHeadAttention(4, 2, 0.0, flash_attention=True)
    assert str(error.value) == (
        "flash_attention=True was given with store_scores=True, but flash attention never computes the scores that "
        "would be stored. Choose one: store_scores=False (ats.capture(model, x) still finds them), or no "
        "flash_attention."
    )
    assert InterpretableMultiHeadAttention(4, 2, 0.0, flash_attention=True, store_scores=False)._flash_attention


def test_the_global_switch_for_flash_attention_does_not_hinder(rng):
    keras.config.enable_flash_attention()
    try:
        layer = InterpretableMultiHeadAttention(SIZE, HEADS, 0.0)
    finally:
        keras.config.disable_flash_attention()
    x = sequences(rng)
    layer(x)
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, x), atol=1e-6)


def test_a_layer_used_twice_is_two_sites_and_keeps_the_second(rng):
    x = sequences(rng)
    layer = InterpretableMultiHeadAttention(SIZE, HEADS, name="shared")
    inputs = keras.Input(x.shape[1:])
    once = layer(inputs)
    model = keras.Model(inputs, layer(once))
    maps = ats.capture(model, x, progress=False)
    assert list(maps) == ["shared", "shared#1"]
    between = array(keras.Model(inputs, once)(x))
    np.testing.assert_allclose(maps["shared"].to_numpy(), scores_by_hand(layer, x), atol=1e-6)
    np.testing.assert_allclose(maps["shared#1"].to_numpy(), scores_by_hand(layer, between), atol=1e-6)
    model.predict(x, verbose=0)
    np.testing.assert_allclose(layer.attention_scores, scores_by_hand(layer, between), atol=1e-6)
