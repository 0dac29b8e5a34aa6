"""Which parts of the inputs are explained: tokens, codes, features, time steps, or patches of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import keras
import numpy as np
from keras import tree

from attnscope.errors import InputError
from attnscope.interception import MASK_NAMES
from attnscope.schema import KEY
from attnscope.tensors import Tree

Kind = Literal["tokens", "codes", "features", "steps", "patches"]
Rows = slice | np.ndarray
"""Which samples: a slice, their numbers, or a mask."""
SEGMENTS = ("segment_ids", "token_type_ids")
"""Endings of the names of inputs that say which of two texts a token is of."""


@dataclass(frozen=True)
class Positions:
    """The parts of a model's inputs that relevance is given to.

    Attributes:
        kind: ``tokens`` (whole numbers, one per position of a text), ``codes`` (whole numbers, one per column of a
            table), ``features`` (one number each), ``steps`` (vectors), or ``patches`` (of pictures; see
            `PatchPositions`).
        leaf: Number of the input that holds them, among the leaves of the inputs' structure.
        mask: Number of the input that is 0 at padding; None where there is none.
        valid: dims ``(sample, position)``, bool, False at padding.
        padding: The numbers that stand for padding: a token, or what all features of a step hold.
        follows: Whether `mask` and `padding` say of other inputs too where their padding is.
        note: What a reader has to know about the kind, if it is not known for certain.
        source: Name of the input that holds them; empty where it has none.
    """

    kind: Kind
    leaf: int
    mask: int | None
    valid: np.ndarray
    padding: tuple[float, ...] = ()
    follows: bool = True
    note: str = ""
    source: str = ""

    @property
    def dims(self) -> tuple[str, ...]:
        """The dims of a relevance that they lie along."""
        return (KEY,) if len(self.shape) == 1 else tuple(f"{KEY}_{axis}" for axis in range(len(self.shape)))

    @property
    def lineage(self) -> tuple[str, ...]:
        """Where each of their axes comes from, in the words of a site's lineage."""
        return tuple(f"axis {axis + 1} of input {self.source!r}" for axis in range(len(self.shape)))

    @property
    def kinds(self) -> tuple[str, ...]:
        """What lies along each of their axes, in the words of a site's positions."""
        return ("features" if self.kind == "codes" else self.kind,)

    @property
    def attrs(self) -> dict[str, object]:
        """What the attrs of a relevance say of them, as those of a site do, as far as it is known."""
        known = {
            "positions": json.dumps(dict(zip(self.dims, self.kinds, strict=True))),
            "lineage": json.dumps(dict(zip(self.dims, self.lineage, strict=True))) if self.source else "",
            "note": self.note,
        }
        return {name: words for name, words in known.items() if words}

    @property
    def count(self) -> int:
        """Number of positions."""
        return int(self.valid.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of positions along each of their axes."""
        return (self.count,)

    @property
    def is_discrete(self) -> bool:
        """Whether they are whole numbers that stand for something, which have no mean and no derivative."""
        return self.kind in ("tokens", "codes")

    def of(self, inputs: Tree) -> np.ndarray:
        """The array that holds the positions."""
        return np.asarray(tree.flatten(inputs)[self.leaf])

    def flat(self, array: np.ndarray) -> np.ndarray:
        """An array whose axes after the samples begin with those of the positions, with these as one axis."""
        return array.reshape(len(array), self.count, *array.shape[1 + len(self.shape) :])

    def valid_of(self, inputs: Tree) -> np.ndarray:
        """Which positions of other inputs of the same model are not padding, dims ``(sample, position)``, bool."""
        leaves = [np.asarray(leaf) for leaf in tree.flatten(inputs)]
        return self.valid_in(leaves[self.leaf], None if self.mask is None else leaves[self.mask])

    def valid_in(self, array: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Which positions are not padding, dims ``(sample, position)``, bool.

        Args:
            array: The array that holds the positions.
            mask: The input that is 0 at padding, if there is one.
        """
        valid = np.ones((len(array), self.count), bool)
        if mask is not None and mask.shape == (len(array), *self.shape):
            valid &= self.flat(mask).astype(bool)
        numbers = self.flat(array).reshape(*valid.shape, -1)
        for padding in self.padding:
            valid &= np.asarray(numbers != padding).any(-1)
        return valid

    def changed(self, inputs: Tree, change: Callable[[np.ndarray], np.ndarray]) -> Tree:
        """The inputs with another array of positions; the given ones stay as they are."""
        leaves = list(tree.flatten(inputs))
        leaves[self.leaf] = change(np.asarray(leaves[self.leaf]))
        return tree.pack_sequence_as(inputs, leaves)

    def cells(self, chosen: np.ndarray, array: np.ndarray) -> np.ndarray:
        """Which cells of the array that holds the positions belong to the chosen ones.

        Args:
            chosen: dims ``(sample, position)``, bool.
            array: The array, samples first.

        Returns:
            Bool, broadcastable to `array`.
        """
        return chosen[..., None] if self.kind == "steps" else chosen

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Values for each number of the input, or of its embedding, summed to dims ``(sample, position)``."""
        if self.kind == "features":
            return values
        return np.asarray(values.reshape(len(values), self.count, -1).sum(-1))


@dataclass(frozen=True, kw_only=True)
class NestedPositions(Positions):
    """Tokens on two axes, sentence by sentence: the words ``(sample, sentence, word)`` of documents.

    Attributes:
        grid: Sentences, and words of each.
    """

    grid: tuple[int, int]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Sentences, and the tokens of each."""
        return ("sentences", "tokens")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of sentences and of words."""
        return self.grid

    def cells(self, chosen: np.ndarray, array: np.ndarray) -> np.ndarray:
        """The chosen words, dims ``(sample, sentence, word)``."""
        return chosen.reshape(len(chosen), *self.grid)


@dataclass(frozen=True, kw_only=True)
class PatchPositions(Positions):
    """The patches of pictures ``(sample, height, width, channel)``, row by row.

    Attributes:
        grid: Rows and columns of patches; they divide height and width.
    """

    grid: tuple[int, int]

    @property
    def lineage(self) -> tuple[str, ...]:
        """Where the patches come from."""
        return (f"patches of input {self.source!r}",)

    @property
    def attrs(self) -> dict[str, object]:
        """What the attrs of a relevance say of them: their grid too."""
        return {**super().attrs, "grid": list(self.grid)}

    def valid_in(self, array: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """All patches: pictures are not padded."""
        return np.ones((len(array), self.count), bool)

    def cells(self, chosen: np.ndarray, array: np.ndarray) -> np.ndarray:
        """The pixels of the chosen patches, dims ``(sample, height, width, 1)``."""
        rows, columns = self.grid
        patches = chosen.reshape(len(chosen), rows, columns, 1)
        return patches.repeat(array.shape[1] // rows, axis=1).repeat(array.shape[2] // columns, axis=2)

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Values for each number of the pictures, summed to dims ``(sample, position)``."""
        rows, columns = self.grid
        samples, height, width, _ = values.shape
        blocks = values.reshape(samples, rows, height // rows, columns, width // columns, -1)
        return np.asarray(blocks.sum((2, 4, 5)).reshape(samples, rows * columns))


def positions_of(
    inputs: Tree,
    names: Sequence[str],
    *,
    name: str | None = None,
    grid: tuple[int, int] | None = None,
) -> Positions:
    """Finds the positions of some inputs, by rank and dtype alone: none of them is padding yet.

    Args:
        inputs: Inputs of a model, in arrays or structures of them.
        names: The name of each of them.
        name: Which input holds the positions, where there are several; None for the one whose name ends in
            ``token_ids``, or the only one.
        grid: Rows and columns of patches, for pictures ``(sample, height, width, channel)``.

    Raises:
        InputError: The input cannot be identified, or an input of its rank and dtype has no positions.
    """
    leaves = tree.flatten(inputs)
    leaf = _leaf(leaves, list(names), name)
    return replace(_of_array(np.asarray(leaves[leaf]), leaf, names, grid), source=names[leaf])


def _of_array(array: np.ndarray, leaf: int, names: Sequence[str], grid: tuple[int, int] | None) -> Positions:
    is_whole = array.dtype.kind in "iub"
    if grid is not None and array.ndim != 4:
        raise InputError(
            f"grid={grid!r} was given, which divides pictures (sample, height, width, channel) into patches, but the "
            f"input has shape {array.shape}. Leave grid out."
        )
    if array.ndim == 2:
        return Positions("tokens" if is_whole else "features", leaf, None, np.ones(array.shape, bool))
    if array.ndim == 3 and is_whole:
        valid = np.ones((len(array), array.shape[1] * array.shape[2]), bool)
        return NestedPositions("tokens", leaf, None, valid, grid=(array.shape[1], array.shape[2]))
    if array.ndim == 3 and array.dtype.kind == "f":
        return Positions("steps", leaf, None, np.ones(array.shape[:2], bool))
    if array.ndim == 4:
        return _patches(array, leaf, grid)
    raise InputError(
        f"The input has shape {array.shape} and dtype {array.dtype}, but whole numbers (sample, token) or (sample, "
        "sentence, word), numbers (sample, feature) or (sample, step, feature), or pictures (sample, height, width, "
        f"channel) are needed. {_known(names)}"
    )


def _leaf(leaves: list[np.ndarray], names: list[str], name: str | None) -> int:
    if name is not None:
        if name not in names:
            raise InputError(f"There is no input {name!r}. {_known(names)}")
        return names.index(name)
    if len(leaves) == 1:
        return 0
    tokens = [number for number, leaf_name in enumerate(names) if leaf_name.endswith("token_ids")]
    others = [number for number, leaf_name in enumerate(names) if not leaf_name.endswith((*MASK_NAMES, *SEGMENTS))]
    if len(tokens) == 1 or len(others) == 1:
        return (tokens if len(tokens) == 1 else others)[0]
    several = f"The model has {len(names)} inputs, and nothing says which of them is to be explained."
    if any(names) and all(leaf.ndim == 1 or leaf.shape[1:] == (1,) for leaf in leaves):
        raise InputError(
            f"{several} Each is one column, and the columns of a table are explained together: give a data frame, "
            f"pandas.DataFrame(inputs). To explain one alone: positions={names[0]!r}."
        )
    raise InputError(f"{several} {_known(names)}")


def _known(names: Sequence[str]) -> str:
    if not any(names):
        return "The model has one input, without a name: leave positions out."
    return f"The model takes {', '.join(map(repr, names))}: positions={names[0]!r}."


def _patches(array: np.ndarray, leaf: int, grid: tuple[int, int] | None) -> PatchPositions:
    if keras.config.image_data_format() != "channels_last":
        raise InputError(
            "Pictures can be explained only with channels last: keras.config.set_image_data_format('channels_last')."
        )
    height, width = array.shape[1:3]
    if grid is None or not _divides(grid, (height, width)):
        sizes = [size for size in (16, 14, 8, 7, 4, 2) if height % size == width % size == 0]
        size = next((size for size in sizes if size < min(height, width)), 1)
        raise InputError(
            f"Pictures of {height} x {width} need a grid of patches that divides them, but "
            f"{'none' if grid is None else repr(grid)} was given: "
            f"grid=({height // size}, {width // size}) makes patches of {size} x {size}."
        )
    return PatchPositions("patches", leaf, None, np.ones((len(array), grid[0] * grid[1]), bool), grid=grid)


def _divides(grid: tuple[int, int], sizes: tuple[int, int]) -> bool:
    if not isinstance(grid, (tuple, list)) or len(grid) != 2:
        return False
    return all(
        isinstance(n, (int, np.integer)) and n > 0 and size % n == 0 for n, size in zip(grid, sizes, strict=True)
    )


def rows_of(inputs: Tree, rows: Rows) -> Tree:
    """The given samples of the inputs."""
    return tree.map_structure(lambda array: np.asarray(array)[rows], inputs)
