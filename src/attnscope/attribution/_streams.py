"""Which sequences each attention site reads from and writes to, and which of them holds the input's positions.

A *stream* is a sequence that a model carries through its layers: the tokens of an encoder, those of a decoder, the
patches of a picture. A site's queries belong to one stream and its keys to one: the same stream in self-attention,
different ones in cross-attention. A site that pools, without queries, has a stream of its own with one position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import tree

from attnscope.attribution._padding import discovered
from attnscope.attribution._subject import Subject
from attnscope.discovery import matches
from attnscope.errors import MethodError, NoAttentionError
from attnscope.interception import Call, Plan, SitePlan, symbolic_calls
from attnscope.roles import Roles, declared_roles
from attnscope.running import Runner
from attnscope.schema import CROSS, HEAD, SAMPLE, Site, SiteTable, key_dims, query_dims
from attnscope.tensors import Tensor

OTHERWISE = (
    "These methods need no attention: method='gradient_x_input', 'integrated_gradients' (both need gradients) or "
    "'occlusion' (needs none)."
)
_PREFIXES = (1, 2)
"""A class token, or a class and a distillation token, in front of a picture's patches."""


@dataclass(frozen=True)
class SiteStreams:
    """A site and the streams that its queries and its keys belong to.

    Attributes:
        site: The site.
        query_stream: Name of the stream of its queries.
        key_stream: Name of the stream of its keys.
        num_queries: Number of queries; 1 where the site pools.
        num_keys: Number of keys, without learned sink columns.
    """

    site: Site
    query_stream: str
    key_stream: str
    num_queries: int
    num_keys: int

    @property
    def name(self) -> str:
        """Name of the site."""
        return self.site.name

    @property
    def is_self(self) -> bool:
        """Whether queries and keys belong to one stream."""
        return self.query_stream == self.key_stream

    @property
    def pools(self) -> bool:
        """Whether the site has no queries."""
        return not query_dims(self.site.dims)

    def in_four_dims(self, array: np.ndarray) -> np.ndarray:
        """Scores, or their derivatives, from the dims of the site to dims ``(sample, head, query, key)``.

        Several axes of queries or keys become one, row by row; learned sink columns are dropped.
        """
        dims = self.site.dims
        order = [SAMPLE, *(dim for dim in dims if dim == HEAD), *query_dims(dims), *key_dims(dims)]
        moved = np.transpose(array, [dims.index(dim) for dim in order])
        heads = moved.shape[1] if HEAD in dims else 1
        whole = moved.reshape(len(array), heads, self.num_queries, self.num_keys + self.site.sinks)
        return whole[..., : self.num_keys]


@dataclass(frozen=True)
class Streams:
    """The streams of all chosen sites, and the one whose positions are those of the explained input.

    Attributes:
        sites: The sites with their streams, in the order of execution.
        input_stream: Name of the stream that holds the positions relevance is given to.
        prefix: How many positions at its start are none of the input's (class and register tokens).
    """

    sites: tuple[SiteStreams, ...]
    input_stream: str
    prefix: int

    @property
    def over_input(self) -> tuple[SiteStreams, ...]:
        """The sites whose keys are the positions of the input."""
        return tuple(site for site in self.sites if site.key_stream == self.input_stream)


def streams_of(subject: Subject, *, roles: Roles | None = None, prefix: int | None = None) -> Streams:
    """Finds the streams of the sites, and which of them holds the positions of the input.

    A site without queries pools. Streams are told by where the queries and keys of each site come from. Only where that
    trail was lost, a site is cross-attention if its path contains ``cross`` or ``encoder_decoder``, if it has different
    numbers of queries and keys, or if its layer was called on two tensors, and self-attention otherwise; then the
    streams are ``encoder`` and ``decoder`` if the paths contain both, or else are distinguished by their lengths.

    Args:
        subject: The model and its inputs.
        roles: From a glob pattern of sites to the streams of their queries and keys, for sites where these rules do not
            decide.
        prefix: Number of positions in the attention that precede those of the input; None for 0, or for pictures for 1
            or 2 where there are that many more keys than patches.

    Raises:
        NoAttentionError: The model computes no attention.
        MethodError: A site's axes cannot be mapped to the positions; the message names methods that work.
    """
    chosen = _chosen_sites(subject)
    for site in chosen:
        _check(site, subject)
    names = _named_streams(chosen, subject.model, roles or {})
    sites = tuple(
        SiteStreams(
            site, *names[site.name], _size(site, query_dims(site.dims)), _size(site, key_dims(site.dims)) - site.sinks
        )
        for site in chosen
    )
    attended = {site.key_stream for site in sites}
    lengths = {stream: size for stream, size in _lengths(sites).items() if stream in attended}
    known = {stream for site in chosen for stream in _by_lineage(site) or () if stream in names[site.name]}
    return Streams(sites, *_input_stream(subject, lengths, prefix, known))


def bytes_per_sample(sites: Sequence[SiteStreams]) -> int:
    """Size of all scores of one sample at these sites, in float32."""
    return 4 * sum(math.prod(site.site.shape[1:]) for site in sites)


def _chosen_sites(subject: Subject) -> SiteTable:
    discovery = discovered(subject.network, subject.inputs, subject.sites, subject.cache)
    try:
        chosen = discovery.chosen
    except NoAttentionError as error:
        raise NoAttentionError(f"{error} {OTHERWISE}") from None
    if discovery.plan.unroll:
        in_loop = next((site.name for site in discovery.sites if site.loop), next(iter(discovery.plan.unroll)))
        raise MethodError(
            f"The attention {in_loop!r} is recomputed at every step of a loop, so its keys are not fixed positions "
            f"of the input. {OTHERWISE}"
        )
    return chosen


def _check(site: Site, subject: Subject) -> None:
    fits = {SAMPLE, HEAD, *query_dims(site.dims), *key_dims(site.dims)} >= set(site.dims)
    if fits and site.shape[0] == min(2, subject.samples):
        return
    raise MethodError(
        f"The site {site.name!r} has dims {site.dims} with shape {site.shape}: its keys are windows or parts of the "
        f"input, not its {subject.positions.count} positions. Leave it out by naming the sites to use: sites=[...]. "
        f"{OTHERWISE}"
    )


def _size(site: Site, dims: tuple[str, ...]) -> int:
    sizes = dict(zip(site.dims, site.shape, strict=True))
    return math.prod(sizes[dim] for dim in dims)


def _named_streams(sites: SiteTable, model: keras.Layer, roles: Roles) -> dict[str, tuple[str, str]]:
    """By name of the site the streams of its queries and keys."""
    declared = declared_roles(sites, roles, matches, MethodError)
    return {
        site.name: declared.get(site.name) or _by_lineage(site) or _inferred_by_size(site, sites, model)
        for site in sites
    }


def _by_lineage(site: Site) -> tuple[str, str] | None:
    """The streams of a site: where its queries and its keys come from; None where the trail was lost."""
    keys = [site.lineage[dim] for dim in key_dims(site.dims) if dim in site.lineage]
    queries = [site.lineage[dim] for dim in query_dims(site.dims) if dim in site.lineage]
    if site.certainty == "traced" and keys and len(queries) == len(query_dims(site.dims)):
        key_stream = " and ".join(dict.fromkeys(keys))
        return " and ".join(dict.fromkeys(queries)) or f"pooled by {site.name}", key_stream
    return None


def _inferred_by_size(site: Site, sites: SiteTable, model: keras.Layer) -> tuple[str, str]:
    """The streams of a site, inferred from its path, its shape, and how its layer was called."""
    queries, keys = _size(site, query_dims(site.dims)), _size(site, key_dims(site.dims)) - site.sinks
    both = all(any(_side(other.path) == side for other in sites) for side in ("encoder", "decoder"))
    side = _side(site.path) if both else ""
    key_stream = side or f"{keys} positions"
    if not query_dims(site.dims):
        return f"pooled by {site.name}", key_stream
    crossing = any(word in site.path for word in CROSS)
    if crossing and both:
        return "decoder", "encoder"
    if queries != keys:
        return f"{queries} positions", f"{keys} positions"
    if crossing or _called_on_two(model, site):
        raise MethodError(
            f"The site {site.name!r} is cross-attention between two sequences of {queries} positions, and nothing "
            "says which sites belong to which of them. Declare every site, the sequence of the queries first: "
            f"roles={{{site.name!r}: ('decoder', 'encoder'), ...}}."
        )
    return key_stream, key_stream


def _side(path: str) -> str:
    if any(word in path for word in CROSS):
        return ""
    return next((side for side in ("encoder", "decoder") if side in path), "")


def _called_on_two(model: keras.Layer, site: Site) -> bool:
    """Whether a functional model calls the site's layer with another tensor for its keys than for its queries."""
    operations = [one for one in getattr(model, "operations", []) if one.name == site.path]
    calls = [arguments for one in operations for arguments in symbolic_calls(one)]
    if site.call_index >= len(calls):
        return False
    arguments = calls[site.call_index]
    called_on = [leaf for leaf in tree.flatten(arguments.args) if keras.backend.is_keras_tensor(leaf)]
    by_name = [arguments.kwargs.get(name) for name in ("query", "value", "key")]
    called_on += [tensor for tensor in by_name if keras.backend.is_keras_tensor(tensor)]
    return len({id(tensor) for tensor in called_on[:2]}) > 1


def _lengths(sites: Sequence[SiteStreams]) -> dict[str, int]:
    """Number of positions of each stream."""
    lengths: dict[str, int] = {}
    for site in sites:
        for stream, size in ((site.query_stream, site.num_queries), (site.key_stream, site.num_keys)):
            if lengths.setdefault(stream, size) != size:
                raise MethodError(
                    f"The stream {stream!r} has {lengths[stream]} positions, but {size} at the site {site.name!r}. "
                    "Name the streams of each site, the sequence of the queries first: "
                    f"roles={{{site.name!r}: ('decoder', 'encoder'), ...}}."
                )
    return lengths


def _input_stream(
    subject: Subject, lengths: dict[str, int], prefix: int | None, known: Collection[str]
) -> tuple[str, int]:
    """Name of the stream that holds the input's positions, and how many of its positions precede them.

    Of streams that are `known` to come from elsewhere none is taken because it has as many positions.
    """
    fitting = {
        stream: extra for stream, size in lengths.items() if (extra := _extra(subject, size, prefix)) is not None
    }
    name = _input_name(subject)
    named = (
        [stream for stream in fitting if _comes_from(stream, name)]
        or [stream for stream in fitting if stream in name]
        or [stream for stream in fitting if stream not in known or not _says_its_source(stream)]
    )
    if len(named) == 1:
        return named[0], fitting[named[0]]
    count = subject.positions.count
    if not fitting:
        sizes = ", ".join(f"{size} in {stream!r}" for stream, size in lengths.items())
        raise MethodError(
            f"The input has {count} positions, but the attention is over a different number: {sizes}. If class or "
            f"register tokens come first, say how many: prefix=1. {OTHERWISE}"
        )
    if not named:
        raise MethodError(
            f"The attention is over {' and over '.join(fitting)}, which has as many positions as the input {name!r}, "
            f"{count}, but does not come from it position by position. If it stands for them all the same, name it "
            f"after the input: roles={{'pattern': ({name!r}, {name!r}), ...}}. {OTHERWISE}"
        )
    raise MethodError(
        f"The attention is over the sequences {sorted(named)}, which all have {count} positions, and nothing says "
        f"which of them the input {name!r} is. Name the streams after the inputs: "
        f"roles={{'pattern': ({name!r}, {name!r}), ...}}."
    )


def _extra(subject: Subject, size: int, prefix: int | None) -> int | None:
    """How many positions of a stream of this size precede those of the input; None where the sizes do not fit."""
    extra = size - subject.positions.count
    if prefix is not None:
        return prefix if extra == prefix else None
    return extra if extra == 0 or (subject.positions.kind == "patches" and extra in _PREFIXES) else None


def _input_name(subject: Subject) -> str:
    return subject.network.input_names(subject.inputs)[subject.positions.leaf]


def _comes_from(stream: str, name: str) -> bool:
    """Whether a stream is positions of this input."""
    return " of input" in stream and f"{name!r}" in stream and not stream.endswith(", reversed")


def _says_its_source(stream: str) -> bool:
    """Whether the words of a lineage say more than that the model made the axis."""
    return " of input" in stream or "units of " in stream


def valid_positions(subject: Subject, streams: Streams, stream: str, size: int) -> np.ndarray:
    """Which positions of a stream are not padding, dims ``(sample, position)``, bool.

    For the input's own stream these are the subject's, with the prefix in front. For another stream they are those of
    the padding mask of that very sequence, as the model has it when a site reads it. Without one all are valid.

    Args:
        subject: The model and its inputs.
        streams: Its streams.
        stream: Name of the one that is meant.
        size: Number of its positions.
    """
    if stream == streams.input_stream:
        front = np.ones((subject.samples, streams.prefix), bool)
        return np.concatenate([front, subject.positions.valid], axis=1)
    for site in streams.sites:
        for dim, of_dim in (("query", site.query_stream), ("key", site.key_stream)):
            if of_dim == stream and isinstance(site.site.plan, SitePlan) and dim in site.site.plan.masks:
                return _mask_of(subject, site.site, dim)
    return np.ones((subject.samples, size), bool)


def _mask_of(subject: Subject, site: Site, dim: str) -> np.ndarray:
    """The padding mask of one dim of a site, dims ``(sample, position)``. Costs one forward pass per sample."""

    def handlers(extras: Mapping[str, Tensor]) -> tuple[Callable[[Call], None], dict[str, Tensor]]:
        collected: dict[str, Tensor] = {}

        def handler(call: Call) -> None:
            if call.name == site.name:
                collected["mask"] = call.masks[dim]

        return handler, collected

    runner = subject.cache.once(("mask", site.name, dim), lambda: Runner(subject.model, handlers, plan=Plan.of([site])))
    parts = [collected["mask"][: batch.size].copy() for _, collected, batch in runner.run(subject.in_batches())]
    return np.concatenate(parts).astype(bool)


def query_weights(valid: np.ndarray, query: int | None, influential: np.ndarray | None = None) -> np.ndarray:
    """How much each query counts in the mean over queries.

    Args:
        valid: Queries that are not padding, dims ``(sample, query)``, bool.
        query: Number of the only query that counts, from the end where negative; None for all valid ones alike.
        influential: Queries that the target depends on, same dims, bool: only these count in samples that have any.

    Returns:
        dims ``(sample, query)``, float64, within 0 to 1, summing to 1 over the queries; 0 everywhere in a sample
        without a valid query.

    Raises:
        MethodError: There is no such query.
    """
    size = valid.shape[1]
    if query is not None:
        if not -size <= query < size:
            raise MethodError(f"The query {query} was asked for, but there are {size}, numbered from 0: query=0.")
        return np.asarray(np.eye(size)[np.full(len(valid), query % size)])
    weights = valid.astype(float)
    if influential is not None:
        both = weights * influential
        weights = np.where(both.any(1, keepdims=True), both, weights)
    total = weights.sum(1, keepdims=True)
    return np.asarray(weights / np.where(total == 0, 1, total))
