"""The one primitive: intercept every attention call of a model while it runs, and pass it to a handler.

All of attnscope rests on `intercept`. Capture, summaries, interventions and gradients are handlers:

* a handler that returns None only observes, and the model runs as if nothing had happened;
* the scores that a handler returns replace the model's own.

What is intercepted, on every backend: Keras' `backend.nn.softmax` and `backend.nn.dot_product_attention`,
`Softmax` over several axes (which Keras computes without a softmax), and, inside a layer, the framework's own
softmax and fused attention. `intercepted_functions` is the list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras

from attnscope.backends import current
from attnscope.errors import AttnscopeError
from attnscope.interception._calls import UntakenCall
from attnscope.interception._declarations import Declaration
from attnscope.interception._functions import intercepted_functions
from attnscope.interception._interception import (
    ACTIVE,
    Embedded,
    Handler,
    Interception,
    LayerCall,
    Listeners,
    Progress,
    Run,
)
from attnscope.interception._keras import input_names, layers_of
from attnscope.interception._plan import COMPILED_FUNCTIONS, Plan
from attnscope.patching import behind, bound_early, patched, stand_in
from attnscope.tensors import Tensor, Tree


@contextmanager
def intercept(
    handler: Handler,
    root: keras.Layer | None = None,
    *,
    batch: int,
    inputs: Tree = None,
    plan: Plan | None = None,
    declarations: tuple[Declaration, ...] = (),
    errors: list[AttnscopeError] | None = None,
    embedded: Embedded | None = None,
    ended: Callable[[LayerCall], None] | None = None,
    masked: Callable[[str, Tensor], None] | None = None,
    untaken: Callable[[UntakenCall], None] | None = None,
    in_tiles: bool = False,
) -> Iterator[Interception]:
    """Passes every attention call of the code that runs in the block, in this thread or task only, to `handler`.

    If interceptions are nested, the innermost takes the calls; the outer one resumes after it. Whatever happens in the
    block, everything is restored afterwards.

    Args:
        handler: Takes a call; gives None, or scores in the dims of ``call.layout`` that replace the model's own.
        root: The model whose layers the paths are counted from.
        batch: Number of samples that the model is given, which identifies the sample axis.
        inputs: The model's inputs, read for padding masks.
        plan: What a trace of the model found out: what the axes mean, masks, loops to run step by step. Without one
            the axes are told by their sizes.
        declarations: Declared sites; see `attnscope.declare`.
        errors: Collects errors of our own on their way out through the model.
        embedded: Called for each `Embedding` with its layer, path, whole numbers and result: gives the embedding that
            the model uses instead.
        ended: Called with each call of a layer once it is over.
        masked: Called with the name of each Keras mask that a layer sets, and the mask.
        untaken: Called with each softmax and fused call that cannot be taken, with the reason.
        in_tiles: Whether `handler` only observes, and reads scores tile by tile: layers of Keras' that would build the
            matrix at inference, because they have `dropout`, are then taken as fused calls.

    Yields:
        The running interception.

    Example:
        >>> import numpy as np
        >>> layer = keras.layers.MultiHeadAttention(2, 4)
        >>> x = np.ones((3, 5, 8), "float32")
        >>> shapes = []
        >>> with intercept(lambda call: shapes.append(call.layout.shape), batch=3):
        ...     _ = layer(x, x)
        >>> shapes
        [(3, 2, 5, 5)]
    """
    run = Run(
        root,
        batch,
        current().current_trace(),
        plan,
        declarations,
        [] if errors is None else errors,
    )
    running = Interception(Listeners(handler, embedded, ended, masked, untaken, in_tiles=in_tiles), run, Progress())
    with ExitStack() as stack:
        _install(stack, [] if root is None else layers_of(root))
        if plan is not None and COMPILED_FUNCTIONS in plan.unroll:
            stack.enter_context(current().uncompiled())
        token = ACTIVE.set(running)
        stack.callback(ACTIVE.reset, token)
        if inputs is not None:
            names = [] if root is None else input_names(root, inputs)
            running.progress.padding.read_inputs(inputs, names)
        yield running


def _install(stack: ExitStack, layers: list[keras.Layer]) -> None:
    functions = intercepted_functions()
    originals: dict[str, list[object]] = defaultdict(list)
    takes: dict[object, Callable[..., Tree]] = {}
    for function in functions:
        if function.bound_early:
            original = behind(getattr(function.owner, function.name))
            originals[function.name].append(original)
            takes[original] = function.take
    bindings = bound_early(originals, layers)
    for function in functions:
        stack.enter_context(patched(function.owner, function.name, _asking_first(function.take)))
    for holder, alias, original in bindings:
        stack.enter_context(patched(holder, alias, _asking_first(takes[original])))


def _asking_first(take: Callable[..., Tree]) -> Callable[[Callable[..., Tree]], Callable[..., Tree]]:
    def wrapped(original: Callable[..., Tree]) -> Callable[..., Tree]:
        def function(*args: Any, **kwargs: Any) -> Tree:
            running = ACTIVE.get()
            if running is None:
                return original(*args, **kwargs)
            return take(running, original, *args, **kwargs)

        return stand_in(original, function)

    return wrapped
