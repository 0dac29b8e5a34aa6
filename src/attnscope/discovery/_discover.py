"""Which attention a model has: every softmax and fused call, what it is for, and whether it is taken.

The model is traced once, on shapes alone. Fused calls and softmaxes in Keras' own attention layers are attention by
definition; for every other softmax `_dataflow` decides, by what its scores are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import count
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.backends import Trace, current
from attnscope.discovery._dataflow import Use, use_of
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._masks import Masks
from attnscope.discovery._origins import Axis, Made, Origin, Samples, Symbol, is_data, is_picked, together
from attnscope.discovery._portions import sources_of
from attnscope.discovery._roles import Roles, in_words, roles_of
from attnscope.discovery._sequences import InputSequence, sequences_of
from attnscope.discovery._written_out import written_out
from attnscope.errors import AttnscopeError, NoAttentionError, PatternError, UnsupportedError
from attnscope.interception import (
    COMPILED,
    COMPILED_FUNCTIONS,
    Call,
    DeclaredCall,
    FusedCall,
    LayerCall,
    Layout,
    MaskPlan,
    Occurrence,
    Plan,
    Removal,
    SitePlan,
    SoftmaxCall,
    UntakenCall,
    call_model,
    can_be_mask,
    declarations,
    declared_inputs,
    intercept,
    own_errors,
)
from attnscope.running import Network, check_model
from attnscope.schema import Site, SiteTable, query_dims
from attnscope.tensors import Inputs, Tensor, Tree

_ATTENDING = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)

Selection = str | Iterable[str] | Callable[[Site], bool] | None
"""Which sites: a glob pattern, several, a predicate, or None for all that are attention."""


@dataclass(frozen=True)
class _Met:
    """What is kept of one call that the trace met: plain values, so that no tensor outlives the trace.

    Attributes:
        at: Where.
        kind: ``softmax``, ``fused`` or ``declared``.
        shape: Of its scores as they came.
        dtype: Of its scores; empty where that is not known.
        reason: Why it cannot be taken, as far as that is known when it happens.
        axes: The axes that its softmax runs over.
        keys: What the trace knows its tensors by; empty where they are out of reach.
        by_size: The layout that its sizes suggest, which counts where the trail is lost; or the declared one.
        masks: How many Keras masks had been set before it.
        removed_masks: The padding masks that layers had removed before it.
    """

    at: Occurrence
    kind: str
    shape: tuple[int, ...]
    dtype: str
    reason: str
    axes: tuple[int, ...]
    keys: Mapping[str, Hashable]
    by_size: Layout | None
    masks: int
    removed_masks: tuple[Removal, ...] = ()


@dataclass(frozen=True)
class Discovery:
    """What a trace of the model showed.

    Attributes:
        sites: All of them, in the order of execution.
        selection: Which were asked for.
        plan: What a run of the model needs to know to take them.
        removed_masks: For each site the layers that had removed a padding mask of its keys before it.
        sequences: What is known of the positions of each input, by its name.
    """

    sites: SiteTable
    selection: Selection
    plan: Plan
    removed_masks: dict[str, tuple[str, ...]]
    sequences: dict[str, InputSequence]

    @property
    def chosen(self) -> SiteTable:
        """The sites that were asked for; see `selected` for what is raised where there are none."""
        return selected(self.sites, self.selection)


def sites(model: keras.Model, inputs: Inputs = None, *, batch_size: int = 32) -> SiteTable:
    """What attention a model has, without computing anything.

    Args:
        model: Any built Keras 3 model, or a KerasHub task.
        inputs: Some of its inputs, as for `capture`; only their shapes are used, of the first batch. None for a
            functional or Sequential model: its declared input shapes are taken, unknown sizes as 16.
        batch_size: Samples in a batch.

    Returns:
        All sites in the order of execution; those that `capture` leaves out by default say why in ``reason``.

    Raises:
        UnbuiltModelError: The model has no weights yet.
        InputError: The inputs are empty, or none are given and the model does not declare any.

    Example:
        >>> inputs = keras.Input((5, 8))
        >>> x = keras.layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs)
        >>> outputs = keras.layers.Dense(3, activation="softmax", name="classes")(x)
        >>> for site in sites(keras.Model(inputs, outputs)):
        ...     print(site.name, site.shape, site.taken)
        mha (2, 2, 5, 5) True
        classes (2, 5, 3) False
    """
    check_model(model)
    network = Network(model, _example_inputs(model) if inputs is None else inputs, batch_size=batch_size)
    return discover(network).sites


def discover(network: Network, selection: Selection = None, unroll: frozenset[str] = frozenset()) -> Discovery:
    """Traces a model on the shapes of the first batch and decides what each softmax is.

    If a wanted site is inside a loop that can be unrolled, the model is traced again with that loop unrolled.
    """
    samples = len(tree.flatten(network.first.inputs)[0])
    inputs = _two_samples(network.model, network.first.inputs) if samples == 1 else network.first.inputs
    batch = len(tree.flatten(inputs)[0])
    seen = _seen(network, inputs, unroll)
    names = network.input_names(inputs)
    lineage = Lineage(seen.trace.graph, names)
    can_mask = [name for name, array in zip(names, tree.flatten(inputs), strict=True) if can_be_mask(name, array)]
    known_masks = Masks(seen.trace, lineage, seen.masks, can_mask)
    listed = _listed(seen.met, seen.trace, lineage, known_masks)
    by_hand = written_out(seen.trace.graph)
    compiled = any(each.compiled for each in by_hand) or any(
        site.reason == COMPILED and not site.loop for site in listed
    )
    if compiled and COMPILED_FUNCTIONS not in unroll:
        return discover(network, selection, unroll | {COMPILED_FUNCTIONS})
    if by_hand:
        placed = _seen(network, inputs, unroll, with_layers=True)
        listed = _with_written_out(listed, placed, names)
    if samples < batch:
        listed = [_of_one_sample(site) for site in listed]
    loops = {site.loop for site in listed if site.loop and _wanted(site, selection)}
    if loops - unroll:
        return discover(network, selection, unroll | loops)
    removals = {call.at.name: call.removed_masks for call in seen.met}
    removed = {site.name: _removers(site, removals.get(site.name, ()), known_masks) for site in listed}
    sequences = sequences_of(seen.trace, lineage, known_masks, names, seen.embedded)
    return Discovery(SiteTable(listed), selection, Plan.of(listed, unroll), removed, sequences)


def _removers(site: Site, removals: Iterable[Removal], masks: Masks) -> tuple[str, ...]:
    """The layers that took the keys' mask off; not its own call, which had taken the mask before that."""
    if not isinstance(site.plan, SitePlan):
        return ()
    plans = [plans.get("key") for plans in (site.plan.masks, *site.plan.in_steps.values())]
    own = (site.path, site.call_index)
    return tuple(
        dict.fromkeys(
            removal.path
            for removal in removals
            if (removal.path, removal.call) != own and any(masks.is_of(removal.mask, plan) for plan in plans)
        )
    )


@dataclass(frozen=True)
class _LayerCall:
    """A call of a layer in a trace, with what the trace knows its tensors by."""

    layer: keras.Layer
    path: str
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


@dataclass(frozen=True)
class _Seen:
    """What a trace met.

    Attributes:
        trace: The trace.
        met: The calls.
        masks: Names of the Keras masks that layers set, in order, with what the trace knows each by.
        layers: Calls of layers, those that ended first first; empty where they were not asked for.
        embedded: What the trace knows the numbers by that were embedded, by the path of the `Embedding`.
    """

    trace: Trace
    met: list[_Met]
    masks: list[tuple[str, Hashable]]
    layers: list[_LayerCall]
    embedded: dict[str, Hashable]


def _seen(network: Network, inputs: Tree, unroll: frozenset[str], *, with_layers: bool = False) -> _Seen:
    """Traces a model."""
    met: list[_Met] = []
    masks: list[tuple[str, Hashable]] = []
    layers: list[_LayerCall] = []
    embedded: dict[str, Hashable] = {}
    errors: list[AttnscopeError] = []
    batch = len(tree.flatten(inputs)[0])

    def body(tensors: Tree) -> Tree:
        for collected in (met, masks, layers, embedded):
            collected.clear()
        numbers = count()

        def key_of(tensor: Tensor) -> Hashable:
            return current().key_of(tensor, next(numbers))

        def note(layer: keras.Layer, path: str, given: Tensor, result: Tensor) -> Tensor:
            if masks and _masks_zero(layer):
                embedded[masks[-1][0]] = key_of(given)  # the mask that it has just set
            return result

        with intercept(
            lambda call: met.append(_met(call, key_of, len(masks))),
            network.model,
            batch=batch,
            inputs=tensors,
            plan=Plan(unroll),
            declarations=declarations(),
            errors=errors,
            embedded=note,
            masked=lambda name, mask: masks.append((name, key_of(mask))),
            untaken=lambda call: met.append(_not_taken(call, key_of, len(masks))),
            ended=(lambda call: layers.append(_layer_call(call, key_of))) if with_layers else None,
        ):
            return call_model(network.model, tensors)

    with own_errors(errors), network.noting(network.first.inputs):
        trace = current().trace(network.model, body, inputs)
    return _Seen(trace, met, masks, layers, embedded)


def _layer_call(call: LayerCall, key_of: Callable[[Tensor], Hashable]) -> _LayerCall:
    inputs, outputs = (
        tuple(key_of(leaf) for leaf in tree.flatten(tensors) if hasattr(leaf, "dtype") and hasattr(leaf, "shape"))
        for tensors in (call.inputs, call.outputs)
    )
    return _LayerCall(call.layer, call.path, inputs, outputs)


def _with_written_out(listed: list[Site], seen: _Seen, names: Sequence[str]) -> list[Site]:
    """The sites, and behind them the softmaxes that no call was met for, where each layer that holds one."""
    lineage = Lineage(seen.trace.graph, names)
    numbers = seen.trace.numbers
    met = {lineage.original(numbers[call.keys["output"]]) for call in seen.met if call.keys.get("output") in numbers}
    inside = {call.at.location.path for call in seen.met if not call.keys or call.kind == "declared"}
    found = list(listed)
    for softmax in written_out(seen.trace.graph):
        around = _layer_around(softmax.tensor, seen)
        path = "" if around is None else around.path
        if lineage.original(softmax.tensor) in met or path in inside:
            continue
        use = use_of(lineage, softmax.tensor, lineage.symbol(softmax.tensor), softmax.axes)
        reason = _WRITTEN_OUT.format(softmax.form, use.reason)
        index = sum(site.path == path for site in found)
        found.append(
            Site(
                name=path + (f"#{index}" if index else ""),
                path=path,
                full_path=path,
                call_index=index,
                layer_class="" if around is None else type(around.layer).__name__,
                kind="softmax",
                dims=(),
                shape=seen.trace.graph.shapes[softmax.tensor],
                dtype="",
                taken=False,
                reason=reason,
                unreached=reason if use.is_attention or use.lost else "",
                plan=SitePlan(None),
            )
        )
    return found


def _layer_around(tensor: int, seen: _Seen) -> _LayerCall | None:
    """The innermost layer that computes a tensor: what it gives comes from there, and what it is given does not."""
    reached = seen.trace.graph.reached_from(tensor)

    def any_reached(keys: tuple[Hashable, ...]) -> bool:
        return any(seen.trace.numbers.get(key) in reached for key in keys)

    return next((call for call in seen.layers if any_reached(call.outputs) and not any_reached(call.inputs)), None)


_WRITTEN_OUT = (
    "it is written out as {}, and only the call of a softmax can be taken ({}); compute it with keras.ops.softmax, or "
    "let the layer return the weights and declare them: ats.declare"
)


def _masks_zero(layer: keras.Layer) -> bool:
    """Whether an `Embedding` masks the number 0, by Keras' own rule."""
    own = isinstance(layer, keras.layers.Embedding) and layer.mask_zero
    return own and type(layer).compute_mask is keras.layers.Embedding.compute_mask


def _two_samples(model: keras.Layer, inputs: Tree) -> Tree:
    """The only sample of a batch twice, so that the axis of the samples can be followed; where the model takes two."""
    declared = declared_inputs(model)
    shapes = [] if declared is None else [tensor.shape for tensor in tree.flatten(declared)]
    if any(shape and shape[0] is not None for shape in shapes):
        return inputs
    return tree.map_structure(lambda array: np.repeat(array, 2, axis=0), inputs)


def _of_one_sample(site: Site) -> Site:
    return replace(site, shape=(1, *site.shape[1:])) if site.dims else site


def selected(found: SiteTable, selection: Selection) -> SiteTable:
    """The sites that are asked for.

    Args:
        found: All sites of a model.
        selection: A glob pattern, several, a predicate, or None for all that are attention. A pattern also selects
            sites that are left out by default.

    Raises:
        PatternError: A pattern matches nothing; the message names the nearest.
        NoAttentionError: Nothing is asked for by name, and the model has no attention; or what is asked for
            cannot be taken.
    """
    chosen = SiteTable(site for site in found if _wanted(site, selection))
    patterns = [selection] if isinstance(selection, str) else selection
    if patterns is not None and not callable(patterns):
        for pattern in patterns:
            if not any(matches(site, pattern) for site in found):
                raise PatternError(_no_match(pattern, found))
    takeable = SiteTable(site for site in chosen if site.dims)
    if takeable:
        return takeable
    raise NoAttentionError(_nothing(found, chosen))


def _wanted(site: Site, selection: Selection) -> bool:
    if selection is None:
        return site.taken
    if callable(selection):
        return bool(selection(site))
    patterns = [selection] if isinstance(selection, str) else list(selection)
    return any(matches(site, pattern) for pattern in patterns)


def matches(site: Site, pattern: str) -> bool:
    """Whether a glob pattern matches this site: by name, path, or the last part of either."""
    names = {
        site.name,
        site.path,
        site.full_path,
        *site.full_path.split("/")[-1:],
        *site.path.split("/")[-1:],
    }
    return any(fnmatchcase(name, pattern) for name in names)


def _no_match(pattern: str, found: SiteTable) -> str:
    names = [site.name for site in found]
    near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
    listed = ", ".join(repr(name) for name in near) or "none: the model has no softmax at all"
    return (
        f"The pattern {pattern!r} matches none of the model's {len(found)} sites. The nearest are: {listed}. "
        "Patterns are globs over the whole name: sites='encoder_0/*'. All names: ats.sites(model, inputs)."
    )


def _nothing(found: SiteTable, chosen: SiteTable) -> str:
    if chosen:
        first = chosen[0]
        return f"The site {first.name!r} cannot be taken: {first.reason}."
    if not found:
        return (
            "The model computes no softmax and no fused attention, so there is no attention to capture. Weights that "
            "a layer computes by hand can be declared: "
            "ats.declare(LayerClass, output=1, dims=('sample', 'query', 'key'))."
        )
    reasons = "; ".join(f"{site.name!r} is left out: {site.reason}" for site in found[:3])
    return (
        f"None of the model's {len(found)} softmaxes is attention: {reasons}. To capture one anyway, ask for it by "
        f"name: sites={found[0].name!r}."
    )


def _met(call: Call, key_of: Callable[[Tensor], Hashable], masks: int) -> _Met:
    return _Met(
        call.at,
        call.kind,
        _shape_of(call),
        call.dtype,
        "",
        call.axes if isinstance(call, SoftmaxCall) else (-1,),
        {name: key_of(tensor) for name in _TENSORS[call.kind] if (tensor := getattr(call, name)) is not None},
        call.layout,
        masks,
        call.removed_masks,
    )


_TENSORS = {
    "softmax": ("logits", "output"),
    "fused": ("query", "key", "value", "mask", "bias"),
    "declared": ("output",),
}
"""The tensors of a call whose axes say what those of its scores are."""


def _shape_of(call: Call) -> tuple[int, ...]:
    if isinstance(call, FusedCall):
        lead, queries, heads, _ = call.query.shape
        return (lead, heads, queries, call.key.shape[1])
    return tuple(call.output.shape) if isinstance(call, (SoftmaxCall, DeclaredCall)) else ()


def _not_taken(call: UntakenCall, key_of: Callable[[Tensor], Hashable], masks: int) -> _Met:
    given = call.tensors
    keys = {name: key_of(given[name]) for name in _TENSORS[call.kind] if given.get(name) is not None}
    return _Met(call.at, call.kind, call.shape, call.dtype, call.reason, call.axes, keys, None, masks)


def _listed(met: list[_Met], trace: Trace, lineage: Lineage, masks: Masks) -> list[Site]:
    """The sites in the order of their first calls."""
    rows: dict[str, Site] = {}
    judges = [_Judge(call, trace, lineage, masks) for call in met]
    for judge in judges:
        for sequence, limit in judge.masked():
            masks.link(sequence, limit)
    groups: dict[str, list[_Judge]] = {}
    for judge in judges:
        groups.setdefault(judge.call.at.name, []).append(judge)
    for name, group in groups.items():
        untaken = [judge for judge in group if not judge.call.keys and judge.call.at.loop is None]
        rows[name] = _with_steps((untaken or group)[0].verdict(), [judge for judge in group if judge.call.at.step])
    listed = _without_repeats(list(rows.values()), groups)
    declared = {site.path for site in listed if site.kind == "declared"}
    return [
        replace(site, taken=False, reason="the declared output of its layer replaces it")
        if site.kind != "declared" and any((site.path + "/").startswith(path + "/") for path in declared)
        else site
        for site in listed
    ]


def _with_steps(site: Site, steps: list[_Judge]) -> Site:
    """A site in a loop that is run step by step, with a dim for the steps, or the samples where it runs over them."""
    if not steps or not site.dims or not isinstance(site.plan, SitePlan):
        return site
    if site.plan.over_samples:
        return replace(site, shape=(len(steps), *site.shape[1:]))
    differs = len({judge.values for judge in steps[:2]}) > 1
    plan = replace(site.plan, differs=differs)
    if differs and plan.masks:
        plan = replace(plan, in_steps={judge.call.at.step: judge.mask_plans for judge in steps})
    return _over_steps(replace(site, plan=plan), steps)


def _over_steps(site: Site, steps: Sequence[_Judge]) -> Site:
    """A site with a dim for the steps of the loop that it is in, which comes from what the loop runs over."""
    over = steps[0].over(steps)
    return replace(
        site,
        dims=(site.dims[0], "step", *site.dims[1:]),
        shape=(site.shape[0], len(steps), *site.shape[1:]),
        lineage={**site.lineage, **({"step": in_words(over)} if over else {})},
    )


def _without_repeats(listed: list[Site], groups: Mapping[str, list[_Judge]]) -> list[Site]:
    """The sites, where the calls of a loop of Python's that pool one tensor again and again are one site with steps."""
    by_path: dict[str, list[Site]] = {}
    for site in listed:
        by_path.setdefault(site.path, []).append(site)
    repeats: set[str] = set()
    joined: dict[str, Site] = {}
    for sites_there in by_path.values():
        first, steps = sites_there[0], [groups[site.name][0] for site in sites_there]
        values = {judge.values for judge in steps}
        pools = all(site.taken and site.dims and _asks_once(site) for site in sites_there)
        alike = len({(site.dims, site.shape) for site in sites_there}) == 1
        if len(steps) == 1 or len(values) > 1 or -1 in values or not pools or not alike or "step" in first.dims:
            continue
        repeats.update(site.name for site in sites_there[1:])
        first = replace(
            first,
            reason=f"{first.reason}, in {len(steps)} steps of a loop",
            plan=replace(first.plan, calls=tuple(site.name for site in sites_there)),  # type: ignore[type-var]
        )
        joined[first.name] = _over_steps(first, steps)
    return [joined.get(site.name, site) for site in listed if site.name not in repeats]


def _asks_once(site: Site) -> bool:
    """Whether it has at most one query."""
    sizes = dict(zip(site.dims, site.shape, strict=True))
    return all(sizes[dim] == 1 for dim in query_dims(site.dims))


_BY_KIND = {"declared": "declared by the user", "fused": "a fused attention call"}


@dataclass(frozen=True)
class _Judge:
    """Decides what one call is."""

    call: _Met
    trace: Trace
    lineage: Lineage
    masks: Masks

    @property
    def _is_traced(self) -> bool:
        keys = self.call.keys
        return bool(keys) and all(key in self.trace.numbers for key in keys.values()) and self.call.kind != "declared"

    @cached_property
    def _scores(self) -> Symbol:
        """Where the axes of the scores come from, as they came."""
        if self.call.kind == "softmax":
            return self.lineage.with_samples(self.lineage.symbol(self._number("logits")))
        query, key = (self.lineage.symbol(self._number(name)) for name in ("query", "key"))
        samples = together([query[0], key[0]], self.call.shape[0], Made(self._number("query"), 0))
        return self.lineage.with_samples((samples, query[2], query[1], key[1]))

    @property
    def values(self) -> int:
        """Number of the tensor that the scores weight; -1 where it is not known."""
        return self.lineage.original(self._use.values) if self._is_traced else -1

    def over(self, steps: Sequence[_Judge]) -> Axis:
        """What the loop around these calls runs over; empty where it is not known."""
        tensor = "logits" if self.call.kind == "softmax" else "query"
        traced = all(judge._is_traced and tensor in judge.call.keys for judge in steps)
        return self.lineage.in_steps([judge._number(tensor) for judge in steps]) if traced else ()

    @property
    def _over_samples(self) -> bool:
        """Whether each step of the loop around it is one sample."""
        if not self.call.at.step or self.call.kind != "softmax":
            return False
        steps = self.lineage.steps.get(self._number("logits"), {})
        return any(origin == Samples() and first == last for (origin, _), (first, last) in steps.items())

    @cached_property
    def _use(self) -> Use:
        if self.call.kind == "softmax":
            axes = tuple(axis % len(self._scores) for axis in self.call.axes)
            return use_of(self.lineage, self._number("output"), self._scores, axes)
        values = self._number("value")
        shared, value = _all_but(self._scores, 2), self.lineage.symbol(values)[1]
        return Use(True, _BY_KIND["fused"], shared=shared, values=values, value=value)

    def masked(self) -> Iterator[tuple[Axis, Axis]]:
        """The sequence of the keys, and what a mask was laid along it."""
        if not self._is_traced or not self._use.value:
            return
        yield self._use.value, self._scores[self.call.axes[-1]]
        for name in ("mask", "bias"):
            if name in self.call.keys:
                limit = self.lineage.symbol(self._number(name))
                yield self._use.value, limit[-1] if limit else ()

    def verdict(self) -> Site:
        """The site."""
        call = self.call
        if not call.keys:  # out of reach; in a loop that can be unrolled it is judged then
            unreached = call.reason if call.at.loop is None else ""
            taken = call.at.loop is not None
            return self._site(taken=taken, reason=call.reason, unreached=unreached, plan=SitePlan(None))
        if call.kind == "declared":
            return self._labelled(call.by_size, {}, "declared", taken=True, reason=_BY_KIND["declared"])
        if not self._is_traced:
            reason = "its use cannot be traced; to capture it, ask for it by name"
            return self._labelled(call.by_size, {}, "by size", taken=False, reason=reason)
        use, layer = self._use, call.at.location.layer
        taken, reason = use.is_attention, use.reason
        if call.kind == "softmax" and isinstance(layer, _ATTENDING):
            taken, reason = True, f"a softmax in {type(layer).__name__}"
        taken = taken or (bool(use.lost) and call.at.loop is not None)  # decided once its loop is run step by step
        heads = 1 if call.kind == "fused" else None
        roles = roles_of(
            self._scores, call.shape, call.axes, use.shared, use.picked, heads=heads, apart=self._over_samples
        )
        roles = replace(roles, guess=roles.guess or use.guess)
        site = self._with_roles(roles, use.value, reason, taken=taken, sinks=use.unweighted_keys)
        return site if taken else replace(site, lost=use.lost)

    @property
    def mask_plans(self) -> Mapping[str, MaskPlan]:
        """The padding masks of its dims."""
        plan = self.verdict().plan
        return plan.masks if isinstance(plan, SitePlan) else {}

    def _number(self, name: str) -> int:
        return self.trace.numbers[self.call.keys[name]]

    def _with_roles(self, roles: Roles, value: Axis, reason: str, *, taken: bool, sinks: int = 0) -> Site:
        if roles.layout is None:
            return self._labelled(self.call.by_size, {}, "by size", taken=taken, reason=reason, sinks=sinks)
        origins = {dim: self.masks.without_masks(axis) for dim, axis in roles.origins.items()}
        if "key" in origins and value and not sinks and not (is_picked(value) and _is_data(origins["key"])):
            origins["key"] = self.masks.without_masks(value)
        certainty = "by size" if roles.guess else "traced"
        return self._labelled(roles.layout, origins, certainty, taken=taken, reason=reason, sinks=sinks)

    def _labelled(
        self,
        layout: Layout | None,
        origins: Mapping[str, Axis],
        certainty: str,
        *,
        taken: bool,
        reason: str,
        sinks: int = 0,
    ) -> Site:
        if layout is None:
            return self._site(taken=False, reason=self.call.reason or reason, plan=SitePlan(None))
        return self._site(
            dims=layout.dims,
            shape=layout.shape,
            taken=taken,
            reason=reason,
            sinks=sinks,
            lineage={dim: in_words(origins[dim]) for dim in layout.dims if origins.get(dim)},
            certainty=certainty,
            sources={dim: sources for dim in layout.dims if (sources := sources_of(origins.get(dim, ())))},
            plan=self._plan(layout, origins),
        )

    def _plan(self, layout: Layout, origins: Mapping[str, Axis]) -> SitePlan:
        masks = self.masks.of(origins, self.call.masks, self._at)
        return SitePlan(layout, masks, over_samples=self._is_traced and self._over_samples)

    @property
    def _at(self) -> list[tuple[Origin, int, int]]:
        """The single positions of axes that its scores were made from."""
        tensor = "logits" if self.call.kind == "softmax" else "query"
        if not self._is_traced or tensor not in self.call.keys:
            return []
        steps = self.lineage.steps.get(self._number(tensor), {})
        return [(origin, total, first) for (origin, total), (first, last) in steps.items() if first == last]

    def _site(self, **rest: Any) -> Site:
        at = self.call.at
        layer = at.location.layer
        return Site(
            **{"dims": (), "shape": self.call.shape, **rest},
            name=at.name,
            path=at.location.path,
            full_path=at.location.full_path,
            call_index=at.index,
            layer_class="" if layer is None else type(layer).__name__,
            kind=self.call.kind,
            dtype=self.call.dtype,
            loop=at.loop,
        )


def _is_data(axis: Axis) -> bool:
    return any(map(is_data, axis))


def _all_but(symbol: Symbol, axis: int) -> frozenset[tuple[int, int]]:
    """All factors but those of one axis."""
    return frozenset(
        (number, place) for number, factors in enumerate(symbol) if number != axis for place in range(len(factors))
    )


def _example_inputs(model: keras.Model) -> Tree:
    declared = declared_inputs(model)
    if declared is None:
        raise UnsupportedError(
            f"The model {model.name!r} does not declare its inputs (it is subclassed), so some are needed to see "
            "their shapes: ats.sites(model, inputs)."
        )

    def example(tensor: keras.KerasTensor) -> np.ndarray:
        shape = (2, *(16 if size is None else size for size in tensor.shape[1:]))
        return np.zeros(shape, "U1" if tensor.dtype == "string" else tensor.dtype)

    struct = tree.map_structure(example, declared)
    return struct[0] if isinstance(struct, list) and len(struct) == 1 else struct
