"""`positions=` and `labels=` mean the `Input` of that name, whatever structure the model takes its inputs in."""

import keras
import pytest
from keras import layers

import attnscope as ats
from attnscope.errors import InputError, LabelError
from models import padded_tokens, transformer

QUERIES, KEYS = [f"q{n}" for n in range(7)], [f"d{n}" for n in range(11)]


def pair(structure, length=7, keys=("q", "d")):
    q, d = keras.Input((length,), dtype="int32", name="q"), keras.Input((11,), dtype="int32", name="d")
    embed = layers.Embedding(13, 5)
    attended = layers.MultiHeadAttention(2, 3, name="mha")(embed(q), embed(d))
    inputs = {list: [q, d], tuple: (q, d), dict: dict(zip(keys, (q, d), strict=True))}[structure]
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(attended)))


def data(rng, structure, length=7, keys=("q", "d")):
    arrays = rng.integers(1, 13, (3, length)), rng.integers(1, 13, (3, 11))
    return {list: list, tuple: tuple, dict: lambda both: dict(zip(keys, both, strict=True))}[structure](arrays)


@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_positions_and_labels_go_by_the_name_of_the_input(structure, rng):
    model, inputs = pair(structure), data(rng, structure)
    labels = {"q": QUERIES, "d": KEYS}
    for name, names in labels.items():
        relevance = ats.attribute(model, inputs, target=0, method="occlusion", positions=name, labels=labels)
        assert relevance.key_label.values.tolist() == names
    relevance = ats.attribute(model, inputs, target=0, method="raw", positions="d", labels={"q": QUERIES})
    assert "key_label" not in relevance.coords


@pytest.mark.parametrize("structure", [list, tuple])
def test_labels_may_have_the_order_of_the_inputs(structure, rng):
    model, inputs = pair(structure), data(rng, structure)
    relevance = ats.attribute(model, inputs, target=0, method="raw", positions="d", labels=[None, KEYS])
    assert (relevance.dims, relevance.key_label.values.tolist()) == (("sample", "key"), KEYS)


def test_inputs_that_are_given_by_name_have_no_order(rng):
    with pytest.raises(LabelError) as caught:
        ats.attribute(pair(dict), data(rng, dict), target=0, method="raw", positions="d", labels=[None, KEYS])
    assert str(caught.value) == (
        "The labels are a list of 2 with None among them, but the inputs are 'd', 'q'. Give labels by the name of an "
        "input: labels={'d': names}."
    )


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_an_input_whose_key_differs_goes_by_both_names(rng):
    keys = ("question", "document")
    model, inputs = pair(dict, keys=keys), data(rng, dict, keys=keys)
    for name in ("d", "document"):
        relevance = ats.attribute(model, inputs, target=0, method="raw", positions=name, labels={name: KEYS})
        assert relevance.key_label.values.tolist() == KEYS


def test_the_only_input_has_its_name_too(rng):
    tokens = keras.Input((7,), dtype="int32", name="tokens")
    embedded = layers.Embedding(13, 5)(tokens)
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 3)(embedded, embedded))
    model, x = keras.Model(tokens, layers.Dense(3)(pooled)), rng.integers(1, 13, (3, 7))
    relevance = ats.attribute(model, x, target=0, method="raw", positions="tokens", labels={"tokens": QUERIES})
    assert relevance.key_label.values.tolist() == QUERIES


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"positions": "e"}, InputError, "There is no input 'e'. The model takes 'q', 'd': positions='q'."),
        (
            {},
            InputError,
            "The model has 2 inputs, and nothing says which of them is to be explained. The model takes 'q', 'd': "
            "positions='q'.",
        ),
        (
            {"positions": "d", "labels": {"e": KEYS}},
            LabelError,
            "The labels are for 'e', but the inputs are 'q', 'd'. Give them by the name of an input: "
            "labels={'d': names}.",
        ),
        (
            {"positions": "d", "labels": {"d": QUERIES}},
            LabelError,
            "7 labels were given, but there are 11 positions. Give one label per position, or one list of labels per "
            "sample.",
        ),
        (
            {"positions": "d", "labels": [KEYS, KEYS[:4], KEYS]},
            LabelError,
            "Sample 1 has 4 labels, but there are 11 positions, 11 of them valid. Give one label per position, or one "
            "per valid position.",
        ),
        (
            {"positions": "d", "labels": [KEYS, KEYS]},
            LabelError,
            "Labels for 2 samples were given, but there are 3 samples. Give one list of labels per sample, or one list "
            "for all: labels=['a', 'b', ...].",
        ),
    ],
)
def test_an_error_names_the_inputs(options, kind, message, rng):
    with pytest.raises(kind) as caught:
        ats.attribute(pair(list), data(rng, list), target=0, method="raw", **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_labels_of_captured_maps_go_by_the_name_of_the_input(structure, rng):
    scores = ats.capture(pair(structure), data(rng, structure), labels={"q": QUERIES, "d": KEYS})["mha"]
    assert scores.query_label.values.tolist() == QUERIES
    assert scores.key_label.values.tolist() == KEYS
    scores = ats.capture(pair(structure), data(rng, structure), labels={"d": KEYS})["mha"]
    assert "query_label" not in scores.coords
    assert scores.key_label.values.tolist() == KEYS


def test_labels_of_an_input_do_not_go_to_another_one_that_is_as_long(rng):
    scores = ats.capture(pair(list, length=11), data(rng, list, length=11), labels={"d": KEYS})["mha"]
    assert scores.sizes["query"] == scores.sizes["key"] == 11
    assert "query_label" not in scores.coords
    assert scores.key_label.values.tolist() == KEYS


def test_labels_for_what_there_is_not(rng):
    with pytest.raises(LabelError) as caught:
        ats.capture(pair(list), data(rng, list), labels={"e": KEYS})
    assert str(caught.value) == (
        "Labels were given for 'e', but labels need an axis, 'query' or 'key', or the name of a site, 'mha', or of an "
        "input, 'q', 'd': labels={'key': names}."
    )


@pytest.mark.parametrize("form", [lambda names: names, lambda names: {"key": names}, lambda names: {"tokens": names}])
def test_labels_of_samples_without_their_padding_are_taken_as_by_capture(form, rng):
    model, tokens = transformer(), padded_tokens(rng)
    words = [[f"w{number}" for number in row[row > 0]] for row in tokens]
    captured = ats.capture(model, tokens, labels=form(words), progress=False)["attention_0"]
    relevance = ats.attribute(model, tokens, target=0, method="raw", labels=form(words))
    assert relevance.key_label.dims == captured.key_label.dims == ("sample", "key")
    assert relevance.key_label.values.tolist() == captured.key_label.values.tolist()
    explanation = ats.explain(model, tokens, target=0, method="raw", card=False, labels=form(words), samples=[1])
    assert explanation.table.key_label.values.tolist() == captured.key_label.values[[1]].tolist()
