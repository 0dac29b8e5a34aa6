"""Models, samples and names read from files."""

from attnscope.files._read import read_inputs, read_model, read_names

__all__ = ["read_inputs", "read_model", "read_names"]
