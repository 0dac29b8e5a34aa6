"""See what your Keras model attends to, and whether you may believe it.

The names below are loaded when they are first used, so ``import attnscope`` costs next to nothing and does not choose
a backend.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from attnscope._version import __version__ as __version__

_FACE = {
    "sites": "attnscope.discovery",
    "declare": "attnscope.interception",
    "undeclare": "attnscope.interception",
    "intervene": "attnscope.handlers",
    "ablate": "attnscope.handlers",
    "uniform": "attnscope.handlers",
    "permute": "attnscope.handlers",
    "replace": "attnscope.handlers",
    "capture": "attnscope.capturing",
    "capture_generation": "attnscope.capturing",
    "Full": "attnscope.capturing",
    "HeadMean": "attnscope.capturing",
    "PerQuery": "attnscope.capturing",
    "Received": "attnscope.capturing",
    "Distance": "attnscope.capturing",
    "Entropy": "attnscope.capturing",
    "Rows": "attnscope.capturing",
    "Summary": "attnscope.capturing",
    "Thumbnail": "attnscope.capturing",
    "TopK": "attnscope.capturing",
    "AttentionMaps": "attnscope.maps",
    "Site": "attnscope.schema",
    "load_model": "attnscope.loading",
    "view": "attnscope.viewer",
    "attribute": "attnscope.attribution",
    "evidence": "attnscope.trust",
    "explain": "attnscope.explaining",
    "Explanation": "attnscope.explaining",
    "verify": "attnscope.stores",
}
_MODULES = ("analysis", "attribution", "errors", "labels", "layers", "loading", "plot", "schema", "trust", "viewer")

if TYPE_CHECKING:
    from attnscope import analysis, attribution, errors, labels, layers, loading, plot, schema, trust, viewer
    from attnscope.attribution import attribute
    from attnscope.capturing import (
        Distance,
        Entropy,
        Full,
        HeadMean,
        PerQuery,
        Received,
        Rows,
        Summary,
        Thumbnail,
        TopK,
        capture,
        capture_generation,
    )
    from attnscope.discovery import sites
    from attnscope.explaining import Explanation, explain
    from attnscope.handlers import ablate, intervene, permute, replace, uniform
    from attnscope.interception import declare, undeclare
    from attnscope.loading import load_model
    from attnscope.maps import AttentionMaps
    from attnscope.maps import open_maps as open  # noqa: A004, the field's word for it
    from attnscope.schema import Site
    from attnscope.stores import verify
    from attnscope.trust import evidence
    from attnscope.viewer import view

__all__ = [
    "AttentionMaps",
    "Distance",
    "Entropy",
    "Explanation",
    "Full",
    "HeadMean",
    "PerQuery",
    "Received",
    "Rows",
    "Site",
    "Summary",
    "Thumbnail",
    "TopK",
    "ablate",
    "analysis",
    "attribute",
    "attribution",
    "capture",
    "capture_generation",
    "declare",
    "errors",
    "evidence",
    "explain",
    "intervene",
    "labels",
    "layers",
    "load_model",
    "loading",
    "open",
    "permute",
    "plot",
    "replace",
    "schema",
    "sites",
    "trust",
    "undeclare",
    "uniform",
    "verify",
    "view",
    "viewer",
]


def __getattr__(name: str) -> object:
    if name == "open":
        return import_module("attnscope.maps").open_maps
    if name in _FACE:
        return getattr(import_module(_FACE[name]), name)
    if name in _MODULES:
        return import_module(f"attnscope.{name}")
    raise AttributeError(f"module 'attnscope' has no attribute {name!r}. It has: {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
