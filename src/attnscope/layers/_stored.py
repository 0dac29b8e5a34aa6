"""The scores of a layer's last pass, as concrete numbers whatever ran it: an eager call or a compiled function.

What a layer stores on itself while it is being traced is a tensor of the trace, which is dead once the trace ends. So
each backend has its own way out of compiled code. Eager calls take the same way, so that the last to write is the last
to have run:

* PyTorch runs eagerly: the tensor itself, detached from the gradients.
* JAX: a host callback, which the compiled function calls each time it runs.
* TensorFlow: a variable of any shape, assigned in the graph. XLA cannot change the shape of a variable, so code that it
  compiles only records that it ran, and reading the scores raises an error that says so.
* OpenVINO: a node of the graph, which has numbers after an eager call alone. What it compiles has no way out, and
  reading the scores raises an error that says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import keras
import numpy as np

from attnscope.errors import NoAttentionError, UnsupportedError
from attnscope.tensors import Tensor, Tree


class Scores:
    """The scores of one layer's last pass. They are never saved, copied or tracked with the layer."""

    def __init__(self) -> None:
        self._last: Tensor | None = None

    def put(self, scores: Tensor) -> None:
        """Keeps `scores`, a tensor of the running pass, whether concrete or traced."""
        self._last = scores

    def clear(self) -> None:
        """Forgets them."""
        self._last = None

    def end(self, error: BaseException) -> None:
        """Handles a call that `error` ended: it leaves no scores, rather than those of an earlier call."""
        self.clear()

    def take(self) -> Tensor | None:
        """The tensor of the last pass, or None."""
        return self._last


class TorchScores(Scores):
    """Kept as they are, without their gradients, except while Keras only asks for shapes, or exports."""

    def put(self, scores: Tensor) -> None:
        """Keeps `scores`."""
        import torch

        if scores.device.type != "meta" and not torch.compiler.is_exporting() and not self._asks_for_shapes():
            self._last = scores.detach()

    def _asks_for_shapes(self) -> bool:
        """Whether Keras runs the layer on made-up numbers, because the meta device cannot do something."""
        import torch

        if torch.is_grad_enabled() or torch.compiler.is_compiling():  # neither is so while it asks
            return False
        return _runs("compute_output_spec", "keras.")

    def end(self, error: BaseException) -> None:
        """Checkpointing ends its second pass with an exception of its own, after a first pass that went well."""
        if type(error).__module__ != "torch.utils.checkpoint":
            super().end(error)


class JaxScores(Scores):
    """Handed over by a callback of the compiled function, which may run after the call has returned.

    The callbacks of one function run in any order. So if a trace contains several calls of the layer, the function
    hands over only the scores of the last one. (JAX's ordered callbacks support neither vmap nor several devices.)
    """

    def __init__(self) -> None:
        super().__init__()
        self._trace: object = None
        self._newest: list[int] = []  # one number: the last call in that trace; each trace has its own list

    def put(self, scores: Tensor) -> None:
        """Keeps `scores`."""
        import jax

        if not isinstance(scores, jax.core.Tracer):
            jax.effects_barrier()  # an earlier pass may still be running, and must not write after this one
            self._last = scores
        elif not _is_exported():
            jax.debug.callback(self._handed_over(), scores)

    def _handed_over(self) -> Callable[[Tensor], None]:
        """A callback for the call being traced, which keeps nothing if another call comes after it."""
        trace = _jax_trace()
        if trace != self._trace:
            self._trace, self._newest = trace, [0]
        self._newest[0] += 1
        call, newest = self._newest[0], self._newest

        def keep(scores: Tensor) -> None:
            if call == newest[0]:
                self._last = scores

        return keep

    def clear(self) -> None:
        """Forgets them."""
        import jax

        jax.effects_barrier()
        super().clear()

    def take(self) -> Tensor | None:
        """The tensor of the last pass, or None."""
        import jax

        jax.effects_barrier()
        return super().take()


class TensorFlowScores(Scores):
    """Assigned to a variable, which both eager and compiled code can do."""

    def __init__(self) -> None:
        import tensorflow as tf

        def variable(value: Tensor, shape: tf.TensorShape) -> tf.Variable:
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            return tf.Variable(value, shape=shape, trainable=False, aggregation=first)

        with tf.init_scope():
            self._nothing = tf.zeros((0,))
            self._scores = variable(self._nothing, tf.TensorShape(None))
            self._in_xla = variable(False, tf.TensorShape(()))

    def put(self, scores: Tensor) -> None:
        """Keeps `scores`."""
        import tensorflow as tf
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        if not tf.executing_eagerly() and _is_exported():
            return
        in_xla = GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
        self._in_xla.assign(in_xla)
        if not in_xla:
            self._scores.assign(tf.cast(scores, self._scores.dtype))

    def clear(self) -> None:
        """Forgets them."""
        import tensorflow as tf

        with tf.init_scope():
            self._in_xla.assign(False)
            self._scores.assign(self._nothing)

    def take(self) -> Tensor | None:
        """The tensor of the last pass, or None."""
        if self._in_xla.numpy():
            raise UnsupportedError(
                "XLA compiled the last pass of this layer, and on TensorFlow it cannot return an array whose shape may "
                "change from call to call. Compile without XLA: tf.function(..., jit_compile=False); or get the scores "
                "with ats.capture(model, x)."
            )
        scores = self._scores.value()
        return None if scores.shape == self._nothing.shape else scores


class OpenVINOScores(Scores):
    """Kept as a node of the graph; not while Keras only asks for shapes."""

    def put(self, scores: Tensor) -> None:
        """Keeps `scores`."""
        if not _runs("compute_output_spec", "keras."):
            self._last = scores

    def take(self) -> Tensor | None:
        """The array of the last pass, or None."""
        try:
            return None if self._last is None else keras.ops.convert_to_numpy(self._last)
        except RuntimeError:  # it depends on inputs that only the compiled graph was given
            raise UnsupportedError(
                "The layer's last pass ran in a graph that OpenVINO compiled, as predict does, which returns nothing "
                "but the model's outputs. Call the model itself, model(x), or take the scores without the layer: "
                "ats.capture(model, x)."
            ) from None


_SCORES = {"jax": JaxScores, "openvino": OpenVINOScores, "tensorflow": TensorFlowScores, "torch": TorchScores}


def _jax_trace() -> object:
    """Something that compares equal within one trace of JAX, and does not keep the trace alive."""
    import jax
    import jax.extend

    trace_state = getattr(jax.extend.core, "get_opaque_trace_state", None) or jax.core.get_opaque_trace_state
    return trace_state()


def _frames() -> Iterator[FrameType]:
    """The running Python functions, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_exported() -> bool:
    """Whether the running trace is for export: an exported model has nobody to hand scores to."""
    rooms = {"keras": "export", "jax": "export", "tensorflow": "savedmodel"}
    for frame in _frames():
        package, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if rooms.get(package) in rest.replace("_", "").split("."):
            return True
    return False


def _runs(function: str, package: str) -> bool:
    """Whether a function with this name that belongs to `package` is running."""
    return any(
        frame.f_code.co_name == function and frame.f_globals.get("__name__", "").startswith(package)
        for frame in _frames()
    )


class StoresScores:
    """What the layers of this room have in common: a place for the scores of the last pass.

    It comes before Keras' layer among the bases, takes `store_scores` from its arguments, and provides `_stored`.
    """

    name: str

    def __init__(self, *args: Any, store_scores: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._store_scores = bool(store_scores)
        self._stored = _SCORES.get(keras.backend.backend(), Scores)()
        if store_scores and keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # so that Keras, left to choose, does not compile with XLA

    def __call__(self, *args: Any, **kwargs: Any) -> Tree:
        """Calls the layer."""
        try:
            return super().__call__(*args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            self._stored.end(error)
            raise

    def get_config(self) -> dict[str, Any]:
        """The arguments from which this layer can be made again, without scores."""
        return {**super().get_config(), "store_scores": self._store_scores}  # type: ignore[misc]

    @property
    def store_scores(self) -> bool:
        """Whether the scores of the last pass are kept."""
        return self._store_scores

    @property
    def attention_scores(self) -> np.ndarray | None:
        """The scores of the layer's last pass, after the softmax and before dropout.

        The pass may have been an eager call, or the last batch of `predict`, `evaluate` or `fit`. A layer has one place
        for its scores, whichever thread runs it: you always read one whole pass, the last to have finished.

        Returns:
            float32, one row per sample of the last batch, with the dims that the layer's class documents; a copy, yours
            to change. None before the first pass, and after a call that failed.

        Raises:
            NoAttentionError: The layer was made with ``store_scores=False``.
            UnsupportedError: The pass was compiled by XLA on TensorFlow (``jit_compile=True``), or by OpenVINO.
        """
        if not self._store_scores:
            raise NoAttentionError(
                f"The layer {self.name!r} was made with store_scores=False, so it keeps no scores. Make it with "
                "store_scores=True, or get the scores without it: ats.capture(model, x)."
            )
        scores = self._stored.take()
        return None if scores is None else np.array(keras.ops.convert_to_numpy(scores), dtype="float32")
