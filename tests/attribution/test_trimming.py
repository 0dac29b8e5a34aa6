"""Padding that is not computed changes no answer, and where it would, it is computed."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import relevance_of
from attnscope.attribution._removal import delete
from attnscope.attribution._removal_scores import RemovalScores
from attnscope.attribution._subject import subjects_of
from attnscope.attribution._trimming import trimming_of

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
    monkeypatch.setattr(
        subject.network, "outputs", lambda given, **options: lengths.add(given.shape[1]) or outputs(given, **options)
    )
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
    if masked and keras.backend.backend() != "torch":
        assert lengths == {16, 32, LENGTH}
    elif masked:  # nothing is compiled for a length, so a group is as long as its longest sample
        assert lengths == {3, 19, 28, LENGTH}
    else:
        assert found[0] == pytest.approx(expected[0], abs=1e-7)


def test_an_output_for_each_position_is_not_cut(rng, monkeypatch):
    tokens = keras.Input((None,), dtype="int32")
    model = keras.Model(tokens, layers.Dense(1)(layers.Embedding(30, 4, mask_zero=True)(tokens))[..., 0])
    [subject] = subjects_of(model, tokens_of(rng, [20, 5]), target=lambda outputs: ops.max(outputs, axis=-1))
    shapes = []
    outputs = subject.network.outputs
    monkeypatch.setattr(
        subject.network, "outputs", lambda given, **options: shapes.append(given.shape) or outputs(given, **options)
    )
    RemovalScores(subject, delete(padding=0)).original()
    assert [shape[1] for shape in shapes] == [LENGTH]


CUT = [name for name, method in ats.attribution.METHODS.items() if method.alone is not None]


@pytest.mark.every_backend(share=3)
@pytest.mark.parametrize("method", CUT)
def test_relevance_of_short_samples_is_that_of_a_model_of_a_fixed_length(rng, method, monkeypatch):
    monkeypatch.setattr("attnscope.attribution._trimming.WORTH", 10)
    monkeypatch.setattr("attnscope.attribution._trimming.WORTH_COMPILING", 10)
    tokens = tokens_of(rng, [40, 3, 31, 14, 4])
    names = np.array([[f"{sample}:{place}" for place in range(LENGTH)] for sample in range(5)])
    free, fixed = reader(None, masked=True), reader(LENGTH, masked=True)
    fixed.set_weights(free.get_weights())
    [subject] = subjects_of(free, tokens, labels=names)
    [whole] = subjects_of(fixed, tokens, labels=names)
    found, expected = relevance_of(subject, method), relevance_of(whole, method)
    parts = trimming_of(subject).parts(subject, ats.attribution.METHODS[method].passes)
    assert len(parts) > 1
    assert sorted(np.concatenate([rows for rows, _ in parts])) == list(range(5))
    assert len(trimming_of(whole).parts(whole)) == 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert set(found.coords) == set(expected.coords)
    for name in expected.coords:
        same = np.testing.assert_allclose if expected[name].dtype.kind == "f" else np.testing.assert_array_equal
        same(found[name], expected[name], **({"atol": 1e-5} if expected[name].dtype.kind == "f" else {}))
    assert found.attrs.keys() == expected.attrs.keys()
    for name in ("completeness_gap", "completeness_change"):
        assert found.attrs.get(name) == pytest.approx(expected.attrs.get(name), abs=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_samples_that_are_run_over_and_over_are_cut_once_if_the_answers_allow_it(rng, masked, monkeypatch):
    tokens = tokens_of(rng, [14, 3, 9])
    [subject] = subjects_of(reader(None, masked=masked), tokens, padding=0)
    lengths = []
    outputs = type(subject.network).outputs
    monkeypatch.setattr(
        type(subject.network),
        "outputs",
        lambda network, given=None, **options: (
            lengths.append((network.arrays() if given is None else given).shape) or outputs(network, given, **options)
        ),
    )
    together = trimming_of(subject).together(subject)
    assert lengths == [(3, 14), (3, LENGTH)]
    if not masked:
        assert together is subject
        return
    del lengths[:]
    expected = relevance_of(subject, "occlusion", removal="delete")
    asked = list(lengths)
    del lengths[:]
    found = relevance_of(together, "occlusion", removal="delete")
    assert {length for _, length in asked} > {14, LENGTH}
    assert {length for _, length in lengths} == {14}
    np.testing.assert_allclose(found, expected[:, :14], atol=1e-6)
    assert trimming_of(together).together(together) is together


class Summary(layers.Layer):
    """What the model makes of the steps, by a function of them and of the tokens; it gives no mask on."""

    supports_masking = True

    def __init__(self, summary, **options):
        super().__init__(**options)
        self.summary = summary

    def call(self, steps, tokens):
        return self.summary(steps, ops.cast(tokens != 0, "float32")[..., None])

    def compute_mask(self, *given, **masks):
        return None


def of_tokens(steps, real):
    """The mean over the tokens."""
    return ops.sum(steps * real, 1) / ops.maximum(ops.sum(real, 1), 1.0)


def read_by(summary, *, masked=True, convolution=None):
    """A model whose steps are read in some way, and which may be of any length."""
    tokens = keras.Input((None,), dtype="int32", name="token_ids")
    steps = layers.Embedding(30, 8, mask_zero=masked)(tokens)
    steps = layers.MultiHeadAttention(2, 4)(steps, steps)
    if convolution:
        steps = convolution(steps)
    return keras.Model(tokens, layers.Dense(1)(Summary(summary)(steps, tokens)))


def second_text():
    """The two texts have the same lengths, until tokens of one of them are deleted."""
    tokens, other = (keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "second"))
    steps = [layers.Embedding(30, 8, mask_zero=True)(each) for each in (tokens, other)]
    read = [layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(each, each)) for each in steps]
    return keras.Model({"token_ids": tokens, "second": other}, layers.Dense(1)(layers.Concatenate()(read)))


def short_ones_are_0(steps, real):
    """Up to 12 tokens the answer is 0, and after that it depends on padding: the shortest samples show nothing."""
    mean = ops.mean(steps, (1, 2))[:, None]
    return ops.where(ops.sum(real, 1) > 12, 2 + ops.sin(50 * mean), 0.0)


def not_yet_read(steps, real):
    """Attention does not reach the answer, as in a block whose gate is still closed: the answer says nothing of it."""
    return of_tokens(steps * 0 + 1, real)


DIFFER = {
    "short samples say nothing": lambda: read_by(short_ones_are_0),
    "a large constant": lambda: read_by(lambda steps, real: 5e5 + 300 * ops.mean(steps, 1)),
    "attention that is not read": lambda: read_by(not_yet_read, masked=False),
    "no text is shorter than the kernel": lambda: read_by(
        lambda steps, real: ops.max(steps, 1), masked=False, convolution=layers.Conv1D(4, 5)
    ),
    "the mean over the batch": lambda: read_by(lambda steps, real: of_tokens(steps, real) - ops.mean(steps, (0, 1))),
    "another text of the same length": second_text,
}


@pytest.mark.parametrize("kind", DIFFER)
def test_what_differs_for_cut_inputs_is_computed_whole(rng, kind, monkeypatch):
    """Models of any length whose answers, or whose attention, know how long they were padded."""
    monkeypatch.setattr("attnscope.attribution._trimming.WORTH", 0)
    keras.utils.set_random_seed(3)
    model = DIFFER[kind]()
    tokens = tokens_of(rng, [3, 5, 9, 14, 20, 31, 38])
    inputs = {"token_ids": tokens, "second": tokens % 7 + (tokens > 0)} if len(model.inputs) > 1 else tokens
    rows = np.repeat(np.arange(7), 8)
    removed = np.random.default_rng(2).random((56, LENGTH)) < np.linspace(0, 0.9, 56)[:, None]

    def everything():
        [subject] = subjects_of(
            model, inputs, padding=0, positions="token_ids" if len(model.inputs) > 1 else None, batch_size=8
        )
        known = {method: relevance_of(subject, method).values for method in ("raw", "gradient_x_input")}
        versions = RemovalScores(subject, delete(padding=0))
        fits = (removed & versions.removable[rows]).sum(1) <= versions.most[rows]
        return {**known, "versions": versions(rows[fits], removed[fits])}

    found = everything()
    monkeypatch.setattr("attnscope.attribution._trimming._long_leaves", lambda subject: [])
    for name, numbers in everything().items():
        spread = float(np.ptp(numbers)) or 1.0
        np.testing.assert_allclose(
            found[name], numbers, rtol=0, atol=1e-3 * spread + 1e-6 * np.abs(numbers).max(), err_msg=name
        )


def test_what_depends_on_the_other_samples_or_the_end_is_computed_of_all_at_once(rng, monkeypatch):
    """The last query is padding in most samples; cut, it would be another one."""
    monkeypatch.setattr("attnscope.attribution._trimming.WORTH", 0)
    model = reader(None, masked=True)
    fixed = reader(LENGTH, masked=True)
    fixed.set_weights(model.get_weights())
    tokens = tokens_of(rng, [40, 3, 31])
    found, expected = (ats.attribute(one, tokens, method="raw", query=20) for one in (model, fixed))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_tests_of_attention_are_run_without_padding(rng):
    model = reader(None, masked=True)
    fixed = reader(LENGTH, masked=True)
    fixed.set_weights(model.get_weights())
    tokens = tokens_of(rng, [12, 9, 12, 7, 10, 8])
    cards = [
        ats.evidence(one, tokens, methods=["raw"], removals=[ats.attribution.mask_token(29), delete(padding=0)],
                     permutations=200, progress=False)
        for one in (model, fixed)
    ]  # fmt: skip
    cut, whole = (card.moved for card in cards)
    assert cut.uniform == pytest.approx(whole.uniform, abs=1e-6)
    assert cut.permuted == pytest.approx(whole.permuted, rel=0.3)  # other draws
    assert cut.passes == whole.passes
