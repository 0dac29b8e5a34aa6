"""Attention permuted, even, and as different as the answer lets it be."""

from itertools import permutations

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution._targets import targets_of
from attnscope.trust._counterfactual import adversarial_test, permutation_test, uniform_test


def pooled(values):
    """A softmax over the steps of a sequence pools values: the given ones, or the same for every step."""
    steps = keras.Input((5, 3))
    weights = layers.Softmax(axis=-1, name="weights")(layers.Reshape((5,))(layers.Dense(1, name="energy")(steps)))
    what = layers.Dense(2, name="values")(steps if values == "own" else steps * 0 + 1)
    return keras.Model(steps, layers.Dense(1, name="answer")(layers.Dot(axes=1)([weights, what])))


@pytest.fixture
def steps(rng):
    return (rng.normal(size=(7, 5, 3)) * 2).astype("float32")


def target_of(model, x):
    return targets_of(None, model.predict(x, verbose=0))[0]


@pytest.mark.parametrize("values", ["own", "same"])
def test_where_all_values_are_equal_no_other_attention_changes_the_answer(steps, values):
    model = pooled(values)
    target = target_of(model, steps)
    maps = ats.capture(model, steps, sites="weights", progress=False)
    permuted = permutation_test(model, steps, target, sites="weights", permutations=9)
    even = uniform_test(model, steps, target, sites="weights")
    found = adversarial_test(model, steps, target, maps, "weights", tolerance=1e-4, candidates=3)
    if values == "same":
        assert float(permuted.max()) < 1e-5
        assert float(even.max()) < 1e-5
        assert float(found.min()) > 0.005
    else:
        assert float(permuted.min()) > 1e-3
        assert float(even.min()) > 1e-3
        assert float(found.max()) < 0.005


def test_even_attention_gives_the_answer_of_the_mean_value(steps):
    model = pooled("own")
    change = uniform_test(model, steps, target_of(model, steps), sites="weights")
    values, answer = model.get_layer("values"), model.get_layer("answer")
    mean = ops.convert_to_numpy(answer(ops.mean(values(steps), axis=1)))
    expected = np.abs(mean[:, 0] - model.predict(steps, verbose=0)[:, 0])
    np.testing.assert_allclose(change, expected, atol=1e-5)


def test_the_median_change_is_near_that_over_all_permutations(steps):
    model = pooled("own")
    weights = ats.capture(model, steps, sites="weights", progress=False)["weights"].values
    values = ops.convert_to_numpy(model.get_layer("values")(steps))
    kernel, bias = (ops.convert_to_numpy(variable) for variable in model.get_layer("answer").weights)
    own = (weights[..., None] * values).sum(1) @ kernel + bias
    changes = [
        np.abs((weights[:, list(order)][..., None] * values).sum(1) @ kernel + bias - own)[:, 0]
        for order in permutations(range(5))
    ]
    found = permutation_test(model, steps, target_of(model, steps), sites="weights", permutations=100)
    low, high = np.quantile(changes, 0.35, axis=0), np.quantile(changes, 0.65, axis=0)
    assert ((found.values >= low - 1e-6) & (found.values <= high + 1e-6)).all()


def test_an_adversarial_distance_is_one_that_exists(steps):
    """With two keys the weights have one degree of freedom, so the largest distance is found by trying all."""
    x = steps[:, :2]
    inputs = keras.Input((2, 3))
    weights = layers.Softmax(axis=-1, name="weights")(layers.Reshape((2,))(layers.Dense(1)(inputs)))
    answer = layers.Dot(axes=1)([weights, layers.Reshape((2,))(layers.Dense(1, name="v")(inputs))])
    model = keras.Model(inputs, answer)
    maps = ats.capture(model, x, sites="weights", progress=False)
    own = maps["weights"].values.astype(float)
    value = ops.convert_to_numpy(model.get_layer("v")(x))[..., 0]
    tolerance = 0.05
    found = adversarial_test(
        model, x, target_of(model, x), maps, "weights", tolerance=tolerance, candidates=4, steps=10
    )
    for sample in range(len(x)):
        best = 0.0
        for first in np.linspace(0, 1, 2001):
            other = np.array([first, 1 - first])
            if abs((other - own[sample]) @ value[sample]) <= tolerance:
                middle = (other + own[sample]) / 2
                with np.errstate(divide="ignore", invalid="ignore"):
                    parts = [np.where(p > 0, p * np.log2(p / middle), 0).sum() for p in (other, own[sample])]
                best = max(best, sum(parts) / 2)
        assert -1e-9 <= float(found[sample]) <= best + 1e-3


@pytest.mark.every_backend
def test_draws_are_the_same_for_the_same_seed_and_change_nothing_of_the_model(steps):
    model = pooled("own")
    before = model.predict(steps, verbose=0)
    target = target_of(model, steps)
    one, again, other = (
        permutation_test(model, steps, target, permutations=5, seed=seed, sites="weights").values for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0
    np.testing.assert_array_equal(model.predict(steps, verbose=0), before)


@pytest.mark.every_backend
def test_rows_of_all_heads_and_sites_stay_distributions(rng):
    """Read from the inside: permuted scores have the values of the row, at open keys alone."""
    from attnscope.handlers._edits import Edited
    from attnscope.running import Network
    from attnscope.trust._counterfactual import _permuted

    tokens = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.MultiHeadAttention(3, 2, dropout=0.1, name="mha")(x, x))
    data = rng.integers(1, 9, (2, 7)).astype("int32")
    data[1, 5:] = 0
    before = ats.capture(model, data, progress=False)["mha"].values
    seen = []

    def noted(scores, call, rows):
        seen.append(ops.convert_to_numpy(_permuted(scores, call, rows)) if keras.backend.backend() == "torch" else None)
        return _permuted(scores, call, rows)

    Edited(Network(model, data), None, noted).outputs({"7x7": rng.random((2, 7, 7), dtype=np.float32)})
    if keras.backend.backend() == "torch":  # elsewhere the function is traced, and its values are not seen
        np.testing.assert_allclose(np.sort(seen[0], axis=-1), np.sort(before, axis=-1), atol=1e-6)
        assert np.abs(seen[0][1, :, :, 5:]).max() == 0
        assert len({tuple(np.argsort(seen[0][0, head, 0])) for head in range(3)}) > 1
