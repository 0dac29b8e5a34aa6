"""Weights that Keras 2 wrote on Windows, where it joined the names of nested groups by backslashes."""

from __future__ import annotations

from pathlib import Path

import h5py


def nest_groups(path: Path) -> bool:
    r"""Give the groups of a file the places that their names describe: ``layers\\dense`` becomes ``layers/dense``.

    Args:
        path: A private copy of an HDF5 file in the layout that follows the model's attributes, already checked.

    Returns:
        Whether anything was changed.

    Raises:
        ValueError: Two groups have the same place.
    """
    with h5py.File(path, "r") as file:
        joined = [name for name in file if "\\" in name]
    if not joined:
        return False
    with h5py.File(path, "r+") as file:
        # An outer group before those that belong into it.
        for name in sorted(joined):
            _move(file, name, name.replace("\\", "/"))
    return True


def _move(file: h5py.File, name: str, place: str) -> None:
    if place not in file:
        file.move(name, place)
        return
    for inner in list(file[name]):
        if f"{place}/{inner}" in file:
            raise ValueError(f"{name!r} and {place!r} both contain {inner!r}")
        file.move(f"{name}/{inner}", f"{place}/{inner}")
