"""Workers that are processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from attnscope.engines._pool import WorkerEndedError
from attnscope.engines._serving import Serving, Work


class ProcessWorker:
    """A process, and the pipe to it."""

    def __init__(self, process: SpawnProcess, connection: Connection) -> None:
        self.connection = connection
        self._process = process

    def give(self, piece: bytes) -> None:
        """Sends it a piece of work."""
        self.connection.send_bytes(piece)

    def outcome(self) -> bytes:
        """What became of its piece.

        Raises:
            WorkerEndedError: The process ended.
        """
        try:
            return self.connection.recv_bytes()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise WorkerEndedError(how) from None

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.join()
        self.connection.close()


class Processes:
    """Starts processes, which share nothing with this one.

    Args:
        work: What they do; it has to be picklable.
        environment: Variables of their environment.
    """

    def __init__(self, work: Work, environment: Mapping[str, str]) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work, self._environment = pickle.dumps(work), dict(environment)

    def start(self) -> ProcessWorker:
        """Starts one."""
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._environment, self._work), daemon=True)
        process.start()
        there.close()
        return ProcessWorker(process, here)

    def ready(self, workers: Sequence[ProcessWorker]) -> Sequence[ProcessWorker]:
        """Waits until some have an outcome, or ended."""
        ready = {id(connection) for connection in wait([worker.connection for worker in workers])}
        return [worker for worker in workers if id(worker.connection) in ready]

    def pickled(self, piece: object) -> bytes:
        """A piece as it is sent."""
        return pickle.dumps(piece)

    def end(self) -> None:
        """Nothing: the workers are all that there is."""


def _serve(connection: Connection, environment: Mapping[str, str], work: bytes) -> None:
    """What a process does until nobody sends it anything more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the work
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serving = Serving(work)
    while True:
        try:
            piece = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(serving.outcome(piece))


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, so that it writes nothing more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
