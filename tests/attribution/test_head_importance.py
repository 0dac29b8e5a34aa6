"""Heads weighed by gradients, by taking each out, along an order and greedily."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution._head_importance import MaskedHeads, head_ablation, head_importance
from attnscope.attribution._pruning import ablation_curve, prune

LENGTH, WIDTH, SAMPLES = 5, 6, 7


@pytest.fixture
def given(rng):
    return rng.normal(size=(SAMPLES, LENGTH, WIDTH)).astype("float32")


@pytest.fixture
def model(rng):
    """Two attention layers, of 3 and 2 heads; head 1 of the first and head 0 of the second lead nowhere."""
    x = keras.Input((LENGTH, WIDTH))
    first, second = layers.MultiHeadAttention(3, 4, name="first"), layers.MultiHeadAttention(2, 4, name="second")
    y = layers.Add()([x, first(x, x)])
    y = layers.Add()([y, second(y, y)])
    pooled = layers.GlobalAveragePooling1D()(y)
    model = keras.Model(x, layers.Dense(3, activation="tanh", name="classes")(pooled))
    for weight in model.trainable_weights:
        weight.assign(ops.convert_to_tensor(rng.normal(size=weight.shape).astype("float32") / 2))
    for layer, head in ((first, 1), (second, 0)):
        kernel = ops.convert_to_numpy(layer.output_dense.kernel).copy()
        kernel[head] = 0
        layer.output_dense.kernel.assign(ops.convert_to_tensor(kernel))
    return model


def with_factors(model, given, factors):
    """The output with each head's scores multiplied by a factor."""
    edits = {name: lambda scores, f=f: scores * ops.reshape(ops.convert_to_tensor(f), (1, -1, 1, 1))
             for name, f in factors.items()}  # fmt: skip
    return ats.intervene(model, given, edits).astype("float64")


def derivative(model, given, name, heads, head, step=0.02):
    """Of class 2 by a factor on one head, by differences of fourth order; dims (sample,)."""

    def moved(by):
        factors = np.ones(heads, "float32")
        factors[head] += by
        return with_factors(model, given, {name: factors})[:, 2]

    return (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)


def test_the_gradient_is_the_finite_difference_of_a_factor_on_the_head(model, given):
    found = head_importance(model, given, target=2, batch_size=3)
    assert found.dims == ("site", "head")
    assert found["site"].values.tolist() == ["first", "second"]
    for site, (name, heads) in enumerate((("first", 3), ("second", 2))):
        for head in range(heads):
            expected = np.abs(derivative(model, given, name, heads, head)).mean()
            np.testing.assert_allclose(found.values[site, head], expected, atol=5e-5)
    assert np.isnan(found.values[1, 2])
    assert found.values[0, 1] == 0 and found.values[1, 0] == 0
    assert {name: found.attrs[name] for name in ("target", "class_specific", "passes", "gradient_passes")} == {
        "target": "class 2", "class_specific": True, "passes": SAMPLES, "gradient_passes": SAMPLES,
    }  # fmt: skip


def test_a_loss_of_labels_is_differentiated_for_each_sample(model, given):
    labels = np.arange(SAMPLES) % 3
    own = head_importance(model, given, target=ats.attribution.PerSample(labels))
    loss = lambda outputs, labels: -ops.sum(outputs * ops.one_hot(labels, 3, dtype="float32"), axis=1)  # noqa: E731
    np.testing.assert_allclose(head_importance(model, given, loss=loss, labels=labels), own, atol=1e-6)


def test_normalised_importance_has_length_1_at_each_site(model, given):
    plain, normal = head_importance(model, given, target=0), head_importance(model, given, target=0, normalise=True)
    np.testing.assert_allclose(normal, plain / np.sqrt((plain**2).sum("head")), atol=1e-12)


def class_2(outputs):
    return float(outputs[:, 2].mean())


def without(model, given, removed):
    """The metric without some heads, by editing factors."""
    factors = {"first": np.ones(3, "float32"), "second": np.ones(2, "float32")}
    for name, head in removed:
        factors[name][head] = 0
    return class_2(with_factors(model, given, factors))


def test_ablation_is_what_the_metric_loses(model, given):
    found = head_ablation(model, given, class_2, batch_size=3)
    whole = class_2(model.predict(given, verbose=0))
    for site, (name, heads) in enumerate((("first", 3), ("second", 2))):
        for head in range(heads):
            np.testing.assert_allclose(
                found.values[site, head], whole - without(model, given, [(name, head)]), atol=1e-6
            )
    assert abs(found.values[0, 1]) < 1e-6 and abs(found.values[1, 0]) < 1e-6
    np.testing.assert_allclose(found.attrs["metric"], whole, atol=1e-6)
    assert found.attrs["passes"] == 6 * SAMPLES


def test_the_curve_takes_heads_out_one_after_the_other(model, given):
    importance = head_importance(model, given, target=2)
    curve = ablation_curve(model, given, class_2, importance)
    order = list(zip(curve["removed_site"].values.tolist(), curve["removed_head"].values.tolist(), strict=True))
    assert order[0] == ("", -1)
    assert order[1:3] == [("first", 1), ("second", 0)]
    sizes = [importance.sel(site=site).values[head] for site, head in order[1:]]
    assert len(sizes) == 5 and sizes == sorted(sizes)
    for count in range(6):
        np.testing.assert_allclose(curve.values[count], without(model, given, order[1 : count + 1]), atol=1e-6)
    assert curve.attrs["passes"] == 6 * SAMPLES
    given_by_hand = ablation_curve(model, given, class_2, order[1:3])
    np.testing.assert_allclose(given_by_hand, curve[:3], atol=1e-7)


def test_pruning_takes_in_each_round_the_head_that_costs_least(model, given):
    found = prune(model, given, class_2, floor=-10.0)
    heads, gone = [("first", 0), ("first", 1), ("first", 2), ("second", 0), ("second", 1)], []
    for count in range(1, 6):
        left = [head for head in heads if head not in gone]
        best = max(without(model, given, [*gone, head]) for head in left)
        last = (found["removed_site"].values[count], found["removed_head"].values[count])
        np.testing.assert_allclose(found["metric"].values[count], best, atol=1e-6)
        np.testing.assert_allclose(without(model, given, [*gone, last]), best, atol=1e-6)
        assert found["round"].sel(site=last[0]).values[last[1]] == count
        gone.append((str(last[0]), int(last[1])))
    assert found.attrs["passes"] == (1 + 5 + 4 + 3 + 2 + 1) * SAMPLES


def test_heads_that_lead_nowhere_are_pruned_and_the_metric_is_kept(model, given):
    said = model.predict(given, verbose=0)
    closeness = lambda outputs: -float(np.abs(outputs - said).max())  # noqa: E731
    found = prune(model, given, closeness, floor=-1e-5)
    assert sorted(zip(found["removed_site"].values[1:], found["removed_head"].values[1:], strict=True)) == [
        ("first", 1),
        ("second", 0),
    ]
    assert (found["metric"].values >= -1e-5).all()
    np.testing.assert_array_equal(model.predict(given, verbose=0), said)
    assert prune(model, given, closeness, floor=-1e-5, most=1).sizes["removed"] == 2


def test_the_same_heads_are_run_once(model, given):
    masked = MaskedHeads(model, given, class_2)
    for removed in itertools.permutations(masked.heads[:3]):
        masked(removed)
    assert masked.passes == SAMPLES


def message_of(function, *args, **options):
    with pytest.raises(ats.errors.MethodError) as caught:
        function(*args, **options)
    return str(caught.value)


def test_what_cannot_be_done_is_said(model, given):
    assert message_of(ablation_curve, model, given, class_2, [("first", 3)]) == (
        "The heads [('first', 3)] are to be removed, but the numbers of heads are {'first': 3, 'second': 2}. Give "
        "pairs of a site's name and a head's number, from 0."
    )
    assert message_of(head_ablation, model, given, lambda outputs: outputs[0]).endswith(
        "but one number for all samples is needed: lambda outputs: float((outputs.argmax(1) == labels).mean())."
    )
    assert message_of(head_importance, model, given, target=[0, 1]) == (
        "There are 2 targets, but the importance of heads is measured for one at a time: target=1."
    )
    assert message_of(head_importance, model, given, labels=[1]) == (
        "A loss needs labels, labels need a loss, and neither can be combined with a target: "
        "loss=lambda outputs, labels: keras.losses.sparse_categorical_crossentropy(labels, outputs), labels=y."
    )
    assert message_of(prune, model, given, lambda outputs: 0.5, floor=0.75) == (
        "The metric of the whole model is 0.5, below the floor 0.75, so no head can be removed. Lower the floor: "
        "floor=0.475."
    )
