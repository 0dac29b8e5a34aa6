"""A model and its data, prepared to run: `Network`, batches, compiled runs and their reuse."""

from attnscope.running._batches import Batch, Batches, batches_of, filled, joined, merged
from attnscope.running._columns import model_like, with_one_input
from attnscope.running._compiled import (
    as_numpy,
    compiled,
    compiles,
    differentiated,
    is_cheaper_eagerly,
    program_of,
    viewed,
)
from attnscope.running._network import Network, Passes, check_model
from attnscope.running._output_names import output_names
from attnscope.running._output_units import is_regression, units_of_outputs
from attnscope.running._reuse import reused
from attnscope.running._runner import Runner, progress_bar, with_rows
from attnscope.running._tables import Arranged, arranged
from attnscope.running._texts import behind_texts, model_behind_texts, without_texts
from attnscope.running._weights_digest import weights_digest

__all__ = [
    "Arranged",
    "Batch",
    "Batches",
    "Network",
    "Passes",
    "Runner",
    "arranged",
    "as_numpy",
    "batches_of",
    "behind_texts",
    "check_model",
    "compiled",
    "compiles",
    "differentiated",
    "filled",
    "is_cheaper_eagerly",
    "is_regression",
    "joined",
    "merged",
    "model_behind_texts",
    "model_like",
    "output_names",
    "program_of",
    "progress_bar",
    "reused",
    "units_of_outputs",
    "viewed",
    "weights_digest",
    "with_one_input",
    "with_rows",
    "without_texts",
]
