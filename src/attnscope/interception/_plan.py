"""What a trace of the model found out that a run of it needs to know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from attnscope.interception._layout import Layout
from attnscope.schema import Portion, Site

Counts = Counter[tuple[str, tuple[int, ...]]]
"""How many calls there were at each path and step."""
COMPILED_FUNCTIONS = "functions that layers compiled for themselves"
"""Stands among the loops to unroll for these functions, which then run as part of what runs around them."""


@dataclass(frozen=True)
class MaskPlan:
    """The padding mask of a dim.

    Attributes:
        parts: What lies behind each other along its positions.
        dims: The dims that the positions are split into, the outermost first, each with its size in the trace: the dim
            itself, and windows where the mask differs between them.
    """

    parts: tuple[Portion, ...]
    dims: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class SitePlan:
    """What is known of one site.

    Attributes:
        layout: What its axes mean, for the sizes of the trace; None where that is not known.
        masks: For each dim whose positions have a padding mask, what that is.
        differs: Whether its keys are other ones in each step of the loop around it.
        over_samples: Whether the loop around it runs over the samples.
        in_steps: The masks of each step of the loop around it, where each has others.
        calls: Names of the calls that are its steps, in a loop of Python's; empty where it is one call.
        branches: How many calls there are in each branch of the model's conditions, by the condition's name.
        conditional: The steps of the loop around it, in their order, if it may run in some of them alone.
    """

    layout: Layout | None
    masks: Mapping[str, MaskPlan] = field(default_factory=dict)
    differs: bool = False
    over_samples: bool = False
    in_steps: Mapping[tuple[int, ...], Mapping[str, MaskPlan]] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    branches: Mapping[str, Sequence[Counts]] = field(default_factory=dict)
    conditional: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is known of a model.

    Attributes:
        unroll: Names of the loops to run step by step.
        sites: By name.
        steps: Names of calls that are steps of a loop of Python's, with the number of the step.
        branches: How many calls there are in each branch of a condition, by its name.
    """

    unroll: frozenset[str] = frozenset()
    sites: Mapping[str, SitePlan] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    branches: Mapping[str, Sequence[Counts]] = field(default_factory=dict)

    @classmethod
    def of(cls, sites: Iterable[Site], unroll: frozenset[str] = frozenset()) -> Plan:
        """What is known of these sites."""
        plans = {site.name: site.plan for site in sites if isinstance(site.plan, SitePlan)}
        steps = {call: step for plan in plans.values() for step, call in enumerate(plan.calls)}
        branches = {name: counts for plan in plans.values() for name, counts in plan.branches.items()}
        return cls(unroll, plans, steps, branches)
