"""The only room that knows Keras' insides: taking a model's attention calls, and running the model to do so."""

from attnscope.interception.calls import Block, Call
from attnscope.interception.declarations import declare, undeclare
from attnscope.interception.discovery import sites
from attnscope.interception.interventions import ablate, intervene, permute, replace, uniform
from attnscope.interception.primitive import intercept

__all__ = [
    "Block",
    "Call",
    "ablate",
    "declare",
    "intercept",
    "intervene",
    "permute",
    "replace",
    "sites",
    "undeclare",
    "uniform",
]
