"""A store that is put together of shards that other processes write."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnscope.plain_values import plain
from attnscope.stores._files import put_in_place, write_out
from attnscope.stores._manifest import Manifest
from attnscope.stores._shard_writer import WrittenShard


class Assembly:
    """Names shards in the manifest of a store, in their order. It reads and writes no samples.

    Args:
        root: The folder of the store. The caller holds its lock.
        manifest: What is in it.
        is_new: Whether that manifest is not on the disk yet.
        interval: Seconds between commits; the first is at once.
    """

    def __init__(self, root: Path, manifest: Manifest, *, is_new: bool, interval: float) -> None:
        self._root, self._interval = root, interval
        self._committed, self._is_new = manifest, is_new
        self._appended = self._whole = manifest
        self._committed_at = -math.inf

    @property
    def manifest(self) -> Manifest:
        """What the store holds with all that was appended."""
        return self._appended

    @property
    def committed(self) -> int:
        """How many samples the manifest on the disk names."""
        return 0 if self._is_new else self._committed.samples or 0

    def append(
        self, shards: Sequence[WrittenShard], groups: Mapping[str, Mapping[str, Any]], inputs: str | None
    ) -> None:
        """Takes the next shards, and commits if the last commit is long ago.

        Args:
            shards: The shards that follow those that are there; the first may replace an incomplete one.
            groups: The attributes of the groups, ``""`` being the root.
            inputs: A digest of the inputs up to the end of these; None if no batch ends there, so that nothing is
                committed before more shards are there.
        """
        for shard in shards:
            if shard.waits:
                self._put_in_place(shard)
            self._appended = _with(self._appended, shard)
        self._set_attributes(groups)
        if inputs is None:
            return
        self._whole = self._appended = replace(self._appended, inputs=inputs)
        if time.monotonic() - self._committed_at >= self._interval:
            self.commit()

    def commit(self, *, complete: bool = False) -> None:
        """Writes the manifest, if it says more than the one on the disk."""
        wanted = replace(self._whole, complete=complete)
        if not wanted.samples or (wanted == self._committed and not self._is_new):
            return
        wanted.write(self._root, durable=True)
        self._committed, self._is_new = wanted, False
        self._committed_at = time.monotonic()

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Commits all, and says that the run is complete."""
        self._set_attributes({"": attributes})
        self._whole = self._appended
        self.commit()
        self._whole.write_parts(self._root, durable=True)
        self.commit(complete=True)

    def _set_attributes(self, groups: Mapping[str, Mapping[str, Any]]) -> None:
        changed = {path: {str(name): plain(value) for name, value in each.items()} for path, each in groups.items()}
        root = {**self._appended.groups[""], **changed.get("", {})}
        self._appended = replace(self._appended, groups={**self._appended.groups, **changed, "": root})

    def _put_in_place(self, shard: WrittenShard) -> None:
        """Puts a shard in the place of one that the manifest names: either is what it says meanwhile."""
        self._committed = self._whole = replace(self._committed, pending=shard.checksums, complete=False)
        self._committed.write(self._root, durable=True)
        files = [self._root / layout.key(shard.number) for layout in self._committed.sharded]
        for file in files:
            put_in_place(file)
        for folder in {file.parent for file in files}:
            write_out(folder)


def _with(manifest: Manifest, shard: WrittenShard) -> Manifest:
    """A manifest that names one more shard."""
    shards = (*manifest.shards, shard.checksum) if shard.checksum else manifest.shards
    last = () if shard.checksum else shard.checksums
    samples = shard.number * manifest.rows + shard.samples
    return replace(manifest.with_samples(samples), shards=shards, last=last, pending=())
