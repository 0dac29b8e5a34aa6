"""Configurations of Keras 2 as Keras 3 reads them, and the layer that runs the TensorFlow functions they name."""

from attnscope.loading.keras2._classes import is_from_elsewhere, module_and_class, stored_objects
from attnscope.loading.keras2._former_layers import check_not_keras1, former_layer
from attnscope.loading.keras2._operations import FUNCTIONS, TensorOperation
from attnscope.loading.keras2._rewritten import OPERATIONS, RENAMED_CLASSES, is_old, rewritten
from attnscope.loading.keras2._unfitting import unfitting

__all__ = [
    "FUNCTIONS",
    "OPERATIONS",
    "RENAMED_CLASSES",
    "TensorOperation",
    "check_not_keras1",
    "former_layer",
    "is_from_elsewhere",
    "is_old",
    "module_and_class",
    "rewritten",
    "stored_objects",
    "unfitting",
]
