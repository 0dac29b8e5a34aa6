"""A number of workers, each of which does one piece of work at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from attnscope.engines._serving import result_of
from attnscope.errors import WorkerDiedError

MOST_DEATHS = 3
"""How many workers may end at one piece of work."""


class WorkerEndedError(Exception):
    """A worker ended before it had done its piece; the message says how."""


class Worker(Protocol):
    """One worker."""

    def give(self, piece: bytes) -> None:
        """Sends it a piece of work; it has none."""

    def outcome(self) -> bytes:
        """What became of the piece that it was given.

        Raises:
            WorkerEndedError: It ended before.
        """

    def end(self) -> None:
        """Ends it, whatever it does."""


class Engine(Protocol):
    """What starts workers."""

    def start(self) -> Worker:
        """Starts one."""

    def ready(self, workers: Sequence[Any]) -> Sequence[Any]:
        """Waits until some of them have an outcome, or ended, and says which."""

    def pickled(self, piece: object) -> bytes:
        """A piece of work as it is sent."""

    def end(self) -> None:
        """Ends what it started itself."""


@dataclass
class _Given:
    """A piece of work, and how many workers ended at it."""

    piece: object
    content: bytes
    deaths: int = 0


class Pool:
    """Workers that share pieces of work; a context that ends them.

    Args:
        engine: What starts them.
        workers: How many.
        named: What a piece is called in errors.
    """

    def __init__(self, engine: Engine, workers: int, named: Callable[[Any], str] = str) -> None:
        self._engine, self._named = engine, named
        self._busy: dict[Worker, _Given] = {}
        self._idle: list[Worker] = []
        self._count = workers

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in (*self._idle, *self._busy):
            worker.end()
        self._engine.end()

    def results(self, pieces: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Does pieces of work, and gives each with its result, in the order in which they are done.

        One piece more than there are workers is taken beforehand, so that no worker waits for it.

        Raises:
            WorkerDiedError: Several workers ended at the same piece.
            Exception: What a worker raised.
        """
        waiting: deque[_Given] = deque()
        more = iter(pieces)
        is_over = False
        while True:
            while not is_over and len(waiting) <= self._free():
                piece = next(more, None)
                is_over = piece is None
                if piece is not None:
                    waiting.append(_Given(piece, self._engine.pickled(piece)))
                    self._give(waiting)
            self._give(waiting)
            if not self._busy:
                return
            for worker in self._engine.ready([*self._busy]):
                given = self._busy.pop(worker)
                try:
                    outcome = worker.outcome()
                except WorkerEndedError as error:
                    worker.end()
                    waiting.appendleft(self._once_more(given, error))
                    continue
                self._idle.append(worker)
                yield given.piece, result_of(outcome)

    def _free(self) -> int:
        return self._count - len(self._busy)

    def _give(self, waiting: deque[_Given]) -> None:
        while waiting and self._free():
            while len(self._idle) + len(self._busy) < self._count:
                self._idle.append(self._engine.start())
            worker = self._idle.pop(0)
            self._busy[worker] = waiting.popleft()
            try:
                worker.give(self._busy[worker].content)
            except OSError:  # it has ended, and its outcome says so
                continue

    def _once_more(self, given: _Given, error: WorkerEndedError) -> _Given:
        given.deaths += 1
        if given.deaths < MOST_DEATHS:
            return given
        raise WorkerDiedError(
            f"{MOST_DEATHS} workers ended at the same work, {self._named(given.piece)}; the last one {error}. If "
            "memory ran out, take fewer workers or a smaller batch_size. If this is a script that is run as a program, "
            "put what it does under: if __name__ == '__main__':"
        ) from None
