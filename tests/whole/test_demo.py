"""The demonstrations, from data to page, and whether what they say is true."""

import html
import importlib.util

import keras
import numpy as np
import pytest

import attnscope as ats
from attnscope import demo
from attnscope.cli import main
from attnscope.errors import UnsupportedError, WouldOverwriteError

pytest.importorskip("sklearn")
pytest.importorskip("gender_guesser")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """The demonstration as `attnscope demo` runs it, on PyTorch; a short training elsewhere."""
    heard = []
    short = {} if keras.backend.backend() == "torch" else {"epochs": 1}
    done = demo.demonstrate_features(tmp_path_factory.mktemp("features") / "out", say=heard.append, **short)
    return done, heard


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """A short run of the demonstration on text."""
    folder = tmp_path_factory.mktemp("names") / "out"
    return demo.demonstrate_names(folder, names=600, captured=40, epochs=2)


@pytest.fixture(params=["features", "names"])
def shown(request):
    done = request.getfixturevalue(request.param)
    return done[0] if request.param == "features" else done


def inputs_of(shown):
    if "block_0_attention" in shown.maps:
        return demo.biopsies(0)[2][0]
    chosen = demo.first_names(600, 0)
    return demo.encoded([name for name, _ in chosen])[450:490]


def test_the_transformer_is_right_on_biopsies_it_has_not_seen(features):
    shown, heard = features
    assert shown.accuracy >= 0.94
    assert f"Accuracy on 143 held-out biopsies: {shown.accuracy:.1%} (always saying benign: 62.9%)" in shown.text
    assert heard == [
        "training a transformer over 30 features of 426 biopsies, 16 epochs ...",
        "capturing the attention on 143 biopsies that it has not seen ...",
        "testing whether raw, chefer, occlusion explain it ...",
    ]


def test_it_ends_with_the_five_decisions_that_are_most_wrong(shown):
    table = shown.explanation.table
    right = table["by_class"].where(table["class"] == table["truth"]).max("class")
    wrong = (table["by_class"].max("class") - right).values
    assert wrong.shape == (5,)
    assert (np.diff(wrong) <= 0).all()
    assert wrong[0] > 0
    page = (shown.folder / "explanation.html").read_text("utf-8")
    said = repr(shown.explanation).splitlines()[1]
    assert 0 < page.index(html.escape(said)) < page.index("id='sample-0'")


def test_the_accuracy_is_that_of_the_saved_model(features):
    shown, _ = features
    _, _, (held_out, truth) = demo.biopsies(0)
    model = keras.models.load_model(shown.folder / "model.keras")
    assert np.mean((model.predict(held_out, verbose=0)[:, 0] > 0.5) == truth) == shown.accuracy


def test_no_biopsy_is_both_trained_on_and_held_out():
    _, (train, _), (held_out, _) = demo.biopsies(0)
    assert len(train) + len(held_out) == 569
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in held_out}


def test_the_saved_model_gives_the_captured_outputs(shown):
    model = keras.models.load_model(shown.folder / "model.keras")
    outputs = model.predict(inputs_of(shown), verbose=0)
    np.testing.assert_allclose(outputs, shown.maps.outputs.values, atol=1e-6)


def test_the_saved_run_is_the_captured_one(shown):
    maps = ats.open(shown.folder / "run.zarr")
    assert list(maps) == list(shown.maps)
    for name in maps:
        np.testing.assert_array_equal(maps[name].values, shown.maps[name].values)
        np.testing.assert_array_equal(maps[name].key_label.values, shown.maps[name].key_label.values)


def test_the_lint_is_told_in_the_text(shown):
    assert f"Lint: {shown.maps.findings!r}\n" in shown.text
    assert shown.text.count("Attention alone does not explain a decision") == 1


def test_the_page_is_there_and_names_its_subject(shown):
    page = (shown.folder / "report.html").read_text("utf-8")
    for name in shown.maps:
        assert f"<code>{name}</code>" in page
    assert "Attention alone does not explain a decision" in page


def test_attention_runs_between_named_features(features):
    shown, _ = features
    for name in ("block_0_attention", "block_1_attention"):
        scores = shown.maps[name]
        assert dict(scores.sizes) == {"sample": 143, "head": 4, "query": 30, "key": 30}
        assert scores.key_label.values.tolist() == demo.biopsies(0)[0]


def test_the_largest_differences_are_told_as_they_are(features):
    shown, _ = features
    _, _, (_, malignant) = demo.biopsies(0)
    received = shown.maps["block_0_attention"].values.astype("float64").mean((1, 2))
    difference = received[malignant == 1].mean(0) - received[malignant == 0].mean(0)
    names = demo.biopsies(0)[0]
    for key in np.argsort(-np.abs(difference))[:8]:
        line = next(line for line in shown.text.splitlines() if line.startswith(f"  {names[key]} "))
        assert line.endswith(f"{difference[key]:>+10.4f}")


def test_chance_is_what_shuffled_groups_give():
    rng = np.random.default_rng(5)
    scores = rng.dirichlet(np.ones(5), size=(40, 1, 5))
    maps = ats.AttentionMaps.from_arrays({"site": scores})
    groups = ["a"] * 17 + ["b"] * 23
    received = scores.mean((1, 2))
    largest = []
    for seed in range(400):
        order = np.random.default_rng(seed).permutation(40)
        one, other = received[order[:17]], received[order[17:]]
        largest.append(np.abs(one.mean(0) - other.mean(0)).max())
    assert demo.chance(maps, groups) == pytest.approx(np.quantile(largest, 0.95), rel=0.15)


def test_no_weight_falls_on_the_padding_of_a_name(names):
    scores = names.maps["attention_vec"]
    real = scores.key_valid.values
    assert (real == (inputs_of(names) > 0)).all()
    assert (scores.values[~real] == 0).all()
    np.testing.assert_allclose(scores.values.sum(-1), 1, atol=1e-5)
    assert "padding" not in {finding.kind for finding in names.maps.findings}


def test_each_letter_labels_its_position(names):
    chosen = demo.first_names(600, 0)[450:490]
    for row, (name, _) in zip(names.maps["attention_vec"].key_label.values, chosen, strict=True):
        assert "".join(row) == name
        assert list(row[len(name) :]) == [""] * (12 - len(name))


def test_weights_from_the_end_are_means_over_the_names_that_reach_so_far(names):
    chosen = demo.first_names(600, 0)[450:490]
    weights = names.maps["attention_vec"].values
    bars = demo.from_the_end(names.maps, chosen)
    total, count = 0.0, 0
    for row, (name, gender) in zip(weights, chosen, strict=True):
        if gender == "female" and len(name) >= 5:
            total, count = total + float(row[len(name) - 5]), count + 1
    assert bars.labels[4] == "fifth to last letter"
    assert bars.values[4, 1] == pytest.approx(total / count, rel=1e-6)


def test_names_are_balanced_and_of_one_gender_only():
    chosen = demo.first_names(600, 3)
    assert len(chosen) == len({name for name, _ in chosen}) == 600
    assert sum(gender == "female" for _, gender in chosen) == 300
    assert all(name.isascii() and name.islower() and 3 <= len(name) <= 12 for name, _ in chosen)
    everyone = dict(demo.first_names(100_000, 0))
    assert everyone["anna"] == "female"
    assert everyone["peter"] == "male"
    assert "kim" not in everyone


def test_letters_are_numbered_from_one_and_padded_behind():
    assert demo.encoded(["abz"]).tolist() == [[1, 2, 26, *[0] * 9]]


def test_the_models_hold_no_code(shown):
    assert not [layer for layer in shown.model.layers if isinstance(layer, keras.layers.Lambda)]


@pytest.mark.parametrize("demonstrate", [demo.demonstrate_features, demo.demonstrate_names])
def test_an_earlier_demonstration_is_not_overwritten(demonstrate, tmp_path):
    (tmp_path / "report.html").write_text("precious")
    with pytest.raises(WouldOverwriteError) as caught:
        demonstrate(tmp_path)
    assert str(caught.value) == (
        f"{str(tmp_path)!r} already contains report.html, and nothing is overwritten. Give another folder: "
        "attnscope demo -o elsewhere; or replace these files: attnscope demo --force."
    )
    assert (tmp_path / "report.html").read_text() == "precious"


def test_a_missing_package_is_named_with_its_mend(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "sklearn" else find(name))
    with pytest.raises(UnsupportedError) as caught:
        demo.demonstrate_features(tmp_path / "out")
    assert str(caught.value) == (
        "The demo reads its data from the package scikit-learn, which is not installed. Install it: "
        "pip install attnscope[demo]"
    )
    assert not (tmp_path / "out").exists()


def test_the_command_runs_the_demonstration(tmp_path, capsys, monkeypatch):
    short = demo.demonstrate_names
    monkeypatch.setattr(demo, "demonstrate_names", lambda *a, **k: short(*a, names=200, captured=10, epochs=1, **k))
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--text"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("training a GRU with attention on 150 first names, 1 epochs ...\n")
    assert said.endswith(
        "Written to attnscope-demo: model.keras, run.zarr, report.html, view.html, explanation.html. "
        "Open attnscope-demo/explanation.html and attnscope-demo/report.html in a browser.\n"
    )
    assert main(["demo", "--text"]) == 2
    assert main(["demo", "--text", "--force"]) == 0
