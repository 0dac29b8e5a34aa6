"""Removals: how positions are removed from a model's inputs, to learn what the model would say without them.

A model cannot be run "without" a position: something has to replace it, and what that is changes the answer. So each
removal is an object that says what it does. A result names the removal it was made with, and a finding that can be
trusted holds under two of them.

Every removal leaves padding as it is, and never writes into what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from keras import tree
from numpy.typing import ArrayLike

from attnscope.attribution._positions import Kind, Positions, rows_of
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError
from attnscope.tensors import Tree

Apply = Callable[[np.ndarray, np.ndarray, int], Tree]
"""From numbers of samples ``(version,)``, what is removed ``(version, position)`` and the draw, to inputs."""
_SEGMENTS = ("segment_ids", "token_type_ids")
_ENDS = ("start_token_id", "end_token_id", "cls_token_id", "sep_token_id")
Background = Tree | None
"""Samples as the model takes them, or only the array that holds the positions; None for the subject's own."""
Kept = ArrayLike | None
"""Positions that are never removed: which they are, or the numbers of such tokens; None for start and end tokens."""


@dataclass(frozen=True)
class Remover:
    """A removal, prepared for one subject.

    A *version* of a sample is that sample with some of its positions removed.

    Attributes:
        words: What replaces a removed position, for titles: ``the token 103``.
        draws: How many inputs each version is averaged over.
        least: How many positions have to stay.
    """

    words: str
    draws: int
    least: int
    _apply: Apply

    def apply(self, rows: np.ndarray, removed: np.ndarray, draw: int = 0) -> Tree:
        """The inputs for some versions of the samples.

        Args:
            rows: The number of each version's sample, dims ``(version,)``; a sample may occur any number of times.
            removed: What is removed, dims ``(version, position)``, bool; padding is left as it is.
            draw: Which of the `draws`, from 0.

        Returns:
            Inputs in the model's structure, new arrays, one row per version.
        """
        return self._apply(np.asarray(rows), np.asarray(removed, bool), draw)


@dataclass(frozen=True)
class Removal:
    """How positions are removed: made by `mask_token`, `delete`, `mean`, `marginal` or `zero`.

    Attributes:
        name: Its name.
        kinds: The kinds of positions that it can remove.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]

    def on(self, subject: Subject, seed: int = 0) -> Remover:
        """Prepares it for a subject.

        Args:
            subject: The model and the samples whose positions are removed.
            seed: Seed of the draws, where any are made.

        Raises:
            InputError: It cannot remove positions of the subject's kind, or needs something that is not known.
        """
        positions = subject.positions
        if positions.kind not in self.kinds:
            fitting = ", ".join(f"{known.name}()" for known in REMOVALS.values() if positions.kind in known.kinds)
            raise InputError(
                f"{self.name}() removes {' and '.join(self.kinds)}, but the positions here are {positions.kind}. Use "
                f"one of: {fitting}."
            )
        words, draws, least, change = self._ready(subject, seed)

        def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Tree:
            return change(rows, removed & positions.valid[rows], draw)

        return Remover(words, draws, least, apply)

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        raise NotImplementedError


@dataclass(frozen=True)
class MaskToken(Removal):
    """Removed tokens are replaced by one that has no meaning; made by `mask_token`."""

    name = "mask_token"
    kinds = ("tokens",)
    token: int | None = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        token = getattr(subject.tokenizer, "mask_token_id", None) if self.token is None else self.token
        if token is None:
            raise InputError(
                "mask_token() needs the number of the mask token, but the model has no tokenizer with a mask token. "
                "Give the number, mask_token(103), or use delete()."
            )
        return f"the token {token}", 1, 0, _replaced(subject, lambda rows, draw: np.asarray(token))


@dataclass(frozen=True)
class Delete(Removal):
    """Tokens are deleted, and the rest moves up; made by `delete`."""

    name = "delete"
    kinds = ("tokens",)
    padding: int | None = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        padding = self._padding(subject)
        names = subject.network.input_names(subject.inputs)
        leaves = [np.asarray(leaf) for leaf in tree.flatten(subject.inputs)]
        positions = subject.positions
        fills = {positions.leaf: padding}
        for place, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
            if place == positions.mask or (name.endswith(_SEGMENTS) and leaf.shape == positions.valid.shape):
                fills[place] = 0
        fills = {place: fill for place, fill in fills.items() if leaves[place].shape == positions.valid.shape}

        def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Tree:
            changed = [leaf[rows] for leaf in leaves]
            order, stays = _closed_up(positions.valid[rows], removed)
            for place, fill in fills.items():
                moved = np.take_along_axis(changed[place], order, axis=1)
                changed[place] = np.where(stays, moved, np.asarray(fill, moved.dtype))
            untouched = ~removed.any(1)
            for place in fills:
                changed[place][untouched] = leaves[place][rows[untouched]]
            return tree.pack_sequence_as(subject.inputs, changed)

        return "nothing: the rest moves up", 1, 1, apply

    def _padding(self, subject: Subject) -> int:
        positions = subject.positions
        token = getattr(subject.tokenizer, "pad_token_id", None) if self.padding is None else self.padding
        if token is None and not positions.valid.all():
            token = int(positions.of(subject.inputs)[~positions.valid][0])
        token = positions.padding if token is None else token
        if token is None:
            raise InputError(
                "delete() fills up with padding, but no token of these inputs is known to be padding. If the model has "
                "one, give its number: delete(padding=0). If not, use mask_token(...)."
            )
        return int(token)


@dataclass(frozen=True, eq=False)
class Mean(Removal):
    """What is removed is replaced by the mean over a background; made by `mean`."""

    name = "mean"
    kinds = ("features", "steps", "patches")
    background: Background = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        values, valid = _background(subject, self.background, self.name)
        weights = valid.astype(np.float64).reshape(*valid.shape, *[1] * (values.ndim - 2))
        if subject.positions.kind == "patches":
            weights = np.ones((len(values), 1, 1, 1))
        total, count = (values.astype(np.float64) * weights).sum(0), weights.sum(0)
        # a step that is padding in every sample of the background gets the mean over all steps
        everywhere = total.sum(0) / count.sum(0).clip(1)
        centre = np.where(count > 0, total / count.clip(1), everywhere)
        words = f"the mean over {len(values)} samples"
        return words, 1, 0, _replaced(subject, lambda rows, draw: centre[None])


@dataclass(frozen=True, eq=False)
class Marginal(Removal):
    """What is removed is replaced by the values of other samples; made by `marginal`."""

    name = "marginal"
    kinds = ("tokens", "features", "steps", "patches")
    background: Background = None
    draws: int = 8

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        if isinstance(self.draws, bool) or not isinstance(self.draws, int) or self.draws < 1:
            raise InputError(f"draws is {self.draws!r}, but at least one is needed: marginal(draws=8).")
        values, valid = _background(subject, self.background, self.name)
        if subject.positions.kind in ("tokens", "steps"):
            ends = _end_tokens(subject, values) if subject.positions.kind == "tokens" else np.zeros_like(valid)
            values = _repeated(values, valid & ~ends)
        own = self.background is None
        donors = _donors(len(subject.positions.valid), len(values), self.draws, seed, own=own)
        words = f"values of {donors.shape[1]} other samples"
        return words, donors.shape[1], 0, _replaced(subject, lambda rows, draw: values[donors[rows, draw]])


@dataclass(frozen=True)
class Zero(Removal):
    """What is removed is replaced by zeros; made by `zero`."""

    name = "zero"
    kinds = ("features", "steps", "patches")

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        return "zeros", 1, 0, _replaced(subject, lambda rows, draw: np.zeros(()))


REMOVALS: dict[str, type[Removal]] = {kind.name: kind for kind in (MaskToken, Delete, Mean, Marginal, Zero)}


def mask_token(token: int | None = None) -> Removal:
    """Replaces removed tokens by one that has no meaning; the length stays the same.

    For tokens. The result depends on what the model makes of that token: a model that was trained with masks knows it,
    while others have never seen it.

    Args:
        token: Its number; None for the mask token of a KerasHub task's tokenizer.

    Example:
        >>> mask_token(103)
        MaskToken(token=103)
    """
    return MaskToken(token)


def delete(padding: int | None = None) -> Removal:
    """Deletes tokens: the rest moves up, with padding after it (before it in samples that are padded in front).

    For tokens. The padding mask and segment numbers move along; position numbers do not, because the model counts the
    positions itself. The distances between the remaining tokens change. At least one position stays, because a sequence
    cannot be empty.

    Args:
        padding: Number of the padding token; None for the tokenizer's, or whatever the inputs are padded with.
    """
    return Delete(padding)


def mean(background: Background = None) -> Removal:
    """Replaces what is removed by the mean of the same position over a background.

    For features, steps (a vector each) and patches (pixel by pixel). Steps that are padding in the background do not
    count. The mean of dissimilar samples may be far from any real sample.

    Args:
        background: Samples as the model takes them, or only the array of positions; None for all of the subject's
            samples.
    """
    return Mean(background)


def marginal(background: Background = None, draws: int = 8) -> Removal:
    """Replaces what is removed by what another sample has at the same positions; averaged over several draws.

    For all kinds. All removed positions take their values from the same other sample, so that values which belong
    together stay together. Each sample draws its others once, so all its versions are compared under the same draws.
    This is SHAP's interventional way. Where the other sample has padding, or a start or end token of a known tokenizer,
    one of its n other steps or tokens is used instead: number p modulo n for position p.

    Args:
        background: Samples as the model takes them, or only the array of positions; None for the subject's other
            samples.
        draws: How many other samples, drawn without replacement, at least 1; all of them where the background has
            fewer.

    Source:
        Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions", section 4; Janzing, Minorics and
        Bloebaum 2020, "Feature relevance quantification in explainable AI: A causal problem".
    """
    return Marginal(background, draws)


def zero() -> Removal:
    """Replaces what is removed by zeros, for features, steps and patches.

    A zero means "nothing" only if it did in the values that the model was trained on, such as standardised ones.
    """
    return Zero()


def default_removals(subject: Subject) -> tuple[Removal, ...]:
    """Up to two removals that suit a subject, the default one first.

    For tokens: the mask token, if the tokenizer has one, and deletion; otherwise deletion and the tokens of other
    samples. For everything else: the mean and the values of other samples. A single sample has no others: its tokens
    are masked or deleted, and anything else is replaced by zeros.
    """
    if subject.positions.kind == "tokens":
        has_mask = getattr(subject.tokenizer, "mask_token_id", None) is not None
        first: tuple[Removal, ...] = (mask_token(),) if has_mask else ()
        second: tuple[Removal, ...] = (delete(), marginal()) if subject.samples > 1 else (delete(),)
        return (*first, *second)[:2]
    return (mean(), marginal()) if subject.samples > 1 else (zero(),)


def removal_of(removal: Removal | str | None, subject: Subject) -> Removal:
    """The removal that a user asks for.

    Args:
        removal: The object, its name, or None for the first of `default_removals`.
        subject: The model and its samples.

    Raises:
        InputError: It is none of these.
    """
    if removal is None:
        return default_removals(subject)[0]
    if isinstance(removal, Removal):
        return removal
    if isinstance(removal, str) and removal in REMOVALS:
        return REMOVALS[removal]()
    raise InputError(
        f"The removal is {removal!r}, but one of {', '.join(REMOVALS)} is needed, or an object: "
        "removal=mask_token(103)."
    )


def kept_of(subject: Subject, kept: Kept = None) -> np.ndarray:
    """The positions that are never removed although they are not padding.

    Args:
        subject: The model and its samples.
        kept: dims ``(sample, position)`` or ``(position,)``, bool; or a list of token numbers, which are kept wherever
            they occur. None for the start and end tokens of a KerasHub task's tokenizer, which a classifier reads from
            rather than about; elsewhere for no positions.

    Returns:
        dims ``(sample, position)``, bool.

    Raises:
        InputError: Its shape or dtype does not fit.
    """
    positions = subject.positions
    if kept is None:
        tokens = positions.kind == "tokens"
        return _end_tokens(subject, positions.of(subject.inputs)) if tokens else np.zeros(positions.valid.shape, bool)
    array = np.asarray(kept)
    if array.dtype == bool and array.shape in (positions.valid.shape, positions.valid.shape[1:]):
        return np.broadcast_to(array, positions.valid.shape).copy()
    if positions.kind == "tokens" and array.ndim == 1 and (array.dtype.kind in "iu" or not len(array)):
        return np.isin(positions.of(subject.inputs), array)
    raise InputError(
        f"kept has shape {array.shape} and dtype {array.dtype}, but True or False for each of "
        f"{positions.valid.shape} positions is needed, or for tokens a list of their numbers: kept=[101, 102]."
    )


def removable_of(subject: Subject, kept: Kept = None) -> np.ndarray:
    """The positions that may be removed, dims ``(sample, position)``, bool: neither padding nor kept by `kept_of`."""
    return np.asarray(subject.positions.valid & ~kept_of(subject, kept))


def _replaced(subject: Subject, values: Callable[[np.ndarray, int], np.ndarray]) -> Apply:
    """Removal by other values in the same place: `values` gives them for rows and a draw, broadcastable."""
    positions = subject.positions

    def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Tree:
        def change(array: np.ndarray) -> np.ndarray:
            others = values(rows, draw)
            others = np.rint(others) if array.dtype.kind in "iu" else others
            return np.where(positions.cells(removed, array), others.astype(array.dtype), array)

        return positions.changed(rows_of(subject.inputs, rows), change)

    return apply


def _closed_up(valid: np.ndarray, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each position takes its token from once the gaps are closed, and which positions then hold one."""
    stays = valid & ~removed
    in_front = ~valid[:, 0] & valid[:, -1]
    last = np.where(in_front[:, None], stays, ~stays)
    order = np.argsort(last, axis=1, kind="stable")
    return order, np.take_along_axis(stays, order, axis=1)


def _background(subject: Subject, background: Background, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of positions in other samples, and which of the positions are not padding."""
    positions = subject.positions
    array = positions.of(subject.inputs)
    if background is None:
        if len(array) < 2:
            raise InputError(
                f"{name}() takes what other samples have, but there is only one sample. Give others: "
                f"{name}(background=inputs)."
            )
        return array, positions.valid
    leaves = [np.asarray(leaf) for leaf in tree.flatten(background)]
    several = len(leaves) == len(tree.flatten(subject.inputs)) > 1
    values = leaves[positions.leaf] if several else np.asarray(background) if len(leaves) != 1 else leaves[0]
    if values.shape[1:] != array.shape[1:] or not len(values):
        raise InputError(
            f"The background of {name}() has shape {values.shape}, but samples of shape {array.shape[1:]} are needed: "
            f"{name}(background=inputs)."
        )
    return values, _background_valid(positions, leaves if several else None, values)


def _background_valid(positions: Positions, leaves: list[np.ndarray] | None, values: np.ndarray) -> np.ndarray:
    shape = (len(values), positions.count)
    if leaves is not None and positions.mask is not None and leaves[positions.mask].shape == shape:
        return leaves[positions.mask].astype(bool)
    if positions.kind == "tokens" and positions.padding is not None:
        return np.asarray(values != positions.padding)
    return np.ones(shape, bool)


def _end_tokens(subject: Subject, tokens: np.ndarray) -> np.ndarray:
    """Which tokens are start or end tokens of the subject's tokenizer, bool."""
    numbers = [getattr(subject.tokenizer, name, None) for name in _ENDS]
    return np.isin(tokens, [number for number in numbers if number is not None])


def _repeated(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Samples whose unusable positions repeat their usable ones, from the start."""
    if not usable.any(1).all():
        row = int(np.argmin(usable.any(1)))
        raise InputError(
            f"Sample {row} of the background is all padding, so nothing can be drawn from it. Leave it out."
        )
    order = np.argsort(~usable, axis=1, kind="stable")
    again = np.take_along_axis(order, np.arange(values.shape[1]) % usable.sum(1)[:, None], axis=1)
    source = np.where(usable, np.arange(values.shape[1]), again)
    return np.take_along_axis(values, source.reshape(*source.shape, *[1] * (values.ndim - 2)), axis=1)


def _donors(samples: int, background: int, draws: int, seed: int, *, own: bool) -> np.ndarray:
    """Other samples for each sample, drawn without replacement, dims ``(sample, draw)``; never the sample itself."""
    rng = np.random.default_rng(seed)
    others = background - 1 if own else background
    chosen = np.argsort(rng.random((samples, others)), axis=1)[:, : min(draws, others)]
    return np.asarray(chosen + (chosen >= np.arange(samples)[:, None]) if own else chosen)
