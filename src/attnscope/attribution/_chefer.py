"""Relevance carried through all attention of a model: self-attention, co-attention, encoder and decoder, pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attnscope.attribution._differentiation import score_derivatives
from attnscope.attribution._gradient_products import positive_product
from attnscope.attribution._streams import SiteStreams, Streams, query_weights, streams_of, valid_positions
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.roles import Roles

Relevancies = dict[tuple[str, str], np.ndarray]
"""By query stream and key stream: how much of what each position of the one holds comes from each position of the
other, dims ``(sample, position, position)``, float64."""


@dataclass(frozen=True)
class AttentionStep:
    """One attention, its heads taken together.

    Attributes:
        query_stream: Name of the stream of its queries, ``s`` in the paper.
        key_stream: Name of the stream of its keys, ``q`` in the paper.
        weights: ``mean_h (A * dy/dA)+``, dims ``(sample, query, key)``.
    """

    query_stream: str
    key_stream: str
    weights: np.ndarray


def chefer(
    subject: Subject, *, query: int | None = None, roles: Roles | None = None, prefix: int | None = None
) -> xr.DataArray:
    """Gradient-weighted attention carried through all layers, with self-, cross- and pooling attention;
    class-specific.

    Every attention ``A`` of stream ``s`` over stream ``q`` counts as ``C = mean_h (A * dy/dA)+`` (rule 5). Relevance
    starts as ``R_ss = I``, with none between streams. Self-attention adds ``C R_ss`` to ``R_ss`` (rule 6) and
    ``C R_sq`` to ``R_sq`` (rule 7). Cross-attention adds ``N(R_ss)^T C N(R_qq)`` to ``R_sq`` (rule 10) and ``C R_qs``
    to ``R_ss`` (rule 11), where ``N(R) = I + (R - I) / rowsum(R - I)`` (rules 8 and 9).

    What the paper leaves open is settled as follows. In ``N``, a row without relevance stays that of ``I``. Two
    consecutive cross-attentions that mirror each other are one co-attention: both read what was there before it. A
    stream that attends to a third one through a second gets ``C R_qr`` added to ``R_sr``, as in rule 11 for ``r = s``.
    A site that pools is cross-attention of a stream with one position.

    The relevance is read at the end from the streams that no other stream attends to (where there is none, from the
    stream of the last site). There it is the mean over those valid queries of the stream's last site that the target
    depends on: the class token where the class is read from it, all tokens where they are averaged, one step where a
    token of that step is the target. The ``I`` that a stream's relevance starts as is subtracted, so a query's own
    position holds what attention brought and no constant.

    Padding gets 0. Masked cells have weight 0 and carry nothing. Attention sinks are kept. NaN propagates.

    Args:
        subject: The model, its inputs and the target.
        query: The only query to read, 0 for a class token at the start; None for those that the target depends on.
        roles: From a glob pattern of sites to the names of the streams of their queries and keys, where these cannot be
            inferred from the model.
        prefix: Number of positions in the attention that precede those of the input, such as class tokens; None for 0,
            or for pictures for 1 or 2 where there are that many more keys than patches.

    Returns:
        dims ``(sample, key)``, float64, at least 0; the unit has no meaning, as products of any number of layers are
        added. Costs one gradient pass per sample.

    Raises:
        MethodError: No attention leads from what is read to the positions, or there is no such query.

    Source:
        Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and
        Encoder-Decoder Transformers", section 3.
    """
    streams = streams_of(subject, roles=roles, prefix=prefix)
    final_sites = _final_sites(streams)
    valid = {
        site.name: valid_positions(subject, streams, site.query_stream, site.num_queries)
        for site in final_sites
        if not site.pools
    }
    values = np.zeros((subject.samples, streams.over_input[0].num_keys))
    for rows, scores, derivatives in score_derivatives(subject, streams.sites):
        steps = [
            AttentionStep(
                site.query_stream, site.key_stream, positive_product(scores[site.name], derivatives[site.name])
            )
            for site in streams.sites
        ]
        carried = relevancies(steps)
        for site in final_sites:
            influential = (derivatives[site.name] != 0).any((1, 3))
            weights = None if site.pools else query_weights(valid[site.name][rows], query, influential)
            values[rows] += _read(streams, site, carried, weights)
    return subject.relevance(
        values[:, streams.prefix :],
        "chefer",
        class_specific=True,
        sites=[site.name for site in streams.sites],
    )


def relevancies(steps: Sequence[AttentionStep]) -> Relevancies:
    """All relevance after these attentions, by the rules that `chefer` states.

    Args:
        steps: The attentions, in the order of execution.

    Returns:
        By query stream and key stream, dims ``(sample, position, position)``, float64, at least 0.
    """
    carried: Relevancies = {}
    for step in steps:
        samples, queries, keys = step.weights.shape
        carried.setdefault((step.query_stream, step.query_stream), np.tile(np.eye(queries), (samples, 1, 1)))
        carried.setdefault((step.key_stream, step.key_stream), np.tile(np.eye(keys), (samples, 1, 1)))
    for simultaneous in _co_attentions(steps):
        additions = [addition for step in simultaneous for addition in _additions(step, carried)]
        for pair, addition in additions:
            carried[pair] = carried[pair] + addition if pair in carried else addition
    return carried


def _additions(step: AttentionStep, carried: Relevancies) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    querying, attended = step.query_stream, step.key_stream
    for source, target in list(carried):
        if source == attended and not (target == attended and querying != attended):  # rules 6, 7 and 11
            yield (querying, target), step.weights @ carried[source, target]
    if querying != attended:  # rule 10
        inner = step.weights @ _normalised(carried[attended, attended])
        yield (querying, attended), np.swapaxes(_normalised(carried[querying, querying]), 1, 2) @ inner


def _normalised(relevance: np.ndarray) -> np.ndarray:
    """Rules 8 and 9: what was added to ``I``, its rows scaled to sum to 1."""
    identity = np.eye(relevance.shape[-1])
    gained = relevance - identity
    total = gained.sum(-1, keepdims=True)
    return np.asarray(identity + gained / np.where(total == 0, 1, total))


def _co_attentions(steps: Sequence[AttentionStep]) -> Iterator[list[AttentionStep]]:
    """The steps one by one, but two consecutive ones that mirror each other together."""
    waiting: AttentionStep | None = None
    for step in steps:
        pair = (step.query_stream, step.key_stream)
        if waiting is not None and pair == (waiting.key_stream, waiting.query_stream) != pair[::-1]:
            yield [waiting, step]
            waiting = None
            continue
        if waiting is not None:
            yield [waiting]
        waiting = step
    if waiting is not None:
        yield [waiting]


def _final_sites(streams: Streams) -> list[SiteStreams]:
    """The last site of every stream that the relevance is read from."""
    last = {site.query_stream: site for site in streams.sites}
    attended = {site.key_stream for site in streams.sites if not site.is_self}
    ends = [site for stream, site in last.items() if stream not in attended] or [streams.sites[-1]]
    reached = _reaching_input(streams)
    leading = [site for site in ends if site.query_stream in reached]
    if leading:
        return leading
    stream = ends[0].query_stream
    raise MethodError(
        f"The relevance is read from {stream!r} at the site {ends[0].name!r}, but no attention leads from there to the "
        f"positions, which are in {streams.input_stream!r}. Name the sites that do: sites=[...]; or the streams: "
        f"roles={{'pattern': ({stream!r}, {streams.input_stream!r}), ...}}."
    )


def _reaching_input(streams: Streams) -> set[str]:
    """Streams that hold something of the input's positions."""
    reached = {streams.input_stream}
    for site in streams.sites:
        if site.key_stream in reached:
            reached.add(site.query_stream)
    return reached


def _read(streams: Streams, site: SiteStreams, carried: Relevancies, weights: np.ndarray | None) -> np.ndarray:
    """What the queries of a final site hold of the input's positions, dims ``(sample, position)``.

    Args:
        streams: The model's streams.
        site: The final site.
        carried: All relevance.
        weights: How much each of its queries counts, dims ``(sample, query)``; None where it pools.
    """
    relevance = carried[site.query_stream, streams.input_stream]
    if site.query_stream == streams.input_stream:
        relevance = relevance - np.eye(relevance.shape[-1])
    return np.asarray(relevance[:, 0] if weights is None else np.einsum("sq,sqk->sk", weights, relevance))
