"""A subject's model run for its scores, or differentiated, a batch of samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from attnscope.attribution._streams import Wire, Wiring
from attnscope.attribution._subject import Subject
from attnscope.handlers import Derivatives, Differentiator
from attnscope.interception import Call
from attnscope.running import Runner

SCORES_BYTES = 256 * 2**20
"""All scores of a batch may take this much; their derivatives take as much again."""


def scored(subject: Subject, wires: tuple[Wire, ...]) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """The scores of some sites, a batch of samples at a time; each sample is one forward pass, which is counted.

    Yields:
        The samples, and by name of the site dims ``(sample, head, query, key)``.
    """
    wanted = frozenset(wire.site.name for wire in wires)

    def handlers(extras: Any) -> tuple[Callable[[Call], None], dict[str, Any]]:
        collected: dict[str, Any] = {}

        def handler(call: Call) -> None:
            if call.name in wanted:
                collected[call.name] = call.scores()

        return handler, collected

    runner = subject.scorer.kept(("scores", wanted), lambda: Runner(subject.model, handlers))
    start = 0
    for _, collected, batch in runner.run(subject.in_batches(_batch_size(subject, wires))):
        rows = slice(start, start + batch.size)
        start = rows.stop
        yield rows, {wire.site.name: wire.scores(collected[wire.site.name][: batch.size]) for wire in wires}


def differentiated_scores(
    subject: Subject, wires: tuple[Wire, ...]
) -> Iterator[tuple[slice, dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """The scores of some sites and the target's derivatives by them; each sample is one gradient pass.

    Yields:
        The samples, and twice by name of the site dims ``(sample, head, query, key)``: scores, derivatives.
    """
    sites = Wiring(wires, "", 0).sites
    differentiator = subject.scorer.kept(
        ("derivatives of scores", subject.target.read, tuple(sites.names)),
        lambda: Differentiator(subject.model, subject.target.read, sites=sites),
    )
    for rows, found in derivatives(subject, differentiator, _batch_size(subject, wires)):
        size = found.batch.size
        yield (
            rows,
            {wire.site.name: wire.scores(found.values[wire.site.name][:size]) for wire in wires},
            {wire.site.name: wire.scores(found.gradients[wire.site.name][:size]) for wire in wires},
        )


def derivatives(
    subject: Subject, differentiator: Differentiator, batch_size: int
) -> Iterator[tuple[slice, Derivatives]]:
    """Everything that a differentiator gives for the samples of a subject, with the samples that it is for."""
    start = 0
    for found in differentiator.run(subject.in_batches(batch_size), extras=subject.target.rows):
        yield slice(start, start + found.batch.size), found
        start += found.batch.size


def _batch_size(subject: Subject, wires: tuple[Wire, ...]) -> int:
    affordable = SCORES_BYTES // max(1, Wiring(wires, "", 0).bytes_per_sample())
    return max(1, min(subject.batch_size, affordable))
