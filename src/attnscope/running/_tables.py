"""Tables as a model takes them: each column at the place that the model reads it from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from attnscope.errors import InputError
from attnscope.labels import AxisLabels
from attnscope.running._declaration import declaration_of
from attnscope.running._given_input import DeclaredInput
from attnscope.tables import MOST_LISTED, Table, joined, listed, nearest, short
from attnscope.tensors import Inputs


@dataclass(frozen=True)
class Arranged:
    """A table as a model takes it.

    Attributes:
        inputs: What the model is given: an array, or arrays by the names of its inputs.
        table: The table with the columns that the model reads, in its order.
        labels: Names of the positions; empty where the table has none.
        note: How columns were put in order, if a reader should know it, as sentences; else empty.
    """

    inputs: Inputs
    table: Table
    labels: list[AxisLabels]
    note: str = ""


def arranged(table: Table, model: keras.Layer) -> Arranged:
    """A table as a model takes it.

    Columns are matched by name where the model's names are known: those of its inputs, if it has one for each column,
    or a list that it carries as ``feature_names``. Else they are taken in the table's order, which the note says.

    Args:
        table: The table, without ids and without what is right.
        model: The model.

    Raises:
        InputError: Columns are missing, or too many or too few, or a cell is missing or no number.
    """
    if getattr(model, "preprocessor", None) is not None:
        return _of_texts(table)
    declaration = declaration_of(model)
    inputs = [] if declaration is None else declaration.inputs
    if len(inputs) > 1:
        return _by_input(table, inputs)
    return _in_one(table, inputs[0] if inputs else None, _feature_names(model))


def _of_texts(table: Table) -> Arranged:
    """A column of texts, or two for pairs of sentences, for a task that makes its own tokens."""
    if len(table.columns) > 2:
        raise InputError(
            f"{table.title} has {len(table.columns)} columns, {listed(table.names, 20)}, but the model reads one text "
            f"per sample, or a pair. Choose it: {table.choice(table.names[:1])}."
        )
    table, dropped = _without_missing(table)
    texts = [table.texts_of(column) for column in table.columns]
    return Arranged(texts[0] if len(texts) == 1 else tuple(texts), table, [], dropped)


def _feature_names(model: keras.Layer) -> list[str] | None:
    """What the model carries as names of the columns that it reads; None where it carries none."""
    names = getattr(model, "feature_names", None)
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def _by_input(table: Table, inputs: Sequence[DeclaredInput]) -> Arranged:
    """The columns of a model that has an input for each."""
    wide = [one for one in inputs if len(one.shape) > 2 or (len(one.shape) == 2 and one.shape[1] not in (1, None))]
    if wide:
        raise InputError(
            f"{table.title} has one cell per column, but the model takes {len(inputs)} inputs, and {wide[0]} is more "
            "than one column. Give an array for each input, by its name: numpy.savez('samples.npz', name=array)."
        )
    wanted = [one.name if one.name in table.names else one.own_name for one in inputs]
    names = _columns_called(table, wanted)
    missing = [name for name in names if name not in table.names]
    if missing:
        raise InputError(
            f"The model has an input for each column, but {table.what} has none for {listed(missing)}; its columns are "
            f"{listed(table.names, 20)}.{nearest(missing[0], table.names)} Give the columns the names of the model's "
            "inputs."
        )
    chosen, dropped = _without_missing(replace(table.select(names), is_fixed=True))
    numeric = [name for name, one in zip(names, inputs, strict=True) if one.dtype != "string"]
    chosen.select(numeric).check_complete()
    given = {}
    for one, column in zip(inputs, chosen.columns, strict=True):
        cells = chosen.texts_of(column) if one.dtype == "string" else chosen.numbers_of(column)
        given[one.name] = cells[:, None] if len(one.shape) == 2 else cells
    labels = [AxisLabels([name], source=one.name) for name, one in zip(names, inputs, strict=True)]
    return Arranged(given, chosen, labels, _sentences(_by_name(table, names, wanted), dropped))


def _in_one(table: Table, one: DeclaredInput | None, known: list[str] | None) -> Arranged:
    """The columns of a model that has one input."""
    width = None if one is None or len(one.shape) < 2 else one.shape[1]
    if one is not None and (len(one.shape) > 3 or (len(one.shape) == 3 and one.shape[2] != 1)):
        raise InputError(
            f"{table.title} has one cell per sample and column, but the model takes {one}. Give an array with these "
            "axes: numpy.save('samples.npy', array)."
        )
    note = ""
    wanted = [] if one is None or not (width == 1 or len(one.shape) == 1) else [one.name]
    own = _columns_called(table, wanted)
    if known is not None and table.has_names:
        names = _columns_called(table, known)
        note, table = _by_name(table, names, known), table.select(names)
    elif own and own[0] in table.names:
        note, table = _by_name(table, own, wanted), table.select(own)
    elif table.has_names and not table.is_chosen and len(table.columns) > 1:
        way = "--columns" if table.is_file else "frame[[...]]"
        note = (
            f"The columns of {table.what} are given to the model in their order, {listed(table.names)}, because "
            f"nothing in the model says what it calls them. For another order: {way}."
        )
    if one is not None and one.dtype == "string":
        _check_width(table, 1, one)
        table, dropped = _without_missing(table)
        return Arranged(table.texts_of(table.columns[0]), table, [], _sentences(note, dropped))
    if one is not None and (width is not None or len(one.shape) == 1):
        _check_width(table, width or 1, one)
        table = replace(table, is_fixed=True)
    table, dropped = _without_missing(table)
    values = table.values
    if one is not None and len(one.shape) == 1:
        values = values[:, 0]
    labels = [AxisLabels(table.names, source="" if one is None else one.name)] if table.has_names else []
    return Arranged(values, table, labels, _sentences(note, dropped))


def _check_width(table: Table, width: int, one: DeclaredInput) -> None:
    there = len(table.columns)
    if there == width:
        return
    has = f"{there} column" if there == 1 else f"{there} columns"
    named = f", {listed(table.names, 20)}" if table.has_names and there else ""
    if there < width:
        fix = "Give all that the model was trained on, in its order."
    elif not table.has_names:
        fix = "Write the names of the columns into its first line, and choose those that the model reads: --columns."
    else:
        names = [column.name for column in table.columns if column.is_numeric or one.dtype == "string"][:width]
        shown = names if width <= MOST_LISTED else [*names[:3], "..."]
        others = (
            "A column of ids is named by --id-column, and one of what is right by --truth"
            if table.is_file
            else f"A column of ids belongs into the index: {table.ways['ids']}"
        )
        if table.is_file and width > MOST_LISTED:
            way = "by --columns NAMES.txt, a text file with one name per line"
        else:
            way = f"such as {table.choice(shown)}"
        texts = [] if one.dtype == "string" else [column.name for column in table.columns if not column.is_numeric]
        unread = f" Some cells are no numbers in {listed(texts)}." if texts else ""
        fix = f"Choose those that it reads, in its order, {way}.{unread} {others}."
    raise InputError(f"{table.title} has {has} for the model{named}, but the model takes {one}. {fix}")


def _without_missing(table: Table) -> tuple[Table, str]:
    """The table without samples with missing cells, if that is wanted, and a sentence that says how many those are.

    Raises:
        InputError: No sample is left.
    """
    if not table.drops_missing:
        return table, ""
    missing = table.incomplete
    if not missing.any():
        return table, ""
    if missing.all():
        raise InputError(f"Each of the {table.samples} samples of {table.what} has a missing cell, so none is left.")
    left_out = np.flatnonzero(missing).tolist()
    note = (
        f"Left out because of missing cells: {joined(left_out, table.place)}. {table.samples - len(left_out)} of "
        f"{table.samples} samples are left."
    )
    return table.rows(~missing), note


def _sentences(*notes: str) -> str:
    return " ".join(note for note in notes if note)


def _columns_called(table: Table, wanted: Sequence[str]) -> list[str]:
    """The column for each name: the one that is called so, or else the only one that differs in spaces or underscores.

    A name for which there is none, or more than one, stays as it is.
    """
    if not table.has_names:
        return list(wanted)
    free = [name for name in table.names if name not in wanted]
    names = []
    for name in wanted:
        alike = [other for other in free if _folded(other) == _folded(name)]
        rivals = [other for other in wanted if _folded(other) == _folded(name)]
        names.append(alike[0] if name not in table.names and len(alike) == len(rivals) == 1 else name)
    return names


def _folded(name: str) -> str:
    """A name in which a space is an underscore: names of inputs can rarely have one."""
    return "_".join(name.replace("_", " ").split())


def _by_name(table: Table, names: Sequence[str], wanted: Sequence[str]) -> str:
    """What is said of columns that were matched by name, if they were in another order, or there are others.

    Args:
        table: The table.
        names: The columns that the model reads, in its order.
        wanted: What the model calls them.
    """
    others = [name for name in table.names if name not in names]
    unread = f" It does not read {listed(others)}." if others else ""
    renamed = [(name, own) for name, own in zip(names, wanted, strict=True) if name != own]
    alike = ""
    if renamed:
        name, own = renamed[0]
        more = f", and {len(renamed) - 1} more" if len(renamed) > 1 else ""
        alike = f", in which a space counts as an underscore ({short(name)} for {short(own)}{more})"
    in_order = [name for name in table.names if name in names] == list(names)
    if in_order and not others and not alike:
        return ""
    return f"The columns of {table.what} are matched with those of the model by name{alike}.{unread}"
