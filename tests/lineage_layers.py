"""Layers that attend in ways that Keras' own do not; `lineage_grammar` builds models of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import keras
from keras import ops


@dataclass(frozen=True)
class Form:
    """Attention written in einsum. A letter is one axis wherever it stands.

    Attributes:
        x: Axes of what asks; ``c`` are its features. Empty where weights ask.
        y: Axes of what is attended to.
        query: Axes of the queries. What neither `x` nor the samples bring are axes of a weight.
        key: Axes of the keys.
        value: Axes of the values.
        scores: Axes of the scores, in their order.
        context: Axes of the weighted values.
        over: The axis of the softmax.
    """

    x: str
    y: str
    query: str
    key: str
    value: str
    scores: str
    context: str
    over: str = "s"

    @property
    def output(self) -> str:
        """Axes of the output: of what asks, with features last."""
        return "".join(letter for letter in self.context if letter not in "hgid") + "c"


class EinsumAttention(keras.layers.Layer):
    """Attention of one form, with its weights."""

    def __init__(self, form: Form, sizes: Mapping[str, int], **options):
        super().__init__(**options)
        self.form, self.sizes = form, sizes

    def build(self, *_):
        form = self.form
        parts = {"query": (form.x, form.query), "key": (form.y, form.key), "value": (form.y, form.value)}
        self.letters = {
            name: ("c" if axes else "") + "".join(letter for letter in made if letter not in axes)
            for name, (axes, made) in parts.items()
        }
        self.letters["output"] = "".join(letter for letter in form.context if letter in "hgid") + "c"
        self.kernels = {
            name: self.add_weight(
                shape=tuple(self.sizes[letter] for letter in letters), name=name, initializer="random_normal"
            )
            for name, letters in self.letters.items()
        }
        self.built = True

    def projected(self, part, axes, x):
        """One of query, key and value, from a tensor with these axes."""
        kernel = self.kernels[part]
        return ops.einsum(f"{axes},{self.letters[part]}->{getattr(self.form, part)}", x, kernel) if axes else kernel

    def call(self, x, y=None):
        form, y = self.form, x if y is None else y
        query, key, value = (
            self.projected(*part) for part in (("query", form.x, x), ("key", form.y, y), ("value", form.y, y))
        )
        logits = ops.einsum(f"{form.query},{form.key}->{form.scores}", query, key)
        scores = ops.softmax(logits, axis=form.scores.index(form.over))
        context = ops.einsum(f"{form.scores},{form.value}->{form.context}", scores, value)
        return ops.einsum(f"{form.context},{self.letters['output']}->{form.output}", context, self.kernels["output"])


class Units(keras.layers.Layer):
    """Positions that are units of a weight, the same for all samples: learned queries, a class token.

    Args:
        count: So many.
        by: How they are repeated for each sample.
    """

    def __init__(self, count: int, by: str, **options):
        super().__init__(**options)
        self.count, self.by = count, by

    def build(self, shape):
        self.units = self.add_weight(shape=(self.count, shape[-1]), name="units", initializer="random_normal")

    def call(self, x):
        samples, units = ops.shape(x)[0], self.units[None]
        if self.by == "repeat":
            return ops.repeat(units, samples, axis=0)
        if self.by == "tile":
            return ops.tile(units, (samples, 1, 1))
        return ops.broadcast_to(units, (samples, self.count, x.shape[-1]))

    def compute_output_shape(self, shape):
        return (shape[0], self.count, shape[-1])


class Positions(keras.layers.Layer):
    """A weight for each position, added to it."""

    def build(self, shape):
        self.weight = self.add_weight(shape=shape[1:], name="weight", initializer="random_normal")

    def call(self, x):
        return x + self.weight


class FoldedHeads(keras.layers.Layer):
    """Heads in one axis with the samples.

    Args:
        heads: So many.
        size: Features of each.
        outer: What runs slower in that axis: ``samples``, or ``heads``, which are cut apart and put behind each other.
    """

    def __init__(self, heads: int, size: int, outer: str, **options):
        super().__init__(**options)
        self.heads, self.size, self.outer = heads, size, outer

    def build(self, x_shape, y_shape=None):
        shape = (x_shape[-1], self.heads * self.size)
        self.query = self.add_weight(shape=shape, name="query", initializer="random_normal")
        self.key = self.add_weight(shape=shape, name="key", initializer="random_normal")
        self.back = self.add_weight(shape=shape[::-1], name="back", initializer="random_normal")
        self.built = True

    def folded(self, x, kernel):
        x = ops.matmul(x, kernel)
        if self.outer == "heads":
            return ops.concatenate(ops.split(x, self.heads, axis=-1), axis=0)
        apart = ops.transpose(ops.reshape(x, (-1, x.shape[1], self.heads, self.size)), (0, 2, 1, 3))
        return ops.reshape(apart, (-1, x.shape[1], self.size))

    def unfolded(self, x):
        if self.outer == "heads":
            return ops.concatenate(ops.split(x, self.heads, axis=0), axis=-1)
        apart = ops.transpose(ops.reshape(x, (-1, self.heads, x.shape[1], self.size)), (0, 2, 1, 3))
        return ops.reshape(apart, (-1, x.shape[1], self.heads * self.size))

    def call(self, x, y=None):
        query, key = self.folded(x, self.query), self.folded(x if y is None else y, self.key)
        scores = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1))))
        return ops.matmul(self.unfolded(ops.matmul(scores, key)), self.back)

    def compute_output_spec(self, x, y=None):
        return keras.KerasTensor(x.shape, self.compute_dtype)


class Windows(keras.layers.Layer):
    """Attention inside of windows of a sequence.

    Args:
        length: Positions in a window.
        folded: Whether the windows are in one axis with the samples, or in one of their own.
    """

    def __init__(self, length: int, *, folded: bool, **options):
        super().__init__(**options)
        self.length, self.folded = length, folded

    def call(self, x):
        lead = (-1,) if self.folded else (-1, x.shape[1] // self.length)
        windows = ops.reshape(x, (*lead, self.length, x.shape[-1]))
        scores = ops.softmax(ops.matmul(windows, ops.swapaxes(windows, -1, -2)))
        return ops.reshape(ops.matmul(scores, windows), (-1, *x.shape[1:]))

    def compute_output_shape(self, shape):
        return shape


class PoolEachSample(keras.layers.Layer):
    """Weights of the positions, in a loop over the samples.

    Args:
        by: ``map`` or ``vectorized_map``.
    """

    def __init__(self, by: str, **options):
        super().__init__(**options)
        self.by = by

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 1), name="kernel")

    def call(self, x):
        loop = ops.map if self.by == "map" else ops.vectorized_map
        return loop(lambda one: ops.sum(ops.softmax(ops.matmul(one, self.kernel), axis=0) * one, axis=0), x)

    def compute_output_shape(self, shape):
        return (shape[0], shape[-1])


class Pool(keras.layers.Layer):
    """Weights of the positions by a vector that asks.

    Args:
        by: How the positions are weighted: ``einsum``, ``product`` (and a sum) or ``matmul``.
    """

    def __init__(self, by: str, **options):
        super().__init__(**options)
        self.by = by

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1],), name="kernel", initializer="random_normal")

    def call(self, x):
        if self.by == "einsum":
            return ops.einsum("bs,bsc->bc", ops.softmax(ops.einsum("bsc,c->bs", x, self.kernel)), x)
        if self.by == "product":
            logits = ops.matmul(ops.tanh(x), self.kernel[:, None])
            return ops.sum(ops.softmax(logits, axis=1) * x, axis=1)
        logits = ops.matmul(x, self.kernel[:, None])
        scores = ops.softmax(ops.transpose(logits, (0, 2, 1)))
        return ops.squeeze(ops.matmul(scores, x), axis=1)


class StepByStep(keras.layers.Layer):
    """One position after another asks, in a loop of Python's."""

    def call(self, x, y):
        contexts = []
        for query in ops.unstack(x, axis=1):
            scores = ops.softmax(ops.einsum("bc,bsc->bs", query, y))
            contexts.append(ops.einsum("bs,bsc->bc", scores, y))
        return ops.stack(contexts, axis=1)


def orders(letters: str) -> list[str]:
    """All orders of these axes."""
    return ["".join(order) for order in itertools.permutations(letters)]
