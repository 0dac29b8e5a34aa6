"""Which sequence each attention site reads from and writes to, and which of them the positions are.

A *stream* is a sequence that a model carries through its layers: the tokens of an encoder, those of a decoder, the
patches of a picture. A site's queries belong to one stream and its keys to one: the same in self-attention, another in
cross-attention. A site that pools, without queries, has a stream of its own with one position.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.attribution._positions import MASKS, rows_of
from attnscope.attribution._subject import Subject
from attnscope.discovery import Selection, discover, matches
from attnscope.errors import MethodError, NoAttentionError
from attnscope.interception import symbolic_calls
from attnscope.schema import HEAD, SAMPLE, Site, SiteTable, key_dims, query_dims

Roles = Mapping[str, tuple[str, str]]
"""From a glob pattern of sites to the stream of their queries and the stream of their keys."""
OTHERWISE = (
    "These methods need no attention: method='gradient_x_input', 'integrated_gradients' (both need gradients) or "
    "'occlusion' (needs none)."
)
_CROSS = ("cross", "encoder_decoder")
_PREFIXES = (1, 2)
"""Class token, or class and distillation token, in front of a picture's patches."""


@dataclass(frozen=True)
class Wire:
    """A site with its streams.

    Attributes:
        site: The site.
        reader: Stream of its queries.
        read: Stream of its keys.
        queries: Number of queries; 1 where it pools.
        keys: Number of keys, learned sinks left out.
    """

    site: Site
    reader: str
    read: str
    queries: int
    keys: int

    @property
    def is_self(self) -> bool:
        """Whether queries and keys are one stream."""
        return self.reader == self.read

    @property
    def pools(self) -> bool:
        """Whether it has no queries."""
        return not query_dims(self.site.dims)

    def scores(self, array: np.ndarray) -> np.ndarray:
        """Scores, or their derivatives, in the dims of the site, as ``(sample, head, query, key)``.

        Several axes of queries or keys become one, row by row; learned sinks are left out.
        """
        dims = self.site.dims
        order = [SAMPLE, *(dim for dim in dims if dim == HEAD), *query_dims(dims), *key_dims(dims)]
        moved = np.transpose(array, [dims.index(dim) for dim in order])
        heads = moved.shape[1] if HEAD in dims else 1
        whole = moved.reshape(len(array), heads, self.queries, self.keys + self.site.sinks)
        return whole[..., : self.keys]


@dataclass(frozen=True)
class Wiring:
    """All sites that count, in the order of execution, and the stream of the positions.

    Attributes:
        wires: The sites.
        home: The stream whose positions relevance is given to.
        prefix: How many of its first positions stand for none of the inputs' (class and register tokens).
    """

    wires: tuple[Wire, ...]
    home: str
    prefix: int

    @property
    def sites(self) -> SiteTable:
        """The sites alone."""
        return SiteTable(wire.site for wire in self.wires)

    @property
    def onto_home(self) -> tuple[Wire, ...]:
        """Those whose keys are the positions."""
        return tuple(wire for wire in self.wires if wire.read == self.home)

    def bytes_per_sample(self) -> int:
        """Size of all scores of one sample in float32."""
        return 4 * sum(math.prod(wire.site.shape[1:]) for wire in self.wires)


def wiring(subject: Subject, *, roles: Roles | None = None, prefix: int | None = None) -> Wiring:
    """Finds the streams of the sites, and which of them the positions are.

    A site is told by its place: one without queries pools; one whose path says ``cross`` or ``encoder_decoder``, or
    which has other numbers of queries and keys, or whose layer was called on two tensors, is cross-attention; the rest
    is self-attention. Where the paths say ``encoder`` and ``decoder``, these are the streams; else streams are told
    apart by their lengths.

    Args:
        subject: The model and its inputs.
        roles: The streams of sites of which that cannot be told, by pattern.
        prefix: Positions of the attention in front of those of the inputs; default: none, or for pictures 1 or 2 where
            there are so many keys more than patches.

    Raises:
        NoAttentionError: The model computes no attention.
        MethodError: A site's axes cannot be mapped to the positions; the message names methods that work.
    """
    found = subject.scorer.kept(("sites", _wish(subject.sites)), lambda: _discovered(subject))
    for site in found:
        _check(site, subject)
    names = _named_streams(found, subject.model, roles or {})
    wires = tuple(
        Wire(site, *names[site.name], _size(site, query_dims(site.dims)), _size(site, key_dims(site.dims)) - site.sinks)
        for site in found
    )
    lengths = _lengths(wires)
    read = {wire.read for wire in wires}
    home, in_front = _home(subject, {name: size for name, size in lengths.items() if name in read}, prefix)
    return Wiring(wires, home, in_front)


def _wish(selection: Selection) -> Hashable:
    """Sites as they were asked for, to be compared."""
    return selection if selection is None or isinstance(selection, str) or callable(selection) else tuple(selection)


def _discovered(subject: Subject) -> SiteTable:
    first = rows_of(subject.inputs, slice(0, min(2, subject.samples)))
    found = discover(subject.in_batches(2, first), subject.sites)
    try:
        chosen = found.chosen
    except NoAttentionError as error:
        raise NoAttentionError(f"{error} {OTHERWISE}") from None
    if found.unroll:
        inside = next((site.name for site in found.sites if site.loop), next(iter(found.unroll)))
        raise MethodError(
            f"The attention {inside!r} is computed anew at every step of a loop, so that its keys are no fixed "
            f"positions of the input. {OTHERWISE}"
        )
    return chosen


def _check(site: Site, subject: Subject) -> None:
    fits = {SAMPLE, HEAD, *query_dims(site.dims), *key_dims(site.dims)} >= set(site.dims)
    if fits and site.shape[0] == min(2, subject.samples):
        return
    raise MethodError(
        f"The site {site.name!r} has dims {site.dims} with shape {site.shape}: its keys are windows or parts of the "
        f"input, not its {subject.positions.count} positions. Leave it out: sites=[...] names those to use. "
        f"{OTHERWISE}"
    )


def _size(site: Site, dims: tuple[str, ...]) -> int:
    sizes = dict(zip(site.dims, site.shape, strict=True))
    return math.prod(sizes[dim] for dim in dims)


def _named_streams(found: SiteTable, model: keras.Layer, roles: Roles) -> dict[str, tuple[str, str]]:
    given = {site.name: streams for site in found for pattern, streams in roles.items() if matches(site, pattern)}
    unmet = [pattern for pattern in roles if not any(matches(site, pattern) for site in found)]
    if unmet:
        raise MethodError(
            f"The roles name {unmet[0]!r}, which matches none of the sites {found.names}. Name sites by patterns: "
            "roles={'*cross*': ('decoder', 'encoder')}."
        )
    return {site.name: given.get(site.name) or _told(site, found, model) for site in found}


def _told(site: Site, found: SiteTable, model: keras.Layer) -> tuple[str, str]:
    """The streams of a site by its name, its shape, and how its layer was called."""
    queries, keys = _size(site, query_dims(site.dims)), _size(site, key_dims(site.dims)) - site.sinks
    both = all(any(_side(other.path) == side for other in found) for side in ("encoder", "decoder"))
    side = _side(site.path) if both else ""
    read = side or f"{keys} positions"
    if not query_dims(site.dims):
        return f"pooled by {site.name}", read
    crossing = any(word in site.path for word in _CROSS)
    if crossing and both:
        return "decoder", "encoder"
    if queries != keys:
        return f"{queries} positions", f"{keys} positions"
    if crossing or _called_on_two(model, site):
        raise MethodError(
            f"The site {site.name!r} is cross-attention between two sequences of {queries} positions, and it cannot be "
            f"told which sites belong to which. Say it: roles={{{site.name!r}: ('decoder', 'encoder'), ...}}, with the "
            "sequence of the queries first, for every site."
        )
    return read, read


def _side(path: str) -> str:
    if any(word in path for word in _CROSS):
        return ""
    return next((side for side in ("encoder", "decoder") if side in path), "")


def _called_on_two(model: keras.Layer, site: Site) -> bool:
    """Whether a functional model calls the site's layer with another tensor for its keys than for its queries."""
    operations = [one for one in getattr(model, "operations", []) if one.name == site.path]
    calls = [arguments for one in operations for arguments in symbolic_calls(one)]
    if site.call_index >= len(calls):
        return False
    given = [leaf for leaf in tree.flatten(calls[site.call_index].args) if keras.backend.is_keras_tensor(leaf)]
    named = calls[site.call_index].kwargs
    given += [named[name] for name in ("query", "value", "key") if keras.backend.is_keras_tensor(named.get(name))]
    return len({id(tensor) for tensor in given[:2]}) > 1


def _lengths(wires: tuple[Wire, ...]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    for wire in wires:
        for stream, size in ((wire.reader, wire.queries), (wire.read, wire.keys)):
            if lengths.setdefault(stream, size) != size:
                raise MethodError(
                    f"The stream {stream!r} has {lengths[stream]} positions, but {size} at the site "
                    f"{wire.site.name!r}. Name the streams: roles={{{wire.site.name!r}: ('decoder', 'encoder'), ...}}, "
                    "with the sequence of the queries first."
                )
    return lengths


def _home(subject: Subject, lengths: dict[str, int], prefix: int | None) -> tuple[str, int]:
    fitting = {
        stream: extra for stream, size in lengths.items() if (extra := _extra(subject, size, prefix)) is not None
    }
    name = _input_name(subject)
    named = [stream for stream in fitting if stream in name] or list(fitting)
    if len(named) == 1:
        return named[0], fitting[named[0]]
    count = subject.positions.count
    if not named:
        sizes = ", ".join(f"{size} in {stream!r}" for stream, size in lengths.items())
        raise MethodError(
            f"The input has {count} positions, but the attention is over another number: {sizes}. Where class or "
            f"register tokens stand in front, say how many: prefix=1. {OTHERWISE}"
        )
    raise MethodError(
        f"The sequences {sorted(named)} of the attention all have {count} positions, and it cannot be told which of "
        f"them the input {name!r} is. Name the streams after the inputs: "
        f"roles={{'pattern': ({name!r}, {name!r}), ...}}."
    )


def _extra(subject: Subject, size: int, prefix: int | None) -> int | None:
    """How many positions of a stream of this size are in front of those of the input; None where it does not fit."""
    extra = size - subject.positions.count
    if prefix is not None:
        return prefix if extra == prefix else None
    return extra if extra == 0 or (subject.positions.kind == "patches" and extra in _PREFIXES) else None


def _input_name(subject: Subject) -> str:
    path, _ = tree.flatten_with_path(subject.inputs)[subject.positions.leaf]
    return str(path[-1]) if path else ""


def valid_positions(subject: Subject, wired: Wiring, stream: str, size: int) -> np.ndarray:
    """Which positions of a stream are no padding, dims ``(sample, position)``.

    For the positions' own stream those of the subject, with the prefix in front; for another one those of a padding
    mask of that length whose name says the stream, or of the only one; all where there is none.
    """
    if stream == wired.home:
        front = np.ones((subject.samples, wired.prefix), bool)
        return np.concatenate([front, subject.positions.valid], axis=1)
    masks = {
        str(path[-1]): np.asarray(leaf).astype(bool)
        for path, leaf in tree.flatten_with_path(subject.inputs)
        if path and str(path[-1]).endswith(MASKS) and np.shape(leaf) == (subject.samples, size)
    }
    named = [mask for name, mask in masks.items() if fnmatchcase(name, f"*{stream}*")] or list(masks.values())
    return named[0] if len(named) == 1 else np.ones((subject.samples, size), bool)


def weights_of_queries(valid: np.ndarray, query: int | None, alive: Any = None) -> np.ndarray:
    """How much each query counts in what is read, dims ``(sample, query)``, summing to 1, or to 0 where none is valid.

    Args:
        valid: dims ``(sample, query)``.
        query: Number of the one that is read, from the end where negative; None for the mean over the valid ones.
        alive: Those of the valid ones that count, where any of a sample's do; same dims.

    Raises:
        MethodError: There is no such query.
    """
    size = valid.shape[1]
    if query is not None:
        if not -size <= query < size:
            raise MethodError(f"The query {query} was asked for, but there are {size}, numbered from 0: query=0.")
        return np.asarray(np.eye(size)[np.full(len(valid), query % size)])
    counted = valid.astype(float)
    if alive is not None:
        both = counted * alive
        counted = np.where(both.any(1, keepdims=True), both, counted)
    total = counted.sum(1, keepdims=True)
    return np.asarray(counted / np.where(total == 0, 1, total))
