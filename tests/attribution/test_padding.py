"""A position is padding only where the model masks it or the user says so; whole numbers are tokens or codes."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.attribution import delete, marginal, mask_token, mode, relevance_of, subjects_of
from attnscope.attribution._removal import default_removals
from attnscope.attribution._streams import streams_of, valid_positions
from attnscope.errors import InputError

NOTE = (
    "the whole numbers are taken for codes, one per column, because the model masks none of them and takes a fixed "
    "number of them; if they are tokens, say which one is padding: padding=0"
)


def pooled(inputs, x, mask=None):
    """A number from attention among positions, which are then averaged."""
    y = layers.MultiHeadAttention(2, 3, name="mha")(x, x, attention_mask=mask)
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(y)))


def flattened(inputs, x):
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.MultiHeadAttention(2, 3, name="mha")(x, x))))


def tokens(length=7, name="text"):
    return keras.Input((length,), dtype="int32", name=name)


def texts(rng):
    """Three texts of 4, 7 and 2 words; the rest is 0."""
    numbers = rng.integers(1, 11, (3, 7))
    numbers[0, 4:] = numbers[2, 2:] = 0
    return numbers


def positions(model, data, **options):
    [subject] = subjects_of(model, data, target=0, **options)
    return subject.positions


def test_zero_is_padding_where_an_embedding_masks_it(rng):
    given = tokens()
    found = positions(pooled(given, layers.Embedding(11, 5, mask_zero=True)(given)), texts(rng))
    np.testing.assert_array_equal(found.valid, texts(np.random.default_rng(0)) != 0)
    assert (found.kind, found.padding, found.note) == ("tokens", (0,), "")


def test_the_token_that_an_embedding_masks_is_known_also_where_no_sample_is_padded(rng):
    given = tokens()
    model = pooled(given, layers.Embedding(11, 5, mask_zero=True)(given))
    [subject] = subjects_of(model, rng.integers(1, 11, (3, 7)), target=0)
    assert subject.positions.valid.all()
    assert subject.network.passes.forward == 3
    changed = delete().on(subject).apply(np.array([0]), np.eye(7, dtype=bool)[:1])
    assert changed[0].tolist() == [*subject.inputs[0, 1:].tolist(), 0]


def test_an_embedding_of_other_numbers_than_the_inputs_masks_what_it_masks(rng):
    """The 3 of the input is the 0 of the embedding."""
    given = tokens()
    numbers = rng.integers(4, 11, (3, 7))
    numbers[1, 5:] = 3
    numbers[2, 0] = 0
    model = pooled(given, layers.Embedding(11, 5, mask_zero=True)((given + 8) % 11))
    found = positions(model, numbers)
    np.testing.assert_array_equal(found.valid, numbers != 3)
    assert (found.kind, found.padding) == ("tokens", (3,))


class HidesZero(layers.Layer):
    def call(self, numbers):
        return ops.not_equal(numbers, 0)[:, None]


def test_cells_that_the_attention_masks_are_padding(rng):
    given = tokens()
    model = pooled(given, layers.Embedding(11, 5)(given), mask=HidesZero()(given))
    found = positions(model, texts(rng))
    np.testing.assert_array_equal(found.valid, texts(np.random.default_rng(0)) != 0)
    assert (found.kind, found.padding) == ("tokens", (0,))


def test_steps_that_a_masking_layer_masks_are_padding(rng):
    given = keras.Input((6, 3), name="series")
    model = keras.Model(given, layers.Dense(1)(layers.LSTM(4)(layers.Masking(-1.0)(given))))
    series = rng.normal(size=(3, 6, 3)).astype("float32")
    series[0, 4:] = series[2, 1:] = -1
    expected = (series != -1).any(-1)
    relevance = ats.attribute(model, series, target=0, method="occlusion", removal="zero")
    np.testing.assert_array_equal(relevance.key_valid, expected)
    assert (relevance.values[~expected] == 0).all()
    assert (relevance.values[expected] != 0).all()


@pytest.mark.parametrize("sizes", [(7, 5), (7, 7)])
def test_each_input_has_its_own_mask_whatever_the_lengths(rng, sizes):
    """Two texts with two masks, which are given in another order than the texts."""
    given = {name: tokens(size, name) for name, size in zip(("first", "second"), sizes, strict=True)}
    masks = {
        name: keras.Input((size,), dtype="bool", name=name)
        for name, size in zip(("one", "another"), sizes, strict=True)
    }
    embed = layers.Embedding(11, 5)
    attended = [
        layers.MultiHeadAttention(2, 3)(embed(given[text]), embed(given[text]), attention_mask=masks[mask][:, None])
        for text, mask in (("first", "one"), ("second", "another"))
    ]
    pool = layers.GlobalAveragePooling1D()
    model = keras.Model({**masks, **given}, layers.Dense(1)(layers.Concatenate()([pool(each) for each in attended])))
    data = {name: rng.integers(1, 11, (3, size)) for name, size in zip(given, sizes, strict=True)}
    data |= {
        "one": np.arange(sizes[0]) < np.array([[2], [4], [7]]),
        "another": np.arange(sizes[1]) < np.array([[5], [3], [1]]),
    }
    for text, mask in (("first", "one"), ("second", "another")):
        np.testing.assert_array_equal(positions(model, data, positions=text).valid, data[mask])


@pytest.mark.parametrize("equal", [False, True])
def test_masks_that_the_data_flow_does_not_show_go_by_their_names(rng, equal):
    sizes = {"encoder": 7, "decoder": 7 if equal else 5}
    given = {f"{side}_token_ids": tokens(size, f"{side}_token_ids") for side, size in sizes.items()}
    masks = {f"{side}_padding_mask": tokens(size, f"{side}_padding_mask") for side, size in sizes.items()}
    read = [
        layers.LSTM(3)(
            layers.Embedding(11, 5)(given[f"{side}_token_ids"]), mask=ops.cast(masks[f"{side}_padding_mask"], "bool")
        )
        for side in sizes
    ]
    model = keras.Model({**given, **masks}, layers.Dense(1)(layers.Concatenate()(read)))
    data = {f"{side}_token_ids": rng.integers(0, 11, (2, size)) for side, size in sizes.items()}
    data |= {
        f"{side}_padding_mask": (np.arange(size) < np.array([[2 + place], [4]])).astype(int)
        for place, (side, size) in enumerate(sizes.items())
    }
    for side in sizes:
        found = positions(model, data, positions=f"{side}_token_ids")
        np.testing.assert_array_equal(found.valid, data[f"{side}_padding_mask"] == 1)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_the_padding_of_the_queries_is_that_of_the_samples_at_hand(rng, batch_size):
    """The positions are the text's; the queries are another input's, whose mask only a run of the model shows."""
    asking, given = tokens(5, "asking"), tokens(7, "text")
    embed = layers.Embedding(11, 4, mask_zero=True)
    attended = layers.MultiHeadAttention(2, 3, name="mha")(embed(asking), embed(given))
    model = keras.Model([asking, given], layers.Dense(1)(layers.GlobalAveragePooling1D()(attended)))
    questions, data = rng.integers(1, 11, (5, 5)), rng.integers(1, 11, (5, 7))
    for sample, length in enumerate((3, 5, 1, 4, 2)):
        questions[sample, length:] = 0
    [subject] = subjects_of(model, [questions, data], positions="text", batch_size=batch_size)
    whole = relevance_of(subject, "raw").values
    for rows in (slice(0, 2), slice(2, 5), np.array([4, 0]), np.array([1])):
        part = subject.rows(rows)
        streams = streams_of(part)
        [site] = streams.over_input
        valid = valid_positions(part, streams, site.query_stream, site.num_queries)
        np.testing.assert_array_equal(valid, questions[rows] != 0)
        np.testing.assert_allclose(relevance_of(part, "raw").values, whole[rows], atol=1e-6)


def test_the_only_mask_of_the_only_other_input_is_its_own(rng):
    """Given to a layer by hand, it leaves no trace in any attention."""
    given, mask = tokens(), keras.Input((7,), dtype="bool", name="mask")
    model = keras.Model([given, mask], layers.Dense(1)(layers.LSTM(3)(layers.Embedding(11, 5)(given), mask=mask)))
    numbers, real = rng.integers(0, 11, (3, 7)), np.arange(7) < np.array([[2], [7], [4]])
    found = positions(model, [numbers, real])
    assert (found.kind, found.leaf, found.mask) == ("tokens", 0, 1)
    np.testing.assert_array_equal(found.valid, real)


@pytest.mark.parametrize("which_text", ["segment_ids", "token_type_ids"])
def test_which_of_two_texts_a_token_is_of_is_no_text_that_a_mask_could_be_of(rng, which_text):
    inputs = {name: tokens(name=name) for name in ("input_ids", which_text, "attention_mask")}
    x = layers.Add()([layers.Embedding(11, 5)(inputs[name]) for name in ("input_ids", which_text)])
    read = layers.LSTM(3)(x, mask=ops.cast(inputs["attention_mask"], "bool"))
    model = keras.Model(inputs, layers.Dense(1)(read))
    real = np.arange(7) < np.array([[2], [7], [4]])
    data = {"input_ids": rng.integers(0, 11, (3, 7)), which_text: np.zeros((3, 7), int), "attention_mask": real * 1}
    np.testing.assert_array_equal(positions(model, data).valid, real)


def test_a_flag_for_each_number_is_no_mask(rng):
    given, flags = tokens(), keras.Input((7,), dtype="bool", name="flags")
    both = layers.Concatenate()([layers.Embedding(11, 5)(given), ops.cast(flags, "float32")[..., None]])
    model = keras.Model([given, flags], layers.Dense(1)(layers.Flatten()(both)))
    data = [rng.integers(0, 11, (3, 7)), rng.integers(0, 2, (3, 7)).astype(bool)]
    assert positions(model, data, positions="text").valid.all()


def test_what_the_user_calls_padding_is_padding_beside_what_the_model_masks(rng):
    given = tokens()
    numbers = texts(rng)
    for masks in (False, True):
        model = pooled(given, layers.Embedding(11, 5, mask_zero=masks)(given))
        expected = (numbers != 4) & ((numbers != 0) | (not masks))
        np.testing.assert_array_equal(positions(model, numbers, padding=4).valid, expected)
    relevance = ats.attribute(model, numbers, target=0, method="occlusion", padding=4, removal=mask_token(9))
    assert (relevance.values[numbers == 4] == 0).all()


def one_embedding(given):
    return layers.Embedding(5, 4)(given)


def own_embeddings(given):
    return layers.Concatenate(axis=1)([layers.Embedding(5, 4)(given[:, n : n + 1]) for n in range(6)])


class Stack(layers.Layer):
    def call(self, vectors):
        return ops.stack(vectors, axis=1)


def own_embeddings_of_single_columns(given):
    return Stack()([layers.Embedding(5, 4)(given[:, n]) for n in range(6)])


class Offsets(layers.Layer):
    """One table for all columns, each with its own part of it."""

    def build(self, shape):
        self.table = layers.Embedding(5 * shape[1], 4)
        self.table.build(shape)

    def call(self, codes):
        return self.table(codes + 5 * ops.arange(codes.shape[1], dtype="int32"))


@pytest.mark.parametrize(
    ("embed", "note"),
    [(one_embedding, NOTE), (own_embeddings, ""), (own_embeddings_of_single_columns, ""), (Offsets(), "")],
)
def test_columns_of_codes_are_no_tokens(rng, embed, note):
    """No cell is 0 by a rule, nothing is deleted, and the note says where this is not certain."""
    given = tokens(6, "codes")
    model = flattened(given, embed(given))
    table = rng.integers(0, 5, (8, 6))
    [subject] = subjects_of(model, table, target=0)
    assert (subject.positions.kind, subject.positions.note) == ("codes", note)
    assert subject.positions.valid.all()
    assert default_removals(subject) == (marginal(), mode())
    relevance = ats.attribute(model, table, target=0, method="occlusion")
    assert (relevance.values != 0).all()
    assert relevance.attrs.get("note", "") == note
    with pytest.raises(InputError) as caught:
        delete().on(subject)
    assert str(caught.value) == (
        "delete() removes tokens, but the positions here are codes. Use one of: mask_token(), mode(), marginal()."
        + (
            " If they are tokens, say which one is padding: padding=0, to attribute(...), evidence(...) or "
            "subjects_of(...)."
            if note
            else ""
        )
    )
    assert (positions(model, table, padding=0).kind == "tokens") == bool(note)


def test_a_code_of_zero_counts_by_every_method():
    given = tokens(6, "codes")
    model, one = flattened(given, one_embedding(given)), np.array([[0, 1, 2, 0, 3, 4]])
    for method in ("raw", "rollout", "gradient_x_input", "integrated_gradients"):
        assert (ats.attribute(model, one, target=0, method=method).values != 0).all()
    assert ats.attribute(model, one, target=0, method="chefer").key_valid.all()


def test_columns_that_are_masked_one_by_one_are_still_columns(rng):
    given = tokens(6, "codes")
    columns = [layers.Embedding(5, 4, mask_zero=True)(given[:, n : n + 1]) for n in range(6)]
    table = rng.integers(0, 5, (8, 6))
    found = positions(pooled(given, layers.Concatenate(axis=1)(columns)), table)
    assert (found.kind, found.note) == ("codes", "")
    np.testing.assert_array_equal(found.valid, table != 0)


class DecodesStepByStep(layers.Layer):
    """One embedding of each token by itself."""

    def build(self, shape):
        self.table = layers.Embedding(11, 4)
        self.table.build(shape)

    def call(self, numbers):
        return ops.stack([self.table(numbers[:, step]) for step in range(numbers.shape[1])], axis=1)


def test_tokens_that_are_looked_up_in_one_table_one_by_one_are_not_known_to_be_columns(rng):
    given = tokens()
    found = positions(pooled(given, DecodesStepByStep()(given)), texts(rng))
    assert (found.kind, found.note) == ("codes", NOTE)


class WithPlaces(layers.Layer):
    """Embeddings of tokens and of their places, without any mask."""

    def build(self, shape):
        self.tokens, self.places = layers.Embedding(11, 4), layers.Embedding(20, 4)
        self.tokens.build(shape)
        self.places.build(shape)

    def call(self, numbers):
        return self.tokens(numbers) + self.places(ops.arange(ops.shape(numbers)[1]))

    def compute_output_shape(self, shape):
        return (*shape, 4)


def test_a_text_of_any_length_is_tokens_and_none_is_padding_by_itself(rng):
    given = tokens(None)
    model = pooled(given, WithPlaces()(given))
    [subject] = subjects_of(model, texts(rng), target=0)
    assert (subject.positions.kind, subject.positions.note) == ("tokens", "")
    assert subject.positions.valid.all()
    assert default_removals(subject) == (marginal(), mode())
    with pytest.raises(InputError) as caught:
        delete().on(subject)
    assert str(caught.value) == (
        "delete() fills up with padding, but no token of these inputs is known to be padding. If the model has one, "
        "give its number: delete(padding=0). If not, use mask_token(...)."
    )


def test_evidence_takes_codes_apart_by_the_values_of_other_samples(rng):
    given = tokens(6, "codes")
    model = flattened(given, one_embedding(given))
    table = rng.integers(0, 5, (12, 6))
    options = {"target": 0, "methods": ["occlusion"], "permutations": 0, "progress": False}
    card = ats.evidence(model, table, **options)
    assert (card.kind, card.removals) == ("codes", ["marginal", "mode"])
    assert card.notes == (f"{NOTE[0].upper()}{NOTE[1:]}.",)
    card = ats.evidence(model, table, padding=0, **options)
    assert (card.kind, card.removals, card.notes) == ("tokens", ["delete", "marginal"], ())


def test_one_sample_of_codes_has_nothing_that_could_replace_them():
    given = tokens(6, "codes")
    model = flattened(given, one_embedding(given))
    with pytest.raises(InputError) as caught:
        ats.attribute(model, np.array([[0, 1, 2, 0, 3, 4]]), target=0, method="occlusion")
    assert str(caught.value) == (
        "Nothing is known that could replace these codes: there is only one sample, and no mask token or padding. Give "
        "more samples, a token, removal=mask_token(103), or the padding: padding=0."
    )


def test_the_mode_is_the_most_frequent_code_of_each_column():
    given = tokens(3, "codes")
    model = flattened(given, one_embedding(given))
    table = np.array([[1, 2, 0], [1, 3, 4], [2, 3, 4], [0, 2, 4]])
    [subject] = subjects_of(model, table, target=0)
    changed = mode().on(subject).apply(np.array([2, 0]), np.array([[True, True, False], [True, True, True]]))
    assert changed.tolist() == [[1, 2, 4], [1, 2, 4]]
    other = mode(np.array([[4, 4, 4]])).on(subject).apply(np.array([1]), np.ones((1, 3), bool))
    assert other.tolist() == [[4, 4, 4]]


def test_the_mode_of_tokens_leaves_padding_out(rng):
    given = tokens(4)
    model = pooled(given, layers.Embedding(11, 5, mask_zero=True)(given))
    numbers = np.array([[5, 6, 0, 0], [5, 7, 7, 0], [3, 7, 0, 0]])
    [subject] = subjects_of(model, numbers, target=0)
    changed = mode().on(subject).apply(np.array([1, 2]), np.ones((2, 4), bool))
    assert changed.tolist() == [[5, 7, 7, 0], [5, 7, 0, 0]]


@pytest.mark.parametrize("lengths", [(6, 9), (7, 7)])
def test_raw_is_the_mean_over_the_valid_queries_of_a_cross_attention(rng, lengths):
    q, a = tokens(lengths[0], "q"), tokens(lengths[1], "a")
    y = layers.MultiHeadAttention(2, 4, name="cross")(
        layers.Embedding(30, 8, mask_zero=True)(q), layers.Embedding(30, 8)(a)
    )
    model = keras.Model({"q": q, "a": a}, layers.Dense(1)(layers.GlobalAveragePooling1D()(y)))
    data = {"q": rng.integers(1, 30, (2, lengths[0])), "a": rng.integers(0, 30, (2, lengths[1]))}
    data["q"][0, 2:] = 0
    found = ats.attribute(model, data, target=0, positions="a", method="raw")
    scores = ats.capture(model, data, progress=False)["cross"].values
    for sample, valid in enumerate((2, lengths[0])):
        np.testing.assert_allclose(found.values[sample], scores[sample, :, :valid].mean((0, 1)), atol=1e-6)
        assert abs(found.values[sample].sum() - 1) < 1e-6
