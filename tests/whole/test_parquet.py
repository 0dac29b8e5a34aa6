"""Tables in Parquet, written by pandas and by pyarrow, as every command reads them."""

import csv
import json

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from keras import layers

import attnscope as ats
from attnscope.cli import main
from attnscope.errors import InputError
from attnscope.files import read_inputs

COUNT = 7
IDS = [f"P-{number:03d}" for number in range(COUNT)]
READ = ("--id-column", "patient", "--truth", "diagnosis", "--columns", "mass,age,height")
CLASSES = ("--classes", "benign,malignant", "--target", "malignant")


@pytest.fixture
def frame(tmp_path, monkeypatch, rng):
    """Patients, with columns in another order than the model's."""
    monkeypatch.chdir(tmp_path)
    return pd.DataFrame(
        {
            "patient": IDS,
            "height": rng.normal(1.7, 0.1, COUNT).astype("float32"),
            "diagnosis": ["malignant", "benign"] * 3 + ["benign"],
            "mass": rng.normal(70, 9, COUNT),
            "age": rng.integers(20, 90, COUNT),
        }
    )


def expected(frame):
    return frame[["mass", "age", "height"]].to_numpy("float64")


def read(frame, columns="mass,age,height", **options):
    frame.to_parquet("t.parquet")
    return read_inputs("t.parquet", columns=columns, **options)


@pytest.mark.parametrize(
    "changed",
    [
        lambda frame: frame,
        lambda frame: frame.astype({"age": "Int64", "height": "Float32"}),
        lambda frame: frame.astype({"patient": "category", "diagnosis": "category"}),
        lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
        lambda frame: frame.assign(seen=pd.Timestamp("2026-11-28"), lists=[[1, 2]] * COUNT),
        lambda frame: frame.set_axis(pd.Index(range(5, 5 + COUNT), name="row")),
    ],
    ids=["plain", "nullable", "categories", "arrow", "unread", "index"],
)
def test_a_frame_of_any_types_comes_back(frame, changed):
    table = read(changed(frame), id_column="patient", truth="diagnosis")
    np.testing.assert_array_equal(table.values, expected(frame))
    assert table.ids.tolist() == IDS
    assert table.truth.tolist() == frame["diagnosis"].tolist()


def test_an_index_that_does_not_number_the_rows_becomes_the_ids(frame):
    table = read(frame.set_index("patient"), truth="diagnosis")
    assert (table.ids.tolist(), table.id_name) == (IDS, "patient")
    assert read(frame.iloc[[4, 2]], truth="diagnosis").ids.tolist() == [4, 2]


def test_columns_that_pyarrow_writes_are_read(frame):
    columns = {
        "patient": pa.array(IDS).dictionary_encode(),
        "mass": pa.array(frame["mass"], pa.float32()),
        "age": pa.array(frame["age"], pa.int8()),
        "dose": pa.array(range(COUNT)).cast(pa.decimal128(21, 2)),
    }
    pyarrow.parquet.write_table(pa.table(columns), "t.parquet")
    table = read_inputs("t.parquet", id_column="patient")
    np.testing.assert_array_equal(table.values[:, 0], frame["mass"].astype("float32"))
    assert table.values[:, 1:].tolist() == [[age, dose] for dose, age in enumerate(frame["age"].tolist())]
    assert table.ids.tolist() == IDS


def test_true_false_and_missing_are_numbers_and_missing(frame):
    frame["smokes"] = [True, False] * 3 + [False]
    assert read(frame, "smokes").values[:, 0].tolist() == frame["smokes"].astype(float).tolist()
    frame = frame.astype({"smokes": "boolean", "age": "Int64", "diagnosis": object})
    frame.loc[2, ["smokes", "age", "diagnosis"]] = [pd.NA, pd.NA, None]
    table = read(frame, "smokes,age", id_column="patient", truth="diagnosis")
    assert table.truth.tolist()[1:4] == ["benign", "", "benign"]
    with pytest.raises(InputError) as caught:
        _ = table.values
    assert str(caught.value) == (
        "2 cells of 't.parquet' are missing: 'smokes' in row 2 (patient 'P-002') and 'age' in row 2 (patient 'P-002'). "
        "A model needs all of them: fill them in as for training; leave these samples out: --drop-missing; or leave "
        "the columns out."
    )


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (
            pd.Categorical(["north"] * COUNT),
            "holds categories, but the model reads numbers. Turn them into numbers as for training, such as "
            "frame['ward'].cat.codes, or leave the column out: --columns mass.",
        ),
        (
            pd.date_range("2026-11-28", periods=COUNT, unit="us"),
            "holds dates or times (datetime64[us]), but the model reads numbers. Turn them into numbers as for "
            "training, or leave the column out: --columns mass.",
        ),
    ],
    ids=["category", "time"],
)
def test_columns_that_are_no_numbers_are_named(frame, column, problem):
    with pytest.raises(InputError) as caught:
        _ = read(frame.assign(ward=column), "mass,ward").values
    assert str(caught.value) == f"The column 'ward' of 't.parquet' {problem}"


def test_a_file_that_is_none_is_said_to_be_none(frame, tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing behind it")
    with pytest.raises(InputError, match=r"^'t.parquet' cannot be read as a Parquet file: .* Write it again: "):
        read_inputs("t.parquet")
    with pytest.raises(InputError, match=r"^'t.parquet' has no row, but one per sample is needed\.$"):
        read(frame.iloc[:0])


def test_every_command_gives_what_it_gives_for_a_table_in_text(frame, tmp_path, capsys):
    inputs = keras.Input((3,), name="features")
    x = layers.Reshape((3, 1))(layers.Rescaling(0.01)(inputs))
    x = layers.Flatten()(layers.MultiHeadAttention(2, 4, name="mha")(x, x))
    keras.Model(inputs, layers.Dense(2, activation="softmax")(x), name="small").save("model.keras")
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)
    written = {}
    for table in ("t.parquet", "t.csv"):
        given, force = ("model.keras", table, *READ), ("--force",)
        for command, options in (
            ("inspect", ()),
            ("capture", ("-o", "run.zarr", *force)),
            ("attribute", (*CLASSES, "--method", "occlusion", "--samples", "P-004,P-001", "-o", "r.csv", *force)),
            ("explain", (*CLASSES, "--untested", "--method", "occlusion", "-o", "e.csv", *force)),
        ):
            assert main([command, *given, *options]) == 0, capsys.readouterr().err
        maps = ats.open("run.zarr")
        texts = [(tmp_path / name).read_text("utf-8") for name in ("r.csv", "e.csv")]
        written[table] = (maps["mha"].values, maps["mha"].sample_id.values.tolist(), *texts)
    options = (*CLASSES, "--methods", "occlusion", "--seed", "3", "-o", "card.json")
    assert main(["evidence", "model.keras", "t.parquet", *READ, *options]) == 0
    assert json.loads((tmp_path / "card.json").read_text("utf-8"))["samples"] == COUNT
    for one, other in zip(*written.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    rows = list(csv.DictReader(written["t.parquet"][3].splitlines()))
    assert [row["value"] for row in rows[:3]] == [
        str(np.float32(cell)) for cell in expected(frame)[0].tolist()
    ]  # as few digits as float32 needs
