"""`Network`: a model and its data, checked and prepared once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import xarray as xr
from keras import tree

from attnscope.backends import Body
from attnscope.errors import AttnscopeError, InputError, UnbuiltModelError, UnsupportedError, kind_of
from attnscope.frames import table_of
from attnscope.interception import call_model, input_names
from attnscope.labels import AxisLabels
from attnscope.named_arrays import NamedArrays
from attnscope.running._batches import (
    Batch,
    Batches,
    batches_of,
    given_batches,
    gives_batches,
    joined,
    samples_in_batches,
)
from attnscope.running._compiled import as_numpy, compiled
from attnscope.running._declaration import declaration_of
from attnscope.running._fitted_inputs import beyond_an_embedding, check_call, fitted, undeclared
from attnscope.running._output_names import output_names
from attnscope.running._tables import arranged
from attnscope.running._tasks import prepared
from attnscope.tensors import Inputs, Tree


@dataclass
class Passes:
    """What running a model has cost so far, in samples; those that only fill up a batch are left out.

    Attributes:
        forward: Samples that went through it forwards.
        gradient: Samples that went through it forwards and backwards.
    """

    forward: int = 0
    gradient: int = 0


class Network:
    """A model and its data, checked and prepared once.

    Whatever runs a network counts its passes here; nobody else does.

    Args:
        model: A built Keras 3 model, or a KerasHub task, which also takes raw texts or images.
        inputs: Arrays or a structure of them, also with ids, a list of samples of different lengths, a table or data
            frame, raw texts or images for a task, or anything that yields batches.
        batch_size: Samples at a time, if the inputs are arrays.

    Attributes:
        model: The network to run.
        inputs: What it is given, preprocessed, and checked if it is arrays.
        labels: What the task or the table knows about the positions: tokens, patches, columns; empty if nothing is
            known.
        table: The table that the inputs came from, with the columns that the model reads; None for other inputs.
        note: What a reader has to know of how the table's columns were put in order; else empty.
        ids: What each sample is called, dims ``(sample,)``; None where nothing says it.
        texts: The raw texts, dims ``(sample,)``; None if the inputs are not single texts.
        tokenizer: The task's tokenizer; None for other models.
        zero_is_padding: Names of inputs in which 0 stands for no token, by the layer that made the tokens of text.
        class_names: What the data, or else the model, say that the classes are called; None where they say nothing.
        batch_size: Samples at a time.
        passes: The counted passes.

    Raises:
        UnsupportedError: `model` is not a Keras 3 model.
        UnbuiltModelError: It has no weights yet.
        InputError: There is no sample, the arrays differ in length, the kind of inputs is not known, or the model
            cannot take them.
    """

    def __init__(self, model: keras.Layer, inputs: Inputs, *, batch_size: int = 32) -> None:
        check_model(model)
        check_call(model)
        ids = inputs.ids if isinstance(inputs, NamedArrays) else None
        inputs = inputs.inputs if isinstance(inputs, NamedArrays) else inputs
        given = table_of(inputs)
        table = None if given is None else arranged(given, model)
        task = prepared(model, inputs if table is None else table.inputs)
        self.model = model
        given = samples_in_batches(task.inputs, model, batch_size)
        self.inputs = given if gives_batches(given, model) else fitted(given, model)
        self.labels: list[AxisLabels] = [*([] if table is None else table.labels), *task.labels]
        self.table = None if table is None else table.table
        self.note = "" if table is None else table.note
        self.ids = ids if table is None else table.table.ids
        self.texts: xr.DataArray | None = task.texts
        self.tokenizer = task.tokenizer
        self.zero_is_padding = frozenset[str]()
        self.class_names = _class_names(inputs) or _class_names(model)
        self.batch_size = batch_size
        self.passes = Passes()
        self._outputs = compiled(model, call_model)
        self._next: Batches | None = batches_of(self.inputs, batch_size, model)

    @classmethod
    def of_batches(cls, model: keras.Layer, batches: Sequence[Batch]) -> Network:
        """A model and batches of another network, which are checked and filled up already.

        Args:
            model: A model like that network's own.
            batches: Some of its batches, one at least.
        """
        network = cls.__new__(cls)
        network.model, network.inputs = model, [batch.inputs for batch in batches]
        network.labels, network.texts, network.table, network.ids = [], None, None, None
        network.tokenizer, network.class_names, network.zero_is_padding = None, None, frozenset()
        network.passes = Passes()
        network._outputs = compiled(model, call_model)
        network._next = given_batches(batches)
        network.batch_size = network._next.batch_size
        return network

    @property
    def first(self) -> Batch:
        """The first batch, for a look at shapes; `batches` still yields it."""
        return self._peeked().first

    def input_names(self, inputs: Tree) -> list[str]:
        """The name of each input: its key, or the name of its `Input`, whatever the structure; else its number.

        Args:
            inputs: Arrays in the structure of the inputs; the names are in the order of `keras.tree`.
        """
        return input_names(self.model, inputs)

    def input_name(self, name: str) -> str:
        """The name among `input_names` for one that may be that of an `Input` whose key in a dict is another."""
        declaration = declaration_of(self.model)
        inputs = [] if declaration is None else declaration.inputs
        keys = [one.name for one in inputs if one.own_name == name]
        return keys[0] if len(keys) == 1 and all(one.name != name for one in inputs) else name

    @property
    def samples(self) -> int | None:
        """Number of samples, if it is known beforehand."""
        return self._peeked().total

    @property
    def has_one_batch(self) -> bool:
        """Whether all samples are arrays in one batch."""
        return self.samples is not None and self.samples <= self.batch_size

    @property
    def most_samples(self) -> int | None:
        """Number of samples, or as many as there can be in the batches; None where neither is known."""
        batches = self._peeked()
        if batches.total is not None or batches.count is None:
            return batches.total
        return batches.count * batches.batch_size

    def _peeked(self) -> Batches:
        """The batches that will be given next."""
        if self._next is None:
            self._next = batches_of(self.inputs, self.batch_size, self.model)
        return self._next

    def batches(self) -> Batches:
        """All batches, from the first one on. Inputs that can be read only once yield them only once."""
        batches, self._next = self._peeked(), None
        return batches

    def arrays(self) -> Tree:
        """All samples as arrays in the model's structure; batches of a dataset are concatenated.

        Raises:
            InputError: They have different lengths.
        """
        parts = [tree.map_structure(lambda a, n=batch.size: a[:n], batch.inputs) for batch in self.batches()]
        return tree.map_structure(_one_array, *parts)

    def on(self, inputs: Inputs, *, batch_size: int | None = None, full: bool = False) -> Network:
        """The same network on other inputs, which are already preprocessed: its passes count for both.

        Args:
            inputs: As the model itself takes them.
            batch_size: Samples at a time; as before where None.
            full: Whether fewer samples than that are filled up to it.
        """
        other = copy.copy(self)
        other.inputs, other.labels, other.texts, other.table, other.ids = inputs, [], None, None, None
        other.batch_size = self.batch_size if batch_size is None else batch_size
        other._next = batches_of(inputs, other.batch_size, self.model, full=full)
        return other

    @contextmanager
    def noting(self, inputs: Tree) -> Iterator[None]:
        """Adds to an error of a model that declares no inputs, which nobody could check, what it was given.

        Args:
            inputs: What the model is given, as arrays.

        Raises:
            InputError: The model failed, and an input holds numbers for which its `Embedding` has no row.
        """
        try:
            yield
        except AttnscopeError:
            raise
        except Exception as error:
            beyond = beyond_an_embedding(self.model, inputs)
            if beyond:
                raise InputError(beyond) from error
            note = undeclared(self.model, inputs)
            if note and note not in getattr(error, "__notes__", ()):
                error.add_note(note)
            raise

    def ask(self, body: Body, inputs: Tree) -> Tree:
        """What `body` gives as it runs the model once on some inputs, as arrays; each sample is a forward pass.

        Args:
            body: Takes the model and tensors.
            inputs: Arrays, all in one batch.
        """
        with self.noting(inputs):
            answer = tree.map_structure(as_numpy, compiled(self.model, body)(inputs))
        self.passes.forward += len(tree.flatten(inputs)[0])
        return answer

    def of_model(self, model: keras.Layer, inputs: Inputs = None) -> Network:
        """Another model on the same inputs, or on others of its own; its passes count for both."""
        check_model(model)
        other = copy.copy(self)
        other.model, other._outputs = model, compiled(model, call_model)
        return other.on(self.inputs if inputs is None else inputs)

    def outputs(self, inputs: Tree | None = None, *, batch_size: int | None = None) -> Tree:
        """The model's outputs, as arrays in their structure.

        Args:
            inputs: Arrays, all samples; the network's own where None. A last batch is filled up to the batch size, so
                that a model that is compiled is compiled once.
            batch_size: Samples at a time; None for the network's own.
        """
        arrays = self.arrays() if inputs is None else inputs
        parts = []
        for batch in batches_of(arrays, batch_size or self.batch_size, self.model, full=True):
            with self.noting(batch.inputs):
                outputs = self._outputs(batch.inputs)
            self.passes.forward += batch.size
            parts.append((tree.map_structure(as_numpy, outputs), batch.size))
        return joined(parts)

    def output_names(self, outputs: Tree) -> list[str]:
        """The name of each output, in the order of `keras.tree`; see `attnscope.running.output_names`."""
        return output_names(self.model, outputs)


def _one_array(*parts: np.ndarray) -> np.ndarray:
    shapes = list(dict.fromkeys(part.shape[1:] for part in parts))
    if len(shapes) > 1:
        raise InputError(
            f"Samples of the inputs have the shapes {shapes[0]} and {shapes[1]}, but here all need the same one. Pad "
            "them, if the model masks padding: keras.utils.pad_sequences(samples, padding='post'); or give those of "
            "each length by themselves."
        )
    return np.concatenate(parts)


def _class_names(owner: object) -> list[str] | None:
    """What a dataset made by `keras.utils.image_dataset_from_directory` and its like, or a model, calls the classes."""
    names = getattr(owner, "class_names", None)
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def check_model(model: object) -> None:
    """Rejects anything but a model, and models without weights.

    Raises:
        UnsupportedError: Not a Keras 3 layer or model.
        UnbuiltModelError: Not built.
    """
    if isinstance(model, (str, Path)):
        raise UnsupportedError(
            f"The model is a path, {str(model)!r}, but a Keras 3 model is needed: attnscope.load_model({str(model)!r})."
        )
    if not isinstance(model, keras.Layer):
        raise UnsupportedError(_no_model(model))
    if not model.built:
        raise UnbuiltModelError(
            f"The model {model.name!r} is not built: it has no weights yet, so its attention would be random. "
            "Call it once on a batch and load its weights: model(x); model.load_weights(path)."
        )


def _no_model(given: object) -> str:
    if given is None:
        return "The model is None, but a Keras 3 model is needed."
    if isinstance(given, type):
        return f"The model is {kind_of(given)}, but a Keras 3 model is needed. Make one of it: {given.__name__}(...)."
    return (
        f"The model is a {type(given).__module__}.{type(given).__name__}, but a Keras 3 model is needed. "
        "A model of tf_keras, or an old file: model.save('old.h5'), then attnscope.load_model('old.h5')."
    )
