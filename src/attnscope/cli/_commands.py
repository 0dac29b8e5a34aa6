"""What the commands do, as functions on files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attnscope.cli._wording import in_options
from attnscope.engines import LOCAL, check_engine
from attnscope.errors import CARDS, EXPLANATIONS, RELEVANCE, InputError, WouldOverwriteError, check_place, check_suffix
from attnscope.files import read_inputs, read_model, read_names

if TYPE_CHECKING:
    import keras
    import xarray as xr

    from attnscope.capturing import Summary
    from attnscope.explaining import Explanation
    from attnscope.maps import AttentionMaps
    from attnscope.named_arrays import Arrays, NamedArrays
    from attnscope.schema import SiteTable
    from attnscope.tables import Table
    from attnscope.trust import EvidenceCard

    Samples: TypeAlias = str | Path | Table | NamedArrays | Arrays
    """A file of samples, or what `read_inputs` made of one."""

SUMMARIES = ("full", "received", "entropy", "topk", "thumbnail", "rows", "distance", "headmean")
"""Names of summaries; ``topk:8``, ``thumbnail:64`` and ``rows:0`` (or ``rows:0:-1``) have numbers."""
_NUMBERS = {
    "topk": (1, 1, "one whole number of keys, at least 1", "topk:8"),
    "thumbnail": (1, 1, "one whole number of bins, at least 1", "thumbnail:64"),
    "rows": (99, -(10**9), "whole numbers, the positions of queries", "rows:0:-1"),
}
"""How many numbers a summary takes and how small they may be, in words, and an example; the others take none."""
CODES = ("float16", "uint8", "exact")
"""How scores are stored, as `attnscope.stores.CODES` has it, which takes longer to import."""


def _nothing(line: str) -> None:
    """Says nothing."""


def inspect(model: str | Path, inputs: Samples | None = None, *, backend: str | None = None) -> SiteTable:
    """The sites of a model in a file: reads the files, then calls `attnscope.sites`.

    Args:
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it, or what that gave; None for the shapes that the model
            declares.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
    """
    samples = None if inputs is None else _read(inputs)
    network = read_model(model, backend=backend)
    from attnscope.discovery import sites

    return sites(network, samples)


def summary_names(given: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Names of summaries with their numbers, from words such as ``entropy,topk:8``.

    Raises:
        InputError: There is no such summary, or it takes no such numbers.
    """
    words = [word for text in given for word in text.split(",") if word]
    if not words:
        raise InputError(f"The summaries are {' '.join(given)!r}, but at least one is needed: --summaries entropy.")
    return [_summary_name(word) for word in words]


def _summary_name(word: str) -> tuple[str, list[int]]:
    """The name of a summary and its numbers."""
    name, *numbers = word.split(":")
    if name not in SUMMARIES:
        raise InputError(
            f"The summary is {word!r}, but it must be one of {', '.join(SUMMARIES)}, some with numbers: topk:8, "
            "thumbnail:64, rows:0. Choose some: --summaries entropy,received,topk:8."
        )
    most, least, kind, example = _NUMBERS.get(name, (0, 0, "no number", name))
    fit = all(re.fullmatch(r"-?\d{1,9}", number) and int(number) >= least for number in numbers)
    if len(numbers) > most or not fit:
        raise InputError(f"The summary is {word!r}, but {name} takes {kind}: --summaries {example}.")
    return name, [int(number) for number in numbers]


def _summaries(given: Sequence[str]) -> list[Summary]:
    from attnscope import capturing

    kinds: dict[str, Callable[..., Summary]] = {
        "full": capturing.Full,
        "received": capturing.Received,
        "entropy": capturing.Entropy,
        "topk": capturing.TopK,
        "thumbnail": capturing.Thumbnail,
        "rows": lambda *queries: capturing.Rows(queries or (0,)),
        "distance": capturing.Distance,
        "headmean": capturing.HeadMean,
    }
    return [kinds[name](*numbers) for name, numbers in summary_names(given)]


def capture_to(
    output: str | Path,
    model: str | Path,
    inputs: Samples,
    *,
    sites: Sequence[str] | None = None,
    summaries: Sequence[str] = ("full",),
    labels: str | None = None,
    batch_size: int = 32,
    backend: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    codes: str = "float16",
    commit_every: float = 10.0,
    engine: str = LOCAL,
    workers: int | None = None,
    say: Callable[[str], None] = _nothing,
) -> AttentionMaps:
    """Captures from files into a store: reads the files, then calls `attnscope.capture`.

    The run is written directly to `output`, so that it can be resumed. An earlier store there is replaced only when the
    new one is complete.

    Args:
        output: Where the Zarr store goes.
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it, or what that gave.
        sites: Glob patterns of site names; None for all attention sites.
        summaries: Any of ``full``, ``received``, ``entropy``, ``topk``, ``thumbnail``, ``rows``, ``distance``
            and ``headmean``, also several as ``entropy,received``; with numbers: ``topk:8``,
            ``thumbnail:64``, ``rows:0:-1``.
        labels: ``a,b,c`` or the path of a text file with one name per line.
        batch_size: Samples per batch.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
        overwrite: Whether an existing attnscope store at `output` may be replaced.
        resume: Whether to resume an interrupted run at `output`, as `attnscope.capture` does.
        codes: How scores are stored: ``float16``, ``uint8`` or ``exact``.
        commit_every: Seconds after which what was captured is written to the disk for good.
        engine: Who computes: ``local``, ``processes`` or ``ray``.
        workers: How many workers; None for as many as there are cores.
        say: Is told what a reader should know about the inputs.

    Returns:
        The maps, opened from `output`.
    """
    output = Path(output)
    summary_names(summaries)
    check_engine(engine, workers)
    check_free(output, overwrite or resume, is_run=True)
    samples = _read(inputs)
    names = None if labels is None else read_names(labels)
    network = read_model(model, backend=backend)
    from attnscope.capturing import capture
    from attnscope.maps import open_maps
    from attnscope.stores import holds_nothing, new_store

    given, note = _arranged(samples, network)
    capture_samples = partial(
        capture,
        network if engine == LOCAL else model,
        given,
        sites=sites,
        summaries=_summaries(summaries),
        labels=names,
        batch_size=batch_size,
        codes=codes,
        commit_every=commit_every,
        engine=engine,
        workers=workers,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.exists() and not resume and not holds_nothing(output):
        with new_store(output) as folder:
            capture_samples(store=folder, resume=True)
    else:
        capture_samples(store=output, resume=resume)
    _say(note, say)
    return open_maps(output)


def attribute_to(
    output: str | Path,
    model: str | Path,
    inputs: Samples,
    *,
    classes: str | None = None,
    labels: str | None = None,
    samples: str | None = None,
    backend: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = _nothing,
    **options: Any,
) -> xr.DataArray:
    """Writes how much each position counts: reads the files, then calls `attnscope.attribute`.

    Args:
        output: Where the relevance goes, as ``.csv``, ``.json`` or ``.zarr``; see `attnscope.attribution.save`.
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it, or what that gave.
        classes: What the classes are called: ``a,b,c`` or the path of a text file with one name per line.
        labels: Names of the positions, likewise.
        samples: Which samples are written: ids or numbers, ``P-017,P-020``, or numbers from and up to, ``0:20``; None
            for all. All are read, since what stands for a removed position comes from all of them.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
        overwrite: Whether existing relevance at `output` may be replaced.
        say: Is told what a reader should know about the inputs.
        **options: Further arguments of `attnscope.attribute`: ``target``, ``method``, ``grid``...

    Returns:
        The relevance, with the ids of the samples, and what is right for them as the coordinate ``truth``.
    """
    output = Path(output)
    check_free(output, overwrite, suffixes=RELEVANCE)
    given = _read(inputs)
    class_names = None if classes is None else read_names(classes, option="--classes")
    names = None if labels is None else read_names(labels)
    from attnscope.backends import choose_backend

    choose_backend(backend)
    from attnscope.attribution import attribute, save
    from attnscope.schema import SAMPLE

    network = read_model(model, backend=backend)
    given, note = _arranged(given, network)
    numbers = None if samples is None else _chosen(given, samples)
    relevance = attribute(network, given, classes=class_names, labels=names, **options)
    truth = getattr(given, "truth", None)
    if truth is not None:
        relevance = relevance.assign_coords(truth=(SAMPLE, truth))
    if numbers is not None:  # not before: what stands for a removed position comes from all samples
        relevance = relevance.isel({SAMPLE: numbers})
    output.parent.mkdir(parents=True, exist_ok=True)
    save(relevance, output, overwrite=overwrite)
    _say(note, say)
    return relevance


def evidence_to(
    output: str | Path,
    model: str | Path,
    inputs: Samples,
    *,
    classes: str | None = None,
    labels: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    backend: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = _nothing,
    **options: Any,
) -> EvidenceCard:
    """Writes an evidence card: reads the files, then calls `attnscope.evidence`.

    Args:
        output: Where the card goes: a page, ``.html``, or ``.json``.
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it, or what that gave.
        classes: What the classes are called: ``a,b,c`` or the path of a text file with one name per line.
        labels: Names of the positions, likewise.
        samples: How many samples are tested, drawn at random; None for all.
        seed: Seed of everything that is drawn.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
        overwrite: Whether an existing file at `output` may be replaced.
        say: Is told what a reader should know about the inputs.
        **options: Further arguments of `attnscope.evidence`: ``target``, ``methods``, ``budget``...

    Returns:
        The card.
    """
    output = Path(output)
    check_free(output, overwrite, suffixes=CARDS)
    given = _read(inputs)
    class_names = None if classes is None else read_names(classes, option="--classes")
    names = None if labels is None else read_names(labels)
    network = read_model(model, backend=backend)
    from attnscope.trust import evidence

    given, note = _arranged(given, network)
    if samples is not None:
        given, drawn = _drawn(given, samples, seed)
        note = " ".join(filter(None, (note, drawn)))
    card = evidence(network, given, classes=class_names, labels=names, seed=seed, **options)
    known = {"classes", "labels", "samples", "seed", *options}
    card = replace(card, notes=tuple(in_options(note, known) for note in card.notes))
    output.parent.mkdir(parents=True, exist_ok=True)
    card.save(output, overwrite=overwrite)
    _say(note, say)
    return card


def explain_to(
    output: str | Path,
    model: str | Path,
    inputs: Samples,
    *,
    classes: str | None = None,
    labels: str | None = None,
    samples: str | None = None,
    test: bool = True,
    backend: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = _nothing,
    **options: Any,
) -> Explanation:
    """Writes what a model's answers for some samples depend on: reads the files, then calls `attnscope.explain`.

    Args:
        output: Where the explanation goes: a page, ``.html``; ``.json`` or ``.csv``; or pictures, ``.pdf``, ``.png`` or
            ``.svg``.
        model: A ``.keras`` or ``.h5`` file.
        inputs: A file of samples, as `read_inputs` takes it, or what that gave. The methods are tested on all of them.
        classes: What the classes are called: ``a,b,c`` or the path of a text file with one name per line.
        labels: Names of the positions, likewise.
        samples: Which are explained: ids or numbers, ``P-017,P-020``, or numbers from and up to, ``0:5``; or
            ``random``, ``most certain`` or ``most wrong``; None for the first five.
        test: Whether the methods are tested on this model first.
        backend: The Keras backend to run on; None for the one that is configured, or else the first that is installed.
        overwrite: Whether an existing file at `output` may be replaced.
        say: Is told what a reader should know about the inputs.
        **options: Further arguments of `attnscope.explain`: ``target``, ``method``, ``budget``...

    Returns:
        The explanation.
    """
    output = Path(output)
    check_free(output, overwrite, suffixes=EXPLANATIONS)
    given = _read(inputs)
    class_names = None if classes is None else read_names(classes, option="--classes")
    names = None if labels is None else read_names(labels)
    network = read_model(model, backend=backend)
    from attnscope.explaining import explain, is_choice

    given, note = _arranged(given, network)
    chosen: Any = samples if samples is None or is_choice(samples) else _chosen(given, samples)
    explanation = explain(
        network,
        given,
        classes=class_names,
        labels=names,
        samples=chosen,
        truth=getattr(given, "truth", None),
        card=None if test else False,
        **options,
    )
    known = {"classes", "labels", "samples", "truth", "untested", *options}
    explanation = replace(explanation, notes=tuple(in_options(note, known) for note in explanation.notes))
    output.parent.mkdir(parents=True, exist_ok=True)
    explanation.save(output, overwrite=overwrite)
    _say("" if note in explanation.notes else note, say)
    return explanation


def _read(inputs: Samples) -> Any:
    return read_inputs(inputs) if isinstance(inputs, (str, Path)) else inputs


def _say(note: str, say: Callable[[str], None]) -> None:
    if note:
        say(note)


def _arranged(samples: Any, model: keras.Model) -> tuple[Any, str]:
    """Samples as the model takes them, and what a reader should know of how a table was put in order."""
    from attnscope.running import arranged
    from attnscope.tables import Table

    if not isinstance(samples, Table):
        return samples, ""
    ready = arranged(samples, model)
    return ready.table, ready.note


def _rows(samples: Any, numbers: Sequence[int]) -> Any:
    if isinstance(samples, dict):
        return {name: array[list(numbers)] for name, array in samples.items()}
    return samples.rows(numbers) if hasattr(samples, "rows") else samples[list(numbers)]


def _count(samples: Any) -> int:
    if isinstance(samples, dict):
        return len(next(iter(samples.values())))
    count: int = samples.samples if hasattr(samples, "samples") else len(samples)
    return count


def _chosen(samples: Any, wanted: str) -> list[int]:
    """Numbers of samples: ``P-017,P-020`` by their ids, where they have any, else by number; ``0:20`` by number."""
    ids = getattr(samples, "ids", None)
    count = _count(samples)
    if is_range(wanted) and (ids is None or wanted not in {str(one) for one in ids}):
        numbers = list(range(count))[as_slice(wanted)]
        if not numbers:
            raise InputError(
                f"The samples {wanted} were requested, but there are {count}, numbered from 0: --samples 0:{count}"
            )
        return numbers
    names = [name.strip() for name in wanted.split(",")]
    if ids is not None:
        found: list[int] = samples.numbers_of_ids(names)
        return found
    wrong = [name for name in names if not (name.isascii() and name.isdecimal() and int(name) < count)]
    if wrong:
        raise InputError(
            f"The sample {wrong[0]!r} was requested, but the {count} samples have no ids, so each is a number from 0 "
            f"to {count - 1}: --samples 0. A column of a table or an array of an .npz file may name them: --id-column "
            "NAME."
        )
    return [int(name) for name in names]


def _drawn(samples: Any, wanted: int, seed: int) -> tuple[Any, str]:
    """As many samples, drawn at random in their order, and a sentence that says so."""
    import numpy as np

    count = _count(samples)
    if wanted < 1:
        raise InputError(f"{wanted} samples were requested, but at least one is needed: --samples 100")
    if wanted >= count:
        return samples, ""
    numbers = np.sort(np.random.default_rng(seed).permutation(count)[:wanted])
    return _rows(samples, numbers.tolist()), f"{wanted} of {count} samples were drawn at random, with the seed {seed}."


def is_range(text: str) -> bool:
    """Whether a text is ``A:B``, where A or B may be left out."""
    ends = text.split(":")
    return len(ends) == 2 and all(end == "" or (end.isascii() and end.isdecimal()) for end in ends)


def as_slice(text: str) -> slice:
    """The slice that ``A:B`` means; without A it starts at the first sample, without B it ends at the last."""
    if not is_range(text):
        raise InputError(f"The samples are given as {text!r}, but a start and an end are needed: --samples 0:100")
    return slice(*(int(end) if end else None for end in text.split(":")))


def check_free(path: Path, overwrite: bool, *, is_run: bool = False, suffixes: tuple[str, ...] = ()) -> None:
    """Raises an error if the name ends in none of `suffixes` or something would be lost, before any work is done."""
    from attnscope.stores import holds_maps, holds_nothing

    check_suffix(path, suffixes)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise InputError(f"Nothing can be written in {str(folder)!r}. Give another path with -o.")
    check_place(path, makes_folders=True)
    if not path.exists() or (is_run and holds_nothing(path)):
        return
    if not overwrite:
        if is_run and interrupted_samples(path) is not None:
            raise WouldOverwriteError(
                f"{str(path)!r} holds an interrupted run and is not overwritten. Resume it: --resume; or replace it: "
                "--force"
            )
        raise WouldOverwriteError(
            f"{str(path)!r} already exists and is not overwritten. Give another path with -o, or replace it: --force"
        )
    if is_run and not holds_maps(path):
        raise WouldOverwriteError(
            f"{str(path)!r} already exists and is not an attnscope run, so even --force does not replace it. Give "
            "another path with -o."
        )


def interrupted_samples(path: str | Path) -> int | None:
    """How many samples of an interrupted run are in a store; None if it holds no such run."""
    from attnscope.errors import AttnscopeError
    from attnscope.stores import MANIFEST, read_manifest

    if not (Path(path) / MANIFEST).exists():
        return None
    try:
        manifest = read_manifest(path)
    except AttnscopeError:
        return None
    return None if manifest.complete else manifest.samples or 0
