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
from attnscope.stores import _layout, verify

STEP = 211
"""Bytes between two that are flipped; 1 flips every byte, which takes a quarter of an hour."""
FIX = "What else is readable: attnscope verify STORE. Take a copy of the store, or capture again."


@pytest.fixture
def maps(rng):
    scores = rng.random(size=(5, 2, 2, 3)).astype("float32")
    names = [[f"{n}.{k}" for k in range(3)] for n in range(5)]
    return ats.AttentionMaps.from_arrays({"mha": scores, "mha/inner": scores[:, :1]}, labels={"key": names})


@pytest.fixture
def store(maps, tmp_path, monkeypatch):
    """Two samples per shard, so that three shards; the last is not full."""
    monkeypatch.setattr(_layout, "SHARD_BYTES", 1500)
    return maps.save(tmp_path / "run.zarr")


def files(store):
    return sorted(path for path in store.rglob("*") if path.is_file())


def test_the_store_has_several_shards(store):
    assert [len(list((store / "sites/mha" / name).glob("c.*"))) for name in ("scores", "key_label")] == [3, 3]
    assert verify(store).is_whole


def shown_as_truth(store, maps):
    """Whether other numbers or words than were captured are shown, without an error."""
    try:
        opened = ats.open(store)
        same = [
            np.array_equal(opened[name].values, maps[name].values)
            and np.array_equal(opened[name]["key_label"].values, maps[name]["key_label"].values)
            for name in maps
        ]
    except AttnscopeError:
        return False
    return list(opened) != list(maps) or not all(same)


def is_told(store):
    try:
        return not verify(store).is_whole
    except AttnscopeError:
        return True


def test_every_flipped_byte_is_told_and_none_is_shown_as_truth(store, maps):
    flips = 0
    for path in files(store):
        content = path.read_bytes()
        for place in range(flips % STEP, len(content), STEP):
            damaged = bytearray(content)
            damaged[place] ^= 1 << flips % 8
            path.write_bytes(damaged)
            assert is_told(store), f"{path.name} at {place}"
            if path.name == "zarr.json" and path.parent != store:
                assert not flips % 40 or not shown_as_truth(store, maps)
            elif not flips % 2:
                assert not shown_as_truth(store, maps), f"{path.name} at {place}"
            flips += 1
        path.write_bytes(content)
    assert flips > 80
    assert verify(store).is_whole


@pytest.mark.parametrize("what", ["removed", "empty", "cut off", "longer"])
def test_every_file_that_is_not_as_it_was_is_told(store, maps, what):
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
            assert not shown_as_truth(store, maps), path
        path.write_bytes(content)
    assert verify(store).is_whole


def test_chunks_in_each_others_place_are_told(store, maps):
    chunks = [path for path in files(store) if path.name != "zarr.json"]
    swaps = 0
    for one, other in itertools.combinations(chunks, 2):
        contents = one.read_bytes(), other.read_bytes()
        if contents[0] == contents[1]:
            continue
        one.write_bytes(contents[1])
        other.write_bytes(contents[0])
        assert is_told(store), (one, other)
        assert swaps % 7 or not shown_as_truth(store, maps), (one, other)
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
