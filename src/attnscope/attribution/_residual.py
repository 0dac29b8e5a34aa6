"""What is added to an attention layer's output, and which layer norm follows: detected in a run, or declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import keras
import numpy as np
from keras import ops

from attnscope.errors import MethodError
from attnscope.handlers import Contribution, Passed

TOLERANCE = 1e-4
"""How far apart two tensors may be, as a share of the largest number, and still count as the same."""


@dataclass(frozen=True)
class Wire:
    """What the user declares about a site: where its output and the residual connection meet.

    Attributes:
        total: Path of a layer that is called on their sum.
        normalises: Whether that layer is the layer norm of the block (BERT's order), so that it belongs to the mixing;
            False if it only happens to come next.
    """

    total: str
    normalises: bool = False


@dataclass(frozen=True)
class ResidualBlock:
    """What surrounds a site, on one batch.

    Attributes:
        residual: What is added to the layer's output, dims ``(sample, query, feature)``.
        output: What the block gives: the sum, or its layer norm; same dims.
        factor: What the centred sum is multiplied by, dims ``(feature,)``; None where no layer norm follows.
        scale: One over the standard deviation of the sum, dims ``(sample, query)``; 1 where no layer norm follows.
    """

    residual: np.ndarray
    output: np.ndarray
    factor: np.ndarray | None
    scale: np.ndarray

    def through(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors ``(..., feature)`` after the part of the layer norm that is linear and the same for all queries."""
        if self.factor is None:
            return vectors
        return np.asarray((vectors - vectors.mean(-1, keepdims=True)) * self.factor)


def block_of(
    site: str, contribution: Contribution, passed: list[Passed], wiring: Mapping[str, Wire] | None
) -> ResidualBlock:
    """The residual connection and the layer norm around a site.

    Two orders are detected, both checked on the numbers themselves: the sum of the layer's output and what it was
    called on goes into a layer norm (BERT); or the layer was called on the norm of something, and that is added to its
    output (GPT-2). Keras' own normalisation and addition layers are examined, and any layer with ``norm`` in the name
    of its class.

    Args:
        site: Name of the site.
        contribution: What its layer was called on, and what it carries.
        passed: The recorded calls of layers, in the order of execution.
        wiring: What the user declares, by glob pattern of sites; it takes precedence over detection.

    Raises:
        MethodError: Neither order is there, or the norm is of an unknown kind.
    """
    queries, keys = contribution.scores.shape[2:]
    if queries != keys or contribution.inputs.shape != contribution.output.shape:
        raise MethodError(
            f"The site {site!r} has {queries} queries and {keys} keys, but the residual connection counts with the key "
            "of the query's own position, which needs self-attention. Leave the site out: sites=[...]."
        )
    number = next(number for number, layer_call in enumerate(passed) if layer_call.site == site)
    declared = next((wire for pattern, wire in (wiring or {}).items() if fnmatchcase(site, pattern)), None)
    if declared is not None:
        return _declared(site, contribution, passed[number + 1 :], declared)
    block = _detected(contribution, passed[:number], passed[number + 1 :])
    if block is None:
        raise MethodError(
            f"No residual connection was detected around the site {site!r}: neither the input of its layer, nor that "
            "of a layer norm before it, is added to its output. Name a layer that is called on the sum: "
            f"wiring={{{site!r}: Wire(total='path/of/layer', normalises=False)}}."
        )
    return block


def _detected(contribution: Contribution, before: list[Passed], after: list[Passed]) -> ResidualBlock | None:
    """The block by the numbers of the layers that were called before and after the site's; None where none fits."""
    called_on, output = contribution.inputs, contribution.output
    sources = [norm.inputs for norm in before if norm.inputs is not None and same(norm.outputs, called_on)]
    after = [layer_call for layer_call in after if layer_call.outputs.shape == output.shape]
    for norm in after:  # a norm of the sum with what the layer was called on
        if norm.inputs is not None and norm.inputs.shape == output.shape and same(norm.inputs - output, called_on):
            return _normalised(called_on, norm, norm.inputs)
    for layer_call in after:
        total = layer_call.outputs if layer_call.inputs is None else layer_call.inputs
        if total.shape != output.shape:
            continue
        for residual in (*sources, called_on):
            if same(total - output, residual):
                return _plain(residual, total)
    return None


def _declared(site: str, contribution: Contribution, after: list[Passed], wire: Wire) -> ResidualBlock:
    output = contribution.output
    for layer_call in after:
        total = layer_call.inputs
        if layer_call.path == wire.total and total is not None and total.shape == output.shape:
            residual = total - output
            return _normalised(residual, layer_call, total) if wire.normalises else _plain(residual, total)
    raise MethodError(
        f"The wiring of {site!r} names the layer {wire.total!r}, but no layer of that path is called after it on "
        f"something of the shape {output.shape}. Paths are those of model.layers, joined by '/'."
    )


def _plain(residual: np.ndarray, total: np.ndarray) -> ResidualBlock:
    """A block whose sum is passed on unchanged."""
    return ResidualBlock(residual, total, None, np.ones(total.shape[:2]))


def _normalised(residual: np.ndarray, norm: Passed, called_on: np.ndarray) -> ResidualBlock:
    """A block whose sum goes through a layer norm.

    Args:
        residual: What is added to the layer's output, dims ``(sample, query, feature)``.
        norm: The call of the layer norm.
        called_on: The sum, which the norm was called on, same dims.
    """
    layer = norm.layer
    if not isinstance(layer, keras.layers.LayerNormalization) or getattr(layer, "rms_scaling", False):
        raise MethodError(_unknown(norm))
    total = called_on.astype(np.float64)
    gamma, beta = (_numbers(getattr(layer, name, None), default) for name, default in (("gamma", 1.0), ("beta", 0.0)))
    scale = 1 / np.sqrt(total.var(-1) + layer.epsilon)
    factor = np.broadcast_to(gamma, total.shape[-1:])
    block = ResidualBlock(residual, norm.outputs, factor, scale)
    if not same(block.through(total) * scale[..., None] + beta, norm.outputs):
        raise MethodError(_unknown(norm))
    return block


def _unknown(norm: Passed) -> str:
    return (
        f"The norm {norm.path!r} after the residual connection is a {type(norm.layer).__name__}, but only "
        "keras.layers.LayerNormalization over the last axis can be taken apart. To leave it out: "
        "norms(..., part='residual')."
    )


def _numbers(variable: keras.Variable | None, default: float) -> np.ndarray:
    return np.asarray(default if variable is None else ops.convert_to_numpy(variable), np.float64)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays have the same shape and the same numbers, up to rounding."""
    if one.shape != other.shape:
        return False
    largest = max(np.abs(one).max(initial=0.0), np.abs(other).max(initial=0.0))
    return bool(np.abs(one - other).max(initial=0.0) <= TOLERANCE * largest)
