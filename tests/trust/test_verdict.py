"""The rule, case by case; and the card, which says what was found and no more."""

import json
import re

import numpy as np
import pytest

from attnscope.errors import InputError, WouldOverwriteError
from attnscope.findings import Findings
from attnscope.trust._bootstrap import Interval
from attnscope.trust._card import EvidenceCard, Judged, Moved
from attnscope.trust._time_limit import seconds_of
from attnscope.trust._verdict import CHANGES, verdict_of


def interval(low, high):
    return Interval(np.array((low + high) / 2), np.array(low), np.array(high), 0.95, 40, 1000, "bca")


ABOVE, ACROSS, BELOW = interval(0.1, 0.3), interval(-0.1, 0.2), interval(-0.4, -0.1)


@pytest.mark.parametrize(
    ("first", "second", "correlation", "word"),
    [
        ((ABOVE, ABOVE), (ABOVE, ABOVE), 0.1, "explains"),
        ((ABOVE, ABOVE), (ABOVE, ABOVE), -1.0, "explains"),
        ((ABOVE, ABOVE), (ABOVE, ABOVE), np.nan, "explains"),
        ((ABOVE, ABOVE), (ABOVE, ABOVE), CHANGES, "descriptive only"),
        ((ABOVE, ABOVE), (ABOVE, ACROSS), 0.1, "descriptive only"),
        ((ABOVE, BELOW), (ABOVE, BELOW), 0.1, "descriptive only"),
        ((ABOVE, ABOVE), (ACROSS, ABOVE), 0.1, "descriptive only"),
        ((ACROSS, ACROSS), (ACROSS, ACROSS), 0.1, "misleading here"),
        ((ABOVE, ABOVE), (BELOW, ABOVE), 0.1, "misleading here"),
        ((BELOW, BELOW), (BELOW, BELOW), 1.0, "misleading here"),
    ],
)
def test_the_verdict_follows_the_rule(first, second, correlation, word):
    gains = {
        name: {"random": over_random, "position": over_position}
        for name, (over_random, over_position) in (("delete", first), ("mask_token", second))
    }
    assert verdict_of(gains, correlation).word == word


def test_one_way_of_removing_is_not_enough():
    assert verdict_of({"delete": {"random": ABOVE, "position": ABOVE}}, 0.0).word == "descriptive only"


def test_reasons_name_what_was_won_and_lost():
    gains = {"delete": {"random": ABOVE, "position": ACROSS}, "mean": {"random": BELOW, "position": ACROSS}}
    assert verdict_of(gains, 0.95).reasons == (
        "better than random under delete; worse than random under mean",
        "no different from position under delete and mean",
        "its ranking stays much the same when all parameters are shuffled (rank correlation 0.95)",
    )


@pytest.fixture
def card():
    means = {removal: {"comprehensiveness": 0.4, "deletion": np.nan} for removal in ("delete", "mask_token")}
    gains = {removal: {"random": ABOVE, "position": ACROSS} for removal in means}
    judged = {
        "raw": Judged("raw", False, means, gains, {"head": 1.0, "and <b>": 0.2}, verdict_of(gains, 0.2)),
        "random": Judged("random", None, means, {r: {"position": ACROSS} for r in means}, {}, None),
    }
    return EvidenceCard(
        model="<script>alert(1)</script>",
        target="class 1",
        kind="tokens",
        samples=40,
        given=120,
        seed=3,
        judged=judged,
        moved=Moved(32, 0.2, 0.01, 100, 0.03, 0.4, 0.01, "mha", 4000),
        stability={"raw": 0.5},
        retrained={"free": 0.9, "uniform": 0.88},
        findings=Findings(()),
        passes=12_345,
        gradient_passes=67,
        seconds=8.0,
        notes=("40 of 120 samples were drawn to stay within 1 min.",),
        backend="torch",
    )


def test_a_card_says_what_was_found(card):
    assert card.verdicts == {"raw": "descriptive only"}
    text = repr(card)
    assert "40 samples of tokens, 12,345 forward and 67 gradient passes, 8 s, seed 3" in text
    assert re.search(
        r"^raw +descriptive only +0\.200 \[0\.100, 0\.300\] +0\.0500 \[-0\.100, 0\.200\]", text, re.MULTILINE
    )
    table = card.table
    assert float(table["gain_over_random_low"].sel(relevance="raw", removal="delete")) == 0.1
    assert np.isnan(float(table["gain_over_random"].sel(relevance="random", removal="delete")))
    assert float(table["randomised_head"].sel(relevance="raw")) == 1.0
    assert float(table["randomised_all"].sel(relevance="raw")) == 0.2


def test_its_json_holds_everything_and_no_nan(card, tmp_path):
    read = json.loads(card.save(tmp_path / "card.json").read_text("utf-8"))
    assert read["verdicts"] == {"raw": "descriptive only"}
    assert read["judged"]["raw"]["means"]["delete"] == {"comprehensiveness": 0.4, "deletion": None}
    assert read["judged"]["raw"]["gains"]["delete"]["random"]["low"] == 0.1
    assert read["seed"] == 3
    assert len(read["limits"]) == 4
    assert "intervals above 0" in read["rule"]


def test_its_page_loads_nothing_and_escapes_what_it_shows(card, tmp_path):
    page = card.save(tmp_path / "card.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "and &lt;b&gt;" in page
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert "40 of 120" in page
    assert page.count("<circle class='random'") == 2  # one removal each
    with pytest.raises(WouldOverwriteError):
        card.save(tmp_path / "card.html")


@pytest.mark.parametrize("wrong", ["soon", 0, -3, True, None, "5 weeks"])
def test_a_budget_is_a_time(wrong):
    with pytest.raises(InputError) as caught:
        seconds_of(wrong)
    assert str(caught.value) == (
        f"The budget is {wrong!r}, but a number of seconds or a time such as '5 min' is needed: budget='5 min'."
    )
