"""How much each part of a model's input counts for what the model says."""

from attnscope.attribution.alti import alti
from attnscope.attribution.attribute import attribute, relevance_of
from attnscope.attribution.head_importance import head_ablation, head_importance
from attnscope.attribution.methods import METHODS, Method
from attnscope.attribution.norms import norms
from attnscope.attribution.pruning import ablation_curve, prune
from attnscope.attribution.removal import delete, marginal, mask_token, mean, zero
from attnscope.attribution.subject import Subject, subjects_of
from attnscope.attribution.targets import AtStep, PerSample
from attnscope.attribution.values import values
from attnscope.attribution.wires import Wire

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
    "norms",
    "prune",
    "relevance_of",
    "subjects_of",
    "values",
    "zero",
]
