"""The commands, run as a user runs them: on files, through `main`."""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import keras
import numpy as np
import pytest
from keras import layers

import attnscope as ats
from attnscope.capturing._store import OnDisk
from attnscope.cli import _commands, main
from attnscope.stores import CODES

NAMES = ["width", "height", "depth", "mass", "age"]


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """A folder with a small model over five features, and samples for it in every kind of file."""
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((5,), name="features")
    x = layers.EinsumDense("bf,fd->bfd", output_shape=(5, 8), bias_axes="fd")(inputs)
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    classes = layers.Dense(3, activation="softmax", name="classes")(layers.GlobalAveragePooling1D()(x))
    keras.Model(inputs, classes, name="small").save("model.keras")
    samples = rng.normal(size=(7, 5)).astype("float32")
    np.save("samples.npy", samples)
    np.savez("samples.npz", only=samples)
    lines = [",".join(f"{float(value)!r}" for value in row) for row in samples]
    (tmp_path / "samples.csv").write_text("\n".join([",".join(NAMES), *lines]) + "\n")
    return tmp_path


def run(*arguments):
    return main(list(arguments))


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, *arguments):
    """What a command says on stderr when it ends with 2 and writes nothing else."""
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_inspect_lists_every_site_and_says_why(folder, capsys):
    assert run("inspect", "model.keras") == 0
    lines = capsys.readouterr().out.splitlines()
    mha, classes = ats.sites(keras.models.load_model("model.keras"))
    assert lines[0].split() == ["site", "layer", "kind", "dims", "shape", "certainty", "why"]
    assert lines[1] == (
        "+  mha      MultiHeadAttention  fused    sample, head, query, key  2 x 2 x 5 x 5  traced     "
        "a fused attention call"
    )
    assert lines[2] == f"   head: units of its 'query/kernel'; query and key: {mha.lineage['key']}"
    assert lines[3].startswith(
        "-  classes  Dense               softmax  sample, key               2 x 3          traced     "
    )
    assert lines[3].endswith(classes.reason)


def test_on_a_terminal_inspect_says_how_each_dim_is_known(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # so that no line is folded
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("inspect", "model.keras") == 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)  # without colours
    mha, classes = ats.sites(keras.models.load_model("model.keras"))
    assert re.split("  +", said.splitlines()[0].strip()) == [
        "site",
        "layer",
        "scores",
        "why, and where its dims come from",
    ]
    assert "a fused attention call" in said
    assert f"traced: head: {mha.lineage['head']}; query and key: {mha.lineage['key']}" in said
    assert classes.reason in said
    assert f"traced: key: {classes.lineage['key']}" in said


def test_inspect_takes_the_shapes_of_samples(folder, capsys):
    assert run("inspect", "model.keras", "samples.npy") == 0
    assert "7 x 2 x 5 x 5" in capsys.readouterr().out


@pytest.mark.every_backend
def test_capture_writes_what_the_function_gives(folder, capsys):
    assert run("capture", "model.keras", "samples.npy", "-o", "run.zarr", "--batch-size", "3", "--codes", "exact") == 0
    said = capsys.readouterr().out
    assert "AttentionMaps: 1 site, 7 samples" in said
    assert "Written to run.zarr. In Python: attnscope.open('run.zarr')" in said
    expected = ats.capture(keras.models.load_model("model.keras"), np.load("samples.npy"), batch_size=3)
    maps = ats.open("run.zarr")
    np.testing.assert_array_equal(maps["mha"].values, expected["mha"].values)
    np.testing.assert_array_equal(maps.outputs.values, expected.outputs.values)
    assert contents(folder) == [
        "model.keras",
        "run.zarr",
        "samples.csv",
        "samples.npy",
        "samples.npz",
    ]


def test_the_head_of_a_table_labels_the_axes_it_fits(folder):
    assert run("capture", "model.keras", "samples.csv", "-o", "run.zarr") == 0
    maps = ats.open("run.zarr")
    assert maps["mha"].key_label.values.tolist() == NAMES
    assert maps["mha"].query_label.values.tolist() == NAMES


def test_the_head_of_a_table_that_fits_no_axis_is_left_out(folder):
    inputs = keras.Input((6,))
    x = layers.MultiHeadAttention(2, 4, name="mha")(*[layers.Reshape((3, 2))(inputs)] * 2)
    keras.Model(inputs, x).save("other.keras")
    (folder / "six.csv").write_text("a,b,c,d,e,f\n1,2,3,4,5,6\n6,5,4,3,2,1\n")
    assert run("capture", "other.keras", "six.csv", "-o", "run.zarr") == 0
    assert "key_label" not in ats.open("run.zarr")["mha"].coords


def test_labels_come_from_the_line_or_from_a_file(folder):
    (folder / "names.txt").write_text("one\ntwo\nthree\nfour, or so\nfive\n")
    assert run("capture", "model.keras", "samples.npz", "-o", "a.zarr", "--labels", "v,w,x,y,z") == 0
    assert run("capture", "model.keras", "samples.csv", "-o", "b.zarr", "--labels", "names.txt") == 0
    assert ats.open("a.zarr")["mha"].key_label.values.tolist() == list("vwxyz")
    assert ats.open("b.zarr")["mha"].key_label.values.tolist() == [
        "one",
        "two",
        "three",
        "four, or so",
        "five",
    ]


def test_sites_and_summaries_are_chosen(folder):
    options = ["--sites", "class*", "mha", "--summaries", "received", "entropy"]
    assert run("capture", "model.keras", "samples.npy", "-o", "run.zarr", *options) == 0
    maps = ats.open("run.zarr")
    assert list(maps) == ["mha", "classes"]
    assert list(maps.dataset("mha").data_vars) == ["received", "entropy"]


def test_nothing_is_overwritten_without_force(folder, capsys):
    assert run("capture", "model.keras", "samples.npy", "-o", "run.zarr") == 0
    before = ats.open("run.zarr")["mha"].values
    np.save("others.npy", 2 * np.load("samples.npy"))
    capsys.readouterr()
    assert refused(capsys, "capture", "model.keras", "others.npy", "-o", "run.zarr") == (
        "attnscope: 'run.zarr' already exists and is not overwritten. Give another path with -o, or replace it: "
        "--force\n"
    )
    np.testing.assert_array_equal(ats.open("run.zarr")["mha"].values, before)
    assert run("capture", "model.keras", "others.npy", "-o", "run.zarr", "--force") == 0
    assert (ats.open("run.zarr")["mha"].values != before).any()


@pytest.fixture
def interrupted(monkeypatch):
    """Runs a command that gets Ctrl-C when it adds its third batch."""

    def interrupted(*arguments):
        added, add = [], OnDisk.add

        def breaking(self, arrays, outputs):
            added.append(1)
            if len(added) > 2:
                raise KeyboardInterrupt
            add(self, arrays, outputs)

        with monkeypatch.context() as broken:
            broken.setattr(OnDisk, "add", breaking)
            return run(*arguments)

    return interrupted


def test_a_run_that_is_stopped_says_the_command_that_resumes_it(folder, interrupted, capsys):
    (folder / "samples.npy").rename("my samples.npy")
    arguments = ["capture", "model.keras", "my samples.npy", "-o", "run.zarr", "--batch-size", "3"]
    assert interrupted(*arguments) == 130
    resume = "attnscope capture model.keras 'my samples.npy' -o run.zarr --batch-size 3 --resume"
    assert capsys.readouterr().err == f"attnscope: stopped. 'run.zarr' holds 6 samples. Resume: {resume}\n"
    assert refused(capsys, "report", "run.zarr") == (
        "attnscope: 'run.zarr' holds an interrupted run. Resume it with the model and the inputs that it was started "
        "with: attnscope capture MODEL INPUTS -o 'run.zarr' --resume.\n"
    )
    assert refused(capsys, *arguments) == (
        "attnscope: 'run.zarr' holds an interrupted run and is not overwritten. Resume it: --resume; or replace it: "
        "--force\n"
    )
    assert run(*shlex.split(resume)[1:]) == 0
    assert run("capture", "model.keras", "my samples.npy", "-o", "whole.zarr", "--batch-size", "3") == 0
    assert files(folder / "run.zarr") == files(folder / "whole.zarr")


def files(store):
    """The content of every file of a store."""
    return {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_a_run_that_would_have_replaced_another_is_not_resumed(folder, interrupted, capsys):
    arguments = ["capture", "model.keras", "samples.npy", "-o", "run.zarr", "--batch-size", "3", "--force"]
    assert interrupted(*arguments) == 130  # nothing was there that it replaces
    assert capsys.readouterr().err.endswith(
        "Resume: attnscope capture model.keras samples.npy -o run.zarr --batch-size 3 --resume\n"
    )
    assert run(*arguments) == 0
    before = contents(folder), files(folder / "run.zarr")
    capsys.readouterr()
    assert interrupted(*arguments) == 130
    assert capsys.readouterr().err == "attnscope: stopped.\n"
    assert (contents(folder), files(folder / "run.zarr")) == before


def test_a_full_disk_leaves_a_run_that_can_be_resumed(folder, monkeypatch, capsys):
    arguments = ["capture", "model.keras", "samples.npy", "-o", "run.zarr", "--batch-size", "3", "--resume"]
    appended, append = [], OnDisk._append

    def full(self, *given):
        if appended:
            raise OSError(28, "No space left on device", "run.zarr")
        appended.append(given)
        append(self, *given)

    with monkeypatch.context() as broken:
        broken.setattr(OnDisk, "_append", full)
        assert run(*arguments) == 2
    assert capsys.readouterr().err == (
        "attnscope: [Errno 28] No space left on device: 'run.zarr'. 'run.zarr' holds 3 samples. Resume: attnscope "
        "capture model.keras samples.npy -o run.zarr --batch-size 3 --resume\n"
    )
    assert run(*arguments) == 0
    assert ats.open("run.zarr").num_samples == 7


def test_the_codes_of_a_run_are_chosen(folder):
    for codes, worst in (("float16", 2.5e-4), ("uint8", 4e-3)):
        assert run("capture", "model.keras", "samples.npy", "-o", f"{codes}.zarr", "--codes", codes) == 0
        assert ats.open(f"{codes}.zarr")["mha"].attrs["worst_error"] == worst
    assert list(ats.open("uint8.zarr").dataset("mha").data_vars) == ["scores", "received", "entropy"]
    assert _commands.CODES == CODES


@pytest.mark.parametrize("options", [[], ["--resume"], ["--force"]])
def test_what_a_run_left_that_was_killed_before_it_wrote_anything_is_no_obstacle(folder, options):
    (folder / "run.zarr" / "sites").mkdir(parents=True)
    (folder / "run.zarr" / "attnscope.lock").write_text("")
    assert run("capture", "model.keras", "samples.npy", "-o", "run.zarr", *options) == 0
    assert ats.verify("run.zarr").is_whole


def test_force_replaces_nothing_but_a_run(folder, capsys):
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.txt").write_text("ten years of work")
    assert refused(capsys, "capture", "model.keras", "samples.npy", "-o", "precious", "--force") == (
        "attnscope: 'precious' already exists and is not an attnscope run, so even --force does not replace it. Give "
        "another path with -o.\n"
    )
    assert (folder / "precious" / "thesis.txt").read_text() == "ten years of work"


def test_a_run_that_fails_leaves_what_was_there(folder, capsys):
    assert run("capture", "model.keras", "samples.npy", "-o", "run.zarr") == 0
    before = contents(folder)
    np.save("wrong.npy", np.ones((4, 3), "float32"))
    capsys.readouterr()
    assert run("capture", "model.keras", "wrong.npy", "-o", "run.zarr", "--force") == 2
    assert capsys.readouterr().err == (
        "attnscope: The input 'features' has shape (4, 3) and dtype float32, but the model takes 'features' (None, 5) "
        "float32: axis 1 is 3, not 5. Give what the model was trained on, in the same order.\n"
    )
    assert contents(folder) == sorted([*before, "wrong.npy"])
    assert ats.open("run.zarr").num_samples == 7


def test_verify_says_what_is_damaged(folder, capsys):
    assert run("capture", "model.keras", "samples.npy", "-o", "run.zarr") == 0
    assert run("verify", "run.zarr") == 0
    assert capsys.readouterr().out.endswith("\nEverything is as it was written.\n")
    chunk = next(file for file in sorted((folder / "run.zarr").rglob("c.0*")) if file.parent.name == "scores")
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-1])
    assert run("verify", "run.zarr") == 2
    printed = capsys.readouterr()
    assert f"1 file damaged or missing:\n  {str(chunk.relative_to(folder))!r} is damaged: " in printed.out
    assert printed.err == (
        "attnscope: 'run.zarr' is damaged. Take a copy of it, or capture again what is not readable.\n"
    )
    chunk.write_bytes(content)
    assert refused(capsys, "verify", "nowhere.zarr") == (
        "attnscope: 'nowhere.zarr' is no store: it has no 'zarr.json'. Give what was written.\n"
    )


def test_report_writes_a_page_and_overwrites_none(folder, capsys):
    assert run("capture", "model.keras", "samples.csv", "-o", "run.zarr") == 0
    assert run("report", "run.zarr", "--title", "My own title") == 0
    page = (folder / "report.html").read_text("utf-8")
    assert "My own title" in page
    assert "height" in page
    capsys.readouterr()
    assert refused(capsys, "report", "run.zarr") == (
        "attnscope: 'report.html' already exists and is not overwritten. Give another path with -o, or replace it: "
        "--force\n"
    )
    assert run("report", "run.zarr", "--classes", "low,middle,high", "--force") == 0
    outputs = np.asarray(ats.open("run.zarr").outputs)
    called = np.array(["low", "middle", "high"])[outputs.argmax(1)]
    page = (folder / "report.html").read_text("utf-8")
    for sample, name in enumerate(called):
        assert f"<b><bdi>{sample}</bdi></b> <bdi>{name} ({outputs[sample].max():.3f})</bdi>" in page
    capsys.readouterr()
    assert refused(capsys, "report", "run.zarr", "--classes", "low,high", "--force") == (
        "attnscope: 2 classes were named, but the outputs have the shapes (7, 3). Name one class for each column, or "
        "two for a single one: --classes no,yes.\n"
    )
    assert run("report", "run.zarr", "--force") == 0
    assert "Attention of small" in (folder / "report.html").read_text("utf-8")


def test_view_serves_a_run_until_it_is_interrupted(folder):
    assert run("capture", "model.keras", "samples.csv", "-o", "run.zarr") == 0
    command = [sys.executable, "-m", "attnscope", "view", "run.zarr", "--no-browser", "--port", "0", "--title", "Mine"]
    with subprocess.Popen(
        [*command, "--samples", "2:5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs of a shell ignore it
    ) as served:
        line = served.stdout.readline()
        address = re.fullmatch(r"'run\.zarr' is shown at (http://127\.0\.0\.1:\d+/) \(press Ctrl-C to stop\)\n", line)[
            1
        ]
        page = urlopen(address).read().decode()
        assert "<title>Mine</title>" in page
        manifest = json.loads(re.search(r"data-manifest>(.*?)</script>", page)[1])
        assert [sample["name"] for sample in manifest["samples"]] == ["2", "3", "4"]
        assert urlopen(f"{address}block/map/2/0/1").read() == ats.view(
            ats.open("run.zarr"), samples=range(2, 5)
        ).payload.block("map/2/0/1")
        served.send_signal(signal.SIGINT)
        assert served.communicate(timeout=60) == ("", "attnscope: stopped.\n")
    assert served.returncode == 130


def test_view_says_what_it_cannot_show(folder, capsys):
    assert run("capture", "model.keras", "samples.csv", "-o", "run.zarr") == 0
    capsys.readouterr()
    assert refused(capsys, "view", "nowhere.zarr") == (
        "attnscope: 'nowhere.zarr' does not exist. Write one: attnscope capture MODEL INPUTS -o 'nowhere.zarr'.\n"
    )
    assert refused(capsys, "view", "model.keras") == (
        "attnscope: 'model.keras' is not an attnscope run: its root has no 'attnscope_format'. Write a run: attnscope "
        "capture MODEL INPUTS -o run.zarr\n"
    )
    for samples in ("5", "a:b", "1:2:3", "-1:"):
        assert refused(capsys, "view", "run.zarr", f"--samples={samples}") == (
            f"attnscope: The samples are given as {samples!r}, but a start and an end are needed: --samples 0:100\n"
        )
    assert refused(capsys, "view", "run.zarr", "--samples", "7:") == (
        "attnscope: The samples 7:7 were requested, but there are 7, numbered from 0. Choose among them: 0:7.\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(capsys, "view", "run.zarr", "--port", str(port)) == (
            f"attnscope: Port {port} of 127.0.0.1 cannot be used: Address already in use. Give another, or take any "
            "free port: --port 0.\n"
        )


def test_view_of_a_run_that_broke_off_says_so(folder, interrupted, capsys):
    assert interrupted("capture", "model.keras", "samples.npy", "-o", "run.zarr", "--batch-size", "3") == 130
    capsys.readouterr()
    assert refused(capsys, "view", "run.zarr") == (
        "attnscope: 'run.zarr' holds an interrupted run. Resume it with the model and the inputs that it was started "
        "with: attnscope capture MODEL INPUTS -o 'run.zarr' --resume.\n"
    )


def test_errors_are_one_message_and_no_traceback(folder, capsys):
    assert refused(capsys, "inspect", "nowhere.keras") == (
        "attnscope: There is nothing at 'nowhere.keras'. Expected a model file or folder; check the path.\n"
    )
    assert refused(capsys, "capture", "model.keras", "nowhere.npy", "-o", "run.zarr") == (
        "attnscope: There is no file 'nowhere.npy'. A table (.csv, .tsv or .parquet), arrays (.npy or .npz) or texts "
        "(.txt) are needed.\n"
    )
    assert refused(capsys, "capture", "model.keras", "model.keras", "-o", "run.zarr") == (
        "attnscope: The inputs are given as 'model.keras', but a table (.csv, .tsv or .parquet), arrays (.npy or .npz) "
        "or texts (.txt) are needed: numpy.save('samples.npy', array).\n"
    )
    (folder / "patients.xlsx").write_bytes(b"PK")
    assert refused(capsys, "capture", "model.keras", "patients.xlsx", "-o", "run.zarr") == (
        "attnscope: The inputs are given as 'patients.xlsx', but a table (.csv, .tsv or .parquet), arrays (.npy or "
        ".npz) or texts (.txt) are needed: in the program for spreadsheets, save it as patients.csv.\n"
    )
    assert refused(capsys, "capture", "model.keras", "samples.npy", "-o", "run.zarr", "--labels", "a,b") == (
        "attnscope: 2 labels were given, but the number of positions is 5 along axis 1 of input 'features'. "
        "Give one label per position: --labels a,b,c, or name the axis: in Python, labels={'key': [...]}.\n"
    )
    assert refused(capsys, "report", "nowhere.zarr") == (
        "attnscope: 'nowhere.zarr' does not exist. Write one: attnscope capture MODEL INPUTS -o 'nowhere.zarr'.\n"
    )
    assert not (folder / "run.zarr").exists()


def test_a_pattern_without_a_site_is_told_the_nearest(folder, capsys):
    said = refused(capsys, "capture", "model.keras", "samples.npy", "-o", "run.zarr", "--sites", "mhaa")
    assert said.startswith("attnscope: The pattern 'mhaa' matches none of the model's 2 sites. The nearest are: 'mha'")


@pytest.mark.every_backend
def test_texts_are_listed_captured_and_attributed_line_by_line(folder, capsys):
    pytest.importorskip("tensorflow", reason="TextVectorization needs it on every backend")
    words = layers.TextVectorization(output_sequence_length=6)
    words.adapt(["the cat sat", "a dog ran far away"])
    inputs, tokens = keras.Input((1,), dtype="string", name="text"), keras.Input((6,), dtype="int32", name="text")
    embed, attend = layers.Embedding(20, 8), layers.MultiHeadAttention(2, 4, name="mha")
    x, of_tokens = embed(words(inputs)), embed(tokens)
    keras.Model(inputs, attend(x, x)).save("texts.keras")
    lines = ["the cat sat", "a dog", "a cat ran far"]
    (folder / "texts.txt").write_text("\n".join(lines) + "\n", "utf-8")

    assert run("inspect", "texts.keras", "texts.txt") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].split()[:2] == ["+", "mha"]
    assert "3 x 2 x 6 x 6" in said[1]
    assert said[2].endswith("query and key: axis 1 of input 'text'")

    assert run("capture", "texts.keras", "texts.txt", "-o", "run.zarr", "--batch-size", "2", "--codes", "exact") == 0
    model = keras.Model(tokens, attend(of_tokens, of_tokens))
    expected = ats.capture(model, keras.ops.convert_to_numpy(words(np.array(lines))))
    maps = ats.open("run.zarr")
    np.testing.assert_allclose(maps["mha"].values, expected["mha"].values, atol=1e-6)
    assert maps["mha"].key_label.values.tolist()[1] == ["a", "dog", "", "", "", ""]


def test_help_loads_neither_keras_nor_a_backend():
    code = (
        "import sys\n"
        "from attnscope.cli import main\n"
        "for command in ('', 'inspect', 'capture', 'view', 'report', 'attribute', 'evidence', 'explain', 'demo'):\n"
        "    try:\n"
        "        main([*command.split(), '--help'])\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0\n"
        "slow = ('keras', 'tensorflow', 'jax', 'torch', 'numpy', 'xarray', 'rich')\n"
        "print([name for name in slow if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.count("example: attnscope") == 9


def test_the_version_is_told():
    done = subprocess.run([sys.executable, "-m", "attnscope", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"attnscope {ats.__version__}\n"
