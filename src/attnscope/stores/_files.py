"""Files of a store: written whole or not at all, and read only if they are plain files.

Every operation on the disk is a call of a function of `os` in this file, so that tests can interrupt a run before each.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from attnscope.errors import DamagedStoreError

FORMAT = 2
"""Version of the layout on disk, as `docs/schema.md` describes it."""
MANIFEST = "zarr.json"
HOLDS = "holds"
"""Attribute of the root that says what a store holds that holds no maps."""
LOCK = "attnscope.lock"
PART = ".part"
"""What the name of a file ends in that is not whole yet."""


def write_whole(path: Path, parts: Iterable[bytes | memoryview], *, durable: bool) -> None:
    """Writes a file under another name and renames it, so that it is there whole or as it was.

    Args:
        path: Where; an earlier file is replaced.
        parts: Its content.
        durable: Whether the content, and then the name, is on the disk when this returns.
    """
    write_part(path, parts, durable=durable)
    put_in_place(path)
    if durable:
        write_out(path.parent)


def write_part(path: Path, parts: Iterable[bytes | memoryview], *, durable: bool) -> None:
    """Writes a file under its other name alone."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(part_of(path), flags, 0o666)
    try:
        for part in parts:
            rest = memoryview(part)
            while len(rest):
                rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(path: Path) -> None:
    """Gives a file that was written under its other name its own."""
    os.replace(part_of(path), path)


def part_of(path: Path) -> Path:
    """What a file is called while it is written."""
    return path.with_name(f"{path.name}{PART}")


def write_out(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there, and names are written with their files
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_out_all(paths: Collection[Path]) -> None:
    """Waits until files and folders, and then their names, are on the disk."""
    for path in paths:
        write_out(path)
    for folder in {path.parent for path in paths}:
        write_out(folder)


def make_folder(path: Path) -> None:
    """Makes a folder in one that is there."""
    os.mkdir(path)


def remove(path: Path) -> None:
    """Removes a file, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def exchange(one: Path, other: Path) -> bool:
    """Swaps the names of two folders on one disk, so that there is no instant at which either name leads nowhere.

    Returns:
        False if the system or the file system has no such operation; nothing was done then.
    """
    names = os.fsencode(one), os.fsencode(other)
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = system.renamex_np(*names, _SWAP)
        else:
            failed = system.renameat2(_HERE, names[0], _HERE, names[1], _SWAP)
    except (AttributeError, OSError, TypeError):
        return False
    if failed and (code := ctypes.get_errno()) not in _UNABLE:
        raise OSError(code, os.strerror(code), str(one), None, str(other))
    return not failed


_SWAP, _HERE = 2, -100
"""RENAME_EXCHANGE, which macOS calls RENAME_SWAP; and AT_FDCWD: names count from the working folder."""
_UNABLE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def open_plain(path: Path) -> int:
    """A descriptor of a plain file to read.

    Raises:
        FileNotFoundError: There is none.
        DamagedStoreError: It is a link, a pipe, a device or a folder.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    check_plain(path)
    descriptor = os.open(path, flags)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise DamagedStoreError(f"{str(path)!r} was replaced while it was read. Do not trust this store.")


def check_plain(path: Path) -> None:
    """Checks that something is a plain file, without opening it.

    Raises:
        FileNotFoundError: There is nothing.
        DamagedStoreError: It is a link, a pipe, a device or a folder.
    """
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind == stat.S_IFREG:
        return
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise DamagedStoreError(
        f"{str(path)!r} is {kinds.get(kind, 'a device')}, but a store consists of plain files. Do not trust this store."
    )


def check_folder(folder: Path) -> None:
    """Checks that a folder that a manifest names is one.

    Raises:
        DamagedStoreError: It is missing, a link, or something else.
    """
    try:
        mode = os.lstat(folder).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedStoreError(
            f"{str(folder)!r} is missing, although the manifest names it. Take a copy of the store, or capture again."
        ) from None
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "no folder"
        raise DamagedStoreError(
            f"{str(folder)!r} is {what}, but a store consists of folders and plain files. Do not trust this store."
        )


def read_plain(path: Path, most: int) -> bytes:
    """All of a plain file.

    Raises:
        FileNotFoundError: There is none.
        DamagedStoreError: It is no plain file, or has more than `most` bytes.
    """
    descriptor = open_plain(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > most:
            raise DamagedStoreError(f"{str(path)!r} has {size:,} bytes, but at most {most:,} are read of such a file.")
        return read_range(descriptor, 0, size)
    finally:
        os.close(descriptor)


def read_range(descriptor: int, start: int, end: int) -> bytes:
    """The bytes of an open file from `start` up to `end`, or fewer where it ends before."""
    os.lseek(descriptor, start, os.SEEK_SET)
    content = bytearray()
    while len(content) < end - start:
        part = os.read(descriptor, end - start - len(content))
        if not part:
            break
        content += part
    return bytes(content)
