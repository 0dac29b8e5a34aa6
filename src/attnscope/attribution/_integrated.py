"""Integrated gradients: the gradient along the way from a baseline to the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import xarray as xr
from keras import ops

from attnscope.attribution._positions import rows_of
from attnscope.attribution._sources import Sources, per_position, sources
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.handlers import Derivatives, Differentiator
from attnscope.schema import SAMPLE

Rule = Literal["gauss", "midpoint"]
Baseline = int | str | np.ndarray | None
SHARE, STANDING, MOVES = "path_share", "path_baseline", "path_moves"
"""Names of the extras: how far along the way, the tokens of the baseline, and which positions move."""


def integrated_gradients(
    subject: Subject, *, baseline: Baseline = None, steps: int = 32, rule: Rule = "gauss"
) -> xr.DataArray:
    """Each position's share in the change of the target from a baseline to the input:
    ``r_j = sum_f (x_jf - b_jf) * integral_0^1 dy/dx_jf(b + a (x - b)) da``; class-specific.

    Of tokens, ``x`` is the embedding (of every `Embedding` layer that is given the token numbers), and the way leads
    through embeddings; of time steps the features of the step; of patches their pixels. The sign is kept. Padding does
    not move and gets 0. NaN spreads.

    It is *complete*: the sum over the positions is ``y(x) - y(b)``, up to the error of the sum that stands for the
    integral. That error is reported: the coordinate ``completeness_gap`` of each sample, in units of the target, and
    its largest size in the attrs beside ``completeness_change``, the mean size of ``y(x) - y(b)``. Where it is too
    large, take more `steps`.

    Args:
        subject: The model, its inputs and the target.
        baseline: What "nothing" is. Of tokens: the number of one, or numbers broadcastable to ``(sample, position)``
            (so that special tokens may stay), or ``"zeros"``, embeddings of zeros; default: the tokenizer's mask token,
            or zeros where there is none. Of floats: numbers broadcastable to the input, or ``"mean"``, the mean of
            the samples; default: zeros. The attr ``baseline`` says which it was.
        steps: Points along the way at which the gradient is taken.
        rule: ``gauss``, Gauss-Legendre points, exact for polynomials of degree up to ``2 steps - 1``; or ``midpoint``.

    Returns:
        dims ``(sample, key)``, float64, in units of the target. Costs ``steps + 2`` gradient passes per sample, in
        batches over samples and steps (the 2 are at both ends, for the completeness); for tokens up to 2 forward passes
        more, which find their embedding.

    Raises:
        MethodError: The input is whole numbers, and no `Embedding` layer is given them; or the baseline does not fit.

    Source:
        Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", sections 3 and 5.
    """
    shares, weights = _points(steps, rule)
    moving = sources(subject)
    way = _way(moving, baseline)
    values, ends = np.zeros(subject.positions.valid.shape), np.zeros((2, subject.samples))
    for rows, path in _paths(moving, way, shares):
        values[rows] = path.relevance(moving, weights)
        ends[:, rows] = path.ends
    values = np.where(subject.positions.valid, values, 0.0)
    gap = values.sum(1) - (ends[1] - ends[0])
    return subject.relevance(
        values,
        "integrated_gradients",
        class_specific=True,
        baseline=way.words,
        steps=steps,
        rule=rule,
        completeness_gap=float(np.abs(gap).max()),
        completeness_change=float(np.abs(ends[1] - ends[0]).mean()),
    ).assign_coords(completeness_gap=(SAMPLE, gap))


def _points(steps: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the way, both ends in front, and the weights of all (0 at the ends)."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise MethodError(f"steps is {steps!r}, but a whole number of at least 1 is needed: steps=32.")
    if rule not in ("gauss", "midpoint"):
        raise MethodError(f"The rule is {rule!r}, but 'gauss' or 'midpoint' is needed: rule='gauss'.")
    if rule == "gauss":
        points, weights = np.polynomial.legendre.leggauss(steps)
        points, weights = (points + 1) / 2, weights / 2
    else:
        points, weights = (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)
    return np.concatenate([[0.0, 1.0], points]), np.concatenate([[0.0, 0.0], weights])


@dataclass(frozen=True)
class _Way:
    """From where the inputs come.

    Attributes:
        words: What the baseline is.
        start: Floats in the shape of the input, or tokens ``(sample, position)``; None for embeddings of zeros.
    """

    words: str
    start: np.ndarray | None


def _way(moving: Sources, baseline: Baseline) -> _Way:
    return _way_of_tokens(moving.subject, baseline) if moving.embedded else _way_of_floats(moving.subject, baseline)


def _way_of_tokens(subject: Subject, baseline: Baseline) -> _Way:
    if baseline is None:
        baseline = getattr(subject.tokenizer, "mask_token_id", None)
    if baseline is None or (isinstance(baseline, str) and baseline == "zeros"):
        return _Way("embeddings of zeros", None)
    tokens = np.asarray(baseline)
    shape = subject.positions.valid.shape
    if tokens.dtype.kind not in "iu" or not _broadcasts(tokens.shape, shape):
        raise MethodError(
            f"The baseline is {_shown(baseline)}, but for tokens the number of one, numbers broadcastable to {shape} "
            "or 'zeros' is needed: baseline=103."
        )
    words = f"the token {int(tokens)}" if tokens.ndim == 0 else "given tokens"
    return _Way(words, np.broadcast_to(tokens, shape).astype("int32"))


def _way_of_floats(subject: Subject, baseline: Baseline) -> _Way:
    array = subject.positions.of(subject.inputs)
    if baseline is None or (isinstance(baseline, str) and baseline == "zeros"):
        return _Way("zeros", np.zeros_like(array))
    if isinstance(baseline, str) and baseline == "mean":
        return _Way("the mean of the samples", np.broadcast_to(array.mean(0), array.shape))
    numbers = np.asarray(baseline)
    if numbers.dtype.kind not in "fiu" or not _broadcasts(numbers.shape, array.shape):
        raise MethodError(
            f"The baseline is {_shown(baseline)}, but numbers broadcastable to {array.shape}, 'mean' or 'zeros' are "
            "needed: baseline=background.mean(0)."
        )
    return _Way("given numbers", np.broadcast_to(numbers, array.shape).astype(array.dtype))


def _broadcasts(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    aligned = zip(reversed(shape), reversed(whole), strict=False)
    return len(shape) <= len(whole) and all(size in (1, wanted) for size, wanted in aligned)


def _shown(baseline: Any) -> str:
    shape = np.shape(baseline)
    return f"of shape {shape} and dtype {np.asarray(baseline).dtype}" if shape else repr(baseline)


@dataclass
class _Path:
    """What some samples gave along their way.

    Attributes:
        ends: The target at the baseline and at the input, dims ``(2, sample)``.
        low: What is moved at the baseline, by name, dims ``(sample, ...)``.
        high: The same at the input.
        gradients: By name the derivatives at every point, dims ``(point, sample, ...)``, weighted once they are summed.
    """

    ends: np.ndarray
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]

    def relevance(self, moving: Sources, weights: np.ndarray) -> np.ndarray:
        """Summed along the way, dims ``(sample, position)``."""
        change = {name: self.high[name].astype(float) - self.low[name] for name in moving.names}
        products = [
            change[name] * np.tensordot(weights, self.gradients[name].astype(float), axes=1) for name in moving.names
        ]
        return np.asarray(sum(per_position(moving.subject.positions, product) for product in products))


def _paths(moving: Sources, way: _Way, shares: np.ndarray) -> Iterator[tuple[slice, _Path]]:
    """The ways of a few samples at a time: so many that all of their points fill one batch, at least one."""
    subject, points = moving.subject, len(shares)
    together = max(1, min(subject.samples, subject.batch_size // points))
    size = min(subject.batch_size, together * points)
    read, embedded = subject.target.read, moving.embedded
    differentiator = subject.scorer.kept(
        ("derivatives along a way", read, embedded),
        lambda: Differentiator(subject.model, read, inputs=True, embed=_moved_embeddings(embedded)),
    )
    for start in range(0, subject.samples, together):
        rows = slice(start, min(start + together, subject.samples))
        count = rows.stop - rows.start
        numbers = np.repeat(np.arange(count), points)
        inputs, extras = _along(moving.subject.rows(rows), way, rows, numbers, np.tile(shares, count))
        found = list(differentiator.run(subject.in_batches(size, inputs, full=True), extras=extras))
        yield rows, _path(moving, found, count, points)


def _along(
    subject: Subject, way: _Way, rows: slice, numbers: np.ndarray, shares: np.ndarray
) -> tuple[Any, dict[str, np.ndarray]]:
    """Inputs and extras, one row per sample and point."""
    inputs = rows_of(subject.inputs, numbers)
    extras = {name: np.asarray(array)[numbers] for name, array in subject.target.rows.items()}
    if subject.positions.kind == "tokens":
        extras[SHARE] = shares.astype("float32")
        extras[MOVES] = subject.positions.valid[numbers]
        if way.start is not None:
            extras[STANDING] = way.start[rows][numbers]
        return inputs, extras
    start = np.asarray(way.start)[rows][numbers]
    moves = subject.positions.valid[numbers]

    def moved(array: np.ndarray) -> np.ndarray:
        share = shares.astype(array.dtype).reshape(-1, *[1] * (array.ndim - 1))
        between = start + share * (array - start)
        if subject.positions.kind != "steps":
            return np.asarray(between, array.dtype)
        return np.asarray(np.where(moves[..., None], between, array), array.dtype)

    return subject.positions.changed(inputs, moved), extras


def _moved_embeddings(embedded: frozenset[str]) -> Callable[..., Any] | None:
    """Moves the embeddings of these paths, where there are any."""

    def embed(layer: keras.Layer, path: str, numbers: Any, result: Any, rows: Mapping[str, Any]) -> Any:
        if path not in embedded:
            return result
        start = layer(rows[STANDING]) if STANDING in rows else ops.zeros_like(result)
        share = ops.cast(ops.where(rows[MOVES], rows[SHARE][:, None], 1.0), result.dtype)[..., None]
        return start + share * (result - start)

    return embed if embedded else None


def _path(moving: Sources, found: list[Derivatives], count: int, points: int) -> _Path:
    def gathered(arrays: list[np.ndarray]) -> np.ndarray:
        whole = np.concatenate(arrays)[: count * points]
        return whole.reshape(count, points, *whole.shape[1:]).swapaxes(0, 1)

    target = gathered([run.target for run in found])
    values = {name: gathered([run.values[name] for run in found]) for name in moving.names}
    return _Path(
        ends=target[:2].astype(float),
        low={name: array[0] for name, array in values.items()},
        high={name: array[1] for name, array in values.items()},
        gradients={name: gathered([run.gradients[name] for run in found]) for name in moving.names},
    )
