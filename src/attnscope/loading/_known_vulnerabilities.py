"""Which versions of Keras have known vulnerabilities in loading files."""

from __future__ import annotations

import re
import warnings

import keras

from attnscope.errors import KnownHolesWarning


def warn_of_known_vulnerabilities(version: str | None = None) -> None:
    """Warn where a model file can harm Keras itself.

    attnscope checks a file before Keras sees it; a fixed Keras may still reject what these checks miss.

    Args:
        version: A version of Keras; the installed one by default.

    Warns:
        KnownHolesWarning: It is below 3.15.1, and not 3.12.4 or a later patch of 3.12.
    """
    version = version or keras.version()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers >= (3, 15, 1) or (3, 12, 4) <= numbers < (3, 13):
        return
    warnings.warn(
        f"Keras {version} has known vulnerabilities in loading model files. Expected 3.15.1 or later, or 3.12.4 or a "
        f"later patch of 3.12. Update it: pip install --upgrade 'keras>=3.15.1'",
        KnownHolesWarning,
        stacklevel=3,
    )
