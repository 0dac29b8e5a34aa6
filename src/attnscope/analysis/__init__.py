"""What maps say, of single heads and taken together: arrays in, arrays out, without a model.

All of it is class-agnostic: it describes where attention goes, not what the model decides by it.
"""

from attnscope.analysis.composition import composition
from attnscope.analysis.confidence import confidence
from attnscope.analysis.distance import mean_distance
from attnscope.analysis.entropy import entropy
from attnscope.analysis.flow import flow
from attnscope.analysis.head_clusters import head_clusters
from attnscope.analysis.head_distance import head_distance
from attnscope.analysis.head_scores import duplicate_token_score, induction_score, previous_token_score
from attnscope.analysis.heads import heads
from attnscope.analysis.mass import SEPARATORS, mass
from attnscope.analysis.rollout import rolled_out, rollout
from attnscope.analysis.sinks import sinks

__all__ = [
    "SEPARATORS",
    "composition",
    "confidence",
    "duplicate_token_score",
    "entropy",
    "flow",
    "head_clusters",
    "head_distance",
    "heads",
    "induction_score",
    "mass",
    "mean_distance",
    "previous_token_score",
    "rolled_out",
    "rollout",
    "sinks",
]
