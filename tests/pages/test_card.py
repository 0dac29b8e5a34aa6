"""The page of an evidence card, made of plain data: it does not know who reached the verdicts, or how."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from attnscope.findings import Findings
from attnscope.pages import CardRules, card_element, card_page

RULES = CardRules("It <wins> twice.", ("Only here.",), ("chance",), unchanged_from=0.625)


def interval(low, mean, high):
    return SimpleNamespace(mean=np.array(mean), low=np.array(low), high=np.array(high))


def method(name, gains, randomised, verdict):
    means = {"delete": {"comprehensiveness": 0.4375, "deletion": np.nan}}
    return SimpleNamespace(
        name=name,
        class_specific=verdict and False,
        means=means,
        gains={"delete": gains},
        randomised=randomised,
        independent={},
        sensitivity=0.12 if verdict else None,
        verdict=verdict,
    )


@pytest.fixture
def card():
    verdict = SimpleNamespace(word="explains", reasons=("better than chance",))
    return SimpleNamespace(
        model="a & b",
        target="class 1",
        kind="tokens",
        samples=7,
        given=11,
        seed=3,
        judged={
            "raw": method("raw", {"chance": interval(-0.25, 0.125, 0.5)}, {"head": 0.625, "all": 0.5}, verdict),
            "chance": method("chance", {}, {}, None),
        },
        moved=SimpleNamespace(
            samples=5,
            spread=0.25,
            permuted=0.0625,
            permutations=13,
            uniform=0.03125,
            distance=0.375,
            tolerance=0.0125,
            site="mha",
        ),
        stability={"raw": 0.75},
        retrained={"free": 0.875, "uniform": 0.8125},
        findings=Findings(()),
        passes=12_345,
        gradient_passes=67,
        seconds=8.0,
        notes=("A note.",),
        backend="torch",
        removals=["delete"],
    )


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_a_card_says_all_that_was_found(card):
    text = text_of(card_page(card, RULES))
    for sentence in (
        "Evidence on a &amp; b",
        "7 of 11 (tokens)",
        "12,345 forward, 67 gradient passes; 8 s",
        "raw explains better than chance. It does not read the target. It &lt;wins&gt; twice.",
        "A method that stays at 0.625 or above with everything shuffled",
        "Attention permuted (13 times, 5 samples): the answer moves by 0.0625 (median); its standard deviation over "
        "the samples is 0.250.",
        "Attention made uniform: the answer moves by 0.0312 (median).",
        "At mha, other attention was found that is 0.375 bit from the model&#x27;s own (Jensen-Shannon divergence, at "
        "most 1; median), yet moves the answer by at most 0.0125.",
        "Retrained: 0.875 with free attention, 0.812 with uniform attention.",
        "raw: its relevance changes by at most 12% (median) when the input is perturbed a little.",
        "raw: its relevance has a mean rank correlation of 0.750 between models from different seeds.",
        "None were found.",
        "A note. Only here.",
    ):
        assert sentence in text


def test_a_gain_is_drawn_around_0_to_the_largest_end(card):
    page = card_page(card, RULES)
    assert "<line class='chance' x1=310.0 x2=730.0 y1=16 y2=16 />" in page  # -0.25 and 0.5 of a reach of 0.5
    assert "<circle class='chance' cx=520.0 cy=16 r=3 />" in page
    assert page.count("<circle") == 1


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
