"""Integrated gradients: the gradient along the path from a baseline to the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import xarray as xr
from keras import ops

from attnscope.attribution._differentiable_inputs import DifferentiableInputs, differentiable_inputs
from attnscope.attribution._positions import rows_of
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.handlers import EMBEDDED, Derivatives, Differentiator
from attnscope.schema import SAMPLE
from attnscope.tensors import Tensor, Tree

Rule = Literal["gauss", "midpoint"]
Baseline = int | str | np.ndarray | None
"""What a user gives: a token, numbers, ``"zeros"`` or ``"mean"``, or None for the default."""
FRACTION, BASELINE_TOKENS, MOVES = "path_fraction", "path_baseline", "path_moves"
"""Names of the extras: how far along the path, the tokens of the baseline, and which positions move."""


Embed = Callable[[keras.Layer, str, Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""From an embedding layer, its path, what it was given, what it gave, and the extras, to the embedding to use."""


def integrated_gradients(
    subject: Subject, *, baseline: Baseline = None, steps: int = 32, rule: Rule = "gauss"
) -> xr.DataArray:
    """Each position's share in the change of the target from a baseline to the input:
    ``r_j = sum_f (x_jf - b_jf) * integral_0^1 dy/dx_jf(b + a (x - b)) da``; class-specific.

    For tokens, ``x`` is the embedding (from every `Embedding` layer that is given the token numbers), and the path
    leads through embeddings; for time steps ``x`` is the features of the step; for patches their pixels. The sign is
    kept. Padding does not move and gets 0. NaN propagates.

    The method is *complete*: the sum over the positions is ``y(x) - y(b)``, up to the error of the sum that
    approximates the integral. That error is reported as the coordinate ``completeness_gap`` of each sample, in units of
    the target. Its largest absolute value is in the attrs, beside ``completeness_change``, the mean of
    ``|y(x) - y(b)|``. If it is too large, use more `steps`. The coordinates ``base`` and ``answer`` are ``y(b)`` and
    ``y(x)``.

    Args:
        subject: The model, its inputs and the target.
        baseline: The input that represents "nothing". For tokens: the number of one, or numbers broadcastable to
            ``(sample, position)`` (so that special tokens can stay), or ``"zeros"``, embeddings of zeros; None for the
            tokenizer's mask token, or zeros where there is none. For floats: numbers broadcastable to the input, or
            ``"mean"``, the mean of the samples; None for zeros. The attr ``baseline`` says which it was.
        steps: Points along the path at which the gradient is taken, at least 1.
        rule: ``gauss``, Gauss-Legendre points, exact for polynomials of degree up to ``2 steps - 1``; or ``midpoint``.

    Returns:
        dims ``(sample, key)``, float64, in units of the target. Costs ``steps + 2`` gradient passes per sample, in
        batches over samples and steps (the 2 are at both ends, for the completeness); for tokens up to 2 more forward
        passes in all, which find their embedding.

    Raises:
        MethodError: The input is whole numbers, and no `Embedding` layer is given them; or the baseline does not fit.

    Source:
        Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", sections 3 and 5.
    """
    fractions, weights = _points(steps, rule)
    differentiable = differentiable_inputs(subject)
    start = _path_start(differentiable, baseline)
    values, ends = np.zeros(subject.positions.valid.shape), np.zeros((2, subject.samples))
    for rows, path in _paths(differentiable, start, fractions):
        values[rows] = path.relevance(differentiable, weights)
        ends[:, rows] = path.ends
    values = np.where(subject.positions.valid, values, 0.0)
    gap = values.sum(1) - (ends[1] - ends[0])
    return subject.relevance(
        values,
        "integrated_gradients",
        class_specific=True,
        baseline=start.words,
        steps=steps,
        rule=rule,
    ).assign_coords(completeness_gap=(SAMPLE, gap), base=(SAMPLE, ends[0]), answer=(SAMPLE, ends[1]))


def completeness(relevance: xr.DataArray) -> dict[str, float]:
    """What the attrs say of how complete relevance is, in units of the target; nothing where it does not add up.

    Returns:
        ``completeness_gap``, the largest absolute gap of a sample, and ``completeness_change``, the mean of
        ``|y(x) - y(b)|``.
    """
    if "completeness_gap" not in relevance.coords:
        return {}
    change = relevance["answer"].values - relevance["base"].values
    return {
        "completeness_gap": float(np.abs(relevance["completeness_gap"].values).max()),
        "completeness_change": float(np.abs(change).mean()),
    }


def _points(steps: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of the path, its two ends first, and the weights of all of them (0 for the ends)."""
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
class _PathStart:
    """Where the paths to the inputs begin.

    Attributes:
        words: What the baseline is, for titles.
        values: Floats in the shape of the input, or tokens ``(sample, position)``; None for embeddings of zeros.
    """

    words: str
    values: np.ndarray | None


def _path_start(differentiable: DifferentiableInputs, baseline: Baseline) -> _PathStart:
    if differentiable.embedded:
        return _start_of_tokens(differentiable.subject, baseline)
    return _start_of_floats(differentiable.subject, baseline)


def _start_of_tokens(subject: Subject, baseline: Baseline) -> _PathStart:
    if baseline is None:
        baseline = getattr(subject.tokenizer, "mask_token_id", None)
    if baseline is None or (isinstance(baseline, str) and baseline == "zeros"):
        return _PathStart("embeddings of zeros", None)
    tokens = np.asarray(baseline)
    shape = subject.positions.valid.shape
    if tokens.dtype.kind not in "iu" or not _broadcasts(tokens.shape, shape):
        raise MethodError(
            f"The baseline is {_shown(baseline)}, but for tokens the number of one, numbers broadcastable to {shape} "
            "or 'zeros' is needed: baseline=103."
        )
    words = f"the token {int(tokens)}" if tokens.ndim == 0 else "given tokens"
    return _PathStart(words, np.broadcast_to(tokens, shape).astype("int32"))


def _start_of_floats(subject: Subject, baseline: Baseline) -> _PathStart:
    array = subject.positions.of(subject.inputs)
    if baseline is None or (isinstance(baseline, str) and baseline == "zeros"):
        return _PathStart("zeros", np.zeros_like(array))
    if isinstance(baseline, str) and baseline == "mean":
        return _PathStart("the mean of the samples", np.broadcast_to(array.mean(0), array.shape))
    numbers = np.asarray(baseline)
    if numbers.dtype.kind not in "fiu" or not _broadcasts(numbers.shape, array.shape):
        raise MethodError(
            f"The baseline is {_shown(baseline)}, but numbers broadcastable to {array.shape}, 'mean' or 'zeros' are "
            "needed: baseline=background.mean(0)."
        )
    return _PathStart("given numbers", np.broadcast_to(numbers, array.shape).astype(array.dtype))


def _broadcasts(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    aligned = zip(reversed(shape), reversed(whole), strict=False)
    return len(shape) <= len(whole) and all(size in (1, wanted) for size, wanted in aligned)


def _shown(baseline: Baseline) -> str:
    array = np.asarray(baseline)
    return f"of shape {array.shape} and dtype {array.dtype}" if array.shape else repr(baseline)


@dataclass(frozen=True)
class _Path:
    """What the model gave for some samples along their paths.

    Attributes:
        ends: The target at the baseline and at the input, dims ``(2, sample)``.
        low: By name what is differentiated by, at the baseline, dims ``(sample, ...)``.
        high: The same at the input.
        gradients: By name the derivatives at every point, dims ``(point, sample, ...)``.
    """

    ends: np.ndarray
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]

    def relevance(self, differentiable: DifferentiableInputs, weights: np.ndarray) -> np.ndarray:
        """The change from the baseline times the weighted sum of the derivatives, dims ``(sample, position)``."""
        change = {name: self.high[name].astype(float) - self.low[name] for name in differentiable.names}
        products = [
            change[name] * np.tensordot(weights, self.gradients[name].astype(float), axes=1)
            for name in differentiable.names
        ]
        return np.asarray(
            sum(differentiable.summed(*product) for product in zip(differentiable.names, products, strict=True))
        )


def _paths(
    differentiable: DifferentiableInputs, start: _PathStart, fractions: np.ndarray
) -> Iterator[tuple[slice, _Path]]:
    """The paths of a few samples at a time: as many as have all of their points in one batch, but at least one."""
    subject, points = differentiable.subject, len(fractions)
    together = max(1, min(subject.samples, subject.batch_size // points))
    size = min(subject.batch_size, together * points)
    read, embedded = subject.target.read, differentiable.embedded
    differentiator = subject.cache.once(
        ("derivatives along a path", read, embedded),
        lambda: Differentiator(
            subject.model,
            read,
            inputs=True,
            unroll=differentiable.unroll,
            embed=_interpolated_embeddings(differentiable),
        ),
    )
    for first in range(0, subject.samples, together):
        rows = slice(first, min(first + together, subject.samples))
        count = rows.stop - rows.start
        numbers = np.repeat(np.arange(count), points)
        inputs, extras = _along(subject.rows(rows), start, rows, numbers, np.tile(fractions, count))
        batches = list(differentiator.run(subject.in_batches(size, inputs, full=True), extras=extras))
        yield rows, _path(differentiable, batches, count, points)


def _along(
    subject: Subject, start: _PathStart, rows: slice, numbers: np.ndarray, fractions: np.ndarray
) -> tuple[Tree, dict[str, np.ndarray]]:
    """Inputs and extras, one row per sample and point."""
    inputs = rows_of(subject.inputs, numbers)
    extras = {name: np.asarray(array)[numbers] for name, array in subject.target.rows.items()}
    if subject.positions.is_discrete:
        extras[FRACTION] = fractions.astype("float32")
        extras[MOVES] = subject.positions.valid[numbers]
        if start.values is not None:
            extras[BASELINE_TOKENS] = start.values[rows][numbers]
        return inputs, extras
    low = np.asarray(start.values)[rows][numbers]
    moves = subject.positions.valid[numbers]

    def interpolated(array: np.ndarray) -> np.ndarray:
        fraction = fractions.astype(array.dtype).reshape(-1, *[1] * (array.ndim - 1))
        between = low + fraction * (array - low)
        if subject.positions.kind != "steps":
            return np.asarray(between, array.dtype)
        return np.asarray(np.where(moves[..., None], between, array), array.dtype)

    return subject.positions.changed(inputs, interpolated), extras


def _interpolated_embeddings(differentiable: DifferentiableInputs) -> Embed | None:
    """Interpolates the embeddings of the positions; None where there are none."""
    embedded, shape = differentiable.embedded, differentiable.subject.positions.shape
    sentences = {name.removeprefix(EMBEDDED): number for name, number in differentiable.sentences.items()}

    def part(tensor: Tensor, path: str) -> Tensor:
        """The positions that an embedding is given."""
        whole = ops.reshape(tensor, (-1, *shape))
        return whole[:, sentences[path]] if path in sentences else whole

    def embed(layer: keras.Layer, path: str, numbers: Tensor, result: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        if path not in embedded:
            return result
        low = layer(part(rows[BASELINE_TOKENS], path)) if BASELINE_TOKENS in rows else ops.zeros_like(result)
        moves = part(rows[MOVES], path)
        along = ops.reshape(rows[FRACTION], (-1, *[1] * (len(moves.shape) - 1)))
        fraction = ops.cast(ops.where(moves, along, 1.0), result.dtype)[..., None]
        return low + fraction * (result - low)

    return embed if embedded else None


def _path(differentiable: DifferentiableInputs, batches: list[Derivatives], count: int, points: int) -> _Path:
    """The derivatives of batches over samples and points, put together; fillers at the end are cut off."""

    def gathered(arrays: list[np.ndarray]) -> np.ndarray:
        whole = np.concatenate(arrays)[: count * points]
        return whole.reshape(count, points, *whole.shape[1:]).swapaxes(0, 1)

    target = gathered([batch.target for batch in batches])
    values = {name: gathered([batch.values[name] for batch in batches]) for name in differentiable.names}
    return _Path(
        ends=target[:2].astype(float),
        low={name: array[0] for name, array in values.items()},
        high={name: array[1] for name, array in values.items()},
        gradients={name: gathered([batch.gradients[name] for batch in batches]) for name in differentiable.names},
    )
