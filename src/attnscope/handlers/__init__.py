"""What can be done with an attention call besides observing it: edits, gradients, value vectors."""

from attnscope._offering import offer_classes
from attnscope.handlers._edits import Edited, ablate, dealt_out, intervene, permute, replace, uniform
from attnscope.handlers._gradients import EMBEDDED, GIVEN, Derivatives, Differentiator
from attnscope.handlers._value_vectors import Contribution, Contributor, Passed

__all__ = [
    "EMBEDDED",
    "GIVEN",
    "Contribution",
    "Contributor",
    "Derivatives",
    "Differentiator",
    "Edited",
    "Passed",
    "ablate",
    "dealt_out",
    "intervene",
    "permute",
    "replace",
    "uniform",
]


offer_classes(globals())
