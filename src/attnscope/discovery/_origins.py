"""Where positions along an axis come from: an input's axis, the units of a weight, a part of another axis and so on.

Nothing here looks at a size to tell what an axis is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any
from weakref import WeakValueDictionary


class _Interned(type):
    """Equal origins are one object, so that they are compared and hashed by identity, however much lies in them."""

    def __call__(cls, *args: Any, **settings: Any) -> Any:
        made = super().__call__(*args, **settings)
        return _ALIVE.setdefault((cls, *vars(made).values()), made)


_ALIVE: WeakValueDictionary[tuple[object, ...], object] = WeakValueDictionary()
"""The origins that there are, by class and fields."""


@dataclass(frozen=True, eq=False)
class _Origin(metaclass=_Interned):
    """What is known of every origin; each is found once, as one origin can lie in many others."""

    @property
    def inner(self) -> tuple[Origin, ...]:
        """The origins that it is made of."""
        return ()

    @cached_property
    def roots(self) -> tuple[Origin, ...]:
        """What it was made from in the end, each once."""
        own: tuple[Any, ...] = (self,)
        return tuple(dict.fromkeys(root for each in self.inner for root in each.roots)) or own

    @cached_property
    def level(self) -> int:
        """How much it says."""
        return max((each.level for each in self.inner), default=_LEVELS.get(type(self), MADE))

    @cached_property
    def is_whole(self) -> bool:
        """Whether no piece of it was made by the model itself."""
        return all(each.is_whole for each in self.inner)

    @cached_property
    def guesses(self) -> tuple[str, ...]:
        """The unknown operations that it was followed through by its size."""
        return tuple(dict.fromkeys(guess for each in self.inner for guess in each.guesses))

    @cached_property
    def name(self) -> str:
        """What distinguishes it, to put origins in an order that is the same in every run."""
        if not self.inner:
            return repr(self)
        settings = [getattr(self, field.name) for field in fields(self)[1:]]
        return f"{sorted(root.name for root in self.roots)} {type(self).__name__}{settings}"


@dataclass(frozen=True, eq=False)
class _Inside(_Origin):
    """An origin that lies in one other."""

    of: Origin

    @property
    def inner(self) -> tuple[Origin, ...]:
        """The other."""
        return (self.of,)


@dataclass(frozen=True, eq=False)
class _Several(_Origin):
    """An origin that is made of others, each with its size."""

    of: tuple[tuple[Origin, int], ...]

    @property
    def inner(self) -> tuple[Origin, ...]:
        """The others."""
        return tuple(each for each, _ in self.of)


@dataclass(frozen=True, eq=False)
class Samples(_Origin):
    """The samples: axis 0 of the inputs."""


@dataclass(frozen=True, eq=False)
class Position(_Origin):
    """Another axis of an input."""

    input: str
    axis: int


@dataclass(frozen=True, eq=False)
class Units(_Origin):
    """An axis of a weight."""

    weight: str
    axis: int


@dataclass(frozen=True, eq=False)
class Made(_Origin):
    """An axis that the model makes itself: of constants, or by repeating something."""

    tensor: int
    axis: int


@dataclass(frozen=True, eq=False)
class Filled(Made):
    """An axis along which one number stands everywhere."""


@dataclass(frozen=True, eq=False)
class Lost(_Origin):
    """An axis whose trail was lost at an operation."""

    operation: str
    tensor: int
    axis: int


@dataclass(frozen=True, eq=False)
class Guessed(_Inside):
    """An axis that was followed through an unknown operation because it kept its place and its size there."""

    operation: str

    @cached_property
    def guesses(self) -> tuple[str, ...]:
        """That operation, and those before it."""
        return tuple(dict.fromkeys((self.operation, *self.of.guesses)))


@dataclass(frozen=True, eq=False)
class Split(_Inside):
    """One of the factors into which an axis was split: position ``(before * size + n) * after + ...``."""

    before: int
    size: int
    after: int


@dataclass(frozen=True, eq=False)
class Part(_Inside):
    """Every `step`-th of the `total` positions of an axis, from `start` on; unknown where None."""

    total: int
    start: int | None
    step: int
    size: int


@dataclass(frozen=True, eq=False)
class Pieces(_Several):
    """Several axes behind each other, each with its size; or several tensors, each of which is one position."""

    stacked: bool = False

    @cached_property
    def level(self) -> int:
        """How much it says: that tensors of the model were stacked says as much as an input's axis."""
        return max(DATA if self.stacked else MADE, super().level)

    @cached_property
    def is_whole(self) -> bool:
        """Whether no piece of it was made by the model itself."""
        return self.stacked or all(each.level > MADE and each.is_whole for each in self.inner)


@dataclass(frozen=True, eq=False)
class Product(_Several):
    """Several axes flattened into one, the last running fastest; each with its size."""


@dataclass(frozen=True, eq=False)
class Together(_Origin):
    """Several axes that were added or multiplied position by position, as one."""

    of: frozenset[Origin]

    @property
    def inner(self) -> tuple[Origin, ...]:
        """The axes."""
        return tuple(ordered(self.of))


@dataclass(frozen=True, eq=False)
class Windows(_Inside):
    """Windows of positions, `distance` apart: patches."""

    distance: int


@dataclass(frozen=True, eq=False)
class Picked(_Inside):
    """Positions of an axis that were picked by their numbers, which the model computes; `by` is the numbers' axis."""

    by: Origin


@dataclass(frozen=True, eq=False)
class Mark(_Origin):
    """A factor of the axis of a tensor whose use is followed."""

    axis: int
    factor: int


Origin = (
    Mark
    | Samples
    | Position
    | Units
    | Made
    | Lost
    | Guessed
    | Split
    | Part
    | Pieces
    | Product
    | Together
    | Windows
    | Picked
)

MARK, DATA, LOST, UNITS, MADE, FILLED = 4, 3, 2, 1, 0, -1
"""How much an origin says: where axes meet, the one that says most counts."""
_LEVELS = {Mark: MARK, Samples: DATA, Position: DATA, Lost: LOST, Units: UNITS, Filled: FILLED}


def strongest(origins: Iterable[Origin]) -> frozenset[Origin]:
    """The origins that say most. Of data all are kept; of weights, which nobody needs to tell apart, one."""
    listed = list(dict.fromkeys(origins))
    highest = max((origin.level for origin in listed), default=MADE)
    best = [origin for origin in listed if origin.level == highest]
    known: list[Origin] = [origin for origin in best if not isinstance(origin, Guessed)]
    telling = known or best
    return frozenset(_piece_by_piece(telling) if highest >= DATA else [max(telling, key=_by_name)])


def _piece_by_piece(origins: Sequence[Origin]) -> list[Origin]:
    """The origins, where those that are made of pieces are one, whose pieces met.

    Only those of the same sizes; but where all of them are made by the model in some places, such as an axis that was
    cut and padded again, each place comes from the one that says more there.
    """
    origins = _by_strides(origins)
    told = {root for origin in origins if origin.is_whole for root in origin.roots}
    origins = [origin for origin in origins if origin.is_whole or not told.issuperset(_told_by(origin))]
    cut: dict[tuple[int, ...], list[Pieces]] = {}
    for origin in origins:
        if isinstance(origin, Pieces) and not origin.stacked:
            cut.setdefault(tuple(size for _, size in origin.of), []).append(origin)
    partly = [origin for group in cut.values() for origin in group if not origin.is_whole]
    if len(cut) > 1 and len(partly) == len(origins):
        return [_laid_over(partly)]
    whole_ones = [origin for origin in origins if not isinstance(origin, Pieces) or origin.stacked]
    return [*whole_ones, *(_laid_over(group) for group in cut.values())]


def _by_strides(origins: Sequence[Origin]) -> Sequence[Origin]:
    """The origins, where every other position and those between, which met, are patches of two."""
    strides: dict[tuple[Origin, int, int, int], list[Part]] = {}
    for origin in origins:
        if isinstance(origin, Part) and origin.start is not None and origin.step > 1:
            strides.setdefault((origin.of, origin.total, origin.step, origin.size), []).append(origin)
    for (of, total, step, size), parts in strides.items():
        if sorted(part.start for part in parts if part.start is not None) == list(range(step)):
            origins = [*(each for each in origins if each not in parts), windows_of(of, total, step, size)]
    return origins


def _told_by(origin: Origin) -> list[Origin]:
    return [root for root in origin.roots if not isinstance(root, Made)]


def _laid_over(origins: Sequence[Pieces]) -> Origin:
    """What several axes that are made of pieces are where they met position by position."""
    if len(origins) == 1:
        return origins[0]
    ends = sorted({end for origin in origins for end in accumulate(size for _, size in origin.of)})
    total = ends[-1]
    return row_of(
        [
            (
                as_one(strongest(each for origin in origins for each in apart(_between(origin, total, start, end)))),
                end - start,
            )
            for start, end in pairwise([0, *ends])
        ]
    )


def _between(origin: Origin, total: int, start: int, end: int) -> Origin:
    return part_of(origin, total, start, 1, end - start)


def apart(origin: Origin) -> Iterable[Origin]:
    """The origins that met in one."""
    return origin.of if isinstance(origin, Together) else (origin,)


def as_one(origins: frozenset[Origin]) -> Origin:
    """One origin for several that met."""
    return next(iter(origins)) if len(origins) == 1 else Together(origins)


def _by_name(origin: Origin) -> tuple[bool, list[str], str]:
    """A bias has the units of the kernel that it is added to, which is named; and of query and key it is the query."""
    units = [root.weight for root in origin.roots if isinstance(root, Units)]
    return not any(weight.endswith("bias") for weight in units), sorted(units), origin.name


def ordered(origins: frozenset[Origin]) -> list[Origin]:
    """The origins in an order that is the same in every run."""
    return sorted(origins, key=attrgetter("name")) if len(origins) > 1 else list(origins)


def split_of(origin: Origin, total: int, before: int, size: int, after: int) -> Origin:
    """One of the factors into which an axis of `total` positions was split; see `Split`."""
    if isinstance(origin, Split):
        return Split(origin.of, origin.before * before, size, after * origin.after)
    return Split(origin, before, size, after)


def part_of(origin: Origin, total: int, start: int | None, step: int, size: int) -> Origin:
    """Every `step`-th of the `total` positions of an origin, `size` of them from `start` on; see `Part`."""
    if isinstance(origin, Guessed):
        return Guessed(part_of(origin.of, total, start, step, size), origin.operation)
    if start == 0 and step == 1 and size == total:
        return origin
    if start is not None and isinstance(origin, Part) and origin.start is not None:
        return part_of(origin.of, origin.total, origin.start + start * origin.step, step * origin.step, size)
    if start is not None and step == 1 and isinstance(origin, Pieces) and not origin.stacked:
        return row_of(_pieces_within(origin, start, start + size))
    return Part(origin, total, start, step, size)


def _pieces_within(origin: Pieces, start: int, stop: int) -> list[tuple[Origin, int]]:
    """What lies from one position to another."""
    pieces, before = [], 0
    for piece, length in origin.of:
        first, last = max(start, before), min(stop, before + length)
        if first < last:
            pieces.append((part_of(piece, length, first - before, 1, last - first), last - first))
        before += length
    return pieces


def row_of(pieces: Sequence[tuple[Origin, int]]) -> Origin:
    """Pieces behind each other, where those that read on from the one before are one."""
    row: list[tuple[Origin, int]] = []
    for origin, size in pieces:
        for piece, length in origin.of if isinstance(origin, Pieces) and not origin.stacked else ((origin, size),):
            merged = _continued(*row[-1], piece, length) if row else None
            if merged is None:
                row.append((piece, length))
            else:
                row[-1] = (merged, row[-1][1] + length)
    return row[0][0] if len(row) == 1 else Pieces(tuple(row))


def unpadded(origin: Origin, size: int) -> tuple[Origin, int]:
    """An axis without what the model put around it."""
    if isinstance(origin, Pieces) and not origin.stacked:
        real = [(piece, length) for piece, length in origin.of if not isinstance(piece, Made)]
        if len(real) == 1:
            return real[0]
    return origin, size


def windows_of(origin: Origin, total: int, distance: int, size: int) -> Origin:
    """So many windows (`size`) of the `total` positions of an origin; see `Windows`."""
    if distance == 1 and total == size:
        return origin
    if isinstance(origin, Windows):
        return Windows(origin.of, origin.distance * distance)
    return Windows(origin, distance)


def _continued(first: Origin, first_size: int, second: Origin, second_size: int) -> Origin | None:
    """What two parts are together where the second begins where the first ends."""
    if isinstance(first, Together) and isinstance(second, Together):
        pairs = (_continued(a, first_size, b, second_size) for a in first.of for b in second.of)
        merged = frozenset(origin for origin in pairs if origin is not None)
        return Together(merged) if len(merged) == len(first.of) == len(second.of) else None
    if isinstance(first, Product) and isinstance(second, Product) and first.of[1:] == second.of[1:]:
        (outer, rows), (other, more) = first.of[0], second.of[0]
        continued = _continued(outer, rows, other, more)
        return None if continued is None else Product(((continued, rows + more), *first.of[1:]))
    if not (isinstance(first, Part) and isinstance(second, Part) and first.of == second.of):
        return None
    if first.start is None or second.start != first.start + first_size * first.step or first.step != second.step:
        return None
    return part_of(first.of, first.total, first.start, first.step, first_size + second_size)
