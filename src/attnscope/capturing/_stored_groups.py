"""A captured batch as the datasets that a store takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from attnscope.capturing._destinations import Description, Outputs
from attnscope.capturing._observer import SiteArrays
from attnscope.maps import RAN_EVERYWHERE
from attnscope.schema import RAN
from attnscope.stores import SCALE, Manifest, marked


class Met:
    """What the batches of a run have shown so far that no trace told.

    Attributes:
        unforeseen: Names of sites that a run met, and the trace did not.
        everywhere: For each group of a site, whether it ran for all samples.
    """

    def __init__(self, manifest: Manifest | None = None) -> None:
        self.unforeseen: set[str] = set()
        self.everywhere: dict[str, bool] = {}
        if manifest is not None:
            self.unforeseen = set(json.loads(manifest.groups[""].get("unforeseen", "[]")))
            self.everywhere = {
                group: bool(attributes[RAN_EVERYWHERE])
                for group, attributes in manifest.groups.items()
                if RAN_EVERYWHERE in attributes
            }

    def add(self, later: Met) -> None:
        """Takes up what later batches have shown."""
        self.unforeseen |= later.unforeseen
        for group, ran in later.everywhere.items():
            self.everywhere[group] = self.everywhere.get(group, True) and ran

    def attributes(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of the root, with what was unforeseen."""
        unforeseen = {"unforeseen": json.dumps(sorted(self.unforeseen))} if self.unforeseen else {}
        return {**attrs, **unforeseen}

    def groups(
        self, description: Description, arrays: Mapping[str, SiteArrays], outputs: Outputs, start: int
    ) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
        """One batch as datasets by their path, in memory of their own, and the attributes of the root.

        Args:
            description: What is known of the run beforehand.
            arrays: What was captured.
            outputs: What the model returned.
            start: The number of the first sample, among those that the description knows.
        """
        copied = {name: _copied(site) for name, site in arrays.items()}
        maps = description.maps(copied, outputs, start)
        groups = {path: self._with_ran(path, dataset, copied) for path, dataset in maps.groups().items()}
        self.unforeseen |= description.unforeseen
        return groups, self.attributes(maps.attrs)

    def _with_ran(self, path: str, dataset: xr.Dataset, arrays: Mapping[str, SiteArrays]) -> xr.Dataset:
        """A site's batch that says for which samples it ran: a later one may not run for all."""
        if "site" not in dataset.attrs:
            return dataset
        dims, ran = arrays[dataset.attrs["site"]].validity[RAN]
        self.everywhere[path] = self.everywhere.get(path, True) and bool(ran.all())
        return dataset.assign_coords({RAN: (dims, ran)}).assign_attrs({RAN_EVERYWHERE: self.everywhere[path]})


def with_codes(groups: Mapping[str, xr.Dataset], codes: str) -> dict[str, xr.Dataset]:
    """A batch's datasets that say how their scores are coded."""
    return {path: _marked(dataset, codes) for path, dataset in groups.items()}


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
