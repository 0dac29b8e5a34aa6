"""Running a model with its attention changed: what would it have said, had it looked elsewhere?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import xarray as xr
from keras import ops, tree

from attnscope.discovery import Selection, check_model, discover, matches, selected
from attnscope.errors import InterventionError
from attnscope.interception import Call
from attnscope.running import Batches, Runner, batches_of, merged, prepared
from attnscope.schema import Site, SiteTable

Edit = Callable[[Any], Any]
"""From scores to scores, as the backend's tensors, dims as in `Site.dims` (without ``step``)."""


@dataclass(frozen=True)
class Changed:
    """An edit that also needs to know the call: which cells are open, which dims are which."""

    name: str
    change: Callable[[Any, Call], Any]
    array: Any = None

    def __call__(self, scores: Any, call: Call) -> Any:
        """The edited scores of this call."""
        return self.change(scores, call)


def ablate(heads: int | Iterable[int]) -> Changed:
    """An edit: these heads attend to nothing, so they add nothing but their bias.

    Args:
        heads: Numbers of the heads.

    Raises:
        InterventionError: While running: the site has no such head.

    Source:
        Michel et al. 2019, section 2.2.
    """
    chosen = [heads] if isinstance(heads, int) else list(heads)

    def change(scores: Any, call: Call) -> Any:
        assert call.layout is not None
        if "head" not in call.layout.dims:
            raise InterventionError(
                f"The site {call.name!r} has dims {call.layout.dims}, but ablate(heads={chosen}) needs a 'head'. "
                "Replace the scores instead: {pattern: lambda scores: scores * 0}."
            )
        axis = call.layout.dims.index("head")
        number = call.layout.shape[axis]
        wrong = [head for head in chosen if not 0 <= head < number]
        if wrong:
            raise InterventionError(
                f"The heads {wrong} are to be ablated at {call.name!r}, but its heads are 0 to {number - 1}."
            )
        kept = np.ones([number if position == axis else 1 for position in range(len(scores.shape))], "float32")
        kept.reshape(-1)[chosen] = 0.0
        return ops.multiply(scores, ops.cast(kept, scores.dtype))

    return Changed(f"ablate(heads={chosen})", change)


def uniform() -> Changed:
    """An edit: every query attends equally to all keys that it may attend to.

    Source:
        Wiegreffe & Pinter 2019, section 3.2 (there with the model trained again).
    """

    def change(scores: Any, call: Call) -> Any:
        cells = _open_cells(scores, call)
        axes = _key_axes(call)
        count = ops.maximum(ops.sum(cells, axis=axes, keepdims=True), 1.0)
        return ops.cast(cells / count, scores.dtype)

    return Changed("uniform()", change)


def permute(seed: int) -> Changed:
    """An edit: every query's scores are dealt out anew among the keys that it may attend to.

    Each row gets a permutation of its own; the same seed gives the same ones, in every batch.

    Args:
        seed: Seed of the permutations.

    Source:
        Jain & Wallace 2019, section 4.2.1.
    """

    def change(scores: Any, call: Call) -> Any:
        drawn = keras.random.uniform(scores.shape, seed=seed + _stable(call.name), dtype="float32")
        return dealt_out(scores, call, drawn)

    return Changed(f"permute({seed})", change)


def dealt_out(scores: Any, call: Call, drawn: Any) -> Any:
    """The scores of each row given to its open keys in a random order.

    Args:
        scores: The scores.
        call: The call that they are of.
        drawn: Random numbers within 0 to 1, same dims; their order is the new one.
    """
    assert call.layout is not None
    keys = call.layout.num_keys
    shape = tuple(scores.shape)
    flat = (*shape[: len(shape) - keys], int(np.prod(shape[len(shape) - keys :])))
    values = ops.reshape(scores, flat)
    cells = ops.reshape(ops.broadcast_to(_open_cells(scores, call), shape), flat)
    closed = 1.0 - cells
    shuffled = ops.take_along_axis(values, ops.argsort(ops.reshape(drawn, flat) + 2.0 * closed, axis=-1), axis=-1)
    # open keys stand in front there: the first open key of the row takes the first of them, and so on
    among_open = ops.cumsum(cells, axis=-1)
    among_closed = ops.cumsum(closed, axis=-1) + ops.sum(cells, axis=-1, keepdims=True)
    places = ops.where(cells > 0, among_open, among_closed) - 1.0
    return ops.reshape(ops.take_along_axis(shuffled, ops.cast(places, "int32"), axis=-1), shape)


def replace(array: Any) -> Changed:
    """An edit: these scores instead.

    Args:
        array: A DataArray with dims of the site, in any order; or an array in their order, ``sample`` left out
            where all samples get the same.

    Raises:
        InterventionError: While running: the shape does not fit the site.
    """

    def change(scores: Any, call: Call) -> Any:
        raise AssertionError("intervene binds the array's samples of each batch before this is called")

    return Changed("replace(array)", change, array=array)


class Edited:
    """A model with its attention edited in one way, compiled once and run with other numbers again and again.

    Args:
        model: Any built Keras 3 model, or a KerasHub task.
        inputs: As for `capture`; arrays, where it is to be run more than once.
        sites: Patterns of the sites that are edited.
        edit: From the scores of a call, the call, and the extras of the batch to the scores to go on with.
        batch_size: Samples at a time.

    Attributes:
        sites: The sites that are edited.
    """

    def __init__(
        self,
        model: keras.Model,
        inputs: Any,
        sites: Selection,
        edit: Callable[[Any, Call, dict[str, Any]], Any],
        *,
        batch_size: int = 32,
    ) -> None:
        self._network, self._inputs, _ = prepared(model, inputs)
        check_model(self._network)
        self._batch_size = batch_size
        self._batches: Batches | None = batches_of(self._inputs, batch_size, self._network)
        found = discover(self._network, self._batches, sites)
        self.sites = selected(found.sites, sites)
        names = frozenset(self.sites.names)

        def handlers(extras: Any) -> Any:
            def handler(call: Call) -> Any:
                if call.name not in names:
                    return None
                scores = call.scores()
                return _checked(edit(scores, call, extras), scores, call)

            return handler, []

        self._runner = Runner(self._network, handlers, unroll=found.unroll)

    def outputs(self, extras: Mapping[str, np.ndarray] | None = None, *, progress: bool = False) -> Any:
        """What the edited model says, as arrays in its structure of outputs.

        Args:
            extras: Arrays with one row per sample, for the edit.
            progress: Whether to show a bar on long work.
        """
        batches = self._batches or batches_of(self._inputs, self._batch_size, self._network)
        self._batches = None
        _check_lengths(extras or {}, batches.total)
        pieces = [
            tree.map_structure(lambda array, size=batch.size: None if array is None else array[:size], outputs)
            for outputs, _, batch in self._runner.run(batches, extras=extras, progress=progress)
        ]
        return tree.map_structure(lambda *arrays: None if arrays[0] is None else merged(list(arrays)), *pieces)


def intervene(
    model: keras.Model,
    inputs: Any,
    edits: Mapping[str, Edit | Changed],
    *,
    batch_size: int = 32,
    progress: bool = True,
) -> Any:
    """The model's outputs with its attention edited; the model itself stays as it is.

    Masked cells stay masked: whatever an edit writes there is set to 0, and a query that may attend to nothing
    keeps what the model does with it. Rows are not rescaled: an edit that takes away takes away.

    Args:
        model: Any built Keras 3 model, or a KerasHub task.
        inputs: As for `capture`.
        edits: From a glob pattern of sites to an edit: `ablate`, `uniform`, `permute`, `replace`, or any function
            from scores to scores (backend tensors, dims as `ats.sites` shows). Of several patterns that match a
            site, the first counts.
        batch_size: Samples at a time.
        progress: Whether to show a bar on long work.

    Returns:
        What `model.predict(inputs)` would return: NumPy arrays in the model's structure of outputs.

    Raises:
        PatternError: A pattern matches no site.
        InterventionError: An edit gives another shape than it was given, or does not fit the site.

    Example:
        >>> inputs = keras.Input((5, 8))
        >>> outputs = keras.layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs)
        >>> model = keras.Model(inputs, outputs)
        >>> x = np.ones((3, 5, 8), "float32")
        >>> changed = intervene(model, x, {"mha": ablate(heads=[0, 1])})
        >>> changed.shape, float(np.abs(changed).max())
        ((3, 5, 8), 0.0)
    """
    _check_edits(edits)

    def edit(scores: Any, call: Call, extras: dict[str, Any]) -> Any:
        if call.name in extras or call.name in fixed:
            return _fitted(extras[call.name] if call.name in extras else fixed[call.name], scores, call)
        wanted = by_site[call.name]
        return wanted(scores, call) if isinstance(wanted, Changed) else wanted(scores)

    edited = Edited(model, inputs, list(edits), edit, batch_size=batch_size)
    by_site = {site.name: _edit_for(site, edits) for site in edited.sites}
    arrays = {name: _sample_arrays(wanted, edited.sites, name) for name, wanted in by_site.items()}
    per_sample = {name: array for name, (array, varies) in arrays.items() if varies}
    fixed = {name: array for name, (array, varies) in arrays.items() if not varies and array is not None}
    return edited.outputs(per_sample, progress=progress)


def _check_edits(edits: Any) -> None:
    if not isinstance(edits, Mapping) or not edits or not all(callable(edit) for edit in edits.values()):
        raise InterventionError(
            f"The edits are {edits!r}, but a dict from a pattern of sites to an edit is needed: "
            "{'encoder_0/*': ats.uniform()}."
        )


def _check_lengths(arrays: Mapping[str, np.ndarray], total: int | None) -> None:
    for name, array in arrays.items():
        if total is not None and len(array) != total:
            raise InterventionError(
                f"The scores for {name!r} hold {len(array)} samples, but the inputs hold {total}; one row per sample "
                "is needed, or none at all: leave 'sample' out to give all the same."
            )


def _edit_for(site: Site, edits: Mapping[str, Any]) -> Any:
    return next(edit for pattern, edit in edits.items() if matches(site, pattern))


def _sample_arrays(edit: Any, chosen: SiteTable, name: str) -> tuple[Any, bool]:
    """The array of a `replace`, in the order of the site's dims, and whether it varies by sample."""
    array = getattr(edit, "array", None)
    if array is None:
        return None, False
    site = next(site for site in chosen if site.name == name)
    if isinstance(array, xr.DataArray):
        if set(array.dims) - set(site.dims):
            raise InterventionError(
                f"The scores for {name!r} have dims {tuple(array.dims)}, but the site has {site.dims}."
            )
        order = [dim for dim in site.dims if dim in array.dims]
        return np.asarray(array.transpose(*order).values, "float32"), "sample" in array.dims and array.sizes[
            "sample"
        ] > 1
    values = np.asarray(array, "float32")
    return values, values.ndim == len(site.dims) and values.shape[0] > 1


def _fitted(array: Any, scores: Any, call: Call) -> Any:
    array = ops.convert_to_tensor(array)
    missing = len(scores.shape) - len(array.shape)
    padded = ops.reshape(array, (*[1] * missing, *array.shape)) if missing > 0 else array
    sizes = zip(padded.shape, scores.shape, strict=False)
    if missing < 0 or any(size not in (1, wanted) for size, wanted in sizes):
        assert call.layout is not None
        raise InterventionError(
            f"The scores for {call.name!r} have shape {tuple(array.shape)}, but the site has "
            f"{tuple(scores.shape)} with dims {call.layout.dims}; 'sample' may be left out."
        )
    return ops.broadcast_to(padded, scores.shape)


def _checked(edited: Any, scores: Any, call: Call) -> Any:
    if edited is None:
        raise InterventionError(f"The edit of {call.name!r} gave None; an edit returns the scores to go on with.")
    edited = ops.convert_to_tensor(edited)
    if tuple(edited.shape) != tuple(scores.shape):
        raise InterventionError(
            f"The edit of {call.name!r} was given scores of shape {tuple(scores.shape)} and gave "
            f"{tuple(edited.shape)}; an edit keeps the shape."
        )
    cells = call.cells()
    return edited if cells is None else ops.where(cells, edited, ops.zeros_like(edited))


def _open_cells(scores: Any, call: Call) -> Any:
    """1 where a query may attend, else 0, in float32 and the shape of the scores."""
    cells = call.cells()
    ones = ops.ones(scores.shape, dtype="float32")
    return ones if cells is None else ops.multiply(ones, ops.cast(cells, "float32"))


def _key_axes(call: Call) -> tuple[int, ...]:
    assert call.layout is not None
    return tuple(range(-call.layout.num_keys, 0))


def _stable(name: str) -> int:
    """A number for a name that is the same in every process, so that sites differ in their draws."""
    return sum((position + 1) * ord(letter) for position, letter in enumerate(name)) % 100_003
