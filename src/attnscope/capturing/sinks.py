"""Where captured batches go: into arrays in memory, or batch by batch into a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import xarray as xr
import zarr
from keras import tree

import attnscope
from attnscope.capturing.observer import SiteArrays
from attnscope.capturing.summaries import Summary
from attnscope.errors import InputError, free_path
from attnscope.interception.batches import Batch, merged
from attnscope.labels import AxisLabels, labelled
from attnscope.maps import AttentionMaps, dataset_of, open_maps, quiet_about_strings
from attnscope.schema import SAMPLE, Site, SiteTable


@dataclass(frozen=True)
class Description:
    """What is known of a run beforehand."""

    model: keras.Layer
    sites: SiteTable
    summaries: Sequence[Summary]
    labels: list[AxisLabels]
    texts: xr.DataArray | None
    removed_masks: dict[str, tuple[str, ...]]

    @property
    def attrs(self) -> dict[str, Any]:
        """What the result says of its making."""
        return {
            "model": self.model.name,
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "attnscope": attnscope.__version__,
        }

    def missing(self, variable: str) -> float | bool:
        """What fills up a variable where a batch of shorter samples has no position."""
        return next((s.missing[variable] for s in self.summaries if variable in s.missing), False)

    def dataset(self, site: Site, arrays: SiteArrays, start: int) -> xr.Dataset:
        """One site's arrays as a labelled dataset; `start` is the number of their first sample."""
        dataset = dataset_of(site, arrays.variables, arrays.validity)
        removed = list(self.removed_masks.get(site.name, ()))
        if removed:
            dataset = dataset.assign_attrs(masks_removed_by=removed)
        samples = dataset.sizes[SAMPLE]
        return labelled(dataset, site, [item.of_samples(start, start + samples) for item in self.labels])

    def maps(self, arrays: dict[str, SiteArrays], outputs: Outputs, start: int) -> AttentionMaps:
        """All sites' arrays of some samples as labelled maps."""
        count = len(next(iter(next(iter(arrays.values())).variables.values()))[1])
        texts = None if self.texts is None else self.texts[start : start + count]
        return AttentionMaps(
            {site.name: self.dataset(site, arrays[site.name], start) for site in self.sites if site.name in arrays},
            outputs=outputs.labelled(),
            inputs=texts,
            attrs=self.attrs,
        )


@dataclass(frozen=True)
class Outputs:
    """What a model returned for one batch, by name; the only output of a model has the name ``""``.

    Attributes:
        per_sample: Arrays with the samples first.
        fixed: Arrays that are the same for all samples.
    """

    per_sample: dict[str, np.ndarray]
    fixed: dict[str, np.ndarray]

    def labelled(self) -> xr.DataArray | dict[str, xr.DataArray]:
        """As labelled arrays: a single one as itself."""
        arrays = {name: _output(array, SAMPLE) for name, array in self.per_sample.items()}
        arrays |= {name: _output(array, "output_dim_0") for name, array in self.fixed.items()}
        return arrays[""] if list(arrays) == [""] else arrays


def named_outputs(model: keras.Layer, outputs: Any, batch: Batch) -> Outputs:
    """A model's outputs, whatever their structure, by name and cut to the batch's real samples."""
    length = len(tree.flatten(batch.inputs)[0])
    given = tree.flatten_with_path(outputs)
    names = ["/".join(map(str, path)) for path, _ in given]
    of_model = getattr(model, "output_names", None) or []
    if isinstance(outputs, (list, tuple)) and len(of_model) == len(given):
        names = list(of_model)
    per_sample, fixed = {}, {}
    for name, (_, array) in zip(names, given, strict=True):
        if array is None:
            continue
        if array.ndim and len(array) == length:
            per_sample[name] = array[: batch.size]
        else:
            fixed[name] = array
    return Outputs(per_sample, fixed)


def _output(array: np.ndarray, first: str) -> xr.DataArray:
    dims = (first, *(f"output_dim_{n}" for n in range(1, np.ndim(array))))
    return xr.DataArray(array, dims=dims[: np.ndim(array)])


_DONE = "attnscope_samples"
"""Attribute of a store's root: how many samples it holds whole."""


class InMemory:
    """Collects batches in arrays; where the number of samples is known they are made once, at their full size."""

    done = 0

    def __init__(self, description: Description, total: int | None) -> None:
        self._description = description
        self._total = total
        self._rows: dict[tuple[str, str, str], _Rows] = {}
        self._dims: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._outputs: list[Outputs] = []

    def add(self, arrays: dict[str, SiteArrays], outputs: Outputs) -> None:
        """Takes one batch."""
        for name, site in arrays.items():
            for kind in ("variables", "validity"):
                for variable, (dims, array) in getattr(site, kind).items():
                    key = (name, kind, variable)
                    if key not in self._rows:
                        self._rows[key] = _Rows(self._total, self._description.missing(variable))
                    self._rows[key].add(array)
                    self._dims[key] = dims
        self._outputs.append(outputs)

    def maps(self) -> AttentionMaps:
        """All batches as one."""
        whole: dict[str, SiteArrays] = {}
        for (name, kind, variable), rows in self._rows.items():
            entry = getattr(whole.setdefault(name, SiteArrays()), kind)
            entry[variable] = self._dims[name, kind, variable], rows.whole()
        first = self._outputs[0]
        per_sample = {
            name: merged([outputs.per_sample[name] for outputs in self._outputs]) for name in first.per_sample
        }
        outputs = Outputs(per_sample, first.fixed)
        return self._description.maps(whole, outputs, 0)


class _Rows:
    """Rows of one array, batch by batch."""

    def __init__(self, total: int | None, missing: float | bool) -> None:
        self._total, self._missing = total, missing
        self._whole: np.ndarray | None = None
        self._parts: list[np.ndarray] = []
        self._filled = 0

    def add(self, array: np.ndarray) -> None:
        """Copies the next rows."""
        if self._total is None:
            self._parts.append(array.copy())
            return
        if self._whole is None:
            self._whole = np.empty((self._total, *array.shape[1:]), array.dtype)
        self._whole[self._filled : self._filled + len(array)] = array
        self._filled += len(array)

    def whole(self) -> np.ndarray:
        """All rows."""
        if self._whole is None:
            self._whole = merged(self._parts, self._missing)
            self._parts.clear()
        return self._whole


class OnDisk:
    """Writes each batch behind the last one into a Zarr store.

    Attributes:
        done: Number of samples that the store holds.
    """

    def __init__(self, description: Description, path: str | Path, *, resume: bool = False) -> None:
        self._description = description
        mend = "give another path, remove it, or go on with it: resume=True"
        self._path = free_path(path, mend, overwrite=resume)
        self.done = self._resumed() if self._path.exists() else 0

    def _resumed(self) -> int:
        """Cuts off what a run that broke off wrote of its last batch.

        Returns:
            Number of samples that are whole.
        """
        root: Any = zarr.open_group(self._path, mode="r+")
        nodes = _nodes(root)
        held = {**root.attrs, "sites": sorted(str(node.attrs["site"]) for node in nodes if "site" in node.attrs)}
        held["variables"] = sorted({str(name) for node in nodes for name in node.attrs.get("variables", ())})
        wanted = {
            **self._description.attrs,
            "sites": sorted(site.name for site in self._description.sites),
            "variables": sorted(name for summary in self._description.summaries for name in summary.missing),
        }
        for name, value in wanted.items():
            if _DONE not in held or held.get(name) != value:
                raise InputError(
                    f"{str(self._path)!r} holds another run: its {name} is {held.get(name)!r}, but {value!r} is to be "
                    "captured. Give the model and the options that it was begun with, or another path."
                )
        done = int(held[_DONE])
        for node in nodes:
            for array in node.array_values():
                if (array.metadata.dimension_names or ("",))[0] == SAMPLE:
                    array.resize((done, *array.shape[1:]))
        return done

    def add(self, arrays: dict[str, SiteArrays], outputs: Outputs) -> None:
        """Writes one batch; the store counts it only once it is whole."""
        maps = self._description.maps(arrays, outputs, self.done)
        tree = self._with_long_strings(maps.to_tree())
        done = self.done + maps.num_samples
        with quiet_about_strings():
            if self.done == 0:
                tree.attrs[_DONE] = done
                beside = self._path.with_name(self._path.name + ".part")
                tree.to_zarr(beside, mode="w", zarr_format=3, consolidated=False)
                beside.rename(self._path)
            else:
                for node in tree.subtree:
                    if SAMPLE in node.dims and node.has_data:
                        self._append(node.path, node.to_dataset(inherit=False))
                zarr.open_group(self._path, mode="r+").attrs[_DONE] = done
        self.done = done

    @staticmethod
    def _with_long_strings(tree: xr.DataTree) -> xr.DataTree:
        """Strings of any length: a later batch may bring longer ones than the first."""
        widened: xr.DataTree = tree.map_over_datasets(
            lambda dataset: dataset.assign(
                {
                    name: (variable.dims, variable.values.astype(np.dtypes.StringDType()))
                    for name, variable in dataset.variables.items()
                    if variable.dtype.kind == "U"
                }
            )
        )
        return widened

    def _append(self, group: str, dataset: xr.Dataset) -> None:
        fixed = [name for name in dataset.variables if SAMPLE not in dataset[name].dims]
        existing = xr.open_zarr(self._path, group=group, consolidated=False, chunks=None)
        for dim, size in dataset.sizes.items():
            if dim != SAMPLE and existing.sizes[dim] != size:
                raise InputError(
                    f"The batches differ: {dim!r} of {group!r} has {existing.sizes[dim]} positions in the store and "
                    f"{size} in this batch. Pad all batches to one length, or leave store= out."
                )
        dataset.drop_vars(fixed).to_zarr(
            self._path, group=group, append_dim=SAMPLE, mode="a", zarr_format=3, consolidated=False
        )

    def maps(self) -> AttentionMaps:
        """The store, opened."""
        return open_maps(self._path)


def _nodes(root: Any) -> list[Any]:
    """The group and all groups in it."""
    return [root, *(node for _, node in root.members(max_depth=None) if isinstance(node, zarr.Group))]
