"""Shards as they are on the disk, each chunk compared with what the manifest says of it."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnscope.errors import DamagedStoreError
from attnscope.stores._files import open_plain, read_plain, read_range
from attnscope.stores._layout import ABSENT, TEXTS, ArrayLayout, check_texts, checksum, declared_size, decoded
from attnscope.stores._manifest import Manifest, row_checksum

_KEPT = 64
"""How many rows of checksums, and how many indices of shards, are kept in memory."""
_SMALLEST = 5
"""Bytes of the smallest chunk: its checksum has four."""


class Checksums:
    """What a manifest says of the inner chunks of a store.

    Args:
        root: The folder of the store.
        manifest: Its manifest.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._root = root
        self._rows: OrderedDict[int, np.ndarray] = OrderedDict()
        starts = np.cumsum([0, *(layout.chunks_per_shard for layout in manifest.sharded)]).tolist()
        self._starts = {layout.path: start for layout, start in zip(manifest.sharded, starts, strict=False)}

    def of(self, layout: ArrayLayout, shard: int) -> list[np.ndarray]:
        """The checksums that the inner chunks of a shard have; two of each while the last shard is being replaced."""
        start = self._starts[layout.path]
        part = slice(start, start + layout.chunks_per_shard)
        if shard < len(self.manifest.shards):
            return [self.row(shard)[part]]
        both = [values for values in (self.manifest.last, self.manifest.pending) if values]
        return [np.array(values[part], "<u4") for values in both]

    def row(self, shard: int) -> np.ndarray:
        """The checksums of all arrays' inner chunks in a complete shard.

        Raises:
            DamagedStoreError: They are missing, or not those that the manifest means.
        """
        row: np.ndarray
        if shard in self._rows:
            row = self._rows[shard]
            return row
        path, layout = self._root / Manifest.key_of_row(shard), self.manifest.checksums
        try:
            content = read_plain(path, layout.chunk_bytes + 4096)
            row = decoded(content, layout.kind, layout.chunk)[0].astype("<u4")
        except FileNotFoundError:
            raise DamagedStoreError(_missing(path)) from None
        except (ValueError, RuntimeError) as error:
            raise DamagedStoreError(_damaged(path, str(error))) from None
        if row_checksum(row) != self.manifest.shards[shard]:
            raise DamagedStoreError(_damaged(path, "it is not what the manifest means"))
        self._rows[shard] = row
        while len(self._rows) > _KEPT:
            self._rows.popitem(last=False)
        return row


@dataclass(frozen=True)
class Shard:
    """One file of an array along the samples, open to be read.

    Attributes:
        path: The file.
        descriptor: The open file.
        size: Its bytes.
        index: Start and length of each inner chunk.
        layout: Of the array.
    """

    path: Path
    descriptor: int
    size: int
    index: np.ndarray
    layout: ArrayLayout

    @property
    def index_bytes(self) -> int:
        """Bytes of the index, at the end of the file."""
        return 16 * self.layout.chunks_per_shard + 4

    def number_at(self, start: int, end: int) -> int:
        """The number of the inner chunk that lies there, or -1."""
        found = np.flatnonzero((self.index[:, 0] == start) & (self.index[:, 1] == end - start))
        return int(found[0]) if len(found) else -1

    def chunk(self, number: int) -> bytes:
        """An inner chunk, which is there, as it is stored.

        Raises:
            DamagedStoreError: Its checksum does not fit it, or it would grow beyond its place when it is decompressed.
        """
        start, length = map(int, self.index[number])
        content = read_range(self.descriptor, start, start + length)
        if len(content) != length or checksum(content[:-4]) != int.from_bytes(content[-4:], "little"):
            raise DamagedStoreError(_damaged(self.path, f"the checksum of its chunk {number} does not fit"))
        if declared_size(content) > self.layout.chunk_bytes:
            raise DamagedStoreError(_damaged(self.path, f"its chunk {number} says that it holds too much"))
        return content


class OpenShard:
    """Opens a shard as a context.

    Args:
        root: The folder of the store.
        layout: Of the array.
        number: Of the shard.
        rows: How many samples it has to hold.

    Raises:
        DamagedStoreError: It is missing, no plain file, or its index is damaged or lacks a chunk.
    """

    def __init__(self, root: Path, layout: ArrayLayout, number: int, rows: int) -> None:
        self._path = root / layout.key(number)
        self._layout, self._rows = layout, rows
        self._descriptor = -1

    def __enter__(self) -> Shard:
        try:
            self._descriptor = open_plain(self._path)
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedStoreError(_missing(self._path)) from None
        try:
            return self._opened()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def _opened(self) -> Shard:
        size, layout = os.fstat(self._descriptor).st_size, self._layout
        length = 16 * layout.chunks_per_shard + 4
        content = read_range(self._descriptor, max(size - length, 0), size)
        if len(content) != length or checksum(content[:-4]) != int.from_bytes(content[-4:], "little"):
            raise DamagedStoreError(_damaged(self._path, "its index does not fit its checksum"))
        index = np.frombuffer(content[:-4], "<u8").reshape(-1, 2)
        there = index[:, 0] != ABSENT
        starts, lengths = index[there, 0], index[there, 1]
        if ((starts > size) | (lengths > size) | (lengths < _SMALLEST) | (starts + lengths > size - length)).any():
            raise DamagedStoreError(_damaged(self._path, "its index leads beyond its end"))
        for number, _ in layout.present(self._rows):
            if not there[number]:
                raise DamagedStoreError(_damaged(self._path, f"its chunk {number} is missing"))
        return Shard(self._path, self._descriptor, size, index, layout)


def checked(shard: Shard, number: int, accepted: list[np.ndarray]) -> bytes:
    """An inner chunk that the manifest means.

    Raises:
        DamagedStoreError: It is damaged, or another chunk is in its place.
    """
    content = shard.chunk(number)
    found = int.from_bytes(content[-4:], "little")
    if not any(found == int(checksums[number]) for checksums in accepted):
        raise DamagedStoreError(_damaged(shard.path, f"its chunk {number} is not the one that was captured"))
    _check_texts(shard.path, content, shard.layout)
    return content


def _check_texts(path: Path, content: bytes, layout: ArrayLayout) -> None:
    if layout.kind != TEXTS:
        return
    try:
        check_texts(content[:-4], layout.chunk)
    except (ValueError, RuntimeError) as error:
        raise DamagedStoreError(_damaged(path, str(error))) from None


def rows_on_disk(root: Path, manifest: Manifest, layout: ArrayLayout, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The samples of a shard that the manifest names, and the checksum of every inner chunk in the file.

    Raises:
        DamagedStoreError: Something in it is damaged, missing or in another's place.
    """
    accepted = Checksums(root, manifest).of(layout, number)
    count = manifest.rows_of(number)
    shape = (count, *layout.shape[1:])
    rows = np.empty(shape, layout.dtype)
    with OpenShard(root, layout, number, count) as shard:
        for place, position in layout.present(count):
            values = _values(shard, place, checked(shard, place, accepted))
            slices = tuple(
                slice(n * step, min((n + 1) * step, size))
                for n, step, size in zip(position, layout.chunk, shape, strict=True)
            )
            rows[slices] = values[tuple(slice(0, part.stop - part.start) for part in slices)]
        there = np.flatnonzero(shard.index[:, 0] != ABSENT)
        found = np.zeros(layout.chunks_per_shard, "<u4")
        for place in there.tolist():
            found[place] = int.from_bytes(shard.chunk(place)[-4:], "little")
    return rows, found


def check_shard(root: Path, manifest: Manifest, layout: ArrayLayout, number: int, sums: Checksums) -> None:
    """Reads all of a shard, a chunk at a time.

    Raises:
        DamagedStoreError: Something in it is damaged, missing or in another's place.
    """
    accepted, count = sums.of(layout, number), manifest.rows_of(number)
    with OpenShard(root, layout, number, count) as shard:
        present = {place for place, _ in layout.present(count)}
        for place in np.flatnonzero(shard.index[:, 0] != ABSENT).tolist():
            content = checked(shard, place, accepted) if place in present else shard.chunk(place)
            _values(shard, place, content)


def _values(shard: Shard, number: int, content: bytes) -> np.ndarray:
    try:
        return decoded(content, shard.layout.kind, shard.layout.chunk)
    except (ValueError, RuntimeError) as error:
        raise DamagedStoreError(_damaged(shard.path, f"chunk {number}: {error}")) from None


def checked_single(root: Path, manifest: Manifest, layout: ArrayLayout) -> bytes:
    """The one chunk of an array without samples, as it is stored.

    Raises:
        DamagedStoreError: It is damaged or missing.
    """
    path = root / layout.key()
    try:
        content = read_plain(path, layout.chunk_bytes + (layout.chunk_bytes >> 6) + 4096)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedStoreError(_missing(path)) from None
    found = int.from_bytes(content[-4:], "little")
    if len(content) < _SMALLEST or checksum(content[:-4]) != found:
        raise DamagedStoreError(_damaged(path, "its checksum does not fit"))
    if found != manifest.single[layout.path] or declared_size(content) > layout.chunk_bytes:
        raise DamagedStoreError(_damaged(path, "it is not what was captured"))
    _check_texts(path, content, layout)
    return content


def single_on_disk(root: Path, manifest: Manifest, layout: ArrayLayout) -> np.ndarray:
    """The values of an array without samples.

    Raises:
        DamagedStoreError: They are damaged or missing.
    """
    if not math.prod(layout.shape):
        return np.empty(layout.shape, layout.dtype)
    content = checked_single(root, manifest, layout)
    return _decoded(root / layout.key(), content, layout).reshape(layout.shape)


def _decoded(path: Path, content: bytes, layout: ArrayLayout) -> np.ndarray:
    try:
        return decoded(content, layout.kind, layout.chunk)
    except (ValueError, RuntimeError) as error:
        raise DamagedStoreError(_damaged(path, str(error))) from None


def _missing(path: Path) -> str:
    return f"{str(path)!r} is missing, although the manifest names it. {_FIX}"


def _damaged(path: Path, what: str) -> str:
    return f"{str(path)!r} is damaged: {what}. {_FIX}"


_FIX = "What else is readable: attnscope verify STORE. Take a copy of the store, or capture again."
