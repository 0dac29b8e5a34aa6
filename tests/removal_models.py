"""Models whose answers to removals are known by hand, for the tests of removal, perturbation and faithfulness."""

import keras
import numpy as np
from keras import layers, ops

VALUES = np.array([0.0, 1.5, -2.0, 0.25, 3.0, -0.75, 1.0, 2.25, -1.25, 0.5, 4.0], "float32")
"""What each token of `tokens_model` is worth; 0 is padding, 10 stands for nothing."""
WEIGHTS = np.array([0.5, -1.0, 2.0, 0.75, -0.25, 1.25, 3.0], "float32")
"""What each position of `tokens_model` counts."""


def linear(weights, bias=0.0):
    """One number from features: their weighted sum."""
    inputs = keras.Input((len(weights),))
    layer = layers.Dense(1)
    model = keras.Model(inputs, layer(inputs))
    layer.set_weights([np.asarray(weights, "float32")[:, None], np.asarray([bias], "float32")])
    return model


def curved(rng, features=5):
    """Two numbers from features, with everything depending on everything; and the same in NumPy, in float64."""
    inputs = keras.Input((features,))
    hidden, last = layers.Dense(7, activation="tanh"), layers.Dense(2)
    model = keras.Model(inputs, last(hidden(inputs)))
    a, b, c, d = (rng.normal(size=shape).astype("float32") for shape in ((features, 7), (7,), (7, 2), (2,)))
    hidden.set_weights([a, b])
    last.set_weights([c, d])
    return model, lambda x: np.tanh(x.astype(np.float64) @ a + b) @ c + d


class Weighted(layers.Layer):
    """Sum over positions of weight times value of the token plus a tenth of its segment, padding left out."""

    def call(self, tokens, segments, mask):
        values = ops.take(ops.convert_to_tensor(VALUES), ops.cast(tokens, "int32"), axis=0)
        worth = (values + 0.1 * ops.cast(segments, "float32")) * ops.cast(mask, "float32")
        return ops.sum(worth * ops.convert_to_tensor(WEIGHTS[: tokens.shape[1]]), axis=1, keepdims=True)


def tokens_model(length=7):
    """Inputs as KerasHub's: a dict of token ids, segment ids and padding mask."""
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((length,), dtype="int32", name=name) for name in names}
    return keras.Model(inputs, Weighted()(inputs["token_ids"], inputs["segment_ids"], inputs["padding_mask"]))


def worth(tokens, segments, mask):
    """What `tokens_model` says of one sample, by a loop."""
    total = 0.0
    for place, (token, segment, real) in enumerate(zip(tokens, segments, mask, strict=True)):
        total += float(WEIGHTS[place]) * (float(VALUES[token]) + 0.1 * segment) * real
    return total


def token_inputs():
    """Three samples of lengths 7, 4 and 2."""
    tokens = np.array([[1, 4, 3, 7, 2, 5, 8], [6, 2, 4, 9, 0, 0, 0], [3, 1, 0, 0, 0, 0, 0]], "int32")
    segments = np.array([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0]], "int32")
    return {"token_ids": tokens, "segment_ids": segments, "padding_mask": (tokens != 0).astype("int32")}
