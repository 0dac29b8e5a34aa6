"""One attention call while it happens: its scores, computed only as far as they are asked for.

A `Call` is what a handler is given. Softmax calls have their scores already. Fused calls have none: they are computed
from query, key, mask and bias, whole or a block of queries at a time, so that the matrix of all queries by all keys
need never exist.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import keras
from keras import ops
from keras.src import backend as keras_backend

from attnscope.backends import current
from attnscope.errors import InterventionError
from attnscope.interception._blocks import Block, Reduction
from attnscope.interception._layout import Layout
from attnscope.interception._location import Location
from attnscope.interception._padding import MASKED_LOGIT, RemovedMask
from attnscope.interception._tiles import Tiles, Tiling, both, rank_4
from attnscope.schema import SCORES
from attnscope.tensors import Tensor

SMALL_BYTES = 2**20
"""Where all scores of a fused call take less, that call itself is run beside them: it costs next to nothing, and the
model's output stays what it was to the bit."""

LARGE_BYTES = 16 * 2**20
"""Where all scores of a call in half precision take more, the context is computed beside them, since the model's own
call would build the matrix."""

BLOCK_TILES = 8
"""How many tiles' cells a block of all heads has, so that it still has some queries."""


@dataclass(frozen=True)
class Occurrence:
    """Where in a model a call happens, and how many came before it there.

    Attributes:
        location: Where.
        index: How many calls there were at this location before, in the same step.
        step: Steps of the unrolled loops that the call is in, outermost first; empty outside of any.
        loop: The innermost loop around it that is not run step by step, or None.
        conditional: Whether it is in a branch of a condition.
    """

    location: Location
    index: int = 0
    step: tuple[int, ...] = ()
    loop: str | None = None
    conditional: bool = False

    @property
    def name(self) -> str:
        """Name of the site: path, and ``#n`` from the second call on."""
        return self.location.path + (f"#{self.index}" if self.index else "")


@dataclass(frozen=True)
class UntakenCall:
    """A softmax or fused call that cannot be read: its axes are not known, or its tensors are out of reach.

    Attributes:
        at: Where it happens.
        kind: ``softmax``, ``fused`` or ``declared``.
        shape: Shape of its scores, as far as it is known (-1 elsewhere).
        dtype: Dtype of its scores; empty if that is not known.
        reason: Why, in words for the user.
        tensors: What it is made of, by the names of the fields of a `Call`; empty where they are out of reach.
        axes: The axes that its softmax runs over.
    """

    at: Occurrence
    kind: str
    shape: tuple[int, ...]
    dtype: str
    reason: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    axes: tuple[int, ...] = ()


@dataclass
class Call(ABC):
    """What all kinds of attention calls have in common.

    Attributes:
        at: Where in the model it happens.
        kind: ``softmax``, ``fused`` or ``declared``.
        batch: Number of samples.
        layout: How the tensor becomes labelled scores.
        masks: Padding masks of its dims where they are known, dims ``(sample, window, position)``, without ``window``
            where the layout has none; of size 1 along it where all windows have the same.
        removed_masks: Those that layers had taken off a tensor before it.
    """

    at: Occurrence
    kind: str
    batch: int
    layout: Layout
    masks: Mapping[str, Tensor]
    removed_masks: tuple[RemovedMask, ...]

    @property
    def name(self) -> str:
        """Name of the site: path, and ``#n`` from the second call on."""
        return self.at.name

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Dtype the model computes the scores in."""

    @abstractmethod
    def scores(self) -> Tensor:
        """The scores, dims as in `layout`; masked cells and fully masked rows are 0, NaN stays NaN."""

    @abstractmethod
    def cells(self) -> Tensor | None:
        """Which cells the model left unmasked, broadcastable to the scores; None where it masked none."""

    @abstractmethod
    def replaced(self, scores: Tensor, *, everywhere: bool = False) -> Tensor:
        """What the intercepted function returns once `scores` replace its own.

        Args:
            scores: The scores, dims as in `layout`.
            everywhere: Whether to replace rows that may attend to nothing too, which otherwise stay as the model leaves
                them.
        """

    def read(self, reductions: Sequence[Reduction]) -> dict[str, Tensor]:
        """The variables of summaries; here of all queries at once, since the scores exist anyway."""
        block = Block(self.scores(), self.query_valid(), 0, self.layout)
        variables: dict[str, Tensor] = {}
        for reduction in reductions:
            carry, per_query = reduction.update(reduction.init(self.layout), block)
            variables.update(reduction.finish(carry, per_query))
        return variables

    def _known_padding(self, dims: tuple[str, ...]) -> Tensor | None:
        """The model's padding mask for an axis, dims as in `masks`; None where it is not known."""
        return self.masks.get(dims[0]) if len(dims) == 1 else None

    def key_valid(self) -> Tensor | None:
        """Which keys are not padding, dims as in `masks`; None if all are valid.

        A key that no query may attend to is padding. Where the model masks nothing, its padding mask decides.
        """
        by_cells = self._any_cell(self.layout.key_dims)
        known = self._known_padding(self.layout.key_dims)
        if by_cells is None or known is None:
            return known if by_cells is None else by_cells
        nothing_masked = ops.all(by_cells, axis=-1, keepdims=True)
        return ops.where(nothing_masked, known, by_cells)

    def query_valid(self) -> Tensor | None:
        """Which queries attend to something and are not padding, dims of the scores without the keys."""
        cells = self.cells()
        rows = None if cells is None else any_along(cells, axis=self._key_positions)
        return both(rows, self._spread_query_padding())

    @property
    def _key_positions(self) -> tuple[int, ...]:
        return tuple(range(-self.layout.num_keys, 0))

    def _spread_query_padding(self) -> Tensor | None:
        padding = self._known_padding(self.layout.query_dims)
        if padding is None:
            return None
        between = len(self.layout.shape) - self.layout.num_keys - len(padding.shape)
        lead = tuple(padding.shape)[:-1]  # the windows stand behind the samples
        return ops.reshape(padding, (*lead, *[1] * between, padding.shape[-1]))

    def _any_cell(self, dims: tuple[str, ...]) -> Tensor | None:
        cells = self.cells()
        if cells is None:
            return None
        if len(cells.shape) < len(self.layout.dims):
            return None
        remaining = {"sample", "window", *dims}
        axes = tuple(axis for axis, dim in enumerate(self.layout.dims) if dim not in remaining)
        return any_along(cells, axis=axes) if axes else cells


@dataclass
class SoftmaxCall(Call):
    """A softmax, by Keras or by the framework itself.

    Attributes:
        logits: What it was given.
        output: What it gave, same shape.
        axes: The axes that it ran over.
    """

    logits: Tensor = None
    output: Tensor = None
    axes: tuple[int, ...] = (-1,)

    @property
    def dtype(self) -> str:
        """Dtype the model computes the scores in."""
        return str(keras.backend.standardize_dtype(self.output.dtype))

    @cached_property
    def _cells(self) -> Tensor:
        return ops.greater(self.layout.arrange(self.logits), MASKED_LOGIT)

    def cells(self) -> Tensor | None:
        """Cells whose logit does not come from a mask."""
        return ops.logical_or(self._cells, ops.isnan(self.layout.arrange(self.logits)))

    def scores(self) -> Tensor:
        """The softmax's own output, with fully masked rows set to 0 as Keras does."""
        return _zeroed(self.layout.arrange(self.output), self._cells)

    def replaced(self, scores: Tensor, *, everywhere: bool = False) -> Tensor:
        """The edited scores, back in the shape of the softmax's output."""
        edited = self.layout.restore(ops.cast(scores, self.output.dtype), tuple(self.output.shape))
        if everywhere:
            return edited
        cells = ops.greater(self.logits, MASKED_LOGIT)
        any_cell = any_along(cells, axis=self.layout.key_axes, keepdims=True)
        return ops.where(any_cell, edited, self.output)


@dataclass
class FusedCall(Call):
    """A fused attention call: query, key and value in, context out, no scores.

    Attributes:
        query: dims ``(B, T, N, H)``; `key` and `value` ``(B, S, K, H)`` with N a multiple of K.
        mask: True where a cell may be attended to, broadcastable to ``(B, N, T, S)``; or None.
        bias: Added to the logits, broadcastable in the same way; or None.
        scale: Factor on the logits.
        soft_cap: Logits become ``l / (1 + |l| / soft_cap)``, as Keras documents it; or None.
        context: Context ``(B, T, N, H)``, once it has been computed from the scores that were asked for.
        keep_context: Whether to compute it on the way, so that the model's own call need not run: not where that
            call drops weights at random.
        by_softmax: Whether the model computes it by a softmax of the whole matrix, which gives 0 to a query that may
            attend to nothing.
        to_output: From context to what the intercepted function returns.
        run: The intercepted call itself.
    """

    query: Tensor = None
    key: Tensor = None
    value: Tensor = None
    mask: Tensor = None
    bias: Tensor = None
    scale: float | Tensor = 1.0
    is_causal: bool = False
    soft_cap: float | None = None
    keep_context: bool = True
    context: Tensor = None
    by_softmax: bool = False
    to_output: Callable[[Tensor], Tensor] = lambda context: context
    run: Callable[[], Tensor] | None = None

    @property
    def dtype(self) -> str:
        """Dtype the model computes the scores in."""
        return str(keras.backend.standardize_dtype(self.query.dtype))

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Batch (with folded windows), heads, queries, keys."""
        lead, queries, heads, _ = self.query.shape
        return int(lead), int(heads), int(queries), int(self.key.shape[1])

    @cached_property
    def _keys_of_all_heads(self) -> Tensor:
        return self._of_all_heads(self.key)

    def _of_all_heads(self, tensor: Tensor) -> Tensor:
        groups = self.query.shape[2] // tensor.shape[2]
        return ops.repeat(tensor, groups, axis=2) if groups > 1 else tensor

    def _logits(self, query: Tensor, bias: Tensor) -> Tensor:
        wide = keras.backend.result_type(self.query.dtype, "float32")
        query = ops.multiply(ops.cast(query, wide), ops.cast(self.scale, wide))
        logits = ops.einsum("btnh,bsnh->bnts", query, ops.cast(self._keys_of_all_heads, wide))
        if self.soft_cap is not None:
            logits = ops.divide(logits, 1.0 + ops.abs(logits) / self.soft_cap)
        return logits if bias is None else ops.add(logits, ops.cast(bias, wide))

    def _cells_of(self, mask: Tensor, bias: Tensor, start: Tensor, queries: int) -> Tensor | None:
        """Unmasked cells of `queries` rows from `start` on, of rank 4; None where all are."""
        cells = None if mask is None else ops.cast(rank_4(mask), "bool")
        if self.is_causal:
            rows = ops.arange(queries, dtype="int32") + start
            keys = ops.arange(self.sizes[3], dtype="int32")
            cells = both(cells, (keys[None, :] <= rows[:, None])[None, None])
        if bias is not None:
            cells = both(cells, ops.greater(rank_4(bias), MASKED_LOGIT))
        return cells

    def _rows(self, query: Tensor, mask: Tensor, bias: Tensor, start: Tensor) -> tuple[Tensor, Tensor | None]:
        """Softmax of the queries' logits and their unmasked cells.

        These are the weights that the model's own call applies. A row that may attend to nothing comes out uniform,
        as on TensorFlow and JAX; where a bias masks it, as the softmax of what the bias leaves of its logits.
        """
        cells = self._cells_of(mask, bias, start, query.shape[1])
        allowed = self._cells_of(mask, None, start, query.shape[1])
        logits = self._logits(query, bias)
        if allowed is not None:
            logits = ops.where(allowed, logits, ops.cast(-1e30, logits.dtype))
        # Not keras.ops.softmax: it warns about a single key, which is the lint's to report.
        return keras_backend.nn.softmax(logits, axis=-1), cells

    def cells(self) -> Tensor | None:
        """Cells left unmasked by mask, bias and the causal rule, in the dims of the scores."""
        cells = self._cells_of(self.mask, self.bias, 0, self.sizes[2])
        return None if cells is None else self._in_layout(ops.broadcast_to(cells, self.sizes))

    @cached_property
    def _own_rows(self) -> tuple[Tensor, Tensor | None]:
        return self._rows(self.query, self.mask, self.bias, 0)

    def scores(self) -> Tensor:
        """The whole matrix, computed from query and key in float32 or wider."""
        if self.context is None and self._context_is_the_models(self._own_rows[1]):
            self.context = self._context(_zeroed(*self._own_rows) if self.by_softmax else self._own_rows[0])
        return self._in_layout(_zeroed(*self._own_rows))

    def _context_is_the_models(self, cells: Tensor | None) -> bool:
        """Whether the context computed from the whole matrix may replace the model's own, and is worth it.

        In half precision it would differ by more than rounding of float32. Where kernels differ in what they make of a
        row that may attend to nothing, there must be none.
        """
        if not self.keep_context or self.dtype not in ("float32", "float64"):
            return False
        if math.prod(self.sizes) * 4 < SMALL_BYTES:
            return False
        if cells is None or self.by_softmax or not current().masked_rows_vary:
            return True
        return bool(ops.all(any_along(cells, axis=-1)))

    def _in_layout(self, tensor: Tensor) -> Tensor:
        return self.layout.arrange(tensor)

    def _any_cell(self, dims: tuple[str, ...]) -> Tensor | None:
        # The causal rule hides no key from every query, so it is left out: the mask stays at its own size.
        lead, _, queries, keys = self.sizes
        cells = None if self.mask is None else ops.cast(rank_4(self.mask), "bool")
        if self.bias is not None:
            cells = both(cells, ops.greater(rank_4(self.bias), MASKED_LOGIT))
        if cells is None:
            return None
        if self.is_causal and cells.shape[2] == queries:
            cells = self._cells_of(self.mask, self.bias, 0, queries)
        flat = ops.broadcast_to(any_along(cells, axis=(1, 2)), (lead, keys))
        return self._without_heads(self.layout.arrange(flat, axes=(0, 3)))

    def _without_heads(self, cells: Tensor) -> Tensor:
        """Dims ``(sample, window, key)`` where heads are folded into the first axis."""
        heads = [dim for dim, _ in self.layout.axes[0]]
        if "head" not in heads:
            return cells
        dims = [dim for dim in self.layout.dims if dim in heads]
        return any_along(cells, axis=dims.index("head"))

    def replaced(self, scores: Tensor, *, everywhere: bool = False) -> Tensor:
        """The context that the edited scores give; rows that may attend to nothing keep the model's own."""
        edited = self._context(self.layout.restore(scores, self.sizes))
        cells = self._cells_of(self.mask, self.bias, 0, self.sizes[2])
        if everywhere or cells is None or self.run is None:
            return self.to_output(edited)
        attends = ops.swapaxes(any_along(cells, axis=-1, keepdims=True), 1, 2)  # as the context: batch, query, head, 1
        attends = self.to_output(ops.broadcast_to(attends, edited.shape))
        return ops.where(attends, self.to_output(edited), self.run())

    def _context(self, scores: Tensor) -> Tensor:
        values = self._of_all_heads(self.value)
        return ops.einsum("bnts,bsnh->btnh", ops.cast(scores, values.dtype), values)

    def read(self, reductions: Sequence[Reduction]) -> dict[str, Tensor]:
        """The variables of summaries, read tile by tile; the whole matrix never exists."""
        variables: dict[str, Tensor] = {}
        for by_head in (True, False):
            chosen = [reduction for reduction in reductions if reduction.by_head == by_head]
            tiling = self._tiling(by_head) if chosen else None
            if tiling is not None:
                keep = self.context is None and (self._keeps_context or self._saves_the_models_own(chosen))
                found, context = Tiles(self, tiling, chosen, keep).read()
                self.context = self.context if context is None else context
                variables.update(found)
            elif chosen:
                variables.update(super().read(chosen))
        return variables

    def _tiling(self, by_head: bool) -> Tiling | None:
        """How the call is cut in tiles; None where one tile holds it, or an axis is more than one dim."""
        cells = current().tile_bytes(self.query) // 4
        if by_head:
            tiling = Tiling.fitting(self.sizes, self.query.shape[2] // self.key.shape[2], cells)
        else:
            tiling = Tiling.of_all_heads(self.sizes, cells * BLOCK_TILES)
        names = [[dim for dim, _ in parts] for parts in self.layout.axes]
        plain = self.layout.num_keys == 1 and names[2:] == [["query"], ["key"]] and names[1] in ([], ["head"])
        return tiling if plain and (tiling.lead, tiling.heads, tiling.queries) != self.sizes[:3] else None

    @property
    def _keeps_context(self) -> bool:
        """Whether the context is computed beside the scores; in half precision only where the matrix is large."""
        if not self.keep_context or not (self.by_softmax or current().fused_builds_matrix):
            return False
        return self.dtype in ("float32", "float64") or math.prod(self.sizes) * 4 > LARGE_BYTES

    def _saves_the_models_own(self, reductions: Sequence[Reduction]) -> bool:
        """Whether the context may be computed beside whole maps, so that the model's own call need not run."""
        if not any(SCORES in reduction.missing for reduction in reductions):
            return False
        return self._context_is_the_models(self._cells_of(self.mask, self.bias, 0, self.sizes[2]))

    def query_padding(self) -> Tensor | None:
        """Which queries the model's mask says are no padding, dims batch, head and query; None if it says nothing."""
        padding = self._spread_query_padding()
        if padding is None:
            return None
        layout = Layout(self.layout.axes[:3], self.layout.dims[:-1])
        return layout.restore(ops.broadcast_to(padding, layout.shape), self.sizes[:3])


@dataclass
class DeclaredCall(Call):
    """Weights that a layer returns and the user declared to be attention.

    Attributes:
        output: The weights as the layer returns them.
        is_the_output: Whether they are all that the layer returns, so that an edit reaches the model.
    """

    output: Tensor = None
    is_the_output: bool = True

    @property
    def dtype(self) -> str:
        """Dtype the model computes the scores in."""
        return str(keras.backend.standardize_dtype(self.output.dtype))

    def scores(self) -> Tensor:
        """The weights, axes in the standard order."""
        return self.layout.arrange(self.output)

    def cells(self) -> Tensor | None:
        """None: weights alone cannot distinguish a masked cell from a zero."""
        return None

    def replaced(self, scores: Tensor, *, everywhere: bool = False) -> Tensor:
        """The edited weights, if the model computes its output from them."""
        if not self.is_the_output:
            raise InterventionError(
                f"The site {self.name!r} is declared from one of several outputs of its layer, which has used the "
                "weights already: an edit of them would change nothing. Edit a softmax inside the layer instead, "
                "or split the layer in two: one that returns the weights, one that applies them."
            )
        return self.layout.restore(ops.cast(scores, self.output.dtype), tuple(self.output.shape))


def any_along(cells: Tensor, axis: int | tuple[int, ...], keepdims: bool = False) -> Tensor:
    """`ops.any`, one axis after the other: over several at once it is wrong on PyTorch in Keras 3.13."""
    axes = (axis,) if isinstance(axis, int) else axis
    for one in sorted((number % len(cells.shape) for number in axes), reverse=True):
        cells = ops.any(cells, axis=one, keepdims=keepdims)
    return cells


def _zeroed(scores: Tensor, cells: Tensor | None) -> Tensor:
    if cells is None:
        return scores
    return ops.where(ops.logical_or(cells, ops.isnan(scores)), scores, ops.zeros_like(scores))
