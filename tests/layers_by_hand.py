"""The layers' attention from their papers' equations, in loops and float64, and a small model around each layer."""

import math

import keras
import numpy as np

from attnscope.layers import AttentionPooling, InterpretableMultiHeadAttention, SharedValueMultiHeadAttention

SAMPLES, LENGTH, WIDTH, HEADS, SIZE, UNITS = 7, 5, 6, 3, 4, 11


def numbers(variable):
    return np.asarray(keras.ops.convert_to_numpy(variable), dtype="float64")


def softmax_row(logits, allowed):
    """Softmax over the allowed places, 0 elsewhere; all 0 where none is allowed."""
    highest = max(logits)
    exponentials = [math.exp(logit - highest) if may else 0.0 for logit, may in zip(logits, allowed, strict=True)]
    total = sum(exponentials)
    return [exponential / total if total else 0.0 for exponential in exponentials]


def projected(dense, tensor):
    """What a Dense gives, or an EinsumDense into heads: dims (sample, position, head x size)."""
    kernel = numbers(dense.kernel).reshape(tensor.shape[-1], -1)
    bias = numbers(dense.bias).reshape(-1) if dense.bias is not None else np.zeros(kernel.shape[1])
    return np.array([[row @ kernel + bias for row in sample] for sample in np.asarray(tensor, "float64")])


def head_scores(layer, query, key, allowed):
    """Scaled dot products of every head: dims (sample, head, query, key); `allowed` has dims (sample, query, key)."""
    heads = layer.num_heads
    queries, keys = projected(layer.query_dense, query), projected(layer.key_dense, key)
    size = queries.shape[-1] // heads
    scores = np.zeros((len(query), heads, query.shape[1], key.shape[1]))
    for sample, head, position in np.ndindex(*scores.shape[:3]):
        own = slice(head * size, (head + 1) * size)
        logits = [queries[sample, position, own] @ row[own] / math.sqrt(size) for row in keys[sample]]
        scores[sample, head, position] = softmax_row(logits, allowed[sample, position])
    return scores


def shared_value_output(layer, scores, value):
    """Equations 14 to 16 of Lim et al. as sums over heads and keys."""
    values = projected(layer.value_dense, value)
    output = np.zeros((*scores.shape[0:1], scores.shape[2], values.shape[-1]))
    for sample, head, query, key in np.ndindex(*scores.shape):
        output[sample, query] += scores[sample, head, query, key] * values[sample, key] / scores.shape[1]
    return projected(layer.output_dense, output)


def pooling_scores(layer, states, allowed, query=None):
    """How well each state answers the query: dims (sample, key); `allowed` has the same."""
    keys = projected(layer.key_dense, states)
    asked = None if query is None else projected(layer.query_dense, query[:, None])[:, 0]
    scores = np.zeros(states.shape[:2])
    for sample in range(len(states)):
        logits = []
        for key in keys[sample]:
            if layer.score == "dot":
                against = numbers(layer.vector)[:, 0] if asked is None else asked[sample]
                logits.append(key @ against / math.sqrt(layer.units))
            else:
                logits.append(np.tanh(key if asked is None else key + asked[sample]) @ numbers(layer.vector)[:, 0])
        scores[sample] = softmax_row(logits, allowed[sample])
    return scores


def scores_by_hand(layer, x, mask=None, *, causal=False):
    """What `attention_scores` should be after the layer attended over `x` itself."""
    x = np.asarray(x, dtype="float64")
    mask = np.ones(x.shape[:2], dtype=bool) if mask is None else mask
    if isinstance(layer, AttentionPooling):
        return pooling_scores(layer, x, mask)
    allowed = mask[:, :, None] & mask[:, None, :]
    if causal:
        allowed = allowed & np.tril(np.ones((x.shape[1], x.shape[1]), dtype=bool))
    return head_scores(layer, x, x, allowed)


LAYERS = {
    "InterpretableMultiHeadAttention": lambda **options: InterpretableMultiHeadAttention(SIZE, HEADS, **options),
    "SharedValueMultiHeadAttention": lambda **options: SharedValueMultiHeadAttention(HEADS, SIZE, **options),
    "AttentionPooling, additive": lambda **options: AttentionPooling(UNITS, **options),
    "AttentionPooling, dot": lambda **options: AttentionPooling(UNITS, score="dot", **options),
}


def attending(name, *, masked=False, length=LENGTH, **options):
    """A model around the named layer, and the layer; `masked` leaves out positions that are all 0."""
    inputs = keras.Input((length, WIDTH))
    layer = LAYERS[name](name="attention", **options)
    attended = layer(keras.layers.Masking()(inputs) if masked else inputs)
    pooled = keras.layers.GlobalAveragePooling1D()(attended) if len(attended.shape) == 3 else attended
    return keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(pooled)), layer


def sequences(rng, samples=SAMPLES, length=LENGTH):
    return rng.normal(size=(samples, length, WIDTH)).astype("float32")


def padded(rng, samples=SAMPLES, length=LENGTH):
    """Sequences whose ends are 0, and where they are not."""
    x, mask = sequences(rng, samples, length), np.ones((samples, length), dtype=bool)
    for sample in range(samples):
        mask[sample, 1 + sample % length :] = False
    return x * mask[..., None], mask
