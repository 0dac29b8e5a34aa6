"""The places in an HDF5 file where texts of any length lie, read as bytes.

The HDF5 library walks such a heap from piece to piece by the sizes that stand there, and a size of 0 keeps it walking
for ever; and any number of attributes may claim the same text. Both are to be known before it reads the first.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

_HEAP = b"GCOL\x01\x00\x00\x00"
_HEAD = 16
"""Bytes before the first piece, and before what each piece holds."""


def longest_text(path: Path) -> int:
    """The size of the largest piece in any heap of a file, in bytes; 0 where there is none.

    Raises:
        ValueError: A heap has pieces that do not follow one another to its end, or sizes that are not of 8 bytes.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        version = raw[8]
        sizes = raw[13:15] if version < 2 else raw[9:11]
        if sizes != b"\x08\x08":
            raise ValueError(f"addresses and sizes have {list(sizes)} bytes, where 8 and 8 are usual")
        return max((size for at in _heaps(raw) for size in _pieces(raw, at)), default=0)


def _heaps(raw: mmap.mmap) -> Iterator[int]:
    at = raw.find(_HEAP)
    while at >= 0:
        yield at
        at = raw.find(_HEAP, at + 1)


def _pieces(raw: mmap.mmap, at: int) -> Iterator[int]:
    """The sizes of what one heap holds."""
    (size,) = struct.unpack_from("<Q", raw, at + 8)
    end = at + size
    if end > len(raw):
        raise ValueError(f"the heap of texts at byte {at:,} ends beyond the file")
    at += _HEAD
    while end - at >= _HEAD:
        index, _, _, size = struct.unpack_from("<HHIQ", raw, at)
        step = _HEAD + (size + 7) // 8 * 8 if index else size
        if step < _HEAD or at + step > end:
            raise ValueError(f"the heap of texts has a piece of {size:,} bytes at byte {at:,}")
        yield size if index else 0
        at += step
