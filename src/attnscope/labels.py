"""Names for the positions of an axis: tokens, characters, features, patches, time steps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from attnscope.errors import LabelError
from attnscope.schema import SAMPLE, Portion, Site, key_dims, query_dims
from attnscope.words import words

__all__ = ["characters", "patches", "words"]


def __dir__() -> list[str]:
    return sorted(__all__)


SINK = "<sink>"
"""The label of a learned sink."""
Names = Sequence[str] | Sequence[Sequence[str]]
"""Names of positions, shared by all samples; or a sequence of them for each sample."""
NamesLike: TypeAlias = Names | np.ndarray
"""The same, or an array of them."""
LabelsLike: TypeAlias = NamesLike | Mapping[str, NamesLike | Mapping[str, NamesLike]] | None
"""What a user may give as ``labels=``; `read_labels` says what each means."""


@dataclass(frozen=True)
class AxisLabels:
    """Names of positions, and the axes that they are for.

    Attributes:
        names: ``(position,)``, shared by all samples, or one sequence per sample; or for each sample one sequence per
            sentence.
        axis: ``query`` or ``key``; None for both.
        sites: Glob pattern of the sites that they are for.
        source: The input whose positions they name; empty where that is not said.
        positions: Those positions, in the words of the sites' lineage; empty until `settled` knows them.
    """

    names: Names | Sequence[Sequence[Sequence[str]]]
    axis: str | None = None
    sites: str = "*"
    source: str = ""
    positions: str = ""

    @property
    def per_sample(self) -> bool:
        """Whether each sample has names of its own."""
        return len(self.names) > 0 and not isinstance(self.names[0], str)

    @property
    def per_sentence(self) -> bool:
        """Whether each sentence of each sample has names of its own."""
        return self.per_sample and any(not isinstance(name, str) for row in self.names for name in row)

    def of_samples(self, start: int, stop: int) -> AxisLabels:
        """The labels of some samples only."""
        names = self.names[start:stop] if self.per_sample else self.names
        return replace(self, names=names)

    @property
    def length(self) -> int | None:
        """How many names there are for each sample; None where that differs."""
        if self.per_sentence:
            lengths = {len(sentence) for row in self.names for sentence in row}
        else:
            lengths = {len(row) for row in self.names} if self.per_sample else {len(self.names)}
        return lengths.pop() if len(lengths) == 1 else None


def read_labels(labels: LabelsLike, inputs: Sequence[str] = ()) -> list[AxisLabels]:
    """Turns whatever a user passes as ``labels=`` into one form.

    Args:
        labels: None; a sequence of names, shared by all samples; a sequence of such sequences, one per sample; for
            documents, a sequence of sentences per sample, each a sequence of names; or a
            dict of these, by axis (``query``, ``key``), by the name of an input, or by glob pattern of sites. The
            values of the last two may in turn be dicts by axis.
        inputs: Names of the model's inputs.

    Raises:
        LabelError: It is none of these.
    """
    if labels is None:
        return []
    if isinstance(labels, Mapping):
        return [_keyed(str(name), inner, inputs) for name, value in labels.items() for inner in read_labels(value)]
    if isinstance(labels, (str, bytes)) or not isinstance(labels, (Sequence, np.ndarray, Iterable)):
        raise LabelError(
            f"The labels are {labels!r}, but a sequence of names is needed, one per position (list('abc') for "
            "characters), or a dict of sequences: labels={'key': names}."
        )
    names = [item if isinstance(item, str) else _name_or_names(item) for item in labels]
    return [AxisLabels(names)]


def _keyed(key: str, inner: AxisLabels, inputs: Sequence[str]) -> AxisLabels:
    if inner.sites != "*":
        raise LabelError(
            f"The labels for {key!r} are a dict with {inner.sites!r}, but such a dict has names for the axes 'query' "
            f"or 'key': labels={{{key!r}: {{'key': names}}}}."
        )
    if key in ("query", "key"):
        return AxisLabels(inner.names, axis=key)
    if key in inputs:
        return AxisLabels(inner.names, axis=inner.axis, source=key)
    return AxisLabels(inner.names, axis=inner.axis, sites=key)


def _name_or_names(item: object) -> Any:
    if isinstance(item, (Sequence, np.ndarray)) and not isinstance(item, (str, bytes)):
        return [_name_or_names(name) for name in item]
    return str(item)


def labelled(dataset: xr.Dataset, site: Site, labels: list[AxisLabels]) -> xr.Dataset:
    """The dataset with the coordinates ``query_label`` and ``key_label`` where names fit.

    Raises:
        LabelError: The names of a sample are neither as many as the axis has positions, nor as many as it has valid
            positions.
    """
    coordinates = {}
    for dims, kind in ((query_dims(dataset.dims), "query"), (key_dims(dataset.dims), "key")):
        for dim in dims:
            names = _names_for(dataset, site, dim, kind, labels)
            if names is not None:
                coordinates[f"{dim}_label"] = names
    return dataset.assign_coords(coordinates)


def check_that_labels_fit(
    sizes: dict[str, dict[str, int]],
    labels: list[AxisLabels],
    samples: int | None = None,
    inputs: Sequence[str] = (),
) -> None:
    """Checks labels that are shared by all samples against the axes of the sites.

    Args:
        sizes: For each site the size of each query and key dim, without learned sinks.
        labels: The labels.
        samples: Number of samples, if it is known.
        inputs: Names of the model's inputs, for the message.

    Raises:
        LabelError: Some fit no axis at all, or are not one list per sample; the message gives both numbers.
    """
    for item in labels:
        if not any(fnmatchcase(site, item.sites) for site in sizes):
            known = f", or of an input, {', '.join(map(repr, inputs))}" if any(inputs) else ""
            raise LabelError(
                f"Labels were given for {item.sites!r}, but labels need an axis, 'query' or 'key', or the name of a "
                f"site, {', '.join(map(repr, list(sizes)[:4]))}{known}: labels={{'key': names}}."
            )
        if item.positions and not item.per_sample:
            continue
        if item.per_sample:
            if samples is not None and len(item.names) != samples:
                raise LabelError(
                    f"Labels for {len(item.names)} samples were given, but there are {samples} samples. Give one list "
                    "of names per sample, or one list of names for all: labels=['a', 'b', ...]."
                )
            continue
        lengths = {
            f"{site} ({dim})": size
            for site, dims in sizes.items()
            if fnmatchcase(site, item.sites)
            for dim, size in dims.items()
            if item.axis is None or dim.startswith(item.axis)
        }
        if len(item.names) not in lengths.values():
            axes = ", ".join(f"{size} in {where}" for where, size in list(lengths.items())[:4]) or "none at all"
            raise LabelError(
                f"{len(item.names)} labels were given, but the number of positions is {axes}. Give one label per "
                "position: labels=[...], or name the axis: labels={'key': [...]}."
            )


def settled(labels: Sequence[AxisLabels], sites: Iterable[Site], *, given: bool = True) -> list[AxisLabels]:
    """Labels that name no axis and no site, each with the positions that it is for.

    These follow from where the axes of the sites come from: names for an input go to what comes from that input, and
    names for nothing in particular to the only positions of inputs that are as many.

    Args:
        labels: The labels.
        sites: The sites of the model.
        given: Whether a user gave them, who is told if they are for nothing; others are left out then.

    Raises:
        LabelError: They fit no positions of the inputs, or several.
    """
    known = [source for site in sites for sources in site.sources.values() for source in sources]
    lengths: dict[str, set[int]] = {}
    inputs: dict[str, tuple[str, ...]] = {}
    for source in known:
        inputs[source.positions] = source.inputs
        whole = sum(portion.size for portion in source.portions)  # with class tokens and the like
        lengths.setdefault(source.positions, set()).update((source.total, whole))
    chosen = []
    for item in labels:
        if not known or item.sites != "*" or (item.axis is not None and not item.source):
            chosen.append(item)
            continue
        of_input = [words for words in lengths if item.source in ("", *inputs[words])]
        if item.per_sentence:
            of_input = [words for words in of_input if words.startswith("axis 2 ")]
        fitting = [words for words in of_input if item.length in (None, *lengths[words])]
        if len(fitting) == 1:
            chosen.append(replace(item, positions=fitting[0]))
        elif given:
            raise LabelError(_unsettled(item, fitting, of_input, lengths, inputs))
    return chosen


def _unsettled(
    item: AxisLabels,
    fitting: Sequence[str],
    of_input: Sequence[str],
    lengths: Mapping[str, set[int]],
    inputs: Mapping[str, tuple[str, ...]],
) -> str:
    """Why labels cannot go anywhere."""
    by_name = "labels={'site': {'key': names}}"
    if fitting:
        example = next((name for words in fitting for name in inputs[words] if name != item.source), "")
        by_input = "" if item.source or not example else f"labels={{{example!r}: names}}, or "
        return (
            f"{item.length or 'The'} labels fit {' as well as '.join(fitting)}, and nothing says which of them is "
            f"meant. Say it: {by_input}name the site and the axis, {by_name}."
        )
    if not of_input:
        return (
            f"Labels were given for the input {item.source!r}, but no axis of the sites comes from it: they come from "
            f"{', '.join(lengths)}. Name the site and the axis: {by_name}."
        )
    axes = ", ".join(f"{' or '.join(map(str, sorted(lengths[words])))} along {words}" for words in of_input[:4])
    return (
        f"{item.length} labels were given, but the number of positions is {axes}. Give one label per position: "
        f"labels=[...], or name the axis: labels={{'key': [...]}}."
    )


def _names_for(
    dataset: xr.Dataset, site: Site, dim: str, kind: str, labels: list[AxisLabels]
) -> tuple[tuple[str, ...], np.ndarray] | None:
    of_portions, is_known = None, False
    for item in labels:
        if not fnmatchcase(site.name, item.sites) or item.axis not in (None, kind):
            continue
        if item.positions:
            portions = [source.portions for source in site.sources.get(dim, ()) if source.positions == item.positions]
            if portions:
                is_known = True
                of_portions = _side_by_side(of_portions, _coordinate(dataset, site, dim, item, portions[0]))
        elif not is_known and _length(item) in (None, dataset.sizes[dim], dataset.sizes[dim] - site.sinks):
            return _coordinate(dataset, site, dim, item)
    return of_portions


def _side_by_side(
    one: tuple[tuple[str, ...], np.ndarray] | None, other: tuple[tuple[str, ...], np.ndarray] | None
) -> tuple[tuple[str, ...], np.ndarray] | None:
    """Names of several inputs whose positions lie behind each other along an axis."""
    if one is None or other is None or one[0] != other[0]:
        return other if one is None else one
    return one[0], np.where(one[1] == "", other[1], one[1])


def _coordinate(
    dataset: xr.Dataset, site: Site, dim: str, item: AxisLabels, portions: Sequence[Portion] = ()
) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The coordinate of a dim, dims ``(dim,)`` or ``(sample, dim)``; None where its positions are cut into windows."""
    size = dataset.sizes[dim]
    if item.per_sentence:
        return _of_sentences(dataset, site, dim, item)
    if portions and sum(portion.size for portion in portions) not in (size, size - site.sinks):
        portions = _at_length(portions, size - site.sinks)
        if not portions:
            return None
    if not item.per_sample:
        names = _of_portions([str(name) for name in item.names], portions, size)
        return (dim,), np.array(_with_sinks(names, size), dtype=str)
    valid = dataset.coords.get(f"{dim}_valid")
    rows = [
        _placed(
            _of_portions([str(name) for name in names], portions, size),
            size,
            None if valid is None else valid.values[number],
            site.name,
            dim,
        )
        for number, names in enumerate(item.names)
    ]
    return (SAMPLE, dim), np.array(rows, dtype=str)


def _of_sentences(
    dataset: xr.Dataset, site: Site, dim: str, item: AxisLabels
) -> tuple[tuple[str, ...], np.ndarray] | None:
    """The words of each sentence, dims ``(sample, sentences' dim, dim)``; None where no dim holds the sentences."""
    first = site.lineage.get(dim, "").replace("axis 2 ", "axis 1 ", 1)
    outer = next((over for over in ("step", "window") if site.lineage.get(over) == first), None)
    if outer is None or outer not in dataset.dims:
        return None
    count, size = dataset.sizes[outer], dataset.sizes[dim]
    valid = dataset.coords.get(f"{dim}_valid")
    known = None if valid is None else np.asarray(valid.transpose(SAMPLE, ..., dim).values)
    rows = []
    for number, document in enumerate(item.names):
        if len(document) > count:
            raise LabelError(
                f"A sample has labels for {len(document)} sentences, but the axis {outer!r} of {site.name!r} has "
                f"{count} positions. Give one list of labels per sentence."
            )
        own = [
            None if known is None else known[number, step] if known.ndim > 2 else known[number] for step in range(count)
        ]
        sentences = [_placed(names, size, own[step], site.name, dim) for step, names in enumerate(document)]
        rows.append([*sentences, *[[""] * size] * (count - len(document))])
    return (SAMPLE, outer, dim), np.array(rows, dtype=str)


def _at_length(portions: Sequence[Portion], size: int) -> list[Portion]:
    """The same for another length of the inputs; empty where more than one portion would change with it."""
    free = [number for number, portion in enumerate(portions) if portion.name and portion.is_whole]
    rest = sum(portion.size for portion in portions) - sum(portions[number].size for number in free)
    if len(free) != 1 or size < rest:
        return []
    longer = replace(portions[free[0]], size=size - rest, total=size - rest)
    return [longer if number == free[0] else portion for number, portion in enumerate(portions)]


def _of_portions(names: Sequence[str], portions: Sequence[Portion], size: int) -> Sequence[str]:
    """The names of a dim's positions where they name the positions of an input that it was made from."""
    total = next((portion.total for portion in portions if portion.name), None)
    if len(names) != total or (len(portions) == 1 and portions[0].is_whole):
        return names
    placed = [str(names[position]) if portion.name else "" for portion in portions for position in portion.positions]
    return _with_sinks(placed, size)


def _length(labels: AxisLabels) -> int | None:
    return None if labels.per_sample else len(labels.names)


def _with_sinks(names: Sequence[str], size: int) -> list[str]:
    return [*names, *[SINK] * (size - len(names))]


def on_positions(names: Sequence[str], size: int, valid: np.ndarray | None) -> list[str] | None:
    """The names of one sample at their positions, empty at padding where they are for the valid positions alone.

    Args:
        names: One for each position, or one for each valid position.
        size: Number of positions.
        valid: Which of them are valid, dims ``(position,)``; None where all are.

    Returns:
        None where there are neither as many.

    Example:
        >>> on_positions(["a", "b"], 3, np.array([True, False, True]))
        ['a', '', 'b']
    """
    if len(names) == size:
        return list(names)
    if valid is None or int(np.sum(valid)) != len(names):
        return None
    row = np.full(size, "", dtype=object)
    row[np.asarray(valid, bool)] = list(names)
    return [str(name) for name in row]


def _placed(names: Sequence[str], size: int, valid: np.ndarray | None, site: str, dim: str) -> list[str]:
    placed = on_positions(names, size, valid)
    if placed is not None:
        return placed
    positions = f"{size} positions" if valid is None else f"{size} positions, {int(np.sum(valid))} of them valid"
    raise LabelError(
        f"A sample has {len(names)} labels, but the axis {dim!r} of {site!r} has {positions}. Give one label per "
        "position, or one per valid position."
    )


def characters(text: str, length: int | None = None) -> list[str]:
    """One label per character, padded with empty labels up to `length`.

    Args:
        text: The text.
        length: Number of positions of the axis; None for as many as the text has characters.

    Raises:
        LabelError: The text is longer than `length`.

    Example:
        >>> characters("bo", 4)
        ['b', 'o', '', '']
    """
    if length is not None and len(text) > length:
        raise LabelError(
            f"The text has {len(text)} characters, but the axis has {length} positions. Shorten it: text[:{length}]."
        )
    return [*text, *[""] * ((length or len(text)) - len(text))]


def patches(rows: int, columns: int, prefix: Sequence[str] = ()) -> list[str]:
    """One label per image patch, row by row, after the labels of class and register tokens.

    Args:
        rows: Rows of patches.
        columns: Columns of patches.
        prefix: Labels of the tokens that come before the patches.

    Example:
        >>> patches(1, 2, prefix=["[CLS]"])
        ['[CLS]', 'row 0, column 0', 'row 0, column 1']
    """
    return [*prefix, *(f"row {row}, column {column}" for row in range(rows) for column in range(columns))]


_PATCH = re.compile(r"row (\d+), column (\d+)")


def patch_grid(labels: Sequence[str]) -> tuple[int, int, int] | None:
    """The grid that labels made by `patches` describe: its rows, its columns, and the position of its first patch.

    None if they describe no grid, or a grid with gaps.

    Example:
        >>> patch_grid(patches(2, 3, prefix=["[CLS]"]))
        (2, 3, 1)
    """
    matches = [_PATCH.fullmatch(label) for label in labels]
    cells = [(int(match[1]), int(match[2])) for match in matches if match]
    if not cells:
        return None
    first = next(number for number, match in enumerate(matches) if match)
    rows, columns = cells[-1][0] + 1, cells[-1][1] + 1
    expected = [(row, column) for row in range(rows) for column in range(columns)]
    whole = cells == expected and all(matches[first : first + len(cells)])
    return (rows, columns, first) if whole else None
