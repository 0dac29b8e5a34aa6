"""Sites whose first axis is not just the batch: windows, copies of the batch, masks of low rank."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.backends import current

pytestmark = pytest.mark.every_backend


class Guided(layers.Layer):
    """Runs a batch and a copy of it through one attention, as classifier-free guidance does."""

    def __init__(self, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 4, dropout=dropout, name="attention")

    def build(self, shape):
        self.attention.build(shape, shape)

    def call(self, x):
        both = ops.concatenate([x, -x], axis=0)
        first, second = ops.split(self.attention(both, both), 2, axis=0)
        return first + second

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["fused", "softmax"])
def test_copies_of_the_batch_keep_their_samples(rng, dropout):
    inputs = keras.Input((5, 8))
    model = keras.Model(inputs, Guided(dropout, name="guided")(inputs))
    x = rng.normal(size=(3, 5, 8)).astype("float32")
    maps = ats.capture(model, x)
    scores = maps["guided/attention"]
    assert scores.dims == ("sample", "window", "head", "query", "key")
    for sample in range(3):
        alone = ats.capture(model, x[sample : sample + 1])["guided/attention"]
        np.testing.assert_allclose(scores[sample], alone[0], atol=1e-6)
    same = ats.intervene(model, x, {"*": lambda scores: scores})
    np.testing.assert_allclose(same, maps.outputs, atol=1e-5)


class Windowed(layers.Layer):
    """Local attention: the sequence is cut into windows, which are folded into the batch; some keys are masked."""

    def build(self, shape):
        self.project = self.add_weight(shape=(shape[-1], 2, 4), name="project")

    def call(self, x):
        windows = ops.reshape(x, (-1, 17, x.shape[-1]))
        heads = ops.einsum("btc,chd->bthd", windows, self.project)
        mask = ops.reshape(ops.greater(windows[:, :, 0], -1.0), (-1, 1, 1, 17))
        attended = ops.dot_product_attention(heads, heads, heads, mask=mask)
        return ops.reshape(attended, (-1, x.shape[1], 8))

    def compute_output_shape(self, shape):
        return (*shape[:2], 8)


def test_summaries_of_masked_windows_equal_the_full_map_in_several_blocks(rng, monkeypatch):
    inputs = keras.Input((51, 8))
    model = keras.Model(inputs, Windowed(name="windowed")(inputs))
    x = rng.normal(size=(2, 51, 8)).astype("float32")
    full = ats.capture(model, x)["windowed"]
    assert full.sizes == {"sample": 2, "window": 3, "head": 2, "query": 17, "key": 17}
    np.testing.assert_array_equal(full.key_valid, x[:, :, 0].reshape(2, 3, 17) > -1.0)
    monkeypatch.setattr(current(), "tile_bytes", lambda tensor: 1)
    streamed = ats.capture(model, x, summaries=[ats.Received(), ats.Entropy()])
    np.testing.assert_allclose(streamed["windowed"], full.mean("query"), atol=1e-6)
    terms = np.where(full > 0, full * np.log2(np.maximum(full, 1e-30)), 0.0)
    np.testing.assert_allclose(streamed.select("entropy")["windowed"], -terms.sum(-1), atol=1e-6)


def test_a_mask_of_samples_by_keys_as_keras_on_jax_takes_it(rng, backend):
    if backend != "jax":
        pytest.skip("only Keras on JAX takes such a mask")

    class Masked(layers.Layer):
        def call(self, x, mask_of_keys):
            heads = ops.reshape(x, (-1, 5, 2, 4))
            return ops.reshape(ops.dot_product_attention(heads, heads, heads, mask=mask_of_keys), (-1, 5, 8))

        def compute_output_shape(self, x_shape, mask_of_keys_shape):
            return x_shape

    inputs, mask = keras.Input((5, 8)), keras.Input((5,), dtype="bool")
    model = keras.Model([inputs, mask], Masked(name="masked")(inputs, mask))
    x = rng.normal(size=(3, 5, 8)).astype("float32")
    kept = np.array([[True] * 5, [True] * 3 + [False] * 2, [False] + [True] * 4])
    maps = ats.capture(model, [x, kept])
    np.testing.assert_array_equal(maps["masked"].key_valid, kept)
    np.testing.assert_array_equal((maps["masked"] > 0).all(("head", "query")), kept)
    np.testing.assert_allclose(maps.outputs, model.predict([x, kept], verbose=0), atol=1e-6)
