"""Opens a store with xarray, through the reader that compares everything with the manifest."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import xarray as xr

from attnscope.errors import DamagedStoreError
from attnscope.stores._codes import decoded_scores
from attnscope.stores._manifest import CHECKSUMS, Manifest
from attnscope.stores._names import original_name
from attnscope.stores._writer import NAME


def open_groups(root: Path, manifest: Manifest) -> dict[str, xr.Dataset]:
    """All datasets of a store by their path, with arrays that are read when they are used.

    Raises:
        DamagedStoreError: A folder that the manifest names is missing, or a link.
    """
    from attnscope.stores._reader import CheckedStore  # imports zarr, which takes longer than all the rest

    for path in manifest.nodes():
        _check_folder(root / path)
    store: Any = CheckedStore(root, manifest)
    tree = xr.open_datatree(store, engine="zarr", consolidated=True, chunks=None)
    above = CHECKSUMS.split("/")[0]
    return {
        path: decoded_scores(_with_names(node.to_dataset(inherit=False)))
        for node in tree.subtree
        if (path := node.path.strip("/")) and path != above
    }


def _with_names(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset whose variables have their own names, not those of their folders."""
    names = {node: variable.attrs.pop(NAME, original_name(str(node))) for node, variable in dataset.variables.items()}
    return dataset.rename({node: name for node, name in names.items() if node != name})


def _check_folder(folder: Path) -> None:
    try:
        mode = os.lstat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedStoreError(
            f"{str(folder)!r} is missing, although the manifest names it. Take a copy of the store, or capture again."
        ) from None
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "no folder"
        raise DamagedStoreError(
            f"{str(folder)!r} is {what}, but a store consists of folders and plain files. Do not trust this store."
        )
