"""What a user's functions write to while a model runs: state, by which no run is told from another."""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from types import CodeType, FunctionType

_GROWING = frozenset(
    name for kind in (list, set, dict, deque) for name in dir(kind) if name[0] != "_" and name not in dir(frozenset)
) - {"index", "get", "items", "keys", "values", "fromkeys", "count", "maxlen"}
"""Methods that change a list, a set, a dict, or what `collections` has."""
_ATTRIBUTE, _NAME = ("LOAD_ATTR", "LOAD_METHOD"), ("LOAD_GLOBAL", "LOAD_DEREF", "LOAD_CLASSDEREF")


@dataclass
class Written:
    """What some functions write to.

    Attributes:
        attributes: Names of attributes, of whatever object.
        names: Names of modules' and of enclosing functions' variables.
    """

    attributes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


def written_by(codes: Iterable[CodeType]) -> Written:
    """What functions assign, and what they add to, remove from or store into, by its name."""
    written = Written()
    for code in codes:
        instructions = list(dis.get_instructions(code))
        for instruction in instructions:
            if instruction.opname in ("STORE_ATTR", "DELETE_ATTR"):
                written.attributes.add(instruction.argval)
            elif instruction.opname in ("STORE_GLOBAL", "STORE_DEREF"):
                written.names.add(instruction.argval)
        for owner in _changed(instructions):
            (written.attributes if owner.opname in _ATTRIBUTE else written.names).add(owner.argval)
    return written


def _changed(instructions: list[dis.Instruction]) -> Iterator[dis.Instruction]:
    """The instructions that load what is changed in place."""
    loads = [each for each in instructions if each.opname in (*_ATTRIBUTE, *_NAME)]
    for owner, method in pairwise(instructions):
        if owner in loads and method.opname in _ATTRIBUTE and method.argval in _GROWING:
            yield owner
    for each in instructions:
        if each.opname in ("STORE_SUBSCR", "DELETE_SUBSCR"):
            yield from (load for load in loads if _start(load) is not None and _start(load) == _start(each))


def _start(instruction: dis.Instruction) -> tuple[int, int] | None:
    """Where in its file the expression begins that an instruction is of; None where that was not kept."""
    position = instruction.positions
    if position is None or position.lineno is None or position.col_offset is None:
        return None
    return position.lineno, position.col_offset


def codes_of_running(kind: type) -> Iterator[CodeType]:
    """The code of a class' own functions that run when a layer of it is called."""
    functions = {
        name: value for base in reversed(kind.__mro__) for name, value in vars(base).items() if _is_users(value)
    }
    waiting, done = ["call", "__call__"], set[str]()
    while waiting:
        name = waiting.pop()
        if name in done or name not in functions:
            continue
        done.add(name)
        for code in codes_in(functions[name].__code__):
            waiting += code.co_names
            yield code


def _is_users(value: object) -> bool:
    return isinstance(value, FunctionType) and not value.__module__.startswith("keras.")


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and that of those inside of it."""
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from codes_in(value)
