"""Turns captured batches into labelled maps, and collects them in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import xarray as xr
from keras import tree

from attnscope._version import __version__
from attnscope.capturing._full import dtype_of, keeps_maps
from attnscope.capturing._observer import SiteArrays
from attnscope.capturing._position_kinds import position_kinds
from attnscope.capturing._summaries import Summary
from attnscope.errors import InputError
from attnscope.labels import AxisLabels, labelled
from attnscope.maps import AttentionMaps, dataset_of
from attnscope.model_names import model_name
from attnscope.position_kinds import InputContent
from attnscope.running import Batch, merged, output_names, units_of_outputs
from attnscope.schema import RAN, SAMPLE, SAMPLE_ID, Site, SiteTable
from attnscope.stores import HALF, marked
from attnscope.tensors import Tree


@dataclass(frozen=True)
class Description:
    """What is known about a run beforehand."""

    model: keras.Layer
    sites: SiteTable
    summaries: Sequence[Summary]
    labels: list[AxisLabels]
    texts: xr.DataArray | None
    removed_masks: dict[str, tuple[str, ...]]
    lost: dict[str, str]
    unreached: dict[str, str]
    inputs: Mapping[str, InputContent]
    ids: np.ndarray | None = None
    computation: str = ""
    unforeseen: set[str] = field(default_factory=set)

    @property
    def attrs(self) -> dict[str, str]:
        """What the result says about how it was made."""
        return {
            "model": model_name(self.model),
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
            "attnscope": __version__,
            **({"lost": json.dumps(self.lost)} if self.lost else {}),
            **({"unreached": json.dumps(self.unreached)} if self.unreached else {}),
            **({"unforeseen": json.dumps(sorted(self.unforeseen))} if self.unforeseen else {}),
        }

    def of_samples(self, start: int, stop: int) -> Description:
        """The same of some samples only."""
        return replace(
            self,
            labels=[item.of_samples(start, stop) for item in self.labels],
            texts=None if self.texts is None else self.texts[start:stop],
            ids=None if self.ids is None else self.ids[start:stop],
        )

    def missing(self, variable: str) -> float | bool:
        """What fills a variable where a batch of shorter samples has no position."""
        return next((s.missing[variable] for s in self.summaries if variable in s.missing), False)

    def dataset(self, site: Site, arrays: SiteArrays, start: int) -> xr.Dataset:
        """One site's arrays as a labelled dataset; `start` is the number of their first sample."""
        dataset = dataset_of(site, arrays.variables, arrays.validity)
        if any(keeps_maps(summary) and dtype_of(summary) == HALF for summary in self.summaries):
            dataset = _halved(dataset)
        if bool(dataset[RAN].all()):
            dataset = dataset.drop_vars(RAN)
        positions = position_kinds(site, self.inputs)
        if positions:
            dataset = dataset.assign_attrs(positions=json.dumps(positions))
        removed = list(self.removed_masks.get(site.name, ()))
        if removed:
            dataset = dataset.assign_attrs(masks_removed_by=removed)
        samples = dataset.sizes[SAMPLE]
        dataset = dataset.assign_coords(self._named(start, samples))
        return labelled(dataset, site, [item.of_samples(start, start + samples) for item in self.labels])

    def _named(self, start: int, count: int) -> dict[str, tuple[str, np.ndarray]]:
        """The coordinate that says what some samples are called, where it is known."""
        return {} if self.ids is None else {SAMPLE_ID: (SAMPLE, self.ids[start : start + count])}

    def maps(self, arrays: dict[str, SiteArrays], outputs: Outputs, start: int) -> AttentionMaps:
        """All sites' arrays of some samples as labelled maps."""
        count = len(next(iter(next(iter(arrays.values())).variables.values()))[1])
        texts = None if self.texts is None else self.texts[start : start + count]
        return AttentionMaps(
            {site.name: self.dataset(site, arrays[site.name], start) for site in self.sites if site.name in arrays},
            outputs=outputs.labelled(self._named(start, count)),
            inputs=texts,
            attrs=self.attrs,
        )


def _halved(dataset: xr.Dataset) -> xr.Dataset:
    """A site's scores in half precision, with their worst error.

    Raises:
        InputError: It is larger than what is stated.
    """
    try:
        return marked(dataset, HALF)
    except InputError:
        raise InputError(
            f"Some scores at {dataset.attrs['site']!r} are below -1, above 1 or not finite, but Full(dtype='float16') "
            "keeps its stated error only from -1 to 1. Keep them as they are: summaries=[ats.Full()]."
        ) from None


@dataclass(frozen=True)
class Outputs:
    """What a model returned for one batch, by name; a single output has the name ``""``.

    Attributes:
        per_sample: Arrays with the samples first.
        fixed: Arrays that are the same for all samples.
        units: ``probability`` or ``logit`` of each of which the model says it.
    """

    per_sample: dict[str, np.ndarray]
    fixed: dict[str, np.ndarray]
    units: dict[str, str]

    def labelled(self, coordinates: Mapping[str, tuple[str, np.ndarray]]) -> xr.DataArray | dict[str, xr.DataArray]:
        """As labelled arrays; a single output is not wrapped.

        Args:
            coordinates: What is known of the samples.
        """
        arrays = {name: _output(array, SAMPLE).assign_coords(coordinates) for name, array in self.per_sample.items()}
        arrays |= {name: _output(array, "output_dim_0") for name, array in self.fixed.items()}
        arrays |= {name: arrays[name].assign_attrs(units=unit) for name, unit in self.units.items() if name in arrays}
        return arrays[""] if list(arrays) == [""] else arrays


def named_outputs(model: keras.Layer, outputs: Tree, batch: Batch) -> Outputs:
    """A model's outputs, whatever their structure, by name and cut to the batch's real samples."""
    length = len(tree.flatten(batch.inputs)[0])
    per_sample, fixed = {}, {}
    names, units = output_names(model, outputs), units_of_outputs(model)
    for name, array in zip(names, tree.flatten(outputs), strict=True):
        if array is None:
            continue
        if array.ndim and len(array) == length:
            per_sample[name] = array[: batch.size]
        else:
            fixed[name] = array
    known = dict(zip(names, units, strict=True)) if len(units) == len(names) else {}
    return Outputs(per_sample, fixed, {name: unit for name, unit in known.items() if unit})


def _output(array: np.ndarray, first: str) -> xr.DataArray:
    dims = (first, *(f"output_dim_{n}" for n in range(1, np.ndim(array))))
    return xr.DataArray(array, dims=dims[: np.ndim(array)])


class InMemory:
    """Collects batches in arrays; if the number of samples is known, they are made once, at their full size."""

    def __init__(self, description: Description, total: int | None) -> None:
        self._description = description
        self._total = total
        self._rows: dict[tuple[str, str, str], _Rows] = {}
        self._dims: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._outputs: list[Outputs] = []

    def skips(self, batch: Batch) -> bool:
        """Never: no batch is stored beforehand."""
        return False

    def add(self, arrays: dict[str, SiteArrays], outputs: Outputs) -> None:
        """Adds one batch."""
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
        outputs = Outputs(per_sample, first.fixed, first.units)
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
