"""Labelled maps: names, validity, storage, and how they look in text."""

import html
import json
import pickle
import re

import keras
import numpy as np
import pytest
import xarray as xr
from keras import layers

import attnscope as ats
from models import padded_tokens, transformer


@pytest.fixture
def maps(rng):
    return ats.capture(transformer(), padded_tokens(rng), labels=list("abcdefg"))


def test_they_are_a_read_only_mapping_in_the_order_of_execution(maps):
    assert list(maps) == ["attention_0", "attention_1"]
    assert len(maps) == 2
    assert isinstance(maps["attention_1"], xr.DataArray)
    with pytest.raises(TypeError):
        maps["attention_0"] = None


def test_the_array_says_what_it_is(maps):
    scores = maps["attention_0"]
    assert scores.dims == ("sample", "head", "query", "key")
    assert scores.dtype == np.float32
    for name, value in {
        "site": "attention_0",
        "layer_class": "MultiHeadAttention",
        "call_index": 0,
        "kind": "fused",
        "units": "1",
        "dtype": "float32",
    }.items():
        assert scores.attrs[name] == value
    assert maps.attrs["backend"] == keras.backend.backend()
    assert scores.sel(head=1).isel(sample=0, query=2).coords["query_label"].item() == "c"


def test_what_is_saved_is_opened_the_same_and_xarray_alone_can_read_it(maps, tmp_path):
    maps.save(tmp_path / "run.zarr")
    opened = ats.open(tmp_path / "run.zarr")
    assert list(opened) == list(maps)
    for name in maps:
        xr.testing.assert_identical(opened[name].load().drop_attrs(), maps[name].drop_attrs())
        assert opened[name].attrs["site"] == name
    np.testing.assert_array_equal(opened.outputs, maps.outputs)
    assert opened.attrs == maps.attrs
    assert opened.sites == maps.sites
    tree = xr.open_datatree(str(tmp_path / "run.zarr"), engine="zarr", consolidated=False)
    np.testing.assert_array_equal(tree["sites/attention_0/scores"], maps["attention_0"])


def test_a_store_that_is_written_batch_by_batch_is_the_same(rng, tmp_path):
    model, x = transformer(), padded_tokens(rng)
    names = [["w" * (1 + position + sample) for position in range(7)] for sample in range(11)]
    expected = ats.capture(model, x, labels=names)
    stored = ats.capture(model, x, labels=names, batch_size=4, codes="exact", store=tmp_path / "run.zarr")
    for name in expected:
        np.testing.assert_allclose(stored[name], expected[name], atol=1e-6)
        for coordinate in ("key_label", "query_label", "key_valid", "query_valid"):
            np.testing.assert_array_equal(stored[name].coords[coordinate], expected[name].coords[coordinate])
    np.testing.assert_allclose(stored.outputs, expected.outputs, atol=1e-6)
    assert stored.num_samples == 11


def test_lineage_and_certainty_are_stored_with_the_maps(rng, tmp_path):
    model, x = transformer(), padded_tokens(rng)
    lineage = {
        "sample": "samples",
        "head": "units of 'attention_0/query/kernel'",
        "query": "axis 1 of input 'tokens'",
        "key": "axis 1 of input 'tokens'",
    }
    maps = ats.capture(model, x)
    maps.save(tmp_path / "saved.zarr")
    for kept in (
        maps,
        ats.open(tmp_path / "saved.zarr"),
        ats.capture(model, x, batch_size=4, store=tmp_path / "streamed.zarr"),
        pickle.loads(pickle.dumps(maps)),
    ):
        assert kept.sites[0].lineage == lineage == json.loads(kept["attention_0"].attrs["lineage"])
        assert kept.sites[0].certainty == "traced" == kept["attention_0"].attrs["certainty"]
    table = ats.sites(model, x)
    assert pickle.loads(pickle.dumps(table)) == table
    assert len({*table, *ats.sites(model, x)}) == len(table) == 3
    assert table.to_dicts()[0]["lineage"] == lineage


def test_a_run_that_was_stored_without_lineage_does_not_claim_any(maps):
    datasets = {name: maps.dataset(name) for name in maps}
    for dataset in datasets.values():
        del dataset.attrs["lineage"], dataset.attrs["certainty"]
    earlier = ats.AttentionMaps(datasets, attrs=maps.attrs)
    assert [(site.lineage, site.certainty) for site in earlier.sites] == [({}, "")] * 2


def test_a_store_of_something_else_is_refused(tmp_path):
    xr.Dataset({"a": ("x", [1.0])}).to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    with pytest.raises(ats.errors.SchemaError, match="is not an attnscope run"):
        ats.open(tmp_path / "other.zarr")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ats.open(tmp_path / "nothing.zarr")


def test_site_names_with_slashes_and_numbers_survive(rng, tmp_path):
    def encoder(name):
        inputs = keras.Input((7, 8))
        attend = layers.MultiHeadAttention(2, 5, name="mha")
        return keras.Model(inputs, attend(attend(inputs, inputs), inputs), name=name)

    inputs = keras.Input((7, 8))
    model = keras.Model(inputs, encoder("left")(inputs) + encoder("left_too")(inputs))
    maps = ats.capture(model, rng.normal(size=(3, 7, 8)).astype("float32"))
    assert list(maps) == ["left/mha", "left/mha#1", "left_too/mha", "left_too/mha#1"]
    maps.save(tmp_path / "run.zarr")
    assert list(ats.open(tmp_path / "run.zarr")) == list(maps)


def test_maps_from_elsewhere_have_their_layout_declared(rng):
    arrays = tuple(rng.random((2, 3, 5, 7)).astype("float32") for _ in range(2))
    maps = ats.AttentionMaps.from_arrays(arrays, labels={"key": list("abcdefg")})
    assert list(maps) == ["layer_0", "layer_1"]
    assert maps["layer_1"].sizes == {"sample": 2, "head": 3, "query": 5, "key": 7}
    assert {(site.certainty, *site.lineage) for site in maps.sites} == {("declared",)}
    pooled = ats.AttentionMaps.from_arrays({"pool": arrays[0][:, 0, 0]}, dims=("sample", "key"))
    assert pooled["pool"].dims == ("sample", "key")
    with pytest.raises(ats.errors.SchemaError) as error:
        ats.AttentionMaps.from_arrays({"a": arrays[0]}, dims=("sample", "query", "key"))
    assert str(error.value) == (
        "The array 'a' has shape (2, 3, 5, 7), but 3 dims were declared: ('sample', 'query', 'key'). Declare one per "
        "axis: dims=('sample', 'head', 'query', 'key')."
    )
    with pytest.raises(ats.errors.SchemaError):
        ats.AttentionMaps.from_arrays({"a": arrays[0]}, dims=("batch", "head", "query", "key"))


def test_their_text_shows_sites_and_sizes(maps):
    lines = repr(maps).splitlines()
    assert lines[0].startswith("AttentionMaps: 2 sites, 11 samples, 0.0 MB, model ")
    assert lines[1] == "  layer 0  attention_0  scores (sample 11, head 2, query 7, key 7)  MultiHeadAttention"
    assert "<code>attention_1</code>" in maps._repr_html_()
    table = repr(maps.sites).splitlines()
    assert table[0].split() == ["site", "layer", "kind", "dims", "shape", "certainty", "why"]
    assert all(re.search("  traced +a fused attention call$", line) for line in (table[1], table[3]))
    # both sites have the same: it is said once
    assert table[2] == "   head: units of its 'query/kernel'; query and key: axis 1 of input 'tokens'"
    assert len(table) == 4
    assert "traced</td>" in maps.sites._repr_html_()
    assert f"{html.escape(table[2].strip())}</td>" in maps.sites._repr_html_()


def test_a_site_is_found_by_its_short_name(maps):
    xr.testing.assert_identical(maps["layer 1"], maps["attention_1"])
    assert maps.dataset("layer 1") is maps.dataset("attention_1")
    sides = ats.AttentionMaps.from_arrays(
        {f"{side}_{number}/mha": np.ones((1, 1, 1, 1)) for side in ("encoder", "decoder") for number in range(2)}
    )
    assert sides["decoder layer 1"].attrs["site"] == "decoder_1/mha"
    with pytest.raises(ats.errors.PatternError) as raised:
        sides["layer 1"]
    assert raised.value.args[0] == (
        "'layer 1' may be any of 2 sites: 'encoder layer 1', 'decoder layer 1'. Name one of them: "
        "maps['encoder layer 1']."
    )
    own_name_first = ats.AttentionMaps.from_arrays({name: np.ones((1, 1, 1, 1)) for name in ("a_0", "a_1", "layer 0")})
    assert [own_name_first[name].attrs["site"] for name in own_name_first] == ["a_0", "a_1", "layer 0"]


def test_labels_by_site_and_per_sample(rng):
    model, x = transformer(), padded_tokens(rng)
    words = [[f"w{number}" for number in row[row > 0]] for row in x]
    maps = ats.capture(model, x, labels={"attention_1": {"key": words}})
    assert "key_label" not in maps["attention_0"].coords
    labels = maps["attention_1"].coords["key_label"]
    assert labels.dims == ("sample", "key")
    assert labels.values[0].tolist() == [*words[0], *[""] * (7 - len(words[0]))]
    assert "query_label" not in maps["attention_1"].coords


def test_importing_attnscope_loads_no_backend():
    import subprocess
    import sys

    code = (
        "import sys; import attnscope; "
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'xarray', 'zarr', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy; print(attnscope.capture.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == "capture", run.stderr
