"""Damage to a store is told, wherever it is, and never shown as truth."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest
import zarr

import attnscope as ats
from attnscope.errors import AttnscopeError, DamagedStoreError
from attnscope.stores import StoreWriter, _layout, read_manifest, run_folder, verify
from store_damage import (
    SHARD_BYTES,
    files,
    flipped,
    forge,
    in_memory,
    is_told,
    sealed,
    shown_as_truth,
    small_maps,
)

STEP = 397
"""Bytes between two that are flipped; `python tests/store_damage.py` flips every byte."""
FIX = "What else is readable: attnscope verify STORE. Take a copy of the store, or capture again."


@pytest.fixture
def maps():
    return small_maps()


@pytest.fixture
def store(maps, tmp_path, monkeypatch):
    """Two samples per shard, so that three shards; the last is not full."""
    monkeypatch.setattr(_layout, "SHARD_BYTES", SHARD_BYTES)
    return maps.save(tmp_path / "run.zarr")


@pytest.fixture
def truth(store):
    return in_memory(store)


def test_the_store_has_several_shards(store):
    assert [len(list((store / "sites/mha" / name).glob("c.*"))) for name in ("scores", "key_label")] == [3, 3]
    assert verify(store).is_whole


def test_every_flipped_byte_is_told_and_none_is_shown_as_truth(store, truth):
    flips = 0
    for path in files(store):
        content = path.read_bytes()
        for place in range(flips % STEP, len(content), STEP):
            path.write_bytes(flipped(content, place))
            assert is_told(store), f"{path.name} at {place}"
            if path.name == "zarr.json" and path.parent != store:
                assert not flips % 40 or not shown_as_truth(store, truth)
            elif not flips % 2:
                assert not shown_as_truth(store, truth), f"{path.name} at {place}"
            flips += 1
        path.write_bytes(content)
    assert flips > 40
    assert verify(store).is_whole


@pytest.mark.parametrize("what", ["removed", "empty", "cut off", "longer"])
def test_every_file_that_is_not_as_it_was_is_told(store, truth, what):
    for path in files(store):
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut off": content[:-1], "longer": content + b" "}.get(what, b""))
        if what == "removed":
            path.unlink()
        if path.parent == store and what == "removed":
            with pytest.raises(AttnscopeError, match="is not an attnscope run"):
                ats.open(store)
        else:
            assert is_told(store), path
            assert not shown_as_truth(store, truth), path
        path.write_bytes(content)
    assert verify(store).is_whole


def test_chunks_in_each_others_place_are_told(store, truth):
    chunks = [path for path in files(store) if path.name != "zarr.json"]
    swaps = 0
    for one, other in itertools.combinations(chunks, 2):
        contents = one.read_bytes(), other.read_bytes()
        if contents[0] == contents[1]:
            continue
        one.write_bytes(contents[1])
        other.write_bytes(contents[0])
        assert is_told(store), (one, other)
        assert swaps % 7 or not shown_as_truth(store, truth), (one, other)
        one.write_bytes(contents[0])
        other.write_bytes(contents[1])
        swaps += 1
    assert swaps > 100


def message(act):
    with pytest.raises(AttnscopeError) as caught:
        act()
    return str(caught.value)


def test_what_is_wrong_is_said(store, maps):
    chunk = store / "sites/mha/scores/c.1.0.0.0"
    content = bytearray(chunk.read_bytes())
    content[3] ^= 4
    chunk.write_bytes(content)
    opened = ats.open(store)
    np.testing.assert_array_equal(opened["mha"][0], maps["mha"][0])
    expected = f"{str(chunk)!r} is damaged: the checksum of its chunk 0 does not fit. {FIX}"
    assert message(lambda: opened["mha"][2].values) == expected
    found = verify(store)
    assert found.damaged == (expected,)
    assert found.affected == ("sites/mha/scores",)
    assert str(found).splitlines()[:4] == [
        f"{str(store)!r} holds a complete run of 5 samples in 6 arrays; {found.files} files read.",
        "1 file damaged or missing:",
        f"  {expected}",
        "Readable:",
    ]
    chunk.unlink()
    assert message(lambda: ats.open(store)["mha"].values) == (
        f"{str(chunk)!r} is missing, although the manifest names it. {FIX}"
    )


def changed(store, change):
    path = store / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, separators=(",", ":")))
    return message(lambda: ats.open(store))


def scores_of(document):
    return document["consolidated_metadata"]["metadata"]["sites/mha/scores"]


def test_what_something_else_changed_is_said(store):
    manifest = str(store / "zarr.json")
    content = (store / "zarr.json").read_bytes()

    def scale(document):
        scores_of(document)["attributes"]["scale_factor"] = 2.0

    assert changed(store, scale) == (
        "The array 'sites/mha/scores' has the attribute 'scale_factor', by which other numbers would be read than were "
        "captured. attnscope does not write it: take a copy that was not changed."
    )
    (store / "zarr.json").write_bytes(content)

    def rename(document):
        scores_of(document)["dimension_names"] = ["sample", "head", "key", "query"]

    assert changed(store, rename) == (
        f"{manifest!r} is damaged, or was changed by something other than attnscope: its seal does not fit what it "
        "says. Take a copy, or capture again."
    )
    (store / "zarr.json").write_bytes(content)
    assert changed(store, lambda document: document["attributes"].update(attnscope_format=3)) == (
        f"{str(store)!r} has version 3 of the layout, but this attnscope reads version 2. Open it with the attnscope "
        "that wrote it: version unknown."
    )
    (store / "zarr.json").write_bytes(content[:300])
    assert message(lambda: ats.open(store)).startswith(f"{manifest!r} is not whole: ")
    (store / "zarr.json").write_bytes(content)
    shutil.rmtree(store / "sites/mha")
    assert message(lambda: ats.open(store)) == (
        f"{str(store / 'sites/mha')!r} is missing, although the manifest names it. Take a copy of the store, or "
        "capture again."
    )


@pytest.mark.parametrize("codec", ["numcodecs.pickle", "blosc", "sharding_indexed"])
def test_only_the_codecs_of_a_run_are_used(store, codec):
    def change(document):
        scores_of(document)["codecs"][0]["configuration"]["codecs"][1] = {"name": codec}

    assert changed(store, change).startswith(f"{str(store / 'zarr.json')!r} is damaged, or was changed by something")


@pytest.mark.parametrize(
    "shape", [[10**18, 2, 2, 3], [5, 2**40, 2**40, 3], [-5, 2, 2, 3], [5, 2, 2], ["5", 2, 2, 3], [5.0, 2, 2, 3]]
)
def test_sizes_that_no_run_has_are_refused(store, shape):
    assert str(store / "zarr.json") in changed(store, lambda document: scores_of(document).update(shape=shape)) or shape


def test_a_document_that_is_too_deep_is_refused(store):
    (store / "zarr.json").write_text("[" * 200_000 + "]" * 200_000)
    assert message(lambda: ats.open(store)).startswith(f"{str(store / 'zarr.json')!r} is not whole: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder"])
@pytest.mark.parametrize("name", ["zarr.json", "sites/mha/scores/c.0.0.0.0", "sites/mha/head/c.0"])
def test_what_is_no_plain_file_is_refused(store, tmp_path, kind, name):
    path = store / name
    path.rename(tmp_path / "elsewhere")
    if kind == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert message(lambda: ats.open(store)["mha"].load()) == (
        f"{str(path)!r} is {kind}, but a store consists of plain files. Do not trust this store."
    )


def test_a_folder_that_is_a_link_is_refused(store, tmp_path):
    (store / "sites/mha").rename(tmp_path / "elsewhere")
    (store / "sites/mha").symlink_to(tmp_path / "elsewhere")
    assert message(lambda: ats.open(store)) == (
        f"{str(store / 'sites/mha')!r} is a link, but a store consists of folders and plain files. Do not trust this "
        "store."
    )


def test_chunks_of_one_file_in_each_others_place_are_told(tmp_path, rng):
    """With an index that fits them, so that only the manifest knows better."""
    scores = rng.random(size=(3, 2, 90, 97)).astype("float32")
    maps = ats.AttentionMaps.from_arrays({"mha": scores})
    store = maps.save(tmp_path / "run.zarr")
    shard = store / "sites/mha/scores/c.0.0.0.0"
    chunks = read_manifest(store).arrays["sites/mha/scores"].chunks_per_shard
    content = shard.read_bytes()
    start = len(content) - 16 * chunks - 4
    index = np.frombuffer(content[start:-4], "<u8").reshape(-1, 2)
    swapped = index[[1, 0, *range(2, chunks)]].tobytes()
    shard.write_bytes(content[:start] + swapped + _layout.checksum(swapped).to_bytes(4, "little"))
    said = f"{str(shard)!r} is damaged: its chunk 0 is not the one that was captured. {FIX}"
    assert message(lambda: ats.open(store)["mha"][0, 0].values) == said
    assert verify(store).damaged == (said,)


def test_values_that_no_run_has_raise_only_errors_of_attnscope(store):
    done, raised = forge(store, every=173)
    assert done > 40
    assert raised == {}


def rewritten(store, change):
    """A manifest that something has changed which knows how it is sealed."""
    path = store / "zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_bytes(sealed(document))
    return message(lambda: ats.open(store))


@pytest.mark.parametrize("path", ["../elsewhere", "a/../b", "/etc", "sites/mha/scores/deep/er", "sites/\ud800", "s\\x"])
def test_names_that_lead_out_of_a_store_are_refused(store, path):
    def add(document):
        inside = document["consolidated_metadata"]["metadata"]
        inside[path] = inside["sites"]

    assert rewritten(store, add) == f"The store names a node {path!r}, which is no name inside of a store."


def test_a_coordinate_that_is_read_at_once_is_bounded(store):
    def grow(document):
        head = document["consolidated_metadata"]["metadata"]["sites/mha/head"]
        head["shape"] = head["chunk_grid"]["configuration"]["chunk_shape"] = [2**28]

    assert rewritten(store, grow) == (
        "The array 'sites/mha/head' has 2,147,483,648 bytes that are read at once, but at most 1,073,741,824 are."
    )


def test_a_chunk_of_more_texts_than_it_has_room_for_is_refused():
    from numcodecs.zstd import compress

    packed = compress((2**32 - 1).to_bytes(4, "little") + bytes(8), level=1)
    content = packed + _layout.checksum(packed).to_bytes(4, "little")
    with pytest.raises(ValueError, match="it says that it holds 4,294,967,295 texts, and 10 are expected"):
        _layout.decoded(content, "string", (5, 2))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
def test_a_run_is_not_resumed_through_links_and_nothing_is_removed_behind_them(maps, tmp_path):
    def groups(start):
        parts = maps.groups().items()
        return {path: dataset.isel(sample=slice(start, start + 1)) for path, dataset in parts}

    path, elsewhere = tmp_path / "run.zarr", tmp_path / "elsewhere"
    with run_folder(path) as manifest:
        StoreWriter(path, manifest, interval=0).append(groups(0), {})
    (path / "sites/mha/scores").rename(elsewhere)
    (elsewhere / "c.7.0.0.0").write_text("years of work")
    (path / "sites/mha/scores").symlink_to(elsewhere)
    with run_folder(path) as manifest:
        said = message(lambda: StoreWriter(path, manifest))
    assert said == (
        f"{str(path / 'sites/mha/scores')!r} is a link, but a store consists of folders and plain files. Do not trust "
        "this store."
    )
    assert (elsewhere / "c.7.0.0.0").exists()
    (path / "attnscope.lock").symlink_to(elsewhere / "zarr.json")
    assert message(lambda: run_folder(path).__enter__()) == (
        f"{str(path / 'attnscope.lock')!r} is a link, but a store consists of plain files. Do not trust this store."
    )


@pytest.fixture
def old_store(maps, tmp_path):
    with ats.maps.quiet_about_strings():
        maps.to_tree().to_zarr(tmp_path / "old.zarr", zarr_format=3, consolidated=False)
    return tmp_path / "old.zarr"


def change_of_array(store, change):
    path = store / "sites/mha/scores/zarr.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return message(lambda: ats.open(store)["mha"].values)


def test_a_store_without_checksums_is_read_as_data_and_no_more(old_store, maps, tmp_path):
    array, content = old_store / "sites/mha/scores", (old_store / "sites/mha/scores/zarr.json").read_bytes()
    np.testing.assert_array_equal(ats.open(old_store)["mha"], maps["mha"])
    assert change_of_array(old_store, lambda document: document["attributes"].update(scale_factor=2.0)) == (
        f"The array {str(array)!r} has the attribute 'scale_factor', by which other numbers would be read than were "
        "captured. attnscope does not write it: take a copy that was not changed."
    )
    (array / "zarr.json").write_bytes(content)
    assert change_of_array(old_store, lambda document: document["codecs"].append({"name": "numcodecs.lzma"})) == (
        f"The array {str(array)!r} is stored with 'numcodecs.lzma', but of a store without checksums only bytes, "
        f"vlen-utf8, zstd, crc32c are read. If you trust it: xarray.open_datatree({str(old_store)!r})."
    )
    (array / "zarr.json").write_bytes(content)
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**20] * 4}}
    assert change_of_array(old_store, lambda document: document.update(chunk_grid=grid)) == (
        f"The array {str(array)!r} has the shape (5, 2, 2, 3) in chunks of (1048576, 1048576, 1048576, 1048576), but "
        "at most 1,073,741,824 bytes are read at once."
    )
    (array / "zarr.json").write_bytes(content)
    (array / "zarr.json").write_text("[" * 100_000)
    assert message(lambda: ats.open(old_store)).startswith(f"{str(array / 'zarr.json')!r} is not whole: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes")
@pytest.mark.parametrize("name", ["sites/mha/scores/c/0/0/0/0", "sites/mha/scores/zarr.json", "sites/mha/scores/c"])
@pytest.mark.parametrize("kind", ["a link", "a pipe"])
def test_a_store_without_checksums_has_no_links_or_pipes(old_store, tmp_path, name, kind):
    path = old_store / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere") if kind == "a link" else os.mkfifo(path)
    said = message(lambda: ats.open(old_store)["mha"].values)
    assert said.startswith(f"{str(path)!r} is {kind}, but a store consists of ")


def test_a_chunk_that_grows_beyond_its_place_is_refused(store):
    from numcodecs.zstd import compress

    bomb = compress(bytes(1 << 24), level=19)
    content = bomb + _layout.checksum(bomb).to_bytes(4, "little")
    with pytest.raises(ValueError, match="it says that it holds more than its array has there"):
        _layout.decoded(content, "float32", (5, 2))
    assert [
        _layout.declared_size(compress(bytes(size), level=1) + b"....") for size in (1, 255, 256, 70_000, 1 << 24)
    ] == [
        1,
        255,
        256,
        70_000,
        1 << 24,
    ]


def test_other_programs_read_the_same(store, maps):
    group = zarr.open_group(store, mode="r")
    np.testing.assert_array_equal(group["sites/mha/scores"][:], maps["mha"].values)
    assert group["sites/mha/key_label"][:].tolist() == maps["mha"]["key_label"].values.tolist()
    assert isinstance(DamagedStoreError("x"), ValueError)
