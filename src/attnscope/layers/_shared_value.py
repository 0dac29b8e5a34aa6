"""The interpretable attention of the Temporal Fusion Transformer: all heads share one value."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attnscope.layers._arguments import Shape, check_dims, filled_in, first_given
from attnscope.layers._stored import StoresScores
from attnscope.tensors import Tensor


@keras.saving.register_keras_serializable(package="attnscope")
class SharedValueMultiHeadAttention(StoresScores, keras.layers.Layer):  # type: ignore[misc]
    """Multi-head attention whose heads differ in where they look, but not in what they read there.

    In ordinary multi-head attention each head has a value of its own, so a weight in one head cannot be compared with
    the same weight in another. Here all heads share one value, to which their mean is applied::

        scores_h = softmax(query W_query_h  (key W_key_h)^T / sqrt(key_dim))
        output   = mean_h(scores_h)  (value W_value)  W_output

    The output therefore depends on the attention only through the mean map, ``layer.attention_scores.mean(axis=1)``:
    if it replaced every head's own map, nothing would change.

    Args:
        num_heads: Number of heads.
        key_dim: Size of each head, for query and key.
        value_dim: Size of the shared value; `key_dim` if None.
        dropout: Share of the scores that is dropped in training, from 0 to 1, independently in each head.
        use_bias: Whether the projections have biases. Those in the paper have none.
        output_dim: Last dimension of the output; that of the query if None.
        kernel_initializer: Initializer of the kernels.
        seed: Seed of the dropout.
        store_scores: Whether to keep the scores of the last pass in `attention_scores`.
        **kwargs: What every Keras layer takes: `name`, `dtype`, `trainable`, ...

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
        dims ``(sample, query, feature)``. `attention_scores` has dims ``(sample, head, query, key)``, before dropout.
        Rows sum to 1; those of queries that may attend to nothing are all 0.

    Raises:
        ValueError: `num_heads`, `key_dim` or `value_dim` is not a positive integer, or query, key or value does not
            have three dims.

    Source:
        Lim, Arik, Loeff, Pfister 2021 (arXiv 1912.09363), section 4.4, equations 13 to 16.

    Example:
        >>> import keras
        >>> layer = SharedValueMultiHeadAttention(num_heads=2, key_dim=4)
        >>> tuple(layer(keras.ops.ones((3, 5, 8))).shape)
        (3, 5, 8)
        >>> layer.attention_scores.mean(axis=1).shape
        (3, 5, 5)
    """

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        *,
        dropout: float = 0.0,
        use_bias: bool = False,
        output_dim: int | None = None,
        kernel_initializer: str | dict[str, Any] | keras.Initializer = "glorot_uniform",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.num_heads = _positive("num_heads", num_heads)
        self.key_dim = _positive("key_dim", key_dim)
        self.value_dim = _positive("value_dim", first_given(value_dim, key_dim))
        self.dropout, self.use_bias, self.output_dim, self.seed = dropout, use_bias, output_dim, seed
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.query_dense = self._dense(num_heads * key_dim, "query")
        self.key_dense = self._dense(num_heads * key_dim, "key")
        self.value_dense = self._dense(self.value_dim, "value")
        self._softmax = keras.layers.Softmax(dtype=self.dtype_policy)
        self._dropout_layer = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def _dense(self, units: int, name: str) -> keras.layers.Dense:
        initializer = self.kernel_initializer.clone()  # an initializer that was used before repeats its numbers
        options = {"use_bias": self.use_bias, "kernel_initializer": initializer, "dtype": self.dtype_policy}
        return keras.layers.Dense(units, name=name, **options)

    def get_config(self) -> dict[str, Any]:
        """The arguments from which this layer can be made again."""
        names = ("num_heads", "key_dim", "value_dim", "dropout", "use_bias", "output_dim", "seed")
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in names},
            "kernel_initializer": initializer,
        }

    def build(self, query_shape: Shape, key_shape: Shape | None = None, value_shape: Shape | None = None) -> None:
        """Creates the weights."""
        query_shape, key_shape, value_shape = filled_in(query_shape, key_shape, value_shape)
        for name, shape in (("a query", query_shape), ("a key", key_shape), ("a value", value_shape)):
            check_dims(self.name, name, shape, f"(sample, {'query' if name == 'a query' else 'key'}, feature)")
        self.query_dense.build(query_shape)
        self.key_dense.build(key_shape)
        self.value_dense.build(value_shape)
        self.output_dense = self._dense(first_given(self.output_dim, query_shape[-1]), "attention_output")
        self.output_dense.build((*query_shape[:-1], self.value_dim))

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
            key_mask = query_mask
        query, key, value = filled_in(query, key, value)
        keys_by_head = self._by_head(self.key_dense(key))
        logits = ops.matmul(self._by_head(self.query_dense(query)), ops.transpose(keys_by_head, (0, 1, 3, 2)))
        allowed = _allowed(logits, query_mask, key_mask, value_mask, attention_mask, causal=use_causal_mask)
        scores = self._softmax(logits / self.key_dim**0.5, mask=allowed)
        mean = ops.mean(self._dropout_layer(scores, training=training), axis=1)
        output = self.output_dense(ops.matmul(mean, self.value_dense(value)))
        if self.store_scores:
            self._stored.put(scores)
        return (output, scores) if return_attention_scores else output

    def _by_head(self, projected: Tensor) -> Tensor:
        """Splits dims ``(sample, position, head x size)`` into ``(sample, head, position, size)``."""
        samples, length = ops.shape(projected)[:2]
        return ops.transpose(ops.reshape(projected, (samples, length, self.num_heads, self.key_dim)), (0, 2, 1, 3))

    def compute_mask(self, query: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """The query's mask, as the output has the query's positions."""
        return mask

    def compute_output_shape(
        self, query_shape: Shape, key_shape: Shape | None = None, value_shape: Shape | None = None
    ) -> Shape:
        """The shape of the output."""
        return (*query_shape[:-1], first_given(self.output_dim, query_shape[-1]))

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
        output = keras.KerasTensor(self.compute_output_shape(query.shape), dtype=self.compute_dtype)
        scores = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
        return (output, keras.KerasTensor(scores, dtype=self.compute_dtype)) if return_attention_scores else output


def _positive(name: str, number: int) -> int:
    if not isinstance(number, int) or number <= 0:
        raise ValueError(f"{name} is {number!r}, but a positive integer is needed: {name}=4, for example.")
    return number


def _allowed(
    logits: Tensor,
    query_mask: Tensor | None,
    key_mask: Tensor | None,
    value_mask: Tensor | None,
    attention_mask: Tensor | None,
    *,
    causal: bool,
) -> Tensor | None:
    """Where queries may attend to keys: bool, broadcast to ``(sample, head, query, key)``; None if everywhere."""
    masks = []
    if query_mask is not None:
        masks.append(ops.cast(query_mask, "bool")[:, None, :, None])
    masks += [ops.cast(mask, "bool")[:, None, None, :] for mask in (key_mask, value_mask) if mask is not None]
    if attention_mask is not None:
        with_heads = attention_mask if len(attention_mask.shape) == 4 else ops.expand_dims(attention_mask, -3)
        masks.append(ops.cast(with_heads, "bool"))
    if causal:
        queries, keys = ops.shape(logits)[-2], ops.shape(logits)[-1]
        masks.append(ops.arange(queries)[:, None] >= ops.arange(keys)[None, :])
    allowed = None
    for mask in masks:
        allowed = mask if allowed is None else ops.logical_and(allowed, mask)
    return allowed
