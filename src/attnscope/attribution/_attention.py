"""What attention alone says about the positions: raw weights and rollout. Neither reads what the model decides."""

from __future__ import annotations

import numpy as np
import xarray as xr

from attnscope.analysis import Fusion, check_options, rolled_out
from attnscope.attribution._differentiation import site_scores
from attnscope.attribution._streams import (
    OTHERWISE,
    SiteStreams,
    Streams,
    query_weights,
    streams_of,
    valid_positions,
)
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.roles import Roles


def raw(
    subject: Subject, *, query: int | None = None, roles: Roles | None = None, prefix: int | None = None
) -> xr.DataArray:
    """The attention that each position receives at one site: ``r_j = mean_q mean_h A_hqj``; class-agnostic.

    The site is the last one whose keys are the positions; choose another with ``sites=``. Padding gets 0, and padded
    queries are left out of the mean. What attention sinks receive is kept, and NaN propagates.

    Args:
        subject: The model and its inputs.
        query: The only query to read, 0 for a class token at the start; None for the mean over the valid ones. A site
            that pools has none.
        roles: From a glob pattern of sites to the names of the streams of their queries and keys, where these cannot be
            inferred from the model.
        prefix: Number of positions in the attention that precede those of the input, such as class tokens; None for 0,
            or for pictures for 1 or 2 where there are that many more keys than patches.

    Returns:
        dims ``(sample, key)``, float64, a share within 0 to 1; over the keys the shares sum to 1, less what masked and
        prefix positions received. Costs one forward pass per sample.

    Raises:
        MethodError: No site's keys are the positions, or there is no such query.

    Source:
        Common practice; Jain and Wallace 2019, "Attention is not Explanation", test it.
    """
    streams = streams_of(subject, roles=roles, prefix=prefix)
    site = streams.over_input[-1]
    weights = _weights(subject, streams, site, query)
    values = np.zeros((subject.samples, site.num_keys))
    for rows, scores in site_scores(subject, (site,)):
        mean = scores[site.name].astype(float).mean(1)
        values[rows] = np.einsum("sq,sqk->sk", weights[rows], mean)
    return subject.relevance(values[:, streams.prefix :], "raw", class_specific=False, site=site.name)


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
    """The maps of all self-attention multiplied: ``R = prod_l (residual I + (1 - residual) A_l)``, read at a query;
    class-agnostic.

    Sites that pool the positions come last: their mean attention weights the rows. Padding gets 0 and padded queries
    are left out; a query that attends to nothing keeps itself. Attention sinks are kept. NaN propagates.

    Args:
        subject: The model and its inputs.
        query: The row to read, 0 for a class token at the start; None for the mean over the valid ones.
        residual: The share of each layer's output that is attributed to the residual connection, within 0 to 1.
        fusion: How heads become one map: ``mean``, ``max`` or ``min``.
        discard: The share of the smallest weights of each map that is left out, from 0 to below 1; masked and padded
            cells are not counted.
        roles: From a glob pattern of sites to the names of the streams of their queries and keys, where these cannot be
            inferred from the model.
        prefix: Number of positions in the attention that precede those of the input, such as class tokens; None for 0,
            or for pictures for 1 or 2 where there are that many more keys than patches.

    Returns:
        dims ``(sample, key)``, float64, a share within 0 to 1; over the keys the shares sum to 1, less what padding and
        prefix positions received. Costs one forward pass per sample.

    Raises:
        MethodError: No self-attention is over the positions, or another sequence attends to them.
        InputError: An option is out of range.

    Source:
        Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3, for the defaults.
    """
    check_options(residual, fusion, discard)
    streams = streams_of(subject, roles=roles, prefix=prefix)
    layers, pools = _layers_and_pools(streams)
    size = layers[0].num_keys
    valid = valid_positions(subject, streams, streams.input_stream, size)
    weights = query_weights(valid, query)
    values = np.zeros((subject.samples, size))
    for rows, scores in site_scores(subject, (*layers, *pools)):
        for number, sample in enumerate(range(rows.start, rows.stop)):
            maps = (scores[site.name][number].astype(float) for site in layers)
            *_, rolled = rolled_out(maps, residual, fusion, discard, (valid[sample], valid[sample]))
            pooled = [scores[site.name][number].astype(float).mean((0, 1)) for site in pools]
            values[sample] = (np.mean(pooled, axis=0) if pooled else weights[sample]) @ rolled
    return subject.relevance(
        values[:, streams.prefix :],
        "rollout",
        class_specific=False,
        sites=[site.name for site in (*layers, *pools)],
    )


def _weights(subject: Subject, streams: Streams, site: SiteStreams, query: int | None) -> np.ndarray:
    """How much each query of the site counts, dims ``(sample, query)``; one query of weight 1 where it pools."""
    if site.pools:
        return np.ones((subject.samples, 1))
    return query_weights(valid_positions(subject, streams, site.query_stream, site.num_queries), query)


def _layers_and_pools(streams: Streams) -> tuple[list[SiteStreams], list[SiteStreams]]:
    """The self-attention over the input's positions, and the sites that pool them."""
    layers = [site for site in streams.over_input if site.is_self]
    others = [site for site in streams.over_input if not site.is_self]
    crossing = next((site for site in others if not site.pools), None)
    if crossing is not None:
        raise MethodError(
            f"A rollout stays within one sequence, but at {crossing.name!r} another one attends to it. Name the sites "
            "of one sequence: sites='encoder*'; or follow both: method='chefer'."
        )
    if not layers:
        raise MethodError(
            "A rollout multiplies self-attention over the positions, but here they are only pooled, by "
            f"{[site.name for site in others]}. Use the weights themselves: method='raw'. {OTHERWISE}"
        )
    return layers, others
