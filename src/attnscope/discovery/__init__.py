"""Which softmaxes of a model are attention, and why the others are not."""

from attnscope.discovery._discover import Discovery, Selection, discover, matches, selected, sites

__all__ = ["Discovery", "Selection", "discover", "matches", "selected", "sites"]
