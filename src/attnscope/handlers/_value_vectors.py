"""What each head carries from each key into the output of its layer, found by calling the layer again.

A layer that attends gives, with its inputs held fixed, an affine function of its scores::

    output[query] = sum over heads and keys of scores[head, query, key] * vectors[head, key] + rest[query]

So its vectors can be read without knowing its weights: with all scores 0 it gives the rest, and with a single score of
1 it gives one vector more. Since each query may read a different key, one call gives as many vectors as there are
queries. Whether a layer is of this kind can be seen from the sum, which callers compare with the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops, tree

from attnscope.errors import AttnscopeError, MethodError
from attnscope.interception import Call, LayerCall, Plan, any_along, call_model, declarations, intercept, own_errors
from attnscope.running import Batch, Network, as_numpy, compiled
from attnscope.schema import HEAD, KEY, QUERY, SAMPLE, SiteTable
from attnscope.tensors import Tensor, Tree


@dataclass(frozen=True)
class Contribution:
    """One site on one batch, without the samples that only fill it up.

    Attributes:
        scores: dims ``(sample, head, query, key)``; one head and one query where the site has no such axis.
        vectors: dims ``(sample, head, key, feature)``.
        rest: What the layer gives with all scores 0: its biases; dims ``(sample, query, feature)``.
        output: What it gives, same dims.
        attends: Queries that may attend to something, dims ``(sample, query)``.
        inputs: What the layer was called on, first argument.
    """

    scores: np.ndarray
    vectors: np.ndarray
    rest: np.ndarray
    output: np.ndarray
    attends: np.ndarray
    inputs: np.ndarray


@dataclass(frozen=True)
class Passed:
    """One call of a layer that carries a sequence on.

    Attributes:
        path: Path of the layer.
        layer: The layer; None where the call is that of a site's layer.
        site: Name of the site; empty elsewhere.
        inputs: What it was called on; None for what adds, which is called on several.
        outputs: What it gave.
    """

    path: str
    layer: keras.Layer | None
    site: str
    inputs: np.ndarray | None
    outputs: np.ndarray


class Contributor:
    """Gets the vectors of some sites of a model, over any number of batches.

    Args:
        model: A built model; it is held weakly.
        sites: The sites.
        passed: Whether to record the calls of normalising and adding layers too, and those of `paths`.
        paths: Paths of further layers whose calls are recorded.
    """

    def __init__(
        self, model: keras.Layer, sites: SiteTable, *, passed: bool = False, paths: frozenset[str] = frozenset()
    ) -> None:
        for site in sites:
            _check(site.kind, site.loop, site.dims, site.name)
        self._errors: list[AttnscopeError] = []
        self._seen: list[tuple[str, keras.Layer | None, str]] = []
        errors, seen, declared, plan = self._errors, self._seen, declarations(), Plan.of(sites)
        wanted = frozenset(sites.names)

        def body(model: keras.Layer, inputs: Tree) -> Tree:
            pending: dict[str, list[Call]] = {}
            answers: dict[str, dict[str, Tensor]] = {}
            noted: list[tuple[Tensor | None, Tensor]] = []
            seen.clear()

            def handler(call: Call) -> None:
                if call.name in wanted:
                    if not call.at.location.layers or isinstance(call.at.location.layer, keras.Model) or call.at.step:
                        raise MethodError(_no_layer(call.name))
                    pending.setdefault(call.at.location.path, []).append(call)

            def ended(layer: LayerCall) -> None:
                for call in pending.pop(layer.path, []):
                    answers[call.name] = _asked(layer, call)
                    seen.append((layer.path, None, call.name))
                    noted.append((_first(layer.inputs), answers[call.name]["output"]))
                if passed and (layer.path in paths or _normalises(layer.layer) or _adds(layer.layer)):
                    seen.append((layer.path, layer.layer, ""))
                    called_on = None if _adds(layer.layer) else _first(layer.inputs)
                    noted.append((called_on, _first(layer.outputs)))

            batch = len(tree.flatten(inputs)[0])
            with intercept(
                handler, model, batch=batch, inputs=inputs, plan=plan, declarations=declared, errors=errors, ended=ended
            ):
                call_model(model, inputs)
            return answers, noted

        self._run = compiled(model, body)

    def run(self, network: Network) -> Iterator[tuple[Batch, dict[str, Contribution], list[Passed]]]:
        """Gets the vectors over all batches of a network, and counts each sample as a forward pass.

        Raises:
            MethodError: The vectors of a site cannot be read; the message says why.
        """
        self._errors.clear()
        for batch in network.batches():
            with own_errors(self._errors):
                answers, noted = self._run(batch.inputs)
            network.passes.forward += batch.size
            cut = tree.map_structure(
                lambda tensor, n=batch.size: None if tensor is None else as_numpy(tensor)[:n], (answers, noted)
            )
            contributions = {name: Contribution(**arrays) for name, arrays in cut[0].items()}
            yield (
                batch,
                contributions,
                [
                    Passed(*known, called_on, outputs)
                    for known, (called_on, outputs) in zip(self._seen, cut[1], strict=True)
                ],
            )


def _asked(layer: LayerCall, call: Call) -> dict[str, Tensor]:
    """The vectors of a call, read from its layer."""
    sizes = dict(zip(call.layout.dims, call.layout.shape, strict=True))
    heads, queries, keys = sizes.get(HEAD, 1), sizes.get(QUERY, 1), sizes[KEY]
    shape = call.layout.shape
    place = _leaf(layer, call, queries)

    def answer(cells: np.ndarray) -> Tensor:
        whole = np.broadcast_to(cells.reshape(1, *shape[1:]), shape)

        def handler(other: Call) -> Tensor | None:
            return ops.convert_to_tensor(whole, dtype=call.dtype) if other.name == call.name else None

        return _of_queries(tree.flatten(layer.again(handler))[place], call.batch, queries)

    none = np.zeros((heads, queries, keys), "float32")
    rest = answer(none)
    vectors = []
    for head in range(heads):
        pieces = []
        for start in range(0, keys, queries):
            count = min(queries, keys - start)
            cells = none.copy()
            cells[head, np.arange(count), start + np.arange(count)] = 1.0
            pieces.append((answer(cells) - rest)[:, :count])
        vectors.append(pieces[0] if len(pieces) == 1 else ops.concatenate(pieces, axis=1))
    limits = call.cells()
    ones = ops.ones((call.batch, heads, queries, keys), dtype="bool")
    attends = ones if limits is None else ops.reshape(ops.broadcast_to(limits, shape), ones.shape)
    return {
        "scores": ops.reshape(call.scores(), (call.batch, heads, queries, keys)),
        "vectors": ops.stack(vectors, axis=1),
        "rest": rest,
        "output": _of_queries(tree.flatten(layer.outputs)[place], call.batch, queries),
        "attends": any_along(attends, axis=(1, 3)),
        "inputs": _first(layer.inputs),
    }


def _leaf(layer: LayerCall, call: Call, queries: int) -> int:
    """Which of the layer's outputs holds one vector per query."""
    rank = 3 if QUERY in call.layout.dims else 2
    leaves = tree.flatten(layer.outputs)
    if isinstance(layer.layer, (keras.layers.Activation, keras.layers.Softmax, keras.layers.Dense)):
        raise MethodError(_no_layer(call.name))
    for place, leaf in enumerate(leaves):
        if len(leaf.shape) == rank and (rank == 2 or leaf.shape[1] == queries):
            return place
    shapes = [tuple(leaf.shape) for leaf in leaves]
    raise MethodError(
        f"The layer of the site {call.name!r} gives the shapes {shapes}, but one vector for each of its {queries} "
        "queries is needed: (sample, query, feature). Leave the site out: sites=[...]."
    )


def _of_queries(tensor: Tensor, batch: int, queries: int) -> Tensor:
    return ops.reshape(tensor, (batch, queries, tensor.shape[-1]))


def _first(tensors: Tree) -> Tensor:
    """The first tensor of some arguments or outputs."""
    return ops.convert_to_tensor(tree.flatten(tensors)[0])


def _normalises(layer: keras.Layer) -> bool:
    return "norm" in type(layer).__name__.lower() and not isinstance(layer, keras.layers.Normalization)


def _adds(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Add)


def _check(kind: str, loop: str | None, dims: tuple[str, ...], name: str) -> None:
    if kind == "declared" or loop is not None:
        raise MethodError(_no_layer(name))
    if dims not in ((SAMPLE, HEAD, QUERY, KEY), (SAMPLE, QUERY, KEY), (SAMPLE, KEY)):
        raise MethodError(
            f"The site {name!r} has the dims {dims}, but the vectors of its keys can be read only if they are (sample, "
            "head, query, key), with or without head and query. Leave it out: sites=[...]."
        )


def _no_layer(name: str) -> str:
    return (
        f"The scores of the site {name!r} are applied outside the layer that computes them (or in a loop), so no "
        "single layer shows what they carry. Compute and apply them in one layer, such as "
        "keras.layers.MultiHeadAttention, or leave the site out: sites=[...]."
    )
