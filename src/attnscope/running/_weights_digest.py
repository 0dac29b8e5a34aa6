"""What tells one model's weights from another's, wherever it was loaded and whatever it is called."""

from __future__ import annotations

import hashlib

import keras
import numpy as np


def weights_digest(model: keras.Layer) -> str:
    """The SHA-256 of a model's weights, in hexadecimal: of their types, shapes and numbers, in their order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{values.dtype} {values.shape} ".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
