"""Which attention a model has: every softmax and fused call, what it is for, and whether it is taken.

The model is traced once, on shapes alone; again where a wanted site lies inside a loop that can be unrolled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import tree

from attnscope.discovery._lineage import Lineage
from attnscope.discovery._masks import Masks
from attnscope.discovery._selection import Selection, check_selection, selected, wanted
from attnscope.discovery._sequences import InputSequence, sequences_of
from attnscope.discovery._site_list import sites_of, with_written_out
from attnscope.discovery._traced_run import traced_run
from attnscope.discovery._written_out import written_out
from attnscope.errors import UnsupportedError
from attnscope.interception import (
    COMPILED,
    COMPILED_FUNCTIONS,
    Plan,
    RemovedMask,
    SitePlan,
    can_be_mask,
    declared_inputs,
)
from attnscope.running import Network, check_model, without_texts
from attnscope.schema import Site, SiteTable
from attnscope.tensors import Inputs, Tree


@dataclass(frozen=True)
class Discovery:
    """What a trace of the model showed.

    Attributes:
        sites: All of them, in the order of execution.
        selection: Which were asked for.
        plan: What a run of the model needs to know to take them.
        removed_masks: For each site the layers that had removed a padding mask of its keys before it.
        sequences: What is known of the positions of each input, by its name.
        computation: A digest of the operations of the model.
        operations: How many there are.
    """

    sites: SiteTable
    selection: Selection
    plan: Plan
    removed_masks: dict[str, tuple[str, ...]]
    sequences: dict[str, InputSequence]
    computation: str
    operations: int

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
    first = network.first.inputs
    return discover(without_texts(network.on(first, batch_size=len(tree.flatten(first)[0])))).sites


def discover(network: Network, selection: Selection = None, unroll: frozenset[str] = frozenset()) -> Discovery:
    """Traces a model on the shapes of the first batch and decides what each softmax is.

    If a wanted site is inside a loop that can be unrolled, the model is traced again with that loop unrolled.
    """
    check_selection(selection)
    samples = len(tree.flatten(network.first.inputs)[0])
    inputs = _two_samples(network.model, network.first.inputs) if samples == 1 else network.first.inputs
    batch = len(tree.flatten(inputs)[0])
    run = traced_run(network, inputs, unroll)
    names = network.input_names(inputs)
    lineage = Lineage(run.trace.graph, names)
    can_mask = [name for name, array in zip(names, tree.flatten(inputs), strict=True) if can_be_mask(name, array)]
    known_masks = Masks(run.trace, lineage, run.masks, can_mask)
    listed = sites_of(run, lineage, known_masks)
    by_hand = written_out(run.trace.graph)
    compiled = any(each.compiled for each in by_hand) or any(
        site.reason == COMPILED and not site.loop for site in listed
    )
    if compiled and COMPILED_FUNCTIONS not in unroll:
        return discover(network, selection, unroll | {COMPILED_FUNCTIONS})
    if by_hand:
        run_with_layers = traced_run(network, inputs, unroll, with_layers=True)
        listed = with_written_out(listed, run_with_layers, names)
    if samples < batch:
        listed = [_of_one_sample(site) for site in listed]
    loops = {site.loop for site in listed if site.loop and wanted(site, selection)}
    if loops - unroll:
        return discover(network, selection, unroll | loops)
    removed_masks = {call.at.name: call.removed_masks for call in run.calls}
    removed = {site.name: _removers(site, removed_masks.get(site.name, ()), known_masks) for site in listed}
    sequences = sequences_of(run.trace, lineage, known_masks, names, run.embedded)
    listed = [replace(site, plan=replace(site.plan, branches=run.branches)) for site in listed]  # type: ignore[type-var]
    plan = Plan.of(listed, unroll)
    graph = run.trace.graph
    return Discovery(SiteTable(listed), selection, plan, removed, sequences, graph.digest, len(graph.nodes))


def _removers(site: Site, removed: Iterable[RemovedMask], masks: Masks) -> tuple[str, ...]:
    """The layers that took the keys' mask off; not its own call, which had taken the mask before that."""
    if not isinstance(site.plan, SitePlan):
        return ()
    plans = [plans.get("key") for plans in (site.plan.masks, *site.plan.in_steps.values())]
    own = (site.path, site.call_index)
    return tuple(
        dict.fromkeys(
            mask.path
            for mask in removed
            if (mask.path, mask.call) != own and any(masks.is_of(mask.mask, plan) for plan in plans)
        )
    )


def _two_samples(model: keras.Layer, inputs: Tree) -> Tree:
    """The only sample of a batch twice, so that the axis of the samples can be followed; where the model takes two."""
    declared = declared_inputs(model)
    shapes = [] if declared is None else [tensor.shape for tensor in tree.flatten(declared)]
    if any(shape and shape[0] is not None for shape in shapes):
        return inputs
    return tree.map_structure(lambda array: np.repeat(array, 2, axis=0), inputs)


def _of_one_sample(site: Site) -> Site:
    return replace(site, shape=(1, *site.shape[1:])) if site.dims else site


def _example_inputs(model: keras.Model) -> Tree:
    declared = declared_inputs(model)
    if declared is None:
        raise UnsupportedError(
            f"The model {model.name!r} does not declare its inputs (it is subclassed), so some are needed to see "
            "their shapes: ats.sites(model, inputs)."
        )

    def example(tensor: keras.KerasTensor) -> np.ndarray:
        shape = (2, *(16 if size is None else size for size in tensor.shape[1:]))
        return np.full(shape, "a " * 16) if tensor.dtype == "string" else np.zeros(shape, tensor.dtype)

    struct = tree.map_structure(example, declared)
    return struct[0] if isinstance(struct, list) and len(struct) == 1 else struct
