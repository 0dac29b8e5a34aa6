"""Captures of one model at several lengths: what a trace found out is used again, where the model does the same."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.capturing import _prepared
from attnscope.errors import InputError

pytestmark = pytest.mark.every_backend


class Positions(layers.Layer):
    """Adds an embedding of each position; padding stays padding."""

    supports_masking = True

    def build(self, shape):
        self.table = self.add_weight(shape=(17, shape[-1]), name="table")

    def call(self, x):
        return x + self.table[: ops.shape(x)[1]]

    def compute_output_shape(self, shape):
        return shape


def encoder():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = Positions()(layers.Embedding(13, 6, mask_zero=True)(tokens))
    x = x + layers.MultiHeadAttention(3, 2, name="attention")(layers.LayerNormalization()(x), x)
    return keras.Model(tokens, layers.Dense(5, activation="softmax", name="classes")(x))


class Crossed(layers.Layer):
    """Long ones ask about short ones in one way, and short ones in the other; the operations are the same."""

    def call(self, x, y):
        asks, answers = (x, y) if x.shape[1] > 8 else (y, x)
        return ops.matmul(ops.softmax(ops.matmul(asks, ops.swapaxes(answers, 1, 2))), answers)


class Twice(layers.Layer):
    """Attends twice to what is long."""

    def __init__(self, **options):
        super().__init__(**options)
        self.attend = layers.MultiHeadAttention(2, 3)

    def build(self, shape):
        self.attend.build(shape, shape)

    def call(self, x):
        x = self.attend(x, x)
        return self.attend(x, x) if x.shape[1] > 8 else x


class FirstFive(layers.Layer):
    """Attends to the first five positions."""

    def call(self, x):
        return ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x[:, :5], 1, 2))), x[:, :5])


class Around(keras.Model):
    """A model around one layer, which declares no inputs, so that their lengths are known wherever it is called."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(*inputs.values()) if isinstance(inputs, dict) else self.layer(inputs)


def around(layer, inputs):
    model = Around(layer)
    model(inputs)
    return model


def captured(model, inputs):
    return ats.capture(model, inputs, progress=False)


def same(maps, others):
    """Whether two captures say the same in all that they say."""
    assert maps.sites == others.sites
    np.testing.assert_allclose(maps.outputs, others.outputs, atol=1e-6)
    for name, site in others.items():
        assert maps[name].attrs == site.attrs
        for one, other in zip(
            maps.dataset(name).variables.items(), others.dataset(name).variables.items(), strict=True
        ):
            assert one[0] == other[0]
            assert one[1].dims == other[1].dims
            if other[1].dtype.kind == "f":
                np.testing.assert_allclose(one[1], other[1], atol=1e-6)
            else:
                np.testing.assert_array_equal(one[1], other[1])
    return True


def test_another_length_is_captured_like_the_first_without_a_trace_of_its_own(monkeypatch):
    model = encoder()
    weights = model.get_weights()
    texts = {length: np.r_[np.arange(1, length - 1), 0, 0][None] % 13 for length in (11, 7)}
    fresh = captured(model, texts[7])
    model = keras.models.clone_model(model)
    captured(model, texts[11])
    model.set_weights(weights)
    monkeypatch.setattr(_prepared, "discover", None)
    for _ in range(2):  # the second time it is compiled
        assert same(captured(model, texts[7]), fresh)


def test_inputs_that_change_places_with_the_length_are_told_apart(rng):
    inputs = {name: rng.normal(size=(1, 13, 6)).astype("float32") for name in "xy"}
    model = around(Crossed(name="crossed"), inputs)
    for length, words in ((11, ["'x'", "'y'"]), (7, ["'y'", "'x'"]), (13, ["'x'", "'y'"])):
        maps = captured(model, {name: array[:, :length] for name, array in inputs.items()})
        assert [maps.sites[0].lineage[dim].split()[-1] for dim in ("query", "key")] == words


def test_attention_that_only_long_inputs_have_is_found_and_not_missed(rng):
    x = rng.normal(size=(1, 13, 6)).astype("float32")
    model = around(Twice(name="twice"), x)
    for length, calls in ((7, 1), (11, 2), (5, 1), (13, 2)):
        maps = captured(model, x[:, :length])
        assert len(maps) == calls
        assert "unforeseen" not in maps.attrs


def test_a_part_of_fixed_length_stays_as_long_as_it_is(rng):
    x = rng.normal(size=(1, 11, 6)).astype("float32")
    model = around(FirstFive(name="first"), x)
    for length in (11, 7, 5):
        scores = captured(model, x[:, :length])["first"]
        assert dict(scores.sizes) == {"sample": 1, "query": length, "key": 5}
        logits = x[:, :length] @ x[:, :5].swapaxes(1, 2)
        expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_samples_of_different_lengths_are_each_captured_at_their_own(rng):
    model, samples = encoder(), [rng.integers(1, 13, length) for length in (5, 7, 7, 3)]
    for given in (samples, tuple(sample.tolist() for sample in samples)):
        maps = ats.capture(model, given, labels=[list(map(str, sample)) for sample in samples])
        scores = maps["attention"]
        assert scores.shape == (4, 3, 7, 7)
        for number, sample in enumerate(samples):
            length = len(sample)
            alone = ats.capture(model, sample[None])
            np.testing.assert_allclose(scores[number, :, :length, :length], alone["attention"][0], atol=1e-6)
            np.testing.assert_allclose(maps.outputs[number, :length], alone.outputs[0], atol=1e-6)
            assert not scores[number, :, length:].any()
            assert not scores[number, :, :, length:].any()
            real = np.arange(7) < length
            np.testing.assert_array_equal(scores.key_valid[number], real)
            np.testing.assert_array_equal(scores.query_valid[number], real)
            assert scores.key_label.values[number, :length].tolist() == list(map(str, sample))


def test_what_cannot_take_samples_of_different_lengths_says_so():
    with pytest.raises(InputError) as caught:
        ats.capture(encoder(), [[4, 8], [], [3]])
    assert str(caught.value) == (
        "Sample 1 of the inputs has no position, but each needs at least one. Leave it out: [sample for sample in "
        "inputs if len(sample)]."
    )
    with pytest.raises(InputError) as caught:
        ats.attribute(encoder(), [[4, 8, 6], [3, 5]], target=lambda outputs: outputs[:, 0, 0])
    assert str(caught.value) == (
        "Samples of the inputs have the shapes (3,) and (2,), but here all need the same one. Pad them, if the model "
        "masks padding: keras.utils.pad_sequences(samples, padding='post'); or give those of each length by themselves."
    )
