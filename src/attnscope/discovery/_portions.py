"""Which positions of a known axis lie where along an axis that was made of it by slicing, turning round and joining."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from attnscope.discovery._axes import Axis, Factor, one, size_of
from attnscope.discovery._origins import Guessed, Origin, Part, Pieces, Position, Windows
from attnscope.discovery._roles import in_words
from attnscope.schema import Portion, Source


def portions_of(axis: Axis, name_of: Callable[[Axis], str]) -> tuple[Portion, ...]:
    """What lies behind each other along an axis; a portion without a name where nothing is known.

    Args:
        axis: The axis.
        name_of: Gives the name of an axis that is known, and an empty one for any other.
    """
    size = size_of(axis)
    name = name_of(axis)
    if name:
        return (Portion(name, size, size),)
    part = _part_of(axis)
    if part is not None:
        whole, start, step = part
        return picked(portions_of(whole, name_of), range(start, start + size * step, step))
    pieces = pieces_of(axis)
    if pieces:
        return tuple(portion for piece in pieces for portion in portions_of(piece, name_of))
    return (Portion("", size, size),)


def sources_of(axis: Axis) -> tuple[Source, ...]:
    """The positions of inputs that lie along an axis."""
    return tuple(_source(axis, whole) for whole in dict.fromkeys(_whole_axes(axis)))


def _source(axis: Axis, whole: Axis) -> Source:
    words = in_words(whole)
    return Source(words, _inputs_of(whole), portions_of(axis, lambda part: words if part == whole else ""))


def _whole_axes(axis: Axis) -> Iterator[Axis]:
    """The axes of inputs, or of their patches, that an axis was made of."""
    part, pieces = _part_of(axis), pieces_of(axis)
    if part is not None:
        yield from _whole_axes(part[0])
    elif pieces:
        for piece in pieces:
            yield from _whole_axes(piece)
    elif axis and all(_is_whole(origin) for factor in axis for origin in factor.origins):
        yield axis


def _is_whole(origin: Origin) -> bool:
    return isinstance(origin, Position) or (isinstance(origin, Windows) and isinstance(origin.of, Position))


def _inputs_of(axis: Axis) -> tuple[str, ...]:
    names = {
        root.input
        for factor in axis
        for origin in factor.origins
        for root in origin.roots
        if isinstance(root, Position)
    }
    return tuple(sorted(names))


def _part_of(axis: Axis) -> tuple[Axis, int, int] | None:
    """What an axis is a part of, with the first position and their distance."""
    if len(axis) != 1:
        return None
    origins = list(axis[0].origins)
    if len(origins) == 1 and isinstance(origins[0], Guessed):
        return one(origins[0].of, axis[0].size), 0, 1
    parts = [origin for origin in origins if isinstance(origin, Part)]
    places = {(part.total, part.start, part.step) for part in parts}
    if len(parts) < len(origins) or len(places) != 1:
        return None
    [(total, start, step)] = places
    if start is None:
        return None
    of = one(parts[0].of, total) if len(parts) == 1 else (Factor(frozenset(part.of for part in parts), total),)
    return of, start, step


def pieces_of(axis: Axis) -> list[Axis]:
    """The axes that lie behind each other in one; empty where it is not known to be made of several."""
    if len(axis) == 1 and len(axis[0].origins) == 1:
        (origin,) = axis[0].origins
        if isinstance(origin, Pieces) and not origin.stacked:
            return [one(piece, size) for piece, size in origin.of]
    return []


def picked(portions: Sequence[Portion], wanted: range) -> tuple[Portion, ...]:
    """Some positions of several portions behind each other."""
    cells = [(portion, position) for portion in portions for position in portion.positions]
    chosen: list[Portion] = []
    for portion, position in (cells[number] for number in wanted):
        last = chosen[-1] if chosen else None
        step = 0 if last is None else position - last.positions[-1]
        if last is not None and last.name == portion.name and ((last.size == 1 and step) or step == last.step):
            chosen[-1] = Portion(last.name, last.size + 1, last.total, last.start, step)
        else:
            chosen.append(Portion(portion.name, 1, portion.total, position))
    return tuple(chosen)
