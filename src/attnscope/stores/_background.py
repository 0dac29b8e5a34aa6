"""Work done by a thread of its own, in order, with a bound on what may wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

MOST_WAITING = 256 << 20
"""Bytes that may wait at most; a single larger piece may wait alone."""


class Background:
    """Calls functions one after the other, in a thread, in the order in which they were given.

    Args:
        most_waiting: Bytes that may wait at most, that being worked on too.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most = most_waiting
        self._changed = threading.Condition()
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._bytes = 0
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="attnscope-store", daemon=True)
        self._thread.start()

    def put(self, size: int, call: Callable[[], None]) -> None:
        """Gives the next piece of work, and waits while too much is waiting.

        Args:
            size: Bytes that it keeps in memory.
            call: The work.

        Raises:
            BaseException: What an earlier piece raised; no later one is done then.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._bytes or self._bytes + size <= self._most)
            self._raise()
            self._waiting.append((size, call))
            self._bytes += size
            self._changed.notify_all()

    def close(self) -> None:
        """Waits until all is done, and ends the thread.

        Raises:
            BaseException: What a piece raised.
        """
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return
                size, call = self._waiting.popleft()
            try:
                call()
            except BaseException as error:
                with self._changed:
                    self._error, self._ended = error, True
                    self._waiting.clear()
                    self._bytes = 0
                    self._changed.notify_all()
                return
            del call
            with self._changed:
                self._bytes -= size
                self._changed.notify_all()
