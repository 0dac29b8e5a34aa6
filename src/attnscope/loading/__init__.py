"""Models from files, safely: Keras 3 and Keras 2, whole models and weights alone.

A file is opened as data in `container`, converted to a current configuration in `keras2`, checked in `allowed`, and
built within `limits`.
"""

from attnscope._offering import offer_classes
from attnscope.loading import replacements
from attnscope.loading._load_model import load_model
from attnscope.loading.keras2 import TensorOperation

__all__ = ["TensorOperation", "load_model", "replacements"]


def __dir__() -> list[str]:
    return __all__


offer_classes(globals())
