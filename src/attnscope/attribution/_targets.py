"""What is explained: one number per sample, read from what the model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from keras import ops, tree

from attnscope.errors import TargetError
from attnscope.schema import LOGIT, PROBABILITY
from attnscope.tensors import Tensor, Tree

COLUMN = "target_column"
"""Name of the extras that hold each sample's column."""
MOST_LISTED = 20
"""How many classes a message lists."""


@dataclass(frozen=True)
class PerSample:
    """A column of the output for each sample: ``PerSample(labels)`` explains each sample's own class.

    Attributes:
        columns: One whole number per sample, from 0; or names of classes.
    """

    columns: Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class AtStep:
    """A token at a step of an output with dims (sample, step, token): ``AtStep(-1, 42)``.

    Attributes:
        step: Number of the step, from 0; from the end where negative.
        token: Number of the token, from 0; or its name.
    """

    step: int
    token: int | str


TargetLike: TypeAlias = (
    int
    | str
    | Sequence[int]
    | Sequence[str]
    | PerSample
    | AtStep
    | Mapping[str, "TargetLike"]
    | Callable[[Tree], Tensor]
    | None
)
"""What a user may give as ``target=``; `targets_of` says what each means."""
ClassNames: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]] | None
"""What the classes, or the numbers of a forecast, are called, in the order of the output's columns; of several outputs,
by the output's name."""


@dataclass(frozen=True)
class Target:
    """One number per sample, read from the model's outputs.

    Attributes:
        words: What it is, for titles: ``class 1``, ``class 'cat'``, ``the predicted class``; of a model that was fitted
            to numbers ``output 1``, ``output 'in 6 h'``.
        read: From the model's outputs and the extras of the batch, as tensors, to one number per sample; written in
            `keras.ops`, so that every backend can differentiate it.
        rows: The extras that `read` needs: arrays with one row per sample.
        output: The number of the output that it is read from, among the leaves of the outputs' structure; None for a
            function of all of them.
        classes: What the columns of that output are called; of a single column that is a probability or a logit, the
            two classes between which it decides. None where nothing says it.
        units: The unit of the number; empty where nothing says it.
        of_samples: What it is of each sample, where that differs, dims ``(sample,)``; else None.
    """

    words: str
    read: Callable[[Tree, Mapping[str, Tensor]], Tensor]
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    output: int | None = None
    classes: tuple[str, ...] | None = None
    units: str = ""
    of_samples: np.ndarray | None = None

    @property
    def is_probability(self) -> bool:
        """Whether the number is known to lie within 0 to 1."""
        return self.units == PROBABILITY

    def part(self, chosen: slice | np.ndarray) -> Target:
        """The same of some of the samples: a slice, their numbers, or a mask."""
        own = None if self.of_samples is None else self.of_samples[chosen]
        return replace(self, rows={name: rows[chosen] for name, rows in self.rows.items()}, of_samples=own)

    def of(self, outputs: Tree, rows: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The numbers, dims ``(sample,)``, float64.

        Args:
            outputs: The model's outputs, as arrays.
            rows: The extras of these samples; None for those of all samples.
        """
        tensors = tree.map_structure(ops.convert_to_tensor, outputs)
        extras = {name: ops.convert_to_tensor(array) for name, array in (self.rows if rows is None else rows).items()}
        return np.asarray(ops.convert_to_numpy(self.read(tensors, extras)), dtype=np.float64)


def targets_of(
    wanted: TargetLike,
    outputs: Tree,
    names: Sequence[str] = ("",),
    classes: ClassNames = None,
    *,
    default: Sequence[str] | None = None,
    units: Sequence[str] = (),
    regression: bool = False,
) -> list[Target]:
    """What a user's ``target=`` means for a model that gives these outputs.

    Args:
        wanted: None: the only column of the output, or else the class that the model predicts for each sample. A
            whole number: that column; where a single column decides between two classes that have names, 0 is the
            first of them and 1 the second. The name of a class: its column. A list of these: several, each explained.
            `PerSample`: a column for each sample. `AtStep`: a token at a step. Of a model with several
            outputs, a dict of one output's name to any of these; or the name alone, where it has one column. A
            function: from outputs (tensors) to one number per sample, written in `keras.ops`.
        outputs: The model's outputs on all samples, as arrays.
        names: The name of each output, in the order of `keras.tree`; ``""`` for a single output.
        classes: What the classes, or the numbers, are called.
        default: The same, if none are given, for an output that has as many columns as there are names here.
        units: The unit of each output; empty where nothing is known.
        regression: Whether the model was fitted to numbers.

    Raises:
        TargetError: It does not fit the outputs, or the names of classes do not; the message says what would.
    """
    if callable(wanted):
        return [_checked_callable(wanted, outputs)]
    leaves = tree.flatten(outputs)
    if isinstance(classes, Mapping):
        _check_outputs_of_classes(classes, names)
    if isinstance(wanted, str) and wanted in names:
        wanted = {wanted: None}
    if isinstance(wanted, Mapping):
        name = _output_named(wanted, names)
        number, inner = list(names).index(name), wanted[name]
    elif len(leaves) == 1:
        name, number, inner = "", 0, wanted
    else:
        raise TargetError(
            f"The model has the outputs {_listed(names)}, but the target {wanted!r} does not say which. Name one: "
            f"target={{{names[0]!r}: 0}}."
        )
    own = classes.get(names[number]) if isinstance(classes, Mapping) else classes
    unit = units[number] if len(units) == len(leaves) else ""
    fitted = regression and not unit
    output = _Output(leaves[number], _classes(own, default, leaves[number], unit, fitted=fitted), unit, fitted)
    computed = callable(inner)  # what a function makes of the output has a unit of its own
    return [
        replace(_of_output(target, number, name), units="" if computed else unit, output=number, classes=output.classes)
        for target in output.targets(inner)
    ]


@dataclass(frozen=True)
class _Output:
    """One output of a model.

    Attributes:
        array: Its values, samples first.
        classes: What its columns are called; None where nothing says it.
        unit: The unit of its values; empty where nothing says it.
        fitted: Whether its columns were fitted to numbers, and are no choice among them.
    """

    array: np.ndarray
    classes: tuple[str, ...] | None
    unit: str = ""
    fitted: bool = False

    @property
    def noun(self) -> str:
        """What a column is."""
        return _noun(fitted=self.fitted)

    def targets(self, wanted: TargetLike) -> list[Target]:
        """What a target that says nothing about which output it is of means for this one."""
        if callable(wanted):
            return [_checked_callable(wanted, self.array)]
        if isinstance(wanted, (list, tuple, range)):
            return [self._column(_whole_or_name(column)) for column in wanted]
        if isinstance(wanted, AtStep):
            return [self._at_step(wanted)]
        if isinstance(wanted, PerSample):
            return [self._per_sample(wanted.columns, f"each sample's own {self.noun}")]
        if wanted is None and self._columns().shape[1] > 1:
            if self.fitted:
                raise TargetError(
                    f"The model gives {self._columns().shape[1]} numbers, and by the loss that it was compiled with "
                    "they are no choice among classes, so that none is the predicted one. Choose one: target=0."
                )
            return [self._per_sample(self._columns().argmax(1), "the predicted class")]
        first = 1 if self.is_of_two else 0
        return [self._column(first if wanted is None else _whole_or_name(wanted))]

    @property
    def is_of_two(self) -> bool:
        """Whether its only column decides between two classes: the probability of the second, or its logit."""
        return self.classes is not None and len(self.classes) == 2 and self._columns().shape[1] == 1

    def _columns(self) -> np.ndarray:
        """The values, dims ``(sample, class)``."""
        columns = self.array[:, None] if self.array.ndim == 1 else self.array
        if columns.ndim != 2:
            raise TargetError(
                f"The model gives outputs of shape {columns.shape}, with more axes than samples and classes. Say which "
                "number is meant: target=AtStep(step, token), or a function such as "
                "target=lambda outputs: outputs[:, 0, 3]."
            )
        return columns

    @property
    def _count(self) -> int:
        """How many classes, or numbers, there are to choose from."""
        return 2 if self.is_of_two else int(self._columns().shape[1])

    def _by_class(self, tensor: Tensor) -> Tensor:
        """The output with a column for each class, or number, dims ``(sample, class)``."""
        columns = tensor[:, None] if self.array.ndim == 1 else tensor
        return ops.concatenate([of_first(columns, self.unit), columns], axis=1) if self.is_of_two else columns

    def _column(self, wanted: int | str) -> Target:
        column = self._number(wanted, self._count)
        words = "the output" if self._count == 1 else self._words(column, self.noun)
        return Target(words, lambda tensor, rows: self._by_class(tensor)[:, column])

    def _per_sample(self, wanted: Sequence[int] | Sequence[str] | np.ndarray, words: str) -> Target:
        samples, given = len(self._columns()), np.asarray(wanted)
        if given.shape != (samples,):
            raise TargetError(
                f"{given.size} columns were given for {samples} samples. Give one per sample: target=PerSample([...])."
            )
        numbers = {value: self._number(_whole_or_name(value), self._count) for value in np.unique(given)}
        columns = np.array([numbers[value] for value in given], dtype="int32")

        def read(tensor: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
            chosen = ops.cast(rows[COLUMN], "int32")[:, None]
            return ops.take_along_axis(self._by_class(tensor), chosen, axis=1)[:, 0]

        named = np.array([self._words(int(column), self.noun) for column in columns], dtype=str)
        return Target(words, read, {COLUMN: columns}, of_samples=named)

    def _at_step(self, wanted: AtStep) -> Target:
        if self.array.ndim != 3:
            raise TargetError(
                f"The target is {wanted}, but the outputs have the shape {self.array.shape}, and (sample, step, token) "
                "is needed. For classes give the number of one: target=1."
            )
        steps, tokens = self.array.shape[1:]
        if not -steps <= wanted.step < steps:
            raise TargetError(
                f"The target is at step {wanted.step}, but the output has {steps}, numbered from 0. Give one of 0 to "
                f"{steps - 1}, or count from the end: AtStep(-1, {wanted.token!r})."
            )
        step, token = wanted.step % steps, self._number(wanted.token, tokens)
        return Target(f"{self._words(token, 'token')} at step {step}", lambda tensor, rows: tensor[:, step, token])

    def _number(self, wanted: int | str, count: int) -> int:
        """The number of a column, which may be given by its name.

        Raises:
            TargetError: There is none of this number or name.
        """
        if not isinstance(wanted, str):
            return _in_range(wanted, count)
        if self.classes is None:
            raise TargetError(
                f"The target is the {self.noun} {wanted!r}, but nothing says what the {_plural(self.noun)} are called. "
                f"Give its number, target=1, or the names of all {_plural(self.noun)}: classes=[...]."
            )
        if wanted not in self.classes:
            raise TargetError(
                f"The target is the {self.noun} {wanted!r}, but the {_plural(self.noun)} are {_listed(self.classes)}. "
                "Give one of them, or its number: target=0."
            )
        return self.classes.index(wanted)

    def _words(self, column: int, what: str) -> str:
        return f"{what} {column if self.classes is None else repr(self.classes[column])}"


def of_first(second: Any, unit: str) -> Any:
    """What a single column says of the first of two classes, from what it says of the second.

    Args:
        second: Probabilities or logits, an array or a tensor.
        unit: Which of them; taken to be probabilities where nothing says it.
    """
    return -second if unit == LOGIT else 1 - second


def _of_output(target: Target, number: int, name: str) -> Target:
    """A target of one output as a target of all outputs; by its name, where the target says it."""
    words = f"{target.words} of {name}" if name else target.words
    return replace(target, words=words, read=lambda tensors, rows: target.read(tree.flatten(tensors)[number], rows))


def _output_named(wanted: Mapping[str, TargetLike], names: Sequence[str]) -> str:
    if not any(names):
        raise TargetError(
            f"The target names the outputs {sorted(map(str, wanted))}, but the model's only output has no name. Leave "
            "the name out: target=1."
        )
    name = next(iter(wanted), None)
    if len(wanted) != 1 or name not in names:
        raise TargetError(
            f"The target names the outputs {sorted(map(str, wanted))}, but one of {_listed(names)} is needed: "
            f"target={{{names[0]!r}: 0}}."
        )
    return str(name)


def given_classes(classes: ClassNames, class_names: ClassNames) -> ClassNames:
    """What a user calls the classes, by either name of the argument.

    Raises:
        TargetError: By both, or by one text that is no list.
    """
    if classes is not None and class_names is not None:
        raise TargetError(
            "Both classes and class_names were given, which mean the same. Leave class_names out: classes=[...]."
        )
    names = class_names if classes is None else classes
    if isinstance(names, str):
        raise TargetError(f"classes is the text {names!r}, but a list of names is needed: classes=[{names!r}, ...].")
    return names


def _noun(*, fitted: bool) -> str:
    """What a column of an output is: of a model that was fitted to numbers, such as a forecast, no class."""
    return "output" if fitted else "class"


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _check_outputs_of_classes(classes: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    unknown = [name for name in classes if name not in names or not name]
    if unknown:
        fix = f"classes={{{names[0]!r}: [...]}}" if any(names) else "classes=[...]"
        known = f"the outputs are {_listed(names)}" if any(names) else "the model's only output has no name"
        raise TargetError(f"The class names are for the outputs {_listed(unknown)}, but {known}: {fix}.")


def _classes(
    given: Sequence[str] | None, default: Sequence[str] | None, array: np.ndarray, unit: str, *, fitted: bool
) -> tuple[str, ...] | None:
    """What the columns of an output are called.

    Raises:
        TargetError: There is not one name for each, or two are the same.
    """
    count = array.shape[-1] if array.ndim > 1 else 1
    if given is None:
        return tuple(default) if default and len(default) == count == len(set(default)) else None
    names = tuple(map(str, given))
    if count == 1 and len(set(names)) == 2 and not isinstance(given, str) and (unit == LOGIT or _within_0_and_1(array)):
        return names
    if isinstance(given, str) or len(names) != count or len(set(names)) != count:
        called = f"The {_noun(fitted=fitted)} names are {_listed(names)}, but the output has"
        if count == 1 and not fitted:
            raise TargetError(
                f"{called} 1 column. If it is a probability or a logit, it takes the names of the two classes that it "
                "decides between, in their order: classes=['no', 'yes']. Another number takes one name."
            )
        columns = "1 column" if count == 1 else f"{count} columns"
        example = "['in 1 h', 'in 6 h', ...]" if fitted else "['cat', 'dog', ...]"
        raise TargetError(f"{called} {columns}, and each needs a name of its own, in their order: classes={example}.")
    return names


def _within_0_and_1(array: np.ndarray) -> bool:
    """Whether all numbers may be probabilities; NaN, which is another fault, speaks neither for it nor against."""
    return bool((((array >= 0) & (array <= 1)) | np.isnan(array)).all())


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


def _whole_or_name(value: object) -> int | str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    raise TargetError(
        f"The target is {value!r}, but the number or name of an output column, a list of them, PerSample, AtStep, a "
        "dict by output or a function is needed: target=1."
    )


def _in_range(column: int, classes: int) -> int:
    if 0 <= column < classes:
        return column
    raise TargetError(
        f"The target is column {column}, but the model's output has {classes}, numbered from 0. Give one of 0 to "
        f"{classes - 1}."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:MOST_LISTED]))
    return f"{shown} and {len(names) - MOST_LISTED} others" if len(names) > MOST_LISTED else shown
