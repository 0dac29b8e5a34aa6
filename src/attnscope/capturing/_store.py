"""Captured batches on disk: written one after the other, so that an interrupted run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from attnscope.capturing._destinations import Description, Outputs
from attnscope.capturing._fingerprint import check_fingerprint, fingerprint
from attnscope.capturing._given_inputs import GivenInputs
from attnscope.capturing._observer import SiteArrays
from attnscope.capturing._stored_groups import Met, with_codes
from attnscope.errors import STORES, AttnscopeError, counted, free_path
from attnscope.maps import AttentionMaps, open_maps
from attnscope.running import Batch
from attnscope.stores import Background, Manifest, StoreWriter, holds_nothing, run_folder


@contextmanager
def held_store(path: str | Path, *, resume: bool) -> Iterator[tuple[Path, Manifest | None]]:
    """The folder of a store, held for one run, and what is in it.

    Args:
        path: The folder.
        resume: Whether a store that is there is taken up.

    Raises:
        WouldOverwriteError: It exists, and `resume` is False.
        StoreInUseError: Another run writes to it.
    """
    fix = "give another path, remove it, or resume it: resume=True"
    path = free_path(path, fix, overwrite=resume or holds_nothing(Path(path)), suffixes=STORES)
    with run_folder(path) as manifest:
        yield path, manifest


@contextmanager
def on_disk(
    description: Description, path: str | Path, *, resume: bool, codes: str, interval: float
) -> Iterator[OnDisk]:
    """A store for the batches of a run; whatever ends the run, what was captured is committed.

    Args:
        description: What is known of the run beforehand.
        path: The folder of the store.
        resume: Whether a store that is there is taken up.
        codes: How scores are stored.
        interval: Seconds between commits.

    Raises:
        InputError: The store holds another run.
        WouldOverwriteError: It exists, and `resume` is False.
        StoreInUseError: Another run writes to it.
    """
    with held_store(path, resume=resume) as (folder, manifest):
        destination = OnDisk(description, folder, manifest, codes=codes, interval=interval)
        try:
            yield destination
        except BaseException as error:
            destination.abandon()
            note_how_to_resume(error, folder, destination.committed)
            raise


def note_how_to_resume(error: BaseException, path: Path, samples: int) -> None:
    """Notes on the error that ended a run what its store holds, if it holds anything, and how it is resumed."""
    if samples and not isinstance(error, AttnscopeError):
        error.add_note(
            f"{str(path)!r} holds {counted(samples, 'sample')}. Resume with the same model, inputs and options: "
            f"attnscope.capture(..., store={str(path)!r}, resume=True)."
        )


class OnDisk:
    """Appends each batch to a store, in a thread of its own.

    Args:
        description: What is known of the run beforehand.
        path: The folder of the store, which nobody else writes to.
        manifest: What is in it; None if nothing.
        codes: How scores are stored.
        interval: Seconds between commits.
    """

    def __init__(
        self, description: Description, path: Path, manifest: Manifest | None, *, codes: str, interval: float
    ) -> None:
        self._description = description
        self._path = path
        self._codes = codes
        wanted = fingerprint(description, codes)
        if manifest is not None:
            check_fingerprint(str(path), manifest.fingerprint, wanted, description.model)
        self._met = Met(manifest)
        self._done = 0 if manifest is None else manifest.samples or 0
        self._is_complete = manifest is not None and manifest.complete
        held = "" if manifest is None else manifest.inputs
        self._inputs = GivenInputs(str(path), description.labels, description.ids, done=self._done, held=held)
        self._writer = StoreWriter(path, manifest, interval=interval, fingerprint=wanted)
        self._background = Background()
        self._added = self._done

    @property
    def committed(self) -> int:
        """How many samples are in the store for good."""
        return self._writer.committed

    def skips(self, batch: Batch) -> bool:
        """Whether a batch, the next of the run, is in the store already.

        Raises:
            InputError: The store was begun with other inputs, or with batches of another size.
        """
        return self._inputs.skips(batch)

    def add(self, arrays: dict[str, SiteArrays], outputs: Outputs) -> None:
        """Takes one batch; it is encoded and written while the next one is computed."""
        groups, attributes = self._met.groups(self._description, arrays, outputs, self._added)
        self._added += next(len(array) for site in arrays.values() for _, array in site.variables.values())
        digest = self._inputs.digest
        size = sum(dataset.nbytes for dataset in groups.values())
        self._background.put(size, lambda: self._append(groups, attributes, digest))

    def _append(self, groups: Mapping[str, xr.Dataset], attributes: Mapping[str, Any], digest: str) -> None:
        self._writer.append(with_codes(groups, self._codes), attributes, digest)

    def maps(self) -> AttentionMaps:
        """The finished store, opened.

        Raises:
            InputError: It holds more samples than were given.
        """
        self._background.close()
        self._inputs.check_that_all_were_given()
        if self._added > self._done or not self._is_complete:
            self._writer.finish(self._met.attributes(self._description.attrs))
        return open_maps(self._path)

    def abandon(self) -> None:
        """Commits what was captured, if the disk takes it: the run was interrupted, and its own error is raised."""
        try:
            self._background.close()
            if self._writer.samples > self._writer.committed:
                self._writer.commit()
        except Exception:  # the run has failed already, perhaps by this; what was committed before is whole
            return
