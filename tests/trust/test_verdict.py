"""The rule, case by case; and the card, which says what was found and no more."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from attnscope.errors import InputError, WouldOverwriteError
from attnscope.findings import Findings
from attnscope.trust._card import EvidenceCard, Judged, Moved
from attnscope.trust._interval import Interval, paired_interval
from attnscope.trust._time_limit import Limited, seconds_of
from attnscope.trust._verdict import CHANGES, Verdict, _word, in_short, verdict_of

MARGIN = 0.05


def interval(low, high, samples=40):
    return Interval(np.array((low + high) / 2), np.array(low), np.array(high), 0.975, samples, 0, "")


ABOVE, ACROSS, BELOW = interval(0.1, 0.3), interval(-0.1, 0.2), interval(-0.4, -0.1)
SAME, WORSE_OR_SAME, BARELY = interval(-0.04, 0.03), interval(-0.2, 0.04), interval(0.01, 0.04)
EVERY = (ABOVE, ACROSS, BELOW, SAME, WORSE_OR_SAME, BARELY)


def gains_of(first, second):
    pairs = (("delete", first), ("mask_token", second))
    return {name: dict(zip(("random", "position"), over, strict=True)) for name, over in pairs}


def judged(first, second, correlation):
    return verdict_of(gains_of(first, second), correlation, {"delete": MARGIN, "mask_token": MARGIN})


@pytest.mark.parametrize(
    ("first", "second", "correlation", "word"),
    [
        ((ABOVE, ABOVE), (ABOVE, ABOVE), 0.1, "explains"),
        ((ABOVE, ABOVE), (BARELY, ABOVE), -1.0, "explains"),
        ((ABOVE, ABOVE), (ABOVE, ABOVE), np.nan, "explains"),
        ((ABOVE, ABOVE), (ABOVE, ABOVE), CHANGES, "descriptive only"),
        ((ABOVE, BELOW), (ABOVE, BELOW), 0.1, "descriptive only"),
        ((ABOVE, ABOVE), (ABOVE, WORSE_OR_SAME), 0.1, "descriptive only"),
        ((ABOVE, ABOVE), (SAME, ABOVE), 0.1, "descriptive only"),
        ((ABOVE, ACROSS), (ABOVE, ACROSS), 0.9, "descriptive only"),
        ((ABOVE, ABOVE), (ABOVE, ACROSS), 0.1, "cannot tell"),
        ((ABOVE, ABOVE), (ACROSS, ABOVE), 0.1, "cannot tell"),
        ((ABOVE, BELOW), (ACROSS, BELOW), 0.9, "cannot tell"),
        ((ABOVE, ABOVE), (WORSE_OR_SAME, ABOVE), 0.1, "cannot tell"),
        ((ACROSS, ACROSS), (ACROSS, ACROSS), 0.1, "cannot tell"),
        ((ACROSS, ACROSS), (SAME, ACROSS), 0.1, "cannot tell"),
        ((SAME, ACROSS), (SAME, ABOVE), 0.1, "misleading here"),
        ((SAME, ACROSS), (WORSE_OR_SAME, ACROSS), 0.1, "misleading here"),
        ((ABOVE, ABOVE), (BELOW, ABOVE), 0.1, "misleading here"),
        ((BELOW, BELOW), (BELOW, BELOW), 1.0, "misleading here"),
    ],
)
def test_the_verdict_follows_the_rule(first, second, correlation, word):
    assert judged(first, second, correlation).word == word


def word_of(first, second, correlation):
    """The verdict without its reasons, which take longer."""
    return _word(gains_of(first, second), {"delete": MARGIN, "mask_token": MARGIN}, changes=correlation < CHANGES)


def allowed(first, second, changes):
    """The verdicts that are true of a method whose true gains are these."""
    over_random, both = (first[0], second[0]), (*first, *second)
    words = {"cannot tell"}
    if changes and min(both) > 0:
        words.add("explains")
    if min(over_random) < 0 or max(over_random) <= MARGIN:
        words.add("misleading here")
    if max(over_random) > 0 and min(over_random) >= -MARGIN and (not changes or min(both) <= MARGIN):
        words.add("descriptive only")
    return words


@pytest.mark.parametrize("correlation", [0.1, 0.9])
def test_no_verdict_is_false_where_the_intervals_hold_the_true_gains(correlation):
    for first in itertools.product(EVERY, EVERY):
        for second in itertools.product(EVERY, EVERY):
            word = word_of(first, second, correlation)
            for ends in itertools.product(("low", "high"), repeat=4):
                truths = [float(getattr(gain, end)) for gain, end in zip((*first, *second), ends, strict=True)]
                assert word in allowed(truths[:2], truths[2:], correlation < CHANGES)


@pytest.mark.parametrize("correlation", [0.1, 0.9])
def test_with_samples_without_end_there_is_always_a_verdict(correlation):
    points = [interval(gain, gain) for gain in (-0.2, -0.01, 0.0, 0.01, 0.2)]
    for first in itertools.product(points, points):
        for second in itertools.product(points, points):
            assert word_of(first, second, correlation) != "cannot tell"


def test_below_30_samples_nothing_can_be_told():
    for samples, word in ((29, "cannot tell"), (30, "explains")):
        sure = interval(0.1, 0.3, samples)
        verdict = judged((sure, sure), (sure, sure), 0.1)
        assert verdict.word == word
        assert verdict.needed == (30 if samples < 30 else None)


def test_a_ranking_that_could_not_change_is_no_evidence_that_it_does_and_none_that_it_does_not():
    for first in ((ABOVE, ABOVE), (ABOVE, ACROSS)):
        verdict = judged(first, (ABOVE, ABOVE), None)
        assert verdict.word == "cannot tell"
        assert verdict.reasons[-1] == (
            "it ranks nothing on the samples for which it was computed again with all parameters shuffled"
        )
    assert judged((SAME, ACROSS), (SAME, ACROSS), None).word == "misleading here"


def test_where_removal_moves_nothing_no_gain_is_none():
    """Nothing is within a margin that is not known; what is above or below 0 still is."""
    nothing = interval(0.0, 0.0)
    margins = {"delete": MARGIN, "mask_token": np.nan}
    assert verdict_of(gains_of((ABOVE, ABOVE), (nothing, nothing)), 0.1, margins).word == "cannot tell"
    assert verdict_of(gains_of((SAME, SAME), (nothing, nothing)), 0.1, margins).word == "cannot tell"
    assert verdict_of(gains_of((SAME, SAME), (BELOW, nothing)), 0.1, margins).word == "misleading here"


def test_needed_samples_count_those_that_are_not_compared():
    whole, part = (
        verdict_of(
            gains_of((ABOVE, ABOVE), (ACROSS, ABOVE)), 0.1, dict.fromkeys(("delete", "mask_token"), MARGIN), share=s
        )
        for s in (1.0, 0.1)
    )
    assert 10 * whole.needed <= part.needed <= 11 * whole.needed


def test_as_many_samples_are_needed_as_bring_the_interval_clear_of_0():
    """A mean of 0.05 with ends 0.15 away: they have to come 1.4 times nearer than 0.05, so 3 x 1.4 times nearer."""
    verdict = judged((ABOVE, ABOVE), (ABOVE, ACROSS), 0.1)
    assert 40 * (3 * 1.4) ** 2 <= verdict.needed < 1.1 * 40 * (3 * 1.4) ** 2
    assert verdict.needed % 10 == 0
    unsure = Interval(np.array(0.0), np.array(-9.0), np.array(9.0), 0.975, 40, 0, "")
    assert judged((ABOVE, ABOVE), (unsure, ABOVE), 0.1).needed is None


def test_at_most_25_of_1000_harmless_methods_are_called_misleading():
    """The hardest case: a gain of exactly the margin under one kind of removal, of exactly 0 under the other."""
    rng, trials = np.random.default_rng(0), 800
    for samples, kind in ((30, "rare"), (30, "lognormal"), (120, "normal"), (120, "rare")):
        shape = (2, samples, trials)
        drawn = {
            "normal": lambda shape=shape: rng.normal(size=shape).clip(-9, 9),
            "rare": lambda shape=shape: (rng.random(shape) < 0.1) * 1.0 - 0.1,
            "lognormal": lambda shape=shape: rng.lognormal(size=shape).clip(0, 50) - np.exp(0.5),
        }[kind]()
        margin = float(drawn.std()) / 4
        widest = max(9.0, float(np.abs(drawn).max()) + margin)
        ends = [paired_interval(gain, level=0.975, bounds=(-widest, widest)) for gain in (drawn[0] + margin, drawn[1])]
        called = 0
        for trial in range(trials):
            one, two = (replace(i, mean=i.mean[trial], low=i.low[trial], high=i.high[trial]) for i in ends)
            word = _word(gains_of((one, one), (two, two)), {"delete": margin, "mask_token": margin}, changes=True)
            called += word == "misleading here"
        assert called / trials < 0.025 + 3 * np.sqrt(0.025 * 0.975 / trials), (samples, kind)


def test_reasons_name_what_was_won_and_lost():
    gains = {
        "delete": {"random": ABOVE, "position": ACROSS},
        "mean": {"random": BELOW, "position": ACROSS},
        "zero": {"random": SAME, "position": ABOVE},
    }
    assert verdict_of(gains, 0.95, dict.fromkeys(gains, MARGIN)).reasons == (
        "better than random under delete; worse than random under mean; no better than random under zero",
        "not told apart from position under delete and mean; better than position under zero",
        "its ranking stays much the same when all parameters are shuffled (rank correlation 0.95)",
    )
    rounded_to_zero = verdict_of(gains, -0.004, dict.fromkeys(gains, MARGIN)).reasons[-1]
    assert rounded_to_zero.endswith("shuffled (rank correlation 0.00)")


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (
            {"a": "explains", "b": "explains", "c": "explains"},
            (
                "To explain this model's answers on samples like these, use a, b or c.",
                "Every method that was tested may be used.",
            ),
        ),
        (
            {"a": "explains", "b": "misleading here", "c": "descriptive only", "d": 240},
            (
                "To explain this model's answers on samples like these, use a.",
                "Do not use b (misleading here), nor c (descriptive only); 40 samples are too few to judge d: that "
                "takes about 240.",
            ),
        ),
        (
            {"a": 1200, "b": 240, "c": None},
            (
                "No method that was tested is known to explain this model's answers.",
                "40 samples are too few to judge a, b or c: that takes about 240 to over 100,000, depending on the "
                "method.",
            ),
        ),
        (
            {"a": None},
            (
                "No method that was tested is known to explain this model's answers.",
                "40 samples are too few to judge a: that takes over 100,000.",
            ),
        ),
    ],
)
def test_two_sentences_say_which_methods_may_be_used(words, sentences):
    verdicts = {
        name: Verdict(word, ()) if isinstance(word, str) else Verdict("cannot tell", (), word)
        for name, word in words.items()
    }
    assert in_short(verdicts, 40) == sentences


def test_what_no_samples_can_tell_is_not_promised_to_more_of_them():
    hopeless = Verdict("cannot tell", (), testable=False)
    assert in_short({"a": Verdict("explains", ()), "b": hopeless}, 40)[1] == (
        "No number of samples like these can tell about b."
    )
    both = {"a": Verdict("cannot tell", (), 60), "b": hopeless}
    assert in_short(both, 40)[1] == (
        "40 samples are too few to judge a: that takes about 60; no number of samples like these can tell about b."
    )
    assert in_short(both, 5)[1] == (
        "If more samples are like these, a verdict on every other method takes about 60; more samples like these "
        "cannot tell about b."
    )


@pytest.mark.parametrize(
    ("given", "limit", "sentences"),
    [
        (
            7,
            None,
            (
                "7 samples are too few to tell whether any method explains this model's answers: at least 30 are "
                "needed.",
                "If more samples are like these, a verdict on every method takes about 240.",
            ),
        ),
        (
            143,
            Limited("30 s", "2 min"),
            (
                "In 30 s only 7 of 143 samples could be tested, too few to tell whether any method explains this "
                "model's answers: at least 30 are needed.",
                "Testing 30 takes about 2 min; if more samples are like these, a verdict on every method takes about "
                "240.",
            ),
        ),
        (
            7,
            Limited("30 s", "2 min"),  # all of them were tested: time is not what is missing
            (
                "7 samples are too few to tell whether any method explains this model's answers: at least 30 are "
                "needed.",
                "If more samples are like these, a verdict on every method takes about 240.",
            ),
        ),
    ],
)
def test_what_is_said_first_of_too_few_samples_is_why_there_are_no_more(given, limit, sentences):
    assert in_short({"raw": Verdict("cannot tell", (), 240)}, 7, given, limit) == sentences


@pytest.fixture
def card():
    means = {removal: {"comprehensiveness": 0.4, "deletion": np.nan} for removal in ("delete", "mask_token")}
    gains = {removal: {"random": ABOVE, "position": ACROSS} for removal in means}
    margins = dict.fromkeys(means, MARGIN)
    judged = {
        "raw": Judged("raw", False, means, gains, {"head": 1.0, "and <b>": 0.9}, verdict_of(gains, 0.9, margins)),
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
        margins=margins,
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
        r"^raw +descriptive only +0\.200 \[0\.100, 0\.300\] +0\.0500 \[\N{MINUS SIGN}0\.100, 0\.200\]",
        text,
        re.MULTILINE,
    )
    table = card.table
    assert float(table["gain_over_random_low"].sel(relevance="raw", removal="delete")) == 0.1
    assert np.isnan(float(table["gain_over_random"].sel(relevance="random", removal="delete")))
    assert float(table["randomised_head"].sel(relevance="raw")) == 1.0
    assert float(table["randomised_all"].sel(relevance="raw")) == 0.9


def test_its_json_holds_everything_and_no_nan(card, tmp_path):
    read = json.loads(card.save(tmp_path / "card.json").read_text("utf-8"))
    assert next(iter(read)) == "summary"
    assert read["margins"] == {"delete": 0.05, "mask_token": 0.05}
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
    assert "and <wbr>&lt;b&gt;" in page
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert "default-src 'none'" in page
    assert "40 of 120" in page
    assert page.count("<circle class=vs0") == 3  # the weaker kind of removal, and each of the two
    with pytest.raises(WouldOverwriteError):
        card.save(tmp_path / "card.html")


@pytest.mark.parametrize("wrong", ["soon", 0, -3, True, None, "5 weeks"])
def test_a_budget_is_a_time(wrong):
    with pytest.raises(InputError) as caught:
        seconds_of(wrong)
    assert str(caught.value) == (
        f"The budget is {wrong!r}, but a number of seconds or a time such as '5 min' is needed: budget='5 min'."
    )
