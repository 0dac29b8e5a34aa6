"""What every method of attribution is given: a model, samples, what is explained, and to which positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import xarray as xr

from attnscope.attribution._positions import Positions, positions_of, rows_of
from attnscope.attribution._scoring import Scorer
from attnscope.attribution._targets import Target, targets_of
from attnscope.discovery import Selection
from attnscope.errors import LabelError
from attnscope.running import Network
from attnscope.schema import KEY, SAMPLE
from attnscope.tensors import Tree


@dataclass(frozen=True)
class Subject:
    """A model on some samples, and the one number per sample that is to be explained.

    Attributes:
        network: The model and its data, its passes counted.
        inputs: Its inputs, arrays in its structure, all samples.
        positions: What relevance is given to.
        target: What is explained.
        scorer: The model's forward passes, counted.
        labels: Names of the positions, dims ``(position,)`` or ``(sample, position)``; None where none are known.
        sites: Which attention is meant; see `capture`.
        batch_size: Samples at a time.
    """

    network: Network
    inputs: Tree
    positions: Positions
    target: Target
    scorer: Scorer
    labels: np.ndarray | None
    sites: Selection
    batch_size: int

    @property
    def model(self) -> keras.Layer:
        """The network itself."""
        return self.network.model

    @property
    def tokenizer(self) -> Any:
        """Of a KerasHub task; None elsewhere."""
        return self.network.tokenizer

    def in_batches(self, batch_size: int | None = None, inputs: Tree | None = None, *, full: bool = False) -> Network:
        """The network on this subject's inputs, or others, so many samples at a time; its passes are counted here."""
        samples = self.inputs if inputs is None else inputs
        return self.network.on(samples, batch_size=batch_size or self.batch_size, full=full)

    def of_model(self, model: keras.Layer) -> Subject:
        """The same samples for another model; its passes are counted here too."""
        network = self.network.of_model(model)
        return replace(self, network=network, scorer=Scorer(network))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.positions.valid)

    def rows(self, chosen: Any) -> Subject:
        """Some of the samples: a slice, numbers or a mask."""
        labels = self.labels if self.labels is None or self.labels.ndim == 1 else self.labels[chosen]
        return replace(
            self,
            inputs=rows_of(self.inputs, chosen),
            positions=replace(self.positions, valid=self.positions.valid[chosen]),
            target=replace(self.target, rows={name: rows[chosen] for name, rows in self.target.rows.items()}),
            labels=labels,
        )

    def numbers(self) -> np.ndarray:
        """The explained number of every sample, as the model gives it, float64."""
        return self.scorer(self.inputs, self.target)

    def relevance(self, values: np.ndarray, method: str, **attrs: Any) -> xr.DataArray:
        """The relevance of positions as a labelled array, 0 at padding.

        Args:
            values: dims ``(sample, position)``.
            method: Name of the method.
            attrs: What else there is to say.
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
    inputs: Any,
    *,
    target: Any = None,
    positions: str | None = None,
    grid: tuple[int, int] | None = None,
    padding: int | None = 0,
    labels: Sequence[Any] | None = None,
    sites: Selection = None,
    batch_size: int = 64,
) -> list[Subject]:
    """One subject per target; see `attribute` for the arguments.

    Raises:
        InputError: It cannot be told what their positions are.
        TargetError: The target is not among what the model says.
        LabelError: The labels do not fit the positions.
    """
    network = Network(model, inputs, batch_size=batch_size)
    arrays = network.arrays()
    found = positions_of(arrays, name=positions, grid=grid, padding=padding)
    names = _labels(labels, network, found)
    scorer = Scorer(network)
    return [
        Subject(network, arrays, found, one, scorer, names, sites, batch_size)
        for one in targets_of(target, scorer.outputs(arrays))
    ]


def _labels(given: Sequence[Any] | None, network: Network, positions: Positions) -> np.ndarray | None:
    if given is None:
        fitting = [
            item.names for item in network.labels if len(item.names) and _fits(np.asarray(item.names), positions)
        ]
        return np.asarray(fitting[0], dtype=str) if fitting else None
    names = np.asarray(given, dtype=str)
    if not _fits(names, positions):
        raise LabelError(
            f"The labels have the shape {names.shape}, but there are {positions.count} positions in "
            f"{len(positions.valid)} samples. Give one name per position, or one list of names per sample."
        )
    return names


def _fits(names: np.ndarray, positions: Positions) -> bool:
    return names.shape in ((positions.count,), positions.valid.shape)
