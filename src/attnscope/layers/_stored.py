"""The scores of a layer's last pass, concrete after whatever ran it: an eager call or a compiled function.

What a layer keeps on itself while it is traced is a tensor of the trace, dead once the trace ends. So each
backend has its own way out of compiled code, and eager calls take the same way, so that the last one to write
is the last one to have run:

* PyTorch runs eagerly: the tensor itself, cut off from the gradients.
* JAX: a host callback, which the compiled function calls each time it runs.
* TensorFlow: a variable of any shape, assigned in the graph. XLA cannot change the shape of a variable, so code
  that it compiles only notes that it ran, and reading says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from attnscope.errors import NoAttentionError, UnsupportedError


class Scores:
    """The scores of one layer's last pass. Never saved, copied or tracked with the layer."""

    def __init__(self) -> None:
        self._last: Any = None

    def put(self, scores: Any) -> None:
        """Keeps `scores`, a tensor of the running pass, be it concrete or traced."""
        self._last = scores

    def clear(self) -> None:
        """Forgets them."""
        self._last = None

    def end(self, error: BaseException) -> None:
        """Told of a call that `error` ended: it leaves no scores, rather than those of an older one."""
        self.clear()

    def take(self) -> Any:
        """The tensor of the last pass, or None."""
        return self._last


class TorchScores(Scores):
    """Kept as they are, without their gradients; not while Keras only asks for shapes, or exports."""

    def put(self, scores: Any) -> None:
        """Keeps `scores`."""
        import torch

        if scores.device.type != "meta" and not torch.compiler.is_exporting() and not self._asks_for_shapes():
            self._last = scores.detach()

    def _asks_for_shapes(self) -> bool:
        """Whether Keras, for want of something on the meta device, runs the layer on made-up numbers."""
        import torch

        if torch.is_grad_enabled() or torch.compiler.is_compiling():  # neither is so while it asks
            return False
        return _runs("compute_output_spec", "keras.")

    def end(self, error: BaseException) -> None:
        """Checkpointing ends its second pass with an exception of its own; the first has gone well."""
        if type(error).__module__ != "torch.utils.checkpoint":
            super().end(error)


class JaxScores(Scores):
    """Handed over by a callback of the compiled function, which runs later than the call returns.

    The callbacks of one function run in any order. So where a trace has several calls of the layer, the function hands
    over those of the last alone. (JAX's ordered callbacks know neither vmap nor several devices.)
    """

    def __init__(self) -> None:
        super().__init__()
        self._trace: Any = None
        self._newest: list[int] = []  # one number, the last call in that trace; each trace has a list of its own

    def put(self, scores: Any) -> None:
        """Keeps `scores`."""
        import jax

        if not isinstance(scores, jax.core.Tracer):
            jax.effects_barrier()  # an earlier pass may still be running, and must not write after this one
            self._last = scores
        elif not _is_exported():
            jax.debug.callback(self._handed_over(), scores)

    def _handed_over(self) -> Callable[[Any], None]:
        """A callback for the call that is being traced, which keeps nothing if another comes after it."""
        trace = _jax_trace()
        if trace != self._trace:
            self._trace, self._newest = trace, [0]
        self._newest[0] += 1
        call, newest = self._newest[0], self._newest

        def keep(scores: Any) -> None:
            if call == newest[0]:
                self._last = scores

        return keep

    def clear(self) -> None:
        """Forgets them."""
        import jax

        jax.effects_barrier()
        super().clear()

    def take(self) -> Any:
        """The tensor of the last pass, or None."""
        import jax

        jax.effects_barrier()
        return super().take()


class TensorFlowScores(Scores):
    """Assigned to a variable, which both eager and compiled code can do."""

    def __init__(self) -> None:
        import tensorflow as tf

        def variable(value: Any, shape: Any) -> Any:
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            return tf.Variable(value, shape=shape, trainable=False, aggregation=first)

        with tf.init_scope():
            self._nothing = tf.zeros((0,))
            self._kept = variable(self._nothing, tf.TensorShape(None))
            self._in_xla = variable(False, tf.TensorShape(()))

    def put(self, scores: Any) -> None:
        """Keeps `scores`."""
        import tensorflow as tf
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        if not tf.executing_eagerly() and _is_exported():
            return
        in_xla = GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
        self._in_xla.assign(in_xla)
        if not in_xla:
            self._kept.assign(tf.cast(scores, self._kept.dtype))

    def clear(self) -> None:
        """Forgets them."""
        import tensorflow as tf

        with tf.init_scope():
            self._in_xla.assign(False)
            self._kept.assign(self._nothing)

    def take(self) -> Any:
        """The tensor of the last pass, or None."""
        if self._in_xla.numpy():
            raise UnsupportedError(
                "XLA compiled the last pass of this layer, and on TensorFlow it hands out no array whose shape may "
                "change from call to call. Compile without XLA, tf.function(..., jit_compile=False), or take the "
                "scores with ats.capture(model, x)."
            )
        kept = self._kept.value()
        return None if kept.shape == self._nothing.shape else kept


_SCORES = {"jax": JaxScores, "tensorflow": TensorFlowScores, "torch": TorchScores}


def _jax_trace() -> Any:
    """Something that is equal within one trace of JAX, and keeps it not alive."""
    import jax
    import jax.extend

    found = getattr(jax.extend.core, "get_opaque_trace_state", None) or jax.core.get_opaque_trace_state
    return found()


def _frames() -> Iterator[Any]:
    """The running Python functions, innermost first."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_exported() -> bool:
    """Whether the trace that runs is for export: what is served has nobody to hand scores to."""
    rooms = {"keras": "export", "jax": "export", "tensorflow": "savedmodel"}
    for frame in _frames():
        package, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if rooms.get(package) in rest.replace("_", "").split("."):
            return True
    return False


def _runs(function: str, package: str) -> bool:
    """Whether a function of this name runs that belongs to `package`."""
    return any(
        frame.f_code.co_name == function and frame.f_globals.get("__name__", "").startswith(package)
        for frame in _frames()
    )


class StoresScores:
    """What the layers of this room have in common: a place for the scores of the last pass.

    It comes before Keras' layer among the bases, takes `store_scores` from its arguments, and gives `_stored`.
    """

    name: str

    def __init__(self, *args: Any, store_scores: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._store_scores = bool(store_scores)
        self._stored = _SCORES.get(keras.backend.backend(), Scores)()
        if store_scores and keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # so that Keras, left to choose, does not compile with XLA

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer."""
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            self._stored.end(error)
            raise

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again; scores are not among them."""
        return {**super().get_config(), "store_scores": self._store_scores}  # type: ignore[misc]

    @property
    def store_scores(self) -> bool:
        """Whether the scores of the last pass are kept."""
        return self._store_scores

    @property
    def attention_scores(self) -> np.ndarray | None:
        """The scores of the layer's last pass, after the softmax and before dropout.

        The pass may have been an eager call, or the last batch of `predict`, `evaluate` or `fit`. A layer has one
        place for them, whichever thread runs it: what is read is always one whole pass, the last to have written.

        Returns:
            float32, one row per sample of the last batch, dims as the layer's class says; a copy, yours to change.
            None before the first pass, and after a call that failed.

        Raises:
            NoAttentionError: The layer was made with ``store_scores=False``.
            UnsupportedError: The pass was compiled by XLA on TensorFlow (``jit_compile=True``).
        """
        if not self._store_scores:
            raise NoAttentionError(
                f"The layer {self.name!r} was made with store_scores=False, so it keeps no scores. Make it with "
                "store_scores=True, or take them without it: ats.capture(model, x)."
            )
        scores = self._stored.take()
        return None if scores is None else np.array(keras.ops.convert_to_numpy(scores), dtype="float32")
