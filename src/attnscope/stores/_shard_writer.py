"""Writes some shards of a store that other processes write to as well; the manifest is another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnscope.stores._files import part_of, write_out_all, write_part, write_whole
from attnscope.stores._layout import encoded, encoded_shard
from attnscope.stores._manifest import Manifest, row_checksum
from attnscope.stores._writer import Groups, by_path, checked_rows, joined


@dataclass(frozen=True)
class WrittenShard:
    """One shard of every array, on the disk for good: what a manifest has to know of it.

    Attributes:
        number: Of the shard.
        samples: How many it holds.
        checksum: That of its row of checksums; empty if it is incomplete.
        checksums: Those of its inner chunks, if it is incomplete or waits to take another's place.
        waits: Whether its files still have their other names, since what they replace is in the manifest.
    """

    number: int
    samples: int
    checksum: str
    checksums: tuple[int, ...]
    waits: bool


class ShardWriter:
    """Writes shards, one after the other.

    Args:
        root: The folder of the store.
        manifest: How the store lies on the disk; what it says of shards is not used.
        first: The number of the first shard.
        waits: Whether that one is to wait for its place.
        check: Called before each shard is written; raises an error if nothing may be written any more.
    """

    def __init__(self, root: Path, manifest: Manifest, first: int, *, waits: bool, check: Callable[[], None]) -> None:
        self._root, self._manifest = root, manifest
        self._number = first
        self._waiting = first if waits else -1
        self._check = check
        self._rows: dict[str, list[np.ndarray]] = {layout.path: [] for layout in manifest.sharded}
        self._count = 0
        self._written: list[WrittenShard] = []
        self._unsynced: set[Path] = set()

    def append(self, groups: Groups) -> None:
        """Takes the next samples.

        Args:
            groups: Datasets by their path, each with the same samples.

        Raises:
            InputError: An axis has another size than in the store.
        """
        variables = by_path(groups)
        arrays = {layout.path: checked_rows(layout, variables[layout.path]) for layout in self._manifest.sharded}
        for path, array in arrays.items():
            self._rows[path].append(array)
        self._count += len(next(iter(arrays.values())))
        while self._count >= self._manifest.rows:
            self._write(self._manifest.rows)

    def finish(self) -> list[WrittenShard]:
        """Writes what is left as an incomplete shard, and waits until everything is on the disk for good."""
        if self._count:
            self._write(self._count)
        write_out_all(self._unsynced)
        return self._written

    def _write(self, count: int) -> None:
        self._check()
        waits, is_complete = self._number == self._waiting, count == self._manifest.rows
        checksums = []
        for layout in self._manifest.sharded:
            together = joined(self._rows[layout.path])
            parts, checksums_of_one = encoded_shard(layout, together[:count])
            checksums.append(checksums_of_one)
            self._rows[layout.path] = [together[count:]] if count < len(together) else []
            self._put(self._root / layout.key(self._number), parts, waits=waits)
        row = np.concatenate(checksums)
        if is_complete:
            path = self._root / self._manifest.key_of_row(self._number)
            self._put(path, [encoded(row[None], "uint32")], waits=False)
        kept = tuple(row.tolist()) if waits or not is_complete else ()
        self._written.append(WrittenShard(self._number, count, row_checksum(row) if is_complete else "", kept, waits))
        self._number += 1
        self._count -= count

    def _put(self, path: Path, parts: list[bytes], *, waits: bool) -> None:
        if waits:
            write_part(path, parts, durable=False)
        else:
            write_whole(path, parts, durable=False)
        self._unsynced.add(part_of(path) if waits else path)
