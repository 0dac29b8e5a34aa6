"""Handlers that observe: whole maps and streaming summaries, labelled."""

from attnscope.capturing.generation import capture_generation
from attnscope.capturing.run import capture
from attnscope.capturing.summaries import Entropy, Full, Received, Summary, TopK

__all__ = ["Entropy", "Full", "Received", "Summary", "TopK", "capture", "capture_generation"]
