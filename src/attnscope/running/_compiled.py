"""A compiled function of our own around the user's model, on each backend.

The model's `predict_function` is neither used nor changed: it may hold a trace from before the interception, and
side effects out of a trace are dead tensors. Here whatever is wanted is *returned* by the traced function.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

_PATIENCE = 60.0
"""Seconds to wait for variables that another thread's `predict` holds, on JAX."""

Body = Callable[[keras.Layer, Any], Any]
"""Takes the model and a batch of inputs as the backend's tensors, gives a structure of tensors."""


def compiled(model: keras.Layer, body: Body) -> Callable[[Any], Any]:
    """Compiles `body`, which runs `model`; variables are read anew at every call.

    Args:
        model: It is held weakly; its variables become arguments where the backend wants that (JAX).
        body: What to run. It is traced once for each shape of inputs.

    Returns:
        A function from a batch of NumPy inputs to the structure that `body` gives.
    """
    make = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}[keras.backend.backend()]
    return make(weakref.ref(model), body)


def _jax(model: Callable[[], Any], body: Body) -> Callable[[Any], Any]:
    import jax

    def traced(values: list[Any], inputs: Any) -> Any:
        with keras.StatelessScope(state_mapping=zip(model().variables, values, strict=True)):
            return body(model(), inputs)

    function = jax.jit(traced)
    return lambda inputs: taken_values(model, lambda values: function(values, as_tensors(inputs)))


def taken_values(model: Callable[[], Any], run: Callable[[list[Any]], Any]) -> Any:
    """Runs a function of the arrays that a model's variables hold, on JAX; anew where another thread took them."""
    variables = model().variables
    while True:
        values = _values(variables)
        try:
            return run(values)
        except RuntimeError:
            if not _any_taken(values):
                raise


def _values(variables: list[Any]) -> list[Any]:
    """The variables' arrays, once they are there.

    While another thread runs `predict` or `fit` of the same model, Keras on JAX takes the arrays out of the variables
    (or has them reused), and puts new ones in at the end.
    """
    deadline = time.monotonic() + _PATIENCE
    values = [variable._value for variable in variables]
    while _any_taken(values) and time.monotonic() < deadline:
        time.sleep(0.01)
        values = [variable._value for variable in variables]
    return values


def _any_taken(values: list[Any]) -> bool:
    return any(value is None or value.is_deleted() for value in values)


def _tensorflow(model: Callable[[], Any], body: Body) -> Callable[[Any], Any]:
    import tensorflow as tf

    def stateless(inputs: Any) -> Any:
        with keras.StatelessScope():  # a model that counts its calls, or draws seeds, stays as it is
            return body(model(), inputs)

    function = tf.function(stateless)
    traced: dict[tuple[Any, ...], Any] = {}  # by shapes: each is traced once, and TensorFlow need not compare

    def run(inputs: Any) -> Any:
        tensors = as_tensors(inputs)
        leaves = tree.flatten(tensors)
        key = tuple((tuple(leaf.shape), leaf.dtype) for leaf in leaves)
        if key not in traced:
            specs = tree.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), tensors)
            traced[key] = function.get_concrete_function(specs)
        return traced[key](tensors)

    return run


def _torch(model: Callable[[], Any], body: Body) -> Callable[[Any], Any]:
    import torch

    def run(inputs: Any) -> Any:
        with torch.no_grad(), keras.StatelessScope():
            return body(model(), as_tensors(inputs))

    return run


def as_tensors(inputs: Any) -> Any:
    """A structure of NumPy arrays as the backend's tensors, on its device."""
    return tree.map_structure(_as_tensor, inputs)


def _as_tensor(array: Any) -> Any:
    if keras.backend.backend() == "tensorflow" and np.asarray(array).dtype.kind in "OUS":
        import tensorflow as tf

        return tf.convert_to_tensor(array)
    return ops.convert_to_tensor(array)


def call_model(model: keras.Layer, inputs: Any) -> Any:
    """The model's output in inference mode."""
    if getattr(model, "_call_has_training_arg", True):
        return model(inputs, training=False)
    return model(inputs)


def as_numpy(tensor: Any) -> Any:
    """A tensor as a NumPy array; bfloat16, which NumPy lacks, becomes float32. None, an output left out, stays None."""
    return None if tensor is None else np.asarray(ops.convert_to_numpy(_known_to_numpy(tensor)))


def viewed(tensor: Any) -> np.ndarray:
    """`as_numpy` without a copy where the tensor is on the CPU: to be read at once, and not written to."""
    tensor = _known_to_numpy(tensor)
    return np.asarray(tensor.detach().cpu() if keras.backend.backend() == "torch" else tensor)


def _known_to_numpy(tensor: Any) -> Any:
    return ops.cast(tensor, "float32") if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16" else tensor
