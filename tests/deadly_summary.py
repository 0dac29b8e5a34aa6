"""A summary that kills a worker; workers import it by its name."""

import os
import signal
from pathlib import Path

import attnscope as ats


class Deadly(ats.Received):
    """A summary that once kills the worker that computes it, when some shard is already written."""

    def __init__(self, folder):
        self.folder, self.home = str(folder), os.getpid()

    def init(self, layout):
        folder, marker = Path(self.folder), Path(self.folder, "killed")
        written = next(folder.glob("run.zarr/checksums/crc32c/c.*"), None)
        if os.getpid() != self.home and written is not None and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().init(layout)
