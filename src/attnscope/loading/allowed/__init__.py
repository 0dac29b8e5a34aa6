"""What a configuration may name: classes and functions that only compute."""

from attnscope.loading.allowed._check_config import check_config
from attnscope.loading.allowed._names import named_class

__all__ = ["check_config", "named_class"]
