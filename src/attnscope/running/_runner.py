"""A model over many batches under one handler: what capturing and intervening share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import keras
import numpy as np
from keras import tree

from attnscope.errors import AttnscopeError
from attnscope.interception import Handler, Plan, call_model, declarations, intercept, own_errors
from attnscope.running._batches import Batch, Batches, filled
from attnscope.running._compiled import as_numpy, compiled, noted, viewed
from attnscope.running._network import Network
from attnscope.tensors import Tensor, Tree


class Runner:
    """A model under one handler, compiled once per shape of inputs, for any number of networks of that model.

    It holds the model weakly, so that keeping a runner keeps no model alive.

    Args:
        model: A built model.
        handlers: Called inside the compiled function with the extras of the batch, as tensors: gives the handler,
            and the structure that it collects tensors in, which is read once the model has run.
        plan: What a trace of the model found out.
        in_tiles: Whether the handlers read scores tile by tile; see `attnscope.interception.intercept`.
    """

    def __init__(
        self,
        model: keras.Layer,
        handlers: Callable[[dict[str, Tensor]], tuple[Handler, Tree]],
        *,
        plan: Plan | None = None,
        in_tiles: bool = False,
    ) -> None:
        self._errors: list[AttnscopeError] = []
        watched = partial(intercept, plan=plan, declarations=declarations(), errors=self._errors, in_tiles=in_tiles)

        def body(model: keras.Layer, batch: tuple[Tree, dict[str, Tensor]]) -> tuple[Tree, Tree]:
            inputs, rows = batch
            handler, collected = handlers(rows)
            size = len(tree.flatten(inputs)[0])
            with watched(handler, model, batch=size, inputs=inputs):
                outputs = call_model(model, inputs)
            return outputs, collected

        self._run = compiled(model, body)
        self._noted = noted(model, body)

    def run_noted(self, network: Network) -> tuple[tuple[Tree, Tree, Batch], Hashable]:
        """Runs the model eagerly over the only batch of a network.

        Returns:
            What `run` gives for it, and what the model did, as `Backend.noted` says it.
        """
        self._errors.clear()
        batch = network.batches().first
        with own_errors(self._errors), network.noting(batch.inputs):
            (outputs, collected), program = (self._noted or self._unnoted)((batch.inputs, {}))
        return self._given(network, outputs, collected, batch), program

    def _unnoted(self, inputs: Tree) -> tuple[Tree, None]:
        return self._run(inputs), None

    def run(
        self,
        network: Network,
        *,
        extras: Mapping[str, np.ndarray] | None = None,
        progress: bool = False,
        skips: Callable[[Batch], bool] = lambda batch: False,
    ) -> Iterator[tuple[Tree, Tree, Batch]]:
        """Runs the model over all batches of a network, and counts each sample as a forward pass.

        Args:
            network: The model and its data.
            extras: Arrays with one row per sample, cut into batches along with the inputs.
            progress: Whether to show a progress bar, on a terminal.
            skips: Called for each batch; if it returns True, the batch is not run.

        Yields:
            Per batch: the model's outputs and what was collected, as NumPy arrays, and the batch. In each array the
            first ``batch.size`` samples count. Callers that keep what was collected must copy it.
        """
        self._errors.clear()
        for batch, rows in with_rows(network.batches(), extras, progress=progress):
            if skips(batch):
                continue
            with own_errors(self._errors), network.noting(batch.inputs):
                outputs, collected = self._run((batch.inputs, rows))
            yield self._given(network, outputs, collected, batch)

    @staticmethod
    def _given(network: Network, outputs: Tree, collected: Tree, batch: Batch) -> tuple[Tree, Tree, Batch]:
        network.passes.forward += batch.size
        return tree.map_structure(as_numpy, outputs), tree.map_structure(viewed, collected), batch


def with_rows(
    batches: Batches, extras: Mapping[str, np.ndarray] | None = None, *, progress: bool = False
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """Batches, each with its rows of some arrays, filled up like the batch; with a progress bar if that is wanted.

    Args:
        batches: The batches.
        extras: Arrays with one row per sample.
        progress: Whether to show a progress bar, on a terminal.
    """
    start = 0
    with progress_bar(batches.count, shown=progress) as advance:
        for batch in batches:
            length = len(tree.flatten(batch.inputs)[0])
            stop = start + batch.size
            yield batch, {name: filled(array[start:stop], length) for name, array in (extras or {}).items()}
            start = stop
            advance()


@contextmanager
def progress_bar(count: int | None, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar over batches on standard error: only on a terminal, and only if there is more than one batch."""
    if not shown or count == 1 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("batches", total=count)
        yield lambda: bar.advance(task)
