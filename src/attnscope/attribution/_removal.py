"""Ways to take positions out of a model's inputs, so that it can be asked what it says without them.

A model has no answer to "without": something has to stand where the position stood, and what that is changes the
answer. So each way is an object that says what it does; a result names the one that it was made with, and what is to
be believed should hold under two of them.

Every way leaves padding as it is, and never writes into what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import tree

from attnscope.attribution._positions import Kind, Positions, on_cells, rows_of
from attnscope.attribution._subject import Subject
from attnscope.errors import InputError

Apply = Callable[[np.ndarray, np.ndarray, int], Any]
_SEGMENTS = ("segment_ids", "token_type_ids")
_ENDS = ("start_token_id", "end_token_id", "cls_token_id", "sep_token_id")


@dataclass(frozen=True)
class Remover:
    """A way of removing, ready for one subject.

    Attributes:
        words: What stands where the position stood, for titles: ``the token 103``.
        draws: How many inputs one removal is averaged over.
        least: How many positions have to stay.
    """

    words: str
    draws: int
    least: int
    _apply: Apply

    def apply(self, rows: np.ndarray, removed: np.ndarray, draw: int = 0) -> Any:
        """The inputs of some samples without some of their positions.

        Args:
            rows: Numbers of samples of the subject, dims ``(version,)``; a sample may come again and again.
            removed: What is taken out, dims ``(version, position)``, bool; padding is left as it is.
            draw: Which of the `draws`, from 0.

        Returns:
            Inputs in the model's structure, new arrays, one row per version.
        """
        return self._apply(np.asarray(rows), np.asarray(removed, bool), draw)


@dataclass(frozen=True)
class Removal:
    """A way of removing positions, see `mask_token`, `delete`, `mean`, `marginal` and `zero`.

    Attributes:
        name: Its name.
        kinds: The kinds of positions that it serves.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]

    def on(self, subject: Subject, seed: int = 0) -> Remover:
        """Makes it ready for a subject.

        Args:
            subject: Whose positions are removed.
            seed: Of what is drawn, where something is.

        Raises:
            InputError: It cannot serve the subject's positions, or needs something that is not known.
        """
        positions = subject.positions
        if positions.kind not in self.kinds:
            fitting = ", ".join(f"{known.name}()" for known in REMOVALS.values() if positions.kind in known.kinds)
            raise InputError(
                f"{self.name}() removes {' and '.join(self.kinds)}, but the positions here are {positions.kind}. Use "
                f"one of: {fitting}."
            )
        words, draws, least, change = self._ready(subject, seed)

        def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Any:
            return change(rows, removed & positions.valid[rows], draw)

        return Remover(words, draws, least, apply)

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        raise NotImplementedError


@dataclass(frozen=True)
class MaskToken(Removal):
    """See `mask_token`."""

    name = "mask_token"
    kinds = ("tokens",)
    token: int | None = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        token = getattr(subject.tokenizer, "mask_token_id", None) if self.token is None else self.token
        if token is None:
            raise InputError(
                "mask_token() needs the number of the token that stands for nothing, and the model has no tokenizer "
                "with a mask token. Give it: mask_token(103), or use delete()."
            )
        return f"the token {token}", 1, 0, _replaced(subject, lambda rows, draw: np.asarray(token))


@dataclass(frozen=True)
class Delete(Removal):
    """See `delete`."""

    name = "delete"
    kinds = ("tokens",)
    padding: int | None = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        padding = self._padding(subject)
        names = [str(path[-1]) if path else "" for path, _ in tree.flatten_with_path(subject.inputs)]
        leaves = [np.asarray(leaf) for leaf in tree.flatten(subject.inputs)]
        positions = subject.positions
        fills = {positions.leaf: padding}
        for place, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
            if place == positions.mask or (name.endswith(_SEGMENTS) and leaf.shape == positions.valid.shape):
                fills[place] = 0
        fills = {place: fill for place, fill in fills.items() if leaves[place].shape == positions.valid.shape}

        def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Any:
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
        known = getattr(subject.tokenizer, "pad_token_id", None) if self.padding is None else self.padding
        if known is None and not positions.valid.all():
            known = int(positions.of(subject.inputs)[~positions.valid][0])
        known = positions.padding if known is None else known
        if known is None:
            raise InputError(
                "delete() fills up with padding, and these tokens have none. Give its number where the model knows "
                "one: delete(padding=0), or use mask_token(...)."
            )
        return int(known)


@dataclass(frozen=True, eq=False)
class Mean(Removal):
    """See `mean`."""

    name = "mean"
    kinds = ("features", "steps", "patches")
    background: Any = None

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        values, valid = _background(subject, self.background, self.name)
        weights = valid.astype(np.float64).reshape(*valid.shape, *[1] * (values.ndim - 2))
        if subject.positions.kind == "patches":
            weights = np.ones((len(values), 1, 1, 1))
        total, count = (values.astype(np.float64) * weights).sum(0), weights.sum(0)
        # a step that every sample of the background pads gets the mean over all steps
        everywhere = total.sum(0) / count.sum(0).clip(1)
        centre = np.where(count > 0, total / count.clip(1), everywhere)
        words = f"the mean over {len(values)} samples"
        return words, 1, 0, _replaced(subject, lambda rows, draw: centre[None])


@dataclass(frozen=True, eq=False)
class Marginal(Removal):
    """See `marginal`."""

    name = "marginal"
    kinds = ("tokens", "features", "steps", "patches")
    background: Any = None
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
    """See `zero`."""

    name = "zero"
    kinds = ("features", "steps", "patches")

    def _ready(self, subject: Subject, seed: int) -> tuple[str, int, int, Apply]:
        return "zeros", 1, 0, _replaced(subject, lambda rows, draw: np.zeros(()))


REMOVALS: dict[str, type[Removal]] = {kind.name: kind for kind in (MaskToken, Delete, Mean, Marginal, Zero)}


def mask_token(token: int | None = None) -> Removal:
    """A token that stands for nothing takes the place of those removed; the length stays.

    For tokens. What it shows is what the model makes of that token: one that was trained with masks knows it, another
    has never seen it.

    Args:
        token: Its number; default: the mask token of a KerasHub task's tokenizer.

    Example:
        >>> mask_token(103)
        MaskToken(token=103)
    """
    return MaskToken(token)


def delete(padding: int | None = None) -> Removal:
    """Tokens are taken out: the rest moves up, padding behind (in front, for a sample that is padded in front).

    For tokens. The padding mask and segment numbers follow; position numbers do not, as the model counts positions
    anew. The distances between what is left change. At least one position stays, as an empty sequence is none.

    Args:
        padding: Number of the padding token; default: the tokenizer's, or what the inputs are padded with.
    """
    return Delete(padding)


def mean(background: Any = None) -> Removal:
    """The mean of the same position over a background takes the place of those removed.

    For features, steps (a vector each) and patches (pixel by pixel). Steps that are padding in the background do not
    count. A mean of unlike samples may lie where no sample lies.

    Args:
        background: Samples as the model takes them, or only the array of positions; default: all of the subject's.
    """
    return Mean(background)


def marginal(background: Any = None, draws: int = 8) -> Removal:
    """What another sample has at the same positions takes the place of those removed; the mean over several draws.

    For all kinds. All removed positions take the values of one and the same other sample, which keeps what goes
    together there, and which a sample draws once: so all its versions are compared under the same draws. It is the
    interventional way of SHAP. Where the other sample has padding, or a start or end token of a known tokenizer, one
    of its n other steps or tokens stands in: number p modulo n for position p.

    Args:
        background: Samples as the model takes them, or only the array of positions; default: the subject's other
            samples.
        draws: How many other samples, drawn without replacement; all of them where the background has fewer.

    Source:
        Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions", section 4; Janzing, Minorics and
        Bloebaum 2020, "Feature relevance quantification in explainable AI: A causal problem".
    """
    return Marginal(background, draws)


def zero() -> Removal:
    """Zeros take the place of those removed, for features, steps and patches.

    A zero is "nothing" only where the model was trained on values for which it is, such as standardised ones.
    """
    return Zero()


def default_removals(subject: Subject) -> tuple[Removal, ...]:
    """Two ways of removing that suit a subject, the first of them the one to take where one is wanted.

    Tokens: the mask token where the tokenizer has one, and deleting; without a mask token deleting and the tokens of
    other samples. All else: the mean, and values of other samples; for one sample alone zeros.
    """
    if subject.positions.kind == "tokens":
        known = getattr(subject.tokenizer, "mask_token_id", None) is not None
        first: tuple[Removal, ...] = (mask_token(),) if known else ()
        second: tuple[Removal, ...] = (delete(), marginal()) if subject.samples > 1 else (delete(),)
        return (*first, *second)[:2]
    return (mean(), marginal()) if subject.samples > 1 else (zero(),)


def removal_of(given: Any, subject: Subject) -> Removal:
    """A way of removing from what a user gives: the object, its name, or None for the subject's default.

    Raises:
        InputError: It is none of these.
    """
    if given is None:
        return default_removals(subject)[0]
    if isinstance(given, Removal):
        return given
    if isinstance(given, str) and given in REMOVALS:
        return REMOVALS[given]()
    raise InputError(
        f"The removal is {given!r}, but one of {', '.join(REMOVALS)} is needed, or an object: removal=mask_token(103)."
    )


def kept_of(subject: Subject, kept: Any = None) -> np.ndarray:
    """The positions that are never removed though they are no padding.

    Args:
        subject: Whose positions.
        kept: dims ``(sample, position)`` or ``(position,)``, bool; or a list of token numbers, wherever they stand;
            default: start and end tokens of a KerasHub task's tokenizer, which a classifier reads from rather than
            about, and none elsewhere.

    Returns:
        dims ``(sample, position)``, bool.

    Raises:
        InputError: Neither shape nor kind fits.
    """
    positions = subject.positions
    if kept is None:
        tokens = positions.kind == "tokens"
        return _end_tokens(subject, positions.of(subject.inputs)) if tokens else np.zeros(positions.valid.shape, bool)
    given = np.asarray(kept)
    if given.dtype == bool and given.shape in (positions.valid.shape, positions.valid.shape[1:]):
        return np.broadcast_to(given, positions.valid.shape).copy()
    if positions.kind == "tokens" and given.ndim == 1 and (given.dtype.kind in "iu" or not len(given)):
        return np.isin(positions.of(subject.inputs), given)
    raise InputError(
        f"kept has shape {given.shape} and dtype {given.dtype}, but True or False for each of "
        f"{positions.valid.shape} positions is needed, or for tokens a list of their numbers: kept=[101, 102]."
    )


def removable_of(subject: Subject, kept: Any = None) -> np.ndarray:
    """The positions that may be removed: no padding, and not `kept_of`; dims ``(sample, position)``, bool."""
    return np.asarray(subject.positions.valid & ~kept_of(subject, kept))


def _replaced(subject: Subject, values: Callable[[np.ndarray, int], np.ndarray]) -> Apply:
    """Removal by other values at the same place: `values` gives them for rows and a draw, broadcastable."""
    positions = subject.positions

    def apply(rows: np.ndarray, removed: np.ndarray, draw: int) -> Any:
        def change(array: np.ndarray) -> np.ndarray:
            cells = on_cells(array, positions.spread(removed))
            standing = values(rows, draw)
            standing = np.rint(standing) if array.dtype.kind in "iu" else standing
            return np.where(cells, standing.astype(array.dtype), array)

        return positions.changed(rows_of(subject.inputs, rows), change)

    return apply


def _closed_up(valid: np.ndarray, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each position takes its token from once the gaps are closed, and which positions still hold one."""
    stays = valid & ~removed
    in_front = ~valid[:, 0] & valid[:, -1]
    last = np.where(in_front[:, None], stays, ~stays)
    order = np.argsort(last, axis=1, kind="stable")
    return order, np.take_along_axis(stays, order, axis=1)


def _background(subject: Subject, given: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of positions in other samples and which of them are no padding."""
    positions = subject.positions
    array = positions.of(subject.inputs)
    if given is None:
        if len(array) < 2:
            raise InputError(
                f"{name}() takes what other samples have, but there is one sample. Give others: "
                f"{name}(background=inputs)."
            )
        return array, positions.valid
    leaves = [np.asarray(leaf) for leaf in tree.flatten(given)]
    several = len(leaves) == len(tree.flatten(subject.inputs)) > 1
    values = leaves[positions.leaf] if several else np.asarray(given) if len(leaves) != 1 else leaves[0]
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
    known = [getattr(subject.tokenizer, name, None) for name in _ENDS]
    return np.isin(tokens, [number for number in known if number is not None])


def _repeated(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Samples whose unusable positions hold their usable ones again, from the start."""
    if not usable.any(1).all():
        row = int(np.argmin(usable.any(1)))
        raise InputError(
            f"Sample {row} of the background is all padding, and nothing can be drawn from it. Leave it out."
        )
    order = np.argsort(~usable, axis=1, kind="stable")
    again = np.take_along_axis(order, np.arange(values.shape[1]) % usable.sum(1)[:, None], axis=1)
    source = np.where(usable, np.arange(values.shape[1]), again)
    return np.take_along_axis(values, source.reshape(*source.shape, *[1] * (values.ndim - 2)), axis=1)


def _donors(samples: int, background: int, draws: int, seed: int, *, own: bool) -> np.ndarray:
    """Other samples for each sample, drawn without replacement, dims ``(sample, draw)``; never itself."""
    rng = np.random.default_rng(seed)
    others = background - 1 if own else background
    chosen = np.argsort(rng.random((samples, others)), axis=1)[:, : min(draws, others)]
    return np.asarray(chosen + (chosen >= np.arange(samples)[:, None]) if own else chosen)
