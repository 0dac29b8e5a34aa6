"""Generation: what a language model attended to while it generated text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import tree

from attnscope.capturing._capture import capture
from attnscope.errors import UnsupportedError
from attnscope.maps import AttentionMaps
from attnscope.running import as_numpy
from attnscope.tensors import Tensor


def capture_generation(
    task: keras.Model,
    prompt: str | Sequence[str],
    *,
    max_length: int | None = None,
    stop_token_ids: Sequence[int] | Literal["auto"] | None = "auto",
    **options: Any,
) -> AttentionMaps:
    """Generates from a prompt, then captures prompt and output in one pass over both.

    With a causal mask a position never sees what comes after it, so the scores of one pass over the finished text equal
    those of the steps in which it was generated, without a cache and its layout. The row of each query shows what the
    model looked at when it chose the *next* token.

    Args:
        task: A KerasHub causal language model with a preprocessor (`keras_hub.models.CausalLM`).
        prompt: A string, or a sequence of them.
        max_length: Length of prompt and output together, in tokens; None for the preprocessor's.
        stop_token_ids: Token ids that end a text, in any form that `task.generate` takes.
        options: Any other argument of `capture`.

    Returns:
        Maps of the backbone, with the tokens as labels; ``maps.inputs`` holds the finished texts, and positions after
        the end are not valid.

    Raises:
        UnsupportedError: `task` cannot generate, or has no preprocessor.
    """
    preprocessor = getattr(task, "preprocessor", None)
    if preprocessor is None or not hasattr(task, "make_generate_function"):
        raise UnsupportedError(
            f"The model is a {type(task).__name__}, but a KerasHub CausalLM with a preprocessor is needed, such as "
            "keras_hub.models.GPT2CausalLM. For other models, generate first, and capture the finished inputs: "
            "ats.capture(model, inputs)."
        )
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    ready = preprocessor.generate_preprocess(prompts, sequence_length=max_length)
    if stop_token_ids == "auto":
        stop_token_ids = [preprocessor.tokenizer.end_token_id]
    written = task.make_generate_function()(ready, stop_token_ids=stop_token_ids)
    finished = tree.map_structure(as_numpy, written)
    tokens, mask = finished["token_ids"], _until_the_stop(finished, ready, stop_token_ids)
    texts = preprocessor.generate_postprocess({"token_ids": tokens, "padding_mask": mask})
    maps = capture(task, {"token_ids": tokens, "padding_mask": mask}, **options)
    return maps.with_inputs(np.array([str(text) for text in np.atleast_1d(np.asarray(texts))]))


def _until_the_stop(
    finished: Mapping[str, np.ndarray], ready: Mapping[str, Tensor], stop_token_ids: Sequence[int] | None
) -> np.ndarray:
    """Which positions hold prompt or output: up to and including the first stop token after the prompt."""
    tokens = finished["token_ids"]
    prompt = as_numpy(keras.ops.convert_to_tensor(ready["padding_mask"])).astype(bool)
    stops = np.isin(tokens, list(stop_token_ids or [])) & ~prompt
    written: np.ndarray = (np.cumsum(stops, axis=1) - stops == 0) | prompt
    return written
