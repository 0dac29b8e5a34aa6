"""The evidence card as HTML: which methods may be used, in two sentences and a chart; every number follows, folded."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from attnscope.colours import tokens_css
from attnscope.marks import isolated, name_with_path, number, readable, shown
from attnscope.pages._card_data import CardData, CardRules, IntervalData, MethodData, VerdictData
from attnscope.pages._interval_chart import Ends, Row, interval_chart
from attnscope.pages._page import listed, page, style, what_was_found

SHEET = "card.css"

_CLASSES = {
    "explains": "good",
    "descriptive only": "middling",
    "cannot tell": "unknown",
    "misleading here": "bad",
}
"""By verdict, in the order in which the page lists them."""
MOST_ON_PAPER = 8
"""Columns with whole words in their headings that a printed page has room for."""
MOST_ARTEFACTS = 8
"""More of them are counted."""


def card_page(card: CardData, rules: CardRules) -> str:
    """An evidence card as a page that loads nothing.

    Args:
        card: What was found.
        rules: The rule behind the verdicts.
    """
    return page(f"Evidence on {card.model}", _body(card, rules), SHEET, {})


def card_element(card: CardData, rules: CardRules) -> str:
    """An evidence card as one element for a notebook, its style kept to itself.

    Args:
        card: What was found.
        rules: The rule behind the verdicts.
    """
    rules_of_style = f".attnscope-card{{{tokens_css()}{style(SHEET)}}}"
    return f"<div class=attnscope-card><style>{rules_of_style}</style>{_body(card, rules)}</div>"


def _body(card: CardData, rules: CardRules) -> str:
    return "".join(
        (
            _opening(card, rules),
            _verdicts(card, rules.rule),
            *(_gains(card, removal, rules.baselines) for removal in card.removals),
            _measures(card),
            _parameters(card, rules.unchanged_from),
            _attention(card),
            _artefacts(card),
            _limits([*card.notes, *rules.limits]),
        )
    )


def _opening(card: CardData, rules: CardRules) -> str:
    """Which methods may be used, in two sentences and a chart; and what was tested."""
    drawn = "" if card.samples == card.given else f" of {card.given:,}"
    facts = {
        "model": isolated(card.model),
        "explained": isolated(card.target),
        "samples": f"{card.samples:,}{drawn} ({html.escape(card.kind)})",
        "removed by": html.escape(", ".join(card.removals)),
        "cost": f"{card.passes:,} forward, {card.gradient_passes:,} gradient passes; {card.seconds:,.0f} s",
        "backend, seed": f"{html.escape(card.backend)}, {card.seed}",
    }
    sentences = "".join(f"<p class=lead>{html.escape(shown(sentence))}</p>" for sentence in card.summary)
    return (
        "<header><p class=over>attnscope evidence card</p><h1>May these maps be believed?</h1>"
        f"{sentences}</header>{_overview(card, rules)}{listed(facts)}"
    )


def _overview(card: CardData, rules: CardRules) -> str:
    """Each method at its weaker kind of removal, on one scale for all kinds."""
    units = {removal: margin / rules.margin or 1.0 for removal, margin in card.margins.items()}
    order = list(_CLASSES)
    rows = []
    for name, method in card.judged.items():
        if method.verdict is None:
            continue
        weakest = {
            baseline: min(
                (_scaled(method.gains[removal][baseline], units[removal]) for removal in card.removals),
                key=lambda ends: ends.low,
            )
            for baseline in rules.baselines
        }
        rows.append(
            (order.index(method.verdict.word), -weakest[rules.baselines[0]].mean, name, method.verdict, weakest)
        )
    charted = [
        Row(name, _verdict_mark(verdict), weakest)
        for _, _, name, verdict, weakest in sorted(rows, key=lambda row: row[:3])
    ]
    one = {"patches": "patch"}.get(card.kind, card.kind.removesuffix("s"))
    return (
        f"<figure class=overview>{interval_chart(charted, rules.margin)}"
        f"{_key(rules.baselines)}<figcaption>How much more the answer depends on what a method ranks first than on "
        "what a baseline does, under the kind of removal where that is less. Dots are means, lines intervals over the "
        "samples. A method explains if both lines are right of 0 and its ranking changes with the parameters. Shaded: "
        f"as good as none. 1 is what the most important single {html.escape(one)} is worth.</figcaption></figure>"
    )


def _scaled(interval: IntervalData, unit: float) -> Ends:
    return Ends(*(float(end) / unit for end in (interval.low, interval.mean, interval.high)))


def _key(baselines: Sequence[str]) -> str:
    dots = "".join(
        f"<span><i class='dot vs{place}'></i>over {html.escape(b)}</span>" for place, b in enumerate(baselines)
    )
    return f"<p class=key>{dots}</p>"


def _verdict_mark(verdict: VerdictData) -> str:
    """The verdict in its colour; where there is none yet, how many samples would give one."""
    mark = f"<span class='verdict {_CLASSES[verdict.word]}'>{verdict.word}</span>"
    if verdict.word != "cannot tell":
        return mark
    if not verdict.testable:
        return f"{mark}<span class=needed>from no number of samples</span>"
    needed = "more than can be planned" if verdict.needed is None else f"about {verdict.needed:,} samples"
    return f"{mark}<span class=needed>needs {needed}</span>"


def _folded(heading: str, aim: str, body: str) -> str:
    """A part that opens at a click, with a line that says what a good value is."""
    summary = f"<h2>{html.escape(heading)}</h2><p class=aim>{html.escape(aim)}</p>"
    return f"<details><summary>{summary}</summary><div class=inside>{body}</div></details>"


def _verdicts(card: CardData, rule: str) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{_verdict_mark(method.verdict)}</td>"
        f"<td>{html.escape('; '.join(method.verdict.reasons))}."
        f"{'' if method.class_specific else ' It does not read the target.'}</td></tr>"
        for name, method in card.judged.items()
        if method.verdict is not None
    )
    return _folded(
        "Why these verdicts",
        "Good: better than random and position under every kind of removal, and a ranking that changes with the "
        "parameters.",
        f"<table class=verdicts>{rows}</table><p class=small>{html.escape(rule)}</p>",
    )


def _gains(card: CardData, removal: str, baselines: Sequence[str]) -> str:
    rows = [
        Row(name, "", {baseline: _scaled(gain, 1.0) for baseline, gain in method.gains[removal].items()})
        for name, method in card.judged.items()
        if name not in baselines
    ]
    levels = {gain.level for method in card.judged.values() for gain in method.gains[removal].values()}
    level = " and ".join(f"{100 * level:.4g}%" for level in sorted(levels))
    return _folded(
        f"Gain in comprehensiveness, removed by {removal}",
        "Good: the whole line is right of 0.",
        "<p class=small>How much further the answer falls when a method's top positions are removed than when a "
        f"baseline's are, in the unit of the answer. Lines are paired {level} intervals over the samples; those of all "
        "kinds of removal hold together with 95%. Shaded: as good as none.</p>"
        f"{interval_chart(rows, card.margins[removal])}{_key(baselines)}",
    )


def _measures(card: CardData) -> str:
    first = next(iter(card.judged.values()))
    measures = list(next(iter(first.means.values())))
    head = "".join(f"<th scope=col>{_breakable(measure)}</th>" for measure in measures)
    parts = []
    for removal in card.removals:
        rows = "".join(
            f"<tr><th scope=row>{html.escape(name)}</th>"
            + "".join(f"<td>{number(judged.means[removal][measure])}</td>" for measure in measures)
            + "</tr>"
            for name, judged in card.judged.items()
        )
        parts.append(
            f"<h3>Removed by {html.escape(removal)}</h3><div class=wide tabindex=0><table class=numbers>"
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    return _folded(
        "All measures",
        "Good: high comprehensiveness and insertion; low sufficiency, deletion and infidelity.",
        "<p class=small>Means over the samples, in the unit of the answer (infidelity: its square).</p>"
        + "".join(parts),
    )


def _parameters(card: CardData, unchanged_from: float) -> str:
    shuffled = [method for method in card.judged.values() if method.randomised]
    stages = [*shuffled[0].randomised, *shuffled[0].independent] if shuffled else []
    head = "".join(f"<th scope=col>{_breakable(stage)}</th>" for stage in stages)
    many = " many" if len(stages) > MOST_ON_PAPER else ""
    rows = "".join(_parameter_row(method, unchanged_from) for method in shuffled)
    return _folded(
        "Shuffled parameters",
        f"Good: near 0 with everything shuffled, and below {unchanged_from} in any case.",
        "<p class=small>Mean rank correlation between a method's relevance for "
        "the model with shuffled parameters and for the original model: shuffled from the output layer down to "
        "everything, then one block at a time. At 1, both rank the positions alike. A method that stays at "
        f"{unchanged_from} or above with everything shuffled does not show what the model has learned.</p>"
        f"<div class=wide tabindex=0><table class='numbers{many}'>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>",
    )


def _breakable(name: str) -> str:
    """A name that goes on in the next line behind a mark between its words, or in a word of more than 14 letters."""
    return "<wbr>".join(map(html.escape, re.findall(r"[^\s_/.-]{1,14}[\s_/.-]*|[\s_/.-]+", name)))


def _parameter_row(method: MethodData, unchanged_from: float) -> str:
    values = [*method.randomised.values(), *method.independent.values()]
    cells = "".join(f"<td{' class=same' if value >= unchanged_from else ''}>{_rounded(value)}</td>" for value in values)
    return f"<tr><th scope=row>{html.escape(method.name)}</th>{cells}</tr>"


def _rounded(value: float) -> str:
    return readable(f"{value:z.2f}") if value == value else "-"


def _attention(card: CardData) -> str:
    lines: list[str] = []
    if card.moved is not None:
        moved = card.moved
        lines = [
            f"Attention permuted ({moved.permutations} times, {moved.samples} samples): the answer moves by "
            f"{number(moved.permuted)} (median); its standard deviation over the samples is "
            f"{number(moved.spread)}.",
            f"Attention made uniform: the answer moves by {number(moved.uniform)} (median).",
        ]
        if moved.distance is not None and moved.site is not None:
            lines.append(
                f"At {name_with_path(moved.called, moved.site)}, other attention was found that is "
                f"{number(moved.distance)} bit from the model's own (Jensen-Shannon divergence, at most 1; median), "
                f"yet moves the answer by at most {number(moved.tolerance)}."
            )
    if card.retrained is not None:
        free, uniform = card.retrained["free"], card.retrained["uniform"]
        lines.append(f"Retrained: {number(free)} with free attention, {number(uniform)} with uniform attention.")
    lines += [
        f"{html.escape(method.name)}: its relevance changes by at most {method.sensitivity:.0%} (median) when "
        "the input is perturbed a little."
        for method in card.judged.values()
        if method.sensitivity is not None
    ]
    lines += [
        f"{html.escape(name)}: its relevance has a mean rank correlation of {number(value)} between models from "
        "different seeds."
        for name, value in card.stability.items()
    ]
    if not lines:
        return ""
    return _folded(
        "What the answer depends on",
        "Good: changed attention moves the answer by much of its standard deviation; relevance is stable.",
        _list(lines),
    )


def _artefacts(card: CardData) -> str:
    groups = card.findings.grouped
    items = [
        f"{what_was_found(group)}<p class=fix><b>Fix</b> {html.escape(group.fix)}</p>"
        for group in groups[:MOST_ARTEFACTS]
    ]
    if len(groups) > MOST_ARTEFACTS:
        items.append(f"And {len(groups) - MOST_ARTEFACTS} more: card.findings.")
    return _folded(
        "Artefacts in the attention",
        f"Good: none. Found: {len(groups) or 'none'}.",
        _list(items) if items else "<p>None were found.</p>",
    )


def _limits(sentences: Sequence[str]) -> str:
    return f"<section><h2>Limits</h2>{_list(map(html.escape, sentences))}</section>"


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"
