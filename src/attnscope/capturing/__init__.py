"""Handlers that observe: whole maps and streaming summaries, labelled."""

from attnscope._offering import offer_classes
from attnscope.capturing._capture import capture
from attnscope.capturing._capture import captured as captured  # for the rooms above; not part of the public face
from attnscope.capturing._generation import capture_generation
from attnscope.capturing._summaries import Entropy, Full, Received, Summary, TopK

__all__ = ["Entropy", "Full", "Received", "Summary", "TopK", "capture", "capture_generation"]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
