"""Configurations of Keras 2 as Keras 3 reads them, and the layer that runs the TensorFlow functions they name."""

from attnscope.loading.keras2._operations import FUNCTIONS, TensorOperation
from attnscope.loading.keras2._rewritten import is_old, rewritten

__all__ = ["FUNCTIONS", "TensorOperation", "is_old", "rewritten"]
