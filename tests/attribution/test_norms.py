"""Norm-weighted attention against slow loops over the weights; residual connections found, told and refused."""

import math

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats
from attnscope.attribution._norms import norms
from attnscope.attribution._residual import Wire
from layers_by_hand import numbers
from residual_blocks import HEADS, LENGTH, SAMPLES, WIDTH, Doubled, carried, post_norm, pre_norm


def length_of(vector):
    return math.sqrt(sum(float(number) ** 2 for number in vector))


@pytest.fixture
def given(rng):
    return rng.normal(size=(SAMPLES, LENGTH, WIDTH)).astype("float32")


def test_norms_after_the_layer_norm_are_those_of_a_loop(rng, given):
    model = post_norm(rng)
    block = model.get_layer("block_0")
    [scores] = [array.values.astype("float64") for array in ats.capture(model, given).values()]
    found = {part: norms(model, given, part=part, batch_size=2) for part in
             ("heads", "summed", "residual", "layer_norm")}  # fmt: skip
    found = {part: next(iter(arrays.values())).values for part, arrays in found.items()}
    x = given.astype("float64")
    total = x + numbers(block.attention(given, given))
    gamma = numbers(block.norm.gamma)
    for sample, query, key in np.ndindex(SAMPLES, LENGTH, LENGTH):
        vectors = [carried(block.attention, x, scores, sample, head, query, key) for head in range(HEADS)]
        for head in range(HEADS):
            np.testing.assert_allclose(found["heads"][sample, head, query, key], length_of(vectors[head]), atol=1e-5)
        vector = vectors[0] + vectors[1]
        np.testing.assert_allclose(found["summed"][sample, query, key], length_of(vector), atol=1e-5)
        vector = vector + x[sample, query] * (query == key)
        np.testing.assert_allclose(found["residual"][sample, query, key], length_of(vector), atol=1e-5)
        deviation = math.sqrt(np.var(total[sample, query]) + 1e-3)
        vector = gamma * (vector - sum(vector) / WIDTH) / deviation
        np.testing.assert_allclose(found["layer_norm"][sample, query, key], length_of(vector), atol=3e-5)


def test_a_norm_in_front_mixes_nothing_more(rng, given):
    model = pre_norm(rng)
    x = keras.ops.convert_to_numpy(model.get_layer("before")(given)).astype("float64")
    scores = ats.capture(model, given)["attention"].values.astype("float64")
    found = norms(model, given, part="layer_norm")["attention"].values
    np.testing.assert_allclose(found, norms(model, given, part="residual")["attention"].values, atol=1e-12)
    mha = model.get_layer("attention")
    for sample, query, key in np.ndindex(SAMPLES, LENGTH, LENGTH):
        vector = sum(carried(mha, x, scores, sample, head, query, key) for head in range(HEADS))
        vector = vector + given[sample, query].astype("float64") * (query == key)
        np.testing.assert_allclose(found[sample, query, key], length_of(vector), atol=1e-5)


def test_a_residual_connection_is_told_where_it_is_not_found(rng, given):
    model = post_norm(rng, Doubled)
    with pytest.raises(ats.errors.MethodError) as caught:
        norms(model, given, part="residual")
    site = "block_0/attention"
    assert str(caught.value) == (
        f"No residual connection was detected around the site {site!r}: neither the input of its layer, nor that of a "
        "layer norm before it, is added to its output. Name a layer that is called on the sum: "
        f"wiring={{{site!r}: Wire(total='path/of/layer', normalises=False)}}."
    )
    wiring = {"*/attention": Wire(total="block_0/norm", normalises=True)}
    found = norms(model, given, part="residual", wiring=wiring)[site].values
    plain = norms(model, given, part="summed")[site].values
    off = ~np.eye(LENGTH, dtype=bool)
    np.testing.assert_allclose(found[:, off], plain[:, off], atol=1e-12)
    mha, x = model.get_layer("block_0").attention, given.astype("float64")
    scores = ats.capture(model, given)[site].values
    for sample, query in np.ndindex(SAMPLES, LENGTH):
        vector = sum(carried(mha, x, scores, sample, head, query, query) for head in range(HEADS))
        np.testing.assert_allclose(found[sample, query, query], length_of(vector + 2 * x[sample, query]), atol=1e-4)


def test_attention_that_is_no_self_attention_has_no_residual_key(rng):
    query, memory = keras.Input((3, WIDTH)), keras.Input((7, WIDTH))
    model = keras.Model([query, memory], layers.MultiHeadAttention(2, 4, name="cross")(query, memory))
    arrays = [rng.normal(size=(2, size, WIDTH)).astype("float32") for size in (3, 7)]
    assert norms(model, arrays)["cross"].shape == (2, 2, 3, 7)
    with pytest.raises(ats.errors.MethodError) as caught:
        norms(model, arrays, part="residual")
    assert str(caught.value) == (
        "The site 'cross' has 3 queries and 7 keys, but the residual connection counts with the key of the query's own "
        "position, which needs self-attention. Leave the site out: sites=[...]."
    )


def test_a_part_that_does_not_exist_is_named(rng, given):
    with pytest.raises(ats.errors.MethodError) as caught:
        norms(pre_norm(rng), given, part="all")
    assert str(caught.value) == (
        "part is 'all', but one of 'heads', 'summed', 'residual', 'layer_norm' is needed: part='heads'."
    )
