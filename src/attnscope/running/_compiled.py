"""A compiled function of our own around the user's model, and arrays on their way in and out of it.

The model's `predict_function` is neither used nor changed: it may hold a trace from before the interception, and
tensors that leave a trace as side effects are dead. Here, whatever is wanted is *returned* by the traced function.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from functools import partial

import keras
import numpy as np
from keras import ops

from attnscope.backends import Body, ProbedBody, current
from attnscope.interception import call_model, is_watched
from attnscope.tensors import Tensor, Tree


def compiled(model: keras.Layer, body: Body) -> Callable[[Tree], Tree]:
    """Compiles `body`, which runs `model`; variables are read again at every call.

    Args:
        model: It is held weakly; its variables become arguments where the backend wants that (JAX).
        body: What to run. It is traced once for each shape of inputs.

    Returns:
        A function from a batch of NumPy inputs to the structure that `body` gives.
    """
    return current().compiled(weakref.ref(model), body)


def differentiated(model: keras.Layer, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
    """Compiles `body` with its derivatives by what it probes; `model` is held weakly."""
    return current().differentiated(weakref.ref(model), body)


def noted(model: keras.Layer, body: Body) -> Callable[[Tree], tuple[Tree, Hashable]] | None:
    """Runs `body` operation by operation and says what the model does; see `Backend.noted`."""
    return current().noted(weakref.ref(model), body, is_watched)


def program_of(model: keras.Layer, inputs: Tree) -> Hashable:
    """What a run of the model does with inputs of these shapes, where shapes alone tell; see `Backend.program`."""
    return current().program(model, partial(call_model, model), inputs)


def is_cheaper_eagerly(operations: int) -> bool:
    """Whether an eager run of so many operations takes less time than to compile them, where they never ran before."""
    return operations >= current().eager_from


def compiles() -> bool:
    """Whether what runs is compiled for each shape of inputs, so that another shape costs seconds."""
    return current().compiles


def as_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor as a NumPy array; bfloat16, which NumPy lacks, becomes float32. None, an output left out, stays None."""
    if tensor is None:
        return tensor  # type: ignore[return-value]
    return np.asarray(ops.convert_to_numpy(_known_to_numpy(tensor)))


def viewed(tensor: Tensor) -> np.ndarray:
    """`as_numpy` without a copy where the tensor is on the CPU: to be read at once, and not written to."""
    return current().viewed(_known_to_numpy(tensor))


def _known_to_numpy(tensor: Tensor) -> Tensor:
    return ops.cast(tensor, "float32") if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16" else tensor
