"""Keras layers for people who build models, and want to see what these attend to.

This room stands apart: it knows Keras, and nothing of the rest of attnscope.
"""

from attnscope.layers.multi_head import InterpretableMultiHeadAttention
from attnscope.layers.pooling import AttentionPooling
from attnscope.layers.shared_value import SharedValueMultiHeadAttention

__all__ = ["AttentionPooling", "InterpretableMultiHeadAttention", "SharedValueMultiHeadAttention"]
