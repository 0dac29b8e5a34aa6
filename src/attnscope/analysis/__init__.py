"""What maps say about single heads and about chains of layers: arrays in, arrays out, without a model.

All of it is class-agnostic: it describes where attention goes, not what the model decides.
"""

from attnscope._offering import offer_classes
from attnscope.analysis._composition import composition
from attnscope.analysis._confidence import confidence
from attnscope.analysis._distance import mean_distance
from attnscope.analysis._entropy import entropy
from attnscope.analysis._flow import flow
from attnscope.analysis._head_clusters import head_clusters
from attnscope.analysis._head_distance import head_distance
from attnscope.analysis._head_scores import duplicate_token_score, induction_score, previous_token_score
from attnscope.analysis._heads import heads
from attnscope.analysis._mass import SEPARATORS, mass

# For the rooms above; not part of the public face.
from attnscope.analysis._rollout import Fusion as Fusion
from attnscope.analysis._rollout import check_options as check_options
from attnscope.analysis._rollout import rolled_out, rollout
from attnscope.analysis._sinks import sinks

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


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
