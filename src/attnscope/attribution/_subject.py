"""What every attribution method is given: a model, its samples, the target that is explained, and the positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._compilation_cache import CompilationCache
from attnscope.attribution._positions import Positions, Rows, positions_of, rows_of
from attnscope.attribution._targets import Target, TargetLike, targets_of
from attnscope.discovery import Selection
from attnscope.errors import LabelError
from attnscope.labels import Names
from attnscope.running import Network
from attnscope.schema import KEY, SAMPLE
from attnscope.tensors import Inputs, Tree


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
    """

    network: Network
    inputs: Tree
    positions: Positions
    target: Target
    cache: CompilationCache
    labels: np.ndarray | None
    sites: Selection
    batch_size: int

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
        return replace(self, network=self.network.of_model(model), cache=CompilationCache())

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.positions.valid)

    def rows(self, chosen: Rows) -> Subject:
        """Some of the samples: a slice, their numbers, or a mask."""
        labels = self.labels if self.labels is None or self.labels.ndim == 1 else self.labels[chosen]
        return replace(
            self,
            inputs=rows_of(self.inputs, chosen),
            positions=replace(self.positions, valid=self.positions.valid[chosen]),
            target=replace(self.target, rows={name: rows[chosen] for name, rows in self.target.rows.items()}),
            labels=labels,
        )

    def numbers(self, inputs: Tree | None = None, extras: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The target's numbers, dims ``(sample,)``, float64. Costs one forward pass per sample.

        Args:
            inputs: Other inputs, in arrays; None for the subject's own samples.
            extras: The target's extras for these inputs; None where they are the subject's own samples in order.
        """
        return self.target.of(self.network.outputs(self.inputs if inputs is None else inputs), extras)

    def relevance(self, values: np.ndarray, method: str, **attrs: object) -> xr.DataArray:
        """The relevance of the positions as a labelled array.

        Args:
            values: dims ``(sample, position)``; what they are at padding does not matter.
            method: Name of the method.
            **attrs: Further attrs.

        Returns:
            dims ``(sample, key)``, 0 at padding, with ``key_valid`` and, where names are known, ``key_label``.
        """
        array = xr.DataArray(
            np.where(self.positions.valid, values, 0.0),
            dims=(SAMPLE, KEY),
            coords={"key_valid": ((SAMPLE, KEY), self.positions.valid)},
            name="relevance",
            attrs={"method": method, "target": self.target.words, **attrs},
        )
        if self.labels is None:
            return array
        return array.assign_coords(key_label=((KEY,) if self.labels.ndim == 1 else (SAMPLE, KEY), self.labels))


def subjects_of(
    model: keras.Model,
    inputs: Inputs,
    *,
    target: TargetLike = None,
    positions: str | None = None,
    grid: tuple[int, int] | None = None,
    padding: int | None = 0,
    labels: Names | None = None,
    sites: Selection = None,
    batch_size: int = 64,
) -> list[Subject]:
    """One subject for each target, as `attribute` makes them from the same arguments.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, raw texts or images for a task, or anything that yields batches. All
            samples are held in memory.
        target: What is explained: None, a whole number, a list of them, `PerSample`, `AtStep`, a dict of an output's
            name to any of these, or a function from outputs to one number per sample.
        positions: The name of the input that is explained, where there are several.
        grid: Rows and columns of patches, for pictures.
        padding: The token that is padding where no input is a padding mask; None for none.
        labels: Names of the positions, one list for all samples, or one per sample.
        sites: Which attention the methods that use it read: a glob pattern of sites, several, or a predicate; None for
            all sites that are attention.
        batch_size: Samples at a time.

    Raises:
        InputError: The positions cannot be identified.
        TargetError: The target does not fit the model's outputs.
        LabelError: The labels do not fit the positions.
    """
    network = Network(model, inputs, batch_size=batch_size)
    arrays = network.arrays()
    explained = positions_of(arrays, name=positions, grid=grid, padding=padding)
    names = _labels(labels, network, explained)
    cache = CompilationCache()
    return [
        Subject(network, arrays, explained, one_target, cache, names, sites, batch_size)
        for one_target in targets_of(target, network.outputs(arrays))
    ]


def _labels(labels: Names | None, network: Network, positions: Positions) -> np.ndarray | None:
    if labels is None:
        fitting = [
            item.names for item in network.labels if len(item.names) and _fits(np.asarray(item.names), positions)
        ]
        return np.asarray(fitting[0], dtype=str) if fitting else None
    names = np.asarray(labels, dtype=str)
    if not _fits(names, positions):
        raise LabelError(
            f"The labels have the shape {names.shape}, but there are {positions.count} positions in "
            f"{len(positions.valid)} samples. Give one name per position, or one list of names per sample."
        )
    return names


def _fits(names: np.ndarray, positions: Positions) -> bool:
    return names.shape in ((positions.count,), positions.valid.shape)
