"""Where the positions along an axis come from.

An axis is a row of *factors*, the outermost first, whose sizes multiply to its own: a reshape splits and joins factors
and loses none. Each factor knows its origins: an input's axis, the units of a weight, a part of another axis and so on.
Nothing here looks at a size to tell what an axis is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Samples:
    """The samples: axis 0 of the inputs."""


@dataclass(frozen=True)
class Position:
    """Another axis of an input."""

    input: str
    axis: int


@dataclass(frozen=True)
class Units:
    """An axis of a weight."""

    weight: str
    axis: int


@dataclass(frozen=True)
class Made:
    """An axis that the model makes itself: of constants, or by repeating something."""

    tensor: int
    axis: int


@dataclass(frozen=True)
class Lost:
    """An axis whose trail was lost at an operation."""

    operation: str
    tensor: int
    axis: int


@dataclass(frozen=True)
class Guessed:
    """An axis that was followed through an unknown operation because it kept its place and its size there."""

    of: Origin
    operation: str


@dataclass(frozen=True)
class Split:
    """One of the factors into which an axis was split: position ``(before * size + n) * after + ...``."""

    of: Origin
    before: int
    size: int
    after: int


@dataclass(frozen=True)
class Part:
    """Every `step`-th of the `total` positions of an axis, from `start` on; unknown where None."""

    of: Origin
    total: int
    start: int | None
    step: int
    size: int


@dataclass(frozen=True)
class Pieces:
    """Several axes behind each other, each with its size; or several tensors, each of which is one position."""

    of: tuple[tuple[Origin, int], ...]
    stacked: bool = False


@dataclass(frozen=True)
class Product:
    """Several axes flattened into one, the last running fastest; each with its size."""

    of: tuple[tuple[Origin, int], ...]


@dataclass(frozen=True)
class Together:
    """Several axes that were added or multiplied position by position, as one."""

    of: frozenset[Origin]


@dataclass(frozen=True)
class Windows:
    """Windows of positions, `distance` apart: patches."""

    of: Origin
    distance: int


@dataclass(frozen=True)
class Mark:
    """A factor of the axis of a tensor whose use is followed."""

    axis: int
    factor: int


Origin = (
    Mark | Samples | Position | Units | Made | Lost | Guessed | Split | Part | Pieces | Product | Together | Windows
)


@dataclass(frozen=True)
class Factor:
    """Some positions and where they come from: one origin, or several that met position by position."""

    origins: frozenset[Origin]
    size: int


Axis = tuple[Factor, ...]
Symbol = tuple[Axis, ...]
"""The axes of a tensor."""

_MARK, _DATA, _LOST, _UNITS, _MADE = 4, 3, 2, 1, 0


def roots(origin: Origin) -> Iterator[Origin]:
    """What an origin was made from in the end."""
    if isinstance(origin, (Split, Part, Windows, Guessed)):
        yield from roots(origin.of)
    elif isinstance(origin, (Pieces, Product)):
        for piece, _ in origin.of:
            yield from roots(piece)
    elif isinstance(origin, Together):
        for each in origin.of:
            yield from roots(each)
    else:
        yield origin


def level(origin: Origin) -> int:
    """How much an origin says, so that of two axes that meet position by position the one that says more stands."""
    match origin:
        case Split(of) | Part(of) | Windows(of) | Guessed(of):
            return level(of)
        case Pieces(of, stacked):
            return max(_DATA if stacked else _MADE, *(level(piece) for piece, _ in of))
        case Product(of):
            return max(level(piece) for piece, _ in of)
        case Together(of):
            return max(map(level, of))
    return _LEVELS.get(type(origin), _MADE)


_LEVELS = {Mark: _MARK, Samples: _DATA, Position: _DATA, Lost: _LOST, Units: _UNITS}


def _level_of(axis: Axis) -> int:
    return max((level(origin) for factor in axis for origin in factor.origins), default=_MADE)


def is_data(factor: Factor) -> bool:
    """Whether positions of the inputs lie along it."""
    return any(level(origin) == _DATA for origin in factor.origins)


def is_lost(factor: Factor) -> bool:
    """Whether its trail was lost."""
    return max((level(origin) for origin in factor.origins), default=_MADE) == _LOST


def is_units(factor: Factor) -> bool:
    """Whether units of a weight lie along it."""
    return max((level(origin) for origin in factor.origins), default=_MADE) == _UNITS


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
    highest = max(map(level, listed), default=_MADE)
    best = [origin for origin in listed if level(origin) == highest]
    known: list[Origin] = [origin for origin in best if not isinstance(origin, Guessed)]
    best = known or best
    return frozenset(best if highest >= _DATA else [min(best, key=_by_name)])


def _by_name(origin: Origin) -> tuple[bool, str]:
    """A bias has the units of the kernel that it is added to, so the kernel is named."""
    return any(isinstance(root, Units) and root.weight.endswith("bias") for root in roots(origin)), repr(origin)


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
    highest = max(map(_level_of, full))
    telling = list(dict.fromkeys(axis for axis in full if _level_of(axis) == highest))
    if len(telling) == 1:
        return telling[0]
    full = telling
    cuts = sorted({cut for axis in full for cut in _cuts(axis)})
    if 0 in cuts or any(outer % inner for inner, outer in pairwise(cuts)):
        return one(lost, size) if highest >= _DATA else min(full, key=repr)
    sizes = [outer // inner for inner, outer in pairwise(cuts)][::-1] or [1]
    parts = [_cut(axis, sizes) for axis in full]
    factors = [
        Factor(strongest(origin for part in column for origin in _ordered(part.origins)), column[0].size)
        for column in zip(*parts, strict=True)
    ]
    return rejoined(factors)


def _without_singles(axis: Axis) -> Axis:
    """The axis without factors of size 1, which lie beside others where a single position of them was taken."""
    return tuple(factor for factor in axis if factor.size != 1) or axis[:1]


def _ordered(origins: frozenset[Origin]) -> list[Origin]:
    return sorted(origins, key=repr) if len(origins) > 1 else list(origins)


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
    done = 1
    singles: dict[int, list[Axis]] = {}
    for axis in symbol:
        size = size_of(axis)
        if size == 1:
            singles.setdefault(done, []).append(axis)
        done *= size
    return singles


def _says_something(axis: Axis) -> bool:
    return any(level(origin) > _MADE for factor in axis for origin in factor.origins)


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
    parts = [_part(origin, total, start, step, size) for origin in _ordered(axis[0].origins)]
    return one(parts[0], size) if len(parts) == 1 else (Factor(frozenset(parts), size),)


def _part(origin: Origin, total: int, start: int | None, step: int, size: int) -> Origin:
    if isinstance(origin, Guessed):
        return Guessed(_part(origin.of, total, start, step, size), origin.operation)
    if start == 0 and step == 1 and size == total:
        return origin
    if start is not None and isinstance(origin, Part) and origin.start is not None:
        return _part(origin.of, origin.total, origin.start + start * origin.step, step * origin.step, size)
    if start is not None and step == 1 and isinstance(origin, Pieces) and not origin.stacked:
        before = 0
        for piece, length in origin.of:
            if before <= start and start + size <= before + length:
                return _part(piece, length, start - before, 1, size)
            before += length
    return Part(origin, total, start, step, size)


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
    total = sum(sizes)
    if len(axes) == 1:
        return axes[0]
    if len(set(axes)) == 1 and axes[0] and any(isinstance(o, Samples) for f in axes[0] for o in f.origins):
        return (*one(made, len(axes)), *axes[0])  # copies of the batch
    pieces: list[tuple[Origin, int]] = []
    for axis, size in zip(axes, sizes, strict=True):
        origin = whole(axis) if axis else made
        if pieces:
            merged = _continued(*pieces[-1], origin, size)
            if merged is not None:
                pieces[-1] = (merged, pieces[-1][1] + size)
                continue
        pieces.append((origin, size))
    if len(pieces) == 1:
        return one(pieces[0][0], total)
    return one(Pieces(tuple(pieces)), total)


def whole(axis: Axis) -> Origin:
    """One origin for an axis."""
    factors = tuple(
        (_ordered(factor.origins)[0] if len(factor.origins) == 1 else Together(factor.origins), factor.size)
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
