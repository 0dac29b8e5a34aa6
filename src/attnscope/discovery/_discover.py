"""Which attention a model has: every softmax and fused call, what it is for, and whether it is taken.

The model is traced once, on shapes alone. Fused calls and softmaxes in Keras' own attention layers are attention
by what they are; for every other softmax `dataflow` tells, by what its scores are used for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.backends import Graph, graph_of_jaxpr, graph_of_tensorflow, torch_recorder
from attnscope.discovery._dataflow import use_of
from attnscope.errors import AttnscopeError, NoAttentionError, PatternError, UnbuiltModelError, UnsupportedError
from attnscope.interception import Call, Missed, SoftmaxCall, declarations, intercept, own_errors
from attnscope.running import Batches, as_tensors, batches_of, call_model
from attnscope.schema import Site, SiteTable

_MARK = "attnscope:"
_ATTENDING = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)

Selection = str | Iterable[str] | Callable[[Site], bool] | None
"""Which sites: a glob pattern, several, a predicate, or None for all that are attention."""


@dataclass
class Found:
    """What is kept of one call that the trace met: plain values, so that no tensor outlives the trace.

    Attributes:
        site: All but the verdict, which is filled in for softmaxes that only their use can tell.
        in_loop: Whether it is one step of an unrolled loop.
        axis: The axis that the softmax ran over, where its use has to be looked up; else None.
        key: What the trace knows its output by.
        removed_masks: Layers that had taken a padding mask off before it.
    """

    site: Site
    in_loop: bool
    axis: int | None
    key: Any
    removed_masks: tuple[str, ...]


@dataclass
class Discovery:
    """What a trace of the model showed.

    Attributes:
        sites: All of them, in the order of execution.
        unroll: Loops that have to run step by step so that what is taken in them can be seen.
        removed_masks: For each site the layers that had taken a padding mask off before it.
    """

    sites: SiteTable
    unroll: frozenset[str] = frozenset()
    removed_masks: dict[str, tuple[str, ...]] = field(default_factory=dict)


def sites(model: keras.Model, inputs: Any = None, *, batch_size: int = 32) -> SiteTable:
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
    if inputs is None:
        inputs = _example_inputs(model)
    return discover(model, batches_of(inputs, batch_size, model)).sites


def check_model(model: Any) -> None:
    """Refuses what is no model, and a model without weights.

    Raises:
        UnsupportedError: Not a Keras 3 layer or model.
        UnbuiltModelError: Not built.
    """
    if isinstance(model, (str, Path)):
        raise UnsupportedError(
            f"The model is a path, {str(model)!r}, but a Keras 3 model is needed: attnscope.load_model({str(model)!r})."
        )
    if not isinstance(model, keras.Layer):
        raise UnsupportedError(
            f"The model is a {type(model).__module__}.{type(model).__name__}, but a Keras 3 model is needed. "
            "A model of tf_keras, or an old file: model.save('old.h5'), then attnscope.load_model('old.h5')."
        )
    if not model.built:
        raise UnbuiltModelError(
            f"The model {model.name!r} is not built: it has no weights yet, so its attention would be random. "
            "Call it once on a batch and load its weights: model(x); model.load_weights(path)."
        )


def discover(
    model: keras.Layer, batches: Batches, selection: Selection = None, unroll: frozenset[str] = frozenset()
) -> Discovery:
    """Traces the model on the shapes of the first batch and decides what each softmax is.

    Where a wanted site is inside a loop that can be unrolled, the trace is made again with that loop unrolled.
    """
    inputs = batches.first.inputs
    batch = len(tree.flatten(inputs)[0])
    found: list[Found] = []
    missed: list[Missed] = []
    errors: list[AttnscopeError] = []

    def body(tensors: Any) -> Any:
        found.clear()
        with intercept(
            note,
            model,
            batch=batch,
            inputs=tensors,
            unroll=unroll,
            declarations=declarations(),
            errors=errors,
        ) as interception:
            outputs = call_model(model, tensors)
        missed[:] = interception.missed
        return outputs

    def note(call: Call) -> None:
        found.append(_found(call, len(found)))

    with own_errors(errors):
        graph, numbers = _TRACERS[keras.backend.backend()](model, body, inputs)
    listed = _listed(found, graph, numbers, missed)
    loops = {site.loop for site in listed if site.loop and _wanted(site, selection)}
    if loops - unroll:
        return discover(model, batches, selection, unroll | loops)
    removed = {item.site.name: item.removed_masks for item in found}
    return Discovery(SiteTable(listed), unroll, removed)


def selected(found: SiteTable, selection: Selection) -> SiteTable:
    """The sites that are asked for.

    Args:
        found: All sites of a model.
        selection: See `Selection`. A pattern also takes what is left out by default.

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
    """Whether a glob pattern means this site: by name, path, or the last part of either."""
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
            "The model computes no softmax and no fused attention, so there is no attention to take. Weights made "
            "by hand can be declared: ats.declare(LayerClass, output=1, dims=('sample', 'query', 'key'))."
        )
    reasons = "; ".join(f"{site.name!r} is left out: {site.reason}" for site in found[:3])
    return (
        f"None of the model's {len(found)} softmaxes is attention: {reasons}. Ask for one by name to take it all "
        f"the same: sites={found[0].name!r}."
    )


def _listed(found: list[Found], graph: Graph, numbers: dict[Any, int], missed: list[Missed]) -> list[Site]:
    rows: dict[str, Site] = {}
    steps: Counter[str] = Counter(item.site.name for item in found if item.in_loop)
    for item in found:
        if item.site.name not in rows:
            rows[item.site.name] = _judged(item, graph, numbers)
    for entry in missed:
        if entry.name not in rows or rows[entry.name].loop is None:
            rows[entry.name] = _missed_site(entry)
    listed = [_with_steps(site, steps.get(site.name)) for site in rows.values()]
    declared = {site.path for site in listed if site.kind == "declared"}
    return [
        replace(site, taken=False, reason="the declared output of its layer stands for it")
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


def _found(call: Call, number: int) -> Found:
    layer, layout = call.place.layer, call.layout
    reason, axis, key = _BY_KIND.get(call.kind, ""), None, None
    if isinstance(call, SoftmaxCall):
        if isinstance(layer, _ATTENDING):
            reason = f"a softmax in {type(layer).__name__}"
        elif layout is not None:
            axis, key = layout.permutation[-1], _key_of(call.output, number)
    site = Site(
        name=call.name,
        path=call.place.path,
        full_path=call.place.full_path,
        call_index=call.index,
        layer_class="" if layer is None else type(layer).__name__,
        kind=call.kind,
        dims=() if layout is None else layout.dims,
        shape=_shape_of(call) if layout is None else layout.shape,
        dtype=call.dtype,
        taken=layout is not None and axis is None,
        reason=reason if layout is not None else "its first axis is neither the sample nor a multiple of it",
        loop=call.loop,
    )
    return Found(site, bool(call.step), axis, key, tuple(call.padding.removed_by))


def _shape_of(call: Call) -> tuple[int, ...]:
    return tuple(call.output.shape) if isinstance(call, SoftmaxCall) else ()


def _key_of(tensor: Any, number: int) -> Any:
    """What the trace will know this tensor by: on JAX a mark that is put on it here."""
    backend = keras.backend.backend()
    if backend == "jax":
        from jax.ad_checkpoint import checkpoint_name

        checkpoint_name(tensor, f"{_MARK}{number}")
        return number
    return tensor.name if backend == "tensorflow" else id(tensor)


def _judged(item: Found, graph: Graph, numbers: dict[Any, int]) -> Site:
    if item.site.loop is not None:  # judged once its loop is unrolled
        return replace(item.site, taken=True)
    if item.axis is None:
        return item.site
    if item.key not in numbers:
        return replace(item.site, reason="what it is used for cannot be traced; take it by name")
    use = use_of(graph, numbers[item.key], item.axis)
    return replace(item.site, taken=use.is_attention, reason=use.reason, sinks=use.unweighted_keys)


def _missed_site(entry: Missed) -> Site:
    layer = entry.place.layer
    return Site(
        name=entry.name,
        path=entry.place.path,
        full_path=entry.place.full_path,
        call_index=0,
        layer_class="" if layer is None else type(layer).__name__,
        kind=entry.kind,
        dims=(),
        shape=entry.shape,
        dtype="",
        taken=entry.loop is not None,
        reason=entry.reason,
        loop=entry.loop,
    )


def _example_inputs(model: keras.Model) -> Any:
    declared = getattr(model, "_inputs_struct", None)
    declared = getattr(model, "inputs", None) if declared is None else declared
    if declared is None:
        raise UnsupportedError(
            f"The model {model.name!r} does not declare its inputs (it is subclassed), so some are needed to see "
            "their shapes: ats.sites(model, inputs)."
        )

    def example(tensor: Any) -> np.ndarray:
        shape = (2, *(16 if size is None else size for size in tensor.shape[1:]))
        return np.zeros(shape, "U1" if tensor.dtype == "string" else tensor.dtype)

    struct = tree.map_structure(example, declared)
    return struct[0] if isinstance(struct, list) and len(struct) == 1 else struct


def _trace_jax(model: keras.Layer, body: Any, inputs: Any) -> tuple[Graph, dict[Any, int]]:
    import jax

    variables = model.variables

    def traced(values: list[Any], tensors: Any) -> Any:
        with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
            return body(tensors)

    values = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]
    tensors = as_tensors(inputs)
    closed = jax.make_jaxpr(traced)(values, tensors)
    return graph_of_jaxpr(closed, len(jax.tree_util.tree_leaves(tensors)), _MARK)


def _trace_tensorflow(model: keras.Layer, body: Any, inputs: Any) -> tuple[Graph, dict[Any, int]]:
    import tensorflow as tf

    specs = tree.map_structure(lambda t: tf.TensorSpec(t.shape, t.dtype), as_tensors(inputs))

    def stateless(tensors: Any) -> Any:
        with keras.StatelessScope():
            return body(tensors)

    concrete = tf.function(stateless).get_concrete_function(specs)
    given = concrete.inputs[: len(tree.flatten(specs))]
    return graph_of_tensorflow(concrete.graph, given, concrete.outputs)


def _trace_torch(model: keras.Layer, body: Any, inputs: Any) -> tuple[Graph, dict[Any, int]]:
    try:
        with keras.device("meta"):
            return _recorded_by_torch(body, inputs)
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        # Not every operation of PyTorch knows the meta device; what is wrong with the model itself is raised
        # again by the run on real tensors.
        return _recorded_by_torch(body, inputs)


def _recorded_by_torch(body: Any, inputs: Any) -> tuple[Graph, dict[Any, int]]:
    import torch

    tensors = as_tensors(inputs)
    with torch.no_grad(), keras.StatelessScope(), torch_recorder() as recorder:
        given = [recorder.number(tensor) for tensor in tree.flatten(tensors)]
        outputs = body(tensors)
    graph: Graph = recorder.builder.graph
    graph.inputs = set(given)
    leaves = [leaf for leaf in tree.flatten(outputs) if isinstance(leaf, torch.Tensor)]
    graph.outputs = {recorder.number(leaf) for leaf in leaves}
    return graph, recorder.builder.numbers


_TRACERS = {"jax": _trace_jax, "tensorflow": _trace_tensorflow, "torch": _trace_torch}
