"""What is known of a model at one length of its inputs, at another one: only what follows from the lineage is changed.

It holds if the model does the same at both lengths, which is for the caller to find out: a condition on a shape, in
Python, may do anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from attnscope.discovery._discover import Discovery
from attnscope.interception import Layout, MaskPlan, Plan, SitePlan
from attnscope.schema import SAMPLE, Portion, Site, SiteTable, Source, axes_of_inputs, key_dims

Shapes = Mapping[str, tuple[int, ...]]
"""Of the inputs, by their names."""
_AXIS = re.compile(r"axis (\d+)")


def at_lengths(discovery: Discovery, before: Shapes, now: Shapes) -> Discovery | None:
    """What a trace on inputs of other lengths would show, if the model does the same with them.

    The size of a dim changes where its positions are a whole axis of inputs, as the lineage says, and nowhere else.

    Args:
        discovery: What a trace showed.
        before: Shapes of the inputs of that trace.
        now: Shapes of the others.

    Returns:
        The same at these lengths; None where the lineage does not tell all sizes, where a site is in a loop or may run
        only sometimes, and where an axis has one position, which is repeated along any other.
    """
    if before.keys() != now.keys() or not all(_alike(before[name], now[name]) for name in before):
        return None
    if discovery.plan.unroll or discovery.plan.branches or discovery.plan.steps:
        return None
    resizing = _Resizing(before, now)
    sites = [resizing.site(site) for site in discovery.sites]
    known = SiteTable(site for site in sites if site is not None)
    if len(known) < len(sites):
        return None
    return replace(discovery, sites=known, plan=Plan.of(known))


def _alike(before: tuple[int, ...], now: tuple[int, ...]) -> bool:
    """Whether two shapes differ in lengths alone, and no axis has one position in only one of them."""
    if len(before) != len(now) or before[:1] != now[:1]:
        return False
    return all(one == other or min(one, other) > 1 for one, other in zip(before, now, strict=True))


@dataclass(frozen=True)
class _Resizing:
    """Sites at other lengths."""

    before: Shapes
    now: Shapes

    def site(self, site: Site) -> Site | None:
        """A site at the other lengths; None where they do not tell all of it."""
        if site.loop is not None or not isinstance(site.plan, SitePlan):
            return None
        if not site.dims:
            return site
        plan = site.plan
        once = not (plan.over_samples or plan.differs or plan.in_steps or plan.conditional or "step" in site.dims)
        if plan.layout is None or site.certainty != "traced" or not once:
            return None
        old = dict(zip(site.dims, site.shape, strict=True))
        new = {dim: self._size(site, dim, size) for dim, size in old.items()}
        changed = {dim: size for dim, size in new.items() if size is not None and size != old[dim]}
        layout, masks = _layout(plan.layout, changed), self._masks(plan, old, changed)
        if None in new.values() or layout is None or masks is None:
            return None
        sources = {dim: tuple(map(self._source, each)) for dim, each in site.sources.items()}
        return replace(
            site,
            shape=tuple(changed.get(dim, size) for dim, size in old.items()),
            sources=sources,
            plan=replace(plan, layout=layout, masks=masks),
        )

    def _size(self, site: Site, dim: str, old: int) -> int | None:
        """The size of a dim; None where it is not known."""
        sources = [] if dim == SAMPLE else site.sources.get(dim, ())
        moved = [source for source in sources if self._changed(source)]
        if not moved:
            return old
        sinks = site.sinks if dim in key_dims(site.dims) else 0
        sizes = {self._length(source, old - sinks) for source in sources}
        (size,) = sizes if len(sizes) == 1 else (None,)
        return None if size is None else size + sinks

    def _changed(self, source: Source) -> bool:
        return any(self.before.get(name) != self.now.get(name) for name in source.inputs)

    def _length(self, source: Source, old: int) -> int | None:
        """How many positions an axis of inputs has now, where all of them lie along the dim in their order."""
        whole = [portion for portion in source.portions if portion.name and portion.is_whole]
        axes = [(_AXIS.fullmatch(what), name) for what, name in axes_of_inputs(source.positions)]
        if len(source.portions) != 1 or not whole or whole[0].size != old or not axes:
            return None
        lengths = {(self.before[name][int(m[1])], self.now[name][int(m[1])]) if m else (-1, -1) for m, name in axes}
        ((first, length),) = lengths if len(lengths) == 1 else ((-1, -1),)
        return length if first == old else None

    def _source(self, source: Source) -> Source:
        if not self._changed(source):
            return source
        (portion,) = source.portions
        length = self._length(source, portion.size)
        return replace(source, portions=(_resized(portion, length if length is not None else portion.size),))

    @staticmethod
    def _masks(plan: SitePlan, old: Mapping[str, int], changed: Mapping[str, int]) -> dict[str, MaskPlan] | None:
        """The padding masks; None where that of a dim that changes is not one whole mask."""
        masks = dict(plan.masks)
        for dim in changed.keys() & masks.keys():
            parts, dims = masks[dim].parts, masks[dim].dims
            if len(parts) != 1 or not parts[0].name or not parts[0].is_whole or dims != ((dim, parts[0].size),):
                return None
            length = changed[dim] - old[dim] + parts[0].size  # sinks are keys without a mask
            masks[dim] = MaskPlan((_resized(parts[0], length),), ((dim, length),))
        return masks


def _resized(portion: Portion, size: int) -> Portion:
    return replace(portion, size=size, total=size)


def _layout(layout: Layout, changed: Mapping[str, int]) -> Layout | None:
    """A layout with other sizes of some dims; None where one of them lies in several axes."""
    there = [dim for parts in layout.axes for dim, _ in parts]
    if any(there.count(dim) != 1 for dim in changed):
        return None
    axes = tuple(tuple((dim, changed.get(dim, size)) for dim, size in parts) for parts in layout.axes)
    return replace(layout, axes=axes)
