"""Looking at maps: one page of JavaScript in an offline file, in a notebook, and served from a stored run."""

from attnscope._offering import offer_classes
from attnscope.viewer._server import serve
from attnscope.viewer._view import View, view

__all__ = ["View", "serve", "view"]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
