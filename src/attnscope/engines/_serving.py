"""What a worker does with what it is sent, and how it says what became of it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

from attnscope.errors import AttnscopeError

Work = Callable[[], Callable[[Any], Any]]
"""Makes what takes each piece of the work; it is called once, in the worker."""


class Serving:
    """The work of one worker.

    Args:
        work: A pickled `Work`.
    """

    def __init__(self, work: bytes) -> None:
        self._do: Callable[[Any], Any] | Exception
        try:
            self._do = pickle.loads(work)()
        except Exception as error:  # it is the outcome of the first piece
            self._do = error

    def outcome(self, piece: bytes) -> bytes:
        """What a piece gives: whether it was done, and the result or the error."""
        try:
            if isinstance(self._do, Exception):
                raise self._do
            return pickle.dumps((True, self._do(pickle.loads(piece))))
        except Exception as error:  # it is raised where the work was given
            return pickle.dumps((False, _portable(error)))


def result_of(outcome: bytes) -> Any:
    """The result that a worker sent.

    Raises:
        Exception: What was raised in the worker.
    """
    is_done, value = pickle.loads(outcome)
    if not is_done:
        raise value
    return value


def _portable(error: Exception) -> Exception:
    """An error that can be pickled, with where in the worker it was raised."""
    if not isinstance(error, AttnscopeError):
        error.add_note(f"It was raised in a worker:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an error of somebody else's raises when it is pickled
        other = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            other.add_note(note)
        return other
    return error
