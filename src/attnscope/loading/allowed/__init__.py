"""What a configuration may name: classes and functions that only compute."""

from attnscope.loading.allowed._check_config import check_config

__all__ = ["check_config"]
