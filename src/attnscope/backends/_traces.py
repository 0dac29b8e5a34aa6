"""Which trace the code runs in, so that no tensor of an inner one is carried out of it.

A softmax in the body of a compiled loop gives a tensor that lives in that body alone. Handing it out is a leaked
tracer on JAX and an "out of scope" tensor on TensorFlow.
"""

from __future__ import annotations

import sys
from typing import Any


def current_trace() -> Any:
    """A token that is equal for two moments exactly when they belong to the same trace."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        return _current_trace_of_jax()
    if backend == "tensorflow":
        tensorflow = sys.modules["tensorflow"]
        return "eager" if tensorflow.executing_eagerly() else id(tensorflow.compat.v1.get_default_graph())
    return "eager"


def _current_trace_of_jax() -> Any:
    try:
        from jax.extend.core import get_opaque_trace_state
    except ImportError:  # before it moved out of jax.core
        from jax.core import get_opaque_trace_state
    return get_opaque_trace_state(convention="nnx")
