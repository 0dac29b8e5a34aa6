"""A map as the bytes of a block: square roots in few levels, the strongest weights of every row exact.

This folder's README describes the layout. The scale of a row is its largest weight *after* the exact ones: these are
few, and without them a row needs fewer levels for the same error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

EXACT, MASKED, ODD = 253, 254, 255
"""Codes that are not values: one of the exact weights; masked; not a weight."""
MOST_LEVELS = 252
STRONGEST = 8
"""How many weights of a row are kept exactly, as float16."""
THUMBNAIL, THUMBNAIL_LEVELS = 64, 63
"""Most rows and columns of a thumbnail, and its levels: it is a picture, and its numbers come from the map."""
ODD_LISTED = 256
LARGEST = 65504.0
"""The largest float16: anything larger is listed with the cells that are not weights."""
SMALLEST = np.float16(6e-8)


@dataclass(frozen=True)
class Map:
    """What one panel of a site shows of one sample.

    Attributes:
        values: dims ``(row, column)``, float32.
        masked: dims ``(row, column)``, see `masking.closed_cells`; None where no cell is.
        counted: dims ``(row,)``: the queries that are not padding.
        received: dims ``(column,)``: what each key receives, where the values do not tell; NaN where it is not known.
    """

    values: np.ndarray
    masked: np.ndarray | None
    counted: np.ndarray
    received: np.ndarray | None = None

    @cached_property
    def odd(self) -> np.ndarray | None:
        """Where there is no weight: NaN, infinite or negative. None if there is no such cell."""
        with np.errstate(invalid="ignore"):
            fine = bool(self.values.min(initial=0) >= 0 and self.values.max(initial=0) <= LARGEST)  # False for NaN
            return None if fine else np.asarray(~((self.values >= 0) & (self.values <= LARGEST)))

    @cached_property
    def weights(self) -> np.ndarray:
        """The values, 0 where there is no weight or the cell is masked."""
        nothing = [cells for cells in (self.odd, self.masked) if cells is not None]
        return np.where(np.logical_or.reduce(nothing), np.float32(0), self.values) if nothing else self.values


def thumbnail(shown: Map) -> bytes:
    """A map in at most 64 x 64 blocks, not yet deflated."""
    rows, columns = (-(-size // THUMBNAIL) for size in shown.values.shape)
    pooled = _reduced(np.maximum, shown.weights, rows, columns)
    scale = np.asarray(pooled.max(initial=0), np.float32)
    codes = _codes(pooled, scale, np.array(THUMBNAIL_LEVELS, np.float32))
    _mark_pooled(codes, shown, rows, columns)
    return scale.tobytes() + codes.tobytes() + bytes(-codes.size % 4)


def read_thumbnails(content: bytes, shapes: Sequence[tuple[int, int]]) -> Iterator[tuple[float, np.ndarray]]:
    """The largest weight and the codes of each thumbnail of a block, for maps of these rows and columns."""
    inflated, place = zlib.decompress(content, -zlib.MAX_WBITS), 0
    for shape in shapes:
        rows, columns = (-(-size // -(-size // THUMBNAIL)) for size in shape)
        codes = np.frombuffer(inflated, np.uint8, rows * columns, place + 4).reshape(rows, columns)
        yield float(np.frombuffer(inflated, "<f4", 1, place)[0]), codes
        place += 4 + codes.size + -codes.size % 4


def block(shown: Map, max_error: float, *, pool: int | None = None) -> bytes:
    """A map, deflated.

    Args:
        shown: The map.
        max_error: Largest absolute error of a weight that is not one of the exact ones. Rows that sum to 1 keep it; if
            252 levels are not enough for that, the error is larger, as scale and levels determine.
        pool: The most rows and columns to keep codes of; None to keep all.
    """
    rows, columns = shown.values.shape
    pooling = (1, 1) if pool is None else (-(-rows // pool), -(-columns // pool))
    count = min(STRONGEST, columns)
    places = np.argpartition(shown.weights, columns - count, axis=-1)[:, columns - count :]
    places.sort(axis=-1)
    strongest = np.take_along_axis(shown.weights, places, axis=-1)
    if pooling == (1, 1):
        codes, scale, levels = _all_codes(shown, places, strongest, max_error)
        order = np.argsort(strongest == 0, axis=-1, kind="stable")  # 0 has a code of its own: to the end
    else:
        codes, scale, levels = _pooled_codes(shown, *pooling)
        order = np.argsort(-strongest, axis=-1, kind="stable")
    exact = np.take_along_axis(strongest, order, axis=-1)
    where = np.zeros(0, np.int64) if shown.odd is None else np.flatnonzero(shown.odd)[:ODD_LISTED]
    position = np.take_along_axis(places, order, axis=-1).astype("<u2" if columns <= 2**16 else "<u4")
    parts = (
        np.array([rows, columns, count, len(where), *pooling], "<u4"),
        _received(shown).astype("<f4"),
        where.astype("<u4"),
        shown.values.ravel()[where].astype("<f4"),
        scale,
        position[:0] if pooling == (1, 1) else position,
        _half(exact),
        levels.astype(np.uint8),
        codes,
    )
    return deflated(b"".join(part.tobytes() for part in parts))


def _all_codes(
    shown: Map, places: np.ndarray, strongest: np.ndarray, max_error: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rest = shown.weights.copy()
    np.put_along_axis(rest, places, 0, axis=-1)
    scale = _half(rest.max(-1, initial=0))
    levels = _levels(scale, max_error)
    codes = _codes(rest, scale[:, None], levels[:, None])
    if shown.masked is not None:
        codes[shown.masked] = MASKED
    if shown.odd is not None:
        codes[shown.odd] = ODD
    others = np.take_along_axis(codes, places, axis=-1)
    np.put_along_axis(codes, places, np.where(strongest > 0, np.uint8(EXACT), others), axis=-1)
    return codes, scale, levels


def _pooled_codes(shown: Map, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pooled = _reduced(np.maximum, shown.weights, rows, columns)
    scale = _half(pooled.max(-1, initial=0))
    levels = np.full(scale.shape, MOST_LEVELS, np.float32)
    codes = _codes(pooled, scale[:, None], levels[:, None])
    _mark_pooled(codes, shown, rows, columns)
    return codes, scale, levels


def _reduced(function: np.ufunc, array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """One cell for every block of this many rows and columns."""
    if rows > 1:
        array = function.reduceat(array, np.arange(0, array.shape[0], rows), axis=0)
    if columns > 1:
        array = function.reduceat(array, np.arange(0, array.shape[1], columns), axis=1)
    return array


def _mark_pooled(codes: np.ndarray, shown: Map, rows: int, columns: int) -> None:
    """Marks blocks that are masked as a whole, and those with any cell that is not a weight."""
    if shown.masked is not None:
        codes[_reduced(np.logical_and, shown.masked, rows, columns)] = MASKED
    if shown.odd is not None:
        codes[_reduced(np.logical_or, shown.odd, rows, columns)] = ODD


def _levels(scale: np.ndarray, max_error: float) -> np.ndarray:
    """As few levels as the error allows, but at least 12 for an error of 0.001, because flat rows have shades too.

    A code is off by half a step at most: scale / levels + scale / (4 levels^2).
    """
    least = np.clip(round(12 * (0.001 / max_error) ** 2), 3, MOST_LEVELS)
    scale = scale.astype(np.float32)
    needed = (scale + np.sqrt(np.square(scale) + max_error * scale)) / (2 * max_error)
    return np.asarray(np.clip(np.ceil(needed), least, MOST_LEVELS), np.float32)


def _codes(weights: np.ndarray, scale: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Square roots in steps of the scale; anything but 0 has at least the code 1."""
    factor = np.square(levels) / np.where(scale > 0, scale, 1).astype(np.float32)
    roots = np.sqrt(weights * factor)
    np.rint(roots, out=roots)
    codes = np.minimum(roots, levels, out=roots).astype(np.uint8)
    codes[(codes == 0) & (weights > 0)] = 1
    return np.asarray(codes)


def _received(shown: Map) -> np.ndarray:
    """Mean of every column over the queries that count; NaN where one of them has no weight there."""
    if shown.received is not None:
        return shown.received
    share = (shown.counted / max(1, int(shown.counted.sum()))).astype(np.float32)
    received = np.asarray(share @ shown.weights)
    if shown.odd is not None:
        received[shown.odd[shown.counted].any(0)] = np.nan
    return received


def _half(exact: np.ndarray) -> np.ndarray:
    """As float16; anything but 0 stays above 0."""
    half = exact.astype("<f2")
    half[(half == 0) & (exact > 0)] = SMALLEST
    return half


def deflated(content: bytes) -> bytes:
    """Raw deflate with runs and Huffman codes only: for maps as small as slower levels, in a tenth of the time."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return compressor.compress(content) + compressor.flush()
