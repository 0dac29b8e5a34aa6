"""What a model says about its samples, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attnscope.attribution import of_first
from attnscope.errors import InputError
from attnscope.marks import number, number_in_ascii, readable


@dataclass(frozen=True)
class Answers:
    """What a model says about some samples.

    Attributes:
        target: What is explained: one number per sample, dims ``(sample,)``, float64.
        columns: The output that the target is read from, dims ``(sample, class)``, float64; None where a model has
            several outputs, one of other dims, or numbers that were fitted by their distance from others.
        classes: What the columns are called; of a single column, the names of the two classes between which it
            decides. None where nothing says it.
        truth: What is right for each sample: the name or number of a class, or a number; empty for a sample of which it
            is not known. None where it is known of none.
        units: The unit of the columns; empty where nothing says it.
        dtype: The type that the model gives its numbers in.
    """

    target: np.ndarray
    columns: np.ndarray | None
    classes: tuple[str, ...] | None
    truth: tuple[str, ...] | None = None
    units: str = ""
    dtype: str = "float64"

    @property
    def is_binary(self) -> bool:
        """Whether one column decides between two classes: the probability of the second, or its logit."""
        columns = self.columns
        return columns is not None and columns.shape[1] == 1 and self.classes is not None and len(self.classes) == 2

    def by_class(self) -> np.ndarray | None:
        """A number for each class, dims ``(sample, class)``; None where the output is no choice among classes."""
        if self.columns is None or (self.columns.shape[1] == 1 and not self.is_binary):
            return None
        if self.is_binary:
            return np.concatenate([of_first(self.columns, self.units), self.columns], axis=1)
        return self.columns

    def name_of(self, column: int) -> str:
        """What a class is called."""
        return f"class {column}" if self.classes is None else self.classes[column]

    def decided(self) -> list[str]:
        """The class that the model decides for, by its name; the number itself where there are no classes."""
        scores = self.by_class()
        if scores is None:
            return [number_in_ascii(float(value)) for value in self.target]
        return [self.name_of(int(column)) for column in scores.argmax(1)]

    def in_words(self) -> list[str]:
        """The decision with its number."""
        scores = self.by_class()
        if scores is None:
            return list(map(readable, self.decided()))
        return [f"{word} ({number(float(row.max()))})" for word, row in zip(self.decided(), scores, strict=True)]

    def certainty(self) -> np.ndarray:
        """How far the best class lies before the next, dims ``(sample,)``.

        Raises:
            InputError: The output is no choice among classes.
        """
        scores = self.by_class()
        if scores is None:
            raise InputError(
                "The samples 'most certain' are asked for, but the model gives a number and no classes. Choose by id "
                "or number, or name the two classes that a probability decides between: classes=['no', 'yes']."
            )
        best = np.sort(scores, axis=1)
        return np.asarray(best[:, -1] - best[:, -2])

    def error(self) -> np.ndarray:
        """How far the answer is from the truth, dims ``(sample,)``: how much better the best of the wrong classes does
        than the right one, below 0 where the model is right; of a number, the absolute difference. NaN where the truth
        is not known.

        Raises:
            InputError: The truth is not known, or is no class.
        """
        if self.truth is None or not any(self.truth):
            raise InputError("The samples 'most wrong' are asked for, but the truth is not known: truth=[...].")
        scores = self.by_class()
        if scores is None:
            return np.asarray(np.abs(self.target - _numbers(self.truth)))
        columns = [self._column(word) if word else None for word in self.truth]
        lead = np.full(len(scores), np.nan)
        for row, column in enumerate(columns):
            if column is not None:
                lead[row] = np.delete(scores[row], column).max(initial=-np.inf) - scores[row, column]
        return lead

    def right(self) -> tuple[int, int] | None:
        """Of how many samples the model says what is right, and of how many that is known to be a class.

        None where it is of none.
        """
        scores = self.by_class()
        if scores is None:
            return None
        columns = [self._column_of(word) for word in self.truth or ()]
        known = [(row, column) for row, column in enumerate(columns) if column is not None]
        return (sum(int(scores[row].argmax()) == column for row, column in known), len(known)) if known else None

    def _column_of(self, word: str) -> int | None:
        """The column of a class by its name or number; None where there is no such class."""
        if self.classes is not None and word in self.classes:
            return self.classes.index(word)
        digits = word.removesuffix(".0")
        return int(digits) if digits.isdecimal() and int(digits) < self._count else None

    @property
    def _count(self) -> int:
        """How many classes there are."""
        return 2 if self.is_binary or self.columns is None else self.columns.shape[1]

    def _column(self, word: str) -> int:
        column = self._column_of(word)
        if column is not None:
            return column
        named = "the numbers of columns" if self.classes is None else ", ".join(map(repr, self.classes))
        words = sorted(set(filter(None, self.truth or ())))
        example = repr(words) if len(words) == self._count else "[...]"
        raise InputError(
            f"The truth of a sample is {word!r}, but the classes are {named}. Name the classes as the truth does, in "
            f"their order in the output, classes={example}, or take the truth from elsewhere: truth=[...]."
        )

    def check_truth(self, rows: Sequence[int] | np.ndarray) -> None:
        """Checks what is right for these samples.

        Raises:
            InputError: It is known, and no class.
        """
        if self.truth is not None and self.by_class() is not None:
            for word in filter(None, (self.truth[row] for row in rows)):
                self._column(word)

    def truth_in_words(self) -> list[str] | None:
        """The truth, by the names of the classes; empty where it is not known."""
        if self.truth is None or self.by_class() is None:
            return None if self.truth is None else list(self.truth)
        return [self.name_of(self._column(word)) if word else "" for word in self.truth]


def _numbers(truth: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(word) if word else np.nan for word in truth])
    except ValueError as error:
        raise InputError(f"The model gives a number, but the truth is not one for every sample: {error}.") from error
