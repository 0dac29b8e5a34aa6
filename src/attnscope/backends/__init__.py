"""Everything that differs between JAX, TensorFlow and PyTorch: one file each, behind one protocol."""

from attnscope.backends._choice import BACKENDS, choose_backend
from attnscope.backends._current import current, register
from attnscope.backends._graph import Graph, Node, Trace
from attnscope.backends._operations import (
    Chosen,
    Collected,
    Contraction,
    Elementwise,
    Joined,
    Looked,
    Moved,
    Operation,
    Reshaped,
    Sliced,
    Taken,
    Tiled,
    Unknown,
    Updated,
    Windowed,
)
from attnscope.backends._protocol import Backend, Body, Function, ModelOf, Probe, ProbedBody

__all__ = [
    "BACKENDS",
    "Backend",
    "Body",
    "Chosen",
    "Collected",
    "Contraction",
    "Elementwise",
    "Function",
    "Graph",
    "Joined",
    "Looked",
    "ModelOf",
    "Moved",
    "Node",
    "Operation",
    "Probe",
    "ProbedBody",
    "Reshaped",
    "Sliced",
    "Taken",
    "Tiled",
    "Trace",
    "Unknown",
    "Updated",
    "Windowed",
    "choose_backend",
    "current",
    "register",
]


def __dir__() -> list[str]:
    return sorted(__all__)
