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
from attnscope.interception.batches import Batch, Batches, filled
from attnscope.interception.compiled import as_numpy, call_model, compiled
from attnscope.interception.declarations import declarations
from attnscope.interception.interceptor import Handler, intercept, own_errors


def run_batches(
    model: keras.Layer,
    batches: Batches,
    handlers: Callable[[dict[str, Any]], tuple[Handler, Any]],
    *,
    unroll: frozenset[str] = frozenset(),
    extras: Mapping[str, np.ndarray] | None = None,
    progress: bool = False,
) -> Iterator[tuple[Any, Any, Batch]]:
    """Runs the model over all batches, compiled once per shape.

    Args:
        model: A built model.
        batches: Its inputs.
        handlers: Called inside the compiled function with the extras of the batch, as tensors: gives the handler,
            and the structure that it collects tensors in, which is read once the model has run.
        unroll: Loops to run step by step.
        extras: Arrays with one row per sample, cut into batches beside the inputs.
        progress: Whether to show a progress bar, on a terminal.

    Yields:
        Per batch: the model's outputs and what was collected, as NumPy arrays, and the batch. Of each array the
        first ``batch.size`` samples count.
    """

    def body(given: Any) -> Any:
        inputs, rows = given
        handler, collected = handlers(rows)
        batch = len(tree.flatten(inputs)[0])
        with intercept(
            handler,
            model,
            batch=batch,
            inputs=inputs,
            unroll=unroll,
            declarations=declarations(),
            errors=errors,
        ):
            outputs = call_model(model, inputs)
        return outputs, collected

    errors: list[AttnscopeError] = []
    run = compiled(model, body)
    start = 0
    with progress_bar(batches.count, shown=progress) as advance:
        for batch in batches:
            length = len(tree.flatten(batch.inputs)[0])
            rows = {name: filled(array[start : start + batch.size], length) for name, array in (extras or {}).items()}
            start += batch.size
            with own_errors(errors):
                outputs, collected = run((batch.inputs, rows))
            yield tree.map_structure(as_numpy, outputs), tree.map_structure(as_numpy, collected), batch
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
