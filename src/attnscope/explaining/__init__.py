"""One decision: the relevance of one sample's parts, with the verdict on the method that it comes from."""

from attnscope._offering import offer_classes
from attnscope.explaining._explain import explain
from attnscope.explaining._explanation import Explanation

# isort: split
# For the rooms above; not part of the public face.
from attnscope.explaining._choosing import is_choice as is_choice

__all__ = ["Explanation", "explain"]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
