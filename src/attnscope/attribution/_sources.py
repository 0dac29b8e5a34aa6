"""The numbers of a model that its positions can be moved by: embeddings of tokens, or the input itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.attribution._positions import Positions, rows_of
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.handlers import EMBEDDED, GIVEN
from attnscope.interception import call_model, intercept, layers_of
from attnscope.running import as_numpy, compiled


@dataclass(frozen=True)
class Sources:
    """What a target is differentiated by.

    Attributes:
        subject: The subject, pictures of whole numbers as floats.
        names: Names of it among `Derivatives.values`: embeddings, or the one input.
    """

    subject: Subject
    names: tuple[str, ...]

    @property
    def embedded(self) -> frozenset[str]:
        """Paths of the embeddings; empty where the input itself is moved."""
        return frozenset(name.removeprefix(EMBEDDED) for name in self.names if name.startswith(EMBEDDED))


def sources(subject: Subject) -> Sources:
    """Finds what the positions can be moved by. Asks a model with embeddings once, on up to 2 samples.

    Raises:
        MethodError: Whole numbers that no `Embedding` layer is given, or floats that one is.
    """
    positions = subject.positions
    tokens = positions.kind == "tokens"
    looked_up: tuple[str, ...] = ()
    if positions.kind in ("tokens", "features"):
        looked_up = subject.scorer.kept(("embeddings", positions.kind, positions.leaf), lambda: _looked_up(subject))
    if tokens and looked_up:
        return Sources(subject, tuple(f"{EMBEDDED}{path}" for path in looked_up))
    if tokens:
        raise MethodError(
            "The input is whole numbers, and no Embedding layer of the model is given them as they are, so nothing can "
            "be differentiated by. If they are amounts, give floats: inputs.astype('float32'). If they are tokens, "
            "method='occlusion' needs no gradient."
        )
    if looked_up:
        raise MethodError(
            f"The input is floats, but the Embedding {looked_up[0]!r} looks them up as whole numbers, so the target's "
            "gradient by them is 0. Give tokens as what they are: inputs.astype('int32')."
        )
    return Sources(_as_floats(subject), (f"{GIVEN}{positions.leaf}",))


def _looked_up(subject: Subject) -> tuple[str, ...]:
    """Paths of the embeddings that are given just the numbers of the positions."""
    if not any(isinstance(layer, keras.layers.Embedding) for layer in layers_of(subject.model)):
        return ()
    first = rows_of(subject.inputs, slice(0, min(2, subject.samples)))

    def body(model: keras.Layer, tensors: Any) -> Any:
        numbers: dict[str, Any] = {}

        def note(layer: keras.Layer, path: str, given: Any, result: Any) -> Any:
            numbers[path] = given
            return result

        batch = len(tree.flatten(first)[0])
        with intercept(lambda _: None, model, batch=batch, inputs=tensors, embedded=note):
            call_model(model, tensors)
        return numbers

    found = tree.map_structure(as_numpy, compiled(subject.model, body)(first))
    subject.scorer.passes += len(tree.flatten(first)[0])
    wanted = subject.positions.of(first)
    return tuple(path for path, numbers in found.items() if np.array_equal(numbers, wanted))


def _as_floats(subject: Subject) -> Subject:
    positions = subject.positions
    if positions.of(subject.inputs).dtype.kind == "f":
        return subject
    return replace(subject, inputs=positions.changed(subject.inputs, lambda array: array.astype("float32")))


def per_position(positions: Positions, values: np.ndarray) -> np.ndarray:
    """Values per number of the input, or of its embedding, summed to dims ``(sample, position)``."""
    if positions.kind == "features":
        return values
    if positions.kind != "patches":
        return np.asarray(values.reshape(*values.shape[:2], -1).sum(-1))
    assert positions.grid is not None
    rows, columns = positions.grid
    samples, height, width, _ = values.shape
    cells = values.reshape(samples, rows, height // rows, columns, width // columns, -1)
    return np.asarray(cells.sum((2, 4, 5)).reshape(samples, rows * columns))
