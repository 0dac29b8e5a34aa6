"""Keras' multi-head attention, with the scores of the last pass to read afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from attnscope.layers._arguments import Shape, filled_in, first_given, with_masks
from attnscope.layers._stored import StoresScores
from attnscope.tensors import Tensor


@keras.saving.register_keras_serializable(package="attnscope")
class InterpretableMultiHeadAttention(StoresScores, keras.layers.MultiHeadAttention):  # type: ignore[misc]
    """Multi-head attention that shows what it attended to.

    It is `keras.layers.MultiHeadAttention`, with all of its arguments, masks, dtype policies and weights. The
    differences: it is called with ``(query, key, value)``, in this order; key and value may be left out; the masks of
    the caller's tensors stay on them; and it has `attention_scores`.

    Args:
        d_model: Size of each head, for query, key and value (Keras' `key_dim`), unless `head_dim` says otherwise.
        n_head: Number of heads.
        dropout_rate: Share of the scores that is dropped in training, from 0 to 1.
        head_dim: Size of each head; `d_model` is then the width of the model, which is the width of the output. The
            usual split of the width among the heads is ``(d_model=64, n_head=8, head_dim=64 // 8)``.
        store_scores: Whether to keep the scores of the last pass in `attention_scores`. If False, the layer costs what
            Keras' own costs, or less: even with dropout it takes the fused path at inference if there are no masks.
        **kwargs: Anything else that `keras.layers.MultiHeadAttention` takes: `value_dim`, `use_bias`, `output_shape`,
            `attention_axes`, `flash_attention`, `kernel_initializer`, `seed`, `name`, `dtype`, ...

    Call arguments:
        query: dims ``(sample, query, feature)``.
        key: dims ``(sample, key, feature)``. Default: the value, or else the query.
        value: dims ``(sample, key, feature)``. Default: the key, or else the query.
        attention_mask: bool, dims ``(sample, query, key)``, True where the query may attend to the key. It is combined
            with the Keras masks of the arguments and the causal mask.
        return_attention_scores: Whether to return ``(output, scores)``.
        training: Whether to drop scores.
        use_causal_mask: Whether to hide the keys that come after the query.

    Returns:
        dims ``(sample, query, feature)``; the last is as wide as the query's, or as `output_shape` or `head_dim`
        specify. `attention_scores` has dims ``(sample, head, query, key)``, before dropout. Rows sum to 1; those of
        queries that may attend to nothing are all 0.

    Raises:
        ValueError: `flash_attention` and `store_scores` are both True, or Keras rejects an argument.

    Example:
        >>> import keras
        >>> layer = InterpretableMultiHeadAttention(d_model=4, n_head=2)
        >>> tuple(layer(keras.ops.ones((3, 5, 8))).shape)
        (3, 5, 8)
        >>> layer.attention_scores.shape
        (3, 2, 5, 5)
    """

    def __init__(
        self,
        d_model: int,
        n_head: int,
        dropout_rate: float = 0.1,
        *,
        head_dim: int | None = None,
        store_scores: bool = True,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("flash_attention") and store_scores:
            raise ValueError(
                "flash_attention=True was given with store_scores=True, but flash attention never computes the scores "
                "that would be stored. Choose one: store_scores=False (ats.capture(model, x) still finds them), or no "
                "flash_attention."
            )
        if head_dim is not None:
            kwargs["output_shape"] = first_given(kwargs.get("output_shape"), d_model)
        size = first_given(head_dim, d_model)
        super().__init__(num_heads=n_head, key_dim=size, dropout=dropout_rate, store_scores=store_scores, **kwargs)
        self._d_model, self._head_dim = d_model, head_dim
        if store_scores:
            self._flash_attention = False  # Keras' global switch may ask for it, and it has no scores

    def get_config(self) -> dict[str, Any]:
        """The arguments from which this layer can be made again."""
        config = super().get_config()
        of_keras = ("num_heads", "key_dim", "dropout")
        n_head, _, dropout_rate = (config.pop(name) for name in of_keras)
        ours = {"d_model": self._d_model, "n_head": n_head, "dropout_rate": dropout_rate, "head_dim": self._head_dim}
        return {**config, **ours}

    def build(self, query_shape: Shape, key_shape: Shape | None = None, value_shape: Shape | None = None) -> None:
        """Creates the weights."""
        query_shape, key_shape, value_shape = filled_in(query_shape, key_shape, value_shape)
        super().build(query_shape, value_shape, key_shape)

    def call(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Tensor | None = None,
        query_mask: Tensor | None = None,
        key_mask: Tensor | None = None,
        value_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attends, as the docstring of the class describes."""
        query_mask = first_given(mask, query_mask)
        if key is None and value is None:
            key_mask = value_mask = query_mask
        masks = (query_mask, key_mask, value_mask)
        query, key, value = with_masks(filled_in(query, key, value), masks)
        fused = self._may_fuse([*masks, attention_mask]) and not training  # to rematerialise, JAX traces `training`
        layer: keras.layers.MultiHeadAttention = _AtInference(self) if fused else super()
        outputs = layer.call(
            query,
            value,
            key=key,
            query_mask=query_mask,
            value_mask=value_mask,
            key_mask=key_mask,
            attention_mask=attention_mask,
            return_attention_scores=return_attention_scores or self.store_scores,
            training=training,
            use_causal_mask=use_causal_mask,
        )
        if self.store_scores:
            self._stored.put(outputs[1])
        return outputs[0] if self.store_scores and not return_attention_scores else outputs

    def _may_fuse(self, masks: Sequence[Tensor | None]) -> bool:
        """Whether Keras' fused path gives what its other path, which it takes with dropout, gives at inference."""
        if self.store_scores or not self.dropout or any(mask is not None for mask in masks):
            return False  # without dropout Keras does so by itself; with masks, queries that see nothing differ
        theirs = keras.layers.MultiHeadAttention
        overridden = any(getattr(type(self), name) is not getattr(theirs, name) for name in _OF_KERAS)
        return not overridden and self.value_dim == self.key_dim  # JAX's fused call needs that

    def compute_output_shape(
        self, query_shape: Shape, key_shape: Shape | None = None, value_shape: Shape | None = None
    ) -> Shape:
        """The shape of the output."""
        query_shape, key_shape, value_shape = filled_in(query_shape, key_shape, value_shape)
        return tuple(super().compute_output_shape(query_shape, value_shape, key_shape))

    def compute_output_spec(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        return_attention_scores: bool = False,
        **_: Any,
    ) -> keras.KerasTensor | tuple[keras.KerasTensor, keras.KerasTensor]:
        """Shape and dtype of the output, and of the scores if they are asked for."""
        query, key, value = filled_in(query, key, value)
        shape = self.compute_output_shape(query.shape, key.shape, value.shape)
        output = keras.KerasTensor(shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return output
        return output, keras.KerasTensor(self._scores_shape(query.shape, key.shape), dtype=self.compute_dtype)

    def _scores_shape(self, query_shape: Shape, key_shape: Shape) -> Shape:
        axes = first_given(self.attention_axes, tuple(range(1, len(query_shape) - 1)))
        others = [size for axis, size in enumerate(query_shape[:-1]) if axis not in axes]
        return (*others, self.num_heads, *(query_shape[axis] for axis in axes), *(key_shape[axis] for axis in axes))


_OF_KERAS = ("_compute_attention", "_masked_softmax")  # what Keras lets a subclass override


class _AtInference:
    """A Keras layer as it is at inference, when dropout does nothing: at a rate of 0, Keras takes the fused path.

    `call` and `_compute_attention` are Keras' own, run on this object instead of the layer; all else is the layer's.
    """

    _dropout = 0.0
    _compute_attention = keras.layers.MultiHeadAttention._compute_attention
    call = keras.layers.MultiHeadAttention.call

    def __init__(self, layer: keras.layers.MultiHeadAttention) -> None:
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)
