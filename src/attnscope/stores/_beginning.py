"""The folder of a run: made, locked, taken up again, removed if nothing was committed, and put in another's place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnscope.errors import InputError
from attnscope.stores._files import HOLDS, LOCK, MANIFEST, exchange, make_folder, part_of, remove, write_out
from attnscope.stores._lock import locked
from attnscope.stores._manifest import CHECKSUMS, Manifest, read_manifest

FOLDERS = ("sites", "outputs", "inputs", CHECKSUMS.split("/")[0])
"""What a run makes in its folder."""


@contextmanager
def run_folder(path: Path) -> Iterator[Manifest | None]:
    """Holds the folder of a run for one writer, and makes it if it is not there.

    A run that was killed before its first commit left a folder without a manifest; it is begun anew. If nothing is
    committed when this ends, what was made is removed.

    Args:
        path: The folder.

    Yields:
        What an earlier writer committed; None if nothing.

    Raises:
        InputError: There is a folder that is no store.
        StoreInUseError: Another writer holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        make_folder(path)
    except FileExistsError:
        _check_that_it_is_ours(path)
    try:
        with locked(path):
            yield from _held(path)
    finally:
        if not any(path.iterdir()):
            path.rmdir()


def _held(path: Path) -> Iterator[Manifest | None]:
    if (path / MANIFEST).exists():
        manifest = read_manifest(path)
        if held := manifest.groups[""].get(HOLDS):
            raise InputError(f"{str(path)!r} holds {held}, not maps. Give another path: store='run.zarr'.")
        yield manifest
        return
    _clear(path)
    try:
        yield None
    finally:
        if not (path / MANIFEST).exists():
            _clear(path)


def holds_nothing(path: Path) -> bool:
    """Whether a folder is empty, or has in it what a run made that was killed before it committed anything."""
    if not path.is_dir() or (path / MANIFEST).exists():
        return False
    return (path / LOCK).exists() or not any(path.iterdir())


def _check_that_it_is_ours(path: Path) -> None:
    if not path.is_dir():
        raise InputError(f"{str(path)!r} is a file, but a store is a folder. Give another path.")
    inside = [file.name for file in path.iterdir()]
    if MANIFEST not in inside and not holds_nothing(path):
        raise InputError(
            f"{str(path)!r} is a folder with {min(inside)!r} in it, and no store of attnscope. Give another path: "
            "store='run.zarr'."
        )


def _clear(path: Path) -> None:
    """Removes what a run made that committed nothing."""
    remove(part_of(path / MANIFEST))
    for name in FOLDERS:
        if (path / name).is_dir() and not (path / name).is_symlink():
            shutil.rmtree(path / name)


@contextmanager
def new_store(path: Path) -> Iterator[Path]:
    """A folder for a store that takes the place of what is at a path when the block has ended, and not before.

    There is no instant at which nothing is at the path, where the system can swap two names: on Linux and macOS on most
    file systems. Elsewhere there is one, and a process that is killed in it leaves the earlier store in a folder beside
    the path whose name begins with ``.attnscope-``.

    Args:
        path: Where; if something is there, it is a store, and it is removed.

    Yields:
        An empty folder on the same disk.

    Raises:
        StoreInUseError: Another writer holds what is there.
    """
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".attnscope-") as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        new.mkdir()
        yield new
        if not path.exists():
            new.rename(path)
        else:
            with locked(path):
                if not exchange(new, path):
                    _renamed_twice(new, path, old)
        write_out(path.absolute().parent)


def _renamed_twice(new: Path, path: Path, old: Path) -> None:
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
