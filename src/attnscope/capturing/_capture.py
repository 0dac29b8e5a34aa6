"""`capture`: a model's attention on some data, exact, for every sample, with every axis named."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import keras
import numpy as np
from keras import tree

from attnscope.capturing._codes import coded
from attnscope.capturing._destinations import Description, InMemory, named_outputs
from attnscope.capturing._full import Full, dtype_of, keeps_maps
from attnscope.capturing._memory import check_that_it_fits
from attnscope.capturing._model_makers import ModelLike, model_maker
from attnscope.capturing._position_kinds import contents
from attnscope.capturing._prepared import NotAsSupposedError, Prepared, Ready
from attnscope.capturing._store import OnDisk, on_disk
from attnscope.capturing._summaries import Entropy, Received, Summary
from attnscope.capturing._workers import RunOfWorkers, Staff, captured_by
from attnscope.discovery import Selection, check_selection
from attnscope.engines import LOCAL, check_engine
from attnscope.errors import InputError
from attnscope.interception import declarations
from attnscope.labels import AxisLabels, LabelsLike, check_that_labels_fit, read_labels, settled
from attnscope.maps import AttentionMaps
from attnscope.running import Network, check_model, reused, without_texts
from attnscope.schema import Site, SiteTable, key_dims, query_dims
from attnscope.stores import check_codes
from attnscope.tensors import Inputs


def capture(
    model: ModelLike,
    inputs: Inputs,
    *,
    sites: Selection = None,
    summaries: Sequence[Summary] = (),
    labels: LabelsLike = None,
    batch_size: int = 32,
    store: str | Path | None = None,
    resume: bool = False,
    codes: str = "float16",
    commit_every: float = 10.0,
    engine: str = "local",
    workers: int | None = None,
    progress: bool = True,
) -> AttentionMaps:
    """The attention of a model on some inputs: every sample, every attention site, exact.

    The model runs in inference mode in a compiled function of attnscope's own. It is not changed, and its own compiled
    functions are neither used nor lost. Scores are taken after the softmax and before dropout.

    Args:
        model: Any built Keras 3 model, or a KerasHub task (which also takes raw text or images, and whose tokens label
            the axes). With an `engine` other than ``local`` also the path of a file, which every worker loads, or a
            function that makes the model.
        inputs: Arrays, dicts or lists of arrays, for a model with one input a list of samples of different lengths
            (each is run at its own length), a data frame (whose columns become labels, and whose index becomes the
            ids), strings, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch `DataLoader`, or any other
            iterable of batches.
        sites: A glob pattern of site names, several patterns, or a predicate on `Site`; None for all attention sites. A
            pattern also selects sites that are left out by default (`ats.sites` says why they are).
        summaries: What to keep: `Full`, `Received`, `Entropy`, `TopK`, `Thumbnail`, `Rows`, `Distance`, `HeadMean` or
            summaries of your own; ``maps[site]`` gives the first of them. Default: `Full` alone.
        labels: Names of positions: a list shared by all samples, a list per sample, or a dict by axis (``query``,
            ``key``), by the name of an input, or by pattern of sites.
        batch_size: Samples per batch, if the inputs are arrays. A short last batch needs no new trace.
        store: A path where the result is written batch by batch as Zarr, then opened; it need not fit in memory.
        resume: Whether to resume an interrupted run into the same `store` where it stopped; batches that are in the
            store are not run again. The model, its weights, the inputs, the labels and the options must be those of
            that run, which is checked. If there is no store yet, one is started.
        codes: How scores are stored in `store`: ``float16``, off by 0.00025 at most; ``uint8``, off by 0.004 at most
            in about a third of the bytes, with the exact `Received` and `Entropy` beside them; or ``exact``. Both are
            for scores from 0 to 1 (``float16`` from -1), and others are refused: of these only ``exact`` is true.
        commit_every: Seconds after which what was captured is written to the disk for good. A run that is killed, or a
            power cut, loses no more than that; an exception or Ctrl-C loses nothing.
        engine: Who computes a run into a `store`: this process (``local``), other ``processes`` on this machine, or
            actors on a ``ray`` cluster whose machines all see the path of the store. Each worker loads the model once,
            and writes whole shards; what is stored is the same to the byte on the same kind of machine. The samples of
            a worker that ends are computed again.
        workers: How many workers; None for as many as this machine has cores.
        progress: Whether to show a progress bar for long runs in a terminal.

    Returns:
        The maps, with validity (``query_valid``, ``key_valid``: False on padding), the model's outputs for the
        same samples, and the lint (`AttentionMaps.findings`).

    Raises:
        UnsupportedError: `model` is not a Keras 3 model.
        UnbuiltModelError: The model has no weights yet.
        NoAttentionError: The model computes no attention.
        PatternError: A pattern matches no site.
        InputError: There are no samples, `store` holds a different run, or `codes` cannot keep some scores with their
            stated error.
        LabelError: The number of labels is not the number of positions.
        TooLargeError: The result would not fit in memory; checked before the run.
        WouldOverwriteError: `store` exists, and `resume` is False.
        StoreInUseError: Another run writes to `store`.
        DamagedStoreError: What `store` holds of an interrupted run is damaged.
        WorkerDiedError: Several workers ended at the same samples.
        NotInstalledError: The engine is Ray, and Ray is not installed.

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
    check_engine(engine, workers)
    staff = None if engine == LOCAL else Staff(engine, workers, model_maker(_checked_model(model, engine, store)))
    return captured(
        Network(model if staff is None else staff.model_of(model), inputs, batch_size=batch_size),
        sites=sites,
        summaries=_checked_summaries(summaries),
        labels=labels,
        store=store,
        resume=resume,
        codes=codes,
        commit_every=commit_every,
        staff=staff,
        progress=progress,
    )


def captured(
    network: Network,
    *,
    sites: Selection = None,
    summaries: Sequence[Summary] = (),
    labels: LabelsLike = None,
    store: str | Path | None = None,
    resume: bool = False,
    codes: str = "float16",
    commit_every: float = 10.0,
    staff: Staff | None = None,
    progress: bool = True,
) -> AttentionMaps:
    """`capture` of a network, which counts the passes."""
    check_selection(sites)
    check_codes(codes)
    summaries, ids, given = list(summaries) or [Full()], network.ids, network.model
    if store is not None:
        _check_that_codes_say_it(summaries)
        summaries += _exact_beside(summaries) if codes == "uint8" else []
    network = without_texts(network)
    observed = summaries if store is None else coded(summaries, codes)
    prepared = reused(network.model, _wishes(network, sites, observed), Prepared)
    once = store is None and network.has_one_batch
    if resume and store is None:
        raise InputError(
            "resume=True was given, but it needs a store to resume: capture(..., store='run.zarr', resume=True)."
        )

    def result(ready: Ready, first: bool) -> AttentionMaps:
        for summary in summaries:
            for site in ready.chosen:
                summary.check(site)
        if store is None:
            check_that_it_fits(ready.chosen, summaries, network)
        description = _description(ready, network, summaries, labels, ids)
        if staff is not None and store is not None:
            run = RunOfWorkers(network, description, sites, observed, codes, is_behind_texts=network.model is not given)
            return captured_by(staff, run, store, resume=resume, interval=commit_every, progress=progress)
        with _destination(description, network, store, resume, codes, commit_every) as destination:
            for outputs, collected, batch in ready.run(
                network, first=first, progress=progress, skips=destination.skips
            ):
                description.unforeseen.update(ready.observer.unforeseen(collected))
                arrays = ready.observer.arrays(collected, batch.size)
                destination.add(arrays, named_outputs(network.model, outputs, batch))
            return destination.maps()

    ready, first = prepared.ready(network, sites, observed, once=once)
    try:
        maps = result(ready, first)
    except NotAsSupposedError:
        return result(*prepared.traced(network, sites, observed, once=once))
    prepared.keep(ready)
    return maps


def _checked_model(model: ModelLike, engine: str, store: str | Path | None) -> ModelLike:
    """A model that workers are to get, for a run into a store.

    Raises:
        InputError: There is no store.
    """
    if store is None:
        raise InputError(
            f"engine={engine!r} was given, but workers write into a store: capture(..., store='run.zarr', "
            f"engine={engine!r})."
        )
    if isinstance(model, keras.Layer):
        check_model(model)
    return model


def _description(
    ready: Ready, network: Network, summaries: Sequence[Summary], labels: LabelsLike, ids: np.ndarray | None
) -> Description:
    axis_labels = _read_labels(labels, network, ready.chosen)
    discovery = ready.discovery
    return Description(
        network.model,
        ready.chosen,
        summaries,
        axis_labels,
        network.texts,
        discovery.removed_masks,
        ready.lost,
        ready.unreached,
        contents(network, discovery.sequences, axis_labels),
        ids,
        discovery.computation,
    )


@contextmanager
def _destination(
    description: Description,
    network: Network,
    store: str | Path | None,
    resume: bool,
    codes: str,
    interval: float,
) -> Iterator[InMemory | OnDisk]:
    if store is None:
        yield InMemory(description, network.samples)
        return
    with on_disk(description, store, resume=resume, codes=codes, interval=interval) as destination:
        yield destination


def _exact_beside(summaries: Sequence[Summary]) -> list[Summary]:
    """Summaries that are kept beside codes of one byte, whose sums are not exact."""
    kinds = {type(summary) for summary in summaries}
    whole = any(keeps_maps(summary) for summary in summaries)
    return [kind() for kind in (Received, Entropy) if kind not in kinds and whole]


def _check_that_codes_say_it(summaries: Sequence[Summary]) -> None:
    """Whole maps in a store are kept as `codes` says, and nothing else says it too.

    Raises:
        InputError: A summary has a dtype of its own.
    """
    for summary in summaries:
        if keeps_maps(summary) and dtype_of(summary) is not None:
            raise InputError(
                f"{summary!r} was given with a store, where codes= says how whole maps are kept. Say it there: "
                "capture(..., summaries=[ats.Full()], store='run.zarr', codes='float16')."
            )


def _read_labels(labels: LabelsLike, network: Network, sites: SiteTable) -> list[AxisLabels]:
    """The labels that a user gives, or else those that the task knows, each with what it is for.

    Raises:
        LabelError: What the user gives fits nothing, or several axes of which it cannot be told which is meant.
    """
    if labels is None:
        return settled(network.labels, sites, given=False)
    if isinstance(labels, Mapping):
        labels = {network.input_name(str(name)): names for name, names in labels.items()}
    first = network.first.inputs
    inputs = [name for name in network.input_names(first) if not any(fnmatchcase(site.name, name) for site in sites)]
    chosen = settled(read_labels(labels, inputs), sites)
    check_that_labels_fit({site.name: _axis_sizes(site) for site in sites}, chosen, network.samples, inputs)
    return chosen


def _checked_summaries(summaries: Summary | Sequence[Summary]) -> list[Summary]:
    several = [*summaries] if isinstance(summaries, (list, tuple)) else [summaries]
    chosen = [summary for summary in several if isinstance(summary, Summary)]
    if len(chosen) < len(several):
        raise InputError(
            f"The summaries are {summaries!r}, but a list of instances is needed: "
            "summaries=[ats.Received(), ats.Entropy()]."
        )
    return chosen


def _wishes(network: Network, sites: Selection, summaries: list[Summary]) -> Hashable | None:
    """Everything that a capture is prepared for but lengths; None if a predicate or a summary cannot be compared."""
    if callable(sites):
        return None
    leaves = tree.flatten_with_path(network.first.inputs)
    inputs = tuple((path, array.ndim, array.shape[:1], str(array.dtype)) for path, array in leaves)
    patterns = sites if sites is None or isinstance(sites, str) else tuple(sites)
    settings = tuple((type(summary), tuple(sorted(vars(summary).items()))) for summary in summaries)
    wishes = (inputs, patterns, settings, declarations())
    try:
        hash(wishes)
    except TypeError:
        return None
    return wishes


def _axis_sizes(site: Site) -> dict[str, int]:
    sizes = dict(zip(site.dims, site.shape, strict=True))
    keys = key_dims(sizes)
    return {dim: sizes[dim] - (site.sinks if dim in keys else 0) for dim in (*query_dims(sizes), *keys)}
