"""Captured batches on disk: written one after the other, so that an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from keras import tree

from attnscope.capturing._destinations import Description, Outputs
from attnscope.capturing._fingerprint import check_fingerprint, fingerprint
from attnscope.capturing._observer import SiteArrays
from attnscope.errors import STORES, AttnscopeError, InputError, counted, free_path
from attnscope.maps import RAN_EVERYWHERE, AttentionMaps, open_maps
from attnscope.running import Batch
from attnscope.schema import RAN
from attnscope.stores import SCALE, Background, Manifest, StoreWriter, holds_nothing, marked, run_folder


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
    fix = "give another path, remove it, or resume it: resume=True"
    path = free_path(path, fix, overwrite=resume or holds_nothing(Path(path)), suffixes=STORES)
    with run_folder(path) as manifest:
        destination = OnDisk(description, path, manifest, codes=codes, interval=interval)
        try:
            yield destination
        except BaseException as error:
            destination.abandon()
            if not isinstance(error, AttnscopeError) and (note := destination.how_to_resume()):
                error.add_note(note)
            raise


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
        self._unforeseen: set[str] = set()
        self._everywhere: dict[str, bool] = {}
        self._done = 0
        self._held_inputs = ""
        self._is_complete = False
        if manifest is not None:
            check_fingerprint(str(path), manifest.fingerprint, wanted, description.model)
            self._done, self._held_inputs = manifest.samples or 0, manifest.inputs
            self._unforeseen = set(json.loads(manifest.groups[""].get("unforeseen", "[]")))
            self._everywhere = {
                group: bool(attributes[RAN_EVERYWHERE])
                for group, attributes in manifest.groups.items()
                if RAN_EVERYWHERE in attributes
            }
            self._is_complete = manifest.complete
        self._writer = StoreWriter(path, manifest, interval=interval, fingerprint=wanted)
        self._background = Background()
        self._digest = hashlib.blake2b(digest_size=16)
        self._passed = 0
        self._added = self._done

    def skips(self, batch: Batch) -> bool:
        """Whether a batch, the next of the run, is in the store already.

        Raises:
            InputError: The store was begun with other inputs, or with batches of another size.
        """
        start, self._passed = self._passed, self._passed + batch.size
        self._note_inputs(batch, start)
        if start >= self._done:
            return False
        if self._passed > self._done:
            raise InputError(
                f"{str(self._path)!r} holds {self._done} samples, but a batch goes from sample {start} to "
                f"{self._passed}, so the batches had another size. Give the batch_size= that the run was started with."
            )
        if self._passed == self._done and self._held_inputs != self._digest.hexdigest():
            raise InputError(
                f"{str(self._path)!r} holds {self._done} samples that were captured from other inputs. Give those that "
                "the run was started with, or another path."
            )
        return True

    def _note_inputs(self, batch: Batch, start: int) -> None:
        """Adds a batch to the digest: its inputs, and what is known of its samples."""
        stop = start + batch.size
        known = [list(item.of_samples(start, stop).names) for item in self._description.labels if item.per_sample]
        ids = self._description.ids
        self._digest.update(repr((known, [] if ids is None else ids[start:stop].tolist())).encode())
        for path, leaf in tree.flatten_with_path(batch.inputs):
            array = np.asarray(leaf[: batch.size])
            plain = array.dtype.kind in "OUST"
            self._digest.update(repr((path, array.shape, array.tolist() if plain else str(array.dtype))).encode())
            if not plain:
                self._digest.update(np.ascontiguousarray(array).data)

    def add(self, arrays: dict[str, SiteArrays], outputs: Outputs) -> None:
        """Takes one batch; it is encoded and written while the next one is computed."""
        copied = {name: _copied(site) for name, site in arrays.items()}
        maps = self._description.maps(copied, outputs, self._added)
        self._added += maps.num_samples
        groups = {path: self._with_ran(path, dataset, copied) for path, dataset in maps.groups().items()}
        self._unforeseen |= self._description.unforeseen
        attributes, digest = self._attributes(maps.attrs), self._digest.hexdigest()
        size = sum(dataset.nbytes for dataset in groups.values())
        self._background.put(size, lambda: self._append(groups, attributes, digest))

    def _append(self, groups: Mapping[str, xr.Dataset], attributes: Mapping[str, Any], digest: str) -> None:
        coded = {path: _marked(dataset, self._codes) for path, dataset in groups.items()}
        self._writer.append(coded, attributes, digest)

    def _attributes(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        unforeseen = {"unforeseen": json.dumps(sorted(self._unforeseen))} if self._unforeseen else {}
        return {**attrs, **unforeseen}

    def _with_ran(self, path: str, dataset: xr.Dataset, arrays: Mapping[str, SiteArrays]) -> xr.Dataset:
        """A site's batch that says for which samples it ran: a later one may not run for all."""
        if "site" not in dataset.attrs:
            return dataset
        dims, ran = arrays[dataset.attrs["site"]].validity[RAN]
        self._everywhere[path] = self._everywhere.get(path, True) and bool(ran.all())
        return dataset.assign_coords({RAN: (dims, ran)}).assign_attrs({RAN_EVERYWHERE: self._everywhere[path]})

    def maps(self) -> AttentionMaps:
        """The finished store, opened.

        Raises:
            InputError: It holds more samples than were given.
        """
        self._background.close()
        if self._passed < self._done:
            raise InputError(
                f"{str(self._path)!r} holds {self._done} samples, but {self._passed} were given. Give all samples of "
                "that run, or open it: attnscope.open(path)."
            )
        if self._added > self._done or not self._is_complete:
            self._writer.finish(self._attributes(self._description.attrs))
        return open_maps(self._path)

    def how_to_resume(self) -> str:
        """What is in the store of an interrupted run, and how it is resumed; nothing if nothing is in it."""
        path, samples = str(self._path), self._writer.committed
        if not samples:
            return ""
        return (
            f"{path!r} holds {counted(samples, 'sample')}. Resume with the same model, inputs and options: "
            f"attnscope.capture(..., store={path!r}, resume=True)."
        )

    def abandon(self) -> None:
        """Commits what was captured, if the disk takes it: the run was interrupted, and its own error is raised."""
        try:
            self._background.close()
            if self._writer.samples > self._writer.committed:
                self._writer.commit()
        except Exception:  # the run has failed already, perhaps by this; what was committed before is whole
            return


def _marked(dataset: xr.Dataset, codes: str) -> xr.Dataset:
    """A site's batch that says how its scores are coded; whole numbers are not."""
    if "float" in dataset.attrs.get("dtype", ""):
        return marked(dataset, codes)
    return dataset.drop_vars(SCALE, errors="ignore")


def _copied(site: SiteArrays) -> SiteArrays:
    """A batch's arrays in memory of their own, which lasts until they are written."""
    return SiteArrays(
        {name: (dims, np.array(array)) for name, (dims, array) in site.variables.items()},
        {name: (dims, np.array(array)) for name, (dims, array) in site.validity.items()},
    )
