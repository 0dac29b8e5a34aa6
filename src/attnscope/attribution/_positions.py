"""What of the inputs is explained: tokens, features, time steps, or patches of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import numpy as np
from keras import tree

from attnscope.errors import InputError

Kind = Literal["tokens", "features", "steps", "patches"]
MASKS = ("padding_mask", "attention_mask")
"""Ends of the names of inputs that are 0 at padding."""


@dataclass(frozen=True)
class Positions:
    """The parts of a model's inputs that relevance is given to.

    Attributes:
        kind: ``tokens`` (whole numbers, one per position), ``features`` (one number each), ``steps`` (vectors), or
            ``patches`` (of pictures).
        leaf: Number of the input that holds them, among the leaves of the inputs' structure.
        mask: Number of the input that is 0 at padding; None where there is none.
        valid: dims ``(sample, position)``, False on padding.
        grid: Rows and columns of the patches.
        padding: Of tokens: the number that stands for padding; None where there is none.
    """

    kind: Kind
    leaf: int
    mask: int | None
    valid: np.ndarray
    grid: tuple[int, int] | None = None
    padding: int | None = None

    @property
    def count(self) -> int:
        """Number of positions."""
        return int(self.valid.shape[1])

    def of(self, inputs: Any) -> np.ndarray:
        """The array that holds the positions."""
        return np.asarray(tree.flatten(inputs)[self.leaf])

    def valid_of(self, inputs: Any) -> np.ndarray:
        """Which positions of other inputs of the same model are no padding, dims ``(sample, position)``, bool."""
        array = self.of(inputs)
        leaves = tree.flatten(inputs)
        if self.mask is not None and np.shape(leaves[self.mask]) == array.shape[:2]:
            return np.asarray(leaves[self.mask]).astype(bool)
        if self.kind == "tokens" and self.padding is not None:
            return np.asarray(array != self.padding)
        return np.ones((len(array), self.count), bool)

    def changed(self, inputs: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
        """The inputs with another array of positions; what was given stays as it is."""
        leaves = list(tree.flatten(inputs))
        leaves[self.leaf] = change(np.asarray(leaves[self.leaf]))
        return tree.pack_sequence_as(inputs, leaves)

    def spread(self, removed: np.ndarray) -> np.ndarray:
        """Which cells of the array of positions belong to these.

        Args:
            removed: dims ``(sample, position)``, bool.

        Returns:
            Broadcastable to the array: ``(sample, position)``, ``(sample, position, 1)``, or for pictures ``(sample,
            height, width, 1)`` divided by the size of a patch, to be repeated.
        """
        if self.kind in ("tokens", "features"):
            return removed
        if self.kind == "steps":
            return removed[..., None]
        assert self.grid is not None
        return removed.reshape(len(removed), *self.grid, 1)


def positions_of(
    inputs: Any, *, name: str | None = None, grid: tuple[int, int] | None = None, padding: int | None = 0
) -> Positions:
    """Finds what the positions of some inputs are.

    Args:
        inputs: Inputs of a model, in arrays or structures of them.
        name: Which input holds the positions, where there are several; default: the one whose name ends in
            ``token_ids``, or the only one.
        grid: Rows and columns of patches, for pictures ``(sample, height, width, channel)``.
        padding: The whole number that stands for padding where no input is a padding mask; None for none.

    Raises:
        InputError: It cannot be told which input it is, or its rank has no meaning here.
    """
    leaves = tree.flatten(inputs)
    names = [str(path[-1]) if path else "" for path, _ in tree.flatten_with_path(inputs)]
    leaf = _leaf(leaves, names, name)
    array = np.asarray(leaves[leaf])
    mask = next((place for place, found in enumerate(names) if found.endswith(MASKS)), None)
    whole = array.dtype.kind in "iub"
    if array.ndim == 2:
        if not whole:
            return Positions("features", leaf, None, np.ones(array.shape, bool))
        found = Positions("tokens", leaf, mask, np.ones(array.shape, bool), padding=padding)
        return replace(found, valid=found.valid_of(inputs))
    if array.ndim == 3 and not whole:
        found = Positions("steps", leaf, mask, np.ones(array.shape[:2], bool))
        return replace(found, valid=found.valid_of(inputs))
    if array.ndim == 4:
        return _patches(array, leaf, grid)
    raise InputError(
        f"The input has shape {array.shape} and dtype {array.dtype}, but whole numbers (sample, token), numbers "
        "(sample, feature) or (sample, step, feature), or pictures (sample, height, width, channel) are needed. Name "
        "the right input: positions='token_ids'."
    )


def _leaf(leaves: list[Any], names: list[str], name: str | None) -> int:
    if name is not None:
        if name not in names:
            raise InputError(f"There is no input {name!r} among {names}. Give the name of one of them.")
        return names.index(name)
    if len(leaves) == 1:
        return 0
    tokens = [place for place, found in enumerate(names) if found.endswith("token_ids")]
    others = [place for place, found in enumerate(names) if not found.endswith((*MASKS, "segment_ids"))]
    if len(tokens) == 1 or len(others) == 1:
        return (tokens if len(tokens) == 1 else others)[0]
    raise InputError(
        f"The model has the inputs {names}, and it cannot be told which of them is to be explained. Name it: "
        f"positions={names[0]!r}."
    )


def _patches(array: np.ndarray, leaf: int, grid: tuple[int, int] | None) -> Positions:
    if keras.config.image_data_format() != "channels_last":
        raise InputError(
            "Pictures are explained with channels last: keras.config.set_image_data_format('channels_last')."
        )
    height, width = array.shape[1:3]
    if grid is None or height % grid[0] or width % grid[1]:
        raise InputError(
            f"Pictures of {height} x {width} need a grid of patches that divides them, but {grid} was given: "
            f"grid=({max(1, height // 16)}, {max(1, width // 16)}) makes patches of about 16 x 16."
        )
    return Positions("patches", leaf, None, np.ones((len(array), grid[0] * grid[1]), bool), grid)


def on_cells(array: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Cells of patches repeated to the pixels of pictures; all else as it is."""
    if array.ndim != 4:
        return chosen
    high, wide = array.shape[1] // chosen.shape[1], array.shape[2] // chosen.shape[2]
    return chosen.repeat(high, axis=1).repeat(wide, axis=2)


def rows_of(inputs: Any, rows: Any) -> Any:
    """Some samples of the inputs: a slice, numbers or a mask."""
    return tree.map_structure(lambda array: np.asarray(array)[rows], inputs)


def named_leaves(inputs: Any) -> Mapping[str, np.ndarray]:
    """The inputs by name (their number where they have none)."""
    return {"/".join(map(str, path)) or "0": np.asarray(leaf) for path, leaf in tree.flatten_with_path(inputs)}
