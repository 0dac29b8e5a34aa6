"""The heaps in which an HDF5 file keeps texts of any length, read as bytes.

The HDF5 library walks a heap from entry to entry by the sizes written there, and a size of 0 keeps it walking forever.
Any number of attributes may also claim the same text. Both must be checked before the library reads the first one.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

_HEAP = b"GCOL\x01\x00\x00\x00"
_HEAD = 16
"""Bytes before the first entry, and before what each entry holds."""


def longest_text(path: Path) -> int:
    """The size of the largest entry in any heap of a file, in bytes; 0 where there is none.

    Raises:
        ValueError: A heap has entries that do not follow one another to its end, or sizes that do not take 8 bytes.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        version = raw[8]
        sizes = raw[13:15] if version < 2 else raw[9:11]
        if sizes != b"\x08\x08":
            raise ValueError(f"addresses and sizes take {list(sizes)} bytes, but 8 and 8 are supported")
        return max((size for at in _heaps(raw) for size in _entries(raw, at)), default=0)


def _heaps(raw: mmap.mmap) -> Iterator[int]:
    at = raw.find(_HEAP)
    while at >= 0:
        yield at
        at = raw.find(_HEAP, at + 1)


def _entries(raw: mmap.mmap, at: int) -> Iterator[int]:
    """The sizes of the entries of one heap."""
    (size,) = struct.unpack_from("<Q", raw, at + 8)
    end = at + size
    if end > len(raw):
        raise ValueError(f"the text heap at byte {at:,} extends beyond the end of the file")
    at += _HEAD
    while end - at >= _HEAD:
        index, _, _, size = struct.unpack_from("<HHIQ", raw, at)
        step = _HEAD + (size + 7) // 8 * 8 if index else size
        if step < _HEAD or at + step > end:
            raise ValueError(f"a text heap has an entry of {size:,} bytes at byte {at:,}")
        yield size if index else 0
        at += step
