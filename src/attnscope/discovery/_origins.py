"""Where the positions along an axis come from.

An axis is a row of *factors*, the outermost first, whose sizes multiply to its own: a reshape splits and joins factors
and loses none. Each factor knows its origins: an input's axis, the units of a weight, a part of another axis and so on.
Nothing here looks at a size to tell what an axis is.
"""

from __future__ import annotations

import math
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
        return max((each.level for each in self.inner), default=_LEVELS.get(type(self), _MADE))

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
        return max(_DATA if self.stacked else _MADE, super().level)

    @cached_property
    def is_whole(self) -> bool:
        """Whether no piece of it was made by the model itself."""
        return self.stacked or all(each.level > _MADE and each.is_whole for each in self.inner)


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


@dataclass(frozen=True)
class Factor:
    """Some positions and where they come from: one origin, or several that met position by position."""

    origins: frozenset[Origin]
    size: int


Axis = tuple[Factor, ...]
Symbol = tuple[Axis, ...]
"""The axes of a tensor."""

_MARK, _DATA, _LOST, _UNITS, _MADE, _FILLED = 4, 3, 2, 1, 0, -1
_LEVELS = {Mark: _MARK, Samples: _DATA, Position: _DATA, Lost: _LOST, Units: _UNITS, Filled: _FILLED}


def _name_of(axis: Axis) -> list[list[str]]:
    return [[origin.name for origin in ordered(factor.origins)] for factor in axis]


def _level_of(axis: Axis) -> int:
    return max((origin.level for factor in axis for origin in factor.origins), default=_MADE)


def is_data(factor: Factor) -> bool:
    """Whether positions of the inputs lie along it."""
    return any(origin.level == _DATA for origin in factor.origins)


def is_lost(factor: Factor) -> bool:
    """Whether its trail was lost."""
    return max((origin.level for origin in factor.origins), default=_MADE) == _LOST


def is_units(factor: Factor) -> bool:
    """Whether units of a weight lie along it."""
    return max((origin.level for origin in factor.origins), default=_MADE) == _UNITS


def size_of(axis: Axis) -> int:
    """Number of positions."""
    return math.prod(factor.size for factor in axis)


def one(origin: Origin, size: int) -> Axis:
    """An axis of one origin."""
    if isinstance(origin, Together):
        return (Factor(origin.of, size),)
    if isinstance(origin, Product):
        return tuple(factor for each, length in origin.of for factor in one(each, length))
    return (Factor(frozenset((origin,)), size),)


def strongest(origins: Iterable[Origin]) -> frozenset[Origin]:
    """The origins that say most. Of data all are kept; of weights, which nobody needs to tell apart, one."""
    listed = list(dict.fromkeys(origins))
    highest = max((origin.level for origin in listed), default=_MADE)
    best = [origin for origin in listed if origin.level == highest]
    known: list[Origin] = [origin for origin in best if not isinstance(origin, Guessed)]
    telling = known or best
    return frozenset(_piece_by_piece(telling) if highest >= _DATA else [max(telling, key=_by_name)])


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
            origins = [*(each for each in origins if each not in parts), _windows(of, total, step, size)]
    return origins


def _told_by(origin: Origin) -> list[Origin]:
    return [root for root in origin.roots if not isinstance(root, Made)]


def _laid_over(origins: Sequence[Pieces]) -> Origin:
    """What several axes that are made of pieces are where they met position by position."""
    if len(origins) == 1:
        return origins[0]
    ends = sorted({end for origin in origins for end in accumulate(size for _, size in origin.of)})
    total = ends[-1]
    return _row(
        [
            (
                as_one(strongest(each for origin in origins for each in _apart(_between(origin, total, start, end)))),
                end - start,
            )
            for start, end in pairwise([0, *ends])
        ]
    )


def _between(origin: Origin, total: int, start: int, end: int) -> Origin:
    return _part(origin, total, start, 1, end - start)


def _apart(origin: Origin) -> Iterable[Origin]:
    return origin.of if isinstance(origin, Together) else (origin,)


def as_one(origins: frozenset[Origin]) -> Origin:
    """One origin for several that met."""
    return next(iter(origins)) if len(origins) == 1 else Together(origins)


def _by_name(origin: Origin) -> tuple[bool, list[str], str]:
    """A bias has the units of the kernel that it is added to, which is named; and of query and key it is the query."""
    units = [root.weight for root in origin.roots if isinstance(root, Units)]
    return not any(weight.endswith("bias") for weight in units), sorted(units), origin.name


def together(axes: Sequence[Axis], size: int, lost: Origin) -> Axis:
    """The axis along which several meet position by position; those of size 1 are repeated and say nothing.

    Args:
        axes: Of the operands, in their order.
        size: Number of positions.
        lost: What to take where their factors do not fit into each other.
    """
    full = [_without_singles(axis) for axis in axes if size_of(axis) == size and axis]
    if not full:
        return () if size == 1 else one(lost, size)
    full = list(dict.fromkeys(full))
    highest = max(map(_level_of, full))
    if _cuts_of(full) is None:
        full = [axis for axis in full if _level_of(axis) == highest]
    if len(full) == 1:
        return full[0]
    cuts = _cuts_of(full)
    if cuts is None:
        return one(lost, size) if highest >= _DATA else min(full, key=_name_of)
    sizes = [outer // inner for inner, outer in pairwise(cuts)][::-1] or [1]
    parts = [_cut(axis, sizes) for axis in full]
    factors = [
        Factor(strongest(origin for part in column for origin in ordered(part.origins)), column[0].size)
        for column in zip(*parts, strict=True)
    ]
    return rejoined(factors)


def _without_singles(axis: Axis) -> Axis:
    """The axis without factors of size 1, which lie beside others where a single position of them was taken."""
    return tuple(factor for factor in axis if factor.size != 1) or axis[:1]


def ordered(origins: frozenset[Origin]) -> list[Origin]:
    """The origins in an order that is the same in every run."""
    return sorted(origins, key=attrgetter("name")) if len(origins) > 1 else list(origins)


def _cuts_of(axes: Sequence[Axis]) -> list[int] | None:
    """The sizes of all inner parts, in their order; None where the factors of the axes do not fit into each other."""
    cuts = sorted({cut for axis in axes for cut in _cuts(axis)})
    return None if 0 in cuts or any(outer % inner for inner, outer in pairwise(cuts)) else cuts


def _cuts(axis: Axis) -> list[int]:
    cuts, inner = [1], 1
    for factor in reversed(axis):
        inner *= factor.size
        cuts.append(inner)
    return cuts


def _cut(axis: Axis, sizes: Sequence[int]) -> list[Factor]:
    """The axis with factors of these sizes, which divide its own."""
    factors: list[Factor] = []
    left = list(axis)
    for size in sizes:
        factor = left.pop(0)
        while factor.size < size:  # factors that another operand does not have apart are never joined, only cut
            raise AssertionError("the sizes do not divide the factors")
        if factor.size > size:
            outer, inner = split(factor, size)
            left.insert(0, inner)
            factor = outer
        factors.append(factor)
    return factors


def split(factor: Factor, outer: int) -> tuple[Factor, Factor]:
    """A factor in two, the outer one of this size."""
    inner = factor.size // outer
    first = frozenset(_split(origin, factor.size, 1, outer, inner) for origin in factor.origins)
    second = frozenset(_split(origin, factor.size, outer, inner, 1) for origin in factor.origins)
    return Factor(first, outer), Factor(second, inner)


def _split(origin: Origin, total: int, before: int, size: int, after: int) -> Origin:
    if isinstance(origin, Split):
        return Split(origin.of, origin.before * before, size, after * origin.after)
    return Split(origin, before, size, after)


def rejoined(factors: Iterable[Factor]) -> Axis:
    """Neighbours that are parts of one split become what was split; factors of size 1 go where there are others."""
    axis: list[Factor] = []
    for factor in _without_singles(tuple(factors)):
        axis.append(factor)
        while len(axis) > 1:
            merged = _merged(axis[-2], axis[-1])
            if merged is None:
                break
            axis[-2:] = [merged]
    return tuple(axis)


def _merged(outer: Factor, inner: Factor) -> Factor | None:
    size = outer.size * inner.size
    merged = set()
    for first in outer.origins:
        for second in inner.origins:
            if not (isinstance(first, Split) and isinstance(second, Split) and first.of == second.of):
                continue
            if first.after != second.size * second.after or second.before != first.before * first.size:
                continue
            whole = first.before == 1 and second.after == 1
            merged.add(first.of if whole else Split(first.of, first.before, size, second.after))
    return Factor(frozenset(merged), size) if len(merged) == len(outer.origins) == len(inner.origins) else None


def regrouped(symbol: Symbol, shape: Sequence[int], lost: Sequence[Origin]) -> Symbol:
    """The axes of a reshaped tensor.

    Axes of size 1 hold no elements, so that nothing but their order tells which is which: between two axes that are
    known to be the same, as many as there were before are the same; of more or fewer nothing is known.

    Args:
        symbol: Axes before.
        shape: Sizes afterwards.
        lost: For each new axis what to take where the sizes do not fit into each other.
    """
    waiting = [factor for axis in symbol for factor in axis if factor.size != 1]
    singles = _singles(symbol)
    grouped: list[Axis | None] = []
    for number, size in enumerate(shape):
        grouped.append(None if size == 1 else _taken(waiting, size, lost[number]))
    done = 1
    gaps: dict[int, list[int]] = {}
    for number, size in enumerate(shape):
        if size == 1:
            gaps.setdefault(done, []).append(number)
        done *= size
    for gap, numbers in gaps.items():
        before = singles.get(gap, [])
        known = before if len(before) == len(numbers) else [axis for axis in before if _says_something(axis)]
        for place, number in enumerate(numbers):
            grouped[number] = known[place] if len(known) == len(numbers) else ()
    return tuple(axis if axis is not None else () for axis in grouped)


def _singles(symbol: Symbol) -> dict[int, list[Axis]]:
    """Axes of size 1 by the number of positions that lie outside of them."""
    singles: dict[int, list[Axis]] = {}
    done = 1
    for axis in symbol:
        size = size_of(axis)
        if size == 1:
            singles.setdefault(done, []).append(axis)
        done *= size
    return singles


def _says_something(axis: Axis) -> bool:
    return any(origin.level > _MADE for factor in axis for origin in factor.origins)


def _taken(waiting: list[Factor], size: int, lost: Origin) -> Axis:
    """The next factors whose sizes multiply to `size`, taken away; one is split where it must be."""
    factors: list[Factor] = []
    left = size
    while left > 1 and waiting:
        factor = waiting.pop(0)
        if left % factor.size == 0:
            factors.append(factor)
            left //= factor.size
        elif factor.size % left == 0:
            outer, inner = split(factor, left)
            factors.append(outer)
            waiting.insert(0, inner)
            left = 1
        else:
            common = math.gcd(left, factor.size)
            rest = factor.size * math.prod(each.size for each in factors) // size if common else 1
            waiting.insert(0, Factor(frozenset((lost,)), max(1, rest)))
            return one(lost, size)
    return rejoined(factors)


def part(axis: Axis, start: int | None, step: int, size: int) -> Axis:
    """Every `step`-th position of an axis, `size` of them."""
    total = size_of(axis)
    if start == 0 and step == 1 and size == total:
        return axis
    inner = size_of(axis[1:])
    if len(axis) > 1 and start is not None and step == 1 and start % inner == 0 and size % inner == 0:
        return (*part(axis[:1], start // inner, 1, size // inner), *axis[1:])  # whole rows
    if len(axis) != 1:
        return one(_part(whole(axis), total, start, step, size), size)
    parts = [_part(origin, total, start, step, size) for origin in ordered(axis[0].origins)]
    return one(parts[0], size) if len(parts) == 1 else (Factor(frozenset(parts), size),)


def _part(origin: Origin, total: int, start: int | None, step: int, size: int) -> Origin:
    if isinstance(origin, Guessed):
        return Guessed(_part(origin.of, total, start, step, size), origin.operation)
    if start == 0 and step == 1 and size == total:
        return origin
    if start is not None and isinstance(origin, Part) and origin.start is not None:
        return _part(origin.of, origin.total, origin.start + start * origin.step, step * origin.step, size)
    if start is not None and step == 1 and isinstance(origin, Pieces) and not origin.stacked:
        return _row(_pieces_within(origin, start, start + size))
    return Part(origin, total, start, step, size)


def _pieces_within(origin: Pieces, start: int, stop: int) -> list[tuple[Origin, int]]:
    """What lies from one position to another."""
    pieces, before = [], 0
    for piece, length in origin.of:
        first, last = max(start, before), min(stop, before + length)
        if first < last:
            pieces.append((_part(piece, length, first - before, 1, last - first), last - first))
        before += length
    return pieces


def _row(pieces: Sequence[tuple[Origin, int]]) -> Origin:
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


def picked(axis: Axis, by: Axis) -> Axis:
    """Positions of an axis of the inputs, picked by numbers that lie along another.

    Where the numbers are an input's, the positions are that input's; samples that are picked together with positions
    are samples.
    """
    real = rejoined(factor for factor in axis if _is_followed(factor) and Samples() not in _roots(factor))
    if not real:
        return by
    of = whole(real)
    return tuple(
        factor
        if is_data(factor) or is_lost(factor)
        else Factor(frozenset(Picked(of, origin) for origin in factor.origins), factor.size)
        for factor in by
    )


def _is_followed(factor: Factor) -> bool:
    return is_data(factor) or any(isinstance(root, Mark) for root in _roots(factor))


def _roots(factor: Factor) -> list[Origin]:
    return [root for origin in factor.origins for root in origin.roots]


def is_picked(axis: Axis) -> bool:
    """Whether an axis is there because other positions were picked for each of its own."""
    return bool(axis) and all(isinstance(origin, Picked) for factor in axis for origin in factor.origins)


def windowed(axis: Axis, distance: int, size: int) -> Axis:
    """Windows of the positions of an axis: as many as `size`, `distance` apart; 0 where that is not known.

    Where there is one for each position, they are these positions; windows of windows are windows of what these are of,
    and what an axis was padded with is none of its positions.
    """
    if not axis or (distance == 1 and size_of(axis) == size):
        return axis
    origins = axis[0].origins if len(axis) == 1 else frozenset((whole(axis),))
    return _met([_windows(*_unpadded(origin, size_of(axis)), distance, size) for origin in ordered(origins)], size)


def _met(origins: Iterable[Origin], size: int) -> Axis:
    """An axis of several origins that met position by position."""
    return one(as_one(frozenset(each for origin in origins for each in _apart(origin))), size)


def _unpadded(origin: Origin, size: int) -> tuple[Origin, int]:
    """An axis without what the model put around it."""
    if isinstance(origin, Pieces) and not origin.stacked:
        real = [(piece, length) for piece, length in origin.of if not isinstance(piece, Made)]
        if len(real) == 1:
            return real[0]
    return origin, size


def _windows(origin: Origin, total: int, distance: int, size: int) -> Origin:
    if distance == 1 and total == size:
        return origin
    if isinstance(origin, Windows):
        return Windows(origin.of, origin.distance * distance)
    return Windows(origin, distance)


def interleaved(pieces: Sequence[Symbol], along: int) -> tuple[Axis, Symbol] | None:
    """What lies along an axis where the pieces of another axis are put behind each other.

    Heads that were cut out of the features and are put behind each other along the samples, for example: there the
    heads lie outside of the samples from then on, and what is left of the features is what lies in one head.

    Args:
        pieces: The axes of the tensors that are joined.
        along: The axis that they are joined along; it must be the same in all of them.

    Returns:
        What lies outside along that axis, and the other axes of the whole, or None where no other axis is cut.
    """
    if len(pieces) < 2 or len({symbol[along] for symbol in pieces}) > 1:
        return None
    for number in range(len(pieces[0])):
        cut = None if number == along else _cut_up([symbol[number] for symbol in pieces])
        if cut is not None:
            outer, inner = cut
            return outer, (*pieces[0][:number], inner, *pieces[0][number + 1 :])
    return None


def _cut_up(axes: Sequence[Axis]) -> tuple[Axis, Axis] | None:
    """The outer and the inner part of an axis that these are the equal parts of, in their order; None where not."""
    first, rest = axes[0][:1], axes[0][1:]
    if not first or any(len(axis) != len(axes[0]) or axis[1:] != rest for axis in axes):
        return None
    count, size = len(axes), first[0].size
    outer, inner = set(), set()
    for origin in first[0].origins:
        if not (isinstance(origin, Part) and origin.start == 0 and origin.step == 1 and origin.total == count * size):
            continue
        if all(Part(origin.of, origin.total, n * size, 1, size) in axis[0].origins for n, axis in enumerate(axes)):
            outer.add(origin.of if size == 1 else _split(origin.of, origin.total, 1, count, size))
            inner.add(_split(origin.of, origin.total, count, size, 1))
    if not outer:
        return None
    lying_inside = () if size == 1 else (Factor(frozenset(inner), size),)
    return (Factor(frozenset(outer), count),), (*lying_inside, *rest)


def joined(axes: Sequence[Axis], sizes: Sequence[int], made: Origin) -> Axis:
    """Several axes behind each other."""
    if len(axes) == 1:
        return axes[0]
    if len(set(axes)) == 1 and axes[0] and any(isinstance(o, Samples) for f in axes[0] for o in f.origins):
        return (*one(made, len(axes)), *axes[0])  # copies of the batch
    pieces = [(whole(axis) if axis else made, size) for axis, size in zip(axes, sizes, strict=True)]
    return one(_row(pieces), sum(sizes))


def whole(axis: Axis) -> Origin:
    """One origin for an axis."""
    factors = tuple(
        (ordered(factor.origins)[0] if len(factor.origins) == 1 else Together(factor.origins), factor.size)
        for factor in axis
    )
    return factors[0][0] if len(factors) == 1 else Product(factors)


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
    return _part(first.of, first.total, first.start, first.step, first_size + second_size)
