"""What is explained: one number per sample, read from what the model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from keras import ops, tree

from attnscope.errors import TargetError

COLUMN = "target_column"
"""Name of the extras that hold the column of each sample."""


@dataclass(frozen=True)
class PerSample:
    """A column of the output for each sample: ``PerSample(labels)`` explains each sample's own class.

    Attributes:
        columns: One whole number per sample.
    """

    columns: Sequence[int]


@dataclass(frozen=True)
class AtStep:
    """A token at a step of an output with dims (sample, step, token): ``AtStep(-1, 42)``.

    Attributes:
        step: Number of the step; from the end where negative.
        token: Number of the token.
    """

    step: int
    token: int


@dataclass(frozen=True)
class Target:
    """A number per sample, as tensors (to be differentiated) and as arrays.

    Attributes:
        words: What it is, for titles: ``class 1``, ``the predicted class``.
        read: From the model's outputs and the extras of the batch to one number per sample, both as tensors or both
            as arrays; in `keras.ops`, so that every backend differentiates it.
        rows: Arrays with one row per sample that `read` needs.
    """

    words: str
    read: Callable[[Any, Mapping[str, Any]], Any]
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    def of(self, outputs: Any, rows: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The numbers, float64, dims ``(sample,)``.

        Args:
            outputs: The model's outputs, as arrays.
            rows: The extras of these samples; default: those of all samples.
        """
        tensors = tree.map_structure(ops.convert_to_tensor, outputs)
        given = {name: ops.convert_to_tensor(array) for name, array in (self.rows if rows is None else rows).items()}
        return np.asarray(ops.convert_to_numpy(self.read(tensors, given)), dtype=np.float64)


def targets_of(given: Any, outputs: Any) -> list[Target]:
    """What a user's ``target=`` means for a model that gives these outputs.

    Args:
        given: None: the only column of the output, or else the class that the model predicts for each sample. A
            whole number: that column. A list of whole numbers: several columns, each explained. `PerSample`: a column
            for each sample. `AtStep`: a token at a step. A dict of one output's name to any of these, for models with
            several outputs. A callable: from outputs (tensors) to one number per sample, written in `keras.ops`.
        outputs: The model's outputs on all samples, as arrays.

    Raises:
        TargetError: It does not fit the outputs; the message says what would.
    """
    if callable(given):
        return [_checked_callable(given, outputs)]
    if isinstance(given, Mapping):
        return _of_named(given, outputs)
    if not hasattr(outputs, "shape"):
        raise TargetError(
            f"The model has several outputs ({_named(outputs)}), and the target {given!r} does not say which. Name it: "
            f"target={{{_first_name(outputs)!r}: 0}}."
        )
    if isinstance(given, (list, tuple, range)):
        return [target for column in given for target in targets_of(_whole(column), outputs)]
    return [_of_single(given, outputs)]


def _of_single(given: Any, outputs: np.ndarray) -> Target:
    if isinstance(given, AtStep):
        return _at_step(given, outputs)
    if outputs.ndim == 1:
        outputs = outputs[:, None]
        flat = True
    else:
        flat = False
    if outputs.ndim != 2:
        raise TargetError(
            f"The model gives outputs of shape {outputs.shape}, with more axes than samples and classes. Say which "
            "number is meant: target=AtStep(step, token), or a function such as "
            "target=lambda outputs: outputs[:, 0, 3]."
        )
    classes = outputs.shape[1]
    if isinstance(given, PerSample):
        return _per_sample(given.columns, outputs, "each sample's own class")
    if given is None and classes > 1:
        return _per_sample(outputs.argmax(1), outputs, "the predicted class")
    column = _in_range(0 if given is None else _whole(given), classes)
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

    def read(tensors: Any, rows: Mapping[str, Any]) -> Any:
        return ops.take_along_axis(tensors, ops.cast(rows[COLUMN], "int32")[:, None], axis=1)[:, 0]

    return Target(words, read, {COLUMN: chosen.astype("int32")})


def _at_step(given: AtStep, outputs: np.ndarray) -> Target:
    if outputs.ndim != 3:
        raise TargetError(
            f"{given} was asked for, but the outputs have the shape {outputs.shape}, and (sample, step, token) is "
            "needed. For classes give the number of one: target=1."
        )
    steps, tokens = outputs.shape[1:]
    if not -steps <= given.step < steps:
        raise TargetError(f"The step {given.step} was asked for, but the output has {steps}, numbered from 0.")
    step, token = given.step % steps, _in_range(given.token, tokens)
    return Target(f"token {token} at step {step}", lambda tensors, rows: tensors[:, step, token])


def _of_named(given: Mapping[str, Any], outputs: Any) -> list[Target]:
    if not isinstance(outputs, Mapping) or len(given) != 1 or next(iter(given)) not in outputs:
        raise TargetError(
            f"The target names the outputs {sorted(map(str, given))}, but the model has {_named(outputs)}. Name one of "
            "them."
        )
    [(name, inner)] = given.items()
    return [
        Target(
            f"{found.words} of {name}",
            lambda tensors, rows, found=found: found.read(tensors[name], rows),  # type: ignore[misc]
            found.rows,
        )
        for found in targets_of(inner, outputs[name])
    ]


def _checked_callable(given: Callable[[Any], Any], outputs: Any) -> Target:
    target = Target(getattr(given, "__name__", "a function of the outputs"), lambda tensors, rows: given(tensors))
    samples = len(tree.flatten(outputs)[0])
    shape = np.shape(target.of(outputs))
    if shape != (samples,):
        raise TargetError(
            f"The target function gave the shape {shape} for {samples} samples, but one number per sample is needed: "
            "lambda outputs: outputs[:, 1]."
        )
    return target


def _whole(value: Any) -> int:
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


def _named(outputs: Any) -> str:
    if isinstance(outputs, Mapping):
        return ", ".join(map(repr, outputs))
    return f"{len(outputs)} without names" if isinstance(outputs, (list, tuple)) else "one without a name"


def _first_name(outputs: Any) -> str:
    return str(next(iter(outputs))) if isinstance(outputs, Mapping) else "name"
