"""Removals: how positions are removed from a model's inputs, to learn what the model would say without them.

A model cannot be run "without" a position: something has to replace it, and what that is changes the answer. So each
removal is an object that says what it does. A result names the removal it was made with, and a finding that can be
trusted holds under two of them.

Every removal leaves padding as it is, and never writes into what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from keras import tree
from numpy.typing import ArrayLike

from attnscope.attribution._positions import SEGMENTS, Kind, Positions, rows_of
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError
from attnscope.tensors import Tree

Apply = Callable[[np.ndarray, np.ndarray, int], Tree]
"""From numbers of samples ``(version,)``, what is removed ``(version, position)`` and the draw, to inputs."""
_ENDS = ("start_token_id", "end_token_id", "cls_token_id", "sep_token_id")
Background = Tree | None
"""Samples as the model takes them, or only the array that holds the positions; None for the subject's own."""
_IF_TOKENS = (
    " If they are tokens, say which one is padding: padding=0, to attribute(...), evidence(...) or subjects_of(...)."
)
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
    """How positions are removed: made by `mask_token`, `delete`, `mean`, `mode`, `marginal` or `zero`.

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
        if not self.suits(positions):
            fitting = ", ".join(f"{known.name}()" for known in REMOVALS.values() if positions.kind in known.kinds)
            raise InputError(
                f"{self.name}() removes {' and '.join(self.kinds)}, but the positions here are {positions.kind}. Use "
                f"one of: {fitting}.{_IF_TOKENS if positions.note and 'tokens' in self.kinds else ''}"
            )
        words, draws, least, change = self._ready(subject, seed)

        def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Tree:
            return change(rows, removed & positions.valid[rows], draw)

        return Remover(words, draws, least, apply)

    def with_background(self, background: Background) -> Removal:
        """The same with what replaces removed positions taken from these samples; itself if it takes none."""
        taken: dict[str, Any] = {each.name: background for each in fields(self) if each.name == "background"}
        return replace(self, **taken)

    def suits(self, positions: Positions) -> bool:
        """Whether it can remove such positions."""
        return positions.kind in self.kinds

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        raise NotImplementedError


@dataclass(frozen=True)
class MaskToken(Removal):
    """Removed tokens are replaced by one that has no meaning; made by `mask_token`."""

    name = "mask_token"
    kinds = ("tokens", "codes")
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

    def suits(self, positions: Positions) -> bool:
        """Whole numbers that may be codes are tokens where the padding is given."""
        return super().suits(positions) or (bool(positions.note) and self.padding is not None)

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        padding = self._padding(subject)
        names = subject.network.input_names(subject.inputs)
        leaves = [np.asarray(leaf) for leaf in tree.flatten(subject.inputs)]
        positions = subject.positions
        shape = (len(positions.valid), *positions.shape)
        fills = {positions.leaf: padding}
        for place, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
            if leaf.shape == shape and (place == positions.mask or name.endswith(SEGMENTS)):
                fills[place] = 0

        def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Tree:
            changed = [leaf[rows] for leaf in leaves]
            order, stays = _closed_up(*(_in_rows(each, positions) for each in (positions.valid[rows], removed)))
            for place, fill in fills.items():
                moved = np.take_along_axis(_in_rows(changed[place], positions), order, axis=1)
                filled = np.where(stays, moved, np.asarray(fill, moved.dtype)).reshape(changed[place].shape)
                untouched = ~removed.any(1)
                filled[untouched] = changed[place][untouched]
                changed[place] = filled
            return tree.pack_sequence_as(subject.inputs, changed)

        return "nothing: the rest moves up", 1, 1, apply

    def _padding(self, subject: Subject) -> int:
        token = padding_of(subject) if self.padding is None else self.padding
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
        weights = weights * ~np.isnan(values)
        total, count = np.where(weights > 0, values.astype(np.float64), 0).sum(0), weights.sum(0)
        if not np.isfinite(total).all():
            row = int(np.argmax(np.isinf(values).reshape(len(values), -1).any(1)))
            raise InputError(
                f"mean() replaces what is removed by a mean over samples, but sample {row} of them holds infinity. "
                "Leave such samples out, or remove in another way: marginal()."
            )
        # a step that is padding in every sample of the background gets the mean over all steps
        everywhere = total.sum(0) / count.sum(0).clip(1)
        centre = np.where(count > 0, total / count.clip(1), everywhere)
        words = f"the mean over {len(values)} samples"
        return words, 1, 0, _replaced(subject, lambda rows, draw: centre[None])


@dataclass(frozen=True, eq=False)
class Mode(Removal):
    """What is removed is replaced by the most frequent number of a background; made by `mode`."""

    name = "mode"
    kinds = ("tokens", "codes")
    background: Background = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        values, valid = _background(subject, self.background, self.name)
        numbers = subject.positions.flat(values)
        usable = valid & ~_end_tokens(subject, numbers)
        columns = [_most_frequent(column[rows]) for column, rows in zip(numbers.T, usable.T, strict=True)]
        everywhere = _most_frequent(numbers[usable])
        centre = np.array([everywhere if number is None else number for number in columns])
        words = f"the most frequent of {len(values)} samples"
        modes = centre.reshape(values.shape[1:])
        return words, 1, 0, _replaced(subject, lambda rows, draw: modes[None])


@dataclass(frozen=True, eq=False)
class Marginal(Removal):
    """What is removed is replaced by the values of other samples; made by `marginal`."""

    name = "marginal"
    kinds = ("tokens", "codes", "features", "steps", "patches")
    background: Background = None
    draws: int = 8

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        if isinstance(self.draws, bool) or not isinstance(self.draws, int) or self.draws < 1:
            raise InputError(f"draws is {self.draws!r}, but at least one is needed: marginal(draws=8).")
        values, valid = _background(subject, self.background, self.name)
        if subject.positions.kind in ("tokens", "steps"):
            numbers = subject.positions.flat(values)
            ends = _end_tokens(subject, numbers) if subject.positions.kind == "tokens" else np.zeros_like(valid)
            values = _repeated(numbers, valid & ~ends).reshape(values.shape)
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


REMOVALS: dict[str, type[Removal]] = {kind.name: kind for kind in (MaskToken, Delete, Mean, Mode, Marginal, Zero)}


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

    For features, steps (a vector each) and patches (pixel by pixel). NaN, and steps that are padding in the background,
    do not count. The mean of dissimilar samples may be far from any real sample.

    Args:
        background: Samples as the model takes them, or only the array of positions; None for all of the subject's
            samples.
    """
    return Mean(background)


def mode(background: Background = None) -> Removal:
    """Replaces what is removed by the most frequent number at the same position of a background.

    For codes, as the mean is for numbers, and for tokens. Of several that are equally frequent it is the smallest.
    Padding, and start and end tokens of a known tokenizer, do not count.

    Args:
        background: Samples as the model takes them, or only the array of positions; None for all of the subject's
            samples.
    """
    return Mode(background)


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

    For tokens: the mask token, if the tokenizer has one; deletion, if it is known which token is padding; the tokens of
    other samples. For codes: the values of other samples, and the most frequent one. For everything else: the mean and
    the values of other samples. A single sample has no others: its tokens are masked or deleted, and features, steps
    and patches are replaced by zeros.

    Raises:
        InputError: There is no such removal.
    """
    positions, several = subject.positions, subject.samples > 1
    if not positions.is_discrete:
        return (mean(), marginal()) if several else (zero(),)
    fitting: list[Removal] = []
    if getattr(subject.tokenizer, "mask_token_id", None) is not None:
        fitting.append(mask_token())
    if positions.kind == "tokens" and padding_of(subject) is not None:
        fitting.append(delete())
    if several:
        fitting += [marginal(), mode()]
    if not fitting:
        raise InputError(
            f"Nothing is known that could replace these {positions.kind}: there is only one sample, and no mask token "
            "or padding. Give more samples, a token, removal=mask_token(103), or the padding: padding=0."
        )
    return tuple(fitting[:2])


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


def padding_of(subject: Subject) -> int | None:
    """The token that stands where nothing is: the tokenizer's, or what the inputs are padded with; None if unknown."""
    positions = subject.positions
    token = getattr(subject.tokenizer, "pad_token_id", None)
    if token is None and not positions.valid.all():
        token = _numbers(subject)[~positions.valid][0]
    token = next(iter(positions.padding), None) if token is None else token
    if token is None:
        return None if positions.mask is None else 0  # whatever stands there is masked
    return int(token)


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
        return _end_tokens(subject, _numbers(subject)) if tokens else np.zeros(positions.valid.shape, bool)
    array = np.asarray(kept)
    shapes = [(subject.samples, *positions.shape), positions.shape, positions.valid.shape, positions.valid.shape[1:]]
    if array.dtype == bool and array.shape in shapes:
        return np.broadcast_to(array.reshape(-1, positions.count), positions.valid.shape).copy()
    if positions.kind == "tokens" and array.ndim == 1 and (array.dtype.kind in "iu" or not len(array)):
        return np.isin(_numbers(subject), array)
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


def _most_frequent(numbers: np.ndarray) -> int | None:
    """The most frequent of some whole numbers; None where there are none."""
    values, counts = np.unique(numbers, return_counts=True)
    return int(values[counts.argmax()]) if len(values) else None


def _in_rows(array: np.ndarray, positions: Positions) -> np.ndarray:
    """An array of positions with one row for each sequence: each sample, or each sentence of a document."""
    return array.reshape(-1, positions.shape[-1])


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
    mask = leaves[positions.mask] if several and positions.mask is not None else None
    valid = positions.valid_in(values, mask)
    if mask is None and positions.mask is not None and positions.is_discrete:
        valid &= ~np.isin(positions.flat(values), _only_in_padding(positions, array))
    return values, valid


def _only_in_padding(positions: Positions, array: np.ndarray) -> np.ndarray:
    """The tokens that stand in padding and nowhere else."""
    numbers = positions.flat(array)
    return np.setdiff1d(numbers[~positions.valid], numbers[positions.valid])


def _numbers(subject: Subject) -> np.ndarray:
    """The tokens or codes, dims ``(sample, position)``."""
    return subject.positions.flat(subject.positions.of(subject.inputs))


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
