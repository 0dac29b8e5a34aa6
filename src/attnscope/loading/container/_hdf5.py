"""An HDF5 file as data: every object is checked before any is followed or read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from attnscope.errors import UnsafeFileError
from attnscope.loading.container._json_documents import readable
from attnscope.loading.container._text_heaps import longest_text

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 100_000
MAX_DEPTH = 64
MAX_ATTRIBUTES = 10_000
MAX_EXPANSION = 100
MAX_TEXT = 2**32
"""Bytes that the texts of one attribute may take if each is the longest: how many share one is unknown."""
FREE_BYTES = 64 * 2**20
"""What may be declared beyond `MAX_EXPANSION` times what is stored: small files compress well."""

_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
_SAVE_AGAIN = "Save the weights again with Keras: model.save_weights('model.weights.h5')."


@dataclass(frozen=True)
class Contents:
    """What an HDF5 file holds, in numbers."""

    datasets: int
    """How many arrays there are."""
    declared: int
    """Bytes that all of them take in memory."""
    stored: int
    """Bytes that they take in the file."""


def checked(path: Path, name: str) -> Contents:
    """Check every group, link, dataset and attribute of a file, without reading a single array.

    Args:
        path: An HDF5 file that nobody else writes to.
        name: What the user knows it by, for errors.

    Returns:
        How much it holds.

    Raises:
        ModelFileError: The file is damaged.
        UnsafeFileError: There is a link other than a plain one; an array whose values lie in another file or dataset,
            are not plain numbers, or are far larger than what is stored; an object with two names; a filter that is
            a plug-in; or more objects, levels or attributes than any model has.
    """
    with readable(f"The HDF5 file {name}", _SAVE_AGAIN):
        longest = longest_text(path)
        with h5py.File(path, "r") as file:
            sizes = [_sizes(name, dataset) for name, dataset in _datasets(file, longest)]
    contents = Contents(len(sizes), sum(declared for declared, _ in sizes), sum(stored for _, stored in sizes))
    _check_sizes("All arrays together", contents.declared, contents.stored)
    if contents.stored > path.stat().st_size:
        raise UnsafeFileError(
            f"The arrays of the HDF5 file claim {contents.stored:,} bytes, but the file has {path.stat().st_size:,}: "
            f"some of them overlap. Expected each array to have bytes of its own. {_SAVE_AGAIN}"
        )
    return contents


def _datasets(file: h5py.File, longest: int) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset with its path; groups are walked without recursion, each object once."""
    seen = {h5py.h5o.get_info(file.id).addr}
    waiting: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    while waiting:
        path, group, depth = waiting.pop()
        _check_attributes(path or "/", group, longest)
        if depth > MAX_DEPTH or len(seen) + len(group) > MAX_OBJECTS:
            raise UnsafeFileError(
                f"The HDF5 file has more than {MAX_OBJECTS:,} objects, or {MAX_DEPTH} levels of groups, at "
                f"{path[:60] or '/'!r}. Expected fewer: no model needs that many. {_SAVE_AGAIN}"
            )
        for name in group:
            if not isinstance(name, str):
                raise ValueError(f"{name!r} in {path or '/'!r} is not text")
            inside = f"{path}/{name}"
            _check_link(group, name, inside)
            address = h5py.h5o.get_info(group.id, _stored(name)).addr
            if address in seen:
                raise UnsafeFileError(
                    f"{inside!r} in the HDF5 file is an object that also has another name. "
                    f"Expected each array and group to have a single name. {_SAVE_AGAIN}"
                )
            seen.add(address)
            child = group[name]
            if isinstance(child, h5py.Group):
                waiting.append((inside, child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                _check_attributes(inside, child, longest)
                yield inside, child
            else:
                raise UnsafeFileError(
                    f"{inside!r} in the HDF5 file is a {type(child).__name__}. Expected only groups and arrays. "
                    f"{_SAVE_AGAIN}"
                )


def _stored(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _check_link(group: h5py.Group, name: str, inside: str) -> None:
    kind = group.id.links.get_info(_stored(name)).type
    if kind != h5py.h5l.TYPE_HARD:
        raise UnsafeFileError(
            f"{inside!r} in the HDF5 file is {_LINKS.get(kind, 'a link of an unknown kind')}, which leads elsewhere. "
            f"Expected the weights themselves. {_SAVE_AGAIN}"
        )


def _check_attributes(inside: str, holder: h5py.Group | h5py.Dataset, longest: int) -> None:
    if len(holder.attrs) > MAX_ATTRIBUTES:
        raise UnsafeFileError(
            f"{inside!r} in the HDF5 file has {len(holder.attrs):,} attributes. "
            f"Expected at most {MAX_ATTRIBUTES:,}. {_SAVE_AGAIN}"
        )
    for name in holder.attrs:
        attribute = holder.attrs.get_id(name)
        text = attribute.dtype.kind == "S" or h5py.check_string_dtype(attribute.dtype) is not None
        if not (text or _is_plain(attribute.dtype)):
            raise UnsafeFileError(
                f"The attribute {name!r} of {inside!r} in the HDF5 file has values of type {attribute.dtype}. "
                f"Expected text or plain numbers. {_SAVE_AGAIN}"
            )
        if attribute.dtype.kind == "O" and math.prod(attribute.shape) * longest > MAX_TEXT:
            raise UnsafeFileError(
                f"The attribute {name!r} of {inside!r} in the HDF5 file has {math.prod(attribute.shape):,} texts, and "
                f"one text in the file takes {longest:,} bytes: together they may take more than {MAX_TEXT:,} bytes. "
                f"Expected fewer or shorter texts. {_SAVE_AGAIN}"
            )


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Numbers, including those of 1 or 2 bytes that NumPy has no name for (bfloat16, float8)."""
    return dtype.kind in "biufc" or (dtype.kind == "V" and dtype.names is None and dtype.itemsize <= 2)


def _sizes(inside: str, dataset: h5py.Dataset) -> tuple[int, int]:
    """Declared and stored size of one dataset, in bytes."""
    if not _is_plain(dataset.dtype) or dataset.dtype.subdtype is not None or dataset.shape is None:
        raise UnsafeFileError(
            f"{inside!r} in the HDF5 file holds values of type {dataset.dtype} with shape {dataset.shape}. "
            f"Expected plain numbers. {_SAVE_AGAIN}"
        )
    created = dataset.id.get_create_plist()
    if created.get_layout() == h5py.h5d.VIRTUAL or created.get_external_count():
        raise UnsafeFileError(
            f"The values of {inside!r} are stored outside the HDF5 file, or elsewhere in it. "
            f"Expected the weights themselves. {_SAVE_AGAIN}"
        )
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if not filters <= _FILTERS:
        raise UnsafeFileError(
            f"{inside!r} in the HDF5 file is compressed with the filters {sorted(filters)}, which may be plug-ins. "
            f"Expected gzip, lzf, shuffle, fletcher32 or none. {_SAVE_AGAIN}"
        )
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = int(dataset.id.get_storage_size())
    chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    _check_sizes(repr(inside), max(declared, chunk), stored)
    return declared, stored


def _check_sizes(what: str, declared: int, stored: int) -> None:
    if declared > FREE_BYTES + MAX_EXPANSION * stored:
        raise UnsafeFileError(
            f"{what} in the HDF5 file would take {declared:,} bytes in memory, but only {stored:,} are stored. "
            f"Expected at most {MAX_EXPANSION} times what is stored. {_SAVE_AGAIN}"
        )
