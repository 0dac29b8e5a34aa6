"""Stand-ins for common harmless Lambda layers, for the `replacements` of `load_model`.

A Python ``Lambda`` is code in the file, and code in a file is not run. Most such layers do one simple thing. These do
the same on every backend, can be saved and loaded safely, and need no trust:

    model = attnscope.load_model("old.h5", replacements={"lambda": sum_over(axis=1)})
"""

from __future__ import annotations

from attnscope.loading.keras2 import TensorOperation


def sum_over(axis: int | list[int], *, keepdims: bool = False) -> TensorOperation:
    """``Lambda(lambda x: K.sum(x, axis=axis))``, the sum over time in many attention recipes.

    Args:
        axis: The axis, or axes, to sum over; the batch is 0, time usually 1.
        keepdims: Whether the axis stays, with size 1.

    Returns:
        A layer without weights. Masks end at it, as they did at the Lambda.
    """
    return TensorOperation("math.reduce_sum", {"axis": axis, "keepdims": keepdims})


def mean_over(axis: int | list[int], *, keepdims: bool = False) -> TensorOperation:
    """``Lambda(lambda x: K.mean(x, axis=axis))``.

    Args:
        axis: The axis, or axes, to average over; the batch is 0, time usually 1.
        keepdims: Whether the axis stays, with size 1.

    Returns:
        A layer without weights. Masks end at it, as they did at the Lambda.
    """
    return TensorOperation("math.reduce_mean", {"axis": axis, "keepdims": keepdims})


def max_over(axis: int | list[int], *, keepdims: bool = False) -> TensorOperation:
    """``Lambda(lambda x: K.max(x, axis=axis))``.

    Args:
        axis: The axis, or axes, to take the maximum over; the batch is 0, time usually 1.
        keepdims: Whether the axis stays, with size 1.

    Returns:
        A layer without weights. Masks end at it, as they did at the Lambda.
    """
    return TensorOperation("math.reduce_max", {"axis": axis, "keepdims": keepdims})


def softmax_over(axis: int) -> TensorOperation:
    """``Lambda(lambda x: K.softmax(x, axis=axis))``; attnscope sees it like any other softmax."""
    return TensorOperation("nn.softmax", {"axis": axis})


def expand(axis: int) -> TensorOperation:
    """``Lambda(lambda x: K.expand_dims(x, axis))``."""
    return TensorOperation("expand_dims", {"axis": axis})


def squeeze(axis: int) -> TensorOperation:
    """``Lambda(lambda x: K.squeeze(x, axis))``."""
    return TensorOperation("squeeze", {"axis": axis})


def step(index: int) -> TensorOperation:
    """``Lambda(lambda x: x[:, index])``: one time step, -1 for the last."""
    return TensorOperation(
        "__operators__.getitem", {"slice_spec": [{"start": None, "stop": None, "step": None}, index]}
    )


def scale(factor: float) -> TensorOperation:
    """``Lambda(lambda x: x * factor)``."""
    return TensorOperation("math.multiply", {"y": factor})


def cast(dtype: str) -> TensorOperation:
    """``Lambda(lambda x: K.cast(x, dtype))``."""
    return TensorOperation("cast", {"dtype": dtype})
