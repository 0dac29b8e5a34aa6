"""Opens a store with xarray, through the reader that compares everything with the manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from attnscope.errors import AttnscopeError, DamagedStoreError
from attnscope.stores._codes import decoded_scores
from attnscope.stores._files import check_folder
from attnscope.stores._manifest import CHECKSUMS, Manifest
from attnscope.stores._names import original_name
from attnscope.stores._writer import NAME


@contextmanager
def as_damage(path: str | Path) -> Iterator[None]:
    """Turns whatever goes wrong with what a store holds into an error that says so."""
    try:
        yield
    except AttnscopeError:
        raise
    except _OF_CONTENT as error:
        raise DamagedStoreError(
            f"{str(path)!r} does not hold what a run holds: {type(error).__name__}, {error}. Take a copy of the store, "
            "or capture again."
        ) from error


_OF_CONTENT = (ArithmeticError, AttributeError, LookupError, RecursionError, NotImplementedError, TypeError, ValueError)


def open_without_checksums(root: Path) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """The datasets of a store that xarray has written, by their path, and the attributes of its root.

    Raises:
        DamagedStoreError: It has links, pipes or devices in it, or asks for more than any run does.
    """
    from attnscope.stores._first_layout import opened_without_checksums  # imports zarr

    return opened_without_checksums(root)


def open_groups(root: Path, manifest: Manifest) -> dict[str, xr.Dataset]:
    """All datasets of a store by their path, with arrays that are read when they are used.

    Raises:
        DamagedStoreError: A folder that the manifest names is missing, or a link.
    """
    from attnscope.stores._reader import CheckedStore  # imports zarr, which takes longer than all the rest

    for path in manifest.folders():
        check_folder(root / path)
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
