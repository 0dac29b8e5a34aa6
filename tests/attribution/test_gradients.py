"""Gradient x attention and gradient x input: finite differences, the identity of the head mask, linear models."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import subjects_of
from attnscope.attribution._differentiation import score_derivatives
from attnscope.attribution._streams import streams_of
from attnscope.errors import MethodError
from models import padded_tokens, seed_model, transformer


def small():
    return transformer(length=4, heads=3, blocks=2)


def test_the_derivative_by_a_head_mask_is_the_sum_of_scores_times_their_derivatives(rng):
    model, tokens = small(), padded_tokens(rng, samples=3, length=4)
    [subject] = subjects_of(model, tokens, target=1)
    sites = streams_of(subject).sites
    [(_, scores, gradients)] = score_derivatives(subject, sites)
    step = 0.05
    for site in sites:
        name = site.name
        identity = (scores[name] * gradients[name]).sum((2, 3))
        copies = 2 * 3  # every head up and down, in one run
        masks = np.ones((copies, 3), "float32")
        for head in range(3):
            masks[2 * head, head] += step
            masks[2 * head + 1, head] -= step
        whole = ats.capture(model, tokens)[name].values
        edited = np.concatenate([whole * mask[:, None, None] for mask in masks])
        said = ats.intervene(model, np.tile(tokens, (copies, 1)), {name: ats.replace(edited)}, progress=False)
        said = said[:, 1].reshape(3, 2, 3)  # head, up or down, sample
        expected = (said[:, 0] - said[:, 1]).T / (2 * step)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(identity, expected, atol=2e-5 + 0.01 * np.abs(expected).max())


def test_gradient_x_attention_by_finite_differences_of_every_score(rng):
    model, tokens = small(), np.array([[3, 7, 5, 0], [2, 9, 4, 8]])
    maps = ats.capture(model, tokens)
    step, expected = 0.05, np.zeros((2, 4))
    for name, scores in maps.items():
        whole = scores.values
        cells = list(np.ndindex(whole.shape[1:]))
        edited = np.tile(whole, (2 * len(cells), 1, 1, 1))
        for number, cell in enumerate(cells):
            for sample in range(2):
                edited[4 * number + sample][cell] += step
                edited[4 * number + 2 + sample][cell] -= step
        said = ats.intervene(
            model, np.tile(tokens, (2 * len(cells), 1)), {name: ats.replace(edited)}, batch_size=192, progress=False
        )
        said = said[:, 2].reshape(len(cells), 2, 2)
        for number, (head, query, key) in enumerate(cells):
            for sample in range(2):
                if tokens[sample, query] and tokens[sample, key]:
                    slope = (said[number, 0, sample] - said[number, 1, sample]) / (2 * step)
                    share = max(whole[sample, head, query, key] * slope, 0)
                    expected[sample, key] += share / (2 * 3 * np.count_nonzero(tokens[sample]))
    found = ats.attribute(model, tokens, method="gradient_x_attention", target=2)
    assert expected.max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5 + 0.01 * expected.max())
    assert found.attrs["passes"] == found.attrs["gradient_passes"] == 2


def test_batches_change_nothing(rng, monkeypatch):
    model, tokens = small(), padded_tokens(rng, samples=5, length=4)
    names = ("raw", "gradient_x_attention", "gradient_x_input", "chefer")
    whole = {name: ats.attribute(model, tokens, method=name, target=0) for name in names}
    for name in names:
        part = ats.attribute(model, tokens, method=name, target=0, batch_size=2)
        np.testing.assert_allclose(part, whole[name], atol=1e-6)
    bytes_per_sample = 2 * 3 * 4 * 4 * 4  # layers, heads, queries, keys, float32
    monkeypatch.setattr("attnscope.attribution._differentiation.SCORES_BYTES", 3 * bytes_per_sample + 1)
    [subject] = subjects_of(model, tokens, target=0)
    batches = [rows for rows, _, _ in score_derivatives(subject, streams_of(subject).sites)]
    assert batches == [slice(0, 3), slice(3, 5)]
    np.testing.assert_allclose(ats.attribute(model, tokens, target=0), whole["chefer"], atol=1e-6)


def test_of_a_linear_model_gradient_x_input_is_weight_times_input(rng):
    x = rng.normal(size=(4, 5)).astype("float32")
    given = keras.Input((5,))
    model = keras.Model(given, layers.Dense(3)(given))
    kernel, bias = model.get_weights()
    model.set_weights([kernel, bias + 2])
    found = ats.attribute(model, x, method="gradient_x_input", target=[0, 2])
    np.testing.assert_allclose(found, np.stack([x * kernel[:, 0], x * kernel[:, 2]]), atol=1e-6)
    assert found.attrs["gradient_passes"] == 8


def test_steps_and_patches_add_up_their_numbers(rng):
    steps = rng.normal(size=(3, 5, 2)).astype("float32")
    given = keras.Input((5, 2))
    model = keras.Model(given, layers.Dense(1)(layers.Flatten()(given)))
    kernel = model.get_weights()[0].reshape(5, 2)
    found = ats.attribute(model, steps, method="gradient_x_input")
    np.testing.assert_allclose(found, (steps * kernel).sum(-1), atol=1e-6)

    for dtype in ("float32", "uint8"):
        pictures = rng.integers(0, 255, (2, 4, 6, 3)).astype(dtype)
        given = keras.Input((4, 6, 3))
        model = keras.Model(given, layers.Dense(1)(layers.Flatten()(given)))
        product = pictures * model.get_weights()[0].reshape(4, 6, 3)
        expected = [
            product[:, row : row + 2, column : column + 2].sum((1, 2, 3)) for row in (0, 2) for column in (0, 2, 4)
        ]
        found = ats.attribute(model, pictures, method="gradient_x_input", grid=(2, 3))
        np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-4, atol=1e-2)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_tokens_are_explained_through_their_embeddings(rng, dtype):
    """Also where the model takes the numbers as floats, as `Input` does unless told otherwise."""
    tokens = rng.integers(1, 11, (3, 5))
    given, kind = keras.Input((5,), dtype=dtype, name="token_ids"), keras.Input((5,), dtype=dtype, name="segment_ids")
    words, kinds = layers.Embedding(11, 4, name="words")(given), layers.Embedding(2, 4, name="kinds")(kind)
    model = keras.Model([given, kind], layers.Dense(1)(layers.Flatten()(words + kinds)))
    inputs = {"token_ids": tokens, "segment_ids": rng.integers(0, 2, (3, 5))}
    embeddings = model.get_layer("words").get_weights()[0]
    kernel = model.layers[-1].get_weights()[0].reshape(5, 4)
    expected = np.array([[embeddings[token] @ kernel[place] for place, token in enumerate(row)] for row in tokens])
    found = ats.attribute(model, inputs, method="gradient_x_input", padding=None)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.attrs["passes"] == 3 + 2  # 2 to find the embedding


@pytest.mark.every_backend
def test_what_cannot_be_differentiated_is_said():
    given = keras.Input((4,), dtype="int32")
    counted = keras.Model(given, layers.Dense(2)(ops.cast(given, "float32")))
    numbers = np.array([[1, 2, 3, 4]])
    for method in ("gradient_x_input", "integrated_gradients"):
        with pytest.raises(MethodError) as caught:
            ats.attribute(counted, numbers, method=method)
        assert str(caught.value) == (
            "The input is whole numbers, but no Embedding layer of the model is given them unchanged, so there is "
            "nothing to differentiate by. If they are amounts, give floats: inputs.astype('float32'). If they are "
            "tokens, method='occlusion' needs no gradient."
        )
    with pytest.raises(MethodError) as caught:
        ats.attribute(seed_model(length=5), np.array([[1.0, 2, 3, 4, 5]]), method="gradient_x_input")
    name = seed_model(length=5).layers[1].name.rsplit("_", 1)[0]
    assert str(caught.value).startswith(f"The input is floats, but the Embedding '{name}")
    assert str(caught.value).endswith(
        "looks them up as whole numbers, so the gradient of the target with respect to them is 0. Give the tokens as "
        "whole numbers: inputs.astype('int32')."
    )
