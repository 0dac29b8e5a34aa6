"""One writer at a time: a lock that the operating system releases when the process that holds it ends."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from attnscope.errors import StoreInUseError
from attnscope.stores._files import LOCK, check_plain, remove

_LOCKED_BYTE = 1 << 30
"""Far behind what is in the file, since a byte that is locked on Windows cannot be read."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a store, which is a folder that is there.

    Raises:
        StoreInUseError: Another writer holds it.
        DamagedStoreError: What is there in place of the file of the lock is a link, a pipe or a device.
    """
    path = folder / LOCK
    while True:
        with suppress(FileNotFoundError):
            check_plain(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if not _taken(descriptor):
                raise StoreInUseError(
                    f"{str(folder)!r} is being written by {_holder(descriptor)}. Wait until it has ended, or give "
                    "another path."
                )
            if _is_at(descriptor, path):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the writer before removed it meanwhile
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": now}).encode())
        yield
    finally:
        if _is_at(descriptor, path):  # the folder may have got another name meanwhile
            remove(path)
        os.close(descriptor)


def holder_of(folder: Path) -> bytes:
    """What the lock of a store says of who holds it; empty if nobody does."""
    try:
        return (folder / LOCK).read_bytes()
    except FileNotFoundError:
        return b""


def check_holder(folder: Path, holder: bytes) -> None:
    """Checks that the lock of a store is still held as it was, so that a worker of a run that has ended writes nothing.

    Raises:
        StoreInUseError: Nobody holds it, or another run does.
    """
    if holder_of(folder) != holder:
        raise StoreInUseError(
            f"{str(folder)!r} is no longer held by the run that this worker writes for, so it writes nothing more. "
            "Resume the run."
        )


def _taken(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """Who holds a lock, as far as it says so."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        held = json.loads(os.read(descriptor, 4096))
        return f"process {int(held['process'])} on {str(held['host'])[:64]!r} since {str(held['since'])[:32]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
