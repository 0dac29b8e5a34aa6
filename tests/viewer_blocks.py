"""Reads the viewer's blocks back by their written layout, in plain loops: what a page must see in them."""

import zlib
from dataclasses import dataclass

import numpy as np

EXACT, MASKED, ODD = 253, 254, 255


@dataclass
class Read:
    """A block of a map: values (NaN where odd, 0 where masked), codes, the bound of each value's error."""

    values: np.ndarray
    codes: np.ndarray
    bounds: np.ndarray
    received: np.ndarray
    odd: dict
    pool: tuple
    tops: list


def inflated(content):
    return zlib.decompress(content, -zlib.MAX_WBITS)


class Reader:
    def __init__(self, content):
        self.content, self.place = content, 0

    def take(self, kind, count):
        array = np.frombuffer(self.content, kind, count, self.place)
        self.place += array.nbytes
        return array


def read_map(content):
    reader = Reader(inflated(content))
    rows, columns, exact, odd, pool_rows, pool_columns = map(int, reader.take("<u4", 6))
    received = reader.take("<f4", columns)
    places, odd_values = reader.take("<u4", odd), reader.take("<f4", odd)
    code_rows, code_columns = -(-rows // pool_rows), -(-columns // pool_columns)
    scale = reader.take("<f2", code_rows).astype(float)
    pooled = (pool_rows, pool_columns) != (1, 1)
    position = reader.take("<u2" if columns <= 2**16 else "<u4", rows * exact if pooled else 0)
    weight = reader.take("<f2", rows * exact).reshape(rows, exact)
    levels = reader.take("u1", code_rows).astype(float)
    codes = reader.take("u1", code_rows * code_columns).reshape(code_rows, code_columns)
    assert reader.place == len(reader.content)
    values, bounds = np.zeros(codes.shape), np.zeros(codes.shape)
    for row in range(code_rows):
        next_exact = 0
        for column in range(code_columns):
            code = int(codes[row, column])
            if code == EXACT:
                values[row, column] = weight[row, next_exact]
                next_exact += 1
            elif code == ODD:
                values[row, column] = np.nan
            elif code not in (0, MASKED):
                values[row, column] = scale[row] * (code / levels[row]) ** 2
                bounds[row, column] = scale[row] * (1.25 if code == 1 else code + 0.25) / levels[row] ** 2
    tops = [list(zip(position.reshape(rows, exact)[row], weight[row], strict=True)) for row in range(rows * pooled)]
    odds = {divmod(int(p), columns): float(v) for p, v in zip(places, odd_values, strict=True)}
    return Read(values, codes, bounds, received, odds, (pool_rows, pool_columns), tops)


def read_thumbnails(content, shapes):
    """Each thumbnail of maps of these shapes: values and codes."""
    reader = Reader(inflated(content))
    found = []
    for rows, columns in shapes:
        scale = float(reader.take("<f4", 1)[0])
        small = tuple(-(-size // -(-size // 64)) for size in (rows, columns))
        codes = reader.take("u1", small[0] * small[1]).reshape(small)
        reader.take("u1", -codes.size % 4)
        values = np.where(codes <= 63, scale * (codes / 63.0) ** 2, np.nan)
        found.append((values, codes))
    assert reader.place == len(reader.content)
    return found
