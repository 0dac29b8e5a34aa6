"""What each axis of a site's scores is: sample, window, head, query or key, from its lineage and from what it meets.

* **sample**: the samples lie along it;
* **key**: the softmax ran over it;
* **window**: the weighted values have it too, and positions lie along it: each row of a picture by itself, each window;
* **head**: units of a weight lie along it, and the values have it too, or else another axis asks;
* **query**: the values do not have it, and positions lie along it, or units that ask by themselves (learned queries).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnscope.discovery._axes import Axis, Factor, Symbol, is_data, is_lost, is_units, one
from attnscope.discovery._origins import (
    Guessed,
    Lost,
    Made,
    Origin,
    Part,
    Picked,
    Pieces,
    Position,
    Product,
    Samples,
    Split,
    Together,
    Units,
    Windows,
    ordered,
)
from attnscope.interception import Layout, Parts

_ORDER = ("sample", "window", "head", "query", "key")


@dataclass(frozen=True)
class Roles:
    """What the axes of a site are.

    Attributes:
        layout: Its dims; None where a trail was lost, so that they are not known.
        origins: For each dim the factors that lie along it, outermost first.
        guess: The unknown operation that an axis was followed through by its size; empty where there is none.
    """

    layout: Layout | None
    origins: Mapping[str, tuple[Factor, ...]]
    guess: str = ""


def roles_of(
    symbol: Symbol,
    shape: Sequence[int],
    key_axes: Sequence[int],
    shared: frozenset[tuple[int, int]],
    picked: frozenset[tuple[int, int]] = frozenset(),
    *,
    heads: int | None = None,
    apart: bool = False,
) -> Roles:
    """The roles of the axes of a softmax's output.

    Args:
        symbol: Where its axes come from.
        shape: Its shape.
        key_axes: The axes that the softmax ran over.
        shared: Factors, by axis and number, that the weighted values have too.
        picked: Those that they have because other positions were picked for each of theirs.
        heads: The axis of the heads where the call itself says which it is; then the next one asks.
        apart: Whether a loop over the samples computes it, so that it has no axis for them.
    """
    keys = sorted(axis % len(shape) for axis in key_axes)
    entries: list[tuple[int, Factor | None, str]] = []
    for axis, factors in enumerate(symbol):
        if axis in keys:
            continue
        if heads is not None and axis in (heads, heads + 1):
            origins_there = frozenset(origin for factor in factors for origin in factor.origins)
            whole = Factor(origins_there, shape[axis]) if factors else None  # of an axis of size 1 nothing may be known
            entries.append((axis, whole, "head" if axis == heads else "query"))
            continue
        if not factors:
            entries.append((axis, None, "single"))
        for number, each in enumerate(factors):
            role = _role(each, shared=(axis, number) in shared)
            entries.append((axis, each, "picked" if (axis, number) in picked and role == "window" else role))
    entries = _decided(entries, keys)
    if any(role == "lost" for _, _, role in entries):
        return Roles(None, {}, _operation(entries))
    names = _key_names(len(keys))
    queries = list(dict.fromkeys(axis for axis, _, role in entries if role == "query"))
    parts: dict[int, list[tuple[str, int]]] = {axis: [] for axis in range(len(shape))}
    origins: dict[str, tuple[Factor, ...]] = {}
    for axis, factor, role in entries:
        dim = f"query_{queries.index(axis)}" if role == "query" and len(queries) > 1 else role
        if dim:
            parts[axis].append((dim, 1 if factor is None else factor.size))
            origins[dim] = (*origins.get(dim, ()), *(() if factor is None else (factor,)))
    for axis, name in zip(keys, names, strict=True):
        parts[axis] = [(name, shape[axis])]
        origins[name] = symbol[axis]
    if apart:
        origins["sample"] = one(Samples(), 1)
    elif "sample" not in origins:
        return Roles(*_same_for_all(parts, origins, names, shape))
    return Roles(_layout(parts, names), origins, _guess(origins))


def _same_for_all(
    parts: dict[int, list[tuple[str, int]]],
    origins: dict[str, tuple[Factor, ...]],
    names: list[str],
    shape: Sequence[int],
) -> tuple[Layout | None, dict[str, tuple[Factor, ...]], str]:
    """Scores that are the same for all samples: a first axis of size 1 stands for them."""
    if shape[0] != 1 or 0 in [axis for axis, listed in parts.items() if any(dim in names for dim, _ in listed)]:
        return None, {}, ""
    origins = {
        dim: factors for dim, factors in origins.items() if any(dim == name for a in parts if a for name, _ in parts[a])
    }
    parts = {**parts, 0: [("sample", 1)]}
    origins["sample"] = ()
    return _layout(parts, names), origins, _guess(origins)


def _layout(parts: Mapping[int, Sequence[tuple[str, int]]], names: list[str]) -> Layout:
    axes: tuple[Parts, ...] = tuple(tuple(parts[axis]) for axis in range(len(parts)))
    dims = dict.fromkeys(("sample", *(dim for listed in axes for dim, _ in listed)))
    others = sorted((dim for dim in dims if dim not in names), key=lambda dim: (_ORDER.index(dim.split("_")[0]), dim))
    return Layout(axes, (*others, *names), len(names))


def _role(factor: Factor, *, shared: bool) -> str:
    if any(isinstance(root, Samples) for origin in factor.origins for root in origin.roots) and is_data(factor):
        return "lost" if any(isinstance(origin, Pieces) for origin in factor.origins) else "sample"
    if is_lost(factor):
        return "lost"
    if is_data(factor):
        return "window" if shared else "query"
    if is_units(factor):
        return "head" if shared else "units"
    return "window" if shared else "made"


def _decided(entries: list[tuple[int, Factor | None, str]], keys: list[int]) -> list[tuple[int, Factor | None, str]]:
    """What units that the values lack, axes that the model made, and axes of size 1 are, once the others are known."""
    asks = any(role == "query" for _, _, role in entries)
    heads = any(role == "head" for _, _, role in entries)
    decided: list[tuple[int, Factor | None, str]] = []
    for axis, factor, role in entries:
        if role in ("single", "made", "units") and axis > keys[-1] and (factor is None or factor.size == 1):
            role = ""  # an axis of size 1 behind the keys: one column of scores
        elif role == "units" or (role == "made" and not asks):
            role = "head" if asks else "query"
        elif role == "picked":
            role = "window" if asks else "query"
        elif role == "made":
            role = "head"
        elif role == "single":
            role = "query" if not asks else "" if heads else "head"
        asks = asks or role == "query"
        heads = heads or role == "head"
        decided.append((axis, factor, role))
    return decided


def _key_names(count: int) -> list[str]:
    return ["key"] if count == 1 else [f"key_{number}" for number in range(count)]


def _operation(entries: Sequence[tuple[int, Factor | None, str]]) -> str:
    return next(
        (
            root.operation
            for _, factor, role in entries
            if role == "lost" and factor is not None
            for origin in factor.origins
            for root in origin.roots
            if isinstance(root, Lost)
        ),
        "",
    )


def _guess(origins: Mapping[str, tuple[Factor, ...]]) -> str:
    """The operation at which an axis was followed by its size, or where the trail of a part of it was lost."""
    listed = [origin for factors in origins.values() for factor in factors for origin in ordered(factor.origins)]
    guesses = (guess for origin in listed for guess in origin.guesses)
    lost = (root.operation for origin in listed for root in origin.roots if isinstance(root, Lost))
    return next(guesses, "") or next(lost, "")


def in_words(factors: Axis) -> str:
    """Where an axis comes from, in words for users."""
    sources: dict[str, list[str]] = {}
    for factor in factors:
        for head, tail in sorted(_words(origin) for origin in _telling(factor.origins)):
            heads = sources.setdefault(tail, [])
            if head not in heads:
                heads.append(head)
    by_heads: dict[str, list[str]] = {}
    for tail, heads in sources.items():
        by_heads.setdefault(_listed(heads), []).append(tail)
    return " and ".join(_of_all(heads, tails) for heads, tails in by_heads.items())


def _telling(origins: frozenset[Origin]) -> list[Origin]:
    """Of origins that met as few as name all the inputs and weights that are in them, the simplest first.

    An axis and the same from its end count as two: each position holds both.
    """
    named = {
        origin: {(root, _is_reversed(origin)) for root in origin.roots if not isinstance(root, Made)}
        for origin in origins
    }
    told: set[tuple[Origin, bool]] = set()
    telling: list[Origin] = []
    for origin in sorted(origins, key=lambda each: (-len(named[each]), len("".join(_words(each))), each.name)):
        if not telling or not told.issuperset(named[origin]):
            telling.append(origin)
            told.update(named[origin])
    return telling


def _is_reversed(origin: Origin) -> bool:
    """Whether it runs from the end of what it comes from to the start."""
    turned = isinstance(origin, Part) and origin.step < 0
    return turned != (len(origin.inner) == 1 and _is_reversed(origin.inner[0]))


_OF_INPUT, _MADE = " of input ", "positions made by the model"


def _of_all(heads: str, tails: list[str]) -> str:
    if len(tails) > 1 and all(tail.startswith(_OF_INPUT) for tail in tails):
        return f"{heads} of inputs {' and '.join(tail.removeprefix(_OF_INPUT) for tail in tails)}"
    return " and ".join(heads + tail for tail in tails)


def _listed(heads: list[str]) -> str:
    numbers = [head.removeprefix("axis ") for head in heads if head.startswith("axis ")]
    if len(numbers) == len(heads) > 1:
        return f"axes {', '.join(numbers[:-1])} and {numbers[-1]}"
    return " and ".join(heads)


def _words(origin: Origin) -> tuple[str, str]:
    """What it is, and of what."""
    match origin:
        case Samples():
            return "samples", ""
        case Position(name, axis):
            return f"axis {axis}", f"{_OF_INPUT}{name!r}"
        case Units(weight, _):
            return "units", f" of {weight!r}" if weight else " of a weight"
        case Made():
            return _MADE, ""
        case Lost(operation):
            return f"not known: the trail was lost at {operation!r}", ""
        case Guessed(of) | Split(of):
            return _words(of)
        case Windows(of):
            head, tail = _words(of)
            return "patches", tail or f" of {head.removeprefix('patches of ')}"
        case Picked(of):
            head, tail = _words(of)
            return head, f"{tail}, picked"
        case Part(of, total, _, step, size):
            head, tail = _words(of)
            return head if size == total else f"a part of {head}", tail + (", reversed" if step < 0 else "")
        case Pieces(of, stacked):
            if stacked:
                return f"{len(of)} tensors, stacked", ""
            wholes = {(piece.of, piece.total) for piece, _ in of if isinstance(piece, Part)}
            if len(wholes) == 1 and all(isinstance(piece, Part) for piece, _ in of):
                [(one_axis, total)] = wholes
                head, tail = _words(one_axis)
                complete = sum(size for _, size in of) == total
                return (head, f"{tail}, in another order") if complete else (f"parts of {head}", tail)
            pieces = ["".join(_words(piece)) for piece, _ in of]
            kept = [
                piece for piece, before in zip(pieces, ["", *pieces], strict=False) if piece != before or piece != _MADE
            ]
            return ", then ".join(kept), ""
        case Together(of):
            return in_words((Factor(of, 1),)), ""
        case Product(of):
            return " and ".join(dict.fromkeys("".join(_words(piece)) for piece, _ in of)), ""
    raise TypeError(f"No words for {origin!r}.")
