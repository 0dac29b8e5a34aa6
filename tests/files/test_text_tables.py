"""Tables as people have them: every fault is named by line and column."""

import numpy as np
import pandas as pd
import pytest

from attnscope.errors import InputError, LabelError, NotInstalledError
from attnscope.files import read_inputs

TABLE = (
    "patient,age,diagnosis,mass,height\nP-017,61,malignant,70.5,1.7\nP-020,47,benign,82,1.8\nP-031,35,benign,64,1.6\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a table of patients."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patients.csv").write_text(TABLE)
    return tmp_path


def read(folder, content, **options):
    (folder / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_inputs("t.csv", **options)


@pytest.mark.parametrize(
    "content",
    [
        "a,b,c\n1.5,2,-3\n40,50,1200.5\n",
        "a, b, c\r\n1.5, 2, -3\r\n\r\n40, 50, 1200.5\r\n",
        "a;b;c\n1,5;2;-3\n40;50;1200,5\n",
        "a;b;c\n1,5;2;-3\n40;50;1.200,5\n",
        "a\tb\tc\n1,5\t2\t-3\n40\t50\t1200,5\n",
        'a,b,c\n"1,5",2,-3\n40,50,"1200,5"\n',
        "\ufeffa,b,c\n1.5,2,\N{MINUS SIGN}3\n40,5e1,1200.5\n",
        "a,b,c,\n1.5,2,-3,\n40,50,1200.5,\n,,,\n",
        "a\tb\tc\n1.5\t2\t-3\n40\t50\t1200.5\n".encode("utf-16"),
        '"a";"b";"c"\n"1.5";"2";"-3"\n"40";"50";"1200.5"\n',
    ],
    ids=["plain", "windows", "german", "thousands", "tabs", "quoted", "marked", "trailing", "utf-16", "all quoted"],
)
def test_what_separates_cells_and_decimals_is_told_by_what_is_there(folder, content):
    table = read(folder, content)
    assert table.names == ["a", "b", "c"]
    assert table.values.tolist() == [[1.5, 2, -3], [40, 50, 1200.5]]


def test_a_first_line_holds_names_if_it_holds_no_number_or_text_above_numbers_or_what_is_asked_for(folder):
    assert not read(folder, "1,2\n3,4\n").has_names
    assert not read(folder, "P-1,2\nP-2,4\n").has_names
    assert read(folder, "a,2020\n3,4\n").names == ["a", "2020"]
    assert read(folder, "id,2020\nx,4\n", id_column="id").values.tolist() == [[4]]
    assert read(folder, "text\nthe film\n").names == ["text"]


def test_a_first_column_without_a_name_is_the_index_that_pandas_writes(folder):
    pd.DataFrame({"a": [1, 2]}, index=["x", "y"]).to_csv("t.csv")
    table = read_inputs("t.csv")
    assert (table.names, table.ids.tolist()) == (["a"], ["x", "y"])


def test_columns_ids_and_truth_are_taken_by_name(folder):
    table = read_inputs("patients.csv", id_column="patient", truth="diagnosis", columns="height,age")
    assert table.values.tolist() == [[1.7, 61], [1.8, 47], [1.6, 35]]
    assert table.ids.tolist() == ["P-017", "P-020", "P-031"]
    assert table.truth.tolist() == ["malignant", "benign", "benign"]
    (folder / "columns.txt").write_text("height\nage\n")
    assert read_inputs("patients.csv", columns="columns.txt").names == ["height", "age"]
    assert read(folder, "a,y\n1,0\n2,1\n", truth="y").truth.tolist() == [0, 1]


def test_ids_keep_their_zeros_and_missing_words_are_texts_among_texts(folder):
    table = read(folder, "id,ward,a\n007,NA,1\n008,north,2\n", id_column="id")
    assert table.ids.tolist() == ["007", "008"]
    assert table.texts_of(table.column("ward")).tolist() == ["NA", "north"]


def test_words_for_true_and_false_are_numbers_where_a_column_holds_nothing_else(folder):
    assert read(folder, "a,b\ntrue,1\nFalse,2\n").values.tolist() == [[1, 1], [0, 2]]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "'t.csv' is empty, but a line of names and one line per sample are needed."),
        ("a,b\n", {}, "'t.csv' has no line of numbers, but one per sample is needed: 5.1,3.5,1.4"),
        (
            "1,2\n3\n",
            {},
            "Line 2 of 't.csv' has 1 columns, but the lines before it have 2. All lines need the same number.",
        ),
        (
            'a,b\n1,"2\n3,4\n',
            {},
            "Line 2 of 't.csv' cannot be split into cells: unexpected end of data. Quotes around a cell need a "
            'partner, and a quote inside of them is written twice: "5"" tall".',
        ),
        (
            "größe,b\n1,2\n".encode("latin1"),
            {},
            "'t.csv' is no text in UTF-8: line 1 contains the byte 0xf6. Save it as \"CSV UTF-8\", or turn it into "
            "that: iconv -f latin1 -t utf-8.",
        ),
        (
            "0,1,2,3\n5,6,7,8\n",
            {},
            "The first line of 't.csv' is 0,1,2,..., so it may number the columns, as pandas does where they have no "
            "names, or be a sample. Write names into it, or remove it.",
        ),
        (
            "a,b\n1,2\n",
            {"columns": "a,mass"},
            "'t.csv' has no column 'mass'; its columns are 'a', 'b'.",
        ),
        (
            "patient,b\nx,2\n",
            {"id_column": "patients"},
            "'t.csv' has no column 'patients'; its columns are 'patient', 'b'. Is 'patient' meant?",
        ),
        (
            "a,b\n1,2\n",
            {"truth": "a", "columns": "a,b"},
            "The column 'a' of 't.csv' says what is right, so the model cannot read it too. Leave it out of one of the "
            "two.",
        ),
        (
            "1,2\n3,4\n",
            {"id_column": "patient"},
            "'t.csv' has no line of names, so the column of ids 'patient' cannot be found: its first line is '1,2'. "
            "Write the names of the columns into it.",
        ),
        (
            "1,2\n3,4\n",
            {"truth": "y"},
            "'t.csv' has no line of names, so the column of what is right 'y' cannot be found: its first line is "
            "'1,2'. Write the names of the columns into it.",
        ),
        (
            "a,b,a\n1,2,3\n",
            {"columns": "a,b"},
            "'t.csv' has 2 columns called 'a', so nothing says which is meant. Rename one of them.",
        ),
        (
            "id,a\nx,1\ny,2\nx,3\n",
            {"id_column": "id"},
            "The column 'id' of 't.csv' has the id 'x' in line 2 and line 4, but each sample needs an id of its own.",
        ),
        (
            "id,a\nx,1\n ,2\n",
            {"id_column": "id"},
            "The column 'id' of 't.csv' has no id in line 3. Each sample needs one of its own.",
        ),
        (
            ",a\n0,1\n0,2\n",
            {},
            "The first column of 't.csv', which has no name, has the id 0 in line 2 and line 3, but each sample needs "
            "an id of its own.",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_line(folder, content, options, message):
    with pytest.raises(InputError) as caught:
        read(folder, content, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\n1,2\n3,x\n",
            "The column 'b' of 't.csv' contains 'x' in line 3, but the model reads numbers. Turn it into numbers as "
            "for training, or leave the column out: --columns a. A column of ids is named by --id-column, and one of "
            "what is right by --truth.",
        ),
        (
            'a,b\n"1,250",2\n3,4\n',
            "The column 'a' of 't.csv' contains '1,250' in line 2 (it may be 1250 or 1.250), but the model reads "
            "numbers. Write numbers with a decimal point and no other separator, or leave the column out: --columns b.",
        ),
        (
            "a;b\n1.250;2,5\n3;4\n",
            "The column 'a' of 't.csv' contains '1.250' in line 2 (with decimal commas beside it, it may be 1250 or "
            "1.250), but the model reads numbers. Write numbers with a decimal point and no other separator, or leave "
            "the column out: --columns b.",
        ),
        (
            'a,b\n"1,250,000",2\n',
            "The column 'a' of 't.csv' contains '1,250,000' in line 2 (a number needs no separators of thousands), but "
            "the model reads numbers. Write numbers with a decimal point and no other separator, or leave the column "
            "out: --columns b.",
        ),
        (
            "a,b\n1,NA\n,?\n3,4\n",
            "3 cells of 't.csv' are missing: 'b' in line 2, 'a' in line 3 and 'b' in line 3. A model needs all of "
            "them: fill them in as for training; leave these samples out: --drop-missing; or leave the columns out.",
        ),
        (
            "a,a\n1,2\n",
            "'t.csv' has the column 'a' more than once, so nothing says which is meant. Rename or remove one.",
        ),
    ],
)
def test_a_cell_that_is_no_number_is_named(folder, content, message):
    table = read(folder, content)
    with pytest.raises(InputError) as caught:
        _ = table.values
    assert str(caught.value) == message


def test_options_of_tables_are_for_tables(folder):
    np.save("a.npy", np.ones((2, 3)))
    with pytest.raises(InputError) as caught:
        read_inputs("a.npy", id_column="id", columns="a,b,c")
    assert str(caught.value) == (
        "--id-column, --columns are for tables, but 'a.npy' is none. Give a .csv, .tsv or .parquet file, or an .npz "
        "file "
        "with an array for each: numpy.savez('samples.npz', inputs=array, ids=ids)."
    )
    with pytest.raises(LabelError) as caught:
        read_inputs("patients.csv", columns="")
    assert str(caught.value) == (
        "The columns are '', but names are needed: --columns a,b,c, or a file with one name per line."
    )


def test_parquet_is_read_where_something_reads_it(folder, monkeypatch):
    (folder / "t.parquet").write_bytes(b"PAR1")

    def missing(path):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(NotInstalledError) as caught:
        read_inputs("t.parquet")
    assert str(caught.value) == (
        "'t.parquet' is a Parquet file, and nothing that reads one is installed. Install it: pip install "
        "attnscope[tables]; or save the table as .csv."
    )

    def broken(path):
        raise ValueError("no magic bytes at its end.\nmore")

    monkeypatch.setattr(pd, "read_parquet", broken)
    with pytest.raises(InputError) as caught:
        read_inputs("t.parquet")
    assert str(caught.value) == (
        "'t.parquet' cannot be read as a Parquet file: no magic bytes at its end. Write it again: "
        "frame.to_parquet(path)."
    )
    monkeypatch.setattr(pd, "read_parquet", lambda path: pd.DataFrame({"id": ["x", "y"], "a": [1.0, None]}))
    table = read_inputs("t.parquet", id_column="id")
    assert table.ids.tolist() == ["x", "y"]
    with pytest.raises(InputError) as caught:
        _ = table.values
    assert str(caught.value) == (
        "1 cell of 't.parquet' is missing: 'a' in row 1 (id 'y'). A model needs all of them: fill them in as for "
        "training; leave these samples out: --drop-missing; or leave the columns out."
    )
