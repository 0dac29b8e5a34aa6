"""Pictures of labelled attention: arrays in, pictures out, without a model."""

from attnscope.plot.text import ColouredTokens, tokens

__all__ = ["ColouredTokens", "tokens"]
