"""The folder of a run: made, locked, taken up again, and removed if nothing was committed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnscope.errors import InputError
from attnscope.stores._files import LOCK, MANIFEST, make_folder, part_of, remove
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
        yield read_manifest(path)
        return
    _clear(path)
    try:
        yield None
    finally:
        if not (path / MANIFEST).exists():
            _clear(path)


def _check_that_it_is_ours(path: Path) -> None:
    if not path.is_dir():
        raise InputError(f"{str(path)!r} is a file, but a store is a folder. Give another path.")
    inside = [file.name for file in path.iterdir()]
    if inside and MANIFEST not in inside and LOCK not in inside:
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
