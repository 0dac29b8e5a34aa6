"""What happens to an attention call that is intercepted: it is read, passed to the handler, and its result put back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import keras
from keras.src import backend as keras_backend

from attnscope.backends import current
from attnscope.errors import AttnscopeError
from attnscope.interception import _loops as loops
from attnscope.interception._calls import Call, DeclaredCall, FusedCall, Occurrence, SoftmaxCall, UntakenCall
from attnscope.interception._declarations import Declaration, declared_at
from attnscope.interception._layout import Layout, layout_by_size, number_of_heads
from attnscope.interception._location import Location, current_location
from attnscope.interception._padding import Padding
from attnscope.interception._plan import Counts, Plan, SitePlan
from attnscope.tensors import Tensor, Tree

Item = TypeVar("Item")
Result = TypeVar("Result")
Handler = Callable[[Call], Tensor | None]
"""Takes a call; gives None, or scores in the dims of ``call.layout`` that replace the model's own."""
Embedded = Callable[[keras.Layer, str, Tensor, Tensor], Tensor]
"""Takes an embedding layer, its path, the whole numbers that it was given and what it made of them; gives the embedding
that the model uses instead."""

Unroller = Callable[[Callable[..., Tree]], Callable[..., Tree]]
"""Takes a function of Keras that loops; gives one that does the same step by step."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer that is over.

    Attributes:
        layer: The layer.
        path: Its path from the model.
        inputs: What it was called on: the first argument.
        outputs: What it gave.
        again: Calls it once more on the same under another handler, whose scores count in every row: gives what the
            layer gives then. Its calls of attention have the same names.
    """

    layer: keras.Layer
    path: str
    inputs: Tree
    outputs: Tree
    again: Callable[[Handler], Tree]


@dataclass(frozen=True)
class Listeners:
    """The functions that are called about what happens in a run.

    Attributes:
        handler: Called for each attention call.
        embedded: Called for each embedding; None if nobody asks.
        ended: Called for each call of a layer that is over; None if nobody asks.
        masked: Called with the name of each Keras mask and the mask; None if nobody asks.
        untaken: Called for each softmax and fused call that cannot be taken; None if nobody asks.
        everywhere: Whether the handler's scores count also in rows that may attend to nothing.
        in_tiles: Whether the handler reads scores tile by tile, so that a layer of Keras' that would build the matrix
            is taken as a fused call.
    """

    handler: Handler
    embedded: Embedded | None = None
    ended: Callable[[LayerCall], None] | None = None
    masked: Callable[[str, Tensor], None] | None = None
    untaken: Callable[[UntakenCall], None] | None = None
    everywhere: bool = False
    in_tiles: bool = False


@dataclass(frozen=True)
class Run:
    """What is known about a run when it begins.

    Attributes:
        root: The model; paths are counted from it.
        batch: Number of samples.
        trace: The trace that it is in.
        plan: What a trace found out; None where nothing was traced, so that axes are told by their sizes.
        declarations: What the user declared to be attention.
        errors: Collects errors of our own that are raised inside the model; frameworks wrap them beyond recognition.
    """

    root: keras.Layer | None
    batch: int
    trace: Hashable
    plan: Plan | None = None
    declarations: tuple[Declaration, ...] = ()
    errors: list[AttnscopeError] = field(default_factory=list)


@dataclass
class Progress:
    """What has been seen so far in a run.

    Attributes:
        padding: The padding masks.
        counts: How many calls there were at each path and step.
        loops: Names of the model's loops that run now, outermost first.
        branches: How many calls there were in each branch of a condition, by its name.
        conditions: For each condition of which a branch runs now, the outermost first, whether it is compiled apart.
        heads: Heads of the framework's own modules that run now, outermost first.
    """

    padding: Padding = field(default_factory=Padding)
    counts: Counts = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)
    branches: dict[str, list[Counts]] = field(default_factory=dict)
    conditions: list[bool] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)

    @property
    def loop(self) -> str | None:
        """The innermost loop that runs now."""
        return self.loops[-1] if self.loops else None

    def counted(self, path: str, step: tuple[int, ...] = ()) -> int:
        """How many calls there were before at this path and step; one more from now on."""
        count = self.counts[path, step]
        self.counts[path, step] += 1
        return count


@dataclass(frozen=True)
class Interception:
    """One running interception: takes the calls of the functions that `intercept` has put itself in front of."""

    listeners: Listeners
    run: Run
    progress: Progress

    def softmax(self, run: Callable[[], Tensor], logits: Tensor, axis: Any) -> Tensor:
        """Takes one softmax: runs it, passes it on, and gives what the model uses instead."""
        location = self._location()
        shape = self._static(logits)
        axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        output = self._ran(run)
        if None in axes:
            return output
        if not self._in_own_trace:
            outside = current().unmapped(partial(self._outside_of_a_map, axes), logits, output)
            if outside is not None:
                return outside
        if self._is_out_of_reach(location, "softmax", shape):
            return output
        occurrence = self._occurrence(location)
        layout = self._layout(occurrence, shape, axes, self._heads(location))
        tensors = {"logits": _with_shape(logits, shape), "output": _with_shape(output, shape)}
        if layout is None:
            self._note_without_sample(occurrence, "softmax", shape, _dtype(output), tensors, axes)
            return output
        edited = self._edited(SoftmaxCall(**self._common(occurrence, "softmax", layout), **tensors, axes=axes))
        return output if edited is None else edited

    def _outside_of_a_map(self, axes: tuple[int, ...], logits: Tensor, output: Tensor, added: int) -> Tensor:
        """Takes a softmax in a vectorising map for all that the map runs over: so many axes are `added` in front."""
        return self.softmax(lambda: output, logits, tuple(axis if axis < 0 else axis + added for axis in axes))

    def fused(self, run: Callable[[], Tensor], **tensors: Any) -> Tensor:
        """Takes one fused attention call; `tensors` are the fields of a `FusedCall`."""
        location, kind = self._location(), "softmax" if tensors.get("by_softmax") else "fused"
        names = [name for name in ("query", "key", "value", "mask", "bias") if tensors[name] is not None]
        shapes = {name: self._static(tensors[name]) for name in names}
        lead, queries, heads, _ = shapes["query"]
        shape = (lead, heads, queries, shapes["key"][1])
        if self._is_out_of_reach(location, kind, shape):
            return self._ran(run)
        occurrence = self._occurrence(location)
        layout = self._layout(occurrence, shape, (-1,), heads)
        tensors.update({name: _with_shape(tensors[name], known) for name, known in shapes.items()})
        if layout is None:
            dtype = _dtype(tensors["query"])
            self._note_without_sample(occurrence, kind, shape, dtype, tensors, (-1,))
            return self._ran(run)
        call = FusedCall(**self._common(occurrence, kind, layout), **tensors, run=run)
        edited = self._edited(call)
        if edited is not None:
            return edited
        return self._ran(run) if call.context is None else call.to_output(call.context)

    def declared(self, layer: keras.Layer, outputs: Tree) -> Tree:
        """Takes what a layer returns, where it is declared to hold attention."""
        location = self._location().inside(layer)
        declaration = declared_at(self.run.declarations, layer, location.path)
        if declaration is None or outputs is None:
            return outputs
        weights = self._noting_errors(declaration.weights_of, outputs)
        if self._is_out_of_reach(location, "declared", tuple(weights.shape)):
            return outputs
        layout = self._noting_errors(declaration.layout, tuple(weights.shape), self.run.batch)
        common = self._common(self._occurrence(location), "declared", layout)
        edited = self._edited(DeclaredCall(**common, output=weights, is_the_output=weights is outputs))
        return outputs if edited is None else edited

    def embedding(
        self, layer: keras.Layer, args: Sequence[Tree], kwargs: Mapping[str, Tree], outputs: Tensor
    ) -> Tensor:
        """Passes on what an `Embedding` makes of token numbers; gives what the model uses instead."""
        embedded = self.listeners.embedded
        if embedded is None or not isinstance(layer, keras.layers.Embedding):
            return outputs
        if current().current_trace() != self.run.trace:  # in a compiled loop, which its tensors cannot leave
            return outputs
        numbers = args[0] if args else kwargs.get("inputs")
        if numbers is None or kwargs.get("reverse") or tuple(args[1:2]) == (True,):
            return outputs
        if len(outputs.shape) != len(numbers.shape) + 1:  # no lookup; numbers may come as floats, which Keras casts
            return outputs
        path = self._location().inside(layer).path
        count = self.progress.counted(path)
        edited = aside(embedded, layer, f"{path}#{count}" if count else path, numbers, outputs)
        mask = keras_backend.get_keras_mask(outputs)
        if mask is not None:  # it goes with the tensor
            aside(keras_backend.set_keras_mask, edited, mask)
        return edited

    def layer_ended(
        self, layer: keras.Layer, run: Callable[[], Tree], inputs: Tree, outputs: Tree, before: Counts
    ) -> None:
        """Reports a call of a layer that is over; `before` is what had been counted when it began."""
        ended = self.listeners.ended
        if ended is None or current().current_trace() != self.run.trace:
            return
        path = self._location().inside(layer).path
        again = partial(self._again, run, before)
        self._noting_errors(aside, ended, LayerCall(layer, path, inputs, outputs, again))

    def _again(self, run: Callable[[], Tree], before: Counts, handler: Handler) -> Tree:
        progress = Progress(padding=self.progress.padding, counts=before.copy())
        token = ACTIVE.set(Interception(Listeners(handler, everywhere=True), self.run, progress))
        try:
            return run()
        finally:
            ACTIVE.reset(token)

    def mask_set(self, tensor: Tensor, mask: Tensor | None) -> None:
        """Records a Keras mask that a layer sets or removes."""
        if current().current_trace() != self.run.trace:
            return
        path, padding = self._location().path, self.progress.padding
        if mask is not None:
            name = padding.read_keras_mask(mask, path, loops.current_step())
            if name is not None and self.listeners.masked is not None:
                aside(self.listeners.masked, name, mask)
        elif (removed := keras_backend.get_keras_mask(tensor)) is not None:
            padding.note_removal(removed, path, self.progress.counts[path, loops.current_step()])

    def loop(self, kind: str, original: Callable[..., Tree], unrolled: Unroller, *args: Any, **kwargs: Any) -> Tree:
        """Runs one of the model's loops: step by step if that is wanted, otherwise as it is."""
        name = f"{self._location().path}:{kind}"
        if self.run.plan is not None and name in self.run.plan.unroll:
            return unrolled(original)(*args, **kwargs)
        with _pushed(self.progress.loops, name):
            return original(*args, **kwargs)

    def condition(self, run: Callable[..., Tree], branches: Sequence[Callable[..., Tree]]) -> Tree:
        """Runs a condition: `run` is given its branches.

        Whichever branches run, a call has the same name: calls are counted as if all of them ran, one after another.
        """
        step, path = loops.current_step(), f"{self._location().path}:condition"
        name = f"{path}#{self.progress.counted(path, step)}{list(step) if step else ''}"
        before, outside = self.progress.counts.copy(), current().current_trace()
        known = None if self.run.plan is None else self.run.plan.branches.get(name)
        counts = [Counter() for _ in branches] if known is None else list(known)

        def wrapped(number: int, branch: Callable[..., Tree]) -> Callable[..., Tree]:
            def ran(*args: Any, **kwargs: Any) -> Tree:
                start = sum(counts[:number], before)
                self.progress.counts = start.copy()
                with _pushed(self.progress.conditions, current().current_trace() != outside):
                    result = branch(*args, **kwargs)
                if known is None:
                    counts[number] = self.progress.counts - start
                return result

            return ran

        given = run(*(wrapped(number, branch) for number, branch in enumerate(branches)))
        self.progress.branches[name] = counts
        self.progress.counts = sum(counts, before)
        return given

    def mapped(self, run: Callable[..., Tree], function: Callable[..., Tree], elements: Tree) -> Tree:
        """Runs one of the framework's own maps: element by element if that is wanted, otherwise as it is."""
        if self.progress.loops:  # a loop of Keras' that is made of it
            return run(function, elements)
        return self.loop("map", run, lambda _: loops.unrolled_map, function, elements)

    def scanned(self, run: Callable[..., Tree], *args: Any, **kwargs: Any) -> Tree:
        """Runs one of the framework's own scans, which takes what `keras.ops.scan` takes; likewise."""
        if self.progress.loops:
            return run(*args, **kwargs)
        return self.loop("scan", run, lambda _: loops.unrolled_scan, *args, **kwargs)

    def with_heads(self, heads: int, run: Callable[[], Tensor]) -> Tensor:
        """Runs one of the framework's functions that folds this many heads into the batch."""
        with _pushed(self.progress.heads, heads):
            return run()

    def left_out(self, run: Callable[[], Tensor], tensor: Tensor, what: str) -> Tensor:
        """Records a call that attnscope cannot read, and lets it run."""
        self._note_untaken(
            UntakenCall(Occurrence(self._location()), "fused", tuple(tensor.shape), "", f"{what} cannot be read yet")
        )
        return self._ran(run)

    def _location(self) -> Location:
        return current_location(self.run.root)

    def _occurrence(self, location: Location) -> Occurrence:
        step = loops.current_step()
        index = self.progress.counted(location.path, step)
        occurrence = Occurrence(location, index, step, self.progress.loop, bool(self.progress.conditions))
        if self.run.plan is not None and occurrence.name in self.run.plan.steps:
            return replace(occurrence, index=0, step=(*step, self.run.plan.steps[occurrence.name]))
        return occurrence

    def _common(self, occurrence: Occurrence, kind: str, layout: Layout) -> dict[str, Any]:
        padding, site = self.progress.padding, self._site(occurrence.name)
        windows = tuple(dim for dim in layout.dims if dim == "window")
        plans = {} if site is None else site.in_steps.get(occurrence.step, site.masks)
        wanted = {dim: padding.of(plan, windows) for dim, plan in plans.items()}
        masks = {dim: mask for dim, mask in wanted.items() if mask is not None}
        return {
            "at": occurrence,
            "kind": kind,
            "batch": self.run.batch,
            "layout": layout,
            "masks": masks,
            "removed_masks": tuple(padding.removed),
        }

    def _site(self, name: str) -> SitePlan | None:
        return None if self.run.plan is None else self.run.plan.sites.get(name)

    def _layout(
        self, occurrence: Occurrence, shape: tuple[int, ...], axes: tuple[int, ...], heads: int | None
    ) -> Layout | None:
        """As the plan has it; by the sizes where there is no plan for this site."""
        site = self._site(occurrence.name)
        if site is None:
            return layout_by_size(shape, axes, self.run.batch, heads)
        return None if site.layout is None else site.layout.at(shape, self.run.batch)

    def _heads(self, location: Location) -> int | None:
        return self.progress.heads[-1] if self.progress.heads else number_of_heads(location.layers)

    def _edited(self, call: Call) -> Tensor | None:
        """What the model uses instead once the handler has seen the call; None if it only observed."""

        def ask() -> Tensor | None:
            edited = self.listeners.handler(call)
            return None if edited is None else call.replaced(edited, everywhere=self.listeners.everywhere)

        return self._noting_errors(aside, ask)

    def _noting_errors(self, function: Callable[..., Result], *args: Any) -> Result:
        try:
            return function(*args)
        except AttnscopeError as error:
            self.run.errors.append(error)
            raise

    def _static(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape; where TensorFlow lost sight of the first size, that is the batch."""
        first, *rest = tensor.shape
        return (
            self.run.batch if first is None else int(first),
            *(-1 if size is None else int(size) for size in rest),
        )

    @property
    def _in_own_trace(self) -> bool:
        return current().current_trace() == self.run.trace

    def _ran(self, run: Callable[[], Tensor]) -> Tensor:
        """What an intercepted call gives by itself.

        In a trace of its own the call is not marked as met: what a framework compiled is kept, and met no more.
        """
        if not self._in_own_trace:
            return aside(run)
        with current().met():
            return aside(run)

    def _is_out_of_reach(self, location: Location, kind: str, shape: tuple[int, ...]) -> bool:
        """Whether a call's tensors cannot leave the trace that they are in, or have no shape yet; which is noted."""
        in_own_trace = self._in_own_trace
        if in_own_trace and -1 not in shape:
            return False
        if in_own_trace:
            loop, reason = None, _SHAPELESS
        elif any(self.progress.conditions):
            loop, reason = None, _IN_BRANCH
        else:
            loop, reason = self.progress.loop, COMPILED
        self._note_untaken(UntakenCall(Occurrence(location, loop=loop), kind, shape, "", reason))
        return True

    def _note_without_sample(
        self,
        occurrence: Occurrence,
        kind: str,
        shape: tuple[int, ...],
        dtype: str,
        tensors: Mapping[str, Tensor],
        axes: tuple[int, ...],
    ) -> None:
        """Records a call whose first axis is not the samples; in a loop, it is judged once the loop is unrolled."""
        if occurrence.loop is None:
            self._note_untaken(UntakenCall(occurrence, kind, shape, dtype, _NO_SAMPLE, tensors, axes))
        else:
            self._note_untaken(UntakenCall(occurrence, kind, shape, "", _NO_SAMPLE))

    def _note_untaken(self, call: UntakenCall) -> None:
        if self.listeners.untaken is not None:
            self.listeners.untaken(call)


ACTIVE: ContextVar[Interception | None] = ContextVar("attnscope_interception", default=None)
"""The interception of this thread or task; None where nobody looks, or while an original or a handler runs."""


def is_watched() -> bool:
    """Whether what runs at this moment is a model whose calls are taken, and not a handler or an original."""
    return ACTIVE.get() is not None


def aside(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Calls a function whose own calls are not taken: an original, or a handler."""
    token = ACTIVE.set(None)
    try:
        return function(*args, **kwargs)
    finally:
        ACTIVE.reset(token)


@contextmanager
def own_errors(errors: list[AttnscopeError]) -> Iterator[None]:
    """Raises the first of `errors` as it was, whatever a framework made of it on the way."""
    try:
        yield
    except Exception:
        if errors:
            raise errors[0] from None
        raise


@contextmanager
def _pushed(stack: list[Item], item: Item) -> Iterator[None]:
    stack.append(item)
    try:
        yield
    finally:
        stack.pop()


_NO_SAMPLE = "its first axis is neither the batch nor a multiple of it"
_SHAPELESS = "its shape is not known before the run; give the model inputs of a fixed length"
_IN_BRANCH = (
    "it runs in a branch of a condition that is decided while the compiled model runs, whose tensors cannot leave it; "
    "decide it by a plain Python value, or compute both branches and choose between what they give with keras.ops.where"
)
COMPILED = (
    "it runs inside a compiled loop or a function that the layer compiled for itself, whose tensors cannot leave it; "
    "keras.ops.scan, map, vectorized_map, fori_loop and RNN layers can be unrolled, while_loop and the framework's own "
    "loops cannot"
)


def _dtype(tensor: Tensor) -> str:
    return str(keras.backend.standardize_dtype(tensor.dtype))


def _with_shape(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor with its shape known to the trace; a wrong one would fail in the run."""
    return aside(keras.ops.reshape, tensor, shape) if tuple(tensor.shape) != shape else tensor
