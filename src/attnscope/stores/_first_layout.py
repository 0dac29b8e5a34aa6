"""Stores of version 1, which xarray alone wrote: without checksums, and as little to be trusted as any other file."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from attnscope.errors import DamagedStoreError
from attnscope.stores._files import MANIFEST, check_folder, check_plain, read_plain
from attnscope.stores._layout import KINDS, MOST_CHUNK, check_texts, declared_size
from attnscope.stores._manifest import LARGEST_NUMBER, MOST_AXES, MOST_BYTES, MOST_NODES, parsed

_CODECS = ("bytes", "vlen-utf8", "zstd", "crc32c")
"""What xarray writes with unless it is told otherwise."""
_DEEPEST = 32
"""How many folders may be in one another, but for those of chunks."""
_CODING = ("scale_factor", "add_offset", "missing_value", "_Unsigned", "valid_range")


def opened_without_checksums(root: Path) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """The datasets of a store that xarray has written, by their path, and the attributes of its root.

    Raises:
        DamagedStoreError: It has links, pipes or devices in it, or asks for more than any run does.
    """
    chunks = {}
    for number, (path, node) in enumerate(_nodes(root)):
        if number >= MOST_NODES:
            raise DamagedStoreError(f"{str(root)!r} has more than {MOST_NODES:,} nodes, and no more are read.")
        if node.get("node_type") == "array":
            chunks[path.relative_to(root).as_posix()] = _checked(root, path, node)
    store: Any = _PlainStore(root, chunks)
    tree = xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None, zarr_format=3)
    groups = {node.path.strip("/"): node.to_dataset(inherit=False) for node in tree.subtree if node.path != "/"}
    return groups, {str(name): v for name, v in tree.attrs.items() if not str(name).startswith("attnscope_")}


def _nodes(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every group and array, with what its ``zarr.json`` says; the folders of chunks are checked as they are read."""
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        node = _metadata(folder)
        yield folder, node
        if depth == _DEEPEST:
            raise DamagedStoreError(f"{str(folder)!r} is {depth} folders deep, and no deeper ones are read.")
        with os.scandir(folder) as entries:
            inside = {folder / entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        for path, is_folder in inside.items():
            if not is_folder:
                check_plain(path)
            elif node.get("node_type") == "group":
                waiting.append((path, depth + 1))


def _metadata(folder: Path) -> dict[str, Any]:
    place = folder / MANIFEST
    try:
        content = read_plain(place, MOST_BYTES)
    except FileNotFoundError:
        return {}
    try:
        node = parsed(content)
    except (ValueError, RecursionError) as error:
        raise DamagedStoreError(f"{str(place)!r} is not whole: {error}. Take a copy, or capture again.") from None
    if not isinstance(node, dict):
        raise DamagedStoreError(f"{str(place)!r} does not describe a group or an array of Zarr.")
    return node


def _checked(root: Path, path: Path, node: Mapping[str, Any]) -> tuple[list[str], tuple[int, ...]]:
    """The codecs of an array, and the shape of a chunk.

    Raises:
        DamagedStoreError: It asks for what no run needs.
    """
    try:
        names = [codec["name"] for codec in node["codecs"]]
        shape, chunk = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
        sizes = [*shape, *chunk]
        fits = len(shape) == len(chunk) <= MOST_AXES and all(type(n) is int and n >= 0 for n in sizes)
        width, attributes = _width(node["data_type"]), dict(node.get("attributes", {}))
        is_index = list(node.get("dimension_names") or []) == [path.name]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedStoreError(
            f"{str(path / MANIFEST)!r} does not say what an array is: {type(error).__name__}, {error}."
        ) from None
    if foreign := [name for name in _CODING if name in attributes]:
        raise DamagedStoreError(
            f"The array {str(path)!r} has the attribute {foreign[0]!r}, by which other numbers would be read than were "
            "captured. attnscope does not write it: take a copy that was not changed."
        )
    if unknown := [name for name in names if name not in _CODECS]:
        raise DamagedStoreError(
            f"The array {str(path)!r} is stored with {unknown[0]!r}, but of a store without checksums only "
            f"{', '.join(_CODECS)} are read. If you trust it: xarray.open_datatree({str(root)!r})."
        )
    if not fits or math.prod(shape) > LARGEST_NUMBER or math.prod(shape if is_index else chunk) * width > MOST_CHUNK:
        raise DamagedStoreError(
            f"The array {str(path)!r} has the shape {tuple(shape)} in chunks of {tuple(chunk)}, but at most "
            f"{MOST_CHUNK:,} bytes are read at once."
        )
    return names, tuple(chunk)


def _width(data_type: Any) -> int:
    """Bytes of one value; of a text that is stored apart, those of its place in memory."""
    if isinstance(data_type, dict):
        configuration = data_type.get("configuration", {})
        return max(8, int(configuration.get("length_bytes", 8)))
    return KINDS[data_type].itemsize


class _PlainStore(LocalStore):
    """A store of which only plain files are read, and only chunks that say how large they become.

    Args:
        root: The folder.
        chunks: The codecs of each array, and the shape of a chunk, by its path.
    """

    def __init__(self, root: Path, chunks: Mapping[str, tuple[list[str], tuple[int, ...]]]) -> None:
        super().__init__(root, read_only=True)
        self._chunks = chunks
        self._folders: set[Path] = set()

    def with_read_only(self, read_only: bool = False) -> _PlainStore:
        """Itself; it cannot be written to."""
        return self

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """What a file holds."""
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype, byte_range=byte_range)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """What a file holds; None if there is none.

        Raises:
            DamagedStoreError: It is no plain file, lies in a folder that is a link, or would become too large.
        """
        if byte_range is not None:
            raise DamagedStoreError(f"Only whole chunks are read of a store without checksums, not parts of {key!r}.")
        path = self.root / key
        try:
            for folder in reversed(path.relative_to(self.root).parents):
                if folder not in self._folders:
                    check_folder(self.root / folder)
                    self._folders.add(folder)
            content = read_plain(path, MOST_CHUNK + (MOST_CHUNK >> 6))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DamagedStoreError:
            if not path.parent.exists():
                return None  # nothing was stored there
            raise
        if path.name != MANIFEST:
            self._check_chunk(key, content)
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """What several files hold."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    def _check_chunk(self, key: str, content: bytes) -> None:
        array = next((path for path in _above(key) if path in self._chunks), None)
        if array is None:
            return
        names, chunk = self._chunks[array]
        packed = content[:-4] if names[-1] == "crc32c" else content
        try:
            if "zstd" not in names:
                raise ValueError("it is not compressed as attnscope does it")
            if "vlen-utf8" in names:
                check_texts(packed, chunk)
            if declared_size(content) > MOST_CHUNK:
                raise ValueError("it says that it becomes too large, or does not say how large")
        except (ValueError, RuntimeError) as error:
            raise DamagedStoreError(f"{str(self.root / key)!r} is damaged: {error}.") from None


def _above(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
