"""Keras layers for people who build models and want to see what they attend to.

This room stands apart: it knows Keras, and of the rest of attnscope only its errors and its names for tensors.
"""

from attnscope._offering import offer_classes
from attnscope.layers._multi_head import InterpretableMultiHeadAttention
from attnscope.layers._pooling import AttentionPooling
from attnscope.layers._shared_value import SharedValueMultiHeadAttention

__all__ = ["AttentionPooling", "InterpretableMultiHeadAttention", "SharedValueMultiHeadAttention"]


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
