"""How much each head counts: by the gradient of a mask on it, and by how much a metric drops without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
import xarray as xr
from keras import ops, tree
from numpy.typing import ArrayLike

from attnscope.attribution._targets import ClassNames, Target, TargetLike, given_classes, targets_of
from attnscope.discovery import Selection, discover
from attnscope.errors import MethodError
from attnscope.handlers import Differentiator, Edited
from attnscope.interception import Call
from attnscope.running import Network
from attnscope.schema import HEAD, Site, SiteTable
from attnscope.tensors import Inputs, Tensor, Tree

Metric = Callable[[Tree], float]
"""From the model's outputs on all samples, as arrays, to one number; higher is better."""
Loss = Callable[[Tree, Tensor], Tensor]
"""From the outputs and labels of some samples, as tensors, to one number per sample; in `keras.ops`."""
Head = tuple[str, int]
"""Name of a site, and number of a head, from 0; 0 if the site has no heads."""
LABELS = "labels"


def head_importance(
    model: keras.Model,
    inputs: Inputs,
    *,
    target: TargetLike = None,
    classes: ClassNames = None,
    class_names: ClassNames = None,
    loss: Loss | None = None,
    labels: ArrayLike | None = None,
    normalise: bool = False,
    sites: Selection = None,
    batch_size: int = 32,
) -> xr.DataArray:
    """How sensitive a target or a loss is to a mask on each head: the mean of |dL / dxi_h| over samples.

    ``xi_h`` is a factor on the head, 1 in the model as it is. What a head adds is linear in its scores, so
    ``dL / dxi_h = sum over query, key of scores * dL / dscores``; the absolute value is taken for each sample. It says
    what a small change of the head would do, which need not be what its removal does: see `head_ablation`.
    Class-specific: ``L`` is the target, or a loss. Masked cells and padding have a score of 0 and add nothing. NaN
    propagates.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, or raw texts or images for a task.
        target: What is differentiated. None: the output if there is only one, else the class that the model predicts
            for each sample. A whole number, or the name of a class: that class. `PerSample`, `AtStep`, a dict of an
            output's name to any of these, or a function from outputs to one number per sample, in `keras.ops`.
        classes: What the classes are called, in their order; or the numbers, of a model that was fitted to numbers; of
            several outputs, a dict by the output's name. None for the ``class_names`` of the data or of the model, if
            they have any.
        class_names: The earlier name of `classes`.
        loss: Instead of a target: from outputs and labels to one number per sample, in `keras.ops`; the paper's choice.
        labels: For `loss`, one row per sample.
        normalise: Whether to divide each site by the Euclidean norm over its heads, as the paper does.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention.
        batch_size: Samples at a time.

    Returns:
        dims ``(site, head)``, float64, at least 0, in units of the target or loss; NaN where a site has fewer heads.
        Costs one gradient pass per sample, and one forward pass to read the target.

    Raises:
        MethodError: There is a `loss` without `labels`, or the other way round; or more than one target.
        TargetError: The target does not fit the model's outputs.
        NoAttentionError: The model computes no attention.

    Source:
        Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 4.1, equation 2.

    Example:
        >>> x = keras.Input((5, 8))
        >>> y = keras.layers.MultiHeadAttention(2, 4, name="mha")(x, x)
        >>> model = keras.Model(x, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(y)))
        >>> dict(head_importance(model, np.ones((4, 5, 8), "float32"), target=1).sizes)
        {'site': 1, 'head': 2}
    """
    network = Network(model, inputs, batch_size=batch_size)
    wanted = _target(target, given_classes(classes, class_names), loss, labels, network)
    differentiable = _outside_of_loops(discover(network, sites).chosen)
    total = {site.name: np.zeros(heads_of(site)) for site in differentiable}
    differentiator = Differentiator(network.model, wanted.read, sites=differentiable)
    for part in differentiator.run(network, extras=wanted.rows):
        for site in differentiable:
            product = part.values[site.name].astype(np.float64) * part.gradients[site.name]
            total[site.name] += np.abs(_over_cells(product[: part.batch.size], site)).sum(0)
    samples = network.passes.gradient
    rows = [total[name] / samples for name in total]
    if normalise:
        rows = [row / (np.linalg.norm(row) or 1.0) for row in rows]
    return of_heads(
        differentiable,
        rows,
        method="gradient of a head mask",
        target=wanted.words,
        class_specific=True,
        passes=network.passes.forward,
        gradient_passes=network.passes.gradient,
    )


def head_ablation(
    model: keras.Model, inputs: Inputs, metric: Metric, *, sites: Selection = None, batch_size: int = 32
) -> xr.DataArray:
    """How much a metric drops when one head is removed: the metric of the whole model minus that without the head.

    A removed head attends to nothing, so it adds only what its biases add (see `ablate`). The model is compiled once,
    whatever the number of heads. Whether this is class-specific depends on the metric.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, or raw texts or images for a task.
        metric: From the outputs on all samples, as arrays, to one number; higher is better.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention.
        batch_size: Samples at a time.

    Returns:
        dims ``(site, head)``, float64, in units of the metric: above 0 where the head helps; NaN where a site has fewer
        heads. The attr ``metric`` is that of the whole model; ``passes`` is the number of samples times one more than
        the number of heads.

    Raises:
        NoAttentionError: The model computes no attention.
        MethodError: The metric does not give a number.

    Source:
        Michel et al. 2019, "Are Sixteen Heads Really Better than One?", section 3.2.
    """
    masked = MaskedHeads(model, inputs, metric, sites=sites, batch_size=batch_size)
    whole = masked(())
    rows = [np.array([whole - masked([(site.name, head)]) for head in range(heads_of(site))]) for site in masked.sites]
    return of_heads(masked.sites, rows, method="leave one head out", metric=whole, passes=masked.passes)


class MaskedHeads:
    """A metric of a model with any of its heads removed. The heads are an input, so the model is compiled once.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them, or raw texts or images for a task.
        metric: From the outputs on all samples, as arrays, to one number; higher is better.
        sites: Which sites: a glob pattern, several, or a predicate; None for all that are attention.
        batch_size: Samples at a time.

    Attributes:
        sites: The sites.
    """

    def __init__(
        self, model: keras.Model, inputs: Inputs, metric: Metric, *, sites: Selection = None, batch_size: int = 32
    ) -> None:
        self._network = Network(model, inputs, batch_size=batch_size)
        self._edited = Edited(self._network, sites, _masked)
        self.sites = self._edited.sites
        self._metric = metric
        self._samples = len(tree.flatten(self._network.arrays())[0])
        self._known: dict[frozenset[Head], float] = {}

    @property
    def passes(self) -> int:
        """Samples that went through the model so far."""
        return self._network.passes.forward

    @property
    def heads(self) -> list[Head]:
        """All heads, in the order of execution."""
        return [(site.name, head) for site in self.sites for head in range(heads_of(site))]

    def __call__(self, removed: Iterable[Head]) -> float:
        """The metric without these heads; the same set of heads is run only once.

        Raises:
            MethodError: There is no such head, or the metric does not give a number.
        """
        heads = frozenset(removed)
        unknown = heads - set(self.heads)
        if unknown:
            numbers = {site.name: heads_of(site) for site in self.sites}
            raise MethodError(
                f"The heads {sorted(unknown)} are to be removed, but the numbers of heads are {numbers}. Give pairs of "
                "a site's name and a head's number, from 0."
            )
        if heads not in self._known:
            self._known[heads] = self._measured(heads)
        return self._known[heads]

    def _measured(self, removed: frozenset[Head]) -> float:
        factors = {site.name: np.ones((self._samples, heads_of(site)), "float32") for site in self.sites}
        for name, head in removed:
            factors[name][:, head] = 0.0
        number = self._metric(self._edited.outputs(factors))
        if np.ndim(number) != 0 or not np.isreal(number):
            raise MethodError(
                f"The metric gave {number!r}, but one number for all samples is needed: "
                "lambda outputs: float((outputs.argmax(1) == labels).mean())."
            )
        return float(number)


def _masked(scores: Tensor, call: Call, factors: Mapping[str, Tensor]) -> Tensor:
    """The scores times a factor for each sample and head."""
    factor = factors[call.name]
    dims = call.layout.dims
    shape = [1] * len(dims)
    shape[0] = scores.shape[0]
    if HEAD in dims:
        shape[dims.index(HEAD)] = factor.shape[1]
    return ops.multiply(scores, ops.cast(ops.reshape(factor, shape), scores.dtype))


def heads_of(site: Site) -> int:
    """How many heads a site has; 1 if it has no head axis."""
    return site.shape[site.dims.index(HEAD)] if HEAD in site.dims else 1


def of_heads(sites: SiteTable, rows: Sequence[np.ndarray], **attrs: object) -> xr.DataArray:
    """Numbers of heads as a labelled array, dims ``(site, head)``, NaN where a site has fewer heads."""
    whole = np.full((len(rows), max(map(len, rows))), np.nan)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = row
    coords = {"site": sites.names, HEAD: np.arange(whole.shape[1])}
    return xr.DataArray(whole, dims=("site", HEAD), coords=coords, name="importance", attrs=attrs)


def _outside_of_loops(sites: SiteTable) -> SiteTable:
    inside = [site.name for site in sites if site.loop is not None]
    if inside:
        raise MethodError(
            f"The attention {inside[0]!r} is inside a loop, where it cannot be differentiated. No gradient is needed "
            "by head_ablation(model, inputs, metric)."
        )
    return sites


def _target(
    target: TargetLike, classes: ClassNames, loss: Loss | None, labels: ArrayLike | None, network: Network
) -> Target:
    """What is differentiated: the target, or the loss with its labels."""
    if (loss is None) != (labels is None) or (loss is not None and target is not None):
        raise MethodError(
            "A loss needs labels, labels need a loss, and neither can be combined with a target: "
            "loss=lambda outputs, labels: keras.losses.sparse_categorical_crossentropy(labels, outputs), labels=y."
        )
    if loss is not None:
        return Target("the loss", lambda tensors, rows: loss(tensors, rows[LABELS]), {LABELS: np.asarray(labels)})
    outputs = network.outputs()
    targets = targets_of(target, outputs, network.output_names(outputs), classes, default=network.class_names)
    if len(targets) != 1:
        raise MethodError(
            f"There are {len(targets)} targets, but the importance of heads is measured for one at a time: target=1."
        )
    return targets[0]


def _over_cells(product: np.ndarray, site: Site) -> np.ndarray:
    """The sum over all axes but samples and heads, dims ``(sample, head)``."""
    if HEAD not in site.dims:
        return np.asarray(product.reshape(len(product), -1).sum(1, keepdims=True))
    moved = np.moveaxis(product, site.dims.index(HEAD), 1)
    return np.asarray(moved.reshape(*moved.shape[:2], -1).sum(2))
