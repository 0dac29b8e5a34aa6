"""Opens a store: what Zarr and xarray read of it is compared with the manifest on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from attnscope.errors import DamagedStoreError
from attnscope.stores._files import MANIFEST, read_plain, read_range
from attnscope.stores._layout import MOST_CHUNK, ArrayLayout
from attnscope.stores._manifest import CHECKSUMS, Manifest, read_manifest
from attnscope.stores._shards import Checksums, OpenShard, checked, checked_single


class CheckedStore(LocalStore):
    """A store as Zarr reads it: its metadata as they were when it was opened, and chunks only if they are right.

    Args:
        root: The folder.
        manifest: Its manifest.
    """

    def __init__(self, root: Path | str, manifest: Manifest) -> None:
        super().__init__(root, read_only=True)
        self._checksums = Checksums(self.root, manifest)

    @cached_property
    def _parts(self) -> dict[str, bytes]:
        return dict(self._checksums.manifest.parts())

    def with_read_only(self, read_only: bool = False) -> CheckedStore:
        """Itself; it cannot be written to."""
        return self

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """What a file holds, or a part of it."""
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype, byte_range=byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """What a file holds, or a part of it.

        Raises:
            DamagedStoreError: It is damaged or missing.
        """
        content = self._content(key, byte_range)
        return None if content is None else (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of several files."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    def _content(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        manifest = self._checksums.manifest
        if key == MANIFEST:
            return manifest.content()
        path, _, name = key.rpartition("/")
        if path == CHECKSUMS and name.startswith("c."):
            self._checksums.row(int(name.split(".")[1]))
            return read_plain(self.root / key, MOST_CHUNK)
        layout = manifest.arrays.get(path)
        if layout is None or name == MANIFEST:
            return self._parts.get(path) if name == MANIFEST else None
        if not layout.shard:
            return _part(checked_single(self.root, manifest, layout), byte_range)
        number = int(name.split(".")[1])
        try:
            return self._of_shard(layout, number, byte_range)
        except DamagedStoreError:
            if number < len(manifest.shards):
                raise
            # a writer may have replaced the last shard since this store was opened
            self._checksums = _with_earlier(Checksums(self.root, read_manifest(self.root)), manifest)
            return self._of_shard(layout, number, byte_range)

    def _of_shard(self, layout: ArrayLayout, number: int, byte_range: ByteRequest | None) -> bytes:
        accepted = self._checksums.of(layout, number)
        rows = self._checksums.manifest.rows_of(number)
        with OpenShard(self.root, layout, number, rows) as shard:
            if byte_range is None:
                for place, _ in layout.present(rows):
                    checked(shard, place, accepted)
                return read_range(shard.descriptor, 0, shard.size)
            start, end = _ends(byte_range, shard.size)
            place = shard.number_at(start, end)
            if place >= 0:
                return checked(shard, place, accepted)
            if start < shard.size - shard.index_bytes:
                raise DamagedStoreError(f"{str(shard.path)!r} has no chunk at the bytes {start} to {end}.")
            return read_range(shard.descriptor, start, end)


def _with_earlier(now: Checksums, before: Manifest) -> Checksums:
    """What a later manifest says of the chunks, if it is of the same run.

    Raises:
        DamagedStoreError: It is of another run.
    """
    chunks = [[(each.path, each.chunk, each.shard) for each in m.sharded] for m in (before, now.manifest)]
    if chunks[0] != chunks[1] or (now.manifest.samples or 0) < (before.samples or 0):
        raise DamagedStoreError("The store was replaced by another one since it was opened. Open it again.")
    return now


def _ends(byte_range: ByteRequest, size: int) -> tuple[int, int]:
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, min(byte_range.end, size)
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, size
    return max(0, size - byte_range.suffix), size


def _part(content: bytes, byte_range: ByteRequest | None) -> bytes:
    if byte_range is None:
        return content
    start, end = _ends(byte_range, len(content))
    return content[start:end]
