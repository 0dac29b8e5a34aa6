"""Padding that is not computed changes no answer, and where it would, it is computed."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from attnscope.attribution._removal import delete
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import subjects_of

LENGTH = 40


def reader(length, *, masked):
    """Embeddings, attention, and their mean: over the tokens alone, or over padding too."""
    tokens = keras.Input((length,), dtype="int32", name="token_ids")
    embedded = layers.Embedding(30, 8, mask_zero=masked)(tokens)
    attended = layers.MultiHeadAttention(2, 4)(embedded, embedded)
    return keras.Model(tokens, layers.Dense(1)(layers.GlobalAveragePooling1D()(attended)))


def tokens_of(rng, lengths):
    tokens = rng.integers(1, 30, (len(lengths), LENGTH)).astype("int32")
    return np.where(np.arange(LENGTH) < np.asarray(lengths)[:, None], tokens, 0)


def asked(model, tokens, monkeypatch):
    """Answers to versions with random tokens deleted, and the lengths that the model was run at."""
    [subject] = subjects_of(model, tokens, batch_size=4)
    lengths = set()
    outputs = subject.network.outputs
    monkeypatch.setattr(subject.network, "outputs", lambda given: lengths.add(given.shape[1]) or outputs(given))
    rng = np.random.default_rng(2)
    rows = np.repeat(np.arange(len(tokens)), 6)
    removed = rng.random((len(rows), LENGTH)) < 0.4
    return RemovalScores(subject, delete(padding=0))(rows, removed), lengths


@pytest.mark.every_backend
@pytest.mark.parametrize("masked", [True, False])
def test_answers_are_those_of_a_model_of_a_fixed_length(rng, masked, monkeypatch):
    """Such a model cannot be cut. The mean over padding differs where padding is cut, and is not cut then."""
    tokens = tokens_of(rng, [40, 31, 14, 3])
    free, fixed = reader(None, masked=masked), reader(LENGTH, masked=masked)
    fixed.set_weights(free.get_weights())
    expected, whole = asked(fixed, tokens, monkeypatch)
    found, lengths = asked(free, tokens, monkeypatch)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert whole == {LENGTH}
    if masked:
        assert lengths == {16, 32, LENGTH}
    else:
        assert found[0] == pytest.approx(expected[0], abs=1e-7)


def test_an_output_for_each_position_is_not_cut(rng, monkeypatch):
    tokens = keras.Input((None,), dtype="int32")
    model = keras.Model(tokens, layers.Dense(1)(layers.Embedding(30, 4, mask_zero=True)(tokens))[..., 0])
    [subject] = subjects_of(model, tokens_of(rng, [20, 5]), target=lambda outputs: ops.max(outputs, axis=-1))
    shapes = []
    outputs = subject.network.outputs
    monkeypatch.setattr(subject.network, "outputs", lambda given: shapes.append(given.shape) or outputs(given))
    RemovalScores(subject, delete(padding=0)).original()
    assert [shape[1] for shape in shapes] == [LENGTH]
