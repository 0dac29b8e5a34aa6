"""A model prepared for a kind of capture, at every shape of inputs that it is asked for.

A shape that was never seen before is run eagerly where that is cheaper than to compile for it. What a trace found out
is used for other lengths too, if the model does the same at those: the operations that run are compared, one by one,
and the calls of attention. Where anything differs, the model is traced again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
from keras import tree

from attnscope.capturing._observer import Observer
from attnscope.capturing._summaries import Summary
from attnscope.discovery import Discovery, Selection, at_lengths, discover
from attnscope.interception import Call, Handler
from attnscope.running import Batch, Network, Runner, is_cheaper_eagerly, program_of
from attnscope.tensors import Tensor, Tree

Inputs = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of a model's inputs."""
KEPT = 4
"""For how many shapes a kind of capture is kept ready: the latest ones."""
_CALLS: ContextVar[list[Hashable] | None] = ContextVar("attnscope_calls", default=None)
"""What notes the calls of a run that nothing compiles."""


class NotAsSupposedError(Exception):
    """The model does something else at this length than at the one that it was traced at."""


@dataclass(frozen=True)
class Known:
    """What another length has shown.

    Attributes:
        discovery: What is to be expected at this one.
        program: What is to run.
    """

    discovery: Discovery
    program: Hashable


class Ready:
    """A model traced and prepared for one kind of capture and shapes of inputs.

    Attributes:
        chosen: The sites.
        program: What ran; None as long as that is not known.
    """

    def __init__(self, network: Network, discovery: Discovery, summaries: list[Summary], known: Known | None) -> None:
        self.discovery = discovery
        self.chosen = discovery.chosen
        left_out = [site for site in discovery.sites if site.name not in self.chosen.names]
        self.lost = {site.name: site.lost for site in left_out if site.lost}
        self.unreached = {site.name: site.unreached for site in left_out if site.unreached}
        self.observer = Observer(self.chosen, summaries, discovery.sites.names)
        self.inputs = shapes_of(network)
        self.program: Hashable = None if known is None else known.program
        self._known = known
        in_tiles = self.observer.reads_tiles
        self._runner = Runner(network.model, self._handlers, plan=discovery.plan, in_tiles=in_tiles)

    def _handlers(self, extras: dict[str, Tensor]) -> tuple[Handler, Tree]:
        handler, collected = self.observer.handlers(extras)

        def noting(call: Call) -> Tensor | None:
            calls = _CALLS.get()
            if calls is not None:
                calls.append((call.name, call.kind, call.layout.dims, call.layout.shape))
            return handler(call)

        return noting, collected

    def run(
        self, network: Network, *, first: bool, progress: bool, skips: Callable[[Batch], bool]
    ) -> Iterator[tuple[Tree, Tree, Batch]]:
        """What `Runner.run` gives.

        Args:
            network: The model and its data.
            first: Whether the model is to be run on the only batch in the way that costs least for shapes that it
                never ran on.
            progress: Whether to show a progress bar.
            skips: Which batches are not run.

        Raises:
            NotAsSupposedError: The model does something else than at the length that it was traced at.
        """
        result = self._first_run(network) if first else None
        if result is None:
            yield from self._runner.run(network, progress=progress, skips=skips)
        else:
            yield result

    def _first_run(self, network: Network) -> tuple[Tree, Tree, Batch] | None:
        """What the first run on these shapes gives; None where it does not show what the trace showed."""
        calls: list[Hashable] = []
        token = _CALLS.set(calls)
        try:
            result, program = self._ran(network)
        finally:
            _CALLS.reset(token)
        sites = [site for site in self.discovery.sites if site.dims]
        as_traced = calls == [(site.name, site.kind, site.dims, site.shape) for site in sites]
        if self._known is not None and not (as_traced and program in (None, self._known.program)):
            raise NotAsSupposedError
        if self._known is None and as_traced:
            self.program = program
        return result if as_traced else None

    def _ran(self, network: Network) -> tuple[tuple[Tree, Tree, Batch], Hashable]:
        if is_cheaper_eagerly(self.discovery.operations):
            return self._runner.run_noted(network)
        (result,) = self._runner.run(network)
        return result, None


class Prepared:
    """One kind of capture of one model, ready for the shapes that it was asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: OrderedDict[Inputs, Ready] = OrderedDict()

    def ready(self, network: Network, sites: Selection, summaries: list[Summary], *, once: bool) -> tuple[Ready, bool]:
        """The capture for the shapes of these inputs, and whether this is the first run on them, in a way of its own.

        Args:
            network: The model and its data.
            sites: Which sites.
            summaries: What to keep of each.
            once: Whether there is one batch, whose result may be that of an eager run.
        """
        inputs = shapes_of(network)
        with self._lock:
            if inputs in self._ready:
                self._ready.move_to_end(inputs)
                return self._ready[inputs], False
            others = list(reversed(self._ready.values()))
        known = _known_from(others, network) if once and others else None
        if known is not None:
            return Ready(network, known.discovery, summaries, known), True
        return self.traced(network, sites, summaries, once=once)

    def traced(self, network: Network, sites: Selection, summaries: list[Summary], *, once: bool) -> tuple[Ready, bool]:
        """The same, of a trace of its own."""
        discovery = discover(network, sites)
        ready = Ready(network, discovery, summaries, None)
        self.keep(ready)
        shapes = dict(ready.inputs)
        eagerly = is_cheaper_eagerly(discovery.operations) and at_lengths(discovery, shapes, shapes) is not None
        return ready, once and eagerly

    def keep(self, ready: Ready) -> None:
        """Keeps it for the next inputs of these shapes."""
        with self._lock:
            self._ready[ready.inputs] = ready
            while len(self._ready) > KEPT:
                self._ready.popitem(last=False)


def shapes_of(network: Network) -> Inputs:
    """Names and shapes of a network's inputs, in its first batch."""
    first = network.first.inputs
    shapes = (tuple(leaf.shape) for leaf in tree.flatten(first))
    return tuple(zip(network.input_names(first), shapes, strict=True))


def _known_from(others: list[Ready], network: Network) -> Known | None:
    """What is to be expected, by what was captured at another length; None where nothing tells."""
    first, now = network.first.inputs, dict(shapes_of(network))
    here = program_of(network.model, first)
    for other in others:
        discovery = at_lengths(other.discovery, dict(other.inputs), now)
        if discovery is None:
            continue
        if other.program is None and here is not None:
            other.program = program_of(network.model, _like(first, other.inputs))
        if other.program is not None and here in (None, other.program):
            return Known(discovery, other.program)
    return None


def _like(inputs: Tree, shapes: Inputs) -> Tree:
    """Zeros of other shapes in the structure of these inputs."""
    leaves = tree.flatten(inputs)
    zeros = [np.zeros(shape, leaf.dtype) for leaf, (_, shape) in zip(leaves, shapes, strict=True)]
    return tree.pack_sequence_as(inputs, zeros)
