"""A model cut in two behind the layers that turn its texts into numbers."""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import tree

from attnscope.errors import UnsupportedError
from attnscope.model_names import copy_file

_BEGIN_AT_THE_TOKENS = "Give the tokens to the model that begins behind it: keras.Model(tokens, outputs)."


@dataclass(frozen=True)
class TextInput:
    """A text that a model takes, and what turns it into numbers.

    Attributes:
        place: Number of the input among the model's.
        name: Name of the numbers: that of the input; with the layer's behind it where a second layer reads that text.
        steps: Operations from the text to the numbers, the layer that looks them up last.
    """

    place: int
    name: str
    steps: tuple[keras.Operation, ...]

    @property
    def layer(self) -> keras.Operation:
        """What looks the numbers up."""
        return self.steps[-1]


@dataclass(frozen=True)
class TextModel:
    """A model whose texts are turned into numbers by layers of its own, cut behind these layers.

    Attributes:
        rest: The model behind them: the same layers, with a list of inputs. Those that are no texts come first.
        others: Numbers of the inputs that are no texts.
        texts: What is made of the texts, in the order of the rest's inputs.
    """

    rest: keras.Model
    others: tuple[int, ...]
    texts: tuple[TextInput, ...]


def cut_behind_texts(model: keras.Layer) -> TextModel:
    """Cuts a model behind its `TextVectorization` and `StringLookup` layers.

    Args:
        model: A model that takes at least one text.

    Raises:
        UnsupportedError: It is not a functional or Sequential model, or a text goes into something else.
    """
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes") or not hasattr(graph, "_inputs_struct"):
        raise UnsupportedError(
            f"The model {model.name!r} takes text and is not made of layers in a graph, so what turns the text into "
            f"tokens cannot be told. {_BEGIN_AT_THE_TOKENS}"
        )
    inputs = tree.flatten(graph._inputs_struct)
    made: dict[int, tuple[int, tuple[keras.Operation, ...]]] = {
        id(tensor): (place, ()) for place, tensor in enumerate(inputs) if tensor.dtype == "string"
    }
    cuts: list[tuple[keras.KerasTensor, TextInput]] = []
    for node in (
        node for depth in sorted(graph._nodes_by_depth, reverse=True) for node in graph._nodes_by_depth[depth]
    ):
        given = node.arguments.keras_tensors
        text = next((tensor for tensor in given if id(tensor) in made), None)
        if text is None:
            continue
        place, steps = made[id(text)]
        if len(given) == 1 and all(each.dtype == "string" for each in node.outputs):
            made.update({id(each): (place, (*steps, node.operation)) for each in node.outputs})
            continue
        _check(node.operation, inputs[place].name)
        several = any(other.place == place for _, other in cuts)
        name = f"{inputs[place].name}_{node.operation.name}" if several else inputs[place].name
        cuts.append((node.outputs[0], TextInput(place, name, (*steps, node.operation))))
    others = tuple(place for place, tensor in enumerate(inputs) if tensor.dtype != "string")
    rest = _model_from([inputs[place] for place in others], cuts, graph, model.name)
    copy_file(model, rest)
    return TextModel(rest, others, tuple(text for _, text in cuts))


def _check(operation: keras.Operation, text: str) -> None:
    """Rejects anything but a layer that turns text into token numbers."""
    lookup = isinstance(operation, (keras.layers.TextVectorization, keras.layers.StringLookup))
    mode = operation.get_config().get("output_mode") if lookup else None
    if mode == "int":
        return
    what = f"which gives {mode!r} and no tokens" if mode else "in which attnscope cannot see its tokens"
    raise UnsupportedError(
        f"The text {text!r} goes into the {type(operation).__name__} {operation.name!r}, {what}. {_BEGIN_AT_THE_TOKENS}"
    )


def _model_from(
    others: list[keras.KerasTensor],
    cuts: list[tuple[keras.KerasTensor, TextInput]],
    graph: keras.Model,
    name: str,
) -> keras.Model:
    """The model from the cuts on; nothing of it is noted on the user's layers."""
    operations = graph.operations
    before = [(len(each._inbound_nodes), len(each._outbound_nodes)) for each in operations]
    try:
        rest = keras.Model([*others, *(tensor for tensor, _ in cuts)], graph._outputs_struct, name=name)
    finally:
        for each, (inbound, outbound) in zip(operations, before, strict=True):
            del each._inbound_nodes[inbound:], each._outbound_nodes[outbound:]
    for tensor, (_, text) in zip(rest.inputs[len(others) :], cuts, strict=True):
        tensor.name, tensor._dtype = text.name, "int32"  # JAX has no int64
    return rest
