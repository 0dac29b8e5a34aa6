"""Blocks with a residual connection, norm before or behind, and what one head carries, from the weights."""

import keras
from keras import layers, ops

from layers_by_hand import numbers

SAMPLES, LENGTH, WIDTH, HEADS = 3, 5, 6, 2


class PostNorm(layers.Layer):
    """BERT's order, added with a plus that no layer makes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(HEADS, 4, name="attention")
        self.norm = layers.LayerNormalization(epsilon=1e-3, name="norm")

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x + self.attention(x, x))


class Doubled(PostNorm):
    """A residual connection that nobody would guess."""

    def call(self, x):
        return self.norm(2 * x + self.attention(x, x))


def post_norm(rng, block=PostNorm, blocks=1):
    x = y = keras.Input((LENGTH, WIDTH))
    for number in range(blocks):
        y = block(name=f"block_{number}")(y)
    return randomised(keras.Model(x, y), rng)


def pre_norm(rng):
    """GPT-2's order, with layers of Keras for everything."""
    x = keras.Input((LENGTH, WIDTH))
    normed = layers.LayerNormalization(name="before")(x)
    y = layers.Add(name="sum")([x, layers.MultiHeadAttention(HEADS, 4, name="attention")(normed, normed)])
    return randomised(keras.Model(x, layers.Dense(3)(layers.LayerNormalization(name="next")(y))), rng)


def randomised(model, rng):
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32") / 2 + 0.1))
    return model


def carried(mha, x, scores, sample, head, query, key):
    """a f(x_j) of one head, from the weights."""
    (value, bias), (out, _) = map(numbers, mha.value_dense.weights), map(numbers, mha.output_dense.weights)
    return scores[sample, head, query, key] * ((x[sample, key] @ value[:, head] + bias[head]) @ out[head])
