"""JSON text as plain data, within limits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attnscope.errors import AttnscopeError, ModelFileError, UnsafeFileError

MAX_BYTES = 32 * 2**20
MAX_VALUES = 2_000_000
MAX_DEPTH = 256
SAVE_AGAIN = "Get the file again from where it was first saved, or save the model again: model.save('model.keras')."


def parsed(text: bytes | str, where: str) -> dict[str, Any]:
    """The object that a JSON text describes.

    Stricter than `json.loads`: only UTF-8, no key twice, and at most 32 MiB, 2 million values and 256 levels, which is
    well above what the largest models need. NaN and infinity, which Python writes, are accepted: many models mask with
    ``-inf``.

    Args:
        text: The text as it is in the file.
        where: What is being read, for the error.

    Returns:
        A dictionary of plain values.

    Raises:
        ModelFileError: The text is not such an object, or is damaged.
        UnsafeFileError: It has a key twice, or is larger or deeper than any model needs.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        raise _refusal(where, f"has {len(raw):,} bytes", f"at most {MAX_BYTES:,}")
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise _refusal(where, f"has more than {MAX_VALUES:,} values", f"at most {MAX_VALUES:,}")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_repeats)
    except RecursionError as error:
        raise _refusal(where, "is nested too deeply to be parsed", f"at most {MAX_DEPTH} levels") from error
    except _RepeatedKeyError as error:
        raise _refusal(where, f"cannot be read: {error}", "a plain JSON object in UTF-8") from error
    except ValueError as error:
        raise ModelFileError(
            f"{where} cannot be read: {error}. Expected a plain JSON object in UTF-8. {SAVE_AGAIN}"
        ) from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{where} is a {type(value).__name__}. Expected a JSON object. {SAVE_AGAIN}")
    if not _within_depth(value):
        raise _refusal(where, f"is nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")
    return value


@contextmanager
def readable(what: str, fix: str) -> Iterator[None]:
    """Report a damaged file as damaged, whatever the library that parses it raises.

    Args:
        what: The file and its kind, for the error.
        fix: What to do about it.

    Raises:
        ModelFileError: Anything inside failed, other than with one of attnscope's own errors.
    """
    try:
        yield
    except AttnscopeError:
        raise
    except Exception as error:
        raise ModelFileError(f"{what} cannot be read: {error}. Expected a complete, undamaged file. {fix}") from error


def _refusal(where: str, problem: str, expected: str) -> UnsafeFileError:
    return UnsafeFileError(f"{where} {problem}. Expected {expected}. {SAVE_AGAIN}")


class _RepeatedKeyError(ValueError):
    """An object has a key twice, so that two readers may read two things."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _RepeatedKeyError(f"the key {repeated[:60]!r} appears twice in one object")
    return value


def _within_depth(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return True
    return False
