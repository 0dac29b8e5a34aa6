"""Which softmaxes of a model are attention, and why the others are not."""

from attnscope.discovery._discover import Discovery, discover, sites
from attnscope.discovery._other_lengths import at_lengths
from attnscope.discovery._selection import Selection, check_selection, matches, selected
from attnscope.discovery._sequences import InputSequence

__all__ = [
    "Discovery",
    "InputSequence",
    "Selection",
    "at_lengths",
    "check_selection",
    "discover",
    "matches",
    "selected",
    "sites",
]
