"""Axes as rows of factors, the outermost first, whose sizes multiply to the axis' own.

A reshape splits and joins factors and loses none. Each factor knows its origins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from attnscope.discovery._origins import (
    DATA,
    LOST,
    MADE,
    UNITS,
    Mark,
    Origin,
    Part,
    Picked,
    Product,
    Samples,
    Split,
    Together,
    apart,
    as_one,
    ordered,
    part_of,
    row_of,
    split_of,
    strongest,
    unpadded,
    windows_of,
)


@dataclass(frozen=True)
class Factor:
    """Some positions and where they come from: one origin, or several that met position by position."""

    origins: frozenset[Origin]
    size: int


Axis = tuple[Factor, ...]
Symbol = tuple[Axis, ...]
"""The axes of a tensor."""


def _name_of(axis: Axis) -> list[list[str]]:
    return [[origin.name for origin in ordered(factor.origins)] for factor in axis]


def _level_of(axis: Axis) -> int:
    return max((origin.level for factor in axis for origin in factor.origins), default=MADE)


def is_data(factor: Factor) -> bool:
    """Whether positions of the inputs lie along it."""
    return any(origin.level == DATA for origin in factor.origins)


def is_lost(factor: Factor) -> bool:
    """Whether its trail was lost."""
    return max((origin.level for origin in factor.origins), default=MADE) == LOST


def is_units(factor: Factor) -> bool:
    """Whether units of a weight lie along it."""
    return max((origin.level for origin in factor.origins), default=MADE) == UNITS


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


def together(axes: Sequence[Axis], size: int, lost: Origin) -> Axis:
    """The axis along which several meet position by position; those of size 1 are repeated and say nothing.

    Args:
        axes: Of the operands, in their order.
        size: Number of positions.
        lost: What to take where their factors do not fit into each other.
    """
    full = [_without_singles(axis) for axis in axes if axis and size_of(axis) == size]
    if not full:
        return () if size == 1 else one(lost, size)
    full = list(dict.fromkeys(full))
    if len(full) == 1:  # as nearly always
        return full[0]
    highest, cuts = max(map(_level_of, full)), _cuts_of(full)
    if cuts is None:
        full = [axis for axis in full if _level_of(axis) == highest]
        if len(full) == 1:
            return full[0]
        cuts = _cuts_of(full)
    if cuts is None:
        return one(lost, size) if highest >= DATA else min(full, key=_name_of)
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
    first = frozenset(split_of(origin, factor.size, 1, outer, inner) for origin in factor.origins)
    second = frozenset(split_of(origin, factor.size, outer, inner, 1) for origin in factor.origins)
    return Factor(first, outer), Factor(second, inner)


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
        known = before if len(before) == len(numbers) else [axis for axis in before if says_something(axis)]
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


def says_something(axis: Axis) -> bool:
    """Whether more is known of an axis than that the model made it."""
    return any(origin.level > MADE for factor in axis for origin in factor.origins)


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
        return one(part_of(whole(axis), total, start, step, size), size)
    parts = [part_of(origin, total, start, step, size) for origin in ordered(axis[0].origins)]
    return one(parts[0], size) if len(parts) == 1 else (Factor(frozenset(parts), size),)


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
    return _met([windows_of(*unpadded(origin, size_of(axis)), distance, size) for origin in ordered(origins)], size)


def _met(origins: Iterable[Origin], size: int) -> Axis:
    """An axis of several origins that met position by position."""
    return one(as_one(frozenset(each for origin in origins for each in apart(origin))), size)


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
            outer.add(origin.of if size == 1 else split_of(origin.of, origin.total, 1, count, size))
            inner.add(split_of(origin.of, origin.total, count, size, 1))
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
    return one(row_of(pieces), sum(sizes))


def whole(axis: Axis) -> Origin:
    """One origin for an axis."""
    factors = tuple(
        (ordered(factor.origins)[0] if len(factor.origins) == 1 else Together(factor.origins), factor.size)
        for factor in axis
    )
    return factors[0][0] if len(factors) == 1 else Product(factors)
