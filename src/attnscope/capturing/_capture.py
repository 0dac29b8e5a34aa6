"""`capture`: a model's attention on some data, exact, for every sample, with every axis named."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import tree

from attnscope.capturing._destinations import Description, InMemory, named_outputs
from attnscope.capturing._memory import check_that_it_fits
from attnscope.capturing._observer import Observer
from attnscope.capturing._store import OnDisk
from attnscope.capturing._summaries import Full, Summary
from attnscope.discovery import Selection, discover
from attnscope.errors import InputError
from attnscope.interception import declarations
from attnscope.labels import check_that_labels_fit, read_labels
from attnscope.maps import AttentionMaps
from attnscope.running import Network, Runner, reused
from attnscope.schema import Site, key_dims, query_dims
from attnscope.tensors import Inputs


def capture(
    model: keras.Model,
    inputs: Inputs,
    *,
    sites: Selection = None,
    summaries: Sequence[Summary] = (),
    labels: Any = None,
    batch_size: int = 32,
    store: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> AttentionMaps:
    """The attention of a model on some inputs: every sample, every attention site, exact.

    The model is run in inference mode by a compiled function of our own; it is not changed, and its own compiled
    functions are neither used nor lost. Scores are those after the softmax and before dropout.

    Args:
        model: Any built Keras 3 model, or a KerasHub task (which then also takes raw text or images, and whose
            tokens label the axes).
        inputs: Arrays, dicts or lists of arrays, strings, a `tf.data.Dataset`, `keras.utils.PyDataset`, PyTorch
            `DataLoader` or any iterable of batches.
        sites: A glob pattern of site names, several, or a predicate on `Site`; None for all that are attention. A
            pattern also takes what is left out by default (`ats.sites` says why).
        summaries: What to keep: `Full`, `Received`, `Entropy`; the first is what ``maps[site]`` gives. Default:
            `Full` alone.
        labels: Names of positions: a list shared by all samples, a list per sample, or a dict by axis (``query``,
            ``key``) or by pattern of sites.
        batch_size: Samples at a time, where the inputs are arrays. A short last batch needs no new trace.
        store: A path: the result is written there batch by batch as Zarr, and opened; it need not fit in memory.
        resume: Whether to go on where a run into the same `store` broke off; a batch that is there is not run again.
            Model, weights, inputs, labels and options have to be those of that run, which is checked. Where there is no
            store, one is begun.
        progress: Whether to show a bar on long work, on a terminal.

    Returns:
        The maps, with validity (``query_valid``, ``key_valid``: False on padding), the model's outputs for the
        same samples, and the lint (`AttentionMaps.findings`).

    Raises:
        UnsupportedError: `model` is no Keras 3 model.
        UnbuiltModelError: It has no weights yet.
        NoAttentionError: It computes no attention.
        PatternError: A pattern matches no site.
        InputError: There is no sample, or `store` holds another run.
        LabelError: The number of labels is not the number of positions.
        TooLargeError: The result would not fit in memory; found before the run.
        WouldOverwriteError: `store` exists, and `resume` is False.

    Example:
        >>> import numpy as np
        >>> inputs = keras.Input((5, 8))
        >>> outputs = keras.layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs)
        >>> maps = capture(keras.Model(inputs, outputs), np.ones((3, 5, 8), "float32"), labels=list("abcde"))
        >>> dict(maps["mha"].sel(head=1).isel(sample=0).sizes)
        {'query': 5, 'key': 5}
        >>> maps["mha"].key_label.values.tolist()
        ['a', 'b', 'c', 'd', 'e']
    """
    kept = _checked_summaries(summaries)
    network = Network(model, inputs, batch_size=batch_size)
    given = read_labels(labels)
    ready = reused(network.model, _wishes(network, sites, kept), lambda: _Ready(network, sites, kept))
    if resume and store is None:
        raise InputError(
            "resume=True was given without a store to go on with: capture(..., store='run.zarr', resume=True)."
        )
    if store is None:
        check_that_it_fits(ready.chosen, kept, network)
    check_that_labels_fit({site.name: _axis_sizes(site) for site in ready.chosen}, given, network.samples)
    description = Description(
        network.model, ready.chosen, kept, given or network.labels, network.texts, ready.removed_masks
    )
    destination = InMemory(description, network.samples) if store is None else OnDisk(description, store, resume=resume)
    for outputs, collected, batch in ready.runner.run(network, progress=progress, skips=destination.skips):
        destination.add(ready.observer.arrays(collected, batch.size), named_outputs(network.model, outputs, batch))
    return destination.maps()


def _checked_summaries(summaries: Summary | Sequence[Summary]) -> list[Summary]:
    several = [*summaries] if isinstance(summaries, (list, tuple)) else [summaries]
    chosen = [summary for summary in several if isinstance(summary, Summary)]
    if len(chosen) < len(several):
        raise InputError(
            f"The summaries are {summaries!r}, but a list of instances is needed: "
            "summaries=[ats.Received(), ats.Entropy()]."
        )
    return chosen or [Full()]


class _Ready:
    """A model traced and prepared for one kind of capture."""

    def __init__(self, network: Network, sites: Selection, summaries: list[Summary]) -> None:
        discovery = discover(network, sites)
        self.chosen = discovery.chosen
        self.removed_masks = discovery.removed_masks
        self.observer = Observer(self.chosen, summaries)
        self.runner = Runner(network.model, self.observer.handlers, unroll=discovery.unroll)


def _wishes(network: Network, sites: Selection, summaries: list[Summary]) -> Hashable | None:
    """All that a capture is compiled for; None where a predicate or a summary cannot be compared."""
    if callable(sites):
        return None
    leaves = tree.flatten_with_path(network.first.inputs)
    shapes = tuple((path, array.shape, str(array.dtype)) for path, array in leaves)
    patterns = sites if sites is None or isinstance(sites, str) else tuple(sites)
    settings = tuple((type(summary), tuple(sorted(vars(summary).items()))) for summary in summaries)
    wishes = (shapes, patterns, settings, declarations())
    try:
        hash(wishes)
    except TypeError:
        return None
    return wishes


def _axis_sizes(site: Site) -> dict[str, int]:
    sizes = dict(zip(site.dims, site.shape, strict=True))
    keys = key_dims(sizes)
    return {dim: sizes[dim] - (site.sinks if dim in keys else 0) for dim in (*query_dims(sizes), *keys)}
