"""Chefer's rules against loops over single cells written from the paper, for every kind of streams."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import subjects_of
from attnscope.attribution._chefer import AttentionStep, relevancies
from attnscope.attribution._differentiation import score_derivatives
from attnscope.attribution._streams import streams_of
from attnscope.errors import MethodError
from models import Transformed, padded_tokens, seed_model, transformer


def product(left, right):
    """A product of matrices by its definition."""
    result = np.zeros((len(left), len(right[0])))
    for row in range(len(left)):
        for column in range(len(right[0])):
            for middle in range(len(right)):
                result[row, column] += left[row][middle] * right[middle][column]
    return result


def rule_5(scores, slopes):
    """The mean over heads of what is positive, one sample: (head, query, key) to (query, key)."""
    heads, queries, keys = scores.shape
    found = np.zeros((queries, keys))
    for head, query, key in np.ndindex(heads, queries, keys):
        found[query, key] += max(float(scores[head, query, key]) * float(slopes[head, query, key]), 0) / heads
    return found


def rules_8_and_9(relevance):
    found = np.eye(len(relevance))
    for row in range(len(relevance)):
        gained = relevance[row] - np.eye(len(relevance))[row]
        if gained.sum():
            found[row] += gained / gained.sum()
    return found


class Paper:
    """The relevancy maps of two modalities, for one sample, updated rule by rule."""

    def __init__(self, sizes):
        self.maps = {
            (a, b): np.eye(sizes[a]) if a == b else np.zeros((sizes[a], sizes[b])) for a in sizes for b in sizes
        }

    def self_attention(self, s, q, weights):
        old = dict(self.maps)
        self.maps[s, s] = old[s, s] + product(weights, old[s, s])  # 6
        if q is not None:
            self.maps[s, q] = old[s, q] + product(weights, old[s, q])  # 7

    def cross_attention(self, s, q, weights, old):
        between = product(weights, rules_8_and_9(old[q, q]))
        self.maps[s, q] = self.maps[s, q] + product(rules_8_and_9(old[s, s]).T, between)  # 10
        self.maps[s, s] = self.maps[s, s] + product(weights, old[q, s])  # 11

    def co_attention(self, s, q, of_s, of_q):
        old = dict(self.maps)
        self.cross_attention(s, q, of_s, old)
        self.cross_attention(q, s, of_q, old)


def test_the_rules_of_two_modalities_with_co_attention(rng):
    sizes = {"text": 3, "image": 5}
    drawn = lambda s, q: rng.uniform(size=(2, sizes[s], sizes[q]))  # noqa: E731
    order = [("text", "text"), ("image", "image"), ("text", "text"), ("text", "image"), ("image", "text")]
    order += [("text", "text"), ("image", "image"), ("text", "image"), ("text", "text")]
    steps = [AttentionStep(s, q, drawn(s, q)) for s, q in order]
    found = relevancies(steps)
    for sample in range(2):
        weights = [step.weights[sample] for step in steps]
        paper = Paper(sizes)
        paper.self_attention("text", "image", weights[0])
        paper.self_attention("image", "text", weights[1])
        paper.self_attention("text", "image", weights[2])
        paper.co_attention("text", "image", weights[3], weights[4])
        paper.self_attention("text", "image", weights[5])
        paper.self_attention("image", "text", weights[6])
        paper.cross_attention("text", "image", weights[7], dict(paper.maps))
        paper.self_attention("text", "image", weights[8])
        assert set(found) == set(paper.maps)
        for pair, expected in paper.maps.items():
            np.testing.assert_allclose(found[pair][sample], expected, rtol=1e-12, err_msg=str(pair))


def test_a_third_stream_gets_what_the_second_holds(rng):
    """Patches, what attends to them, and a pooling of that: the rules say two; the chain is what their product says."""
    first, second = rng.uniform(size=(1, 3, 5)), rng.uniform(size=(1, 1, 3))
    found = relevancies([AttentionStep("latent", "patch", first), AttentionStep("pool", "latent", second)])
    np.testing.assert_allclose(found["pool", "patch"], second @ first)
    np.testing.assert_allclose(found["pool", "latent"], second)


def parts(model, inputs, **options):
    """Scores and derivatives of a model's sites, by name, for one target."""
    [subject] = subjects_of(model, inputs, **options)
    [(_, scores, slopes)] = score_derivatives(subject, streams_of(subject).sites)
    return scores, slopes


def test_self_attention_over_padded_tokens(rng):
    model, tokens = transformer(blocks=3, length=5), padded_tokens(rng, samples=4, length=5)
    scores, slopes = parts(model, tokens, target=1)
    expected = np.zeros(tokens.shape)
    for sample, row in enumerate(tokens):
        paper = Paper({"text": 5})
        for name in scores:
            paper.self_attention("text", None, rule_5(scores[name][sample], slopes[name][sample]))
        real = np.flatnonzero(row)
        expected[sample, real] = np.mean((paper.maps["text", "text"] - np.eye(5))[real], axis=0)[real]
    found = ats.attribute(model, tokens, target=1)
    assert expected.max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert {name: found.attrs[name] for name in ("method", "class_specific", "passes", "gradient_passes")} == {
        "method": "chefer",
        "class_specific": True,
        "passes": 4,
        "gradient_passes": 4,
    }


def read_at(place, length=5, width=6):
    """An encoder of vectors of which one position is read."""
    given = keras.Input((length, width))
    x = given
    for block in range(2):
        x = x + layers.MultiHeadAttention(2, 3, name=f"mha_{block}")(x, x)
    return keras.Model(given, layers.Dense(3)(x[:, place]))


def test_the_rows_that_the_target_depends_on_are_read(rng):
    x = rng.normal(size=(3, 5, 6)).astype("float32")
    for place in (0, 4):
        model = read_at(place)
        found = ats.attribute(model, x, target=2)
        np.testing.assert_array_equal(found, ats.attribute(model, x, target=2, query=place))
        assert float(abs(found - ats.attribute(model, x, target=2, query=2)).max()) > 1e-4
        scores, slopes = parts(model, x, target=2)
        for sample in range(3):
            paper = Paper({"steps": 5})
            for name in scores:
                paper.self_attention("steps", None, rule_5(scores[name][sample], slopes[name][sample]))
            np.testing.assert_allclose(found[sample], (paper.maps["steps", "steps"] - np.eye(5))[place], atol=1e-7)


def translator(encoder=5, decoder=3, vocabulary=11, width=6):
    """An encoder and a decoder over tokens, with the names that such layers go by."""
    source = keras.Input((encoder,), dtype="int32", name="encoder_token_ids")
    target = keras.Input((decoder,), dtype="int32", name="decoder_token_ids")
    x = layers.Embedding(vocabulary, width)(source)
    y = layers.Embedding(vocabulary, width)(target)
    for block in range(2):
        x = x + layers.MultiHeadAttention(2, 3, name=f"encoder_{block}")(x, x)
    for block in range(2):
        y = y + layers.MultiHeadAttention(2, 3, name=f"decoder_{block}")(y, y, use_causal_mask=True)
        y = y + layers.MultiHeadAttention(2, 3, name=f"decoder_cross_{block}")(y, x)
    return keras.Model([source, target], layers.Dense(vocabulary)(y))


@pytest.mark.parametrize("decoder", [3, 5])  # told by lengths and names; by names alone
def test_an_encoder_and_a_decoder(rng, decoder):
    model = translator(decoder=decoder)
    inputs = {
        "encoder_token_ids": rng.integers(1, 11, (2, 5)),
        "decoder_token_ids": rng.integers(1, 11, (2, decoder)),
    }
    target = ats.attribution.AtStep(1, 7)
    scores, slopes = parts(model, inputs, target=target, positions="encoder_token_ids")
    encoded = ats.attribute(model, inputs, target=target, positions="encoder_token_ids")
    decoded = ats.attribute(model, inputs, target=target, positions="decoder_token_ids")
    for sample in range(2):
        paper = Paper({"decoder": decoder, "encoder": 5})
        weights = {name: rule_5(scores[name][sample], slopes[name][sample]) for name in scores}
        for block in range(2):
            paper.self_attention("encoder", None, weights[f"encoder_{block}"])
        for block in range(2):
            paper.self_attention("decoder", "encoder", weights[f"decoder_{block}"])
            paper.cross_attention("decoder", "encoder", weights[f"decoder_cross_{block}"], dict(paper.maps))
        np.testing.assert_allclose(encoded[sample], paper.maps["decoder", "encoder"][1], atol=1e-7)
        np.testing.assert_allclose(decoded[sample], (paper.maps["decoder", "decoder"] - np.eye(decoder))[1], atol=1e-7)
    assert float(encoded.max()) > 1e-3
    assert float(decoded[:, 2:].max()) == 0  # the step after it has no say


def two_streams(same=False, lost=False):
    """Two sequences that attend to each other, of the same length or not; their trail is lost or not."""
    left, right = keras.Input((5, 6), name="left"), keras.Input((5 if same else 3, 6), name="right")
    x, y = (Transformed()(left), Transformed()(right)) if lost else (left, right)
    x = x + layers.MultiHeadAttention(2, 3, name="own")(x, x)
    y = y + layers.MultiHeadAttention(2, 3, name="other")(y, y)
    mixed = x + layers.MultiHeadAttention(2, 3, name="mix")(x, y)
    return keras.Model([left, right], layers.Dense(2)(layers.GlobalAveragePooling1D()(mixed)))


BY_NAME = {"own": ("left", "left"), "other": ("right", "right"), "mix": ("left", "right")}


@pytest.mark.parametrize(
    ("same", "lost", "roles"),
    [
        (False, False, None),
        (True, False, None),  # lineage tells two sequences of one length
        (False, True, None),  # where it is lost, lengths do
        (False, False, BY_NAME),
        (True, True, BY_NAME),
    ],
)
def test_streams_are_told_by_lineage_by_their_lengths_or_by_the_user(rng, same, lost, roles):
    model = two_streams(same, lost)
    right = 5 if same else 3
    inputs = {
        "left": rng.normal(size=(2, 5, 6)).astype("float32"),
        "right": rng.normal(size=(2, right, 6)).astype("float32"),
    }
    found = ats.attribute(model, inputs, target=0, positions="right", roles=roles)
    [subject] = subjects_of(model, inputs, target=0, positions="right")
    [(_, scores, slopes)] = score_derivatives(subject, streams_of(subject, roles=roles).sites)
    for sample in range(2):
        paper = Paper({"left": 5, "right": right})
        weights = {name: rule_5(scores[name][sample], slopes[name][sample]) for name in scores}
        paper.self_attention("left", "right", weights["own"])
        paper.self_attention("right", "left", weights["other"])
        paper.cross_attention("left", "right", weights["mix"], dict(paper.maps))
        np.testing.assert_allclose(found[sample], paper.maps["left", "right"].mean(0), atol=1e-7)


def test_streams_that_cannot_be_told_are_asked_for(rng):
    model = two_streams(same=True, lost=True)
    inputs = {name: rng.normal(size=(2, 5, 6)).astype("float32") for name in ("left", "right")}
    with pytest.raises(MethodError) as caught:
        ats.attribute(model, inputs, target=0, positions="right")
    assert str(caught.value) == (
        "The site 'mix' is cross-attention between two sequences of 5 positions, and nothing says which sites belong "
        "to which of them. Declare every site, the sequence of the queries first: "
        "roles={'mix': ('decoder', 'encoder'), ...}."
    )
    roles = {"own": ("a", "a"), "other": ("b", "b"), "mix": ("a", "b")}
    with pytest.raises(MethodError) as caught:
        ats.attribute(model, inputs, target=0, positions="right", roles=roles)
    assert str(caught.value) == (
        "The attention is over the sequences ['a', 'b'], which all have 5 positions, and nothing says which of them "
        "the input 'right' is. Name the streams after the inputs: roles={'pattern': ('right', 'right'), ...}."
    )
    with pytest.raises(MethodError) as caught:
        ats.attribute(model, inputs, target=0, positions="right", roles={"mixed": ("a", "b")})
    assert str(caught.value) == (
        f"The roles name 'mixed', which matches none of the sites {ats.sites(model).names}. Name sites by patterns: "
        "roles={'*cross*': ('decoder', 'encoder')}."
    )
    roles = {"own": ("third", "left"), "other": ("right", "right"), "mix": ("left", "right")}
    with pytest.raises(MethodError) as caught:
        ats.attribute(model, inputs, target=0, positions="right", roles=roles)
    assert str(caught.value) == (
        "The relevance is read from 'third' at the site 'own', but no attention leads from there to the positions, "
        "which are in 'right'. Name the sites that do: sites=[...]; or the streams: "
        "roles={'pattern': ('third', 'right'), ...}."
    )


def test_a_pooling_behind_self_attention(rng):
    given = keras.Input((5, 4))
    x = given + layers.MultiHeadAttention(3, 2, name="mha")(given, given)
    weights = layers.Softmax(axis=1, name="pool")(layers.Dense(1)(x))
    model = keras.Model(given, layers.Dense(2)(ops.sum(weights * x, axis=1)))
    steps = rng.normal(size=(3, 5, 4)).astype("float32")
    scores, slopes = parts(model, steps, target=0)
    found = ats.attribute(model, steps, target=0)
    for sample in range(3):
        paper = Paper({"pool": 1, "steps": 5})
        paper.self_attention("steps", "pool", rule_5(scores["mha"][sample], slopes["mha"][sample]))
        pool = rule_5(scores["pool"][sample], slopes["pool"][sample])
        paper.cross_attention("pool", "steps", pool, dict(paper.maps))
        np.testing.assert_allclose(found[sample], paper.maps["pool", "steps"][0], atol=1e-7)


def test_a_pooling_alone_is_gradient_x_attention(rng):
    model, tokens = seed_model(), rng.integers(1, 31, (3, 23))
    found = ats.attribute(model, tokens, target=1)
    np.testing.assert_allclose(found, ats.attribute(model, tokens, target=1, method="gradient_x_attention"), rtol=1e-6)
