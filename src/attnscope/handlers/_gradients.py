"""Derivatives of what a model says with respect to its attention scores and to what it is given.

A zero is added to each tensor of interest while the model runs; the derivative with respect to that zero is the
tensor's own, with every path behind it. So neither the model nor the backend needs to be told anything else, and a
compiled model is differentiated like any other.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from attnscope.errors import AttnscopeError
from attnscope.interception import Call, declarations, intercept, own_errors
from attnscope.running import Batch, Batches, as_numpy, as_tensors, call_model, filled, progress_bar, taken_values
from attnscope.schema import SiteTable

Probe = Callable[[str, Any], Any]
"""Takes a name and a tensor, gives the tensor with a zero added that is differentiated by."""
Target = Callable[[Any, dict[str, Any]], Any]
"""From the model's outputs and the extras of the batch to one number per sample, all as tensors."""
EMBEDDED = "embedded/"
"""In front of the name of an embedding among what was differentiated by."""
GIVEN = "inputs/"
"""In front of the number of an input among what was differentiated by."""


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
    outputs: Any
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
        embed: Asked for every embedding with its layer, path, numbers and result, before the zero is added: gives the
            embedding to go on with. For interpolation between two inputs.
        unroll: Loops to run step by step.
    """

    def __init__(
        self,
        model: keras.Layer,
        target: Target,
        *,
        sites: SiteTable | None = None,
        inputs: bool = False,
        embed: Callable[[keras.Layer, str, Any, Any, dict[str, Any]], Any] | None = None,
        unroll: frozenset[str] = frozenset(),
    ) -> None:
        self._errors: list[AttnscopeError] = []
        errors, held = self._errors, declarations()
        wanted = frozenset(site.name for site in sites or ())

        def body(model: keras.Layer, given: Any, probe: Probe) -> tuple[Any, Any]:
            arrays, rows = given
            values: dict[str, Any] = {}

            def probed(name: str, tensor: Any) -> Any:
                values[name] = tensor
                return probe(name, tensor)

            def handler(call: Call) -> Any:
                return probed(call.name, call.scores()) if call.name in wanted else None

            def embedded(layer: keras.Layer, path: str, numbers: Any, result: Any) -> Any:
                result = result if embed is None else embed(layer, path, numbers, result, rows)
                return probed(f"{EMBEDDED}{path}", result) if inputs else result

            if inputs:
                arrays = _probed_inputs(arrays, probed)
            batch = len(tree.flatten(arrays)[0])
            with intercept(
                handler, model, batch=batch, inputs=arrays, unroll=unroll, declarations=held, errors=errors,
                embedded=embedded,
            ):  # fmt: skip
                outputs = call_model(model, arrays)
            number = ops.cast(target(outputs, rows), "float32")
            return ops.sum(number), (outputs, number, values)

        self._run = _MAKE[keras.backend.backend()](weakref.ref(model), body)

    def run(
        self, batches: Batches, *, extras: Mapping[str, np.ndarray] | None = None, progress: bool = False
    ) -> Iterator[Derivatives]:
        """Differentiates over all batches.

        Args:
            batches: The model's inputs.
            extras: Arrays with one row per sample, cut into batches beside the inputs, for the target and `embed`.
            progress: Whether to show a progress bar, on a terminal.
        """
        self._errors.clear()
        start = 0
        with progress_bar(batches.count, shown=progress) as advance:
            for batch in batches:
                length = len(tree.flatten(batch.inputs)[0])
                stop = start + batch.size
                rows = {name: filled(array[start:stop], length) for name, array in (extras or {}).items()}
                start = stop
                with own_errors(self._errors):
                    (outputs, number, values), gradients = self._run((batch.inputs, rows))
                yield Derivatives(
                    batch,
                    tree.map_structure(as_numpy, outputs),
                    as_numpy(number),
                    {name: as_numpy(tensor) for name, tensor in values.items()},
                    {name: as_numpy(tensor) for name, tensor in gradients.items()},
                )
                advance()


def _probed_inputs(arrays: Any, probe: Probe) -> Any:
    leaves = tree.flatten(arrays)
    probed = [
        probe(f"{GIVEN}{place}", leaf) if "float" in keras.backend.standardize_dtype(leaf.dtype) else leaf
        for place, leaf in enumerate(leaves)
    ]
    return tree.pack_sequence_as(arrays, probed)


def _jax(model: Callable[[], Any], body: Any) -> Callable[[Any], Any]:
    import jax

    def traced(values: list[Any], given: Any) -> Any:
        def run(probe: Probe) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(model().variables, values, strict=True))):
                return body(model(), given, probe)

        zeros: dict[str, Any] = {}

        def note(name: str, tensor: Any) -> Any:
            zeros[name] = jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)
            return tensor

        jax.eval_shape(lambda: run(note)[0])
        start = {name: jax.numpy.zeros(known.shape, known.dtype) for name, known in zeros.items()}

        def of_probes(probes: dict[str, Any]) -> Any:
            return run(lambda name, tensor: tensor + probes[name])

        gradients, rest = jax.grad(of_probes, has_aux=True)(start)
        return rest, gradients

    function = jax.jit(traced)
    return lambda given: taken_values(model, lambda values: function(values, as_tensors(given)))


def _tensorflow(model: Callable[[], Any], body: Any) -> Callable[[Any], Any]:
    import tensorflow as tf

    def traced(given: Any) -> Any:
        zeros: dict[str, Any] = {}
        with keras.StatelessScope(), tf.GradientTape(watch_accessed_variables=False) as tape:

            def probe(name: str, tensor: Any) -> Any:
                zeros[name] = tf.zeros_like(tensor)
                tape.watch(zeros[name])
                return tensor + zeros[name]

            total, rest = body(model(), given, probe)
        gradients = tape.gradient(total, zeros, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return rest, gradients

    function = tf.function(traced, reduce_retracing=False)
    return lambda given: function(as_tensors(given))


def _torch(model: Callable[[], Any], body: Any) -> Callable[[Any], Any]:
    import torch
    import torch.nn.attention

    def run(given: Any) -> Any:
        zeros: dict[str, Any] = {}

        def probe(name: str, tensor: Any) -> Any:
            zeros[name] = torch.zeros_like(tensor, requires_grad=True)
            return tensor + zeros[name]

        # The fused kernel on CPUs differentiates a row of which all cells are masked as if it had one key (it finds the
        # weights again as exp(logit - logsumexp), where the logsumexp of -1e9's loses the logarithm of their number).
        plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
        with torch.enable_grad(), keras.StatelessScope(), plain:
            total, rest = body(model(), as_tensors(given), probe)
        found = torch.autograd.grad(total, list(zeros.values()), allow_unused=True)
        gradients = {
            name: torch.zeros_like(zero) if gradient is None else gradient
            for (name, zero), gradient in zip(zeros.items(), found, strict=True)
        }
        return tree.map_structure(lambda tensor: tensor.detach(), rest), gradients

    return run


_MAKE = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
