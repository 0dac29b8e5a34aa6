"""What is explained: one number per sample, read from what the model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from keras import ops, tree

from attnscope.errors import TargetError
from attnscope.tensors import Tensor, Tree

COLUMN = "target_column"
"""Name of the extras that hold each sample's column."""


@dataclass(frozen=True)
class PerSample:
    """A column of the output for each sample: ``PerSample(labels)`` explains each sample's own class.

    Attributes:
        columns: One whole number per sample, from 0.
    """

    columns: Sequence[int]


@dataclass(frozen=True)
class AtStep:
    """A token at a step of an output with dims (sample, step, token): ``AtStep(-1, 42)``.

    Attributes:
        step: Number of the step, from 0; from the end where negative.
        token: Number of the token, from 0.
    """

    step: int
    token: int


TargetLike: TypeAlias = (
    int | Sequence[int] | PerSample | AtStep | Mapping[str, "TargetLike"] | Callable[[Tree], Tensor] | None
)
"""What a user may give as ``target=``; `targets_of` says what each means."""


@dataclass(frozen=True)
class Target:
    """One number per sample, read from the model's outputs.

    Attributes:
        words: What it is, for titles: ``class 1``, ``the predicted class``.
        read: From the model's outputs and the extras of the batch, as tensors, to one number per sample; written in
            `keras.ops`, so that every backend can differentiate it.
        rows: The extras that `read` needs: arrays with one row per sample.
    """

    words: str
    read: Callable[[Tree, Mapping[str, Tensor]], Tensor]
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    def of(self, outputs: Tree, rows: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The numbers, dims ``(sample,)``, float64.

        Args:
            outputs: The model's outputs, as arrays.
            rows: The extras of these samples; None for those of all samples.
        """
        tensors = tree.map_structure(ops.convert_to_tensor, outputs)
        extras = {name: ops.convert_to_tensor(array) for name, array in (self.rows if rows is None else rows).items()}
        return np.asarray(ops.convert_to_numpy(self.read(tensors, extras)), dtype=np.float64)


def targets_of(wanted: TargetLike, outputs: Tree) -> list[Target]:
    """What a user's ``target=`` means for a model that gives these outputs.

    Args:
        wanted: None: the only column of the output, or else the class that the model predicts for each sample. A
            whole number: that column. A list of whole numbers: several columns, each explained. `PerSample`: a column
            for each sample. `AtStep`: a token at a step. A dict of one output's name to any of these, for models with
            several outputs. A function: from outputs (tensors) to one number per sample, written in `keras.ops`.
        outputs: The model's outputs on all samples, as arrays.

    Raises:
        TargetError: It does not fit the outputs; the message says what would.
    """
    if callable(wanted):
        return [_checked_callable(wanted, outputs)]
    if isinstance(wanted, Mapping):
        return _of_named(wanted, outputs)
    if not hasattr(outputs, "shape"):
        raise TargetError(
            f"The model has several outputs ({_named(outputs)}), but the target {wanted!r} does not say which. Name "
            f"one: target={{{_first_name(outputs)!r}: 0}}."
        )
    if isinstance(wanted, (list, tuple, range)):
        return [target for column in wanted for target in targets_of(_whole(column), outputs)]
    return [_of_single(wanted, outputs)]


def _of_single(wanted: object, outputs: np.ndarray) -> Target:
    if isinstance(wanted, AtStep):
        return _at_step(wanted, outputs)
    flat = outputs.ndim == 1
    if flat:
        outputs = outputs[:, None]
    if outputs.ndim != 2:
        raise TargetError(
            f"The model gives outputs of shape {outputs.shape}, with more axes than samples and classes. Say which "
            "number is meant: target=AtStep(step, token), or a function such as "
            "target=lambda outputs: outputs[:, 0, 3]."
        )
    classes = outputs.shape[1]
    if isinstance(wanted, PerSample):
        return _per_sample(wanted.columns, outputs, "each sample's own class")
    if wanted is None and classes > 1:
        return _per_sample(outputs.argmax(1), outputs, "the predicted class")
    column = _in_range(0 if wanted is None else _whole(wanted), classes)
    words = "the output" if classes == 1 else f"class {column}"
    return Target(words, lambda tensors, rows: tensors if flat else tensors[:, column])


def _per_sample(columns: Sequence[int] | np.ndarray, outputs: np.ndarray, words: str) -> Target:
    chosen = np.asarray(columns)
    if chosen.shape != outputs.shape[:1]:
        raise TargetError(
            f"{chosen.size} columns were given for {len(outputs)} samples. Give one per sample: "
            "target=PerSample([...])."
        )
    for column in np.unique(chosen):
        _in_range(_whole(column), outputs.shape[1])

    def read(tensors: Tree, rows: Mapping[str, Tensor]) -> Tensor:
        return ops.take_along_axis(tensors, ops.cast(rows[COLUMN], "int32")[:, None], axis=1)[:, 0]

    return Target(words, read, {COLUMN: chosen.astype("int32")})


def _at_step(wanted: AtStep, outputs: np.ndarray) -> Target:
    if outputs.ndim != 3:
        raise TargetError(
            f"The target is {wanted}, but the outputs have the shape {outputs.shape}, and (sample, step, token) is "
            "needed. For classes give the number of one: target=1."
        )
    steps, tokens = outputs.shape[1:]
    if not -steps <= wanted.step < steps:
        raise TargetError(
            f"The target is at step {wanted.step}, but the output has {steps}, numbered from 0. Give one of 0 to "
            f"{steps - 1}, or count from the end: AtStep(-1, {wanted.token})."
        )
    step, token = wanted.step % steps, _in_range(wanted.token, tokens)
    return Target(f"token {token} at step {step}", lambda tensors, rows: tensors[:, step, token])


def _of_named(wanted: Mapping[str, TargetLike], outputs: Tree) -> list[Target]:
    if not isinstance(outputs, Mapping):
        raise TargetError(
            f"The target names the outputs {sorted(map(str, wanted))}, but the model's outputs have no names. Leave "
            "the name out: target=1; or read one of several: target=lambda outputs: outputs[0][:, 1]."
        )
    if len(wanted) != 1 or next(iter(wanted)) not in outputs:
        raise TargetError(
            f"The target names the outputs {sorted(map(str, wanted))}, but one of {_named(outputs)} is needed: "
            f"target={{{_first_name(outputs)!r}: 0}}."
        )
    [(name, inner)] = wanted.items()
    return [_of_output(target, name) for target in targets_of(inner, outputs[name])]


def _of_output(target: Target, name: str) -> Target:
    """A target of one output as a target of all outputs."""
    return Target(f"{target.words} of {name}", lambda tensors, rows: target.read(tensors[name], rows), target.rows)


def _checked_callable(function: Callable[[Tree], Tensor], outputs: Tree) -> Target:
    target = Target(getattr(function, "__name__", "a function of the outputs"), lambda tensors, rows: function(tensors))
    samples = len(tree.flatten(outputs)[0])
    shape = np.shape(target.of(outputs))
    if shape != (samples,):
        raise TargetError(
            f"The target function gave the shape {shape} for {samples} samples, but one number per sample is needed: "
            "lambda outputs: outputs[:, 1]."
        )
    return target


def _whole(value: object) -> int:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    raise TargetError(
        f"The target is {value!r}, but the number of an output column, a list of them, PerSample, AtStep, a dict by "
        "output or a function is needed: target=1."
    )


def _in_range(column: int, classes: int) -> int:
    if 0 <= column < classes:
        return column
    raise TargetError(
        f"The target is column {column}, but the model's output has {classes}, numbered from 0. Give one of 0 to "
        f"{classes - 1}."
    )


def _named(outputs: Tree) -> str:
    if isinstance(outputs, Mapping):
        return ", ".join(map(repr, outputs))
    return f"{len(outputs)} without names" if isinstance(outputs, (list, tuple)) else "one without a name"


def _first_name(outputs: Tree) -> str:
    return str(next(iter(outputs))) if isinstance(outputs, Mapping) else "name"
