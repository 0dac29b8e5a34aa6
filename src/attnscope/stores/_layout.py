"""How one array lies on disk: its metadata as Zarr defines them, its chunks, and their encoding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import google_crc32c
import numpy as np
import xarray as xr
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import compress, decompress

from attnscope.plain_values import plain
from attnscope.schema import RANK, SAMPLE, key_dims, query_dims

SHARD_BYTES = 32 << 20
"""How many bytes of all arrays together, before compression, a shard of samples holds at most, if it is several."""
CHUNK_BYTES = 64 << 10
"""How many bytes of small samples share an inner chunk."""
LARGEST_CHUNK = 64 << 20
"""How many bytes an inner chunk has at most before compression, but for a single row."""
MOST_CHUNK = 1 << 30
"""How many bytes a chunk may have before compression; only an array without samples comes near."""
MOST_ROWS = 4096
"""How many samples a shard holds at most."""
ABSENT = 2**64 - 1
"""What the index of a shard says of an inner chunk that is not there."""
LEVEL = 1
"""Of the compression."""

_ZSTD = {"name": "zstd", "configuration": {"level": LEVEL, "checksum": False}}
_CRC = {"name": "crc32c"}
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
TEXTS = "string"
"""Zarr's name of the data type of texts."""
_BYTES_OF_TEXT = 64
"""How large a text is taken to be where sizes are planned."""
MOST_TEXT = 64 << 20
"""How many bytes a chunk of texts may have before compression."""
KINDS = {
    **{name: np.dtype(name) for name in ("bool", "int8", "uint8", "float16", "float32", "float64")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (16, 32, 64)},
    **{name: np.dtype(name) for name in ("complex64", "complex128")},
    TEXTS: np.dtypes.StringDType(),
}
"""Every data type that a store has, by Zarr's name."""


@dataclass(frozen=True)
class ArrayLayout:
    """One array of a store.

    Attributes:
        path: Where it is, below the root: ``sites/encoder_0.mha/scores``.
        dims: Names of its axes.
        kind: Zarr's name of its data type.
        shape: Sizes of its axes; of the samples how many there are in the store.
        shard: Shape of a shard; None if the array has no samples and is one chunk.
        chunk: Shape of an inner chunk, or of the one chunk.
        attributes: As Zarr keeps them.
    """

    path: str
    dims: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    shard: tuple[int, ...] | None
    chunk: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """How many inner chunks a shard has along each axis."""
        return tuple(a // b for a, b in zip(self.shard, self.chunk, strict=True)) if self.shard else ()

    @property
    def chunks_per_shard(self) -> int:
        """How many inner chunks a shard has."""
        return math.prod(self.grid) if self.shard else 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array in memory."""
        return KINDS[self.kind]

    @property
    def chunk_bytes(self) -> int:
        """The most bytes that a chunk has before compression."""
        if self.kind == TEXTS:
            return MOST_TEXT
        return math.prod(self.chunk) * self.dtype.itemsize

    def key(self, shard: int = 0) -> str:
        """Name of the file of a shard, or of the one chunk, below the root."""
        first = [str(shard)] if self.shard else ["0"] * bool(self.shape)
        return f"{self.path}/{'.'.join(['c', *first, *['0'] * (len(self.shape) - 1)])}"

    def metadata(self) -> dict[str, Any]:
        """What its ``zarr.json`` says."""
        as_bytes = {"name": "vlen-utf8", "configuration": {}} if self.kind == TEXTS else _LITTLE
        if self.dtype.kind != "T" and self.dtype.itemsize == 1:
            as_bytes = {"name": "bytes"}
        codecs: list[dict[str, Any]] = [as_bytes, _ZSTD, _CRC]
        if self.shard:
            configuration = {
                "chunk_shape": list(self.chunk),
                "codecs": codecs,
                "index_codecs": [_LITTLE, _CRC],
                "index_location": "end",
            }
            codecs = [{"name": "sharding_indexed", "configuration": configuration}]
        return {
            "shape": list(self.shape),
            "data_type": self.kind,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.shard or self.chunk)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": _FILL[np.dtype(self.dtype).kind],
            "codecs": codecs,
            "attributes": dict(self.attributes),
            "dimension_names": list(self.dims),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }

    def present(self, rows: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The inner chunks of a shard that holds so many samples: number and place of each."""
        for number, place in enumerate(np.ndindex(*self.grid)):
            starts = [n * size for n, size in zip(place, self.chunk, strict=True)]
            ends = (rows, *self.shape[1:])
            if all(start < end for start, end in zip(starts, ends, strict=True)):
                yield number, place


_FILL: dict[str, Any] = {"b": False, "i": -1, "u": 0, "f": "NaN", "c": ["NaN", "NaN"], "T": ""}
"""What plain Zarr shows for a chunk that is missing, by kind of data type; attnscope raises an error."""


def layout_of(path: str, variable: xr.Variable, rows: int | None, samples: int) -> ArrayLayout:
    """How a variable is stored.

    Args:
        path: Where, below the root.
        variable: Its values, or those of the first samples.
        rows: Samples per shard; None to store it as one chunk.
        samples: How many samples the store has.
    """
    kind = TEXTS if variable.dtype.kind in "TUO" else variable.dtype.name
    dims, attributes = tuple(map(str, variable.dims)), {str(k): plain(v) for k, v in variable.attrs.items()}
    if rows is None or dims[:1] != (SAMPLE,):
        chunk = tuple(max(size, 1) for size in variable.shape)
        return ArrayLayout(path, dims, kind, variable.shape, None, chunk, attributes)
    chunk = _chunk_shape(dims, variable.shape, _bytes_of(variable), rows)
    whole = tuple(-(-size // part) * part for size, part in zip((rows, *variable.shape[1:]), chunk, strict=True))
    shard = tuple(max(size, part) for size, part in zip(whole, chunk, strict=True))
    return ArrayLayout(path, dims, kind, (samples, *variable.shape[1:]), shard, chunk, attributes)


def _chunk_shape(dims: tuple[str, ...], shape: tuple[int, ...], bytes_per_sample: int, rows: int) -> tuple[int, ...]:
    """Several small samples; or one sample with one head, one step..., and no more queries than fit."""
    if bytes_per_sample < CHUNK_BYTES:
        return (_power_of_two(CHUNK_BYTES // max(bytes_per_sample, 1), rows), *(max(size, 1) for size in shape[1:]))
    positions = {*query_dims(dims), *key_dims(dims)}
    inside = positions | {RANK} if positions else set(dims[1:])
    chunk = [size if dim in inside else 1 for dim, size in zip(dims, shape, strict=True)]
    chunk[0] = 1
    bytes_of_one = max(bytes_per_sample // math.prod(shape[1:]), 1)
    for axis in range(1, len(chunk)):
        others = math.prod(chunk) // chunk[axis]
        chunk[axis] = max(1, min(chunk[axis], LARGEST_CHUNK // (others * bytes_of_one)))
    return tuple(chunk)


def rows_per_shard(bytes_per_sample: int) -> int:
    """How many samples a shard holds: a power of two, by the bytes of one sample in all arrays together."""
    return _power_of_two(SHARD_BYTES // max(bytes_per_sample, 1), MOST_ROWS)


def _power_of_two(number: int, most: int) -> int:
    """The largest power of two that is at most `number` and `most`, and at least 1."""
    return int(2 ** int(math.log2(max(1, min(number, most)))))


def bytes_per_sample(variables: Mapping[str, xr.Variable]) -> int:
    """Bytes of one sample in several arrays together."""
    return sum(_bytes_of(variable) for variable in variables.values())


def _bytes_of(variable: xr.Variable) -> int:
    return math.prod(variable.shape[1:]) * (_BYTES_OF_TEXT if variable.dtype.kind in "TUO" else variable.dtype.itemsize)


def encoded(array: np.ndarray, kind: str) -> bytes:
    """One chunk as Zarr encodes it: bytes, compressed, and their CRC-32C."""
    if kind == TEXTS:
        content = VLenUTF8().encode(np.asarray(array).astype(object).ravel())
    else:
        content = np.ascontiguousarray(array, KINDS[kind].newbyteorder("<")).tobytes()
    packed: bytes = compress(content, level=LEVEL)
    return packed + checksum(packed).to_bytes(4, "little")


def checksum(content: bytes) -> int:
    """CRC-32C, as Zarr's codec of this name computes it."""
    return int(google_crc32c.value(content))


def encoded_shard(layout: ArrayLayout, rows: np.ndarray) -> tuple[list[bytes], np.ndarray]:
    """A shard as Zarr encodes it, and the checksum of each of its inner chunks (0 where there is none).

    Args:
        layout: Of the array.
        rows: The samples of the shard, one at least.
    """
    index = np.full((layout.chunks_per_shard, 2), ABSENT, "<u8")
    checksums = np.zeros(layout.chunks_per_shard, "<u4")
    parts: list[bytes] = []
    offset = 0
    for number, place in layout.present(len(rows)):
        part = encoded(_chunk_at(layout, rows, place), layout.kind)
        index[number] = offset, len(part)
        checksums[number] = int.from_bytes(part[-4:], "little")
        offset += len(part)
        parts.append(part)
    content = index.tobytes()
    return [*parts, content, checksum(content).to_bytes(4, "little")], checksums


def _chunk_at(layout: ArrayLayout, rows: np.ndarray, place: Sequence[int]) -> np.ndarray:
    """The values of an inner chunk, filled up to its whole shape at the ends of the array."""
    slices = tuple(slice(n * size, (n + 1) * size) for n, size in zip(place, layout.chunk, strict=True))
    values = rows[slices]
    if values.shape == layout.chunk:
        return values
    fill = "" if layout.kind == TEXTS else np.array(float("nan") if layout.dtype.kind in "fc" else 0, layout.dtype)
    whole = np.full(layout.chunk, fill, layout.dtype)
    whole[tuple(map(slice, values.shape))] = values
    return whole


def decoded(content: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a chunk.

    Raises:
        ValueError: Its checksum does not fit, or it holds something else than so many values.
    """
    if len(content) < 5 or checksum(content[:-4]) != int.from_bytes(content[-4:], "little"):
        raise ValueError("its checksum does not fit its content")
    size = math.prod(shape) * KINDS[kind].itemsize
    if declared_size(content) > (MOST_TEXT if kind == TEXTS else size):
        raise ValueError("it says that it holds more than its array has there")
    unpacked = decompress(content[:-4])
    if kind == TEXTS:
        _check_number_of_texts(unpacked, math.prod(shape))
        texts: np.ndarray = VLenUTF8().decode(unpacked).astype(KINDS[kind]).reshape(shape)
        return texts
    if len(unpacked) != size:
        raise ValueError(f"it holds {len(unpacked):,} bytes, and {size:,} are expected")
    return np.frombuffer(unpacked, KINDS[kind].newbyteorder("<")).reshape(shape).astype(KINDS[kind], copy=False)


def check_texts(content: bytes, shape: tuple[int, ...]) -> None:
    """Checks how many texts a chunk says that it has, for which its reader would make room at once.

    Raises:
        ValueError: It is not so many, or they do not say how large they become.
    """
    if declared_size(content) > MOST_TEXT:
        raise ValueError("it says that it holds more than its array has there")
    _check_number_of_texts(decompress(content), math.prod(shape))


def _check_number_of_texts(content: bytes, count: int) -> None:
    said = int.from_bytes(content[:4], "little")
    if len(content) < 4 or said != count:
        raise ValueError(f"it says that it holds {said:,} texts, and {count:,} are expected")


def declared_size(content: bytes) -> int:
    """How many bytes something that was compressed with Zstandard says that it holds; many if it does not say.

    Source:
        RFC 8878, section 3.1.1.1.
    """
    if content[:4] != b"\x28\xb5\x2f\xfd" or len(content) < 6:
        return ABSENT
    descriptor = content[4]
    single, size_flag = bool(descriptor & 0x20), descriptor >> 6
    start = 5 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    length = (1 if single else 0, 2, 4, 8)[size_flag]
    if not length or len(content) < start + length:
        return ABSENT
    size = int.from_bytes(content[start : start + length], "little")
    return size + 256 if length == 2 else size
