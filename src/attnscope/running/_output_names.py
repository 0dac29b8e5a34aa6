"""What a model's outputs are called."""

from __future__ import annotations

from collections import Counter

import keras
from keras import tree

from attnscope.tensors import Tree


def output_names(model: keras.Layer, outputs: Tree) -> list[str]:
    """The name of each output: its key if `predict` returns a dict, else that of the layer that gives it.

    Args:
        model: The model.
        outputs: What it gave; a single output has the name ``""``.

    Returns:
        One name for each output, in the order of `keras.tree`, no two alike: of several outputs of one layer the
        second gets ``_1`` at its end, and so on. Numbers where a model declares no outputs.
    """
    leaves = tree.flatten_with_path(outputs)
    declared = getattr(model, "output_names", None) or []
    if not isinstance(outputs, (list, tuple)) or len(declared) != len(leaves):
        return ["/".join(map(str, path)) for path, _ in leaves]
    before: Counter[str] = Counter()
    names = []
    for name in declared:
        names.append(f"{name}_{before[name]}" if before[name] else str(name))
        before[name] += 1
    return names
