"""How much each part of a model's input counts for what the model says."""

from attnscope._offering import offer_classes
from attnscope.attribution._alti import alti
from attnscope.attribution._attribute import attribute, relevance_of
from attnscope.attribution._head_importance import head_ablation, head_importance
from attnscope.attribution._methods import METHODS, Method
from attnscope.attribution._norms import norms
from attnscope.attribution._pruning import ablation_curve, prune
from attnscope.attribution._removal import delete, marginal, mask_token, mean, mode, zero
from attnscope.attribution._residual import Wire
from attnscope.attribution._saving import save
from attnscope.attribution._subject import Subject, subjects_of
from attnscope.attribution._targets import AtStep, PerSample
from attnscope.attribution._values import values

# isort: split
# For the rooms above; not part of the public face.
from attnscope.attribution._baselines import position as position
from attnscope.attribution._baselines import random as random
from attnscope.attribution._methods import CHANGES_OF_ANSWER as CHANGES_OF_ANSWER
from attnscope.attribution._methods import IN_UNITS_OF_TARGET as IN_UNITS_OF_TARGET
from attnscope.attribution._methods import method_of as method_of
from attnscope.attribution._occlusion import drops as drops
from attnscope.attribution._positions import PatchPositions as PatchPositions
from attnscope.attribution._positions import Rows as Rows
from attnscope.attribution._removal import Removal as Removal
from attnscope.attribution._removal import default_removals as default_removals
from attnscope.attribution._removal import kept_of as kept_of
from attnscope.attribution._removal import removable_of as removable_of
from attnscope.attribution._removal import removal_of as removal_of
from attnscope.attribution._removal_scores import RemovalScores as RemovalScores
from attnscope.attribution._subject import InputLabels as InputLabels
from attnscope.attribution._targets import ClassNames as ClassNames
from attnscope.attribution._targets import Target as Target
from attnscope.attribution._targets import TargetLike as TargetLike
from attnscope.attribution._targets import of_first as of_first
from attnscope.attribution._trimming import trimming_of as trimming_of

__all__ = [
    "METHODS",
    "AtStep",
    "Method",
    "PerSample",
    "Subject",
    "Wire",
    "ablation_curve",
    "alti",
    "attribute",
    "delete",
    "head_ablation",
    "head_importance",
    "marginal",
    "mask_token",
    "mean",
    "mode",
    "norms",
    "prune",
    "relevance_of",
    "save",
    "subjects_of",
    "values",
    "zero",
]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
