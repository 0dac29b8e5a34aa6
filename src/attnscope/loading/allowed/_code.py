"""What a layer that brings code would have run, in words; the code is read as bytes, never unmarshalled."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from attnscope.loading.allowed._names import RUNS_CODE

LAMBDAS = ("Lambda", "__lambda__")
_NAME_IN_BYTECODE = re.compile(rb"[\xda\xfa\x5a\x7a]([\x02-\x7f])")


def code_in_words(class_name: str, settings: object) -> str:
    """What a stored object would run.

    Args:
        class_name: One of `RUNS_CODE`, or ``"__lambda__"``.
        settings: Its own configuration.
    """
    if class_name not in LAMBDAS:
        return RUNS_CODE[class_name]
    function = settings.get("function", settings) if isinstance(settings, dict) else settings
    if isinstance(function, dict) and function.get("class_name") == "function":
        return f"the function {function.get('config')!r} of {function.get('module')!r}"
    if isinstance(function, str):
        return f"the function {function!r}"
    code = _code_text(function)
    if code is None:
        return "Python code"
    try:
        raw = base64.b64decode("".join(code.split()), validate=True)
    except (binascii.Error, ValueError):
        raw = code.encode("utf-8", "surrogatepass")
    names = list(dict.fromkeys(_names_in(raw)))[:12]
    mentions = f" that mentions {', '.join(map(repr, names))}" if names else ""
    return f"{len(raw)} bytes of Python bytecode{mentions}"


def named_functions(settings: object) -> list[str]:
    """The functions that a ``Lambda`` runs, if it has only the names of all of them; otherwise none.

    Args:
        settings: Its own configuration.
    """
    stored = settings if isinstance(settings, dict) else {}
    names: list[str] = []
    for key in ("function", "output_shape", "mask"):
        value = stored.get(key)
        if isinstance(value, dict) and value.get("class_name") == "function" and value.get("module") == "builtins":
            value = value.get("config")
        if isinstance(value, str) and stored.get(f"{key}_type") != "lambda":
            names.append(value)
        elif key == "function" or not _is_plain(value):
            return []
    return names


def _is_plain(value: object) -> bool:
    """Whether a setting is no function, but absent or a shape."""
    return value is None or (isinstance(value, list) and all(isinstance(size, int | None) for size in value))


def _code_text(function: object) -> str | None:
    """The stored bytecode, in any of the forms that Keras has used; None if there is none."""
    while isinstance(function, dict | list):
        if isinstance(function, list):
            function = function[0] if function else None
        else:
            function = function.get("code", function.get("value", function.get("config")))
    return function if isinstance(function, str) else None


def _names_in(raw: bytes) -> Iterator[str]:
    """The short texts in marshalled code: a mark, a length, and that many printable letters."""
    for mark in _NAME_IN_BYTECODE.finditer(raw):
        length = mark[1][0]
        text = raw[mark.end() : mark.end() + length]
        if len(text) == length and re.fullmatch(rb"[\x20-\x7e]+", text) and text[:1] != b"<":
            yield text.decode("ascii")
