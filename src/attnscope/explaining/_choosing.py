"""Which samples are explained: by id or number, at random, or where the model is most certain or most wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np

from attnscope.errors import InputError
from attnscope.explaining._answers import Answers
from attnscope.tables import short

Wanted: TypeAlias = str | int | Sequence[str | int] | None
"""What a user may give as ``samples=``."""
MOST = 5
"""How many samples are explained where the user does not say which."""
RANDOM, CERTAIN, WRONG = "random", "most certain", "most wrong"


def is_choice(wanted: str) -> bool:
    """Whether it says how samples are chosen, instead of which."""
    return wanted in (RANDOM, CERTAIN, WRONG)


def chosen_samples(wanted: Wanted, ids: Sequence[str], answers: Answers, seed: int) -> np.ndarray:
    """The numbers of the samples that are explained, in the order in which they were asked for.

    Args:
        wanted: Ids or numbers of samples, or ``"random"``, ``"most certain"`` or ``"most wrong"`` for `MOST` of
            them; one of these or several; None for the first `MOST`.
        ids: The id of each sample.
        answers: What the model says.
        seed: Of the random choice.

    Returns:
        dims ``(sample,)``, int64.

    Raises:
        InputError: There is no such sample, or the choice needs something that is not known.
    """
    count = min(MOST, len(ids))
    if wanted is None:
        return np.arange(count)
    wanted = [wanted] if isinstance(wanted, (int, np.integer)) else wanted
    if not isinstance(wanted, Iterable):
        raise InputError(
            f"samples is {wanted!r}, but ids or numbers of samples are needed, or {RANDOM!r}, {CERTAIN!r} or "
            f"{WRONG!r}: samples=[0, 1, 2]."
        )
    listed = [wanted] if isinstance(wanted, str) else list(wanted)
    if not listed:
        raise InputError("samples=[] chooses no sample, but one at least is needed: samples=[0].")
    groups = [
        _chosen(each, count, answers, seed)
        if isinstance(each, str) and is_choice(each) and each not in ids
        else [_number_of(each, ids)]
        for each in listed
    ]
    return np.array(list(dict.fromkeys(int(number) for group in groups for number in group)))


def _chosen(how: str, count: int, answers: Answers, seed: int) -> np.ndarray:
    """The numbers of so many samples that are chosen at random, or by what the model says."""
    if how == RANDOM:
        return np.sort(np.random.default_rng(seed).permutation(len(answers.target))[:count])
    order = answers.certainty() if how == CERTAIN else answers.error()
    return np.argsort(-order, kind="stable")[: min(count, int(np.isfinite(order).sum()))]


def _number_of(wanted: object, ids: Sequence[str]) -> int:
    if str(wanted) in ids:
        return list(ids).index(str(wanted))
    place = _place(wanted, ids)
    if place is not None:
        return place
    near = get_close_matches(str(wanted), ids, n=1)
    known = f"{ids[0]!r} to {ids[-1]!r}" if len(ids) > 1 else repr(ids[0])
    raise InputError(
        f"There is no sample {short(wanted)}: there are {len(ids)}, with the ids {known}. Give the id or the number of "
        f"a sample, {RANDOM!r}, {CERTAIN!r} or {WRONG!r}: samples=[{(near or ids)[0]!r}]."
    )


def _place(wanted: object, ids: Sequence[str]) -> int | None:
    """The place of a sample that a number means, from the end where it is negative; None where it means none."""
    if isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)) or _are_other_numbers(ids):
        return None
    return int(wanted) % len(ids) if -len(ids) <= wanted < len(ids) else None


def _are_other_numbers(ids: Sequence[str]) -> bool:
    """Whether the ids are whole numbers, but not those that count the samples: then a number is an id, and no place."""
    return all(name.lstrip("-").isdecimal() for name in ids) and list(ids) != list(map(str, range(len(ids))))
