"""The sites of a traced run, in the order of their first calls: the steps of a loop are one site."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from attnscope.discovery._dataflow import use_of
from attnscope.discovery._judge import Judge
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._masks import Masks
from attnscope.discovery._roles import in_words
from attnscope.discovery._traced_run import TracedLayer, TracedRun
from attnscope.discovery._written_out import written_out
from attnscope.interception import SitePlan
from attnscope.schema import Site, query_dims


def sites_of(run: TracedRun, lineage: Lineage, masks: Masks) -> list[Site]:
    """The sites in the order of their first calls."""
    rows: dict[str, Site] = {}
    judges = [Judge(call, run.trace, lineage, masks) for call in run.calls]
    for judge in judges:
        for sequence, limit in judge.masked():
            masks.link(sequence, limit)
    groups: dict[str, list[Judge]] = {}
    for judge in judges:
        groups.setdefault(judge.call.at.name, []).append(judge)
    for name, group in groups.items():
        untaken = [judge for judge in group if not judge.call.keys and judge.call.at.loop is None]
        rows[name] = _with_steps((untaken or group)[0].verdict(), [judge for judge in group if judge.call.at.step])
    listed = _without_repeats(list(rows.values()), groups)
    declared = {site.path for site in listed if site.kind == "declared"}
    return [
        replace(site, taken=False, reason="the declared output of its layer replaces it")
        if site.kind != "declared" and any((site.path + "/").startswith(path + "/") for path in declared)
        else site
        for site in listed
    ]


def _with_steps(site: Site, steps: list[Judge]) -> Site:
    """A site in a loop that is run step by step, with a dim for the steps, or the samples where it runs over them."""
    if not steps or not site.dims or not isinstance(site.plan, SitePlan):
        return site
    order = tuple(judge.call.at.step for judge in steps)
    plan = replace(site.plan, conditional=order if any(judge.call.at.conditional for judge in steps) else ())
    if plan.over_samples:
        return replace(site, shape=(len(steps), *site.shape[1:]), plan=plan)
    differs = len({judge.values for judge in steps[:2]}) > 1
    plan = replace(plan, differs=differs)
    if differs and plan.masks:
        plan = replace(plan, in_steps={judge.call.at.step: judge.mask_plans for judge in steps})
    return _over_steps(replace(site, plan=plan), steps)


def _over_steps(site: Site, steps: Sequence[Judge]) -> Site:
    """A site with a dim for the steps of the loop that it is in, which comes from what the loop runs over."""
    over = steps[0].over(steps)
    return replace(
        site,
        dims=(site.dims[0], "step", *site.dims[1:]),
        shape=(site.shape[0], len(steps), *site.shape[1:]),
        lineage={**site.lineage, **({"step": in_words(over)} if over else {})},
    )


def _without_repeats(listed: list[Site], groups: Mapping[str, list[Judge]]) -> list[Site]:
    """The sites, where the calls of a loop of Python's that pool one tensor again and again are one site with steps."""
    by_path: dict[str, list[Site]] = {}
    for site in listed:
        by_path.setdefault(site.path, []).append(site)
    repeats: set[str] = set()
    joined: dict[str, Site] = {}
    for sites_there in by_path.values():
        first, steps = sites_there[0], [groups[site.name][0] for site in sites_there]
        values = {judge.values for judge in steps}
        pools = all(site.taken and site.dims and _asks_once(site) for site in sites_there)
        alike = len({(site.dims, site.shape) for site in sites_there}) == 1
        if len(steps) == 1 or len(values) > 1 or -1 in values or not pools or not alike or "step" in first.dims:
            continue
        conditional = any(judge.call.at.conditional for judge in steps)
        repeats.update(site.name for site in sites_there[1:])
        first = replace(
            first,
            reason=f"{first.reason}, in {len(steps)} steps of a loop",
            plan=replace(  # type: ignore[type-var]
                first.plan,
                calls=tuple(site.name for site in sites_there),
                conditional=tuple((step,) for step in range(len(steps)) if conditional),
            ),
        )
        joined[first.name] = _over_steps(first, steps)
    return [joined.get(site.name, site) for site in listed if site.name not in repeats]


def _asks_once(site: Site) -> bool:
    """Whether it has at most one query."""
    sizes = dict(zip(site.dims, site.shape, strict=True))
    return all(sizes[dim] == 1 for dim in query_dims(site.dims))


def with_written_out(listed: list[Site], run: TracedRun, names: Sequence[str]) -> list[Site]:
    """The sites, and behind them the softmaxes that no call was met for, where each layer that holds one."""
    lineage = Lineage(run.trace.graph, names)
    numbers = run.trace.numbers
    met = {lineage.original(numbers[call.keys["output"]]) for call in run.calls if call.keys.get("output") in numbers}
    inside = {call.at.location.path for call in run.calls if not call.keys or call.kind == "declared"}
    found = list(listed)
    for softmax in written_out(run.trace.graph):
        around = _layer_around(softmax.tensor, run)
        path = "" if around is None else around.path
        if lineage.original(softmax.tensor) in met or path in inside:
            continue
        use = use_of(lineage, softmax.tensor, lineage.symbol(softmax.tensor), softmax.axes)
        reason = _WRITTEN_OUT.format(softmax.form, use.reason)
        index = sum(site.path == path for site in found)
        found.append(
            Site(
                name=path + (f"#{index}" if index else ""),
                path=path,
                full_path=path,
                call_index=index,
                layer_class="" if around is None else type(around.layer).__name__,
                kind="softmax",
                dims=(),
                shape=run.trace.graph.shapes[softmax.tensor],
                dtype="",
                taken=False,
                reason=reason,
                unreached=reason if use.is_attention or use.lost else "",
                plan=SitePlan(None),
            )
        )
    return found


def _layer_around(tensor: int, run: TracedRun) -> TracedLayer | None:
    """The innermost layer that computes a tensor: what it gives comes from there, and what it is given does not."""
    reached = run.trace.graph.reached_from(tensor)

    def any_reached(keys: tuple[Hashable, ...]) -> bool:
        return any(run.trace.numbers.get(key) in reached for key in keys)

    return next((call for call in run.layers if any_reached(call.outputs) and not any_reached(call.inputs)), None)


_WRITTEN_OUT = (
    "it is written out as {}, and only the call of a softmax can be taken ({}); compute it with keras.ops.softmax, or "
    "let the layer return the weights and declare them: ats.declare"
)
