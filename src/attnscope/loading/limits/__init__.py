"""Bounds on what building a model may take: variables and steps."""

from attnscope.loading.limits._steps import failed_call, limited_steps
from attnscope.loading.limits._variables import limited_variables

__all__ = ["failed_call", "limited_steps", "limited_variables"]
