"""What happens to an attention call that is taken: it is read, handed to the handler, and its result put back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import keras
from keras.src import backend as keras_backend

from attnscope.backends import current_trace
from attnscope.errors import AttnscopeError
from attnscope.interception import _loops as loops
from attnscope.interception._calls import Call, DeclaredCall, FusedCall, SoftmaxCall
from attnscope.interception._declarations import Declaration, declared_at
from attnscope.interception._layout import layout_of, number_of_heads
from attnscope.interception._location import Place, current_place
from attnscope.interception._padding import ORIGINS, Padding

Handler = Callable[[Call], Any]
"""Takes a call; gives None, or scores in the dims of ``call.layout`` that stand in for the model's own."""


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer that is over.

    Attributes:
        layer: The layer.
        path: Its path from the model.
        given: What it was called on: the first argument.
        outputs: What it gave.
        again: Calls it once more on the same under another handler, whose scores count in every row: gives what the
            layer gives then. Its calls of attention have the same names.
    """

    layer: keras.Layer
    path: str
    given: Any
    outputs: Any
    again: Callable[[Handler], Any]


Ended = Callable[[LayerCall], None]
"""Is told of a call of a layer."""


@dataclass(frozen=True)
class Missed:
    """A call that could not be taken, and why."""

    name: str
    place: Place
    kind: str
    shape: tuple[int, ...]
    loop: str | None
    reason: str


@dataclass
class Interception:
    """One running interception.

    Attributes:
        handler: Who gets the calls.
        root: The model; paths are counted from it.
        batch: Number of samples in this run.
        unroll: Paths of the loops to run step by step.
        errors: Errors of our own that were raised inside of the model; frameworks wrap them beyond recognition.
        embedded: Asked of each embedding with its layer, path, whole numbers and result: gives the embedding that the
            model goes on with; or None.
        padding: The padding masks seen so far.
        missed: Calls that could not be taken.
        copied: First sizes that came about by putting copies of the batch behind each other.
        heads: Heads of the PyTorch modules that run now, outermost first.
        trace: The trace that the run is in.
        loops_running: Names of the model's loops that run now, outermost first.
        counts: How many calls there were at each place and step.
    """

    handler: Handler
    root: keras.Layer | None
    batch: int
    unroll: frozenset[str] = frozenset()
    declarations: tuple[Declaration, ...] = ()
    errors: list[AttnscopeError] = field(default_factory=list)
    embedded: Callable[[keras.Layer, str, Any, Any], Any] | None = None
    ended: Ended | None = None
    everywhere: bool = False
    padding: Padding = field(default_factory=Padding)
    missed: list[Missed] = field(default_factory=list)
    copied: set[int] = field(default_factory=set)
    heads: list[int] = field(default_factory=list)
    trace: Any = None
    loops_running: list[str] = field(default_factory=list)
    counts: Counter[tuple[str, tuple[int, ...]]] = field(default_factory=Counter)

    def softmax(self, run: Callable[[], Any], logits: Any, axis: Any) -> Any:
        """Takes one softmax: runs it, hands it over, gives what the model goes on with."""
        place = current_place(self.root)
        shape = self._static(logits)
        axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
        if None in axes or self._cannot_be_taken(place, "softmax", shape):
            return aside(run)
        layout = layout_of(
            shape,
            axes,
            self.batch,
            self.heads[-1] if self.heads else number_of_heads(place.layers),
            _attention_axes(place),
            window_first=shape[0] in self.copied,
        )
        output = aside(run)
        call = SoftmaxCall(
            **self._common(place, "softmax", layout),
            logits=_with_shape(logits, shape),
            output=_with_shape(output, shape),
        )
        edited = self._edited(call)
        return output if edited is None else edited

    def fused(self, run: Callable[[], Any], **tensors: Any) -> Any:
        """Takes one fused attention call; `tensors` are the fields of a `FusedCall`."""
        place = current_place(self.root)
        given = [name for name in ("query", "key", "value", "mask", "bias") if tensors[name] is not None]
        shapes = {name: self._static(tensors[name]) for name in given}
        lead, queries, heads, _ = shapes["query"]
        shape = (lead, heads, queries, shapes["key"][1])
        if self._cannot_be_taken(place, "fused", shape):
            return aside(run)
        tensors.update({name: _with_shape(tensors[name], known) for name, known in shapes.items()})
        layout = layout_of(shape, (-1,), self.batch, heads, window_first=lead in self.copied)
        call = FusedCall(**self._common(place, "fused", layout), **tensors, run=run)
        edited = self._edited(call)
        if edited is not None:
            return edited
        return aside(run) if call.context is None else call.to_output(call.context)

    def declared(self, layer: keras.Layer, outputs: Any) -> Any:
        """Takes what a layer returns, where it is declared to hold attention."""
        place = current_place(self.root).inside(layer)
        declaration = declared_at(self.declarations, layer, place.path)
        if declaration is None or outputs is None:
            return outputs
        weights = self._noting_errors(declaration.weights_of, outputs)
        if self._cannot_be_taken(place, "declared", tuple(weights.shape)):
            return outputs
        layout = self._noting_errors(declaration.layout, tuple(weights.shape), self.batch)
        call = DeclaredCall(
            **self._common(place, "declared", layout),
            output=weights,
            is_the_output=weights is outputs,
        )
        edited = self._edited(call)
        return outputs if edited is None else edited

    def embedding(self, layer: keras.Layer, args: Any, kwargs: Any, outputs: Any) -> Any:
        """Hands over what an `Embedding` makes of numbers of tokens; gives what the model goes on with."""
        if self.embedded is None or not isinstance(layer, keras.layers.Embedding):
            return outputs
        numbers = args[0] if args else kwargs.get("inputs")
        if numbers is None or kwargs.get("reverse") or tuple(args[1:2]) == (True,):
            return outputs
        if len(outputs.shape) != len(numbers.shape) + 1:  # no lookup; numbers may come as floats, which Keras casts
            return outputs
        path = current_place(self.root).inside(layer).path
        count = self.counts[path, ()]
        self.counts[path, ()] += 1
        edited = aside(self.embedded, layer, f"{path}#{count}" if count else path, numbers, outputs)
        mask = keras_backend.get_keras_mask(outputs)
        if mask is not None:  # it goes with the tensor
            aside(keras_backend.set_keras_mask, edited, mask)
        return edited

    def called(
        self, layer: keras.Layer, run: Callable[[], Any], given: Any, outputs: Any, before: Counter[Any]
    ) -> None:
        """Tells of a call of a layer that is over; `before` is what had been counted when it began."""
        if self.ended is None or current_trace() != self.trace:
            return
        path = current_place(self.root).inside(layer).path
        again = partial(self._again, run, before)
        self._noting_errors(aside, self.ended, LayerCall(layer, path, given, outputs, again))

    def _again(self, run: Callable[[], Any], before: Counter[Any], handler: Handler) -> Any:
        anew = Interception(handler, self.root, self.batch, self.unroll, self.declarations, self.errors)
        anew.everywhere, anew.trace, anew.copied, anew.counts = True, self.trace, self.copied, before.copy()
        token = ACTIVE.set(anew)
        try:
            return run()
        finally:
            ACTIVE.reset(token)

    def concatenated(self, pieces: Any, axis: Any) -> None:
        """Notes copies of the batch that are put behind each other, as classifier-free guidance does."""
        if axis == 0 and isinstance(pieces, (list, tuple)) and len(pieces) > 1:
            sizes = [piece.shape[0] for piece in pieces if len(getattr(piece, "shape", ())) > 0]
            if sizes == [self.batch] * len(pieces):
                self.copied.add(self.batch * len(pieces))

    def mask_made(self, layer: keras.Layer, outputs: Any) -> None:
        """Notes the mask of a layer where masks begin; Keras sets it when that layer is no longer the running one."""
        if isinstance(layer, ORIGINS) and current_trace() == self.trace:
            mask = keras_backend.get_keras_mask(outputs)
            if mask is not None:
                self.padding.read_origin(mask, current_place(self.root).inside(layer).path)

    def mask_set(self, tensor: Any, mask: Any) -> None:
        """Notes a Keras mask that a layer sets, or takes off."""
        if current_trace() != self.trace:
            return
        place = current_place(self.root)
        if mask is not None:
            self.padding.read_keras_mask(mask, place.path)
        elif keras_backend.get_keras_mask(tensor) is not None and place.path not in self.padding.removed_by:
            self.padding.removed_by.append(place.path)

    def loop(self, kind: str, original: Callable[..., Any], unrolled: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs a loop of the model's: step by step where it is in `unroll`, else as it is."""
        place = current_place(self.root).path
        name = f"{place}:{kind}"
        if name in self.unroll:
            return unrolled(original)(*args, **kwargs)
        self.loops_running.append(name)
        try:
            return original(*args, **kwargs)
        finally:
            self.loops_running.pop()

    def with_heads(self, heads: int, run: Callable[[], Any]) -> Any:
        """Runs a function of the framework's that folds this many heads into the batch."""
        self.heads.append(heads)
        try:
            return run()
        finally:
            self.heads.pop()

    def left_out(self, run: Callable[[], Any], tensor: Any, what: str) -> Any:
        """Notes a call that attnscope cannot read, and lets it run."""
        place = current_place(self.root)
        shape = tuple(tensor.shape)
        self.missed.append(Missed(place.path, place, "fused", shape, None, f"{what} cannot be read yet"))
        return aside(run)

    def _common(self, place: Place, kind: str, layout: Any) -> dict[str, Any]:
        step = loops.current_step()
        index = self.counts[place.path, step]
        self.counts[place.path, step] += 1
        if place.is_distributed:
            step, index = (*step, index), 0
        return {
            "place": place,
            "index": index,
            "step": step,
            "loop": self._loop(),
            "kind": kind,
            "batch": self.batch,
            "layout": layout,
            "padding": self.padding,
        }

    def _edited(self, call: Call) -> Any:
        """What the model goes on with once the handler has seen the call; None where it only looked."""

        def ask() -> Any:
            edited = self.handler(call)
            return None if edited is None else call.replaced(edited, everywhere=self.everywhere)

        return self._noting_errors(aside, ask)

    def _noting_errors(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except AttnscopeError as error:
            self.errors.append(error)
            raise

    def _loop(self) -> str | None:
        return self.loops_running[-1] if self.loops_running else None

    def _static(self, tensor: Any) -> tuple[int, ...]:
        """The shape; where TensorFlow lost sight of the first size, that is the batch."""
        first, *rest = tensor.shape
        return (
            self.batch if first is None else int(first),
            *(-1 if size is None else int(size) for size in rest),
        )

    def _cannot_be_taken(self, place: Place, kind: str, shape: tuple[int, ...]) -> bool:
        if current_trace() == self.trace:
            if -1 not in shape:
                return False
            self.missed.append(Missed(place.path, place, kind, shape, None, _SHAPELESS))
            return True
        self.missed.append(
            Missed(
                name=place.path,
                place=place,
                kind=kind,
                shape=shape,
                loop=self._loop(),
                reason="it runs inside a compiled loop or a function that the layer compiled for itself, whose "
                "tensors cannot leave it; keras.ops.scan, map, vectorized_map, fori_loop and RNN layers can be "
                "unrolled, while_loop and the framework's own loops cannot",
            )
        )
        return True


ACTIVE: ContextVar[Interception | None] = ContextVar("attnscope_interception", default=None)
"""The interception of this thread or task; None where nobody looks, or while an original or a handler runs."""


def aside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
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


_SHAPELESS = "its shape is not known before the run; give the model inputs of a fixed length"


def _with_shape(tensor: Any, shape: tuple[int, ...]) -> Any:
    """The tensor with its shape known to the trace; a wrong one would fail in the run."""
    return aside(keras.ops.reshape, tensor, shape) if tuple(tensor.shape) != shape else tensor


def _attention_axes(place: Place) -> int:
    axes = getattr(place.layer, "_attention_axes", None)
    return len(axes) if isinstance(axes, (tuple, list)) else 1
