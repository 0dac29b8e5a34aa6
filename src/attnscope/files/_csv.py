"""Tables in text, as spreadsheets and programs write them: what separates cells and decimals is told by what is there.

Whatever may be meant in two ways is an error that names the cell: a wrong guess would be a wrong number.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from attnscope.errors import InputError
from attnscope.tables import Column, Table, check_ids

SEPARATORS = (";", "\t", ",")
MISSING = frozenset({"", "-", ".", "?", "#n/a", "n/a", "na", "nan", "none", "null"})
"""What stands in a cell that is missing, in lower case."""
_LOOKED_AT = 50
"""How many lines tell what separates the cells."""
_ONE_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_THOUSANDS_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+")


def read_csv(path: Path, wanted: set[str]) -> Table:
    """A table from text.

    Args:
        path: The file.
        wanted: Names of columns that are asked for: a first line that holds them all is a line of names.

    Raises:
        InputError: It holds no samples, or lines of different length, or no text; or it is not clear what a cell means.
    """
    what = repr(str(path))
    text = _text(path)
    rows, lines = _cells(text, what)
    if not rows:
        raise InputError(f"{what} is empty, but a line of names and one line per sample are needed.")
    has_names = _has_names(rows, wanted)
    if not has_names:
        _check_is_a_sample(rows[0], what)
    names = [cell.strip() for cell in rows[0]] if has_names else [str(number + 1) for number in range(len(rows[0]))]
    if has_names:
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise InputError(f"{what} has no line of numbers, but one per sample is needed: 5.1,3.5,1.4")
    by_comma = _has_decimal_commas(rows)
    columns = [_column(name, [row[place] for row in rows], by_comma) for place, name in enumerate(names)]
    if has_names:
        columns = [column for column in columns if column.name or not column.missing.all()]
    table = Table(tuple(columns), what, len(rows), has_names, lines=np.asarray(lines))
    return _with_index(table) if has_names and columns and not columns[0].name else table


def _text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 if it begins with that mark, as Excel's "Unicode text" does.

    Raises:
        InputError: It is in another encoding.
    """
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{str(path)!r} is no text in UTF-8: line {line} contains the byte 0x{content[error.start]:02x}. Save it "
            'as "CSV UTF-8", or turn it into that: iconv -f latin1 -t utf-8.'
        ) from None


def _cells(text: str, what: str) -> tuple[list[list[str]], list[int]]:
    """The cells of each line that holds any, and the number of the line, from 1.

    Raises:
        InputError: A quoted cell does not end, or the lines differ in length.
    """
    rows, lines = _split(text, _separator(text), what)
    kept = [(row, line) for row, line in zip(rows, lines, strict=True) if any(cell.strip() for cell in row)]
    for row, line in kept:
        if len(row) != len(kept[0][0]):
            raise InputError(
                f"Line {line} of {what} has {len(row)} columns, but the lines before it have {len(kept[0][0])}. All "
                "lines need the same number."
            )
    return [row for row, _ in kept], [line for _, line in kept]


def _split(text: str, separator: str, what: str, most: int | None = None) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            rows.append(row)
            lines.append(line)
            line = reader.line_num + 1
            if len(rows) == most:
                break
    except csv.Error as error:
        raise InputError(
            f"Line {line} of {what} cannot be split into cells: {error}. Quotes around a cell need a partner, and a "
            'quote inside of them is written twice: "5"" tall".'
        ) from None
    return rows, lines


def _separator(text: str) -> str:
    """What separates the cells: what splits each of the first lines into as many, and more than one."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    there = [separator for separator in SEPARATORS if separator in first]
    for separator in there:
        try:
            rows = [row for row in _split(text, separator, "", _LOOKED_AT)[0] if any(cell.strip() for cell in row)]
        except InputError:
            continue
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            return separator
    return max(there, key=first.count, default=",")


def _has_names(rows: Sequence[Sequence[str]], wanted: set[str]) -> bool:
    """Whether the first line holds names.

    It does if it holds those that are asked for, or no number at all, or text above a column of numbers.
    """
    first = [cell.strip() for cell in rows[0]]
    if wanted and wanted <= set(first):
        return True
    is_number = [_number(cell, by_comma=True) is not None for cell in first]
    if not any(is_number):
        return True
    below = [[row[place] for row in rows[1:] if not _is_missing(row[place])] for place in range(len(first))]
    return any(
        not numeric and cell and cells and all(_number(each, by_comma=True) is not None for each in cells)
        for numeric, cell, cells in zip(is_number, first, below, strict=True)
    )


def _check_is_a_sample(first: Sequence[str], what: str) -> None:
    """Checks that a first line of numbers does not number the columns.

    Raises:
        InputError: It may.
    """
    count = len(first)
    if count > 2 and [cell.strip() for cell in first] in ([*map(str, range(count))], [*map(str, range(1, count + 1))]):
        raise InputError(
            f"The first line of {what} is {','.join(first[:3])},..., so it may number the columns, as pandas does "
            "where they have no names, or be a sample. Write names into it, or remove it."
        )


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    """Whether some cell can only be a number with a decimal comma."""
    return any(
        "," in cell and _ONE_COMMA.fullmatch(cell.strip()) and not _THOUSANDS.fullmatch(cell.strip())
        for row in rows
        for cell in row
    )


def _column(name: str, cells: list[str], by_comma: bool) -> Column:
    raw = np.array(cells, dtype=object)
    truth_values = _truth_values(cells)
    if truth_values is not None:
        return Column(name, raw, truth_values, np.array([], int))
    numbers, odd = np.full(len(cells), np.nan), []
    for row, cell in enumerate(cells):
        number = _number(cell, by_comma=by_comma)
        if number is not None:
            numbers[row] = number
        elif not _is_missing(cell):
            odd.append(row)
    why = _why(cells[odd[0]], by_comma) if odd else ""
    return Column(name, raw, numbers, np.asarray(odd, dtype=int), why=why)


def _truth_values(cells: Sequence[str]) -> np.ndarray | None:
    """The column as 1 and 0 if all of its cells are ``true`` or ``false``, as programs write them; else None."""
    words = {"true": 1.0, "false": 0.0}
    first = next((cell for cell in cells if not _is_missing(cell)), "")
    if first.strip().lower() not in words:
        return None
    values = [np.nan if _is_missing(cell) else words.get(cell.strip().lower()) for cell in cells]
    return None if None in values else np.asarray(values, dtype="float64")


def _is_missing(cell: str) -> bool:
    return cell.strip().lower() in MISSING


def _number(cell: str, *, by_comma: bool) -> float | None:
    """The number in a cell; None if there is none, or it is not clear which."""
    text = cell.strip().replace("\N{MINUS SIGN}", "-")
    if by_comma and "," in text:
        text = text.replace(".", "") if _THOUSANDS_BY_POINTS.fullmatch(text) else text
        text = text.replace(",", ".", 1)
    elif by_comma and re.fullmatch(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", text):
        return None
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _why(cell: str, by_comma: bool) -> str:
    """Why a cell that looks like a number is none."""
    text = cell.strip()
    if by_comma and re.fullmatch(r"[+-]?[1-9]\d{0,2}(\.\d{3})+", text):
        return f"with decimal commas beside it, it may be {text.replace('.', '')} or {text}"
    if not by_comma and _THOUSANDS.fullmatch(text):
        other = f" or {text.replace(',', '.')}" if text.count(",") == 1 and "." not in text else ""
        return f"it may be {text.replace(',', '')}{other}" if other else "a number needs no separators of thousands"
    return ""


def _with_index(table: Table) -> Table:
    """The table with its first column, which has no name, as ids.

    Raises:
        InputError: An id is there more than once.
    """
    index, *rest = table.columns
    ids = index.values if index.is_numeric else np.char.strip(index.texts)
    lines = np.arange(table.samples) if table.lines is None else table.lines
    check_ids(ids, f"The first column of {table.what}, which has no name,", lambda row: f"line {lines[row]}")
    return replace(table, columns=tuple(rest), ids=ids)
