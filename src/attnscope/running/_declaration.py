"""What a model declares to take, and inputs in that structure.

Keras warns about a structure that does not fit, zips what it has, and fails somewhere inside of a layer. Here whatever
cannot be meant is said at once, with what the model takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import tree

from attnscope.errors import InputError
from attnscope.interception import declared_inputs, declared_name
from attnscope.running._given_input import DeclaredInput, GivenInput, rank_of
from attnscope.tensors import Inputs, Tree

MOST_LISTED = 6
"""How many of a model's inputs a message lists."""


class Declaration:
    """What a model declares to take.

    Attributes:
        structure: The inputs in the model's structure.
        inputs: The same in a row, in the order in which Keras flattens them.
    """

    def __init__(self, structure: Tree) -> None:
        self.structure = structure
        self.inputs: list[DeclaredInput] = tree.flatten(structure)

    def words(self, one: DeclaredInput | None = None) -> str:
        """The inputs with their shapes and dtypes; of very many only `one` and how many others there are."""
        if len(self.inputs) <= MOST_LISTED:
            return ", ".join(map(str, self.inputs))
        shown = self.inputs[:MOST_LISTED] if one is None else [one]
        return f"{', '.join(map(str, shown))} and {len(self.inputs) - len(shown)} others"

    def fitted(self, given: Inputs) -> Tree:
        """The given inputs as arrays in the model's structure.

        Raises:
            InputError: They do not fit.
        """
        if len(self.inputs) > 1:
            return self._in_structure(given, self.structure, "inputs")
        value, code = self._only(given)
        array = self._leaf(value, self.inputs[0], code)
        if isinstance(self.structure, (DeclaredInput, list)):
            return array
        return tree.pack_sequence_as(self.structure, [array])

    def _only(self, given: Inputs) -> tuple[Inputs, str]:
        """What is given for the model's only input, which may be wrapped in a dict or a list; and code for it."""
        [one] = self.inputs
        if isinstance(given, Mapping):
            if len(given) != 1 or not set(given) <= {one.name, one.own_name}:
                raise self._wrong_names(given, [one.name])
            name = next(iter(given))
            return given[name], f"inputs[{name!r}]"
        if isinstance(given, (list, tuple)) and len(given) == 1:
            least = len(one.shape) - (1 if one.shape[-1:] == (1,) else 0)
            if rank_of(given[0]) >= least:
                return given[0], "inputs[0]"
        return given, "inputs"

    def _in_structure(self, given: Inputs, wanted: Tree, code: str) -> Tree:
        if isinstance(wanted, DeclaredInput):
            return self._leaf(given, wanted, code)
        parts = self._parts(given, wanted, code)
        if isinstance(wanted, Mapping):
            return {
                key: self._in_structure(value, wanted[key], place)
                for key, (value, place) in zip(sorted(wanted, key=str), parts, strict=True)
            }
        fitted = [self._in_structure(value, inner, place) for inner, (value, place) in zip(wanted, parts, strict=True)]
        return tuple(fitted) if isinstance(wanted, tuple) else fitted

    def _parts(self, given: Inputs, wanted: Tree, code: str) -> list[tuple[Inputs, str]]:
        """What is given for each part of a structure, in its order, and code for it."""
        by_name = isinstance(wanted, Mapping)
        if isinstance(given, Mapping) and (by_name or all(isinstance(part, DeclaredInput) for part in wanted)):
            names = sorted(wanted, key=str) if by_name else [part.name for part in wanted]
            if set(given) != set(names):
                raise self._wrong_names(given, names)
            return [(given[name], f"{code}[{name!r}]") for name in names]
        if by_name or not isinstance(given, (list, tuple)) or len(given) != len(wanted):
            raise self._wrong_structure(given, by_name)
        return [(value, f"{code}[{number}]") for number, value in enumerate(given)]

    def _wrong_names(self, given: Mapping[str, Inputs], names: Sequence[str]) -> InputError:
        missing = [name for name in names if name not in given]
        unknown = [name for name in given if name not in names]
        pairs = ", ".join(f"{name!r}: {_variable(name)}" for name in names[:MOST_LISTED])
        pairs += ", ..." if len(names) > MOST_LISTED else ""
        faults = [
            f"{', '.join(map(repr, several))} {'is' if len(several) == 1 else 'are'} {what}"
            for several, what in ((missing, "missing"), (unknown, "unknown"))
            if several
        ]
        return InputError(
            f"The inputs are named {', '.join(map(repr, given)) or 'nothing'}, but the model takes {self.words()}: "
            f"{' and '.join(faults)}. Give exactly its own: {{{pairs}}}."
        )

    def _wrong_structure(self, given: Inputs, by_name: bool) -> InputError:
        if isinstance(given, (list, tuple, Mapping)):
            what = f"A {type(given).__name__} of {len(given)}"
        else:
            shape = tuple(np.shape(given))
            what = f"One array of shape {shape}" if shape else f"A {type(given).__name__}"
        how = "by name" if by_name else "in this order"
        return InputError(
            f"{what} was given, but the model takes {len(self.inputs)} inputs {how}: {self.words()}. Give one array "
            f"for each: {self._example()}."
        )

    def _example(self) -> str:
        return _code_of(self.structure) if len(self.inputs) <= MOST_LISTED else "{name: array, ...}"

    def _leaf(self, value: Inputs, declared: DeclaredInput, code: str) -> np.ndarray:
        given = GivenInput(f"The input {declared.name!r}", code, f"the model takes {self.words(declared)}", declared)
        return given.fitted(value)


def declaration_of(model: keras.Layer | None) -> Declaration | None:
    """What a functional or Sequential model declares to take.

    None if it declares nothing: a model whose `call` is its author's own, and a Sequential one without an `Input`,
    whose shapes are merely those that it was first called on.
    """
    call = getattr(type(model), "call", None)
    structure = None if model is None else declared_inputs(model)
    if structure is None or not getattr(call, "__module__", "").startswith("keras."):
        return None
    if isinstance(model, keras.Sequential):
        structure = structure[0]
        if structure.shape[:1] != (None,):
            return None
    leaves = tree.flatten_with_path(structure)
    if not leaves or not all(isinstance(tensor, keras.KerasTensor) for _, tensor in leaves):
        return None
    inputs = [
        DeclaredInput(
            name=declared_name(path, tensor),
            own_name=tensor.name,
            shape=(None, *tensor.shape[1:]),
            dtype=tensor.dtype,
        )
        for path, tensor in leaves
    ]
    return Declaration(tree.pack_sequence_as(structure, inputs))


def _code_of(structure: Tree) -> str:
    """A structure of inputs as code, each input a variable of its own name."""
    if isinstance(structure, DeclaredInput):
        return _variable(structure.name)
    if isinstance(structure, Mapping):
        return "{" + ", ".join(f"{key!r}: {_code_of(structure[key])}" for key in sorted(structure, key=str)) + "}"
    inside = ", ".join(map(_code_of, structure))
    return f"[{inside}]" if isinstance(structure, list) else f"({inside}{',' if len(structure) == 1 else ''})"


def _variable(name: str) -> str:
    return name if name.isidentifier() else "array"
