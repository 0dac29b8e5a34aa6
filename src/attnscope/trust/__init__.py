"""Whether a relevance may be believed: what happens to the model's answer when what counts is taken away."""

from attnscope.trust.bootstrap import Interval, paired_bootstrap
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
from attnscope.trust.sensitivity import max_sensitivity

__all__ = [
    "HIGHER_IS_BETTER",
    "THRESHOLDS",
    "Interval",
    "comprehensiveness",
    "deletion",
    "faithfulness",
    "infidelity",
    "insertion",
    "max_sensitivity",
    "paired_bootstrap",
    "sufficiency",
]
