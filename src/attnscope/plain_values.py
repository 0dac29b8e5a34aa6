"""Values as files for other programs have them: JSON, and tables for spreadsheets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: object) -> Any:
    """A value as JSON has it.

    Numbers of fewer bits than Python's own become what `shortest` makes of them.

    Args:
        value: Numbers, texts, arrays, or structures of them.

    Returns:
        Arrays and tuples as lists; NaN and infinity as None; what is none of these as text.

    Example:
        >>> plain({"a": np.array([0.1, np.nan], "float32"), 1: (True, np.int8(3))})
        {'a': [0.1, None], '1': [True, 3]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(_widened(np.asarray(value)).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def shortest(number: np.ndarray | np.generic) -> Any:
    """A number of NumPy as Python's own, by the fewest digits that read back as it in its own type.

    Example:
        >>> shortest(np.float32(0.1)), float(np.float32(0.1))
        (0.1, 0.10000000149011612)
    """
    return _widened(np.asarray(number)).item()


def _widened(array: np.ndarray) -> np.ndarray:
    """Numbers of fewer bits as float64, by their shortest decimals; all else as it is."""
    is_narrow = array.dtype.kind == "f" and array.dtype.itemsize < np.dtype("float64").itemsize
    return array.astype(str).astype("float64") if is_narrow else array


def cell(value: object) -> str:
    """A value as a table in text has it.

    A missing number is an empty cell. Text that a spreadsheet would take for a formula gets an apostrophe in front.

    Example:
        >>> cell(np.float32(0.1)), cell(float("nan")), cell("=1+1"), cell("-5"), cell("P-017")
        ('0.1', '', "'=1+1", '-5', 'P-017')
    """
    if isinstance(value, np.floating):
        value = shortest(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value)
    is_formula = text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text)
    return f"'{text}" if is_formula else text


def writable(text: str) -> str:
    r"""A text that any encoding of Unicode can hold: half a character is written as its code.

    Example:
        >>> writable("caf\u00e9 \ud83d") == "caf\u00e9 \\ud83d"
        True
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
