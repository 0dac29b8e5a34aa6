"""Everything that differs between JAX, TensorFlow and PyTorch: one file each, behind one protocol."""

from attnscope.backends._choice import BACKENDS, choose_backend
from attnscope.backends._current import current, register
from attnscope.backends._graph import Graph, Node, Trace
from attnscope.backends._protocol import Backend, Body, Function, ModelOf, Probe, ProbedBody

__all__ = [
    "BACKENDS",
    "Backend",
    "Body",
    "Function",
    "Graph",
    "ModelOf",
    "Node",
    "Probe",
    "ProbedBody",
    "Trace",
    "choose_backend",
    "current",
    "register",
]


def __dir__() -> list[str]:
    return sorted(__all__)
