"""One decision: what is drawn, what is said of it, and what is written."""

import csv
import io
import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib.figure import Figure

import attnscope as ats
from attnscope.attribution import relevance_of, subjects_of
from attnscope.errors import InputError, MethodError, TargetError, WouldOverwriteError
from attnscope.explaining._explain import _drawn
from attnscope.explaining._method_choice import MethodChoice
from attnscope.pages._signed_marks import SignedParts, signed_bars, signed_columns, signed_words

WEIGHTS = np.array([[2.0], [-3.0], [0.5], [0.0]], "float32")
NAMES = ["height", "weight", "age", "=1+1"]


@pytest.fixture(scope="module")
def model():
    """The answer is the sum of the features, each times a weight; nothing attends."""
    inputs = keras.Input((4,), name="patient")
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(inputs), name="linear")
    model.set_weights([WEIGHTS])
    return model


@pytest.fixture(scope="module")
def patients():
    return np.random.default_rng(3).normal(size=(7, 4)).astype("float32")


def explained(model, patients, **options):
    return ats.explain(model, patients, **{"card": False, "method": "occlusion", "labels": NAMES, **options})


def test_occlusion_of_a_linear_model_is_each_weight_times_what_the_feature_differs_from_its_mean(model, patients):
    table = explained(model, patients, samples=[5, 2]).table
    expected = (patients - patients.mean(0)) * WEIGHTS[:, 0]
    np.testing.assert_allclose(table["relevance"].sel(by="occlusion"), expected[[5, 2]], atol=1e-5)
    np.testing.assert_allclose(table["answer"], (patients @ WEIGHTS)[[5, 2], 0], atol=1e-5)
    assert table["sample_id"].values.tolist() == ["5", "2"]


def test_the_truth_of_a_series_goes_by_its_index(patients):
    pandas = pytest.importorskip("pandas")
    ids = [f"P-{number}" for number in range(7)]
    frame = pandas.DataFrame(patients, index=ids, columns=NAMES)
    truth = pandas.Series(np.arange(7) % 2, index=ids)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(inputs))
    options = {"classes": ["well", "sick"], "samples": ids, "labels": None}
    for given in (truth, truth[::-1], truth.to_numpy()):
        found = explained(model, frame, truth=given, **options)
        assert found.table["truth"].values.tolist() == ["well", "sick"] * 3 + ["well"]
    assert found.notes[0] == (
        "The columns of the DataFrame are given to the model in their order, 'height', 'weight', 'age', '=1+1', "
        "because nothing in the model says what it calls them. For another order: frame[[...]]."
    )
    with pytest.raises(InputError) as caught:
        explained(model, frame, truth=truth[:-1], **options)
    assert str(caught.value) == (
        "truth is a Series whose index has no value for 'P-6', but it needs each sample once, by the ids of the inputs"
        ". Take it from the same frame, or give values in the samples' order: truth.to_numpy()."
    )


def test_where_ids_are_numbers_a_number_is_an_id(model, patients):
    assert explained(model, patients, ids=range(1, 8), samples=[1, 7]).ids == ["1", "7"]
    with pytest.raises(InputError, match="There is no sample 0: there are 7, with the ids '1' to '7'"):
        explained(model, patients, ids=range(1, 8), samples=[0])


def test_what_a_path_starts_from_is_said_and_the_points_are_as_many_as_it_takes(patients):
    inputs = keras.Input((4,))
    steep = keras.Model(inputs, layers.Dense(1, activation="sigmoid", use_bias=False)(inputs))
    steep.set_weights([40 * WEIGHTS])
    explanation = explained(steep, patients, method="integrated_gradients", samples=[0, 1, 2])
    left = explanation.table["answer"] - explanation.table["base"] - explanation.table["relevance"][0].sum("key")
    assert np.abs(left).max() < 0.005
    assert "By integrated_gradients, relevance is measured from a baseline" in explanation.notes[-1]
    assert explanation.notes[-1].endswith(": zeros.")
    assert "The bars add up: " in explanation._repr_html_()
    steep.set_weights([4e6 * WEIGHTS])
    explanation = explained(steep, patients, method="integrated_gradients", samples=[0, 1, 2])
    assert "by integrated_gradients does not add up with 512 points on the path" in explanation.notes[-1]
    assert "The bars do not quite add up: " in explanation._repr_html_()


def test_each_row_of_a_table_says_what_is_explained_and_the_verdict(model, patients):
    frame = explained(model, patients, samples=[0]).to_pandas()
    assert set(frame["target"]) == {"the output"}
    assert set(frame["verdict on occlusion"]) == {"not tested"}


@pytest.mark.parametrize("ending", [".html", ".csv", ".json"])
def test_half_a_character_in_a_name_is_written_as_its_code(model, patients, ending, tmp_path):
    names = ["\ud800", *NAMES[1:]]
    path = explained(model, patients, samples=[0], labels=names, ids=["\udfff", *"bcdefg"]).save(
        tmp_path / f"e{ending}"
    )
    text = path.read_text("utf-8")
    assert any(written in text.lower() for written in ("\\ud800", "u+d800"))
    assert any(written in text.lower() for written in ("\\udfff", "u+dfff"))


def test_half_a_character_in_a_name_is_its_code_in_a_data_frame(model, patients):
    frame = explained(
        model, patients, samples=[0], labels=["\ud800", *NAMES[1:]], ids=["\udfff", *"bcdefg"]
    ).to_pandas()
    assert frame["name"].tolist() == ["\\ud800", *NAMES[1:]]
    assert set(frame["id"]) == {"\\udfff"}


def test_patches_without_names_have_their_row_and_column(rng):
    picture = keras.Input((4, 6, 1))
    model = keras.Model(picture, layers.Dense(1)(layers.Flatten()(picture)))
    pictures = rng.normal(size=(3, 4, 6, 1)).astype("float32")
    options = {"grid": (2, 3), "card": False, "method": "occlusion", "samples": [1]}
    rows = ats.explain(model, pictures, **options).rows()
    assert [(row["position"], row["row"], row["column"]) for row in rows] == [
        (0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 1, 0), (4, 1, 1), (5, 1, 2)
    ]  # fmt: skip
    named = ats.explain(model, pictures, labels=list("abcdef"), **options).rows()
    assert [row["name"] for row in named] == list("abcdef")
    assert not {"row", "column"} & set(named[0])


def test_the_answer_without_the_top_features_is_the_answer_of_the_changed_patient(model, patients):
    table = explained(model, patients, samples=[4]).table
    relevance = (patients[4] - patients.mean(0)) * WEIGHTS[:, 0]
    for count in (1, 2, 3):
        changed = patients[4].copy()
        top = np.argsort(-relevance)[:count]
        changed[top] = patients.mean(0)[top]
        np.testing.assert_allclose(table["answer_without"].sel(removed=count)[0], changed @ WEIGHTS[:, 0], atol=1e-5)
    assert np.isnan(table["answer_without"].sel(removed=[5, 10])).all()  # there are only four


def test_samples_are_chosen_by_id_by_number_and_by_what_the_model_says(patients):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(inputs))
    scores = model.predict(patients, verbose=0)
    ids = [f"P-{number}" for number in range(7)]
    truth = np.array(["a", "b", "c"])[[0, 1, 2, 0, 1, 2, 0]]

    def chosen(samples):
        options = {"classes": ["a", "b", "c"], "ids": ids, "truth": truth, "samples": samples}
        return explained(model, patients, **options).ids

    best = np.sort(scores, axis=1)
    right = [0, 1, 2, 0, 1, 2, 0]
    wrong = np.array([np.delete(row, column).max() - row[column] for row, column in zip(scores, right, strict=True)])
    assert chosen(["P-6", 0]) == ["P-6", "P-0"]
    assert chosen("P-3") == ["P-3"]
    assert chosen(-1) == ["P-6"]
    assert chosen(None) == ids[:5]
    assert chosen("most certain") == [ids[row] for row in np.argsort(best[:, -2] - best[:, -1])[:5]]
    assert chosen("most wrong") == [ids[row] for row in np.argsort(-wrong)[:5]]
    assert chosen("random") == chosen("random")
    assert chosen(["P-3", "most certain"]) == list(dict.fromkeys(["P-3", *chosen("most certain")]))


def test_a_probability_is_of_the_second_of_two_classes(patients):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(inputs))
    probability = model.predict(patients, verbose=0)[:, 0].astype("float64")
    for target, answer in (("ill", probability), ("well", 1 - probability), (None, probability)):
        table = explained(model, patients, classes=["well", "ill"], target=target, samples=[0, 1, 2]).table
        np.testing.assert_allclose(table["answer"], answer[:3], atol=1e-6)
        assert table.attrs["target"] == f"class {target or 'ill'!r}"
        assert table["decision"].values.tolist() == ["ill" if p > 0.5 else "well" for p in probability[:3]]


def test_a_logit_is_of_the_second_of_two_classes_whatever_its_size(patients):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(inputs))
    model.set_weights([0.01 * np.abs(WEIGHTS)])  # all of its logits could be probabilities, by their size
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    both = {name: explained(model, np.abs(patients), target=name, classes=["no", "yes"]) for name in ("no", "yes")}
    np.testing.assert_allclose(both["no"].table["answer"], -both["yes"].table["answer"])
    assert set(both["no"].table["decision"].values) == {"yes"}
    assert both["no"].table.attrs["units"] == "logit"


def test_the_card_decides_what_is_drawn():
    from attnscope.explaining._method_choice import choices

    class Card:
        def __init__(self, **words):
            self.verdicts = words
            self.judged = {name: judged(word, 0.1 * place) for place, (name, word) in enumerate(words.items())}
            self.margins = {"mean": 0.15}

    def judged(word, low):
        verdict = type("Verdict", (), {"word": word, "reasons": ("why",)})()
        gain = type("Interval", (), {"low": np.array(low)})()
        return type("Judged", (), {"verdict": verdict, "gains": {"mean": {"random": gain}}})()

    def drawn(asked="auto", **words):
        return [(choice.name, choice.verdict) for choice in choices(Card(**words), asked)]

    explains, describes, misleads = "explains", "descriptive only", "misleading here"
    assert drawn(raw=explains, occlusion=explains) == [("occlusion", explains), ("raw", explains)]
    assert drawn(occlusion=explains, raw=explains) == [("occlusion", explains), ("raw", explains)]  # as good: 0.1 apart
    assert drawn(occlusion=explains, rollout=misleads, raw=explains) == [("raw", explains), ("occlusion", explains)]
    assert drawn(raw=explains, occlusion=misleads) == [("raw", explains)]
    assert drawn(raw=describes, occlusion=misleads, rollout=describes) == [("rollout", describes)]
    assert drawn(raw=misleads, occlusion="cannot tell") == []
    assert drawn("raw", raw=misleads, occlusion=explains) == [("raw", misleads), ("occlusion", explains)]
    assert [(each.name, each.verdict) for each in choices(None, "raw")] == [("raw", "not tested")]
    assert choices(None, "auto") == []
    with pytest.raises(MethodError, match="'occlusion'"):
        choices(None, "oclusion")


def test_what_it_may_be_used_for_is_said_first(model, patients):
    explanation = explained(model, patients)
    sentence = (
        "This must not be used for a decision yet: whether occlusion explains this model was not tested. "
        "ats.evidence(model, inputs) tests it, on the command line attnscope evidence MODEL INPUTS."
    )
    assert repr(explanation).splitlines()[1] == sentence
    assert explanation.to_dict()["use"] == sentence
    nothing = replace(explanation, methods=())
    assert (nothing.method, nothing.verdict) == (None, "no method may be drawn")
    assert repr(nothing).splitlines()[1] == (
        "No method may be drawn for this model; nothing is claimed about why it answers as it does."
    )


def test_what_cannot_be_drawn_is_said_before_anything_is_tested(patients, monkeypatch):
    monkeypatch.setattr("attnscope.explaining._explain.evidence", None)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(inputs))
    for options, message in (
        (
            {"card": False},
            "card=False tests no method, so no verdict chooses the one that is drawn. Name it, method='occlusion', or "
            "leave card=False out.",
        ),
        ({"method": "oclusion"}, "The method is 'oclusion', but one of 'raw', "),
        (
            {"truth": ["sick"] * 7, "classes": ["no", "yes"]},
            "The truth of a sample is 'sick', but the classes are 'no'",
        ),
        ({"images": patients[:1]}, "images were given, which are drawn under the patches of pictures"),
    ):
        with pytest.raises((InputError, MethodError)) as raised:
            ats.explain(model, patients, **options)
        assert str(raised.value).startswith(message)


def test_it_is_written_as_its_suffix_says(model, patients, tmp_path):
    explanation = explained(model, patients, samples=[1, 3], ids=list("abcdefg"))
    content = json.loads(explanation.save(tmp_path / "e.json").read_text("utf-8"))
    assert [sample["id"] for sample in content["samples"]] == ["b", "d"]
    relevance = explanation.table["relevance"].values[0]
    assert [row["occlusion"] for row in content["samples"][1]["positions"]] == relevance[1].tolist()
    rows = list(csv.DictReader(io.StringIO(explanation.save(tmp_path / "e.csv").read_text("utf-8"))))
    assert [row["name"] for row in rows[:4]] == ["height", "weight", "age", "'=1+1"]
    assert [float(row["occlusion"]) for row in rows] == relevance.ravel().tolist()
    for row, value, answer in zip(rows[:4], patients[1], explanation.table["answer"].values[:1].repeat(4), strict=True):
        assert row["value"] == str(value)  # by the digits of float32: 0.1, not 0.10000000149
        assert row["answer"] == str(np.float32(answer))
    assert explanation.to_pandas()["occlusion"].tolist() == relevance.ravel().tolist()
    assert explanation.save(tmp_path / "e.html").read_text("utf-8").startswith("<!doctype html>")
    with pytest.raises(WouldOverwriteError):
        explanation.save(tmp_path / "e.html")
    with pytest.raises(InputError) as raised:
        explanation.save("e.docx")
    assert str(raised.value) == (
        "The file is 'e.docx', but its name has to end in .html, .json, .csv, .png, .svg or .pdf, which says what is "
        "written. Give it one: 'e.html'."
    )


def test_hostile_ids_names_and_classes_are_text(patients, tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(inputs))
    hostile = "</style><script>alert(1)</script>\"'\\}"
    page = explained(
        model,
        patients,
        classes=[hostile, "b"],
        target=hostile,
        labels=[hostile, "x", "y", "z"],
        ids=[f"{hostile}{number}" for number in range(7)],
        truth=[hostile] * 7,
    ).save(tmp_path / "page.html")
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert text.count("</style>") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"samples": ["P-9"]},
            "There is no sample 'P-9': there are 7, with the ids '0' to '6'. Give the id or the number of a sample, "
            "'random', 'most certain' or 'most wrong': samples=['0'].",
        ),
        (
            {"samples": slice(0, 3)},
            "samples is slice(0, 3, None), but ids or numbers of samples are needed, or 'random', 'most certain' or "
            "'most wrong': samples=[0, 1, 2].",
        ),
        ({"samples": []}, "samples=[] chooses no sample, but one at least is needed: samples=[0]."),
        (
            {"classes": "ab"},
            "classes is the text 'ab', but a list of names is needed: classes=['ab', ...].",
        ),
        ({"ids": ["a", None, *"cdefg"]}, "Sample 1 has no id. Give each one of its own, or leave ids out."),
        ({"ids": ["a"] * 7}, "The id 'a' belongs to 7 samples. Give each an id of its own."),
        (
            {"ids": ["a"]},
            "ids has 1 entries, but there are 7 samples. Give one for each, in their order.",
        ),
        (
            {"samples": "most wrong"},
            "The samples 'most wrong' are asked for, but the truth is not known: truth=[...].",
        ),
        (
            {"samples": "most certain"},
            "The samples 'most certain' are asked for, but the model gives a number and no classes. Choose by id or "
            "number, or name the two classes that a probability decides between: classes=['no', 'yes'].",
        ),
        (
            {"images": np.zeros((7, 2, 2))},
            "images were given, which are drawn under the patches of pictures, but features are explained here. Leave "
            "images out.",
        ),
        (
            {"grid": (2, 2)},
            "grid=(2, 2) was given, which divides pictures (sample, height, width, channel) into patches, but the "
            "input has shape (7, 4). Leave grid out.",
        ),
        ({"padding": 0}, "padding=0 was given, but features are never padding. Leave padding out."),
        (
            {"budget": "5 s"},
            "The methods are not tested now, because a card was given or no test is wanted, so budget='5 s' limits "
            "nothing. Leave it out.",
        ),
        (
            {"card": "card.json"},
            "The card is 'card.json', but one that ats.evidence returned is needed. Leave card out to test the methods "
            "now, or test none: card=False.",
        ),
        (
            {"truth": np.zeros((7, 1))},
            "truth has the shape (7, 1), but one value for each sample is needed: truth.ravel().",
        ),
        (
            {"truth": np.eye(7)},
            "truth has the shape (7, 7), but one value for each sample is needed: truth.argmax(1), if each row has a 1 "
            "at its class.",
        ),
        (
            {"card": None, "budget": 0},
            "The budget is 0, but a number of seconds or a time such as '5 min' is needed: budget='5 min'.",
        ),
    ],
)
def test_what_does_not_fit_is_said(model, patients, options, message):
    with pytest.raises((InputError, TargetError)) as raised:
        explained(model, patients, **options)
    assert str(raised.value) == message


def test_columns_in_a_dict_are_explained_together_as_a_frame():
    columns = {name: keras.Input((1,), name=name) for name in ("age", "mass")}
    model = keras.Model(columns, layers.Dense(1)(layers.Concatenate()(list(columns.values()))))
    with pytest.raises(InputError) as raised:
        explained(model, {"age": np.arange(3.0), "mass": np.arange(3.0)}, labels=None)
    assert str(raised.value) == (
        "The model has 2 inputs, and nothing says which of them is to be explained. Each is one column, and the "
        "columns of a table are explained together: give a data frame, pandas.DataFrame(inputs). To explain one alone: "
        "positions='age'."
    )


def test_a_card_is_of_one_model_as_it_is(patients):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    many = np.random.default_rng(0).normal(size=(31, 4)).astype("float32")
    card = ats.evidence(model, many, methods=["occlusion"], permutations=0, progress=False)
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    assert explained(again, patients, card=card).card is card
    again.set_weights([2 * weights for weights in model.get_weights()])
    with pytest.raises(InputError) as raised:
        explained(again, patients, card=card)
    assert str(raised.value) == (
        f"The card is about a model called {model.name!r} whose weights are not those of this one, {again.name!r}, and "
        "a verdict holds for one model as it is: make a card for this one, ats.evidence(model, inputs, target=...), or "
        "leave card out."
    )


def test_long_names_of_classes_leave_room_for_their_picture(patients):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    explanation = explained(model, patients, classes=["b", "y" * 2000], target=1, samples=[0])
    ax = explanation.plot(ax=Figure())
    assert ax.get_xlabel().replace("\n", "").endswith("yyyy'")
    assert len(ax.get_xlabel()) < 100


def test_padding_is_not_among_the_top_parts_and_a_sample_of_nothing_else_has_none():
    tokens = keras.Input((4,), dtype="int32")
    model = keras.Model(tokens, layers.Dense(1)(layers.LSTM(2)(layers.Embedding(9, 3, mask_zero=True)(tokens))))
    data = np.array([[1, 2, 3, 4], [5, 0, 0, 0], [0, 0, 0, 0], [3, 2, 1, 0]])
    explanation = ats.explain(model, data, card=False, method="gradient_x_input", samples=[1, 2])
    one, nothing = repr(explanation).splitlines()[2:4]
    assert one.count("token") == 1
    assert "token" not in nothing


def test_a_single_sample_is_too_few_to_test_a_method_on(model, patients):
    with pytest.raises(InputError) as raised:
        explained(model, patients[:1], card=None, method="auto", ids=["P-17"])
    assert str(raised.value) == (
        "There is only one sample, and no method can be tested on one. Give all samples that there are and choose this "
        "one, samples=['P-17']; or what was found on them, card=ats.evidence(model, inputs); or test none: card=False, "
        "method='occlusion'."
    )


@pytest.mark.every_backend
def test_attention_and_a_second_method_stand_beside_it(rng):
    inputs = keras.Input((5, 3), name="steps")
    attended, scores = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs, return_attention_scores=True)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(attended)))
    data = rng.normal(size=(6, 5, 3)).astype("float32")
    card = ats.evidence(model, data, methods=["occlusion", "gradient_x_input"], permutations=0, progress=False)
    explanation = ats.explain(model, data, card=card, method="occlusion", samples=[0, 4])
    table = explanation.table
    weights = keras.ops.convert_to_numpy(keras.Model(inputs, scores)(data[[0, 4]]))
    np.testing.assert_allclose(table["attention"], weights.mean((1, 2)), atol=1e-6)
    assert explanation.verdict == card.verdicts["occlusion"]
    assert table["value"].dims == ("sample", "key", "feature")
    alone = ats.attribute(model, data, method="occlusion").values
    np.testing.assert_allclose(table["relevance"][0], alone[[0, 4]], atol=1e-5)


def test_beside_the_first_method_stands_one_that_ranks_otherwise(patients):
    """With one layer of attention Chefer's method ranks as gradient x attention does, and has nothing to add."""
    inputs = keras.Input((4,), name="patient")
    parts = layers.EinsumDense("bf,fd->bfd", (4, 3), bias_axes="fd")(inputs)
    attended = layers.MultiHeadAttention(1, 3)(parts, parts)
    attentive = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(attended)))
    [subject] = subjects_of(attentive, patients)

    def drawn(*names):
        candidates = [MethodChoice(name, "explains", ()) for name in names]
        return [choice.name for choice, _ in _drawn(subject, candidates, lambda name: relevance_of(subject, name))]

    assert drawn("gradient_x_attention", "chefer", "gradient_x_input") == ["gradient_x_attention", "gradient_x_input"]
    assert drawn("gradient_x_attention", "chefer") == ["gradient_x_attention", "chefer"]
    assert drawn("gradient_x_input") == ["gradient_x_input"]
    assert drawn() == []


def test_how_often_the_model_is_right_is_said_of_all_samples(patients):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", use_bias=False)(inputs))
    model.set_weights([np.concatenate([WEIGHTS, -WEIGHTS], axis=1)])
    truth = np.where(patients @ WEIGHTS > 0, "a", "b")[:, 0].astype(object)
    truth[[1, 4]] = ["b" if truth[1] == "a" else "a", None]
    explanation = explained(model, patients, classes=["a", "b"], target="a", truth=truth, samples=[0])
    assert explanation.right == (5, 6)  # one is wrong, and of one it is not known
    assert "<dt>right answers</dt><dd>5 of 6</dd>" in explanation._repr_html_()
    assert explanation.to_dict()["right"] == {"answers": 5, "of": 6}
    assert explained(model, patients, classes=["a", "b"], target="a").right is None
    wrong = explained(model, patients, classes=["a", "b"], target="a", truth=truth, samples="most wrong")
    assert wrong.ids[0] == "1"
    assert "4" not in wrong.ids
    lead = np.abs(np.diff(wrong.table["by_class"].values, axis=1))[1:, 0].tolist()
    assert len(lead) == 4
    assert lead == sorted(lead)  # those that are right, the least certain first


def test_a_sample_without_a_name_is_called_one(model, patients):
    assert "<h2><bdi>sample 5</bdi></h2>" in explained(model, patients, samples=[5])._repr_html_()
    named = explained(model, patients, ids=[f"P-{number}" for number in range(7)], samples=[5])
    assert "<h2><bdi>P-5</bdi></h2>" in named._repr_html_()


def test_where_nothing_is_drawn_the_page_says_nothing_of_removed_parts(model, patients):
    drawn = replace(explained(model, patients), notes=())
    assert "What this cannot tell" in drawn._repr_html_()
    assert "removed" in drawn._repr_html_()
    page = replace(drawn, methods=())._repr_html_()
    assert "What this cannot tell" not in page
    assert "removed" not in page


def test_the_page_says_what_raises_the_answer_most_by_either_method(model, patients):
    explanation = explained(model, patients, samples=[0])
    methods = (*explanation.methods, MethodChoice("shapley", "explains", ()))
    target = f"<bdi>{explanation.target}</bdi>"
    for relevance, sentence in (
        (
            [[1, -9, 0, 2], [3, -9, 0, 2]],
            f"By occlusion, <bdi>=1+1</bdi> raises {target} most; by shapley, <bdi>height",
        ),
        ([[1, -9, 0, 2], [1, -9, 0, 3]], f"By both, <bdi>=1+1</bdi> raises {target} most."),
        ([[-1, -9, 0, 0], [0, -2, 0, 0]], f"By both, nothing raises {target} most."),
    ):
        table = explanation.table.drop_dims("by")
        table = table.assign(relevance=(("by", "sample", "key"), np.array(relevance)[:, None]))
        both = replace(explanation, methods=methods, table=table.assign(agreement=("sample", [0.5])))
        assert sentence in both._repr_html_()
    unsigned = replace(both, methods=(*explanation.methods, MethodChoice("raw", "descriptive only", ())))
    table = both.table.assign(relevance=(("by", "sample", "key"), np.array([[1, -9, 0, 2], [0, 2, 0, 1]])[:, None]))
    assert f"raises {target} most; by raw, <bdi>" in replace(unsigned, table=table)._repr_html_()
    assert " is the most relevant." in replace(unsigned, table=table)._repr_html_()


def test_the_row_of_the_others_is_a_sum_only_where_sums_mean_something():
    relevance = np.array([*np.linspace(4, 2, 12), 0.5, -0.75, 0.25])
    parts = SignedParts("features", [f"f{n}" for n in range(15)], [""] * 15, relevance)
    last = signed_bars(parts).split("<tr ")[-1]
    assert "the other 3 features" in last and "within ±0.750" in last and "<i" not in last and parts.reach == 4
    added = replace(parts, relevance=np.array([*relevance[:12], -1.5, -1.75, -1.25]), adds_up=True)
    last = signed_bars(added).split("<tr ")[-1]
    assert "\N{MINUS SIGN}4.50</td>" in last and "<i class=less" in last and added.reach == 5


def test_what_has_a_relevance_of_0_has_no_mark():
    parts = SignedParts("features", ["a", "b", "c"], [""] * 3, np.array([0.5, 0.0, -0.25]))
    assert [
        kind for _, kind in re.findall(r"<bdi>(.)</bdi>.*?<td class=track>(?:<i class=(\w+))?", signed_bars(parts))
    ] == [
        "more",
        "less",
        "",
    ]
    assert re.findall("<span class='([^']*)'", signed_words(parts)) == ["word more", "word", "word less"]
    assert re.findall(r"<rect class=(\w+)", signed_columns(parts)) == ["more", "less"]


def test_a_method_that_is_never_negative_has_bars_from_the_left_and_says_so(model, patients):
    explanation = explained(model, patients, samples=[0])
    table = explanation.table.drop_dims("by").assign(
        relevance=(("by", "sample", "key"), np.array([[[0.5, 0.25, 0.125, 0]]]))
    )
    page = replace(explanation, methods=(MethodChoice("chefer", "explains", ()),), table=table)._repr_html_()
    target = f"<bdi>{explanation.target}</bdi>"
    assert (
        "The longer the bar, the more relevant; the scale ends at 0.5. This method is never negative: it does not tell "
        f"features that raise {target} from those that lower it."
    ) in page
    assert re.findall(r"<i class=more style='([^']*)'", page) == [
        f"left:0.00%;width:{width}.00%" for width in (100, 50, 25)
    ]
    assert "lowers</span>" not in page and "When the most relevant features are removed" in page
    assert "lowers</span>" in explanation._repr_html_()


def forecast(loss):
    inputs = keras.Input((4,), name="past")
    model = keras.Model(inputs, layers.Dense(2, use_bias=False)(inputs))
    model.set_weights([np.concatenate([WEIGHTS, -2 * WEIGHTS], axis=1)])
    model.compile(loss=loss)
    return model


@pytest.mark.parametrize("loss", ["mse", keras.losses.Huber(), keras.losses.mean_absolute_error])
def test_of_several_numbers_none_is_a_decision_and_the_truth_is_a_number(patients, loss):
    model, right = forecast(loss), np.arange(7.0)
    explanation = explained(
        model, patients, classes=["in 1 h", "in 6 h"], target="in 6 h", truth=right, samples="most wrong"
    )
    table, said = explanation.table, (patients @ WEIGHTS)[:, 0] * -2
    assert explanation.ids == list(map(str, np.argsort(-abs(said - right), kind="stable")[:5]))
    assert "by_class" not in table
    assert explanation.target == "output 'in 6 h'"  # a horizon is no class
    np.testing.assert_allclose([float(word) for word in table["decision"].values], table["answer"], rtol=0.01)
    assert "✗" not in explanation._repr_html_()  # two numbers always differ


def test_of_several_scores_the_largest_is_the_decision(patients):
    model = forecast(keras.losses.CategoricalCrossentropy(from_logits=True))
    explanation = explained(model, patients, classes=["low", "high"], samples=[0])
    assert explanation.table["decision"].item() == ("high" if (patients @ WEIGHTS)[0, 0] < 0 else "low")
    assert ": 1 sample of features\n" in repr(explanation)
