"""All that differs between JAX, TensorFlow and PyTorch, one file each behind one protocol."""

from attnscope.backends._choice import BACKENDS, choose_backend
from attnscope.backends._graph import Graph, Node
from attnscope.backends._graphs import graph_of_jaxpr, graph_of_tensorflow, torch_recorder
from attnscope.backends._traces import current_trace

__all__ = [
    "BACKENDS",
    "Graph",
    "Node",
    "choose_backend",
    "current_trace",
    "graph_of_jaxpr",
    "graph_of_tensorflow",
    "torch_recorder",
]
