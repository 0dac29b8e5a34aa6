"""Pictures speak of the domain: features, patches, tokens, steps; of queries and keys only where attention has both."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot

import attnscope as ats
from attnscope.position_kinds import counted_along
from drawings import array, axes, bar, relevance, remarks, scores, ticks, title, written_words

MINUS = "\N{MINUS SIGN}"


def of(kind, samples, keys, **attrs):
    """Relevance of positions without labels, as `ats.attribute` returns it."""
    kinds = json.dumps({"key": kind})
    return relevance(samples, keys, positions=kinds, **attrs).drop_vars("key_label")


def row_names(ax):
    return [text for _, text in ticks(ax.yaxis)]


@pytest.mark.parametrize(
    ("kind", "one"), [("features", "feature"), ("steps", "step"), ("tokens", "token"), ("spans", "span")]
)
def test_positions_without_labels_are_called_what_they_are(kind, one):
    given = of(kind, 3, 5, padded=2)
    strongest = np.argsort(-np.abs(given.values).mean(0), kind="stable")
    shown = ats.plot.heatmap(given, sample=1, ax=axes())
    assert (shown.get_xlabel(), shown.get_ylabel()) == (kind, "")
    assert remarks(shown) == f"padding left out: 2 {kind}"
    counted = np.where(given.key_valid, np.abs(given), np.nan)
    strongest = np.argsort(-np.nanmean(counted, axis=0), kind="stable")
    for picture in (ats.plot.importance, ats.plot.beeswarm):
        ax = picture(given, most=2, ax=axes())
        assert row_names(ax) == [f"{one} {place}" for place in strongest[:2]]
        assert f"2 of 5 {kind}" in remarks(ax)
    assert set(row_names(ats.plot.bars(given, ax=axes()))) == {f"{one} {place}" for place in range(5)}
    series = ats.plot.series(given, ax=axes())
    assert series.get_xlabel() == ("time step" if kind == "steps" else kind)


def test_patches_are_called_by_their_row_and_column():
    given = of("patches", 2, 6, grid=[2, 3])
    strongest = np.argsort(-np.abs(given.values).mean(0), kind="stable")
    names = [f"row {place // 3}, column {place % 3}" for place in strongest]
    for picture in (ats.plot.importance, ats.plot.beeswarm):
        assert row_names(picture(given, ax=axes())) == names
    ax = ats.plot.heatmap(given, ax=axes())
    assert ax.get_xlabel() == "patches (row, column)"
    assert [text for _, text in ticks(ax.xaxis)] == ["0, 0", "0, 1", "0, 2", "1, 0", "1, 1", "1, 2"]
    assert ats.plot.tokens(given).labels[1][4] == "row 1, column 1"
    assert "4 of 6 patches" in remarks(ats.plot.importance(given, most=4, ax=axes()))


def test_words_of_sentences_are_called_by_both():
    kinds = json.dumps({"key_0": "sentences", "key_1": "tokens"})
    given = xr.DataArray(
        np.arange(6.0).reshape(1, 2, 3), dims=("sample", "key_0", "key_1"), name="relevance", attrs={"positions": kinds}
    )
    assert row_names(ats.plot.bars(given, most=5, ax=axes()))[0] == "sentence 1, token 2"
    assert ats.plot.heatmap(given, ax=axes()).get_xlabel() == "tokens (sentence, token)"


def test_names_and_attributes_of_the_users_own_are_no_obstacle():
    given = relevance(2, 3)
    assert ats.plot.heatmap(given, ax=axes()).get_xlabel() == "positions"
    for own in ("patches", "{", "[1]", 7, None):
        assert counted_along(given.assign_attrs(positions=own), ("key",)).names[1] == "position 1"
    assert counted_along(given.assign_attrs(grid=[2, 2]), ("key",)).names[1] == "position 1"


def test_attention_tells_queries_from_keys_and_says_what_they_are():
    kinds = json.dumps({"query": "tokens", "key": "patches"})
    given = array(scores(np.random.default_rng(0), 2, 3, 4, 5)).assign_attrs(positions=kinds)
    ax = ats.plot.heatmap(given, ax=axes())
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key: patches", "query: tokens")
    assert ats.plot.series(given.assign_attrs(positions=json.dumps({"key": "steps"})), ax=axes()).get_xlabel() == (
        "time step"
    )


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_no_picture_of_relevance_speaks_of_keys_or_queries(samples):
    given = of("steps", samples, 6, padded=2)
    pictures = [
        ats.plot.heatmap(given),
        ats.plot.heatmap(given, sample="mean"),
        ats.plot.series(given),
        ats.plot.series(given, strip=True),
        ats.plot.series(given, time="key", times=range(6)),
        ats.plot.tokens(given).draw(),
        ats.plot.bars(given, most=2),
        ats.plot.importance(given, most=2),
        ats.plot.beeswarm(given, most=2),
        ats.plot.image(np.zeros((4, 6)), given, grid=(2, 3)),
        ats.plot.difference(given, -given),
    ]
    for ax in pictures:
        said = " ".join(text for text, _, _ in written_words(ax.figure))
        assert said
        pyplot.close(ax.figure)
        assert not re.search(r"\b(key|keys|query|queries)\b", said), said


def test_people_read_a_true_minus_and_files_keep_the_hyphen(tmp_path):
    given = xr.DataArray(
        [[-1.5, 0.25], [0.5, -0.25]],
        dims=("sample", "key"),
        name="relevance",
        coords={
            "base": ("sample", [-2.0, 0.5]),
            "answer": ("sample", [-3.25, 0.75]),
            "decision": ("sample", ["-3.25", "0.750"]),
            "key_label": ("key", ["-a", "b-c"]),
        },
    )
    ax = ats.plot.bars(given, [[-7.5, 1.0]] * 2, sample=0, ax=axes())
    assert title(ax) == f"sample 0: the model says {MINUS}3.25"
    assert row_names(ax) == ["base", f"-a = {MINUS}7.5", "b-c = 1", "answer"]
    assert {text.get_text() for text in ax.texts if text.get_gid() == "number"} == {
        f"{MINUS}2.00",
        f"{MINUS}1.5",
        "+0.25",
        f"{MINUS}3.25",
    }
    assert bar(ats.plot.heatmap(given, ax=axes()))[1] == [f"{MINUS}1.5", "0", "+1.5"]
    saved = ats.attribution.save(given, tmp_path / "relevance.csv").read_bytes()
    assert b"-1.5" in saved and saved.isascii()
