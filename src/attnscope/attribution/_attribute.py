"""`attribute`: how much each position of the input counts for what a model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import xarray as xr

from attnscope.attribution._integrated import completeness
from attnscope.attribution._methods import IN_UNITS_OF_TARGET, Method, method_of
from attnscope.attribution._subject import InputLabels, Subject, subjects_of
from attnscope.attribution._targets import ClassNames, TargetLike
from attnscope.attribution._trimming import trimming_of
from attnscope.discovery import Selection
from attnscope.tensors import Inputs


def attribute(
    model: keras.Model,
    inputs: Inputs,
    *,
    target: TargetLike = None,
    classes: ClassNames = None,
    class_names: ClassNames = None,
    method: str = "chefer",
    positions: str | None = None,
    grid: tuple[int, int] | None = None,
    padding: float | None = None,
    labels: InputLabels | None = None,
    sites: Selection = None,
    batch_size: int = 64,
    **options: Any,
) -> xr.DataArray:
    """How much each position of the input counts for what the model says, by one method.

    A method shows *a* relevance; whether it is faithful to the model is another question. `class_specific` is the first
    part of the answer: a class-agnostic method does not read the target at all.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: Arrays or a structure of them; a data frame, whose columns become labels and whose index becomes the
            ids; raw texts or images for a task; texts for a model with `TextVectorization` or `StringLookup` inside; or
            anything that yields batches, such as a `tf.data.Dataset`. All samples are held in memory.
        target: What is explained. None: the output if there is only one, else the class that the model predicts for
            each sample. A whole number, or the name of a class: that class. A list of these: each of them. `PerSample`,
            `AtStep`, a dict of an output's name to any of these, or a function from outputs to one number per sample,
            in `keras.ops`.
        classes: What the classes are called, in their order; or the numbers, of a model that was fitted to numbers; of
            several outputs, a dict by the output's name. None for the ``class_names`` of the data or of the model, if
            they have any.
        class_names: The earlier name of `classes`.
        method: A name out of `METHODS`. For several methods, call this in a loop.
        positions: The name of the input that is explained, where there are several.
        grid: Rows and columns of patches, for pictures.
        padding: The number that is padding, beside what the model itself masks: a token, or what all features of a
            step hold; None for no other.
        labels: Names of the positions, one list for all samples, or one per sample (of documents one per sentence); or
            these by the name of the input that they are for: ``labels={"text": names}``.
        sites: Which attention the methods that use it read: a glob pattern of sites, several, or a predicate; None for
            all sites that are attention.
        batch_size: Samples at a time; fewer where scores would take too much memory.
        **options: Options of the method.

    Returns:
        dims ``(sample, key)``, or ``(sample, key_0, key_1)`` of sentences and words, float64, 0 at padding, with
        ``key_valid`` and, where names are known, ``key_label`` and ``sample_id``; ``sample_target`` where
        what is explained differs between the samples; ``target`` in front where there are several. Of methods that add
        up (`integrated_gradients`, `shapley`) also ``answer``, the target's number, and ``base``, the same of the input
        that represents "nothing": the sum over the positions is ``answer - base``. Both are in float64; the attr
        ``dtype`` is the type that the model gave them in. Unit and range are the method's;
        ``units`` is in the attrs where the model's last layer or its loss says it. The other attrs are ``method``,
        ``target``, ``class_specific``, ``positions`` (where they come from: ``axis 1 of input 'text'``), ``grid`` (rows
        and columns of patches), ``note`` where it is not certain what the positions are, the cost of the whole call in
        samples (``passes`` forwards, ``gradient_passes`` forwards and backwards), and what the method adds.

    Raises:
        MethodError: There is no such method or option, or the method needs something that the model lacks.
        NoAttentionError: The method needs attention, and the model has none.
        TargetError: The target does not fit the model's outputs.
        InputError: The positions cannot be identified.
        LabelError: The labels do not fit the positions.

    Example:
        >>> import numpy as np
        >>> inputs = keras.Input((5, 8))
        >>> attended = keras.layers.MultiHeadAttention(2, 4)(inputs, inputs)
        >>> outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(attended))
        >>> relevance = attribute(keras.Model(inputs, outputs), np.ones((2, 5, 8), "float32"), target=1)
        >>> dict(relevance.sizes), relevance.attrs["target"], relevance.attrs["class_specific"]
        ({'sample': 2, 'key': 5}, 'class 1', True)
    """
    method_of(method, options)
    subjects = subjects_of(
        model,
        inputs,
        target=target,
        classes=classes,
        class_names=class_names,
        positions=positions,
        grid=grid,
        padding=padding,
        labels=labels,
        sites=sites,
        batch_size=batch_size,
    )
    arrays = [relevance_of(subject, method, **options) for subject in subjects]
    return (arrays[0] if len(arrays) == 1 else _stacked(arrays)).assign_attrs(passes=subjects[0].network.passes.forward)


def relevance_of(subject: Subject, method: str, **options: Any) -> xr.DataArray:
    """The relevance of a subject's positions by one method.

    Args:
        subject: The model, its samples and the target.
        method: A name out of `METHODS`.
        **options: Options of the method.

    Returns:
        dims ``(sample, key)``, float64, 0 at padding. Unit and range are the method's. The attrs are ``method``,
        ``target``, ``class_specific``, ``passes`` and ``gradient_passes`` (the cost of this method alone, in samples),
        and what the method adds.

    Raises:
        MethodError: There is no such method or option, or the method needs something that the model lacks.
        NoAttentionError: The method needs attention, and the model has none.
    """
    chosen = method_of(method, options)
    passes = subject.network.passes
    forward_before, gradient_before = passes.forward, passes.gradient
    relevance = _computed(subject, method, chosen, options)
    cost = {"passes": passes.forward - forward_before, "gradient_passes": passes.gradient - gradient_before}
    units = {"units": subject.target.units} if subject.target.units and method in IN_UNITS_OF_TARGET else {}
    if not chosen.class_specific:
        relevance = relevance.drop_vars("sample_target", errors="ignore")
    dtype = {"dtype": subject.dtype} if "answer" in relevance.coords else {}
    attrs = {"class_specific": chosen.class_specific, **units, **dtype, **relevance.attrs, "method": method, **cost}
    return relevance.assign_attrs({**attrs, **completeness(relevance)})


def _computed(subject: Subject, name: str, method: Method, options: Mapping[str, Any]) -> xr.DataArray:
    """What a method computes, for samples of about one length at a time where each is by itself."""

    def labelled(part: Subject) -> xr.DataArray:
        computed = method.compute(part, **options)
        return computed if isinstance(computed, xr.DataArray) else part.relevance(computed, name)

    if method.alone is None or not method.alone.issuperset(options):
        return labelled(subject)
    return trimming_of(subject).relevance(
        subject,
        labelled,
        key=name,
        passes=method.passes,
        by_target=method.class_specific and method.passes == 1,
    )


def _stacked(arrays: list[xr.DataArray]) -> xr.DataArray:
    names = xr.DataArray([array.attrs["target"] for array in arrays], dims="target", name="target")
    stacked = xr.concat(arrays, dim=names, coords="different", compat="equals", combine_attrs="drop_conflicts")
    together = {"gradient_passes": sum(array.attrs["gradient_passes"] for array in arrays)}
    if "completeness_gap" in arrays[0].attrs:
        together["completeness_gap"] = max(array.attrs["completeness_gap"] for array in arrays)
    return stacked.assign_attrs(target="several", **together)
