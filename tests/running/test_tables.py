"""Data frames, and tables as a model takes them: columns by name, ids kept, and faults named by row and column."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from keras import layers

import attnscope as ats
from attnscope.errors import InputError
from attnscope.frames import is_frame, table_of
from attnscope.running import Network, arranged
from attnscope.tables import Column, Table

NAMES = ["age", "mass", "height"]


def dense(size=3, name="features", **options):
    """A model of one input."""
    inputs = keras.Input((size,), name=name, **options)
    return keras.Model(inputs, layers.Dense(2, activation="softmax", name="classes")(inputs), name="small")


def one_input_each(names=("mass", "age", "height"), attends=False):
    inputs = [keras.Input((1,), name=name) for name in names]
    x = layers.Concatenate()(inputs)
    if attends:
        x = layers.Dense(4)(layers.Reshape((len(names), 1))(x))
        x = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    outputs = layers.Dense(2, activation="softmax", name="classes")(layers.Flatten()(x))
    return keras.Model({one.name: one for one in inputs}, outputs, name="small")


def frame(**columns):
    numbers = {"age": [61, 47], "mass": [70.5, 82.0], "height": [1.7, 1.8]}
    return pd.DataFrame({**numbers, **columns}, index=pd.Index(["P-017", "P-020"], name="patient"))


def refused(inputs, model=None):
    with pytest.raises(InputError) as caught:
        Network(dense() if model is None else model, inputs)
    return str(caught.value)


def test_names_become_labels_and_the_index_becomes_ids(tmp_path):
    model = one_input_each(attends=True)
    given = frame(note=["a", "b"])[["note", "height", "age", "mass"]]
    maps = ats.capture(model, given)
    assert maps["mha"].key_label.values.tolist() == ["mass", "age", "height"]
    assert maps["mha"].sample_id.values.tolist() == ["P-017", "P-020"]
    assert maps.outputs.sample_id.values.tolist() == ["P-017", "P-020"]
    by_hand = {name: given[name].to_numpy("float32")[:, None] for name in NAMES}
    np.testing.assert_array_equal(maps["mha"].values, ats.capture(model, by_hand)["mha"].values)

    ats.capture(model, given, store=tmp_path / "run.zarr", batch_size=1)
    stored = ats.open(tmp_path / "run.zarr")
    assert stored["mha"].sample_id.values.tolist() == ["P-017", "P-020"]
    assert stored.outputs.sample_id.values.tolist() == ["P-017", "P-020"]
    with pytest.raises(InputError, match="2 samples that were captured from other inputs"):
        ats.capture(model, given.rename({"P-020": "P-021"}), store=tmp_path / "run.zarr", batch_size=1, resume=True)


def test_relevance_of_a_frame_knows_ids_and_names():
    model, given = dense(), frame()
    found = ats.attribute(model, given, target=1, method="occlusion")
    plain = ats.attribute(model, given.to_numpy("float32"), target=1, method="occlusion", labels=NAMES)
    xr.testing.assert_identical(found.drop_vars("sample_id"), plain)
    assert found[found.sample_id == "P-020"].values.tolist() == found.values[1:].tolist()


def test_columns_that_are_inputs_of_their_own_are_positions_like_those_of_one_input(rng):
    names = ["age", "height", "mass"]  # Keras sorts them
    model, given = (
        one_input_each(attends=True),
        pd.DataFrame(rng.normal(size=(5, 3)), columns=NAMES, index=list("vwxyz")),
    )
    columns = keras.Input((3,))
    by_hand = keras.Model(columns, model({name: columns[:, n : n + 1] for n, name in enumerate(names)}))
    nodes = len(model._inbound_nodes)
    for method in ("chefer", "integrated_gradients", "occlusion"):
        found = ats.attribute(model, given, target=1, method=method, sites="mha")
        expected = ats.attribute(by_hand, given[names].to_numpy("float32"), target=1, method=method).values
        assert len(np.unique(expected)) == expected.size
        np.testing.assert_allclose(found.values, expected, atol=1e-7)
        assert found.key_label.values.tolist() == names
        assert found.sample_id.values.tolist() == list("vwxyz")
    assert len(model._inbound_nodes) == nodes
    assert ats.attribute(model, given, target=1, method="occlusion", positions="age").key.size == 1


def test_another_model_with_an_input_for_each_column_is_compared_in_the_same_form(rng):
    given = pd.DataFrame(rng.normal(size=(12, 3)), columns=NAMES)
    model, other = one_input_each(), one_input_each()
    card = ats.evidence(model, given, target=1, methods=["gradient_x_input"], models=[other], permutations=0)
    assert list(card.stability) == ["gradient_x_input"]
    assert card.kind == "features"


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        ([0, 1], None),
        ([1, 0], [1, 0]),
        ([512, 17], [512, 17]),
        (["a", "b"], ["a", "b"]),
        (pd.MultiIndex.from_tuples([("ward", 1), ("ward", 2)]), ["ward / 1", "ward / 2"]),
    ],
)
def test_an_index_that_only_numbers_the_rows_is_none(index, ids):
    table = table_of(frame().set_axis(index))
    assert (None if table.ids is None else table.ids.tolist()) == ids


def test_a_space_in_a_column_s_name_counts_as_an_underscore_where_only_one_is_meant():
    columns = {"body mass": [70.5, 82.0], "age": [61.0, 47.0], "mean height": [1.7, 1.8]}
    table = table_of(pd.DataFrame(columns))
    model = one_input_each(("age", "body_mass", "mean_height"))
    ready = arranged(table, model)
    assert {name: cells[:, 0].tolist() for name, cells in ready.inputs.items()} == {
        "age": columns["age"],
        "body_mass": columns["body mass"],
        "mean_height": columns["mean height"],
    }
    assert [label.names for label in ready.labels] == [["age"], ["body mass"], ["mean height"]]
    note = (
        "The columns of the DataFrame are matched with those of the model by name, in which a space counts as an "
        "underscore ('body mass' for 'body_mass', and 1 more)."
    )
    assert ready.note == note
    one = dense()
    one.feature_names = ["age", "body_mass", "mean_height"]
    ready = arranged(table, one)
    np.testing.assert_array_equal(ready.inputs, np.stack([columns[n] for n in ("age", "body mass", "mean height")], 1))
    assert ready.note == note

    twice = pd.DataFrame({**columns, "body  mass": [1.0, 2.0]})
    assert refused(twice, model) == (
        "The model has an input for each column, but the DataFrame has none for 'body_mass'; its columns are "
        "'body mass', 'age', 'mean height', 'body  mass'. Is 'body mass' meant? Give the columns the names of the "
        "model's inputs."
    )


def test_a_model_that_carries_names_is_given_its_columns_in_its_order():
    model = dense()
    model.feature_names = ["height", "age", "mass"]
    ready = arranged(table_of(frame(note=["a", "b"])), model)
    assert ready.inputs.tolist() == [[1.7, 61, 70.5], [1.8, 47, 82]]
    assert ready.note == (
        "The columns of the DataFrame are matched with those of the model by name. It does not read 'note'."
    )


@pytest.mark.parametrize(
    "column",
    [
        np.array([1, 2], dtype=object),
        pd.array([1, 2], dtype="Int64"),
        pd.array([True, False], dtype="boolean"),
        np.array([True, False]),
        np.array([1, 2], dtype="uint8"),
        np.array([1.5, 2], dtype="float16"),
    ],
    ids=["objects", "Int64", "boolean", "bool", "uint8", "float16"],
)
def test_numbers_of_every_kind_are_numbers(column):
    values = Network(dense(), frame(age=column)).inputs
    assert values[:, 0].tolist() == [float(number) for number in column]
    assert values.dtype == "float32"


def test_whole_numbers_stay_whole_for_a_model_of_codes():
    model = dense(dtype="int32")
    given = Network(model, frame().astype("int64")).inputs
    assert (given.dtype.kind, given.tolist()) == ("i", [[61, 70, 1], [47, 82, 1]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            frame(mass=[70.5, None]),
            "1 cell of the DataFrame is missing: 'mass' in row 1 (patient 'P-020'). A model needs all of them: fill "
            "them in as for training: frame.fillna(...); or leave these samples out: frame.dropna().",
        ),
        (
            frame(mass=pd.array([None, 7], dtype="Int64"), age=[None, None]),
            "3 cells of the DataFrame are missing: 'age' in row 0 (patient 'P-017'), 'mass' in row 0 (patient 'P-017') "
            "and 'age' in row 1 (patient 'P-020'). A model needs all of them: fill them in as for training: "
            "frame.fillna(...); or leave these samples out: frame.dropna().",
        ),
        (
            frame(mass=pd.Categorical(["low", "high"])),
            "The column 'mass' of the DataFrame holds categories, but the model reads numbers. Turn them into numbers "
            "as for training, such as frame['mass'].cat.codes.",
        ),
        (
            frame(mass=pd.to_datetime(["2026-01-01", "2026-01-02"]).astype("datetime64[ns]")),
            "The column 'mass' of the DataFrame holds dates or times (datetime64[ns]), but the model reads numbers. "
            "Turn them into numbers as for training.",
        ),
        (
            frame(mass=[70.5, "heavy"]),
            "The column 'mass' of the DataFrame contains 'heavy' in row 1 (patient 'P-020'), but the model reads "
            "numbers. Turn it into numbers as for training.",
        ),
        (
            frame(mass=["70.5", "82"]),
            "The column 'mass' of the DataFrame contains '70.5' in row 0 (patient 'P-017') (a number that is written "
            "as text), but the model reads numbers. Turn it into numbers as for training.",
        ),
        (
            frame(bmi=[22, 25]),
            "The DataFrame has 4 columns for the model, 'age', 'mass', 'height', 'bmi', but the model takes 'features' "
            "(None, 3) float32. Choose those that it reads, in its order, such as frame[['age', 'mass', 'height']]. A "
            "column of ids belongs into the index: frame.set_index(name).",
        ),
        (
            frame()[["age", "mass"]],
            "The DataFrame has 2 columns for the model, 'age', 'mass', but the model takes 'features' (None, 3) "
            "float32. Give all that the model was trained on, in its order.",
        ),
        (
            frame()[["age", "mass", "age"]],
            "The DataFrame has the column 'age' more than once, so nothing says which is meant. Rename or remove one.",
        ),
        (
            pd.concat([frame(), frame()]),
            "The index of the DataFrame has the id 'P-017' in row 0 and row 2, and others more than once, but each "
            "sample needs an id of its own. If the index only numbers the rows: frame.reset_index(drop=True).",
        ),
        (frame().iloc[:0], "The DataFrame has no row, but one per sample is needed."),
        (frame()[[]], "The DataFrame has 0 columns for the model, but the model takes 'features' (None, 3) float32. "
         "Give all that the model was trained on, in its order."),
    ],
)  # fmt: skip
def test_a_fault_of_a_frame_is_named_with_its_ways_out(given, message):
    assert refused(given) == message


def test_columns_that_a_model_with_one_input_each_lacks_are_named():
    assert refused(frame().rename(columns={"mass": "weight"}), one_input_each()) == (
        "The model has an input for each column, but the DataFrame has none for 'mass'; its columns are 'age', "
        "'weight', 'height'. Give the columns the names of the model's inputs."
    )


def test_a_table_is_not_split_among_inputs_that_read_several_columns():
    inputs = [keras.Input((2,), name="numbers"), keras.Input((1,), name="age")]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(inputs)))
    assert refused(frame(), model) == (
        "The DataFrame has one cell per column, but the model takes 2 inputs, and 'numbers' (None, 2) float32 is more "
        "than one column. Give an array for each input, by its name: numpy.savez('samples.npz', name=array)."
    )


def test_a_model_of_sequences_takes_no_table():
    inputs = keras.Input((5, 2), name="steps")
    assert refused(frame(), keras.Model(inputs, layers.Flatten()(inputs))) == (
        "The DataFrame has one cell per sample and column, but the model takes 'steps' (None, 5, 2) float32. Give an "
        "array with these axes: numpy.save('samples.npy', array)."
    )


def test_a_series_of_texts_is_a_table_of_one_column_and_one_of_numbers_is_not():
    texts = pd.Series(["the film", "was good"], index=["a", "b"], name="text")
    table = table_of(texts)
    assert table.texts_of(table.columns[0]).tolist() == ["the film", "was good"]
    assert table.ids.tolist() == ["a", "b"]
    with pytest.raises(InputError) as caught:
        table_of(pd.Series(["a", None])).texts_of(table_of(pd.Series(["a", None])).columns[0])
    assert str(caught.value) == (
        "The column '0' of the Series has no text in row 1. Leave these samples out: frame.dropna()."
    )
    assert not is_frame(pd.Series([1.0, 2.0]))


def test_a_polars_frame_is_known_by_its_columns(monkeypatch):
    """Polars need not be there: a frame of its kind is one with named columns that become arrays."""

    class Series:
        def __init__(self, values, dtype):
            self.values, self.dtype = values, dtype

        def to_numpy(self):
            return self.values

    class DataFrame:
        columns = ("age", "mass", "height", "ward")

        def get_column(self, name):
            kinds = {"age": "Int64", "ward": "Categorical"}
            values = {"ward": np.array(["a", "b"], dtype=object)}
            return Series(values.get(name, np.arange(2) + len(name)), kinds.get(name, "Float64"))

        def __len__(self):
            return 2

    module = type("polars", (), {"DataFrame": DataFrame})
    monkeypatch.setitem(__import__("sys").modules, "polars", module)
    table = table_of(DataFrame())
    assert table.select(["mass", "age"]).values.tolist() == [[4, 3], [5, 4]]
    with pytest.raises(InputError, match=r"^The column 'ward' of the Polars DataFrame holds categories, but"):
        table.numbers_of(table.column("ward"))
    with pytest.raises(
        InputError, match=r"Turn them into numbers as for training, such as frame\['ward'\].to_physical"
    ):
        table.numbers_of(table.column("ward"))


def test_some_samples_of_a_table_keep_their_lines_and_ids():
    numbers = np.array([1.0, 2.0, 3.0])
    texts = np.array(["a", "b", "c"], dtype=object)
    table = Table(
        (Column("x", numbers, numbers, np.array([], int)), Column("y", texts, numbers, np.array([1]), why="because")),
        "'t.csv'",
        3,
        ids=np.array(["i", "j", "k"]),
        truth=np.array([0, 1, 1]),
        lines=np.array([2, 4, 7]),
    )
    some = table.rows([2, 1])
    assert (some.ids.tolist(), some.truth.tolist(), some.lines.tolist()) == (["k", "j"], [1, 1], [7, 4])
    assert some.columns[0].numbers.tolist() == [3, 2]
    assert (some.columns[1].odd.tolist(), some.columns[1].why) == ([1], "because")
    assert table.rows(np.array([True, False, True])).columns[1].is_numeric
    assert some.place(0) == "line 7 (id 'k')"
    assert table.numbers_of_ids(["k", "i"]) == [2, 0]
    with pytest.raises(InputError) as caught:
        table.numbers_of_ids(["kk"])
    assert str(caught.value) == ("'t.csv' has no sample with the id 'kk'; its ids are 'i', 'j', 'k'. Is 'k' meant?")


class Task:
    """What is asked of a KerasHub task: whether it makes its own tokens."""

    preprocessor = object()


def test_a_task_reads_a_column_of_texts_or_a_pair():
    texts = pd.DataFrame({"first": ["the film", "was"], "second": ["was good", ""]})
    assert arranged(table_of(texts[["first"]]), Task()).inputs.tolist() == ["the film", "was"]
    with pytest.raises(InputError) as caught:
        arranged(table_of(texts), Task())
    assert str(caught.value) == (
        "The column 'second' of the DataFrame has no text in row 1. Leave these samples out: frame.dropna()."
    )
    kept = arranged(replace(table_of(texts), drops_missing=True), Task())
    assert [part.tolist() for part in kept.inputs] == [["the film"], ["was good"]]
    assert kept.note == "Left out because of missing cells: row 1. 1 of 2 samples are left."
    with pytest.raises(InputError) as caught:
        arranged(table_of(texts.assign(third="x")), Task())
    assert str(caught.value) == (
        "The DataFrame has 3 columns, 'first', 'second', 'third', but the model reads one text per sample, or a pair. "
        "Choose it: frame[['first']]."
    )


def test_texts_and_numbers_go_to_the_inputs_that_read_them():
    ward, age = keras.Input((1,), dtype="string", name="ward"), keras.Input((), name="age")
    model = keras.Model([age, ward], [layers.Identity()(age), layers.Identity()(ward)])
    given = pd.DataFrame({"ward": ["NA", "north", None], "age": [61, None, 35]})
    with pytest.raises(InputError, match=r"^1 cell of the DataFrame is missing: 'age' in row 1"):
        arranged(table_of(given), model)
    with pytest.raises(InputError, match=r"^The column 'ward' of the DataFrame has no text in row 1"):
        arranged(table_of(given.iloc[[0, 2]].reset_index(drop=True)), model)
    ready = arranged(replace(table_of(given), drops_missing=True), model)
    assert {name: array.tolist() for name, array in ready.inputs.items()} == {"age": [61], "ward": [["NA"]]}
    text = keras.Model(ward, layers.Identity()(ward))
    assert arranged(table_of(given.iloc[:2]), text).inputs.tolist() == ["NA", "north"]


def test_whole_numbers_as_ids_stay_whole_and_texts_stay_texts():
    table = table_of(pd.DataFrame({"id": pd.array([7, 9], dtype="Int64"), "a": [1, 2]})).with_ids("id")
    assert table.ids.tolist() == [7, 9]
    table = table_of(pd.DataFrame({"id": [" 007", "NA"], "a": [1, 2]})).with_ids("id")
    assert table.ids.tolist() == ["007", "NA"]
    with pytest.raises(InputError) as caught:
        table_of(pd.DataFrame({"id": ["x", None]})).with_ids("id")
    assert str(caught.value) == (
        "The column 'id' of the DataFrame has no id in row 1. Each sample needs one of its own."
    )
    with pytest.raises(InputError) as caught:
        table_of(pd.DataFrame({"a": [1, 2]})).numbers_of_ids(["x"])
    assert str(caught.value) == (
        "The DataFrame has no ids, so samples can only be given by number. Name them: frame.set_index(name)."
    )


def test_a_column_of_texts_lends_its_names_to_no_other():
    pytest.importorskip("tensorflow", reason="StringLookup needs it on every backend")
    ward, age = keras.Input((1,), dtype="string", name="ward"), keras.Input((1,), name="age")
    found = layers.Flatten()(layers.Embedding(4, 2)(layers.StringLookup(vocabulary=["north", "south"])(ward)))
    model = keras.Model([ward, age], layers.Dense(2)(layers.Concatenate()([found, age])))
    given = pd.DataFrame({"age": [61, 35, 40], "ward": ["north", "south", "north"]}, index=["x", "y", "z"])
    for name in ("age", "ward"):
        relevance = ats.attribute(model, given, target=1, method="occlusion", positions=name)
        assert relevance.key_label.values.tolist() == [name]
        assert relevance.sample_id.values.tolist() == ["x", "y", "z"]
