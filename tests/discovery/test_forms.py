"""Attention is found in whatever form it is written, or it is said why its scores cannot be taken."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attention_forms import (
    KEPT,
    LEFT_OUT,
    LOST,
    TAKEN,
    WRITTEN_OUT,
    Decoder,
    Pool,
    pooling,
)

# PyTorch's compiler, of a tensor with a gradient that is no leaf, when the model itself runs.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")

SIZES = {"primes": (3, 5, 7), "equal": (4, 4, 4)}
"""Samples, positions, features."""


def drawn(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def in_both_sizes(names, cases):
    """Each case in both sizes on PyTorch; JAX and TensorFlow meet every case, and each size in every second of them."""
    return pytest.mark.parametrize(
        (*names, "sizes"),
        [
            pytest.param(
                *case,
                sizes,
                id=f"{getattr(case[0], '__name__', case[0])}-{name}",
                marks=pytest.mark.every_backend if place % 2 == number else (),
            )
            for place, case in enumerate(cases)
            for number, (name, sizes) in enumerate(SIZES.items())
        ],
    )


@in_both_sizes(["form"], [(form,) for form in TAKEN])
def test_a_form_is_taken_with_its_numbers(form, sizes, rng):
    model, x = pooling(form, *sizes[1:]), drawn(rng, *sizes)
    before = ops.convert_to_numpy(model(x))
    for _ in range(2 if form in KEPT else 1):
        [site] = ats.sites(model, x)
        assert (site.taken, site.certainty, site.dims) == (True, "traced", ("sample", "key"))
        assert dict(site.lineage) == {"sample": "samples", "key": "axis 1 of input 'x'"}
        maps = ats.capture(model, x, progress=False)
    half = "float32" in form.__name__
    by_hand = model.get_layer("site").by_hand(x)
    np.testing.assert_allclose(maps["site"], by_hand, atol=5e-3 if half else 1e-6)
    np.testing.assert_allclose(maps.outputs, before, atol=1e-2 if half else 1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), before)


@in_both_sizes(["form", "written"], WRITTEN_OUT.items())
def test_a_softmax_that_is_written_out_is_listed_and_a_finding(form, written, sizes, rng):
    x = keras.Input(sizes[1:], name="x")
    seen = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    model = keras.Model(x, layers.Dense(2)(Pool(form, name="site")(seen)))
    data = drawn(rng, *sizes)
    for _ in range(2 if form in KEPT else 1):
        taken, site = ats.sites(model, data)
        assert (taken.name, taken.taken) == ("mha", True)
        assert (site.name, site.layer_class, site.kind, site.taken, site.dims) == ("site", "Pool", "softmax", False, ())
        assert site.reason == (
            f"it is written out as {written}, and only the call of a softmax can be taken (its scores weight data "
            "along the softmax's axis); compute it with keras.ops.softmax, or let the layer return the weights and "
            "declare them: ats.declare"
        )
        maps = ats.capture(model, data, progress=False)
    assert list(maps) == ["mha"]
    [finding] = [finding for finding in maps.findings if finding.kind == "unreached"]
    assert finding.site == "site"
    assert finding.message == f"a softmax was left out: {site.reason}"
    np.testing.assert_allclose(maps.outputs, ops.convert_to_numpy(model(data)), atol=1e-5)
    with pytest.raises(ats.errors.NoAttentionError) as error:
        ats.capture(model, data, sites="site", progress=False)
    assert str(error.value) == f"The site 'site' cannot be taken: {site.reason}."


class Divided(layers.Layer):
    """Exponentials by their sum, which it may return."""

    def call(self, x):
        exponentials = ops.exp(x)
        return exponentials / ops.sum(exponentials, axis=-1, keepdims=True)


@pytest.mark.every_backend
def test_class_probabilities_that_are_written_out_are_no_finding(rng):
    x = keras.Input((5, 7), name="x")
    seen = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    model = keras.Model(x, Divided(name="classes")(layers.Dense(3)(seen)))
    maps = ats.capture(model, drawn(rng, 3, 5, 7), progress=False)
    assert not [finding for finding in maps.findings if finding.kind == "unreached"]
    assert [site.taken for site in ats.sites(model)] == [True, False]


@pytest.mark.every_backend
def test_weights_that_are_written_out_and_returned_are_declared(rng):
    x = keras.Input((5, 7), name="x")
    scores = Divided(name="weigh")(layers.Flatten()(layers.Dense(1)(x)))
    model = keras.Model(x, layers.Dense(2)(layers.Dot(axes=1)([scores, x])))
    data = drawn(rng, 3, 5, 7)
    [before] = ats.sites(model, data)
    assert before.reason.startswith("it is written out as exp(x) / sum(exp(x))")
    declaration = ats.declare(Divided, dims=("sample", "key"))
    try:
        [site] = ats.sites(model, data)
        assert (site.taken, site.kind, site.certainty) == (True, "declared", "declared")
        maps = ats.capture(model, data, progress=False)
    finally:
        ats.undeclare(declaration)
    assert not [finding for finding in maps.findings if finding.kind == "unreached"]
    np.testing.assert_allclose(maps["weigh"].sum("key"), 1, atol=1e-6)


@in_both_sizes(["form", "reason"], LEFT_OUT.items())
def test_what_is_no_attention_says_why(form, reason, sizes, rng):
    [site] = ats.sites(pooling(form, *sizes[1:]), drawn(rng, *sizes))
    assert (site.taken, site.lost, site.unreached, site.reason) == (False, "", "", reason)


@in_both_sizes(["form"], [(form,) for form in LOST])
def test_a_lost_trail_is_a_reason_of_its_own_and_a_finding_of_each_capture(form, sizes, rng):
    x = keras.Input(sizes[1:], name="x")
    seen = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    model = keras.Model(x, layers.Dense(2)(Pool(form, name="site")(seen)))
    data = drawn(rng, *sizes)
    _, site = ats.sites(model, data)
    assert not site.taken
    assert site.lost
    assert site.reason == (
        f"its trail was lost at the operation {site.lost!r}, so that it is not known what it weights; take it by name "
        "if it is attention"
    )
    maps = ats.capture(model, data, progress=False)
    assert [(finding.kind, finding.site) for finding in maps.findings if finding.kind == "lost"] == [("lost", "site")]
    by_name = ats.capture(model, data, sites="site", progress=False)["site"]
    assert by_name.dims == ("sample", "key")


class Small(layers.Layer):
    """Attention with heads, queries and keys, of which there may be one each."""

    def __init__(self, heads, queries, keys, **options):
        super().__init__(**options)
        self.heads, self.queries, self.keys = heads, queries, keys

    def call(self, x):
        width = x.shape[-1] // self.heads
        query, key = (ops.reshape(x[:, :size], (-1, size, self.heads, width)) for size in (self.queries, self.keys))
        scores = ops.softmax(ops.einsum("bqhd,bkhd->bhqk", query, key))
        return ops.reshape(ops.einsum("bhqk,bkhd->bqhd", scores, key), (-1, self.queries, x.shape[-1]))


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
@pytest.mark.parametrize("samples", [1, pytest.param(2, marks=pytest.mark.every_backend), 5])
@pytest.mark.parametrize(
    ("heads", "queries", "keys"), [(2, 3, 1), (2, 1, 3), (1, 3, 5), (2, 1, 1), (1, 1, 3), (1, 3, 1)]
)
def test_axes_of_size_1_are_axes(heads, queries, keys, samples, rng):
    x = keras.Input((5, 8), name="x")
    project = layers.Dense(8)
    seen = Small(heads, queries, keys, name="site")(project(x))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(seen)))
    data = drawn(rng, samples, 5, 8)
    [site] = ats.sites(model, data)
    assert site.taken
    scores = ats.capture(model, data, progress=False)["site"]
    of_size = {"sample": samples, "head": heads, "query": queries, "key": keys}
    assert {dim: of_size[dim] for dim in scores.dims} == dict(scores.sizes)
    assert {dim for dim, size in of_size.items() if size > 1} <= set(scores.dims)
    split = ops.convert_to_numpy(project(data)).reshape(samples, 5, heads, -1).astype("float64")
    logits = np.einsum("bqhd,bkhd->bhqk", split[:, :queries], split[:, :keys])
    exact = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(scores.values.reshape(exact.shape), exact, atol=1e-5)


HOW = ("by hand", "Bahdanau", "AdditiveAttention", "Attention", "MultiHeadAttention")


@in_both_sizes(["how"], [(how,) for how in HOW])
def test_a_loop_of_pythons_that_asks_one_sequence_again_is_one_site(how, sizes, rng):
    steps = 4
    x = keras.Input(sizes[1:], name="x")
    layer = Decoder(how, steps, name="site")
    model = keras.Model(x, layers.Dense(2)(layer(x)))
    data = drawn(rng, *sizes)
    [site] = ats.sites(model, data)
    assert site.taken
    assert site.reason.endswith(f", in {steps} steps of a loop")
    assert (site.dims[:2], site.dims[-1], site.shape[1]) == (("sample", "step"), "key", steps)
    assert site.lineage["key"] == "axis 1 of input 'x'"
    maps = ats.capture(model, data, progress=False)
    scores = maps[site.name]
    assert scores.dims == site.dims
    np.testing.assert_allclose(scores.sum("key"), 1, atol=1e-5)
    state = data[:, 0]
    for step in range(steps):
        alone = Decoder(how, 1, name="alone")
        alone.kernel, alone.attend = layer.kernel, layer.attend
        given = ops.convert_to_tensor(data)
        logits = _logits(how, data, state, ops.convert_to_numpy(layer.kernel), layer.attend)
        if logits is not None:
            exact = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
            np.testing.assert_allclose(scores.isel(step=step).values.reshape(exact.shape), exact, atol=1e-5)
        state = ops.convert_to_numpy(layer.step(given, ops.convert_to_tensor(state)))
    np.testing.assert_allclose(maps.outputs, ops.convert_to_numpy(model(data)), atol=1e-5)


def _logits(how, x, state, kernel, attend):
    """By NumPy; None for the layer with heads, which other tests look at."""
    if how in ("by hand", "Attention"):
        return np.einsum("bkd,bd->bk", x, state)
    if how == "Bahdanau":
        return (np.tanh(x + state[:, None]) @ kernel)[..., 0]
    if how == "AdditiveAttention":
        return np.tanh(x + state[:, None]) @ ops.convert_to_numpy(attend.scale)
    return None


@pytest.mark.every_backend
def test_two_sequences_that_one_layer_asks_are_two_sites(rng):
    x, y = keras.Input((5, 7), name="x"), keras.Input((5, 7), name="y")
    attend = layers.Attention(name="attend")
    question = layers.Lambda(lambda z: z[:, :1], output_shape=(1, 7))(x)
    model = keras.Model([x, y], layers.Dense(2)(layers.Add()([attend([question, x]), attend([question, y])])))
    found = ats.sites(model, [drawn(rng, 3, 5, 7), drawn(rng, 3, 5, 7)])
    assert [site.name for site in found] == ["attend", "attend#1"]
    assert [site.lineage["key"] for site in found] == ["axis 1 of input 'x'", "axis 1 of input 'y'"]
