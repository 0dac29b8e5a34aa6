"""Which attention a model has: every softmax and fused call, what it is for, and whether it is taken.

The model is traced once, on shapes alone. Fused calls and softmaxes in Keras' own attention layers are attention by
definition; for every other softmax `_dataflow` decides, by what its scores are used for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.backends import Trace, current
from attnscope.discovery._dataflow import use_of
from attnscope.errors import AttnscopeError, NoAttentionError, PatternError, UnsupportedError
from attnscope.interception import (
    Call,
    Occurrence,
    SoftmaxCall,
    UntakenCall,
    call_model,
    declarations,
    declared_inputs,
    intercept,
    own_errors,
)
from attnscope.running import Network, check_model
from attnscope.schema import Site, SiteTable
from attnscope.tensors import Inputs, Tree

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
        site: Everything but the verdict, which is filled in for softmaxes that are classified by their use.
        in_loop: Whether it is one step of an unrolled loop.
        axis: The axis that the softmax ran over, where its use has to be looked up; else None.
        key: What the trace knows its output by.
        removed_masks: Layers that had removed a padding mask before it.
    """

    site: Site
    in_loop: bool
    axis: int | None
    key: Hashable
    removed_masks: tuple[str, ...]


@dataclass(frozen=True)
class Discovery:
    """What a trace of the model showed.

    Attributes:
        sites: All of them, in the order of execution.
        selection: Which were asked for.
        unroll: Loops that have to run step by step so that what is taken in them can be seen.
        removed_masks: For each site the layers that had removed a padding mask before it.
    """

    sites: SiteTable
    selection: Selection
    unroll: frozenset[str]
    removed_masks: dict[str, tuple[str, ...]]

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
    inputs = network.first.inputs
    batch = len(tree.flatten(inputs)[0])
    met: list[_Met | UntakenCall] = []
    errors: list[AttnscopeError] = []

    def body(tensors: Tree) -> Tree:
        met.clear()
        with intercept(
            lambda call: met.append(_met(call, len(met))),
            network.model,
            batch=batch,
            inputs=tensors,
            unroll=unroll,
            declarations=declarations(),
            errors=errors,
            untaken=met.append,
        ):
            return call_model(network.model, tensors)

    with own_errors(errors):
        trace = current().trace(network.model, body, inputs)
    listed = _listed(met, trace)
    loops = {site.loop for site in listed if site.loop and _wanted(site, selection)}
    if loops - unroll:
        return discover(network, selection, unroll | loops)
    removed = {call.site.name: call.removed_masks for call in met if isinstance(call, _Met)}
    return Discovery(SiteTable(listed), selection, unroll, removed)


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


def _listed(met: list[_Met | UntakenCall], trace: Trace) -> list[Site]:
    rows: dict[str, Site] = {}
    steps: Counter[str] = Counter(call.site.name for call in met if isinstance(call, _Met) and call.in_loop)
    for call in met:
        if isinstance(call, UntakenCall):
            name = call.at.name
            if name not in rows or rows[name].loop is None:
                rows[name] = _untaken_site(call)
        elif call.site.name not in rows:
            rows[call.site.name] = _judged(call, trace)
    listed = [_with_steps(site, steps.get(site.name)) for site in rows.values()]
    declared = {site.path for site in listed if site.kind == "declared"}
    return [
        replace(site, taken=False, reason="the declared output of its layer replaces it")
        if site.kind != "declared" and any((site.path + "/").startswith(path + "/") for path in declared)
        else site
        for site in listed
    ]


def _with_steps(site: Site, steps: int | None) -> Site:
    if steps is None or not site.dims:
        return site
    dims = (site.dims[0], "step", *site.dims[1:])
    return replace(site, dims=dims, shape=(site.shape[0], steps, *site.shape[1:]))


_BY_KIND = {"declared": "declared by the user", "fused": "a fused attention call"}


def _met(call: Call, number: int) -> _Met:
    reason, axis, key = _BY_KIND.get(call.kind, ""), None, None
    if isinstance(call, SoftmaxCall):
        if isinstance(call.at.location.layer, _ATTENDING):
            reason = f"a softmax in {type(call.at.location.layer).__name__}"
        else:
            axis, key = call.layout.permutation[-1], current().key_of(call.output, number)
    site = _site(
        call.at,
        kind=call.kind,
        dims=call.layout.dims,
        shape=call.layout.shape,
        dtype=call.dtype,
        taken=axis is None,
        reason=reason,
    )
    return _Met(site, bool(call.at.step), axis, key, tuple(call.padding.removed_by))


def _untaken_site(call: UntakenCall) -> Site:
    in_loop = call.at.loop is not None  # decided once it is unrolled
    return _site(
        call.at, kind=call.kind, dims=(), shape=call.shape, dtype=call.dtype, taken=in_loop, reason=call.reason
    )


def _site(at: Occurrence, **rest: Any) -> Site:
    layer = at.location.layer
    return Site(
        name=at.name,
        path=at.location.path,
        full_path=at.location.full_path,
        call_index=at.index,
        layer_class="" if layer is None else type(layer).__name__,
        loop=at.loop,
        **rest,
    )


def _judged(call: _Met, trace: Trace) -> Site:
    if call.site.loop is not None:  # decided once its loop is unrolled
        return replace(call.site, taken=True)
    if call.axis is None:
        return call.site
    if call.key not in trace.numbers:
        return replace(call.site, reason="its use cannot be traced; to capture it, ask for it by name")
    use = use_of(trace.graph, trace.numbers[call.key], call.axis)
    return replace(call.site, taken=use.is_attention, reason=use.reason, sinks=use.unweighted_keys)


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
