"""Whether a relevance may be believed: what happens to the model's answer when what counts is taken away."""

from attnscope.trust.bootstrap import Interval, paired_bootstrap
from attnscope.trust.card import EvidenceCard, Judged, Moved
from attnscope.trust.counterfactual import adversarial_test, permutation_test, uniform_test
from attnscope.trust.faithfulness import (
    HIGHER_IS_BETTER,
    THRESHOLDS,
    comprehensiveness,
    deletion,
    faithfulness,
    infidelity,
    insertion,
    sufficiency,
)
from attnscope.trust.judging import evidence
from attnscope.trust.randomisation import randomisation, rank_correlation
from attnscope.trust.sensitivity import max_sensitivity
from attnscope.trust.verdict import RULE, Verdict

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
    "permutation_test",
    "randomisation",
    "rank_correlation",
    "sufficiency",
    "uniform_test",
]
