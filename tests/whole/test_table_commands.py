"""The commands on tables of patients, from file to file."""

import csv
import json

import keras
import numpy as np
import pytest
import xarray as xr
from keras import layers

import attnscope as ats
from attnscope.cli import main

HOSTILE = "<img src=x onerror=alert(1)>"
TABLE = (
    "patient,age,diagnosis,mass,height\nP-017,61,malignant,70.5,1.7\nP-020,47,benign,82,1.8\nP-031,35,benign,64,1.6\n"
)
READ = ("--id-column", "patient", "--truth", "diagnosis")
IN_ORDER = (
    "The columns of 'patients.csv' are given to the model in their order, 'age', 'mass', 'height', because nothing in "
    "the model says what it calls them. For another order: --columns.\n\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model of three columns and a table of patients."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((3,), name="features")
    keras.Model(inputs, layers.Dense(2, activation="softmax", name="classes")(inputs), name="small").save("model.keras")
    (tmp_path / "patients.csv").write_text(TABLE)
    return tmp_path


def run(*arguments):
    return main(list(arguments))


def refused(capsys, *arguments):
    """What a command says on stderr when it ends with 2 and writes nothing else."""
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.removeprefix("attnscope: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("width", "way"),
    [
        (5, "such as --columns 'value 0,value 1,value 2,value 3,value 4'. A column"),
        (7, "by --columns NAMES.txt, a text file with one name per line. A column"),
    ],
)
def test_names_with_spaces_are_quoted_and_many_are_a_file(folder, capsys, width, way):
    names = [f"value {number}" for number in range(9)]
    inputs = keras.Input((width,), name="features")
    keras.Model(inputs, layers.Dense(2)(inputs)).save("wide.keras")
    (folder / "wide.csv").write_text(",".join(names) + "\n" + ",".join(["1"] * 9) + "\n")
    assert way in refused(capsys, "attribute", "wide.keras", "wide.csv", "-o", "r.csv")


def test_attribute_writes_ids_truth_and_names(folder, capsys):
    options = (*READ, "--classes", "benign,malignant", "--target", "malignant", "--method", "occlusion")
    assert run("attribute", "model.keras", "patients.csv", "-o", "relevance.csv", *options) == 0
    assert capsys.readouterr().out == (
        f"{IN_ORDER}Relevance by occlusion of 3 samples for class 'malignant'. Whether this method explains this "
        "model: attnscope evidence MODEL INPUTS -o card.html\n\nWritten to relevance.csv.\n"
    )
    with (folder / "relevance.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["sample_id", "truth", "age", "mass", "height"]
    assert [row[:2] for row in rows] == [["P-017", "malignant"], ["P-020", "benign"], ["P-031", "benign"]]
    given = np.array([[61, 70.5, 1.7], [47, 82, 1.8], [35, 64, 1.6]], "float32")
    model = keras.models.load_model("model.keras")
    expected = ats.attribute(model, given, target=1, method="occlusion")
    assert [[float(cell) for cell in row[2:]] for row in rows] == expected.values.tolist()

    chosen = (*options, "--samples", "P-031,P-017")
    assert run("attribute", "model.keras", "patients.csv", "-o", "relevance.json", *chosen) == 0
    written = json.loads((folder / "relevance.json").read_text())
    assert written["samples"] == {"sample_id": ["P-031", "P-017"], "truth": ["benign", "malignant"]}
    assert written["relevance"] == expected.values[[2, 0]].tolist()
    assert written["attrs"]["target"] == "class 'malignant'"


def test_several_targets_are_told_apart(folder, capsys):
    options = (*READ, "--target", "0", "1", "--method", "gradient_x_input", "--samples", "0:2")
    for suffix in ("csv", "json", "zarr"):
        assert run("attribute", "model.keras", "patients.csv", "-o", f"r.{suffix}", *options) == 0
    assert "of 2 samples for class 0, class 1." in capsys.readouterr().out
    lines = (folder / "r.csv").read_text().splitlines()
    assert lines[0] == "sample_id,truth,target,age,mass,height"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        [name, truth, target]
        for name, truth in (("P-017", "malignant"), ("P-020", "benign"))
        for target in ("class 0", "class 1")
    ]
    stored = xr.open_zarr("r.zarr", consolidated=False)["relevance"]
    assert stored.dims == ("target", "sample", "key")
    assert stored.sample_id.values.tolist() == ["P-017", "P-020"]
    written = json.loads((folder / "r.json").read_text())
    assert written["targets"] == ["class 0", "class 1"]
    np.testing.assert_array_equal(written["relevance"], stored.values)


def test_samples_with_missing_cells_are_left_out_if_asked_for(folder, capsys):
    (folder / "patients.csv").write_text(TABLE.replace("47,benign,82", "47,benign,"))
    command = ("attribute", "model.keras", "patients.csv", "-o", "r.csv", *READ, "--method", "occlusion")
    assert refused(capsys, *command) == (
        "1 cell of 'patients.csv' is missing: 'mass' in line 3 (patient 'P-020'). A model needs all of them: fill them "
        "in as for training; or leave these samples out: --drop-missing."
    )
    assert run(*command, "--drop-missing") == 0
    assert capsys.readouterr().out.startswith(
        f"{IN_ORDER.rstrip()} Left out because of missing cells: line 3 (patient 'P-020'). 2 of 3 samples are left.\n"
    )
    assert [line.split(",")[0] for line in (folder / "r.csv").read_text().splitlines()] == [
        "sample_id",
        "P-017",
        "P-031",
    ]


def test_evidence_writes_a_card_of_samples_that_were_drawn(folder, capsys, rng):
    rows = [
        f"P-{number},{a!r},benign,{b!r},{c!r}\n" for number, (a, b, c) in enumerate(rng.normal(size=(9, 3)).tolist())
    ]
    (folder / "patients.csv").write_text(TABLE.splitlines(keepends=True)[0] + "".join(rows))
    options = (*READ, "--classes", "benign,malignant", "--target", "malignant", "--methods", "gradient_x_input")
    command = ("evidence", "model.keras", "patients.csv", *options)
    assert run(*command, "-o", "card.html", "--samples", "8") == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"{IN_ORDER.rstrip()} 8 of 9 samples were drawn at random, with the seed 0.\n\n8 samples are"
    )
    assert "too few to tell whether any method explains this model's answers: at least 30 are needed.\n" in said
    assert "\nEvidence on" in said
    assert said.endswith("\n\nWritten to card.html.\n")
    assert "malignant" in (folder / "card.html").read_text()
    assert refused(capsys, *command, "-o", "card.html") == (
        "'card.html' already exists and is not overwritten. Give another path with -o, or replace it: --force"
    )
    assert refused(capsys, *command, "-o", "card.pdf") == (
        "The file is 'card.pdf', but its name has to end in .html, .htm or .json, which says what is written. Give it "
        "one: 'card.html'."
    )
    assert refused(capsys, *command, "-o", "card") == (
        "The file is 'card', but its name has to end in .html, .htm or .json, which says what is written. Give it "
        "one: 'card.html'."
    )
    assert refused(capsys, *command, "-o", "other.html", "--samples", "0") == (
        "0 samples were requested, but at least one is needed: --samples 100"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("-o", "r.xlsx"),
            "The file is 'r.xlsx', but its name has to end in .csv, .json or .zarr, which says what is written. Give "
            "it one: 'r.csv'.",
        ),
        (
            ("-o", "r.csv", "--target", "malignant"),
            "The target is the class 'malignant', but nothing says what the classes are called. Give its number, "
            "--target 1, or the names of all classes: --classes a,b,c.",
        ),
        (
            ("-o", "r.csv", "--target", "malign", "--classes", "benign,malignant"),
            "The target is the class 'malign', but the classes are 'benign', 'malignant'. Give one of them, or its "
            "number: --target 0.",
        ),
        (
            ("-o", "r.csv", "--classes", "benign"),
            "The class names are 'benign', but the output has 2 columns, and each needs a name of its own, in their "
            "order: --classes cat,dog.",
        ),
        (
            ("-o", "r.csv", "--method", "oclusion"),
            "The method is 'oclusion', but one of 'raw', 'rollout', 'gradient_x_attention', 'chefer', "
            "'gradient_x_input', 'integrated_gradients', 'occlusion', 'shapley', 'random', 'position' is needed: "
            "--method occlusion.",
        ),
        (
            ("-o", "r.csv", "--samples", "P-31"),
            "'patients.csv' has no sample with the id 'P-31'; its ids are 'P-017', 'P-020', 'P-031'. Is 'P-031' meant?",
        ),
        (
            ("-o", "r.csv", "--samples", "7:9"),
            "The samples 7:9 were requested, but there are 3, numbered from 0: --samples 0:3",
        ),
        (
            ("-o", "r.csv", "--columns", "age,mass"),
            "'patients.csv' has 2 columns for the model, 'age', 'mass', but the model takes 'features' (None, 3) "
            "float32. Give all that the model was trained on, in its order.",
        ),
    ],
)
def test_errors_of_attribute_speak_of_its_options(folder, capsys, options, message):
    assert refused(capsys, "attribute", "model.keras", "patients.csv", *READ, *options) == message
    assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "patients.csv"]


def test_samples_by_how_wrong_they_are_ask_for_the_option_that_says_what_is_right(folder, capsys):
    options = ("--id-column", "patient", "--columns", "age,mass,height", "--samples", "most wrong", "-o", "page.html")
    assert refused(capsys, "explain", "model.keras", "patients.csv", *options) == (
        "The samples 'most wrong' are asked for, but the truth is not known: --truth NAME."
    )


def test_columns_that_are_too_many_are_chosen_by_options(folder, capsys):
    assert refused(capsys, "attribute", "model.keras", "patients.csv", "-o", "r.csv") == (
        "'patients.csv' has 5 columns for the model, 'patient', 'age', 'diagnosis', 'mass', 'height', but the model "
        "takes 'features' (None, 3) float32. Choose those that it reads, in its order, such as --columns "
        "age,mass,height. Some cells are no numbers in 'patient', 'diagnosis'. A column of ids is named by "
        "--id-column, and one of what is right by --truth."
    )
    names = [f"c{number}" for number in range(8)]
    inputs = keras.Input((8,), name="features")
    keras.Model(inputs, layers.Dense(2, activation="softmax")(inputs)).save("wide.keras")
    (folder / "wide.csv").write_text(",".join([*names, "ward"]) + "\n1,2,3,4,5,6,7,8,9\n")
    assert refused(capsys, "attribute", "wide.keras", "wide.csv", "-o", "r.csv") == (
        "'wide.csv' has 9 columns for the model, 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', 'ward', but the model "
        "takes 'features' (None, 8) float32. Choose those that it reads, in its order, by --columns NAMES.txt, a text "
        "file with one name per line. A column of ids is named by --id-column, and one of what is right by --truth."
    )
    np.save("a.npy", np.ones((2, 3), "float32"))
    assert refused(capsys, "attribute", "model.keras", "a.npy", "-o", "r.csv", "--samples", "P-1") == (
        "The sample 'P-1' was requested, but the 2 samples have no ids, so each is a number from 0 to 1: --samples 0. "
        "A column of a table or an array of an .npz file may name them: --id-column NAME."
    )


def test_a_model_that_declares_no_inputs_fails_in_words(folder, capsys, monkeypatch):
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(np.ones((1, 4), "float32"))
    monkeypatch.setattr("attnscope.cli._commands.read_model", lambda path, backend: model)
    said = refused(capsys, "attribute", "model.keras", "patients.csv", *READ, "-o", "r.csv", "--method", "occlusion")
    assert said.startswith(
        "The model 'own' declares no inputs, so that attnscope could not check what it was given: (3, 3) float32. "
        "It was built on (1, 4). To have its inputs checked, give each a keras.Input, and wrap it: keras.Model(inputs, "
        "model(inputs)). It failed with: "
    )
    assert not said.endswith("Own.call().")


def test_hostile_texts_run_nothing(folder, capsys):
    head = ["patient", HOSTILE, "=1+1", "@SUM(A1)"]
    formulas = ["=HYPERLINK(1)", "+1+1", "-2+3", "@x", "-5", HOSTILE]
    with (folder / "hostile.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *[[name, number, 2, 3] for number, name in enumerate(formulas)]])
    command = ("model.keras", "hostile.csv", "--id-column", "patient", "--classes", f"{HOSTILE},b", "--target", HOSTILE)
    assert run("attribute", *command, "-o", "r.csv", "--method", "gradient_x_input") == 0
    with (folder / "r.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["sample_id", HOSTILE, "'=1+1", "'@SUM(A1)"]
    assert [row[0] for row in rows] == ["'=HYPERLINK(1)", "'+1+1", "'-2+3", "'@x", "-5", HOSTILE]
    assert run("attribute", *command, "-o", "r.json", "--method", "gradient_x_input") == 0
    assert json.loads((folder / "r.json").read_text())["samples"]["sample_id"] == formulas
    assert run("evidence", *command, "-o", "card.html", "--methods", "gradient_x_input") == 0
    page = (folder / "card.html").read_text()
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
