"""`Table`: samples in rows, from a file or a data frame, with names of its columns, ids, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from shlex import quote
from typing import Literal, TypeVar

import numpy as np

from attnscope.errors import InputError, in_a_row

Place = TypeVar("Place")
MOST_LISTED = 6
"""How many cells, columns or ids a message lists."""
Kind = Literal["file", "pandas", "polars"]
_WAYS: dict[str, dict[str, str]] = {
    "file": {"fill": "", "drop": "--drop-missing", "ids": "--id-column NAME", "codes": "frame[{name}].cat.codes"},
    "pandas": {
        "fill": ": frame.fillna(...)",
        "drop": "frame.dropna()",
        "ids": "frame.set_index(name)",
        "codes": "frame[{name}].cat.codes",
    },
    "polars": {
        "fill": ": frame.fill_null(...)",
        "drop": "frame.drop_nulls()",
        "ids": "frame.to_pandas().set_index(name)",
        "codes": "frame[{name}].to_physical()",
    },
}
"""What to do about a table, in the words of what it comes from."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: Its name; its number, from 1, where the table has no names.
        raw: Its cells as they are, dims ``(sample,)``: texts of a file; of a frame whatever it holds.
        numbers: The same as numbers, float64, NaN where a cell is missing or no number.
        odd: Rows whose cells are no numbers, dims ``(cell,)``.
        holds: What the cells are, for messages, if a frame says that they are no numbers: ``categories``.
        why: Why the first of these is no number, if that needs saying: ``it may be 1250 or 1.25``.
    """

    name: str
    raw: np.ndarray
    numbers: np.ndarray
    odd: np.ndarray
    holds: str = ""
    why: str = ""

    @property
    def is_numeric(self) -> bool:
        """Whether all cells are numbers, or missing."""
        return not self.holds and not len(self.odd)

    @property
    def texts(self) -> np.ndarray:
        """The cells as texts; a missing one is empty."""
        return np.asarray(["" if is_missing(cell) else str(cell) for cell in self.raw.tolist()], dtype=str)

    @property
    def missing(self) -> np.ndarray:
        """Which cells are missing, dims ``(sample,)``, bool; among texts, only those that are empty."""
        if self.is_numeric:
            missing: np.ndarray = np.isnan(self.numbers)
            return missing
        return np.asarray([is_missing(cell) for cell in self.raw.tolist()], dtype=bool)

    @property
    def values(self) -> np.ndarray:
        """The cells as whole numbers where all are whole, else as numbers, else as texts."""
        if not self.is_numeric:
            return np.char.strip(self.texts)
        whole = bool(np.all(np.isfinite(self.numbers) & (np.rint(self.numbers) == self.numbers)))
        return self.numbers.astype("int64") if whole else self.numbers

    def rows(self, chosen: np.ndarray) -> Column:
        """The same column with some of the samples."""
        odd = np.flatnonzero(np.isin(chosen, self.odd))
        is_first = len(odd) > 0 and chosen[odd[0]] == self.odd[0]
        return replace(
            self, raw=self.raw[chosen], numbers=self.numbers[chosen], odd=odd, why=self.why if is_first else ""
        )


@dataclass(frozen=True)
class Table:
    """Samples in rows.

    Attributes:
        columns: What a model may read, in the table's order; without ids and without what is right.
        what: What messages call the table: ``'patients.csv'``.
        samples: Number of samples.
        has_names: Whether the columns have names, or only numbers.
        ids: What each sample is called, dims ``(sample,)``, no two alike; None where nothing says it.
        truth: What is right for each sample, dims ``(sample,)``; None where nothing says it.
        id_name: Name of the column of ids, or of the index; empty where it has none.
        truth_name: Name of the column of what is right.
        lines: Line of each sample in a file, from 1; None if the table is no file of lines.
        kind: Where it comes from: a file, of which messages speak in options of the command line, or a frame.
        is_chosen: Whether somebody named the columns, and so their order.
        is_fixed: Whether the model reads exactly these columns, so that none can be left out.
        drops_missing: Whether samples of which the model would read a missing cell are left out.
    """

    columns: tuple[Column, ...]
    what: str
    samples: int
    has_names: bool = True
    ids: np.ndarray | None = None
    truth: np.ndarray | None = None
    id_name: str = ""
    truth_name: str = ""
    lines: np.ndarray | None = None
    kind: Kind = "file"
    is_chosen: bool = False
    is_fixed: bool = False
    drops_missing: bool = False

    @property
    def is_file(self) -> bool:
        """Whether it was read from a file."""
        return self.kind == "file"

    @property
    def names(self) -> list[str]:
        """Names of the columns; their numbers, from 1, where they have no names."""
        return [column.name for column in self.columns]

    @property
    def values(self) -> np.ndarray:
        """All cells as numbers, dims ``(sample, column)``, float64.

        Raises:
            InputError: A cell is missing or no number, or two columns have the same name.
        """
        self._check_columns()
        numbers = [self.numbers_of(column) for column in self.columns]
        self.check_complete()
        return np.stack(numbers, axis=1)

    def _check_columns(self) -> None:
        if not self.columns:
            raise InputError(f"{self.title} has no column that the model could read.")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice and self.has_names:
            raise InputError(
                f"{self.title} has the {_columns(len(twice))} {listed(twice)} more than once, so nothing says which "
                f"is meant. Rename or remove {'one' if len(twice) == 1 else 'them'}."
            )

    def numbers_of(self, column: Column) -> np.ndarray:
        """The numbers of a column.

        Raises:
            InputError: A cell holds something else.
        """
        if column.is_numeric:
            return column.numbers
        if column.holds:
            problem = f"holds {column.holds}"
            codes = self.ways["codes"].format(name=repr(column.name))
            example = f", such as {codes}" if column.holds == "categories" else ""
            fix = f"Turn them into numbers as for training{example}"
        else:
            why = f" ({column.why})" if column.why else ""
            problem = f"contains {short(column.raw[column.odd[0]])} in {self.place(int(column.odd[0]))}{why}"
            fix = "Turn it into numbers as for training"
            if column.why and self.is_file:
                fix = "Write numbers with a decimal point and no other separator"
        others = [name for name in self.names if name != column.name]
        if not self.is_fixed:
            fix += f", or leave the column out{self._choice(others)}"
        if self.is_file and not (column.holds or column.why):
            fix += ". A column of ids is named by --id-column, and one of what is right by --truth"
        raise InputError(
            f"The column {self._name(column)} of {self.what} {problem}, but the model reads numbers. {fix}."
        )

    def texts_of(self, column: Column) -> np.ndarray:
        """The texts of a column.

        Raises:
            InputError: A cell is empty.
        """
        empty = [row for row, cell in enumerate(column.raw.tolist()) if is_missing(cell)]
        if empty:
            raise InputError(
                f"The column {self._name(column)} of {self.what} has no text in {joined(empty, self.place)}. Leave "
                f"these samples out: {self.ways['drop']}."
            )
        return column.texts

    def select(self, names: Sequence[str]) -> Table:
        """The table with these columns alone, in this order.

        Raises:
            InputError: There is no such column, or there are two.
        """
        if not self.has_names:
            raise self._nameless(f"the {_columns(len(names))} {listed(names)}")
        return replace(self, columns=tuple(self.column(name) for name in names), is_chosen=True)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            InputError: There is none, or there are two.
        """
        own = [column for column in self.columns if column.name == name]
        if len(own) == 1:
            return own[0]
        if own:
            raise InputError(
                f"{self.title} has {len(own)} columns called {name!r}, so nothing says which is meant. Rename one "
                "of them."
            )
        used = {self.id_name: "names the samples", self.truth_name: "says what is right"}
        if name and name in used:
            raise InputError(
                f"The column {name!r} of {self.what} {used[name]}, so the model cannot read it too. Leave it out of "
                "one of the two."
            )
        hint = nearest(name, self.names)
        raise InputError(f"{self.title} has no column {name!r}; its columns are {listed(self.names, 20)}.{hint}")

    def with_ids(self, name: str) -> Table:
        """The table with that column as ids, which the model does not read.

        Raises:
            InputError: There is no such column, or an id is missing or not the only one of its kind.
        """
        if not self.has_names:
            raise self._nameless(f"the column of ids {name!r}")
        column = self.column(name)
        rest = tuple(other for other in self.columns if other is not column)
        return replace(self, columns=rest, ids=self._checked_ids(column), id_name=name)

    def with_truth(self, name: str) -> Table:
        """The table with that column as what is right, which the model does not read.

        Raises:
            InputError: There is no such column.
        """
        if not self.has_names:
            raise self._nameless(f"the column of what is right {name!r}")
        column = self.column(name)
        rest = tuple(other for other in self.columns if other is not column)
        return replace(self, columns=rest, truth=column.values, truth_name=name)

    def _checked_ids(self, column: Column) -> np.ndarray:
        empty = [row for row, cell in enumerate(column.raw.tolist()) if is_missing(cell)]
        if empty:
            raise InputError(
                f"The column {column.name!r} of {self.what} has no id in {joined(empty, self._line)}. Each sample "
                "needs one of its own."
            )
        ids = column.values if column.raw.dtype.kind in "iuf" else np.char.strip(column.texts)  # '007' stays text
        check_ids(ids, f"The column {column.name!r} of {self.what}", self._line)
        return ids

    def rows(self, chosen: np.ndarray | slice | Sequence[int]) -> Table:
        """Some of the samples: a slice, a mask, or their numbers."""
        numbers = np.arange(self.samples)[np.asarray(chosen) if isinstance(chosen, Sequence) else chosen]
        return replace(
            self,
            columns=tuple(column.rows(numbers) for column in self.columns),
            samples=len(numbers),
            ids=None if self.ids is None else self.ids[numbers],
            truth=None if self.truth is None else self.truth[numbers],
            lines=None if self.lines is None else self.lines[numbers],
        )

    def numbers_of_ids(self, ids: Iterable[object]) -> list[int]:
        """The numbers of the samples with these ids.

        Raises:
            InputError: The table has no ids, or not these.
        """
        return numbers_among(self.ids, ids, self.title, self.ways["ids"])

    @property
    def incomplete(self) -> np.ndarray:
        """Of which samples a cell is missing, dims ``(sample,)``, bool."""
        missing: np.ndarray = np.any([column.missing for column in self.columns], axis=0)
        return missing

    def place(self, row: int) -> str:
        """Where a sample is, for messages: its line in the file or its row, and its id."""
        own = "" if self.ids is None else f" ({self.id_name or 'id'} {short(self.ids[row])})"
        return f"{self._line(row)}{own}"

    def _line(self, row: int) -> str:
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"

    def check_complete(self) -> None:
        """Checks that no cell is missing.

        Raises:
            InputError: Some are; the message names them and the ways out.
        """
        cells = [(int(row), column) for column in self.columns for row in np.flatnonzero(column.missing)]
        if not cells:
            return
        cells.sort(key=lambda cell: cell[0])
        places = joined(cells, lambda cell: f"{self._name(cell[1])} in {self.place(cell[0])}")
        ways = [f"fill them in as for training{self.ways['fill']}", f"leave these samples out: {self.ways['drop']}"]
        if not self.is_fixed:
            beside = {column.name for _, column in cells}
            ways.append(f"leave the columns out{self._choice([name for name in self.names if name not in beside])}")
        raise InputError(
            f"{'1 cell' if len(cells) == 1 else f'{len(cells)} cells'} of {self.what} "
            f"{'is' if len(cells) == 1 else 'are'} missing: {places}. A model needs all of them: "
            f"{'; '.join(ways[:-1])}; or {ways[-1]}."
        )

    def _choice(self, names: Sequence[str]) -> str:
        """How columns are chosen, as the end of a sentence; nothing where there is none to choose."""
        if not names or not self.has_names or len(names) > 3 * MOST_LISTED or any("," in name for name in names):
            return ""
        return f": {self.choice(names)}"

    def choice(self, names: Sequence[str]) -> str:
        """How these columns are chosen, as code or as an option."""
        in_code = repr(list(names)).replace("'...'", "...")
        return f"--columns {quote(','.join(names))}" if self.is_file else f"frame[{in_code}]"

    @property
    def ways(self) -> dict[str, str]:
        """What to do about it, in the words of what it comes from: ``fill``, ``drop``, ``ids``, ``codes``."""
        return _WAYS[self.kind]

    def _nameless(self, wanted: str) -> InputError:
        cells = ",".join(str(column.raw[0]) for column in self.columns[:4]) if self.samples else ""
        more = ",..." if len(self.columns) > 4 else ""
        return InputError(
            f"{self.title} has no line of names, so {wanted} cannot be found: its first line is {cells + more!r}. "
            "Write the names of the columns into it."
        )

    @property
    def title(self) -> str:
        """What messages call it at the beginning of a sentence."""
        return self.what[0].upper() + self.what[1:]

    def _name(self, column: Column) -> str:
        return repr(column.name) if self.has_names else column.name


def check_ids(ids: np.ndarray, where: str, place: Callable[[int], str]) -> None:
    """Checks that no two samples have the same id.

    Args:
        ids: dims ``(sample,)``.
        where: What holds them, at the beginning of a sentence.
        place: Where each is, by its number.

    Raises:
        InputError: Two have.
    """
    values, counts = np.unique(ids, return_counts=True)
    if (counts == 1).all():
        return
    twice = values[counts > 1]
    others = ", and others more than once" if len(twice) > 1 else ""
    rows = joined(np.flatnonzero(ids == twice[0]).tolist(), place)
    raise InputError(f"{where} has the id {short(twice[0])} in {rows}{others}, but each sample needs an id of its own.")


def numbers_among(own: np.ndarray | None, wanted: Iterable[object], title: str, way: str) -> list[int]:
    """The numbers of the samples with these ids.

    Args:
        own: The ids of all samples; None where they have none.
        wanted: The ids.
        title: What holds them, at the beginning of a sentence.
        way: How ids are given.

    Raises:
        InputError: There are no ids, or not these.
    """
    if own is None:
        raise InputError(f"{title} has no ids, so samples can only be given by number. Name them: {way}.")
    numbers = {str(one): number for number, one in enumerate(own.tolist())}
    words = [str(one) for one in wanted]
    unknown = [one for one in words if one not in numbers]
    if unknown:
        raise InputError(
            f"{title} has no sample with the {'id' if len(unknown) == 1 else 'ids'} {listed(unknown)}; "
            f"its ids are {listed(list(numbers))}.{nearest(unknown[0], numbers)}"
        )
    return [numbers[one] for one in words]


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that may be meant, as a further sentence; nothing where none is like it."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" Is {near[0]!r} meant?" if near else ""


def is_missing(cell: object) -> bool:
    """Whether a cell is missing: of texts, only the empty one is."""
    if isinstance(cell, str):
        return cell.strip() == ""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, (float, np.floating)) and bool(np.isnan(cell))


def listed(names: Sequence[object], most: int = MOST_LISTED) -> str:
    """Names in quotes, of very many only the first."""
    shown = ", ".join(map(short, names[:most]))
    return f"{shown} and {len(names) - most} others" if len(names) > most else shown


def short(value: object) -> str:
    """What a cell holds, in quotes if it is text, cut if it is long."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def joined(places: Sequence[Place], words: Callable[[Place], str]) -> str:
    """Places as a list in a sentence, of very many only the first.

    Args:
        places: The places.
        words: What each is called.
    """
    shown = [words(place) for place in places[:MOST_LISTED]]
    if len(places) > MOST_LISTED:
        return f"{', '.join(shown)} and {len(places) - MOST_LISTED} others"
    return in_a_row(shown)


def _columns(count: int) -> str:
    return "column" if count == 1 else "columns"
