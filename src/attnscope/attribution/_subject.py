"""What every attribution method is given: a model, its samples, the target that is explained, and the positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import keras
import numpy as np
import xarray as xr
from keras import tree

from attnscope.attribution._compilation_cache import CompilationCache
from attnscope.attribution._padding import known_positions
from attnscope.attribution._positions import Positions, Rows, positions_of, rows_of
from attnscope.attribution._targets import ClassNames, Target, TargetLike, given_classes, targets_of
from attnscope.discovery import Selection
from attnscope.errors import LabelError
from attnscope.labels import AxisLabels, Names, on_positions, read_labels
from attnscope.running import (
    Network,
    behind_texts,
    is_regression,
    model_behind_texts,
    model_like,
    units_of_outputs,
    with_one_input,
)
from attnscope.schema import KEY, QUERY, SAMPLE, SAMPLE_ID
from attnscope.tensors import Inputs, Tree

InputLabels: TypeAlias = Names | Mapping[str, Names]
"""Names of positions, one list for all samples or one per sample; or these by the name of the input they are for."""


@dataclass(frozen=True)
class Subject:
    """A model on some samples, and the one number per sample that is to be explained.

    Attributes:
        network: The model, prepared to run; it counts its passes.
        inputs: The samples, as arrays in the structure that the model takes.
        positions: What relevance is given to.
        target: What is explained.
        cache: What was traced or compiled for the model.
        labels: Names of the positions, dims ``(position,)`` or ``(sample, position)``; None where none are known.
        sites: Which attention the methods that use it read: a glob pattern of sites, several, or a predicate; None for
            all sites that are attention.
        batch_size: Samples at a time.
        ids: What each sample is called, dims ``(sample,)``; None where nothing says it.
        dtype: The type that the model gives its numbers in; ``float64`` where they are none.
        numbers_given: The number of each sample among all that were given, dims ``(sample,)``; None where these are
            all, in their order.
    """

    network: Network
    inputs: Tree
    positions: Positions
    target: Target
    cache: CompilationCache
    labels: np.ndarray | None
    sites: Selection
    batch_size: int
    ids: np.ndarray | None = None
    dtype: str = "float64"
    numbers_given: np.ndarray | None = None

    def called(self, row: int) -> str:
        """What messages call a sample: by its id, or else by its number among all that were given."""
        if self.ids is not None:
            return repr(str(self.ids[row]))
        return str(row if self.numbers_given is None else self.numbers_given[row])

    @property
    def model(self) -> keras.Layer:
        """The Keras model itself."""
        return self.network.model

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of a KerasHub task; None for other models."""
        return self.network.tokenizer

    def in_batches(self, batch_size: int | None = None, inputs: Tree | None = None, *, full: bool = False) -> Network:
        """The network on these samples, to be run in batches; its passes count for this subject.

        Args:
            batch_size: Samples at a time; None for the subject's own.
            inputs: Other inputs, in arrays; None for the subject's own.
            full: Whether fewer samples than a batch holds are filled up to it.
        """
        samples = self.inputs if inputs is None else inputs
        return self.network.on(samples, batch_size=batch_size or self.batch_size, full=full)

    def of_model(self, model: keras.Layer) -> Subject:
        """The same samples and target for another model; its passes count for this subject too."""
        inner = model_like(self.model, model_behind_texts(model))
        return replace(self, network=self.network.of_model(inner), cache=CompilationCache())

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.positions.valid)

    def rows(self, chosen: Rows) -> Subject:
        """Some of the samples: a slice, their numbers, or a mask."""
        labels = self.labels if self.labels is None or self.labels.ndim == 1 else self.labels[chosen]
        numbers = np.arange(self.samples) if self.numbers_given is None else self.numbers_given
        return replace(
            self,
            inputs=rows_of(self.inputs, chosen),
            positions=replace(self.positions, valid=self.positions.valid[chosen]),
            target=self.target.part(chosen),
            labels=labels,
            ids=None if self.ids is None else self.ids[chosen],
            numbers_given=numbers[chosen],
        )

    def numbers(
        self,
        inputs: Tree | None = None,
        extras: Mapping[str, np.ndarray] | None = None,
        *,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """The target's numbers, dims ``(sample,)``, float64. Costs one forward pass per sample.

        Args:
            inputs: Other inputs, in arrays; None for the subject's own samples.
            extras: The target's extras for these inputs; None where they are the subject's own samples in order.
            batch_size: Samples at a time; None for the network's own.
        """
        outputs = self.network.outputs(self.inputs if inputs is None else inputs, batch_size=batch_size)
        return self.target.of(outputs, extras)

    def relevance(self, values: np.ndarray, method: str, **attrs: object) -> xr.DataArray:
        """The relevance of the positions as a labelled array.

        Args:
            values: dims ``(sample, position)``; what they are at padding does not matter.
            method: Name of the method.
            **attrs: Further attrs.

        Returns:
            dims ``(sample, key)``, or ``(sample, key_0, key_1)`` of sentences and words, 0 at padding, with
            ``key_valid`` and, where names are known, ``key_label`` and ``sample_id``; and ``sample_target`` where what
            is explained differs between the samples.
        """
        positions, samples = self.positions, len(self.positions.valid)
        dims = positions.dims
        valid = positions.valid.reshape(samples, *positions.shape)
        array = xr.DataArray(
            np.where(valid, np.reshape(values, valid.shape), 0.0),
            dims=(SAMPLE, *dims),
            coords={f"{KEY}_valid": ((SAMPLE, *dims), valid)},
            name="relevance",
            attrs={
                "method": method,
                "target": self.target.words,
                **positions.attrs,
                **attrs,
            },
        )
        if self.ids is not None:
            array = array.assign_coords({SAMPLE_ID: (SAMPLE, self.ids)})
        if self.target.of_samples is not None:
            array = array.assign_coords(sample_target=(SAMPLE, self.target.of_samples))
        if self.labels is None:
            return array
        own = self.labels.ndim > 1
        labels = self.labels.reshape(*(self.labels.shape[:1] if own else ()), *positions.shape)
        return array.assign_coords({f"{KEY}_label": ((SAMPLE, *dims) if own else dims, labels)})

    def flat(self, relevance: xr.DataArray) -> np.ndarray:
        """The numbers of a relevance with all positions on one axis, dims ``(sample, position)``."""
        return relevance.values.reshape(self.positions.valid.shape)


def subjects_of(
    model: keras.Model,
    inputs: Inputs,
    *,
    target: TargetLike = None,
    classes: ClassNames = None,
    class_names: ClassNames = None,
    positions: str | None = None,
    grid: tuple[int, int] | None = None,
    padding: float | None = None,
    labels: InputLabels | None = None,
    sites: Selection = None,
    batch_size: int = 64,
) -> list[Subject]:
    """One subject for each target, as `attribute` makes them from the same arguments.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, a data frame, raw texts or images for a task, texts for a model that
            turns them into tokens itself, or anything that yields batches. All samples are held in memory.
        target: What is explained: None, a whole number or the name of a class, a list of them, `PerSample`, `AtStep`, a
            dict of an output's name to any of these, or a function from outputs to one number per sample.
        classes: What the classes are called, in their order; or the numbers, of a model that was fitted to numbers; of
            several outputs, a dict by the output's name. None for the ``class_names`` of the data or of the model, if
            they have any.
        class_names: The earlier name of `classes`.
        positions: The name of the input that is explained, where there are several.
        grid: Rows and columns of patches, for pictures.
        padding: The number that is padding, beside what the model itself masks; None for no other.
        labels: Names of the positions, one list for all samples, or one per sample (of documents one per sentence); or
            these by the name of the input that they are for: ``labels={"text": names}``.
        sites: Which attention the methods that use it read: a glob pattern of sites, several, or a predicate; None for
            all sites that are attention.
        batch_size: Samples at a time.

    Raises:
        InputError: The positions cannot be identified.
        TargetError: The target does not fit the model's outputs.
        LabelError: The labels do not fit the positions.
    """
    network = Network(model, inputs, batch_size=batch_size)
    ids = network.ids
    network = with_one_input(network) if positions is None else network
    network, arrays = behind_texts(network, network.arrays())
    inputs_of_model = network.input_names(arrays)
    wanted = None if positions is None else network.input_name(positions)
    explained = positions_of(arrays, inputs_of_model, name=wanted, grid=grid)
    cache = CompilationCache()
    known = known_positions(explained, network, arrays, selection=sites, cache=cache, padding=padding)
    explained, outputs = known.positions, known.outputs
    names = _labels(labels, network, explained, inputs_of_model, by_name=isinstance(arrays, Mapping))
    output_names, units = network.output_names(outputs), units_of_outputs(network.model)
    named = targets_of(
        target,
        outputs,
        output_names,
        given_classes(classes, class_names),
        default=network.class_names,
        units=units,
        regression=is_regression(network.model),
    )
    subject = Subject(network, arrays, explained, named[0], cache, names, sites, batch_size, ids)
    return [replace(subject, target=each, dtype=_dtype_of(each, outputs)) for each in named]


def _dtype_of(target: Target, outputs: Tree) -> str:
    """The type of the outputs that a target is read from."""
    leaves = tree.flatten(outputs)
    dtype = np.result_type(*(leaves if target.output is None else [leaves[target.output]]))
    return dtype.name if dtype.kind == "f" else "float64"


def _labels(
    labels: InputLabels | None, network: Network, positions: Positions, inputs: Sequence[str], *, by_name: bool
) -> np.ndarray | None:
    own = inputs[positions.leaf]
    if isinstance(labels, (list, tuple)) and any(names is None for names in labels):
        labels = _by_order(labels, inputs, by_name=by_name)
    if isinstance(labels, Mapping) and not {QUERY, KEY}.difference(inputs).issuperset(labels):
        labels = _of_input(labels, network, own, inputs)
    if labels is None:
        known = sorted((item for item in network.labels if item.source in ("", own)), key=lambda item: not item.source)
        fitting = [item.names for item in known if len(item.names) and _fits(np.asarray(item.names), positions)]
        return np.asarray(fitting[0], dtype=str) if fitting else None
    if len(positions.shape) > 1 and not isinstance(labels, Mapping):
        labels = _filled(labels, positions)
    names = next((item for item in read_labels(labels) if item.axis in (None, KEY)), None)
    if names is None:
        return None
    return _of_samples(names, positions) if names.per_sample else _of_all_samples(names.names, positions)


def _of_all_samples(names: Sequence[Any], positions: Positions) -> np.ndarray:
    """Names that all samples share, dims ``(position,)``."""
    if len(names) != positions.count:
        raise LabelError(
            f"{len(names)} labels were given, but there are {positions.count} positions. Give one label per position, "
            "or one list of labels per sample."
        )
    return np.asarray(names, dtype=str)


def _of_samples(labels: AxisLabels, positions: Positions) -> np.ndarray:
    """Names that each sample has of its own, dims ``(sample, position)``, empty at padding that has none."""
    samples = len(positions.valid)
    if len(labels.names) != samples:
        raise LabelError(
            f"Labels for {len(labels.names)} samples were given, but there are {samples} samples. Give one list of "
            "labels per sample, or one list for all: labels=['a', 'b', ...]."
        )
    rows = []
    for number, (names, valid) in enumerate(zip(labels.names, positions.valid, strict=True)):
        placed = on_positions([str(name) for name in names], positions.count, valid)
        if placed is None:
            raise LabelError(
                f"Sample {number} has {len(names)} labels, but there are {positions.count} positions, "
                f"{int(valid.sum())} of them valid. Give one label per position, or one per valid position."
            )
        rows.append(placed)
    return np.array(rows, dtype=str)


def _filled(labels: Names, positions: Positions) -> Names:
    """Names of the words of sentences, with an empty one at the end of sentences and documents that are shorter.

    Raises:
        LabelError: They are not one list per sentence of each document, or too many.
    """
    sentences, words = positions.shape
    documents: list[Any] = list(labels)
    shared = bool(documents) and all(len(row) == 0 or isinstance(row[0], str) for row in documents)
    documents = [documents] * len(positions.valid) if shared else documents
    names = np.full((len(positions.valid), *positions.shape), "", dtype=object)
    fits = len(documents) == len(names) and all(
        len(document) <= sentences and all(len(sentence) <= words for sentence in document) for document in documents
    )
    if not fits:
        raise LabelError(
            f"The labels are for {len(documents)} documents, but there are {len(names)} of {sentences} sentences of "
            f"{words} words. Give for each document one list of names per sentence."
        )
    for number, document in enumerate(documents):
        for place, sentence in enumerate(document):
            names[number, place, : len(sentence)] = list(sentence)
    flat: Names = names.reshape(len(names), -1).tolist()
    return flat


def _by_order(labels: Sequence[Names | None], inputs: Sequence[str], *, by_name: bool) -> dict[str, Names]:
    """Labels in the order of a model's inputs, with None for inputs without labels, by the names of the inputs.

    Raises:
        LabelError: The inputs have no order, because they are given by name; or there are not as many.
    """
    if by_name or len(labels) != len(inputs):
        raise LabelError(
            f"The labels are a list of {len(labels)} with None among them, but the inputs are "
            f"{', '.join(map(repr, inputs))}. Give labels by the name of an input: labels={{{inputs[0]!r}: names}}."
        )
    return {name: names for name, names in zip(inputs, labels, strict=True) if names is not None}


def _of_input(labels: Mapping[str, Names], network: Network, own: str, inputs: Sequence[str]) -> Names | None:
    """What labels by the name of an input say about the one that is explained; None if it is not among them.

    Raises:
        LabelError: They name an input that the model does not have.
    """
    by_input = {network.input_name(str(name)): names for name, names in labels.items()}
    unknown = [name for name in by_input if name not in inputs]
    if unknown:
        raise LabelError(
            f"The labels are for {', '.join(map(repr, unknown))}, but the inputs are "
            f"{', '.join(map(repr, inputs))}. Give them by the name of an input: labels={{{own!r}: names}}."
        )
    return by_input.get(own)


def _fits(names: np.ndarray, positions: Positions) -> bool:
    return names.shape in ((positions.count,), positions.valid.shape)
