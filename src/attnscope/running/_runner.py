"""A model over many batches under one handler: what capturing and intervening share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import tree

from attnscope.errors import AttnscopeError
from attnscope.interception import Handler, declarations, intercept, own_errors
from attnscope.running._batches import Batch, Batches, filled
from attnscope.running._compiled import as_numpy, call_model, compiled, viewed


class Runner:
    """A model under one handler, compiled once per shape of inputs, for any number of batches.

    It holds the model weakly, so that keeping a runner keeps no model alive.

    Args:
        model: A built model.
        handlers: Called inside the compiled function with the extras of the batch, as tensors: gives the handler,
            and the structure that it collects tensors in, which is read once the model has run.
        unroll: Loops to run step by step.
    """

    def __init__(
        self,
        model: keras.Layer,
        handlers: Callable[[dict[str, Any]], tuple[Handler, Any]],
        *,
        unroll: frozenset[str] = frozenset(),
    ) -> None:
        self._errors: list[AttnscopeError] = []
        errors, held = self._errors, declarations()

        def body(model: keras.Layer, given: Any) -> Any:
            inputs, rows = given
            handler, collected = handlers(rows)
            batch = len(tree.flatten(inputs)[0])
            with intercept(handler, model, batch=batch, inputs=inputs, unroll=unroll, declarations=held, errors=errors):
                outputs = call_model(model, inputs)
            return outputs, collected

        self._run = compiled(model, body)

    def run(
        self,
        batches: Batches,
        *,
        extras: Mapping[str, np.ndarray] | None = None,
        progress: bool = False,
        skips: Callable[[Batch], bool] = lambda batch: False,
    ) -> Iterator[tuple[Any, Any, Batch]]:
        """Runs the model over all batches.

        Args:
            batches: Its inputs.
            extras: Arrays with one row per sample, cut into batches beside the inputs.
            progress: Whether to show a progress bar, on a terminal.
            skips: Asked of each batch; one of which it says True is not run.

        Yields:
            Per batch: the model's outputs and what was collected, as NumPy arrays, and the batch. Of each array the
            first ``batch.size`` samples count. What was collected is to be copied by who keeps it.
        """
        self._errors.clear()
        start = 0
        with progress_bar(batches.count, shown=progress) as advance:
            for batch in batches:
                length = len(tree.flatten(batch.inputs)[0])
                stop = start + batch.size
                if skips(batch):
                    start = stop
                    advance()
                    continue
                rows = {name: filled(array[start:stop], length) for name, array in (extras or {}).items()}
                start = stop
                with own_errors(self._errors):
                    outputs, collected = self._run((batch.inputs, rows))
                yield tree.map_structure(as_numpy, outputs), tree.map_structure(viewed, collected), batch
                advance()


@contextmanager
def progress_bar(count: int | None, *, shown: bool) -> Iterator[Any]:
    """A bar over batches on standard error: only on a terminal, and only if there is more than one batch."""
    if not shown or count == 1 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("batches", total=count)
        yield lambda: bar.advance(task)
