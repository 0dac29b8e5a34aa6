"""A softmax is followed along whichever axis it runs; TensorFlow moves that axis to the end and back to compute it."""

import keras
import numpy as np
import pytest
from keras import ops

import attnscope as ats

pytestmark = pytest.mark.every_backend


class Attend(keras.layers.Layer):
    """Self-attention whose scores have the axes of these letters: `s` are the keys, `t` asks."""

    def __init__(self, letters, from_the_end, **options):
        super().__init__(**options)
        self.letters, self.from_the_end = letters, from_the_end

    def call(self, x):
        logits = ops.einsum(f"btc,bsc->{self.letters}", x, x)
        axis = self.letters.index("s") - (len(self.letters) if self.from_the_end else 0)
        return ops.einsum(f"{self.letters},bsc->btc", ops.softmax(logits, axis=axis), x)


@pytest.mark.parametrize("from_the_end", [False, True])
@pytest.mark.parametrize("letters", ["bts", "bst", "sbt", "stb", "tsb"])
def test_the_keys_are_known_along_any_axis(letters, from_the_end, rng):
    x = keras.Input((4, 4), name="x")
    model = keras.Model(x, Attend(letters, from_the_end, name="site")(x))
    data = rng.normal(size=(4, 4, 4)).astype("float32")
    [site] = ats.sites(model, data)
    assert (site.taken, site.certainty, site.dims) == (True, "traced", ("sample", "query", "key"))
    exponentials = np.exp(np.einsum("btc,bsc->bts", data, data).astype("float64"))
    scores = ats.capture(model, data, progress=False)["site"]
    np.testing.assert_allclose(scores, exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5)
