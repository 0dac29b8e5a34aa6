"""The manifest of a store: what it holds, as one file that is replaced by one rename."""

from __future__ import annotations

import hashlib
import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from attnscope.errors import DamagedStoreError, SchemaError
from attnscope.schema import SAMPLE
from attnscope.stores._files import FORMAT, HOLDS, MANIFEST, read_plain, write_whole
from attnscope.stores._layout import KINDS, MOST_CHUNK, ArrayLayout, checksum

OWN = "attnscope_"
"""How the root's attributes begin that are attnscope's own."""
CHECKSUMS = "checksums/crc32c"
"""The array that repeats the checksum of every inner chunk, one row per shard."""
MOST_BYTES = 64 << 20
"""How large a manifest may be."""
MOST_NODES, MOST_AXES, MOST_ENTRIES = 100_000, 16, 1 << 26
"""How many nodes it may name, how many axes an array may have, and how many inner chunks the arrays have together."""
MOST_VALUES = 4_000_000
"""How many lists and objects a manifest may have, which take far more memory than their two bytes."""
LARGEST_NUMBER = 2**53
_PATH = re.compile(r"[\w%~.-]{1,255}(/[\w%~.-]{1,255}){0,3}", re.ASCII)
"""The names of nodes that attnscope gives, of at most four levels."""
_CODING = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned", "valid_range")
"""Attributes by which a reader changes the numbers that it reads; no run has them."""


@dataclass(frozen=True)
class Manifest:
    """What a store holds.

    Attributes:
        groups: Attributes of each group, by its path; ``""`` is the root.
        arrays: Each array, by its path.
        samples: How many samples it has; None if its arrays are each one chunk.
        rows: Samples per shard.
        complete: Whether the run has ended.
        fingerprint: What the run is a run of, by what each entry is about.
        inputs: A digest of the inputs of these samples.
        shards: The checksum of each row of checksums, one per complete shard.
        last: The checksums of the inner chunks of the last shard, if that is incomplete.
        pending: Those of what is about to take its place.
        single: The checksum of each array that is one chunk, by its path.
    """

    groups: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, ArrayLayout]
    samples: int | None = None
    rows: int = 1
    complete: bool = False
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    inputs: str = ""
    shards: tuple[str, ...] = ()
    last: tuple[int, ...] = ()
    pending: tuple[int, ...] = ()
    single: Mapping[str, int] = field(default_factory=dict)

    @property
    def sharded(self) -> list[ArrayLayout]:
        """The arrays along the samples, in their order."""
        return [layout for layout in self.arrays.values() if layout.shard]

    @property
    def entries(self) -> int:
        """How many inner chunks one shard of every array has, together."""
        return sum(layout.chunks_per_shard for layout in self.sharded)

    def first_entry(self, path: str) -> int:
        """Where the checksums of an array begin in a row of checksums."""
        start = 0
        for layout in self.sharded:
            if layout.path == path:
                return start
            start += layout.chunks_per_shard
        raise KeyError(path)

    def rows_of(self, shard: int) -> int:
        """How many samples of a shard are in the store."""
        return max(0, min(self.rows, (self.samples or 0) - shard * self.rows))

    def with_samples(self, samples: int) -> Manifest:
        """The same with another number of samples."""
        arrays = {
            path: replace(layout, shape=(samples, *layout.shape[1:])) if layout.shard else layout
            for path, layout in self.arrays.items()
        }
        return replace(self, arrays=arrays, samples=samples)

    @property
    def checksums(self) -> ArrayLayout:
        """How the rows of checksums are stored."""
        shape = (len(self.shards), self.entries)
        return ArrayLayout(CHECKSUMS, ("shard", "chunk"), "uint32", shape, None, (1, max(self.entries, 1)))

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The metadata of each node but the root, by its path."""
        nodes: dict[str, dict[str, Any]] = {}
        for path, attributes in self.groups.items():
            if path:
                nodes[path] = _group(attributes, {})
        for path, layout in self.arrays.items():
            nodes[path] = layout.metadata()
        if self.sharded:
            nodes[CHECKSUMS.split("/")[0]] = _group({}, {})
            nodes[CHECKSUMS] = self.checksums.metadata()
        return dict(sorted(nodes.items()))

    def folders(self) -> list[str]:
        """All folders below the root, those above before those that are in them."""
        parts = [path.split("/") for path in self.nodes()]
        return sorted({"/".join(names[: n + 1]) for names in parts for n in range(len(names))})

    def content(self) -> bytes:
        """The file."""
        state = {
            "format": FORMAT,
            "complete": self.complete,
            "samples": self.samples,
            "rows": self.rows,
            "fingerprint": dict(self.fingerprint),
            "inputs": self.inputs,
            "shards": list(self.shards),
            "last": list(self.last),
            "pending": list(self.pending),
            "single": dict(self.single),
            "order": list(self.arrays),
        }
        attributes = {**self.groups[""], **{f"{OWN}{name}": value for name, value in state.items()}}
        root = _group(attributes, self.nodes())
        root["attributes"][f"{OWN}seal"] = _seal(root)
        return _dumped(root)

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """The ``zarr.json`` of every other node, by its path: what single groups and arrays show to other programs."""
        nodes = self.nodes()
        paths = list(nodes)
        for path, metadata in nodes.items():
            if metadata["node_type"] == "group":
                below = paths[bisect_left(paths, f"{path}/") : bisect_left(paths, f"{path}0")]  # 0 comes after /
                metadata = _group(metadata["attributes"], {p.removeprefix(f"{path}/"): nodes[p] for p in below})
            yield path, _dumped(metadata)

    @staticmethod
    def key_of_row(shard: int) -> str:
        """Name of the file with the checksums of a shard, below the root."""
        return f"{CHECKSUMS}/c.{shard}.0"

    def write(self, root: Path, *, durable: bool) -> None:
        """Replaces the manifest of a store."""
        write_whole(root / MANIFEST, [self.content()], durable=durable)

    def write_parts(self, root: Path, *, durable: bool) -> None:
        """Replaces the ``zarr.json`` of every other node."""
        for path, content in self.parts():
            write_whole(root / path / MANIFEST, [content], durable=durable)


def _group(attributes: Mapping[str, Any], inside: Mapping[str, Any]) -> dict[str, Any]:
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(inside)}
    return {
        "attributes": dict(attributes),
        "zarr_format": 3,
        "consolidated_metadata": consolidated,
        "node_type": "group",
    }


def _dumped(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _seal(root: Mapping[str, Any]) -> str:
    """A digest of a manifest but for its seal."""
    attributes = {name: value for name, value in root["attributes"].items() if name != f"{OWN}seal"}
    return hashlib.blake2b(_dumped({**root, "attributes": attributes}), digest_size=16).hexdigest()


def attributes_of_store(path: str | Path) -> dict[str, Any]:
    """Attributes of the root of a Zarr store; empty if there is no such store.

    Raises:
        DamagedStoreError: The file of the root is damaged.
    """
    return dict(_parsed(Path(path))[1]["attributes"]) if (Path(path) / MANIFEST).exists() else {}


def holds_maps(path: str | Path) -> bool:
    """Whether a folder is a store of maps, as far as its root can be read and says so."""
    try:
        attributes = attributes_of_store(path)
    except DamagedStoreError:
        return False
    return f"{OWN}format" in attributes and HOLDS not in attributes


def _parsed(path: Path) -> tuple[bytes, dict[str, Any]]:
    content = read_plain(path / MANIFEST, MOST_BYTES)
    try:
        document = parsed(content)
    except (ValueError, RecursionError) as error:
        raise DamagedStoreError(
            f"{str(path / MANIFEST)!r} is not whole: {error}. It is the manifest of the store, so nothing else in it "
            "can be read with certainty. Take a copy, or capture again."
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("attributes", {}), dict):
        raise DamagedStoreError(f"{str(path / MANIFEST)!r} does not describe a Zarr group of version 3.")
    document.setdefault("attributes", {})
    return content, document


def parsed(content: bytes) -> Any:
    """A JSON document.

    Raises:
        ValueError: It is not whole, or has too many parts.
        RecursionError: It is too deep.
    """
    if content.count(b"[") + content.count(b"{") > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} lists and objects")
    return json.loads(content)


def read_manifest(path: str | Path) -> Manifest:
    """The manifest of a store.

    Raises:
        FileNotFoundError: There is none.
        DamagedStoreError: It is damaged, was changed by something else than attnscope, or asks for too much.
        SchemaError: It is not of this version of the layout.
    """
    path = Path(path)
    content, document = _parsed(path)
    state = {name.removeprefix(OWN): v for name, v in document["attributes"].items() if name.startswith(OWN)}
    if "format" not in state:
        raise SchemaError(f"{str(path)!r} is not an attnscope run: its root has no 'attnscope_format'.")
    if state["format"] == 1:
        raise SchemaError(
            f"{str(path)!r} has no checksums, because xarray wrote it, or an earlier attnscope. It can be opened, but "
            "neither verified nor resumed. Save it again: attnscope.open(path).save(another_path)."
        )
    if state["format"] != FORMAT:
        raise SchemaError(
            f"{str(path)!r} has version {state['format']!r} of the layout, but this attnscope reads version "
            f"{FORMAT}. Open it with the attnscope that wrote it: version "
            f"{document['attributes'].get('attnscope', 'unknown')}."
        )
    try:
        manifest = _manifest(document, state)
        written = manifest.content()
    except DamagedStoreError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, OverflowError) as error:
        raise DamagedStoreError(
            f"{str(path / MANIFEST)!r} does not say what a manifest says: {type(error).__name__}, {error}."
        ) from None
    if written != content:
        raise DamagedStoreError(
            f"{str(path / MANIFEST)!r} is damaged, or was changed by something other than attnscope: "
            f"{_difference(json.loads(written), document)}. Take a copy, or capture again."
        )
    return manifest


def _difference(expected: Any, found: Any, where: str = "") -> str:
    """The first place in which two documents differ, in words."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*found, *expected]:
            place = f"{where}/{name}"
            if name not in expected:
                return f"{place} does not belong there"
            if name not in found:
                return f"{place} is missing"
            if expected[name] != found[name] and name != f"{OWN}seal":
                return _difference(expected[name], found[name], place)
        return "its seal does not fit what it says"
    return f"{where} is {_short(found)} where {_short(expected)} fits the rest" if where else "its bytes differ"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _manifest(document: Mapping[str, Any], state: Mapping[str, Any]) -> Manifest:
    metadata = document["consolidated_metadata"]["metadata"]
    if len(metadata) > MOST_NODES:
        raise DamagedStoreError(f"The store names {len(metadata):,} nodes, but at most {MOST_NODES:,} are read.")
    attributes = {name: value for name, value in document["attributes"].items() if not name.startswith(OWN)}
    groups = {"": attributes}
    for path, node in metadata.items():
        if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
            raise DamagedStoreError(f"The store names a node {path!r}, which is no name inside of a store.")
        if node["node_type"] == "group" and path != CHECKSUMS.split("/")[0]:
            groups[path] = node["attributes"]
    found = {path: _array(path, node) for path, node in metadata.items() if node["node_type"] == "array"}
    found.pop(CHECKSUMS, None)
    if sorted(found) != sorted(state["order"]):
        raise ValueError("the arrays are not those that are listed")
    manifest = Manifest(
        groups,
        {path: found[path] for path in state["order"]},
        None if state["samples"] is None else _whole(state["samples"]),
        max(1, _whole(state["rows"])),
        bool(state["complete"]),
        {str(name): str(value) for name, value in state["fingerprint"].items()},
        str(state["inputs"]),
        tuple(map(str, state["shards"])),
        tuple(map(_checksum, state["last"])),
        tuple(map(_checksum, state["pending"])),
        {str(name): _checksum(value) for name, value in state["single"].items()},
    )
    _check_sizes(manifest)
    return manifest


def _check_sizes(manifest: Manifest) -> None:
    """Checks that the parts of a manifest fit each other, and that nothing asks for more than any run does."""
    samples, rows = manifest.samples or 0, manifest.rows
    complete, left = divmod(samples, rows)
    if manifest.entries > MOST_ENTRIES:
        raise DamagedStoreError(
            f"A shard would have {manifest.entries:,} chunks, but at most {MOST_ENTRIES:,} are read."
        )
    if len(manifest.shards) != complete or len(manifest.last) != (manifest.entries if left else 0):
        raise ValueError(f"{samples} samples are not {len(manifest.shards)} shards of {rows} and a last one")
    if len(manifest.pending) not in (0, manifest.entries):
        raise ValueError("the checksums of the last shard are not as many as its chunks")
    for path, layout in manifest.arrays.items():
        if layout.shard and layout.shape[0] != samples:
            raise ValueError(f"{path!r} has {layout.shape[0]} samples, and the store {samples}")
        if not _covers(layout, rows):
            raise DamagedStoreError(f"The array {path!r} has a shape that its chunks do not fit.")
        if bool(layout.shard) == (path in manifest.single):
            raise ValueError(f"the checksum of {path!r} is missing, or in the wrong place")
        is_index = layout.dims == (path.rsplit("/", 1)[-1],)  # which is read as soon as the store is opened
        at_once = max(layout.chunk_bytes, layout.shape[0] * 8 if is_index else 0)
        if math.prod(layout.shape) > LARGEST_NUMBER or at_once > MOST_CHUNK:
            raise DamagedStoreError(
                f"The array {path!r} has {at_once:,} bytes that are read at once, but at most {MOST_CHUNK:,} are."
            )


def _covers(layout: ArrayLayout, rows: int) -> bool:
    """Whether the one chunk, or a shard of so many samples, is as large as the array is there, and no larger."""
    sizes = (rows, *layout.shape[1:]) if layout.shard else layout.shape
    parts = layout.chunk if layout.shard else (1,) * len(sizes)
    fitting = tuple(max(-(-size // part) * part, part) for size, part in zip(sizes, parts, strict=True))
    return fitting == (layout.shard or layout.chunk)


def _whole(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST_NUMBER:
        raise ValueError(f"{number!r} is no size")
    return number


def _checksum(number: Any) -> int:
    if _whole(number) >= 2**32:
        raise ValueError(f"{number!r} is no checksum")
    return int(number)


def _array(path: str, node: Mapping[str, Any]) -> ArrayLayout:
    """One array as its metadata say it.

    Raises:
        DamagedStoreError: It asks for what attnscope does not write.
    """
    for name in _CODING:
        if name in node["attributes"]:
            raise DamagedStoreError(
                f"The array {path!r} has the attribute {name!r}, by which other numbers would be read than were "
                "captured. attnscope does not write it: take a copy that was not changed."
            )
    if node["data_type"] not in KINDS:
        raise DamagedStoreError(f"The array {path!r} is of the data type {node['data_type']!r}, which no run has.")
    shape, chunk = (tuple(map(_whole, sizes)) for sizes in (node["shape"], _chunk_shape(node)))
    outer = tuple(map(_whole, node["chunk_grid"]["configuration"]["chunk_shape"]))
    sharded = node["codecs"][0]["name"] == "sharding_indexed"
    dims = tuple(map(str, node["dimension_names"]))
    if not len(shape) == len(chunk) == len(outer) == len(dims) <= MOST_AXES or 0 in chunk:
        raise DamagedStoreError(f"The array {path!r} has axes that do not fit each other.")
    if sharded and (dims[:1] != (SAMPLE,) or any(a % b for a, b in zip(outer, chunk, strict=True))):
        raise DamagedStoreError(f"The array {path!r} has the dims {dims}, but {SAMPLE!r} has to be the first.")
    return ArrayLayout(path, dims, node["data_type"], shape, outer if sharded else None, chunk, node["attributes"])


def _chunk_shape(node: Mapping[str, Any]) -> Any:
    first = node["codecs"][0]
    configuration = (first if first["name"] == "sharding_indexed" else node["chunk_grid"])["configuration"]
    return configuration["chunk_shape"]


def row_checksum(row: np.ndarray) -> str:
    """The checksum of a row of checksums, as the manifest lists it."""
    return f"{checksum(np.ascontiguousarray(row, '<u4').tobytes()):08x}"
