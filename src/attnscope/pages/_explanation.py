"""The page of an explanation: for each sample what the model said, what that depends on, and what that is worth."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import xarray as xr

from attnscope.colours import tokens_css
from attnscope.findings import Finding, Findings
from attnscope.marks import isolated, number, readable, sample_title
from attnscope.pages._page import head, page, style, what_was_found
from attnscope.pages._signed_marks import (
    SignedParts,
    own_picture,
    signed,
    signed_bars,
    signed_columns,
    signed_words,
    tinted_picture,
)
from attnscope.position_kinds import names_along
from attnscope.quantities import LEFT_OVER
from attnscope.schema import SAMPLE, SAMPLE_ID

SHEET = "explanation.css"
MOST_FINDINGS = 4
_HEADING = "What the model's answer depends on"
_UNKNOWN = "unknown"
_CLASSES = {"explains": "good", "descriptive only": "middling", "misleading here": "bad", "cannot tell": _UNKNOWN}
"""By verdict: how it is marked."""


class ChoiceData(Protocol):
    """A method with the verdict on it."""

    @property
    def name(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def reasons(self) -> Sequence[str]: ...
    @property
    def signed(self) -> bool: ...


class TestedData(Protocol):
    """What was tested."""

    @property
    def samples(self) -> int: ...
    @property
    def summary(self) -> Sequence[str]: ...


class ExplanationData(Protocol):
    """What the page reads of an explanation, as types, so that pages need not know the room that computes it."""

    @property
    def model(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def removal(self) -> str: ...
    @property
    def methods(self) -> Sequence[ChoiceData]: ...
    @property
    def card(self) -> TestedData | None: ...
    @property
    def findings(self) -> Sequence[Sequence[Finding]]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def right(self) -> tuple[int, int] | None: ...
    @property
    def table(self) -> xr.Dataset: ...


def explanation_page(explanation: ExplanationData) -> str:
    """An explanation as a page that loads nothing and runs nothing.

    On paper each sample begins a page of its own, unless nothing is drawn of it.
    """
    title = f"{_HEADING} \N{MIDDLE DOT} {explanation.target}"
    ids = [str(name) for name in explanation.table[SAMPLE_ID].values] if explanation.methods else []
    return page(
        title, _body(explanation), SHEET, {f"sample-{place}": sample_title(name) for place, name in enumerate(ids)}
    )


def explanation_element(explanation: ExplanationData) -> str:
    """An explanation as one element for a notebook, its style kept to itself."""
    rules = f".attnscope-explanation{{{tokens_css()}{style(SHEET)}}}"
    return f"<div class=attnscope-explanation><style>{rules}</style>{_body(explanation)}</div>"


def use_in_words(explanation: ExplanationData) -> str:
    """In plain words: what the explanation may be used for, and what not."""
    tested = "" if explanation.card is None else f", tested on {explanation.card.samples:,} samples"
    parts = explanation.kind
    limit = (
        "It does not say whether the model is right, nor what causes anything in the world: only what the answer of "
        "this model depends on."
    )
    if not explanation.methods:
        return _nothing_in_words(explanation.card)
    first = explanation.methods[0]
    if first.verdict == "explains":
        return (
            f"This may be used to see which {parts} the model's answer for each sample depends on: {first.name} "
            f"explains this model{tested}. {limit}"
        )
    if first.verdict == "descriptive only":
        return (
            f"This describes the model, but must not be given as the reason for a decision: {first.name} is "
            f"descriptive only for this model{tested}, and no method was found that explains it."
        )
    if first.verdict == "not tested":
        return (
            f"This must not be used for a decision yet: whether {first.name} explains this model was not tested. "
            "ats.evidence(model, inputs) tests it, on the command line attnscope evidence MODEL INPUTS."
        )
    verdict = f"the verdict on {first.name} for this model is {first.verdict!r}{tested}"
    why = f" {explanation.card.summary[0]}" if explanation.card and first.verdict == "cannot tell" else ""
    return f"This must not be used for a decision: {verdict}.{why}"


def _nothing_in_words(card: TestedData | None) -> str:
    """Why nothing is drawn."""
    if card is None:
        return "No method may be drawn for this model; nothing is claimed about why it answers as it does."
    first, second = card.summary
    return f"{first} So no method is drawn, and nothing is claimed about why the model answers as it does. {second}"


def _body(explanation: ExplanationData) -> str:
    return "\n".join(
        (
            _head(explanation),
            _methods(explanation),
            _contents(explanation),
            _limits(explanation),
            *(_sample(explanation, place) for place in range(explanation.table.sizes[SAMPLE])),
            "<footer>Made by attnscope. This file loads nothing from anywhere.</footer>",
        )
    )


def _head(explanation: ExplanationData) -> str:
    count = explanation.table.sizes[SAMPLE]
    facts = {
        "explained": isolated(explanation.target),
        "model": isolated(explanation.model),
        "samples on this page": f"{count:,}",
        "parts": html.escape(explanation.kind),
    }
    if explanation.right is not None:
        right, known = explanation.right
        facts["right answers"] = f"{right:,} of {known:,}"
    if explanation.methods:
        facts["removed parts become"] = html.escape(explanation.removal)
    lead = f"<p class='use {_class(explanation)}'>{html.escape(use_in_words(explanation))}</p>"
    return head("attnscope explanation", _HEADING, facts, lead)


def _class(explanation: ExplanationData) -> str:
    """The style of the verdict on what is drawn."""
    return _CLASSES.get(explanation.methods[0].verdict, _UNKNOWN) if explanation.methods else _UNKNOWN


def _chip(verdict: str) -> str:
    return f"<span class='verdict {_CLASSES.get(verdict, _UNKNOWN)}'>{html.escape(verdict)}</span>"


def _methods(explanation: ExplanationData) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(choice.name)}</th><td>{_chip(choice.verdict)}</td>"
        f"<td>{html.escape('; '.join(choice.reasons))}{'.' if choice.reasons else ''}</td></tr>"
        for choice in explanation.methods
    )
    if not rows:
        return ""
    what = (
        "<p class=small>The first is drawn; the second is laid beside it.</p>" if len(explanation.methods) > 1 else ""
    )
    return f"<section class=methods><h2>By which method</h2>{what}<table class=verdicts>{rows}</table></section>"


def _contents(explanation: ExplanationData) -> str:
    table = explanation.table
    if table.sizes[SAMPLE] < 2:
        return ""
    rows = "".join(_row(table.isel({SAMPLE: place}), place) for place in range(table.sizes[SAMPLE]))
    decides = "by_class" in table
    said = "<th>the model says</th>" if decides else ""
    truth = f"<th{'' if decides else ' class=number'}>truth</th>" if "truth" in table.coords else ""
    return (
        "<section class=contents><h2>The samples</h2><div class=wide tabindex=0><table><thead><tr><th>id</th>"
        f"{said}<th class=number>{isolated(explanation.target)}</th>{truth}</tr></thead><tbody>{rows}"
        "</tbody></table></div></section>"
    )


def _row(one: xr.Dataset, place: int) -> str:
    name, decision = str(one[SAMPLE_ID].item()), str(one["decision"].item())
    decides, truth = "by_class" in one, ""
    if "truth" in one.coords:
        wrong = decides and str(one["truth"].item()) not in ("", decision)  # two numbers always differ
        mark = " <span class=wrong>✗ differs</span>" if wrong else ""
        truth = f"<td{'' if decides else ' class=number'}>{_truth(one)}{mark}</td>"
    said = f"<td>{isolated(readable(decision))}</td>" if decides else ""
    return (
        f"<tr><td><a href='#sample-{place}'>{isolated(name)}</a></td>{said}"
        f"<td class=number>{number(float(one['answer']))}</td>{truth}</tr>"
    )


def _truth(one: xr.Dataset) -> str:
    """What is right, as far as it is known; a number is written as the answer is."""
    right = str(one["truth"].item())
    if not right:
        return "not known"
    try:
        return isolated(readable(right)) if "by_class" in one else number(float(right))
    except ValueError:
        return isolated(readable(right))


def _sample(explanation: ExplanationData, place: int) -> str:
    table = explanation.table
    one = table.isel({SAMPLE: place})
    name, decision = str(one[SAMPLE_ID].item()), str(one["decision"].item())
    said = isolated(readable(decision))
    if "by_class" in one:
        said += f" · {isolated(explanation.target)}: {number(float(one['answer']))}"
    truth = f" · truth: {_truth(one)}" if "truth" in one.coords else ""
    title = f"<h2>{isolated(sample_title(name))}</h2><p class=answer>The model says {said}{truth}</p>"
    kind = "decision" if explanation.methods else "'decision brief'"
    parts = [f"<section class={kind} id='sample-{place}'>{title}"]
    if not explanation.methods:
        parts.append(_input(explanation, one))
    else:
        parts += [_relevance(explanation, one), _removed(explanation, one), _second(explanation, one)]
    parts += [_attention(explanation, one), _findings(explanation.findings[place])]
    return "".join(parts) + "</section>"


def _names(explanation: ExplanationData, one: xr.Dataset) -> list[str]:
    valid = one["key_valid"].assign_attrs(one.attrs)
    names = names_along(valid, [str(dim) for dim in valid.dims])
    return [name for name, is_valid in zip(names, valid.values.ravel(), strict=True) if is_valid]


def _in_prose(explanation: ExplanationData, name: str) -> str:
    """A name within a sentence; a token, which may be a comma, in quotation marks."""
    return f"'{isolated(name)}'" if explanation.kind == "tokens" else isolated(name)


def _values(explanation: ExplanationData, one: xr.Dataset) -> list[str]:
    valid = one["key_valid"].values.ravel()
    if explanation.kind == "tokens" or "value" not in one or one["value"].values.size != valid.size:
        return [""] * int(valid.sum())
    values = one["value"].values.ravel()[valid]
    exact = values.dtype.kind in "iub"
    return [readable(str(value) if exact else f"{value:.4g}") for value in values.tolist()]


def _input(explanation: ExplanationData, one: xr.Dataset) -> str:
    """The sample itself, where no relevance is drawn over it; nothing of steps with several values each."""
    names, values = _names(explanation, one), _values(explanation, one)
    if explanation.kind == "tokens":
        return f"<p class=words>{' '.join(map(isolated, names))}</p>"
    if "picture" in one:
        return own_picture(one["picture"].values, str(one[SAMPLE_ID].item()))
    if not any(values):
        return ""
    rows = (f"<li>{isolated(name)} <b>{html.escape(value)}</b></li>" for name, value in zip(names, values, strict=True))
    return f"<ul class=values>{''.join(rows)}</ul>"


def _relevance(explanation: ExplanationData, one: xr.Dataset) -> str:
    first = explanation.methods[0]
    valid = one["key_valid"].values.ravel()
    parts = SignedParts(
        explanation.kind,
        _names(explanation, one),
        _values(explanation, one),
        one["relevance"].values[0].ravel()[valid],
        str(one.attrs.get("units", "")),
        adds_up="base" in one,
        one_sided=not first.signed,
    )
    return (
        f"<h3>Relevance by {html.escape(first.name)} {_chip(first.verdict)}</h3>"
        f"<p class=small>{_how_to_read(explanation, parts)}</p>"
        f"{_drawn(explanation, one, parts)}{signed_bars(parts)}{_sum(one, parts)}"
    )


_SIDES = {
    "tokens": ("Orange, and to the right", "blue and dashed, and to the left"),
    "steps": ("Up, and to the right", "down, and to the left"),
}
"""Where what raises and what lowers the answer is, by what the parts are; of others only to the right and left."""


def _how_to_read(explanation: ExplanationData, parts: SignedParts) -> str:
    """What the marks mean, and where their scale ends."""
    target = isolated(explanation.target)
    if parts.one_sided:
        return (
            f"The longer the bar, the more relevant; the scale ends at {parts.reach:g}. This method is never negative: "
            f"it does not tell {explanation.kind} that raise {target} from those that lower it."
        )
    raises, lowers = _SIDES.get(explanation.kind, ("To the right", "to the left"))
    return (
        f"{raises}: {explanation.kind} that raise {target}; {lowers}: those that lower it. The scale ends at "
        f"{parts.reach:g} on either side."
    )


def _sum(one: xr.Dataset, parts: SignedParts) -> str:
    """From the base to the answer, where the method adds up, with what is left over."""
    if "base" not in one:
        return ""
    base, answer, total = float(one["base"]), float(one["answer"]), float(parts.relevance.sum())
    left = answer - base - total
    do = "add up" if abs(left) <= LEFT_OVER * abs(answer - base) else "do not quite add up"
    return (
        f"<p class=small>The bars {do}: from the base, {number(base)}, by {signed(total)} to the answer, "
        f"{number(answer)}; {signed(left)} is left over.</p>"
    )


def _drawn(explanation: ExplanationData, one: xr.Dataset, parts: SignedParts) -> str:
    """The sample itself with its relevance, where it is more than a list of values."""
    if explanation.kind == "tokens":
        return signed_words(parts)
    if explanation.kind == "steps":
        return signed_columns(parts)
    if explanation.kind == "patches" and "picture" in one:
        grid = one["relevance"].values[0].reshape(one.attrs["grid"])
        return tinted_picture(one["picture"].values, grid, parts, str(one[SAMPLE_ID].item()))
    return ""


def _removed(explanation: ExplanationData, one: xr.Dataset) -> str:
    if "answer_without" not in one:
        return ""
    counts = [int(count) for count in one["removed"].values]
    answers = [float(answer) for answer in one["answer_without"].values]
    known = [(count, answer) for count, answer in zip(counts, answers, strict=True) if not math.isnan(answer)]
    before = float(one["answer"])
    cells = f"<td class=number>{number(before)}</td>" + "".join(
        f"<td class=number>{number(answer)}<br><span class=small>{signed(answer - before)}</span></td>"
        for _, answer in known
    )
    heads = "<th class=number>as it is</th>" + "".join(f"<th class=number>without {count}</th>" for count, _ in known)
    table = f"<table class=without><thead><tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>"
    which = f"{explanation.kind} that raise the answer most"
    if not explanation.methods[0].signed:
        which = f"most relevant {explanation.kind}"
    return (
        f"<h3>When the {which} are removed</h3><p class=small>What the model "
        f"answers, and the change, when the {explanation.kind} with the highest relevance are replaced by "
        f"{html.escape(explanation.removal)}.</p><div class=wide tabindex=0>{table}</div>"
    )


def _second(explanation: ExplanationData, one: xr.Dataset) -> str:
    if len(explanation.methods) < 2:
        return ""
    tops = [_highest(explanation, one, row) for row in range(2)]
    methods = [html.escape(choice.name) for choice in explanation.methods]
    verbs = [
        (f"raises {isolated(explanation.target)} most", "does") if choice.signed else ("is the most relevant", "is")
        for choice in explanation.methods
    ]
    alike = verbs[0] == verbs[1]
    first = f"By {methods[0]}, {tops[0]} {verbs[0][0]}; by {methods[1]}, {tops[1]} {verbs[1][1 if alike else 0]}."
    if alike and tops[0] == tops[1]:
        first = f"By both, {tops[0]} {verbs[0][0]}."
    agreement = float(one["agreement"])
    how_far = (
        ""
        if math.isnan(agreement)
        else f" Their rank correlation is {readable(f'{agreement:z.2f}')} (1: the same order)."
    )
    return f"<h3>A second method: {methods[1]}</h3><p>{first}{how_far}</p>"


def _highest(explanation: ExplanationData, one: xr.Dataset, method: int) -> str:
    valid = one["key_valid"].values.ravel()
    relevance = one["relevance"].values[method].ravel()[valid]
    highest = int(np.argmax(relevance))
    return _in_prose(explanation, _names(explanation, one)[highest]) if relevance[highest] > 0 else "nothing"


def _attention(explanation: ExplanationData, one: xr.Dataset) -> str:
    if "attention" not in one:
        return ""
    valid = one["key_valid"].values.ravel()
    attention = one["attention"].values.ravel()[valid]
    names = _names(explanation, one)
    order = np.argsort(-attention, kind="stable")[:3]
    listed = ", ".join(f"{_in_prose(explanation, names[place])} {number(float(attention[place]))}" for place in order)
    return (
        f"<h3>Attention, at a glance</h3><p>The most attention goes to {listed} (mean over sites, heads and queries; "
        f"spread evenly, each would get {number(1 / max(1, len(names)))}). <span class=small>Attention shows where the "
        "model looks, not why it decides.</span></p>"
    )


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    groups = Findings(findings).grouped
    items = "".join(f"<li>{what_was_found(group)}</li>" for group in groups[:MOST_FINDINGS])
    more = f"<li>and {len(groups) - MOST_FINDINGS} more</li>" if len(groups) > MOST_FINDINGS else ""
    return f"<h3>What the lint says of this sample's attention</h3><ul>{items}{more}</ul>"


def _limits(explanation: ExplanationData) -> str:
    limits = [*explanation.notes]
    if explanation.methods:
        limits += [
            "Relevance is about this model and these samples: another model with the same answers may depend on "
            "others.",
            f"What replaces a removed part affects the answer; where parts are removed, it is {explanation.removal}.",
            "That a model's answer depends on a part does not mean that the part causes anything in the world.",
        ]
    if not limits:
        return ""
    items = "".join(f"<li>{html.escape(item)}</li>" for item in limits)
    return f"<section><h2>What this cannot tell</h2><ul>{items}</ul></section>"
