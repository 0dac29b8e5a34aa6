"""What a trace of the model found out that a run of it needs to know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from attnscope.interception._layout import Layout
from attnscope.schema import Site


@dataclass(frozen=True)
class SitePlan:
    """What is known of one site.

    Attributes:
        layout: What its axes mean, for the sizes of the trace; None where that is not known.
        masks: For each dim whose positions have a padding mask, the name of that mask.
        differs: Whether its keys are other ones in each step of the loop around it.
    """

    layout: Layout | None
    masks: Mapping[str, str] = field(default_factory=dict)
    differs: bool = False


@dataclass(frozen=True)
class Plan:
    """What is known of a model.

    Attributes:
        unroll: Names of the loops to run step by step.
        sites: By name.
    """

    unroll: frozenset[str] = frozenset()
    sites: Mapping[str, SitePlan] = field(default_factory=dict)

    @classmethod
    def of(cls, sites: Iterable[Site], unroll: frozenset[str] = frozenset()) -> Plan:
        """What is known of these sites."""
        return cls(unroll, {site.name: site.plan for site in sites if isinstance(site.plan, SitePlan)})
