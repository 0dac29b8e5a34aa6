"""What a target can be differentiated by at each position: embeddings of tokens, or the input itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import keras
import numpy as np
from keras import tree

from attnscope.attribution._padding import discovered
from attnscope.attribution._positions import rows_of
from attnscope.attribution._subject import Subject
from attnscope.errors import MethodError
from attnscope.handlers import EMBEDDED, GIVEN
from attnscope.interception import Plan, call_model, intercept, layers_of
from attnscope.tensors import Tensor, Tree


@dataclass(frozen=True)
class DifferentiableInputs:
    """What a target is differentiated by.

    Attributes:
        subject: The subject; pictures that are given in whole numbers are floats here.
        names: The keys of `Derivatives.values` that hold it: embeddings, or the one input.
        sentences: For an embedding of one sentence of documents, in a loop over them, the number of that sentence.
        unroll: Names of the loops that have to run step by step for it.
    """

    subject: Subject
    names: tuple[str, ...]
    sentences: Mapping[str, int] = field(default_factory=dict)
    unroll: frozenset[str] = frozenset()

    def summed(self, name: str, values: np.ndarray) -> np.ndarray:
        """Values for what one name holds, summed to dims ``(sample, position)``; 0 for all other positions."""
        positions = self.subject.positions
        if name not in self.sentences:
            return positions.summed(values)
        whole = np.zeros((len(values), *positions.shape))
        whole[:, self.sentences[name]] = values.sum(-1)
        return whole.reshape(len(values), positions.count)

    @property
    def embedded(self) -> frozenset[str]:
        """Paths of the embedding layers; empty where the input itself is differentiated by."""
        return frozenset(name.removeprefix(EMBEDDED) for name in self.names if name.startswith(EMBEDDED))


def differentiable_inputs(subject: Subject) -> DifferentiableInputs:
    """Finds what the target can be differentiated by.

    A model with embeddings is run once for this, on up to 2 samples.

    Raises:
        MethodError: The input is whole numbers that no `Embedding` layer is given, or floats that one is given.
    """
    positions = subject.positions
    tokens = positions.is_discrete
    embeddings: dict[str, int | None] = {}
    unroll = frozenset[str]()
    if len(positions.shape) > 1:
        unroll = discovered(subject.network, subject.inputs, subject.sites, subject.cache).plan.unroll
    if tokens or positions.kind == "features":
        embeddings = subject.cache.once(
            ("embeddings", positions.kind, positions.leaf), lambda: _embeddings_of_positions(subject, unroll)
        )
    if tokens and embeddings:
        sentences = {f"{EMBEDDED}{path}": number for path, number in embeddings.items() if number is not None}
        return DifferentiableInputs(subject, tuple(f"{EMBEDDED}{path}" for path in embeddings), sentences, unroll)
    if tokens:
        raise MethodError(
            "The input is whole numbers, but no Embedding layer of the model is given them unchanged, so there is "
            "nothing to differentiate by. If they are amounts, give floats: inputs.astype('float32'). If they are "
            "tokens, method='occlusion' needs no gradient."
        )
    if embeddings:
        raise MethodError(
            f"The input is floats, but the Embedding {next(iter(embeddings))!r} looks them up as whole numbers, so the "
            "gradient of the target with respect to them is 0. Give the tokens as whole numbers: "
            "inputs.astype('int32')."
        )
    return DifferentiableInputs(_as_floats(subject), (f"{GIVEN}{positions.leaf}",))


def _embeddings_of_positions(subject: Subject, unroll: frozenset[str]) -> dict[str, int | None]:
    """Paths of the embeddings that are given exactly the numbers of the positions, or of one sentence after another.

    Returns:
        For each path the number of the sentence; None where it is given all positions.
    """
    if not any(isinstance(layer, keras.layers.Embedding) for layer in layers_of(subject.model)):
        return {}
    first = rows_of(subject.inputs, slice(0, min(2, subject.samples)))

    def body(model: keras.Layer, tensors: Tree) -> Tree:
        numbers_by_path: dict[str, Tensor] = {}

        def note(layer: keras.Layer, path: str, numbers: Tensor, result: Tensor) -> Tensor:
            numbers_by_path[path] = numbers
            return result

        batch = len(tree.flatten(first)[0])
        with intercept(lambda _: None, model, batch=batch, inputs=tensors, plan=Plan(unroll), embedded=note):
            call_model(model, tensors)
        return numbers_by_path

    looked_up = subject.network.ask(body, first)
    wanted = subject.positions.of(first)
    whole: dict[str, int | None] = {
        path: None for path, numbers in looked_up.items() if np.array_equal(numbers, wanted)
    }
    if whole or wanted.ndim < 3:
        return whole
    steps: dict[str, list[str]] = {}
    for path in looked_up:
        steps.setdefault(path.partition("#")[0], []).append(path)
    return {
        path: number
        for paths in steps.values()
        if len(paths) == wanted.shape[1]
        and all(
            np.array_equal(looked_up[path], wanted[:, number]) for number, path in enumerate(sorted(paths, key=_call))
        )
        for number, path in enumerate(sorted(paths, key=_call))
    }


def _call(path: str) -> int:
    """Which call of an embedding it is."""
    return int(path.partition("#")[2] or 0)


def _as_floats(subject: Subject) -> Subject:
    positions = subject.positions
    if positions.of(subject.inputs).dtype.kind == "f":
        return subject
    return replace(subject, inputs=positions.changed(subject.inputs, lambda array: array.astype("float32")))
