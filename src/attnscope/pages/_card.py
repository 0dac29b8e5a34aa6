"""The evidence card as HTML: verdicts with their reasons, gains with their intervals as a picture, and every number."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from attnscope.colours import tokens_css
from attnscope.marks import isolated, number
from attnscope.pages._card_data import CardData, CardRules, IntervalData, MethodData
from attnscope.pages._page import head, page, style

SHEET = "card.css"

_CLASSES = {"explains": "good", "descriptive only": "middling", "misleading here": "bad"}
MOST_ARTEFACTS = 8
"""More of them are counted."""
WIDTH, ROW, LEFT = 560, 22, 170
"""Of the picture of gains, in its own units: drawing width, height of a row, room for names."""


def card_page(card: CardData, rules: CardRules) -> str:
    """An evidence card as a page that loads nothing.

    Args:
        card: What was found.
        rules: The rule behind the verdicts.
    """
    return page(f"Evidence on {card.model}", _body(card, rules), SHEET)


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
            _head(card),
            _verdicts(card, rules.rule),
            *(_gains(card, removal, rules.baselines) for removal in card.removals),
            _measures(card),
            _parameters(card, rules.unchanged_from),
            _attention(card),
            _artefacts(card),
            _limits([*card.notes, *rules.limits]),
        )
    )


def _head(card: CardData) -> str:
    drawn = "" if card.samples == card.given else f" of {card.given:,}"
    facts = {
        "model": isolated(card.model),
        "explained": isolated(card.target),
        "samples": f"{card.samples:,}{drawn} ({html.escape(card.kind)})",
        "removed by": html.escape(", ".join(card.removals)),
        "cost": f"{card.passes:,} forward, {card.gradient_passes:,} gradient passes; {card.seconds:,.0f} s",
        "backend, seed": f"{html.escape(card.backend)}, {card.seed}",
    }
    return head("attnscope evidence card", "May these maps be believed?", facts)


def _verdicts(card: CardData, rule: str) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td><span class='verdict {_CLASSES[method.verdict.word]}'>"
        f"{method.verdict.word}</span></td><td>{html.escape('; '.join(method.verdict.reasons))}."
        f"{'' if method.class_specific else ' It does not read the target.'}</td></tr>"
        for name, method in card.judged.items()
        if method.verdict is not None
    )
    explained = f"<p class=small>{html.escape(rule)}</p>"
    return f"<section><h2>Verdicts</h2><table class=verdicts>{rows}</table>{explained}</section>"


def _gains(card: CardData, removal: str, baselines: Sequence[str]) -> str:
    compared = {name: method.gains[removal] for name, method in card.judged.items() if name not in baselines}
    ends = [abs(float(end)) for gains in compared.values() for g in gains.values() for end in (g.low, g.high, g.mean)]
    reach = max([end for end in ends if end == end], default=0.0) or 1.0
    height = ROW * len(compared) + 46
    rows = "".join(_gain_row(name, gains, place, reach) for place, (name, gains) in enumerate(compared.items()))
    zero = LEFT + WIDTH / 2
    axis = f"<line class=zero x1={zero} x2={zero} y1=8 y2={height - 30} />" + "".join(
        f"<text class=tick x={LEFT + WIDTH * share} y={height - 14} text-anchor=middle>"
        f"{number(reach * (2 * share - 1)) if share != 0.5 else '0'}</text>"
        for share in (0, 0.5, 1)
    )
    described = "; ".join(_in_words(name, gains) for name, gains in compared.items())
    return (
        f"<section><h2>Gain in comprehensiveness, positions removed by {html.escape(removal)}</h2>"
        "<p class=small>How much further the answer falls when a method's top positions are removed than when a "
        "baseline's are. Lines are paired 95% bootstrap intervals over the samples; left of 0, the method does worse "
        "than the baseline.</p>"
        "<p class=key><span class='dot random'></span>over random <span class='dot position'></span>over position</p>"
        f"<div class=wide><svg viewBox='0 0 {LEFT + WIDTH + 20} {height}' width={LEFT + WIDTH + 20} "
        f"height={height} role=img "
        f'aria-label="{html.escape(described, quote=True)}">{axis}{rows}</svg></div></section>'
    )


def _gain_row(name: str, gains: Mapping[str, IntervalData], place: int, reach: float) -> str:
    top = 8 + ROW * place
    marks = ""
    for line, (baseline, interval) in enumerate(gains.items()):
        y = top + 8 + 7 * line
        low, mean, high = (
            LEFT + WIDTH / 2 * (1 + float(end) / reach) for end in (interval.low, interval.mean, interval.high)
        )
        if low == low:
            marks += f"<line class='{baseline}' x1={low:.1f} x2={high:.1f} y1={y} y2={y} />"
        marks += f"<circle class='{baseline}' cx={mean:.1f} cy={y} r=3 />"
    return f"<text x={LEFT - 12} y={top + 15} text-anchor=end>{html.escape(name)}</text>{marks}"


def _in_words(name: str, gains: Mapping[str, IntervalData]) -> str:
    return f"{name}: " + ", ".join(
        f"over {baseline} {number(float(g.mean))} ({number(float(g.low))} to {number(float(g.high))})"
        for baseline, g in gains.items()
    )


def _measures(card: CardData) -> str:
    first = next(iter(card.judged.values()))
    measures = list(next(iter(first.means.values())))
    head = "".join(f"<th scope=col>{html.escape(measure)}</th>" for measure in measures)
    parts = []
    for removal in card.removals:
        rows = "".join(
            f"<tr><th scope=row>{html.escape(name)}</th>"
            + "".join(f"<td>{number(judged.means[removal][measure])}</td>" for measure in measures)
            + "</tr>"
            for name, judged in card.judged.items()
        )
        parts.append(
            f"<h3>Removed by {html.escape(removal)}</h3><div class=wide><table class=numbers>"
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    return (
        "<section><h2>All measures</h2><p class=small>Means over the samples, in the unit of the answer (infidelity: "
        "its square). Higher is better for comprehensiveness and insertion, lower for sufficiency, deletion and "
        f"infidelity.</p>{''.join(parts)}</section>"
    )


def _parameters(card: CardData, unchanged_from: float) -> str:
    shuffled = [method for method in card.judged.values() if method.randomised]
    stages = [*shuffled[0].randomised, *shuffled[0].independent] if shuffled else []
    head = "".join(f"<th scope=col>{html.escape(stage)}</th>" for stage in stages)
    rows = "".join(_parameter_row(method, unchanged_from) for method in shuffled)
    return (
        "<section><h2>Shuffled parameters</h2><p class=small>Mean rank correlation between a method's relevance for "
        "the model with shuffled parameters and for the original model: shuffled from the output layer down to "
        "everything, then one block at a time. At 1, both rank the positions alike. A method that stays at "
        f"{unchanged_from} or above with everything shuffled does not show what the model has learned.</p>"
        "<div class=wide><table class=numbers>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _parameter_row(method: MethodData, unchanged_from: float) -> str:
    values = [*method.randomised.values(), *method.independent.values()]
    cells = "".join(f"<td{' class=same' if value >= unchanged_from else ''}>{_rounded(value)}</td>" for value in values)
    return f"<tr><th scope=row>{html.escape(method.name)}</th>{cells}</tr>"


def _rounded(value: float) -> str:
    return f"{value:.2f}" if value == value else "-"


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
        if moved.distance is not None:
            lines.append(
                f"At {moved.site}, other attention was found that is {number(moved.distance)} bit from the model's own "
                "(Jensen-Shannon divergence, at most 1; median), yet moves the answer by at most "
                f"{number(moved.tolerance)}."
            )
    if card.retrained is not None:
        free, uniform = card.retrained["free"], card.retrained["uniform"]
        lines.append(f"Retrained: {number(free)} with free attention, {number(uniform)} with uniform attention.")
    lines += [
        f"{method.name}: its relevance changes by at most {method.sensitivity:.0%} (median) when the input is "
        "perturbed a little."
        for method in card.judged.values()
        if method.sensitivity is not None
    ]
    lines += [
        f"{name}: its relevance has a mean rank correlation of {number(value)} between models from different seeds."
        for name, value in card.stability.items()
    ]
    return "" if not lines else f"<section><h2>What the answer depends on</h2>{_list(lines)}</section>"


def _artefacts(card: CardData) -> str:
    lines = [f"{f.site}: {f.message}. {f.fix[:1].upper()}{f.fix[1:]}." for f in list(card.findings)[:MOST_ARTEFACTS]]
    if len(card.findings) > MOST_ARTEFACTS:
        lines.append(f"And {len(card.findings) - MOST_ARTEFACTS} more: card.findings.")
    return (
        f"<section><h2>Artefacts in the attention</h2>{_list(lines) if lines else '<p>None were found.</p>'}</section>"
    )


def _limits(sentences: Sequence[str]) -> str:
    return f"<section><h2>Limits</h2>{_list(sentences)}</section>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
