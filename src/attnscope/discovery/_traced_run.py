"""A traced run of a model: the attention calls that it met, its masks and embeddings, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import count

import keras
from keras import tree

from attnscope.backends import Trace, current
from attnscope.errors import AttnscopeError
from attnscope.interception import (
    Call,
    Counts,
    DeclaredCall,
    FusedCall,
    LayerCall,
    Layout,
    Occurrence,
    Plan,
    RemovedMask,
    SoftmaxCall,
    UntakenCall,
    call_model,
    declarations,
    intercept,
    own_errors,
)
from attnscope.running import Network
from attnscope.tensors import Tensor, Tree


@dataclass(frozen=True)
class TracedCall:
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
    removed_masks: tuple[RemovedMask, ...] = ()


@dataclass(frozen=True)
class TracedLayer:
    """A call of a layer in a trace, with what the trace knows its tensors by."""

    layer: keras.Layer
    path: str
    inputs: tuple[Hashable, ...]
    outputs: tuple[Hashable, ...]


@dataclass(frozen=True)
class TracedRun:
    """What a trace met.

    Attributes:
        trace: The trace.
        calls: Of softmaxes, of fused attention, and of layers with a declared output.
        masks: Names of the Keras masks that layers set, in order, with what the trace knows each by.
        layers: Calls of layers, those that ended first first; empty where they were not asked for.
        embedded: What the trace knows the numbers by that were embedded, by the path of the `Embedding`.
        branches: How many calls there are in each branch of a condition, by its name.
    """

    trace: Trace
    calls: list[TracedCall]
    masks: list[tuple[str, Hashable]]
    layers: list[TracedLayer]
    embedded: dict[str, Hashable]
    branches: dict[str, list[Counts]]


def traced_run(network: Network, inputs: Tree, unroll: frozenset[str], *, with_layers: bool = False) -> TracedRun:
    """Traces a model."""
    calls: list[TracedCall] = []
    masks: list[tuple[str, Hashable]] = []
    layers: list[TracedLayer] = []
    embedded: dict[str, Hashable] = {}
    branches: dict[str, list[Counts]] = {}
    errors: list[AttnscopeError] = []
    batch = len(tree.flatten(inputs)[0])

    def body(tensors: Tree) -> Tree:
        for collected in (calls, masks, layers, embedded, branches):
            collected.clear()
        numbers = count()

        def key_of(tensor: Tensor) -> Hashable:
            return current().key_of(tensor, next(numbers))

        def note(layer: keras.Layer, path: str, given: Tensor, result: Tensor) -> Tensor:
            if masks and _masks_zero(layer):
                embedded[masks[-1][0]] = key_of(given)  # the mask that it has just set
            return result

        with intercept(
            lambda call: calls.append(_taken_call(call, key_of, len(masks))),
            network.model,
            batch=batch,
            inputs=tensors,
            plan=Plan(unroll),
            declarations=declarations(),
            errors=errors,
            embedded=note,
            masked=lambda name, mask: masks.append((name, key_of(mask))),
            untaken=lambda call: calls.append(_untaken_call(call, key_of, len(masks))),
            ended=(lambda call: layers.append(_layer_call(call, key_of))) if with_layers else None,
        ) as running:
            outputs = call_model(network.model, tensors)
        branches.update(running.progress.branches)
        return outputs

    with own_errors(errors), network.noting(network.first.inputs):
        trace = current().trace(network.model, body, inputs)
    return TracedRun(trace, calls, masks, layers, embedded, branches)


def _layer_call(call: LayerCall, key_of: Callable[[Tensor], Hashable]) -> TracedLayer:
    inputs, outputs = (
        tuple(key_of(leaf) for leaf in tree.flatten(tensors) if hasattr(leaf, "dtype") and hasattr(leaf, "shape"))
        for tensors in (call.inputs, call.outputs)
    )
    return TracedLayer(call.layer, call.path, inputs, outputs)


def _masks_zero(layer: keras.Layer) -> bool:
    """Whether an `Embedding` masks the number 0, by Keras' own rule."""
    own = isinstance(layer, keras.layers.Embedding) and layer.mask_zero
    return own and type(layer).compute_mask is keras.layers.Embedding.compute_mask


def _taken_call(call: Call, key_of: Callable[[Tensor], Hashable], masks: int) -> TracedCall:
    return TracedCall(
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


def _untaken_call(call: UntakenCall, key_of: Callable[[Tensor], Hashable], masks: int) -> TracedCall:
    given = call.tensors
    keys = {name: key_of(given[name]) for name in _TENSORS[call.kind] if given.get(name) is not None}
    return TracedCall(call.at, call.kind, call.shape, call.dtype, call.reason, call.axes, keys, None, masks)
