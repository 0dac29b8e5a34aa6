"""Which softmaxes of a model are attention, and why the others are not."""

from attnscope.discovery._discover import Selection, check_model, discover, matches, selected, sites

__all__ = [
    "Selection",
    "check_model",
    "discover",
    "matches",
    "selected",
    "sites",
]
