"""The models that the tests look into; every size is a prime of its own, so that no axis passes for another."""

import keras
from keras import layers, ops


def seed_model(length=23, units=29, vocabulary=31, name="attention_vec"):
    """The recurrent classifier with attention that people copy; its softmax has no telling class."""
    visible = keras.Input((length,))
    embedded = layers.Embedding(vocabulary, 11)(visible)
    states = layers.GRU(units, return_sequences=True)(embedded)
    scores = layers.TimeDistributed(layers.Dense(1, activation="tanh"))(states)
    scores = layers.Flatten()(scores)
    scores = layers.Activation("softmax", name=name)(scores)
    repeated = layers.Permute([2, 1])(layers.RepeatVector(units)(scores))
    weighted = layers.multiply([states, repeated])
    summed = layers.Lambda(lambda x: ops.sum(x, axis=1), output_shape=(units,))(weighted)
    return keras.Model(visible, layers.Dense(3, activation="softmax", name="classes")(summed))


def transformer(length=7, width=10, heads=2, blocks=2, dropout=0.0, mask_zero=True, vocabulary=13):
    """A small pre-norm encoder over tokens, 0 being padding."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = layers.Embedding(vocabulary, width, mask_zero=mask_zero, name="embedding")(tokens)
    for block in range(blocks):
        normed = layers.LayerNormalization(name=f"norm_{block}")(x)
        attention = layers.MultiHeadAttention(heads, 5, dropout=dropout, name=f"attention_{block}")
        x = layers.Add(name=f"add_{block}")([x, attention(normed, normed)])
    pooled = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(3, activation="softmax", name="classes")(pooled))


def padded_tokens(rng, samples=11, length=7, vocabulary=13):
    """Token numbers whose ends are padding, of a length of its own in every sample."""
    tokens = rng.integers(1, vocabulary, (samples, length))
    for sample in range(samples):
        tokens[sample, 2 + sample % (length - 1) :] = 0
    return tokens


def framework_softmax(logits, axis):
    """The softmax as people call it who do not go through Keras."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.nn.softmax(logits, axis=axis)
    if backend == "jax":
        import jax

        return jax.nn.softmax(logits, axis=axis)
    import torch

    return torch.nn.functional.softmax(logits, dim=axis)


class Bahdanau(layers.Layer):
    """Additive attention as tutorials have it: the softmax runs over axis 1 of (batch, time, 1)."""

    def __init__(self, units=5, softmax=framework_softmax, **kwargs):
        super().__init__(**kwargs)
        self.of_query, self.of_values, self.energy = layers.Dense(units), layers.Dense(units), layers.Dense(1)
        self.softmax = softmax

    def build(self, query_shape, values_shape):
        self.of_query.build((*query_shape[:1], 1, query_shape[-1]))
        self.of_values.build(values_shape)
        self.energy.build((*values_shape[:2], self.of_values.units))

    def call(self, query, values):
        query = ops.expand_dims(query, 1)
        score = self.energy(ops.tanh(self.of_query(query) + self.of_values(values)))
        weights = self.softmax(score, 1)
        return ops.sum(weights * values, axis=1), weights


def bahdanau_model(layer=Bahdanau, **options):
    query, values = keras.Input((4,), name="query"), keras.Input((7, 6), name="values")
    context, _ = layer(name="bahdanau", **options)(query, values)
    return keras.Model([query, values], layers.Dense(3, activation="softmax", name="classes")(context))


class Transformed(layers.Layer):
    """Leaves each sequence as long as it is, by an operation that no trace follows."""

    def call(self, x):
        return ops.fft((x, ops.zeros_like(x)))[0]


class ByHand(layers.Layer):
    """Weights made with exp over sum, which no interception can see; returned beside the context."""

    def build(self, shape):
        self.vector = self.add_weight(shape=(shape[-1], 1), name="vector")

    def call(self, states):
        energy = ops.exp(ops.matmul(states, self.vector))
        weights = energy / ops.sum(energy, axis=1, keepdims=True)
        return ops.sum(weights * states, axis=1), weights


class AttendingCell(layers.Layer):
    """A recurrent cell that attends over the sensors of its step, as in dual-stage attention networks."""

    def __init__(self, units=5, sensors=3, **kwargs):
        super().__init__(**kwargs)
        self.units, self.sensors, self.state_size, self.output_size = units, sensors, units, units

    def build(self, shape):
        self.width = shape[-1] // self.sensors
        self.kernel = self.add_weight(shape=(self.width + self.units, self.units), name="kernel")
        self.vector = self.add_weight(shape=(self.units, self.width), name="vector")
        self.built = True

    def call(self, inputs, states):
        sensors = ops.reshape(inputs, (-1, self.sensors, self.width))
        query = ops.matmul(states[0], self.vector)
        weights = ops.softmax(ops.sum(sensors * (1.0 + query[:, None]), axis=-1), axis=-1)
        context = ops.sum(weights[..., None] * sensors, axis=1)
        state = ops.tanh(ops.matmul(ops.concatenate([context, states[0]], axis=-1), self.kernel))
        return state, [state]


def recurrent_model(mask_zero=False):
    inputs = keras.Input((7, 6))
    x = layers.Masking()(inputs) if mask_zero else inputs
    x = layers.RNN(AttendingCell(name="cell"), return_sequences=True, name="rnn")(x)
    return keras.Model(inputs, layers.Dense(2)(x))
