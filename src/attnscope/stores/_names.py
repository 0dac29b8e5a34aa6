"""Names of sites and variables as names of files, reversibly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

LONGEST = 180
"""Bytes of the longest name of a file; common file systems take 255."""
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_EMPTY = "%"
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""What Windows takes for a device whatever follows the dot."""
_ZARR = ("zarr", "c")
"""How names begin that Zarr gives a meaning to, up to the dot."""


def node_name(name: str, *, escape_capitals: bool = False) -> str:
    """The name of a file or folder that stands for a name.

    ``/`` becomes ``.``; anything but letters, digits, ``_`` and ``-`` becomes ``%`` and its bytes, as in a URL. A name
    that would be too long ends in a digest instead, and cannot be read back.

    Args:
        name: Any text.
        escape_capitals: Whether capital letters are escaped too, for a name that differs from another in them alone.

    Example:
        >>> node_name("encoder_0/mha#2"), original_name("encoder_0.mha%232")
        ('encoder_0.mha%232', 'encoder_0/mha#2')
    """
    plain = bytes(byte for byte in _PLAIN if not (escape_capitals and chr(byte).isupper()))
    content = name.encode("utf-8", "surrogatepass")
    node = "".join("." if byte == 0x2F else chr(byte) if byte in plain else f"%{byte:02X}" for byte in content)
    if node.startswith("."):
        node = f"%2F{node[1:]}"
    if node.endswith("."):
        node = f"{node[:-1]}%2F"
    if node.startswith("__") or _DEVICE.match(node) or node.split(".")[0] in _ZARR:
        node = f"%{ord(node[0]):02X}{node[1:]}"
    if len(node) > LONGEST:
        digest = hashlib.blake2b(content, digest_size=12).hexdigest()
        node = f"{node[: LONGEST - 30]}%~{digest}"
    return node or _EMPTY


def original_name(node: str) -> str:
    """The name that `node_name` was given, unless it was too long."""
    if node == _EMPTY:
        return ""
    return unquote_to_bytes(node.replace(".", "/")).decode("utf-8", "surrogatepass")


def names_of_nodes(names: Iterable[str]) -> dict[str, str]:
    """The node's name for each of several names, different on file systems that ignore case too."""
    nodes: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        node = node_name(name)
        if node.casefold() in taken:
            node = node_name(name, escape_capitals=True)
        nodes[name] = node
        taken.add(node.casefold())
    return nodes
