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
        "the truth does, --classes a,b,c, or take the truth from elsewhere: --truth NAME.\n"
    )
