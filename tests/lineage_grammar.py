"""Random small models from a grammar of layers, whose axes are known by construction.

`lineage_rules` makes sequences, `lineage_attention` lets them attend; both write down what is known of what they make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import keras
import numpy as np
from keras import layers

from lineage_attention import ATTENTION, OF_THEIR_OWN
from lineage_rules import MOVES, SOURCES
from lineage_streams import Draft, KnownSite, Stream

Made = TypeVar("Made")


def gate(draft: Draft, x: Stream) -> Stream:
    """A softmax over features, which is no attention."""
    weights = layers.Dense(draft.width, activation="softmax", name=draft.name("gate"))(x.tensor)
    return x.after(layers.Multiply()([x.tensor, weights]), "gate")


@dataclass(frozen=True)
class KnownModel:
    """A model, what it is given, and what is known of it.

    Attributes:
        model: The model.
        inputs: An array for each of its inputs.
        sites: All attention in it.
        sizes: Samples and width, for whoever reads about it.
        rules: Names of the rules that it was made by.
    """

    model: keras.Model
    inputs: list[np.ndarray]
    sites: tuple[KnownSite, ...]
    sizes: str
    rules: frozenset[str]

    def given(self, samples: slice = slice(None)) -> np.ndarray | list[np.ndarray]:
        """What the model is called with, for some of the samples."""
        arrays = [array[samples] for array in self.inputs]
        return arrays if len(arrays) > 1 else arrays[0]


RULES = frozenset(rule.__name__ for rule in (*SOURCES, *OF_THEIR_OWN, *ATTENTION, *MOVES, gate))
"""Names of all rules."""


def known_model(seed: int) -> KnownModel:
    """The model of this seed."""
    draft = Draft(seed)
    length = draft.size()
    for _ in range(draft.random.choice((1, 2, 2))):
        source = draft.random.choice(SOURCES)
        stream = _by(source, draft, length if draft.random.random() < 0.7 else draft.size())
        draft.streams.append(stream)
        draft.streams.append(_moved(draft, stream, draft.random.choice((0, 1, 1, 2, 3))))
    if draft.random.random() < 0.25:
        _by(draft.random.choice(OF_THEIR_OWN), draft)
    for _ in range(draft.random.choice((1, 1, 2))):
        q, k = draft.random.choice(draft.streams), draft.random.choice(draft.streams)
        came = _by(draft.random.choice(ATTENTION), draft, q, k)
        if came is not None:
            draft.streams.append(_moved(draft, came, draft.random.choice((0, 0, 1))))
    sizes = f"{draft.samples} samples, width {draft.width}"
    rules = frozenset(draft.rules)
    return KnownModel(draft.model(), list(draft.arrays.values()), tuple(draft.sites), sizes, rules)


def _by(rule: Callable[..., Made], draft: Draft, *given: object) -> Made:
    """What a rule makes of a draft, which notes the rule if it made anything."""
    sites = len(draft.sites)
    came = rule(draft, *given)
    if came is not None or len(draft.sites) > sites:
        draft.rules.add(rule.__name__)
    return came


def _moved(draft: Draft, stream: Stream, times: int) -> Stream:
    """A stream after so many moves that fit."""
    for _ in range(times):
        moves = [*MOVES, gate]
        moved = None
        while moved is None:
            moved = _by(moves.pop(draft.random.randrange(len(moves))), draft, stream)
        stream = moved
    return stream
