"""Raw attention and rollout as relevance: read from the captured maps by loops, and in closed forms."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import relevance_of, subjects_of
from attnscope.errors import MethodError, NoAttentionError
from attnscope.handlers._gradients import Differentiator
from models import padded_tokens, seed_model, transformer


def uniform_encoder(blocks, length, width=6):
    """Attention that is even over all positions: its queries are 0."""
    given = keras.Input((length, width))
    x = given
    for block in range(blocks):
        attended = layers.MultiHeadAttention(2, 3, name=f"even_{block}")(x, x)
        x = x + attended
    model = keras.Model(given, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    for layer in model.layers:
        if layer.name.startswith("even"):
            layer._query_dense.kernel.assign(np.zeros(layer._query_dense.kernel.shape))
    return model


def with_class_token(rows=2, columns=3, patch=4):
    """A picture in patches behind a learned class token, as in ViT."""
    given = keras.Input((rows * patch, columns * patch, 1))
    x = layers.Conv2D(6, patch, strides=patch)(given)
    x = layers.Reshape((rows * columns, 6))(x)
    x = layers.ZeroPadding1D((1, 0))(x)
    x = x + layers.MultiHeadAttention(2, 3, name="mha_0")(x, x)
    x = x + layers.MultiHeadAttention(2, 3, name="mha_1")(x, x)
    return keras.Model(given, layers.Dense(3)(x[:, 0]))


def pooled(length=5, width=4):
    """Self-attention, and a softmax over the positions behind it."""
    given = keras.Input((length, width))
    x = given + layers.MultiHeadAttention(3, 2, name="mha")(given, given)
    weights = layers.Softmax(axis=1, name="pool")(layers.Dense(1)(x))
    return keras.Model(given, layers.Dense(2)(ops.sum(weights * x, axis=1)))


def test_raw_attention_is_the_mean_over_heads_and_valid_queries(rng):
    model, tokens = transformer(), padded_tokens(rng)
    scores = ats.capture(model, tokens)["attention_1"].values
    expected = np.zeros(tokens.shape)
    for sample, row in enumerate(tokens):
        queries = [place for place, token in enumerate(row) if token]
        for key in queries:
            cells = [scores[sample, head, query, key] for head in range(2) for query in queries]
            expected[sample, key] = sum(cells) / len(cells)
    found = ats.attribute(model, tokens, method="raw", batch_size=4)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found.key_valid, tokens != 0)
    np.testing.assert_allclose(found.sum("key"), 1, atol=1e-5)
    assert found.dims == ("sample", "key")
    assert found.attrs == {
        "method": "raw",
        "target": "the predicted class",
        "class_specific": False,
        "positions": '{"key": "tokens"}',
        "lineage": '{"key": "axis 1 of input \'tokens\'"}',
        "site": "attention_1",
        "passes": 22,  # 11 for the target, 11 for the scores
        "gradient_passes": 0,
    }
    first = ats.attribute(model, tokens, method="raw", query=0, sites="attention_0")
    np.testing.assert_allclose(
        first, ats.capture(model, tokens)["attention_0"].values[:, :, 0].mean(1) * (tokens != 0), atol=1e-6
    )


def test_a_site_without_queries_is_read_as_it_is(rng):
    model = seed_model()
    tokens = rng.integers(1, 31, (3, 23))
    found = ats.attribute(model, tokens, method="raw", labels=[f"word {n}" for n in range(23)])
    np.testing.assert_allclose(found, ats.capture(model, tokens)["attention_vec"], atol=1e-6)
    assert found.key_label.values[4] == "word 4"


def test_the_rollout_of_even_attention_has_its_closed_form(rng):
    for blocks in (1, 3):
        model = uniform_encoder(blocks, length=5)
        x = rng.normal(size=(2, 5, 6)).astype("float32")
        found = ats.attribute(model, x, method="rollout", target=0, query=3)
        left = 2.0**-blocks
        expected = left * np.eye(5)[3] + (1 - left) / 5
        np.testing.assert_allclose(found, [expected] * 2, atol=1e-6)
        np.testing.assert_allclose(ats.attribute(model, x, method="rollout", target=0), 1 / 5, atol=1e-6)
    own = ats.attribute(model, x, method="rollout", target=0, query=3, residual=1.0)
    np.testing.assert_allclose(own, [np.eye(5)[3]] * 2, atol=1e-6)


def test_rollout_by_loops_over_padded_tokens(rng):
    model, tokens = transformer(blocks=3, length=5), padded_tokens(rng, samples=4, length=5)
    maps = ats.capture(model, tokens)
    expected = np.zeros(tokens.shape)
    for sample, row in enumerate(tokens):
        carried = np.eye(5)
        for scores in maps.values():
            layer = scores.values[sample].astype(float).mean(0)
            mixed = np.zeros((5, 5))
            for query in range(5):
                whole = layer[query].sum()
                for key in range(5):
                    share = layer[query, key] / whole if whole else 0
                    mixed[query, key] = 0.5 * share + 0.5 * (query == key)
                mixed[query] /= mixed[query].sum()
            carried = mixed @ carried
        for key in np.flatnonzero(row):
            expected[sample, key] = np.mean([carried[query, key] for query in np.flatnonzero(row)])
    np.testing.assert_allclose(ats.attribute(model, tokens, method="rollout"), expected, atol=1e-6)


def test_the_options_of_a_rollout_are_those_of_the_analysis(rng):
    model, tokens = transformer(length=5), padded_tokens(rng, samples=4, length=5)
    options = {"residual": 0.3, "fusion": "max", "discard": 0.5}
    carried = ats.analysis.rollout(ats.capture(model, tokens), **options).values[-1]
    real = tokens != 0
    expected = [rows[valid].mean(0) * valid for rows, valid in zip(carried, real, strict=True)]
    np.testing.assert_allclose(ats.attribute(model, tokens, method="rollout", **options), expected, atol=1e-6)


def test_what_pools_weights_the_rows_of_the_rollout(rng):
    model = pooled()
    x = rng.normal(size=(3, 5, 4)).astype("float32")
    maps = ats.capture(model, x)
    rolled = 0.5 * np.eye(5) + 0.5 * maps["mha"].values.mean(1)
    pool = maps["pool"].values.reshape(3, 5)
    expected = np.einsum("sq,sqk->sk", pool, rolled)
    np.testing.assert_allclose(ats.attribute(model, x, method="rollout", target=1), expected, atol=1e-6)
    np.testing.assert_allclose(ats.attribute(model, x, method="raw", target=1), pool, atol=1e-6)


def test_a_class_token_in_front_of_patches_is_left_out(rng):
    model = with_class_token()
    pictures = rng.normal(size=(2, 8, 12, 1)).astype("float32")
    scores = ats.capture(model, pictures)["mha_1"].values
    for options in ({}, {"prefix": 1}):
        found = ats.attribute(model, pictures, method="raw", target=0, grid=(2, 3), query=0, **options)
        assert found.shape == (2, 6)
        np.testing.assert_allclose(found, scores[:, :, 0, 1:].mean(1), atol=1e-6)
    assert ats.attribute(model, pictures, target=0, grid=(2, 3)).shape == (2, 6)


def test_what_reads_no_target_says_the_same_for_every_target(rng):
    model, tokens = transformer(), padded_tokens(rng, samples=3)
    for name, method in ats.attribution.METHODS.items():
        options = {"removal": ats.attribution.mask_token(12)} if "removal" in method.options else {}
        both = ats.attribute(model, tokens, method=name, target=[0, 2], **options)
        assert both.dims == ("target", "sample", "key")
        assert both.coords["target"].values.tolist() == ["class 0", "class 2"]
        assert both.attrs["class_specific"] is method.class_specific
        apart = float(abs(both[0] - both[1]).max())
        assert apart > 1e-4 if method.class_specific else apart == 0, name
        if name == "integrated_gradients":
            np.testing.assert_array_equal(both[1], ats.attribute(model, tokens, method=name, target=2))


@pytest.mark.every_backend
def test_a_subject_is_compiled_once_and_reads_the_weights_of_the_day(rng, monkeypatch):
    made = []
    for module in ("differentiation", "gradient_products", "integrated"):
        path = f"attnscope.attribution._{module}.Differentiator"
        monkeypatch.setattr(path, lambda *args, **options: made.append(args) or Differentiator(*args, **options))
    model, tokens = transformer(length=5), padded_tokens(rng, samples=3, length=5)
    [subject] = subjects_of(model, tokens, target=1)
    names = ("rollout", "chefer", "gradient_x_input", "integrated_gradients")
    before = {name: relevance_of(subject, name) for name in names}
    model.get_layer("classes").kernel.assign(rng.normal(size=(10, 3)))
    after = {name: relevance_of(subject, name) for name in names}
    assert len(made) == 3  # by scores, by embeddings, along the path
    [fresh] = subjects_of(model, tokens, target=1)
    for name in names:
        np.testing.assert_allclose(after[name], relevance_of(fresh, name), atol=1e-7)
        assert (abs(after[name] - before[name]).max() > 1e-4) == (name != "rollout")


def test_the_methods_that_remove_are_in_the_table(rng):
    model, tokens = transformer(length=5), padded_tokens(rng, samples=3, length=5)
    removal = ats.attribution.mask_token(12)
    found = ats.attribute(model, tokens, target=1, method="occlusion", removal=removal)
    said = model.predict(tokens, verbose=0)[:, 1]
    for place in range(5):
        without = np.where((np.arange(5) == place) & (tokens != 0), 12, tokens)
        np.testing.assert_allclose(found[:, place], said - model.predict(without, verbose=0)[:, 1], atol=1e-6)
    attrs = {name: found.attrs[name] for name in ("method", "class_specific", "passes", "gradient_passes")}
    valid = int((tokens != 0).sum())
    assert attrs == {"method": "occlusion", "class_specific": True, "passes": 3 + 3 + valid, "gradient_passes": 0}
    values = ats.attribute(model, tokens, target=1, method="shapley", removal=removal, permutations=4)
    nothing = model.predict(np.where(tokens == 0, 0, 12), verbose=0)[:, 1]
    np.testing.assert_allclose(values.sum("key"), said - nothing, atol=1e-5)
    assert values.standard_error.dims == ("sample", "key")


@pytest.mark.every_backend
def test_the_model_stays_as_it_is(rng):
    model, tokens = transformer(dropout=0.2), padded_tokens(rng, samples=3)
    before = model.predict(tokens, verbose=0)
    for name in ("raw", "rollout", "chefer", "integrated_gradients"):
        ats.attribute(model, tokens, method=name)
    np.testing.assert_array_equal(model.predict(tokens, verbose=0), before)


def said(call, error):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_what_no_method_can_do_is_said_with_what_can(rng):
    model, tokens = transformer(length=5), padded_tokens(rng, samples=3, length=5)
    others = (
        "These methods need no attention: method='gradient_x_input', 'integrated_gradients' (both need gradients) or "
        "'occlusion' (needs none)."
    )
    names = ", ".join(map(repr, ats.attribution.METHODS))
    assert said(lambda: ats.attribute(model, tokens, method="cheffer"), MethodError) == (
        f"The method is 'cheffer', but one of {names} is needed: method='chefer'."
    )
    assert said(lambda: ats.attribute(model, tokens, method="raw", steps=3), MethodError) == (
        "The method 'raw' has no option 'steps'; its options are: query, roles, prefix."
    )
    assert said(lambda: ats.attribute(model, tokens, method="gradient_x_input", steps=3), MethodError) == (
        "The method 'gradient_x_input' has no option 'steps'; its options are: none at all."
    )
    assert said(lambda: ats.attribute(model, tokens, method="raw", query=5), MethodError) == (
        "The query 5 was asked for, but there are 5, numbered from 0: query=0."
    )
    assert said(lambda: ats.attribute(model, tokens, method="raw", prefix=1), MethodError) == (
        'The input has 5 positions, but the attention is over a different number: 5 in "axis 1 of input '
        f"'tokens'\". If class or register tokens come first, say how many: prefix=1. {others}"
    )
    given = keras.Input((4,), name="x")
    plain = keras.Model(given, layers.Dense(3, activation="softmax", name="classes")(given))
    message = said(lambda: ats.attribute(plain, rng.normal(size=(2, 4)), method="chefer"), NoAttentionError)
    assert message.endswith(others)
    pooling = seed_model()
    words = rng.integers(1, 31, (2, 23))
    assert said(lambda: ats.attribute(pooling, words, method="rollout"), MethodError) == (
        "A rollout multiplies self-attention over the positions, but here they are only pooled, by ['attention_vec']. "
        f"Use the weights themselves: method='raw'. {others}"
    )


class Latents(layers.Layer):
    """As many vectors as there are positions, which are no positions of the input."""

    def build(self, shape):
        self.latents = self.add_weight(shape=(5, 6), name="latents")

    def call(self, x):
        return ops.broadcast_to(self.latents, (ops.shape(x)[0], 5, 6)) + ops.mean(x, axis=1, keepdims=True)


@pytest.mark.every_backend
def test_as_many_latents_as_positions_are_not_taken_for_them(rng):
    given = keras.Input((5, 6), name="series")
    x = Latents(name="perceive")(given)
    model = keras.Model(given, layers.Dense(1)(layers.MultiHeadAttention(2, 3, name="mha")(x, x)[:, 0]))
    series = rng.normal(size=(2, 5, 6)).astype("float32")
    assert said(lambda: ats.attribute(model, series, method="raw"), MethodError) == (
        "The attention is over units of 'perceive/latents', which has as many positions as the input 'series', 5, but "
        "does not come from it position by position. If it stands for them all the same, name it after the input: "
        "roles={'pattern': ('series', 'series'), ...}. These methods need no attention: method='gradient_x_input', "
        "'integrated_gradients' (both need gradients) or 'occlusion' (needs none)."
    )
    named = ats.attribute(model, series, method="raw", roles={"mha": ("series", "series")})
    np.testing.assert_allclose(named, ats.capture(model, series)["mha"].mean(("head", "query")), atol=1e-6)


@pytest.mark.every_backend
def test_positions_turned_round_are_not_taken_for_those_of_the_input(rng):
    given = keras.Input((5, 6), name="series")
    x = ops.flip(given, axis=1)
    model = keras.Model(given, layers.Dense(1)(layers.MultiHeadAttention(2, 3, name="mha")(x, x)[:, 0]))
    series = rng.normal(size=(2, 5, 6)).astype("float32")
    message = said(lambda: ats.attribute(model, series, method="raw"), MethodError)
    assert message.startswith(
        "The attention is over axis 1 of input 'series', reversed, which has as many positions as "
    )


def test_attention_over_something_else_than_the_positions_is_refused(rng):
    given = keras.Input((12, 3), name="series")
    x = layers.Conv1D(4, 2, strides=2)(given)  # 6 positions for 12 steps
    x = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    model = keras.Model(given, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))
    steps = rng.normal(size=(2, 12, 3)).astype("float32")
    assert said(lambda: ats.attribute(model, steps), MethodError) == (
        'The input has 12 positions, but the attention is over a different number: 6 in "patches of input '
        "'series'\". If class or register tokens come first, say how many: prefix=1. These methods need no attention: "
        "method='gradient_x_input', 'integrated_gradients' (both need gradients) or 'occlusion' (needs none)."
    )
    assert ats.attribute(model, steps, method="gradient_x_input").shape == (2, 12)
