"""A lint of captured maps: what makes a map misleading, and how to fix it."""

from attnscope._offering import offer_classes
from attnscope.findings._finding import Finding, FindingGroup, Findings
from attnscope.findings._rules import SINK_MASS, SINK_SHARE, UNFORESEEN, findings, sample_chunks, strongest_keys

__all__ = [
    "SINK_MASS",
    "SINK_SHARE",
    "UNFORESEEN",
    "Finding",
    "FindingGroup",
    "Findings",
    "findings",
    "sample_chunks",
    "strongest_keys",
]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
