"""Attention that pools the states of a sequence into one vector."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from attnscope.layers._arguments import Shape, check_dims, first_given
from attnscope.layers._stored import StoresScores
from attnscope.tensors import Tensor


@keras.saving.register_keras_serializable(package="attnscope")
class AttentionPooling(StoresScores, keras.layers.Layer):  # type: ignore[misc]
    """The mean of a sequence's states, weighted by how well each answers a query.

    It replaces a softmax over ``Dense(1)`` of the states, repeated, permuted, multiplied and summed by hand; and it
    leaves out padding, to which such recipes give most of the weight. The query is learned, or given as the second
    argument (the last state of a decoder, for example). There are two ways to score a state h against it::

        additive: v . tanh(W h + b + U query)           without a query of its own: v . tanh(W h + b)
        dot:      (W h + b) . (U query) / sqrt(units)   without a query of its own: (W h + b) . u / sqrt(units)

    Args:
        units: Size of the space in which states are scored: the length of v and u.
        score: ``"additive"`` or ``"dot"``.
        kernel_initializer: Initializer of W, U, v and u.
        store_scores: Whether to keep the scores of the last pass in `attention_scores`.
        **kwargs: What every Keras layer takes: `name`, `dtype`, `trainable`, ...

    Call arguments:
        states: dims ``(sample, key, feature)``; all states of a recurrent layer (``return_sequences=True``), or what
            any other layer returns for each position.
        query: dims ``(sample, feature)``, of any size. Default: a learned query.
        mask: bool, dims ``(sample, key)``, False at padding. Default: the Keras mask of the states.
        return_attention_scores: Whether to return ``(output, scores)``.

    Returns:
        dims ``(sample, feature)``: the weighted state. `attention_scores` has dims ``(sample, key)``, is exactly 0 at
        padding, and sums to 1. If everything is padding, it sums to 0, and the weighted state is 0 too.

    Raises:
        ValueError: `score` is neither of the two, an argument has too many or too few dims, or a query is given to a
            layer that was built without one, or left out of a call to a layer that was built with one.

    Source:
        additive: Bahdanau, Cho, Bengio 2015 (arXiv 1409.0473), section 3.1; with a learned query: Yang et al. 2016,
        "Hierarchical Attention Networks", section 2.2. dot: Luong, Pham, Manning 2015 (arXiv 1508.04025), section 3.1,
        scaled as in Vaswani et al. 2017 (arXiv 1706.03762), section 3.2.1.

    Example:
        >>> import keras
        >>> layer = AttentionPooling(4)
        >>> tuple(layer(keras.ops.ones((3, 5, 8))).shape)
        (3, 8)
        >>> layer.attention_scores.shape
        (3, 5)
    """

    def __init__(
        self,
        units: int,
        *,
        score: str = "additive",
        kernel_initializer: str | dict[str, Any] | keras.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score not in ("additive", "dot"):
            raise ValueError(f"score is {score!r}, but one of two is needed: score='additive' or score='dot'.")
        self.supports_masking = True
        self.units, self.score = units, score
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.key_dense = self._dense("key", use_bias=True)
        self.query_dense: keras.layers.Dense | None = None
        self._softmax = keras.layers.Softmax(dtype=self.dtype_policy)

    def _dense(self, name: str, *, use_bias: bool) -> keras.layers.Dense:
        initializer = self.kernel_initializer.clone()  # an initializer that was used before repeats its numbers
        return keras.layers.Dense(
            self.units, name=name, use_bias=use_bias, kernel_initializer=initializer, dtype=self.dtype_policy
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments from which this layer can be made again."""
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "units": self.units, "score": self.score, "kernel_initializer": initializer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AttentionPooling:
        """The layer, made again; when it reads HDF5, Keras passes its function `dot` instead of ``"dot"``."""
        score = config.get("score", "additive")
        return cls(**{**config, "score": getattr(score, "__name__", score)})

    def build(self, states_shape: Shape, query_shape: Shape | None = None) -> None:
        """Creates the weights."""
        self._check(states_shape, query_shape)
        self.key_dense.build(states_shape)
        if query_shape is not None:
            self.query_dense = self._dense("query", use_bias=False)
            self.query_dense.build(query_shape)
        if self.score == "additive" or query_shape is None:  # v or u
            initializer = self.kernel_initializer.clone()
            self.vector = self.add_weight(shape=(self.units, 1), initializer=initializer, name="vector")

    def call(
        self,
        states: Tensor,
        query: Tensor | None = None,
        mask: Tensor | None = None,
        states_mask: Tensor | None = None,
        return_attention_scores: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attends, as the docstring of the class describes."""
        mask = first_given(mask, states_mask)
        self._check(states.shape, None if query is None else query.shape, None if mask is None else mask.shape)
        allowed = None if mask is None else ops.cast(mask, "bool")
        scores = self._softmax(self._logits(states, query), mask=allowed)
        output = ops.squeeze(ops.matmul(ops.expand_dims(scores, 1), states), 1)
        if self.store_scores:
            self._stored.put(scores)
        return (output, scores) if return_attention_scores else output

    def _logits(self, states: Tensor, query: Tensor | None) -> Tensor:
        """How well each state answers the query: dims ``(sample, key)``."""
        keys = self.key_dense(states)
        asked = None if self.query_dense is None else ops.expand_dims(self.query_dense(query), -1)
        if self.score == "dot":
            return ops.squeeze(ops.matmul(keys, self.vector if asked is None else asked), -1) / self.units**0.5
        keys = keys if asked is None else keys + ops.transpose(asked, (0, 2, 1))
        return ops.squeeze(ops.matmul(ops.tanh(keys), self.vector), -1)

    def _check(self, states: Shape, query: Shape | None = None, mask: Shape | None = None) -> None:
        """Checks that shapes have the documented dims, and that there is a query if there was one in `build`."""
        dims = {"states": "(sample, key, feature)", "a query": "(sample, feature)", "a mask": "(sample, key)"}
        for (argument, named), shape in zip(dims.items(), (states, query, mask), strict=True):
            if shape is not None:
                check_dims(self.name, argument, shape, named)
        if self.built and query is not None and self.query_dense is None:
            raise ValueError(
                f"The layer {self.name!r} got a query of shape {tuple(query)}, but was built without one. Give a query "
                "in every call, from the first one on: layer(states, query); or make another layer for it."
            )
        if self.built and query is None and self.query_dense is not None:
            raise ValueError(
                f"The layer {self.name!r} got no query, but was built with one. Give one in every call: "
                "layer(states, query); or make another layer, which learns its query."
            )

    def compute_mask(self, states: Tensor, mask: Tensor | None = None) -> None:
        """Returns None, as no positions are left to mask."""

    def compute_output_shape(self, states_shape: Shape, query_shape: Shape | None = None) -> Shape:
        """The shape of the output."""
        return (states_shape[0], states_shape[-1])

    def compute_output_spec(
        self, states: Tensor, query: Tensor | None = None, return_attention_scores: bool = False, **_: Any
    ) -> keras.KerasTensor | tuple[keras.KerasTensor, keras.KerasTensor]:
        """Shape and dtype of the output, and of the scores if they are asked for."""
        self._check(states.shape, None if query is None else query.shape)
        output = keras.KerasTensor(self.compute_output_shape(states.shape), dtype=self.compute_dtype)
        scores = keras.KerasTensor(tuple(states.shape[:2]), dtype=self.compute_dtype)
        return (output, scores) if return_attention_scores else output
