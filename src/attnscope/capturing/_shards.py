"""Whole shards of a run, computed and written by a worker, which tells what the manifest has to say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import xarray as xr

from attnscope.capturing._destinations import Description, named_outputs
from attnscope.capturing._fingerprint import fingerprint
from attnscope.capturing._model_makers import MakeModel
from attnscope.capturing._prepared import Prepared
from attnscope.capturing._stored_groups import Met, with_codes
from attnscope.capturing._summaries import Summary
from attnscope.discovery import Selection
from attnscope.errors import InputError
from attnscope.interception import Declaration, declarations, declare
from attnscope.running import Batch, Network, model_behind_texts
from attnscope.stores import Manifest, ShardWriter, WrittenShard, attributes_of, begun, check_holder, part_of_samples


@dataclass(frozen=True)
class Job:
    """A run, as every worker has to know it.

    Attributes:
        make: Makes the model.
        backend: What Keras runs on.
        is_behind_texts: Whether the run is of the model behind the layers that make tokens of texts.
        first: The first batch of the run, which the model is traced for.
        sites: Which sites are captured.
        observed: What is computed of each.
        description: What is known of the run beforehand, but for the model, its sites and single samples.
        declared: What was declared of classes of layers.
        codes: How scores are stored.
        fingerprint: What the run is a run of.
        root: The folder of the store.
        holder: What its lock says while the run goes on.
    """

    make: MakeModel
    backend: str
    is_behind_texts: bool
    first: Batch
    sites: Selection
    observed: Sequence[Summary]
    description: Description
    declared: Sequence[Declaration]
    codes: str
    fingerprint: Mapping[str, str]
    root: Path
    holder: bytes

    def __call__(self) -> Worker:
        """A worker, in its process."""
        return Worker(self)


@dataclass(frozen=True)
class Piece:
    """Some consecutive shards of a run, and the batches that they are computed from.

    Attributes:
        number: Of the piece.
        begin: Number of the first sample of the batches.
        batches: All batches that samples of the shards are in.
        known: What is known of the run beforehand, of the samples of these batches.
        start: Number of the first sample that is written.
        stop: Number of the sample after the last one.
        manifest: How the store lies on the disk; None to begin one, and write no sample.
        first_shard: Number of the shard that begins with the first sample.
        waits: Whether that shard waits for its place.
    """

    number: int
    begin: int
    batches: Sequence[Batch]
    known: Description
    start: int = 0
    stop: int = 0
    manifest: Manifest | None = None
    first_shard: int = 0
    waits: bool = False

    def __str__(self) -> str:
        return f"samples {self.start} to {self.stop}" if self.manifest is not None else "the first batch"


@dataclass(frozen=True)
class Shards:
    """What a worker tells of a piece that it has written.

    Attributes:
        shards: Each shard.
        groups: The attributes of all groups of the store, ``""`` being the root.
        met: What the batches have shown that no trace told.
        begun: The manifest of a store that was begun.
    """

    shards: Sequence[WrittenShard] = ()
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    met: Met = field(default_factory=Met)
    begun: Manifest | None = None


class Worker:
    """A model that is ready to compute shards of one run.

    Args:
        job: The run.

    Raises:
        InputError: The model is another one than the run's.
    """

    def __init__(self, job: Job) -> None:
        _check_backend(job.backend)
        _declare(job.declared)
        model = job.make()
        self._job = job
        self._model = model_behind_texts(model) if job.is_behind_texts else model
        network = Network.of_batches(self._model, [job.first])
        self._ready, _ = Prepared().ready(network, job.sites, list(job.observed), once=False)
        description = self._description(job.description)
        _check_model(job.fingerprint, fingerprint(description, job.codes), self._model)

    def __call__(self, piece: Piece) -> Shards:
        """Computes and writes a piece."""
        return run_shards(self, piece)

    def _description(self, known: Description) -> Description:
        ready = self._ready
        return replace(
            known, model=self._model, sites=ready.chosen, computation=ready.discovery.computation, unforeseen=set()
        )

    def groups(self, piece: Piece, met: Met) -> Iterator[tuple[int, dict[str, xr.Dataset], dict[str, Any]]]:
        """Each batch of a piece, captured: how many samples, its datasets by their path, and attributes of the root."""
        description, start = self._description(piece.known), 0
        network = Network.of_batches(self._model, piece.batches)
        for outputs, collected, batch in self._ready.run(
            network, first=False, progress=False, skips=lambda batch: False
        ):
            description.unforeseen.update(self._ready.observer.unforeseen(collected))
            arrays = self._ready.observer.arrays(collected, batch.size)
            groups, attributes = met.groups(description, arrays, named_outputs(self._model, outputs, batch), start)
            yield batch.size, with_codes(groups, self._job.codes), attributes
            start += batch.size

    def begun(self, groups: Mapping[str, xr.Dataset], attributes: Mapping[str, Any]) -> Manifest:
        """The manifest of a new store for such datasets."""
        return begun(self._job.root, groups, attributes, self._job.fingerprint)

    def writer(self, manifest: Manifest, piece: Piece) -> ShardWriter:
        """What writes the shards of a piece."""
        check = partial(check_holder, self._job.root, self._job.holder)
        return ShardWriter(self._job.root, manifest, piece.first_shard, waits=piece.waits, check=check)


def run_shards(worker: Worker, piece: Piece) -> Shards:
    """Computes the shards of a piece and writes them: what every engine's workers do.

    Args:
        worker: The model, ready.
        piece: Which shards, and the batches that they are computed from.

    Returns:
        What the manifest has to say of them; no array.
    """
    met, begin, said = Met(), piece.begin, dict[str, dict[str, Any]]()
    if piece.manifest is None:
        _, groups, attributes = next(worker.groups(piece, met))
        return Shards(begun=worker.begun(groups, attributes))
    writer = worker.writer(piece.manifest, piece)
    for size, groups, attributes in worker.groups(piece, met):
        wanted = slice(max(piece.start - begin, 0), min(piece.stop - begin, size))
        writer.append({path: part_of_samples(dataset, wanted) for path, dataset in groups.items()})
        begin, said = begin + size, attributes_of(groups, attributes)
    return Shards(writer.finish(), said, met)


def _declare(declared: Sequence[Declaration]) -> None:
    """Declares what was declared where the run was started; given the newest first."""
    for each in reversed(declared):
        if each not in declarations():
            declare(each.layer, output=each.output, dims=each.dims)


def _check_backend(wanted: str) -> None:
    if keras.backend.backend() != wanted:
        raise InputError(
            f"A worker's Keras runs on {keras.backend.backend()!r}, but the run is one on {wanted!r}. Say it for all "
            f"processes: export KERAS_BACKEND={wanted}."
        )


def _check_model(wanted: Mapping[str, str], own: Mapping[str, str], model: keras.Layer) -> None:
    """Checks that the model of a worker is the one of the run, by what each entry of their fingerprints says."""
    different = [name for name in wanted if wanted[name] != own.get(name) and name != "model"]  # which Keras counts up
    if different:
        raise InputError(
            f"The model that a worker made, {model.name!r}, differs from the one of the run in its {different[0]}. "
            "Every worker has to get the same one: give the path of a file, or a function that names all layers and "
            "loads the weights."
        )
