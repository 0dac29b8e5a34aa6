"""The engines by their names."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from attnscope.engines._pool import Engine, Pool
from attnscope.engines._processes import Processes
from attnscope.engines._ray import Ray
from attnscope.engines._serving import Work
from attnscope.errors import InputError, in_a_row

LOCAL = "local"
ENGINES = (LOCAL, "processes", "ray")
"""Where work is done: in this process, in others on this machine, or on a cluster."""


def check_engine(engine: object, workers: object) -> None:
    """Checks which workers are asked for.

    Raises:
        InputError: There is no such engine, or no such number of workers.
    """
    if engine not in ENGINES:
        raise InputError(
            f"engine is {engine!r}, but it must be one of {in_a_row([repr(name) for name in ENGINES], 'or')}: "
            "engine='processes'."
        )
    if workers is not None and engine == LOCAL:
        raise InputError(
            f"workers={workers!r} was given, but with engine='local' this process does all of the work. Give "
            "engine='processes' too, or leave workers out."
        )
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InputError(f"workers is {workers!r}, but a whole number of workers is needed, one at least: workers=4.")


def pool(
    engine: str,
    work: Work,
    *,
    workers: int | None,
    environment: Mapping[str, str],
    named: Callable[[Any], str],
) -> Pool:
    """Workers of an engine, which start as they are needed.

    Args:
        engine: ``processes`` or ``ray``.
        work: What each of them does. Processes need what `pickle` takes.
        workers: How many; None for as many as this machine has cores.
        environment: Variables of their environment.
        named: What a piece of work is called in errors.

    Raises:
        InputError: The work cannot be sent to another process.
        NotInstalledError: Ray is asked for, and not installed.
    """
    count = workers or os.cpu_count() or 1
    try:
        started: Engine = Ray(work, environment, count) if engine == "ray" else Processes(work, environment)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"What the workers need cannot be sent to another process: {error}. Define functions and classes at the "
            "top of a module, and give the model as a path or as a function that makes it."
        ) from error
    return Pool(started, count, named)
