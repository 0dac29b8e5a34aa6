"""What the tests have workers do; these import it by its name."""

import os
import signal
from pathlib import Path


class Squares:
    """Work that squares numbers; some workers are killed at one of them, or it fails."""

    def __init__(self, folder, *, dies_at=None, deaths=0, fails_at=None):
        self.folder, self.dies_at, self.deaths, self.fails_at = Path(folder), dies_at, deaths, fails_at

    def __call__(self):
        return self.square

    def square(self, number):
        if number == self.dies_at and len(list(self.folder.iterdir())) < self.deaths:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2 // (number != self.fails_at), os.environ["SAID"]
