"""Pictures of labelled attention and relevance: arrays in, pictures out; no model needed.

`tokens` makes HTML and needs nothing else; the others draw with Matplotlib (``pip install "attnscope[plot]"``), which
is loaded when the first of them is used.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from attnscope._offering import offer_classes
from attnscope.errors import NotInstalledError
from attnscope.plot._tokens import ColouredTokens, tokens

_DRAWN = {
    "bars": "_bars",
    "beeswarm": "_beeswarm",
    "difference": "_difference",
    "heads": "_heads",
    "heatmap": "_heatmap",
    "image": "_image",
    "importance": "_importance",
    "links": "_links",
    "metrics": "_metrics",
    "series": "_series",
}

if TYPE_CHECKING:
    from attnscope.plot._bars import bars
    from attnscope.plot._beeswarm import beeswarm
    from attnscope.plot._difference import difference
    from attnscope.plot._heads import heads
    from attnscope.plot._heatmap import heatmap
    from attnscope.plot._image import image
    from attnscope.plot._importance import importance
    from attnscope.plot._links import links
    from attnscope.plot._metrics import metrics
    from attnscope.plot._series import series

    # isort: split
    # For the rooms above; not part of the public face.
    from matplotlib.axes import Axes as Axes

    from attnscope.plot._canvas import Place as Place

__all__ = [
    "ColouredTokens",
    "bars",
    "beeswarm",
    "difference",
    "heads",
    "heatmap",
    "image",
    "importance",
    "links",
    "metrics",
    "series",
    "tokens",
]


def drawing_module(file: str, name: str) -> ModuleType:
    """A module of this package that draws with Matplotlib, which is loaded with it.

    Args:
        file: Name of the module.
        name: What was called, for the error, such as ``ats.plot.bars``.

    Raises:
        NotInstalledError: Matplotlib is not installed.
    """
    try:
        return import_module(f"attnscope.plot.{file}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise NotInstalledError(
            f"{name} draws with Matplotlib, which is not installed; only the HTML of ats.plot.tokens works "
            'without it. Install it: pip install "attnscope[plot]".'
        ) from error


def __getattr__(name: str) -> object:
    if name not in _DRAWN:
        raise AttributeError(f"module 'attnscope.plot' has no attribute {name!r}; it offers {', '.join(__all__)}")
    return getattr(drawing_module(_DRAWN[name], f"ats.plot.{name}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


offer_classes(globals())
