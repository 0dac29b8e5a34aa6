"""Relevance in files."""

import json

import numpy as np
import pytest
import xarray as xr

import attnscope as ats
from attnscope.attribution import save
from attnscope.errors import SchemaError, WouldOverwriteError


def test_relevance_of_tokens_has_a_line_for_each_that_is_no_padding(tmp_path):
    relevance = xr.DataArray(
        np.array([[1.0, -2.0, 0.0], [0.5, 0.0, 0.0]]),
        dims=("sample", "key"),
        coords={
            "key_label": (("sample", "key"), [["good", "film", ""], ["bad", "", ""]]),
            "key_valid": (("sample", "key"), [[True, True, False], [True, False, False]]),
        },
        attrs={"method": "occlusion", "seconds": np.float64("nan"), "shape": (2, 3), "class_specific": True},
    )
    assert save(relevance, tmp_path / "r.csv").read_text() == (
        "sample,position,name,relevance\n0,0,good,1.0\n0,1,film,-2.0\n1,0,bad,0.5\n"
    )
    written = json.loads(save(relevance, tmp_path / "r.json").read_text())
    assert written["relevance"] == [[1.0, -2.0, None], [0.5, None, None]]
    assert written["attrs"] == {"method": "occlusion", "seconds": None, "shape": [2, 3], "class_specific": True}
    words = relevance.drop_vars("key_label").rename(key="key_0").expand_dims("key_1", axis=2)
    words = words.assign_coords(key_label=(words.dims, relevance.key_label.values[:, :, None]))
    assert save(words, tmp_path / "words.csv").read_text() == (
        "sample,position_0,position_1,name,relevance\n0,0,0,good,1.0\n0,1,0,film,-2.0\n1,0,0,bad,0.5\n"
    )


def test_half_a_character_is_written_as_its_code(tmp_path):
    """No text in UTF-8 can hold it."""
    relevance = xr.DataArray(np.ones((1, 2)), dims=("sample", "key"), coords={"key_label": ("key", ["a", "\ud800"])})
    assert save(relevance, tmp_path / "r.csv").read_text("utf-8") == "sample,a,\\ud800\n0,1.0,1.0\n"


def test_nothing_but_relevance_is_replaced(tmp_path):
    relevance = xr.DataArray(np.ones((1, 2)), dims=("sample", "key"))
    path = save(relevance, tmp_path / "r.zarr")
    with pytest.raises(WouldOverwriteError):
        save(relevance, path)
    save(2 * relevance, path, overwrite=True)
    for options in ({}, {"consolidated": False}):
        assert xr.open_zarr(path, **options)["relevance"].values.tolist() == [[2, 2]]
    assert ats.verify(path).is_whole
    maps = ats.AttentionMaps.from_arrays({"mha": np.ones((1, 1, 1, 1))})
    said = f"{str(path)!r} holds relevance, not maps."
    with pytest.raises(SchemaError) as caught:
        ats.open(path)
    assert str(caught.value) == f"{said} Read it: xarray.open_zarr({str(path)!r})['relevance']."
    with pytest.raises(WouldOverwriteError, match="is not a store of attnscope"):
        maps.save(path, overwrite=True)
    chunk = next(file for file in path.rglob("c.0*") if file.parent.name == "relevance")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert ats.verify(path).affected == ("relevance",)
    earlier = xr.Dataset({"relevance": relevance}, attrs={"attnscope_relevance": 1})
    earlier.to_zarr(tmp_path / "earlier.zarr", zarr_format=3, consolidated=False)
    save(relevance, tmp_path / "earlier.zarr", overwrite=True)
    assert ats.verify(tmp_path / "earlier.zarr").is_whole
    (tmp_path / "thesis.zarr").mkdir()
    (tmp_path / "thesis.zarr" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(WouldOverwriteError) as caught:
        save(relevance, tmp_path / "thesis.zarr", overwrite=True)
    assert str(caught.value) == (
        f"{str(tmp_path / 'thesis.zarr')!r} already exists and holds no relevance, so it is not replaced. Give another "
        "path."
    )
    assert (tmp_path / "thesis.zarr" / "thesis.txt").exists()
    with pytest.raises(SchemaError) as caught:
        save(xr.DataArray([1.0], dims="layer"), tmp_path / "other.csv")
    assert str(caught.value) == (
        "The array has the dimensions ('layer',), but relevance of samples and positions is needed: "
        "ats.attribute(model, inputs, target=1)."
    )


def test_numbers_of_float32_have_the_digits_of_float32(tmp_path):
    relevance = xr.DataArray(
        np.array([[0.1, -2.5e-8], [np.inf, np.nan]], "float32"),
        dims=("sample", "key"),
        coords={"answer": ("sample", np.array([0.7, 0.3], "float32"))},
        attrs={"gap": np.float32(0.2)},
    )
    assert save(relevance, tmp_path / "r.csv").read_text() == "sample,answer,0,1\n0,0.7,0.1,-2.5e-08\n1,0.3,inf,\n"
    written = json.loads(save(relevance, tmp_path / "r.json").read_text())
    assert written["relevance"] == [[0.1, -2.5e-08], [None, None]]
    assert written["samples"]["answer"] == [0.7, 0.3]
    assert written["attrs"] == {"gap": 0.2}


def test_numbers_that_the_model_gave_have_as_many_digits_as_it_gave(tmp_path):
    relevance = xr.DataArray(
        [[0.5, -0.25]],
        dims=("sample", "key"),
        coords={name: ("sample", [float(np.float32(value))]) for name, value in (("base", 0.1), ("answer", 0.35))},
        attrs={"dtype": "float32"},
    )
    assert save(relevance, tmp_path / "r.csv").read_text() == "sample,base,answer,0,1\n0,0.1,0.35,0.5,-0.25\n"
    assert json.loads(save(relevance, tmp_path / "r.json").read_text())["samples"] == {
        "sample": [0],
        "base": [0.1],
        "answer": [0.35],
    }


def test_patches_are_called_by_their_row_and_column(tmp_path):
    relevance = xr.DataArray([[1.0, 2.0]], dims=("sample", "key"), attrs={"grid": (1, 2)})
    assert save(relevance, tmp_path / "r.csv").read_text().splitlines()[0] == (
        'sample,"row 0, column 0","row 0, column 1"'
    )
