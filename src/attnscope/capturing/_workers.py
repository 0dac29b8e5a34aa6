"""A run into a store that workers compute: this process gives them batches, and learns what the manifest has to say."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from attnscope.capturing._destinations import Description
from attnscope.capturing._fingerprint import check_fingerprint, fingerprint
from attnscope.capturing._given_inputs import GivenInputs
from attnscope.capturing._model_makers import MakeModel, ModelLike
from attnscope.capturing._shards import Job, Piece, Shards
from attnscope.capturing._store import held_store, note_how_to_resume
from attnscope.capturing._stored_groups import Met
from attnscope.capturing._summaries import Summary
from attnscope.discovery import Selection
from attnscope.engines import Pool, pool
from attnscope.interception import declarations
from attnscope.maps import RAN_EVERYWHERE, AttentionMaps, open_maps
from attnscope.running import Batch, Batches, Network, progress_bar
from attnscope.schema import SiteTable
from attnscope.stores import Assembly, Manifest, StoreWriter, holder_of

MOST_BATCHES, FEW_BATCHES = 64, 16
"""A piece of work is so many shards that they are whole batches, if these are at most so many; else it has at least so
many batches, as the first and the last may be computed twice."""


@dataclass(frozen=True)
class Staff:
    """Who computes a run.

    Attributes:
        engine: ``processes`` or ``ray``.
        workers: How many workers; None for one for each core.
        make: Makes the model of each.
    """

    engine: str
    workers: int | None
    make: MakeModel

    def model_of(self, model: ModelLike) -> keras.Layer:
        """The model itself, made here if it was given by a path or a function."""
        return model if isinstance(model, keras.Layer) else self.make()


@dataclass(frozen=True)
class RunOfWorkers:
    """What is to be captured.

    Attributes:
        network: The model and all of its inputs.
        description: What is known of the run beforehand.
        sites: Which sites were asked for.
        observed: What is computed of each.
        codes: How scores are stored.
        is_behind_texts: Whether the network's model is the part behind the layers that make tokens of texts.
    """

    network: Network
    description: Description
    sites: Selection
    observed: Sequence[Summary]
    codes: str
    is_behind_texts: bool

    def job(self, root: Path, make: MakeModel) -> Job:
        """The run, as every worker has to know it, into a store that is locked."""
        return Job(
            make,
            keras.backend.backend(),
            self.is_behind_texts,
            self.network.first,
            self.sites,
            self.observed,
            replace(self.description.of_samples(0, 1), model=None, sites=SiteTable()),
            declarations(),
            self.codes,
            fingerprint(self.description, self.codes),
            root.absolute(),
            holder_of(root),
        )


def captured_by(
    staff: Staff, run: RunOfWorkers, path: str | Path, *, resume: bool, interval: float, progress: bool
) -> AttentionMaps:
    """Captures into a store by workers; whatever ends the run, what they wrote without a gap is committed.

    Args:
        staff: Who computes it.
        run: What is to be captured.
        path: The folder of the store.
        resume: Whether a store that is there is taken up.
        interval: Seconds between commits.
        progress: Whether to show a progress bar.

    Raises:
        InputError: The store holds another run.
        WouldOverwriteError: It exists, and `resume` is False.
        StoreInUseError: Another run writes to it.
        WorkerDiedError: Workers ended again and again at the same samples.
    """
    with held_store(path, resume=resume) as (folder, manifest):
        shared = Shared(run.job(folder, staff.make), run, manifest, interval)
        try:
            shared.run(staff, progress=progress)
        except BaseException as error:
            shared.abandon()
            note_how_to_resume(error, folder, shared.committed)
            raise
        return open_maps(folder)


class Shared:
    """A run that is shared among workers.

    Args:
        job: The run, as the workers know it.
        run: The same, with all of its inputs.
        manifest: What the store holds; None if nothing.
        interval: Seconds between commits.
    """

    def __init__(self, job: Job, run: RunOfWorkers, manifest: Manifest | None, interval: float) -> None:
        self._job, self._interval = job, interval
        self._network, self._description = run.network, run.description
        description = run.description
        if manifest is not None:
            check_fingerprint(str(job.root), manifest.fingerprint, job.fingerprint, description.model)
        self._met = Met(manifest)
        self._was_complete = manifest is not None and manifest.complete
        self._done = 0 if manifest is None else manifest.samples or 0
        held = "" if manifest is None else manifest.inputs
        self._inputs = GivenInputs(str(job.root), description.labels, description.ids, done=self._done, held=held)
        self._digests: dict[int, str] = {}
        self._assembly: Assembly | None = None
        if manifest is not None:
            self._assembly = self._assembled(manifest)

    @property
    def committed(self) -> int:
        """How many samples are in the store for good."""
        return 0 if self._assembly is None else self._assembly.committed

    def _assembled(self, manifest: Manifest) -> Assembly:
        """What names further shards; what an earlier run had not committed is removed."""
        settled = StoreWriter(self._job.root, manifest, fingerprint=self._job.fingerprint).manifest
        return Assembly(self._job.root, settled or manifest, is_new=False, interval=self._interval)

    def run(self, staff: Staff, *, progress: bool) -> None:
        """Has the workers compute what is missing in the store, and finishes it.

        Raises:
            InputError: The store was begun with other inputs.
            WorkerDiedError: Workers ended again and again at the same samples.
        """
        batches = self._network.batches()
        work = pool(staff.engine, self._job, workers=staff.workers, environment=_environment(), named=str)
        with progress_bar(batches.count, shown=progress) as advance, work as workers:
            assembly = self._assembly = self._assembly or self._begun(workers, batches.first)
            self._assemble(assembly, workers.results(self._pieces(batches, assembly.manifest, advance)))
        self._inputs.check_that_all_were_given()
        if (assembly.manifest.samples or 0) > self._done or not self._was_complete:
            assembly.finish(self._met.attributes(self._description.attrs))

    def abandon(self) -> None:
        """Commits what is known to be written, if the disk takes it: the run was interrupted."""
        try:
            if self._assembly is not None:
                self._assembly.commit()
        except OSError:  # the run has failed already, perhaps by this; what was committed before is whole
            return

    def _begun(self, workers: Pool, first: Batch) -> Assembly:
        """What names the shards of a new store, which a worker begins: only a run of the model tells what is in it."""
        ((_, shards),) = workers.results([Piece(0, 0, [first], self._description_of(0, first.size))])
        return Assembly(self._job.root, shards.begun, is_new=True, interval=self._interval)

    def _description_of(self, start: int, stop: int) -> Description:
        """What workers have to know of some samples."""
        known = self._description.of_samples(start, stop)
        return replace(self._job.description, labels=known.labels, texts=known.texts, ids=known.ids)

    def _pieces(self, batches: Batches, manifest: Manifest, advance: Callable[[], None]) -> Iterator[Piece]:
        """What is missing in the store, piece by piece, each with the batches that it is computed from."""
        span = manifest.rows * shards_per_piece(manifest.rows, batches.first.size)
        number, held = len(manifest.shards) * manifest.rows // span, deque[Batch]()
        begin = stop = 0
        for batch in batches:
            self._inputs.skips(batch)
            stop += batch.size
            held.append(batch)
            if stop % span == 0:
                self._digests[stop] = self._inputs.digest
            while stop >= (number + 1) * span:
                yield self._piece(number, begin, held, manifest, span, (number + 1) * span)
                number += 1
            while held and begin + held[0].size <= number * span:
                begin += held.popleft().size
            advance()
        self._digests[stop] = self._inputs.digest
        if stop > max(number * span, self._done):
            yield self._piece(number, begin, held, manifest, span, stop)

    def _piece(self, number: int, begin: int, held: Iterable[Batch], manifest: Manifest, span: int, stop: int) -> Piece:
        shard = max(number * span // manifest.rows, len(manifest.shards))
        batches = list(held)
        return Piece(
            number,
            begin,
            batches,
            self._description_of(begin, begin + sum(batch.size for batch in batches)),
            shard * manifest.rows,
            stop,
            replace(manifest, shards=(), last=(), pending=(), fingerprint={}),
            shard,
            waits=bool(manifest.last) and shard == len(manifest.shards),
        )

    def _assemble(self, assembly: Assembly, results: Iterator[tuple[Piece, Shards]]) -> None:
        """Names what workers have written, in the order of the samples, whatever the order in which they wrote it."""
        done: dict[int, tuple[Piece, Shards]] = {}
        for piece, shards in results:
            done[piece.first_shard] = piece, shards
            while (ahead := done.pop(len(assembly.manifest.shards), None)) is not None:
                self._append(assembly, *ahead)

    def _append(self, assembly: Assembly, piece: Piece, shards: Shards) -> None:
        self._met.add(shards.met)
        groups = {path: dict(attributes) for path, attributes in shards.groups.items()}
        for path, ran in self._met.everywhere.items():
            groups[path][RAN_EVERYWHERE] = ran
        groups[""] = self._met.attributes({**groups[""], **self._description.attrs})
        assembly.append(shards.shards, groups, self._digests.pop(piece.stop, None))


def shards_per_piece(rows: int, batch_size: int) -> int:
    """How many shards are computed together: so many that they are whole batches, if that are not too many batches.

    Args:
        rows: Samples per shard.
        batch_size: Samples per batch.
    """
    whole = batch_size // math.gcd(rows, batch_size)
    return whole if whole * rows <= MOST_BATCHES * batch_size else math.ceil(FEW_BATCHES * batch_size / rows)


def _environment() -> dict[str, str]:
    """What workers have to have as this process has it, so that they compute the same to the last bit."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)
    return {"KERAS_BACKEND": keras.backend.backend(), "OMP_NUM_THREADS": threads}
