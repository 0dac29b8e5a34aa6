"""Methods under randomised weights: who answers the same has not looked at them."""

import keras
import numpy as np
import pytest
from keras import layers

from attnscope.errors import InputError
from attnscope.trust._randomisation import randomisation, randomised, rank_correlation, weighted_blocks


def small():
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="tanh", name="first")(inputs)
    inner = [keras.Input((8,)), layers.Dense(9, name="second"), layers.Dense(8, name="third")]
    return keras.Model(inputs, layers.Dense(1, name="head")(keras.Sequential(inner, name="inner")(x)))


def test_blocks_go_from_the_output_down_into_models_within():
    assert [layer.name for layer in weighted_blocks(small())] == ["head", "third", "second", "first"]


def test_a_method_that_sees_no_weights_answers_the_same_and_one_that_is_them_does_not(rng):
    model = small()
    valid = np.ones((4, 6), bool)
    fixed = rng.normal(size=(4, 6))
    same = randomisation(model, lambda: fixed, valid)
    assert same.dims == ("stage", "sample")
    assert same["stage"].values.tolist() == ["head", "and third", "and second", "and first"]
    np.testing.assert_allclose(same, 1.0)
    weights = lambda: np.repeat(np.asarray(model.get_weights()[0])[None, :, 0], 4, axis=0)  # noqa: E731
    found = randomisation(model, weights, valid)
    np.testing.assert_allclose(found[:3], 1.0)
    assert float(np.abs(found[3]).max()) < 1.0


def test_a_relevance_that_is_known_is_not_computed_again(rng):
    model, valid, calls = small(), np.ones((4, 6), bool), []
    first, second = rng.normal(size=(2, 4, 6))

    def relevance():
        calls.append(1)
        return second

    found = randomisation(model, relevance, valid, before=first)
    assert len(calls) == 4  # one for each stage
    np.testing.assert_array_equal(found, np.tile(rank_correlation(first, second, valid), (4, 1)))


def test_one_block_at_a_time():
    model = small()
    weights = lambda: np.asarray(model.get_layer("head").get_weights()[0]).T[:, :6].repeat(2, axis=0)  # noqa: E731
    found = randomisation(model, weights, np.ones((2, 6), bool), order="independent")
    assert float(found[0].max()) < 1.0
    np.testing.assert_allclose(found[1:], 1.0)


def test_everything_is_shuffled_as_often_as_asked_and_the_rest_once():
    model = small()
    shuffles = []

    def relevance():
        shuffles.append(np.asarray(model.get_weights()[0])[:, 0])
        return shuffles[-1][None]

    found = randomisation(model, relevance, np.ones((1, 6), bool), order="both", draws=3, seed=5)
    assert len(shuffles) == 1 + (3 + 3) + 3  # unchanged; four cascading stages, the last three times; three alone
    drawn = [rank_correlation(shuffles[0][None], drawn[None], np.ones((1, 6), bool))[0] for drawn in shuffles[4:7]]
    assert len({round(float(one), 6) for one in drawn}) > 1
    assert found[3, 0] == pytest.approx(np.mean(drawn))
    once = randomisation(model, relevance, np.ones((1, 6), bool), seed=5)
    assert once[3, 0] == pytest.approx(drawn[0])


def test_many_blocks_are_put_together_and_the_head_stays_alone():
    inputs = keras.Input((3,))
    x = inputs
    for number in range(20):
        x = layers.Dense(3, name=f"layer_{number}")(x)
    model = keras.Model(inputs, x)
    found = randomisation(model, lambda: np.array([[1.0, 2.0, 3.0]]), np.ones((1, 3), bool), blocks=5)
    assert found["stage"].values.tolist()[:2] == ["layer_19", "and layer_18 to layer_14"]
    assert len(found) == 5


@pytest.mark.every_backend
def test_the_model_is_as_it_was_even_after_an_error():
    model = small()
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises(RuntimeError, match="on purpose"), randomised(model.layers, 0):
        changed = [weight.copy() for weight in model.get_weights()]
        raise RuntimeError("on purpose")
    assert any(np.abs(old - new).max() > 0 for old, new in zip(before, changed, strict=True))
    for old, new in zip(before, changed, strict=True):
        np.testing.assert_allclose(np.sort(old.ravel()), np.sort(new.ravel()))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_rank_correlation_is_spearmans_with_ties_and_without_padding(rng):
    stats = pytest.importorskip("scipy.stats")
    first, second = rng.integers(0, 4, (5, 11)).astype(float), rng.normal(size=(5, 11))
    valid = np.ones((5, 11), bool)
    valid[:, 8:] = False
    found = rank_correlation(first, second, valid)
    for sample in range(5):
        expected = stats.spearmanr(first[sample, :8], second[sample, :8]).statistic
        assert found[sample] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones((1, 4)), second[:1, :4], np.ones((1, 4), bool))).all()


def test_a_model_without_weights_is_refused():
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, layers.ReLU()(inputs), name="plain")
    with pytest.raises(InputError) as caught:
        randomisation(model, lambda: np.ones((1, 3)), np.ones((1, 3), bool))
    assert str(caught.value) == "The model 'plain' has no weights, so there is nothing to randomise."
