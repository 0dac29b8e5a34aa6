"""`explain`: why does the model say that of this sample? Relevance with its verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import xarray as xr
from keras import tree
from numpy.typing import ArrayLike

from attnscope.attribution import (
    ClassNames,
    InputLabels,
    PatchPositions,
    Removal,
    RemovalScores,
    Subject,
    TargetLike,
    default_removals,
    method_of,
    relevance_of,
    subjects_of,
)
from attnscope.capturing import captured
from attnscope.discovery import Selection
from attnscope.errors import InputError, MethodError, NoAttentionError, in_a_row
from attnscope.explaining._answers import Answers
from attnscope.explaining._caveats import caveats, is_exact
from attnscope.explaining._choosing import Wanted, chosen_samples
from attnscope.explaining._explanation import Explanation
from attnscope.explaining._method_choice import MethodChoice, choices
from attnscope.findings import Finding, findings
from attnscope.frames import in_order
from attnscope.marks import shown
from attnscope.model_names import model_name
from attnscope.running import is_regression, units_of_outputs, weights_digest
from attnscope.schema import SAMPLE, SAMPLE_ID
from attnscope.tables import is_missing
from attnscope.tensors import Inputs
from attnscope.trust import EvidenceCard, evidence, rank_correlation

REMOVED = (1, 2, 3, 5, 10)
"""After how many of the top positions are removed the model is asked again."""
BUDGET = "2 min"
"""About how long the methods are tested where no card is given."""


def explain(
    model: keras.Model,
    inputs: Inputs,
    *,
    target: TargetLike = None,
    classes: ClassNames = None,
    labels: InputLabels | None = None,
    ids: Sequence[object] | None = None,
    samples: Wanted = None,
    truth: Sequence[object] | None = None,
    method: str = "auto",
    card: EvidenceCard | bool | None = None,
    images: ArrayLike | None = None,
    grid: tuple[int, int] | None = None,
    positions: str | None = None,
    padding: float | None = None,
    kept: ArrayLike | None = None,
    sites: Selection = None,
    budget: str | float | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: bool = True,
) -> Explanation:
    """What a model's answers for some samples depend on, by a method that was tested on that model.

    For each chosen sample: what the model says, the relevance of each part of the input by the best method that the
    evidence card lets through, a second method beside it, what the answer becomes when the top parts are removed, the
    attention that each part gets, and the findings of the lint that touch this sample.

    Args:
        model: Any built Keras 3 model, or a KerasHub task. It is not changed.
        inputs: All samples that there are, in any form that `attribute` takes; the methods are tested on them, and
            removed parts are replaced by what they hold.
        target: What is explained; see `attribute`. One target.
        classes: What the classes are called, in their order; of a single probability or logit, the two classes; of a
            model that was fitted to several numbers, these.
        labels: Names of the positions; see `attribute`.
        ids: A name for each sample, each its own; default: those of a table, or else their numbers.
        samples: Which are explained: ids or numbers; ``"random"``, ``"most certain"`` or ``"most wrong"`` (which needs
            `truth`) for five of them; or a list of any of these; None for the first five.
        truth: What is right for each sample: the name or number of a class; of a model that was fitted to numbers, the
            number that the target should have been; None for a sample of which it is not known. A pandas series goes by
            its index where the samples have ids.
        method: ``"auto"`` for the one that explains by the widest margin, or else the best that is descriptive only,
            which is said, or else none; or the name of a method, which is drawn with whatever verdict it has.
        card: What `evidence` found about this model, as it is, and this target; None or True to test the methods now;
            False to test none, and `method` has to say which is drawn.
        images: Pictures to draw under the relevance of patches, one for each sample, whichever of them are explained,
            dims ``(sample, height, width)`` or ``(..., channel)``; default: the inputs themselves.
        grid: Rows and columns of patches, for pictures.
        positions: Name of the input that is explained, where there are several.
        padding: The number that is padding, beside what the model itself masks; see `attribute`.
        kept: Positions that are never removed; see `evidence`.
        sites: Which attention is meant: patterns as for `capture`; default: all of it.
        budget: About how long testing the methods may take: seconds, or text such as ``"5 min"``; default: 2 minutes.
            The explanation itself takes a little longer.
        seed: Seed of everything that is drawn.
        batch_size: Samples at a time.
        progress: Whether to show a bar, on a terminal.

    Returns:
        The explanation, with a table, a page and pictures.

    Raises:
        InputError: There is no such sample, ids are not unique, several targets are given, or an option has no meaning
            here.
        MethodError: There is no such method, or it cannot be used on this model, or none is tested and none is named.
        TargetError: The target is not among the model's outputs.
    """
    _check_method(method, card)
    settings: dict[str, Any] = {
        "target": target,
        "classes": classes,
        "labels": labels,
        "positions": positions,
        "grid": grid,
        "padding": padding,
        "sites": sites,
        "batch_size": batch_size,
    }
    subject = _only(subjects_of(model, inputs, **settings))
    names = _ids(subject.ids if ids is None else ids, subject.samples)
    subject = replace(subject, ids=None if ids is None and subject.ids is None else np.array(names))
    known = in_order(truth, None if subject.ids is None else names, "truth")
    answers = _answers(subject, _truth(known, subject.samples))
    if (card is None or card is True) and subject.samples == 1:
        raise InputError(
            "There is only one sample, and no method can be tested on one. Give all samples that there are and choose "
            f"this one, samples=[{names[0]!r}]; or what was found on them, card=ats.evidence(model, inputs); or test "
            "none: card=False, method='occlusion'."
        )
    rows = chosen_samples(samples, names, answers, seed)
    answers.check_truth(rows)
    pictures = _pictures(subject, images, rows)
    chosen = _Chosen(
        subject.rows(rows), [names[row] for row in rows], _rows_of(answers, rows), pictures, answers.right()
    )
    if card is None or card is True:
        tests: dict[str, Any] = {
            "kept": kept,
            "budget": BUDGET if budget is None else budget,
            "seed": seed,
            "progress": progress,
        }
        card = evidence(model, inputs, permutations=0, **tests, **settings)
    elif budget is not None:
        raise InputError(
            "The methods are not tested now, because a card was given or no test is wanted, so "
            f"budget={budget!r} limits nothing. Leave it out."
        )
    tested = _about(subject, card)
    return _explanation(chosen, tested, choices(tested, method), _removal(subject), kept, seed)


@dataclass(frozen=True)
class _Chosen:
    """The samples that are explained, and what is known of them before any method is asked.

    Attributes:
        subject: The model, these samples and the target.
        ids: What each of them is called.
        answers: What the model says of them.
        pictures: What is drawn under the relevance of patches; None where nothing is.
        right: Of how many samples, of all that were given, the model says what is right, and of how many it is known.
    """

    subject: Subject
    ids: list[str]
    answers: Answers
    pictures: np.ndarray | None
    right: tuple[int, int] | None


def _explanation(
    chosen: _Chosen,
    card: EvidenceCard | None,
    candidates: Sequence[MethodChoice],
    removal: Removal,
    kept: ArrayLike | None,
    seed: int,
) -> Explanation:
    """What the methods say of the chosen samples, what removing the top positions does, and what each part receives."""
    subject = chosen.subject
    drawn = _drawn(subject, candidates, partial(_relevance, subject, removal=removal, kept=kept, seed=seed))
    methods, relevances = [choice for choice, _ in drawn], [relevance for _, relevance in drawn]
    versions = RemovalScores(subject, removal, kept=kept, seed=seed)
    versions.original()  # says so where an answer is NaN, whatever was removed
    attention, why_not = _attention(subject)
    about_relevance = [note for relevance in relevances for note in caveats(relevance, chosen.ids)]
    return Explanation(
        model=model_name(subject.model),
        target=subject.target.words,
        kind=subject.positions.kind,
        removal=versions.words,
        methods=tuple(methods),
        card=card,
        findings=_findings(subject),
        notes=(
            *filter(None, (subject.network.note, subject.positions.note, why_not, _unremovable(chosen, versions))),
            *about_relevance,
        ),
        right=chosen.right,
        table=_table(chosen, methods, relevances, _removed(versions, relevances), attention),
    )


def _drawn(
    subject: Subject, candidates: Sequence[MethodChoice], relevance: Callable[[str], xr.DataArray]
) -> list[tuple[MethodChoice, xr.DataArray]]:
    """The first method with its relevance, and the next one that ranks the positions of some sample otherwise.

    Where all rank alike, as some do on a model with one attention layer, the second is one of them.
    """
    drawn = [(choice, relevance(choice.name)) for choice in candidates[:1]]
    beside: list[tuple[MethodChoice, xr.DataArray]] = []
    for choice in candidates[1:]:
        beside = [(choice, relevance(choice.name))]
        agreement = _agreement(subject, drawn[0][1], beside[0][1])
        if (agreement < _SAME_ORDER).any():
            break
    return drawn + beside


_SAME_ORDER = 1 - 1e-9
"""Rank correlation from which two orders are one, up to rounding."""


def _agreement(subject: Subject, first: xr.DataArray, second: xr.DataArray) -> np.ndarray:
    """Rank correlation of two methods' relevance for each sample; NaN where all values of one are equal."""
    return rank_correlation(subject.flat(first), subject.flat(second), subject.positions.valid)


def _check_method(method: str, card: EvidenceCard | bool | None) -> None:
    """Raises an error where no method could be drawn, before any is tested."""
    if card is False and method == "auto":
        raise MethodError(
            "card=False tests no method, so no verdict chooses the one that is drawn. Name it, method='occlusion', or "
            "leave card=False out."
        )
    if method != "auto":
        method_of(method)


def _only(subjects: Sequence[Subject]) -> Subject:
    if len(subjects) != 1:
        raise InputError(f"There are {len(subjects)} targets, but an explanation is about one. Choose one: target=1.")
    return subjects[0]


def _ids(ids: Sequence[object] | np.ndarray | None, samples: int) -> list[str]:
    words = _words(ids, "ids", samples) or tuple(map(str, range(samples)))
    missing = [place for place, name in enumerate(() if ids is None else ids) if is_missing(name)]
    if missing:
        raise InputError(f"Sample {missing[0]} has no id. Give each one of its own, or leave ids out.")
    twice = sorted({word for word in words if words.count(word) > 1})
    if twice:
        raise InputError(f"The id {twice[0]!r} belongs to {words.count(twice[0])} samples. Give each an id of its own.")
    return list(words)


def _words(values: Sequence[object] | np.ndarray | None, what: str, samples: int) -> tuple[str, ...] | None:
    if values is None:
        return None
    words = tuple(map(str, values))
    if len(words) != samples:
        raise InputError(
            f"{what} has {len(words)} entries, but there are {samples} samples. Give one for each, in their order."
        )
    return words


def _truth(values: Sequence[object] | np.ndarray | None, samples: int) -> tuple[str, ...] | None:
    """What is right for each sample, in words; empty where it is missing."""
    shape: tuple[int, ...] = getattr(values, "shape", ())
    if len(shape) > 1:
        fix = "truth.ravel()" if shape[1:] == (1,) else "truth.argmax(1), if each row has a 1 at its class"
        raise InputError(f"truth has the shape {shape}, but one value for each sample is needed: {fix}.")
    words = _words(values, "truth", samples)
    if values is None or words is None:
        return None
    return tuple("" if is_missing(value) else word.strip() for value, word in zip(values, words, strict=True))


def _answers(subject: Subject, truth: tuple[str, ...] | None) -> Answers:
    outputs = subject.network.outputs(subject.inputs)
    number = subject.target.output
    leaves = tree.flatten(outputs)
    leaf = None if number is None else np.asarray(leaves[number], dtype="float64")
    if leaf is not None:
        leaf = leaf[:, None] if leaf.ndim == 1 else leaf if leaf.ndim == 2 else None
    units = units_of_outputs(subject.network.model)
    unit = units[number] if number is not None and number < len(units) else ""
    if not unit and is_regression(subject.network.model):
        leaf = None  # several numbers, such as the horizons of a forecast, are no choice among them
    return Answers(
        subject.target.of(outputs),
        leaf,
        subject.target.classes,
        truth,
        unit,
        dtype=subject.dtype,
    )


def _rows_of(answers: Answers, rows: np.ndarray) -> Answers:
    columns = None if answers.columns is None else answers.columns[rows]
    truth = None if answers.truth is None else tuple(answers.truth[row] for row in rows)
    return replace(answers, target=answers.target[rows], columns=columns, truth=truth)


def _about(subject: Subject, card: object) -> EvidenceCard | None:
    """The card, which has to be about the same target and model; None where nothing was tested.

    Raises:
        InputError: The card is about another target or model, or is none.
    """
    if card is False:
        return None
    if not isinstance(card, EvidenceCard):
        raise InputError(
            f"The card is {card!r}, but one that ats.evidence returned is needed. Leave card out to test the methods "
            "now, or test none: card=False."
        )
    if card.target != subject.target.words:
        raise InputError(
            f"The card is about {card.target}, but {subject.target.words} is explained, and a verdict holds for one: "
            "make a card for this one, ats.evidence(model, inputs, target=...), or leave card out."
        )
    if card.weights and card.weights != weights_digest(subject.model):
        raise InputError(
            f"The card is about a model called {card.model!r} whose weights are not those of this one, "
            f"{subject.model.name!r}, and a verdict holds for one model as it is: make a card for this one, "
            "ats.evidence(model, inputs, target=...), or leave card out."
        )
    return card


def _removal(subject: Subject) -> Removal:
    """How positions are removed: what replaces them comes from all samples, not from the few that are explained."""
    return default_removals(subject)[0].with_background(subject.inputs)


PATH_STEPS = (32, 128, 512)
"""Points of integrated gradients: more where the sum is not exact enough, which costs little for a few samples."""


def _relevance(subject: Subject, method: str, removal: Removal, kept: ArrayLike | None, seed: int) -> xr.DataArray:
    settings = {"removal": removal, "kept": kept, "seed": seed}
    known = method_of(method).options
    given: dict[str, Any] = {name: value for name, value in settings.items() if name in known}
    if "steps" not in known:
        return relevance_of(subject, method, **given)
    for steps in PATH_STEPS:
        relevance = relevance_of(subject, method, steps=steps, **given)
        if is_exact(relevance):
            break
    return relevance


def _unremovable(chosen: _Chosen, versions: RemovalScores) -> str:
    """Of which samples nothing can be removed, so that nothing is known of what removing it would do."""
    names = [shown(name) for name, most in zip(chosen.ids, versions.most, strict=True) if not most]
    if not names:
        return ""
    return (
        f"No part of {in_a_row(names)} can be removed, because nothing would be left or all is kept or padding: where "
        "relevance is measured by removing parts it is 0 there, and says nothing."
    )


def _removed(versions: RemovalScores, relevances: Sequence[xr.DataArray]) -> xr.DataArray | None:
    """The answer without the first method's top positions, dims ``(sample, removed)``; NaN where there are fewer."""
    if not relevances:
        return None
    relevance = versions.subject.flat(relevances[0])
    ranked = np.argsort(np.where(versions.removable, -relevance, np.inf), axis=1, kind="stable")
    answers = np.full((len(relevance), len(REMOVED)), np.nan)
    for place, count in enumerate(REMOVED):
        rows = np.flatnonzero(versions.most >= count)
        removed = np.zeros_like(versions.removable)
        np.put_along_axis(removed, ranked[:, :count], True, axis=1)
        if len(rows):
            answers[rows, place] = versions(rows, removed[rows])
    return xr.DataArray(answers, dims=(SAMPLE, "removed"), coords={"removed": list(REMOVED)})


def _attention(subject: Subject) -> tuple[xr.DataArray | None, str]:
    """What each position receives, and why there is none."""
    try:
        return relevance_of(subject, "raw"), ""
    except NoAttentionError:
        return None, "The model has no attention that could be shown."
    except MethodError as error:
        return None, f"Attention is not shown: {error}"


def _findings(subject: Subject) -> tuple[tuple[Finding, ...], ...]:
    """The findings of the lint on each sample alone; none where there is no attention."""
    try:
        maps = captured(subject.in_batches(), sites=subject.sites, progress=False)
    except NoAttentionError:
        return ((),) * subject.samples
    return tuple(
        tuple(
            findings({name: maps.dataset(name).isel({SAMPLE: slice(row, row + 1)}) for name in maps}).with_short_names(
                maps.short_names
            )
        )
        for row in range(subject.samples)
    )


def _pictures(subject: Subject, images: ArrayLike | None, rows: np.ndarray) -> np.ndarray | None:
    """The pictures of the samples in these rows; None where there are none."""
    positions = subject.positions
    if images is None:
        return np.asarray(positions.of(subject.inputs))[rows] if isinstance(positions, PatchPositions) else None
    if not isinstance(positions, PatchPositions):
        raise InputError(
            f"images were given, which are drawn under the patches of pictures, but {positions.kind} are explained "
            "here. Leave images out."
        )
    try:
        pictures = np.asarray(images)
    except ValueError as error:
        raise InputError(
            "The images are not all of one size. Give one array of them all: (sample, height, width, channel)."
        ) from error
    if pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[-1] not in (1, 3, 4)):
        raise InputError(
            f"The images have the shape {pictures.shape}, but (sample, height, width) or (sample, height, width, "
            "channel) with 1, 3 or 4 channels is needed."
        )
    if len(pictures) != subject.samples:
        raise InputError(
            f"images has {len(pictures)} pictures, but there are {subject.samples} samples. Give one for each sample, "
            "in their order, whichever of them are explained."
        )
    return np.asarray(pictures[rows])


def _table(
    chosen: _Chosen,
    methods: Sequence[MethodChoice],
    relevances: Sequence[xr.DataArray],
    removed: xr.DataArray | None,
    attention: xr.DataArray | None,
) -> xr.Dataset:
    """The table of an explanation; see `Explanation`."""
    subject = chosen.subject
    empty = subject.relevance(np.full(subject.positions.valid.shape, np.nan), "none")
    dims = tuple(map(str, empty.dims))
    variables = _what_methods_say(subject, dims, methods, relevances)
    if removed is not None:
        variables["answer_without"] = removed
    if attention is not None:
        variables["attention"] = (dims, np.asarray(attention.values, dtype="float64"))
    variables |= _what_was_given(chosen, dims) | _what_the_model_says(chosen.answers)
    variables[SAMPLE_ID] = ((SAMPLE,), chosen.ids)
    attrs: dict[str, Any] = {
        "target": subject.target.words,
        "dtype": chosen.answers.dtype,
        "positions": empty.attrs["positions"],
    }
    if relevances and relevances[0].attrs.get("units"):
        attrs["units"] = relevances[0].attrs["units"]
    if isinstance(subject.positions, PatchPositions):
        attrs["grid"] = subject.positions.grid
    known = {name: empty.coords[name] for name in empty.coords if name not in variables}
    table = xr.Dataset(variables, coords=known, attrs=attrs)
    return table.set_coords([name for name in ("verdict", SAMPLE_ID, "decision", "truth") if name in table])


def _what_methods_say(
    subject: Subject, dims: tuple[str, ...], methods: Sequence[MethodChoice], relevances: Sequence[xr.DataArray]
) -> dict[str, Any]:
    """The relevance by each method with its verdict, what it adds up from, and how far two of them agree."""
    if not relevances:
        return {}
    variables: dict[str, Any] = {
        "relevance": (("by", *dims), np.stack([np.asarray(each.values, dtype="float64") for each in relevances])),
        "by": ("by", [choice.name for choice in methods]),
        "verdict": ("by", [choice.verdict for choice in methods]),
    }
    if "base" in relevances[0].coords:
        variables["base"] = ((SAMPLE,), relevances[0]["base"].values)
    if len(relevances) == 2:
        variables["agreement"] = ((SAMPLE,), _agreement(subject, relevances[0], relevances[1]))
    return variables


def _what_was_given(chosen: _Chosen, dims: tuple[str, ...]) -> dict[str, Any]:
    """The values of the positions, and the pictures."""
    positions, inputs = chosen.subject.positions, chosen.subject.inputs
    variables: dict[str, Any] = {}
    if positions.kind in ("tokens", "codes", "features"):
        variables["value"] = (dims, positions.of(inputs).reshape(len(positions.valid), *positions.shape))
    if positions.kind == "steps":
        variables["value"] = ((*dims, "feature"), positions.of(inputs))
    if chosen.pictures is not None:
        axes = (SAMPLE, "height", "width", "channel")[: chosen.pictures.ndim]
        variables["picture"] = (axes, chosen.pictures)
    return variables


def _what_the_model_says(answers: Answers) -> dict[str, Any]:
    """The answer, what it decides for, and the truth; of classes the number of each."""
    variables: dict[str, Any] = {"answer": ((SAMPLE,), answers.target), "decision": ((SAMPLE,), answers.decided())}
    by_class = answers.by_class()
    if by_class is not None:
        variables["by_class"] = ((SAMPLE, "class"), by_class)
        variables["class"] = ("class", [answers.name_of(column) for column in range(by_class.shape[1])])
    truth = answers.truth_in_words()
    if truth is not None:
        variables["truth"] = ((SAMPLE,), truth)
    return variables
