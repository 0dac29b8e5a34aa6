"""Faithfulness: whether the model's answer depends on what a relevance ranks first, tested by removing it."""

from attnscope._offering import offer_classes
from attnscope.trust._bootstrap import paired_bootstrap
from attnscope.trust._card import EvidenceCard, Judged, Moved
from attnscope.trust._counterfactual import adversarial_test, permutation_test, uniform_test
from attnscope.trust._evidence import evidence
from attnscope.trust._faithfulness import (
    HIGHER_IS_BETTER,
    THRESHOLDS,
    comprehensiveness,
    deletion,
    faithfulness,
    infidelity,
    insertion,
    sufficiency,
)
from attnscope.trust._interval import Interval, paired_interval
from attnscope.trust._randomisation import randomisation, rank_correlation
from attnscope.trust._sensitivity import max_sensitivity
from attnscope.trust._verdict import RULE, Verdict

__all__ = [
    "HIGHER_IS_BETTER",
    "RULE",
    "THRESHOLDS",
    "EvidenceCard",
    "Interval",
    "Judged",
    "Moved",
    "Verdict",
    "adversarial_test",
    "comprehensiveness",
    "deletion",
    "evidence",
    "faithfulness",
    "infidelity",
    "insertion",
    "max_sensitivity",
    "paired_bootstrap",
    "paired_interval",
    "permutation_test",
    "randomisation",
    "rank_correlation",
    "sufficiency",
    "uniform_test",
]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
