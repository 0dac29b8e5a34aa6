"""Words on two axes, (document, sentence, word): labels, coloured text, and relevance."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import delete, subjects_of
from attnscope.errors import LabelError

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")


def documents():
    """Two documents of up to 3 sentences of up to 5 words, and their words as texts."""
    numbers = np.random.default_rng(5).integers(1, 30, (2, 3, 5))
    numbers[0, 0, 2:] = numbers[0, 1, 4:] = numbers[1, 2] = 0
    words = [
        [[f"w{number}" for number in sentence if number] for sentence in document if any(sentence)]
        for document in numbers.tolist()
    ]
    return numbers, words


def filled(words):
    """The same with empty labels up to (2, 3, 5)."""
    names = np.full((2, 3, 5), "", dtype="U9")
    for number, document in enumerate(words):
        for place, sentence in enumerate(document):
            names[number, place, : len(sentence)] = sentence
    return names.tolist()


def in_a_loop():
    """A hierarchical attention network: each sentence by one model, in a loop."""
    words = keras.Input((5,), dtype="int32")
    x = layers.LayerNormalization()(layers.Embedding(30, 6, mask_zero=True)(words))
    x = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    sentence = keras.Model(words, ats.layers.AttentionPooling(4, name="pool")(x))
    document = keras.Input((3, 5), dtype="int32", name="document")
    vectors = layers.TimeDistributed(sentence, name="each")(document)
    return keras.Model(document, layers.Dense(2)(ats.layers.AttentionPooling(4, name="over")(vectors)))


class MeanOfWords(layers.Layer):
    """The mean over the words that are not 0, of each sentence."""

    def call(self, vectors, numbers):
        real = ops.cast(ops.not_equal(numbers, 0), "float32")[..., None]
        return ops.sum(ops.tanh(vectors) * real, 2) / ops.maximum(ops.sum(real, 2), 1.0)


def at_once():
    """All sentences at once, without any loop."""
    document = keras.Input((3, 5), dtype="int32", name="document")
    vectors = MeanOfWords()(layers.Embedding(30, 6, mask_zero=True)(document), document)
    return keras.Model(document, layers.Dense(2)(layers.Flatten()(vectors)))


def test_labels_of_words_go_to_the_sentences_they_are_in():
    numbers, words = documents()
    maps = ats.capture(in_a_loop(), numbers, labels={"document": words}, progress=False)
    for name in ("each/mha", "each/pool"):
        label = maps[name].key_label
        assert label.dims == ("sample", "step", "key")
        assert label.values.tolist() == filled(words)
    assert "key_label" not in maps["over"].coords
    again = ats.capture(in_a_loop(), numbers, labels=filled(words), progress=False)
    assert again["each/pool"].key_label.values.tolist() == filled(words)


def test_too_many_labels_are_told():
    numbers, words = documents()
    with pytest.raises(LabelError) as caught:
        ats.capture(in_a_loop(), numbers, labels={"document": [[*words[0], ["more"]], words[1]]}, progress=False)
    assert str(caught.value) == (
        "A sample has labels for 4 sentences, but the axis 'step' of 'each/mha' has 3 positions. Give one list of "
        "labels per sentence."
    )
    with pytest.raises(LabelError) as caught:
        ats.attribute(in_a_loop(), numbers, target=0, method="random", labels=[[*words[0], ["more"]], words[1]])
    assert str(caught.value) == (
        "The labels are for 2 documents, but there are 2 of 3 sentences of 5 words. Give for each document one list of "
        "names per sentence."
    )


def test_coloured_text_has_a_row_for_each_sentence():
    numbers, words = documents()
    model = in_a_loop()
    weights = ats.capture(model, numbers, labels={"document": words}, progress=False)["each/pool"]
    text = ats.plot.tokens(weights)
    assert text.titles == [f"sample {sample}, step {step}" for sample in range(2) for step in range(3)]
    assert text.labels == [row for document in filled(words) for row in document]
    np.testing.assert_array_equal(text.weights, weights.values.reshape(6, 5))
    np.testing.assert_array_equal(text.valid, numbers.reshape(6, 5) != 0)
    one = ats.plot.tokens(weights.isel(sample=1), titles=["the second"])
    assert one.titles == ["the second, step 0", "the second, step 1", "the second, step 2"]
    relevance = ats.attribute(model, numbers, target=1, method="random", labels={"document": words})
    assert relevance.dims == ("sample", "key_0", "key_1")
    text = ats.plot.tokens(relevance / 20)
    assert text.titles[:2] == ["sample 0, row 0", "sample 0, row 1"]
    assert text.labels == [row for document in filled(words) for row in document]
    np.testing.assert_array_equal(text.valid, numbers.reshape(6, 5) != 0)


def test_words_of_sentences_are_merged_one_sentence_at_a_time():
    numbers, words = documents()
    maps = ats.capture(in_a_loop(), numbers, labels={"document": words}, progress=False)
    with pytest.raises(LabelError) as caught:
        ats.labels.words(maps, scheme="wordpiece")
    assert str(caught.value) == (
        "The labels of 'key' have the dims ('sample', 'step', 'key'), but words are merged in one step at a time: "
        "words(maps['site'].isel(step=0))."
    )
    assert ats.labels.words(maps["each/pool"].isel(step=1), scheme="wordpiece").sizes["key"] == 5


@pytest.mark.parametrize("build", [in_a_loop, at_once])
def test_the_occlusion_of_words_is_the_drop_without_them(build):
    numbers, words = documents()
    model = build()
    found = ats.attribute(model, numbers, target=1, method="occlusion", labels={"document": words})
    assert found.key_label.values.tolist() == filled(words)
    np.testing.assert_array_equal(found.key_valid, numbers != 0)
    whole = ops.convert_to_numpy(model(numbers))[:, 1]
    for sample, sentence, word in zip(*np.nonzero(numbers), strict=True):
        without = numbers.copy()
        without[sample, sentence, word:] = [*numbers[sample, sentence, word + 1 :], 0]
        drop = whole[sample] - ops.convert_to_numpy(model(without))[sample, 1]
        assert abs(found.values[sample, sentence, word] - drop) < 1e-5
    assert (found.values[numbers == 0] == 0).all()


def test_deleted_words_leave_their_own_sentence():
    numbers, _ = documents()
    [subject] = subjects_of(at_once(), numbers, target=0)
    removed = np.zeros((1, 3, 5), bool)
    removed[0, 0, 0] = removed[0, 2, 1] = removed[0, 2, 3] = True
    [changed] = delete().on(subject).apply(np.array([0]), removed.reshape(1, 15))
    assert changed.tolist() == [
        [numbers[0, 0, 1], 0, 0, 0, 0],
        numbers[0, 1].tolist(),
        [*numbers[0, 2, [0, 2, 4]].tolist(), 0, 0],
    ]


@pytest.mark.parametrize("build", [in_a_loop, at_once])
def test_gradients_of_words_add_up_to_the_change_of_the_target(build):
    """Integrated gradients are complete; the model differs at its baseline as they say, word by word."""
    numbers, _ = documents()
    model = build()
    found = ats.attribute(model, numbers, target=1, method="integrated_gradients", baseline=7, steps=64)
    start = np.where(numbers == 0, 0, 7)
    change = ops.convert_to_numpy(model(numbers) - model(start))[:, 1]
    np.testing.assert_allclose(found.values.sum((1, 2)), change, atol=1e-4)
    assert found.attrs["completeness_gap"] < 1e-4
    assert (found.values[numbers == 0] == 0).all()
    assert (found.values[(numbers != 0) & (numbers != 7)] != 0).all()
    products = ats.attribute(model, numbers, target=1, method="gradient_x_input")
    assert (products.values[numbers != 0] != 0).all()
    assert (products.values[numbers == 0] == 0).all()


def test_a_card_is_made_of_documents():
    numbers, _ = documents()
    card = ats.evidence(
        in_a_loop(), np.concatenate([numbers, numbers[::-1], numbers]), target=1,
        methods=["occlusion", "gradient_x_input"], permutations=2, progress=False,
    )  # fmt: skip
    assert (card.kind, card.removals) == ("tokens", ["delete", "marginal"])
    assert list(card.verdicts) == ["occlusion", "gradient_x_input"]
