"""What one call is: attention or not, and where each axis of its scores comes from.

Fused calls and softmaxes in Keras' own attention layers are attention by definition; for every other softmax
`_dataflow` decides, by what its scores are used for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras

from attnscope.backends import Trace
from attnscope.discovery._axes import Axis, Symbol, is_data, is_picked, together
from attnscope.discovery._dataflow import Use, use_of
from attnscope.discovery._lineage import Lineage
from attnscope.discovery._masks import Masks
from attnscope.discovery._origins import Made, Origin, Samples
from attnscope.discovery._portions import sources_of
from attnscope.discovery._roles import Roles, in_words, roles_of
from attnscope.discovery._traced_run import TracedCall
from attnscope.interception import Layout, MaskPlan, SitePlan
from attnscope.schema import Site

_ATTENDING = (
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
)
_BY_KIND = {"declared": "declared by the user", "fused": "a fused attention call"}


@dataclass(frozen=True)
class Judge:
    """Decides what one call is."""

    call: TracedCall
    trace: Trace
    lineage: Lineage
    masks: Masks

    @property
    def _is_traced(self) -> bool:
        keys = self.call.keys
        return bool(keys) and all(key in self.trace.numbers for key in keys.values()) and self.call.kind != "declared"

    @cached_property
    def _scores(self) -> Symbol:
        """Where the axes of the scores come from, as they came."""
        if self.call.kind == "softmax":
            return self.lineage.with_samples(self.lineage.symbol(self._number("logits")))
        query, key = (self.lineage.symbol(self._number(name)) for name in ("query", "key"))
        samples = together([query[0], key[0]], self.call.shape[0], Made(self._number("query"), 0))
        return self.lineage.with_samples((samples, query[2], query[1], key[1]))

    @property
    def values(self) -> int:
        """Number of the tensor that the scores weight; -1 where it is not known."""
        return self.lineage.original(self._use.values) if self._is_traced else -1

    def over(self, steps: Sequence[Judge]) -> Axis:
        """What the loop around these calls runs over; empty where it is not known."""
        tensor = "logits" if self.call.kind == "softmax" else "query"
        traced = all(judge._is_traced and tensor in judge.call.keys for judge in steps)
        return self.lineage.in_steps([judge._number(tensor) for judge in steps]) if traced else ()

    @property
    def _over_samples(self) -> bool:
        """Whether each step of the loop around it is one sample."""
        if not self.call.at.step or self.call.kind != "softmax":
            return False
        steps = self.lineage.steps.get(self._number("logits"), {})
        return any(origin == Samples() and first == last for (origin, _), (first, last) in steps.items())

    @cached_property
    def _use(self) -> Use:
        if self.call.kind == "softmax":
            axes = tuple(axis % len(self._scores) for axis in self.call.axes)
            return use_of(self.lineage, self._number("output"), self._scores, axes)
        values = self._number("value")
        shared, value = _all_but(self._scores, 2), self.lineage.symbol(values)[1]
        return Use(True, _BY_KIND["fused"], shared=shared, values=values, value=value)

    def masked(self) -> Iterator[tuple[Axis, Axis]]:
        """The sequence of the keys, and what a mask was laid along it."""
        if not self._is_traced or not self._use.value:
            return
        yield self._use.value, self._scores[self.call.axes[-1]]
        for name in ("mask", "bias"):
            if name in self.call.keys:
                limit = self.lineage.symbol(self._number(name))
                yield self._use.value, limit[-1] if limit else ()

    def verdict(self) -> Site:
        """The site."""
        call = self.call
        if not call.keys:  # out of reach; in a loop that can be unrolled it is judged then
            unreached = call.reason if call.at.loop is None else ""
            taken = call.at.loop is not None
            return self._site(taken=taken, reason=call.reason, unreached=unreached, plan=SitePlan(None))
        if call.kind == "declared":
            return self._labelled(call.by_size, {}, "declared", taken=True, reason=_BY_KIND["declared"])
        if not self._is_traced:
            reason = "its use cannot be traced; to capture it, ask for it by name"
            return self._labelled(call.by_size, {}, "by size", taken=False, reason=reason)
        use, layer = self._use, call.at.location.layer
        taken, reason = use.is_attention, use.reason
        if call.kind == "softmax" and isinstance(layer, _ATTENDING):
            taken, reason = True, f"a softmax in {type(layer).__name__}"
        taken = taken or (bool(use.lost) and call.at.loop is not None)  # decided once its loop is run step by step
        heads = 1 if call.kind == "fused" else None
        roles = roles_of(
            self._scores, call.shape, call.axes, use.shared, use.picked, heads=heads, apart=self._over_samples
        )
        roles = replace(roles, guess=roles.guess or use.guess)
        site = self._with_roles(roles, use.value, reason, taken=taken, sinks=use.unweighted_keys)
        return site if taken else replace(site, lost=use.lost)

    @property
    def mask_plans(self) -> Mapping[str, MaskPlan]:
        """The padding masks of its dims."""
        plan = self.verdict().plan
        return plan.masks if isinstance(plan, SitePlan) else {}

    def _number(self, name: str) -> int:
        return self.trace.numbers[self.call.keys[name]]

    def _with_roles(self, roles: Roles, value: Axis, reason: str, *, taken: bool, sinks: int = 0) -> Site:
        if roles.layout is None:
            return self._labelled(self.call.by_size, {}, "by size", taken=taken, reason=reason, sinks=sinks)
        origins = {dim: self.masks.without_masks(axis) for dim, axis in roles.origins.items()}
        if "key" in origins and value and not sinks and not (is_picked(value) and _is_data(origins["key"])):
            origins["key"] = self.masks.without_masks(value)
        certainty = "by size" if roles.guess else "traced"
        return self._labelled(roles.layout, origins, certainty, taken=taken, reason=reason, sinks=sinks)

    def _labelled(
        self,
        layout: Layout | None,
        origins: Mapping[str, Axis],
        certainty: str,
        *,
        taken: bool,
        reason: str,
        sinks: int = 0,
    ) -> Site:
        if layout is None:
            return self._site(taken=False, reason=self.call.reason or reason, plan=SitePlan(None))
        return self._site(
            dims=layout.dims,
            shape=layout.shape,
            taken=taken,
            reason=reason,
            sinks=sinks,
            lineage={dim: in_words(origins[dim]) for dim in layout.dims if origins.get(dim)},
            certainty=certainty,
            sources={dim: sources for dim in layout.dims if (sources := sources_of(origins.get(dim, ())))},
            plan=self._plan(layout, origins),
        )

    def _plan(self, layout: Layout, origins: Mapping[str, Axis]) -> SitePlan:
        masks = self.masks.of(origins, self.call.masks, self._at)
        return SitePlan(layout, masks, over_samples=self._is_traced and self._over_samples)

    @property
    def _at(self) -> list[tuple[Origin, int, int]]:
        """The single positions of axes that its scores were made from."""
        tensor = "logits" if self.call.kind == "softmax" else "query"
        if not self._is_traced or tensor not in self.call.keys:
            return []
        steps = self.lineage.steps.get(self._number(tensor), {})
        return [(origin, total, first) for (origin, total), (first, last) in steps.items() if first == last]

    def _site(self, **rest: Any) -> Site:
        at = self.call.at
        layer = at.location.layer
        return Site(
            **{"dims": (), "shape": self.call.shape, **rest},
            name=at.name,
            path=at.location.path,
            full_path=at.location.full_path,
            call_index=at.index,
            layer_class="" if layer is None else type(layer).__name__,
            kind=self.call.kind,
            dtype=self.call.dtype,
            loop=at.loop,
        )


def _is_data(axis: Axis) -> bool:
    return any(map(is_data, axis))


def _all_but(symbol: Symbol, axis: int) -> frozenset[tuple[int, int]]:
    """All factors but those of one axis."""
    return frozenset(
        (number, place) for number, factors in enumerate(symbol) if number != axis for place in range(len(factors))
    )
