"""How large a result will be: checked before the run, instead of crashing in the middle of it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from attnscope.capturing._full import dtype_of
from attnscope.capturing._summaries import Summary
from attnscope.errors import TooLargeError
from attnscope.running import Network
from attnscope.schema import SAMPLE, Site, SiteTable

SHARE = 0.8
"""The share of the free memory that a result may take; the run itself needs some too."""


def check_that_it_fits(chosen: SiteTable, summaries: Sequence[Summary], network: Network) -> None:
    """Compares the size of the result with the free memory.

    Raises:
        TooLargeError: It would not fit; the message says how large it would be and what to do.
    """
    samples = network.most_samples
    free = free_memory()
    if samples is None or free is None:
        return
    needed = samples * sum(_bytes_per_sample(site, summary) for site in chosen for summary in summaries)
    if needed <= SHARE * free:
        return
    raise TooLargeError(
        f"The maps of {samples} samples at {len(chosen)} sites would take {readable(needed)}, but only "
        f"{readable(free)} of memory is free. Keep less: summaries=[ats.Received(), ats.Entropy()], "
        "sites='one_of_them', fewer samples; or write to disk: store='run.zarr'."
    )


def _bytes_per_sample(site: Site, summary: Summary) -> int:
    sizes = {**dict(zip(site.dims, site.shape, strict=True)), **summary.sizes, SAMPLE: 1}
    width = 2 if dtype_of(summary) == "float16" else 4
    return width * len(summary.missing) * math.prod(sizes[dim] for dim in summary.dims(site.dims))


def free_memory() -> int | None:
    """Bytes of memory that are free, or None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: ask for all memory instead
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def readable(size: float) -> str:
    """Bytes in a readable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
