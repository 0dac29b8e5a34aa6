"""The handler that observes: what a compiled run returns for each site, and how it becomes labelled arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from keras import ops

from attnscope.capturing._codes import Codes
from attnscope.capturing._full import dtype_of, keeps_maps
from attnscope.capturing._summaries import PerQuery, Summary
from attnscope.interception import Block, Call, Handler, Layout, SitePlan, any_along
from attnscope.schema import RAN, SAMPLE, SCORES, TOP_SCORES, Site, SiteTable
from attnscope.tensors import Tensor

QUERY_VALID, KEY_VALID = "query_valid", "key_valid"
_STEP = "step"
"""Among what a call gives: its number among the steps, where it may run in some of them alone."""


@dataclass
class SiteArrays:
    """What one batch gave for one site: variables and validity, each with its dims, samples first."""

    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = field(default_factory=dict)
    validity: dict[str, tuple[tuple[str, ...], np.ndarray]] = field(default_factory=dict)


class Observer:
    """Computes summaries of chosen sites inside a compiled run.

    Args:
        chosen: The sites.
        summaries: What to keep of each site.
        known: Names of all sites that the trace met.
    """

    def __init__(self, chosen: SiteTable, summaries: Sequence[Summary], known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._names = set(chosen.names)
        self._sites = chosen
        self._summaries = list(summaries)
        self._in_loops: set[str] = set()
        plans = {site.name: site.plan for site in chosen if isinstance(site.plan, SitePlan)}
        self._layouts = {name: plan.layout for name, plan in plans.items() if plan.layout is not None}
        self._over_samples = {name for name, plan in plans.items() if plan.over_samples}
        self._keys_differ = {name for name, plan in plans.items() if plan.differs}
        self._conditional = {name: plan.conditional for name, plan in plans.items() if plan.conditional}

    @property
    def reads_tiles(self) -> bool:
        """Whether no summary keeps whole maps, so that the matrix need not exist."""
        return not any(keeps_maps(summary) for summary in self._summaries)

    def handlers(self, extras: dict[str, Tensor]) -> tuple[Handler, dict[str, list[dict[str, Tensor]]]]:
        """A handler, and the dict it fills: for each site one entry per step, and none for one that no trace met."""
        collected: dict[str, list[dict[str, Tensor]]] = {}

        def handler(call: Call) -> None:
            if call.name in self._names:
                self._layouts[call.name] = call.layout
                if call.at.step:
                    self._in_loops.add(call.name)
                arrays = self._observed(call)
                if call.name in self._conditional:
                    known = self._conditional[call.name]
                    step = known.index(call.at.step) if call.at.step in known else call.at.step[-1]
                    arrays[_STEP] = ops.convert_to_tensor(step, "int32")
                collected.setdefault(call.name, []).append(arrays)
            elif call.name not in self._known:
                collected.setdefault(call.name, [])

        return handler, collected

    def _observed(self, call: Call) -> dict[str, Tensor]:
        layout = call.layout
        wants_all = any(summary.needs_all for summary in self._summaries)
        read = partial(Call.read, call) if wants_all else call.read
        arrays = read([*self._summaries, _ValidQueries(any(summary.by_head for summary in self._summaries))])
        key_valid, everything = call.key_valid(), _all_of(layout, layout.key_dims)
        arrays[KEY_VALID] = everything if key_valid is None else ops.logical_and(everything, key_valid)
        if layout.query_dims:
            arrays[QUERY_VALID] = _for_any_head(arrays[QUERY_VALID], layout)
        else:
            arrays.pop(QUERY_VALID)
        return arrays

    def arrays(self, collected: dict[str, list[dict[str, np.ndarray]]], size: int) -> dict[str, SiteArrays]:
        """The first `size` samples of what a run returned, with dims and with validity filled in.

        Where a site did not run, because a condition went another way, its values are missing and nothing is valid.
        """
        return {site.name: self._site_arrays(site, collected.get(site.name, []), size) for site in self._sites}

    def unforeseen(self, collected: dict[str, list[dict[str, np.ndarray]]]) -> set[str]:
        """Names of sites that a run met, and the trace did not."""
        return {name for name in collected if name not in self._known}

    def _site_arrays(self, site: Site, steps: list[dict[str, np.ndarray]], size: int) -> SiteArrays:
        name = site.name
        layout = self._layouts[name]
        loops = name in self._in_loops if steps else "step" in site.dims
        steps = self._all_steps(site, layout, steps, size)
        if name in self._over_samples:
            steps = [{variable: np.concatenate([step[variable] for step in steps]) for variable in steps[0]}]
            loops = False
        result = SiteArrays()
        for summary in self._summaries:
            for variable in summary.missing:
                dims, is_final = summary.dims(layout.dims), isinstance(summary, Codes) or dtype_of(summary) is not None
                result.variables[variable] = _stacked(steps, variable, dims, size, loops, is_final=is_final)
        window = tuple(dim for dim in layout.dims if dim == "window")
        for variable, along in ((QUERY_VALID, layout.query_dims), (KEY_VALID, layout.key_dims)):
            if along:
                dims, array = _stacked(steps, variable, (SAMPLE, *window, *along), size, loops)
                if loops and variable == KEY_VALID and name not in self._keys_differ:
                    dims, array = (dims[0], *dims[2:]), np.asarray(array.any(axis=1))
                result.validity[variable] = dims, array.astype(bool)
        dims, array = _stacked(steps, RAN, (SAMPLE,), size, loops)
        result.validity[RAN] = dims, array
        return result

    def _all_steps(
        self, site: Site, layout: Layout, steps: list[dict[str, np.ndarray]], size: int
    ) -> list[dict[str, np.ndarray]]:
        """What every step gave, those too in which the site did not run; one step where it is in no loop."""
        ran = [{**step, RAN: np.ones(len(step[KEY_VALID]), bool)} for step in steps]
        if ran and _STEP not in ran[0]:
            return ran
        numbered = {int(step.pop(_STEP)): step for step in ran}
        over_samples = site.name in self._over_samples
        sizes = dict(zip(site.dims, site.shape, strict=True))
        missing = self._missing(site, layout, 1 if over_samples else size)
        count = size if over_samples else sizes.get("step", 1)
        return [numbered.get(number, missing) for number in range(count)]

    def _missing(self, site: Site, layout: Layout, size: int) -> dict[str, np.ndarray]:
        """What stands for a call that did not happen: no values, and nothing is valid."""
        sizes = dict(zip(layout.dims, layout.shape, strict=True)) | {SAMPLE: size}
        arrays = {RAN: np.zeros(size, bool)}
        for summary in self._summaries:
            known = sizes | dict(summary.sizes_at(sizes))
            for variable, filler in summary.missing.items():
                shape = [known[dim] for dim in summary.dims(layout.dims)]
                value, dtype = _no_value(variable, filler, site.dtype)
                arrays[variable] = np.full(shape, value, dtype_of(summary) or dtype)
        for variable, along in ((QUERY_VALID, layout.query_dims), (KEY_VALID, layout.key_dims)):
            dims = [dim for dim in layout.dims if dim in (SAMPLE, "window", *along)]
            arrays[variable] = np.zeros([sizes[dim] for dim in dims], bool)
        return arrays


def _no_value(variable: str, filler: float, dtype: str) -> tuple[float, str]:
    """What stands for a value of a variable that is not there, and the variable's dtype."""
    if isinstance(filler, int):
        return filler, "int32"
    return np.nan, "float64" if variable in (SCORES, TOP_SCORES) and dtype == "float64" else "float32"


def _all_of(layout: Layout, dims: tuple[str, ...]) -> Tensor:
    """True for every sample, window and position along `dims`."""
    sizes = dict(zip(layout.dims, layout.shape, strict=True))
    return ops.ones([size for dim, size in sizes.items() if dim in (SAMPLE, "window", *dims)], dtype="bool")


class _ValidQueries(PerQuery):
    """Whether each query is valid, dims without the keys."""

    variable = QUERY_VALID

    def __init__(self, by_head: bool) -> None:
        self.by_head = by_head

    def values(self, block: Block) -> Tensor:
        """Those of the block."""
        shape = block.row_shape
        return ops.ones(shape, "bool") if block.query_valid is None else ops.broadcast_to(block.query_valid, shape)


def _for_any_head(valid: Tensor, layout: Layout) -> Tensor:
    """Whether each query is valid for any head, dims sample, window and queries."""
    dims = layout.dims[: len(layout.dims) - layout.num_keys]
    merged = tuple(
        axis for axis, dim in enumerate(dims) if dim not in (SAMPLE, "window") and not dim.startswith("query")
    )
    return any_along(valid, axis=merged) if merged else valid


def _stacked(
    steps: list[dict[str, np.ndarray]],
    variable: str,
    dims: tuple[str, ...],
    size: int,
    loops: bool,
    *,
    is_final: bool = False,
) -> tuple[tuple[str, ...], np.ndarray]:
    values = [step[variable] if is_final else _standard_float(step[variable]) for step in steps]
    arrays = [_samples(array, size) for array in values]
    if not loops:
        return dims, arrays[0]
    return (SAMPLE, "step", *dims[1:]), np.stack(arrays, axis=1)


def _samples(array: np.ndarray, size: int) -> np.ndarray:
    """The real samples; attention that is the same for all of them (with learned queries) is repeated."""
    return np.broadcast_to(array, (size, *array.shape[1:])) if len(array) == 1 < size else array[:size]


def _standard_float(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array
