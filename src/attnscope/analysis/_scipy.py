"""SciPy, which parts of the analysis need and the core does not."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from attnscope.errors import NotInstalledError


def scipy_room(name: str) -> ModuleType:
    """A part of SciPy, loaded when it is first needed.

    Raises:
        NotInstalledError: SciPy is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "scipy":
            raise
        raise NotInstalledError(
            "ats.analysis.flow and head_clusters need SciPy, which is not installed. Install it: "
            'pip install "attnscope[analysis]".'
        ) from error
