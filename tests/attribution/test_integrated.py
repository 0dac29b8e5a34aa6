"""Integrated gradients: closed forms, completeness against the model's own predictions, and a slow integral."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import MethodError
from models import padded_tokens, transformer


def linear(features=5):
    given = keras.Input((features,))
    return keras.Model(given, layers.Dense(3)(given))


def function_of(formula, features=3):
    given = keras.Input((features,))
    return keras.Model(given, layers.Lambda(formula, output_shape=(1,))(given))


def test_of_a_linear_model_it_is_the_weight_times_the_way(rng):
    model, x = linear(), rng.normal(size=(4, 5)).astype("float32")
    kernel = model.get_weights()[0][:, 2]
    row = np.arange(5, dtype="float32")
    for baseline, start, words in (
        (None, 0, "zeros"),
        ("zeros", 0, "zeros"),
        ("mean", x.mean(0), "the mean of the samples"),
        (row, row, "given numbers"),
        (2, 2, "given numbers"),
    ):
        found = ats.attribute(model, x, target=2, method="integrated_gradients", baseline=baseline, steps=3)
        np.testing.assert_allclose(found, kernel * (x - start), atol=1e-5)
        assert found.attrs["baseline"] == words
        assert found.attrs["completeness_gap"] < 1e-5
        assert (found.attrs["passes"], found.attrs["gradient_passes"]) == (4, 4 * (3 + 2))


def test_polynomials_are_integrated_exactly(rng):
    x = rng.normal(size=(4, 3)).astype("float32")
    cubes = function_of(lambda x: ops.sum(ops.convert_to_tensor([[1.0, -2.0, 0.5]]) * x**3, axis=1, keepdims=True))
    found = ats.attribute(cubes, x, method="integrated_gradients", baseline=1.0, steps=2)
    np.testing.assert_allclose(found, [[1.0, -2.0, 0.5]] * (x**3 - 1), atol=1e-5)
    shared = function_of(lambda x: x[:, :1] * x[:, 1:2])
    found = ats.attribute(shared, x, method="integrated_gradients", steps=1)
    half = x[:, 0] * x[:, 1] / 2
    np.testing.assert_allclose(found, np.stack([half, half, 0 * half], 1), atol=1e-6)


def test_the_midpoint_rule_errs_as_it_should_and_says_so(rng):
    """Of x^3 from 0 the sum of n midpoints is x^3 (1 - 1 / 4n^2)."""
    x = np.array([[2.0, -1.0, 0.5]], "float32")
    cubes = function_of(lambda x: ops.sum(x**3, axis=1, keepdims=True))
    for steps in (2, 5):
        found = ats.attribute(cubes, x, method="integrated_gradients", steps=steps, rule="midpoint")
        np.testing.assert_allclose(found, x**3 * (1 - 1 / (4 * steps**2)), rtol=1e-5)
        gap = -(x**3).sum() / (4 * steps**2)
        np.testing.assert_allclose(found.completeness_gap, [gap], rtol=1e-3)
        np.testing.assert_allclose(found.attrs["completeness_gap"], abs(gap), rtol=1e-3)
        np.testing.assert_allclose(found.attrs["completeness_change"], (x**3).sum(), rtol=1e-5)


def test_the_sum_over_tokens_is_the_change_from_the_baseline(rng):
    model, tokens = transformer(length=5), padded_tokens(rng, samples=4, length=5)
    masked = np.where(tokens == 0, 0, 12)
    change = model.predict(tokens, verbose=0)[:, 1] - model.predict(masked, verbose=0)[:, 1]
    assert np.abs(change).max() > 1e-2
    found = ats.attribute(model, tokens, target=1, method="integrated_gradients", baseline=12)
    np.testing.assert_allclose(found.sum("key"), change, atol=1e-5)
    np.testing.assert_array_equal(found.values[tokens == 0], 0)
    assert found.attrs["baseline"] == "the token 12"
    kept = np.where(np.arange(5) == 0, tokens, 12)  # the first token stays
    found = ats.attribute(model, tokens, target=1, method="integrated_gradients", baseline=kept)
    np.testing.assert_array_equal(found[:, 0], 0)
    first = np.where(np.arange(5) == 0, tokens, masked)
    change = model.predict(tokens, verbose=0)[:, 1] - model.predict(first, verbose=0)[:, 1]
    np.testing.assert_allclose(found.sum("key"), change, atol=1e-5)


def test_tokens_through_their_embeddings_by_a_slow_integral(rng):
    """y = tanh of a linear function of the embeddings, from embeddings of zeros, with 4,000 points."""
    given = keras.Input((3,), dtype="int32")
    embedded = layers.Embedding(7, 2, name="words")(given)
    model = keras.Model(given, layers.Dense(1, activation="tanh")(layers.Flatten()(embedded)))
    embeddings = rng.normal(size=(7, 2))
    kernel, bias = rng.normal(size=(6, 1)), np.array([0.3])
    model.set_weights([embeddings, kernel, bias])
    tokens = rng.integers(1, 7, (4, 3))
    expected = np.zeros((4, 3))
    for sample, row in enumerate(tokens):
        x = embeddings[row].reshape(6)
        for share in (np.arange(4000) + 0.5) / 4000:
            slope = 1 - np.tanh(share * x @ kernel[:, 0] + bias[0]) ** 2
            expected[sample] += (x * kernel[:, 0] * slope).reshape(3, 2).sum(1) / 4000
    found = ats.attribute(model, tokens, method="integrated_gradients")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.attrs["baseline"] == "embeddings of zeros"


def test_batches_over_samples_and_steps_change_nothing(rng):
    model, tokens = transformer(length=5), padded_tokens(rng, samples=5, length=5)
    whole = ats.attribute(model, tokens, target=1, method="integrated_gradients", steps=6, baseline=3)
    for batch_size in (3, 8, 17):  # fewer than a sample's points, all of one, those of two
        part = ats.attribute(
            model, tokens, target=1, method="integrated_gradients", steps=6, baseline=3, batch_size=batch_size
        )
        np.testing.assert_allclose(part, whole, atol=1e-6)
        assert part.attrs["gradient_passes"] == 5 * 8


def test_the_predicted_class_of_each_sample_is_kept_along_the_way(rng):
    model, x = linear(), rng.normal(size=(5, 5)).astype("float32")
    predicted = model.predict(x, verbose=0).argmax(1)
    assert len(set(predicted)) > 1
    found = ats.attribute(model, x, method="integrated_gradients", steps=2, batch_size=8)
    np.testing.assert_allclose(found, x * model.get_weights()[0].T[predicted], atol=1e-5)


def test_padded_steps_do_not_move(rng):
    steps, mask = keras.Input((4, 2), name="steps"), keras.Input((4,), name="padding_mask", dtype="int32")
    model = keras.Model([steps, mask], layers.Dense(1)(layers.Flatten()(steps)))
    x = rng.normal(size=(2, 4, 2)).astype("float32")
    inputs = {"steps": x, "padding_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]])}
    found = ats.attribute(model, inputs, method="integrated_gradients", steps=1)
    product = (x * model.get_weights()[0].reshape(4, 2)).sum(-1)
    np.testing.assert_allclose(found, product * inputs["padding_mask"], atol=1e-6)
    assert found.attrs["completeness_gap"] < 1e-5


def test_patches(rng):
    given = keras.Input((4, 6, 3))
    model = keras.Model(given, layers.Dense(1)(layers.Flatten()(given)))
    pictures = rng.uniform(size=(2, 4, 6, 3)).astype("float32")
    product = (pictures - 0.5) * model.get_weights()[0].reshape(4, 6, 3)
    expected = [product[:, row : row + 2, column : column + 2].sum((1, 2, 3)) for row in (0, 2) for column in (0, 2, 4)]
    found = ats.attribute(model, pictures, method="integrated_gradients", steps=1, baseline=0.5, grid=(2, 3))
    np.testing.assert_allclose(found, np.transpose(expected), atol=1e-5)


def test_what_does_not_fit_is_said(rng):
    floats, tokens = rng.normal(size=(2, 5)).astype("float32"), padded_tokens(rng, samples=2, length=5)
    encoder = transformer(length=5)
    for model, x, options, message in (
        (linear(), floats, {"steps": 0}, "steps is 0, but a whole number of at least 1 is needed: steps=32."),
        (
            linear(),
            floats,
            {"rule": "simpson"},
            "The rule is 'simpson', but 'gauss' or 'midpoint' is needed: rule='gauss'.",
        ),
        (
            linear(),
            floats,
            {"baseline": "median"},
            "The baseline is 'median', but numbers broadcastable to (2, 5), 'mean' or 'zeros' are needed: "
            "baseline=background.mean(0).",
        ),
        (
            linear(),
            floats,
            {"baseline": np.zeros(4)},
            "The baseline is of shape (4,) and dtype float64, but numbers broadcastable to (2, 5), 'mean' or 'zeros' "
            "are needed: baseline=background.mean(0).",
        ),
        (
            encoder,
            tokens,
            {"baseline": 0.5},
            "The baseline is 0.5, but for tokens the number of one, numbers broadcastable to (2, 5) or 'zeros' is "
            "needed: baseline=103.",
        ),
    ):
        with pytest.raises(MethodError) as caught:
            ats.attribute(model, x, target=0, method="integrated_gradients", **options)
        assert str(caught.value) == message


def test_base_and_answer_are_the_ends_that_the_relevance_leads_between():
    inputs = keras.Input((3, 2))
    outputs = keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(inputs))
    model, data = keras.Model(inputs, outputs), np.random.default_rng(0).normal(size=(5, 3, 2)).astype("float32")
    answers, base = model.predict(data, verbose=0), model.predict(np.zeros((1, 3, 2)), verbose=0)[0]
    for method, near in (("integrated_gradients", 1e-4), ("shapley", 1e-5)):
        options = {} if method == "integrated_gradients" else {"removal": "zero"}
        found = ats.attribute(model, data, target=2, method=method, **options)
        np.testing.assert_allclose(found.answer, answers[:, 2], rtol=1e-5)
        np.testing.assert_allclose(found.base, base[2], rtol=1e-5)
        np.testing.assert_allclose(found.sum("key"), found.answer - found.base, atol=near)
        assert found.attrs["units"] == "probability"
    own = ats.attribute(model, data, classes=list("abcd"), method="integrated_gradients")
    assert own.sample_target.values.tolist() == [f"class '{'abcd'[number]}'" for number in answers.argmax(1)]
    np.testing.assert_allclose(own.answer, answers.max(1), rtol=1e-5)
    assert "answer" not in ats.attribute(model, data, target=2, method="gradient_x_input").coords


def test_the_unit_is_said_only_where_the_last_layer_or_the_loss_says_it():
    inputs = keras.Input((3, 2))
    flat = keras.layers.Flatten()(inputs)
    data = np.ones((2, 3, 2), "float32")

    def unit(outputs, loss=None, method="gradient_x_input"):
        model = keras.Model(inputs, outputs)
        if loss is not None:
            model.compile("sgd", loss)
        return ats.attribute(model, data, target=0, method=method).attrs.get("units")

    assert unit(keras.layers.Dense(1, activation="sigmoid")(flat)) == "probability"
    assert unit(keras.layers.Softmax()(keras.layers.Dense(3)(flat))) == "probability"
    assert unit(keras.layers.Dense(3)(flat)) is None
    assert unit(keras.layers.Dense(3)(flat), keras.losses.SparseCategoricalCrossentropy(from_logits=True)) == "logit"
    assert unit(keras.layers.Dense(3)(flat), "mse") is None
    assert unit(keras.layers.Dense(3, activation="relu")(flat), "mse") is None
    assert unit(keras.layers.Dense(1, activation="sigmoid")(flat), method="random") is None
