"""How scores that come from a store are rounded, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import xarray as xr

from attnscope.schema import CODED, SCORES, WORST_ERROR


def stored_in_words(datasets: Sequence[xr.Dataset]) -> Iterator[str]:
    """What a reader of scores needs to know of how they are stored; nothing where they are exact.

    Args:
        datasets: Sites.
    """
    said: dict[str, int] = {}
    for dataset in datasets:
        attributes = dataset[SCORES].attrs if SCORES in dataset else {}
        if WORST_ERROR in attributes:
            words = f"are kept as {attributes[CODED]}: off by {attributes[WORST_ERROR]} at most."
            said[words] = said.get(words, 0) + 1
    for words, count in said.items():
        yield f"{'Scores' if count == len(datasets) else f'At {count} of {len(datasets)} sites scores'} {words}"
