"""Handlers that observe: whole maps and streaming summaries, labelled."""

from attnscope._offering import offer_classes
from attnscope.capturing._capture import capture
from attnscope.capturing._capture import captured as captured  # for the rooms above; not part of the public face
from attnscope.capturing._distance_summary import Distance
from attnscope.capturing._full import Full, Rows
from attnscope.capturing._generation import capture_generation
from attnscope.capturing._head_mean import HeadMean
from attnscope.capturing._summaries import Entropy, PerQuery, Received, Summary, TopK
from attnscope.capturing._thumbnail import Thumbnail

__all__ = [
    "Distance",
    "Entropy",
    "Full",
    "HeadMean",
    "PerQuery",
    "Received",
    "Rows",
    "Summary",
    "Thumbnail",
    "TopK",
    "capture",
    "capture_generation",
]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
