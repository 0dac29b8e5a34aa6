"""TensorFlow functions that Keras 2 models name, in `keras.ops`, and the layer that runs one of them.

Keras 2 stored ``x + y`` or ``tf.reduce_sum(x, axis=1)`` as the function's name and its arguments. Each name below maps
to a function of ours with TensorFlow's parameters, so a stored call can be made as it is. No other is run.
"""

# ruff: noqa: A006, since the parameters have TensorFlow's names.
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
from keras import ops

from attnscope.errors import UnsupportedError
from attnscope.tensors import Tensor

Axes: TypeAlias = int | list[int] | None


def _of_one_dtype(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The two operands; a list becomes a tensor of the other's dtype, as in TensorFlow."""
    if isinstance(y, list):
        return x, ops.convert_to_tensor(y, dtype=keras.backend.standardize_dtype(x.dtype))
    if isinstance(x, list):
        return ops.convert_to_tensor(x, dtype=keras.backend.standardize_dtype(y.dtype)), y
    return x, y


def _of_two(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x, y: function(*_of_one_dtype(x, y))


def _of_one(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda x: function(x)


def _logits(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda logits, axis=-1: function(logits, axis=-1 if axis is None else axis)


def _features(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda features: function(features)


def _reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(input_tensor: Tensor, axis: Axes = None, keepdims: bool = False) -> Tensor:
        return function(input_tensor, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=bool(keepdims))

    return reduce


def _part(tensor: Tensor, slice_spec: object) -> Tensor:
    spec = slice_spec if isinstance(slice_spec, list | tuple) else [slice_spec]
    return tensor[tuple(map(_index, spec))]


def _index(stored: object) -> object:
    if not isinstance(stored, Mapping):
        return stored
    if stored.get("class_name") == "__ellipsis__":
        return Ellipsis
    return slice(stored["start"], stored["stop"], stored["step"])


def _matmul(a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
    a = ops.swapaxes(a, -1, -2) if transpose_a else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def _transpose(a: Tensor, perm: list[int] | None = None, conjugate: bool = False) -> Tensor:
    if conjugate:
        raise UnsupportedError("The transpose conjugates, but only plain transposes are supported: conjugate=False.")
    return ops.transpose(a, perm)


def _gather(params: Tensor, indices: Tensor, axis: int | None = None, batch_dims: int = 0) -> Tensor:
    if batch_dims:
        raise UnsupportedError(f"The gather has batch_dims={batch_dims}, but only batch_dims=0 is supported.")
    return ops.take(params, indices, axis=axis or 0)


def _reverse(tensor: Tensor, axis: list[int]) -> Tensor:
    # Keras 3.13 flips one axis at a time.
    for flipped in axis:
        tensor = ops.flip(tensor, axis=flipped)
    return tensor


def _squared_difference(x: Tensor, y: Tensor) -> Tensor:
    return ops.square(ops.subtract(*_of_one_dtype(x, y)))


def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return ops.where(condition, *_of_one_dtype(x, y))


def _split(value: Tensor, num_or_size_splits: int | list[int], axis: int = 0) -> Tensor:
    if isinstance(num_or_size_splits, int):
        return ops.split(value, num_or_size_splits, axis=axis)
    ends = [sum(num_or_size_splits[: place + 1]) for place in range(len(num_or_size_splits) - 1)]
    return ops.split(value, ends, axis=axis)


def _l2_normalize(x: Tensor, axis: Axes = None, epsilon: float = 1e-12) -> Tensor:
    axes = tuple(axis) if isinstance(axis, list) else axis
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axes, keepdims=True), epsilon))


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "__operators__.getitem": _part,
    "__operators__.add": _of_two(ops.add),
    "math.add": _of_two(ops.add),
    "math.subtract": _of_two(ops.subtract),
    "math.multiply": _of_two(ops.multiply),
    "math.truediv": _of_two(ops.true_divide),
    "math.divide": _of_two(ops.true_divide),
    "math.floordiv": _of_two(ops.floor_divide),
    "math.floormod": _of_two(ops.mod),
    "math.pow": _of_two(ops.power),
    "math.maximum": _of_two(ops.maximum),
    "math.minimum": _of_two(ops.minimum),
    "math.squared_difference": _squared_difference,
    "math.equal": _of_two(ops.equal),
    "math.not_equal": _of_two(ops.not_equal),
    "__operators__.eq": _of_two(ops.equal),
    "__operators__.ne": _of_two(ops.not_equal),
    "math.greater": _of_two(ops.greater),
    "math.greater_equal": _of_two(ops.greater_equal),
    "math.less": _of_two(ops.less),
    "math.less_equal": _of_two(ops.less_equal),
    "math.logical_and": _of_two(ops.logical_and),
    "math.logical_or": _of_two(ops.logical_or),
    "math.logical_not": _of_one(ops.logical_not),
    "math.negative": _of_one(ops.negative),
    "math.abs": _of_one(ops.abs),
    "math.exp": _of_one(ops.exp),
    "math.log": _of_one(ops.log),
    "math.sqrt": _of_one(ops.sqrt),
    "math.rsqrt": _of_one(ops.rsqrt),
    "math.square": _of_one(ops.square),
    "math.sin": _of_one(ops.sin),
    "math.cos": _of_one(ops.cos),
    "math.tanh": _of_one(ops.tanh),
    "math.sigmoid": _of_one(ops.sigmoid),
    "nn.tanh": _of_one(ops.tanh),
    "nn.sigmoid": _of_one(ops.sigmoid),
    "nn.relu": _features(ops.relu),
    "nn.relu6": _features(ops.relu6),
    "nn.elu": _features(ops.elu),
    "nn.softplus": _features(ops.softplus),
    "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate=approximate),
    "nn.silu": lambda features, beta=1.0: features * ops.sigmoid(beta * features),
    "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, negative_slope=alpha),
    "nn.softmax": _logits(ops.softmax),
    "nn.log_softmax": _logits(ops.log_softmax),
    "math.l2_normalize": _l2_normalize,
    "math.reduce_sum": _reduced(ops.sum),
    "math.reduce_mean": _reduced(ops.mean),
    "math.reduce_max": _reduced(ops.max),
    "math.reduce_min": _reduced(ops.min),
    "math.reduce_prod": _reduced(ops.prod),
    "math.reduce_std": _reduced(ops.std),
    "math.reduce_variance": _reduced(ops.var),
    "math.reduce_any": _reduced(ops.any),
    "math.reduce_all": _reduced(ops.all),
    "math.argmax": lambda input, axis=0: ops.argmax(input, axis=axis),
    "math.cumsum": lambda x, axis=0: ops.cumsum(x, axis=axis),
    "linalg.matmul": _matmul,
    "transpose": _transpose,
    "linalg.matrix_transpose": lambda a: ops.swapaxes(a, -1, -2),
    "expand_dims": lambda input, axis: ops.expand_dims(input, axis),
    "squeeze": lambda input, axis=None: ops.squeeze(input, tuple(axis) if isinstance(axis, list) else axis),
    "reshape": lambda tensor, shape: ops.reshape(tensor, shape),
    "concat": lambda values, axis: ops.concatenate(values, axis=axis),
    "stack": lambda values, axis=0: ops.stack(values, axis=axis),
    "unstack": lambda value, axis=0: ops.unstack(value, axis=axis),
    "split": _split,
    "tile": lambda input, multiples: ops.tile(input, multiples),
    "repeat": lambda input, repeats, axis=None: ops.repeat(input, repeats, axis=axis),
    "reverse": _reverse,
    "gather": _gather,
    "where": _where,
    "cast": lambda x, dtype: ops.cast(x, dtype),
    "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(t, clip_value_min, clip_value_max),
    "identity": lambda input: input,
    "stop_gradient": lambda input: ops.stop_gradient(input),
    "ones_like": lambda input, dtype=None: ops.ones_like(input, dtype=dtype),
    "zeros_like": lambda input, dtype=None: ops.zeros_like(input, dtype=dtype),
}


def parameters(function: str) -> list[str]:
    """The names of a function's parameters, in TensorFlow's order."""
    return list(inspect.signature(FUNCTIONS[function]).parameters)


@keras.saving.register_keras_serializable(package="attnscope")
class TensorOperation(keras.layers.Layer):  # type: ignore[misc]
    """A layer that runs one function of TensorFlow's, by name, on any backend.

    Args:
        function: A key of `FUNCTIONS`, such as ``"math.reduce_sum"``.
        arguments: The arguments by TensorFlow's names of the parameters: constants, and ``{"tensor": n}``, also
            within lists, where the layer's n-th input goes. If no input is placed, the layer's input is the first
            argument.
        **kwargs: `name`, `dtype`, `trainable`, as for any layer.

    Raises:
        UnsupportedError: There is no such function among `FUNCTIONS`.

    Example:
        >>> import keras
        >>> summed = TensorOperation("math.reduce_sum", {"axis": 1})
        >>> summed(keras.ops.ones((2, 3, 5))).shape == (2, 5)
        True
    """

    def __init__(self, function: str, arguments: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "autocast": False})
        if function not in FUNCTIONS:
            raise UnsupportedError(
                f"The function is {function!r}, but only these are supported: {', '.join(FUNCTIONS)}."
            )
        self.function = function
        self.arguments = dict(arguments or {})
        # Keras 2 dropped masks at such operations; without this Keras 3 warns that it does.
        self.supports_masking = True

    def call(self, inputs: Tensor | list[Tensor]) -> Tensor:
        """What the function returns for these inputs."""
        function = FUNCTIONS[self.function]
        if not _has_placeholder(self.arguments):
            return function(inputs, **self.arguments)
        tensors = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        arguments = {name: _filled(value, tensors) for name, value in self.arguments.items()}
        return function(**arguments)

    def compute_mask(self, inputs: Tensor | list[Tensor], previous_mask: Tensor | None = None) -> None:
        """None: the result has no mask."""

    def get_config(self) -> dict[str, Any]:
        """What the layer can be made from again."""
        return {**super().get_config(), "function": self.function, "arguments": self.arguments}


def _is_placeholder(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"tensor"}


def _has_placeholder(value: object) -> bool:
    if isinstance(value, Mapping):
        return _is_placeholder(value) or any(map(_has_placeholder, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_placeholder, value))


def _filled(value: Any, tensors: list[Tensor]) -> Any:
    if _is_placeholder(value):
        return tensors[value["tensor"]]
    return [_filled(item, tensors) for item in value] if isinstance(value, list | tuple) else value
