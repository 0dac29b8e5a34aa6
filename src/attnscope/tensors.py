"""Names for what signatures cannot say in more detail: its class is another one on each backend."""

from __future__ import annotations

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the backend that Keras runs on: of JAX, TensorFlow or PyTorch, possibly inside a trace."""
Tree: TypeAlias = Any
"""A structure of tensors or arrays as in `keras.tree`: a leaf, or nested tuples, lists and dicts of leaves."""
Inputs: TypeAlias = Any
"""What a model is given: arrays or a structure of them, raw texts, a dataset, or any iterable of batches."""
