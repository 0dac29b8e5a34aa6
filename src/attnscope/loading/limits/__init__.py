"""Bounds on what building a model may take: variables and steps."""

from attnscope.loading.limits._steps import limited_steps
from attnscope.loading.limits._variables import limited_variables

__all__ = ["limited_steps", "limited_variables"]
