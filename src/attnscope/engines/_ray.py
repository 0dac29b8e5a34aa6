"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from attnscope.engines._pool import WorkerEndedError
from attnscope.engines._serving import Serving, Work
from attnscope.errors import NotInstalledError


class RayWorker:
    """An actor."""

    def __init__(self, actor: Any, ray: Any) -> None:
        self._actor, self._ray = actor, ray
        self.waiting: Any = None

    def give(self, piece: bytes) -> None:
        """Sends it a piece of work."""
        self.waiting = self._actor.outcome.remote(piece)

    def outcome(self) -> bytes:
        """What became of its piece.

        Raises:
            WorkerEndedError: The actor, its process or its machine ended.
        """
        try:
            outcome: bytes = self._ray.get(self.waiting)
        except self._ray.exceptions.RayError as error:
            raise WorkerEndedError(f"ended: {_first_line(error)}") from None
        return outcome

    def end(self) -> None:
        """Ends it."""
        self._ray.kill(self._actor)


class Ray:
    """Starts actors on a cluster: the one that is connected, that `RAY_ADDRESS` names, or one on this machine alone.

    Actors are spread over the machines. Each takes one CPU, and one GPU where the cluster has any, or a part of one
    where there are more workers than that.

    Args:
        work: What they do.
        environment: Variables of their environment.
        workers: How many there will be.

    Raises:
        NotInstalledError: Ray is not installed.
    """

    def __init__(self, work: Work, environment: Mapping[str, str], workers: int) -> None:
        self._ray = _ray()
        self._is_own = not self._ray.is_initialized()
        if self._is_own:
            self._ray.init(logging_level=logging.ERROR, log_to_driver=False)
        resources = self._ray.cluster_resources()
        self._actors = self._ray.remote(Serving).options(
            num_cpus=_share(resources.get("CPU", 0.0), workers),
            num_gpus=_share(resources.get("GPU", 0.0), workers),
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": dict(environment)},
        )
        self._work = self._ray.put(self._ray.cloudpickle.dumps(work))

    def start(self) -> RayWorker:
        """Starts one."""
        return RayWorker(self._actors.remote(self._work), self._ray)

    def ready(self, workers: Sequence[RayWorker]) -> Sequence[RayWorker]:
        """Waits until some have an outcome, or ended."""
        ready, _ = self._ray.wait([worker.waiting for worker in workers], fetch_local=False)
        return [worker for worker in workers if worker.waiting in ready]

    def pickled(self, piece: object) -> bytes:
        """A piece as it is sent; what a script or a notebook defines goes with it."""
        content: bytes = self._ray.cloudpickle.dumps(piece)
        return content

    def end(self) -> None:
        """Leaves the cluster, if it was joined here."""
        if self._is_own:
            self._ray.shutdown()


def _share(there: float, workers: int) -> float:
    """How much of a resource one worker takes, so that all of them run at once."""
    return min(1.0, int(10_000 * there / workers) / 10_000)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise NotInstalledError(
            "engine='ray' needs Ray, which is not installed. Install it: pip install \"attnscope[ray]\"."
        ) from error
    return ray
