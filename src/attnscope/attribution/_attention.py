"""What attention alone says of the positions: raw weights and rollout. Neither reads what the model decides."""

from __future__ import annotations

import numpy as np
import xarray as xr

from attnscope.analysis import Fusion, check_options, rolled_out
from attnscope.attribution._differentiation import scored
from attnscope.attribution._streams import OTHERWISE, Roles, Wire, Wiring, valid_positions, weights_of_queries, wiring
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError


def raw(
    subject: Subject, *, query: int | None = None, roles: Roles | None = None, prefix: int | None = None
) -> xr.DataArray:
    """The attention that each position gets at one site: ``r_j = mean_q mean_h A_hqj``; class-agnostic.

    The site is the last one whose keys are the positions; choose another with ``sites=``. Padding gets 0 and padded
    queries are left out; what a sink gets is kept, and so is NaN.

    Args:
        subject: The model and its inputs.
        query: The query that is read, 0 for a class token in front; None for the mean over the valid ones. A site that
            pools has none.
        roles: See `wiring`.
        prefix: See `wiring`.

    Returns:
        dims ``(sample, key)``, float64, a share within 0 to 1; over the keys it sums to 1, less what masked and prefix
        positions got. Costs one forward pass per sample.

    Raises:
        MethodError: No site's keys are the positions, or there is no such query.

    Source:
        Common practice; it is what Jain and Wallace 2019, "Attention is not Explanation", put to the test.
    """
    wired = wiring(subject, roles=roles, prefix=prefix)
    wire = _last(wired)
    counted = _counted(subject, wired, wire, query)
    values = np.zeros((subject.samples, wire.keys))
    for rows, scores in scored(subject, (wire,)):
        mean = scores[wire.site.name].astype(float).mean(1)
        values[rows] = np.einsum("sq,sqk->sk", counted[rows], mean)
    return subject.relevance(values[:, wired.prefix :], "raw", class_specific=False, site=wire.site.name)


def rollout(
    subject: Subject,
    *,
    query: int | None = None,
    residual: float = 0.5,
    fusion: Fusion = "mean",
    discard: float = 0.0,
    roles: Roles | None = None,
    prefix: int | None = None,
) -> xr.DataArray:
    """The maps of all self-attention multiplied through: ``R = prod_l (residual I + (1 - residual) A_l)``, read at
    a query; class-agnostic.

    Sites that pool the positions come last: their mean attention weights the rows. Padding gets 0 and padded queries
    are left out; a query that attends to nothing keeps itself. Sinks are kept. NaN spreads.

    Args:
        subject: The model and its inputs.
        query: The row that is read, 0 for a class token in front; None for the mean over the valid ones.
        residual: Share of a layer's output that its input is taken to make up.
        fusion: How heads become one map: ``mean``, ``max`` or ``min``.
        discard: Share of the smallest weights of each map that is left out; masked and padded cells are not counted.
        roles: See `wiring`.
        prefix: See `wiring`.

    Returns:
        dims ``(sample, key)``, float64, a share within 0 to 1, summing to 1 less what padding and prefix positions
        got. Costs one forward pass per sample.

    Raises:
        MethodError: No self-attention is over the positions, or another sequence attends to them.
        InputError: An option lies outside.

    Source:
        Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3, for the defaults.
    """
    check_options(residual, fusion, discard)
    wired = wiring(subject, roles=roles, prefix=prefix)
    chain, pools = _chain(wired)
    size = chain[0].keys
    valid = valid_positions(subject, wired, wired.home, size)
    counted = weights_of_queries(valid, query)
    values = np.zeros((subject.samples, size))
    for rows, scores in scored(subject, (*chain, *pools)):
        for number, sample in enumerate(range(rows.start, rows.stop)):
            layers = (scores[wire.site.name][number].astype(float) for wire in chain)
            *_, carried = rolled_out(layers, residual, fusion, discard, (valid[sample], valid[sample]))
            pooled = [scores[wire.site.name][number].astype(float).mean((0, 1)) for wire in pools]
            values[sample] = (np.mean(pooled, axis=0) if pooled else counted[sample]) @ carried
    return subject.relevance(
        values[:, wired.prefix :],
        "rollout",
        class_specific=False,
        sites=[wire.site.name for wire in (*chain, *pools)],
    )


def _last(wired: Wiring) -> Wire:
    return wired.onto_home[-1]


def _counted(subject: Subject, wired: Wiring, wire: Wire, query: int | None) -> np.ndarray:
    if wire.pools:
        return np.ones((subject.samples, 1))
    return weights_of_queries(valid_positions(subject, wired, wire.reader, wire.queries), query)


def _chain(wired: Wiring) -> tuple[list[Wire], list[Wire]]:
    chain = [wire for wire in wired.onto_home if wire.is_self]
    others = [wire for wire in wired.onto_home if not wire.is_self]
    crossing = next((wire for wire in others if not wire.pools), None)
    if crossing is not None:
        raise MethodError(
            f"A rollout is of one sequence, but at {crossing.site.name!r} another one attends to it. Name the sites of "
            "the one: sites='encoder*'; or follow both: method='chefer'."
        )
    if not chain:
        raise MethodError(
            "A rollout multiplies self-attention over the positions, and there is none: "
            f"{[wire.site.name for wire in others]} pool them. Take the weights themselves: method='raw'. {OTHERWISE}"
        )
    return chain, others
