"""A model and its data made ready to run: batches, the tasks of KerasHub, compiled runs and their reuse."""

from attnscope.running._batches import Batch, Batches, batches_of, filled, merged
from attnscope.running._compiled import as_numpy, as_tensors, call_model, compiled, taken_values, viewed
from attnscope.running._reuse import reused
from attnscope.running._runner import Runner, progress_bar
from attnscope.running._tasks import prepared

__all__ = [
    "Batch",
    "Batches",
    "Runner",
    "as_numpy",
    "as_tensors",
    "batches_of",
    "call_model",
    "compiled",
    "filled",
    "merged",
    "prepared",
    "progress_bar",
    "reused",
    "taken_values",
    "viewed",
]
