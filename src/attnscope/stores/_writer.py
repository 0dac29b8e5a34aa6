"""Writes a store: shards first, and then the manifest that names them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attnscope.errors import InputError, TooLargeError
from attnscope.plain_values import plain
from attnscope.schema import SAMPLE
from attnscope.stores._files import (
    MANIFEST,
    PART,
    check_folder,
    make_folder,
    part_of,
    remove,
    write_out_all,
    write_whole,
)
from attnscope.stores._layout import (
    MOST_CHUNK,
    ArrayLayout,
    bytes_per_sample,
    encoded,
    encoded_shard,
    layout_of,
    rows_per_shard,
)
from attnscope.stores._manifest import CHECKSUMS, Manifest, row_checksum
from attnscope.stores._names import names_of_nodes, original_name
from attnscope.stores._shards import rows_on_disk

INTERVAL = 10.0
"""Seconds between commits."""
NAME = "name"
"""Attribute of an array whose name cannot be read back from its path."""
Groups = Mapping[str, xr.Dataset]
"""Datasets by their path in the store."""


def write_groups(root: Path, groups: Groups, attributes: Mapping[str, Any]) -> None:
    """Writes datasets as a new store, in a folder that is there and empty.

    Args:
        root: The folder.
        groups: Datasets by their path.
        attributes: Of the root.
    """
    counts = {dataset.sizes[SAMPLE] for dataset in groups.values() if _along_samples(dataset)}
    writer = StoreWriter(root, interval=math.inf)
    if len(counts) == 1 and min(counts):
        (samples,) = counts
        first = {path: _first(dataset) for path, dataset in groups.items()}
        step = rows_for(first)
        for start in range(0, samples, step):
            part = slice(start, start + step)
            writer.append({path: part_of_samples(dataset, part) for path, dataset in groups.items()}, attributes)
    else:
        writer.begin(groups, attributes, rows=None)
    writer.finish(attributes)


def _along_samples(dataset: xr.Dataset) -> bool:
    return any(variable.dims[:1] == (SAMPLE,) for variable in dataset.variables.values())


def _first(dataset: xr.Dataset) -> xr.Dataset:
    return part_of_samples(dataset, slice(0, 1))


def part_of_samples(dataset: xr.Dataset, samples: slice) -> xr.Dataset:
    return dataset.isel({SAMPLE: samples}) if SAMPLE in dataset.dims else dataset


class StoreWriter:
    """Appends samples to a store that nobody else writes to.

    Args:
        root: The folder of the store. The caller holds its lock.
        manifest: What is in it; None for a new one.
        interval: Seconds between commits; 0 to commit whatever is appended. The first is at once.
        fingerprint: What the run is a run of.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest | None = None,
        *,
        interval: float = INTERVAL,
        fingerprint: Mapping[str, str] | None = None,
    ) -> None:
        self._root = root
        self._manifest = manifest
        self._interval = interval
        self._fingerprint = dict(fingerprint or {})
        self._committed_at = -math.inf
        self._rows: dict[str, list[np.ndarray]] = {}
        self._count = 0
        self._shards: list[str] = []
        self._unsynced: set[Path] = set()
        self._inputs = ""
        self._is_new = manifest is None
        if manifest is not None:
            self._inputs, self._shards = manifest.inputs, list(manifest.shards)
            self._settle(manifest)

    @property
    def samples(self) -> int:
        """How many samples were appended, those that are not committed too."""
        return 0 if self._manifest is None else len(self._shards) * self._manifest.rows + self._count

    @property
    def committed(self) -> int:
        """How many samples the manifest on the disk names."""
        return 0 if self._manifest is None or self._is_new else self._manifest.samples or 0

    @property
    def manifest(self) -> Manifest | None:
        """What the store holds; None as long as nothing was appended to a new one."""
        return self._manifest

    def append(self, groups: Groups, attributes: Mapping[str, Any], inputs: str = "") -> None:
        """Takes the next samples, and commits if the last commit is long ago.

        Args:
            groups: Datasets by their path, each with the same samples; the first time also what has no samples.
            attributes: Of the root.
            inputs: A digest of the inputs up to these.

        Raises:
            InputError: An axis has another size than before.
        """
        if self._manifest is None:
            self.begin(groups, attributes, rows=rows_for(groups))
        manifest = self._started()
        variables = by_path(groups)
        arrays = {layout.path: checked_rows(layout, variables[layout.path]) for layout in manifest.sharded}
        for path, array in arrays.items():
            self._rows.setdefault(path, []).append(array)
        self._count += len(next(iter(arrays.values())))
        self._inputs = inputs
        self._set_attributes(groups, attributes)
        while self._count >= manifest.rows:
            self._write_shard(manifest.rows)
        if time.monotonic() - self._committed_at >= self._interval:
            self.commit()

    def begin(self, groups: Groups, attributes: Mapping[str, Any], *, rows: int | None) -> None:
        """Makes the folders, and writes all arrays without samples.

        Args:
            groups: Datasets by their path, with their first samples.
            attributes: Of the root.
            rows: Samples per shard; None to write every array as one chunk.
        """
        layouts, single = {}, {}
        group_attributes: dict[str, dict[str, Any]] = {above: {} for path in groups for above in _folders(path)}
        group_attributes |= attributes_of(groups, attributes)
        for path, variable in by_path(groups).items():
            layouts[path] = layout_of(path, variable, rows, samples=0)
        manifest = Manifest(group_attributes, layouts, None if rows is None else 0, rows or 1)
        manifest = replace(manifest, fingerprint=self._fingerprint)
        for folder in {*manifest.nodes()}:
            for above in _folders(folder):
                self._make(self._root / above)
        for path, variable in by_path(groups).items():
            if not layouts[path].shard:
                single[path] = self._write_single(layouts[path], variable)
        self._manifest = replace(manifest, single=single)
        self._manifest.write_parts(self._root, durable=False)
        self._unsynced.update(self._root / path / MANIFEST for path in manifest.nodes())

    def written_out(self) -> Manifest:
        """What the store will hold, once everything that was written is on the disk for good."""
        write_out_all(self._unsynced)
        self._unsynced.clear()
        return self._started()

    def commit(self, *, complete: bool = False) -> None:
        """Writes all that was appended to the disk, then the manifest that names it."""
        manifest = self._started()
        samples = None if manifest.samples is None else self.samples
        last = manifest.last
        if self._count and samples != manifest.samples:
            last = self._write_shard(self._count)
        elif not self._count:
            last = ()
        write_out_all(self._unsynced)
        self._unsynced.clear()
        manifest = self._started() if samples is None else self._started().with_samples(samples)
        manifest = replace(
            manifest, inputs=self._inputs, shards=tuple(self._shards), last=last, pending=(), complete=complete
        )
        manifest.write(self._root, durable=True)
        self._manifest, self._is_new = manifest, False
        self._committed_at = time.monotonic()

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Commits the rest, and says that the run is complete."""
        self._set_attributes({}, attributes)
        self.commit()
        self._started().write_parts(self._root, durable=True)
        self.commit(complete=True)

    def _started(self) -> Manifest:
        if self._manifest is None:
            raise InputError("Nothing was appended, so there is no store yet.")
        return self._manifest

    def _set_attributes(self, groups: Groups, attributes: Mapping[str, Any]) -> None:
        manifest = self._started()
        changed = attributes_of(groups, attributes)
        root = {**manifest.groups[""], **changed[""]}  # what it says of its own variables stays, if none of them came
        self._manifest = replace(manifest, groups={**manifest.groups, **changed, "": root})

    def _write_shard(self, count: int) -> tuple[int, ...]:
        """Writes the first `count` samples that wait as a shard; they go on waiting if it is not complete.

        Returns:
            The checksums of its inner chunks.
        """
        manifest = self._started()
        number, is_complete = len(self._shards), count == manifest.rows
        replaces = number == len(manifest.shards) and bool(manifest.last)
        checksums = []
        waiting: list[tuple[Path, list[bytes]]] = []
        for layout in manifest.sharded:
            together = joined(self._rows[layout.path])
            parts, checksums_of_one = encoded_shard(layout, together[:count])
            checksums.append(checksums_of_one)
            self._rows[layout.path] = [together[count:]] if is_complete else [together]
            if replaces:
                waiting.append((self._root / layout.key(number), parts))
            else:
                self._write(self._root / layout.key(number), parts)
        rows = np.concatenate(checksums)
        if replaces:
            self._manifest = replace(manifest, pending=tuple(rows.tolist()), complete=False)
            self._manifest.write(self._root, durable=True)
            for path, parts in waiting:
                self._write(path, parts)
        if is_complete:
            self._write(self._root / manifest.key_of_row(number), [encoded(rows[None], "uint32")])
            self._shards.append(row_checksum(rows))
            self._count -= count
        return tuple(rows.tolist())

    def _write_single(self, layout: ArrayLayout, variable: xr.Variable) -> int:
        if layout.chunk_bytes > MOST_CHUNK:
            raise TooLargeError(
                f"{layout.path!r} takes {layout.chunk_bytes:,} bytes, but an array without {SAMPLE!r} as its first "
                f"dimension is stored as one chunk of at most {MOST_CHUNK:,}. Put {SAMPLE!r} first: "
                f"array.transpose({SAMPLE!r}, ...)."
            )
        if not variable.size:
            return 0
        content = encoded(_values(variable, layout).reshape(layout.shape), layout.kind)
        self._write(self._root / layout.key(), [content])
        return int.from_bytes(content[-4:], "little")

    def _write(self, path: Path, parts: list[bytes]) -> None:
        write_whole(path, parts, durable=False)
        self._unsynced.add(path)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            make_folder(folder)
            self._unsynced.add(folder)

    def _settle(self, manifest: Manifest) -> None:
        """Takes up an earlier run: removes files that it did not commit, and reads its last shard."""
        for folder in manifest.folders():
            check_folder(self._root / folder)
        for layout in manifest.sharded:
            self._remove_uncommitted(layout.path, len(manifest.shards) + bool(manifest.last))
        self._remove_uncommitted(CHECKSUMS, len(manifest.shards))
        remove(part_of(self._root / MANIFEST))
        for path in manifest.nodes():
            remove(part_of(self._root / path / MANIFEST))
        if not manifest.last:
            return
        last = []
        for layout in manifest.sharded:
            rows, checksums = rows_on_disk(self._root, manifest, layout, len(manifest.shards))
            self._rows[layout.path] = [rows]
            last.append(checksums)
        self._count = manifest.rows_of(len(manifest.shards))
        if manifest.pending:
            settled = replace(manifest, last=tuple(np.concatenate(last).tolist()), pending=())
            settled.write(self._root, durable=True)
            self._manifest = settled

    def _remove_uncommitted(self, path: str, shards: int) -> None:
        """Removes the chunks of an array that the manifest does not name."""
        for file in list((self._root / path).iterdir()):
            parts = file.name.removesuffix(PART).split(".")
            is_chunk = parts[0] == "c" and all(part.isdecimal() for part in parts[1:]) and len(parts) > 1
            if is_chunk and (file.name.endswith(PART) or int(parts[1]) >= shards):
                remove(file)


def _folders(path: str) -> list[str]:
    """A path and all above it, from the top, without the root."""
    parts = path.split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))] if path else []


def rows_for(groups: Groups) -> int:
    """How many samples a shard of such datasets holds."""
    return rows_per_shard(bytes_per_sample(_variables(groups)))


def begun(root: Path, groups: Groups, attributes: Mapping[str, Any], fingerprint: Mapping[str, str]) -> Manifest:
    """Begins a store that several processes will write: all that it has but its samples, on the disk for good.

    Args:
        root: The folder.
        groups: Datasets by their path, with some samples.
        attributes: Of the root.
        fingerprint: What the run is a run of.

    Returns:
        The manifest, which is not written yet.
    """
    writer = StoreWriter(root, fingerprint=fingerprint)
    writer.begin(groups, attributes, rows=rows_for(groups))
    return writer.written_out()


def _variables(groups: Groups) -> dict[str, xr.Variable]:
    return {path: v for path, v in by_path(groups).items() if v.dims[:1] == (SAMPLE,)}


def by_path(groups: Groups) -> dict[str, xr.Variable]:
    """Every variable by the path of its array, in the order of the datasets."""
    variables = {}
    for group, dataset in groups.items():
        names = {str(name): variable for name, variable in dataset.variables.items()}
        for name, node in names_of_nodes(names).items():
            variable = _stored(names[name])
            if original_name(node) != name:
                variable.attrs = {**variable.attrs, NAME: name}
            variables[f"{group}/{node}".lstrip("/")] = variable
    return variables


def _stored(variable: xr.Variable) -> xr.Variable:
    """A variable of a data type that a store has; instants count nanoseconds since 1970, which other programs read."""
    if variable.dtype.kind in "Mm":
        units = "nanoseconds since 1970-01-01" if variable.dtype.kind == "M" else "nanoseconds"
        counted = xr.Variable(variable.dims, variable.values, variable.attrs, {"units": units, "dtype": "int64"})
        return xr.conventions.encode_cf_variable(counted)
    return variable.to_base_variable()


def attributes_of(groups: Groups, attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The attributes of each group by its path, with those of the root."""
    own = {path: _group_attributes(dataset) for path, dataset in groups.items()}
    return {**own, "": {**own.get("", {}), **_plain(attributes)}}


def _group_attributes(dataset: xr.Dataset) -> dict[str, Any]:
    attributes = _plain(dataset.attrs)
    coordinates = [node for name, node in names_of_nodes(map(str, dataset.variables)).items() if name in dataset.coords]
    others = [node for node in coordinates if node not in dataset.dims]
    return {**attributes, **({"coordinates": " ".join(others)} if others else {})}


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): plain(value) for name, value in attributes.items()}


def _values(variable: xr.Variable, layout: ArrayLayout) -> np.ndarray:
    values = np.asarray(variable.values)
    if values.dtype.kind == "O" and layout.kind == "string":
        values = np.array([str(value) for value in values.ravel()], np.dtypes.StringDType()).reshape(values.shape)
    return values.astype(layout.dtype, copy=False)


def checked_rows(layout: ArrayLayout, variable: xr.Variable) -> np.ndarray:
    """The samples of one array, checked.

    Raises:
        InputError: An axis has another size than the array.
    """
    for dim, stored, new in zip(layout.dims[1:], layout.shape[1:], variable.shape[1:], strict=True):
        if stored != new:
            raise InputError(
                f"The batches differ: {dim!r} of {'/' + layout.path.rsplit('/', 1)[0]!r} has {stored} positions in "
                f"the store and {new} in this batch. Pad all batches to one length, or leave store= out."
            )
    return _values(variable, layout)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
