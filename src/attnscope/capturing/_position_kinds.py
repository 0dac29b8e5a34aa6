"""What the inputs of a run hold, and so what the positions along the dims of its sites are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from keras import tree

from attnscope.discovery import InputSequence
from attnscope.interception import has_fixed_length
from attnscope.labels import AxisLabels
from attnscope.position_kinds import InputContent, kind_of_positions
from attnscope.running import Network
from attnscope.schema import Site


def contents(
    network: Network, sequences: Mapping[str, InputSequence], labels: Sequence[AxisLabels]
) -> dict[str, InputContent]:
    """What each input holds, by its name.

    Whole numbers are codes if they are the columns of a table, or if each is looked up in its own way. They are tokens
    if a mask, a tokenizer, a length that varies or names of each sample's own say that they are a text. Else it is not
    known which of the two they are.

    Args:
        network: The model and its inputs.
        sequences: What the data flow says of the positions of each input.
        labels: The names of positions, each with what it is for.
    """
    first = network.first.inputs
    leaves = [np.asarray(leaf) for leaf in tree.flatten(first)]
    found = {}
    for place, (name, leaf) in enumerate(zip(network.input_names(first), leaves, strict=True)):
        sequence = sequences.get(name, InputSequence())
        own_names = any(item.per_sample and f" of input {name!r}" in item.positions for item in labels)
        is_text = (
            bool(sequence.mask_input or sequence.mask or network.tokenizer or own_names)
            or name in network.zero_is_padding
            or not has_fixed_length(network.model, place)
        )
        if leaf.dtype.kind in "USO":
            found[name] = InputContent(leaf.ndim, "tokens")
        elif leaf.ndim > 3 or not (leaf.dtype.kind in "iu" or sequence.looked_up or sequence.columns):
            found[name] = InputContent(leaf.ndim, "numbers")
        elif sequence.columns or network.table is not None:
            found[name] = InputContent(leaf.ndim, "codes")
        else:
            found[name] = InputContent(leaf.ndim, "tokens" if is_text or leaf.ndim == 3 else "")
    return found


def position_kinds(site: Site, inputs: Mapping[str, InputContent]) -> dict[str, str]:
    """What lies along the dims of a site, but for those of which it is not known.

    Args:
        site: The site.
        inputs: What each input holds, by its name.
    """
    kinds = {dim: kind_of_positions(words, inputs) for dim, words in site.lineage.items()}
    return {dim: kind for dim, kind in kinds.items() if kind}
