"""Models, samples and names read from files."""

from attnscope.files._read import check_order, read_inputs, read_model, read_names

__all__ = ["check_order", "read_inputs", "read_model", "read_names"]
