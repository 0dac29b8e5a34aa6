"""Which versions of Keras have known holes in their loading of files."""

from __future__ import annotations

import re
import warnings

import keras

from attnscope.errors import KnownHolesWarning


def warn_of_known_vulnerabilities(version: str | None = None) -> None:
    """Warn where Keras itself can be harmed by a model file.

    attnscope checks a file before Keras sees it; still, what it does not know of, a mended Keras may.

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
        f"Keras {version} has known holes in its loading of model files. Expected 3.15.1 or later, or 3.12.4 and "
        f"its later patches. Update it: pip install --upgrade 'keras>=3.15.1'",
        KnownHolesWarning,
        stacklevel=3,
    )
