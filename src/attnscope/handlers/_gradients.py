"""Derivatives of what a model says with respect to its attention scores and to what it is given.

A zero is added to each tensor of interest while the model runs; the derivative with respect to that zero is the
tensor's own, along every path that follows it. So neither the model nor the backend needs to know anything else, and a
compiled model is differentiated like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops, tree

from attnscope.backends import Probe
from attnscope.errors import AttnscopeError
from attnscope.interception import Call, Plan, call_model, declarations, intercept, own_errors
from attnscope.running import Batch, Network, as_numpy, differentiated, with_rows
from attnscope.schema import SiteTable
from attnscope.tensors import Tensor, Tree

Target = Callable[[Tree, dict[str, Tensor]], Tensor]
"""From the model's outputs and the extras of the batch to one number per sample, all as tensors."""
EMBEDDED = "embedded/"
"""Prefix of the name of an embedding among what was differentiated by."""
GIVEN = "inputs/"
"""Prefix of the number of an input among what was differentiated by."""


@dataclass(frozen=True)
class Derivatives:
    """One batch, differentiated; NumPy arrays, of each of which the first ``batch.size`` samples count.

    Attributes:
        batch: The batch.
        outputs: What the model said.
        target: The differentiated number, dims ``(sample,)``.
        values: Scores by name of the site, dims as `Site.dims`; embeddings by ``embedded/`` and the layer's path, dims
            ``(sample, position, feature)``; floating inputs by ``inputs/`` and their number.
        gradients: The derivative of the target with respect to each of `values`, in their dims.
    """

    batch: Batch
    outputs: Tree
    target: np.ndarray
    values: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


class Differentiator:
    """A model differentiated over any number of batches, compiled once per shape of inputs.

    Args:
        model: A built model; it is held weakly.
        target: What is differentiated.
        sites: Sites whose scores it is differentiated by.
        inputs: Whether it is differentiated by embeddings and floating inputs as well.
        unroll: Names of the loops to run step by step, for embeddings in them.
        embed: Asked for every embedding with its layer, path, numbers, result and the extras of the batch, before the
            zero is added: gives the embedding to use instead. For interpolation between two inputs.
    """

    def __init__(
        self,
        model: keras.Layer,
        target: Target,
        *,
        sites: SiteTable | None = None,
        inputs: bool = False,
        unroll: frozenset[str] = frozenset(),
        embed: Callable[[keras.Layer, str, Tensor, Tensor, dict[str, Tensor]], Tensor] | None = None,
    ) -> None:
        self._errors: list[AttnscopeError] = []
        errors, declared = self._errors, declarations()
        wanted = frozenset(site.name for site in sites or ())
        plan = Plan.of(sites or (), unroll)

        def body(model: keras.Layer, batch: tuple[Tree, dict[str, Tensor]], probe: Probe) -> tuple[Tensor, Tree]:
            arrays, rows = batch
            values: dict[str, Tensor] = {}

            def probed(name: str, tensor: Tensor) -> Tensor:
                values[name] = tensor
                return probe(name, tensor)

            def handler(call: Call) -> Tensor | None:
                return probed(call.name, call.scores()) if call.name in wanted else None

            def embedded(layer: keras.Layer, path: str, numbers: Tensor, result: Tensor) -> Tensor:
                result = result if embed is None else embed(layer, path, numbers, result, rows)
                return probed(f"{EMBEDDED}{path}", result) if inputs else result

            if inputs:
                arrays = _probed_inputs(arrays, probed)
            size = len(tree.flatten(arrays)[0])
            with intercept(
                handler, model, batch=size, inputs=arrays, plan=plan, declarations=declared, errors=errors,
                embedded=embedded,
            ):  # fmt: skip
                outputs = call_model(model, arrays)
            number = ops.cast(target(outputs, rows), "float32")
            return ops.sum(number), (outputs, number, values)

        self._run = differentiated(model, body)

    def run(
        self, network: Network, *, extras: Mapping[str, np.ndarray] | None = None, progress: bool = False
    ) -> Iterator[Derivatives]:
        """Differentiates over all batches of a network, and counts each sample as a gradient pass.

        Args:
            network: The model and its data.
            extras: Arrays with one row per sample, cut into batches along with the inputs, for the target and `embed`.
            progress: Whether to show a progress bar, on a terminal.
        """
        self._errors.clear()
        for batch, rows in with_rows(network.batches(), extras, progress=progress):
            with own_errors(self._errors):
                (outputs, number, values), gradients = self._run((batch.inputs, rows))
            network.passes.gradient += batch.size
            yield Derivatives(batch, *tree.map_structure(as_numpy, (outputs, number, values, gradients)))


def _probed_inputs(arrays: Tree, probe: Probe) -> Tree:
    leaves = tree.flatten(arrays)
    probed = [
        probe(f"{GIVEN}{place}", leaf) if "float" in keras.backend.standardize_dtype(leaf.dtype) else leaf
        for place, leaf in enumerate(leaves)
    ]
    return tree.pack_sequence_as(arrays, probed)
