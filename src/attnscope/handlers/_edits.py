"""Running a model with its attention changed: what would it have said if it had looked elsewhere?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import keras
import numpy as np
import xarray as xr
from keras import ops, tree
from numpy.typing import ArrayLike

from attnscope.discovery import Selection, discover, matches
from attnscope.errors import InterventionError
from attnscope.interception import Call, Handler
from attnscope.running import Network, Runner, joined
from attnscope.schema import Site
from attnscope.tensors import Inputs, Tensor, Tree

Edit = Callable[[Tensor], Tensor]
"""From scores to scores, as the backend's tensors, dims as in `Site.dims` (without ``step``)."""


@dataclass(frozen=True)
class Change:
    """An edit that also needs to know the call: which cells are open, which dims are which."""

    name: str
    change: Callable[[Tensor, Call], Tensor]

    def __call__(self, scores: Tensor, call: Call) -> Tensor:
        """The edited scores of this call."""
        return self.change(scores, call)


@dataclass(frozen=True)
class Replacement:
    """An edit that ignores the scores: an array takes their place.

    Attributes:
        array: dims of the site; see `replace`.
    """

    array: ArrayLike | xr.DataArray

    def in_order_of(self, site: Site) -> np.ndarray:
        """The array with its axes in the order of the site's dims, those that it lacks left out.

        Raises:
            InterventionError: It has a dim that the site does not have.
        """
        if not isinstance(self.array, xr.DataArray):
            return np.asarray(self.array, "float32")
        if set(self.array.dims) - set(site.dims):
            raise InterventionError(
                f"The scores for {site.name!r} have dims {tuple(self.array.dims)}, but the site has {site.dims}."
            )
        order = [dim for dim in site.dims if dim in self.array.dims]
        return np.asarray(self.array.transpose(*order).values, "float32")

    def varies_by_sample(self, site: Site) -> bool:
        """Whether it holds a row for each sample."""
        if isinstance(self.array, xr.DataArray):
            return "sample" in self.array.dims and self.array.sizes["sample"] > 1
        shape = np.shape(self.array)
        return len(shape) == len(site.dims) and shape[0] > 1


def ablate(heads: int | Iterable[int]) -> Change:
    """An edit: these heads attend to nothing, so they add only their bias.

    Args:
        heads: Numbers of the heads.

    Raises:
        InterventionError: While running: the site has no such head.

    Source:
        Michel et al. 2019, section 2.2.
    """
    chosen = [heads] if isinstance(heads, int) else list(heads)

    def change(scores: Tensor, call: Call) -> Tensor:
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
        factors = np.ones([number if position == axis else 1 for position in range(len(scores.shape))], "float32")
        factors.reshape(-1)[chosen] = 0.0
        return ops.multiply(scores, ops.cast(factors, scores.dtype))

    return Change(f"ablate(heads={chosen})", change)


def uniform() -> Change:
    """An edit: every query attends equally to all keys that it may attend to.

    Source:
        Wiegreffe & Pinter 2019, section 3.2 (where the model is trained again).
    """

    def change(scores: Tensor, call: Call) -> Tensor:
        cells = _open_cells(scores, call)
        axes = _key_axes(call)
        count = ops.maximum(ops.sum(cells, axis=axes, keepdims=True), 1.0)
        return ops.cast(cells / count, scores.dtype)

    return Change("uniform()", change)


def permute(seed: int) -> Change:
    """An edit: every query's scores are permuted among the keys that it may attend to.

    Each row gets a permutation of its own; the same seed gives the same permutations, in every batch.

    Args:
        seed: Seed of the permutations.

    Source:
        Jain & Wallace 2019, section 4.2.1.
    """

    def change(scores: Tensor, call: Call) -> Tensor:
        drawn = keras.random.uniform(scores.shape, seed=seed + _stable(call.name), dtype="float32")
        return dealt_out(scores, call, drawn)

    return Change(f"permute({seed})", change)


def dealt_out(scores: Tensor, call: Call, drawn: Tensor) -> Tensor:
    """The scores of each row, assigned to its open keys in a random order.

    Args:
        scores: The scores.
        call: The call that they belong to.
        drawn: Random numbers within 0 to 1, same dims; their order is the new one.
    """
    keys = call.layout.num_keys
    shape = tuple(scores.shape)
    flat = (*shape[: len(shape) - keys], int(np.prod(shape[len(shape) - keys :])))
    values = ops.reshape(scores, flat)
    cells = ops.reshape(ops.broadcast_to(_open_cells(scores, call), shape), flat)
    closed = 1.0 - cells
    shuffled = ops.take_along_axis(values, ops.argsort(ops.reshape(drawn, flat) + 2.0 * closed, axis=-1), axis=-1)
    # open keys come first there: the first open key of the row takes the first of them, and so on
    among_open = ops.cumsum(cells, axis=-1)
    among_closed = ops.cumsum(closed, axis=-1) + ops.sum(cells, axis=-1, keepdims=True)
    places = ops.where(cells > 0, among_open, among_closed) - 1.0
    return ops.reshape(ops.take_along_axis(shuffled, ops.cast(places, "int32"), axis=-1), shape)


def replace(array: ArrayLike | xr.DataArray) -> Replacement:
    """An edit: the scores are replaced by these.

    Args:
        array: A DataArray with dims of the site, in any order; or an array in their order, without ``sample`` if all
            samples get the same.

    Raises:
        InterventionError: While running: the shape does not fit the site.
    """
    return Replacement(array)


class Edited:
    """A network with its attention edited in one way, compiled once and run any number of times with other numbers.

    Args:
        network: The model and its data; to run it more than once, the inputs must be readable more than once.
        sites: Patterns of the sites that are edited.
        edit: From the scores of a call, the call, and the extras of the batch to the scores to use instead.

    Attributes:
        sites: The sites that are edited.
    """

    def __init__(
        self, network: Network, sites: Selection, edit: Callable[[Tensor, Call, dict[str, Tensor]], Tensor]
    ) -> None:
        self._network = network
        discovery = discover(network, sites)
        self.sites = discovery.chosen
        names = frozenset(self.sites.names)

        def handlers(extras: dict[str, Tensor]) -> tuple[Handler, Tree]:
            def handler(call: Call) -> Tensor | None:
                if call.name not in names:
                    return None
                scores = call.scores()
                return _checked(edit(scores, call, extras), scores, call)

            return handler, []

        self._runner = Runner(network.model, handlers, plan=discovery.plan)

    def outputs(self, extras: Mapping[str, np.ndarray] | None = None, *, progress: bool = False) -> Tree:
        """The outputs of the edited model, as arrays in its structure of outputs.

        Args:
            extras: Arrays with one row per sample, for the edit.
            progress: Whether to show a bar on long work.
        """
        _check_lengths(extras or {}, self._network.samples)
        runs = self._runner.run(self._network, extras=extras, progress=progress)
        return joined([(outputs, batch.size) for outputs, _, batch in runs])

    @property
    def together(self) -> int:
        """How often all samples fit into one batch, at least 1."""
        return max(1, self._network.batch_size // (self._network.samples or self._network.batch_size))

    def outputs_under(self, extras: Iterable[Mapping[str, np.ndarray]]) -> Iterator[Tree]:
        """The outputs under several edits, one after the other, of which as many are run together as fill a batch.

        Args:
            extras: For each edit, arrays with one row per sample. They are read as they are needed.
        """
        waiting = iter(extras)
        if self.together == 1:
            yield from map(self.outputs, waiting)
            return
        inputs, samples = self._network.arrays(), self._network.samples or 0
        while rows := list(islice(waiting, self.together)):
            times = len(rows)
            repeated = tree.map_structure(lambda array, times=times: np.concatenate([array] * times), inputs)
            network = self._network.on(repeated, batch_size=samples * self.together, full=True)
            together = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            [(outputs, _, _)] = self._runner.run(network, extras=together)
            for start in range(0, samples * len(rows), samples):
                yield tree.map_structure(lambda array, start=start: array[start : start + samples], outputs)


def intervene(
    model: keras.Model,
    inputs: Inputs,
    edits: Mapping[str, Edit | Change | Replacement],
    *,
    batch_size: int = 32,
    progress: bool = True,
) -> Tree:
    """The model's outputs with its attention edited; the model itself stays as it is.

    Masked cells stay masked: whatever an edit writes there is set to 0, and queries that may attend to nothing are
    treated as the model treats them. Rows are not rescaled: weight that an edit removes is gone.

    Args:
        model: Any built Keras 3 model, or a KerasHub task.
        inputs: Arrays or a structure of them, raw texts or images for a task, or anything that yields batches.
        edits: From a glob pattern of sites to an edit: `ablate`, `uniform`, `permute`, `replace`, or any function from
            scores to scores (backend tensors, dims as `ats.sites` shows). If several patterns match a site, the first
            one counts.
        batch_size: Samples at a time.
        progress: Whether to show a bar on long work.

    Returns:
        What `model.predict(inputs)` would return: NumPy arrays in the model's structure of outputs.

    Raises:
        PatternError: A pattern matches no site.
        InterventionError: An edit returns a shape other than the one it was given, or does not fit the site.

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

    def edit(scores: Tensor, call: Call, extras: dict[str, Tensor]) -> Tensor:
        chosen = by_site[call.name]
        if isinstance(chosen, Replacement):
            return _fitted(extras[call.name] if call.name in extras else fixed[call.name], scores, call)
        return chosen(scores, call) if isinstance(chosen, Change) else chosen(scores)

    edited = Edited(Network(model, inputs, batch_size=batch_size), list(edits), edit)
    by_site = {site.name: _edit_for(site, edits) for site in edited.sites}
    fixed: dict[str, np.ndarray] = {}
    per_sample: dict[str, np.ndarray] = {}
    for site in edited.sites:
        replacement = by_site[site.name]
        if isinstance(replacement, Replacement):
            arrays = per_sample if replacement.varies_by_sample(site) else fixed
            arrays[site.name] = replacement.in_order_of(site)
    return edited.outputs(per_sample, progress=progress)


def _check_edits(edits: Mapping[str, Edit | Change | Replacement]) -> None:
    if (
        not isinstance(edits, Mapping)
        or not edits
        or not all(callable(edit) or isinstance(edit, Replacement) for edit in edits.values())
    ):
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


def _edit_for(site: Site, edits: Mapping[str, Edit | Change | Replacement]) -> Edit | Change | Replacement:
    return next(edit for pattern, edit in edits.items() if matches(site, pattern))


def _fitted(array: Tensor, scores: Tensor, call: Call) -> Tensor:
    array = ops.convert_to_tensor(array)
    missing = len(scores.shape) - len(array.shape)
    padded = ops.reshape(array, (*[1] * missing, *array.shape)) if missing > 0 else array
    sizes = zip(padded.shape, scores.shape, strict=False)
    if missing < 0 or any(size not in (1, wanted) for size, wanted in sizes):
        raise InterventionError(
            f"The scores for {call.name!r} have shape {tuple(array.shape)}, but the site has "
            f"{tuple(scores.shape)} with dims {call.layout.dims}; 'sample' may be left out."
        )
    return ops.broadcast_to(padded, scores.shape)


def _checked(edited: Tensor | None, scores: Tensor, call: Call) -> Tensor:
    if edited is None:
        raise InterventionError(
            f"The edit of {call.name!r} returned None, but an edit returns the scores to use instead."
        )
    edited = ops.convert_to_tensor(edited)
    if tuple(edited.shape) != tuple(scores.shape):
        raise InterventionError(
            f"The edit of {call.name!r} was given scores of shape {tuple(scores.shape)} and gave "
            f"{tuple(edited.shape)}; an edit keeps the shape."
        )
    cells = call.cells()
    return edited if cells is None else ops.where(cells, edited, ops.zeros_like(edited))


def _open_cells(scores: Tensor, call: Call) -> Tensor:
    """1 where a query may attend, else 0, in float32 and the shape of the scores."""
    cells = call.cells()
    ones = ops.ones(scores.shape, dtype="float32")
    return ones if cells is None else ops.multiply(ones, ops.cast(cells, "float32"))


def _key_axes(call: Call) -> tuple[int, ...]:
    return tuple(range(-call.layout.num_keys, 0))


def _stable(name: str) -> int:
    """A number for a name that is the same in every process, so that sites differ in their draws."""
    return sum((position + 1) * ord(letter) for position, letter in enumerate(name)) % 100_003
