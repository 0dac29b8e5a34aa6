"""The ways in which people write attention: each pools a sequence by the same scores, softmax(x @ kernel) along it."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

BACKEND = keras.backend.backend()

Form = Callable[["Pool", "keras.KerasTensor"], "keras.KerasTensor"]


class Pool(layers.Layer):
    """Pools a sequence in one of the ways below."""

    def __init__(self, form: Form, **options):
        super().__init__(**options)
        self.form = form
        self.kept = {}  # what a form compiles once, as people do

    def build(self, shape):
        self.positions, self.features = shape[1:]
        self.kernel = self.add_weight(shape=(self.features, 1), name="kernel", initializer="random_normal")

    def call(self, x):
        return self.form(self, x)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])

    def logits(self, x):
        return ops.matmul(x, ops.convert_to_tensor(self.kernel))

    def scores(self, x):
        """Dims (sample, key, 1)."""
        return ops.softmax(self.logits(x), axis=1)

    def by_hand(self, x):
        logits = x.astype("float64") @ ops.convert_to_numpy(self.kernel)[:, 0]
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)


def pooling(form: Form, positions: int, features: int) -> keras.Model:
    x = keras.Input((positions, features), name="x")
    return keras.Model(x, layers.Dense(2)(Pool(form, name="site")(x)))


def compiled(function):
    """By the framework, as people compile their own functions."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "torch":
        import torch

        return torch.compile(function, backend="eager")
    import tensorflow as tf

    return tf.function(function)


def vectorised(function):
    """The framework's own vectorising map over the first axis."""
    if BACKEND == "jax":
        import jax

        return jax.vmap(function)
    if BACKEND == "torch":
        import torch

        return torch.vmap(function)
    import tensorflow as tf

    return lambda x: tf.vectorized_map(function, x)


def mapped(function):
    """The framework's own map over the first axis, one element after the other."""
    if BACKEND == "jax":
        import jax

        return lambda x: jax.lax.map(function, x)
    if BACKEND == "torch":
        import torch

        return torch.func.vmap(function, in_dims=0)
    import tensorflow as tf

    return lambda x: tf.map_fn(function, x)


def multiplied_and_summed(layer, x):
    return ops.sum(layer.scores(x) * x, axis=1)


def positions_by_number(layer, x):
    scores = layer.scores(x)
    return sum(scores[:, n] * x[:, n] for n in range(layer.positions))


def positions_of_the_weights_alone(layer, x):
    scores = layer.scores(x)[..., 0]
    total = 0
    for n in range(layer.positions):
        total = total + ops.expand_dims(scores[:, n], -1) * x[:, n, :]
    return total


def slices_of_one_position(layer, x):
    scores = layer.scores(x)
    return ops.squeeze(sum(scores[:, n : n + 1] * x[:, n : n + 1] for n in range(layer.positions)), 1)


def unstacked(layer, x):
    pairs = zip(
        ops.unstack(layer.scores(x), layer.positions, axis=1), ops.unstack(x, layer.positions, axis=1), strict=True
    )
    return sum(score * value for score, value in pairs)


def split(layer, x):
    pairs = zip(
        ops.split(layer.scores(x)[..., 0], layer.positions, axis=1),
        ops.split(x, layer.positions, axis=1),
        strict=True,
    )
    return ops.squeeze(sum(score[..., None] * value for score, value in pairs), 1)


def stacked_again(layer, x):
    scores = layer.scores(x)[..., 0]
    return ops.sum(ops.stack([scores[:, n : n + 1] * x[:, n] for n in range(layer.positions)], axis=1), axis=1)


def concatenated_again(layer, x):
    scores = layer.scores(x)
    pieces = [scores[:, n : n + 1] * x[:, n : n + 1] for n in range(layer.positions)]
    return ops.sum(ops.concatenate(pieces, axis=1), axis=1)


def gathered_in_another_order(layer, x):
    order = np.arange(layer.positions)[::-1] if layer.positions < 3 else np.roll(np.arange(layer.positions), 2)
    scores = ops.take(layer.scores(x), order, axis=1)
    return ops.sum(scores * ops.take(x, order, axis=1), axis=1)


def straight_through(layer, x):
    scores = layer.scores(x)[..., 0]
    hard = ops.one_hot(ops.argmax(scores, axis=-1), layer.positions)
    return ops.sum((scores + ops.stop_gradient(hard - scores))[..., None] * x, axis=1)


def masked_and_divided_again(layer, x):
    scores = layer.scores(x)
    kept = scores * ops.cast(x[..., :1] > 0, "float32")
    return ops.sum(kept / (ops.sum(kept, axis=1, keepdims=True) + 1e-9) * x, axis=1)


def einsum_with_an_ellipsis(layer, x):
    logits = ops.einsum("...d,de->...e", x, ops.convert_to_tensor(layer.kernel))
    return ops.einsum("...ke,...kd->...d", ops.softmax(logits, axis=-2), x)


def softmax_in_float32(layer, x):
    half = ops.cast(x, "float16")
    logits = ops.cast(ops.matmul(half, ops.cast(layer.kernel, "float16")), "float32")
    return ops.cast(ops.sum(ops.cast(ops.softmax(logits, axis=1), "float16") * half, axis=1), "float32")


def _of_one(layer):
    """Pools one sample: (position, feature)."""
    kernel = ops.convert_to_tensor(layer.kernel)
    return lambda one: ops.sum(ops.softmax(ops.matmul(one, kernel), axis=0) * one, axis=0)


def map_of_keras(layer, x):
    return ops.map(_of_one(layer), x)


def vectorized_map_of_keras(layer, x):
    return ops.vectorized_map(_of_one(layer), x)


def vectorising_map_of_the_framework(layer, x):
    return vectorised(_of_one(layer))(x)


def map_of_the_framework(layer, x):
    return mapped(_of_one(layer))(x)


def _pool(x, kernel):
    return ops.sum(ops.softmax(ops.matmul(x, kernel), axis=1) * x, axis=1)


def compiled_function(layer, x):
    function = layer.kept.setdefault("pool", compiled(_pool))
    return function(x, ops.convert_to_tensor(layer.kernel))


TAKEN = (
    multiplied_and_summed,
    positions_by_number,
    positions_of_the_weights_alone,
    slices_of_one_position,
    unstacked,
    split,
    stacked_again,
    concatenated_again,
    gathered_in_another_order,
    straight_through,
    masked_and_divided_again,
    einsum_with_an_ellipsis,
    softmax_in_float32,
    map_of_keras,
    vectorized_map_of_keras,
    vectorising_map_of_the_framework,
    map_of_the_framework,
    compiled_function,
)
"""Their scores are taken."""


def log_softmax(layer, x):
    return ops.sum(ops.exp(ops.log_softmax(layer.logits(x), axis=1)) * x, axis=1)


def logsumexp(layer, x):
    logits = layer.logits(x)
    return ops.sum(ops.exp(logits - ops.logsumexp(logits, axis=1, keepdims=True)) * x, axis=1)


def shifted_and_divided(layer, x):
    logits = layer.logits(x)
    exponentials = ops.exp(logits - ops.max(logits, axis=1, keepdims=True))
    return ops.sum(exponentials / ops.sum(exponentials, axis=1, keepdims=True) * x, axis=1)


def masked_and_divided(layer, x):
    """As in many a hierarchical attention network: masked by a product, and kept from dividing by 0."""
    exponentials = ops.exp(ops.tanh(layer.logits(x)[..., 0])) * ops.cast(ops.any(x != 0, axis=-1), x.dtype)
    scores = exponentials / (ops.sum(exponentials, axis=1, keepdims=True) + keras.config.epsilon())
    return ops.sum(scores[..., None] * x, axis=1)


def divided_at_the_end(layer, x):
    exponentials = ops.exp(layer.logits(x))
    return ops.sum(exponentials * x, axis=1) / ops.sum(exponentials, axis=1)


def _written(x, kernel):
    exponentials = ops.exp(ops.matmul(x, kernel))
    return ops.sum(exponentials / ops.sum(exponentials, axis=1, keepdims=True) * x, axis=1)


def compiled_and_divided(layer, x):
    function = layer.kept.setdefault("written", compiled(_written))
    return function(x, ops.convert_to_tensor(layer.kernel))


_BY_THE_SUM = "exp(x) / sum(exp(x))"
WRITTEN_OUT = {
    log_softmax: "exp(log_softmax(x))",
    logsumexp: "exp(log_softmax(x))",
    shifted_and_divided: _BY_THE_SUM,
    masked_and_divided: _BY_THE_SUM,
    divided_at_the_end: "sum(exp(x) * values) / sum(exp(x))",
    compiled_and_divided: _BY_THE_SUM,
}
"""Their scores cannot be taken; with what the reason says about how they are written."""
KEPT = (
    vectorized_map_of_keras,
    vectorising_map_of_the_framework,
    map_of_the_framework,
    compiled_function,
    compiled_and_divided,
)
"""Those of which a framework keeps what it compiled, which is not met again the second time."""


def added(layer, x):
    return ops.mean(layer.scores(x) + x, axis=1)


def strongest_alone(layer, x):
    picked = ops.one_hot(ops.argmax(layer.scores(x)[..., 0], axis=-1), layer.positions)
    return ops.sum(picked[..., None] * x, axis=1)


def strongest_few(layer, x):
    """Sparse attention: only the strongest scores weight anything."""
    scores, positions = ops.top_k(layer.scores(x)[..., 0], 2)
    return ops.sum(scores[..., None] * ops.take_along_axis(x, positions[..., None], axis=1), axis=1)


def picked_by_a_product(layer, x):
    """Each score is picked by a product with constants, whose numbers no graph tells."""
    scores = layer.scores(x)[..., 0]
    total = 0
    for n in range(layer.positions):
        one = ops.one_hot(np.array([n]), layer.positions)[0]
        total = total + ops.sum(scores * one, axis=-1, keepdims=True) * x[:, n]
    return total


def through_an_operation_that_nobody_knows(layer, x):
    """The scores come back from there in another shape."""
    scores = layer.scores(x)
    samples, positions = scores.shape[0], layer.positions
    if BACKEND == "jax":
        import jax

        shape = jax.ShapeDtypeStruct((samples, 1, positions), scores.dtype)
        scores = jax.pure_callback(lambda a: np.swapaxes(np.asarray(a), 1, 2), shape, scores)
    elif BACKEND == "torch":
        import torch

        scores = torch.view_as_real(torch.complex(scores, scores))[..., 0].swapaxes(1, 2)
    else:
        import tensorflow as tf

        scores = tf.numpy_function(lambda a: np.swapaxes(a, 1, 2), [scores], tf.float32)
        scores.set_shape((samples, 1, positions))
    return ops.matmul(scores, x)[:, 0]


LEFT_OUT = {
    added: "its scores are added to something: nothing that depends on the input is weighted by it",
}
"""They are no attention; with the reason."""


LOST = (strongest_alone, strongest_few, picked_by_a_product, through_an_operation_that_nobody_knows)
"""What they weight is not known."""


class Decoder(layers.Layer):
    """Asks the same sequence again and again, in a loop of Python's, each time with what the last answer was."""

    def __init__(self, how: str, steps: int, **options):
        super().__init__(**options)
        self.how, self.steps = how, steps
        self.attend = {
            "AdditiveAttention": lambda: layers.AdditiveAttention(name="attend"),
            "Attention": lambda: layers.Attention(name="attend"),
            "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 3, name="attend"),
        }.get(how, lambda: None)()

    def build(self, shape):
        features = shape[-1]
        self.kernel = self.add_weight(shape=(features, 1), name="kernel", initializer="random_normal")
        if self.attend is not None:
            question = (shape[0], 1, features)
            by_call = isinstance(self.attend, layers.MultiHeadAttention)
            self.attend.build(question, shape) if by_call else self.attend.build([question, shape])

    def call(self, x):
        state = x[:, 0]
        for _ in range(self.steps):
            state = self.step(x, state)
        return state

    def step(self, x, state):
        if self.how == "by hand":
            scores = ops.softmax(ops.einsum("bkd,bd->bk", x, state))
            return ops.einsum("bk,bkd->bd", scores, x)
        if self.how == "Bahdanau":
            logits = ops.matmul(ops.tanh(x + ops.expand_dims(state, 1)), ops.convert_to_tensor(self.kernel))
            return ops.sum(ops.softmax(logits, axis=1) * x, axis=1)
        question = ops.expand_dims(state, 1)
        by_call = isinstance(self.attend, layers.MultiHeadAttention)
        return (self.attend(question, x) if by_call else self.attend([question, x]))[:, 0]

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])
