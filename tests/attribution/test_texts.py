"""Raw text for models that turn it into tokens themselves, on every backend."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import UnsupportedError

TEXTS = ["the film was good", "a bad bad film indeed", "good"]
WORDS = [["the", "film", "was", "good", "", ""], ["a", "bad", "bad", "film", "indeed", ""], ["good", *[""] * 5]]
BEHIND = "Give the tokens to the model that begins behind it: keras.Model(tokens, outputs)."


@pytest.fixture(scope="module")
def vectorize():
    pytest.importorskip("tensorflow", reason="TextVectorization needs it on every backend")
    layer = layers.TextVectorization(output_sequence_length=6, name="vectorize")
    layer.adapt(TEXTS)
    return layer


def text(name="review", size=1):
    return keras.Input((size,), dtype="string", name=name)


def behind(vectors):
    attended = layers.MultiHeadAttention(2, 3, name="mha")(vectors, vectors)
    return layers.Dense(2, activation="softmax", name="classes")(layers.GlobalAveragePooling1D()(attended))


def review_model(vectorize, mask=True):
    """The model of the texts, and the same of tokens."""
    embed, given = layers.Embedding(20, 5, mask_zero=mask), text()
    tokens = keras.Input((6,), dtype="int32", name="review")
    model = keras.Model(given, behind(embed(vectorize(given))), name="reviews")
    of_tokens = keras.Model(tokens, behind(embed(tokens)))
    of_tokens.set_weights(model.get_weights())
    return model, of_tokens


@pytest.mark.parametrize("method", ["raw", "chefer", "gradient_x_input", "integrated_gradients", "occlusion"])
def test_relevance_of_a_text_is_that_of_its_tokens(vectorize, method):
    model, of_tokens = review_model(vectorize)
    tokens = ops.convert_to_numpy(vectorize(np.array(TEXTS)))
    expected = ats.attribute(of_tokens, tokens, target=1, method=method)
    for given in (TEXTS, np.array(TEXTS), np.array(TEXTS)[:, None], {"review": TEXTS}):
        found = ats.attribute(model, given, target=1, method=method)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-7)
        assert found.key_label.values.tolist() == WORDS
        np.testing.assert_array_equal(found.key_valid, tokens != 0)


def test_zero_of_a_vectorised_text_is_padding_also_where_no_embedding_masks_it(vectorize):
    model, _ = review_model(vectorize, mask=False)
    found = ats.attribute(model, TEXTS, target=1, method="occlusion")
    assert found.key_valid.values.sum(1).tolist() == [4, 5, 1]


def test_nothing_is_noted_on_the_layers_and_the_model_goes_when_its_user_lets_it_go(vectorize):
    model, _ = review_model(vectorize)
    before = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers]
    ats.attribute(model, TEXTS, target=1, method="raw")
    assert [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers] == before
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_sequential_models_that_begin_with_their_vectorisation(vectorize):
    """As in Keras' guide: a trained model of tokens, behind the layer that makes them."""
    _, of_tokens = review_model(vectorize)
    model = keras.Sequential([text(), vectorize, of_tokens])
    tokens = ops.convert_to_numpy(vectorize(np.array(TEXTS)))
    for method in ("chefer", "occlusion"):
        expected = ats.attribute(of_tokens, tokens, target=1, method=method)
        found = ats.attribute(model, TEXTS, target=1, method=method)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-7)


def test_two_texts_and_numbers_beside_them(vectorize, rng):
    question, document, numbers = text("question"), text("document"), keras.Input((3,), name="numbers")
    embed = layers.Embedding(20, 5, mask_zero=True)
    attended = layers.MultiHeadAttention(2, 3, name="cross")(embed(vectorize(question)), embed(vectorize(document)))
    both = layers.Concatenate()([layers.GlobalAveragePooling1D()(attended), numbers])
    inputs = {"question": question, "document": document, "numbers": numbers}
    model = keras.Model(inputs, layers.Dense(2)(both))
    data = {"question": TEXTS, "document": TEXTS[::-1], "numbers": rng.normal(size=(3, 3)).astype("float32")}
    found = ats.attribute(model, data, target=1, positions="document", method="raw")
    assert found.key_label.values.tolist() == WORDS[::-1]
    np.testing.assert_allclose(found.sum("key"), 1, atol=1e-6)
    found = ats.attribute(model, data, target=1, positions="question", method="occlusion")
    assert found.key_label.values.tolist() == WORDS
    assert ats.attribute(model, data, target=1, positions="numbers", method="occlusion").shape == (3, 3)


def test_strings_that_are_looked_up_are_their_own_labels():
    pytest.importorskip("tensorflow", reason="StringLookup needs it on every backend")
    given = text("kinds", 4)
    for options, valid in (({}, 4), ({"mask_token": ""}, 3)):
        vectors = layers.Embedding(6, 5)(layers.StringLookup(vocabulary=["a", "b", "c"], **options)(given))
        model = keras.Model(given, behind(vectors))
        found = ats.attribute(model, np.array([["a", "b", "c", ""], ["c", "b", "z", ""]]), target=0, method="raw")
        assert found.key_label.values.tolist() == [["a", "b", "c", ""], ["c", "b", "z", ""]]
        assert found.key_valid.values.sum(1).tolist() == [valid, valid]


def test_evidence_takes_texts_and_other_models_of_texts(vectorize, rng):
    model, _ = review_model(vectorize)
    other, _ = review_model(vectorize)
    many = [" ".join(rng.choice(["the", "film", "was", "good", "bad"], length)) for length in range(2, 10)]
    card = ats.evidence(
        model, many, target="good", classes=["bad", "good"], methods=["raw", "occlusion"], models=[other],
        permutations=0, progress=False,
    )  # fmt: skip
    assert (card.model, card.kind, card.target) == ("reviews", "tokens", "class 'good'")
    assert (card.removals, card.notes) == (["delete", "marginal"], ())
    assert set(card.stability) == {"raw", "occlusion"}


class OfTexts(keras.Model):
    def build(self, shape):
        self.dense = layers.Dense(1)
        self.dense.build((None, 4))

    def call(self, texts):
        return self.dense(ops.ones((3, 4)))


def test_where_the_tokens_cannot_be_seen_it_is_said(vectorize):
    words = layers.TextVectorization(output_mode="multi_hot", name="words")
    words.adapt(TEXTS)
    given = text()
    encoder = keras.Sequential(
        [text(), vectorize, layers.Embedding(20, 5), layers.GlobalMaxPooling1D()], name="encoder"
    )
    subclassed = OfTexts(name="own")
    subclassed.build((None,))
    cases = [
        (
            keras.Model(given, layers.Dense(2)(words(given))),
            "The text 'review' goes into the TextVectorization 'words', which gives 'multi_hot' and no tokens. "
            + BEHIND,
        ),
        (
            keras.Model(given, layers.Dense(2)(encoder(given))),
            "The text 'review' goes into the Sequential 'encoder', in which attnscope cannot see its tokens. " + BEHIND,
        ),
        (
            subclassed,
            "The model 'own' takes text and is not made of layers in a graph, so what turns the text into tokens "
            f"cannot be told. {BEHIND}",
        ),
    ]
    for model, message in cases:
        with pytest.raises(UnsupportedError) as caught:
            ats.attribute(model, np.array(TEXTS), target=0, method="occlusion")
        assert str(caught.value) == message
