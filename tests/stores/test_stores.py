"""What a store is: one manifest, names of any kind, one writer, exact or with a stated error."""

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import xarray as xr
import zarr

import attnscope as ats
from attnscope.errors import AttnscopeError
from attnscope.stores import StoreWriter, _layout, locked, node_name, original_name, run_folder, verify
from models import padded_tokens, transformer

NAMES = [
    *("a", "A", "a/b", "a/b/scores", "scores", "head", "a.b", "", "/", "/a", "a/", "a//b", "..", ".", "__a", "c"),
    *("zarr.json", "zarr/json", "con", "NUL.txt", "ü ö", "\n", "\0", "a#2", "a:b", "\\", "%2F", "a*?", "x" * 300, "🦊"),
    *("\ud800", "sample", "outputs", "X" * 300),
]


@pytest.fixture
def model_and_inputs(rng):
    return transformer(), padded_tokens(rng, samples=11)


def test_sites_with_any_names_are_saved_and_opened(rng, tmp_path):
    arrays = {name: rng.random(size=(2, 2, 3, 3 + n % 3)).astype("float32") for n, name in enumerate(NAMES)}
    maps = ats.AttentionMaps.from_arrays(arrays)
    opened = ats.open(maps.save(tmp_path / "run.zarr"))
    assert list(opened) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(opened[name].values, arrays[name])
    assert verify(tmp_path / "run.zarr").is_whole
    folders = [path.name for path in (tmp_path / "run.zarr/sites").iterdir() if path.is_dir()]
    assert len({name.casefold() for name in folders}) == len(NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.zarr"]


def test_names_of_folders_are_read_back():
    assert [original_name(node_name(name)) for name in NAMES if len(name) < 180] == [n for n in NAMES if len(n) < 180]
    assert node_name("encoder_0/mha#2") == "encoder_0.mha%232"


def test_xarray_alone_opens_a_store(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    maps = ats.capture(model, x, batch_size=4, codes="exact", store=tmp_path / "run.zarr")
    for options in ({}, {"consolidated": False}):
        with ats.maps.quiet_about_strings():
            site = xr.open_zarr(tmp_path / "run.zarr", group="sites/attention_0", **options)
        np.testing.assert_array_equal(site["scores"], maps["attention_0"])
        assert {"key_valid", "query_valid", "head"} <= set(site.coords)
    with ats.maps.quiet_about_strings():
        tree = xr.open_datatree(tmp_path / "run.zarr", engine="zarr")
    np.testing.assert_array_equal(tree["outputs/output"], maps.outputs)


@pytest.mark.every_backend
@pytest.mark.parametrize(("codes", "worst"), [("exact", 0), ("float16", 2.5e-4), ("uint8", 4e-3)])
def test_scores_are_stored_with_the_stated_error(model_and_inputs, tmp_path, codes, worst):
    model, x = model_and_inputs
    truth = ats.capture(model, x, summaries=[ats.Full(), ats.Received(), ats.Entropy()], batch_size=4)
    stored = ats.capture(model, x, batch_size=4, codes=codes, store=tmp_path / "run.zarr")
    for name in truth:
        error = np.abs(stored[name].values - truth[name].values)
        assert error.max() <= worst
        assert stored[name].dtype == np.float32
        assert stored[name].attrs.get("worst_error", 0) == worst
        np.testing.assert_array_equal(stored[name].values == 0, stored[name].values <= 0)
        assert (stored[name].values[truth[name].values == 0] == 0).all()
        one = stored[name].isel(sample=7, head=1, query=slice(2, 5), key=[4, 1])
        np.testing.assert_array_equal(one, stored[name].values[7, 1, 2:5][:, [4, 1]])
        if codes == "uint8":
            for variable in ("received", "entropy"):
                np.testing.assert_array_equal(stored.dataset(name)[variable], truth.dataset(name)[variable])


def test_codes_of_one_byte_are_within_their_error_wherever_the_scores_are(rng, tmp_path):
    scores = np.exp(6 * rng.normal(size=(3, 2, 50, 70)))
    scores = (scores / scores.sum(-1, keepdims=True)).astype("float32")
    scores[0, 0, 3], scores[1, 1, 4] = 0, np.nan
    maps = ats.AttentionMaps.from_arrays({"mha": scores})
    opened = ats.open(maps.save(tmp_path / "run.zarr", codes="uint8"))["mha"].values
    assert np.nanmax(np.abs(opened - scores)) <= 4e-3
    np.testing.assert_array_equal(np.isnan(opened), np.isnan(scores))
    assert (opened[0, 0, 3] == 0).all()


def said_of_range(codes, lowest, error):
    return (
        f"Some scores at 'mha' are below {lowest}, above 1 or not finite, but codes={codes!r} keeps its stated error, "
        f"{error}, only from {lowest} to 1. Store them as they are: codes='exact'."
    )


@pytest.mark.parametrize("odd", [-0.25, 1.5, np.inf, -np.inf, np.nan, -3.0])
def test_scores_that_no_code_keeps_are_refused_rather_than_shown_wrong(rng, tmp_path, odd):
    scores = rng.random(size=(2, 3, 5, 7)).astype("float32")
    scores[1, 2, 3, 4] = odd
    maps = ats.AttentionMaps.from_arrays({"mha": scores})
    assert message(lambda: maps.save(tmp_path / "run.zarr", codes="uint8")) == said_of_range("uint8", 0, 0.004)
    assert not (tmp_path / "run.zarr").exists()
    if odd == -0.25 or np.isnan(odd):
        opened = ats.open(maps.save(tmp_path / "run.zarr", codes="float16"))["mha"]
        assert np.nanmax(np.abs(opened - scores)) <= 2.5e-4
        np.testing.assert_array_equal(np.isnan(opened), np.isnan(scores))
    else:
        assert message(lambda: maps.save(tmp_path / "run.zarr", codes="float16")) == said_of_range(
            "float16", -1, 0.00025
        )
    np.testing.assert_array_equal(ats.open(maps.save(tmp_path / "exact.zarr"))["mha"], scores)


class Weigh(keras.layers.Layer):
    """Weights that are its inputs, whatever these are."""

    def call(self, x):
        return x


@pytest.mark.every_backend
def test_a_run_whose_scores_no_code_keeps_ends_with_what_was_right(rng, tmp_path):
    x = rng.random(size=(6, 5, 7)).astype("float32")
    inputs = keras.Input((5, 7))
    model = keras.Model(inputs, Weigh(name="mha")(inputs))
    declaration = ats.declare(Weigh, dims=("sample", "query", "key"))
    try:
        for codes, lowest, worst in (("uint8", 0, 0.004), ("float16", -1, 0.00025)):
            for odd in (-2.0, np.nan):
                x[3, 2, 1] = odd
                path = tmp_path / f"{codes}{odd}.zarr"
                if codes == "float16" and np.isnan(odd):
                    opened = ats.capture(model, x, batch_size=2, codes=codes, store=path)["mha"]
                    assert np.nanmax(np.abs(opened - x)) <= worst
                    continue
                said = message(lambda p=path, c=codes: ats.capture(model, x, batch_size=2, codes=c, store=p))
                assert said == said_of_range(codes, lowest, worst)
                assert verify(path).samples == 2
            x[3] = np.nan
            opened = ats.capture(model, x, batch_size=2, codes=codes, store=tmp_path / f"{codes}.zarr")["mha"]
            assert np.isnan(opened[3]).all()
            assert np.abs(opened - x).max() <= worst
            x[3] = 0.5
    finally:
        ats.undeclare(declaration)


def test_a_map_that_never_changes_is_found_in_stored_scores_too(rng, tmp_path):
    one = rng.dirichlet(np.ones(9), size=(1, 2, 9)).astype("float32")
    maps = ats.AttentionMaps.from_arrays({"mha": np.repeat(one, 3, axis=0)})
    exact, stored = maps.findings, ats.open(maps.save(tmp_path / "run.zarr", codes="float16")).findings
    said = {finding.message for findings in (exact, stored) for finding in findings if finding.kind == "constant"}
    assert said == {
        "the map is the same in all 3 samples (largest difference 0): it does not depend on the input",
        "the map is the same in all 3 samples as far as its stored scores tell (difference at most 0.0005): it hardly "
        "depends on the input",
    }


def test_scores_of_half_precision_are_stored_as_they_are(rng, tmp_path):
    maps = ats.AttentionMaps.from_arrays({"mha": rng.random(size=(3, 2, 4, 5)).astype("float16")})
    opened = ats.open(maps.save(tmp_path / "run.zarr", codes="float16"))["mha"]
    assert opened.dtype == np.float16
    assert "worst_error" not in opened.attrs
    np.testing.assert_array_equal(opened, maps["mha"])


def test_unknown_codes_are_refused(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    with pytest.raises(ats.errors.InputError) as caught:
        ats.capture(model, x, codes="int4", store=tmp_path / "run.zarr")
    assert str(caught.value) == ("codes is 'int4', but scores are stored as one of 'float16', 'uint8', 'exact'.")


def test_one_head_of_one_sample_reads_one_chunk(rng, tmp_path, monkeypatch):
    scores = rng.random(size=(6, 3, 140, 140)).astype("float32")
    ats.AttentionMaps.from_arrays({"mha": scores}).save(tmp_path / "run.zarr")
    opened = ats.open(tmp_path / "run.zarr")
    read, own = [], _layout.checksum
    monkeypatch.setattr("attnscope.stores._shards.checksum", lambda content: read.append(len(content)) or own(content))
    np.testing.assert_array_equal(opened["mha"].isel(sample=4, head=2), scores[4, 2])
    assert len([size for size in read if size > 10_000]) == 1


def test_what_lies_beside_a_store_is_not_touched(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    for name in ("run.zarr.part", ".run.zarr.part", "run.zarr.tmp", "run.zarr.lock"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    ats.capture(model, x, store=tmp_path / "run.zarr")
    ats.capture(model, x).save(tmp_path / "run.zarr", overwrite=True)
    assert len(list(tmp_path.glob("*/thesis.txt")) + list(tmp_path.glob(".run*/thesis.txt"))) >= 4
    assert len(list(tmp_path.iterdir())) == 5


def message(act):
    with pytest.raises(AttnscopeError) as caught:
        act()
    return str(caught.value)


def test_what_is_no_store_is_neither_replaced_nor_written_into(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    maps = ats.capture(model, x)
    assert message(lambda: maps.save(folder, overwrite=True)) == (
        f"{str(folder)!r} is not a store of attnscope, so it is not replaced, even with overwrite=True. Give "
        "another path."
    )
    assert message(lambda: ats.capture(model, x, store=folder, resume=True)) == (
        f"{str(folder)!r} is a folder with 'thesis.txt' in it, and no store of attnscope. Give another path: "
        "store='run.zarr'."
    )
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_second_writer_is_refused_and_a_dead_one_holds_nothing(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    path = tmp_path / "run.zarr"
    code = (
        "import sys, time, pathlib; from attnscope.stores import run_folder\n"
        f"with run_folder(pathlib.Path({str(path)!r})): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    found = message(lambda: ats.capture(model, x, store=path, resume=True))
    assert found.startswith(f"{str(path)!r} is being written by process {process.pid} on ")
    assert found.endswith(". Wait until it has ended, or give another path.")
    process.kill()
    process.wait()
    process.stdout.close()
    assert ats.capture(model, x, store=path, resume=True).num_samples == 11


def test_a_second_writer_of_the_same_process_is_refused(tmp_path):
    (tmp_path / "run.zarr").mkdir()
    with locked(tmp_path / "run.zarr"):
        found = []

        def second():
            found.append(message(lambda: locked(tmp_path / "run.zarr").__enter__()))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "is being written by process" in found[0]
    assert not (tmp_path / "run.zarr/attnscope.lock").exists()


def test_a_reader_goes_on_while_a_writer_replaces_the_last_shard(tmp_path):
    from attnscope.stores import open_groups, read_manifest
    from store_kills import groups_of

    path = tmp_path / "run.zarr"
    with run_folder(path) as manifest:
        writer = StoreWriter(path, manifest, interval=0)
        writer.append(groups_of(0, 3), {})
        early = open_groups(path, read_manifest(path))["sites/a.b"]
        writer.append(groups_of(3, 5), {})
        np.testing.assert_array_equal(early["scores"].values, groups_of(0, 3)["sites/a.b"]["scores"].values)
        late = open_groups(path, read_manifest(path))["sites/a.b"]
        np.testing.assert_array_equal(late["scores"].values, groups_of(0, 5)["sites/a.b"]["scores"].values)
        writer.finish({})


def test_a_store_of_the_first_layout_is_opened(maps_of_two, tmp_path):
    tree = {"/": xr.Dataset(attrs={**maps_of_two.attrs, "attnscope_format": 1})}
    for number, name in enumerate(maps_of_two):
        dataset = maps_of_two.dataset(name)
        tree[f"/sites/{name}"] = dataset.assign_attrs(order=number, variables=list(dataset.data_vars))
    tree["/outputs"] = xr.Dataset({"output": maps_of_two.outputs}, attrs={"single": True})
    with ats.maps.quiet_about_strings():
        xr.DataTree.from_dict(tree).to_zarr(tmp_path / "old.zarr", zarr_format=3, consolidated=False)
    opened = ats.open(tmp_path / "old.zarr")
    assert list(opened) == list(maps_of_two)
    for name in maps_of_two:
        np.testing.assert_array_equal(opened[name], maps_of_two[name])


@pytest.fixture
def maps_of_two(model_and_inputs):
    model, x = model_and_inputs
    return ats.capture(model, x)


def test_relevant_kinds_of_data_come_back(tmp_path):
    from attnscope.stores import open_groups, read_manifest, write_groups

    kinds = {
        "bool": np.array([True, False, True]),
        "int8": np.array([1, -2, 3], "int8"),
        "uint64": np.array([1, 2, 2**63], "uint64"),
        "float64": np.array([1.5, np.nan, -np.inf]),
        "complex64": np.array([1 + 2j, 0, 3], "complex64"),
        "texts": np.array(["", "ä" * 9, "\0"], object),
        "instants": np.array(["2026-01-01", "NaT", "1970-01-01T00:00:00.5"], "datetime64[ns]"),
        "none": np.empty((3, 0), "float32"),
    }
    variables = {name: (("sample", "axis")[: values.ndim], values) for name, values in kinds.items()}
    constant = {f"{name} alone": ((f"{name} axis", "axis")[: values.ndim], values) for name, values in kinds.items()}
    (tmp_path / "run.zarr").mkdir()
    write_groups(tmp_path / "run.zarr", {"sites/a": xr.Dataset(variables), "sites/b": xr.Dataset(constant)}, {})
    with ats.maps.quiet_about_strings():
        groups = open_groups(tmp_path / "run.zarr", read_manifest(tmp_path / "run.zarr"))
    for name, values in kinds.items():
        for found in (groups["sites/a"][name].values, groups["sites/b"][f"{name} alone"].values):
            assert found.shape == values.shape
            np.testing.assert_array_equal(found.astype(values.dtype), values)
    assert verify(tmp_path / "run.zarr").is_whole
    assert zarr.open_group(tmp_path / "run.zarr", mode="r")["sites/a/int8"][:].tolist() == [1, -2, 3]


class Scaled(keras.layers.Layer):
    """Attention with a temperature, which only an attribute says."""

    def __init__(self, temperature, **options):
        super().__init__(**options)
        self._temperature = temperature

    def call(self, x):
        scores = keras.ops.softmax(keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))) / self._temperature)
        return keras.ops.matmul(scores, x)


def attending(*, heads=1, causal=False, temperature=None, seed=1):
    keras.utils.set_random_seed(seed)
    x = keras.Input((4, 3))
    if temperature is not None:
        return keras.Model(x, Scaled(temperature, name="mha")(x), name="m")
    return keras.Model(
        x, keras.layers.MultiHeadAttention(heads, 6 // heads, name="mha")(x, x, use_causal_mask=causal), name="m"
    )


FIX = "Give the model and the options that it was started with, or another path."


@pytest.mark.parametrize(
    ("before", "now", "options", "said"),
    [
        ({}, {"causal": True}, {}, "holds a run of another model: its layers are connected otherwise, or called with "
         f"other arguments. {FIX}"),
        ({"temperature": 1.0}, {"temperature": 2.0}, {}, "holds a run of another model: the layer 'mha' has other "
         f"settings, or computes something else. {FIX}"),
        ({}, {"heads": 2}, {}, "holds a different run, with site 'mha' 'head 1, query 4, key 4; fused, float32' "
         f"instead of 'head 2, query 4, key 4; fused, float32'. {FIX}"),
        ({}, {"seed": 2}, {}, "holds a run with other weights. Give those that the run was started with, or another "
         "path."),
        ({}, {}, {"summaries": [ats.TopK(4)]}, "holds a different run, with summaries ['TopK(k=2)'] instead of "
         f"['TopK(k=4)']. {FIX}"),
        ({}, {}, {"codes": "uint8"}, "holds a different run, with codes 'float16' instead of "
         f"'uint8'. {FIX}"),
        ({}, {}, {"labels": list("abcd")}, "holds a run with other labels. Give those that the run was started with, "
         "or another path."),
        ({}, {}, {}, None),
    ],
    ids=["causal", "temperature", "heads", "weights", "top-k", "codes", "labels", "the same"],
)  # fmt: skip
def test_another_run_is_refused_in_words_that_fit(rng, tmp_path, before, now, options, said):
    x = rng.normal(size=(8, 4, 3)).astype("float32")
    path = tmp_path / "run.zarr"
    own = {"batch_size": 4, "store": path, "summaries": [ats.TopK(2)]}
    ats.capture(attending(**before), x[:4], **own)

    def go_on():
        return ats.capture(attending(**now), x, resume=True, **{**own, **options})

    if said is None:
        assert go_on().num_samples == 8
    else:
        assert message(go_on) == f"{str(path)!r} {said}"


def test_a_batch_that_fails_loses_none_before_it(model_and_inputs, tmp_path):
    model, x = model_and_inputs
    whole = ats.capture(model, x, batch_size=3, store=tmp_path / "whole.zarr")

    def batches(broken):
        yield from (x[start : start + 3] for start in range(0, 9, 3))
        if broken:
            raise RuntimeError("the disk of the data is gone")
        yield x[9:]

    with pytest.raises(RuntimeError, match="the disk of the data is gone"):
        ats.capture(model, batches(broken=True), store=tmp_path / "run.zarr")
    found = verify(tmp_path / "run.zarr")
    assert (found.samples, found.complete, found.damaged) == (9, False, ())
    maps = ats.capture(model, batches(broken=False), store=tmp_path / "run.zarr", resume=True)
    for name in whole:
        xr.testing.assert_identical(maps.dataset(name).load(), whole.dataset(name).load())


@pytest.mark.every_backend
def test_the_same_files_whatever_interrupts_a_run(model_and_inputs, tmp_path):
    model, x = model_and_inputs

    def files(name):
        root = tmp_path / name
        return {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}

    ats.capture(model, x, batch_size=3, store=tmp_path / "whole.zarr")
    for stop in (3, 6, 9, 11):
        ats.capture(model, x[:stop], batch_size=3, store=tmp_path / "parts.zarr", resume=True, commit_every=0)
    assert files("parts.zarr") == files("whole.zarr")


OFFSET = 1.0


def shifted(x):
    return x + OFFSET


class Shifted(keras.layers.Layer):
    """Attention of what a function of the module makes of its inputs."""

    def call(self, x):
        return keras.ops.matmul(keras.ops.softmax(keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1)))), shifted(x))


def test_what_the_functions_that_a_class_calls_do_and_read_tells_runs_apart(rng, tmp_path, monkeypatch):
    x = rng.normal(size=(4, 4, 3)).astype("float32")
    path = tmp_path / "run.zarr"
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, Shifted(name="mha")(inputs), name="m")

    def go_on():
        return ats.capture(model, x, batch_size=2, store=path, resume=True)

    assert go_on().num_samples == 4
    assert go_on().num_samples == 4
    said = f"{str(path)!r} holds a run of another model: the layer 'mha' has other settings, or computes something else"
    for name, value in (("OFFSET", 2.0), ("shifted", lambda given: given * 2)):
        with monkeypatch.context() as changed:
            changed.setitem(globals(), name, value)
            assert message(go_on) == f"{said}. {FIX}"
    assert go_on().num_samples == 4


def test_an_operation_that_only_the_trace_shows_tells_runs_apart(rng, tmp_path):
    x = rng.normal(size=(4, 4, 3)).astype("float32")
    path = tmp_path / "run.zarr"
    settings = Settings()
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, Configured(settings, name="mha")(inputs), name="m")
    ats.capture(model, x, store=path)
    settings.squared = True
    assert message(lambda: ats.capture(keras.models.clone_model(model), x, store=path, resume=True)) == (
        f"{str(path)!r} holds a run of another model: it computes something else. {FIX}"
    )


class Settings:
    """Settings that a layer reads when it is called."""

    squared = False


class Configured(keras.layers.Layer):
    def __init__(self, settings, **options):
        super().__init__(**options)
        self.settings = settings

    def get_config(self):
        return {**super().get_config(), "settings": self.settings}

    def call(self, x):
        scores = keras.ops.softmax(keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))))
        return keras.ops.matmul(scores, keras.ops.square(x) if self.settings.squared else x)


def counting_layers():
    """Layers whose calls add to a list of theirs, to one of the module, and to one of an enclosing function."""
    seen = []

    class Counting(keras.layers.Layer):
        def __init__(self, factor=1.0, **options):
            super().__init__(**options)
            self.calls, self.shapes, self.by_shape, self.factor = 0, [], {}, factor

        def call(self, x):
            self.calls += 1
            self.shapes.append(tuple(x.shape))
            self.by_shape[str(x.shape)] = self.calls
            seen.append(len(SEEN))
            SEEN.append(len(seen) + len(self.shapes))
            return x * self.factor

        def set_factor(self, factor):
            self.factor = factor

    return Counting


SEEN = []


def test_what_a_layer_counts_while_it_runs_tells_no_runs_apart_and_its_settings_do(rng, tmp_path):
    x = rng.normal(size=(4, 4, 3)).astype("float32")
    path = tmp_path / "run.zarr"
    inputs = keras.Input((4, 3))
    counting = counting_layers()(name="counting")
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(1, 3, name="mha")(*[counting(inputs)] * 2), name="m")

    def go_on():
        model(x)
        return ats.capture(model, x, batch_size=2, store=path, resume=True).num_samples

    assert [go_on(), go_on()] == [4, 4]
    assert counting.calls > 2
    counting.set_factor(2.0)
    said = "the layer 'counting' has other settings, or computes something else"
    assert message(go_on) == f"{str(path)!r} holds a run of another model: {said}. {FIX}"


def test_codes_of_large_maps_are_those_of_their_scores(rng, tmp_path):
    x, valid = rng.normal(size=(2, 421, 6)).astype("float32"), np.arange(421) < np.array([[421], [301]])
    inputs, mask = keras.Input((421, 6)), keras.Input((421,), dtype="bool")
    attended = keras.layers.MultiHeadAttention(3, 5, name="mha")(3 * inputs, inputs, attention_mask=mask[:, None, :])
    model = keras.Model([inputs, mask], attended)
    truth = ats.capture(model, [x, valid], codes="exact", store=tmp_path / "exact.zarr")
    stored = ats.capture(model, [x, valid], codes="uint8", store=tmp_path / "run.zarr")
    error = np.abs(stored["mha"].values - truth["mha"].values)
    assert error.max() <= 4e-3
    assert (stored["mha"].values[1, ..., 301:] == 0).all()
    np.testing.assert_allclose(stored.outputs, truth.outputs, atol=1e-5)
