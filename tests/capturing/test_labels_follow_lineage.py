"""Names given for an input go to the axes that come from it, at any sizes: here all sequences have one length."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import LabelError

LENGTH = 4
NAMES = list("abcd")
pytestmark = pytest.mark.every_backend


def words(name: str) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    tokens = keras.Input((LENGTH,), dtype="int32", name=name)
    return tokens, layers.Embedding(9, 8)(tokens)


def numbers(count: int = 1) -> list[np.ndarray]:
    return [np.arange(1, 1 + LENGTH, dtype="int32")[None].repeat(2, 0) + n for n in range(count)]


def attended(x: keras.KerasTensor, y: keras.KerasTensor, name: str = "site") -> keras.KerasTensor:
    return layers.MultiHeadAttention(2, 4, name=name)(x, y)


def of_one_input(change) -> ats.AttentionMaps:
    tokens, x = words("text")
    changed = change(x)
    model = keras.Model(tokens, attended(changed, changed))
    return ats.capture(model, numbers()[0], labels=NAMES, progress=False)


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        (lambda x: x, ["a", "b", "c", "d"]),
        (lambda x: x[:, 1:], ["b", "c", "d"]),
        (lambda x: x[:, ::2], ["a", "c"]),
        (lambda x: ops.flip(x, axis=1), ["d", "c", "b", "a"]),
        (lambda x: ops.concatenate([x[:, 2:], x[:, :2]], axis=1), ["c", "d", "a", "b"]),
        (lambda x: layers.Conv1D(8, 3, padding="same")(x), ["a", "b", "c", "d"]),
        (lambda x: ops.concatenate([ops.ones_like(x[:, :1]), x], axis=1), ["", "a", "b", "c", "d"]),
    ],
    ids=["as it is", "without the first", "every second", "turned round", "halves swapped", "convolved", "token first"],
)
def test_names_go_where_the_positions_go(change, labels):
    scores = of_one_input(change)["site"]
    assert scores.key_label.values.tolist() == labels
    assert scores.query_label.values.tolist() == labels


def test_two_inputs_of_one_length_are_told_apart():
    (first, x), (second, y) = words("question"), words("answer")
    model = keras.Model([first, second], attended(x, y))
    scores = ats.capture(model, numbers(2), labels={"answer": NAMES}, progress=False)["site"]
    assert scores.key_label.values.tolist() == NAMES
    assert "query_label" not in scores.coords


def test_names_that_fit_two_inputs_are_refused():
    (first, x), (second, y) = words("question"), words("answer")
    model = keras.Model([first, second], attended(x, y))
    with pytest.raises(LabelError) as error:
        ats.capture(model, numbers(2), labels=NAMES, progress=False)
    assert str(error.value) == (
        "4 labels fit axis 1 of input 'question' as well as axis 1 of input 'answer', and nothing says which of them "
        "is meant. Say it: labels={'question': names}, or name the site and the axis, "
        "labels={'site': {'key': names}}."
    )


def test_names_for_an_input_that_nothing_attends_to_are_refused():
    tokens, x = words("text")
    other = keras.Input((LENGTH,), name="other")
    model = keras.Model([tokens, other], layers.Dense(2)(other) + ops.mean(attended(x, x), axis=(1, 2))[:, None])
    with pytest.raises(LabelError) as error:
        ats.capture(model, [*numbers(), np.ones((2, LENGTH), "float32")], labels={"other": NAMES}, progress=False)
    assert str(error.value) == (
        "Labels were given for the input 'other', but no axis of the sites comes from it: they come from axis 1 of "
        "input 'text'. Name the site and the axis: labels={'site': {'key': names}}."
    )


class Latents(keras.layers.Layer):
    """As many learned queries as there are positions."""

    def build(self, shape):
        self.queries = self.add_weight(shape=(LENGTH, shape[-1]), name="queries")

    def call(self, x):
        return ops.broadcast_to(self.queries[None], ops.shape(x))


def test_learned_queries_have_no_names_of_an_input():
    tokens, x = words("text")
    model = keras.Model(tokens, attended(Latents(name="latents")(x), x))
    scores = ats.capture(model, numbers()[0], labels=NAMES, progress=False)["site"]
    assert scores.key_label.values.tolist() == NAMES
    assert "query_label" not in scores.coords


def test_names_of_each_sample_go_where_its_positions_go():
    tokens, x = words("text")
    model = keras.Model(tokens, attended(x[:, 1:], x))
    scores = ats.capture(model, numbers()[0], labels=[NAMES, list("efgh")], progress=False)["site"]
    assert scores.query_label.values.tolist() == [["b", "c", "d"], ["f", "g", "h"]]
    assert scores.key_label.values.tolist() == [NAMES, list("efgh")]
