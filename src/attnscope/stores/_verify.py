"""Reads all of a store, and says what is damaged and what is readable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnscope.errors import AttnscopeError, DamagedStoreError, counted
from attnscope.stores._files import LOCK, MANIFEST, check_folder, read_plain
from attnscope.stores._manifest import CHECKSUMS, MOST_BYTES, Manifest, parsed, read_manifest
from attnscope.stores._shards import Checksums, check_shard, single_on_disk


@dataclass(frozen=True)
class Verification:
    """What a store was found to hold.

    Attributes:
        path: Where it is.
        complete: Whether its run has ended.
        samples: How many samples it has.
        files: How many files were read, one at least.
        damaged: What is wrong with each file that is, in words; empty if all is as it was written.
        arrays: The names of all arrays.
        affected: Those of them in which something is damaged.
        unknown: Files that do not belong to the run, below the store; they are not read.
    """

    path: str
    complete: bool
    samples: int
    files: int
    damaged: tuple[str, ...]
    arrays: tuple[str, ...]
    affected: tuple[str, ...]
    unknown: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all that the manifest names is there as it was written."""
        return not self.damaged

    def __str__(self) -> str:
        run = "a complete run" if self.complete else "an interrupted run"
        lines = [
            f"{self.path!r} holds {run} of {counted(self.samples, 'sample')} in {counted(len(self.arrays), 'array')}; "
            f"{counted(self.files, 'file')} read."
        ]
        if self.damaged:
            lines += [
                f"{counted(len(self.damaged), 'file')} damaged or missing:",
                *(f"  {what}" for what in self.damaged),
            ]
            whole = [name for name in self.arrays if name not in self.affected]
            lines += ["Readable:" if whole else "No array is readable as a whole.", *(f"  {name}" for name in whole)]
        else:
            lines.append("Everything is as it was written.")
        if self.unknown:
            lines += ["Not part of the run, and not read:", *(f"  {name}" for name in self.unknown)]
        return "\n".join(lines)


def verify(path: str | Path) -> Verification:
    """Reads all of a store and compares it with its manifest.

    Args:
        path: A store that `AttentionMaps.save` or ``capture(store=...)`` wrote.

    Returns:
        What was found. A manifest that cannot be read is an error, since then nothing is known.

    Raises:
        FileNotFoundError: There is no store.
        DamagedStoreError: The manifest is damaged.
        SchemaError: It is no store of this version.
    """
    root = Path(path)
    if not (root / MANIFEST).exists():
        raise FileNotFoundError(f"{str(path)!r} is no store: it has no {MANIFEST!r}. Give what was written.")
    manifest = read_manifest(root)
    checksums = Checksums(root, manifest)
    damaged: dict[str, str] = {}
    affected: set[str] = set()
    known = {MANIFEST, LOCK}
    for folder in filter(os.path.lexists, [root / path for path in manifest.folders()]):
        try:
            check_folder(folder)
        except DamagedStoreError as error:
            damaged[str(error)] = folder.name
    for key, array, check in _checks(root, manifest, checksums):
        known.add(key)
        try:
            check()
        except AttnscopeError as error:
            damaged.setdefault(str(error), key)
            if array:
                affected.add(array)
    return Verification(
        str(path),
        manifest.complete,
        manifest.samples or 0,
        len(known) - 1,
        tuple(damaged),
        tuple(manifest.arrays),
        tuple(sorted(affected)),
        tuple(sorted(name for name in _files(root) if name not in known)),
    )


def _checks(root: Path, manifest: Manifest, checksums: Checksums) -> Iterator[tuple[str, str, Any]]:
    """Each file of a store: its name, the array that it belongs to if any, and what raises an error if it is wrong."""
    nodes = manifest.nodes()
    for path, content in manifest.parts():
        yield f"{path}/{MANIFEST}", "", _part_check(root, path, content, manifest, nodes[path])
    for layout in manifest.arrays.values():
        if not layout.shard:
            if layout.shape and 0 in layout.shape:
                continue
            yield layout.key(), layout.path, lambda a=layout: single_on_disk(root, manifest, a)
            continue
        for shard in range(len(manifest.shards) + bool(manifest.last)):
            yield (
                layout.key(shard),
                layout.path,
                lambda a=layout, n=shard: check_shard(root, manifest, a, n, checksums),
            )
    for shard in range(len(manifest.shards)):
        yield manifest.key_of_row(shard), "", lambda n=shard: checksums.row(n)


def _part_check(root: Path, path: str, content: bytes, manifest: Manifest, node: dict[str, Any]) -> Any:
    """What checks the ``zarr.json`` of one node: it repeats the manifest, or says what was true earlier in the run."""

    def check() -> None:
        place = root / path / MANIFEST
        try:
            found = read_plain(place, MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedStoreError(f"{str(place)!r} is missing, although the manifest names it.") from None
        if found == content:
            return
        if not manifest.complete and _is_earlier(found, path, manifest, node):
            return
        raise DamagedStoreError(f"{str(place)!r} is damaged: it does not repeat the manifest.")

    return check


def _is_earlier(found: bytes, path: str, manifest: Manifest, node: dict[str, Any]) -> bool:
    try:
        document = parsed(found)
        if node["node_type"] == "group":
            return bool(document["node_type"] == "group")
        samples = document["shape"][0]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return False
    if not isinstance(samples, int) or not 0 <= samples <= node["shape"][0]:
        return False
    if path == CHECKSUMS:
        return bool({**document, "shape": node["shape"]} == node)
    return bool(document == replace(manifest.arrays[path], shape=(samples, *node["shape"][1:])).metadata())


def _files(root: Path) -> Iterator[str]:
    """Everything in a store that is no folder, below its root."""
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(root).as_posix()
