"""Captured batches on disk: written one after the other, so that an interrupted run can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from keras import tree

from attnscope.capturing._destinations import Description, Outputs
from attnscope.capturing._observer import SiteArrays
from attnscope.errors import STORES, InputError, free_path
from attnscope.maps import COMPLETE, AttentionMaps, open_maps, quiet_about_strings
from attnscope.running import Batch, viewed
from attnscope.schema import RAN, SAMPLE

DONE, DIGEST = "attnscope_samples", "attnscope_digest"
"""Attributes of a store's root: how many complete samples it holds, and a digest of what they were captured from."""


class OnDisk:
    """Appends each batch to a Zarr store."""

    def __init__(self, description: Description, path: str | Path, *, resume: bool = False) -> None:
        self._description = description
        fix = "give another path, remove it, or resume it: resume=True"
        self._path = free_path(path, fix, overwrite=resume, suffixes=STORES)
        self._root: Any = None
        names = [vars(item) for item in description.labels]
        ids = [] if description.ids is None else description.ids.tolist()
        self._digest = hashlib.blake2b(repr([*names, *ids]).encode(), digest_size=16)
        for weight in description.model.weights:
            self._digest.update(np.ascontiguousarray(viewed(weight.value)).data)
        self._passed = 0
        self._done = self._resumed() if self._path.exists() else 0

    def _resumed(self) -> int:
        """Checks that the store holds a part of this run, and cuts off a last batch that is incomplete.

        Returns:
            Number of complete samples.
        """
        self._root = zarr.open_group(self._path, mode="r+")
        nodes = [self._root, *(node for _, node in self._root.members(max_depth=None) if isinstance(node, zarr.Group))]
        held = {**self._root.attrs, "sites": sorted(node.attrs["site"] for node in nodes if "site" in node.attrs)}
        held["variables"] = sorted({name for node in nodes for name in node.attrs.get("variables", ())})
        wanted = {
            **self._description.attrs,
            "sites": sorted(site.name for site in self._description.sites),
            "variables": sorted(name for summary in self._description.summaries for name in summary.missing),
        }
        for name, value in wanted.items():
            if DONE not in held or held.get(name) != value:
                raise InputError(
                    f"{str(self._path)!r} holds a different run, with {name} {held.get(name)!r} instead of {value!r}. "
                    "Give the model and the options that it was started with, or another path."
                )
        done = int(held[DONE])
        for node in nodes:
            for array in node.array_values():
                if (array.metadata.dimension_names or ("",))[0] == SAMPLE:
                    array.resize((done, *array.shape[1:]))
        return done

    def skips(self, batch: Batch) -> bool:
        """Whether a batch, the next of the run, is in the store already.

        Raises:
            InputError: The store was begun with other inputs, labels or weights, or with batches of another size.
        """
        start, self._passed = self._passed, self._passed + batch.size
        for path, leaf in tree.flatten_with_path(batch.inputs):
            array = np.asarray(leaf[: batch.size])
            plain = array.dtype.kind in "OUST"
            self._digest.update(repr((path, array.shape, array.tolist() if plain else str(array.dtype))).encode())
            if not plain:
                self._digest.update(np.ascontiguousarray(array).data)
        if start >= self._done:
            return False
        if self._passed > self._done:
            raise InputError(
                f"{str(self._path)!r} holds {self._done} samples, but a batch goes from sample {start} to "
                f"{self._passed}, so the batches had another size. Give the batch_size= that the run was started with."
            )
        if self._passed == self._done and self._root.attrs[DIGEST] != self._digest.hexdigest():
            raise InputError(
                f"{str(self._path)!r} holds {self._done} samples that were captured with other inputs, labels or "
                "weights. Give those that the run was started with, or another path."
            )
        return True

    def add(self, arrays: dict[str, SiteArrays], outputs: Outputs) -> None:
        """Writes one batch; the store counts it only once it is complete."""
        maps = self._description.maps(arrays, outputs, self._done)
        written = _with_long_strings(maps.to_tree())
        self._done += maps.num_samples
        state = {DONE: self._done, DIGEST: self._digest.hexdigest(), COMPLETE: False}
        if self._root is None:
            self._begin(written, state)
            return
        self._root.attrs[COMPLETE] = False  # a complete run may be resumed with more samples
        for node in written.subtree:
            if SAMPLE in node.dims and node.has_data:
                self._append(node.path, self._with_ran(node.path, node.to_dataset(inherit=False)))
        self._root.attrs.update(state)

    def _begin(self, written: xr.DataTree, state: Mapping[str, object]) -> None:
        """The first batch makes the store, all at once."""
        written.attrs.update(state)
        beside = self._path.with_name(self._path.name + ".part")
        with quiet_about_strings():
            written.to_zarr(beside, mode="w", zarr_format=3, consolidated=False)
        beside.rename(self._path)
        self._root = zarr.open_group(self._path, mode="r+")

    def _with_ran(self, group: str, dataset: xr.Dataset) -> xr.Dataset:
        """A site's batch which says for which samples it ran if the store says so, as the store does if the batch does.

        That it ran for all goes without saying.
        """
        stored = self._root[group.strip("/")]
        if RAN in dataset.variables and RAN not in stored:
            ran = dataset[RAN]
            before = np.ones((self._done - dataset.sizes[SAMPLE], *ran.shape[1:]), bool)
            stored.create_array(RAN, data=before, dimension_names=list(map(str, ran.dims)))
        elif RAN in stored and RAN not in dataset.variables:
            array = stored[RAN]
            all_ran = np.ones((dataset.sizes[SAMPLE], *array.shape[1:]), bool)
            dataset = dataset.assign_coords({RAN: (array.metadata.dimension_names, all_ran)})
        return dataset

    def _append(self, group: str, dataset: xr.Dataset) -> None:
        for name, variable in dataset.variables.items():
            if SAMPLE not in variable.dims:
                continue
            array = self._root[f"{group.strip('/')}/{name}"]
            for dim, stored, new in zip(variable.dims[1:], array.shape[1:], variable.shape[1:], strict=True):
                if stored != new:
                    raise InputError(
                        f"The batches differ: {dim!r} of {group!r} has {stored} positions in the store and {new} in "
                        "this batch. Pad all batches to one length, or leave store= out."
                    )
            array.append(variable.values.astype(array.dtype), axis=0)

    def maps(self) -> AttentionMaps:
        """The finished store, opened.

        Raises:
            InputError: It holds more samples than were given.
        """
        if self._passed < self._done:
            raise InputError(
                f"{str(self._path)!r} holds {self._done} samples, but {self._passed} were given. Give all samples of "
                "that run, or open it: attnscope.open(path)."
            )
        unforeseen = self._description.unforeseen | set(json.loads(self._root.attrs.get("unforeseen", "[]")))
        if unforeseen:
            self._root.attrs["unforeseen"] = json.dumps(sorted(unforeseen))
        self._root.attrs[COMPLETE] = True
        return open_maps(self._path)


def _with_long_strings(written: xr.DataTree) -> xr.DataTree:
    """Strings of any length: a later batch may bring longer ones than the first."""
    widened: xr.DataTree = written.map_over_datasets(
        lambda dataset: dataset.assign(
            {
                name: (variable.dims, variable.values.astype(np.dtypes.StringDType()))
                for name, variable in dataset.variables.items()
                if variable.dtype.kind == "U"
            }
        )
    )
    return widened
