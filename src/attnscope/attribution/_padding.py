"""Which positions are padding: those that the model itself masks, or that hold the number which the user names."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops, tree

from attnscope.attribution._compilation_cache import CompilationCache
from attnscope.attribution._positions import SEGMENTS, Positions, rows_of
from attnscope.discovery import Discovery, InputSequence, Selection, check_selection, discover
from attnscope.errors import AttnscopeError, InputError
from attnscope.interception import (
    MASK_NAMES,
    Call,
    Plan,
    call_model,
    declarations,
    has_fixed_length,
    intercept,
    own_errors,
)
from attnscope.running import Network, as_numpy, batches_of, compiled, joined
from attnscope.schema import key_dims
from attnscope.tensors import Tensor, Tree

CODES = (
    "the whole numbers are taken for codes, one per column, because the model masks none of them and takes a fixed "
    "number of them; if they are tokens, say which one is padding: padding=0"
)


@dataclass(frozen=True)
class Known:
    """What the model says of its positions, and its outputs, which one run of it gives.

    Attributes:
        positions: The positions, with their padding.
        outputs: The model's outputs on all samples.
    """

    positions: Positions
    outputs: Tree


def discovered(network: Network, inputs: Tree, sites: Selection, cache: CompilationCache) -> Discovery:
    """What a trace of the model on two samples shows, or on the only one; made once.

    Args:
        network: The model.
        inputs: All samples, as arrays.
        sites: Which attention is asked for.
        cache: Where it is kept.
    """
    check_selection(sites)
    first = rows_of(inputs, slice(0, 2))
    samples = len(_first(first))
    return cache.once(
        ("discovery", _comparable(sites), samples), lambda: discover(network.on(first, batch_size=samples), sites)
    )


def known_positions(
    positions: Positions,
    network: Network,
    inputs: Tree,
    *,
    selection: Selection,
    cache: CompilationCache,
    padding: float | None = None,
) -> Known:
    """Finds out which positions are padding, and whether whole numbers are tokens or codes.

    A position is padding if the input that is the mask of that very sequence says so; else if the Keras mask does that
    a layer set for it; else if no query of any attention over these positions may attend to it. The number that the
    user names is padding too. Whole numbers are codes if each is looked up in its own way; and as long as nothing says
    otherwise if the model takes a fixed number of them and masks none.

    Args:
        positions: The positions, by rank and dtype.
        network: The model.
        inputs: All samples, as arrays.
        selection: Which attention is asked for.
        cache: What was traced for the model.
        padding: The number that the user says is padding.
    """
    if padding is not None and not (isinstance(padding, (int, float, np.number)) and np.ndim(padding) == 0):
        raise InputError(f"padding is {padding!r}, but the number that stands for padding is needed: padding=0.")
    if padding is not None and positions.kind in ("features", "patches"):
        raise InputError(f"padding={padding!r} was given, but {positions.kind} are never padding. Leave padding out.")
    if positions.kind in ("features", "patches"):
        return Known(positions, network.outputs(inputs))
    names = network.input_names(inputs)
    name = names[positions.leaf]
    discovery = discovered(network, inputs, selection, cache)
    sequence = discovery.sequences.get(name, InputSequence())
    leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
    mask = _mask_leaf(positions, sequence, discovery, names, leaves)
    zero = mask is None and (sequence.zero_is_padding or name in network.zero_is_padding)
    numbers = (*(() if padding is None else (padding,)), *((0,) if zero else ()))
    found = replace(positions, mask=mask, padding=numbers)
    found = replace(found, valid=found.valid_of(inputs))
    masked = mask is not None or bool(numbers)
    if mask is not None or zero:
        outputs = network.outputs(inputs)
    else:
        sites = _sites_over(name, positions, discovery)
        outputs, valid = _run(network, inputs, positions, sequence.mask, sites, discovery.plan)
        masked = masked or bool(sequence.mask) or not valid.all()
        found = _with_read(found, valid, leaves[positions.leaf])
    return Known(_of_kind(found, sequence, network, masked=masked), outputs)


def _of_kind(positions: Positions, sequence: InputSequence, network: Network, *, masked: bool) -> Positions:
    if positions.kind != "tokens" or len(positions.shape) > 1:
        return positions
    if sequence.columns:
        return replace(positions, kind="codes")
    if masked or network.tokenizer is not None or not has_fixed_length(network.model, positions.leaf):
        return positions
    return replace(positions, kind="codes", note=CODES)


def _mask_leaf(
    positions: Positions, sequence: InputSequence, discovery: Discovery, names: list[str], leaves: list[np.ndarray]
) -> int | None:
    """Number of the input that is the mask of the positions.

    Where the data flow ties no mask to them, a mask of no other sequence counts if its name says that it is theirs:
    ``encoder_padding_mask`` of ``encoder_token_ids``; or the only mask of the only other input.
    """
    if sequence.mask_input:
        return names.index(sequence.mask_input)
    taken = {each.mask_input for each in discovery.sequences.values()}
    shape = (len(leaves[positions.leaf]), *positions.shape)
    free = [
        (number, name)
        for number, name in enumerate(names)
        if name.endswith(MASK_NAMES)
        and name not in taken
        and leaves[number].shape == shape
        and number != positions.leaf
    ]
    own = names[positions.leaf]
    by_name = [number for number, name in free if own.startswith(_prefix(name)) and _prefix(name)]
    others = [name for name in names if not name.endswith((*MASK_NAMES, *SEGMENTS))]
    alone = [number for number, name in free if not _prefix(name)] if len(others) == 1 else []
    return next(iter(by_name or alone), None)


def _prefix(name: str) -> str:
    return next((name.removesuffix(ending) for ending in MASK_NAMES if name.endswith(ending)), name)


def _sites_over(name: str, positions: Positions, discovery: Discovery) -> frozenset[str]:
    """Names of the sites whose keys are the positions of an input."""
    axes = [f"axis {axis + 1} of input {name!r}" for axis in range(len(positions.shape))]
    return frozenset(
        site.name
        for site in discovery.sites
        if site.taken and site.certainty == "traced" and not site.loop and not site.sinks
        if [site.lineage.get(dim) for dim in key_dims(site.dims)] == axes[-1:]
        if site.lineage.get("window", axes[0]) == axes[0] and ("window" in site.dims) <= (len(axes) > 1)
    )


def _run(
    network: Network, inputs: Tree, positions: Positions, mask: str, sites: frozenset[str], plan: Plan
) -> tuple[Tree, np.ndarray]:
    """The model's outputs, and which positions it leaves unmasked: by its Keras mask, else in any of its attention."""
    errors: list[AttnscopeError] = []
    declared = declarations()

    def body(model: keras.Layer, tensors: Tree) -> tuple[Tree, dict[str, list[Tensor]]]:
        collected: dict[str, list[Tensor]] = {}

        def handler(call: Call) -> None:
            valid = call.key_valid() if call.name in sites and not mask else None
            if valid is not None:
                collected.setdefault(call.name, []).append(valid)

        def masked(name: str, tensor: Tensor) -> None:
            if name == mask:
                collected.setdefault(name, []).append(ops.cast(tensor, "bool"))

        size = len(_first(tensors))
        with intercept(
            handler, model, batch=size, inputs=tensors, plan=plan, declarations=declared, errors=errors, masked=masked
        ):
            outputs = call_model(model, tensors)
        return outputs, collected

    run = compiled(network.model, body)
    parts, valid = [], []
    for batch in batches_of(inputs, network.batch_size, network.model, full=True):
        with own_errors(errors), network.noting(batch.inputs):
            outputs, collected = run(batch.inputs)
        network.passes.forward += batch.size
        parts.append((tree.map_structure(as_numpy, outputs), batch.size))
        valid.append(_unmasked(collected, positions, batch.size))
    return joined(parts), np.concatenate(valid)


def _unmasked(collected: dict[str, list[Tensor]], positions: Positions, size: int) -> np.ndarray:
    """What was collected of one batch as one mask, dims ``(sample, position)``; in loops there is one for each step."""
    masks = []
    for steps in collected.values():
        arrays = [as_numpy(step)[:size] for step in steps]
        mask = (
            np.stack(arrays, axis=1) if len(arrays) > 1 or positions.shape[0] == 1 < len(positions.shape) else arrays[0]
        )
        if mask.shape[1:] == positions.shape:
            masks.append(np.broadcast_to(positions.flat(mask), (size, positions.count)))
    return np.any(masks, axis=0) if masks else np.ones((size, positions.count), bool)


def _with_read(positions: Positions, valid: np.ndarray, array: np.ndarray) -> Positions:
    """The positions with a validity that a run gave; of other inputs it is known if one number stands for padding."""
    flat = positions.flat(array)
    flat = flat.reshape(*flat.shape[:2], -1)
    numbers = np.unique(flat[~valid])
    both = positions.valid & valid
    if len(numbers) == 1:
        followed = replace(positions, padding=(*positions.padding, numbers[0].item()), valid=both)
        if np.array_equal(followed.valid_in(array), both):
            return followed
    return replace(positions, valid=both, follows=bool(valid.all()))


def _comparable(selection: Selection) -> Hashable:
    """The selection of sites as something hashable, so that two of them can be compared."""
    return selection if selection is None or isinstance(selection, str) or callable(selection) else tuple(selection)


def _first(inputs: Tree) -> np.ndarray:
    return tree.flatten(inputs)[0]  # type: ignore[no-any-return]
