"""What attnscope needs from a Keras backend: everything that differs between them is behind this protocol.

A backend is one file, `_<name>.py` with the name that `keras.backend.backend()` gives, which defines `BACKEND`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from attnscope.backends._graph import Trace
from attnscope.tensors import Tensor, Tree

if TYPE_CHECKING:
    import numpy as np

Model = Any
"""A Keras model or layer."""
ModelOf = Callable[[], Model]
"""Gives the model while it lives: a weak reference to it."""
Body = Callable[[Model, Tree], Tree]
"""Takes the model and a batch of inputs as the backend's tensors, gives a structure of tensors."""
Probe = Callable[[str, Tensor], Tensor]
"""Takes a name and a tensor, gives the tensor with a zero added that is differentiated by."""
ProbedBody = Callable[[Model, Tree, Probe], tuple[Tensor, Tree]]
"""Like `Body`, with a probe for what is differentiated by; gives a scalar and a structure of tensors."""
Step = Callable[[Tree, Tensor], tuple[Tree, Tree]]
"""One step of a loop over blocks: from the carry and the first position of a block (an int32 scalar) to the next carry
and a structure of tensors of this block."""


class Interception(Protocol):
    """What the functions to intercept do with a call; see `attnscope.interception`."""

    def softmax(self, run: Callable[[], Tensor], logits: Tensor, axis: Any) -> Tensor:
        """Takes a softmax of `logits` along `axis` (an integer, or several), which `run` computes."""

    def fused(self, run: Callable[[], Tensor], **tensors: Any) -> Tensor:
        """Takes a fused attention call, which `run` computes; see `attnscope.interception.FusedCall` for `tensors`."""

    def mapped(self, run: Callable[[Callable[[Tree], Tree], Tree], Tree], function: Any, elements: Tree) -> Tree:
        """Runs a function over all elements along the first axis, as ``run(function, elements)`` does."""

    def scanned(self, run: Callable[..., Tree], *args: Any, **kwargs: Any) -> Tree:
        """Runs a scan with the arguments of `keras.ops.scan`, as `run` does."""

    def condition(self, run: Callable[..., Tree], branches: Sequence[Callable[..., Tree]]) -> Tree:
        """Runs a condition: calls `run` with its branches."""

    def left_out(self, run: Callable[[], Tensor], tensor: Tensor, what: str) -> Tensor:
        """Records a call that cannot be read, and lets it run."""

    def with_heads(self, heads: int, run: Callable[[], Tensor]) -> Tensor:
        """Runs a function that folds this many heads into the batch."""


@dataclass(frozen=True)
class Function:
    """One function to intercept.

    Attributes:
        owner: Module or class that holds it.
        name: Its name there.
        take: Called in its place with the running `Interception`, the original and the arguments.
        bound_early: Whether people import it by name, so that other modules hold it too.
    """

    owner: Any
    name: str
    take: Callable[..., Any]
    bound_early: bool = False


class Backend(Protocol):
    """A backend of Keras.

    Attributes:
        fused_builds_matrix: Whether the backend's own fused attention builds the matrix of all queries by all keys, so
            that computing the context beside the scores saves something.
        masked_rows_vary: Whether its kernels for fused attention differ in what they make of a row that may attend to
            nothing.
        takes_texts: Whether a model can be given texts as tensors.
        compiles: Whether what runs is compiled for each shape of inputs, so that another shape costs seconds.
        eager_from: From how many operations on it takes less time to run what never ran before eagerly than to compile
            it.
    """

    fused_builds_matrix: bool
    masked_rows_vary: bool
    takes_texts: bool
    compiles: bool
    eager_from: float

    def functions(self) -> list[Function]:
        """The framework's own functions through which attention can pass."""

    def current_trace(self) -> Hashable:
        """A token that is equal for two moments exactly when they belong to the same trace.

        A softmax in the body of a compiled loop gives a tensor that exists only in that body. Returning it is a leaked
        tracer on JAX and an "out of scope" tensor on TensorFlow.
        """

    def viewed(self, tensor: Tensor) -> np.ndarray:
        """A tensor as an array, without a copy if it is on the CPU: to be read immediately, and not written to."""

    def compiled(self, model: ModelOf, body: Body) -> Callable[[Tree], Tree]:
        """Compiles `body`, which runs the model, once for each shape of inputs.

        Returns:
            A function from a structure of arrays to what `body` gives. Variables are read again at every call.
        """

    def noted(
        self, model: ModelOf, body: Body, inside: Callable[[], bool]
    ) -> Callable[[Tree], tuple[Tree, Hashable]] | None:
        """Runs `body` operation by operation, with nothing compiled, and notes what the model does.

        Args:
            model: The model.
            body: What to run.
            inside: Whether what runs at this moment is the model, and not what looks at it.

        Returns:
            A function from a structure of arrays to what `body` gives and to a program: two runs whose programs are
            equal were the same operations on the same tensors in the same order, but for the sizes of their axes; or
            None, where `program` tells. None instead of the function where nothing runs in this way.
        """

    def program(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Hashable:
        """What `noted` would say that ``body(inputs)``, which calls `model`, is, where shapes alone tell; else None."""

    def differentiated(self, model: ModelOf, body: ProbedBody) -> Callable[[Tree], tuple[Tree, dict[str, Tensor]]]:
        """Compiles `body` with its derivatives.

        Returns:
            A function from a structure of arrays to the structure that `body` gives besides its scalar, and the
            derivative of the scalar with respect to each probed tensor.

        Raises:
            UnsupportedError: The backend computes no gradients.
        """

    def tile_bytes(self, tensor: Tensor) -> int:
        """Size of a tile of scores that a streaming summary works best on, where `tensor` is."""

    def packed(self, tensor: Tensor) -> Tensor:
        """The tensor, its last axes beside each other in memory, where that is not up to a compiler."""

    def exponentials(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits minus the largest on the last axis, and ``exp`` of these; may write over `logits`."""

    def row_sums(self, tensor: Tensor) -> Tensor:
        """The sum over the last axis, off by a few units in the last place however long the axis is."""

    def bits(self, total: Tensor, energy: Tensor) -> Tensor:
        """``log2(total) - energy / (total * log(2))``, off by little more than its rounding to the dtype of `total`."""

    def row_products(self, first: Tensor, second: Tensor) -> Tensor:
        """The sum over the last axis of the product of two tensors, which broadcast."""

    def optimised(self, function: Callable[[], Tree]) -> Callable[[], Tree]:
        """A function of tensors around it, compiled by itself where the backend does not compile all of a run."""

    def scan(self, step: Step, carry: Tree, count: int, size: int) -> tuple[Tree, Tree]:
        """Runs ``step(carry, number * size)`` for `count` numbers, in a compiled loop on backends that have one.

        Returns:
            The last carry, and what the steps gave, each tensor stacked along a new first axis.
        """

    def trace(self, model: Model, body: Callable[[Tree], Tree], inputs: Tree) -> Trace:
        """Runs ``body(inputs)``, which calls `model`, on shapes alone, and gives the operations that it is made of."""

    def met(self) -> AbstractContextManager[object]:
        """What is computed in the block belongs to a call that was met, which the running `trace` notes."""

    def uncompiled(self) -> AbstractContextManager[object]:
        """In the block, functions that the model compiled for itself run as part of what runs around them."""

    def unmapped(self, take: Callable[[Tensor, Tensor, int], Tensor], logits: Tensor, output: Tensor) -> Tensor | None:
        """Takes a softmax inside of a vectorising map of the framework's (`jax.vmap`, `torch.vmap`) for all at once.

        Args:
            take: Called outside of that map on the whole tensors, which have a new first axis, and the number of such
                axes; gives what takes the place of the output.
            logits: What the softmax was given, in the map.
            output: What it gave, in the map.

        Returns:
            What takes the place of the output in the map; None where these are not in such a map.
        """

    def key_of(self, tensor: Tensor, number: int) -> Hashable:
        """The key by which the running `trace` will know a tensor; `number` differs for each such tensor."""
