"""What is added to an attention layer's output, and which layer norm follows: found in a run, or told by the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import ops

from attnscope.errors import MethodError
from attnscope.handlers import Contribution, Passed

TOLERANCE = 1e-4
"""How far two tensors may lie apart, as a share of the largest number, and count as the same."""


@dataclass(frozen=True)
class Wire:
    """What the user says of a site: where its output and the residual connection have met.

    Attributes:
        total: Path of a layer that is called on their sum.
        normalises: Whether that layer is the layer norm of the block (BERT's order), so that it belongs to the mixing;
            False where it only happens to be the next one.
    """

    total: str
    normalises: bool = False


@dataclass(frozen=True)
class Block:
    """A site with what is around it, on one batch.

    Attributes:
        residual: What is added to the layer's output, dims ``(sample, query, feature)``.
        output: What the block gives: the sum, or its layer norm; same dims.
        factor: What the centred sum is multiplied by, dims ``(feature,)``; None where there is no layer norm.
        scale: One over the standard deviation of the sum, dims ``(sample, query)``; 1 where there is none.
    """

    residual: np.ndarray
    output: np.ndarray
    factor: np.ndarray | None
    scale: np.ndarray

    def through(self, vectors: np.ndarray) -> np.ndarray:
        """The part of the layer norm that is linear and the same for all queries, on vectors ``(..., feature)``."""
        if self.factor is None:
            return vectors
        return np.asarray((vectors - vectors.mean(-1, keepdims=True)) * self.factor)


def block_of(site: str, found: Contribution, passed: list[Passed], wiring: Mapping[str, Wire] | None) -> Block:
    """The residual connection and the layer norm around a site.

    Two orders are found, both checked on the numbers themselves: the sum of the layer's output and what it was called
    on goes into a layer norm (BERT); or the layer was called on the norm of something, and that is added to its output
    (GPT-2). Keras' own layers of norm and addition, and any with ``norm`` in the name of their class, are looked at.

    Args:
        site: Name of the site.
        found: What it carries.
        passed: The calls of layers that were noted.
        wiring: What the user says, by pattern of sites; it goes before what is found.

    Raises:
        MethodError: Neither order is there, or the norm is of a kind that is not known.
    """
    queries, keys = found.scores.shape[2:]
    if queries != keys or found.given.shape != found.output.shape:
        raise MethodError(
            f"The site {site!r} has {queries} queries and {keys} keys, but a residual connection is counted with the "
            "key of the same position, which needs self-attention. Leave the site out: sites=[...]."
        )
    place = next(number for number, one in enumerate(passed) if one.site == site)
    told = next((wire for pattern, wire in (wiring or {}).items() if fnmatchcase(site, pattern)), None)
    if told is not None:
        return _told(site, found, passed[place + 1 :], told)
    block = _found(found, passed, place)
    if block is None:
        raise MethodError(
            f"Around the site {site!r} no residual connection was found: neither is what the layer was called on added "
            "to its output before a layer norm, nor what a layer norm before it was called on. Name a layer that is "
            f"called on the sum: wiring={{{site!r}: Wire(total='path/of/layer', normalises=False)}}."
        )
    return block


def _found(found: Contribution, passed: list[Passed], place: int) -> Block | None:
    before = [one for one in passed[:place] if one.given is not None and same(one.outputs, found.given)]
    after = [one for one in passed[place + 1 :] if one.outputs.shape == found.output.shape]
    for one in after:  # a norm on the sum with what the layer was called on
        if (
            one.given is not None
            and one.given.shape == found.output.shape
            and same(one.given - found.output, found.given)
        ):
            return _normalised(found.given, one)
    for one in after:
        total = one.outputs if one.given is None else one.given
        if total.shape != found.output.shape:
            continue
        for norm in before:
            if norm.given is not None and same(total - found.output, norm.given):
                return _plain(norm.given, total)
        if same(total - found.output, found.given):
            return _plain(found.given, total)
    return None


def _told(site: str, found: Contribution, after: list[Passed], wire: Wire) -> Block:
    for one in after:
        if one.path == wire.total and one.given is not None and one.given.shape == found.output.shape:
            residual = one.given - found.output
            return _normalised(residual, one) if wire.normalises else _plain(residual, one.given)
    raise MethodError(
        f"The wiring of {site!r} names the layer {wire.total!r}, but no layer of that path is called after it on "
        f"something of the shape {found.output.shape}. Paths are those of model.layers, joined by '/'."
    )


def _plain(residual: np.ndarray, total: np.ndarray) -> Block:
    return Block(residual, total, None, np.ones(total.shape[:2]))


def _normalised(residual: np.ndarray, norm: Passed) -> Block:
    layer = norm.layer
    assert norm.given is not None
    if not isinstance(layer, keras.layers.LayerNormalization) or getattr(layer, "rms_scaling", False):
        raise MethodError(_unknown(norm))
    total = norm.given.astype(np.float64)
    gamma, beta = (_numbers(getattr(layer, name, None), default) for name, default in (("gamma", 1.0), ("beta", 0.0)))
    scale = 1 / np.sqrt(total.var(-1) + layer.epsilon)
    factor = np.broadcast_to(gamma, total.shape[-1:])
    block = Block(residual, norm.outputs, factor, scale)
    if not same(block.through(total) * scale[..., None] + beta, norm.outputs):
        raise MethodError(_unknown(norm))
    return block


def _unknown(norm: Passed) -> str:
    return (
        f"The norm {norm.path!r} behind the residual connection is a {type(norm.layer).__name__}, but only "
        "keras.layers.LayerNormalization over the last axis is taken apart. Without it: part='residual'."
    )


def _numbers(variable: Any, default: float) -> np.ndarray:
    return np.asarray(default if variable is None else ops.convert_to_numpy(variable), np.float64)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same numbers, up to rounding."""
    if one.shape != other.shape:
        return False
    largest = max(np.abs(one).max(initial=0.0), np.abs(other).max(initial=0.0))
    return bool(np.abs(one - other).max(initial=0.0) <= TOLERANCE * largest)
