"""What the positions of a captured site are called: what its inputs hold."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats


def attending(tensor, other=None):
    return layers.MultiHeadAttention(2, 3, name="mha")(tensor, tensor if other is None else other)


def numbers(*shape):
    return np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")


def codes(*shape):
    return np.random.default_rng(0).integers(1, 5, (2, *shape))


def model_of(inputs, tensor):
    return keras.Model(inputs, layers.Flatten()(tensor))


def table():
    features = keras.Input((5,), name="x")
    return model_of(features, attending(layers.Dense(7)(layers.Reshape((5, 1))(features)))), numbers(5)


def table_with_a_class_token():
    class Front(layers.Layer):
        def call(self, cells):
            return keras.ops.concatenate([keras.ops.zeros_like(cells[:, :1]), cells], 1)

    features = keras.Input((5,), name="x")
    return model_of(features, attending(Front()(layers.Dense(7)(layers.Reshape((5, 1))(features))))), numbers(5)


def table_of_codes():
    columns = keras.Input((3,), dtype="int32", name="x")
    looked_up = [layers.Embedding(5, 7)(columns[:, place : place + 1]) for place in range(3)]
    return model_of(columns, attending(layers.Concatenate(axis=1)(looked_up))), codes(3)


def series():
    steps = keras.Input((7, 3), name="x")
    return model_of(steps, attending(steps)), numbers(7, 3)


def series_across_its_features():
    steps = keras.Input((7, 3), name="x")
    return model_of(steps, attending(layers.Permute((2, 1))(steps))), numbers(7, 3)


def spans_of_a_series():
    steps = keras.Input((12, 3), name="x")
    return model_of(steps, attending(layers.Conv1D(7, 4, strides=4)(steps))), numbers(12, 3)


def picture():
    pixels = keras.Input((8, 12, 3), name="x")
    patches = layers.Reshape((6, 7))(layers.Conv2D(7, 4, strides=4)(pixels))
    return model_of(pixels, attending(patches)), codes(8, 12, 3).astype("uint8")


def text(length, *, mask_zero=False, dtype="int32"):
    tokens = keras.Input((length,), dtype=dtype, name="x")
    embedded = layers.Embedding(5, 7, mask_zero=mask_zero)(tokens)
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(attending(embedded))), codes(5)


def documents():
    words = keras.Input((2, 5), dtype="int32", name="x")
    return model_of(words, attending(layers.Reshape((10, 7))(layers.Embedding(5, 7)(words)))), codes(2, 5)


def words_that_attend_to_a_picture():
    tokens = keras.Input((None,), dtype="int32", name="text")
    pixels = keras.Input((8, 12, 3), name="picture")
    patches = layers.Reshape((6, 7))(layers.Conv2D(7, 4, strides=4)(pixels))
    pooled = layers.GlobalAveragePooling1D()(attending(layers.Embedding(5, 7)(tokens), patches))
    return keras.Model([tokens, pixels], pooled), [codes(5), numbers(8, 12, 3)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (table, "features"),
        (table_with_a_class_token, "features"),
        (table_of_codes, "features"),
        (series, "steps"),
        (series_across_its_features, "features"),
        (spans_of_a_series, "spans"),
        (picture, "patches"),
        (documents, "tokens"),
        (lambda: text(None), "tokens"),
        (lambda: text(None, dtype="float32"), "tokens"),
        (lambda: text(5, mask_zero=True), "tokens"),
        (lambda: text(5), None),
    ],
)
def test_positions_are_called_what_the_input_holds(make, expected):
    model, inputs = make()
    attrs = ats.capture(model, inputs, progress=False).dataset("mha").attrs
    assert ("positions" in attrs) == (expected is not None)
    if expected:
        kinds = json.loads(attrs["positions"])
        assert (kinds["query"], kinds["key"]) == (expected, expected)


def test_names_of_each_samples_own_say_that_whole_numbers_are_tokens():
    model, inputs = text(5)
    maps = ats.capture(model, inputs, labels=[list("abcde"), list("fghij")], progress=False)
    assert json.loads(maps.dataset("mha").attrs["positions"]) == {"query": "tokens", "key": "tokens"}
    shared = ats.capture(model, inputs, labels=list("abcde"), progress=False)
    assert "positions" not in shared.dataset("mha").attrs


def test_queries_and_keys_of_two_inputs_are_called_differently(tmp_path):
    model, inputs = words_that_attend_to_a_picture()
    maps = ats.capture(model, inputs, store=tmp_path / "run.zarr", progress=False)
    assert json.loads(maps.dataset("mha").attrs["positions"]) == {"query": "tokens", "key": "patches"}


def test_merged_tokens_are_words():
    model, inputs = text(None)
    merged = ats.labels.words(ats.capture(model, inputs, labels=["a", "##b", "c", "d", "e"], progress=False))
    assert json.loads(merged.dataset("mha").attrs["positions"]) == {"query": "words", "key": "words"}
