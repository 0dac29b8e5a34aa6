"""A model that is being made, and what is known of its sequences because whoever makes them writes it down.

An embedding of the input ``words_0`` has positions of "axis 1 of input 'words_0'"; what is put behind it has its own,
and so on. Sizes are drawn from three numbers, so that most of them coincide; nothing that is expected is computed from
one.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import xarray as xr
from keras import layers, ops

SIZES = (2, 3, 4)


@dataclass(frozen=True)
class Origin:
    """Where the positions of an axis come from.

    Attributes:
        phrases: What they are ("axis 1", "patches"), and of what (" of input 'x'"); several where axes were flattened
            into one, or sequences were added.
    """

    phrases: tuple[tuple[str, str], ...]

    @property
    def is_plain(self) -> bool:
        """Whether it is an axis of an input, as it is."""
        return len(self.phrases) == 1 and self.phrases[0][0].startswith("axis ")

    @property
    def words(self) -> str:
        """As `Site.lineage` says it."""
        heads_of: dict[str, list[str]] = {}
        for head, tail in self.phrases:
            heads = heads_of.setdefault(tail, [])
            heads.extend([head] if head not in heads else [])
        tails_of: dict[str, list[str]] = {}
        for tail, heads in heads_of.items():
            tails_of.setdefault(_listed(heads), []).append(tail)
        return " and ".join(_of_all(heads, tails) for heads, tails in tails_of.items())

    @property
    def words_within(self) -> str:
        """As one of several that lie behind each other."""
        return " and ".join(dict.fromkeys(head + tail for head, tail in self.phrases))


def _listed(heads: list[str]) -> str:
    numbers = [head.removeprefix("axis ") for head in heads if head.startswith("axis ")]
    if len(numbers) == len(heads) > 1:
        return f"axes {', '.join(numbers[:-1])} and {numbers[-1]}"
    return " and ".join(heads)


def _of_all(heads: str, tails: list[str]) -> str:
    if len(tails) > 1 and all(tail.startswith(" of input ") for tail in tails):
        return f"{heads} of inputs {' and '.join(tail.removeprefix(' of input ') for tail in tails)}"
    return " and ".join(heads + tail for tail in tails)


def axis_of(name: str, number: int) -> Origin:
    """An axis of an input."""
    return Origin(((f"axis {number}", f" of input {name!r}"),))


def patches_of(origin: Origin) -> Origin:
    """Windows over the positions of an axis."""
    return Origin((("patches", origin.phrases[0][1]),))


def part_of(origin: Origin) -> Origin:
    """Some of the positions of an axis."""
    [(head, tail)] = origin.phrases
    return Origin(((f"a part of {head}", tail),))


def reversed_of(origin: Origin) -> Origin:
    """The positions of an axis from the last to the first."""
    [(head, tail)] = origin.phrases
    return Origin(((head, tail.removesuffix(_REVERSED) if tail.endswith(_REVERSED) else tail + _REVERSED),))


_REVERSED = ", reversed"


def units_of(path: str) -> Origin:
    """Units of a weight."""
    return Origin((("units", f" of {path!r}"),))


def behind(*origins: Origin) -> Origin:
    """Several axes behind each other."""
    return Origin(((", then ".join(origin.words_within for origin in origins), ""),))


def flattened(outer: Origin, inner: Origin) -> Origin:
    """Two axes as one."""
    return Origin((*outer.phrases, *inner.phrases))


def added(one: Origin, other: Origin) -> Origin:
    """Two axes whose positions were added one by one."""
    return Origin(tuple(sorted({*one.phrases, *other.phrases})))


Valid = np.ndarray | None
"""Which positions are no padding, (sample, position); None where that is nobody's to say."""


@dataclass(frozen=True)
class Stream:
    """A sequence in the model.

    Attributes:
        tensor: Shape (sample, position, feature).
        origin: Where its positions come from.
        valid: Which of them are no padding.
        text: How it was made.
        pieces: The streams that lie behind each other in it.
    """

    tensor: keras.KerasTensor
    origin: Origin
    valid: Valid
    text: str
    pieces: tuple[Stream, ...] = ()

    @property
    def length(self) -> int:
        """Number of positions; only to build what fits."""
        return int(self.tensor.shape[1])

    def after(self, tensor: keras.KerasTensor, rule: str, **changes: object) -> Stream:
        """What a rule makes of it; the same sequence unless the rule changes it."""
        return replace(self, tensor=tensor, text=f"{rule}({self.text})", **{"pieces": (), **changes})


@dataclass(frozen=True)
class KnownSite:
    """What is known of a site by construction.

    Attributes:
        name: Its name.
        rule: The rule that made it, with its sizes and its streams.
        dims: Its dims.
        lineage: For each dim the words that are right.
        key_valid: Which keys are no padding; None where that is nobody's to say.
        query_valid: Likewise.
    """

    name: str
    rule: str
    dims: tuple[str, ...]
    lineage: dict[str, frozenset[str]]
    key_valid: xr.DataArray | None
    query_valid: xr.DataArray | None


@dataclass
class Draft:
    """A model while it is being made.

    Args:
        seed: What is drawn follows from it alone.
    """

    seed: int
    inputs: dict[str, keras.KerasTensor] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    sites: list[KnownSite] = field(default_factory=list)
    ends: list[keras.KerasTensor] = field(default_factory=list)
    embedding: layers.Embedding | None = None
    rules: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.numbers = np.random.default_rng(self.seed)
        self.samples, self.width = self.size(), self.size()
        self._counts: dict[str, int] = {}

    def size(self) -> int:
        """Any size."""
        return self.random.choice(SIZES)

    def often(self) -> bool:
        """True in half of all cases."""
        return self.random.random() < 0.5

    def name(self, kind: str) -> str:
        """A name that nothing else has."""
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        return f"{kind}_{number}"

    def input(self, name: str, array: np.ndarray) -> keras.KerasTensor:
        """An input that is given this array."""
        self.arrays[name] = array
        self.inputs[name] = keras.Input(array.shape[1:], dtype=str(array.dtype), name=name)
        return self.inputs[name]

    def floats(self, *shape: int) -> np.ndarray:
        """Random numbers."""
        return self.numbers.normal(size=(self.samples, *shape)).astype("float32")

    def padding(self, samples: int, length: int) -> np.ndarray:
        """Which positions are no padding: in each sample the first few or the last few."""
        counts = self.numbers.integers(1, length + 1, samples)
        valid = np.arange(length)[None, :] < counts[:, None]
        return valid if self.often() else valid[:, ::-1]

    def everything(self, length: int) -> np.ndarray:
        """No padding."""
        return np.ones((self.samples, length), bool)

    def site(self, name: str, rule: str, dims: str, valid: dict[str, xr.DataArray | None], **origins: Origin) -> str:
        """Notes a site, and gives its name, which its layer must have.

        Args:
            name: Its name.
            rule: How it was made.
            dims: Its dims, with spaces between them.
            valid: Validity of ``key`` and ``query``.
            origins: Of its dims; those that are left out are not looked at.
        """
        lineage = {dim: frozenset((origin.words,)) for dim, origin in origins.items()}
        lineage["sample"] = frozenset(("samples",))
        self.sites.append(
            KnownSite(name, f"{name}: {rule}", tuple(dims.split()), lineage, valid.get("key"), valid.get("query"))
        )
        return name

    def with_heads(self, *paths: str) -> None:
        """Notes which weights' units the heads of the last site are: any of them, for they meet one by one."""
        orders = [order for count in (1, 2) for order in itertools.permutations(map(units_of, paths), count)]
        words = frozenset(
            Origin(tuple(phrase for origin in order for phrase in origin.phrases)).words for order in orders
        )
        self.sites[-1] = replace(self.sites[-1], lineage={**self.sites[-1].lineage, "head": words})

    def model(self) -> keras.Model:
        """All that was made, as a model that classifies."""
        ends = [*(stream.tensor for stream in self.streams), *self.ends]
        pooled = [
            ops.mean(end, axis=tuple(range(1, len(end.shape) - 1))) if len(end.shape) > 2 else end for end in ends
        ]
        features = ops.concatenate(pooled, axis=-1) if len(pooled) > 1 else pooled[0]
        classes = layers.Dense(3, activation="softmax", name="classes")(features)
        return keras.Model(list(self.inputs.values()), classes)


def of_stream(dim: str, valid: Valid) -> xr.DataArray | None:
    """Validity of a dim."""
    return None if valid is None else xr.DataArray(valid, dims=("sample", dim))
