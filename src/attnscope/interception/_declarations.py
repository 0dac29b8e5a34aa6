"""Weights that a layer computes by hand and returns: the user says which output they are.

Nothing distinguishes ``exp(e) / sum(exp(e))`` from any other arithmetic, or says which of two outputs holds the
weights. One line does, and from then on the site is like any other, in every model that has the layer, loaded ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import keras

from attnscope.errors import DeclarationError, kind_of
from attnscope.interception._layout import Layout
from attnscope.tensors import Tensor, Tree

_DIMS = ("sample", "head", "query", "key")
_DECLARED: list[Declaration] = []


@dataclass(frozen=True)
class Declaration:
    """One declared site: the layer (class, its name, or a pattern of paths), the output, and its dims."""

    layer: type | str
    output: int | str | None
    dims: tuple[str, ...]

    def fits(self, layer: keras.Layer, path: str) -> bool:
        """Whether it applies to `layer` at `path`."""
        if isinstance(self.layer, type):
            return isinstance(layer, self.layer)
        return self.layer == type(layer).__name__ or fnmatchcase(path, self.layer)

    def weights_of(self, outputs: Tree) -> Tensor:
        """The declared one of a layer's outputs.

        Raises:
            DeclarationError: The layer returns nothing under that number or name.
        """
        named = self.output
        if hasattr(outputs, "shape") and named in (None, 0):
            return outputs
        if isinstance(outputs, dict) and named in outputs:
            return outputs[named]
        if isinstance(outputs, (tuple, list)) and isinstance(named, int) and named < len(outputs):
            return outputs[named]
        returned = "one output"
        if isinstance(outputs, dict):
            returned = f"a dict with {sorted(outputs)}"
        elif isinstance(outputs, (tuple, list)):
            returned = f"{len(outputs)} outputs"
        raise DeclarationError(
            f"The declared layer {self._layer_name} returns {returned}, but output {self.output!r} is declared to be "
            f"its attention. Name one that it returns: ats.declare({self._layer_name}, output=..., "
            f"dims={self.dims})."
        )

    def layout(self, shape: tuple[int, ...], batch: int) -> Layout:
        """The declared dims in the standard order.

        Raises:
            DeclarationError: The output's rank is not the number of dims, or its first axis is not the sample.
        """
        if len(shape) != len(self.dims):
            raise DeclarationError(
                f"The declared output of {self._layer_name} has shape {shape}, but its dims are declared as "
                f"{self.dims}. Give one name per axis, a size-1 axis too: None for an axis to drop."
            )
        axes = [(_DIMS.index(dim), axis) for axis, dim in enumerate(self.dims) if dim is not None]
        dropped = [axis for axis, dim in enumerate(self.dims) if dim is None]
        ordered = [axis for _, axis in sorted(axes)]
        if shape[ordered[0]] != batch or any(shape[axis] != 1 for axis in dropped):
            raise DeclarationError(
                f"The declared output of {self._layer_name} has shape {shape} and dims {self.dims}, but there "
                f"are {batch} samples, and a dropped axis must have size 1. Declare what each axis is, in their order."
            )
        parts = [() if dim is None else ((dim, size),) for dim, size in zip(self.dims, shape, strict=True)]
        return Layout(tuple(parts), tuple(_DIMS[order] for order, _ in sorted(axes)))

    @property
    def _layer_name(self) -> str:
        return self.layer.__name__ if isinstance(self.layer, type) else repr(self.layer)


def declare(layer: type | str, *, output: int | str | None = None, dims: tuple[str | None, ...]) -> Declaration:
    """Declares that what a layer returns is attention.

    The declaration then applies to every model in this process, until `undeclare` withdraws it. Softmaxes inside a
    declared layer are left out, since the declared output replaces them.

    Args:
        layer: The layer's class; or its class name; or a glob pattern of site paths (``"decoder/*/attend"``).
        output: Which output: its number in a tuple or list, or its key in a dict. None if the layer returns nothing but
            the weights.
        dims: Meaning of each axis: ``sample`` and ``key``, and possibly ``head`` and ``query``; None for an axis of
            size 1 that is to be dropped.

    Returns:
        The declaration, for `undeclare`.

    Raises:
        DeclarationError: The layer is an object; or the dims name no key or no sample, or name a dim twice.

    Example:
        >>> class Weigh(keras.layers.Layer):
        ...     def call(self, states):
        ...         energy = keras.ops.exp(keras.ops.sum(states, axis=-1))
        ...         return energy / keras.ops.sum(energy, axis=-1, keepdims=True)
        >>> declaration = declare(Weigh, dims=("sample", "key"))
        >>> undeclare(declaration)
    """
    if not isinstance(layer, (type, str)):
        name = type(layer).__name__
        raise DeclarationError(
            f"The layer was declared as {kind_of(layer)}, but its class, its class's name or a pattern of site paths "
            f"is needed: ats.declare({name if isinstance(layer, keras.Layer) else 'LayerClass'}, output=..., "
            "dims=('sample', 'key'))."
        )
    if isinstance(dims, str):
        raise DeclarationError(
            f"The dims are {dims!r}, but one for each axis is needed: dims=('sample', 'query', 'key')."
        )
    named = [dim for dim in dims if dim is not None]
    if not {"sample", "key"} <= set(named) or len(set(named)) < len(named) or not set(named) <= set(_DIMS):
        raise DeclarationError(
            f"The dims {tuple(dims)} were declared, but each axis needs one of {_DIMS}, none of them twice, with "
            "'sample' and 'key' among them: dims=('sample', 'query', 'key')."
        )
    declaration = Declaration(layer, output, tuple(dims))  # type: ignore[arg-type]
    _DECLARED.append(declaration)
    return declaration


def undeclare(declaration: Declaration) -> None:
    """Withdraws a declaration; one that is not in force is ignored."""
    if declaration in _DECLARED:
        _DECLARED.remove(declaration)


def declarations() -> tuple[Declaration, ...]:
    """All declarations, the newest first."""
    return tuple(reversed(_DECLARED))


def declared_at(candidates: tuple[Declaration, ...], layer: keras.Layer, path: str) -> Declaration | None:
    """The first declaration that applies to this layer."""
    return next((declaration for declaration in candidates if declaration.fits(layer, path)), None)
