"""Whether a setting of a stored layer only describes it: what is stored is data, but Keras acts upon some of it."""

from __future__ import annotations

import re
from typing import Any

from attnscope.errors import UnsafeFileError

_DTYPE = re.compile(r"bool|string|str|u?int(2|4|8|16|32|64)|b?float(8|16|32|64)\w*|complex(64|128)")
_READ_FROM = {
    *("vocabulary", "merges", "proto", "special_tokens", "language_tokens"),
    *("file", "filename", "filepath", "file_path", "path", "directory", "url"),
}
"""Keys whose text is a place to read from."""
_MAX_SIZE = 2**28
"""Numbers in a tensor of a stored shape: some layers make a tensor of that shape when they are built."""
_PATH = re.compile(r"/|~|\\\\|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://|(.*[\\/])?\.\.([\\/]|$)")
_WORDS = {"oov_token", "mask_token", "unk_token", "pad_token"}
"""Keys whose text is a token, whatever it looks like."""
SAVE_AGAIN = "Load it where you trust it, and save it again: model.save('model.keras')."


def check_setting(key: str, item: object, layer: str, *, may_be_read_from: bool) -> None:
    """Reject a setting that makes Keras read a file, fill the memory, or call a layer while it loads the model.

    Args:
        key: The setting's name.
        item: Its value as stored.
        layer: The layer that it belongs to, for the error.
        may_be_read_from: Whether text may be a place to read from: in a trusted class of the user's own it may.

    Raises:
        UnsafeFileError: It is such a setting.
    """
    if isinstance(item, str) and not may_be_read_from:
        _check_text(key, item, layer)
    _check_shape(key, item, layer)
    _check_calls(key, item, layer)


def check_dtype(settings: object, layer: str) -> None:
    """Reject an array of any but a plain dtype: NumPy makes room for whatever it says, such as a billion letters.

    Args:
        settings: What is stored of the array.
        layer: The layer that it belongs to, for the error.

    Raises:
        UnsafeFileError: The dtype is none of numbers, truth values or text.
    """
    dtype = settings.get("dtype") if isinstance(settings, dict) else None
    if dtype is not None and not (isinstance(dtype, str) and _DTYPE.fullmatch(dtype)):
        raise UnsafeFileError(
            f"In {layer!r} an array has the dtype {str(dtype)[:60]!r}. Expected a plain dtype such as "
            f"'float32'. {SAVE_AGAIN}"
        )


def _check_text(key: str, text: str, layer: str) -> None:
    if (key in _READ_FROM and text) or (key not in _WORDS and len(text) > 1 and _PATH.match(text)):
        raise UnsafeFileError(
            f"{layer!r} has {key}={text[:80]!r}, a place outside the file to read from. "
            f"Expected the file to contain what it needs. {SAVE_AGAIN}"
        )


def _check_shape(key: str, item: object, layer: str) -> None:
    if not key.endswith("shape") or not isinstance(item, list):
        return
    size = 1
    for number in item:
        size *= max(abs(number), 1) if isinstance(number, int) else 1
        if size > _MAX_SIZE:
            raise UnsafeFileError(
                f"{layer!r} has {key}={str(item)[:80]}, which is {size:,} numbers or more. "
                f"Expected at most {_MAX_SIZE:,}. {SAVE_AGAIN}"
            )


def _check_calls(key: str, nodes: Any, layer: str) -> None:
    """A call of a layer in a graph takes a tensor of the graph; one that takes only constants would run at once."""
    if key != "inbound_nodes" or not isinstance(nodes, dict | list):
        return
    for node in nodes:
        if not (_has_tensor(node) if isinstance(node, dict) else node):
            raise UnsafeFileError(
                f"A call of {layer!r} takes no tensor of the model, so it would run on loading. "
                f"Expected calls that take tensors of the model. {SAVE_AGAIN}"
            )


def _has_tensor(node: object) -> bool:
    waiting = [node]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return True
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return False
