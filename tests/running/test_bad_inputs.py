"""Inputs that a model cannot take: an error says what it takes, what was given, what differs, and the fix."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import attnscope as ats
from attnscope.errors import InputError
from attnscope.running import Network
from models import transformer

TOKENS = "the model takes 'tokens' (None, 7) int32"
LIST = "'q' (None, 7) int32, 'd' (None, 11) int32"
DICT = "'d' (None, 11) int32, 'q' (None, 7) int32"


def pair(structure=list):
    """Cross-attention from `q` to `d`, given as a list, a tuple or a dict."""
    q, d = keras.Input((7,), dtype="int32", name="q"), keras.Input((11,), dtype="int32", name="d")
    embed = layers.Embedding(13, 5)
    attended = layers.MultiHeadAttention(2, 3, name="mha")(embed(q), embed(d))
    inputs = {list: [q, d], tuple: (q, d), dict: {"q": q, "d": d}}[structure]
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(attended)))


def steps():
    inputs = keras.Input((7, 5), name="steps")
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3, name="mha")(inputs, inputs))


def message(model, inputs):
    with pytest.raises(InputError) as caught:
        Network(model, inputs)
    return str(caught.value)


def q(samples=3):
    return np.arange(samples * 7).reshape(samples, 7) % 12 + 1


def d(samples=3):
    return np.arange(samples * 11).reshape(samples, 11) % 12 + 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            np.ones((3, 9), int),
            f"The input 'tokens' has shape (3, 9) and dtype int64, but {TOKENS}: axis 1 is 9, not 7. If it is too "
            "long, cut it: inputs[:, :7].",
        ),
        (
            np.ones((3, 4), int),
            f"The input 'tokens' has shape (3, 4) and dtype int64, but {TOKENS}: axis 1 is 4, not 7. If it is too "
            "short, fill it up with padding: np.pad(inputs, [(0, 0), (0, 3)]).",
        ),
        (
            (np.ones((3, 7), int), np.zeros(3)),
            f"The input 'tokens' is a tuple of arrays that differ in their axes, (3, 7) and (3,), but {TOKENS}. If the "
            "first holds the samples and the others go with them (targets, weights), give it alone: inputs[0].",
        ),
        (
            np.ones(7, int),
            f"The input 'tokens' has shape (7,) and dtype int64, but {TOKENS}: it has 1 axis, not 2. If it is one "
            "sample, put it into a batch of one: inputs[None].",
        ),
        (
            {"tokens": np.ones((3, 7, 2), int)},
            f"The input 'tokens' has shape (3, 7, 2) and dtype int64, but {TOKENS}: it has 3 axes, not 2. Give an "
            "array with these axes, samples first.",
        ),
        (
            np.ones((3, 0), int),
            f"The input 'tokens' has shape (3, 0), whose axis 1 is empty, but {TOKENS}. Give at least one position.",
        ),
        (
            [[1, 2, 3, 4, 5, 6, 7], [1, 2, 3]],
            f"The input 'tokens' has rows of 3 to 7 items, but {TOKENS}. Fill them up to one length: "
            "keras.utils.pad_sequences(inputs, maxlen=7, padding='post').",
        ),
        (
            np.array([[1, 2, 3], [1, 2]], dtype=object),
            f"The input 'tokens' has rows of 2 to 3 items, but {TOKENS}. Fill them up to one length: "
            "keras.utils.pad_sequences(inputs, maxlen=7, padding='post').",
        ),
        (
            [np.ones(3, int), np.ones(5, int)],
            f"The input 'tokens' has rows of 3 to 5 items, but {TOKENS}. Fill them up to one length: "
            "keras.utils.pad_sequences(inputs, maxlen=7, padding='post').",
        ),
        (
            [[[1, 2], [3]], [[4], [5, 6]]],
            f"The input 'tokens' is made of parts that differ in length, but {TOKENS}. Fill them up to one length.",
        ),
        (
            ["a good film", "a bad one"],
            f"The input 'tokens' holds text, such as 'a good film', but {TOKENS}. Turn text into numbers as for "
            "training: with its tokenizer, or keras.layers.TextVectorization.",
        ),
        (
            "a good film",
            f"The input 'tokens' holds text, such as 'a good film', but {TOKENS}. Turn text into numbers as for "
            "training: with its tokenizer, or keras.layers.TextVectorization.",
        ),
        (
            np.full((3, 7), 0.5),
            f"The input 'tokens' holds numbers that are not whole, such as 0.5, but {TOKENS}. If they stand for "
            "whole numbers, round them: np.rint(inputs).astype('int32').",
        ),
        (
            np.full((3, 7), np.nan),
            f"The input 'tokens' holds numbers that are not whole, such as nan, but {TOKENS}. If they stand for "
            "whole numbers, round them: np.rint(inputs).astype('int32').",
        ),
        (
            np.ones((3, 7), complex),
            f"The input 'tokens' holds complex128, but {TOKENS}. Turn it into numbers: inputs.astype('int32').",
        ),
        (
            np.zeros((3, 7), "datetime64[D]"),
            f"The input 'tokens' holds datetime64[D], but {TOKENS}. Turn it into numbers: inputs.astype('int32').",
        ),
        (
            np.array([[1, None], [2, 3]], dtype=object),
            f"The input 'tokens' is an array of objects, such as None, but {TOKENS}. Make it an array of one type: "
            "np.asarray(inputs, dtype='int32').",
        ),
        (
            {"tokens": None},
            f"The input 'tokens' is None, but {TOKENS}. Give an array with the samples along its first axis.",
        ),
        (
            {"token": q()},
            f"The inputs are named 'token', but {TOKENS}: 'tokens' is missing and 'token' is unknown. Give exactly "
            "its own: {'tokens': tokens}.",
        ),
        (
            range(7),
            "The inputs are a range of single numbers, but batches with samples along their first axis are needed: "
            "inputs=np.asarray(list(inputs))[None] for a single sample.",
        ),
        (
            [],
            "The inputs hold 0 samples, but at least one is needed to capture anything.",
        ),
        (
            iter([(q(), None), (q()[:, :5], None)]),
            f"The input 'tokens' has shape (3, 5) and dtype int64, but {TOKENS}: axis 1 is 5, not 7. If it is too "
            "short, fill it up with padding: np.pad(inputs, [(0, 0), (0, 2)]).",
        ),
    ],
)
def test_a_model_of_one_input_says_what_it_takes(given, expected):
    if hasattr(given, "__next__"):
        with pytest.raises(InputError) as caught:
            list(Network(transformer(), given).batches())
        assert str(caught.value) == expected
    else:
        assert message(transformer(), given) == expected


@pytest.mark.parametrize(
    ("structure", "given", "expected"),
    [
        (
            list,
            [q(), d()[:, :9]],
            f"The input 'd' has shape (3, 9) and dtype int64, but the model takes {LIST}: axis 1 is 9, not 11. If it "
            "is too short, fill it up with padding: np.pad(inputs[1], [(0, 0), (0, 2)]).",
        ),
        (
            dict,
            {"q": q(), "d": np.full((3, 11), 1.5)},
            f"The input 'd' holds numbers that are not whole, such as 1.5, but the model takes {DICT}. If they stand "
            "for whole numbers, round them: np.rint(inputs['d']).astype('int32').",
        ),
        (
            dict,
            [q(), d()],
            f"A list of 2 was given, but the model takes 2 inputs by name: {DICT}. Give one array for each: "
            "{'d': d, 'q': q}.",
        ),
        (
            dict,
            q(),
            f"One array of shape (3, 7) was given, but the model takes 2 inputs by name: {DICT}. Give one array for "
            "each: {'d': d, 'q': q}.",
        ),
        (
            list,
            q(),
            f"One array of shape (3, 7) was given, but the model takes 2 inputs in this order: {LIST}. Give one array "
            "for each: [q, d].",
        ),
        (
            list,
            [q(), d(), d()],
            f"A list of 3 was given, but the model takes 2 inputs in this order: {LIST}. Give one array for each: "
            "[q, d].",
        ),
        (
            tuple,
            (q(),),
            f"A tuple of 1 was given, but the model takes 2 inputs in this order: {LIST}. Give one array for each: "
            "(q, d).",
        ),
        (
            dict,
            {"q": q()},
            f"The inputs are named 'q', but the model takes {DICT}: 'd' is missing. Give exactly its own: "
            "{'d': d, 'q': q}.",
        ),
        (
            list,
            {"q": q(), "d": d(), "y": d(), "z": d()},
            f"The inputs are named 'q', 'd', 'y', 'z', but the model takes {LIST}: 'y', 'z' are unknown. Give exactly "
            "its own: {'q': q, 'd': d}.",
        ),
        (
            dict,
            {"q": q(3), "d": d(4)},
            "The inputs have the shapes (4, 11) for 'd', (3, 7) for 'q', but all need the same number of samples along "
            "the first axis.",
        ),
        (
            dict,
            {"q": q().tolist(), "d": [[1, 2], [3]]},
            f"The input 'd' has rows of 1 to 2 items, but the model takes {DICT}. Fill them up to one length: "
            "keras.utils.pad_sequences(inputs['d'], maxlen=11, padding='post').",
        ),
        (
            list,
            [q(), [["a"], ["b"]]],
            f"The input 'd' holds text, such as 'a', but the model takes {LIST}. Turn text into numbers as for "
            "training: with its tokenizer, or keras.layers.TextVectorization.",
        ),
    ],
)
def test_a_model_of_two_inputs_says_which_one_and_how_they_are_given(structure, given, expected):
    assert message(pair(structure), given) == expected


def test_axes_in_another_order_are_recognised():
    assert message(steps(), np.ones((3, 5, 7))) == (
        "The input 'steps' has shape (3, 5, 7) and dtype float64, but the model takes 'steps' (None, 7, 5) float32: "
        "axis 1 is 5, not 7, axis 2 is 7, not 5. Its axes fit in another order: np.transpose(inputs, (0, 2, 1))."
    )


def test_features_are_not_to_be_cut_or_padded():
    assert message(steps(), np.ones((3, 7, 4))) == (
        "The input 'steps' has shape (3, 7, 4) and dtype float64, but the model takes 'steps' (None, 7, 5) float32: "
        "axis 2 is 4, not 5. Give what the model was trained on, in the same order."
    )


def test_pictures_are_to_be_scaled():
    inputs = keras.Input((8, 12, 3), name="picture")
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))
    assert message(model, np.ones((2, 16, 16, 3), "float32")) == (
        "The input 'picture' has shape (2, 16, 16, 3) and dtype float32, but the model takes 'picture' "
        "(None, 8, 12, 3) float32: axis 1 is 16, not 8, axis 2 is 16, not 12. If they are pictures, scale them: "
        "keras.ops.image.resize(inputs, (8, 12))."
    )


def test_of_very_many_inputs_only_the_one_that_does_not_fit_is_described():
    columns = [keras.Input((3,), name=f"column_{number}") for number in range(23)]
    model = keras.Model(columns, layers.Concatenate()(columns))
    given = [np.ones((2, 3), "float32")] * 22 + [np.ones((2, 4), "float32")]
    assert message(model, given) == (
        "The input 'column_22' has shape (2, 4) and dtype float32, but the model takes 'column_22' (None, 3) float32 "
        "and 22 others: axis 1 is 4, not 3. Give what the model was trained on, in the same order."
    )


def test_every_door_checks_its_inputs():
    model, wrong = transformer(), np.ones((3, 9), int)
    expected = (
        f"The input 'tokens' has shape (3, 9) and dtype int64, but {TOKENS}: axis 1 is 9, not 7. If it is too long, "
        "cut it: inputs[:, :7]."
    )
    doors = [
        ats.capture,
        ats.sites,
        ats.attribute,
        ats.evidence,
        ats.attribution.values,
        ats.attribution.norms,
        ats.attribution.alti,
        ats.attribution.head_importance,
        lambda *given: ats.intervene(*given, {"*": lambda scores: scores}),
        lambda *given: ats.attribution.head_ablation(*given, lambda outputs: 0.0),
    ]
    for door in doors:
        with pytest.raises(InputError) as caught:
            door(model, wrong)
        assert str(caught.value) == expected


@pytest.mark.every_backend
@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_what_can_be_meant_reaches_the_model_in_its_own_structure(structure):
    model = pair(structure)
    expected = np.asarray(
        model.predict({list: [q(), d()], tuple: (q(), d()), dict: {"q": q(), "d": d()}}[structure], verbose=0)
    )
    given = [{"d": d(), "q": q()}, {"q": q().tolist(), "d": d().astype("float32")}]
    given += [] if structure is dict else [[q(), d()], (q(), d()), [q().tolist(), d().tolist()]]
    for inputs in given:
        network = Network(model, inputs)
        assert network.input_names(network.first.inputs) == (["d", "q"] if structure is dict else ["q", "d"])
        np.testing.assert_allclose(network.outputs(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "inputs",
    [
        q(),
        q().tolist(),
        list(q()),
        tuple(map(tuple, q())),
        [q()],
        {"tokens": q()},
        {"tokens": q().tolist()},
        q().astype("float64"),
        q()[..., None],
        [q()[:2], q()[2:]],
        iter([q()[:2], {"tokens": q()[2:]}]),
    ],
    ids=[
        "array",
        "lists",
        "arrays_of_samples",
        "tuples",
        "list_of_one",
        "dict",
        "dict_of_lists",
        "floats",
        "last_axis_of_one",
        "batches",
        "iterator",
    ],
)
def test_one_input_may_be_given_in_many_ways(inputs):
    network = Network(transformer(), inputs)
    tokens = network.arrays()
    assert tokens.dtype.kind == "i"
    np.testing.assert_array_equal(tokens.reshape(3, 7), q())


def test_a_list_of_one_sample_is_one_sample():
    assert Network(transformer(), [[1, 2, 3, 4, 5, 6, 7]]).arrays().shape == (1, 7)
    assert Network(transformer(), [np.arange(7)]).arrays().shape == (1, 7)


def test_an_input_of_texts_takes_texts():
    texts = keras.Input((1,), dtype="string", name="text")
    model = keras.Model(texts, layers.Identity()(texts))
    assert Network(model, [["one"], ["two"]]).arrays().tolist() == [["one"], ["two"]]
    assert message(model, np.ones((2, 1), int)) == (
        "The input 'text' holds int64, but the model takes 'text' (None, 1) string. Give the texts themselves, or "
        "inputs.astype(str)."
    )


class Undeclared(keras.Model):
    def __init__(self):
        super().__init__(name="undeclared")
        self.embed, self.attend = layers.Embedding(13, 5), layers.MultiHeadAttention(2, 3, name="mha")

    def call(self, inputs):
        embedded = self.embed(inputs["tokens"])
        return self.attend(embedded, ops.reshape(embedded, (-1, 7, 5)))


def undeclared():
    model = Undeclared()
    model({"tokens": q(2)})
    return model


def test_of_a_model_that_declares_nothing_what_is_no_array_is_said():
    model = undeclared()
    assert message(model, {"tokens": [[1, 2], [3]]}) == (
        "The input 'tokens' has rows of 1 to 2 items, but an array of numbers or texts is needed, samples first. Fill "
        "them up to one length: keras.utils.pad_sequences(inputs['tokens'], padding='post')."
    )
    assert message(model, {"tokens": np.ones((3, 0), int)}) == (
        "The input 'tokens' has shape (3, 0), whose axis 1 is empty, but an array of numbers or texts is needed, "
        "samples first. Give at least one position."
    )
    assert message(model, {}) == ("The inputs hold no array, but at least one is needed: inputs={'name': array}.")
    assert message(model, {"tokens": q(3), "other": q(2)}) == (
        "The inputs have the shapes (2, 7), (3, 7), but all need the same number of samples along the first axis."
    )
    assert Network(model, {"tokens": q().tolist()}).arrays()["tokens"].shape == (3, 7)


@pytest.mark.every_backend
def test_where_it_fails_its_own_error_says_what_it_was_given():
    with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
        ats.capture(undeclared(), {"tokens": np.ones((3, 5), int)})
    assert caught.value.__notes__[-1] == (  # JAX has a note of its own
        "The model 'undeclared' declares no inputs, so that attnscope could not check what it was given: 'tokens' "
        "(3, 5) int64. It was built on {'tokens': (2, 7)}. To have its inputs checked, give each a keras.Input, and "
        "wrap it: keras.Model(inputs, model(inputs))."
    )


def test_a_model_that_is_called_with_several_arguments_is_to_be_wrapped():
    class Pair(keras.Model):
        def call(self, q, d, training=False):
            return q + d

    model = Pair(name="pair")
    model(np.ones((2, 3)), np.ones((2, 3)))
    assert message(model, [np.ones((2, 3)), np.ones((2, 3))]) == (
        "The model 'pair' is called with the separate arguments q, d, but, as in predict, all inputs are passed as "
        "one. Wrap it in a functional model, with a keras.Input for each: keras.Model([q, d], model(q, d))."
    )


def test_a_sequential_model_that_was_only_called_declares_nothing():
    model = keras.Sequential([layers.Embedding(13, 5), layers.GlobalAveragePooling1D()])
    model(q(2))
    assert Network(model, np.ones((3, 9), int)).outputs().shape == (3, 5)
