"""Relevance carried through all attention of a model: self-attention, co-attention, encoder and decoder, pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from attnscope.attribution._differentiation import differentiated_scores
from attnscope.attribution._gradients import positive_product
from attnscope.attribution._streams import Roles, Wire, Wiring, valid_positions, weights_of_queries, wiring
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError

Relevancies = dict[tuple[str, str], np.ndarray]
"""By reading and read stream: how much of what each position of the one holds stems from each position of the other,
dims ``(sample, position, position)``."""


@dataclass(frozen=True)
class Step:
    """One attention, its heads taken together.

    Attributes:
        reader: Stream of the queries, ``s`` in the paper.
        read: Stream of the keys, ``q`` in the paper.
        weights: ``mean_h (A * dy/dA)+``, dims ``(sample, query, key)``.
    """

    reader: str
    read: str
    weights: np.ndarray


def chefer(
    subject: Subject, *, query: int | None = None, roles: Roles | None = None, prefix: int | None = None
) -> xr.DataArray:
    """Gradient-weighted attention carried through all layers, with self-, cross- and pooling attention;
    class-specific.

    Every attention ``A`` of stream ``s`` over stream ``q`` counts as ``C = mean_h (A * dy/dA)+`` (rule 5). Relevance
    starts as ``R_ss = I`` and nothing between streams. Self-attention adds ``C R_ss`` to ``R_ss`` (rule 6) and
    ``C R_sq`` to ``R_sq`` (rule 7). Cross-attention adds ``N(R_ss)^T C N(R_qq)`` to ``R_sq`` (rule 10) and ``C R_qs``
    to ``R_ss`` (rule 11), where ``N(R) = I + (R - I) / rowsum(R - I)`` (rules 8 and 9).

    What the paper leaves open is done so: a row without relevance stays that of ``I`` in ``N``. Two cross-attentions
    in a row that mirror each other are one co-attention, and both read what was there before it. A stream that
    attends to a third through a second gets ``C R_qr`` added to ``R_sr``, as rule 11 does for ``r = s``. A site that
    pools is cross-attention of a stream with one position.

    What is read in the end: of the streams that no other one attends to (of all where there is none: the one of the
    last site) the rows of the valid queries that the target depends on at that stream's last site: that of a class
    token where the class is read from it, those of all tokens where they are averaged, that of a step where a token
    of it is the target. The ``I`` that a stream's relevance starts as is taken off, so that a query's own position
    holds what attention brought, and no constant.

    Padding gets 0. Masked cells have weight 0 and carry nothing. Sinks are kept. NaN spreads.

    Args:
        subject: The model, its inputs and the target.
        query: The row that is read instead, 0 for a class token in front.
        roles: See `wiring`.
        prefix: See `wiring`.

    Returns:
        dims ``(sample, key)``, float64, at least 0; the unit has no meaning, as products of any number of layers are
        added. Costs one gradient pass per sample.

    Raises:
        MethodError: No attention leads from what is read to the positions, or there is no such query.

    Source:
        Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and
        Encoder-Decoder Transformers", section 3.
    """
    wired = wiring(subject, roles=roles, prefix=prefix)
    ends = _ends(wired)
    values = np.zeros((subject.samples, wired.onto_home[0].keys))
    for rows, scores, gradients in differentiated_scores(subject, wired.wires):
        steps = [
            Step(wire.reader, wire.read, positive_product(scores[wire.site.name], gradients[wire.site.name]))
            for wire in wired.wires
        ]
        found = relevancies(steps)
        part = subject.rows(rows)
        for wire in ends:
            alive = (gradients[wire.site.name] != 0).any((1, 3))
            values[rows] += _read(part, wired, wire, found, query, alive)
    return subject.relevance(
        values[:, wired.prefix :],
        "chefer",
        class_specific=True,
        sites=[wire.site.name for wire in wired.wires],
    )


def relevancies(steps: Sequence[Step]) -> Relevancies:
    """All relevance after these attentions, in the order of execution; see `chefer` for the rules."""
    held: Relevancies = {}
    for step in steps:
        samples, queries, keys = step.weights.shape
        held.setdefault((step.reader, step.reader), np.tile(np.eye(queries), (samples, 1, 1)))
        held.setdefault((step.read, step.read), np.tile(np.eye(keys), (samples, 1, 1)))
    for together in _together(steps):
        added = [addition for step in together for addition in _additions(step, held)]
        for pair, addition in added:
            held[pair] = held[pair] + addition if pair in held else addition
    return held


def _additions(step: Step, held: Relevancies) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    reader, read = step.reader, step.read
    for source, target in list(held):
        if source == read and not (target == read and reader != read):  # rules 6, 7 and 11
            yield (reader, target), step.weights @ held[source, target]
    if reader != read:  # rule 10
        inner = step.weights @ _normalised(held[read, read])
        yield (reader, read), np.swapaxes(_normalised(held[reader, reader]), 1, 2) @ inner


def _normalised(relevance: np.ndarray) -> np.ndarray:
    """Rules 8 and 9: what was added to ``I`` brought to rows that sum to 1."""
    identity = np.eye(relevance.shape[-1])
    gained = relevance - identity
    total = gained.sum(-1, keepdims=True)
    return np.asarray(identity + gained / np.where(total == 0, 1, total))


def _together(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps one by one; two in a row that mirror each other as one."""
    waiting: Step | None = None
    for step in steps:
        if waiting is not None and (step.reader, step.read) == (waiting.read, waiting.reader) != (step.read, step.read):
            yield [waiting, step]
            waiting = None
            continue
        if waiting is not None:
            yield [waiting]
        waiting = step
    if waiting is not None:
        yield [waiting]


def _ends(wired: Wiring) -> list[Wire]:
    """The last site of every stream that is read in the end."""
    last = {wire.reader: wire for wire in wired.wires}
    attended = {wire.read for wire in wired.wires if not wire.is_self}
    ends = [wire for stream, wire in last.items() if stream not in attended] or [wired.wires[-1]]
    reached = _reaching(wired)
    leading = [wire for wire in ends if wire.reader in reached]
    if leading:
        return leading
    raise MethodError(
        f"What is read in the end is {ends[0].reader!r}, at the site {ends[0].site.name!r}, and no attention leads "
        f"from there to the positions, which are {wired.home!r}. Name the sites that do: sites=[...]; or the streams: "
        f"roles={{'pattern': ({ends[0].reader!r}, {wired.home!r}), ...}}."
    )


def _reaching(wired: Wiring) -> set[str]:
    """Streams that hold something of the positions."""
    reached = {wired.home}
    for wire in wired.wires:
        if wire.read in reached:
            reached.add(wire.reader)
    return reached


def _read(
    subject: Subject, wired: Wiring, wire: Wire, found: Relevancies, query: int | None, alive: np.ndarray
) -> np.ndarray:
    relevance = found[wire.reader, wired.home]
    if wire.reader == wired.home:
        relevance = relevance - np.eye(relevance.shape[-1])
    if wire.pools:
        return np.asarray(relevance[:, 0])
    counted = weights_of_queries(valid_positions(subject, wired, wire.reader, wire.queries), query, alive)
    return np.asarray(np.einsum("sq,sqk->sk", counted, relevance))
