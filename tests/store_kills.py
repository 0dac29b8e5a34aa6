"""Kills a writer of a store before each of its operations on the disk, and resumes what is left.

A process of its own, without a backend: it forks once per kill.
"""

import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from attnscope.stores import StoreWriter, _files, _layout, _lock, run_folder, verify
from attnscope.stores._shards import rows_on_disk, single_on_disk

KILLED = 9
BATCHES = (3, 2, 3, 4, 3)
OPERATIONS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "ftruncate")


class CountingOs:
    """The module `os`, which ends the process before one of its operations on the disk."""

    def __init__(self, count, dies_at):
        self._count, self._dies_at = count, dies_at

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in OPERATIONS:
            return function

        def counted(*arguments, **options):
            self._count[0] += 1
            if self._count[0] == self._dies_at:
                os._exit(KILLED)
            return function(*arguments, **options)

        return counted


def groups_of(start, stop):
    """Samples of two sites: floats, truth values, texts, and what is the same for all."""
    numbers = np.arange(start, stop, dtype="float32")
    scores = np.sin(numbers[:, None, None, None] + np.arange(18, dtype="float32").reshape(2, 3, 3))
    valid = (np.arange(start, stop)[:, None] + np.arange(3)) % 2 == 0
    labels = np.array([[f"{n}/{'ä' * (n % 5)}{k}" for k in range(3)] for n in range(start, stop)])
    site = xr.Dataset(
        {"scores": (("sample", "head", "query", "key"), scores)},
        {"key_valid": (("sample", "key"), valid), "key_label": (("sample", "key"), labels), "head": np.arange(2)},
        {"site": "a/b", "order": 0},
    )
    outputs = xr.Dataset({"output": (("sample",), numbers)}, attrs={"single": True})
    return {"sites/a.b": site, "outputs": outputs}


def write(path, interval, done=None):
    """The run, from where it stopped; tells the samples of each batch that it was told are taken."""
    with run_folder(path) as manifest:
        writer = StoreWriter(path, manifest, interval=interval, fingerprint={"run": "a"})
        start = 0
        for count in BATCHES:
            if start >= writer.samples:
                writer.append(groups_of(start, start + count), {"model": "m"}, f"{start + count}")
                if done is not None:
                    done.seek(0)
                    done.write(f"{writer.committed}")
                    done.flush()
            start += count
        writer.finish({"model": "m"})


def files_of(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def check_what_is_left(path, at_least):
    """All that the manifest names is right, and nothing is lost that was committed."""
    from attnscope.stores import read_manifest

    if not (path / "zarr.json").exists():
        assert at_least == 0, f"{at_least} samples are lost"
        return
    verification = verify(path)
    assert verification.is_whole, str(verification)
    assert verification.samples >= at_least, f"{verification.samples} samples of {at_least}"
    manifest = read_manifest(path)
    truth = groups_of(0, verification.samples)
    for layout in manifest.arrays.values():
        group, name = layout.path.rsplit("/", 1)
        expected = truth[group][name].values
        if not layout.shard:
            np.testing.assert_array_equal(single_on_disk(path, manifest, layout), expected)
            continue
        shards = range(len(manifest.shards) + bool(manifest.last))
        rows = [rows_on_disk(path, manifest, layout, number)[0] for number in shards]
        found = np.concatenate(rows) if rows else expected[:0]
        np.testing.assert_array_equal(found.astype(expected.dtype), expected)


def killed(folder, interval, dies_at, limit=None):
    """Runs in a process that dies; gives its exit code and how many samples it knew as committed."""
    path, told = folder / "run.zarr", folder / "told"
    told.write_text("0")
    process = os.fork()
    if process == 0:
        try:
            count = [0]
            _files.os = _lock.os = CountingOs(count, dies_at)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            with told.open("r+") as done:
                write(path, interval, done)
        except OSError:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code, int(told.read_text())


def kill_everywhere(folder, interval, every):
    """Kills before each operation, or before every so many; gives how many there are."""
    whole = folder / "whole.zarr"
    write(whole, interval)
    expected = files_of(whole)
    dies_at = 0
    while True:
        dies_at += every
        own = folder / f"{dies_at}"
        own.mkdir()
        code, committed = killed(own, interval, dies_at)
        if code == 0:
            return dies_at
        assert code == KILLED, code
        check_what_is_left(own / "run.zarr", committed)
        if dies_at % 3 == 0:  # the one that resumes it dies too
            code, committed = killed(own, interval, 7 + dies_at % 31)
            check_what_is_left(own / "run.zarr", committed)
        write(own / "run.zarr", interval)
        found = files_of(own / "run.zarr")
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        assert found == expected, [name for name in found if found[name] != expected[name]]
        assert sorted(file.name for file in own.iterdir()) == ["run.zarr", "told"]
        shutil.rmtree(own)


def fill_the_disk(folder):
    """Files may have so many bytes and no more: what was committed is whole, and with room the run is resumed."""
    write(folder / "whole.zarr", 0)
    expected = files_of(folder / "whole.zarr")
    for limit in range(20, 6000, 370):
        own = folder / f"{limit}"
        own.mkdir()
        code, committed = killed(own, 0, -1, limit)
        assert code == 1 or limit > 4000, (code, limit)
        if (own / "run.zarr").exists():
            check_what_is_left(own / "run.zarr", committed)
        write(own / "run.zarr", 0)
        assert files_of(own / "run.zarr") == expected


MEMORY = next((name for name in ("/dev/shm",) if Path(name).is_dir()), None)
"""A file system in memory, where waiting for the disk takes no time; None for the usual one."""

if __name__ == "__main__":
    _layout.SHARD_BYTES = 900  # four samples
    every = int(sys.argv[1])
    for interval in (0, float("inf")):
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            print(f"interval {interval}: {kill_everywhere(Path(name), interval, every)} operations", flush=True)
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        fill_the_disk(Path(name))
    print("all resumed")
