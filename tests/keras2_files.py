"""Files as Keras 2 wrote them: ``python keras2_files.py FOLDER`` makes them all with `tf_keras`.

Each model gives ``NAME.h5`` and ``NAME.keras``, ``NAME.weights_only.h5`` and ``NAME.npz`` with what goes in
(``input_0``, ...) and what `tf_keras` answers (``output_0``, ...). Weights are random, so that no two can be swapped
unnoticed.
"""

import sys
from pathlib import Path

import numpy as np

SAMPLES, STEPS, WIDTH, WORDS = 3, 7, 5, 11


def features(rng):
    return [rng.normal(size=(SAMPLES, STEPS, WIDTH)).astype("float32")]


def two_features(rng):
    return [*features(rng), rng.normal(size=(SAMPLES, 2, WIDTH)).astype("float32")]


def words(rng):
    """Padded at the end, by a different length for each sample."""
    ids = rng.integers(1, WORDS, size=(SAMPLES, STEPS)).astype("int32")
    for sample in range(SAMPLES):
        ids[sample, STEPS - sample :] = 0
    return [ids]


def multi_head(keras, tf):
    x, y = keras.Input((STEPS, WIDTH)), keras.Input((2, WIDTH))
    layer = keras.layers.MultiHeadAttention(3, 2, value_dim=7, dropout=0.1, name="attention")
    z, scores = layer(x, y, return_attention_scores=True)
    return keras.Model([x, y], [z, scores])


def self_attention(keras, tf):
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.LayerNormalization()(x)
    y = keras.layers.MultiHeadAttention(3, 2)(query=y, value=y, use_causal_mask=True)
    y = keras.layers.Add()([x, y])
    return keras.Model(x, keras.layers.Dense(2, activation="gelu")(keras.layers.GlobalAveragePooling1D()(y)))


def dot_attention(keras, tf):
    x, y = keras.Input((STEPS, WIDTH)), keras.Input((2, WIDTH))
    z = keras.layers.Attention(use_scale=True)([x, y])
    return keras.Model([x, y], keras.layers.Concatenate()([x, z]))


def concat_attention(keras, tf):
    x, y = keras.Input((STEPS, WIDTH)), keras.Input((2, WIDTH))
    z, scores = keras.layers.Attention(score_mode="concat", dropout=0.1)([x, y], return_attention_scores=True)
    return keras.Model([x, y], [z, scores])


def additive_attention(keras, tf):
    x, y = keras.Input((STEPS, WIDTH)), keras.Input((2, WIDTH))
    return keras.Model([x, y], keras.layers.AdditiveAttention(name="additive")([x, y]))


def _over_states(keras, tf, recurrent):
    """The recipe of a well-known answer: a softmax over the states of a recurrent layer, summed by an operator."""
    x = keras.Input((STEPS,))
    states = recurrent(keras.layers.Embedding(WORDS, WIDTH, input_length=STEPS)(x))
    scores = keras.layers.TimeDistributed(keras.layers.Dense(1, activation="tanh"))(states)
    scores = keras.layers.Activation("softmax", name="attention_vec")(keras.layers.Flatten()(scores))
    scores = keras.layers.Permute([2, 1])(keras.layers.RepeatVector(int(states.shape[-1]))(scores))
    pooled = tf.reduce_sum(keras.layers.multiply([states, scores]), axis=1)
    return keras.Model(x, keras.layers.Dense(1, activation="sigmoid")(pooled))


def lstm_states(keras, tf):
    return _over_states(keras, tf, keras.layers.LSTM(13, return_sequences=True))


def gru_states(keras, tf):
    return _over_states(keras, tf, keras.layers.GRU(13, return_sequences=True, recurrent_dropout=0.2))


def old_gru(keras, tf):
    return _over_states(keras, tf, keras.layers.GRU(13, return_sequences=True, reset_after=False, implementation=1))


def masked(keras, tf):
    x = keras.Input((STEPS,), dtype="int32")
    states = keras.layers.Embedding(WORDS, 4, mask_zero=True)(x)
    states = keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))(states)
    states = keras.layers.Attention()([states, states])
    return keras.Model(x, keras.layers.GRU(3)(states))


def masked_multi_head(keras, tf):
    """A post-norm block: the mask goes into the attention, past it, and into the mean."""
    x = keras.Input((STEPS,), dtype="int32")
    y = keras.layers.Embedding(WORDS, 4, mask_zero=True)(x)
    z = keras.layers.MultiHeadAttention(2, 3)(y, y)
    y = keras.layers.LayerNormalization()(keras.layers.Add()([y, z]))
    return keras.Model(x, keras.layers.GlobalAveragePooling1D()(y))


def old_activations(keras, tf):
    """Keras 2 and 3 mean different functions by ``hard_sigmoid``."""
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True)(x)
    y = keras.layers.LeakyReLU(0.1)(keras.layers.Dense(4, activation="hard_sigmoid")(y))
    y = keras.layers.ThresholdedReLU(0.6)(keras.layers.Activation("hard_sigmoid")(y))
    return keras.Model(x, keras.layers.ReLU(2.0, negative_slope=0.1)(keras.layers.PReLU()(y)))


def bidirectional(keras, tf):
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True), merge_mode="sum")(x)
    y = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))(y)
    return keras.Model(x, keras.layers.AdditiveAttention()([y, y]))


def states_of_recurrent(keras, tf):
    """An encoder gives its states to a decoder, by keyword; the decoder attends to the encoder."""
    x, y = keras.Input((STEPS, WIDTH)), keras.Input((2, WIDTH))
    encoded, h, c = keras.layers.LSTM(4, return_sequences=True, return_state=True)(x)
    decoded = keras.layers.LSTM(4, return_sequences=True)(y, initial_state=[h, c])
    return keras.Model([x, y], keras.layers.Attention()([decoded, encoded]))


def convolutional(keras, tf):
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.Conv1D(4, 3, padding="causal", kernel_regularizer="l2", bias_constraint="non_neg")(x)
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.ReLU()(keras.layers.SpatialDropout1D(0.1)(y))
    y = keras.layers.MaxPooling1D(2)(y)
    return keras.Model(x, keras.layers.MultiHeadAttention(2, 3)(y, y))


def nested(keras, tf):
    """A frozen model, called twice, within a model; a Sequential within it as well; same shapes everywhere."""
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.BatchNormalization()(keras.layers.Dense(WIDTH)(x))
    y = keras.layers.BatchNormalization()(keras.layers.Dense(WIDTH)(y))
    block = keras.Model(x, keras.layers.MultiHeadAttention(2, 3)(y, y), name="block")
    block.trainable = False
    head = keras.Sequential([keras.Input((STEPS, WIDTH)), keras.layers.Dense(3), keras.layers.Dense(2)], name="head")
    x = keras.Input((STEPS, WIDTH))
    return keras.Model(x, head(block(block(x))))


def nested_last(keras, tf):
    """The outputs are those of inner models: one functional, one a Sequential."""
    inner = keras.Input((WIDTH,))
    block = keras.Model(inner, [keras.layers.Dense(3)(inner), keras.layers.Dense(3)(inner)], name="block")
    head = keras.Sequential([keras.layers.Dense(2, input_shape=(WIDTH,))], name="head")
    x = keras.Input((STEPS, WIDTH))
    pooled = keras.layers.GlobalMaxPooling1D()(x)
    first, second = block(pooled)
    return keras.Model(x, [second, head(pooled), first])


def sequential(keras, tf):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Embedding(WORDS, 4, input_length=STEPS, mask_zero=True),
            layers.Dropout(0.5),
            layers.LSTM(3, return_sequences=True, implementation=1),
            layers.TimeDistributed(layers.Dense(2)),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def operators(keras, tf):
    """What TFOpLambda and SlicingOpLambda stand for."""
    x = keras.Input((STEPS, WIDTH))
    query, key = keras.layers.Dense(3)(x), keras.layers.Dense(3)(x)
    logits = tf.matmul(query, key, transpose_b=True) / 3.0**0.5
    logits = logits + (1.0 - tf.cast(tf.not_equal(x[:, :, 0], 0.0), "float32"))[:, None, :] * -1e9
    scores = tf.nn.softmax(logits, axis=-1)
    y = tf.matmul(scores, x)
    y = 2.0 - y * 2
    y = tf.expand_dims(tf.reduce_sum(y, axis=1), 1) + tf.constant([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
    y = tf.squeeze(y, axis=1)
    z = tf.transpose(x, [0, 2, 1])[:, :, -1]
    z = -(tf.sqrt(tf.abs(z)) ** 2) + tf.tanh(tf.reduce_mean(x, axis=[1], keepdims=False))
    w = tf.concat([y, z, tf.reshape(x, [-1, STEPS * WIDTH])[:, 1:6:2]], axis=-1)
    w = tf.stack([w, tf.maximum(w, 0.0), tf.where(w > 0.5, w, w * 0.1)], axis=1) / 50.0
    return keras.Model(x, tf.matmul(w, w, transpose_b=True))


def by_hand(keras, tf):
    """A layer of the user's own, with weights, a sublayer and an argument."""
    x = keras.Input((STEPS, WIDTH))
    return keras.Model(x, _own_layer(keras, tf)(3, name="own")(x))


def _own_layer(keras, tf):
    class ByHand(keras.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.project = keras.layers.Dense(units, activation="tanh")

        def build(self, shape):
            self.context = self.add_weight(name="context", shape=(self.units, 1), initializer="glorot_uniform")
            super().build(shape)

        def call(self, x):
            scores = tf.nn.softmax(tf.matmul(self.project(x), self.context), axis=1)
            return tf.reduce_sum(scores * x, axis=1)

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return ByHand


def summed_by_lambda(keras, tf):
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.Lambda(lambda xin: K.sum(xin, axis=1))(x)
    return keras.Model(x, keras.layers.Dense(2)(y))


def doubled_by_lambda(keras, tf):
    x = keras.Input((STEPS, WIDTH))
    return keras.Model(x, keras.layers.Dense(2)(keras.layers.Lambda(lambda xin: xin * 2.0, name="twice")(x)))


def subclassed(keras, tf):
    """A model of the user's own, without a graph; only the newer format keeps such models whole."""

    class Classifier(keras.Model):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units
            self.embed = keras.layers.Embedding(WORDS, 4)
            self.attend = keras.layers.MultiHeadAttention(2, 3)
            self.stack = [keras.layers.Dense(units), keras.layers.Dense(units)]

        def call(self, x):
            y = self.embed(x)
            y = self.attend(y, y)
            for layer in self.stack:
                y = layer(y)
            return y

        def get_config(self):
            return {"units": self.units, "name": self.name}

    return Classifier(5)


def odd(keras, tf):
    """Cells, a Sequential that was built late, one within a TimeDistributed, a slash in a name, an adapted layer."""
    x = keras.Input((STEPS, WIDTH))
    scaling = keras.layers.Normalization()
    scaling.adapt(np.arange(SAMPLES * STEPS * WIDTH).reshape(SAMPLES, STEPS, WIDTH) / 40.0)
    cells = [keras.layers.LSTMCell(4), keras.layers.GRUCell(3)]
    y = keras.layers.RNN(cells, return_sequences=True)(scaling(x))
    y = keras.layers.TimeDistributed(keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)]))(y)
    y = keras.Sequential([keras.layers.Dense(4, name="a/b"), keras.layers.LayerNormalization()], name="late")(y)
    return keras.Model(x, keras.layers.Softmax()(keras.layers.Dot((2, 2))([y, y])))


def crossed(keras, tf):
    """Two layers alike, whose order in the file is not that of their names nor of their making."""
    x = keras.Input((STEPS, WIDTH))
    one, two = keras.layers.Dense(5, name="z"), keras.layers.Dense(5, name="a")
    second, first = two(x), one(x)
    return keras.Model(x, [second, first, keras.layers.Dense(5)(first) + keras.layers.Dense(5)(second)])


def half_precision(keras, tf):
    x = keras.Input((STEPS, WIDTH))
    y = keras.layers.MultiHeadAttention(2, 3, dtype=keras.mixed_precision.Policy("mixed_bfloat16"))(x, x)
    return keras.Model(x, keras.layers.Dense(2, dtype="float32")(y))


MODELS = {
    "multi_head": (multi_head, two_features),
    "self_attention": (self_attention, features),
    "dot_attention": (dot_attention, two_features),
    "concat_attention": (concat_attention, two_features),
    "additive_attention": (additive_attention, two_features),
    "lstm_states": (lstm_states, words),
    "gru_states": (gru_states, words),
    "old_gru": (old_gru, words),
    "masked": (masked, words),
    "masked_multi_head": (masked_multi_head, words),
    "old_activations": (old_activations, features),
    "bidirectional": (bidirectional, features),
    "states_of_recurrent": (states_of_recurrent, two_features),
    "convolutional": (convolutional, features),
    "nested": (nested, features),
    "nested_last": (nested_last, features),
    "sequential": (sequential, words),
    "operators": (operators, features),
    "by_hand": (by_hand, features),
    "summed_by_lambda": (summed_by_lambda, features),
    "subclassed": (subclassed, words),
    "odd": (odd, features),
    "crossed": (crossed, features),
    "doubled_by_lambda": (doubled_by_lambda, features),
    "half_precision": (half_precision, features),
}


# Calls of TensorFlow functions by name; "$x" stands for the array x below.
_TWO = {"x": "$x", "y": "$y"}
_REDUCED = {"input_tensor": "$x", "axis": [1, 2], "keepdims": True}
CALLS = {
    "__operators__.getitem": {"tensor": "$x", "slice_spec": [{"start": None, "stop": -1, "step": 2}, 1, None]},
    "__operators__.add": _TWO,
    "__operators__.eq": {"x": "$x", "y": "$y"},
    "__operators__.ne": {"x": "$x", "y": "$y"},
    **{f"math.{name}": _TWO for name in ("add", "subtract", "multiply", "truediv", "divide", "maximum", "minimum")},
    **{f"math.{name}": _TWO for name in ("squared_difference", "equal", "not_equal", "greater", "greater_equal")},
    **{f"math.{name}": _TWO for name in ("less", "less_equal", "floordiv", "floormod")},
    "math.pow": {"x": "$positive", "y": 1.7},
    "math.logical_and": {"x": "$yes", "y": "$no"},
    "math.logical_or": {"x": "$yes", "y": "$no"},
    "math.logical_not": {"x": "$yes"},
    **{f"math.{name}": {"x": "$x"} for name in ("negative", "abs", "exp", "square", "sin", "cos", "tanh", "sigmoid")},
    **{f"math.{name}": {"x": "$positive"} for name in ("log", "sqrt", "rsqrt")},
    "nn.tanh": {"x": "$x"},
    "nn.sigmoid": {"x": "$x"},
    **{f"nn.{name}": {"features": "$x"} for name in ("relu", "relu6", "elu", "softplus", "gelu", "leaky_relu")},
    "nn.silu": {"features": "$x", "beta": 1.3},
    "nn.softmax": {"logits": "$x", "axis": 1},
    "nn.log_softmax": {"logits": "$x", "axis": None},
    "math.l2_normalize": {"x": "$x", "axis": [0, 2]},
    **{f"math.reduce_{name}": _REDUCED for name in ("sum", "mean", "max", "min", "prod", "std", "variance")},
    "math.reduce_any": {"input_tensor": "$yes", "axis": 1},
    "math.reduce_all": {"input_tensor": "$yes", "axis": 1},
    "math.argmax": {"input": "$x", "axis": 2},
    "math.cumsum": {"x": "$x", "axis": 1},
    "linalg.matmul": {"a": "$x", "b": "$y", "transpose_b": True},
    "transpose": {"a": "$x", "perm": [2, 0, 1]},
    "linalg.matrix_transpose": {"a": "$x"},
    "expand_dims": {"input": "$x", "axis": -2},
    "squeeze": {"input": "$thin", "axis": [1]},
    "reshape": {"tensor": "$x", "shape": [5, -1]},
    "concat": {"values": ["$x", "$y"], "axis": 1},
    "stack": {"values": ["$x", "$y"], "axis": 2},
    "unstack": {"value": "$x", "axis": 1},
    "split": {"value": "$x", "num_or_size_splits": [1, 4], "axis": 2},
    "tile": {"input": "$x", "multiples": [2, 1, 3]},
    "repeat": {"input": "$x", "repeats": 2, "axis": 1},
    "reverse": {"tensor": "$x", "axis": [0, 2]},
    "gather": {"params": "$x", "indices": "$ids", "axis": 2},
    "where": {"condition": "$yes", "x": "$x", "y": 0.5},
    "cast": {"x": "$yes", "dtype": "float32"},
    "clip_by_value": {"t": "$x", "clip_value_min": -0.5, "clip_value_max": 0.4},
    "identity": {"input": "$x"},
    "stop_gradient": {"input": "$x"},
    "ones_like": {"input": "$x", "dtype": "int32"},
    "zeros_like": {"input": "$yes"},
}


def arrays():
    """What the calls are about; sizes 2, 3, 5, all different."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 2, 3, 5)).astype("float32")
    y = np.where(rng.random(size=y.shape) < 0.3, x, y)
    return {
        **{"x": x, "y": y, "positive": np.abs(x) + 0.1, "thin": x[:, :1], "yes": x > y, "no": x < 0.1},
        "ids": np.array([4, 0, 2, 2], "int32"),
    }


def filled(value, found):
    """The arguments of a call with the arrays in them."""
    if isinstance(value, list):
        return [filled(item, found) for item in value]
    return found[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def answers(tf):
    """What TensorFlow's functions give for the calls: ``NAME/0``, ``NAME/1`` and so on."""
    special = {
        "__operators__.getitem": lambda tensor, slice_spec: tensor[:-1:2, 1, None],
        "__operators__.add": lambda x, y: x + y,
        "__operators__.eq": lambda x, y: x == y,
        "__operators__.ne": lambda x, y: x != y,
    }
    found = {name: tf.constant(array) for name, array in arrays().items()}
    given = {}
    for name, arguments in CALLS.items():
        function = special.get(name)
        if function is None:
            function = tf
            for part in name.split("."):
                function = getattr(function, part)
        result = tf.nest.flatten(function(**{key: filled(value, found) for key, value in arguments.items()}))
        given.update({f"{name}/{place}": array.numpy() for place, array in enumerate(result)})
    return given


def make(folder):
    """Write them all."""
    import tensorflow as tf
    import tf_keras

    global K
    K = tf_keras.backend

    np.savez(folder / "functions.npz", **answers(tf))
    for seed, (name, (model_of, inputs_of)) in enumerate(MODELS.items()):
        tf_keras.backend.clear_session()
        rng = np.random.default_rng(seed)
        model, inputs = model_of(tf_keras, tf), inputs_of(rng)
        if not model.built:
            model(inputs[0])
        model.set_weights(
            [rng.uniform(0.05, 0.35, size=w.shape).astype(w.dtype) if w.size > 1 else w for w in model.get_weights()]
        )
        outputs = tf.nest.flatten(model(inputs[0] if len(inputs) == 1 else inputs))
        model.compile("adam", "mse")
        if name != "subclassed":
            model.save(folder / f"{name}.h5")
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights_only.h5")
        np.savez(
            folder / f"{name}.npz",
            **{f"input_{place}": x for place, x in enumerate(inputs)},
            **{f"output_{place}": tf.cast(y, "float32").numpy() for place, y in enumerate(outputs)},
        )


if __name__ == "__main__":
    make(Path(sys.argv[1]))
