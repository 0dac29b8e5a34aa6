"""The page of an evidence card, made of plain data: it does not know who reached the verdicts, or how."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from attnscope.findings import Findings
from attnscope.pages import CardRules, card_element, card_page
from attnscope.pages._interval_chart import Ends, Row, interval_chart

RULES = CardRules("It <wins> twice.", ("Only here.",), ("chance",), unchanged_from=0.625, margin=0.25)


def interval(low, mean, high):
    return SimpleNamespace(mean=np.array(mean), low=np.array(low), high=np.array(high), level=0.975)


def method(name, gains, randomised, verdict):
    means = {removal: {"comprehensiveness": 0.4375, "deletion": np.nan} for removal in ("delete", "zero")}
    return SimpleNamespace(
        name=name,
        class_specific=verdict and False,
        means=means,
        gains=gains,
        randomised=randomised,
        independent={},
        sensitivity=0.12 if verdict else None,
        verdict=verdict,
    )


@pytest.fixture
def card():
    explains = SimpleNamespace(word="explains", reasons=("better than chance",), needed=None, testable=True)
    unknown = SimpleNamespace(word="cannot tell", reasons=("not told apart from chance",), needed=1_200, testable=True)
    gains = {
        "delete": {"chance": interval(-0.25, 0.125, 0.5)},
        "zero": {"chance": interval(-0.25, 0.25, 0.75)},  # in its own unit, which is twice as large, this is less
    }
    wide = {removal: {"chance": interval(-1.5, 0.25, 2.0)} for removal in gains}
    return SimpleNamespace(
        summary=("Use <raw>.", "40 samples cannot tell."),
        margins={"delete": 0.0625, "zero": 0.25},
        model="a & b",
        target="class 1",
        kind="tokens",
        samples=7,
        given=11,
        seed=3,
        judged={
            "chefer": method("chefer", wide, {"head": 0.5, "all": 0.5}, unknown),
            "raw": method("raw", gains, {"head": 0.625, "all": 0.5}, explains),
            "chance": method("chance", {removal: {} for removal in gains}, {}, None),
        },
        moved=SimpleNamespace(
            samples=5,
            spread=0.25,
            permuted=0.0625,
            permutations=13,
            uniform=0.03125,
            distance=0.375,
            tolerance=0.0125,
            site="block_0/mha",
            called="layer 0",
        ),
        stability={"raw": 0.75},
        retrained={"free": 0.875, "uniform": 0.8125},
        findings=Findings(()),
        passes=12_345,
        gradient_passes=67,
        seconds=8.0,
        notes=("A note.",),
        backend="torch",
        removals=["delete", "zero"],
    )


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_a_card_says_all_that_was_found(card):
    text = text_of(card_page(card, RULES))
    for sentence in (
        "Evidence on a &amp; b",
        "7 of 11 (tokens)",
        "12,345 forward, 67 gradient passes; 8 s",
        "May these maps be believed? Use &lt;raw&gt;. 40 samples cannot tell. raw explains chefer cannot tell needs "
        "about 1,200 samples \N{MINUS SIGN}5 0 5 over chance",
        "1 is what the most important single token is worth.",
        "Why these verdicts Good: better than random and position",
        "chefer cannot tell needs about 1,200 samples not told apart from chance. It does not read the target. raw "
        "explains better than chance. It does not read the target. It &lt;wins&gt; twice.",
        "Gain in comprehensiveness, removed by delete Good: the whole line is right of 0.",
        "Lines are paired 97.5% intervals over the samples",
        "All measures Good: high comprehensiveness and insertion; low sufficiency, deletion and infidelity.",
        "Shuffled parameters Good: near 0 with everything shuffled, and below 0.625 in any case.",
        "Artefacts in the attention Good: none. Found: none.",
        "A method that stays at 0.625 or above with everything shuffled",
        "Attention permuted (13 times, 5 samples): the answer moves by 0.0625 (median); its standard deviation over "
        "the samples is 0.250.",
        "Attention made uniform: the answer moves by 0.0312 (median).",
        "At layer 0 , other attention was found that is 0.375 bit from the model's own (Jensen-Shannon divergence, at "
        "most 1; median), yet moves the answer by at most 0.0125.",
        "Retrained: 0.875 with free attention, 0.812 with uniform attention.",
        "raw: its relevance changes by at most 12% (median) when the input is perturbed a little.",
        "raw: its relevance has a mean rank correlation of 0.750 between models from different seeds.",
        "None were found.",
        "A note. Only here.",
    ):
        assert sentence in text


def test_the_first_chart_shows_each_method_where_it_gains_least_in_shares_of_the_best_position(card):
    """Deleting, the best position is worth 0.25 (the margin is a quarter of it); zeroing, 1."""
    chart = re.search(r"<figure class=overview>.*?</figure>", card_page(card, RULES), re.DOTALL).group()
    labels = re.findall(r'aria-label="([^"]*)"', chart)
    assert labels == [
        "raw: over chance 0.500 (\N{MINUS SIGN}1.00 to 2.00)",
        "chefer: over chance 1.00 (\N{MINUS SIGN}6.00 to 8.00)",
    ]
    left, right = -6 - 0.04 * 14, 8 + 0.04 * 14
    places = [f"{100 * (end - left) / (right - left):.2f}%" for end in (-1.0, 2.0, 0.5, -0.25, 0.0)]
    low, high, mean, none, zero = places
    assert f"<line class=vs0 x1={low} x2={high} y1=22 y2=22 /><circle class=vs0 cx={mean} cy=22 r=4 />" in chart
    assert f"<rect class=none x={none} width={100 * 0.5 / (right - left):.2f}% y=0 height=44 />" in chart
    assert f"<line class=zero x1={zero} x2={zero} y1=0 y2=44 />" in chart
    assert chart.count("<circle") == 2


def test_a_line_that_goes_on_far_beyond_all_means_ends_in_an_arrow_and_the_chart_says_how_far():
    near, far = Ends(-1.0, 0.5, 9.5), Ends(-2000.0, 1.0, 30.0)
    chart = interval_chart([Row("near", "", {"chance": near}), Row("far", "", {"chance": far})], 0.25)
    left, right = -10 - 0.04 * 20, 10 + 0.04 * 20
    at = lambda value: f"{100 * (value - left) / (right - left):.2f}%"  # noqa: E731
    assert f"<line class=vs0 x1={at(-1)} x2={at(9.5)} y1=22 y2=22 />" in chart
    assert "<line class=vs0 x1=0.00% x2=100.00% y1=22 y2=22 />" in chart
    assert re.findall(r"<svg x=(\S+) y=22 width=1", chart) == ["0.00%", "100.00%"]
    assert "Lines with an arrow go on outside of the chart, as far as \N{MINUS SIGN}2000 and 30." in chart
    assert "arrow" not in interval_chart([Row("near", "", {"chance": near})], 0.25)


def test_a_heading_breaks_between_its_words_and_no_word_of_usual_length_does(card):
    card.judged["chefer"].randomised.clear()
    card.judged["chefer"].randomised.update({"diagnosis": 0.5, "and einsum_dense": 0.25, "x" * 17: 0.5, "a<b": 0.5})
    headings = re.findall(r"<th scope=col>(.*?)</th>", card_page(card, RULES))
    parts = ["diagnosis", "and <wbr>einsum_<wbr>dense", f"{'x' * 14}<wbr>xxx", "a&lt;b"]
    assert set(parts) <= set(headings)


def test_measures_and_tests_are_folded_and_the_limits_are_not(card):
    page = card_page(card, RULES)
    folded = re.findall(r"<details><summary><h2>(.*?)</h2>", page)
    assert folded == [
        "Why these verdicts",
        "Gain in comprehensiveness, removed by delete",
        "Gain in comprehensiveness, removed by zero",
        "All measures",
        "Shuffled parameters",
        "What the answer depends on",
        "Artefacts in the attention",
    ]
    assert page.count("<p class=aim>Good: ") == len(folded)
    assert page.index("<h2>Limits") > page.rindex("</details>")


def test_only_correlations_that_count_as_unchanged_stand_out(card):
    assert re.findall(r"<td class=same>([\d.]+)</td>", card_page(card, RULES)) == ["0.62"]


def test_in_a_notebook_every_rule_is_within_the_card(card):
    element = card_element(card, RULES)
    style = re.search(r"<style>(.*)</style>", element, re.DOTALL).group(1)
    assert style.startswith(".attnscope-card{&{--")
    assert style.endswith("}")
    depths = np.cumsum([{"{": 1, "}": -1}.get(letter, 0) for letter in style])
    assert depths[len(".attnscope-card{") - 1 : -1].min() == 1
    assert depths[-1] == 0
