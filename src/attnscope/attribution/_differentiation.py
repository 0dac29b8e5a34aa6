"""The scores of a subject's sites and derivatives of its target, a batch of samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from attnscope.attribution._streams import SiteStreams, bytes_per_sample
from attnscope.attribution._subject import Subject
from attnscope.errors import UnsupportedError
from attnscope.handlers import Derivatives, Differentiator
from attnscope.interception import Call, Plan
from attnscope.running import Runner
from attnscope.schema import SiteTable
from attnscope.tensors import Tensor

SCORES_BYTES = 256 * 2**20
"""All scores of a batch may take this much memory; their derivatives take as much again."""
ScoresBySite = dict[str, np.ndarray]
"""By name of the site, dims ``(sample, head, query, key)``: scores, or derivatives by them."""


def site_scores(subject: Subject, sites: Sequence[SiteStreams]) -> Iterator[tuple[slice, ScoresBySite]]:
    """The scores of some sites, a batch of samples at a time. Costs one forward pass per sample, which is counted.

    Yields:
        The samples of the batch, and their scores, float, within 0 to 1, 0 at masked cells.
    """
    names = frozenset(site.name for site in sites)

    def handlers(extras: Mapping[str, Tensor]) -> tuple[Callable[[Call], None], dict[str, Tensor]]:
        collected: dict[str, Tensor] = {}

        def handler(call: Call) -> None:
            if call.name in names:
                collected[call.name] = call.scores()

        return handler, collected

    plan = Plan.of(site.site for site in sites)
    runner = subject.cache.once(("scores", names), lambda: Runner(subject.model, handlers, plan=plan))
    start = 0
    for _, collected, batch in runner.run(subject.in_batches(_batch_size(subject, sites))):
        rows = slice(start, start + batch.size)
        start = rows.stop
        yield rows, _in_four_dims(collected, sites, rows)


def score_derivatives(
    subject: Subject, sites: Sequence[SiteStreams]
) -> Iterator[tuple[slice, ScoresBySite, ScoresBySite]]:
    """The scores of some sites and the target's derivatives by them. Costs one gradient pass per sample.

    Yields:
        The samples of the batch, their scores, and the derivatives, in units of the target.
    """
    table = SiteTable(site.site for site in sites)
    differentiator = subject.cache.once(
        ("derivatives of scores", subject.target.read, tuple(table.names)),
        lambda: Differentiator(subject.model, subject.target.read, sites=table),
    )
    for rows, of_batch in derivatives(subject, differentiator, _batch_size(subject, sites)):
        scores, gradients = (_in_four_dims(arrays, sites, rows) for arrays in (of_batch.values, of_batch.gradients))
        yield rows, scores, gradients


def derivatives(
    subject: Subject, differentiator: Differentiator, batch_size: int
) -> Iterator[tuple[slice, Derivatives]]:
    """What a differentiator gives for a subject's samples, a batch at a time, each with the samples it is for."""
    start = 0
    for of_batch in differentiator.run(subject.in_batches(batch_size), extras=subject.target.rows):
        yield slice(start, start + of_batch.batch.size), of_batch
        start += of_batch.batch.size


def _in_four_dims(arrays: Mapping[str, np.ndarray], sites: Sequence[SiteStreams], rows: slice) -> dict[str, np.ndarray]:
    """The sites' arrays for the samples of a batch.

    Raises:
        UnsupportedError: A site did not run for them.
    """
    for site in sites:
        if site.name not in arrays:
            raise UnsupportedError(
                f"The attention {site.name!r} did not run for the samples {rows.start} to {rows.stop - 1}, because a "
                "condition in the model went another way, so that they have no scores. Name sites that run for all: "
                "sites=[...]; or take a method that reads no scores: method='gradient_x_input'."
            )
    return {site.name: site.in_four_dims(arrays[site.name][: rows.stop - rows.start]) for site in sites}


def _batch_size(subject: Subject, sites: Sequence[SiteStreams]) -> int:
    affordable = SCORES_BYTES // max(1, bytes_per_sample(sites))
    return max(1, min(subject.batch_size, affordable))
