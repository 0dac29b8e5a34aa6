"""What may be explained, and what an error says where a target does not fit the model's outputs."""

import html

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats
from attnscope.attribution import AtStep, PerSample
from attnscope.attribution._targets import targets_of
from attnscope.errors import TargetError

CLASSES = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]], "float32")
SIZE = np.array([[3.0], [5.0]], "float32")
NAMED = {"grade": CLASSES, "size": SIZE}
STEPS = np.arange(2 * 3 * 5, dtype="float32").reshape(2, 3, 5)
ANIMALS = ["cat", "dog", "hen"]


def names_of(outputs):
    return list(outputs) if isinstance(outputs, dict) else [""]


def test_a_target_of_a_named_output_reads_that_output():
    [target] = targets_of({"grade": 2}, NAMED, names_of(NAMED))
    assert target.words == "class 2 of grade"
    np.testing.assert_array_equal(target.of(NAMED), CLASSES[:, 2].astype(float))
    several = targets_of({"grade": [0, 1]}, NAMED, names_of(NAMED))
    assert [target.words for target in several] == ["class 0 of grade", "class 1 of grade"]
    np.testing.assert_array_equal([target.of(NAMED) for target in several], CLASSES[:, :2].T.astype(float))


def test_a_function_of_one_named_output_gets_that_output_alone():
    [target] = targets_of({"grade": lambda grade: grade[:, 2] - grade[:, 0]}, NAMED, names_of(NAMED))
    assert target.words == "<lambda> of grade"
    np.testing.assert_array_equal(target.of(NAMED), (CLASSES[:, 2] - CLASSES[:, 0]).astype(float))
    with pytest.raises(TargetError) as caught:
        targets_of({"grade": lambda grade: grade}, NAMED, names_of(NAMED))
    assert str(caught.value) == (
        "The target function gave the shape (2, 3) for 2 samples, but one number per sample is needed: "
        "lambda outputs: outputs[:, 1]."
    )


def test_outputs_in_a_list_go_by_their_names_too():
    outputs = [CLASSES, SIZE]
    [target] = targets_of({"size": 0}, outputs, ["grade", "size"])
    assert target.words == "the output of size"
    np.testing.assert_array_equal(target.of(outputs), [3.0, 5.0])
    [alone] = targets_of("size", outputs, ["grade", "size"])
    np.testing.assert_array_equal(alone.of(outputs), [3.0, 5.0])


def test_the_only_output_in_a_dict_needs_no_name():
    outputs = {"grade": CLASSES}
    [target] = targets_of(1, outputs, ["grade"])
    assert target.words == "class 1"
    np.testing.assert_array_equal(target.of(outputs), CLASSES[:, 1].astype(float))


def test_a_class_goes_by_its_name_where_names_are_known():
    [target] = targets_of("dog", CLASSES, [""], ANIMALS)
    assert target.words == "class 'dog'"
    np.testing.assert_array_equal(target.of(CLASSES), CLASSES[:, 1].astype(float))
    several = targets_of(["hen", 0], CLASSES, [""], ANIMALS)
    assert [target.words for target in several] == ["class 'hen'", "class 'cat'"]
    [own] = targets_of(PerSample(["dog", "cat"]), CLASSES, [""], ANIMALS)
    np.testing.assert_array_equal(own.of(CLASSES), np.array([0.7, 0.6], "float32").astype(float))
    [named] = targets_of({"grade": "hen"}, NAMED, names_of(NAMED), {"grade": ANIMALS})
    assert named.words == "class 'hen' of grade"
    np.testing.assert_array_equal(named.of(NAMED), CLASSES[:, 2].astype(float))
    [token] = targets_of(AtStep(-1, "e"), STEPS, [""], list("abcde"))
    assert token.words == "token 'e' at step 2"
    np.testing.assert_array_equal(token.of(STEPS), STEPS[:, 2, 4])


@pytest.mark.every_backend
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_number_of_two_classes_of_one_column_is_the_class_and_not_the_column(shape):
    second = np.array([0.25, 0.75, 0.5], "float32").reshape(shape)
    for wanted, words, numbers in (
        (None, "class 'sick'", [0.25, 0.75, 0.5]),
        (1, "class 'sick'", [0.25, 0.75, 0.5]),
        (0, "class 'well'", [0.75, 0.25, 0.5]),
        (PerSample([0, 1, 0]), "each sample's own class", [0.75, 0.75, 0.5]),
        (PerSample(["sick", "well", "well"]), "each sample's own class", [0.25, 0.25, 0.5]),
    ):
        [target] = targets_of(wanted, second, classes=["well", "sick"])
        assert target.words == words
        np.testing.assert_array_equal(target.of(second), numbers)
    [target] = targets_of(0, second, classes=["well", "sick"], units=["logit"])
    np.testing.assert_array_equal(target.of(second), [-0.25, -0.75, -0.5])
    with pytest.raises(TargetError) as caught:
        targets_of(2, second, classes=["well", "sick"])
    assert (
        str(caught.value)
        == "The target is column 2, but the model's output has 2, numbered from 0. Give one of 0 to 1."
    )


def test_names_of_one_column_are_those_of_two_classes_whatever_is_nan():
    [target] = targets_of(None, np.array([0.5, np.nan]), classes=["well", "sick"])
    assert target.words == "class 'sick'"
    with pytest.raises(TargetError) as caught:
        targets_of(None, np.array([0.5, 0.25]), classes=["well", "sick", "dead"])
    assert str(caught.value) == (
        "The class names are 'well', 'sick', 'dead', but the output has 1 column. If it is a probability or a logit, "
        "it takes the names of the two classes that it decides between, in their order: classes=['no', 'yes']. Another "
        "number takes one name."
    )


def test_names_that_come_with_the_data_are_those_of_the_output_that_has_as_many_columns():
    [target] = targets_of("dog", CLASSES, [""], default=ANIMALS)
    assert target.words == "class 'dog'"
    [plain] = targets_of(1, CLASSES, [""], default=["no", "yes"])
    assert plain.words == "class 1"


@pytest.mark.parametrize(
    ("target", "outputs", "classes", "message"),
    [
        (
            {"grades": 1},
            NAMED,
            None,
            "The target names the outputs ['grades'], but one of 'grade', 'size' is needed: target={'grade': 0}.",
        ),
        (
            {"grade": 1},
            CLASSES,
            None,
            "The target names the outputs ['grade'], but the model's only output has no name. Leave the name out: "
            "target=1.",
        ),
        (
            1,
            NAMED,
            None,
            "The model has the outputs 'grade', 'size', but the target 1 does not say which. Name one: "
            "target={'grade': 0}.",
        ),
        (
            "dog",
            NAMED,
            ANIMALS,
            "The model has the outputs 'grade', 'size', but the target 'dog' does not say which. Name one: "
            "target={'grade': 0}.",
        ),
        (
            AtStep(3, 2),
            STEPS,
            None,
            "The target is at step 3, but the output has 3, numbered from 0. Give one of 0 to 2, or count from the "
            "end: AtStep(-1, 2).",
        ),
        (
            AtStep(0, 2),
            CLASSES,
            None,
            "The target is AtStep(step=0, token=2), but the outputs have the shape (2, 3), and (sample, step, token) "
            "is needed. For classes give the number of one: target=1.",
        ),
        (
            "dog",
            CLASSES,
            None,
            "The target is the class 'dog', but nothing says what the classes are called. Give its number, target=1, "
            "or the names of all classes: classes=[...].",
        ),
        (
            "cow",
            CLASSES,
            ANIMALS,
            "The target is the class 'cow', but the classes are 'cat', 'dog', 'hen'. Give one of them, or its number: "
            "target=0.",
        ),
        (
            0,
            CLASSES,
            ["cat", "dog"],
            "The class names are 'cat', 'dog', but the output has 3 columns, and each needs a name of its own, in "
            "their order: classes=['cat', 'dog', ...].",
        ),
        (
            0,
            CLASSES,
            ["cat", "dog", "cat"],
            "The class names are 'cat', 'dog', 'cat', but the output has 3 columns, and each needs a name of its own, "
            "in their order: classes=['cat', 'dog', ...].",
        ),
        (
            {"grade": 0},
            NAMED,
            {"grades": ANIMALS},
            "The class names are for the outputs 'grades', but the outputs are 'grade', 'size': "
            "classes={'grade': [...]}.",
        ),
        (
            0,
            CLASSES,
            {"grade": ANIMALS},
            "The class names are for the outputs 'grade', but the model's only output has no name: classes=[...].",
        ),
        (
            2.5,
            CLASSES,
            None,
            "The target is 2.5, but the number or name of an output column, a list of them, PerSample, AtStep, a dict "
            "by output or a function is needed: target=1.",
        ),
    ],
)
def test_a_target_that_does_not_fit_is_an_error_that_says_what_would(target, outputs, classes, message):
    with pytest.raises(TargetError) as caught:
        targets_of(target, outputs, names_of(outputs), classes)
    assert str(caught.value) == message


def two_heads(structure):
    """Two outputs of one body over steps."""
    steps = keras.Input((7, 5))
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 3, name="mha")(steps, steps))
    grade, size = layers.Dense(3, name="grade")(pooled), layers.Dense(1, name="size")(pooled)
    outputs = {list: [grade, size], tuple: (grade, size), dict: {"marks": grade, "size": size}}[structure]
    return keras.Model(steps, outputs)


@pytest.mark.parametrize("structure", [list, tuple, dict])
def test_outputs_are_called_in_targets_as_they_are_in_maps(structure, rng):
    model, x = two_heads(structure), rng.normal(size=(4, 7, 5)).astype("float32")
    outputs = ats.capture(model, x).outputs
    grade = "marks" if structure is dict else "grade"
    assert set(outputs) == {grade, "size"}
    subjects = ats.attribution.subjects_of(model, x, target={grade: "dog"}, classes={grade: ANIMALS})
    np.testing.assert_allclose(subjects[0].numbers(), outputs[grade].values[:, 1], atol=1e-6)
    [size] = ats.attribution.subjects_of(model, x, target="size")
    np.testing.assert_allclose(size.numbers(), outputs["size"].values[:, 0], atol=1e-6)


def test_two_outputs_of_one_layer_have_two_names(rng):
    steps = keras.Input((7, 5))
    attended, scores = layers.MultiHeadAttention(2, 3, name="mha")(steps, steps, return_attention_scores=True)
    model, x = keras.Model(steps, [attended, scores]), rng.normal(size=(4, 7, 5)).astype("float32")
    outputs = ats.capture(model, x).outputs
    assert {name: array.shape for name, array in outputs.items()} == {"mha": (4, 7, 5), "mha_1": (4, 2, 7, 7)}


def test_class_names_come_from_the_options_the_data_or_the_model(rng):
    steps = keras.Input((7, 5))
    pooled = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 3, name="mha")(steps, steps))
    model, x = keras.Model(steps, layers.Dense(3)(pooled)), rng.normal(size=(4, 7, 5)).astype("float32")

    class Data(list):
        class_names = ANIMALS

    by_number = ats.attribute(model, x, target=1, method="raw")
    assert by_number.attrs["target"] == "class 1"
    of_data = ats.attribute(model, Data([(x[:2], None), (x[2:], None)]), target="dog", method="raw")
    of_earlier_option = ats.attribute(model, x, target="dog", class_names=ANIMALS, method="raw")
    of_option = ats.attribute(model, x, target="dog", classes=ANIMALS, method="raw")
    importance = ats.attribution.head_importance(model, x, target="dog", classes=ANIMALS)
    model.class_names = ANIMALS
    of_model = ats.attribute(model, x, target="dog", method="raw")
    for relevance in (of_data, of_option, of_earlier_option, of_model):
        np.testing.assert_allclose(relevance, by_number, atol=1e-6)
        assert relevance.attrs["target"] == "class 'dog'"
    assert importance.attrs["target"] == "class 'dog'"


def test_two_names_of_one_argument_are_one_too_many(rng):
    model, x = two_heads(list), rng.normal(size=(4, 7, 5)).astype("float32")
    with pytest.raises(TargetError) as caught:
        ats.attribute(model, x, target={"grade": 0}, classes=ANIMALS, class_names=ANIMALS)
    assert str(caught.value) == (
        "Both classes and class_names were given, which mean the same. Leave class_names out: classes=[...]."
    )


def forecast():
    """Four numbers, which are no classes, as the loss says."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(4)(inputs))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("target", "classes", "words"),
    [
        (3, None, "output 3"),
        ("in 6 h", ["now", "in 1 h", "in 6 h", "in 1 day"], "output 'in 6 h'"),
        (PerSample([0, 3]), None, "each sample's own output"),
    ],
)
def test_the_numbers_of_a_forecast_are_outputs_and_no_classes(target, classes, words):
    model, x = forecast(), np.ones((2, 3), "float32")
    relevance = ats.attribute(model, x, method="occlusion", target=target, classes=classes)
    assert relevance.attrs["target"] == words
    if isinstance(target, PerSample):
        assert relevance.sample_target.values.tolist() == ["output 0", "output 3"]
    card = ats.evidence(model, x, methods=["occlusion"], target=target, classes=classes, permutations=0, progress=False)
    explanation = ats.explain(model, x, target=target, classes=classes, card=card, method="occlusion")
    for text in (repr(card), repr(explanation), explanation._repr_html_()):
        assert html.unescape(words) in html.unescape(text)
        assert f"class {words.removeprefix('output ')}" not in html.unescape(text)


@pytest.mark.parametrize(
    ("target", "classes", "message"),
    [
        (
            "in 6 h",
            None,
            "The target is the output 'in 6 h', but nothing says what the outputs are called. Give its number, "
            "target=1, or the names of all outputs: classes=[...].",
        ),
        (
            "in 6 h",
            list("abcd"),
            "The target is the output 'in 6 h', but the outputs are 'a', 'b', 'c', 'd'. Give one of them, or its "
            "number: target=0.",
        ),
        (
            0,
            ["in 6 h"],
            "The output names are 'in 6 h', but the output has 4 columns, and each needs a name of its own, in their "
            "order: classes=['in 1 h', 'in 6 h', ...].",
        ),
    ],
)
def test_errors_about_a_forecast_speak_of_outputs(target, classes, message):
    with pytest.raises(TargetError) as caught:
        ats.attribute(forecast(), np.ones((2, 3), "float32"), method="occlusion", target=target, classes=classes)
    assert str(caught.value) == message


def test_of_several_numbers_that_a_model_was_fitted_to_none_is_the_predicted_class():
    model = forecast()
    with pytest.raises(TargetError) as caught:
        ats.attribute(model, np.ones((2, 3), "float32"), method="occlusion")
    assert str(caught.value) == (
        "The model gives 4 numbers, and by the loss that it was compiled with they are no choice among classes, so "
        "that none is the predicted one. Choose one: target=0."
    )
    assert ats.attribute(model, np.ones((2, 3), "float32"), method="occlusion", target=3).attrs["target"] == "output 3"
