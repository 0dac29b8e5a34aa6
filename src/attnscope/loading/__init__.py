"""Models from files, safely: Keras 3 and Keras 2, whole models and weights alone."""

from attnscope.loading import replacements
from attnscope.loading.operations import TensorOperation
from attnscope.loading.run import load_model

__all__ = ["TensorOperation", "load_model", "replacements"]
