"""`AttentionMaps`: what a capture returns, with every axis named."""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attnscope.errors import (
    STORES,
    IncompleteRunError,
    PatternError,
    SchemaError,
    WouldOverwriteError,
    counted,
    free_path,
)
from attnscope.findings import UNFORESEEN, Findings, findings
from attnscope.labels import LabelsLike, check_that_labels_fit, labelled, read_labels
from attnscope.roles import Roles, declared_roles
from attnscope.schema import (
    MEANINGS,
    RAN,
    SAMPLE,
    SAMPLE_ID,
    SCORES,
    SHORT_NAME,
    UNITS,
    Site,
    SiteTable,
    key_dims,
    known_lineage,
    query_dims,
)
from attnscope.site_names import short_names, short_site_names
from attnscope.stores import (
    HOLDS,
    MANIFEST,
    as_damage,
    attributes_of_store,
    check_codes,
    coded_scores,
    holds_maps,
    names_of_nodes,
    new_store,
    open_groups,
    open_without_checksums,
    read_manifest,
    write_groups,
)

Variable: TypeAlias = tuple[tuple[str, ...], np.ndarray]
"""Names of the dims, and the values."""
WITHOUT_CHECKSUMS = 1
"""Version of the layout of what xarray alone has written."""
MOST_IN_ERRORS = 8
"""How many sites an error names."""
COMPLETE = "attnscope_complete"
"""Attribute of a store's root: False while a run writes to it."""
RAN_EVERYWHERE = "ran_everywhere"
"""Attribute of a stored site: whether it ran for all samples, which then goes without saying."""


class AttentionMaps(Mapping[str, xr.DataArray]):
    """The attention of a model on some samples: one labelled array per site, in the order of execution.

    ``maps["encoder_0/mha"]`` is an `xarray.DataArray` whose dims are some of ``sample, step, window, head, query,
    key``; select with xarray: ``maps["encoder_0/mha"].sel(head=3).isel(sample=0)``. The short name of a site does as
    well, ``maps["layer 0"]``; see `short_names`. If several summaries were captured, this is the first of them, and
    `dataset` gives them all.

    Attributes:
        outputs: What the model returned for the same samples: a DataArray, or a dict of them.
        attrs: The model, the backend, and versions.
    """

    def __init__(
        self,
        datasets: Mapping[str, xr.Dataset],
        *,
        outputs: xr.DataArray | dict[str, xr.DataArray] | None = None,
        inputs: xr.DataArray | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        self._datasets = dict(datasets)
        self.outputs = outputs
        self._inputs = inputs
        self.attrs = dict(attrs or {})

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, ArrayLike] | Iterable[ArrayLike],
        *,
        dims: tuple[str, ...] = (SAMPLE, "head", "query", "key"),
        labels: LabelsLike = None,
        roles: Roles | None = None,
    ) -> AttentionMaps:
        """Maps from elsewhere, with the meaning of their axes declared, never guessed.

        Args:
            arrays: A mapping from site names to arrays, or a sequence of arrays (as `transformers` returns them), which
                are named ``layer_0``, ``layer_1``...
            dims: What the axes of every array are; must include ``sample`` and ``key``.
            labels: Names of positions, as in `capture`.
            roles: Which sequence attends to which: from a pattern of sites to the names of the sequence of their
                queries and of that of their keys, ``{"*": ("text", "text"), "*cross*": ("text", "picture")}``; of
                several patterns that match, the last counts. Without it nothing says whether a site is self- or
                cross-attention, however many queries and keys it has.

        Raises:
            SchemaError: The rank of an array is not the number of dims, a required dim is missing, or the roles match
                no site or do not name two sequences.
            LabelError: The labels fit no axis.

        Example:
            >>> maps = AttentionMaps.from_arrays({"a": np.full((1, 2, 3, 3), 1 / 3)}, labels=["x", "y", "z"])
            >>> maps["a"].sel(head=1, sample=0).sizes
            Frozen({'query': 3, 'key': 3})
        """
        named = arrays if isinstance(arrays, Mapping) else {f"layer_{n}": a for n, a in enumerate(arrays)}
        if SAMPLE not in dims or not key_dims(dims):
            raise SchemaError(
                f"The dims {dims} were given, but 'sample' and 'key' must be among them: "
                "dims=('sample', 'head', 'query', 'key')."
            )
        axis_labels = read_labels(labels)
        sites, arrays_of = [], {}
        for name, array in named.items():
            values = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
            if values.ndim != len(dims):
                raise SchemaError(
                    f"The array {name!r} has shape {values.shape}, but {len(dims)} dims were declared: {dims}. "
                    "Declare one per axis: dims=('sample', 'head', 'query', 'key')."
                )
            shape, dtype = values.shape, str(values.dtype)
            sites.append(
                Site(name, name, name, 0, "", "given", dims, shape, dtype, True, "given", certainty="declared")
            )
            arrays_of[name] = values
        declared = declared_roles(sites, roles or {}, lambda site, glob: fnmatchcase(site.name, glob), SchemaError)
        datasets = {
            site.name: dataset_of(_with_roles(site, declared), {SCORES: (dims, arrays_of[site.name])}, {})
            for site in sites
        }
        check_that_labels_fit({name: axis_sizes(dataset) for name, dataset in datasets.items()}, axis_labels)
        return cls({name: labelled(d, site_from_attrs(d.attrs), axis_labels) for name, d in datasets.items()})

    def __getitem__(self, name: str) -> xr.DataArray:
        name = self._whole_name(name)
        dataset = self._datasets[name]
        array = dataset[next(iter(dataset.data_vars))]
        return array.assign_attrs({**dataset.attrs, SHORT_NAME: self.short_names[name], **array.attrs})

    def _whole_name(self, name: str) -> str:
        """The name of the site that is called so, which may be its short name."""
        if name in self._datasets:
            return name
        whole = next((site for site, short in self.short_names.items() if short == name), None)
        if whole is None:
            raise PatternError(_no_site(name, self.short_names))
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def dataset(self, name: str) -> xr.Dataset:
        """Everything that was captured at one site, by its name or its short name.

        Raises:
            KeyError: There is no such site.
        """
        return self._datasets[self._whole_name(name)]

    def select(self, variable: str) -> AttentionMaps:
        """The same sites with one variable: ``maps.select("received")["encoder_0/mha"]``.

        Raises:
            SchemaError: The variable was not captured.
        """
        missing = [name for name, dataset in self._datasets.items() if variable not in dataset]
        if missing:
            variables = list(self._datasets[missing[0]].data_vars)
            raise SchemaError(
                f"{variable!r} was not captured at {missing[0]!r}, only {variables}. Ask for it: "
                "ats.capture(..., summaries=[ats.Full(), ats.Received(), ats.Entropy()])."
            )
        chosen = {name: dataset[[variable]] for name, dataset in self._datasets.items()}
        return AttentionMaps(chosen, outputs=self.outputs, inputs=self._inputs, attrs=self.attrs)

    @property
    def inputs(self) -> xr.DataArray | None:
        """The raw inputs, dims ``(sample,)``, if they were texts; else None."""
        return self._inputs

    def with_inputs(self, texts: ArrayLike) -> AttentionMaps:
        """The same maps with these raw texts, one per sample."""
        inputs = xr.DataArray(np.asarray(texts, dtype=str), dims=(SAMPLE,), name="input")
        return AttentionMaps(self._datasets, outputs=self.outputs, inputs=inputs, attrs=self.attrs)

    @property
    def sites(self) -> SiteTable:
        """The captured sites as a table."""
        return SiteTable(site_from_attrs(dataset.attrs) for dataset in self._datasets.values())

    @cached_property
    def short_names(self) -> dict[str, str]:
        """What each site is called in pictures and on pages, by its name: ``layer 3`` in place of a path."""
        described = all("full_path" in dataset.attrs for dataset in self._datasets.values())
        return short_site_names(self.sites) if described else short_names(list(self._datasets))

    @cached_property
    def findings(self) -> Findings:
        """What a reader of these maps needs to know: attention on padding, sinks, maps that say nothing..."""
        lost, unreached = (json.loads(self.attrs.get(name, "{}")) for name in ("lost", "unreached"))
        unforeseen = dict.fromkeys(json.loads(self.attrs.get("unforeseen", "[]")), UNFORESEEN)
        return findings(self._datasets, lost, unreached | unforeseen).with_short_names(self.short_names)

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return next((int(dataset.sizes[SAMPLE]) for dataset in self._datasets.values()), 0)

    def to_tree(self) -> xr.DataTree:
        """Everything as one `xarray.DataTree`: a group ``sites/<name>`` for each site, and ``outputs``.

        In the name of a group ``.`` stands for ``/``, and other characters that file systems do not take are written as
        in a URL; the attribute ``site`` is the name itself.
        """
        root = xr.Dataset(attrs={**self.attrs, "attnscope_format": WITHOUT_CHECKSUMS})
        return xr.DataTree.from_dict({"/": root, **self.groups()})

    def groups(self) -> dict[str, xr.Dataset]:
        """The datasets of which a store consists, by their path in it."""
        nodes = names_of_nodes(self._datasets)
        groups = {
            f"sites/{nodes[name]}": dataset.assign_attrs(order=number, variables=list(map(str, dataset.data_vars)))
            for number, (name, dataset) in enumerate(self._datasets.items())
        }
        outputs = self.outputs
        if outputs is not None:
            named = outputs if isinstance(outputs, dict) else {"": outputs}
            groups["outputs"] = xr.Dataset(
                {name or "output": _own_dims(array, name) for name, array in named.items()},
                attrs={"single": not isinstance(outputs, dict)},
            )
        if self._inputs is not None:
            groups["inputs"] = xr.Dataset({"input": self._inputs})
        return groups

    def save(self, path: str | Path, *, overwrite: bool = False, codes: str = "exact") -> Path:
        """Writes everything as one Zarr store that xarray alone can open.

        It is written under another name first, so that at `path` there is all of it or what was there before.

        Args:
            path: Where; its name ends in ``.zarr`` or in nothing.
            overwrite: Whether an earlier store there may be replaced.
            codes: How the scores are stored: ``exact``; ``float16`` (off by 0.00025 at most, half as large); or
                ``uint8`` (off by 0.004 at most, about an eighth).

        Raises:
            WouldOverwriteError: Something exists at `path`, and `overwrite` is False, or it is no store of attnscope.
            InputError: The name of the store ends in something else than ``.zarr``, the codes are unknown, or they
                cannot keep some scores with their stated error.
        """
        check_codes(codes)
        path = free_path(path, "maps.save(path, overwrite=True)", overwrite=overwrite, suffixes=STORES)
        if path.exists() and not holds_maps(path):
            raise WouldOverwriteError(
                f"{str(path)!r} is not a store of attnscope, so it is not replaced, even with overwrite=True. Give "
                "another path."
            )
        groups = {name: coded_scores(dataset, codes) for name, dataset in self.groups().items()}
        with new_store(path) as folder:
            write_groups(folder, groups, self.attrs)
        return path

    def _names_of(self, name: str) -> tuple[str, ...]:
        """A site's short name and its name, as cells of a table; only this where no site has another."""
        both = any(site != short for site, short in self.short_names.items())
        return (self.short_names[name], name) if both else (name,)

    def __repr__(self) -> str:
        size = sum(dataset.nbytes for dataset in self._datasets.values())
        head = (
            f"AttentionMaps: {counted(len(self), 'site')}, {counted(self.num_samples, 'sample')}, {size / 1e6:,.1f} MB"
            + (f", model {self.attrs['model']!r}" if "model" in self.attrs else "")
            + (f" on {self.attrs['backend']}" if "backend" in self.attrs else "")
        )
        columns = [(*self._names_of(name), _described(dataset)) for name, dataset in self._datasets.items()]
        widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
        lines = [
            "".join(f"  {cell.ljust(width)}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in columns
        ]
        shown = lines if len(lines) <= 16 else [*lines[:8], f"  ... {len(lines) - 14} more ...", *lines[-6:]]
        return "\n".join([head, *shown])

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left'><code>{html.escape(one)}</code></td>" for one in self._names_of(name)
            )
            + f"<td style='text-align:left'>{html.escape(_described(dataset))}</td></tr>"
            for name, dataset in self._datasets.items()
        )
        head = html.escape(repr(self).splitlines()[0])
        return f"<details open><summary>{head}</summary><table>{rows}</table></details>"


def _no_site(name: object, short_names: Mapping[str, str]) -> str:
    """Why a name is that of no site: it belongs to several, or to none.

    Args:
        name: What was asked for.
        short_names: The short name of each site, by its name.
    """
    names, shorts = list(short_names), list(short_names.values())
    meant = [short for short in shorts if f" {name}," in f" {short}," or f" {name} " in f" {short} "]
    if len(meant) > 1:
        listed = ", ".join(map(repr, meant[:MOST_IN_ERRORS])) + (", ..." if len(meant) > MOST_IN_ERRORS else "")
        return f"{name!r} may be any of {len(meant)} sites: {listed}. Name one of them: maps[{meant[0]!r}]."
    near = get_close_matches(str(name), shorts, n=3, cutoff=0.75)
    near = near or get_close_matches(str(name), names, n=3, cutoff=0.3) or names[:3]
    nearest = f" The nearest are: {', '.join(map(repr, near))}. All names: list(maps)." if near else ""
    return f"There is no site {name!r} among the {len(names)} that were captured.{nearest}"


def open_maps(path: str | Path) -> AttentionMaps:
    """Opens what `AttentionMaps.save` or ``capture(store=...)`` wrote; arrays are read only when they are used.

    Whatever is read is compared with the checksums in the store.

    Raises:
        FileNotFoundError: Nothing exists at `path`.
        SchemaError: It is not an attnscope run, or one of a newer version.
        IncompleteRunError: The run that wrote it was interrupted.
        DamagedStoreError: Something is damaged or missing; also raised later, when that is read.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist. Write one: maps.save({str(path)!r}).")
    root = attributes_of_store(path)
    if "attnscope_format" not in root:
        inside = [str(file.parent) for file in Path(path).glob(f"*/{MANIFEST}")]
        raise SchemaError(
            f"{str(path)!r} is not an attnscope run: its root has no 'attnscope_format'. "
            + (f"Open what is in it: attnscope.open({inside[0]!r})." if inside else "")
            + ("" if inside else "Turn arrays from elsewhere into maps with ats.AttentionMaps.from_arrays({...}).")
        )
    if HOLDS in root:
        raise SchemaError(
            f"{str(path)!r} holds {root[HOLDS]}, not maps. Read it: xarray.open_zarr({str(path)!r})[{root[HOLDS]!r}]."
        )
    if not root.get(COMPLETE, True):
        raise IncompleteRunError(
            f"{str(path)!r} holds an interrupted run. Resume it with the model and the inputs that it was started "
            f"with: attnscope.capture(model, inputs, store={str(path)!r}, resume=True)."
        )
    with quiet_about_strings(), as_damage(path):
        if root["attnscope_format"] == WITHOUT_CHECKSUMS:
            return _opened(*open_without_checksums(Path(path)))
        manifest = read_manifest(path)
        return _opened(open_groups(Path(path), manifest), dict(manifest.groups[""]))


def _opened(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, Any]) -> AttentionMaps:
    sites = sorted((d for d in groups.values() if "site" in d.attrs), key=lambda dataset: dataset.attrs["order"])
    datasets = {str(dataset.attrs["site"]): _restored(dataset) for dataset in sites}
    for dataset in datasets.values():
        _check_that_it_is_a_site(dataset.attrs)
    inputs = groups["inputs"]["input"] if "inputs" in groups else None
    return AttentionMaps(datasets, outputs=_opened_outputs(groups.get("outputs")), inputs=inputs, attrs=attrs)


def _check_that_it_is_a_site(attrs: Mapping[str, Any]) -> None:
    """Checks that what a site says of itself can be read.

    Raises:
        TypeError: Something is no text where a text is expected.
        ValueError: It cannot be read.
    """
    others = ("call_index", "sinks", "lineage")
    expected = [name for name in attrs_of_site(_NO_SITE) if name not in others]
    for name in [name for name in (*expected, "masks_removed_by") if name in attrs]:
        parts = attrs[name] if isinstance(attrs[name], (list, tuple)) and name == "masks_removed_by" else [attrs[name]]
        if not all(isinstance(part, str) for part in parts):
            raise TypeError(f"{name!r} is {attrs[name]!r}, which is no text")
    if "full_path" in attrs:
        site_from_attrs(attrs)


def _restored(dataset: xr.Dataset) -> xr.Dataset:
    if dataset.attrs.pop(RAN_EVERYWHERE, False):
        dataset = dataset.drop_vars(RAN)
    coordinates = (RAN, SAMPLE_ID)
    names = [name for name in dataset.data_vars if name in coordinates or str(name).endswith(("_label", "_valid"))]
    order = [name for name in dataset.attrs.get("variables", ()) if name in dataset]
    return dataset.set_coords(names)[order] if order else dataset.set_coords(names)


def _opened_outputs(dataset: xr.Dataset | None) -> xr.DataArray | dict[str, xr.DataArray] | None:
    if dataset is None:
        return None
    dataset = dataset.set_coords([name for name in dataset.data_vars if name == SAMPLE_ID])
    if dataset.attrs.get("single"):
        return dataset["output"]
    return {str(name): dataset[name] for name in dataset.data_vars}


def _with_roles(site: Site, declared: Mapping[str, tuple[str, str]]) -> Site:
    """The same site with the sequences that its queries and keys were declared to be."""
    if site.name not in declared:
        return site
    queries, keys = (f"sequence {name!r}" for name in declared[site.name])
    lineage = {**dict.fromkeys(query_dims(site.dims), queries), **dict.fromkeys(key_dims(site.dims), keys)}
    return replace(site, lineage=lineage)


_NO_SITE = Site("", "", "", 0, "", "", (), (), "", True, "")


def dataset_of(site: Site, variables: Mapping[str, Variable], coordinates: Mapping[str, Variable]) -> xr.Dataset:
    """A site's variables as one dataset, with their units, their meaning and the site itself as attributes."""
    dataset = xr.Dataset(
        {
            name: (dims, values, {"units": UNITS.get(name, "1"), "long_name": MEANINGS.get(name, name)})
            for name, (dims, values) in variables.items()
        },
        coords=dict(coordinates),
        attrs=attrs_of_site(site),
    )
    if "head" in dataset.dims:
        dataset = dataset.assign_coords(head=np.arange(dataset.sizes["head"]))
    return dataset


def attrs_of_site(site: Site) -> dict[str, str | int]:
    """A site as plain values, which any store can hold."""
    return {
        "site": site.name,
        "path": site.path,
        "full_path": site.full_path,
        "call_index": site.call_index,
        "layer_class": site.layer_class,
        "kind": site.kind,
        "dims": json.dumps(site.dims),
        "shape": json.dumps(site.shape),
        "dtype": site.dtype,
        "reason": site.reason,
        "sinks": site.sinks,
        "lineage": json.dumps(dict(site.lineage)),
        "certainty": site.certainty,
    }


def site_from_attrs(attrs: Mapping[str, Any]) -> Site:
    """The site that `attrs_of_site` described."""
    return Site(
        name=attrs["site"],
        path=attrs["path"],
        full_path=attrs["full_path"],
        call_index=int(attrs["call_index"]),
        layer_class=attrs["layer_class"],
        kind=attrs["kind"],
        dims=tuple(json.loads(attrs["dims"])),
        shape=tuple(json.loads(attrs["shape"])),
        dtype=attrs["dtype"],
        taken=True,
        reason=attrs["reason"],
        sinks=int(attrs["sinks"]),
        lineage=known_lineage(attrs),
        certainty=attrs.get("certainty", ""),
    )


def axis_sizes(dataset: xr.Dataset) -> dict[str, int]:
    """Sizes of the query and key dims, without learned sinks."""
    num_sinks = int(dataset.attrs.get("sinks", 0))
    keys = key_dims(dataset.dims)
    dims = (*query_dims(dataset.dims), *keys)
    return {dim: int(dataset.sizes[dim]) - (num_sinks if dim in keys else 0) for dim in dims}


def _own_dims(array: xr.DataArray, name: str) -> xr.DataArray:
    """Renames the dims of an output after it, since outputs may differ in size along unnamed axes."""
    return array.rename({dim: f"{name}_{dim}" for dim in array.dims if dim != SAMPLE}) if name else array


def _described(dataset: xr.Dataset) -> str:
    parts = []
    for name, array in dataset.data_vars.items():
        dims = ", ".join(f"{dim} {size}" for dim, size in array.sizes.items())
        parts.append(f"{name} ({dims})")
    return "; ".join(parts) + f"  {dataset.attrs.get('layer_class', '')}"


class quiet_about_strings(warnings.catch_warnings):  # noqa: N801, a context manager
    """Silences Zarr's warning that version 3 does not specify its string type yet; all readers in use have it."""

    def __enter__(self) -> list[warnings.WarningMessage] | None:
        log = super().__enter__()
        warnings.filterwarnings("ignore", message=".*Zarr V3 specification.*")
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3.*")
        return log
