"""Conditions are followed through all of their branches; what is known of a result holds whichever branch ran."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats

BACKEND = keras.backend.backend()
IN_BRANCH = (
    "it runs in a branch of a condition that is decided while the compiled model runs, whose tensors cannot leave it; "
    "decide it by a plain Python value, or compute both branches and choose between what they give with keras.ops.where"
)


class Conditional(layers.Layer):
    """Attends to itself in one branch of a condition.

    Args:
        form: Takes a number that the input decides, attention, and something else; both without arguments.
    """

    def __init__(self, form, **settings):
        super().__init__(**settings)
        self.form = form

    def call(self, x):
        def attend():
            return ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)

        return self.form(ops.sum(x), attend, lambda: x * 1.0)

    def compute_output_shape(self, shape):
        return shape


def first(number, attend, other):
    return ops.cond(number > 0, attend, other)


def second(number, attend, other):
    return ops.cond(number > 0, other, attend)


def last_of_three(number, attend, other):
    return ops.switch(ops.cast(number > 0, "int32"), [other, other, attend])


def of_the_framework(number, attend, other):
    if BACKEND == "jax":
        import jax

        return jax.lax.cond(number > 0, lambda _: attend(), lambda _: other(), number)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.case([(number > 0, attend)], default=other)
    return second(number, other, attend)


def chosen_by_number(number, attend, other):
    if BACKEND == "jax":
        import jax

        return jax.lax.switch((number > 0).astype("int32"), [other, attend])
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.switch_case(tf.cast(number > 0, "int32"), {0: other, 1: attend})
    return last_of_three(number, attend, other)


def always(number, attend, other):
    return ops.cond(True, attend, other)


def where_nothing_else_is_possible(number, attend, other):
    return ops.cond(False, lambda: ops.reshape(number, (3, 7)), attend)


def conditional(form):
    x = keras.Input((3, 5), name="x")
    between = Conditional(form, name="site")(x)
    return keras.Model(x, layers.MultiHeadAttention(2, 3, name="mha")(between, between))


def both_ways(rng):
    """Five samples; the first branch is for three of them."""
    x = rng.normal(size=(5, 3, 5)).astype("float32")
    x[::2] += 3
    x[1::2] -= 3
    return x


@pytest.mark.every_backend
@pytest.mark.parametrize("form", [first, second, last_of_three, of_the_framework, chosen_by_number])
def test_attention_in_any_branch_is_listed_and_the_trail_goes_on_behind_it(form, rng):
    model, x = conditional(form), both_ways(rng)
    inside, behind = ats.sites(model, x)
    assert behind.certainty == "traced"
    assert (behind.lineage["query"], behind.lineage["key"]) == ("axis 1 of input 'x'", "axis 1 of input 'x'")
    if BACKEND == "torch":
        assert (inside.name, inside.taken, inside.certainty) == ("site", True, "traced")
        assert inside.lineage == {"sample": "samples", "query": "axis 1 of input 'x'", "key": "axis 1 of input 'x'"}
        return
    assert (inside.name, inside.taken, inside.reason, inside.unreached) == ("site", False, IN_BRANCH, IN_BRANCH)


@pytest.mark.every_backend
@pytest.mark.parametrize("form", [always, where_nothing_else_is_possible])
def test_of_a_condition_that_python_decides_one_branch_runs(form, rng):
    model, x = conditional(form), both_ways(rng)
    assert [(site.name, site.taken) for site in ats.sites(model, x)] == [("site", True), ("mha", True)]


class Either(layers.Layer):
    """One of its inputs."""

    def call(self, x, y):
        chosen = ops.cond(ops.sum(x) > 0, lambda: x * 2.0, lambda: y * 3.0)
        return ops.switch(ops.cast(ops.sum(y) > 0, "int32"), [lambda: chosen, lambda: chosen + 1.0])


class Repeated(layers.Layer):
    """A loop whose steps are not counted beforehand."""

    def call(self, x, y):
        return ops.while_loop(lambda z: ops.sum(z) < 100.0, lambda z: (z + ops.abs(x) + 1.0,), (y,))[0]


class Replaced(layers.Layer):
    """A loop whose steps do not go on from what it began with."""

    def call(self, x, y):
        return ops.while_loop(lambda number, _: number < 3, lambda number, _: (number + 1, x * 2.0), (0, y))[1]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("layer", "given", "known"),
    [
        (Either, "xx", "axis 1 of input 'x'"),
        (Either, "xy", "axis 1 of inputs 'x' and 'y'"),
        (Repeated, "xx", "axis 1 of input 'x'"),
        # PyTorch runs the loop, so that it is known to have steps
        (Replaced, "xy", "axis 1 of input 'x'" if BACKEND == "torch" else "axis 1 of inputs 'x' and 'y'"),
    ],
)
def test_what_comes_out_has_the_lineage_of_all_branches(layer, given, known, rng):
    inputs = {name: keras.Input((3, 5), name=name) for name in "xy"}
    between = layer()(*(inputs[name] for name in given))
    model = keras.Model(list(inputs.values()), layers.MultiHeadAttention(2, 3)(between, between))
    [site] = ats.sites(model, [rng.normal(size=(2, 3, 5)).astype("float32") for _ in inputs])
    assert (site.certainty, site.lineage["query"], site.lineage["key"]) == ("traced", known, known)


def test_a_branch_that_cannot_run_for_these_inputs_is_left_out(rng):
    def impossible(number, attend, other):
        return ops.cond(number > 1e9, lambda: ops.reshape(number, (3, 7)), attend)

    model, x = conditional(impossible), both_ways(rng)
    assert [(site.name, site.certainty) for site in ats.sites(model, x)] == [("site", "traced"), ("mha", "traced")]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_capture_says_for_which_samples_a_branch_ran(batch_size, rng, tmp_path):
    model, x = conditional(first), both_ways(rng)
    ran = np.array([x[start : start + batch_size].sum() > 0 for start in range(0, 5, batch_size)])
    ran = np.repeat(ran, batch_size)[:5]
    options = {"batch_size": batch_size, "progress": False, "summaries": [ats.Full(), ats.Received(), ats.TopK(2)]}
    maps = ats.capture(model, x, **options)
    site = maps.dataset("site")
    logits = x[ran] @ x[ran].transpose(0, 2, 1)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(site.scores[ran], exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5)
    assert np.isnan(site.scores[~ran]).all() and np.isnan(site.received[~ran]).all()
    assert (site.top_keys[~ran] == -1).all()
    for validity in (site.ran, site.query_valid.all("query"), site.key_valid.all("key")):
        np.testing.assert_array_equal(validity, ran)
    assert "ran" not in maps["mha"].coords
    [finding] = maps.findings
    assert (finding.kind, finding.site, finding.value) == ("not_run", "site", ran.mean())
    assert finding.message == (
        f"it ran for {ran.sum()} of 5 samples: a condition in the model sent the others another way, so that they "
        "have no scores"
    )
    stored = ats.capture(model, x, codes="exact", store=tmp_path / "run.zarr", **options)
    assert stored.dataset("site").equals(site)
    assert stored.findings == maps.findings


def test_an_attention_that_runs_for_no_sample_is_a_finding(rng):
    maps = ats.capture(conditional(first), -np.abs(both_ways(rng)), progress=False)
    assert np.isnan(maps["site"]).all() and not maps["site"].ran.any()
    assert [(item.kind, item.site, item.value) for item in maps.findings if item.site == "site"] == [
        ("not_run", "site", 0.0)
    ]


def test_attribution_by_scores_that_some_samples_do_not_have_is_refused(rng):
    x = keras.Input((3, 5), name="x")
    pooled = layers.GlobalAveragePooling1D()(Conditional(first, name="site")(x))
    model, data = keras.Model(x, layers.Dense(2)(pooled)), both_ways(rng)
    with pytest.raises(ats.errors.UnsupportedError) as error:
        ats.attribute(model, data, target=1, method="chefer", batch_size=1)
    assert str(error.value) == (
        "The attention 'site' did not run for the samples 1 to 1, because a condition in the model went another way, "
        "so that they have no scores. Name sites that run for all: sites=[...]; or take a method that reads no scores: "
        "method='gradient_x_input'."
    )


def test_a_softmax_that_only_later_batches_meet_is_a_finding(rng, tmp_path):
    model, x = conditional(lambda number, attend, other: attend() if number > 0 else other()), -both_ways(rng)
    assert ats.sites(model, x).names == ["mha"]
    maps = ats.capture(model, x, batch_size=1, progress=False)
    stored = ats.capture(model, x, batch_size=1, progress=False, store=tmp_path / "run.zarr")
    assert list(maps) == list(stored) == ["mha"]
    for run in (maps, stored):
        assert [(item.site, item.message) for item in run.findings if item.kind == "unreached"] == [
            (
                "site",
                "a softmax was left out: it ran for some of the samples, but not when the model was traced on the "
                "first batch, for a Python if or loop in the model depends on what the model is given",
            )
        ]


class Twice(layers.Layer):
    """One attention layer in both branches, and behind them."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.attend = layers.MultiHeadAttention(2, 3, name="attend")

    def build(self, shape):
        self.attend.build(shape, shape)

    def call(self, x):
        mixed = ops.cond(
            ops.sum(x) > 0, lambda: self.attend(x, x) + self.attend(-x, -x), lambda: self.attend(2 * x, 2 * x)
        )
        return self.attend(mixed, mixed)


def test_a_call_has_its_name_whichever_branch_runs(rng):
    x = keras.Input((3, 5), name="x")
    maps = ats.capture(keras.Model(x, Twice(name="twice")(x)), both_ways(rng), batch_size=1, progress=False)
    taken = {name: array.ran.values.tolist() if "ran" in array.coords else True for name, array in maps.items()}
    one_way = [True, False, True, False, True]
    assert taken == {
        "twice/attend": one_way,
        "twice/attend#1": one_way,
        "twice/attend#2": [not ran for ran in one_way],
        "twice/attend#3": True,
    }


class InEachStep(layers.Layer):
    """A loop over time, or over the samples, that attends where a step's numbers are large."""

    def __init__(self, over, **settings):
        super().__init__(**settings)
        self.over = over

    def call(self, x):
        if self.over == "sample":
            return ops.map(lambda one: self.pooled(one, ops.sum(one), 0), x)
        steps = ops.scan(lambda _, one: ((), self.pooled(x, ops.sum(one), 1)), (), ops.transpose(x, (1, 0, 2)))[1]
        return ops.sum(steps, 0)

    def pooled(self, values, number, axis):
        def attend():
            return ops.sum(ops.softmax(ops.sum(values, -1, keepdims=True), axis=axis) * values, axis)

        return ops.cond(number > 0, attend, lambda: ops.sum(values, axis))


@pytest.mark.parametrize("over", ["sample", "step"])
def test_a_condition_in_each_step_of_a_loop(over, rng):
    x = keras.Input((3, 5), name="x")
    model = keras.Model(x, InEachStep(over, name="site")(x))
    data = both_ways(rng) if over == "sample" else np.abs(both_ways(rng)) * np.array([1, -1, 1])[None, :, None]
    maps = ats.capture(model, data.astype("float32"), progress=False)
    scores = maps["site"]
    ran = [True, False, True, False, True] if over == "sample" else [[True, False, True]] * 5
    assert scores.ran.values.tolist() == ran
    np.testing.assert_array_equal(np.isnan(scores).all("key"), ~scores.ran)
    assert [finding.kind for finding in maps.findings if finding.kind in ("nan", "not_run")] == ["not_run"]
