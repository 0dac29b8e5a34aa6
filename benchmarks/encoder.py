"""The model that several benchmarks run: a pre-norm encoder whose attention takes Keras' fused path."""

from __future__ import annotations


def build(length: int, width: int, heads: int, layers: int, *, with_scores: bool = False):
    """The encoder; with scores, a second output per layer that Keras' own route to them gives.

    Args:
        length: Tokens.
        width: Units of each token.
        heads: Heads of each layer.
        layers: Layers.
        with_scores: Whether the model also returns every layer's scores.
    """
    import keras
    from keras.layers import Dense, LayerNormalization, MultiHeadAttention

    inputs = keras.Input((length, width))
    x, scores = inputs, []
    for block in range(layers):
        normed = LayerNormalization()(x)
        attention = MultiHeadAttention(heads, width // heads, name=f"attention_{block}")
        if with_scores:
            attended, given = attention(normed, normed, return_attention_scores=True)
            scores.append(given)
        else:
            attended = attention(normed, normed)
        x = x + attended
        x = x + Dense(width)(Dense(4 * width, activation="gelu")(LayerNormalization()(x)))
    return keras.Model(inputs, [x, *scores] if with_scores else x)
