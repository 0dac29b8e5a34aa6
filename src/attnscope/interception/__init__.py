"""The one primitive: every attention call of a model is intercepted while it runs, and passed to a handler."""

from importlib import import_module
from typing import Any

from attnscope.interception._blocks import Block, Tile
from attnscope.interception._blocks import pooled as pooled  # for summaries; not part of the public face
from attnscope.interception._calls import (
    Call,
    DeclaredCall,
    FusedCall,
    Occurrence,
    SoftmaxCall,
    UntakenCall,
    any_along,
)
from attnscope.interception._columns import of_one_input
from attnscope.interception._declarations import Declaration, declarations, declare, undeclare
from attnscope.interception._intercept import intercept
from attnscope.interception._interception import COMPILED, Handler, LayerCall, is_watched, own_errors
from attnscope.interception._keras import (
    TRAINING_STATE,
    call_model,
    declared_inputs,
    declared_name,
    has_fixed_length,
    input_names,
    layers_of,
    symbolic_calls,
)
from attnscope.interception._layout import Layout, Parts
from attnscope.interception._padding import MASK_NAMES, RemovedMask, can_be_mask, likeliest_mask, mask_input
from attnscope.interception._plan import COMPILED_FUNCTIONS, Counts, MaskPlan, Plan, SitePlan
from attnscope.interception._texts import TextInput, TextModel, cut_behind_texts

__all__ = [
    "COMPILED",
    "COMPILED_FUNCTIONS",
    "MASK_NAMES",
    "TRAINING_STATE",
    "Block",
    "Call",
    "Counts",
    "Declaration",
    "DeclaredCall",
    "FusedCall",
    "Handler",
    "LayerCall",
    "Layout",
    "MaskPlan",
    "Occurrence",
    "Parts",
    "Plan",
    "RemovedMask",
    "SitePlan",
    "SoftmaxCall",
    "TextInput",
    "TextModel",
    "Tile",
    "UntakenCall",
    "any_along",
    "call_model",
    "can_be_mask",
    "cut_behind_texts",
    "declarations",
    "declare",
    "declared_inputs",
    "declared_name",
    "has_fixed_length",
    "input_names",
    "intercept",
    "is_watched",
    "layers_of",
    "likeliest_mask",
    "mask_input",
    "of_one_input",
    "own_errors",
    "symbolic_calls",
    "undeclare",
]


def __dir__() -> list[str]:
    return sorted(__all__)


_MOVED = {
    "sites": "attnscope.discovery",
    "ablate": "attnscope.handlers",
    "intervene": "attnscope.handlers",
    "permute": "attnscope.handlers",
    "replace": "attnscope.handlers",
    "uniform": "attnscope.handlers",
}
"""What this room used to offer, and where it is now."""


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return getattr(import_module(_MOVED[name]), name)
    raise AttributeError(f"module 'attnscope.interception' has no attribute {name!r}; it offers {', '.join(__all__)}")
