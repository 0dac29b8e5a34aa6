"""Whether a private copy of a model fits on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from attnscope.errors import UnsafeFileError


def check_disk_space(size: int, folder: Path) -> None:
    """Refuse to copy more bytes into a folder than its disk has free.

    Raises:
        UnsafeFileError: There is not enough room.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UnsafeFileError(
            f"The model unpacks to {size:,} bytes, but the folder for temporary files has {free:,} free. "
            f"Expected room for a private copy. Point TMPDIR at a larger disk."
        )
