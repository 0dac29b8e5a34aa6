"""Opens a store with xarray, through the reader that compares everything with the manifest."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

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
        path: decoded_scores(_with_plain_text(_with_names(node.to_dataset(inherit=False))))
        for node in tree.subtree
        if (path := node.path.strip("/")) and path != above
    }


def _with_names(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset whose variables have their own names, not those of their folders."""
    names = {node: variable.attrs.pop(NAME, original_name(str(node))) for node, variable in dataset.variables.items()}
    return dataset.rename({node: name for node, name in names.items() if node != name})


def _with_plain_text(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset whose text is Python's, still read when it is used: NumPy's own kind is converted to no other."""
    text = {name: variable for name, variable in dataset.variables.items() if variable.dtype.kind == "T"}
    return dataset.assign_coords({name: _as_objects(text[name]) for name in text if name in dataset.coords}).assign(
        {name: _as_objects(text[name]) for name in text if name in dataset.data_vars}
    )


def _as_objects(variable: xr.Variable) -> xr.Variable:
    lazily = indexing.LazilyIndexedArray(_Text(variable))
    return xr.Variable(variable.dims, lazily, variable.attrs, variable.encoding)


class _Text(BackendArray):
    """Text as objects of Python, made as it is read."""

    def __init__(self, stored: xr.Variable) -> None:
        self._stored = stored
        self.shape, self.dtype = stored.shape, np.dtype(object)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        read: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, lambda part: self._stored[part].values.astype(object)
        )
        return read


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
