"""`attnscope explain`, from a table to a page, by the command line alone."""

import csv
import json
import re

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats
from attnscope.cli import main

READ = ("--id-column", "patient", "--truth", "diagnosis", "--classes", "benign,malignant")
UNTESTED = ("--untested", "--method", "occlusion")


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A folder with a model of three columns and a table of patients."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((3,), name="features")
    keras.Model(inputs, layers.Dense(1, activation="sigmoid")(inputs), name="small").save("model.keras")
    rows = [
        f"P-{place:03d},{'malignant' if row[0] > 0 else 'benign'},{','.join(f'{cell:.3f}' for cell in row)}"
        for place, row in enumerate(rng.normal(size=(8, 3)))
    ]
    (tmp_path / "patients.csv").write_text("\n".join(["patient,diagnosis,mass,age,height", *rows]))
    return tmp_path


def explain(*options):
    return main(["explain", "model.keras", "patients.csv", *READ, *options])


def test_a_page_of_the_patients_that_are_asked_for(folder, capsys):
    assert explain("--samples", "P-004,P-001", "--target", "malignant", *UNTESTED, "-o", "page.html") == 0
    said = capsys.readouterr().out
    assert said.endswith("Written to page.html.\n")
    assert "This must not be used for a decision yet: whether occlusion explains this model was not tested." in said
    page = (folder / "page.html").read_text("utf-8")
    assert page.index("P-004") < page.index("P-001")
    assert "P-002" not in page
    assert "<td class=name><bdi>mass</bdi></td>" in page


def test_numbers_are_those_of_the_function(folder):
    assert explain("--samples", "most wrong", *UNTESTED, "-o", "e.json") == 0
    assert explain("--samples", "most wrong", *UNTESTED, "-o", "e.csv") == 0
    content = json.loads((folder / "e.json").read_text("utf-8"))
    table = list(csv.DictReader((folder / "patients.csv").read_text().splitlines()))
    values = np.array([[float(row[name]) for name in ("mass", "age", "height")] for row in table], "float32")
    explanation = ats.explain(
        keras.models.load_model("model.keras"),
        values,
        classes=["benign", "malignant"],
        truth=[row["diagnosis"] for row in table],
        samples="most wrong",
        card=False,
        method="occlusion",
    )
    assert [sample["id"] for sample in content["samples"]] == [f"P-00{name}" for name in explanation.ids]
    written = [[place["occlusion"] for place in sample["positions"]] for sample in content["samples"]]
    np.testing.assert_allclose(written, explanation.table["relevance"][0], atol=1e-6)
    rows = list(csv.DictReader((folder / "e.csv").read_text("utf-8").splitlines()))
    np.testing.assert_allclose([float(row["occlusion"]) for row in rows], np.ravel(written), atol=1e-6)
    assert {row["truth"] for row in rows} <= {"benign", "malignant"}


def test_a_figure_has_a_page_for_each_patient(folder, capsys):
    assert explain("--samples", "P-004,P-001", *UNTESTED, "-o", "figure.pdf") == 0
    assert len(re.findall(rb"/Type /Page\b", (folder / "figure.pdf").read_bytes())) == 2
    capsys.readouterr()
    assert explain("--untested", "-o", "figure.png") == 2
    assert capsys.readouterr().err == (
        "attnscope: --untested tests no method, so no verdict chooses the one that is drawn. Name it, --method "
        "occlusion, or leave --untested out.\n"
    )
    assert not (folder / "figure.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--samples", "P-099", "-o", "p.html"), "P-099"),
        (("-o", "p.docx"), "The file is 'p.docx', but its name has to end in .html, .json, .csv, .png, .svg or .pdf"),
        (("--method", "oclusion", "-o", "p.html"), "'occlusion'"),
    ],
)
def test_what_does_not_fit_is_said_without_a_traceback(folder, capsys, options, message):
    assert explain("--untested", "--method", "occlusion", *options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert "Traceback" not in said.err
    assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "patients.csv"]


def test_a_page_is_not_replaced_unless_asked(folder, capsys):
    (folder / "page.html").write_text("mine")
    assert explain(*UNTESTED, "-o", "page.html") == 2
    assert (folder / "page.html").read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert explain(*UNTESTED, "--force", "-o", "page.html") == 0
    assert (folder / "page.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("command", ["attribute", "evidence", "explain"])
def test_a_wrong_suffix_is_refused_before_the_model_is_loaded(folder, capsys, command):
    target = ("--target", "0") if command == "attribute" else ()
    assert main([command, "missing.keras", "patients.csv", *READ, *target, "-o", "page.docx"]) == 2
    assert "The file is 'page.docx', but its name has to end in " in capsys.readouterr().err


def test_a_truth_that_is_no_class_names_the_options(folder, capsys):
    assert explain(*UNTESTED, "--classes", "benign,malign", "-o", "page.html") == 2
    assert capsys.readouterr().err == (
        "attnscope: The truth of a sample is 'malignant', but the classes are 'benign', 'malign'. Name the classes as "
        "the truth does, in their order in the output, --classes benign,malignant, or take the truth from elsewhere: "
        "--truth NAME.\n"
    )


def test_a_truth_in_words_without_names_of_classes_is_told_how_to_name_them(folder, capsys):
    inputs = keras.Input((3,), name="features")
    keras.Model(inputs, layers.Dense(2, activation="softmax")(inputs)).save("two.keras")
    given = ("two.keras", "patients.csv", *READ[:4], *UNTESTED, "--samples", "P-000", "-o", "page.html")
    assert main(["explain", *given]) == 2
    assert capsys.readouterr().err.endswith(
        "but the classes are the numbers of columns. Name the classes as the truth does, in their order in the output, "
        "--classes benign,malignant, or take the truth from elsewhere: --truth NAME.\n"
    )


def test_a_place_where_nothing_can_be_written_is_refused_before_the_model_is_loaded(folder, capsys):
    assert main(["explain", "missing.keras", "patients.csv", *READ, "-o", "patients.csv/page.html"]) == 2
    assert capsys.readouterr().err == (
        f"attnscope: Nothing can be written in {str(folder / 'patients.csv')!r}. Give another path with -o.\n"
    )


def test_a_truth_may_be_missing(folder, capsys):
    lines = (folder / "patients.csv").read_text().splitlines()
    (folder / "patients.csv").write_text("\n".join([lines[0], re.sub("malignant|benign", "", lines[1]), *lines[2:]]))
    assert explain(*UNTESTED, "--samples", "P-000,P-001", "-o", "page.html") == 0
    page = (folder / "page.html").read_text("utf-8")
    assert re.findall(r"truth: (not known|<bdi>\w+</bdi>)</p>", page)[0] == "not known"
    assert page.count("differs</span>") <= 1  # never of a patient of whom nothing is known
    assert explain(*UNTESTED, "--samples", "most wrong", "-o", "e.json") == 0
    assert "P-000" not in [one["id"] for one in json.loads((folder / "e.json").read_text("utf-8"))["samples"]]
    assert explain(*UNTESTED, "--samples", "P-000", "--force", "-o", "e.json") == 0
    [one] = json.loads((folder / "e.json").read_text("utf-8"))["samples"]
    assert one["truth"] is None


@pytest.fixture
def arrays(folder):
    """The patients as arrays by name, and the same model fitted to numbers."""
    table = list(csv.DictReader((folder / "patients.csv").read_text().splitlines()))
    values = np.array([[float(row[name]) for name in ("mass", "age", "height")] for row in table], "float32")
    np.savez(
        "patients.npz",
        features=values,
        patient=np.array([row["patient"] for row in table]),
        diagnosis=np.array([row["diagnosis"] for row in table]),
    )
    return folder


def test_arrays_by_name_hold_ids_and_what_is_right(arrays, capsys):
    options = (*READ, *UNTESTED, "--samples", "most wrong", "-o", "e.json")
    assert main(["explain", "model.keras", "patients.npz", *options]) == 0
    of_arrays = json.loads((arrays / "e.json").read_text("utf-8"))["samples"]
    assert explain(*UNTESTED, "--samples", "most wrong", "--force", "-o", "e.json") == 0
    of_table = json.loads((arrays / "e.json").read_text("utf-8"))["samples"]
    for one, other in zip(of_arrays, of_table, strict=True):
        assert [one[name] for name in ("id", "decision", "answer", "truth", "by_class")] == [
            other[name] for name in ("id", "decision", "answer", "truth", "by_class")
        ]
    given = ("model.keras", "patients.npz", "--id-column", "patient", "--truth", "diagnosis")
    options = ("--samples", "P-004,P-001", "--target", "0", "--method", "occlusion", "-o", "r.csv")
    assert main(["attribute", *given, *options]) == 0
    rows = list(csv.DictReader((arrays / "r.csv").read_text("utf-8").splitlines()))
    assert [row["sample_id"] for row in rows] == ["P-004", "P-001"]
    assert {row["truth"] for row in rows} <= {"benign", "malignant"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (),
            "The inputs are named 'features', 'patient', 'diagnosis', but the model takes 'features' (None, 3) "
            "float32: "
            "'patient', 'diagnosis' are unknown. Give exactly its own, by name. An array of ids is named by "
            "--id-column, "
            "and one of what is right by --truth.",
        ),
        (
            ("--truth", "diagnoses"),
            "'patients.npz' has no array 'diagnoses'; its arrays are 'features', 'patient', 'diagnosis'. Is "
            "'diagnosis' "
            "meant?",
        ),
        (
            ("--truth", "features"),
            "The array 'features' of 'patients.npz' has shape (8, 3), but one entry per sample is needed. Of "
            "columns of "
            "classes give the number of the right one: features.argmax(1).",
        ),
        (
            ("--id-column", "diagnosis"),
            "The array 'diagnosis' of 'patients.npz' has the id 'benign' in row ",
        ),
        (
            ("--columns", "features"),
            "--columns is for tables, but 'patients.npz' is none. Give a .csv, .tsv or .parquet file.",
        ),
        (
            ("--id-column", "patient", "--truth", "diagnosis", "--samples", "P-04"),
            "'patients.npz' has no sample with the id 'P-04'; its ids are 'P-000', 'P-001', 'P-002', 'P-003', 'P-004', "
            "'P-005' and 2 others. Is 'P-004' meant?",
        ),
    ],
)
def test_what_is_wrong_with_arrays_is_said_with_the_way_out(arrays, capsys, options, message):
    assert main(["explain", "model.keras", "patients.npz", *UNTESTED, *options, "-o", "page.html"]) == 2
    assert capsys.readouterr().err.startswith(f"attnscope: {message}")
    assert not (arrays / "page.html").exists()


def test_a_model_and_samples_in_the_wrong_order_are_told_apart(folder, capsys):
    assert main(["explain", "patients.csv", "model.keras", *READ, "-o", "page.html"]) == 2
    assert capsys.readouterr().err == (
        "attnscope: The model is given as 'patients.csv' and the samples as 'model.keras', but the model comes first: "
        "model.keras patients.csv.\n"
    )


def test_a_model_from_a_file_that_was_fitted_to_numbers_gives_numbers(folder, capsys):
    inputs = keras.Input((3,), name="features")
    model = keras.Model(inputs, layers.Dense(2, name="hours")(inputs), name="forecast")
    model.compile("adam", "mse")
    model.save("forecast.keras")
    given = ("forecast.keras", "patients.csv", "--id-column", "patient", "--columns", "mass,age,height", *UNTESTED)
    assert main(["explain", *given, "-o", "e.json"]) == 2
    assert "they are no choice among classes" in capsys.readouterr().err
    assert main(["explain", *given, "--classes", "in 1 h,in 6 h", "--target", "in 6 h", "-o", "e.json"]) == 0
    [first, *_] = json.loads((folder / "e.json").read_text("utf-8"))["samples"]
    assert first["decision"] == f"{first['answer']:#.3g}".removesuffix(".")
    assert "by_class" not in first
