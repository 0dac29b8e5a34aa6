"""Damages a small store in every place, and counts what nobody is told of and what is shown as truth.

``python tests/store_damage.py`` puts hostile values into the manifest, with a seal that fits them: whatever is read of
such a store, only attnscope's own errors may come of it. Then it flips a bit of every byte, one after the other, cuts
every file off at every 16th byte, removes every file, and swaps the content of every two chunks. A ``zarr.json`` below
the root, which only other programs read, is opened every 16th time. All of it takes a quarter of an hour; `test_damage`
does the same in fewer places.
"""

import contextlib
import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import attnscope as ats
from attnscope.errors import AttnscopeError
from attnscope.stores import _layout, _manifest, verify
from store_kills import MEMORY

SHARD_BYTES = 1500
"""Two samples, so that five are three shards, of which the last is not full."""


def small_maps():
    """Two sites, of which one is called as if it were in the other; labels that differ by sample."""
    scores = np.random.default_rng(0).random(size=(5, 2, 2, 3)).astype("float32")
    names = [[f"{n}.{k}" for k in range(3)] for n in range(5)]
    return ats.AttentionMaps.from_arrays({"mha": scores, "mha/inner": scores[:, :1]}, labels={"key": names})


def files(store):
    return sorted(path for path in store.rglob("*") if path.is_file())


def is_told(store):
    """Whether `verify` names something, or refuses the store."""
    try:
        return not verify(store).is_whole
    except (AttnscopeError, FileNotFoundError):
        return True


def shown_as_truth(store, truth):
    """Whether something else than was captured is shown, without an error.

    Args:
        store: Its folder.
        truth: The maps as they were opened before anything was damaged, in memory.
    """
    try:
        opened = ats.open(store)
        same = [opened.dataset(name).identical(truth.dataset(name)) for name in opened if name in truth]
    except AttnscopeError:
        return False
    return list(opened) != list(truth) or opened.attrs != truth.attrs or not all(same)


def in_memory(store):
    """The maps of a store, all read."""
    maps = ats.open(store)
    for name in maps:
        maps.dataset(name).load()
    return maps


def flipped(content, number):
    """The content with one bit of one byte changed, which is another bit from byte to byte."""
    damaged = bytearray(content)
    damaged[number] ^= 1 << number % 8
    return bytes(damaged)


def damages(store):
    """Each damage: what kind it is, and what to write into which files (None to remove one)."""
    for path in files(store):
        content = path.read_bytes()
        yield from (("flipped", {path: flipped(content, number)}) for number in range(len(content)))
        yield from (("cut off", {path: content[:length]}) for length in range(0, len(content), 16))
        yield "longer", {path: content + b" "}
        yield "removed", {path: None}
    for one, other in itertools.combinations([path for path in files(store) if path.name != "zarr.json"], 2):
        if one.read_bytes() != other.read_bytes():
            yield "swapped", {one: other.read_bytes(), other: one.read_bytes()}


def count(store):
    """How often each kind was done, not told, and shown as truth."""
    truth, counts = in_memory(store), {}
    for kind, contents in damages(store):
        before = {path: path.read_bytes() for path in contents}
        for path, content in contents.items():
            path.unlink() if content is None else path.write_bytes(content)
        done = counts.setdefault(kind, {"done": 0, "not told": 0, "shown as truth": 0})
        done["done"] += 1
        told = is_told(store)
        is_read = any(path.name != "zarr.json" or path.parent == store for path in contents)
        shown = (is_read or done["done"] % 16 == 0) and shown_as_truth(store, truth)
        done["not told"] += not told
        done["shown as truth"] += shown
        if shown or not told:
            print(kind, list(contents), file=sys.stderr)
        for path, content in before.items():
            path.write_bytes(content)
    assert verify(store).is_whole
    return counts


HOSTILE = (
    None,
    True,
    -1,
    0,
    2**31,
    2**62,
    1.5,
    float("nan"),
    "",
    "..",
    "\ud800",
    "x" * 300,
    [],
    [-1],
    [2**40] * 4,
    {},
    {"a": {}},
)


def places(document, path=()):
    """The path to every value of a document, but for the seal."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inside:
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        if key != "attnscope_seal":
            yield (*path, key)


def sealed(document):
    """The content of a manifest that says this, and seals it."""
    document["attributes"]["attnscope_seal"] = _manifest._seal(document)
    return _manifest._dumped(document)


def forged(content, path, value):
    """The content of a manifest with another value at some place, and a seal that fits it."""
    document = json.loads(content)
    above = document
    for key in path[:-1]:
        above = above[key]
    above[path[-1]] = value
    return sealed(document)


def what_is_raised(store):
    """An exception that is none of attnscope's, raised by whatever reads a store; None if there is none."""
    try:
        with contextlib.suppress(AttnscopeError):
            verify(store)
        with contextlib.suppress(AttnscopeError):
            maps = in_memory(store)
            repr(maps), repr(maps.sites), maps.findings
    except BaseException as error:
        return error
    return None


def forge(store, every=1):
    """Puts hostile values in every place of a manifest, or in every so many; gives how many, and what was raised."""
    manifest = store / "zarr.json"
    content = manifest.read_bytes()
    raised, done = {}, 0
    for path, value in list(itertools.product(places(json.loads(content)), HOSTILE))[::every]:
        try:
            manifest.write_bytes(forged(content, path, value))
        except (AttributeError, TypeError, ValueError):
            continue
        done += 1
        if error := what_is_raised(store):
            raised.setdefault(f"{type(error).__name__}: {error}", (path, value))
    manifest.write_bytes(content)
    return done, raised


if __name__ == "__main__":
    _layout.SHARD_BYTES = SHARD_BYTES
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        store = small_maps().save(Path(name) / "run.zarr")
        every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
        done, raised = forge(store, every)
        print(f"forged {done}, errors that are none of attnscope's: {len(raised)}")
        for error, where in raised.items():
            print(f"  {error} at {where}", file=sys.stderr)
        counts = count(store)
    for kind, numbers in counts.items():
        print(kind, numbers)
    nothing = all(n["not told"] == n["shown as truth"] == 0 for n in counts.values())
    print("all told" if nothing and not raised else "not all told")
